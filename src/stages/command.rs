//! `command`: runs a shell line in its own folder, for everything that is not built in.
//!
//! The folder contains the inputs under their names, the declared files under their base names,
//! `params.json` if there are parameters, an empty `out/`, and nothing else. Declared outputs under
//! `out/` are kept.
//!
//! The key covers the line, the parameters, the names and types of the outputs, the content of the
//! inputs and files, the values of the declared variables, and what the environment of `runner` is
//! made of. Without a runner it does not cover the interpreter and its libraries.

mod child;
mod collect;
mod files;
mod guard;
mod isolation;
mod line;
mod lines;
mod outputs;
mod runner;
mod session;
mod shell;
pub mod typed;
mod work_dir;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::child::{Child, Start};
use self::files::NamedFile;
use self::isolation::Isolation;
use self::line::Line;
use self::outputs::DeclaredOutputs;
use self::runner::{Prefix, Runner};
pub use self::session::{Layout, Session, SessionError};
pub use self::shell::Shell;
use self::work_dir::WorkDir;
use super::choice::WordOr;
use super::price::{CostEstimate, InputForecasts};
use super::task::{Context, Location, Outputs, Stage, TaskError, Unkeyed, Weight};
use crate::contract::port::{OutputSpec, PortType};
use crate::contract::source::{Source, SourceShape};
use crate::diag::{credentials, secrets};
use crate::store::artifact::{Artifact, Files};
use crate::store::ignore;
use crate::workflow::kind::{
    BoundInput, Comparison, InputSpec, Meaning, ParameterProblem, Withholds, WorkflowFile,
};

/// Runs a shell line on its inputs and keeps the declared outputs.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The line or script. It runs in the node's own folder: inputs are under their names (an
    /// output of another `command` is `NAME/OUTPUT`), `files` under their base names, `params` in
    /// `params.json`, outputs go to `out/`.
    pub run: String,
    /// The shell. `bash` runs `bash -euo pipefail -c`: the first program that fails ends the line
    /// and fails the node. `sh` runs `/bin/sh -c`: only the exit code of the last program counts.
    #[serde(default)]
    pub shell: Shell,
    /// The outputs. A list of names: each is a file or folder `out/NAME`. Or a map from names to
    /// types (`files`, `metrics`, `table`, `arrays`, `model`, `images`, `plot`): each is checked
    /// and is then like the outputs of other kinds; the name of the stage alone means the first.
    pub outputs: DeclaredOutputs,
    /// Values for the line, as `params.json` in the node's folder. They enter the key, each under
    /// its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: Parameters,
    /// Scripts and other files that the line reads: files and folders, or maps with `path`, an
    /// optional `name`, `ignore` with patterns of what a folder leaves out, and `share: false` to
    /// keep them out of bundles. Their content enters the key.
    #[serde(default, skip_serializing)]
    pub files: Vec<WordOr<Location, NamedFile>>,
    /// Environment variables for the line; their values enter the key.
    #[serde(default, skip_serializing)]
    pub env: Vec<String>,
    /// Environment variables for the line that stay out of keys, records and logs, such as
    /// credentials. The outputs must not depend on them.
    #[serde(default, skip_serializing)]
    pub pass: Vec<String>,
    /// Words in front of the shell that give the line its environment: `[uv, run, --locked]`,
    /// `[conda, run, -p, PATH]`, `[apptainer, exec, IMAGE]`, or another program with its arguments.
    /// The lock file, the installed packages, the image or the words enter the key. At the top of
    /// the file, it holds for all stages of this kind; `[]` is none.
    #[serde(default)]
    pub runner: Runner,
    /// Set to `true` to limit the line: it reads only its inputs, `files`, the programs of `PATH`
    /// and the system's folders, writes only its own folder, and has no network. Not in the key.
    #[serde(default)]
    pub isolated: Unkeyed,
    /// Set to `true` to give an isolated line the network.
    #[serde(default)]
    pub network: Option<Unkeyed>,
}

/// The values of `params`.
type Parameters = BTreeMap<String, Value>;

/// The output that contains all others under their names: the node as a whole.
const WHOLE: &str = "all";
/// The maximum length of one argument of a program on Linux, without the final NUL byte.
const LONGEST_LINE: usize = 128 * 1024 - 1;
/// The folder for outputs.
const OUT: &str = "out";
/// The file with the values of `params`.
const PARAMETERS: &str = "params.json";
const ENVIRONMENT_SOURCE: &str = "env/variables";

