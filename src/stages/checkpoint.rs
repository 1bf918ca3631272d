//! `checkpoint`: a published model, from a file, a URL or a Hugging Face repository. It obtains and
//! pins the files; [`crate::ml::models::checkpoint`] reads them.

pub mod classes;
mod config;
mod hub;
mod origin;
mod pin;

pub use hub::is_commit;
pub use origin::{USUAL_FILE, look_up};

use std::path::{Path, PathBuf};

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::classes::CLASSES;
use self::pin::Pin;
use super::choice::WordOr;
use super::known_classes::{self, Classes};
use super::model::{self, UnknownArchitecture};
use super::price::{self, CostEstimate, InputForecasts, PortForecast};
use super::task::{Context, Location, Outputs, Stage, TaskError, Weight};
use crate::contract::port::{OutputSpec, PortType};
use crate::contract::source::{Source, SourceShape};
use crate::ml::data::resize::Filter;
use crate::ml::models::checkpoint::{USUAL, fit, is_index, read, rooted};
use crate::ml::models::config::Input;
use crate::ml::models::{Role, catalogue};
use crate::store::artifact::{Artifact, Metric, Metrics};
use crate::workflow::kind::{
    BoundInput, ClassForecast, Comparison, InputClasses, InputSpec, Meaning, ParameterProblem,
    Withholds,
};

/// The name of the source.
const PATH: &str = "path";
/// The name of the input that may hold the weights.
const FILE: &str = "file";

/// A published model, from a file (`path`), a URL (`url`) or a Hugging Face repository (`hub`), or
/// from the files of another stage (`needs: { file: … }`).
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Checkpoint {
    /// The architecture; `ribflow models` lists them. Default: the one in the name of `hub`.
    pub arch: String,
    /// A file of weights (safetensors, the index of a sharded one, or from `torch.save`), or a
    /// folder that contains one under its usual name. The content enters the key.
    pub path: Option<Location>,
    /// The URL of the file; needs a `digest`.
    pub url: Option<Location>,
    /// A repository: `timm/vit_base_patch16_224.augreg_in1k`.
    pub hub: Option<String>,
    /// With `hub`: a commit. A branch or tag may move under the same key.
    pub revision: Option<String>,
    /// With `hub`: the file.
    pub file: String,
    /// The expected digest of the file: `sha256:…` or `blake3:…`.
    pub digest: Option<String>,
    /// Which weights to load from the file: a key (`state_dict`), a prefix of tensor names, or
    /// several joined by dots. Default: those that timm loads, averaged weights (`state_dict_ema`,
    /// `model_ema`) before those of the last step.
    pub weights: Option<String>,
    /// The names of the classes, in the order of the outputs: a list, or a file with one name per
    /// line or in JSON. Alternatively, name a dataset with these classes under
    /// `needs: { classes: … }`. Default: ImageNet's WordNet ids for 1000 outputs, otherwise none.
    /// Names must be unique.
    pub classes: Option<WordOr<Location, Vec<String>>>,
    /// The transform from images to input, if it differs from the architecture's entry:
    /// `torchvision` (shorter side to 256, bilinear, centre crop of 224, ImageNet's mean and
    /// standard deviation), or a map.
    pub transform: Option<WordOr<Transform, OwnTransform>>,
}

/// A transform with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// The evaluation transform of torchvision's V1 weights, which the benchmark uses for all its
    /// residual networks.
    Torchvision,
}

/// Differences from the architecture's entry, with the names of timm's configurations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OwnTransform {
    /// The share of the resized shorter side that the crop keeps.
    pub crop: Option<f64>,
    pub interpolation: Option<Filter>,
    /// For red, green and blue, in [0, 1].
    pub mean: Option<[f64; 3]>,
    pub std: Option<[f64; 3]>,
}

impl Transform {
    fn change(self, input: &mut Input) {
        match self {
            Self::Torchvision => {
                *input = Input {
                    size: input.size,
                    mean: [0.485, 0.456, 0.406],
                    std: [0.229, 0.224, 0.225],
                    interpolation: Filter::Bilinear,
                    crop: 0.875,
                }
            }
        }
    }
}

