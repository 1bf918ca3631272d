//! ribflow: declarative, content-addressed benchmarks of fine-tuning and robustness.
//!
//! A module imports only from lines above its own, or from names to its left on the same line;
//! `tests/it/house.rs` enforces it.
//!
//! ```text
//! 0  ribflow-ml: rng · isa · data · models · ops · train · ot · metrics     the machine-learning library, a package of its own under src/ml
//! 1  digest · fsx · process · memory · diag     digests and canonical encoding; atomic files, claims; descendants; the allocator; diagnostics
//! 2  yaml                          YAML with places, within limits
//! 3  workflow                      places → spec → expansion → checked node graph; trait Kind
//! 4  store                         objects, records, index, claims, verification
//! 5  remote                        downloads; other stores, signatures, trust, bundles; the lock file
//! 6  stages                        one file per kind: implements Kind and Task on top of ml
//! 7  engine                        decide (pure) → claim → execute → record; events out, no printing
//! 8  bench                         what `ribflow bench` measures
//! 9  report · ui                   HTML, plots, tables as views; terminal display: fed by events and records
//! 10 cli                           one file per subcommand; parses, calls, prints
//! ```

pub mod digest;
pub mod fsx;
pub mod memory;
pub mod process;

pub mod diag;

pub mod yaml;

pub mod workflow;

pub mod store;

pub mod remote;

/// The machine-learning library.
pub use ribflow_ml as ml;
/// The instruction sets that the kernels use.
pub use ribflow_ml::isa;
/// Optimal transport on its own: distances between sets of points.
pub use ribflow_ml::ot;
pub use ribflow_ml::rng;

pub mod stages;

pub mod engine;

pub mod bench;

pub mod report;
pub mod ui;

pub mod cli;

/// The tests of this library obey the cap on instruction sets that the program obeys.
#[cfg(all(test, target_os = "linux"))]
#[used]
#[unsafe(link_section = ".init_array")]
static HOLD: extern "C" fn() = ml::isa::hold_or_exit;
