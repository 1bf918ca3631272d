//! A run that finds all as an earlier one left it leaves no folder of its own: it makes the journal
//! of that one young again.

use std::fs::File;
use std::time::SystemTime;

use super::JOURNAL;
use crate::store::Store;

/// Notes that what the run `id` said holds now. False: its journal is gone, or not ours.
pub fn renew(store: &Store, id: &str) -> bool {
    let journal = File::options()
        .append(true)
        .open(store.runs().join(id).join(JOURNAL));
    journal.is_ok_and(|journal| journal.set_modified(SystemTime::now()).is_ok())
}
