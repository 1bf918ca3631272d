//! Faults at every call: each operation on a store is repeated with every kind of fault at every
//! call that it makes to the file system, and with a power failure there; and whole runs of several
//! processes, each with a fault.
//!
//! `RIBFLOW_TEST_FAULTS=N` draws N times as many power failures and random walks.

mod layer;
pub mod operations;
mod processes;
mod program;
mod runs;
pub mod space;
mod walk;

use std::time::Instant;

use walk::Walk;

/// The least number of faults of random runs, as docs/guarantees.md states it.
const RANDOM_CASES: usize = 800;
/// Walks over runs of several processes, and the least number of faults that those meet.
const PROCESS_WALKS: u64 = 12;
const PROCESS_CASES: usize = 25;

/// How many times as many random cases as by default.
fn factor() -> u64 {
    let given = std::env::var("RIBFLOW_TEST_FAULTS").ok();
    given.map_or(1, |text| text.parse().expect("a number of times"))
}

fn walk_over(operation: &operations::Operation) {
    let start = Instant::now();
    let walk = Walk::over(operation, factor());
    // Shown with `--nocapture`, as in CI.
    println!(
        "faults: {}: {} calls, {} cases, {} faults fired, {:.1} s",
        operation.name,
        walk.calls,
        walk.cases,
        walk.fired,
        start.elapsed().as_secs_f64(),
    );
    assert!(
        walk.cases >= operation.least / walk.stride,
        "{} cases",
        walk.cases
    );
    assert!(walk.fired >= walk.cases, "{} faults fired", walk.fired);
}

#[test]
fn a_blob_survives_a_fault_at_every_call() {
    walk_over(&operations::PUT);
}

#[test]
fn a_record_survives_a_fault_at_every_call() {
    walk_over(&operations::RECORD);
}

#[test]
fn a_cleaning_survives_a_fault_at_every_call() {
    walk_over(&operations::CLEAN);
}

#[test]
fn a_push_survives_a_fault_at_every_call() {
    walk_over(&operations::PUSH);
}

#[test]
fn a_pull_survives_a_fault_at_every_call() {
    walk_over(&operations::PULL);
}

#[test]
fn an_import_survives_a_fault_at_every_call() {
    walk_over(&operations::IMPORT);
}

#[test]
fn a_check_survives_a_fault_at_every_call() {
    walk_over(&operations::VERIFY);
}

#[test]
fn an_upload_survives_a_fault_at_every_call() {
    walk_over(&operations::UPLOAD);
}

#[test]
fn a_run_survives_a_fault_at_every_call() {
    walk_over(&operations::RUN);
}

#[test]
fn runs_survive_faults_one_after_another() {
    runs::walk(400 * factor());
}

/// `RIBFLOW_TEST_FAULTS=N` tries N times as many.
#[test]
fn runs_survive_faults_in_each_of_their_processes() {
    let fired = processes::walk(PROCESS_WALKS * factor());
    assert!(fired >= PROCESS_CASES, "{fired} faults fired");
}

/// The walks together are as long as the project promises, and the page states the length of each.
#[test]
fn the_page_states_the_length_of_every_walk() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guarantees.md");
    let page = std::fs::read_to_string(page).unwrap();
    let walks = [
        (
            "a_blob_survives_a_fault_at_every_call",
            operations::PUT.least,
        ),
        (
            "a_record_survives_a_fault_at_every_call",
            operations::RECORD.least,
        ),
        (
            "a_run_survives_a_fault_at_every_call",
            operations::RUN.least,
        ),
        (
            "a_cleaning_survives_a_fault_at_every_call",
            operations::CLEAN.least,
        ),
        (
            "a_check_survives_a_fault_at_every_call",
            operations::VERIFY.least,
        ),
        (
            "a_push_survives_a_fault_at_every_call",
            operations::PUSH.least,
        ),
        (
            "a_pull_survives_a_fault_at_every_call",
            operations::PULL.least,
        ),
        (
            "an_import_survives_a_fault_at_every_call",
            operations::IMPORT.least,
        ),
        (
            "an_upload_survives_a_fault_at_every_call",
            operations::UPLOAD.least,
        ),
        ("runs_survive_faults_one_after_another", RANDOM_CASES),
        (
            "runs_survive_faults_in_each_of_their_processes",
            PROCESS_CASES,
        ),
    ];
    for (test, least) in walks {
        let line = page
            .lines()
            .find(|line| line.contains(&format!("`faults::{test}`")));
        let line = line.unwrap_or_else(|| panic!("no line for {test}"));
        let digits: String = line.chars().filter(|letter| *letter != ',').collect();
        assert!(digits.contains(&format!("| {least} |")), "{least}: {line}");
    }
    let all: usize = walks.iter().map(|(_, least)| least).sum();
    assert!(all >= 20_000, "{all}");
}
