//! `ribflow lock FILE`: pins the external inputs of a workflow in a lock file: the commits of
//! branches and tags, and the digests of its data.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use serde::Serialize;
use serde_json::json;

use super::call::Call;
use super::common::Common;
use super::failure::{Exit, Failure};
use super::invocation::quoted;
use super::locations::Locations;
use super::stores;
use super::unpinned_checkpoints::{self, UnpinnedCheckpoint};
use super::{load, locations};
use crate::contract::source::Source;
use crate::digest::Digest;
use crate::quantity::count;
use crate::remote::lock::{Lock, LockedCheckpoint, LockedSource};
use crate::stages;
use crate::stages::checkpoint::{is_commit, look_up};
use crate::store::StatCache;
use crate::workflow::graph::{Graph, Node, source_selection};

/// What `--help` begins with.
const ABOUT: &str = "\
Pin external inputs in a lock file

Writes FILE.lock, which covers the workflow and all its profiles:

  checkpoints   for checkpoints on a hub that are named by a branch or tag: the commit and the
                digest that the hub reports; nothing is downloaded
  data          the digest of every folder and file that the workflow reads

With the lock file, users without the data and the checkpoints can plan, pull, report and verify.
Data that is present must match the lock file.";

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow lock grid.yaml            once, and after adding a checkpoint or a dataset
  ribflow lock grid.yaml --update   to use newer commits or changed data

HF_ENDPOINT selects another hub than huggingface.co; HF_TOKEN is the token for it.";

/// Pin external inputs in a lock file
#[derive(Clone, Debug, Args)]
#[command(long_about = ABOUT, after_help = EXAMPLES)]
pub struct LockArguments {
    /// The workflow file
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,

    /// Look up entries again that the lock file already has
    #[arg(long)]
    pub update: bool,
}

pub fn run(
    arguments: &LockArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    let file = &arguments.file;
    load::refuse_unfinished(file)?;
    let nothing = || Lock::of(Vec::new(), Vec::new());
    let (known, before) = match arguments.update {
        // An unreadable lock file is rewritten.
        true => (nothing(), Lock::read(file).ok().flatten()),
        false => (Lock::read(file)?.unwrap_or_else(nothing), None),
    };
    let graphs = load::every_profile(file, &stages::registry())?;
    let unpinned: BTreeSet<UnpinnedCheckpoint> = graphs
        .iter()
        .flat_map(unpinned_checkpoints::in_graph)
        .collect();
    let mut checkpoints = Vec::new();
    for checkpoint in unpinned {
        let locked = match known.find(&checkpoint.hub, &checkpoint.revision, &checkpoint.file) {
            Some(locked) => locked.clone(),
            None => resolve(&checkpoint)?,
        };
        if !common.quiet && !common.json {
            let UnpinnedCheckpoint { hub, revision, .. } = &checkpoint;
            writeln!(output, "{hub} {revision}: {}", locked.commit)?;
        }
        checkpoints.push(locked);
    }
    let mut surveyed = sources(&graphs, &known, file, common)?;
    let lock = Lock::of(checkpoints, std::mem::take(&mut surveyed.sources));
    if let Some(before) = before {
        surveyed.changed = changed_sources(&before, &lock);
    }
    let is_empty = lock.checkpoints.is_empty() && lock.sources.is_empty();
    if is_empty && !surveyed.missing.is_empty() {
        return Err(nothing_to_lock(&surveyed.missing));
    }
    let path = match is_empty && !Lock::path(file).exists() {
        true => None,
        false => Some(lock.write(file)?),
    };
    let changes = LockChanges {
        lock,
        path,
        changed: surveyed.changed,
        missing: surveyed.missing,
    };
    changes.print(arguments, common, output)?;
    match changes.changed.is_empty() || arguments.update {
        true => Ok(Exit::Done),
        false => {
            let file = quoted(&file.display().to_string());
            let message = "the data here differs from the lock file, which was not changed";
            Err(Failure::failed(message).hint(format!(
                "`ribflow lock {file} --update` locks the data as it is now"
            )))
        }
    }
}

/// The workflow has external data, and none of it is here.
fn nothing_to_lock(missing: &BTreeMap<String, String>) -> Failure {
    let why = missing.iter().next();
    let why = why.map_or(String::new(), |(node, why)| format!("; {node}: {why}"));
    let message = format!(
        "none of the data is here (missing for {}), so there is nothing to lock{why}",
        count(missing.len(), "node")
    );
    Failure::failed(message)
        .hint("run `ribflow lock` where the data is, and copy the lock file with the workflow")
}

/// Data that differs from the lock file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Changed {
    node: String,
    source: String,
    /// The digest in the lock file.
    locked: Digest,
    found: Digest,
}

/// The sources of `before` whose digest has changed.
fn changed_sources(before: &Lock, now: &Lock) -> Vec<Changed> {
    let pairs = now.sources.iter().filter_map(|source| {
        let locked = before.sources.iter().find(|one| one.is_of_same(source))?;
        (locked.digest != source.digest).then(|| Changed {
            node: source.node.clone(),
            source: source.source.clone(),
            locked: locked.digest,
            found: source.digest,
        })
    });
    pairs.collect()
}

/// The result of the command.
struct LockChanges {
    lock: Lock,
    /// Where the lock file was written; `None` if there is nothing to lock.
    path: Option<PathBuf>,
    changed: Vec<Changed>,
    missing: BTreeMap<String, String>,
}

