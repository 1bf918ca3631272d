//! The integration tests: one binary, one module per subject.

mod accept;
mod adoption;
mod adversary;
mod bench;
mod checkpoint;
mod cli;
mod cli_docs;
mod cli_run;
mod cli_terminal;
mod command;
mod controls;
mod corrupt;
mod datasets;
mod derived;
mod described;
mod documentation;
mod engine;
mod examples;
mod fixtures;
mod folder_remote;
mod gpu;
mod gpu_kernels;
mod harm;
mod hints;
mod house;
mod hub;
mod imagenet_rib;
mod imports;
mod isa;
mod keep;
mod lab;
mod language;
mod lock;
mod methods;
mod odd_files;
mod odd_paths;
mod odd_servers;
mod ot;
mod ot_exact;
mod ot_fixtures;
mod ot_range;
mod ot_reference;
mod ot_reference_otdd;
mod ot_stage;
mod pages;
mod parity_catalogue;
mod parity_corruptions;
mod parity_methods;
mod parity_models;
mod parity_pieces;
mod parity_precision;
mod parity_preproc;
mod pipes;
mod presets;
mod proxies;
mod remade;
mod remotes;
mod report;
mod rib;
mod rule;
mod sample;
mod secrets;
mod serve;
mod servers;
mod sharing;
mod silence;
mod smoke;
mod space;
mod store;
mod tiny;
mod tiny_runs;
mod tools;
mod torch_files;
mod trust;
mod unchanged;
mod verify;
mod weights;
mod words;
mod workflows;
mod zips;

/// The tests are held to the cap that they hold the program to: first of all, since what is
/// detected once stays.
#[cfg(target_os = "linux")]
#[used]
#[unsafe(link_section = ".init_array")]
static HOLD: extern "C" fn() = ribflow::isa::hold_or_exit;
