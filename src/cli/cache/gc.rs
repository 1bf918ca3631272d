//! `ribflow cache gc`: removes what nothing needs.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::{Value, json};

use super::labels::Labels;
use super::owners::Owner;
use crate::cli::amounts::{Age, Size};
use crate::cli::call::Call;
use crate::cli::common::Common;
use crate::cli::failure::{Exit, Failure};
use crate::engine::journal;
use crate::quantity::{bytes, count};
use crate::store::gc::{GcOptions, GcReport, Tally};
use crate::ui::table::Table;

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow cache gc --dry-run -v                       list every record that would be removed
  ribflow cache gc --older-than 7d                    remove what no run of the last week needs
  ribflow cache gc --older-than 0 --keep-runs 3       keep the three newest runs of each workflow
  ribflow cache gc --max-size 2TB                     remove until the store fits";

/// Remove what is no longer needed, by age and size
///
/// Kept are: pinned records; everything that active runs, the newest run of each workflow, and all
/// runs of the last 30 days need; and records younger than 30 days. Older derived work (decoded
/// images, features), interrupted downloads, damaged files, and environments that no node has used
/// since, are removed, as are blobs that no record names.
///
/// If the store exceeds --max-size, more is removed in this order: derived work, downloads, damaged
/// files, environments, records that no run needs, then records whose last run is the oldest. A record goes with
/// the blobs that only it names. Pinned and active content stays even if the store does not fit.
///
/// It is safe while runs and other commands are active: everything written in the last hour, or
/// since the oldest active writer started, stays.
#[derive(Clone, Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub struct GcArguments {
    /// Show what would be removed without removing it
    #[arg(long)]
    pub dry_run: bool,

    /// Remove what no run has needed for this long: 30d, 12h; 0 for everything older than an hour
    #[arg(
        long,
        value_name = "TIME",
        default_value = "30d",
        conflicts_with = "keep_days"
    )]
    pub older_than: Age,

    /// Same as --older-than, as a number of days
    #[arg(long, value_name = "N")]
    pub keep_days: Option<u64>,

    /// Maximum size of the store: 500GB, 2TiB
    #[arg(long, value_name = "SIZE")]
    pub max_size: Option<Size>,

    /// Keep what the newest N runs of each workflow need, whatever their age
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub keep_runs: usize,
}

/// Younger files stay: a process may be about to reference them.
const GRACE: Duration = Duration::from_secs(3600);

pub fn run(arguments: &GcArguments, call: &Call, output: &mut dyn Write) -> Result<Exit, Failure> {
    let common = call.common;
    let store = super::existing(None, common)?;
    let age = match arguments.keep_days {
        Some(days) => Duration::from_secs(days.saturating_mul(86400)),
        None => Duration::from_secs(arguments.older_than.0),
    };
    let now = SystemTime::now();
    let cleaning = GcOptions {
        before: now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH),
        most: arguments.max_size.map(|size| size.0),
        grace: GRACE,
        dry_run: arguments.dry_run,
    };
    let mut labels = Labels::default();
    let mut seen = Vec::new();
    let collected = store.clean(&cleaning, || {
        let runs = journal::seen(&store)?;
        labels = Labels::of(&runs);
        seen.clone_from(&runs);
        journal::uses(&runs, arguments.keep_runs)
    })?;
    match common.json {
        true => {
            let owners = Owner::all(&collected, &seen);
            let owners = owners.iter().map(|owner| owner.document(&store)).collect();
            let document = document(&collected, &labels, owners, arguments.dry_run);
            serde_json::to_writer(&mut *output, &document)?;
            writeln!(output)?;
        }
        false if common.quiet => {}
        false => {
            let owners = Owner::all(&collected, &seen);
            let owners: Vec<String> = owners.iter().map(|owner| owner.words(&store)).collect();
            show(
                &collected,
                &labels,
                &owners,
                arguments.dry_run,
                common,
                output,
            )?;
        }
    }
    Ok(match collected.too_much {
        true => Exit::Failed,
        false => Exit::Done,
    })
}

fn document(collected: &GcReport, labels: &Labels, owners: Vec<Value>, dry_run: bool) -> Value {
    let heap = |heap: &Tally| json!({ "count": heap.count, "bytes": heap.bytes });
    let records = collected.records.iter().map(|gone| {
        let nodes: Vec<&str> = labels.nodes(&gone.key).map(|(_, id)| id).collect();
        json!({
            "key": gone.key,
            "record": gone.record,
            "kind": gone.kind,
            "nodes": nodes,
            "bytes": gone.bytes,
        })
    });
    json!({
        "dry_run": dry_run,
        "records": records.collect::<Vec<Value>>(),
        "of": owners,
        "blobs": heap(&collected.blobs),
        "derived": heap(&collected.derived),
        "downloads": heap(&collected.downloads),
        "damaged": heap(&collected.damaged),
        "environments": heap(&collected.environments),
        "runs": collected.runs.iter().filter_map(|run| run.file_name()?.to_str()).collect::<Vec<_>>(),
        "bytes": collected.bytes(),
        "bytes_left": collected.left,
        "fits": !collected.too_much,
    })
}

fn show(
    collected: &GcReport,
    labels: &Labels,
    owners: &[String],
    dry_run: bool,
    common: &Common,
    output: &mut dyn Write,
) -> Result<(), Failure> {
    let mut kinds: BTreeMap<&str, Tally> = BTreeMap::new();
    for gone in &collected.records {
        let heap = kinds.entry(&gone.kind).or_default();
        heap.count += 1;
        heap.bytes += gone.bytes;
        if common.verbose > 0 {
            let label = labels.short(&gone.key);
            writeln!(output, "{}  {} {label}", gone.record.short(), gone.kind)?;
        }
    }
    let mut table = Table::new(["", "number", "size"]);
    let mut row = |name: &str, heap: Tally| {
        if heap.count > 0 {
            table.row([name.to_string(), heap.count.to_string(), bytes(heap.bytes)]);
        }
    };
    row("derived work", collected.derived);
    row("downloads", collected.downloads);
    row("damaged files", collected.damaged);
    row("environments", collected.environments);
    for (kind, heap) in kinds {
        row(&format!("records of {kind}"), heap);
    }
    row("blobs", collected.blobs);
    if collected.bytes() > 0 {
        for line in table.lines() {
            writeln!(output, "{line}")?;
        }
    }
    for owner in owners {
        writeln!(output, "{owner}")?;
    }
    if !collected.runs.is_empty() {
        writeln!(output, "Folders of {}.", count(collected.runs.len(), "run"))?;
    }
    let (size, left) = (bytes(collected.bytes()), bytes(collected.left));
    match dry_run {
        true => writeln!(
            output,
            "{size} would be removed, {left} would stay. Nothing was changed."
        )?,
        false => writeln!(output, "{size} removed, {left} left.")?,
    }
    if collected.bytes() == 0 && collected.left > 0 && !collected.too_much {
        writeln!(
            output,
            "Files less than an hour old stay, as does everything that a run or a pin needs."
        )?;
    }
    if collected.too_much {
        writeln!(
            output,
            "The store still exceeds `--max-size`: the rest is pinned, recent, or needed by the \
             newest run of a workflow (`--keep-runs 0`)."
        )?;
    }
    Ok(())
}
