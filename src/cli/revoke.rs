//! `ribflow revoke`: revokes a record, or everything that a key of this lab has signed.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::json;

use super::cache;
use super::call::Call;
use super::common::Common;
use super::failure::{Exit, Failure};
use super::key::no_key;
use super::locations;
use crate::diag::listed;
use crate::digest::Digest;
use crate::remote::home::Home;
use crate::remote::keys::{self, OwnKey};
use crate::remote::patience::{Patience, Patient};
use crate::remote::revocations::{self, MOST_REASON};
use crate::remote::signing::PublicKey;
use crate::remote::statement::{self, Revocation, Revoked};
use crate::remote::user_profile::{self, UserProfile, UserProfileError};
use crate::store::{Signature, StoreError};
use crate::ui::text::printable;

/// What `ribflow revoke --help` begins with.
const ABOUT: &str = "\
Revoke a record, or everything that a key has signed

Publishes a signed statement that something you have signed must no longer be used. Labs that trust
you receive it the next time they use a remote that has the statement; their reports then name the
affected results. A revocation can't be undone.";

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow revoke --record 4f1c… --reason 'the test images were in the training set'
  ribflow revoke --key --reason 'a laptop was stolen' --remote aachen

`ribflow why FILE NODE` shows the record of a node.";

/// Revoke a record, or everything that a key has signed
#[derive(Clone, Debug, Args)]
#[command(long_about = ABOUT, after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub struct RevokeArguments {
    /// Revoke this record, which you have signed: its digest, 64 hexadecimal digits
    #[arg(long, value_name = "DIGEST", group = "what")]
    pub record: Option<Digest>,

    /// Revoke one of your keys and everything that it has signed [default: the signing key]
    ///
    /// Use this for a key that is lost or may be compromised. Then create a new one with `ribflow
    /// key generate`.
    #[arg(long, value_name = "NAME", num_args = 0..=1, group = "what")]
    pub key: Option<Option<String>>,

    /// The reason, in one sentence; everyone who used the results can read it
    #[arg(long, value_name = "TEXT", default_value = "no reason given")]
    pub reason: String,

    /// Publish the revocation at this remote; repeatable [default: all writable remotes]
    #[arg(long = "remote", value_name = "NAME")]
    pub remotes: Vec<String>,
}

pub fn run(
    arguments: &RevokeArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    let lab = UserProfile::open(Home::of_user().map_err(UserProfileError::from)?)?;
    let reason = reason(&arguments.reason)?;
    let (revoked, keys) = match (&arguments.record, &arguments.key) {
        (Some(record), _) => (Revoked::Record(*record), signed_with(&lab, record, common)?),
        (None, name) => (
            Revoked::Key,
            vec![own_key(&lab, name.iter().flatten().next())?],
        ),
    };
    // Unknown remotes are reported before anything is signed.
    let remotes = remotes(&lab, &arguments.remotes)?;
    let revocation = Revocation {
        revoked,
        reason,
        at: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |elapsed| elapsed.as_secs()),
    };
    let mut digests = Vec::new();
    for key in &keys {
        let envelope = revocation.sign(&key.secret);
        let kept = revocations::keep(&lab.home, &envelope, key.secret.public())?;
        digests.push(kept.digest);
    }
    let what = match revocation.revoked {
        Revoked::Record(record) => format!("the record {record}"),
        Revoked::Key => {
            let names = keys.iter().map(|key| key.name.as_str());
            let names: Vec<&str> = names.collect();
            format!(
                "the key `{}` and everything that it has signed",
                names.concat()
            )
        }
    };
    if !common.quiet && !common.json {
        writeln!(output, "revoked: {what}")?;
    }
    let mut informed = Vec::new();
    let mut failed = Vec::new();
    for (name, remote) in &remotes {
        match revocations::push(remote, &lab.home) {
            Ok(_) => informed.push(name),
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
            "digests": digests,
            "told": informed,
            "failed": failed,
        });
        writeln!(output, "{document}")?;
    } else if !common.quiet {
        for name in &informed {
            writeln!(output, "published at `{name}`")?;
        }
        if remotes.is_empty() {
            let word = "not published yet: use `--remote NAME`, or the next push publishes it";
            writeln!(output, "{word}")?;
        }
    }
    match failed.first() {
        None => Ok(Exit::Done),
        Some((name, why)) => {
            let message = format!("not published at `{name}`: {why}");
            Err(Failure::failed(message)
                .hint("the revocation is stored; the next push publishes it"))
        }
    }
}

