//! Writes blobs to a store of its own and reads them back, in the system's folder for temporary
//! files.

use super::measure::Throughput;
use super::{BenchError, Family, Prepare, Result, Setting, Work};
use crate::store::{Blobs, Store};

pub(super) const FAMILY: Family = Family {
    form: "store/put|get",
    about: "16 blobs of 1 MiB: `put` hashes, writes, syncs and names them, `get` reads and verifies",
    names: || ["store/put", "store/get"].map(str::to_string).to_vec(),
    usual: &["store/put", "store/get"],
    find,
};

const BLOBS: usize = 16;
const BYTES: usize = 1 << 20;

fn find(parts: &[&str]) -> Option<Prepare> {
    let prepare = match parts {
        ["put"] => put,
        ["get"] => get,
        _ => return None,
    };
    Some(Box::new(prepare))
}

/// A store that is removed with the folder.
pub(super) fn temporary() -> Result<(tempfile::TempDir, Store)> {
    let folder = tempfile::Builder::new()
        .prefix("ribflow-bench-")
        .tempdir()
        .map_err(BenchError::io(std::env::temp_dir()))?;
    let store = Store::open(&folder.path().join("cache"))?;
    Ok((folder, store))
}

fn put(_: &Setting) -> Result<Work> {
    let (mut folder, mut store) = temporary()?;
    let mut bytes = vec![0u8; BYTES];
    let mut written: u64 = 0;
    /// Bytes after which a new store is created, so that the disk does not fill up.
    const FULL: u64 = 1 << 29;
    Ok(Work::new(Throughput::bytes(BLOBS * BYTES), move || {
        for _ in 0..BLOBS {
            written += BYTES as u64;
            // Distinct content, which the store does not have yet.
            bytes[..8].copy_from_slice(&written.to_le_bytes());
            store.write(&bytes)?;
        }
        if written.is_multiple_of(FULL) {
            (folder, store) = temporary()?;
        }
        let _ = &folder;
        Ok(())
    }))
}

fn get(_: &Setting) -> Result<Work> {
    let (folder, store) = temporary()?;
    let mut digests = Vec::new();
    for blob in 0..BLOBS {
        digests.push(store.write(&vec![blob as u8; BYTES])?.digest);
    }
    Ok(Work::new(Throughput::bytes(BLOBS * BYTES), move || {
        let _ = &folder;
        for digest in &digests {
            std::hint::black_box(store.read(digest)?);
        }
        Ok(())
    }))
}
