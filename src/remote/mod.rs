//! Transport: bytes from elsewhere. Knows no key and no store.

pub mod download;
pub mod partial;
