//! What environments of programs are made of, as tables: the lock file and the project of uv, and
//! the installed packages of conda. Nothing machine-specific is in a table.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use serde_json::{Map, Value};
use toml::Table as Toml;

use super::Store;
use super::artifact::{Artifact, Table};
use super::source_error::SourceError;
use crate::contract::source::SourceShape;
use crate::digest::Digest;
use crate::fsx;

/// The fields of `[project]` that decide what uv installs, or that the lock file repeats.
const OF_PROJECT: [&str; 6] = [
    "name",
    "version",
    "requires-python",
    "dependencies",
    "optional-dependencies",
    "dynamic",
];
/// Fields that a build of the project would have to compute from code, which is not here.
const NOT_DYNAMIC: [&str; 2] = ["dependencies", "optional-dependencies"];
/// The sources of packages in a lock file that are folders or files of this machine.
const LOCAL: [&str; 4] = ["editable", "directory", "virtual", "path"];
/// Bytes of a file that an environment is made of: a lock file of a thousand packages has about two million.
const MOST_BYTES: u64 = 64 << 20;
const LOCK_FILE: &str = "uv.lock";
const NO_LOCK: &str =
    "`uv lock` writes it. A project elsewhere is named by `--project DIR` in `runner`";
const NO_PROJECT: &str = "it stands beside `uv.lock`";
const NO_PREFIX: &str = "`-p` in `runner` names the folder of a conda environment";

/// Checks a file that an environment of uv is built from; other shapes are not checked. A file that is
/// missing has no problem here.
///
/// # Errors
/// It can't be used.
pub fn check_environment_file(shape: &SourceShape, path: &Path) -> Result<(), SourceError> {
    let checked = match shape {
        SourceShape::UvLock => uv_lock(path),
        SourceShape::PythonProject => python_project(path),
        _ => return Ok(()),
    };
    match checked {
        Err(error) if !error.is_absence() => Err(error),
        _ => Ok(()),
    }
}

/// The text of a lock file.
pub(super) fn uv_lock(path: &Path) -> Result<Table, SourceError> {
    let text = read(path, NO_LOCK)?;
    let lock: Toml = parsed(path, &text)?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let local = packages.into_iter().flatten().find_map(local_package);
    if let Some((name, place)) = local {
        let why = format!(
            "package `{name}` is installed from `{place}` on this machine, whose content would be in \
             no key; list its code under `files`, or lock a released version"
        );
        return Err(bad(path, why));
    }
    Ok(one_cell(LOCK_FILE, text))
}

impl Store {
    /// How the packages of the lock file at `now` differ from those of the lock file whose table has
    /// the digest `before`; `None` if no environment of that one is in the store.
    pub fn package_changes(&self, before: &Digest, now: &Path) -> Option<Vec<String>> {
        let folders = fsx::entries(&self.environments()).ok()?.into_iter();
        let mut locks = folders.filter_map(|folder| {
            fsx::read_regular_text(&folder.join("project").join(LOCK_FILE)).ok()
        });
        let older = locks.find(|text| {
            let table = Artifact::Table(one_cell(LOCK_FILE, text.clone()));
            Digest::of(&table.to_bytes()) == *before
        })?;
        let newer = fsx::read_regular_text(now).ok()?;
        Some(differences(&versions(&older)?, &versions(&newer)?))
    }
}

/// The versions of each package; there are several where they depend on the system.
type Versions = BTreeMap<String, BTreeSet<String>>;

fn versions(lock: &str) -> Option<Versions> {
    let lock: Toml = lock.parse().ok()?;
    let mut versions = Versions::new();
    for package in lock.get("package")?.as_array()? {
        let field = |name: &str| package.get(name).and_then(toml::Value::as_str);
        let (Some(name), Some(version)) = (field("name"), field("version")) else {
            continue;
        };
        let known = versions.entry(name.to_string()).or_default();
        known.insert(version.to_string());
    }
    Some(versions)
}

/// `numpy 2.1.0 → 2.2.0`, by name.
fn differences(before: &Versions, now: &Versions) -> Vec<String> {
    let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let shown = |versions: Option<&BTreeSet<String>>| match versions {
        Some(versions) => versions.iter().cloned().collect::<Vec<String>>().join(", "),
        None => "none".to_string(),
    };
    let changed = names
        .into_iter()
        .filter(|name| before.get(*name) != now.get(*name));
    changed
        .map(|name| {
            let (before, now) = (shown(before.get(name)), shown(now.get(name)));
            format!("{name} {before} → {now}")
        })
        .collect()
}

