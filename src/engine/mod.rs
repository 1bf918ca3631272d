//! The engine: decides what is ready, claims it, has it executed, records it. It prints nothing.

pub mod decide;
pub mod event;
pub mod job;
