//! From a file to a graph. Each step reports the problems it finds, and the next one continues with
//! the valid rest, so that one run reports all problems.

use std::path::Path;
use std::sync::Arc;

use super::assemble::{self, Points};
use super::classes::{self, CheckedPoints};
use super::expand::{self, Expansion};
use super::goals;
use super::graph::Graph;
use super::idle;
use super::inputs::{Checker, PointInput};
use super::join::StageHeader;
use super::kind::Kinds;
use super::missing_files;
use super::names::Names;
use super::options::LoadOptions;
use super::origins;
use super::overrides::{self, Layered};
use super::prepare::{Preparations, Prepared};
use super::spec::{self, Workflow};
use super::stages::{self, Stage};
use crate::diag::{Diagnostic, Diagnostics, Problems, SourceText};
use crate::yaml;

/// The maximum size of all node parameters together, as a multiple of the largest file size. The
/// values of `params` and `axes` may be as large as the file itself.
const PARAMETERS_PER_BYTE: usize = 4;

/// Reads, expands and checks the workflow in `file`. Returns warnings with the graph.
///
/// # Errors
/// All problems with the file or the options, by place.
pub fn load(
    file: &Path,
    options: &LoadOptions,
    kinds: &Kinds,
) -> Result<(Graph, Vec<Diagnostic>), Diagnostics> {
    load_text(
        file,
        yaml::read(file, &options.limits.of_text())?,
        options,
        kinds,
    )
}

/// As [`load`], with the text that `file` had at some time. Locations are relative to its folder.
pub fn load_text(
    file: &Path,
    source: SourceText,
    options: &LoadOptions,
    kinds: &Kinds,
) -> Result<(Graph, Vec<Diagnostic>), Diagnostics> {
    let mut problems = Problems::default();
    let source = problems.add_source(source);
    let tree = yaml::parse(&mut problems, source, &options.limits.of_text());
    let workflow = tree.and_then(|tree| spec::read(&tree, &mut problems));
    let graph = workflow.and_then(|workflow| plan(file, &workflow, options, kinds, &mut problems));
    let warnings = problems.finish()?;
    match graph {
        Some(graph) => Ok((graph, warnings)),
        // Unreachable: a step that returns `None` has reported why.
        None => Err(Diagnostic::nowhere(
            "unreadable-file",
            &file.display().to_string(),
            "the workflow can't be read",
        )
        .into()),
    }
}

fn plan(
    file: &Path,
    workflow: &Workflow,
    options: &LoadOptions,
    kinds: &Kinds,
    problems: &mut Problems,
) -> Option<Graph> {
    let Layered {
        params,
        axes,
        goals: profile_goals,
    } = overrides::apply(workflow, options, problems);
    let budget = usize::try_from(options.limits.bytes).unwrap_or(usize::MAX);
    let mut names = Names::new(params, axes, &options.environment, budget);
    let heads: Vec<StageHeader> = workflow
        .stages
        .iter()
        .map(|stage| stages::head(stage, &mut names, problems))
        .collect();
    names.resolve_rest(problems);
    let stages: Vec<Option<Stage>> = workflow
        .stages
        .iter()
        .zip(&heads)
        .map(|(stage, head)| {
            let of_file = &workflow.with;
            stages::compile(stage, head, &heads, of_file, kinds, &mut names, problems)
        })
        .collect();
    if !problems.any_errors() {
        names.warn_unused(problems);
        warn_of_unused_fields(workflow, &stages, problems);
    }
    let expansion = expand::expand(&heads, &stages, &options.limits, problems)?;
    if !problems.any_errors() {
        goals::check_empty(&expansion, problems);
    }
    let order = goals::order(&expansion, problems);
    let (prepared, inputs) = check(&expansion, budget, problems);
    if options.check_files {
        let base = file.parent().unwrap_or(Path::new(""));
        missing_files::check(&expansion, &prepared, base, problems);
    }
    if let Some(order) = &order {
        let points = CheckedPoints {
            prepared: &prepared,
            inputs: &inputs,
        };
        classes::check(&expansion, &points, order, problems);
        origins::check(&expansion, &points, order, problems);
    }
    let goals = if problems.any_errors() {
        None
    } else {
        goals::goals(&expansion, profile_goals.as_deref(), options, problems)
    };
    let (order, goals) = (order?, goals?);
    if problems.any_errors() {
        return None;
    }
    let reached = goals::reached(&expansion, &goals);
    let points = Points {
        prepared,
        inputs,
        reached,
        order,
        goals,
    };
    let mut graph = assemble::graph(file, workflow, options, &names, &expansion, points);
    graph.places.sources = problems.sources();
    // With a subset of nodes, an axis with one remaining value would look idle.
    if options.targets.is_empty() && profile_goals.is_none() {
        warn_idle(&graph, workflow, problems);
    }
    Some(graph)
}

/// Warns about fields for the `with:` of stages that no stage has.
fn warn_of_unused_fields(workflow: &Workflow, stages: &[Option<Stage>], problems: &mut Problems) {
    let kinds = || stages.iter().flatten().flat_map(Stage::kinds);
    for entry in &workflow.with {
        let name = entry.key.as_str();
        if !kinds().any(|kind| kind.file_fields().contains(&name)) {
            let message = format!("no stage takes `{name}`");
            let found = problems.warning(entry.key_place, "unused-field", message);
            found.hint(format!("`{name}` is for stages with `use: command`"));
        }
    }
}

/// Warns about axes that change nothing, at the place where a stage lists them.
fn warn_idle(graph: &Graph, workflow: &Workflow, problems: &mut Problems) {
    for (stage, axis) in idle::idle_axes(graph) {
        let found = workflow.stages.iter().find(|spec| spec.name.text == stage);
        let name = found.and_then(|spec| spec.each.iter().find(|name| name.text == axis));
        let Some(name) = name else {
            continue;
        };
        let message =
            format!("`{axis}` makes no difference to `{stage}`: its values are the same work");
        let found = problems.warning(name.place, "idle-axis", message);
        found.hint(format!(
            "use `${{{axis}}}` in the stage, or leave `{axis}` out of `each`"
        ));
    }
}

type Checked = (Vec<Option<Arc<Prepared>>>, Vec<Option<Vec<PointInput>>>);

/// Deserialises the parameters of all kept points, then checks their inputs.
fn check(expansion: &Expansion, budget: usize, problems: &mut Problems) -> Checked {
    let mut preparations = Preparations::new(budget.saturating_mul(PARAMETERS_PER_BYTE));
    let mut prepared = Vec::with_capacity(expansion.len());
    for stage in 0..expansion.heads.len() {
        for point in expansion.points(stage) {
            prepared.push(preparations.get(expansion, stage, point, problems));
        }
    }
    let mut checker = Checker {
        expansion,
        prepared: &prepared,
        problems,
    };
    let mut inputs = Vec::with_capacity(expansion.len());
    for stage in 0..expansion.heads.len() {
        for point in expansion.points(stage) {
            inputs.push(checker.inputs(stage, point));
        }
    }
    (prepared, inputs)
}
