//! Transport: bytes from elsewhere, and the lock file that says what they must be. Knows no key
//! and no store.

pub mod describe;
pub mod download;
pub mod lock;
pub mod partial;