/// The name and the place of a package from a local folder. The project itself is not installed.
fn local_package(package: &toml::Value) -> Option<(String, String)> {
    let source = package.get("source")?;
    let mut places = LOCAL.iter().filter_map(|kind| source.get(kind)?.as_str());
    let place = places.find(|place| *place != ".")?;
    let name = package.get("name").and_then(toml::Value::as_str);
    Some((name.unwrap_or_default().to_string(), place.to_string()))
}

/// The fields of a project that decide what uv installs, as TOML.
pub(super) fn python_project(path: &Path) -> Result<Table, SourceError> {
    let text = read(path, NO_PROJECT)?;
    let mut file: Toml = parsed(path, &text)?;
    let mut project = match file.remove("project") {
        Some(toml::Value::Table(project)) => project,
        _ => return Err(bad(path, "it has no table `[project]`")),
    };
    project.retain(|name, _| OF_PROJECT.contains(&name));
    let dynamic = project.get("dynamic").and_then(toml::Value::as_array);
    let mut dynamic = dynamic
        .into_iter()
        .flatten()
        .filter_map(toml::Value::as_str);
    if let Some(name) = dynamic.find(|name| NOT_DYNAMIC.contains(name)) {
        return Err(bad(path, format!("`{name}` must not be `dynamic`")));
    }
    let mut kept = Toml::new();
    kept.insert("project".to_string(), toml::Value::Table(project));
    for name in ["dependency-groups", "build-system"] {
        kept.extend(file.remove_entry(name));
    }
    let uv = file.get("tool").and_then(|tool| tool.get("uv")).cloned();
    // Also if empty: uv would search the folders above for settings and for a workspace.
    let mut uv = match uv {
        Some(toml::Value::Table(uv)) => uv,
        _ => Toml::new(),
    };
    uv.entry("workspace")
        .or_insert_with(|| toml::Value::Table(Toml::new()));
    let uv = toml::Value::Table(uv);
    let tool = Toml::from_iter([("uv".to_string(), uv)]);
    kept.insert("tool".to_string(), toml::Value::Table(tool));
    let text = toml::to_string(&kept).map_err(|error| bad(path, error.to_string()))?;
    Ok(one_cell("pyproject.toml", text))
}

/// Name, version, build, platform and digest of every package in `prefix/conda-meta`.
pub(super) fn conda_packages(prefix: &Path) -> Result<Table, SourceError> {
    const FIELDS: [&str; 5] = ["name", "version", "build", "subdir", "sha256"];
    let folder = prefix.join("conda-meta");
    let mut rows = Vec::new();
    let paths = fsx::entries(&folder).map_err(SourceError::io(&folder))?;
    for path in paths {
        if path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let text = read(&path, NO_PREFIX)?;
        let package: Map<String, Value> =
            serde_json::from_str(&text).map_err(|error| bad(&path, error.to_string()))?;
        let field = |name: &str| package.get(name).cloned().unwrap_or_default();
        let mut row: Vec<Value> = FIELDS.map(field).to_vec();
        if let (Some(digest @ Value::Null), Some(md5)) = (row.last_mut(), package.get("md5")) {
            *digest = md5.clone();
        }
        rows.push(row);
    }
    if rows.is_empty() {
        let error = io::ErrorKind::NotFound.into();
        return Err(missing(&folder, NO_PREFIX, error));
    }
    rows.sort_by_key(|row| row.iter().map(Value::to_string).collect::<Vec<String>>());
    Ok(Table {
        columns: FIELDS.map(str::to_string).to_vec(),
        rows,
    })
}

fn one_cell(name: &str, text: String) -> Table {
    Table {
        columns: vec!["name".to_string(), "text".to_string()],
        rows: vec![vec![name.into(), text.into()]],
    }
}

fn read(path: &Path, hint: &'static str) -> Result<String, SourceError> {
    let bytes = fsx::read_regular_within(path, MOST_BYTES);
    let text = bytes.and_then(|bytes| {
        let text = String::from_utf8(bytes);
        text.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    });
    text.map_err(|error| missing(path, hint, error))
}

fn parsed(path: &Path, text: &str) -> Result<Toml, SourceError> {
    let parsed = text.parse::<Toml>();
    parsed.map_err(|error| bad(path, error.message().to_string()))
}

