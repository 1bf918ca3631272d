//! Environments built by `uv sync`, one folder for each lock file and set of options, shared by all
//! nodes and processes of a store.
//!
//! A folder without the file [`COMPLETE`], which is written last, is an attempt that did not end:
//! the next one removes it. It is built in its own place, because programs of an environment name
//! it by its absolute path. One whose files have changed since then is built again.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::child::{Child, Start};
use super::super::lines::Secrets;
use super::manifest;
use crate::digest::{Digest, hash_value};
use crate::fsx::{self, HeldLock};
use crate::process;
use crate::stages::task::{Context, TaskError};

/// The file of a finished environment.
const COMPLETE: &str = "complete.json";
/// Its time is that of the last use.
const USED: &str = "used";
/// The files of the packages.
const FILES: &str = "files";
const PROJECT: &str = "project";
const PACKAGES: &str = "env";
/// What uv has found out about the interpreter, for the cache of each node.
const CACHE: &str = "cache";
/// The number of digits of a digest in the name of a folder: paths in the first line of a script are
/// limited to 127 bytes on some systems.
const DIGITS: usize = 24;
/// The pause between two looks at the lock of another builder.
const LOOK: Duration = Duration::from_millis(200);
/// What `uv sync` gets of the user's environment: where programs and settings are, how the network is
/// reached, where caches are. Nothing that chooses packages.
const PASSED: [&str; 37] = [
    "PATH",
    "LD_LIBRARY_PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_DIRS",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "SSL_CLIENT_CERT",
    "NETRC",
    "UV_CACHE_DIR",
    "UV_CONCURRENT_DOWNLOADS",
    "UV_CONCURRENT_INSTALLS",
    "UV_DEFAULT_INDEX",
    "UV_HTTP_TIMEOUT",
    "UV_INDEX",
    "UV_INSECURE_HOST",
    "UV_KEYRING_PROVIDER",
    "UV_LINK_MODE",
    "UV_NATIVE_TLS",
    "UV_OFFLINE",
    "UV_PYPY_INSTALL_MIRROR",
    "UV_PYTHON_INSTALL_DIR",
    "UV_PYTHON_INSTALL_MIRROR",
    "UV_SYSTEM_CERTS",
];

/// What an environment is built from.
pub struct Recipe<'a> {
    pub uv: &'a Path,
    pub options: &'a [String],
    pub lock: &'a str,
    pub project: &'a str,
}

impl Recipe<'_> {
    fn name(&self) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("ribflow 2026 uv environment v1");
        // Wheels are made for one system.
        let system = [std::env::consts::OS, std::env::consts::ARCH];
        let parts = json!([system, self.options, self.lock, self.project]);
        hash_value(&mut hasher, &parts);
        let mut name = Digest::finish(&hasher).to_hex();
        name.truncate(DIGITS);
        name
    }
}

/// A finished environment.
pub struct Environment {
    pub folder: PathBuf,
    /// The versions of uv and Python.
    pub versions: String,
}

#[derive(Serialize, Deserialize)]
struct Complete {
    versions: String,
}

impl Environment {
    /// The folder with `pyproject.toml` and `uv.lock`.
    pub fn project(&self) -> PathBuf {
        self.folder.join(PROJECT)
    }

    /// The virtual environment.
    pub fn packages(&self) -> PathBuf {
        self.folder.join(PACKAGES)
    }

    /// Gives a node a cache of its own, with what uv knows about the interpreter: to ask it again
    /// takes 50 ms or more. An incomplete one only costs time.
    pub fn copy_cache(&self, target: &Path) {
        let _ = copy(&self.folder.join(CACHE), target);
    }

    /// The environment in `folder` if it is finished and whole, and its Python is still installed.
    fn open(folder: &Path, context: &Context) -> Option<Self> {
        let text = fsx::read_regular(&folder.join(COMPLETE)).ok()?;
        let complete: Complete = serde_json::from_slice(&text).ok()?;
        let environment = Self {
            folder: folder.to_path_buf(),
            versions: complete.versions,
        };
        let python = environment.packages().join("bin/python");
        if !python.exists() {
            return None;
        }
        let damage = manifest::damage(&folder.join(FILES), &environment.packages());
        if let Some(file) = &damage {
            let line = format!("the environment has lost or changed `{file}`, and is built again");
            context.progress.log(&line);
        }
        damage.is_none().then_some(environment)
    }

    /// As [`Self::open`], and keeps it from being cleaned up. In this order: a cleaning moves an
    /// environment away, and looks at its mark again before it removes it.
    fn take(folder: &Path, context: &Context) -> Option<Self> {
        if folder.join(COMPLETE).is_file() {
            Self::touch(folder);
        }
        Self::open(folder, context)
    }

    /// Only a reader of the store can't write.
    fn touch(folder: &Path) {
        let used = folder.join(USED);
        let file = File::options().write(true).open(&used);
        let touched = file.and_then(|file| file.set_modified(SystemTime::now()));
        if touched.is_err() {
            // It belongs to another user of the store, who alone may set its time.
            let _ = fsx::replace(&used, folder, fsx::SHARED, b"");
        }
    }
}

/// The environment of `recipe`, built if it is not there.
pub fn obtain(recipe: &Recipe, context: &Context) -> Result<Environment, TaskError> {
    let folder = context.environments.join(recipe.name());
    if let Some(environment) = Environment::take(&folder, context) {
        return Ok(environment);
    }
    fsx::make_folders(context.environments).map_err(at(context.environments))?;
    let _lock = wait(&folder.with_extension("lock"), context)?;
    if let Some(environment) = Environment::take(&folder, context) {
        return Ok(environment);
    }
    let environment = build(recipe, &folder, context);
    if environment.is_err() {
        let _ = fsx::remove_tree(&folder);
    }
    environment
}

