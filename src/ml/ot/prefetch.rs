//! Prefetches memory.
//!
//! A sweep reads short runs of several rows in turn. The hardware prefetcher starts anew with every
//! run, and the sweep would spend more time waiting for memory than computing.

/// Prefetches `values`. Affects only speed.
#[inline(always)]
pub(super) fn bring_near<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in values.chunks(CACHE_LINE / size_of::<T>()) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which neither reads nor writes its target and never faults; every x86-64
        // processor has the instruction. `line` is a borrowed slice in any case.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

/// The size of a cache line in bytes.
#[cfg(target_arch = "x86_64")]
const CACHE_LINE: usize = 64;