impl Stage for Command {
    const NAME: &'static str = "command";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str =
        "Runs a shell line in its own folder, with declared inputs, files and outputs";
    const COMPARISON: Comparison = Comparison::BitEqual;
    const MEANING: Meaning = Meaning::Program;
    const ORDERED_FIELDS: &'static [&'static str] = &["outputs"];
    const FILE_FIELDS: &'static [&'static str] = &[runner::FIELD];

    fn inputs(&self) -> Vec<InputSpec> {
        let referenced = self.outputs.referenced().into_iter();
        referenced
            .map(|(name, gives)| InputSpec::one(name, gives))
            .collect()
    }

    fn open_inputs(&self) -> Option<&'static [PortType]> {
        Some(&[])
    }

    fn outputs(&self) -> Vec<OutputSpec> {
        self.outputs.specs()
    }

    fn sources(&self) -> Vec<Source> {
        let files = self.files.iter().map(files::source);
        let variables = Source {
            name: ENVIRONMENT_SOURCE.to_string(),
            location: PathBuf::new(),
            shape: SourceShape::Environment(self.env.clone()),
            sealed: false,
        };
        files
            .chain((!self.env.is_empty()).then_some(variables))
            .chain(self.runner.sources())
            .collect()
    }

    fn passed_variables(&self) -> &[String] {
        &self.pass
    }

    fn files(&self) -> Vec<WorkflowFile> {
        let file = |(index, file): (usize, &files::Declared)| WorkflowFile {
            field: vec!["files".to_string(), index.to_string()],
            location: files::source(file).location,
            ignore: files::ignore(file).to_vec(),
            hint: "paths start from the folder of the workflow file",
        };
        let files = self.files.iter().enumerate().map(file);
        files.chain(self.runner.files()).collect()
    }

    fn withholds(&self) -> Withholds {
        Withholds::WhatComesIn
    }

    fn check(&self, inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        let mut problems = Vec::new();
        if self.run.trim().is_empty() {
            problems.push(ParameterProblem::value("run", "the line is empty"));
        }
        problems.extend(self.check_line());
        problems.extend(self.outputs.check());
        problems.extend(self.check_files());
        problems.extend(self.check_patterns());
        problems.extend(self.check_parameters());
        problems.extend(self.check_variables());
        problems.extend(self.check_names(inputs));
        problems.extend(self.check_network());
        problems.extend(self.runner.check(self.isolated.0));
        problems
    }

    fn price(&self, _foreseen: &InputForecasts) -> CostEstimate {
        CostEstimate::unknown()
    }

    fn weight(&self) -> Weight {
        Weight::Heavy
    }

    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError> {
        let program = self.shell.program().ok_or_else(|| no_program(self.shell))?;
        let space = WorkDir::lay_out(&self.params, context)?;
        let prefix = self.runner.prepare(&space, context)?;
        let isolation = self.isolation(&program, &space, prefix.as_ref())?;
        let line = Line {
            program: &program,
            shell: self.shell,
            text: &self.run,
            prefix: prefix.as_ref(),
            variables: variables(context)?,
            secrets: self.secrets()?,
            isolation: isolation.as_ref(),
        };
        let started = Child::start(Start {
            command: line.command(&space, context.threads),
            program: &program,
            shell: Some(self.shell),
            secrets: line.hidden(),
            isolation: line.isolation,
        });
        let watched = started.and_then(|child| child.watch(context));
        let watched = watched.map_err(|error| self.with_hints(error, isolation.as_ref()));
        let outputs = watched.and_then(|()| self.collected(&space, context));
        let outputs = outputs.map_err(|error| match self.pass.is_empty() {
            true => kept(error, &space, context),
            // A value that must not be shown may be in the folder.
            false => error,
        })?;
        space.log_undeclared(&self.outputs, context)?;
        let outputs = outputs.note("shell", shown(&program));
        let outputs = match isolation {
            Some(isolation) => outputs.note("isolation", isolation.note()),
            None => outputs,
        };
        Ok(match prefix {
            Some(prefix) => outputs.note("runner", prefix.note),
            None => outputs,
        })
    }
}

/// Keeps the folder of a line that failed, and adds its place to the message.
fn kept(error: TaskError, space: &WorkDir, context: &Context) -> TaskError {
    match error {
        TaskError::Failed(message) if space.keep(context.failed) => {
            let here = std::env::current_dir().unwrap_or_default();
            let folder = context.failed.strip_prefix(here).unwrap_or(context.failed);
            let folder = folder.display();
            TaskError::Failed(format!(
                "{message}\nits folder, until the next run: {folder}"
            ))
        }
        error => error,
    }
}

