//! `ribflow export bundle` and `ribflow import`: a workflow with its results in one file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueHint};
use serde_json::json;

use super::arguments::{Common, TargetArguments};
use super::failure::{Exit, Failure};
use super::places::{self, Places};
use super::{commands, examples, load, sharing, transfer};
use crate::engine;
use crate::remote::bundle::{About, BUNDLE_FORMAT, BundleReader, BundleWriter};
use crate::remote::exchange::{Asked, Found, MOST_UNTOLD, Pushing};
use crate::remote::lock::Lock;
use crate::report::verdict::expected_file;
use crate::stages;
use crate::store::Elsewhere;
use crate::ui::words::{are, bytes, count};
use crate::workflow::graph::Graph;
use crate::workflow::kind::Comparison;

#[derive(Clone, Debug, Args)]
#[command(after_help = examples::EXPORT_BUNDLE)]
pub struct BundleArguments {
    #[command(flatten)]
    pub target: TargetArguments,

    /// The file to write
    #[arg(short, long = "output", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,

    /// With the files that the records name: models, arrays, trees of files
    #[arg(long)]
    pub blobs: bool,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = examples::IMPORT)]
pub struct ImportArguments {
    /// The bundle
    #[arg(value_name = "BUNDLE", value_hint = ValueHint::FilePath)]
    pub bundle: PathBuf,

    /// The folder for its workflow; made where there is none
    #[arg(short, long = "output", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub output: PathBuf,
}

pub fn export(
    arguments: &BundleArguments,
    common: &Common,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let registry = stages::registry();
    let graph = load::graph(&arguments.target, common, &registry)?;
    let workflow = &arguments.target.workflow;
    let files = workflow_files(&graph, &workflow.file)?;
    let places = Places::of(&workflow.file, common);
    let store = places::look_at_store(&places.store, common)?;
    let survey = engine::survey(&graph, &store, &common.device.to_string())?;
    let records = transfer::distinct(survey.into_records().into_values());
    let about = About {
        ribflow_bundle: BUNDLE_FORMAT,
        workflow: file_name(&workflow.file),
        profiles: graph.profiles.clone(),
    };
    let writer = BundleWriter::create(&arguments.output, &about).map_err(failed)?;
    for (relative, content) in &files {
        writer
            .add_workflow_file(relative, content)
            .map_err(failed)?;
    }
    let writer = Arc::new(writer);
    let exchange = sharing::exchange_of("bundle", Box::new(Arc::clone(&writer)))?;
    let pushing = Pushing {
        records_only: !arguments.blobs,
        dry_run: false,
    };
    let pushed = exchange.push(&exchange.neighbours()[0], &store, &records, pushing);
    let pushed = pushed.map_err(transfer::refused)?;
    sharing::pass_on(&exchange);
    sharing::tell(&exchange, &[], common);
    drop(exchange);
    // Nobody else holds it any more.
    let Some(writer) = Arc::into_inner(writer) else {
        return Err(Failure::failed("the bundle is still being written"));
    };
    let size = writer.finish().map_err(failed)?;
    if common.json {
        let told = json!({
            "bundle": arguments.output,
            "bytes": size,
            "records": pushed.records,
            "blobs": pushed.blobs,
            "withheld": pushed.withheld,
        });
        writeln!(output, "{told}")?;
    } else if !common.quiet {
        writeln!(
            output,
            "{}: {}, {} and {}",
            places::shown(&arguments.output),
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
            writeln!(
                output,
                "{} stayed here: a dataset's licence keeps them (`share:`)",
                count(pushed.withheld, "blob")
            )?;
        }
    }
    Ok(Exit::Done)
}

pub fn import(
    arguments: &ImportArguments,
    common: &Common,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let imported = take_in(arguments, common, output);
    if let (Err(failure), true) = (&imported, common.json)
        && let Some(document) = failure.document()
    {
        writeln!(output, "{document}")?;
    }
    imported
}

