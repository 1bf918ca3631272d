//! The working directory of a command: sets it up before the command runs, and collects outputs
//! afterwards.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::super::task::{Context, TaskError, TaskInput};
use super::collect;
use super::files::SOURCE;
use super::outputs::{DeclaredOutput, DeclaredOutputs};
use super::{OUT, PARAMETERS, Parameters};
use crate::fsx;
use crate::store::BlobError;
use crate::store::artifact::{Artifact, Blobs, Files};
use crate::store::export::{ExportError, content, export, member_name};

/// A working directory, emptied on drop.
pub(super) struct WorkDir {
    /// The directory in which the line runs. Its path contains no link.
    pub folder: PathBuf,
    /// For temporary files, beside the directory, so that it contains nothing undeclared.
    pub temporary: PathBuf,
}

impl WorkDir {
    /// Creates the inputs and files of `context`, read-only, an empty `out/`, and the file of
    /// parameters if there are any.
    pub fn lay_out(parameters: &Parameters, context: &Context) -> Result<Self, TaskError> {
        // Resolve the path before the line runs, because the line may create links anywhere.
        let scratch = resolved(context.scratch).map_err(io_error(context.scratch))?;
        let space = Self {
            folder: scratch.join("work"),
            temporary: scratch.join("tmp"),
        };
        for folder in [&space.folder, &space.temporary, &space.folder.join(OUT)] {
            fs::create_dir_all(folder).map_err(io_error(folder))?;
        }
        for (name, members) in &context.inputs {
            if let Some(name) = name.strip_prefix(SOURCE) {
                for member in members {
                    space.lay_file(name, member, context.blobs)?;
                }
            } else if !name.contains('/') {
                space.lay_input(name, members, context.blobs)?;
            }
        }
        space.lay_parameters(parameters)?;
        Ok(space)
    }

    /// Creates a file or folder. Files are executable: content has no mode, so all get the same
    /// one.
    fn lay_file(&self, name: &str, file: &TaskInput, blobs: &dyn Blobs) -> Result<(), TaskError> {
        let Artifact::Files(files) = &file.artifact else {
            return Err(TaskError::Input("expected a file".to_string()));
        };
        let top = self.folder.join(name);
        for (path, content_of) in &files.files {
            let bytes = content(blobs, path, &content_of.blob(), &file.roots);
            let bytes = bytes.map_err(task_error)?;
            // The first component is the original name.
            let target = match path.split_once('/') {
                Some((_, inside)) => top.join(inside),
                None => top.clone(),
            };
            if let Some(folder) = target.parent() {
                fs::create_dir_all(folder).map_err(io_error(folder))?;
            }
            fs::write(&target, bytes)
                .and_then(|()| fs::set_permissions(&target, Permissions::from_mode(0o555)))
                .map_err(io_error(&target))?;
        }
        Ok(())
    }

    fn lay_parameters(&self, parameters: &Parameters) -> Result<(), TaskError> {
        if parameters.is_empty() {
            return Ok(());
        }
        let target = self.folder.join(PARAMETERS);
        // Maps with text keys always encode.
        let mut text = serde_json::to_string_pretty(parameters).unwrap_or_default();
        text.push('\n');
        fs::write(&target, text)
            .and_then(|()| seal(&target))
            .map_err(io_error(&target))
    }

    /// Creates an input. Several members each get a folder named by their gathered axes.
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

    /// Collects the output at `out/PATH`.
    pub fn collect(&self, path: &str, context: &Context) -> Result<Files, TaskError> {
        collect::collect(&self.folder, path, context.blobs)
    }

    /// The place of the file at `out/PATH`, with links resolved.
    pub fn file(&self, path: &str) -> Result<PathBuf, TaskError> {
        collect::file(&self.folder, path)
    }

