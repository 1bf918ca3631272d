//! `ribflow export bundle`: a workflow with its results in one file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueHint};
use serde_json::json;

use super::call::Call;
use super::common::Common;
use super::failure::{Exit, Failure};
use super::invocation::quoted;
use super::locations::{self, Locations};
use super::stores;
use super::target::{TargetArguments, WorkflowArguments};
use super::{command_permissions, load, sharing, transfer};
use crate::contract::source::{Source, SourceShape};
use crate::digest::Digest;
use crate::engine;
use crate::fsx;
use crate::quantity::{are, bytes, count};
use crate::remote::bundle::{About, BUNDLE_FORMAT, BundleError, BundleWriter};
use crate::remote::exchange::PushOptions;
use crate::remote::home::Home;
use crate::remote::imported;
use crate::remote::lock::Lock;
use crate::report::verdict::expected_file;
use crate::stages;
use crate::stages::registry::Registry;
use crate::store::ignore::Ignore;
use crate::workflow::graph::Graph;
use crate::workflow::kind::Meaning;

/// What `--help` begins with.
const ABOUT: &str = "\
Write a workflow and its results to one file, for a lab without a shared network

The bundle holds the workflow, its lock file, published values, scripts, and the records of its
nodes, signed with this lab's key. `ribflow import` reads it. Images of an external `dataset`, and
everything derived from them, are included only with `share: true`.";

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow export bundle grid.yaml -o grid.ribbundle           records only: a few megabytes
  ribflow export bundle grid.yaml -o grid.ribbundle --blobs   also models and arrays";

/// Write one file, for a lab without a shared network
#[derive(Clone, Debug, Args)]
#[command(long_about = ABOUT, after_help = EXAMPLES)]
pub struct BundleArguments {
    #[command(flatten)]
    pub target: TargetArguments,

    /// The file to write
    #[arg(short, long = "output", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,

    /// Include the files that the records name: models, arrays, file trees
    #[arg(long)]
    pub blobs: bool,
}

pub fn export(
    arguments: &BundleArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    let registry = stages::registry();
    let graph = load::graph(&arguments.target, common, &registry)?;
    let workflow = &arguments.target.workflow;
    let files = workflow_files(&graph, &workflow.file)?;
    let locations = Locations::of(&workflow.file, common);
    let store = stores::open_read_only(&locations.store, common)?;
    let survey = engine::survey(&graph, &store, &common.device.to_string())?;
    let records = transfer::distinct(survey.into_records().into_values());
    let about = About {
        ribflow_bundle: BUNDLE_FORMAT,
        workflow: file_name(&workflow.file),
        profiles: graph.profiles.clone(),
        overrides: graph.overrides.clone(),
        files: digests(&files),
    };
    let writer = BundleWriter::create(&arguments.output, &about).map_err(failed)?;
    for (relative, content) in &files {
        writer
            .add_workflow_file(relative, content)
            .map_err(failed)?;
    }
    let writer = Arc::new(writer);
    let exchange = sharing::exchange_of("bundle", Box::new(Arc::clone(&writer)))?;
    let pushing = PushOptions {
        records_only: !arguments.blobs,
        dry_run: false,
        check: false,
    };
    let pushed = exchange.push(&exchange.peers()[0], &store, &records, pushing);
    let pushed = pushed.map_err(transfer::refused)?;
    sharing::send_revocations(&exchange);
    sharing::warn_of_refusals(&exchange, &[], common);
    drop(exchange);
    // There are no other references by now.
    let Some(writer) = Arc::into_inner(writer) else {
        return Err(Failure::failed("the bundle is still being written"));
    };
    let size = writer.finish().map_err(failed)?;
    note_own(workflow, &about, &registry, common);
    if common.json {
        let document = json!({
            "bundle": arguments.output.to_string_lossy(),
            "bytes": size,
            "records": pushed.records,
            "blobs": pushed.blobs,
            "withheld": pushed.withheld,
        });
        writeln!(output, "{document}")?;
    } else if !common.quiet {
        writeln!(
            output,
            "{}: {}, {} and {}",
            locations::shown(&arguments.output),
            bytes(size),
            count(pushed.records, "record"),
            count(pushed.blobs, "blob"),
        )?;
        if pushed.absent > 0 {
            writeln!(
                output,
                "{} not in this store, so not in the bundle",
                are(pushed.absent, "blob")
            )?;
        }
        if pushed.withheld > 0 {
            writeln!(output, "{}", sharing::withheld_line(pushed.withheld))?;
        }
        if let Some(line) = unlocked_line(&graph, workflow) {
            writeln!(output, "{line}")?;
        }
    }
    Ok(Exit::Done)
}

