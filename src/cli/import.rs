//! `ribflow import`: unpacks a workflow and its results from a bundle.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueHint};
use serde_json::json;

use super::bundle::{declared_paths, failed};
use super::call::Call;
use super::common::Common;
use super::failure::{Exit, Failure};
use super::locations::{self, Locations};
use super::refusals::BUNDLE;
use super::stores;
use super::target::WorkflowArguments;
use super::{command_permissions, load, sharing, transfer};
use crate::digest::Digest;
use crate::quantity::count;
use crate::remote::bundle::{About, BundleReader, Landing, LandingError};
use crate::remote::exchange::{
    Exchange, LookupResult, MOST_UNKNOWN_SIZE, RecordQuery, Refusal, RefusalReason,
};
use crate::remote::home::Home;
use crate::remote::imported;
use crate::remote::lock::Lock;
use crate::remote::user_profile::UserProfileError;
use crate::stages;
use crate::store::{BlobRequest, BlobSource};
use crate::workflow::graph::Graph;
use crate::workflow::kind::Comparison;

/// What `--help` begins with.
const ABOUT: &str = "\
Import a workflow and its results from a bundle

Everything in the bundle is checked before anything is kept: names, sizes and digests, and that a
trusted key has signed every record. Its `command` stages are disabled until you allow them by
digest.";

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow import grid.ribbundle -o grid/
  ribflow trust allow --all grid/grid.yaml     review and allow its commands
  ribflow verify grid/grid.yaml

After an interrupted import, run the same command again. `ribflow trust add NAME:KEY` adds a
trusted key.";

/// Import a workflow and its results from a bundle
#[derive(Clone, Debug, Args)]
#[command(long_about = ABOUT, after_help = EXAMPLES)]
pub struct ImportArguments {
    /// The bundle
    #[arg(value_name = "BUNDLE", value_hint = ValueHint::FilePath)]
    pub bundle: PathBuf,

    /// The folder for the workflow; created if it does not exist
    #[arg(short, long = "output", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub output: PathBuf,
}

pub fn run(
    arguments: &ImportArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    let imported = import(arguments, common, output);
    if let (Err(failure), true) = (&imported, common.json)
        && let Some(document) = failure.document()
    {
        writeln!(output, "{document}")?;
    }
    imported
}

fn import(
    arguments: &ImportArguments,
    common: &Common,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let bundle = Bundle::open(&arguments.bundle)?;
    Landing::check(&arguments.output, &bundle.files).map_err(landing_failed)?;
    let results = bundle.results(common)?;
    // Mark the folder as imported first, whatever happens next.
    let landing = Landing::begin(&arguments.output, &bundle.files).map_err(landing_failed)?;
    let commands = match bundle.prepare(&landing, common) {
        Ok(commands) => commands,
        Err(failure) => {
            landing.abandon();
            return Err(failure);
        }
    };
    let workflow = arguments.output.join(&bundle.about.workflow);
    results.keep(&workflow, common)?;
    landing
        .place(&bundle.files, &bundle.about.workflow)
        .map_err(landing_failed)?;
    landing.finish().map_err(landing_failed)?;
    let summary = ImportSummary {
        workflow,
        records: bundle.reader.keys().len(),
        commands,
        checked: bundle.reader.is_checked(),
    };
    summary.print(common, output)?;
    Ok(Exit::Done)
}

/// A bundle whose names, sizes and checksums have been checked.
struct Bundle {
    reader: Arc<BundleReader>,
    about: About,
    files: BTreeMap<String, Vec<u8>>,
}

impl Bundle {
    fn open(path: &Path) -> Result<Self, Failure> {
        let reader = BundleReader::open(path).map_err(failed)?;
        Ok(Self {
            about: reader.about().clone(),
            files: reader.workflow_files().map_err(failed)?,
            reader: Arc::new(reader),
        })
    }

    /// Its records and blobs. Fails unless every record is trusted and no blob is damaged.
    fn results(&self, common: &Common) -> Result<Results, Failure> {
        let keys = self.reader.keys();
        let asked: Vec<RecordQuery> = keys.iter().map(asked).collect();
        let remote = Box::new(Arc::clone(&self.reader));
        let exchange = Arc::new(sharing::exchange_of(BUNDLE, remote)?);
        let found = exchange.look_up(&asked);
        sharing::warn_of_refusals(&exchange, &found.refused, common);
        if !found.refused.is_empty() || found.taken.len() < keys.len() {
            let refused = keys.len() - found.taken.len();
            let message = format!(
                "{} of {} can't be trusted: nothing was imported",
                count(refused.max(1), "record"),
                count(keys.len(), "record")
            );
            let failure = Failure::failed(message);
            let is_unknown = |refusal: &Refusal| matches!(refusal.why, RefusalReason::Unknown(_));
            return Err(match found.refused.iter().any(is_unknown) {
                true => failure.hint(
                    "add the signer's key with `ribflow trust add NAME:KEY`, under a name of your \
                     choice; then import again",
                ),
                false => failure,
            });
        }
        let wanted = named(&found);
        let sizes = wanted
            .iter()
            .filter_map(|one| Some((one.digest, one.bytes?)));
        if let Some(digest) = self.reader.damaged(&sizes.collect(), MOST_UNKNOWN_SIZE) {
            let message = format!("the bundle is damaged: blob {digest}; nothing was imported");
            return Err(Failure::failed(message));
        }
        Ok(Results {
            exchange,
            found,
            wanted,
        })
    }

