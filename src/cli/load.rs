//! Loads the workflow named on the command line into a checked graph.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use petgraph::graph::NodeIndex;

use super::common::Common;
use super::failure::Failure;
use super::target::{TargetArguments, WorkflowArguments};
use super::{locations, own_files, unpinned_checkpoints};
use crate::diag::{Diagnostic, Diagnostics, SourceText};
use crate::engine::join::Invitation;
use crate::engine::price::short::{Foreseen, ShortStage, foreseen};
use crate::quantity::count;
use crate::remote::lock::Lock;
use crate::remote::mark;
use crate::report::verdict::{Expected, expected_file};
use crate::stages::registry::Registry;
use crate::ui::paint::Paint;
use crate::workflow::graph::Graph;
use crate::workflow::{LoadOptions, load, load_text};

/// The one node that `pattern` selects.
pub fn one_node(graph: &Graph, pattern: &str) -> Result<NodeIndex, Failure> {
    match graph.select(pattern)?.as_slice() {
        [node] => Ok(*node),
        nodes => {
            let message = format!("`{pattern}` is {}", count(nodes.len(), "node"));
            Err(Failure::usage("several-nodes", message).hint("select one of them"))
        }
    }
}

/// The graph of the nodes that `arguments` select and of their dependencies. Warnings go to
/// standard error.
pub fn graph(
    arguments: &TargetArguments,
    common: &Common,
    registry: &Registry,
) -> Result<Graph, Failure> {
    let (graph, warnings) = checked(&arguments.workflow, &arguments.targets, registry)?;
    warn(warnings, common);
    Ok(graph)
}

/// The graph of all stages, regardless of the goals of a profile.
pub fn whole(
    arguments: &WorkflowArguments,
    common: &Common,
    registry: &Registry,
) -> Result<Graph, Failure> {
    let (graph, warnings) = locked(arguments, &all_stages(arguments), registry)?;
    warn(warnings, common);
    Ok(graph)
}

/// The graph of all stages, without the lock file.
fn unlocked(arguments: &WorkflowArguments, registry: &Registry) -> Result<Graph, Failure> {
    let options = all_stages(arguments);
    Ok(load(&arguments.file, &options, registry.kinds())?.0)
}

/// The graphs of all stages, for the file and for each of its profiles, without the lock file.
pub fn every_profile(file: &Path, registry: &Registry) -> Result<Vec<Graph>, Failure> {
    let mut graphs = vec![unlocked(&with_profile(file, None), registry)?];
    for profile in graphs[0].known_profiles.clone() {
        graphs.push(unlocked(&with_profile(file, Some(profile)), registry)?);
    }
    Ok(graphs)
}

/// The graph of all stages with `arguments`, then those of the file alone and of each of its
/// profiles. Invalid ones are left out.
pub fn variants(arguments: &WorkflowArguments, registry: &Registry) -> Result<Vec<Graph>, Failure> {
    let first = unlocked(arguments, registry)?;
    let profiles = first.known_profiles.clone().into_iter().map(Some);
    let others = std::iter::once(None).chain(profiles).filter_map(|profile| {
        let arguments = with_profile(&arguments.file, profile);
        unlocked(&arguments, registry).ok()
    });
    let others: Vec<Graph> = others.collect();
    Ok(std::iter::once(first).chain(others).collect())
}

fn with_profile(file: &Path, profile: Option<String>) -> WorkflowArguments {
    WorkflowArguments {
        file: file.to_path_buf(),
        sets: Vec::new(),
        profiles: profile.into_iter().collect(),
    }
}

/// A graph whose nodes can run.
pub struct Ready {
    pub graph: Graph,
    pub warnings: Vec<Diagnostic>,
    /// Stages with trainings that end before their warm-up.
    pub short: Vec<ShortStage>,
}

