//! The engine with real workers, which are this test binary started again.

mod accept;
mod bench;
mod documents;
pub mod probe;
mod reuse;
mod together;
mod trouble;