fn take_in(
    arguments: &ImportArguments,
    common: &Common,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    refuse_occupied(&arguments.output)?;
    let reader = BundleReader::open(&arguments.bundle).map_err(failed)?;
    let about = reader.about().clone();
    let workflow = arguments.output.join(&about.workflow);
    let files = reader
        .workflow_files()
        .map_err(|error| Failure::from_error(&error))?;
    let keys = reader.keys();
    let asked: Vec<Asked> = keys.iter().map(asked).collect();
    let reader = Arc::new(reader);
    let exchange = Arc::new(sharing::exchange_of(
        "bundle",
        Box::new(Arc::clone(&reader)),
    )?);
    let found = exchange.look_up(&asked);
    sharing::tell(&exchange, &found.refused, common);
    if !found.refused.is_empty() || found.taken.len() < keys.len() {
        let refused = keys.len() - found.taken.len();
        let message = format!(
            "{} of {} can't be trusted: nothing was imported",
            count(refused.max(1), "record"),
            count(keys.len(), "record")
        );
        return Err(Failure::failed(message));
    }
    let wanted = named(&found);
    let sizes = wanted
        .iter()
        .filter_map(|one| Some((one.digest, one.bytes?)));
    if let Some(digest) = reader.damaged(&sizes.collect(), MOST_UNTOLD) {
        let message = format!("the bundle is damaged: blob {digest}; nothing was imported");
        return Err(Failure::failed(message));
    }
    // The folder is made first, so that the store may lie in it.
    fs::create_dir_all(&arguments.output).map_err(in_folder(&arguments.output))?;
    let places = Places::of(&workflow, common);
    let store = places::open_store(&places.store)?;
    store.look_elsewhere(Arc::clone(&exchange) as Arc<dyn Elsewhere>);
    transfer::fetch(&store, &wanted);
    for (relative, content) in &files {
        write_below(&arguments.output, relative, content)?;
    }
    let outcomes = found.taken.into_values().flat_map(|taken| taken.outcomes);
    store
        .adopt(&outcomes.collect::<Vec<_>>())
        .map_err(|error| Failure::from_error(&error))?;
    let commands = note_commands(&workflow, common)?;
    if common.json {
        let told = json!({
            "workflow": workflow,
            "records": keys.len(),
            "commands": commands,
        });
        writeln!(output, "{told}")?;
    } else if !common.quiet {
        let shown = places::shown(&workflow);
        writeln!(output, "{shown}: {}", count(keys.len(), "record"))?;
        if !commands.is_empty() {
            writeln!(
                output,
                "off until you allow them: {}; `ribflow run` shows each of them",
                count(commands.len(), "command stage")
            )?;
        }
    }
    Ok(Exit::Done)
}

/// How outcomes compare matters only where several labs have to agree.
fn asked(key: &crate::digest::Digest) -> Asked {
    Asked {
        key: *key,
        comparison: Comparison::BitEqual,
    }
}

fn named(found: &Found) -> Vec<crate::store::Wanted> {
    let outcomes = found.taken.values().flat_map(|taken| &taken.outcomes);
    let ports = outcomes.flat_map(|outcome| outcome.record.ports.values());
    let wanted: BTreeSet<_> = ports.flat_map(transfer::wanted_of).collect();
    wanted.into_iter().collect()
}

/// Notes the `command` stages of an imported workflow, those of every profile, and the file: they
/// run only once they are allowed.
fn note_commands(workflow: &Path, common: &Common) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for graph in load::every_profile(workflow, &stages::registry())? {
        found.extend(commands::of(&graph, common)?);
    }
    commands::note_imported(workflow, &found)?;
    let digests: BTreeSet<String> = found.iter().map(|one| one.digest.to_hex()).collect();
    Ok(digests.into_iter().collect())
}

/// The files that a workflow consists of, by their paths relative to its folder.
pub fn workflow_files(graph: &Graph, file: &Path) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let folder = graph.file.parent().unwrap_or(Path::new("/"));
    let mut paths = vec![graph.file.clone()];
    let lock = Lock::path(file);
    paths.extend(lock.is_file().then(|| folder.join(file_name(&lock))));
    paths.extend(expected_file(graph));
    for node in graph.dag.node_weights() {
        if node.kind.name() == commands::KIND {
            let sources = node.parameters.sources().into_iter();
            let places = sources.filter(|source| !source.location.as_os_str().is_empty());
            paths.extend(places.map(|source| folder.join(source.location)));
        }
    }
    let mut files = BTreeMap::new();
    for path in paths {
        let relative = path.strip_prefix(folder).ok().and_then(Path::to_str);
        let relative = relative.filter(|relative| !relative.contains(".."));
        let Some(relative) = relative else {
            let message = format!("{} lies outside the workflow's folder", path.display());
            return Err(Failure::failed(message).hint("move it beside the workflow file"));
        };
        let content = fs::read(&path).map_err(in_folder(&path))?;
        files.insert(relative.to_string(), content);
    }
    Ok(files)
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
        .hint("`-o` takes a folder that is new or empty")),
    }
}

/// Writes a file of the workflow. The path has been checked to be plain.
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

fn failed(error: crate::remote::bundle::BundleError) -> Failure {
    Failure::from_error(&error)
}