    /// Whether the folder can be moved to `target`, tried with an empty one beside it.
    pub fn can_keep(&self, target: &Path) -> bool {
        let beside = self.folder.with_extension("probe");
        let moved = || {
            fs::create_dir(&beside).ok()?;
            fs::create_dir_all(target.parent()?).ok()?;
            fs::rename(&beside, target).ok()?;
            fs::remove_dir(target).ok()
        };
        let possible = moved().is_some();
        // Gone if it was moved.
        let _ = fs::remove_dir(&beside);
        possible
    }

    /// Moves the folder to `target`. False if that is not possible.
    pub fn keep(&self, target: &Path) -> bool {
        let moved = || {
            fs::create_dir_all(target.parent()?).ok()?;
            fs::rename(&self.folder, target).ok()?;
            // The user may remove it. What can't be changed is still there to look at.
            let _ = open_folders(target);
            Some(())
        };
        moved().is_some()
    }

    /// Logs files and folders of `out/` that hold no declared output.
    pub fn log_undeclared(
        &self,
        declared: &DeclaredOutputs,
        context: &Context,
    ) -> Result<(), TaskError> {
        let paths = declared.0.iter().flat_map(DeclaredOutput::candidates);
        let first = |path: Cow<str>| path.split('/').next().unwrap_or_default().to_string();
        let known: BTreeSet<String> = paths.map(first).collect();
        let out = self.folder.join(OUT);
        for entry in fs::read_dir(&out).map_err(io_error(&out))? {
            let name = entry.map_err(io_error(&out))?.file_name();
            let name = name.to_string_lossy();
            if !known.contains(name.as_ref()) {
                let line = format!("`out/{name}` is not a declared output and is not kept");
                context.progress.log(&line);
            }
        }
        Ok(())
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // Read-only folders would prevent the removal of the scratch folder.
        for folder in [&self.folder, &self.temporary] {
            let _ = fsx::remove_tree(folder);
        }
    }
}

/// The path of a folder that this process or its parent has made, without links. All of them are in
/// one folder, whose path is resolved once.
fn resolved(scratch: &Path) -> io::Result<PathBuf> {
    static ABOVE: Mutex<Option<(PathBuf, PathBuf)>> = Mutex::new(None);
    let (Some(above), Some(name)) = (scratch.parent(), scratch.file_name()) else {
        return scratch.canonicalize();
    };
    let mut known = ABOVE.lock().unwrap_or_else(|held| held.into_inner());
    if let Some((_, resolved)) = known.as_ref().filter(|(path, _)| path == above) {
        return Ok(resolved.join(name));
    }
    let resolved = above.canonicalize()?;
    *known = Some((above.to_path_buf(), resolved.clone()));
    Ok(resolved.join(name))
}

fn lay(input: &TaskInput, target: &Path, blobs: &dyn Blobs) -> Result<(), TaskError> {
    export(blobs, &input.artifact, &input.roots, target).map_err(task_error)
}

fn task_error(error: ExportError) -> TaskError {
    match error {
        ExportError::Blob(error) => TaskError::Blob(error),
        ExportError::Changed(_, blob) => TaskError::Lost {
            message: error.to_string(),
            blob: BlobError::Missing(blob),
        },
        error => TaskError::Input(error.to_string()),
    }
}

/// Removes all write permissions from a tree. Files that the owner can execute become executable
/// for all users.
fn seal(path: &Path) -> io::Result<()> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_dir() {
        let mode = match metadata.mode() & 0o100 {
            0 => fsx::SEALED,
            _ => 0o555,
        };
        return fs::set_permissions(path, Permissions::from_mode(mode));
    }
    for entry in fs::read_dir(path)? {
        seal(&entry?.path())?;
    }
    fs::set_permissions(path, Permissions::from_mode(0o555))
}

/// Lets the owner write to the folders of a tree.
fn open_folders(folder: &Path) -> io::Result<()> {
    let mode = fs::symlink_metadata(folder)?.mode();
    fs::set_permissions(folder, Permissions::from_mode(mode | 0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_folders(&entry.path())?;
        }
    }
    Ok(())
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> TaskError + '_ {
    |source| TaskError::Io {
        path: path.to_path_buf(),
        source,
    }
}
