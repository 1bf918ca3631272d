//! The workflow language: text → spans → spec → expansion → a checked graph of nodes.
//! It owns what a workflow file means and knows no stage kind, no store and no engine: kinds come
//! in as a [`kind::Kinds`] registry.

pub mod graph;
pub mod kind;
pub mod recipe;
