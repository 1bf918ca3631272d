//! A run that finds all results of an earlier one unchanged leaves no folder of its own: it updates
//! the time of that run's journal.

use std::fs::File;
use std::time::SystemTime;

use super::JOURNAL;
use crate::store::Store;

/// Records that the journal of run `id` is valid now. Returns `false` if it is gone, or not ours.
pub fn renew(store: &Store, id: &str) -> bool {
    let journal = File::options()
        .append(true)
        .open(store.runs().join(id).join(JOURNAL));
    journal.is_ok_and(|journal| journal.set_modified(SystemTime::now()).is_ok())
}
