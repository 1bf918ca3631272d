//! `ribflow cache stats`: the size of the store and what reuse has saved, counted from its content.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;

use clap::Args;
use serde_json::json;

use crate::cli::call::Call;
use crate::cli::failure::{Exit, Failure};
use crate::digest::Digest;
use crate::engine::event::Event;
use crate::engine::journal;
use crate::quantity::{bytes, count, duration};
use crate::store::inventory::Inventory;

/// Show the size of the store and what it has saved
#[derive(Clone, Debug, Args)]
pub struct StatsArguments {}

pub fn run(_: &StatsArguments, call: &Call, output: &mut dyn Write) -> Result<Exit, Failure> {
    let common = call.common;
    let store = super::existing_read_only(None, common)?;
    let inventory = store.inventory()?;
    let mut made_here = HashMap::new();
    let mut reused: u64 = 0;
    let mut reused_seconds = 0.0;
    let seconds: BTreeMap<Digest, f64> = inventory
        .outcomes
        .iter()
        .map(|outcome| (outcome.key, outcome.record.provenance.wall_seconds))
        .collect();
    journal::each_event(&store, |event| match event {
        Event::NodeFinished { key, .. } => {
            made_here.insert(*key, ());
        }
        Event::NodeReused { key, .. } => {
            reused += 1;
            reused_seconds += seconds.get(key).copied().unwrap_or_default();
        }
        _ => {}
    });
    let mut stats = Stats::of(&inventory);
    for outcome in &inventory.outcomes {
        let signed = !store.signatures(&outcome.key, &outcome.digest)?.is_empty();
        if signed && !made_here.contains_key(&outcome.key) {
            stats.foreign += 1;
            stats.foreign_seconds += outcome.record.provenance.wall_seconds;
            for wanted in store.missing_of(outcome)? {
                stats.absent += 1;
                stats.absent_bytes += wanted.bytes.unwrap_or_default();
            }
        }
    }
    if common.json {
        let document = json!({
            "blobs": stats.blobs,
            "blob_bytes": stats.bytes,
            "records": stats.records,
            "named_bytes": stats.named,
            "reused_nodes": reused,
            "reused_s": reused_seconds,
            "records_from_elsewhere": stats.foreign,
            "seconds_from_elsewhere": stats.foreign_seconds,
            "blobs_not_fetched": stats.absent,
            "bytes_not_fetched": stats.absent_bytes,
        });
        serde_json::to_writer(&mut *output, &document)?;
        writeln!(output)?;
        return Ok(Exit::Done);
    }
    writeln!(
        output,
        "{} and {} ({}).",
        count(stats.records, "record"),
        count(stats.blobs, "blob"),
        bytes(stats.bytes)
    )?;
    if stats.named > stats.here {
        writeln!(
            output,
            "Records reference {} that are here; storing each blob once saves {}.",
            bytes(stats.named),
            bytes(stats.named - stats.here)
        )?;
    }
    let spared = duration(reused_seconds);
    writeln!(
        output,
        "The recorded runs reused {}, which took {spared} to compute.",
        count(reused as usize, "result"),
    )?;
    if stats.foreign > 0 {
        writeln!(
            output,
            "{} from elsewhere saved {} of computing; {} ({}) of their blobs have not been needed.",
            count(stats.foreign, "record"),
            duration(stats.foreign_seconds),
            count(stats.absent, "blob"),
            bytes(stats.absent_bytes)
        )?;
    }
    Ok(Exit::Done)
}

#[derive(Default)]
struct Stats {
    records: usize,
    blobs: usize,
    bytes: u64,
    /// Bytes of the blobs that are here: counted once for each record, and once each.
    named: u64,
    here: u64,
    foreign: usize,
    foreign_seconds: f64,
    absent: usize,
    absent_bytes: u64,
}

impl Stats {
    fn of(inventory: &Inventory) -> Self {
        let mut stats = Self {
            records: inventory.outcomes.len(),
            blobs: inventory.objects.len(),
            bytes: inventory.objects.values().map(|object| object.bytes).sum(),
            ..Self::default()
        };
        let mut seen = std::collections::HashSet::new();
        for name in inventory.outcomes.iter().flat_map(|outcome| &outcome.names) {
            let bytes = inventory.objects.get(name).map_or(0, |object| object.bytes);
            stats.named += bytes;
            if seen.insert(*name) {
                stats.here += bytes;
            }
        }
        stats
    }
}
