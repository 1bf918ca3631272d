//! Warnings about records of remotes that were refused, and about labs whose results differ: one
//! line for each signer and reason, not for each record.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use crate::diag::listed;
use crate::digest::Digest;
use crate::quantity::count;
use crate::remote::exchange::{Agreement, Refusal, RefusalReason};
use crate::remote::keys::is_name;
use crate::remote::signing::PublicKey;
use crate::remote::trust::Trust;
use crate::ui::paint::Paint;
use crate::ui::streams;
use crate::ui::text::printable;

/// The maximum number of lines of one kind, and of characters of quoted text.
const MOST_LINES: usize = 8;
const MOST_LETTERS: usize = 200;

/// The name of a bundle in place of the name of a remote. It is not a lab.
pub const BUNDLE: &str = "bundle";

/// A message for the user, with a hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub message: String,
    pub hint: Option<String>,
}

/// Writes notices to standard error as warnings.
pub fn warn(notices: &[Notice]) {
    let paint = Paint::for_stderr();
    let mut stderr = streams::stderr();
    for Notice { message, hint } in notices {
        // Failing to print a warning must not stop the command.
        let _ = writeln!(stderr, "{} {message}", paint.yellow("warning:"));
        if let Some(hint) = hint {
            let _ = writeln!(stderr, "{} {hint}", paint.green("hint:"));
        }
    }
}

/// The reasons why records were refused, most frequent first.
pub fn notices(refused: &[Refusal], trust: &Trust) -> Vec<Notice> {
    let mut groups: BTreeMap<(&str, Reason), BTreeSet<(Digest, Digest)>> = BTreeMap::new();
    for refusal in refused {
        for reason in Reason::of(&refusal.why) {
            let group = groups.entry((&refusal.remote, reason)).or_default();
            group.insert((refusal.key, refusal.record));
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, records)| std::cmp::Reverse(records.len()));
    let mut taken: BTreeSet<String> = trust.signers().map(|(_, name)| name.to_string()).collect();
    let shown = groups.iter().take(MOST_LINES);
    let mut notices: Vec<Notice> = shown
        .map(|((remote, reason), records)| reason.notice(remote, records.len(), &mut taken))
        .collect();
    if let Some(rest) = groups.get(MOST_LINES..).filter(|rest| !rest.is_empty()) {
        let records: usize = rest.iter().map(|(_, records)| records.len()).sum();
        let reasons = count(rest.len(), "further reason");
        let message = format!("{} refused for {reasons}", count(records, "record"));
        notices.push(Notice {
            message,
            hint: None,
        });
    }
    notices
}

/// The common reason of several refusals.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    Unknown(PublicKey),
    Unsigned,
    Revoked(String),
    Policy(Vec<String>),
    Bad(String),
}

impl Reason {
    /// One reason for each untrusted signer.
    fn of(why: &RefusalReason) -> Vec<Self> {
        match why {
            RefusalReason::Unknown(signers) => signers.iter().copied().map(Self::Unknown).collect(),
            RefusalReason::Unsigned => vec![Self::Unsigned],
            RefusalReason::Revoked(reason) => vec![Self::Revoked(reason.clone())],
            RefusalReason::Policy(labs) => vec![Self::Policy(labs.clone())],
            RefusalReason::Bad(why) => vec![Self::Bad(why.clone())],
        }
    }

    /// The notice for `number` records. Suggested names are unique: those in `taken` are in use.
    fn notice(&self, remote: &str, number: usize, taken: &mut BTreeSet<String>) -> Notice {
        let were = if number == 1 { "was" } else { "were" };
        let head = format!("{} at `{remote}` {were} refused", count(number, "record"));
        let is_bundle = remote == BUNDLE;
        let (why, hint) = match self {
            Self::Unknown(signer) => {
                let is_lab = is_name(remote) && !is_bundle;
                let name = match is_lab && taken.insert(remote.to_string()) {
                    true => remote.to_string(),
                    // A part of the key makes the name unique.
                    false => format!("lab-{}", &signer.in_names().to_hex()[..8]),
                };
                (
                    format!("signed by {signer}, which you do not trust"),
                    format!("if you expect this signer: `ribflow trust add {name}:{signer}`"),
                )
            }
            Self::Unsigned if is_bundle => (
                "it has no signature".to_string(),
                "`ribflow export bundle` signs its records; another program created this bundle"
                    .to_string(),
            ),
            Self::Unsigned => (
                "it has no signature".to_string(),
                "`ribflow push` signs its records; these were copied by other means".to_string(),
            ),
            Self::Revoked(reason) => (
                format!("revoked by the signer: {}", quoted(reason)),
                "such results are computed again".to_string(),
            ),
            Self::Policy(labs) => (
                format!(
                    "only {} got that result",
                    listed(labs.iter().map(String::as_str))
                ),
                format!("`require` and `quorum` of `{remote}` ask for other labs, or for more"),
            ),
            Self::Bad(why) if is_bundle => (
                quoted(why),
                "the bundle was damaged or changed: ask for it again".to_string(),
            ),
            Self::Bad(why) => (
                quoted(why),
                "the remote's files were damaged or changed: tell its operator".to_string(),
            ),
        };
        Notice {
            message: format!("{head}: {why}"),
            hint: Some(hint),
        }
    }
}

/// Text from others, shortened and without control characters.
fn quoted(text: &str) -> String {
    let text = printable(text).replace('\n', " ");
    match text.char_indices().nth(MOST_LETTERS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// How far labs agree; `None` if no result has several labs.
pub fn agreement(agreements: &BTreeMap<Digest, Agreement>) -> Option<String> {
    if agreements.is_empty() {
        return None;
    }
    let (mut equal, mut within, mut different) = (0, 0, 0);
    for one in agreements.values() {
        match () {
            () if !one.different.is_empty() => different += 1,
            () if !one.within.is_empty() => within += 1,
            () => equal += 1,
        }
    }
    let of = count(agreements.len(), "result");
    Some(format!(
        "several labs have {of}: {equal} bit-identical, {within} within the tolerance, {different} \
         different"
    ))
}

/// One notice for each group of labs whose results differ from the ones used.
pub fn disagreements(agreements: &BTreeMap<Digest, Agreement>) -> Vec<Notice> {
    let mut groups: BTreeMap<(&BTreeSet<String>, BTreeSet<&String>), Vec<&Digest>> =
        BTreeMap::new();
    for (key, one) in agreements {
        if !one.different.is_empty() {
            let taken = one.equal.iter().chain(&one.within).collect();
            groups.entry((&one.different, taken)).or_default().push(key);
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, keys)| std::cmp::Reverse(keys.len()));
    let notice = |((different, taken), keys): ((&BTreeSet<String>, BTreeSet<&String>), Vec<_>)| {
        let first: &Digest = keys[0];
        let example = if keys.len() == 1 { "" } else { "for example " };
        Notice {
            message: format!(
                "{} got other results than {} for {} ({example}{}); all are kept",
                listed(different.iter().map(String::as_str)),
                listed(taken.iter().map(|name| name.as_str())),
                count(keys.len(), "result"),
                first.short(),
            ),
            hint: Some("select the one to use with `ribflow cache choose`".to_string()),
        }
    };
    groups.into_iter().take(MOST_LINES).map(notice).collect()
}