fn wait(path: &Path, context: &Context) -> Result<HeldLock, TaskError> {
    let mut is_logged = false;
    loop {
        context.check_cancelled()?;
        if let Some(lock) = context.locks.try_acquire(path).map_err(at(path))? {
            return Ok(lock);
        }
        if !is_logged {
            context
                .progress
                .log("waits for another process, which builds the environment");
            is_logged = true;
        }
        std::thread::sleep(LOOK);
    }
}

fn build(recipe: &Recipe, folder: &Path, context: &Context) -> Result<Environment, TaskError> {
    let started = Instant::now();
    match fsx::remove_tree(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(folder)(error)),
        _ => {}
    }
    let (project, packages) = (folder.join(PROJECT), folder.join(PACKAGES));
    fsx::make_folders(&project).map_err(at(&project))?;
    for (name, text) in [("pyproject.toml", recipe.project), ("uv.lock", recipe.lock)] {
        let path = project.join(name);
        fs::write(&path, text).map_err(at(&path))?;
    }
    sync(recipe, &project, &packages, context)?;
    warm(recipe, folder, &project, &packages);
    seal(&packages).map_err(at(&packages))?;
    let versions = versions(recipe.uv, &packages);
    let files = folder.join(FILES);
    let list = manifest::of(&packages).map_err(at(&packages))?;
    fs::write(&files, list).map_err(at(&files))?;
    let used = folder.join(USED);
    fs::write(&used, "").map_err(at(&used))?;
    let complete = json!(Complete {
        versions: versions.clone(),
    });
    let path = folder.join(COMPLETE);
    fsx::replace(&path, folder, fsx::SHARED, complete.to_string().as_bytes()).map_err(at(&path))?;
    let seconds = started.elapsed().as_secs_f64();
    let line = format!("built the environment in {seconds:.1} s: {versions}");
    context.progress.log(&line);
    Ok(Environment {
        folder: folder.to_path_buf(),
        versions,
    })
}

fn sync(
    recipe: &Recipe,
    project: &Path,
    packages: &Path,
    context: &Context,
) -> Result<(), TaskError> {
    let passed = PASSED.iter().filter_map(|name| {
        let value = std::env::var_os(name)?;
        Some((*name, value))
    });
    let mut command = Command::new(recipe.uv);
    command
        .args([
            "sync",
            "--locked",
            "--no-install-project",
            "--compile-bytecode",
        ])
        .args(["--no-progress", "--project"])
        .arg(project)
        .args(recipe.options)
        .current_dir(project)
        .env_clear()
        .envs(passed)
        .env("LANG", "C.UTF-8")
        .env("UV_PROJECT_ENVIRONMENT", packages);
    let started = Child::start(Start {
        command,
        program: recipe.uv,
        shell: None,
        secrets: Secrets::default(),
        isolation: None,
    });
    let ended = started.and_then(|child| child.watch(context));
    ended.map_err(|error| match error {
        TaskError::Failed(message) if !context.cancelled.load(Ordering::Relaxed) => {
            TaskError::Failed(format!(
                "the environment of `runner` was not built: `uv sync --locked`: {message}"
            ))
        }
        error => error,
    })
}

/// Lets uv look at the environment once, and keeps what it has found out.
fn warm(recipe: &Recipe, folder: &Path, project: &Path, packages: &Path) {
    let mut command = Command::new(recipe.uv);
    command
        .args([
            "run",
            "--locked",
            "--offline",
            "--no-sync",
            "--no-config",
            "--project",
        ])
        .arg(project)
        .args(["--", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .env("UV_PROJECT_ENVIRONMENT", packages)
        .env("UV_PYTHON_DOWNLOADS", "never")
        .env("UV_CACHE_DIR", folder.join(CACHE));
    let started = process::start(|| command.spawn(), |child| Some(child.id()));
    if let Ok((mut child, _known)) = started {
        let _ = child.wait();
    }
}

/// Copies the files of a small tree.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()? {
            kind if kind.is_dir() => copy(&entry.path(), &target)?,
            kind if kind.is_file() => drop(fs::copy(entry.path(), target)?),
            _ => {}
        }
    }
    Ok(())
}

/// Makes folders read-only, so that no line adds or removes a package. Files may be links to those
/// of uv's cache.
fn seal(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            seal(&entry.path())?;
        }
    }
    fs::set_permissions(folder, Permissions::from_mode(0o555))
}

/// The versions of uv and of the interpreter, as they say themselves.
fn versions(uv: &Path, packages: &Path) -> String {
    let output = Command::new(uv).arg("--version").env_clear().output();
    let uv = output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_string(),
    );
    // `uv 0.9.1 (abc123 2026-01-01)`
    let uv = uv.split(" (").next().unwrap_or_default().to_string();
    let config = fsx::read_regular_text(&packages.join("pyvenv.cfg")).unwrap_or_default();
    let value = |name: &str| {
        let mut lines = config.lines().filter_map(|line| line.split_once('='));
        let found = lines.find(|(key, _)| key.trim() == name);
        found.map_or(String::new(), |(_, value)| value.trim().to_string())
    };
    format!(
        "{uv}, {} {}",
        value("implementation"),
        value("version_info")
    )
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> TaskError + '_ {
    |source| TaskError::Io {
        path: path.to_path_buf(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another user's file can't be given another time; neither can one that is not there.
    #[test]
    fn an_environment_in_use_says_so_even_where_its_mark_can_not_be_changed() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        Environment::touch(folder);
        let used = || fs::metadata(folder.join(USED)).unwrap().modified().unwrap();
        let first = used();
        std::thread::sleep(Duration::from_millis(20));
        Environment::touch(folder);
        assert!(used() > first);
    }
}
