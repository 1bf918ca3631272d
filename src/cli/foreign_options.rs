//! Words that other programs take: what to type here instead.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What is typed out of habit, and what there is for it.
const FOREIGN: [(&[&str], &str); 3] = [
    (
        &["-n", "--dry-run", "--dryrun"],
        "`ribflow plan FILE` shows what a run would do; `push`, `pull` and `cache gc` take `--dry-run`",
    ),
    (
        &["-j", "--jobs", "--cores"],
        "`--threads N` is the number of cores for the whole run",
    ),
    (
        &["runs", "history", "log", "logs"],
        "`ribflow status FILE` shows how far a workflow has come, and its last run",
    ),
];

/// `error` with a tip, where it is about one of these words.
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
    // clap's own guesses (`run` for `runs`) would stand beside it.
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