impl LockChanges {
    fn print(
        &self,
        arguments: &LockArguments,
        common: &Common,
        output: &mut dyn Write,
    ) -> Result<(), Failure> {
        let number = (self.lock.checkpoints.len(), self.lock.sources.len());
        if common.json {
            let document = json!({
                "lock": self.path,
                "checkpoints": number.0,
                "sources": number.1,
                "changed": self.changed,
                "not_locked": self.missing,
            });
            return Ok(writeln!(output, "{document}")?);
        }
        if common.quiet {
            return Ok(());
        }
        for Changed {
            node,
            source,
            locked,
            found,
        } in &self.changed
        {
            let (was, is) = match arguments.update {
                true => ("was", "is now"),
                false => ("locked", "here"),
            };
            writeln!(
                output,
                "changed: {node}: {source}: {was} {}, {is} {}",
                locked.short(),
                found.short()
            )?;
        }
        for (node, why) in &self.missing {
            writeln!(output, "not locked: {node}: {why}")?;
        }
        let Some(path) = &self.path else {
            let file = arguments.file.display();
            writeln!(
                output,
                "{file} has no external inputs, so it needs no lock file"
            )?;
            return Ok(());
        };
        let mut parts = vec![count(number.0, "checkpoint")];
        if number.1 > 0 {
            parts.push(count(number.1, "source"));
        }
        let written = locations::shown(path);
        writeln!(output, "{written}: {}", parts.join(", "))?;
        Ok(())
    }
}

/// Digests of external data, and the nodes whose data is missing.
#[derive(Default)]
struct SourceSurvey {
    sources: Vec<LockedSource>,
    /// Locked data that differs here.
    changed: Vec<Changed>,
    missing: BTreeMap<String, String>,
}

impl SourceSurvey {
    /// Keeps entries that are already locked, and notes data that differs from them.
    fn add(
        &mut self,
        node: &Node,
        known: Option<&LockedSource>,
        found: Result<LockedSource, String>,
    ) {
        match (known, found) {
            (Some(known), found) => {
                if let Ok(found) = found.as_ref()
                    && found.digest != known.digest
                {
                    self.changed.push(Changed {
                        node: known.node.clone(),
                        source: known.source.clone(),
                        locked: known.digest,
                        found: found.digest,
                    });
                }
                self.sources.push(known.clone());
            }
            (None, Ok(found)) => self.sources.push(found),
            (None, Err(why)) => {
                self.missing.insert(node.id.clone(), why);
            }
        }
    }
}

/// Surveys the external data of all nodes. Locked entries stay; missing data is noted.
fn sources(
    graphs: &[Graph],
    known: &Lock,
    workflow: &Path,
    common: &Common,
) -> Result<SourceSurvey, Failure> {
    let locations = Locations::of(workflow, common);
    let quiet = Common {
        quiet: true,
        ..common.clone()
    };
    let store = stores::open_read_only(&locations.store, &quiet)?;
    let stats = StatCache::open(&store);
    let mut surveyed = SourceSurvey::default();
    let mut seen = BTreeSet::new();
    for graph in graphs {
        let base = graph.file.parent().unwrap_or(Path::new("/"));
        for node in graph.dag.node_weights() {
            for source in node.parameters.sources() {
                let parameters = source_selection(node, &source);
                if !seen.insert((node.id_by_value(), source.name.clone(), parameters)) {
                    continue;
                }
                let found = digest_of(node, &source, &stats, base);
                let id = node.id_by_value();
                let mut entries = known.sources.iter();
                let entry = entries.find(|known| {
                    (&known.node, &known.source, &known.parameters)
                        == (&id, &source.name, &parameters)
                });
                surveyed.add(node, entry, found);
            }
        }
    }
    // This only speeds up later commands.
    if let Err(error) = stats.save() {
        tracing::warn!("the stat cache could not be saved: {error}");
    }
    Ok(surveyed)
}

/// The digest of a source as it is on this machine, or why there is none.
fn digest_of(
    node: &Node,
    source: &Source,
    stats: &StatCache,
    base: &Path,
) -> Result<LockedSource, String> {
    if !node.missing_env.is_empty() {
        return Err(format!("{} is not set", node.missing_env.join(", ")));
    }
    // The lock file is for others, so hash every file, sealed or not.
    let unsealed = Source {
        sealed: false,
        ..source.clone()
    };
    let found = stats
        .identify(&unsealed, base)
        .map_err(|error| error.to_string())?;
    Ok(LockedSource {
        node: node.id_by_value(),
        source: source.name.clone(),
        parameters: source_selection(node, source),
        digest: found.digest,
        files: found.files as usize,
        bytes: found.bytes,
    })
}

fn resolve(checkpoint: &UnpinnedCheckpoint) -> Result<LockedCheckpoint, Failure> {
    let UnpinnedCheckpoint {
        hub,
        revision,
        file,
    } = checkpoint.clone();
    let found = look_up(&hub, &revision, &file).map_err(|error| Failure::from_error(&error))?;
    let commit = found.commit.filter(|commit| is_commit(commit));
    let Some(commit) = commit else {
        let message = format!("{hub}: the hub does not report the commit of `{revision}`");
        return Err(Failure::failed(message)
            .hint("pin it by hand: set `revision:` to a commit, or add a `digest:`"));
    };
    Ok(LockedCheckpoint {
        hub,
        revision,
        file,
        commit,
        digest: found.sha256.map(|digest| format!("sha256:{digest}")),
    })
}
