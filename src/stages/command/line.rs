//! The process of a line: its program, its arguments, and its environment, which holds nothing
//! undeclared.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

use super::isolation::Isolation;
use super::lines::Secrets;
use super::runner::Prefix;
use super::shell::Shell;
use super::work_dir::WorkDir;

/// The variables that programs need to be found and to find the home folder. All others are
/// cleared, because everything that a line depends on must be in its key.
const NECESSITIES: [&str; 6] = [
    "PATH",
    "LD_LIBRARY_PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "CUDA_VISIBLE_DEVICES",
];
/// The variables that limit the threads of libraries: OpenMP, with PyTorch; the BLAS libraries MKL,
/// OpenBLAS, BLIS and Accelerate; NumExpr, Numba, Rayon, Polars, Julia. All are the node's cores.
const THREADS: [&str; 11] = [
    "RIBFLOW_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "JULIA_NUM_THREADS",
];

/// A line with everything that it needs.
pub(super) struct Line<'a> {
    /// The shell.
    pub program: &'a Path,
    pub shell: Shell,
    pub text: &'a str,
    /// What stands in front of the shell.
    pub prefix: Option<&'a Prefix>,
    /// Names and values that are in the key.
    pub variables: Vec<(String, String)>,
    /// Names and values that must not be shown.
    pub secrets: Vec<(String, OsString)>,
    pub isolation: Option<&'a Isolation>,
}

impl Line<'_> {
    /// The process that runs the line in `space`.
    pub fn command(&self, space: &WorkDir, threads: usize) -> Command {
        let program = match self.prefix {
            // The programs of a container are not those of this machine.
            Some(prefix) if prefix.in_container => OsStr::new(self.shell.name()),
            _ => self.program.as_os_str(),
        };
        let arguments = self.shell.arguments().iter().map(OsStr::new);
        let arguments = arguments.chain([OsStr::new(self.text)]);
        self.process(program, arguments, space, threads)
    }

    /// `program` in the place of the line.
    pub fn process<'a>(
        &self,
        program: &OsStr,
        arguments: impl Iterator<Item = &'a OsStr>,
        space: &WorkDir,
        threads: usize,
    ) -> Command {
        let mut command = match self.prefix {
            Some(prefix) => {
                let mut command = Command::new(&prefix.program);
                command.args(&prefix.arguments).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(arguments).current_dir(&space.folder);
        self.set_environment(&mut command, space, threads);
        if let Some(isolation) = self.isolation {
            isolation.bind(&mut command);
        }
        command
    }

    fn set_environment(&self, command: &mut Command, space: &WorkDir, threads: usize) {
        let threads = threads.to_string();
        let inherited = NECESSITIES.iter().filter_map(|name| {
            let value = std::env::var_os(name)?;
            Some((*name, value))
        });
        let variables = self.variables.iter();
        let variables = variables.map(|(name, value)| (name, OsStr::new(value)));
        let secrets = self.secrets.iter();
        let secrets = secrets.map(|(name, value)| (name, value.as_os_str()));
        command
            .env_clear()
            .envs(inherited)
            .envs([("LANG", "C.UTF-8"), ("TZ", "UTC")])
            .envs(THREADS.map(|name| (name, &threads)))
            .env("TMPDIR", &space.temporary);
        if self.isolation.is_some() {
            command.env("HOME", &space.folder);
        }
        if let Some(prefix) = self.prefix {
            command.envs(prefix.variables.iter().map(|(name, value)| (*name, value)));
        }
        command.envs(variables).envs(secrets);
    }

    /// What messages must not show.
    pub fn hidden(&self) -> Secrets {
        Secrets::new(self.secrets.iter().map(|(_, value)| value.as_os_str()))
    }
}
