//! Decides what to remove: a pure function of the inventory, the uses and the options.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::SystemTime;

use super::{GcOptions, GcReport, RemovedRecord, RunUse};
use crate::digest::Digest;
use crate::store::inventory::{Inventory, Outcome, Piece};
use crate::store::pins::Pin;

/// The input of the decision.
pub struct GcInput {
    pub inventory: Inventory,
    pub pins: Vec<Pin>,
    pub uses: Vec<RunUse>,
    /// Anything younger than this stays.
    pub young: SystemTime,
}

/// What to remove.
#[derive(Default)]
pub struct GcPlan {
    /// Indices of outcomes.
    pub outcomes: Vec<usize>,
    pub blobs: Vec<Digest>,
    /// Indices of pieces.
    pub pieces: Vec<usize>,
    pub runs: Vec<PathBuf>,
    /// The blobs that remaining records reference.
    pub named: HashSet<Digest>,
    pub collected: GcReport,
}

/// Why a key is kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Hold {
    /// Last used by a run at that time.
    Used(SystemTime),
    /// Held by a pin or a run that stays.
    Firm,
}

pub fn decide(input: &GcInput, cleaning: &GcOptions) -> GcPlan {
    let mut state = State::of(input, cleaning);
    state.by_age();
    if let Some(most) = cleaning.most {
        state.by_size(most);
    }
    state.end()
}

struct State<'a> {
    input: &'a GcInput,
    cleaning: &'a GcOptions,
    holds: HashMap<Digest, Hold>,
    /// For each blob, how many remaining records reference it.
    named: HashMap<Digest, usize>,
    /// Bytes of everything that stays.
    left: u64,
    /// Runs without activity since then are removed.
    forgotten: SystemTime,
    gone: Vec<bool>,
    gone_pieces: Vec<bool>,
    plan: GcPlan,
}

impl<'a> State<'a> {
    fn of(input: &'a GcInput, cleaning: &'a GcOptions) -> Self {
        let inventory = &input.inventory;
        let mut named = HashMap::new();
        for name in inventory.outcomes.iter().flat_map(|one| &one.names) {
            *named.entry(*name).or_insert(0) += 1;
        }
        let objects: u64 = inventory.objects.values().map(|object| object.bytes).sum();
        let records: u64 = inventory.outcomes.iter().map(|outcome| outcome.bytes).sum();
        let pieces: u64 = inventory.pieces.iter().map(|piece| piece.bytes).sum();
        Self {
            input,
            cleaning,
            holds: holds(input, cleaning),
            named,
            left: objects + records + pieces,
            forgotten: cleaning.before,
            gone: vec![false; inventory.outcomes.len()],
            gone_pieces: vec![false; inventory.pieces.len()],
            plan: GcPlan::default(),
        }
    }

    /// Removes what is neither held nor recently used, and unreferenced blobs.
    fn by_age(&mut self) {
        let input = self.input;
        for digest in input.inventory.objects.keys() {
            if !self.named.contains_key(digest) {
                self.drop_blob(digest);
            }
        }
        for (index, piece) in input.inventory.pieces.iter().enumerate() {
            if piece.time < self.cleaning.before && self.is_old(piece.time) {
                self.drop_piece(index, piece);
            }
        }
        for (index, outcome) in input.inventory.outcomes.iter().enumerate() {
            let held = self.holds.contains_key(&outcome.key);
            if !held && outcome.time < self.cleaning.before && self.is_old(outcome.time) {
                self.drop_outcome(index, outcome);
            }
        }
    }

