//! `checkpoint`: a published model, from a file, a URL or a Hugging Face repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::task::{Context, Location, Outputs, Stage, TaskError, TaskInput, Weight};
use super::{images, model};
use crate::digest::Digest;
use crate::fsx;
use crate::ml::data::classes;
use crate::ml::models::checkpoint::{StateDict, fit, read};
use crate::ml::models::{Config, Role, catalogue};
use crate::remote::download::{DownloadError, Fetched, Request, download};
use crate::store::artifact::{Artifact, Files, Metric, Metrics};
use crate::workflow::kind::{
    BoundInput, Comparison, InputSpec, OutputSpec, ParameterProblem, PortType, Source, SourceShape,
};

/// Endings of a single file of weights; any other path is taken for a folder.
const ENDINGS: [&str; 7] = [
    ".safetensors",
    ".pth",
    ".pt",
    ".bin",
    ".ckpt",
    ".tar",
    ".pyth",
];
const HUB: &str = "https://huggingface.co";

/// A published model, from a file (`path`), a URL (`url`) or a Hugging Face repository (`hub`).
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Checkpoint {
    /// The architecture; `ribflow models` lists them.
    pub arch: String,
    /// A file of weights (.safetensors, or a PyTorch archive), or a folder as the hub's tools
    /// leave it. Its content enters the key.
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
            shape: match is_file(&path.0) {
                true => SourceShape::File,
                false => SourceShape::Tree,
            },
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
        problems.extend(self.check_digest());
        problems.extend(self.check_hub());
        problems
    }

    fn weight(&self) -> Weight {
        Weight::Heavy
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

    /// The file or folder of weights, on disk and checked.
    fn obtained(&self, context: &Context) -> Result<PathBuf, TaskError> {
        let place = match (&self.path, &self.url, &self.hub) {
            (Some(_), ..) => return self.given(context),
            (_, Some(url), _) => {
                let request = request(&url.0, None);
                self.fetched(context, &request, &file_name(&url.0))?.0
            }
            (_, _, Some(hub)) => self.at_hub(context, hub)?,
            _ => return Err(TaskError::Input("the checkpoint has no origin".to_string())),
        };
        self.check_pin(&place)?;
        Ok(place)
    }

    /// What `path` names, with the content that the key was made of.
    fn given(&self, context: &Context) -> Result<PathBuf, TaskError> {
        let input = context.input("path")?;
        let Artifact::Files(files) = &input.artifact else {
            return Err(TaskError::Input("`path` holds no files".to_string()));
        };
        let place = placed(context, input, files)?;
        match files.files.keys().next() {
            Some(name) if self.path.as_ref().is_some_and(|path| is_file(&path.0)) => {
                let file = place.join(name);
                self.check_pin(&file)?;
                Ok(file)
            }
            _ => Ok(place),
        }
    }

    fn at_hub(&self, context: &Context, hub: &str) -> Result<PathBuf, TaskError> {
        let revision = self.revision.as_deref().unwrap_or("main");
        let is_commit = revision.len() == 40 && revision.chars().all(|it| it.is_ascii_hexdigit());
        if !is_commit && self.digest.is_none() {
            context.progress.log(&format!(
                "warning: `{revision}` of {hub} may move; a commit or a digest pins it"
            ));
        }
        let file = match self.file.as_str() {
            "" => "model.safetensors",
            file => file,
        };
        let endpoint = std::env::var("HF_ENDPOINT").unwrap_or_else(|_| HUB.to_string());
        let endpoint = endpoint.trim_end_matches('/');
        let url = format!("{endpoint}/{hub}/resolve/{revision}/{file}");
        let request = request(&url, token());
        let (place, fetched) = self.fetched(context, &request, &file_name(file))?;
        if let Some(expected) = &fetched.sha256 {
            let found = sha256(&place)?;
            if found != *expected {
                return Err(TaskError::Failed(format!(
                    "{url} came with SHA-256 {found}, the hub names {expected}"
                )));
            }
        }
        if let Some(commit) = fetched.commit {
            context.progress.log(&format!("{hub} at {commit}"));
        }
        Ok(place)
    }

    fn fetched(
        &self,
        context: &Context,
        request: &Request,
        name: &str,
    ) -> Result<(PathBuf, Fetched), TaskError> {
        let place = context.scratch.join(name);
        context.progress.log(&format!("fetching {}", request.url));
        let watch = |done: u64, total: Option<u64>| {
            context
                .progress
                .advance(done, total.unwrap_or(done), "bytes");
            context.check_cancelled().is_ok()
        };
        match download(request, &place, &watch) {
            Ok(fetched) => Ok((place, fetched)),
            Err(DownloadError::Cancelled) => Err(TaskError::Cancelled),
            Err(error) => Err(TaskError::Failed(error.to_string())),
        }
    }

    fn check_pin(&self, file: &Path) -> Result<(), TaskError> {
        let Some(digest) = &self.digest else {
            return Ok(());
        };
        let pin = Pin::parse(digest).map_err(TaskError::Input)?;
        let found = pin.of(file)?;
        if found == pin.hex {
            return Ok(());
        }
        Err(TaskError::Failed(format!(
            "the file's {} is {found}, not {} as `digest` says",
            pin.name(),
            pin.hex
        )))
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

/// A digest that a file must have.
struct Pin {
    sha256: bool,
    hex: String,
}

impl Pin {
    fn parse(text: &str) -> Result<Self, String> {
        let (name, hex) = text.split_once(':').unwrap_or(("", text));
        let fits = hex.len() == 64 && hex.chars().all(|letter| letter.is_ascii_hexdigit());
        if !matches!(name, "sha256" | "blake3") || !fits {
            return Err(format!(
                "`{text}` is no digest: `sha256:` or `blake3:` and 64 hexadecimal digits"
            ));
        }
        Ok(Self {
            sha256: name == "sha256",
            hex: hex.to_ascii_lowercase(),
        })
    }

    fn name(&self) -> &'static str {
        if self.sha256 { "SHA-256" } else { "BLAKE3" }
    }

    fn of(&self, file: &Path) -> Result<String, TaskError> {
        match self.sha256 {
            true => sha256(file),
            false => Ok(blake3(file)?.to_hex()),
        }
    }
}

/// A folder with the files of `input`: where it lies, if that is as it was, else a copy.
fn placed(context: &Context, input: &TaskInput, files: &Files) -> Result<PathBuf, TaskError> {
    let unchanged = |root: &PathBuf| {
        let mut files = files.files.iter();
        files.all(|(name, blob)| blake3(&root.join(name)).is_ok_and(|digest| digest == blob.digest))
    };
    if let Some(root) = input.roots.iter().find(|root| unchanged(root)) {
        return Ok(root.clone());
    }
    for (name, blob) in &files.files {
        let bytes = images::file_bytes(context, input, name, blob)?;
        let target = context.scratch.join(name);
        let folder = target.parent().unwrap_or(context.scratch);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&target, bytes))
            .map_err(io_error(&target))?;
    }
    Ok(context.scratch.to_path_buf())
}

