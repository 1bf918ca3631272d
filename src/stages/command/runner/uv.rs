//! `uv run --locked`: the packages of a lock file. The environment is built by `uv sync` and then
//! used without changes and without network. The project itself is not installed: its code comes
//! by `files`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::super::isolation::{Access, Place, of_environment};
use super::super::work_dir::WorkDir;
use super::environment::{self, Environment};
use super::{Prefix, WordProblem, source, text};
use crate::contract::source::{Source, SourceShape};
use crate::stages::task::{Context, TaskError};

const LOCK: &str = "runner/lock";
const PROJECT: &str = "runner/project";
/// Options that choose among what the lock file has.
const FLAGS: [&str; 8] = [
    "--all-extras",
    "--all-groups",
    "--managed-python",
    "--no-default-groups",
    "--no-dev",
    "--no-managed-python",
    "--no-python-downloads",
    "--only-dev",
];
/// Those with a value.
const VALUES: [&str; 7] = [
    "--extra",
    "--group",
    "--no-extra",
    "--no-group",
    "--only-group",
    "--python",
    "-p",
];
const LOCKED: &str = "--locked";
const PROJECT_OPTION: &str = "--project";

/// `uv run` with its options.
pub struct Uv {
    /// For `uv sync` and `uv run`.
    options: Vec<String>,
    /// The folder of the lock file.
    project: PathBuf,
}

/// What to do without a lock file or a project.
pub const NO_PROJECT: &str = "`uv lock` writes `uv.lock` beside `pyproject.toml`; `--project DIR` in `runner` names a project in \
     another folder than that of the workflow file";

impl Uv {
    pub fn parse(words: &[String]) -> Result<Self, WordProblem> {
        if words.get(1).map(String::as_str) != Some("run") {
            let message = "`uv` is known as `uv run` here";
            return Err(WordProblem::new(words.len().min(2) - 1, message, WRITE));
        }
        let mut uv = Self {
            options: Vec::new(),
            project: PathBuf::new(),
        };
        let mut is_locked = false;
        let mut rest = words.iter().enumerate().skip(2);
        while let Some((at, word)) = rest.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_string())),
                None => (word.as_str(), None),
            };
            let takes_value = VALUES.contains(&name) || name == PROJECT_OPTION;
            if !takes_value {
                match word.as_str() {
                    LOCKED => is_locked = true,
                    flag if FLAGS.contains(&flag) => uv.options.push(flag.to_string()),
                    other => return Err(unknown(at, other)),
                }
                continue;
            }
            let value = value.or_else(|| rest.next().map(|(_, value)| value.clone()));
            let Some(value) = value else {
                let message = format!("`{name}` has no value");
                return Err(WordProblem::new(at, message, "the next word is its value"));
            };
            match name {
                PROJECT_OPTION => uv.project = PathBuf::from(value),
                name => uv.options.extend([name.to_string(), value]),
            }
        }
        match is_locked {
            true => Ok(uv),
            false => {
                let message = "`uv run` without `--locked` may use other packages than the lock file \
                               names";
                Err(WordProblem::new(1, message, WRITE))
            }
        }
    }

    pub fn keyed(&self) -> Vec<String> {
        let words = ["uv", "run", LOCKED].map(str::to_string).into_iter();
        words.chain(self.options.iter().cloned()).collect()
    }

    /// The folder of the lock file.
    pub fn project(&self) -> &Path {
        &self.project
    }

    pub fn sources(&self) -> Vec<Source> {
        let lock = self.project.join("uv.lock");
        let project = self.project.join("pyproject.toml");
        vec![
            source(LOCK, lock, SourceShape::UvLock),
            source(PROJECT, project, SourceShape::PythonProject),
        ]
    }

    pub fn prefix(
        &self,
        program: PathBuf,
        space: &WorkDir,
        context: &Context,
    ) -> Result<Prefix, TaskError> {
        let environment = environment::obtain(
            &environment::Recipe {
                uv: &program,
                options: &self.options,
                lock: text(context, LOCK)?,
                project: text(context, PROJECT)?,
            },
            context,
        )?;
        let readable = readable(&program, &environment);
        let cache = space.temporary.join("uv");
        environment.copy_cache(&cache);
        // Nothing is looked up or changed: `uv` finds the environment and starts the shell in it.
        let mut arguments: Vec<OsString> = ["run", LOCKED, "--offline", "--no-sync", "--no-config"]
            .map(OsString::from)
            .to_vec();
        arguments.push(PROJECT_OPTION.into());
        arguments.push(environment.project().into());
        arguments.extend(self.options.iter().map(OsString::from));
        arguments.push("--".into());
        Ok(Prefix {
            arguments,
            variables: vec![
                ("UV_PROJECT_ENVIRONMENT", environment.packages().into()),
                ("UV_CACHE_DIR", cache.into()),
                ("UV_PYTHON_DOWNLOADS", "never".into()),
            ],
            readable,
            note: environment.versions.clone(),
            ..Prefix::new(program)
        })
    }
}

const WRITE: &str = "write [uv, run, --locked]";

fn unknown(at: usize, word: &str) -> WordProblem {
    if !word.starts_with('-') {
        let message = format!("`{word}` would stand before the shell, which runs the line");
        return WordProblem::new(at, message, format!("{WRITE}, and the program in `run`"));
    }
    let known = [LOCKED, PROJECT_OPTION]
        .into_iter()
        .chain(FLAGS)
        .chain(VALUES);
    let known: Vec<String> = known.map(|name| format!("`{name}`")).collect();
    let message = format!("`{word}` is not an option of a runner");
    let hint = format!(
        "the environment is what the lock file says. Options are {}",
        known.join(", ")
    );
    WordProblem::new(at, message, hint)
}

fn readable(program: &Path, environment: &Environment) -> Vec<Place> {
    let mut places = of_environment(&environment.packages().join("bin"));
    places.push(Place::new(&environment.folder, Access::Read));
    places.push(Place::new(program, Access::Read));
    places
}