fn missing(path: &Path, hint: &'static str, error: io::Error) -> SourceError {
    match error.kind() {
        io::ErrorKind::NotFound => SourceError::NoLock {
            path: path.to_path_buf(),
            hint,
        },
        _ => SourceError::io(path)(error),
    }
}

fn bad(path: &Path, why: impl Into<String>) -> SourceError {
    SourceError::BadLock {
        path: path.to_path_buf(),
        why: why.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn cell(table: Table) -> String {
        table.rows[0][1].as_str().unwrap().to_string()
    }

    #[test]
    fn of_a_project_only_what_decides_the_environment_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pyproject.toml");
        let text = "[project]\nname = \"p\"\nversion = \"1\"\ndependencies = [\"six\"]\n";
        let cell_of = |text: &str| {
            fs::write(&path, text).unwrap();
            python_project(&path).map(cell)
        };
        let plain = cell_of(text).unwrap();
        let other = format!("{text}description = \"d\"\n\n[tool.ruff]\nline-length = 90\n");
        assert_eq!(cell_of(&other).unwrap(), plain);
        assert_ne!(cell_of(&text.replace("six", "attrs")).unwrap(), plain);
        let group = format!("{text}[dependency-groups]\ndev = [\"attrs\"]\n");
        assert_ne!(cell_of(&group).unwrap(), plain);
        let dynamic = text.replace("dependencies = [\"six\"]", "dynamic = [\"dependencies\"]");
        let error = cell_of(&dynamic).unwrap_err().to_string();
        assert!(
            error.ends_with("`dependencies` must not be `dynamic`"),
            "{error}"
        );
        let error = cell_of("a = ").unwrap_err().to_string();
        assert!(error.contains("pyproject.toml: "), "{error}");
    }

    #[test]
    fn a_lock_with_a_local_package_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("uv.lock");
        assert!(
            uv_lock(&path)
                .unwrap_err()
                .to_string()
                .contains("`uv lock` writes it")
        );
        let package = |name: &str, source: &str| {
            format!("[[package]]\nname = \"{name}\"\nversion = \"1\"\nsource = {{ {source} }}\n\n")
        };
        let released = package("six", "registry = \"https://pypi.org/simple\"");
        let own = package("own", "editable = \".\"");
        fs::write(&path, format!("version = 1\n\n{released}{own}")).unwrap();
        assert!(cell(uv_lock(&path).unwrap()).contains("six"));
        let local = package("helper", "editable = \"../helper\"");
        fs::write(&path, format!("version = 1\n\n{own}{local}")).unwrap();
        let error = uv_lock(&path).unwrap_err().to_string();
        assert!(
            error.contains("package `helper` is installed from `../helper`"),
            "{error}"
        );
    }

    #[test]
    fn a_file_without_end_is_not_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("uv.lock");
        let file = fs::File::create(&path).unwrap();
        file.set_len(MOST_BYTES + 1).unwrap();
        for read in [uv_lock, python_project] {
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains("more than 67108864 bytes"), "{error}");
        }
        // Deeper than any project, and not the end of the stack.
        fs::write(&path, format!("a = {}", "[".repeat(100_000))).unwrap();
        assert!(uv_lock(&path).is_err());
    }

    /// conda writes the paths of this machine beside what a package is.
    #[test]
    fn packages_of_conda_do_not_depend_on_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let table = |root: &str, build: &str| {
            let prefix = folder.path().join(root);
            let meta = prefix.join("conda-meta");
            fs::create_dir_all(&meta).unwrap();
            let package = serde_json::json!({
                "name": "zlib", "version": "1.3", "build": build, "subdir": "linux-64", "md5": "ab",
                "extracted_package_dir": format!("/{root}/pkgs/zlib"),
            });
            fs::write(meta.join("zlib-1.3.json"), package.to_string()).unwrap();
            fs::write(meta.join("history"), root).unwrap();
            conda_packages(&prefix).unwrap()
        };
        assert_eq!(table("one", "h1"), table("two", "h1"));
        assert_ne!(table("one", "h1"), table("two", "h2"));
        assert_eq!(table("one", "h1").rows[0][4], "ab");
        let none = conda_packages(&folder.path().join("three")).unwrap_err();
        assert!(none.to_string().contains("`-p` in `runner`"), "{none}");
    }
}