fn request(url: &str, token: Option<String>) -> Request {
    Request {
        url: url.to_string(),
        token,
        pause: Duration::from_millis(500),
    }
}

/// The token of the hub's own tools: HF_TOKEN, or the file that `hf auth login` writes.
fn token() -> Option<String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(token) = variable("HF_TOKEN") {
        return Some(token);
    }
    let home = variable("HF_HOME").map(PathBuf::from).or_else(|| {
        let cache = variable("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cache")));
        Some(cache?.join("huggingface"))
    })?;
    let token = fs::read_to_string(home.join("token")).ok()?;
    let token = token.trim();
    (!token.is_empty()).then(|| token.to_string())
}

fn file_name(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    match is_name(name) {
        true => name.to_string(),
        false => "checkpoint".to_string(),
    }
}

fn is_file(path: &str) -> bool {
    ENDINGS.iter().any(|ending| path.ends_with(ending))
}

fn is_name(part: &str) -> bool {
    let letter = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    !part.is_empty() && !part.starts_with('.') && part.chars().all(letter)
}

fn blake3(file: &Path) -> Result<Digest, TaskError> {
    let mut reader = fs::File::open(file).map_err(io_error(file))?;
    let (digest, _) = fsx::hash_reader(&mut reader).map_err(io_error(file))?;
    Ok(digest)
}

fn sha256(file: &Path) -> Result<String, TaskError> {
    let mut reader = fs::File::open(file).map_err(io_error(file))?;
    let mut hasher = Sha256::new();
    std::io::copy(&mut reader, &mut hasher).map_err(io_error(file))?;
    let bytes = hasher.finalize();
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> TaskError {
    let path = path.to_path_buf();
    move |source| TaskError::Io { path, source }
}
