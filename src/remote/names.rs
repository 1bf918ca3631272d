//! What things are called at a remote: the same names as in a store's own folder.

use crate::digest::Digest;

/// The folder of signed words that keys or records are no longer to be trusted.
pub const REVOCATIONS: &str = "revocations";
/// Ends the name of a blob that lies there compressed.
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

/// What a name in the folder of a key's records is. Anything else is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InRecords {
    Record(Digest),
    Signature { record: Digest, signer: Digest },
}

/// Reads a name as it stands in the folder of a key's records.
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
