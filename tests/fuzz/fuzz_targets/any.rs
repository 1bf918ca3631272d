//! One program for all targets, since building one takes minutes: `RIBFLOW_FUZZ_TARGET` names it.

#![no_main]

#[path = "../targets.rs"]
mod targets;

use std::sync::LazyLock;

static TARGET: LazyLock<targets::Target> = LazyLock::new(|| {
    let name = std::env::var("RIBFLOW_FUZZ_TARGET").unwrap_or_default();
    let found = targets::TARGETS.iter().find(|(known, _)| *known == name);
    found.map_or_else(|| panic!("RIBFLOW_FUZZ_TARGET names no target: {name:?}"), |(_, target)| *target)
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (*TARGET)(bytes));
