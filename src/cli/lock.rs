//! `ribflow lock FILE`: write down what a workflow takes from outside: which commits the moving
//! names in it are, and the digests of its data.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::arguments::{Common, LockArguments};
use super::failure::{Exit, Failure};
use super::pins::{self, Loose};
use super::places::Places;
use super::{load, places};
use crate::remote::lock::{Lock, LockedCheckpoint, LockedSource};
use crate::stages;
use crate::stages::checkpoint::{is_commit, look_up};
use crate::store::StatCache;
use crate::ui::words::count;
use crate::workflow::graph::{Graph, Node, source_selection};
use crate::workflow::kind::Source;

pub fn run(
    arguments: &LockArguments,
    common: &Common,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let file = &arguments.file;
    let known = match arguments.update {
        true => None,
        false => Lock::read(file)?,
    };
    let known = known.unwrap_or_else(|| Lock::of(Vec::new(), Vec::new()));
    let graphs = load::every_profile(file, &stages::registry())?;
    let loose: BTreeSet<Loose> = graphs.iter().flat_map(pins::loose).collect();
    let mut checkpoints = Vec::new();
    for loose in loose {
        let locked = match known.find(&loose.hub, &loose.revision, &loose.file) {
            Some(locked) => locked.clone(),
            None => resolved(&loose)?,
        };
        if !common.quiet && !common.json {
            let Loose { hub, revision, .. } = &loose;
            writeln!(output, "{hub} {revision}: {}", locked.commit)?;
        }
        checkpoints.push(locked);
    }
    let Surveyed { sources, missing } = sources(&graphs, &known, file, common)?;
    let number = (checkpoints.len(), sources.len());
    let lock = Lock::of(checkpoints, sources);
    let path = lock.write(file)?;
    if common.json {
        let told = json!({
            "lock": path,
            "checkpoints": number.0,
            "sources": number.1,
            "not_locked": missing,
        });
        writeln!(output, "{told}")?;
    } else if !common.quiet {
        for (node, why) in &missing {
            writeln!(output, "not locked: {node}: {why}")?;
        }
        let mut parts = vec![count(number.0, "checkpoint")];
        if number.1 > 0 {
            parts.push(count(number.1, "source"));
        }
        let written = places::shown(&path);
        writeln!(output, "{written}: {}", parts.join(", "))?;
    }
    Ok(Exit::Done)
}

/// Digests of outside data, and of what there are none, by node.
#[derive(Default)]
struct Surveyed {
    sources: Vec<LockedSource>,
    missing: BTreeMap<String, String>,
}

/// What the outside data of all nodes is. What is known stays; data that is not here is told.
fn sources(
    graphs: &[Graph],
    known: &Lock,
    workflow: &Path,
    common: &Common,
) -> Result<Surveyed, Failure> {
    let places = Places::of(workflow, common);
    let quiet = Common {
        quiet: true,
        ..common.clone()
    };
    let store = places::look_at_store(&places.store, &quiet)?;
    let stats = StatCache::open(&store);
    let mut surveyed = Surveyed::default();
    let mut seen = BTreeSet::new();
    for graph in graphs {
        let base = graph.file.parent().unwrap_or(Path::new("/"));
        for node in graph.dag.node_weights() {
            for source in node.parameters.sources() {
                let parameters = source_selection(node, &source);
                if !seen.insert((node.id.clone(), source.name.clone(), parameters)) {
                    continue;
                }
                let mut entries = known.sources.iter();
                let entry = entries.find(|known| {
                    (&known.node, &known.source, &known.parameters)
                        == (&node.id, &source.name, &parameters)
                });
                match entry
                    .cloned()
                    .map_or_else(|| look(node, &source, &stats, base), Ok)
                {
                    Ok(locked) => surveyed.sources.push(locked),
                    Err(why) => {
                        surveyed.missing.insert(node.id.clone(), why);
                    }
                }
            }
        }
    }
    // Only ever a help to later commands.
    if let Err(error) = stats.save() {
        tracing::warn!("the stat cache could not be kept: {error}");
    }
    Ok(surveyed)
}

/// The digest of a source as it lies here, or why there is none.
fn look(
    node: &Node,
    source: &Source,
    stats: &StatCache,
    base: &Path,
) -> Result<LockedSource, String> {
    if !node.missing_env.is_empty() {
        return Err(format!("{} is not set", node.missing_env.join(", ")));
    }
    // What is written down for others is looked at in full.
    let unsealed = Source {
        sealed: false,
        ..source.clone()
    };
    let found = stats
        .identify(&unsealed, base)
        .map_err(|error| error.to_string())?;
    Ok(LockedSource {
        node: node.id.clone(),
        source: source.name.clone(),
        parameters: source_selection(node, source),
        digest: found.digest,
        files: found.files as usize,
        bytes: found.bytes,
    })
}

fn resolved(loose: &Loose) -> Result<LockedCheckpoint, Failure> {
    let Loose {
        hub,
        revision,
        file,
    } = loose.clone();
    let found = look_up(&hub, &revision, &file).map_err(|error| Failure::from_error(&error))?;
    let commit = found.commit.filter(|commit| is_commit(commit));
    let Some(commit) = commit else {
        let message = format!("{hub}: the hub does not say which commit `{revision}` is");
        return Err(
            Failure::failed(message).hint("pin it by hand: `revision:` a commit, or `digest:`")
        );
    };
    Ok(LockedCheckpoint {
        hub,
        revision,
        file,
        commit,
        digest: found.sha256.map(|digest| format!("sha256:{digest}")),
    })
}
