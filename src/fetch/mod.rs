//! Downloads over HTTP: resumed, retried, within limits of time and rate. `stages` fetches
//! checkpoints with it, and `remote` reaches other stores with its clients.
//!
//! It does not know stores, records or what a file is for.
//!
//! ```text
//! one file      download partial describe   one file, resumed; unfinished downloads; size and digest before a download
//! connections   web pace                    proxies, dead servers; limits of time and rate
//! text          urls sanitize               URLs as text; text from servers made safe for messages
//! ```

pub mod describe;
pub mod download;
pub mod pace;
pub mod partial;
pub(crate) mod sanitize;
pub(crate) mod urls;
pub mod web;
