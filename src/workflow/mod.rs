//! The workflow language: YAML with places → spec → expansion → a checked graph of nodes. Defines
//! what a workflow file means. Knows no stage kind, store or engine: kinds are passed in as a
//! [`kind::Kinds`] registry.
//!
//! ```text
//! options                          what a load takes besides the file
//! fields → spec                    what the file says, name by name
//! overrides                        profiles and --set laid over params and axes
//! expression                       the grammars of references, conditions, selectors
//! ids · values                     ids of axes, when they are the same; what references stand for
//! names · axes · compile           what names stand for, bound once per stage
//! stages · join → expand           points, skipping, which point takes which
//! prepare · inputs · resources     typed parameters, checked inputs
//! ranges                           numbers against the ranges that kinds declare
//! classes                          names of classes, from datasets to models and evaluations
//! origins                          which nodes the inputs of a node come from
//! goals · select → assemble        what is asked for, in which order: the graph
//! places                           where the file writes the parameters of a node
//! ```

mod assemble;
mod axes;
mod classes;
mod compile;
mod compiled;
mod expand;
mod expression;
pub mod fields;
mod goals;
pub mod graph;
mod idle;
pub mod ids;
mod inputs;
mod join;
pub mod kind;
mod load;
mod missing_files;
mod names;
mod options;
mod origins;
mod overrides;
mod parameter_errors;
pub mod places;
mod prepare;
pub mod ranges;
pub mod reading;
pub mod resources;
mod schema;
mod select;
mod spec;
mod stages;
mod values;
pub mod withheld;

pub use load::{load, load_text};
pub use options::{Limits, LoadOptions};
pub use schema::schema;
pub use select::Selected;