    /// Records that the files and commands are imported, before any of them can be run. Returns
    /// the digests of the commands.
    fn prepare(&self, landing: &Landing, common: &Common) -> Result<BTreeSet<Digest>, Failure> {
        let home = Home::of_user().map_err(UserProfileError::from)?;
        let note = |digests: &BTreeSet<Digest>| {
            imported::note(&home, digests).map_err(|error| Failure::from_error(&error))
        };
        note(
            &self
                .files
                .values()
                .map(|content| Digest::of(content))
                .collect(),
        )?;
        let staged = landing.stage(&self.files).map_err(landing_failed)?;
        let commands = self
            .commands(&staged, common)
            .map_err(|failure| failure.reworded(Landing::reworded))?;
        note(&commands)?;
        Ok(commands)
    }

    /// The commands of the staged files. Fails if a file is not declared.
    fn commands(&self, staged: &Path, common: &Common) -> Result<BTreeSet<Digest>, Failure> {
        let graphs = self.graphs(&staged.join(&self.about.workflow))?;
        self.refuse_undeclared(&graphs)?;
        let mut commands = BTreeSet::new();
        for graph in &graphs {
            let found = command_permissions::of(graph, common)?;
            commands.extend(found.iter().map(|one| one.terms.digest));
        }
        Ok(commands)
    }

    /// The workflow as it was exported, alone, and with each of its profiles.
    fn graphs(&self, file: &Path) -> Result<Vec<Graph>, Failure> {
        let exported = WorkflowArguments {
            file: file.to_path_buf(),
            sets: self.about.overrides.clone(),
            profiles: self.about.profiles.clone(),
        };
        load::variants(&exported, &stages::registry())
    }

    fn refuse_undeclared(&self, graphs: &[Graph]) -> Result<(), Failure> {
        let declared = declared_paths(graphs);
        let folder = match self.about.workflow.rsplit_once('/') {
            Some((folder, _)) => format!("{folder}/"),
            None => String::new(),
        };
        let lock = Lock::path(Path::new(&self.about.workflow));
        let is_declared = |path: &&String| {
            let relative = path.strip_prefix(&folder);
            relative.is_some_and(|relative| is_below(&declared, relative))
                || lock == Path::new(path)
        };
        match self.files.keys().find(|path| !is_declared(path)) {
            None => Ok(()),
            Some(path) => {
                let message = format!(
                    "{path:?} in the bundle is not declared by its workflow: nothing was imported"
                );
                Err(Failure::failed(message))
            }
        }
    }
}

/// Records and blobs of a bundle.
struct Results {
    exchange: Arc<Exchange>,
    found: LookupResult,
    wanted: Vec<BlobRequest>,
}

impl Results {
    /// Adds them to the store of `workflow`.
    fn keep(self, workflow: &Path, common: &Common) -> Result<(), Failure> {
        let locations = Locations::of(workflow, common);
        let store = stores::open_store(&locations.store)?;
        store.set_blob_source(self.exchange as Arc<dyn BlobSource>);
        transfer::fetch(&store, &self.wanted);
        let taken = self.found.taken.into_values();
        let outcomes: Vec<_> = taken.flat_map(|taken| taken.outcomes).collect();
        store
            .adopt(&outcomes)
            .map_err(|error| Failure::from_error(&error))
    }
}

/// A request without a comparison, which matters only if several labs have to agree.
fn asked(key: &Digest) -> RecordQuery {
    RecordQuery {
        key: *key,
        comparison: Comparison::BitEqual,
    }
}

fn named(found: &LookupResult) -> Vec<BlobRequest> {
    let outcomes = found.taken.values().flat_map(|taken| &taken.outcomes);
    let ports = outcomes.flat_map(|outcome| outcome.record.ports.values());
    let wanted: BTreeSet<_> = ports.flat_map(transfer::wanted_of).collect();
    wanted.into_iter().collect()
}

/// What was imported.
struct ImportSummary {
    workflow: PathBuf,
    records: usize,
    commands: BTreeSet<Digest>,
    checked: bool,
}

impl ImportSummary {
    fn print(&self, common: &Common, output: &mut dyn Write) -> Result<(), Failure> {
        if !self.checked && !common.quiet {
            // Failing to print a warning must not stop the command.
            let _ = writeln!(
                std::io::stderr(),
                "warning: the bundle has no digests of the workflow's files, because an older version \
                 of ribflow or another program created it; changes to them can't be detected"
            );
        }
        if common.json {
            let document = json!({
                "workflow": self.workflow.to_string_lossy(),
                "records": self.records,
                "commands": self.commands,
                "checked": self.checked,
            });
            writeln!(output, "{document}")?;
        } else if !common.quiet {
            let shown = locations::shown(&self.workflow);
            writeln!(output, "{shown}: {}", count(self.records, "record"))?;
            if !self.commands.is_empty() {
                writeln!(
                    output,
                    "disabled until you allow them: {}; `ribflow trust allow --all {}` shows them",
                    count(self.commands.len(), "command stage"),
                    super::invocation::quoted(&shown)
                )?;
            }
        }
        Ok(())
    }
}

fn landing_failed(error: LandingError) -> Failure {
    match &error {
        LandingError::Occupied(_) => Failure::usage("output-exists", error.to_string())
            .hint("`-o` expects a new or empty folder"),
        LandingError::Another { .. } => Failure::usage("output-exists", error.to_string())
            .hint("import the same bundle again, or remove the folder"),
        LandingError::Busy(_) => Failure::failed(error.to_string()),
        LandingError::Io { .. } => Failure::from_error(&error)
            .hint("run `ribflow import` again with the same bundle and folder"),
    }
}

/// Whether a path is declared or is in a declared folder.
fn is_below(declared: &BTreeSet<String>, path: &str) -> bool {
    let ends = path.match_indices('/').map(|(end, _)| end);
    let mut paths = ends.chain([path.len()]).map(|end| &path[..end]);
    paths.any(|path| declared.contains(path))
}
