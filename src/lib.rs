//! ribflow: declarative, content-addressed benchmarks of fine-tuning and robustness.
//!
//! A module imports only from lines above its own, or from names to its left on the same line;
//! `tests/it/house.rs` enforces it.
//!
//! ```text
//! 0  digest · fsx · memory · rng · diag     digests and canonical encoding; atomic files, claims; the allocator; named random streams; diagnostics
//! 1  workflow                      text → spans → spec → expansion → checked node graph; trait Kind
//! 2  store                         objects, records, index, claims, verification
//! 3  remote                        downloads; other stores, signatures, trust, bundles; the lock file
//! 4  ml: data · models · train · ot · metrics     the machine-learning library; knows nothing of workflows or stores
//! 5  stages                        one file per kind: implements Kind and Task on top of ml
//! 6  engine                        decide (pure) → claim → execute → record; events out, no printing
//! 7  bench                         what `ribflow bench` measures
//! 8  report · ui                   HTML, plots, tables as views; terminal display: fed by events and records
//! 9  cli                           one file per subcommand; parses, calls, prints
//! ```

pub mod digest;
pub mod fsx;
pub mod memory;
pub mod rng;

pub mod diag;

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
