//! The integration tests: one binary, one module per subject.

mod cli;
mod cli_docs;
mod cli_run;
mod command;
mod controls;
mod datasets;
mod documentation;
mod engine;
mod examples;
mod fixtures;
mod house;
mod language;
mod methods;
mod ot;
mod ot_reference;
mod ot_stage;
mod parity_methods;
mod parity_models;
mod parity_preproc;
mod report;
mod rib;
mod rule;
mod sample;
mod space;
mod store;
mod tiny;