impl Command {
    /// The declared outputs that the line has written.
    fn collected(&self, space: &WorkDir, context: &Context) -> Result<Outputs, TaskError> {
        let mut outputs = Outputs::default();
        let mut whole = Files::default();
        for output in &self.outputs.0 {
            let artifact = typed::read(output, space, context)?;
            if let Artifact::Files(files) = &artifact {
                collect::add(&mut whole, &output.name, files);
            }
            outputs = outputs.and(&output.name, artifact);
        }
        Ok(match self.outputs.are_names() {
            true => outputs.and(WHOLE, Artifact::Files(whole)),
            false => outputs,
        })
    }

    /// The restrictions of an isolated line.
    fn isolation(
        &self,
        program: &Path,
        space: &WorkDir,
        prefix: Option<&Prefix>,
    ) -> Result<Option<Isolation>, TaskError> {
        let network = self.network.is_some_and(|network| network.0);
        let of_runner = || prefix.map_or_else(Vec::new, |prefix| prefix.readable.clone());
        let prepare = || Isolation::prepare(space, network, program, of_runner());
        self.isolated.0.then(prepare).transpose()
    }

    /// Adds hints to a failure: where the files are that the line names by their original paths,
    /// and what an isolated line could read.
    fn with_hints(&self, error: TaskError, isolation: Option<&Isolation>) -> TaskError {
        let TaskError::Failed(mut message) = error else {
            return error;
        };
        let place = |file: &files::Declared| {
            let (path, name) = (files::location(file).0.as_str(), files::name(file)?);
            let named = path.trim_start_matches("./").trim_end_matches('/');
            (named != name && self.run.contains(named))
                .then(|| format!("`{path}` of `files` is `{name}` in the node's folder"))
        };
        let places: Vec<String> = self.files.iter().filter_map(place).collect();
        if !places.is_empty() {
            message += &format!("\nhint: {}", places.join("; "));
        }
        if let Some(isolation) = isolation {
            message += &format!("\nhint: {}", isolation.hint(shown));
        }
        TaskError::Failed(message)
    }

    /// `network: false` alone would look like a restriction, but a line without isolation has the
    /// network.
    fn check_network(&self) -> Option<ParameterProblem> {
        let alone = self.network.is_some() && !self.isolated.0;
        alone.then(|| {
            let message = "only an isolated line can be without network, and this one is not";
            ParameterProblem::value("network", message)
                .hint("write `isolated: true`, or leave `network` out")
        })
    }

    /// Checks for what the system would refuse when the shell starts.
    fn check_line(&self) -> Option<ParameterProblem> {
        if self.run.contains('\0') {
            return Some(ParameterProblem::value(
                "run",
                "the line contains a NUL character",
            ));
        }
        (self.run.len() > LONGEST_LINE).then(|| {
            let message = format!(
                "the line has {} bytes, but a shell accepts at most {LONGEST_LINE}",
                self.run.len()
            );
            ParameterProblem::value("run", message)
                .hint("put it in a script, list the script under `files`, and run that")
        })
    }

    fn check_files(&self) -> Vec<ParameterProblem> {
        let mut seen = BTreeSet::new();
        let problem = |(index, file): (usize, &files::Declared)| {
            let message = match files::name(file) {
                None => format!("`{}` does not name a file", files::location(file).0),
                Some(OUT) => format!("a file can't be called `{OUT}`: outputs go there"),
                Some(PARAMETERS) if !self.params.is_empty() => {
                    format!("a file can't be called `{PARAMETERS}`: `params` are there")
                }
                Some(name) if !seen.insert(name.to_string()) => {
                    format!("two files are called `{name}`")
                }
                Some(_) => return None,
            };
            let twice = message.starts_with("two files");
            let problem = at("files", index, message);
            Some(match twice {
                true => problem.hint("rename one of them with `{ path: …, name: … }`"),
                false => problem,
            })
        };
        self.files.iter().enumerate().filter_map(problem).collect()
    }

    fn check_patterns(&self) -> Vec<ParameterProblem> {
        let files = self.files.iter().enumerate();
        let patterns = files.flat_map(|(file, declared)| {
            let patterns = files::ignore(declared).iter().enumerate();
            patterns.map(move |(index, pattern)| (file, index, pattern))
        });
        let problem = |(file, index, pattern): (usize, usize, &String)| {
            let why = ignore::check(pattern).err()?;
            let message = format!("`{pattern}` is not a valid pattern: {why}");
            let mut problem = at("files", file, message);
            problem
                .path
                .extend(["ignore".to_string(), index.to_string()]);
            Some(problem)
        };
        patterns.filter_map(problem).collect()
    }