/// As [`checked`], for commands that run nodes or say what a run would do: the files of the workflow
/// must be there, except those that the lock file stands for, and parameters must fit the models that
/// are known.
pub fn ready(
    arguments: &WorkflowArguments,
    targets: &[String],
    registry: &Registry,
) -> Result<Ready, Failure> {
    let (graph, warnings) = checked(arguments, targets, registry)?;
    if !own_files::are_there(&graph) {
        // Reports all of them, at their places.
        let options = LoadOptions {
            check_files: true,
            ..options(arguments, targets)
        };
        load(&arguments.file, &options, registry.kinds())?;
    }
    let mut problems = own_files::bad_locks(&graph);
    let Foreseen { short, misfits } = foreseen(&graph, registry);
    problems.extend(misfits);
    match problems.is_empty() {
        true => Ok(Ready {
            graph,
            warnings,
            short,
        }),
        false => Err(Diagnostics(problems).into()),
    }
}

/// The graph of `targets`, with warnings.
pub fn checked(
    arguments: &WorkflowArguments,
    targets: &[String],
    registry: &Registry,
) -> Result<(Graph, Vec<Diagnostic>), Failure> {
    locked(arguments, &options(arguments, targets), registry)
}

/// The graph with the workflow's lock file applied.
fn locked(
    arguments: &WorkflowArguments,
    options: &LoadOptions,
    registry: &Registry,
) -> Result<(Graph, Vec<Diagnostic>), Failure> {
    refuse_unfinished(&arguments.file)?;
    let (mut graph, warnings) = load(&arguments.file, options, registry.kinds())?;
    unpinned_checkpoints::apply_lock(&mut graph, &arguments.file)?;
    Ok((graph, warnings))
}

/// The graph of a run of another process, from the plan that it left.
pub fn planned(invitation: &Invitation, registry: &Registry) -> Result<Graph, Failure> {
    let options = LoadOptions {
        profiles: invitation.profiles.clone(),
        sets: invitation.overrides.clone(),
        targets: invitation.targets.clone(),
        environment: environment(),
        ..LoadOptions::default()
    };
    let file = &invitation.workflow;
    let source = SourceText::new(file.display().to_string(), invitation.text.clone());
    let (mut graph, _) = load_text(file, source, &options, registry.kinds())?;
    if let Some(lock) = &invitation.lock {
        let lock = Lock::of_bytes(file, lock.clone().into_bytes())?;
        unpinned_checkpoints::take_lock(&mut graph, file, &lock)?;
    }
    Ok(graph)
}

/// Refuses a workflow whose import was interrupted, since parts may be missing.
pub fn refuse_unfinished(file: &Path) -> Result<(), Failure> {
    let Some(marked) = mark::above(file).filter(|marked| !marked.finished) else {
        return Ok(());
    };
    let folder = locations::shown(&marked.folder);
    let message = format!("the import into {folder} is incomplete");
    let hint = format!(
        "import the same bundle again: `ribflow import BUNDLE -o {}`",
        super::invocation::quoted(&folder)
    );
    Err(Failure::usage("unfinished-import", message).hint(hint))
}

fn all_stages(arguments: &WorkflowArguments) -> LoadOptions {
    LoadOptions {
        whole: true,
        ..options(arguments, &[])
    }
}

/// The published values that `graph` names, if any.
pub fn expected(graph: &Graph) -> Result<Option<Expected>, Failure> {
    let file = expected_file(graph);
    Ok(file.map(|file| Expected::read(&file, graph)).transpose()?)
}

fn options(arguments: &WorkflowArguments, targets: &[String]) -> LoadOptions {
    LoadOptions {
        profiles: arguments.profiles.clone(),
        sets: arguments.sets.clone(),
        targets: targets.to_vec(),
        environment: environment(),
        ..LoadOptions::default()
    }
}

/// Prints the warnings of a workflow to standard error.
pub fn warn(warnings: Vec<Diagnostic>, common: &Common) {
    if !common.quiet && !warnings.is_empty() {
        let text = Diagnostics(warnings).render(Paint::for_stderr().color);
        // Failing to print a warning must not stop the command.
        let _ = writeln!(crate::ui::streams::stderr(), "{text}");
    }
}

/// Variables that are not UTF-8 are left out, because `${env.…}` can't represent them.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
