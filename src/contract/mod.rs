//! The plain data of a node, which a workflow declares, a kind interprets and a store keeps: its
//! ports, its outside data, and its recipe.
//!
//! It does not know how a workflow is read, what a kind computes or where a store has its files.

pub mod port;
pub mod recipe;
pub mod source;
