//! Reads the typed outputs of a line: checks each file when the line has ended, and gives it the
//! form that outputs of other kinds have.

mod arrays;
pub mod metrics;
mod model;
pub mod npy;
pub mod plot;
pub mod table;

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::OUT;
use super::outputs::{DeclaredOutput, TypeWithOptions};
use super::work_dir::WorkDir;
use crate::contract::source::ImageSelection;
use crate::stages::image_folder;
use crate::stages::task::{Context, TaskError, TaskInput};
use crate::store::artifact::{Artifact, Dataset, Files, Images, Part};

/// A file that the line wrote, with links resolved.
struct OutputFile {
    place: PathBuf,
    /// Its path below the node's folder, for messages.
    shown: String,
}

impl OutputFile {
    fn wrong(&self, what: impl std::fmt::Display) -> TaskError {
        TaskError::Failed(format!("`{}`: {what}", self.shown))
    }

    /// The bytes, if there are at most `most`.
    fn bytes(&self, most: u64) -> Result<Vec<u8>, TaskError> {
        let mut bytes = Vec::new();
        let file = File::open(&self.place).map_err(|error| self.wrong(error))?;
        let read = file.take(most + 1).read_to_end(&mut bytes);
        read.map_err(|error| self.wrong(error))?;
        if bytes.len() as u64 > most {
            return Err(self.wrong(format_args!("the file has more than {most} bytes")));
        }
        Ok(bytes)
    }

    fn text(&self, most: u64) -> Result<String, TaskError> {
        let bytes = self.bytes(most)?;
        String::from_utf8(bytes).map_err(|error| {
            let line = lines_before(error.as_bytes(), error.utf8_error().valid_up_to());
            self.wrong(format_args!("line {line} is not UTF-8"))
        })
    }
}

fn lines_before(bytes: &[u8], end: usize) -> usize {
    1 + bytes[..end].iter().filter(|byte| **byte == b'\n').count()
}

/// The artifact of a declared output.
///
/// # Errors
/// It is missing, or it is not of its type; the message names the file, and its line or field.
pub(super) fn read(
    output: &DeclaredOutput,
    space: &WorkDir,
    context: &Context,
) -> Result<Artifact, TaskError> {
    let path = present(output, space)?;
    let Some(typed) = &output.typed else {
        return Ok(Artifact::Files(space.collect(&path, context)?));
    };
    let file = || {
        let place = space.file(&path)?;
        let shown = format!("{OUT}/{path}");
        Ok::<_, TaskError>(OutputFile { place, shown })
    };
    match typed {
        TypeWithOptions::Files(_) => Ok(Artifact::Files(space.collect(&path, context)?)),
        TypeWithOptions::Images(_) => images(&path, space, context),
        TypeWithOptions::Metrics(_) => Ok(Artifact::Metrics(metrics::read(&file()?)?)),
        TypeWithOptions::Table(_) => Ok(Artifact::Table(table::read(&file()?, &path)?)),
        TypeWithOptions::Arrays(_) => {
            let tensors = arrays::read(&file()?, &path, context)?;
            Ok(Artifact::Tensors(tensors))
        }
        TypeWithOptions::Model(options) => model::read(&file()?, options, context),
        TypeWithOptions::Plot(_) => Ok(Artifact::Files(plot::read(&file()?, &path, context)?)),
    }
}

/// The path below `out/` of the one candidate that exists.
fn present<'a>(output: &'a DeclaredOutput, space: &WorkDir) -> Result<Cow<'a, str>, TaskError> {
    let out = space.folder.join(OUT);
    let mut candidates = output.candidates();
    let listed = |paths: &[Cow<str>], word: &str| {
        let paths: Vec<String> = paths.iter().map(|it| format!("`{OUT}/{it}`")).collect();
        paths.join(word)
    };
    let all = listed(&candidates, " or ");
    candidates.retain(|path| fs::symlink_metadata(out.join(path.as_ref())).is_ok());
    match candidates.as_slice() {
        [_] => Ok(candidates.swap_remove(0)),
        [] => Err(TaskError::Failed(format!(
            "the command did not create {all}"
        ))),
        several => Err(TaskError::Failed(format!(
            "{} exist, but `{}` is one file",
            listed(several, " and "),
            output.name
        ))),
    }
}

/// A folder of class folders, as a dataset.
fn images(path: &str, space: &WorkDir, context: &Context) -> Result<Artifact, TaskError> {
    let tree = space.collect(path, context)?;
    let input = TaskInput {
        axes: Default::default(),
        artifact: Artifact::Files(tree),
        roots: Vec::new(),
    };
    let found = image_folder::images(&input, &ImageSelection::default());
    let (classes, files) =
        found.map_err(|error| TaskError::Failed(format!("`{OUT}/{path}`: {error}")))?;
    Ok(Artifact::Dataset(Dataset {
        classes,
        clause: None,
        parts: vec![Part {
            axes: Default::default(),
            images: Images::Encoded { files, border: 0 },
        }],
    }))
}

/// The name of the file at a path below `out/`.
fn base_name(path: &str) -> &str {
    Path::new(path)
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or(path)
}

/// A tree of one file.
fn one_file(path: &str, bytes: &[u8], context: &Context) -> Result<Files, TaskError> {
    let blob = context.blobs.write(bytes)?;
    Ok([(base_name(path).to_string(), blob)].into_iter().collect())
}
