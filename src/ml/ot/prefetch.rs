//! Asking for memory before it is needed.
//!
//! A sweep reads short runs of several rows in turn, where a processor's own look-ahead starts anew
//! with every run and the sweep waits for memory more than it computes.

/// Has `values` brought near. Changes nothing but the time that reading them takes.
#[inline(always)]
pub(super) fn bring_near<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in values.chunks(CACHE_LINE / size_of::<T>()) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which neither reads nor writes what it points to and never faults; the
        // instruction is part of every x86-64 processor. `line` is a borrowed slice all the same.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

/// Bytes that come from memory together.
#[cfg(target_arch = "x86_64")]
const CACHE_LINE: usize = 64;
