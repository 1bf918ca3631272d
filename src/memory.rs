//! What the allocator does with freed memory.
//!
//! A training step frees and allocates the same large tensors for ever. Decommitted in between,
//! every page of them would be mapped and cleared again: a fifth of a step's time. So what is free
//! is only marked as such: the process keeps it until the system runs short of memory.
//!
//! The one place that talks to mimalloc; the binary makes it the global allocator.

use libmimalloc_sys::{mi_option_set_default, mi_option_t};

/// `mi_option_purge_decommits` of mimalloc 2 and 3, which the crate does not name.
const PURGE_DECOMMITS: mi_option_t = 5;

/// Keeps freed memory for the next allocation. The user's `MIMALLOC_PURGE_DECOMMITS` comes first.
pub fn keep_freed() {
    if std::env::var_os("MIMALLOC_PURGE_DECOMMITS").is_none() {
        // SAFETY: called before there is another thread; the option exists in both versions.
        unsafe { mi_option_set_default(PURGE_DECOMMITS, 0) };
    }
}