    /// Removes until the rest fits: first what can be recomputed or fetched again, then what
    /// nothing holds, then the least recently used.
    fn by_size(&mut self, most: u64) {
        let input = self.input;
        let mut pieces: Vec<(usize, &Piece)> = input.inventory.pieces.iter().enumerate().collect();
        pieces.sort_by_key(|(_, piece)| (piece.kind, piece.time));
        for (index, piece) in pieces {
            if self.left > most && !self.gone_pieces[index] && self.is_old(piece.time) {
                self.drop_piece(index, piece);
            }
        }
        let mut outcomes: Vec<(Option<SystemTime>, usize, &Outcome)> = Vec::new();
        for (index, outcome) in input.inventory.outcomes.iter().enumerate() {
            let used = match self.holds.get(&outcome.key) {
                Some(Hold::Firm) => continue,
                Some(Hold::Used(last)) => Some(*last),
                None => None,
            };
            let old = self.is_old(outcome.time) && used.is_none_or(|last| self.is_old(last));
            if old && !self.gone[index] {
                outcomes.push((used, index, outcome));
            }
        }
        outcomes.sort_by_key(|(used, _, outcome)| (*used, outcome.time, outcome.digest));
        for (used, index, outcome) in outcomes {
            if self.left <= most {
                break;
            }
            self.drop_outcome(index, outcome);
            if let Some(used) = used {
                self.forgotten = self.forgotten.max(used);
            }
        }
        self.plan.collected.too_much = self.left > most;
    }

    fn end(mut self) -> GcPlan {
        for one in &self.input.uses {
            let over = one.last < self.cleaning.before
                // A run whose results were removed to make room is removed with them.
                || (self.forgotten > self.cleaning.before && one.last <= self.forgotten);
            if !one.stays && over && self.is_old(one.last) {
                self.plan.runs.push(one.folder.clone());
            }
        }
        self.plan.collected.runs = self.plan.runs.clone();
        self.plan.collected.left = self.left;
        self.plan.named = self.named.into_keys().collect();
        self.plan
    }

    fn is_old(&self, time: SystemTime) -> bool {
        time < self.input.young
    }

    fn drop_piece(&mut self, index: usize, piece: &Piece) {
        self.gone_pieces[index] = true;
        self.plan.pieces.push(index);
        self.plan.collected.heap(piece.kind).add(piece.bytes);
        self.left -= piece.bytes;
    }

    fn drop_outcome(&mut self, index: usize, outcome: &Outcome) {
        self.gone[index] = true;
        self.plan.outcomes.push(index);
        self.plan.collected.records.push(RemovedRecord {
            key: outcome.key,
            record: outcome.digest,
            kind: outcome.record.recipe.kind.clone(),
            bytes: outcome.bytes,
        });
        self.left -= outcome.bytes;
        for name in &outcome.names {
            let Some(count) = self.named.get_mut(name) else {
                continue;
            };
            *count -= 1;
            if *count == 0 {
                self.named.remove(name);
                self.drop_blob(name);
            }
        }
    }

    fn drop_blob(&mut self, digest: &Digest) {
        if let Some(object) = self.input.inventory.objects.get(digest)
            && self.is_old(object.time)
        {
            self.plan.blobs.push(*digest);
            self.plan.collected.blobs.add(object.bytes);
            self.left -= object.bytes;
        }
    }
}

/// Why each key is kept.
fn holds(input: &GcInput, cleaning: &GcOptions) -> HashMap<Digest, Hold> {
    let mut holds: HashMap<Digest, Hold> = HashMap::new();
    let mut hold = |key: &Digest, by: Hold| {
        let held = holds.entry(*key).or_insert(by);
        *held = (*held).max(by);
    };
    for one in &input.uses {
        let by = match one.stays {
            true => Hold::Firm,
            false if one.last < cleaning.before => continue,
            false => Hold::Used(one.last),
        };
        one.keys.iter().for_each(|key| hold(key, by));
    }
    let pinned = input.pins.iter().flat_map(|pin| &pin.nodes);
    pinned.for_each(|node| hold(&node.key, Hold::Firm));
    hold_origins(input, &mut holds);
    holds
}

/// A hold on a record extends to the records that it repeats: their signers can revoke it.
fn hold_origins(input: &GcInput, holds: &mut HashMap<Digest, Hold>) {
    for outcome in &input.inventory.outcomes {
        let Some(by) = holds.get(&outcome.key).copied() else {
            continue;
        };
        for accepted in &outcome.record.provenance.accepted {
            let held = holds.entry(accepted.key).or_insert(by);
            *held = (*held).max(by);
        }
    }
}
