//! What the allocator does with memory.
//!
//! A training step frees and allocates the same large tensors for ever. Decommitted in between,
//! every page of them would be mapped and cleared again: a fifth of a step's time. So what is free
//! is only marked as such: the process keeps it until the system runs short of memory. A server, which
//! runs for weeks and seldom needs much, gives it back.
//!
//! Workers use huge pages. Other processes don't: a command that lasts milliseconds would spend most of
//! them on finding and clearing a few pages of 2 MiB.
//!
//! The one place that talks to mimalloc; the binary makes it the global allocator.

use std::ffi::{OsString, c_long};

use libmimalloc_sys::{mi_option_set_default, mi_option_t, mi_process_init};

/// `mi_option_purge_decommits` of mimalloc 2 and 3, which the crate does not name.
const PURGE_DECOMMITS: mi_option_t = 5;
/// `mi_option_allow_thp` of mimalloc 3, which the crate does not name.
const ALLOW_THP: mi_option_t = 43;
/// The variable that mimalloc reads this option from.
const ALLOW_THP_VARIABLE: &str = "MIMALLOC_ALLOW_THP";

/// Keeps freed memory for the next allocation. The user's `MIMALLOC_PURGE_DECOMMITS` comes first.
pub fn keep_freed() {
    set_purge_decommits(0);
}

/// Gives freed memory back to the system, as without [`keep_freed`].
pub fn give_back_freed() {
    set_purge_decommits(1);
}

fn set_purge_decommits(value: c_long) {
    if std::env::var_os("MIMALLOC_PURGE_DECOMMITS").is_none() {
        // SAFETY: called before there is another thread; the option exists in both versions.
        unsafe { mi_option_set_default(PURGE_DECOMMITS, value) };
    }
}

/// Asks for no huge pages, unless `MIMALLOC_ALLOW_THP` is set. Called before the first allocation, which
/// is before `main`.
///
/// Set by the environment, the option is a setting of the kernel that child processes inherit. That
/// has been decided when mimalloc is initialised, so it is left alone here.
pub extern "C" fn use_small_pages() {
    // SAFETY: called before there is another thread; initialisation may be repeated, and an option of
    // another version is ignored.
    unsafe {
        mi_process_init();
        mi_option_set_default(ALLOW_THP, 0);
    }
}

/// The variable with which a child process uses huge pages, where the user has not decided.
pub fn huge_pages() -> (&'static str, OsString) {
    let own = std::env::var_os(ALLOW_THP_VARIABLE);
    (ALLOW_THP_VARIABLE, own.unwrap_or_else(|| "1".into()))
}