/// Notes that the results can't be found where the data is not: without a lock file, its digests are
/// unknown there.
fn unlocked_line(graph: &Graph, workflow: &WorkflowArguments) -> Option<String> {
    // What commands declare is in the bundle.
    let is_data = |source: &Source| {
        matches!(
            source.shape,
            SourceShape::ImageFolder(_)
                | SourceShape::ImageFolderAt { .. }
                | SourceShape::Sharded(_)
                | SourceShape::Tree
        )
    };
    let mut nodes = graph.dag.node_weights();
    let reads_data = nodes.any(|node| node.parameters.sources().iter().any(is_data));
    let file = locations::shown(&workflow.file);
    (reads_data && !Lock::path(&workflow.file).is_file()).then(|| {
        format!(
            "Without its data, {file} does not find these results: `ribflow lock {}` first, and \
             export again.",
            quoted(&file)
        )
    })
}

/// Records that the bundle's content is the user's own, so that importing it on this machine does
/// not mark it as foreign. If this fails, the content counts as foreign.
fn note_own(workflow: &WorkflowArguments, about: &About, registry: &Registry, common: &Common) {
    let Ok(home) = Home::of_user() else {
        return;
    };
    let Ok(graphs) = load::variants(workflow, registry) else {
        return;
    };
    if !graphs
        .iter()
        .all(|graph| command_permissions::is_own(graph, &home))
    {
        return;
    }
    let commands = graphs
        .iter()
        .map(|graph| command_permissions::of(graph, common));
    let commands = commands.flatten().flatten().map(|one| one.terms.digest);
    let own = about.files.values().copied().chain(commands).collect();
    if let Err(error) = imported::note_own(&home, &own) {
        tracing::debug!("could not record that the bundle is your own: {error}");
    }
}

/// The files of a workflow, by their paths relative to its folder.
pub fn workflow_files(graph: &Graph, file: &Path) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let folder = graph.file.parent().unwrap_or(Path::new("/"));
    let mut paths = declared(graph);
    let lock = Lock::path(file);
    let lock = lock.is_file().then(|| folder.join(file_name(&lock)));
    paths.extend(lock.map(|lock| (lock, Ignore::default())));
    let mut files = BTreeMap::new();
    let mut all = Vec::new();
    for (path, ignore) in paths {
        let top = path.clone();
        let mut tree = DeclaredFiles {
            top: &top,
            ignore: &ignore,
            found: &mut all,
        };
        tree.add(path, 0)?;
    }
    for path in all {
        let inside = below(folder, &path).filter(|_| is_really_below(folder, &path));
        let Some(relative) = inside else {
            let message = format!("{} is outside the workflow's folder", path.display());
            return Err(Failure::failed(message).hint("move it beside the workflow file"));
        };
        let content = fsx::read_regular(&path).map_err(in_folder(&path))?;
        files.insert(relative, content);
    }
    Ok(files)
}

/// Whether `path` is below `folder` once all links are resolved.
fn is_really_below(folder: &Path, path: &Path) -> bool {
    match (folder.canonicalize(), path.canonicalize()) {
        (Ok(folder), Ok(path)) => path.starts_with(folder),
        // Reading it will report the problem.
        _ => true,
    }
}

/// The files of a declared file or folder.
struct DeclaredFiles<'a> {
    top: &'a Path,
    ignore: &'a Ignore,
    found: &'a mut Vec<PathBuf>,
}

