//! `checkpoint`: a published model, from a file, a URL or a Hugging Face repository.

mod hub;
mod origin;
mod pin;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::pin::Pin;
use super::derived::{Given, Work};
use super::model;
use super::task::{Context, Location, Outputs, Stage, TaskError, Weight};
use crate::ml::data::classes;
use crate::ml::models::checkpoint::{StateDict, USUAL, fit, is_index, read};
use crate::ml::models::{Config, Role, catalogue};
use crate::store::artifact::{Artifact, Metric, Metrics};
use crate::workflow::kind::{
    BoundInput, Comparison, InputSpec, OutputSpec, ParameterProblem, PortType, Source, SourceShape,
};

/// A published model, from a file (`path`), a URL (`url`) or a Hugging Face repository (`hub`).
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Checkpoint {
    /// The architecture; `ribflow models` lists them.
    pub arch: String,
    /// A file of weights (safetensors, its index where it is sharded, or of `torch.save`), or a
    /// folder with one under its usual name. The content enters the key.
    pub path: Option<Location>,
    /// Where the file is to be had; needs a `digest`.
    pub url: Option<Location>,
    /// A repository, `timm/vit_base_patch16_224.augreg_in1k`.
    pub hub: Option<String>,
    /// Of `hub`: a commit. A branch or tag may move under the same key.
    pub revision: Option<String>,
    /// Of `hub`: the file.
    pub file: String,
    /// What the file must be: `sha256:…` or `blake3:…`.
    pub digest: Option<String>,
    /// The names of the classes: a list, or left out for ImageNet's where there are a thousand
    /// outputs, and for none elsewhere.
    pub classes: Option<Vec<String>>,
}

impl Stage for Checkpoint {
    const NAME: &'static str = "checkpoint";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str =
        "A published model, from a file, a URL or a Hugging Face repository";
    const COMPARISON: Comparison = Comparison::BitEqual;

    fn inputs(&self) -> Vec<InputSpec> {
        Vec::new()
    }

    fn outputs(&self) -> Vec<OutputSpec> {
        vec![
            OutputSpec::new("model", PortType::Model),
            OutputSpec::new("summary", PortType::Metrics),
        ]
    }

    fn open_inputs(&self) -> bool {
        false
    }

    fn sources(&self) -> Vec<Source> {
        let source = |path: &Location| Source {
            name: "path".to_string(),
            location: PathBuf::from(&path.0),
            shape: SourceShape::Sharded(USUAL.map(str::to_string).to_vec()),
        };
        self.path.iter().map(source).collect()
    }

    fn check(&self, _inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        let mut problems = Vec::new();
        if catalogue::find(&self.arch).is_none() {
            let message = format!("there is no architecture `{}`", self.arch);
            let problem = ParameterProblem::value("arch", message);
            problems.push(problem.hint(catalogue::hint(&self.arch)));
        }
        problems.extend(self.check_origin());
        problems.extend(self.check_url().or_else(|| self.check_digest()));
        problems.extend(self.check_hub());
        problems
    }

    fn weight(&self) -> Weight {
        Weight::Heavy
    }

    fn derived(&self, _given: &Given, _device_class: &str) -> Vec<Work> {
        Vec::new()
    }

    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError> {
        let place = self.obtained(context)?;
        context.check_cancelled()?;
        let found = read(&place)?;
        let config = self.config(&found)?;
        let fitted = fit(config, found)?;
        let specs = fitted.config().tensors();
        let trained = specs.iter().filter(|spec| spec.role == Role::Parameter);
        let count: usize = trained.map(|it| it.shape.iter().product::<usize>()).sum();
        let values = [("parameters".to_string(), Metric::new(count as f64, ""))];
        let summary = Metrics {
            values: values.into(),
        };
        Ok(Outputs::one("model", model::write(context, &fitted)?)
            .and("summary", Artifact::Metrics(summary)))
    }
}

impl Checkpoint {
    fn check_origin(&self) -> Option<ParameterProblem> {
        let given = [
            ("path", self.path.is_some()),
            ("url", self.url.is_some()),
            ("hub", self.hub.is_some()),
        ];
        let given: Vec<&str> = given.iter().filter(|it| it.1).map(|it| it.0).collect();
        match given.as_slice() {
            [_] => None,
            [] => {
                let message = "a checkpoint needs `path`, `url` or `hub`";
                let mut problem = ParameterProblem::value("", message);
                problem.path.clear();
                let hint = "for example `hub: timm/vit_base_patch16_224.augreg_in1k`";
                Some(problem.hint(hint))
            }
            [first, others @ ..] => {
                let message = format!("a checkpoint has one origin: `{first}` or `{}`", others[0]);
                Some(ParameterProblem::value(others[0], message).hint("keep one of them"))
            }
        }
    }