impl OwnTransform {
    fn change(&self, input: &mut Input) {
        input.crop = self.crop.unwrap_or(input.crop);
        input.interpolation = self.interpolation.unwrap_or(input.interpolation);
        input.mean = self.mean.unwrap_or(input.mean);
        input.std = self.std.unwrap_or(input.std);
    }

    fn problem(&self) -> Option<&'static str> {
        let inside = |values: &Option<[f64; 3]>, least: f64| {
            let fits = |value: &f64| *value >= least && *value <= 1.0;
            values.is_none_or(|values| values.iter().all(fits))
        };
        if self.crop.is_some_and(|crop| !(crop > 0.0 && crop <= 1.0)) {
            return Some("`crop` must be above 0 and at most 1");
        }
        if !inside(&self.mean, 0.0) {
            return Some("`mean` must be three numbers in [0, 1]");
        }
        (!inside(&self.std, 1e-6)).then_some("`std` must be three numbers above 0 and at most 1")
    }
}

impl Stage for Checkpoint {
    const NAME: &'static str = "checkpoint";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str =
        "A published model, from a file, a URL or a Hugging Face repository";
    const COMPARISON: Comparison = Comparison::BitEqual;
    const MEANING: Meaning = Meaning::Published;

    fn inputs(&self) -> Vec<InputSpec> {
        vec![
            InputSpec::one(CLASSES, PortType::Dataset).optional(),
            InputSpec::one(FILE, PortType::Files).optional(),
        ]
    }

    fn outputs(&self) -> Vec<OutputSpec> {
        vec![
            OutputSpec::new("model", PortType::Model),
            OutputSpec::metrics("summary", &["parameters"]),
        ]
    }

    fn sources(&self) -> Vec<Source> {
        let source = |path: &Location| Source {
            name: PATH.to_string(),
            location: PathBuf::from(&path.0),
            shape: SourceShape::Sharded(USUAL.map(str::to_string).to_vec()),
            sealed: false,
        };
        let weights = self.path.iter().map(source);
        weights.chain(self.classes_source()).collect()
    }

    fn withholds(&self) -> Withholds {
        Withholds::Nothing
    }

    fn check(&self, inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        let mut problems = Vec::new();
        problems.extend(self.check_arch());
        if let Some(WordOr::Other(own)) = &self.transform
            && let Some(message) = own.problem()
        {
            problems.push(ParameterProblem::value("transform", message));
        }
        problems.extend(self.check_origin(has_file(inputs)));
        problems.extend(self.check_url().or_else(|| self.check_digest()));
        problems.extend(self.check_hub());
        problems.extend(self.check_classes(inputs));
        if self
            .weights
            .as_deref()
            .is_some_and(|it| it.trim().is_empty())
        {
            let message = "`weights` must be a key or a prefix in the file";
            let problem = ParameterProblem::value("weights", message);
            problems.push(problem.hint("for example `weights: state_dict`"));
        }
        problems
    }

    fn classes(&self, inputs: &InputClasses) -> ClassForecast {
        let listed = self.listed_classes().map(Classes::from);
        known_classes::giving(
            "model",
            listed.or_else(|| known_classes::of(inputs, CLASSES)),
        )
    }

    fn price(&self, _foreseen: &InputForecasts) -> CostEstimate {
        let Some(found) = catalogue::find(self.arch()) else {
            return CostEstimate::unknown();
        };
        let mut config = found.config(self.listed_classes().unwrap_or_default());
        if let Some(WordOr::Word(word)) = self.transform {
            word.change(&mut config.input);
        }
        let written = price::bytes(&config);
        let mut price =
            CostEstimate::nothing().giving("model", PortForecast::Model(Arc::new(config)));
        price.cost.written = written;
        price
    }

