//! The engine: decides what is ready, claims it, has it executed, records it. It prints nothing.

mod accept;
mod coordinator;
pub mod decide;
pub mod device;
mod error;
pub mod event;
mod execute;
mod gather;
pub mod job;
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

pub use accept::{Acceptable, Accepting, acceptable};
pub use coordinator::{RunOptions, RunResult, run};
pub use device::device_class;
pub use error::EngineError;
pub use gather::{Gathered, gather};
pub use shared::{SharedWork, shared_work};
pub use survey::{Survey, SurveyedNode, survey, survey_with};
pub use worker::serve_worker;
