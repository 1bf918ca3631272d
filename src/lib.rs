//! ribflow: declarative, content-addressed benchmarks of fine-tuning and robustness.
//!
//! A module imports only from lines above its own, or from names to its left on the same line;
//! `tests/it/house.rs` enforces it.
//!
//! ```text
//! 0  digest · fsx · process · memory · isa · rng · diag     digests and canonical encoding; atomic files, claims; descendants; the allocator; the instruction sets; named random streams; diagnostics
//! 1  yaml                          YAML with places, within limits
//! 2  workflow                      places → spec → expansion → checked node graph; trait Kind
//! 3  store                         objects, records, index, claims, verification
//! 4  remote                        downloads; other stores, signatures, trust, bundles; the lock file
//! 5  ml: data · models · train · ot · metrics     the machine-learning library; knows nothing of workflows or stores
//! 6  stages                        one file per kind: implements Kind and Task on top of ml
//! 7  engine                        decide (pure) → claim → execute → record; events out, no printing
//! 8  bench                         what `ribflow bench` measures
//! 9  report · ui                   HTML, plots, tables as views; terminal display: fed by events and records
//! 10 cli                           one file per subcommand; parses, calls, prints
//! ```

pub mod digest;
pub mod fsx;
pub mod isa;
pub mod memory;
pub mod process;
pub mod rng;

pub mod diag;

pub mod yaml;

pub mod workflow;

pub mod store;

pub mod remote;

pub mod ml;
/// Optimal transport on its own: distances between sets of points.
pub use ml::ot;

pub mod stages;

pub mod engine;

pub mod bench;

pub mod report;
pub mod ui;

pub mod cli;