    fn weight(&self) -> Weight {
        Weight::Heavy
    }

    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError> {
        let place = self.obtained(context)?;
        context.check_cancelled()?;
        let found = read(&place, self.weights.as_deref())?;
        let found = rooted(found, &self.entry()?);
        let taken = found.place.join(".");
        if let Some(line) = self.choice(&taken, &found.beside) {
            context.progress.log(&line);
        }
        let config = self.config(&found.tensors, self.given_classes(context)?)?;
        let fitted = fit(config, found.tensors)?;
        let specs = fitted.config().tensors();
        let trained = specs.iter().filter(|spec| spec.role == Role::Parameter);
        let count: usize = trained.map(|it| it.shape.iter().product::<usize>()).sum();
        let values = [("parameters".to_string(), Metric::new(count as f64, ""))];
        let summary = Metrics {
            values: values.into(),
        };
        let outputs = Outputs::one("model", model::write(context, &fitted)?)
            .and("summary", Artifact::Metrics(summary));
        Ok(match taken.is_empty() {
            true => outputs,
            false => outputs.note("weights", taken),
        })
    }
}

impl Checkpoint {
    /// The given architecture, or the one in the name of the repository.
    fn arch(&self) -> &str {
        let hub = self.hub.as_deref().filter(|_| self.arch.is_empty());
        match hub.and_then(|hub| hub.rsplit('/').next()) {
            Some(name) => name,
            None => &self.arch,
        }
    }

    fn check_arch(&self) -> Option<ParameterProblem> {
        let arch = self.arch();
        if catalogue::find(arch).is_some() {
            return None;
        }
        let problem = match (arch.is_empty(), self.arch.is_empty()) {
            (true, _) => {
                let mut problem = ParameterProblem::value("", "a checkpoint needs an `arch`");
                problem.path.clear();
                return Some(problem.hint("`ribflow models` lists them"));
            }
            (_, true) => {
                let unknown = UnknownArchitecture::of(arch);
                match unknown.is_strange {
                    true => {
                        let message = format!("no architecture has the repository's name `{arch}`");
                        ParameterProblem::value("hub", message).hint("set `arch`")
                    }
                    false => ParameterProblem::value("hub", unknown.message).hint(unknown.hint),
                }
            }
            _ => {
                let unknown = UnknownArchitecture::of(arch);
                ParameterProblem::value("arch", unknown.message).hint(unknown.hint)
            }
        };
        Some(problem)
    }

    /// A log line about the weights that were loaded, if the file has others.
    fn choice(&self, taken: &str, beside: &[String]) -> Option<String> {
        let first = beside.first().filter(|_| self.weights.is_none())?;
        let others: Vec<String> = beside.iter().map(|it| format!("`{it}`")).collect();
        Some(format!(
            "weights: loading `{taken}`; the file also has {} (use `weights: {first}` to load that)",
            others.join(", ")
        ))
    }

    fn check_origin(&self, has_file: bool) -> Option<ParameterProblem> {
        let given = [
            ("path", self.path.is_some()),
            ("url", self.url.is_some()),
            ("hub", self.hub.is_some()),
            ("needs.file", has_file),
        ];
        let given: Vec<&str> = given.iter().filter(|it| it.1).map(|it| it.0).collect();
        match given.as_slice() {
            [_] => None,
            [] => {
                let message = "a checkpoint needs `path`, `url`, `hub` or `needs.file`";
                let mut problem = ParameterProblem::value("", message);
                problem.path.clear();
                let hint = "for example `hub: timm/vit_base_patch16_224.augreg_in1k`";
                Some(problem.hint(hint))
            }
            [first, others @ ..] => {
                let message = format!(
                    "a checkpoint has a single origin: `{first}` or `{}`",
                    others[0]
                );
                let field = match others[0] {
                    "needs.file" => first,
                    other => other,
                };
                Some(ParameterProblem::value(field, message).hint("keep one of them"))
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
                let message = "the file at a URL may change, so it needs a `digest`";
                let hint = "`digest: \"sha256:…\"`, as sha256sum prints it";
                Some(ParameterProblem::value("url", message).hint(hint))
            }
            _ => None,
        }
    }

