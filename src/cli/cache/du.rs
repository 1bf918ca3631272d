//! `ribflow cache du`: shows disk usage by kind and by run.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::call::Call;
use crate::cli::failure::{Exit, Failure};
use crate::digest::Digest;
use crate::engine::journal::{self, SeenRun};
use crate::quantity::bytes;
use crate::store::gc::Tally;
use crate::store::inventory::{Inventory, Transient};
use crate::ui::table::Table;

/// Show disk usage by kind and by run
#[derive(Clone, Debug, Args)]
pub struct DuArguments {}

pub fn run(_: &DuArguments, call: &Call, output: &mut dyn Write) -> Result<Exit, Failure> {
    let common = call.common;
    let store = super::existing_read_only(None, common)?;
    let inventory = store.inventory()?;
    let runs = journal::seen(&store)?;
    let kinds = by(&inventory, kinds(&inventory));
    let runs = by(&inventory, groups_of(&runs));
    let passing: Vec<(Transient, Tally)> = Transient::ALL
        .into_iter()
        .map(|kind| {
            let pieces = inventory.pieces.iter().filter(|piece| piece.kind == kind);
            let bytes = pieces.clone().map(|piece| piece.bytes).sum();
            let count = pieces.count();
            (kind, Tally { count, bytes })
        })
        .collect();
    let total = inventory.objects.values().map(|object| object.bytes).sum();
    if common.json {
        let shares = |shares: &[Share]| shares.iter().map(Share::document).collect::<Vec<_>>();
        let passing: serde_json::Map<String, Value> = passing
            .iter()
            .map(|(kind, heap)| (kind.name().to_string(), json!(heap.bytes)))
            .collect();
        let document = json!({
            "blobs": { "count": inventory.objects.len(), "bytes": total },
            "kinds": shares(&kinds),
            "runs": shares(&runs),
            "other": passing,
        });
        serde_json::to_writer(&mut *output, &document)?;
        writeln!(output)?;
        return Ok(Exit::Done);
    }
    show("kind", &kinds, output)?;
    show("run", &runs, output)?;
    for (kind, heap) in passing {
        if heap.bytes > 0 {
            writeln!(output, "{}/: {}", kind.name(), bytes(heap.bytes))?;
        }
    }
    let blobs = inventory.objects.len();
    writeln!(output, "Total: {} in {blobs} blobs.", bytes(total))?;
    Ok(Exit::Done)
}

/// The disk usage of a kind or a run.
struct Share {
    name: String,
    records: usize,
    /// Bytes used only by this group, and bytes shared with other groups.
    own: u64,
    shared: u64,
}

impl Share {
    fn document(&self) -> Value {
        json!({
            "name": self.name,
            "records": self.records,
            "own_bytes": self.own,
            "shared_bytes": self.shared,
        })
    }
}

/// The keys of each group, by name.
type Groups = Vec<(String, BTreeSet<Digest>)>;

fn kinds(inventory: &Inventory) -> Groups {
    let mut kinds: BTreeMap<String, BTreeSet<Digest>> = BTreeMap::new();
    for outcome in &inventory.outcomes {
        let kind = outcome.record.recipe.kind.clone();
        kinds.entry(kind).or_default().insert(outcome.key);
    }
    kinds.into_iter().collect()
}

fn groups_of(runs: &[SeenRun]) -> Groups {
    let groups = runs.iter().rev().map(|run| {
        let name = format!("{} {}", run.id(), run.workflow);
        (name, run.all_keys.iter().copied().collect())
    });
    groups.collect()
}

fn by(inventory: &Inventory, groups: Groups) -> Vec<Share> {
    let mut outcomes: HashMap<Digest, Vec<usize>> = HashMap::new();
    for (index, outcome) in inventory.outcomes.iter().enumerate() {
        outcomes.entry(outcome.key).or_default().push(index);
    }
    let of_keys = |keys: &BTreeSet<Digest>| -> Vec<usize> {
        let indices = keys.iter().filter_map(|key| outcomes.get(key));
        indices.flatten().copied().collect()
    };
    let names = |indices: &[usize]| -> BTreeSet<Digest> {
        let names = indices
            .iter()
            .map(|index| &inventory.outcomes[*index].names);
        names.flatten().copied().collect()
    };
    let groups: Vec<(String, Vec<usize>)> = groups
        .into_iter()
        .map(|(name, keys)| (name, of_keys(&keys)))
        .collect();
    let mut owners: HashMap<Digest, usize> = HashMap::new();
    for (_, indices) in &groups {
        for name in names(indices) {
            *owners.entry(name).or_insert(0) += 1;
        }
    }
    let shares = groups.iter().map(|(name, indices)| {
        let (mut own, mut shared) = (0, 0);
        for digest in names(indices) {
            // Blobs that are not in this store use no space.
            let bytes = inventory.objects.get(&digest).map_or(0, |one| one.bytes);
            match owners.get(&digest) {
                Some(1) => own += bytes,
                _ => shared += bytes,
            }
        }
        Share {
            name: name.clone(),
            records: indices.len(),
            own,
            shared,
        }
    });
    shares.collect()
}

fn show(what: &str, shares: &[Share], output: &mut dyn Write) -> Result<(), Failure> {
    let mut table = Table::new([what, "records", "own", "shared"]);
    for share in shares {
        table.row([
            share.name.clone(),
            share.records.to_string(),
            bytes(share.own),
            bytes(share.shared),
        ]);
    }
    for line in table.lines() {
        writeln!(output, "{line}")?;
    }
    writeln!(output)?;
    Ok(())
}
