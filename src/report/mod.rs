//! The report: views of a run's records as files for people and scripts.
//!
//! Owns the formats of `out/`. Computes no results and runs no nodes: every number here is in a
//! record, and the page names the record.

mod accepted;
mod atlas;
mod attachments;
mod classes;
mod document;
pub mod machines;
mod number;
mod page;
mod provenance;
mod relation;
mod repeats;
mod results;
pub mod ro_crate;
mod robustness;
mod selections;
mod sheets;
pub mod standing;
mod summary;
mod table;
mod tables;
pub mod verdict;
mod view;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

pub use accepted::sentences as accepted_sentences;
pub use number::utc;
pub use summary::{summary_text, verdict_text};
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
    let parts: Vec<&str> = parts.map(String::as_str).collect();
    crate::store::export::folder_name(&parts.join("-"))
}

/// Writes `results.json`, `provenance.json`, `report.html` and `tables/` into `folder`, and
/// returns the path of the page.
///
/// Does not touch files whose bytes are up to date. If nothing that the report shows has changed
/// and its files are intact, it renders nothing.
pub fn write(view: &View, folder: &Path) -> Result<PathBuf, ReportError> {
    let page = folder.join(PAGE);
    let fingerprint = provenance::fingerprint(view);
    let earlier = stamp(folder);
    if earlier
        .as_ref()
        .is_some_and(|earlier| is_current(folder, earlier, &fingerprint))
    {
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
    fsx::make_folders(&tables).map_err(io(tables))?;
    for (path, text) in &files {
        let path = folder.join(path);
        replace(&path, text).map_err(io(path))?;
    }
    for path in stale(earlier, &files) {
        let path = folder.join(path);
        remove(&path).map_err(io(path))?;
    }
    // Written last, so that its stamp never refers to missing files.
    let path = folder.join(PROVENANCE);
    replace(&path, &provenance::render(view, &stamp)?).map_err(io(path))?;
    Ok(page)
}

/// The files of the report in `folder` with the digests of their bytes; `None` if the report is not
/// that of `view`, or its files have been modified.
pub fn written(view: &View, folder: &Path) -> Option<BTreeMap<PathBuf, Digest>> {
    let stamp = stamp(folder)?;
    if !is_current(folder, &stamp, &provenance::fingerprint(view)) {
        return None;
    }
    let provenance = Digest::of(&fsx::read_regular(&folder.join(PROVENANCE)).ok()?);
    let files = stamp.files.into_iter();
    let files = files.chain([(PROVENANCE.to_string(), provenance)]);
    Some(
        files
            .map(|(path, digest)| (folder.join(path), digest))
            .collect(),
    )
}

const PAGE: &str = "report.html";
const RESULTS: &str = "results.json";
const PROVENANCE: &str = "provenance.json";
const TABLES: &str = "tables";

/// All files except the provenance, by path relative to the report's folder.
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

/// The stamp of the report in `folder`.
fn stamp(folder: &Path) -> Option<Stamp> {
    let text = fsx::read_regular_text(&folder.join(PROVENANCE)).ok()?;
    serde_json::from_str(&document::head(&text, provenance::NODES)?).ok()
}

fn is_current(folder: &Path, stamp: &Stamp, fingerprint: &Digest) -> bool {
    let as_left = |(path, digest): (&String, &Digest)| {
        fsx::read_regular(&folder.join(path)).is_ok_and(|bytes| Digest::of(&bytes) == *digest)
    };
    stamp.view == *fingerprint && stamp.files.iter().all(as_left)
}

/// Tables of an earlier report that this one does not have. Nothing else is ever removed.
fn stale(earlier: Option<Stamp>, files: &BTreeMap<String, String>) -> Vec<String> {
    let earlier = earlier.map_or(BTreeMap::new(), |stamp| stamp.files);
    let is_table = |path: &str| {
        path.strip_prefix(TABLES)
            .and_then(|rest| rest.strip_prefix('/'))
            .is_some_and(|name| !name.contains('/'))
    };
    earlier
        .into_keys()
        .filter(|path| is_table(path) && !files.contains_key(path))
        .collect()
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Atomically writes `text` to `path`, unless the file has this content already.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    if fsx::read_regular(path).is_ok_and(|bytes| bytes == text.as_bytes()) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    fsx::replace(path, folder, 0o644, text.as_bytes())
}
