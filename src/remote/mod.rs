//! Other places: downloads by URL, other stores to share with, who is trusted, and the lock file
//! that says what outside data must be.

pub mod address;
pub mod bucket;
pub mod bundle;
pub mod checked;
pub mod config;
pub mod describe;
pub mod download;
pub mod exchange;
pub mod folder;
pub mod home;
pub mod http;
pub mod imported;
pub mod keys;
mod limited;
pub mod lock;
pub mod mark;
pub mod mine;
pub mod names;
pub mod neighbours;
pub mod pace;
pub mod partial;
pub mod patience;
pub mod probe;
mod profile;
pub mod revocations;
mod says;
pub mod serve;
pub mod signing;
pub mod statement;
pub mod transport;
pub mod trust;
pub mod web;

pub use exchange::{Exchange, Neighbour};
pub use transport::{Remote, RemoteError};
