//! `ribflow revoke`: take back a record, or everything that a key of this lab has signed.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::json;

use super::arguments::Common;
use super::examples;
use super::failure::{Exit, Failure};
use super::key::no_key;
use crate::digest::Digest;
use crate::remote::home::Home;
use crate::remote::neighbours::{self, Lab, NeighbourError};
use crate::remote::patience::{Patience, Patient};
use crate::remote::revocations::{self, MOST_REASON};
use crate::remote::statement::{Revocation, Revoked};
use crate::ui::words::printable;

/// What `ribflow revoke --help` begins with.
pub const ABOUT: &str = "\
Take back a record, or everything that a key has signed

Says, signed, that something you have signed is not to be used any more. Who trusts you learns
of it the next time they ask a remote that has the word; what they computed from it names it.
It can't be taken back.";

#[derive(Clone, Debug, Args)]
#[command(after_help = examples::REVOKE)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub struct RevokeArguments {
    /// This record: its digest, 64 hexadecimal digits
    #[arg(long, value_name = "DIGEST", group = "what")]
    pub record: Option<Digest>,

    /// The key that signs, and with it everything that it has signed
    ///
    /// For a key that somebody else may have, or that is lost. Then `ribflow key generate` makes
    /// a new one.
    #[arg(long, group = "what")]
    pub key: bool,

    /// Why, in a sentence: whoever used it reads it
    #[arg(long, value_name = "TEXT", default_value = "no reason given")]
    pub reason: String,

    /// Put the word there; repeatable [default: all remotes that are written to]
    #[arg(long = "remote", value_name = "NAME")]
    pub remotes: Vec<String>,
}

pub fn run(
    arguments: &RevokeArguments,
    common: &Common,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let lab = Lab::open(Home::of_user().map_err(NeighbourError::from)?)?;
    let reason = reason(&arguments.reason)?;
    let Some(key) = lab.key()? else {
        return Err(no_key());
    };
    // Unknown remotes are told before anything is signed.
    let remotes = remotes(&lab, &arguments.remotes)?;
    let revocation = Revocation {
        revoked: arguments.record.map_or(Revoked::Key, Revoked::Record),
        reason,
        at: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |elapsed| elapsed.as_secs()),
    };
    let envelope = revocation.sign(&key.secret);
    let kept = revocations::keep(&lab.home, &envelope, key.secret.public())?;
    let what = match revocation.revoked {
        Revoked::Record(record) => format!("the record {record}"),
        Revoked::Key => format!("the key `{}` and everything that it has signed", key.name),
    };
    if !common.quiet && !common.json {
        writeln!(output, "taken back: {what}")?;
    }
    let mut told = Vec::new();
    let mut failed = Vec::new();
    for (name, remote) in &remotes {
        match revocations::push(remote, &lab.home) {
            Ok(_) => told.push(name),
            Err(error) => failed.push((name, error.to_string())),
        }
    }
    if common.json {
        let failed: Vec<_> = failed
            .iter()
            .map(|(name, why)| json!({ "remote": name, "why": why }))
            .collect();
        let document = json!({
            "revoked": revocation.revoked,
            "digest": kept.digest,
            "told": told,
            "failed": failed,
        });
        writeln!(output, "{document}")?;
    } else if !common.quiet {
        for name in &told {
            writeln!(output, "`{name}` knows")?;
        }
        if remotes.is_empty() {
            let word = "no remote knows yet: `--remote NAME`, or the next push, brings the word";
            writeln!(output, "{word}")?;
        }
    }
    match failed.first() {
        None => Ok(Exit::Done),
        Some((name, why)) => {
            let message = format!("`{name}` does not know yet: {why}");
            Err(Failure::failed(message).hint("it is kept, and goes there with the next push"))
        }
    }
}

fn reason(text: &str) -> Result<String, Failure> {
    let reason = printable(text.trim());
    match reason.chars().count() {
        0 => Err(Failure::usage("no-reason", "the reason is empty")),
        1..=MOST_REASON => Ok(reason),
        _ => {
            let message = format!("a reason has at most {MOST_REASON} characters");
            Err(Failure::usage("long-reason", message))
        }
    }
}

/// The remotes that are named, or else all that are written to.
fn remotes(lab: &Lab, named: &[String]) -> Result<Vec<(String, Patient)>, Failure> {
    let written = lab.config.remotes.iter();
    let written = written.filter(|(_, remote)| remote.write);
    let names: Vec<String> = match named {
        [] => written.map(|(name, _)| name.clone()).collect(),
        named => named.to_vec(),
    };
    let mut remotes = Vec::new();
    for name in names {
        let remote = neighbours::open(&lab.configured(&name)?)?;
        remotes.push((name, Patient::new(remote, Patience::default())));
    }
    Ok(remotes)
}