/// The key called `name`, or the signing key.
fn own_key(lab: &UserProfile, name: Option<&String>) -> Result<OwnKey, Failure> {
    let Some(name) = name else {
        return lab.key()?.ok_or_else(no_key);
    };
    let mut own = keys::all(&lab.home)?;
    match own.iter().position(|key| key.name == *name) {
        Some(at) => Ok(own.swap_remove(at)),
        None => {
            let message = match lab.config.trust.contains_key(name) {
                true => format!("`{name}` is not your own key: only its owner can revoke it"),
                false => format!("there is no key `{name}` here"),
            };
            let known: Vec<&str> = own.iter().map(|key| key.name.as_str()).collect();
            let hint = match known.is_empty() {
                true => "`ribflow trust remove NAME` stops using results of a lab".to_string(),
                false => format!("your own keys: {}", listed(known.into_iter())),
            };
            Err(Failure::usage("unknown-key", message).hint(hint))
        }
    }
}

/// The keys of this lab that have signed a record. Signatures of others, and records that were
/// never signed, can't be revoked.
fn signed_with(
    lab: &UserProfile,
    record: &Digest,
    common: &Common,
) -> Result<Vec<OwnKey>, Failure> {
    let own = keys::all(&lab.home)?;
    if own.is_empty() {
        return Err(no_key());
    }
    let store = cache::existing(None, common)?;
    let of_record = |key: &Digest| -> Result<bool, StoreError> {
        Ok(store.record_names(key)?.contains(record))
    };
    for key in store.keys()? {
        if of_record(&key)? {
            let signatures = store.signatures(&key, record)?;
            let stored = store.records(&key)?;
            let stored = stored.into_iter().find(|one| one.digest == *record);
            let Some(stored) = stored else {
                break;
            };
            let has_signed = |own: &OwnKey| {
                let signer = own.secret.public();
                let mut signatures = signatures.iter();
                signatures.any(|one| {
                    one.signer == signer.in_names()
                        && statement::verify(&one.envelope, &signer, record, &stored.record).is_ok()
                })
            };
            let keys: Vec<OwnKey> = own.into_iter().filter(has_signed).collect();
            return match keys.is_empty() {
                false => Ok(keys),
                true => Err(not_signed(lab, record, &signatures)),
            };
        }
    }
    let shown = locations::shown(store.root());
    let message = format!("there is no record {} in the store {shown}", record.short());
    Err(Failure::usage("unknown-record", message).hint(
        "`ribflow cache ls --long` lists the records and their signers; select the store that it \
         was pushed from with `--store`; if that is lost, only `revoke --key` works",
    ))
}

/// The record is here, but no key of this lab has signed it.
fn not_signed(lab: &UserProfile, record: &Digest, signatures: &[Signature]) -> Failure {
    let short = record.short();
    if signatures.is_empty() {
        let message = format!("record {short} is not signed, so no other lab uses it");
        let hint = format!("`ribflow cache forget {record} --yes` removes it from the store");
        return Failure::usage("not-signed", message).hint(hint);
    }
    let signers = signatures.iter().map(|one| {
        let signer = PublicKey::from_name(&one.signer);
        let name = lab.trust.name(&signer).map(str::to_string);
        name.unwrap_or_else(|| signer.to_string())
    });
    let signers: Vec<String> = signers.collect();
    let message = format!(
        "record {short} is signed by {}, not by you: only they can revoke it",
        listed(signers.iter().map(String::as_str))
    );
    Failure::usage("not-signed", message).hint(
        "`ribflow cache choose` selects another record for your own use; `ribflow trust remove` \
         stops using results of a lab",
    )
}

fn reason(text: &str) -> Result<String, Failure> {
    let reason = printable(text.trim());
    match reason.chars().count() {
        0 => Err(Failure::usage("no-reason", "the reason is empty")),
        1..=MOST_REASON => Ok(reason),
        _ => {
            let message = format!("the reason has more than {MOST_REASON} characters");
            Err(Failure::usage("long-reason", message))
        }
    }
}

/// The named remotes, or all writable ones.
fn remotes(lab: &UserProfile, named: &[String]) -> Result<Vec<(String, Patient)>, Failure> {
    let written = lab.config.remotes.iter();
    let written = written.filter(|(_, remote)| remote.write);
    let names: Vec<String> = match named {
        [] => written.map(|(name, _)| name.clone()).collect(),
        named => named.to_vec(),
    };
    let mut remotes = Vec::new();
    for name in names {
        let remote = user_profile::open(&lab.configured(&name)?)?;
        remotes.push((name, Patient::new(remote, Patience::default())));
    }
    Ok(remotes)
}
