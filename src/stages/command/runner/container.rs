//! `apptainer exec IMAGE`: the content of an image file, or the digest in its address, is in the key.

use std::ffi::OsString;
use std::path::PathBuf;

use super::super::work_dir::WorkDir;
use super::{Prefix, WordProblem, place, source};
use crate::contract::source::{Source, SourceShape};
use crate::stages::task::{Context, TaskError};

const IMAGE: &str = "runner/image";
const WRITE: &str = "write [apptainer, exec, IMAGE]";
/// What to do without the image.
pub const NO_IMAGE: &str =
    "the last word is an image file; paths start from the folder of the workflow file";
/// Before the digest in the address of an image.
const DIGEST: &str = "@sha256:";

/// `apptainer exec` with its options.
pub struct Container {
    program: String,
    options: Vec<String>,
    image: String,
}

impl Container {
    pub fn parse(words: &[String]) -> Result<Self, WordProblem> {
        let program = words.first().cloned().unwrap_or_default();
        if words.get(1).map(String::as_str) != Some("exec") {
            let message = format!("`{program}` is known as `{program} exec` here");
            return Err(WordProblem::new(words.len().min(2) - 1, message, WRITE));
        }
        let last = words.len() - 1;
        let image = words[last].clone();
        if last < 2 || image.starts_with('-') {
            return Err(WordProblem::new(last, "the last word is the image", WRITE));
        }
        let container = Self {
            program,
            options: words[2..last].to_vec(),
            image,
        };
        let image = &container.image;
        if container.is_remote() && !image.contains(DIGEST) {
            let message = format!("`{image}` may be another image tomorrow");
            let hint = format!("write its digest, IMAGE{DIGEST}…, or name an image file");
            return Err(WordProblem::new(last, message, hint));
        }
        Ok(container)
    }

    fn is_remote(&self) -> bool {
        self.image.contains("://")
    }

    pub fn keyed(&self) -> Vec<String> {
        let name = PathBuf::from(&self.program);
        let name = name
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let mut words = vec![name.unwrap_or_default(), "exec".to_string()];
        words.extend(self.options.iter().cloned());
        // The content of a file is in the key instead of its name.
        words.extend(self.is_remote().then(|| self.image.clone()));
        words
    }

    pub fn source(&self) -> Option<Source> {
        (!self.is_remote()).then(|| source(IMAGE, &self.image, SourceShape::File))
    }

    pub fn prefix(
        &self,
        program: PathBuf,
        space: &WorkDir,
        context: &Context,
    ) -> Result<Prefix, TaskError> {
        let image = match self.is_remote() {
            true => PathBuf::from(&self.image),
            false => {
                let name = PathBuf::from(&self.image);
                place(context, IMAGE)?.join(name.file_name().unwrap_or_default())
            }
        };
        let mut arguments = vec![OsString::from("exec")];
        for folder in [&space.folder, &space.temporary] {
            arguments.extend([OsString::from("--bind"), folder.into()]);
        }
        arguments.extend([OsString::from("--pwd"), OsString::from(&space.folder)]);
        arguments.extend(self.options.iter().map(OsString::from));
        arguments.push(image.into());
        Ok(Prefix {
            arguments,
            in_container: true,
            ..Prefix::new(program)
        })
    }
}
