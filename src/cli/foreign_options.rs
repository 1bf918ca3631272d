//! Options and subcommands of other programs: suggests the equivalent of this one.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What users type out of habit, and the suggestion for it.
const FOREIGN: [(&[&str], &str); 3] = [
    (
        &["-n", "--dry-run", "--dryrun"],
        "`ribflow plan FILE` shows what a run would do; `push`, `pull` and `cache gc` take `--dry-run`",
    ),
    (
        &["-j", "--jobs", "--cores"],
        "`--threads N` sets the number of cores for the whole run",
    ),
    (
        &["runs", "history", "log", "logs"],
        "`ribflow status FILE` shows the progress of a workflow and its last run",
    ),
];

/// Adds a tip to `error` if it is about one of these words.
pub fn with_tip(mut error: clap::Error) -> clap::Error {
    let kind = match error.kind() {
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        ErrorKind::InvalidSubcommand => ContextKind::InvalidSubcommand,
        _ => return error,
    };
    let Some(ContextValue::String(word)) = error.get(kind) else {
        return error;
    };
    let word = word.split('=').next().unwrap_or_default();
    let Some((_, tip)) = FOREIGN.iter().find(|(words, _)| words.contains(&word)) else {
        return error;
    };
    // clap's own suggestions (`run` for `runs`) would contradict it.
    for kind in [
        ContextKind::SuggestedArg,
        ContextKind::SuggestedSubcommand,
        ContextKind::TrailingArg,
    ] {
        error.remove(kind);
    }
    let tip = ContextValue::StyledStrs(vec![(*tip).into()]);
    error.insert(ContextKind::Suggested, tip);
    error
}