    fn check_digest(&self) -> Option<ParameterProblem> {
        match (&self.digest, &self.url) {
            (Some(digest), _) => {
                let message = Pin::parse(digest).err()?;
                Some(ParameterProblem::value("digest", message))
            }
            (None, Some(_)) => {
                let message = "what lies at a URL may change: it needs a `digest`";
                let hint = "`digest: \"sha256:…\"`, as sha256sum prints it";
                Some(ParameterProblem::value("url", message).hint(hint))
            }
            _ => None,
        }
    }

    fn check_url(&self) -> Option<ParameterProblem> {
        let url = self.url.as_ref()?.0.as_str();
        if url.starts_with("file:") {
            let message = format!("`{url}` is a file of this machine");
            return Some(ParameterProblem::value("url", message).hint("name it by `path`"));
        }
        if !url.starts_with("https://") && !url.starts_with("http://") {
            let message = format!("`{url}` is no http or https URL");
            return Some(ParameterProblem::value("url", message));
        }
        is_index(Path::new(url)).then(|| {
            let message = "the shards of an index are had from a `hub` or a `path`";
            ParameterProblem::value("url", message)
        })
    }

    fn check_hub(&self) -> Vec<ParameterProblem> {
        let mut problems = Vec::new();
        match &self.hub {
            Some(hub) => {
                let parts: Vec<&str> = hub.split('/').collect();
                if parts.len() != 2 || !parts.iter().all(|part| is_name(part)) {
                    let message = format!("`{hub}` is not the name of a repository");
                    let problem = ParameterProblem::value("hub", message);
                    problems.push(problem.hint("owner/name, as in its address"));
                }
                let named = |text: &str| text.split('/').all(is_name);
                if self.revision.as_deref().is_some_and(|it| !named(it)) {
                    problems.push(ParameterProblem::value(
                        "revision",
                        "a revision is a commit, a tag or a branch",
                    ));
                }
                if !self.file.is_empty() && !named(&self.file) {
                    let message = "a file of the repository, such as `model.safetensors`";
                    problems.push(ParameterProblem::value("file", message));
                }
            }
            None => {
                let misplaced = [
                    ("revision", self.revision.is_some()),
                    ("file", !self.file.is_empty()),
                ];
                for (name, _) in misplaced.into_iter().filter(|it| it.1) {
                    let message = format!("`{name}` belongs to `hub`");
                    problems.push(ParameterProblem::value(name, message));
                }
            }
        }
        problems
    }

    /// The architecture with the outputs that the file has.
    fn config(&self, found: &StateDict) -> Result<Config, TaskError> {
        let unknown = || TaskError::Input(format!("there is no architecture `{}`", self.arch));
        let entry = catalogue::find(&self.arch).ok_or_else(unknown)?;
        let mut config = entry.config(&[]);
        let head = found.get(&format!("{}.weight", config.head()));
        let outputs = head.and_then(|head| head.dims().first().copied());
        let classes = match (&self.classes, outputs) {
            (Some(classes), _) => classes.clone(),
            (None, Some(1000)) => classes::imagenet(),
            (None, _) => Vec::new(),
        };
        match outputs {
            Some(outputs) if !classes.is_empty() && classes.len() != outputs => {
                return Err(TaskError::Input(format!(
                    "`classes` names {}, the checkpoint has {outputs} outputs",
                    classes.len()
                )));
            }
            None if !classes.is_empty() => {
                let message = "`classes` names some, the checkpoint has no classifier";
                return Err(TaskError::Input(message.to_string()));
            }
            _ => {}
        }
        config.headless = outputs.is_none();
        config.embedding = match classes.is_empty() {
            true => Some(outputs.unwrap_or(config.features())),
            false => None,
        };
        config.classes = classes;
        Ok(config)
    }
}

fn is_name(part: &str) -> bool {
    let letter = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    !part.is_empty() && !part.starts_with('.') && part.chars().all(letter)
}

fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> TaskError {
    let path = path.to_path_buf();
    move |source| TaskError::Io { path, source }
}
