//! The integration tests: one binary, one module per subject.

mod fixtures;
mod house;
mod rib;
mod store;
