//! `runner`: words in front of the shell that give a line its environment. uv, conda and Apptainer
//! are known by name: what their environment is made of is part of the key. Of any other program
//! only its words are.

mod conda;
mod container;
mod environment;
mod manifest;
mod uv;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use self::conda::Conda;
use self::container::Container;
use self::uv::Uv;
use super::super::task::{Context, TaskError};
use super::isolation::Place;
use super::shell;
use super::work_dir::WorkDir;
use crate::contract::source::{Source, SourceShape};
use crate::store::artifact::Artifact;
use crate::workflow::kind::{ParameterProblem, WorkflowFile};

/// The field of `with:`.
pub(super) const FIELD: &str = "runner";

/// The words in front of the shell; empty: none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transparent)]
pub struct Runner(Vec<String>);

impl Serialize for Runner {
    /// Without the places of projects, environments and images: their content is in the key.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let program = self.program();
        let words = match &program {
            Ok(Program::Uv(uv)) => uv.keyed(),
            Ok(Program::Conda(conda)) => conda.keyed(),
            Ok(Program::Container(container)) => container.keyed(),
            Ok(Program::Other) | Err(_) => self.0.clone(),
        };
        words.serialize(serializer)
    }
}

/// The programs that are known by name.
enum Program {
    Uv(Uv),
    Conda(Conda),
    Container(Container),
    Other,
}

/// A word that is wrong.
struct WordProblem {
    /// Its position.
    at: usize,
    message: String,
    hint: String,
}

impl WordProblem {
    fn new(at: usize, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let (message, hint) = (message.into(), hint.into());
        Self { at, message, hint }
    }
}

/// What stands in front of the shell.
pub(super) struct Prefix {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    pub variables: Vec<(&'static str, OsString)>,
    /// What an isolated line may read besides the system.
    pub readable: Vec<Place>,
    /// The shell is that of an image.
    pub in_container: bool,
    /// The versions of the environment, for the record.
    pub note: String,
}

impl Prefix {
    fn new(program: PathBuf) -> Self {
        Self {
            note: super::shown(&program),
            program,
            arguments: Vec::new(),
            variables: Vec::new(),
            readable: Vec::new(),
            in_container: false,
        }
    }
}

impl Runner {
    fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    fn program(&self) -> Result<Program, WordProblem> {
        let first = self.0.first().map_or("", String::as_str);
        let name = Path::new(first).file_name().and_then(|name| name.to_str());
        match name {
            Some("uv") => Uv::parse(&self.0).map(Program::Uv),
            Some("conda" | "mamba" | "micromamba") => Conda::parse(&self.0).map(Program::Conda),
            Some("apptainer" | "singularity") => Container::parse(&self.0).map(Program::Container),
            _ => Ok(Program::Other),
        }
    }

    /// What the environment is made of.
    pub(super) fn sources(&self) -> Vec<Source> {
        match self.program() {
            Ok(Program::Uv(uv)) => uv.sources(),
            Ok(Program::Conda(conda)) => vec![conda.source()],
            Ok(Program::Container(container)) => container.source().into_iter().collect(),
            Ok(Program::Other) | Err(_) => Vec::new(),
        }
    }

    /// What the environment is made of, at the word that names its place.
    pub(super) fn files(&self) -> Vec<WorkflowFile> {
        let (place, hint) = match self.program() {
            Ok(Program::Uv(uv)) => (uv.project().to_path_buf(), uv::NO_PROJECT),
            Ok(Program::Conda(conda)) => (conda.source().location, conda::NO_PREFIX),
            Ok(Program::Container(_)) => {
                let image = self.0.last().map(PathBuf::from);
                (image.unwrap_or_default(), container::NO_IMAGE)
            }
            Ok(Program::Other) | Err(_) => return Vec::new(),
        };
        // The value of an option is the next word, or follows `=`.
        let mut words = self.0.iter();
        let at = words.position(|word| {
            let value = word.rsplit('=').next().unwrap_or(word);
            Path::new(value) == place
        });
        let at = at.unwrap_or(0);
        let file = |source: Source| WorkflowFile {
            field: vec![FIELD.to_string(), at.to_string()],
            location: source.location,
            ignore: Vec::new(),
            hint,
        };
        self.sources().into_iter().map(file).collect()
    }

