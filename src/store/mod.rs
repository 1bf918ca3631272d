//! The content-addressed store: blobs, records, claims, and the stat cache over outside data.

pub mod artifact;
pub mod record;

pub use record::StoredRecord;
