//! From the workflow that the command line names to a checked graph.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use super::common::Common;
use super::failure::Failure;
use super::target::{TargetArguments, WorkflowArguments};
use super::{locations, unpinned_checkpoints};
use crate::diag::{Diagnostic, Diagnostics};
use crate::remote::mark;
use crate::report::verdict::{Expected, expected_file};
use crate::stages::registry::Registry;
use crate::ui::paint::Paint;
use crate::workflow::graph::Graph;
use crate::workflow::{LoadOptions, load};

/// The graph of the nodes that `arguments` name and of what they need. Warnings go to standard
/// error.
pub fn graph(
    arguments: &TargetArguments,
    common: &Common,
    registry: &Registry,
) -> Result<Graph, Failure> {
    let (graph, warnings) = checked(&arguments.workflow, &arguments.targets, registry)?;
    warn(warnings, common);
    Ok(graph)
}

/// The graph of all stages, whatever goals a profile has.
pub fn whole(
    arguments: &WorkflowArguments,
    common: &Common,
    registry: &Registry,
) -> Result<Graph, Failure> {
    let (graph, warnings) = locked(arguments, &all_stages(arguments), registry)?;
    warn(warnings, common);
    Ok(graph)
}

/// The graph of all stages as the file alone has it, whatever its lock says.
fn unlocked(arguments: &WorkflowArguments, registry: &Registry) -> Result<Graph, Failure> {
    let options = all_stages(arguments);
    Ok(load(&arguments.file, &options, registry.kinds())?.0)
}

/// The graphs of all stages of a file and of each of its profiles, whatever its lock says.
pub fn every_profile(file: &Path, registry: &Registry) -> Result<Vec<Graph>, Failure> {
    let mut graphs = vec![unlocked(&with_profile(file, None), registry)?];
    for profile in graphs[0].known_profiles.clone() {
        graphs.push(unlocked(&with_profile(file, Some(profile)), registry)?);
    }
    Ok(graphs)
}

/// The graph of all stages as `arguments` ask for it, then those of the file alone and of each of
/// its profiles, as far as they are sound.
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

/// The graph of `targets`, and warnings.
pub fn checked(
    arguments: &WorkflowArguments,
    targets: &[String],
    registry: &Registry,
) -> Result<(Graph, Vec<Diagnostic>), Failure> {
    locked(arguments, &options(arguments, targets), registry)
}

/// The graph with what the workflow's lock says.
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

/// Of a workflow whose import stopped half-way a part may be missing.
pub fn refuse_unfinished(file: &Path) -> Result<(), Failure> {
    let Some(marked) = mark::above(file).filter(|marked| !marked.finished) else {
        return Ok(());
    };
    let folder = locations::shown(&marked.folder);
    let message = format!("the import into {folder} did not come to its end");
    let hint = format!(
        "`ribflow import BUNDLE -o {}` with the same bundle begins again",
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

/// The published values that `graph` names, if it does.
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

/// Says what is odd about a workflow, on standard error.
pub fn warn(warnings: Vec<Diagnostic>, common: &Common) {
    if !common.quiet && !warnings.is_empty() {
        let text = Diagnostics(warnings).render(Paint::for_stderr().color);
        // A warning that can't be shown is no reason to stop.
        let _ = writeln!(crate::ui::streams::stderr(), "{text}");
    }
}

/// What is not UTF-8 is left out: no `${env.…}` could hold it.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
