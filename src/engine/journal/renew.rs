//! A run that finds all results of an earlier one unchanged leaves no folder of its own: it updates
//! the time of that run's journal.

use std::fs::OpenOptions;
use std::time::SystemTime;

use super::JOURNAL;
use crate::fsx::calls::File;
use crate::store::Store;

/// Records that the journal of run `id` is valid now. Returns `false` if it is gone, or not ours.
pub fn renew(store: &Store, id: &str) -> bool {
    let path = store.runs().join(id).join(JOURNAL);
    let journal = File::open_with(&path, OpenOptions::new().append(true));
    journal.is_ok_and(|journal| journal.set_modified(SystemTime::now()).is_ok())
}
