//! Threads for the kernels. Work is divided by its shape, never by the number of threads, so
//! results do not depend on it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

static POOLS: Mutex<BTreeMap<usize, Arc<rayon::ThreadPool>>> = Mutex::new(BTreeMap::new());

/// Runs `work` with its kernels on `threads` threads (0 counts as 1).
///
/// Uses only the calling thread if the system can't create threads.
pub fn scope<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    match pool(threads.max(1)) {
        Some(pool) => pool.install(work),
        None => work(),
    }
}

fn pool(threads: usize) -> Option<Arc<rayon::ThreadPool>> {
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pool) = pools.get(&threads) {
        return Some(pool.clone());
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("kernel-{index}"))
        .build()
        .ok()?;
    let pool = Arc::new(pool);
    pools.insert(threads, pool.clone());
    Some(pool)
}

/// Calls `work` for every piece of `values` with its index, in any order. All pieces except the
/// last have `size` elements.
pub(crate) fn each_piece<T: Send>(
    values: &mut [T],
    size: usize,
    work: impl Fn(usize, &mut [T]) + Send + Sync,
) {
    if values.len() <= size || rayon::current_num_threads() == 1 {
        for (index, piece) in values.chunks_mut(size.max(1)).enumerate() {
            work(index, piece);
        }
    } else {
        values
            .par_chunks_mut(size)
            .with_max_len(1)
            .enumerate()
            .for_each(|(index, piece)| work(index, piece));
    }
}

/// As [`each_piece`], with corresponding pieces of `a` and `b`.
pub(crate) fn each_pair<T: Send, U: Send>(
    a: &mut [T],
    a_size: usize,
    b: &mut [U],
    b_size: usize,
    work: impl Fn(usize, &mut [T], &mut [U]) + Send + Sync,
) {
    let (a_size, b_size) = (a_size.max(1), b_size.max(1));
    if a.len() <= a_size || rayon::current_num_threads() == 1 {
        let pairs = a.chunks_mut(a_size).zip(b.chunks_mut(b_size));
        for (index, (a, b)) in pairs.enumerate() {
            work(index, a, b);
        }
    } else {
        a.par_chunks_mut(a_size)
            .zip(b.par_chunks_mut(b_size))
            .with_max_len(1)
            .enumerate()
            .for_each(|(index, (a, b))| work(index, a, b));
    }
}
