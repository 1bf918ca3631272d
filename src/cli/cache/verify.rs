//! `ribflow cache verify`: checks everything in the store against its digest.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex};

use clap::{ArgAction, Args};
use serde_json::{Value, json};

use super::labels::Labels;
use crate::cli::call::Call;
use crate::cli::common::Common;
use crate::cli::failure::{Exit, Failure};
use crate::cli::sharing;
use crate::digest::Digest;
use crate::engine::journal;
use crate::quantity::{bytes, count};
use crate::remote::signing::PublicKey;
use crate::remote::statement;
use crate::store::check::{CheckReport, Fault};
use crate::store::inventory::Inventory;
use crate::store::{BlobRequest, Record, Signature, Store};

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow cache verify
  ribflow cache verify --repair
  ribflow cache verify --json | jq -r '.faults[] | .nodes[]'";

/// Check everything in the store against its digest
///
/// Reads every blob, record and signature. Files that do not match their name are moved to damaged/
/// in the store and never used again: a node with a damaged record runs again.
///
/// A missing blob is an error, unless the record that names it is signed: then the blob is
/// available where the record came from, and is fetched when needed.
///
/// Exits with 1 if something is damaged or missing and was not repaired.
#[derive(Clone, Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub struct CheckArguments {
    /// Fetch damaged and missing files from --remote, and list the nodes that must run again for
    /// the rest
    #[arg(long)]
    pub repair: bool,

    /// With --repair: the remote to fetch from, a name from `ribflow remote list` or a URL;
    /// repeatable
    #[arg(long = "remote", value_name = "NAME", action = ArgAction::Append)]
    pub remotes: Vec<String>,
}

/// The hint for faults that a remote may repair.
const FETCH: &str = "\
`ribflow cache verify --repair --remote NAME` fetches what another lab has; without `--remote`, nothing \
can be fetched.";

pub fn run(
    arguments: &CheckArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    let store = super::existing(None, common)?;
    let bar = ProgressBar::new(!common.quiet && !common.json);
    let checked = store.check_all(&judge, &|done, total| bar.update(done, total));
    bar.end();
    let mut checked = checked?;
    let inventory = store.inventory_as_far()?;
    let runs = journal::seen(&store)?;
    let unsound = runs.iter().filter_map(|run| run.unsound.clone());
    checked
        .faults
        .extend(unsound.map(|(path, why)| Fault::Small { path, why }));
    let labels = Labels::of(&runs);
    let repairs: Vec<Repair> = checked
        .faults
        .iter()
        .map(|fault| Repair::of(fault, &inventory))
        .collect();
    if arguments.repair {
        if !arguments.remotes.is_empty() {
            store.set_blob_source(Arc::new(sharing::exchange(&arguments.remotes, &store)?));
        }
        let wanted = repairs.iter().flat_map(|repair| repair.wanted.clone());
        let wanted: Vec<BlobRequest> = wanted.chain(checked.elsewhere.clone()).collect();
        store.obtain(&wanted);
    }
    let open: Vec<(&Fault, &Repair)> = checked
        .faults
        .iter()
        .zip(&repairs)
        .filter(|(fault, repair)| !arguments.repair || !repair.is_done(fault, &store))
        .collect();
    if common.json {
        let document = document(&checked, &open, &labels);
        serde_json::to_writer(&mut *output, &document)?;
        writeln!(output)?;
    } else {
        show(&checked, &open, &labels, common, output)?;
        if !open.is_empty() && arguments.remotes.is_empty() && !common.quiet {
            writeln!(output, "{FETCH}")?;
        }
    }
    Ok(match open.is_empty() {
        true => Exit::Done,
        false => Exit::Failed,
    })
}

/// Checks that a signature is valid for a record, whether or not its signer is trusted.
fn judge(record: &Record, digest: &Digest, signature: &Signature) -> Result<(), String> {
    let signer = PublicKey::from_name(&signature.signer);
    statement::verify(&signature.envelope, &signer, digest, record)
        .map_err(|error| error.to_string())
}

/// How to repair a fault.
struct Repair {
    wanted: Vec<BlobRequest>,
    /// The keys of the affected nodes.
    keys: BTreeSet<Digest>,
}

impl Repair {
    fn of(fault: &Fault, inventory: &Inventory) -> Self {
        let naming = |digest: &Digest| {
            let naming = inventory.outcomes.iter();
            let naming = naming.filter(|outcome| outcome.names.contains(digest));
            naming.map(|outcome| outcome.key).collect()
        };
        match fault {
            Fault::Blob { digest } | Fault::Missing { digest, .. } => Self {
                wanted: vec![BlobRequest {
                    digest: *digest,
                    bytes: None,
                }],
                keys: naming(digest),
            },
            Fault::Record { key, .. } => Self {
                wanted: Vec::new(),
                keys: [*key].into(),
            },
            // The record stays valid without the signature. Unreadable files stay in place.
            Fault::Signature { .. } | Fault::Unreadable { .. } | Fault::Small { .. } => Self {
                wanted: Vec::new(),
                keys: BTreeSet::new(),
            },
        }
    }

    fn is_done(&self, fault: &Fault, store: &Store) -> bool {
        let fetched = self.wanted.iter().all(|wanted| store.has(&wanted.digest));
        match fault {
            // A blob that nothing names is not needed.
            Fault::Blob { .. } => fetched || self.keys.is_empty(),
            Fault::Missing { .. } => fetched,
            Fault::Record { key, .. } => {
                let names = store.record_names(key);
                names.is_ok_and(|names| !names.is_empty())
            }
            Fault::Signature { .. } => true,
            Fault::Unreadable { .. } | Fault::Small { .. } => false,
        }
    }
}

