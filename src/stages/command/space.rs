//! The folder that a command runs in: what lies there before, and what is kept of it after.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::super::task::{Context, TaskError, TaskInput};
use super::{FILE_SOURCE, OUT};
use crate::fsx;
use crate::store::artifact::{Artifact, Blob, Blobs, Files};
use crate::store::export::{ExportError, content, export, member_name};

/// A laid-out folder, emptied on drop.
pub(super) struct Space {
    /// Where the line runs.
    pub folder: PathBuf,
    /// For the line's temporary files: beside the folder, so that it holds nothing undeclared.
    pub temporary: PathBuf,
}

impl Space {
    /// Lays out the inputs and files of `context`, read-only, and an empty `out/`.
    pub fn lay_out(context: &Context) -> Result<Self, TaskError> {
        let space = Self {
            folder: context.scratch.join("work"),
            temporary: context.scratch.join("tmp"),
        };
        for folder in [&space.folder, &space.temporary, &space.folder.join(OUT)] {
            fs::create_dir_all(folder).map_err(io_error(folder))?;
        }
        for (name, members) in &context.inputs {
            if name.starts_with(FILE_SOURCE) {
                for member in members {
                    space.lay_file(member, context.blobs)?;
                }
            } else if !name.contains('/') {
                space.lay_input(name, members, context.blobs)?;
            }
        }
        Ok(space)
    }

    /// A file under its base name. It may be run: content has no mode, so all get the same.
    fn lay_file(&self, file: &TaskInput, blobs: &dyn Blobs) -> Result<(), TaskError> {
        let Artifact::Files(files) = &file.artifact else {
            return Err(TaskError::Input("a file is expected".to_string()));
        };
        for (name, blob) in &files.files {
            let bytes = content(blobs, name, blob, &file.roots).map_err(task_error)?;
            let target = self.folder.join(name);
            fs::write(&target, bytes)
                .and_then(|()| fs::set_permissions(&target, Permissions::from_mode(0o555)))
                .map_err(io_error(&target))?;
        }
        Ok(())
    }

    /// An input under its name; of several members each in a folder named by its gathered axes.
    fn lay_input(
        &self,
        name: &str,
        members: &[TaskInput],
        blobs: &dyn Blobs,
    ) -> Result<(), TaskError> {
        let target = self.folder.join(name);
        match members {
            [only] if only.axes.is_empty() => lay(only, &target, blobs)?,
            members => {
                for (index, member) in members.iter().enumerate() {
                    let name = member_name(&member.axes).unwrap_or_else(|| index.to_string());
                    fs::create_dir_all(&target).map_err(io_error(&target))?;
                    lay(member, &target.join(name), blobs)?;
                }
            }
        }
        seal(&target).map_err(io_error(&target))
    }

    /// What the line left at `out/NAME`.
    pub fn collect(&self, name: &str, context: &Context) -> Result<Files, TaskError> {
        let place = self.folder.join(OUT).join(name);
        if fs::symlink_metadata(&place).is_err() {
            let message = format!("the command left no `out/{name}`");
            return Err(TaskError::Failed(message));
        }
        let mut found = BTreeMap::new();
        self.walk(&place, String::new(), &mut found)?;
        if found.is_empty() {
            let message = format!("the command left `out/{name}` empty");
            return Err(TaskError::Failed(message));
        }
        let kept: Result<BTreeMap<String, Blob>, TaskError> = found
            .into_par_iter()
            .map(|(path, file)| Ok((path, context.blobs.write_file(&file)?)))
            .collect();
        Ok(Files { files: kept? })
    }

    /// Regular files by path from the output. A link counts as the file inside the folder that
    /// it leads to; anything else would be content that nobody declared.
    fn walk(
        &self,
        place: &Path,
        path: String,
        found: &mut BTreeMap<String, PathBuf>,
    ) -> Result<(), TaskError> {
        let kind = fs::symlink_metadata(place)
            .map_err(io_error(place))?
            .file_type();
        if kind.is_dir() {
            for entry in fs::read_dir(place).map_err(io_error(place))? {
                let entry = entry.map_err(io_error(place))?;
                let name = entry.file_name().into_string().map_err(|name| {
                    TaskError::Failed(format!("the name of the output {name:?} is no UTF-8"))
                })?;
                let path = match path.as_str() {
                    "" => name,
                    path => format!("{path}/{name}"),
                };
                self.walk(&entry.path(), path, found)?;
            }
            return Ok(());
        }
        let real = match kind.is_symlink() {
            true => self.inside(place),
            false => kind.is_file().then(|| place.to_path_buf()),
        };
        let shown = place.strip_prefix(&self.folder).unwrap_or(place).display();
        let real = real.ok_or_else(|| {
            let message = format!("`{shown}` is neither a folder nor a file of this node");
            TaskError::Failed(message)
        })?;
        found.insert(path, real);
        Ok(())
    }

    fn inside(&self, link: &Path) -> Option<PathBuf> {
        let folder = self.folder.canonicalize().ok()?;
        let real = link.canonicalize().ok()?;
        (real.starts_with(folder) && real.is_file()).then_some(real)
    }

    /// Names in the node's log what is left under `out/` without being kept.
    pub fn log_undeclared(&self, declared: &[String], context: &Context) -> Result<(), TaskError> {
        let out = self.folder.join(OUT);
        for entry in fs::read_dir(&out).map_err(io_error(&out))? {
            let name = entry.map_err(io_error(&out))?.file_name();
            let name = name.to_string_lossy();
            if !declared.iter().any(|declared| *declared == name) {
                let line = format!("`out/{name}` is not among the outputs and is not kept");
                context.progress.log(&line);
            }
        }
        Ok(())
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // Read-only folders would stop whoever removes the scratch folder.
        for folder in [&self.folder, &self.temporary] {
            let _ = fsx::remove_tree(folder);
        }
    }
}

fn lay(input: &TaskInput, target: &Path, blobs: &dyn Blobs) -> Result<(), TaskError> {
    export(blobs, &input.artifact, &input.roots, target).map_err(task_error)
}

fn task_error(error: ExportError) -> TaskError {
    match error {
        ExportError::Blob(error) => TaskError::Blob(error),
        error => TaskError::Input(error.to_string()),
    }
}

/// Takes everybody's right to write from a tree.
fn seal(path: &Path) -> io::Result<()> {
    if !path.is_dir() {
        return fs::set_permissions(path, Permissions::from_mode(fsx::SEALED));
    }
    for entry in fs::read_dir(path)? {
        seal(&entry?.path())?;
    }
    fs::set_permissions(path, Permissions::from_mode(0o555))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> TaskError + '_ {
    |source| TaskError::Io {
        path: path.to_path_buf(),
        source,
    }
}
