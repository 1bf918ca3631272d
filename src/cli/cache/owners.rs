//! Groups the records that `gc` removes by the workflow that used them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use crate::digest::Digest;
use crate::engine::journal::SeenRun;
use crate::quantity::count;
use crate::report::utc;
use crate::store::Store;
use crate::store::gc::GcReport;
use crate::ui::text::printable;

/// A workflow, with its profiles and overrides, that used some of the removed records; or the
/// records that no run used.
pub struct Owner {
    /// The workflow as typed; `None` if no run names the records.
    title: Option<String>,
    /// Identifies the workflow's file; `None` if the journals do not have it.
    place: Option<Digest>,
    records: usize,
    /// The newest run and the time of its last activity, in seconds since 1970.
    run: String,
    last: u64,
}

impl Owner {
    /// All users of the removed records. A record with several users counts for each of them.
    pub fn all(collected: &GcReport, runs: &[SeenRun]) -> Vec<Self> {
        let gone = collected.records.iter().map(|gone| gone.key);
        let mut records: HashMap<Digest, usize> = HashMap::new();
        gone.for_each(|key| *records.entry(key).or_default() += 1);
        let mut groups: BTreeMap<_, (Self, HashSet<Digest>)> = BTreeMap::new();
        // Oldest first, so that the newest run names the group.
        for run in runs {
            let used = run.all_keys.iter().filter(|key| records.contains_key(key));
            let used: Vec<Digest> = used.copied().collect();
            let place = run.identity().map(|(place, ..)| place);
            let (owner, keys) = groups.entry((run.title(), place)).or_insert_with(|| {
                let title = Some(run.title());
                (Self::new(title, place), HashSet::new())
            });
            owner.run = run.id();
            let since = run.last.duration_since(UNIX_EPOCH);
            owner.last = since.unwrap_or_default().as_secs();
            keys.extend(used);
        }
        let named: HashSet<Digest> = groups.values().flat_map(|(_, keys)| keys.clone()).collect();
        let total = |keys: &HashSet<Digest>| keys.iter().map(|key| records[key]).sum();
        let mut owners: Vec<Self> = Vec::new();
        for (mut owner, keys) in groups.into_values() {
            owner.records = total(&keys);
            owners.push(owner);
        }
        let mut no_run = Self::new(None, None);
        let unnamed = records.iter().filter(|(key, _)| !named.contains(key));
        no_run.records = unnamed.map(|(_, records)| records).sum();
        owners.push(no_run);
        owners.retain(|owner| owner.records > 0);
        owners
    }

    fn new(title: Option<String>, place: Option<Digest>) -> Self {
        Self {
            title,
            place,
            records: 0,
            run: String::new(),
            last: 0,
        }
    }

    pub fn words(&self, store: &Store) -> String {
        let records = count(self.records, "record");
        let file = self.place.map(|place| super::workflow_label(store, &place));
        let file = file.map_or_else(String::new, |file| format!("; its file is {file}"));
        match &self.title {
            Some(title) => format!(
                "Of {}: {records}; its last run is {} of {}{file}.",
                printable(title),
                self.run,
                utc(self.last)
            ),
            None => format!("Of no run: {records}."),
        }
    }

    pub fn document(&self, store: &Store) -> Value {
        let file = self.place.and_then(|place| super::file_of(store, &place));
        json!({
            "workflow": self.title,
            "file": file,
            "records": self.records,
            "last_run": self.title.as_ref().map(|_| &self.run),
        })
    }
}
