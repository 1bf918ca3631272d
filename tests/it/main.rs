//! The integration tests: one binary, one module per subject.

mod cli;
mod fixtures;
mod house;
mod rib;
mod space;
mod store;
