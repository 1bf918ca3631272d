//! `command`: one shell line in a folder of its own, for whatever is not built in.
//!
//! The folder holds the inputs under their names, the declared files under their base names, an
//! empty `out/`, and nothing else. What the line leaves under `out/` and declares is kept.
//!
//! The key holds the line, the names of the outputs, the content of the inputs and files, and
//! the values of the declared variables; the interpreter and what it finds elsewhere are not in
//! it, so pin them with a lock file under `files`.

mod child;
mod space;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::child::Child;
use self::space::Space;
use super::derived::{Given, Work};
use super::price::{Foreseen, Price};
use super::task::{Context, Location, Outputs, Stage, TaskError, Weight};
use crate::store::artifact::{Artifact, Files};
use crate::workflow::kind::{
    BoundInput, Comparison, InputSpec, OutputSpec, ParameterProblem, PortType, Source, SourceShape,
    Withholds,
};

/// Runs a shell line on its inputs and keeps the outputs that it declares.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The line, run by `/bin/sh` in the node's own folder: inputs lie under their names, `files`
    /// under their base names, outputs go to `out/`.
    pub run: String,
    /// What to keep: each name is a file or folder `out/NAME`, and an output of the node.
    pub outputs: Vec<String>,
    /// Scripts, lock files and whatever else the line reads; their content enters the key.
    #[serde(default, skip_serializing)]
    pub files: Vec<Location>,
    /// Environment variables to pass on; their values enter the key.
    #[serde(default, skip_serializing)]
    pub env: Vec<String>,
}

/// The output that holds all others under their names: what the node stands for as a whole.
const WHOLE: &str = "all";
/// The folder that outputs are written to.
const OUT: &str = "out";
/// Names of sources hold a `/`, which names under `needs:` can't.
const FILE_SOURCE: &str = "files/";
const ENVIRONMENT_SOURCE: &str = "env/variables";
const SECRET_WORDS: [&str; 4] = ["TOKEN", "SECRET", "PASSWORD", "KEY"];

impl Stage for Command {
    const NAME: &'static str = "command";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str =
        "A shell line in a folder of its own, on declared inputs, files and outputs";
    const COMPARISON: Comparison = Comparison::BitEqual;

    fn inputs(&self) -> Vec<InputSpec> {
        Vec::new()
    }

    fn open_inputs(&self) -> bool {
        true
    }

    fn outputs(&self) -> Vec<OutputSpec> {
        let names = std::iter::once(WHOLE).chain(self.outputs.iter().map(String::as_str));
        names
            .map(|name| OutputSpec::new(name, PortType::Files))
            .collect()
    }

    fn sources(&self) -> Vec<Source> {
        let files = self.files.iter().map(|file| Source {
            name: format!("{FILE_SOURCE}{}", base_name(file).unwrap_or_default()),
            location: PathBuf::from(&file.0),
            shape: SourceShape::File,
            sealed: false,
        });
        let variables = Source {
            name: ENVIRONMENT_SOURCE.to_string(),
            location: PathBuf::new(),
            shape: SourceShape::Environment(self.env.clone()),
            sealed: false,
        };
        files
            .chain((!self.env.is_empty()).then_some(variables))
            .collect()
    }

    fn withholds(&self) -> Withholds {
        Withholds::WhatComesIn
    }

    fn check(&self, inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        let mut problems = Vec::new();
        if self.run.trim().is_empty() {
            problems.push(ParameterProblem::value("run", "the line is empty"));
        }
        problems.extend(self.check_outputs());
        problems.extend(self.check_files());
        problems.extend(self.check_variables());
        problems.extend(self.check_names(inputs));
        problems
    }

    fn price(&self, _foreseen: &Foreseen) -> Price {
        Price::unknown()
    }

    fn weight(&self) -> Weight {
        Weight::Heavy
    }

    fn derived(&self, _given: &Given, _device_class: &str) -> Vec<Work> {
        Vec::new()
    }

    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError> {
        let space = Space::lay_out(context)?;
        let variables = variables(context)?;
        Child::start(&self.run, &space, &variables, context)?.watch(context)?;
        let mut outputs = Outputs::default();
        let mut whole = Files::default();
        for name in &self.outputs {
            let files = space.collect(name, context)?;
            for (path, blob) in &files.files {
                let path = match path.as_str() {
                    "" => name.clone(),
                    path => format!("{name}/{path}"),
                };
                whole.files.insert(path, blob.clone());
            }
            outputs = outputs.and(name, Artifact::Files(files));
        }
        space.log_undeclared(&self.outputs, context)?;
        Ok(outputs.and(WHOLE, Artifact::Files(whole)))
    }
}

