//! `ribflow lock FILE`: look up what the moving names in a workflow stand for, and write it down.

use std::collections::BTreeSet;
use std::io::Write;

use super::arguments::{Common, LockArguments, WorkflowArguments};
use super::failure::{Exit, Failure};
use super::pins::{self, Loose};
use super::{load, places};
use crate::remote::lock::{Lock, LockedCheckpoint};
use crate::stages;
use crate::stages::checkpoint::{is_commit, look_up};
use crate::ui::words::count;

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
    let known = known.unwrap_or_else(|| Lock::of(Vec::new()));
    let mut checkpoints = Vec::new();
    for loose in all_loose(arguments)? {
        let locked = match known.find(&loose.hub, &loose.revision, &loose.file) {
            Some(locked) => locked.clone(),
            None => resolved(&loose)?,
        };
        if !common.quiet {
            let Loose { hub, revision, .. } = &loose;
            writeln!(output, "{hub} {revision}: {}", locked.commit)?;
        }
        checkpoints.push(locked);
    }
    let number = checkpoints.len();
    let lock = Lock::of(checkpoints);
    let path = lock.write(file)?;
    if !common.quiet {
        let written = places::shown(&path);
        writeln!(output, "{written}: {}", count(number, "checkpoint"))?;
    }
    Ok(Exit::Done)
}

/// The checkpoints of the file and of all its profiles that are named by a branch or a tag.
fn all_loose(arguments: &LockArguments) -> Result<BTreeSet<Loose>, Failure> {
    let registry = stages::registry();
    let with = |profiles: Vec<String>| WorkflowArguments {
        file: arguments.file.clone(),
        sets: Vec::new(),
        profiles,
    };
    let graph = load::unlocked(&with(Vec::new()), &registry)?;
    let mut loose: BTreeSet<Loose> = pins::loose(&graph).collect();
    for profile in &graph.known_profiles {
        let graph = load::unlocked(&with(vec![profile.clone()]), &registry)?;
        loose.extend(pins::loose(&graph));
    }
    Ok(loose)
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
