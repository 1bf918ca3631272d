//! The engine: decides which nodes are ready, claims them, has them executed and records the
//! outcome.
//!
//! Owns runs: their keys, workers, journal and costs. Emits events and prints nothing; knows kinds
//! only through the registry. docs/engine.md specifies what a run guarantees.
//!
//! ```text
//! deciding  decide keys accepting accept shared                 the state machine; recipes and keys; older versions; work that nodes share
//! running   coordinator job job_inputs pool worker execute publish gather  the run itself; jobs for worker processes; records; remotes
//! shared    join                                                plans for workers that join; the part of a process in a run
//! sessions  enter                                               a program of the user in the folder of a node
//! surveys   survey why recompute price                          `plan` and `status`; reasons; samples; costs
//! history   journal event                                       the journal of a run; its events
//! machine   device machine roots paths error                    devices and cores; folders of sources; paths between processes
//! ```

mod accept;
mod accepting;
mod coordinator;
pub mod decide;
pub mod device;
mod enter;
mod error;
pub mod event;
mod execute;
mod gather;
pub mod job;
mod job_inputs;
pub mod join;
pub mod journal;
mod keys;
mod machine;
mod paths;
mod pool;
pub mod price;
mod publish;
pub mod recompute;
mod roots;
mod shared;
mod survey;
mod why;
mod worker;

pub use accept::acceptable;
pub use accepting::{Acceptable, Accepting};
pub use coordinator::{RunOptions, RunResult, run};
pub use device::{class_named, device_class};
pub use enter::{EnterError, enter};
pub use error::EngineError;
pub use gather::{RemoteRecords, gather};
pub use shared::{SharedWork, shared_work};
pub use survey::{Survey, SurveyedNode, survey, survey_with};
pub use worker::serve_worker;
