//! `conda run -p PATH`: an environment that exists. Its installed packages are in the key.

use std::ffi::OsString;
use std::path::PathBuf;

use super::super::isolation::{Access, Place, of_environment};
use super::{Prefix, WordProblem, place, source};
use crate::contract::source::{Source, SourceShape};
use crate::stages::task::{Context, TaskError};

const PACKAGES: &str = "runner/packages";
const WRITE: &str = "write [conda, run, -p, PATH]";
/// What to do without the environment.
pub const NO_PREFIX: &str = "`-p` names the folder of a conda environment; paths start from the folder of the workflow file";

/// `conda run` with its options.
pub struct Conda {
    program: String,
    prefix: PathBuf,
    options: Vec<String>,
}

impl Conda {
    pub fn parse(words: &[String]) -> Result<Self, WordProblem> {
        let program = words.first().cloned().unwrap_or_default();
        if words.get(1).map(String::as_str) != Some("run") {
            let message = format!("`{program}` is known as `{program} run` here");
            return Err(WordProblem::new(words.len().min(2) - 1, message, WRITE));
        }
        let (mut prefix, mut options) = (None, Vec::new());
        let mut rest = words.iter().enumerate().skip(2);
        while let Some((at, word)) = rest.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_string())),
                None => (word.as_str(), None),
            };
            match name {
                "-p" | "--prefix" => {
                    prefix = value.or_else(|| rest.next().map(|(_, value)| value.clone()));
                }
                "-n" | "--name" => {
                    let message = "a name says nothing about where an environment is";
                    return Err(WordProblem::new(at, message, WRITE));
                }
                _ => options.push(word.clone()),
            }
        }
        let Some(prefix) = prefix else {
            let message = "the environment is missing";
            return Err(WordProblem::new(1, message, WRITE));
        };
        Ok(Self {
            program,
            prefix: PathBuf::from(prefix),
            options,
        })
    }

    pub fn keyed(&self) -> Vec<String> {
        let name = PathBuf::from(&self.program);
        let name = name
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let words = [name.unwrap_or_default(), "run".to_string()].into_iter();
        words.chain(self.options.iter().cloned()).collect()
    }

    pub fn source(&self) -> Source {
        source(PACKAGES, &self.prefix, SourceShape::CondaPackages)
    }

    pub fn prefix(&self, program: PathBuf, context: &Context) -> Result<Prefix, TaskError> {
        let environment = place(context, PACKAGES)?;
        let mut readable = of_environment(&environment.join("bin"));
        readable.extend(program.parent().map(of_environment).into_iter().flatten());
        readable.push(Place::new(&environment, Access::Read));
        let mut arguments = vec![OsString::from("run"), "-p".into(), environment.into()];
        arguments.extend(self.options.iter().map(OsString::from));
        Ok(Prefix {
            arguments,
            readable,
            ..Prefix::new(program)
        })
    }
}