impl Command {
    fn check_outputs(&self) -> Vec<ParameterProblem> {
        let mut seen = BTreeSet::new();
        let mut problems: Vec<ParameterProblem> = self
            .outputs
            .iter()
            .enumerate()
            .filter_map(|(index, name)| {
                let message = match name.as_str() {
                    name if name.contains('/') || name.starts_with('.') => {
                        format!("`{name}` is a path: an output is a name, and lies at `out/NAME`")
                    }
                    name if !is_identifier(name) => {
                        format!("`{name}` is no name: letters, digits and `_`, no digit first")
                    }
                    WHOLE => format!("`{WHOLE}` is the name of all outputs together"),
                    name if !seen.insert(name) => format!("`{name}` is there twice"),
                    _ => return None,
                };
                Some(at("outputs", index, message))
            })
            .collect();
        if self.outputs.is_empty() {
            let none =
                ParameterProblem::value("outputs", "a command without outputs gives nothing");
            problems.push(none.hint("name the files or folders that it leaves under `out/`"));
        }
        problems
    }

    fn check_files(&self) -> Vec<ParameterProblem> {
        let mut seen = BTreeSet::new();
        let problem = |(index, file): (usize, &Location)| {
            let message = match base_name(file) {
                None => format!("`{}` names no file", file.0),
                Some(OUT) => format!("a file can't be called `{OUT}`: outputs go there"),
                Some(name) if !seen.insert(name.to_string()) => {
                    format!("two files are called `{name}`: they would lie in one place")
                }
                Some(_) => return None,
            };
            Some(at("files", index, message))
        };
        self.files.iter().enumerate().filter_map(problem).collect()
    }

    fn check_variables(&self) -> Vec<ParameterProblem> {
        let problem = |(index, name): (usize, &String)| {
            let upper = name.to_uppercase();
            if !is_identifier(name) {
                let message = format!("`{name}` is no name of an environment variable");
                return Some(at("env", index, message));
            }
            if SECRET_WORDS.iter().any(|word| upper.contains(word)) {
                let message = format!("`{name}` looks like a secret, and values enter the key");
                let hint = "let the command read it from a file of its own";
                return Some(at("env", index, message).hint(hint));
            }
            None
        };
        self.env.iter().enumerate().filter_map(problem).collect()
    }

    fn check_names(&self, inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        let files: BTreeSet<&str> = self.files.iter().filter_map(base_name).collect();
        let problem = |input: &BoundInput| match input.name.as_str() {
            OUT => Some("an input can't be called `out`: outputs go there".to_string()),
            name if files.contains(name) => Some(format!(
                "a file under `files` is called `{name}` too: they would lie in one place"
            )),
            _ => None,
        };
        inputs
            .iter()
            .filter_map(|input| Some(ParameterProblem::input(&input.name, problem(input)?)))
            .collect()
    }
}

/// The values that the key holds, as they were when it was computed.
fn variables(context: &Context) -> Result<Vec<(String, String)>, TaskError> {
    let Some(input) = context.members(ENVIRONMENT_SOURCE).first() else {
        return Ok(Vec::new());
    };
    let Artifact::Table(table) = &input.artifact else {
        return Err(TaskError::Input("variables come as a table".to_string()));
    };
    let pair = |row: &Vec<serde_json::Value>| match row.as_slice() {
        [name, value] => Some((name.as_str()?.to_string(), value.as_str()?.to_string())),
        _ => None,
    };
    let pairs: Option<Vec<_>> = table.rows.iter().map(pair).collect();
    pairs.ok_or_else(|| TaskError::Input("a variable is a name and a value".to_string()))
}

fn at(field: &str, index: usize, message: String) -> ParameterProblem {
    let mut problem = ParameterProblem::value(field, message);
    problem.path.push(index.to_string());
    problem
}

fn base_name(file: &Location) -> Option<&str> {
    let path = file.0.as_str();
    let named = !path.ends_with(['/', '.']);
    Path::new(path).file_name()?.to_str().filter(|_| named)
}

fn is_identifier(name: &str) -> bool {
    let letters = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    name.chars().all(letters) && name.starts_with(|first: char| !first.is_ascii_digit())
}