impl DeclaredFiles<'_> {
    /// Adds a file, or every file below a folder that it does not leave out.
    fn add(&mut self, path: PathBuf, depth: usize) -> Result<(), Failure> {
        // A link to a parent folder would recurse without end.
        const DEEPEST: usize = 64;
        // Nested links to folders could grow without bound.
        const MOST: usize = 100_000;
        let below = path.strip_prefix(self.top).ok().and_then(Path::to_str);
        if below.is_some_and(|below| !below.is_empty() && self.ignore.leaves_out(below)) {
            return Ok(());
        }
        if !path.is_dir() {
            self.found.push(path);
            if self.found.len() > MOST {
                let message =
                    format!("the workflow and its commands declare more than {MOST} files");
                let hint = "links to folders are followed";
                return Err(Failure::failed(message).hint(hint));
            }
            return Ok(());
        }
        if depth > DEEPEST {
            let message = format!("{} is more than {DEEPEST} folders deep", path.display());
            return Err(Failure::failed(message));
        }
        for entry in fs::read_dir(&path).map_err(in_folder(&path))? {
            self.add(entry.map_err(in_folder(&path))?.path(), depth + 1)?;
        }
        Ok(())
    }
}

/// The workflow file, its published values, and the files and folders of its commands.
fn declared(graph: &Graph) -> Vec<(PathBuf, Ignore)> {
    let folder = graph.file.parent().unwrap_or(Path::new("/"));
    let files = std::iter::once(graph.file.clone()).chain(expected_file(graph));
    let mut paths: Vec<(PathBuf, Ignore)> = files.map(|file| (file, Ignore::default())).collect();
    for node in graph.dag.node_weights() {
        if node.kind.meaning() == Meaning::Program {
            let places = command_permissions::shared_sources(node).into_iter();
            paths.extend(places.map(|source| {
                let ignore = Ignore::of(&source.shape);
                (folder.join(source.location), ignore)
            }));
        }
    }
    paths
}

/// The paths, relative to the workflow's folder, of everything that `graphs` declare there.
pub fn declared_paths(graphs: &[Graph]) -> BTreeSet<String> {
    let of_graph = |graph: &Graph| {
        let folder = graph.file.parent().unwrap_or(Path::new("/"));
        let paths = declared(graph).into_iter();
        let paths: Vec<String> = paths.filter_map(|(path, _)| below(folder, &path)).collect();
        paths
    };
    graphs.iter().flat_map(of_graph).collect()
}

/// The path from `folder` to a file below it; `None` for one that is not.
fn below(folder: &Path, path: &Path) -> Option<String> {
    let parts = path.strip_prefix(folder).ok()?.components();
    let names = parts.map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    Some(names.collect::<Option<Vec<&str>>>()?.join("/"))
}

fn digests(files: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Digest> {
    let files = files.iter();
    let digests = files.map(|(relative, content)| (relative.clone(), Digest::of(content)));
    digests.collect()
}

pub fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

pub fn refuse_occupied(folder: &Path) -> Result<(), Failure> {
    let occupied = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    match occupied || folder.is_file() {
        false => Ok(()),
        true => Err(Failure::usage(
            "output-exists",
            format!("{} is not empty", folder.display()),
        )
        .hint("`-o` expects a new or empty folder")),
    }
}

/// Writes a file of the workflow. The caller has checked that the path is relative and has no `..`.
pub fn write_below(folder: &Path, relative: &str, content: &[u8]) -> Result<(), Failure> {
    let path = folder.join(relative);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(in_folder(parent))?;
    }
    fs::write(&path, content).map_err(in_folder(&path))
}

pub fn in_folder(path: &Path) -> impl FnOnce(std::io::Error) -> Failure + '_ {
    |error| Failure::failed(format!("{}: {error}", path.display()))
}

pub fn failed(error: BundleError) -> Failure {
    let failure = Failure::from_error(&error);
    match error {
        BundleError::Name { .. } => failure.hint("give it another name, or move it"),
        _ => failure,
    }
}