fn describe(fault: &Fault) -> String {
    match fault {
        Fault::Blob { digest } => format!("damaged    blob {digest}"),
        Fault::Record { record, .. } => format!("damaged    record {record}"),
        Fault::Signature {
            record,
            signer,
            why,
            ..
        } => {
            let signer = PublicKey::from_name(signer);
            format!("damaged    signature of {signer} for record {record}: {why}")
        }
        Fault::Unreadable { path, why } => format!("unreadable {}: {why}", path.display()),
        Fault::Small { path, why } => format!("damaged    {}: {why}", path.display()),
        Fault::Missing { digest, record, .. } => {
            format!("missing    blob {digest} of record {record}")
        }
    }
}

fn document(checked: &CheckReport, open: &[(&Fault, &Repair)], labels: &Labels) -> Value {
    let entry = |fault: &Fault| {
        let keys = open.iter().find(|(one, _)| *one == fault);
        let keys = keys.map(|(_, repair)| repair.keys.clone());
        let keys = keys.unwrap_or_default();
        let nodes: BTreeSet<&str> = keys
            .iter()
            .flat_map(|key| labels.nodes(key))
            .map(|(_, id)| id)
            .collect();
        let (what, digest, path) = match fault {
            Fault::Blob { digest } => ("damaged_blob", Some(digest), None),
            Fault::Record { record, .. } => ("damaged_record", Some(record), None),
            Fault::Signature { record, .. } => ("damaged_signature", Some(record), None),
            Fault::Unreadable { path, .. } => ("unreadable", None, Some(path)),
            Fault::Small { path, .. } => ("damaged_file", None, Some(path)),
            Fault::Missing { digest, .. } => ("missing_blob", Some(digest), None),
        };
        json!({
            "what": what,
            "digest": digest,
            "path": path.map(|path| path.to_string_lossy()),
            "repaired": !open.iter().any(|(one, _)| *one == fault),
            "nodes": nodes,
        })
    };
    json!({
        "blobs": checked.blobs.count,
        "bytes": checked.blobs.bytes,
        "records": checked.records,
        "signatures": checked.signatures,
        "elsewhere": checked.elsewhere.len(),
        "faults": checked.faults.iter().map(entry).collect::<Vec<Value>>(),
    })
}

fn show(
    checked: &CheckReport,
    open: &[(&Fault, &Repair)],
    labels: &Labels,
    common: &Common,
    output: &mut dyn Write,
) -> Result<(), Failure> {
    for fault in &checked.faults {
        writeln!(output, "{}", describe(fault))?;
    }
    let repaired = checked.faults.len() - open.len();
    let keys: BTreeSet<Digest> = open.iter().flat_map(|(_, one)| one.keys.clone()).collect();
    let mut nodes: BTreeSet<(&str, &str)> = BTreeSet::new();
    keys.iter().for_each(|key| nodes.extend(labels.nodes(key)));
    if open.iter().any(|(fault, _)| is_set_aside(fault)) && checked.kept.is_empty() {
        writeln!(
            output,
            "\nDamaged files have been set aside and are not used."
        )?;
    }
    for (path, why) in &checked.kept {
        writeln!(
            output,
            "{} could not be set aside ({why}), but is not used either.",
            path.display()
        )?;
    }
    if open
        .iter()
        .any(|(fault, _)| matches!(fault, Fault::Unreadable { .. }))
    {
        writeln!(
            output,
            "Unreadable files may be intact and were left alone. Check the disk, the permissions, \
             and the limit on open files (`ulimit -n`)."
        )?;
    }
    if open
        .iter()
        .any(|(fault, _)| matches!(fault, Fault::Small { .. }))
    {
        writeln!(
            output,
            "Damaged files that hold a decision stay in place, so that no default replaces it; \
             the command that needs one explains how to rewrite it."
        )?;
    }
    if repaired > 0 {
        writeln!(output, "{} repaired.", count(repaired, "fault"))?;
    }
    if !nodes.is_empty() {
        writeln!(
            output,
            "These nodes lack files; `ribflow run FILE NODE --force NODE` computes them again:"
        )?;
        for (workflow, id) in nodes {
            writeln!(output, "  {workflow}: {id}")?;
        }
    }
    if common.quiet {
        return Ok(());
    }
    if !checked.elsewhere.is_empty() {
        let blobs = count(checked.elsewhere.len(), "blob");
        writeln!(output, "{blobs} of signed records are not in this store.")?;
    }
    let CheckReport {
        blobs,
        records,
        signatures,
        ..
    } = checked;
    writeln!(
        output,
        "{} ({}), {}, {}: {}.",
        count(blobs.count, "blob"),
        bytes(blobs.bytes),
        count(*records, "record"),
        count(*signatures, "signature"),
        match checked.faults.is_empty() {
            true => "no faults".to_string(),
            false => count(checked.faults.len(), "fault"),
        }
    )?;
    Ok(())
}

/// Whether the damaged file has been moved out of the way.
fn is_set_aside(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Blob { .. } | Fault::Record { .. } | Fault::Signature { .. }
    )
}

/// Progress on a terminal.
struct ProgressBar {
    shown: bool,
    percent: Mutex<u64>,
}

impl ProgressBar {
    fn new(wanted: bool) -> Self {
        Self {
            shown: wanted && std::io::stderr().is_terminal(),
            percent: Mutex::new(0),
        }
    }

    fn update(&self, done: u64, total: u64) {
        let percent = done.saturating_mul(100) / total.max(1);
        let mut last = self.percent.lock().unwrap_or_else(|held| held.into_inner());
        if self.shown && percent > *last {
            *last = percent;
            // Failing to print progress must not stop the check.
            let _ = write!(
                std::io::stderr(),
                "\r{percent:3} % of {} checked",
                bytes(total)
            );
        }
    }

    fn end(&self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