    /// Refuses texts that look like credentials, because they would enter the key.
    fn check_parameters(&self) -> Vec<ParameterProblem> {
        let problem = |(name, value): (&String, &Value)| {
            let why = credential(name, value)?;
            let message = format!("`{name}` {why}, but values under `params` enter the key");
            let mut problem = ParameterProblem::value("params", message);
            problem.path.push(name.clone());
            Some(problem.hint("list an environment variable under `pass` to keep its value secret"))
        };
        self.params.iter().filter_map(problem).collect()
    }

    fn check_variables(&self) -> Vec<ParameterProblem> {
        let named = |field: &'static str, names: &'_ [String]| -> Vec<ParameterProblem> {
            let problem = |(index, name): (usize, &String)| {
                let message = format!("`{name}` is not a valid name of an environment variable");
                (!is_identifier(name)).then(|| at(field, index, message))
            };
            names.iter().enumerate().filter_map(problem).collect()
        };
        let kept = |(index, name): (usize, &String)| {
            let value = std::env::var(name).ok();
            let why = credentials::sign(name, value.as_deref())?;
            let message = format!("`{name}` {why}, but values under `env` enter the key");
            let hint = "list it under `pass` to keep it out of keys and records";
            Some(at("env", index, message).hint(hint))
        };
        let twice = |(index, name): (usize, &String)| {
            let message =
                format!("`{name}` is also listed under `env`, so its value enters the key");
            self.env.contains(name).then(|| at("pass", index, message))
        };
        let mut problems = named("env", &self.env);
        problems.extend(self.env.iter().enumerate().filter_map(kept));
        problems.extend(named("pass", &self.pass));
        problems.extend(self.pass.iter().enumerate().filter_map(twice));
        problems
    }

    /// The current values of the variables under `pass`.
    fn secrets(&self) -> Result<Vec<(String, OsString)>, TaskError> {
        let secret = |name: &String| match std::env::var_os(name) {
            Some(value) => {
                // Mask it in our own messages and logs, which may quote the output of the line.
                secrets::keep(&value.to_string_lossy());
                Ok((name.clone(), value))
            }
            None => Err(TaskError::Failed(format!(
                "`{name}`, listed under `pass`, is not set"
            ))),
        };
        self.pass.iter().map(secret).collect()
    }

    fn check_names(&self, inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        let files: BTreeSet<&str> = self.files.iter().filter_map(files::name).collect();
        let problem = |input: &BoundInput| match input.name.as_str() {
            OUT => Some("an input can't be called `out`: outputs go there".to_string()),
            name if files.contains(name) => {
                Some(format!("a file under `files` is also called `{name}`"))
            }
            _ => None,
        };
        inputs
            .iter()
            .filter_map(|input| Some(ParameterProblem::input(&input.name, problem(input)?)))
            .collect()
    }
}

/// Why a text in `value` looks like a credential.
fn credential(name: &str, value: &Value) -> Option<&'static str> {
    match value {
        Value::String(text) => credentials::sign(name, Some(text)),
        Value::Array(items) => items.iter().find_map(|item| credential(name, item)),
        Value::Object(fields) => {
            let mut fields = fields.iter();
            fields.find_map(|(name, value)| credential(name, value))
        }
        _ => None,
    }
}

/// The path of a program for a record that others may see: without the user's home folder.
fn shown(program: &Path) -> String {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let in_home = home.and_then(|home| program.strip_prefix(home).ok());
    match in_home {
        Some(rest) => format!("~/{}", rest.display()),
        None => program.display().to_string(),
    }
}

fn no_program(shell: Shell) -> TaskError {
    TaskError::Failed(format!(
        "PATH has no `{}`: install it, or write `shell: sh`",
        shell.name()
    ))
}

/// The values in the key, from the time when it was computed.
fn variables(context: &Context) -> Result<Vec<(String, String)>, TaskError> {
    let Some(input) = context.members(ENVIRONMENT_SOURCE).first() else {
        return Ok(Vec::new());
    };
    let Artifact::Table(table) = &input.artifact else {
        return Err(TaskError::Input(
            "the variables must be a table".to_string(),
        ));
    };
    let pair = |row: &Vec<serde_json::Value>| match row.as_slice() {
        [name, value] => Some((name.as_str()?.to_string(), value.as_str()?.to_string())),
        _ => None,
    };
    let pairs: Option<Vec<_>> = table.rows.iter().map(pair).collect();
    pairs.ok_or_else(|| TaskError::Input("each variable must have a name and a value".to_string()))
}

fn at(field: &str, index: usize, message: String) -> ParameterProblem {
    let mut problem = ParameterProblem::value(field, message);
    problem.path.push(index.to_string());
    problem
}

fn is_identifier(name: &str) -> bool {
    let letters = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    name.chars().all(letters) && name.starts_with(|first: char| !first.is_ascii_digit())
}
