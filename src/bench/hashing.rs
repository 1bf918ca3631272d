//! BLAKE3 over memory, as the store does it for large blobs.

use super::measure::Throughput;
use super::{Family, Prepare, Setting, Work};
use crate::workflow::resources;

pub(super) const FAMILY: Family = Family {
    form: "hash/blake3/SIZE",
    about: "bytes in memory, on all threads",
    names: || {
        let names = ["hash/blake3/1MiB", "hash/blake3/64MiB", "hash/blake3/1GiB"];
        names.map(str::to_string).to_vec()
    },
    usual: &["hash/blake3/64MiB"],
    find,
};

fn find(parts: &[&str]) -> Option<Prepare> {
    let ["blake3", size] = parts else { return None };
    let size = usize::try_from(resources::bytes(&(*size).into()).ok()?).ok()?;
    Some(Box::new(move |_: &Setting| {
        let bytes = vec![7u8; size];
        Ok(Work::new(Throughput::bytes(size), move || {
            std::hint::black_box(blake3::Hasher::new().update_rayon(&bytes).finalize());
            Ok(())
        }))
    }))
}