    fn check_url(&self) -> Option<ParameterProblem> {
        let url = self.url.as_ref()?.0.as_str();
        if url.starts_with("file:") {
            let message = format!("`{url}` is a local file");
            return Some(ParameterProblem::value("url", message).hint("use `path` instead"));
        }
        if !url.starts_with("https://") && !url.starts_with("http://") {
            let message = format!("`{url}` is not an http or https URL");
            return Some(ParameterProblem::value("url", message));
        }
        is_index(Path::new(url)).then(|| {
            let message = "a sharded checkpoint needs a `hub` or a `path`, not a `url`";
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
                    problems.push(problem.hint("expected owner/name, as in its URL"));
                }
                let named = |text: &str| text.split('/').all(is_name);
                if self.revision.as_deref().is_some_and(|it| !named(it)) {
                    problems.push(ParameterProblem::value(
                        "revision",
                        "`revision` must be a commit, a tag or a branch",
                    ));
                }
                if !self.file.is_empty() && !named(&self.file) {
                    let message =
                        "`file` must be a file of the repository, such as `model.safetensors`";
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
                    let problem = ParameterProblem::value(name, message);
                    problems.push(match name {
                        "file" => problem.hint("`path` is a file on this machine"),
                        _ => problem,
                    });
                }
            }
        }
        problems
    }
}

fn has_file(inputs: &[BoundInput]) -> bool {
    let mut bound = inputs.iter().filter(|input| !input.members.is_empty());
    bound.any(|input| input.name == FILE)
}

fn is_name(part: &str) -> bool {
    let letter = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    !part.is_empty() && !part.starts_with('.') && part.chars().all(letter)
}

fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> TaskError {
    let path = path.to_path_buf();
    move |source| TaskError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ml::models::checkpoint::StateDict;

    fn checkpoint(with: serde_json::Value) -> Checkpoint {
        serde_json::from_value(with).unwrap()
    }

    fn input(with: serde_json::Value) -> Input {
        checkpoint(with)
            .config(&StateDict::new(), None)
            .unwrap()
            .input
    }

    #[test]
    fn the_transform_is_the_entrys_unless_another_is_given() {
        let hub = "timm/vit_base_patch16_224.augreg_in1k";
        let entry = input(json!({ "hub": hub, "revision": "main" }));
        assert_eq!((entry.crop, entry.mean), (0.9, [0.5; 3]));
        let torchvision = input(json!({ "hub": hub, "transform": "torchvision" }));
        assert_eq!(torchvision.transform().resize, 256);
        assert_eq!(torchvision.interpolation, Filter::Bilinear);
        assert_eq!(torchvision.mean, [0.485, 0.456, 0.406]);
        let own =
            input(json!({ "hub": hub, "transform": { "crop": 1.0, "std": [0.2, 0.2, 0.2] } }));
        assert_eq!((own.crop, own.std, own.mean), (1.0, [0.2; 3], [0.5; 3]));
    }

    #[test]
    fn the_log_names_the_weights_that_are_left() {
        let beside = ["state_dict".to_string(), "swa".to_string()];
        let line = checkpoint(json!({})).choice("state_dict_ema", &beside);
        assert_eq!(
            line.unwrap(),
            "weights: loading `state_dict_ema`; the file also has `state_dict`, `swa` \
             (use `weights: state_dict` to load that)"
        );
        assert_eq!(checkpoint(json!({})).choice("state_dict", &[]), None);
        let chosen = checkpoint(json!({ "weights": "swa" }));
        assert_eq!(chosen.choice("swa", &beside), None);
    }

    #[test]
    fn the_repository_names_the_architecture_unless_it_is_given() {
        let problems = |with| -> Vec<String> {
            let problems = checkpoint(with).check(&[]).into_iter();
            problems
                .map(|it| format!("{}: {}", it.path.join("/"), it.message))
                .collect()
        };
        let named = json!({ "hub": "timm/resnet50.tv2_in1k", "revision": "main" });
        assert!(problems(named).is_empty());
        let other = json!({ "hub": "lab/model", "revision": "main" });
        assert_eq!(
            problems(other),
            ["hub: no architecture has the repository's name `model`"]
        );
        let given = json!({ "hub": "lab/model", "arch": "resnet50", "revision": "main" });
        assert!(problems(given).is_empty());
        let crop = json!({ "path": "x", "arch": "resnet50", "transform": { "crop": 0 } });
        assert_eq!(
            problems(crop),
            ["transform: `crop` must be above 0 and at most 1"]
        );
    }
}
