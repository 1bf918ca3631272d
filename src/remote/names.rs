//! The names of objects at a remote, which are the same as in a store's folder.

use crate::digest::Digest;

/// The folder of revocations: signed statements that keys or records are no longer valid.
pub const REVOCATIONS: &str = "revocations";
/// The extension of a compressed blob.
pub const COMPRESSED: &str = ".zst";

/// `objects/ab/cdef…`
pub fn object(digest: &Digest) -> String {
    let hex = digest.to_hex();
    format!("objects/{}/{}", &hex[..2], &hex[2..])
}

/// `objects/ab/cdef….zst`
pub fn compressed(digest: &Digest) -> String {
    format!("{}{COMPRESSED}", object(digest))
}

/// `records/ab/<key>`
pub fn records(key: &Digest) -> String {
    let hex = key.to_hex();
    format!("records/{}/{hex}", &hex[..2])
}

/// `records/ab/<key>/<record>.json`
pub fn record(key: &Digest, record: &Digest) -> String {
    format!("{}/{record}.json", records(key))
}

/// `records/ab/<key>/<record>.<signer>.sig`
pub fn signature(key: &Digest, record: &Digest, signer: &Digest) -> String {
    format!("{}/{record}.{signer}.sig", records(key))
}

/// `revocations/<signer>/<digest>.sig`, by the digest of the signed envelope
pub fn revocation(signer: &Digest, envelope: &Digest) -> String {
    format!("{REVOCATIONS}/{signer}/{envelope}.sig")
}

/// The meaning of a name in the folder of a key's records. Other names are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InRecords {
    Record(Digest),
    Signature { record: Digest, signer: Digest },
}

/// Parses a name in the folder of a key's records.
pub fn in_records(name: &str) -> Option<InRecords> {
    if let Some(record) = name.strip_suffix(".json") {
        return record.parse().ok().map(InRecords::Record);
    }
    let (record, signer) = name.strip_suffix(".sig")?.split_once('.')?;
    Some(InRecords::Signature {
        record: record.parse().ok()?,
        signer: signer.parse().ok()?,
    })
}
