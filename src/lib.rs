//! ribflow: declarative, content-addressed benchmarks of fine-tuning and robustness.
//!
//! A module imports only from lines below its own, or names to its left on its own line.
//! `tests/it/house.rs` enforces it, and the exact list of who imports whom.
//!
//! ```text
//! 9  cli                                                one file per subcommand: parses, calls, prints
//! 8  bench · ui                                         what `ribflow bench` measures; terminal displays, fed by events
//! 7  engine                                             decide (pure) → claim → execute → record; emits events, prints nothing
//! 6  report                                             HTML, plots and tables as views of records
//! 5  remote · stages                                    other stores, signatures, trust, bundles; the kinds, on top of ml
//! 4  fetch · cluster                                    downloads: resumed, retried, within limits of time and rate; places for workers on other machines
//! 3  workflow · store                                   spec → expansion → checked graph of nodes, trait Kind; objects, records, index, claims, verification, cleaning
//! 2  contract · yaml                                    plain data of nodes: ports, sources, recipes; YAML with places, within limits
//! 1  digest · fsx · process · memory · diag · quantity  digests, canonical encoding; files, locks; processes; allocator; diagnostics; numbers for people
//! 0  ml                                                 package ribflow-ml in src/ml: data · models · ops · train · ot · metrics · rng · isa
//! ```

pub mod digest;
pub mod fsx;
pub mod memory;
pub mod process;

pub mod diag;
pub mod quantity;

pub mod contract;
pub mod yaml;

pub mod store;
pub mod workflow;

pub mod cluster;
pub mod fetch;

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
