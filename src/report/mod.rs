//! The report: views of a run's records as files that people and scripts read. It computes no
//! result; every number here stands in some record, and the page says in which.

mod document;
mod number;
mod page;
mod provenance;
mod relation;
mod results;
mod robustness;
mod sheets;
mod summary;
mod table;
mod tables;
mod view;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

pub use number::utc;
pub use summary::summary_text;
pub use view::View;

use crate::digest::Digest;
use crate::fsx;
use provenance::Stamp;

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("a metric can't be written as JSON: {0}")]
    Encode(#[from] serde_json::Error),
}

/// The folder of a graph's report inside the folder for results: `<name>[-<profile>…]`.
pub fn folder_name(graph: &crate::workflow::graph::Graph) -> String {
    let parts = std::iter::once(&graph.name).chain(&graph.profiles);
    parts.map(String::as_str).collect::<Vec<&str>>().join("-")
}

/// Writes `results.json`, `provenance.json`, `report.html` and `tables/` into `folder`, and
/// returns the path of the page.
///
/// Files whose bytes are as they should be are not touched; where nothing that the report shows
/// has changed and its files are as they were left, nothing is rendered either.
pub fn write(view: &View, folder: &Path) -> Result<PathBuf, ReportError> {
    let page = folder.join(PAGE);
    let fingerprint = provenance::fingerprint(view);
    if is_current(folder, &fingerprint) {
        return Ok(page);
    }
    let files = render(view)?;
    let digests = files
        .iter()
        .map(|(path, text)| (path.clone(), Digest::of(text.as_bytes())));
    let stamp = Stamp {
        view: fingerprint,
        files: digests.collect(),
    };
    let io = |path: PathBuf| move |source| ReportError::Io { path, source };
    let tables = folder.join(TABLES);
    std::fs::create_dir_all(&tables).map_err(io(tables))?;
    for (path, text) in &files {
        let path = folder.join(path);
        replace(&path, text).map_err(io(path))?;
    }
    // Last, so that its stamp never speaks of files that are not there.
    let path = folder.join(PROVENANCE);
    replace(&path, &provenance::render(view, &stamp)?).map_err(io(path))?;
    Ok(page)
}

const PAGE: &str = "report.html";
const RESULTS: &str = "results.json";
const PROVENANCE: &str = "provenance.json";
const TABLES: &str = "tables";

/// Every file but the provenance, by path relative to the report's folder.
fn render(view: &View) -> Result<BTreeMap<String, String>, ReportError> {
    let mut files = BTreeMap::new();
    files.insert(RESULTS.to_string(), results::render(view)?);
    for table in tables::tables(view) {
        let path = |ending: &str| format!("{TABLES}/{}.{ending}", table.name);
        files.insert(path("csv"), table.to_csv());
        files.insert(path("md"), table.to_markdown());
        files.insert(path("json"), table.to_json());
    }
    let page = page::render(view, files.keys().map(String::as_str));
    files.insert(PAGE.to_string(), page);
    Ok(files)
}

fn is_current(folder: &Path, fingerprint: &Digest) -> bool {
    let Ok(text) = std::fs::read(folder.join(PROVENANCE)) else {
        return false;
    };
    let Ok(stamp) = serde_json::from_slice::<Stamp>(&text) else {
        return false;
    };
    let as_left = |(path, digest): (&String, &Digest)| {
        std::fs::read(folder.join(path)).is_ok_and(|bytes| Digest::of(&bytes) == *digest)
    };
    stamp.view == *fingerprint && stamp.files.iter().all(as_left)
}

/// Writes `text` to `path` in one step, unless it is there already.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    if std::fs::read(path).is_ok_and(|bytes| bytes == text.as_bytes()) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    fsx::replace(path, folder, 0o644, text.as_bytes())
}
