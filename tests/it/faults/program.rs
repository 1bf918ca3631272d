//! This binary as the program itself, with a fault in each of its processes: the coordinator of a run,
//! the workers that it starts, workers that join. The program that is built and installed knows nothing
//! of this.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

use ribflow::fsx::faults::{Call, Fault, arm_process};
use ribflow::rng::Stream;

use crate::space::TestSpace;

/// What the faults of a process are drawn from; 0: there are none.
const SEED: &str = "RIBFLOW_TEST_PROGRAM_SEED";
/// The calls below this folder may meet a fault.
const ROOT: &str = "RIBFLOW_TEST_PROGRAM_ROOT";
/// The file in which each process notes that it begins, and the fault that it meets.
const NOTES: &str = "RIBFLOW_TEST_PROGRAM_NOTES";

/// A command whose processes meet the faults that `seed` gives, below the folder of `space`.
pub fn command(space: &TestSpace, seed: u64, arguments: &[&str]) -> Command {
    let mut command = space.command_of(&std::env::current_exe().unwrap(), arguments);
    command.env(SEED, seed.to_string());
    command.env(ROOT, space.path("store"));
    command.env(NOTES, space.path("notes"));
    command
}

/// The loader calls it before the tests begin.
#[cfg(target_os = "linux")]
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_TESTS: extern "C" fn() = become_the_program;

extern "C" fn become_the_program() {
    let Ok(seed) = std::env::var(SEED) else {
        return;
    };
    // As Rust does before `main`.
    // SAFETY: no other thread exists yet.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let seed: u64 = seed.parse().expect("a number");
    if seed != 0 {
        arm(seed);
    }
    let code = ribflow::cli::main();
    let code = (0..=u8::MAX).find(|number| ExitCode::from(*number) == code);
    std::process::exit(code.map_or(1, i32::from));
}

/// Arms the fault of this process, by its place among those that have begun.
fn arm(seed: u64) {
    let notes = PathBuf::from(std::env::var_os(NOTES).expect("a file"));
    let begun = std::fs::read_to_string(&notes).map_or(0, |text| text.lines().count());
    let kind = std::env::args().nth(1).unwrap_or_default();
    let mut chance = Stream::new(seed, &format!("process {begun} {kind}"));
    let fault = draw(&mut chance);
    note(&format!("begins: {kind}: {fault:?}"));
    // Before there is a store, there is nothing to protect.
    let root = PathBuf::from(std::env::var_os(ROOT).expect("a folder"));
    if root.exists() && fault != Fault::None {
        arm_process(&root, fault, met).expect("a folder");
    }
}

fn met(call: Call) {
    note(&format!("meets: {call:?}"));
}

/// One line, in one piece.
fn note(line: &str) {
    static NOTE: OnceLock<PathBuf> = OnceLock::new();
    let path = NOTE.get_or_init(|| PathBuf::from(std::env::var_os(NOTES).unwrap_or_default()));
    let file = OpenOptions::new().create(true).append(true).open(path);
    let _ = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
}

/// Early calls are as likely as late ones.
fn draw(chance: &mut Stream) -> Fault {
    let most = 4 << chance.below(8);
    let at = chance.below(most) as usize;
    match chance.below(8) {
        0 => Fault::None,
        1 => Fault::Disk { at },
        2 => Fault::Broken { at },
        3 => Fault::Full { at },
        4 => Fault::Short { at },
        5 => Fault::Interrupted { at },
        _ => Fault::Ends { at },
    }
}