    pub(super) fn check(&self, isolated: bool) -> Vec<ParameterProblem> {
        let words = self.0.iter().enumerate();
        let unfit = words.filter(|(_, word)| word.is_empty() || word.contains('\0'));
        let unfit: Vec<ParameterProblem> = unfit
            .map(|(at, _)| {
                super::at(
                    FIELD,
                    at,
                    "a word is empty or has a NUL character".to_string(),
                )
            })
            .collect();
        if !unfit.is_empty() || self.is_none() {
            return unfit;
        }
        match self.program() {
            Err(WordProblem { at, message, hint }) => {
                vec![super::at(FIELD, at, message).hint(hint)]
            }
            Ok(Program::Container(_)) if isolated => {
                let message = "an isolated line can't mount the file systems of an image";
                let problem = ParameterProblem::value(FIELD, message);
                vec![problem.hint("leave `isolated` out: a container has its own limits")]
            }
            Ok(_) => Vec::new(),
        }
    }

    /// Builds the environment where it is not there yet. `None` without a runner.
    pub(super) fn prepare(
        &self,
        space: &WorkDir,
        context: &Context,
    ) -> Result<Option<Prefix>, TaskError> {
        let Some(first) = self.0.first() else {
            return Ok(None);
        };
        let program = match first.contains('/') {
            true => PathBuf::from(first),
            false => shell::found(first).ok_or_else(|| absent(first))?,
        };
        let prefix = match self.program() {
            Ok(Program::Uv(uv)) => uv.prefix(program, space, context)?,
            Ok(Program::Conda(conda)) => conda.prefix(program, context)?,
            Ok(Program::Container(container)) => container.prefix(program, space, context)?,
            Ok(Program::Other) | Err(_) => Prefix {
                arguments: self.0[1..].iter().map(OsString::from).collect(),
                ..Prefix::new(program)
            },
        };
        Ok(Some(prefix))
    }
}

fn absent(name: &str) -> TaskError {
    let more = match name {
        "uv" => ": install it (https://docs.astral.sh/uv), or",
        _ => ": install it, or",
    };
    TaskError::Failed(format!(
        "PATH has no `{name}`, the program of `runner`{more} start ribflow with it in PATH"
    ))
}

fn source(name: &str, location: impl Into<PathBuf>, shape: SourceShape) -> Source {
    Source {
        name: name.to_string(),
        location: location.into(),
        shape,
        sealed: false,
    }
}

/// The place of a source on this machine.
fn place(context: &Context, name: &str) -> Result<PathBuf, TaskError> {
    let member = context.members(name).first();
    let root = member.and_then(|member| member.roots.first());
    root.cloned()
        .ok_or_else(|| TaskError::Input(format!("`{name}` has no place on this machine")))
}

/// The text of a source that is a table with one.
fn text<'a>(context: &'a Context, name: &str) -> Result<&'a str, TaskError> {
    let member = context.members(name).first();
    let table = member.and_then(|member| match &member.artifact {
        Artifact::Table(table) => Some(table),
        _ => None,
    });
    let cell = table.and_then(|table| table.rows.first()?.last()?.as_str());
    cell.ok_or_else(|| TaskError::Input(format!("`{name}` must be a table with a text")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn runner(words: &[&str]) -> Runner {
        Runner(words.iter().map(|word| word.to_string()).collect())
    }

    fn keyed(words: &[&str]) -> serde_json::Value {
        serde_json::to_value(runner(words)).unwrap()
    }

    fn sources(words: &[&str]) -> Vec<(String, String)> {
        let sources = runner(words).sources().into_iter();
        sources
            .map(|source| (source.name, source.location.display().to_string()))
            .collect()
    }

    /// The problem with `words`: the position, the message and the hint.
    fn problem(words: &[&str]) -> String {
        let [problem] = runner(words).check(false).try_into().unwrap();
        let hint = problem.hint.unwrap_or_default();
        format!("{}: {}; {hint}", problem.path[1], problem.message)
    }

    #[test]
    fn places_of_projects_environments_and_images_are_in_no_key() {
        let there = ["uv", "run", "--project", "../p", "--locked", "--group=gpu"];
        let here = ["/opt/bin/uv", "run", "--locked", "--group", "gpu"];
        assert_eq!(
            keyed(&there),
            json!(["uv", "run", "--locked", "--group", "gpu"])
        );
        assert_eq!(keyed(&here), keyed(&there));
        let pair = |name: &str, place: &str| (name.to_string(), place.to_string());
        assert_eq!(
            sources(&there),
            [
                pair("runner/lock", "../p/uv.lock"),
                pair("runner/project", "../p/pyproject.toml")
            ]
        );
        let conda = ["conda", "run", "-p", "/envs/a", "--no-capture-output"];
        assert_eq!(
            keyed(&conda),
            json!(["conda", "run", "--no-capture-output"])
        );
        assert_eq!(sources(&conda), [pair("runner/packages", "/envs/a")]);
        let image = ["apptainer", "exec", "--nv", "images/a.sif"];
        assert_eq!(keyed(&image), json!(["apptainer", "exec", "--nv"]));
        assert_eq!(sources(&image), [pair("runner/image", "images/a.sif")]);
        let digest = format!("docker://a/b@sha256:{}", "0".repeat(64));
        let remote = ["apptainer", "exec", &digest];
        assert_eq!(keyed(&remote), json!(remote));
        assert_eq!(sources(&remote), []);
        assert_eq!(keyed(&["nice", "-n", "5"]), json!(["nice", "-n", "5"]));
        assert_eq!(keyed(&[]), json!([]));
    }

    #[test]
    fn a_wrong_word_is_named_with_what_to_write() {
        let none = problem(&["uv", "run"]);
        assert!(none.starts_with("1: `uv run` without `--locked`"), "{none}");
        assert!(none.ends_with("write [uv, run, --locked]"), "{none}");
        let unlocked = problem(&["uv", "run", "--locked", "--with", "six"]);
        assert!(
            unlocked.starts_with("3: `--with` is not an option"),
            "{unlocked}"
        );
        let script = problem(&["uv", "run", "--locked", "python"]);
        assert!(
            script.starts_with("3: `python` would stand before the shell"),
            "{script}"
        );
        let cut = problem(&["uv", "run", "--locked", "--project"]);
        assert!(cut.starts_with("3: `--project` has no value"), "{cut}");
        let other = problem(&["uv", "sync"]);
        assert!(other.starts_with("1: `uv` is known as `uv run`"), "{other}");
        let named = problem(&["conda", "run", "-n", "base"]);
        assert!(
            named.starts_with("2: a name says nothing about where"),
            "{named}"
        );
        let nowhere = problem(&["micromamba", "run"]);
        assert!(
            nowhere.ends_with("write [conda, run, -p, PATH]"),
            "{nowhere}"
        );
        let tag = problem(&["apptainer", "exec", "docker://python:3.12"]);
        assert!(
            tag.starts_with("2: `docker://python:3.12` may be another image"),
            "{tag}"
        );
        assert!(tag.contains("@sha256:"), "{tag}");
        let empty = problem(&["nice", ""]);
        assert!(empty.starts_with("1: a word is empty"), "{empty}");
        let mounts = runner(&["apptainer", "exec", "a.sif"]).check(true);
        assert_eq!(mounts.len(), 1);
    }
}
