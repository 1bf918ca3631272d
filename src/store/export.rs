//! Exports artifacts as ordinary files and folders, for people and for other tools.
//!
//! | artifact | becomes |
//! | --- | --- |
//! | files | the same tree with executable files and empty folders; a single file under the empty path becomes the target itself |
//! | dataset | class folders of images: packed pixels as PNG, encoded files as they are |
//! | tensors | `tensors.safetensors` and `config.json` |
//! | metrics, table | `metrics.json` and `metrics.csv`, `table.json` and `table.csv` |

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::Value;

use super::artifact::{
    Artifact, Blob, BlobError, Blobs, Dataset, Files, ImageFile, Images, Metrics, Part, Table,
    Tensors, TreeFile,
};
use super::tensorfile;
use crate::diag::char_boundary;
use crate::digest::Digest;
use crate::fsx;
use crate::fsx::calls::{self, File};

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("{} is already there", .0.display())]
    Exists(PathBuf),
    /// An artifact from another store must not write outside the target.
    #[error("`{0}` is not a relative path inside a folder")]
    Path(String),
    #[error("{} has changed since the workflow was planned", .0.display())]
    Changed(PathBuf, Digest),
    /// Labels, classes and pixels are inconsistent.
    #[error("{0}")]
    Dataset(String),
    #[error("{}: {source}", path.display())]
    Image {
        path: PathBuf,
        source: png::EncodingError,
    },
    #[error(transparent)]
    Blob(#[from] BlobError),
}

impl ExportError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |error| Self::Blob(BlobError::io(path)(error))
    }
}

/// Writes `artifact` to `target`: a new file, or a new or empty folder.
///
/// `roots` are folders that may hold encoded images and the files of a source; each file taken from
/// there must match its digest.
///
/// # Errors
/// The target is not empty, or content is neither under `roots` nor in `blobs`.
pub fn export(
    blobs: &dyn Blobs,
    artifact: &Artifact,
    roots: &[PathBuf],
    target: &Path,
) -> Result<(), ExportError> {
    let occupied = match calls::read_dir(target) {
        Ok(mut entries) => entries.next().is_some(),
        // A dangling link counts as existing.
        Err(error) => error.kind() != io::ErrorKind::NotFound || fsx::is_link(target),
    };
    if occupied {
        return Err(ExportError::Exists(target.to_path_buf()));
    }
    match artifact {
        Artifact::Files(files) => export_files(blobs, files, roots, target),
        Artifact::Dataset(dataset) => export_dataset(blobs, dataset, roots, target),
        Artifact::Tensors(tensors) => export_tensors(blobs, tensors, target),
        Artifact::Metrics(metrics) => {
            write_json(&target.join("metrics.json"), &json(metrics))?;
            write_csv(&target.join("metrics.csv"), &metrics_table(metrics))
        }
        Artifact::Table(table) => {
            write_json(&target.join("table.json"), &json(table))?;
            write_csv(&target.join("table.csv"), table)
        }
    }
}

/// Whether [`export`] writes one file rather than a folder.
pub fn is_one_file(artifact: &Artifact) -> bool {
    match artifact {
        Artifact::Files(Files {
            files,
            empty_folders,
        }) => files.len() == 1 && files.contains_key("") && empty_folders.is_empty(),
        _ => false,
    }
}

fn export_files(
    blobs: &dyn Blobs,
    files: &Files,
    roots: &[PathBuf],
    target: &Path,
) -> Result<(), ExportError> {
    for path in &files.empty_folders {
        let folder = match path.is_empty() {
            true => target.to_path_buf(),
            false => inside(target, path)?,
        };
        calls::create_dir_all(&folder).map_err(ExportError::io(&folder))?;
    }
    let single = files.files.len() == 1;
    files.files.par_iter().try_for_each(|(path, file)| {
        let place = match path.is_empty() && single {
            true => target.to_path_buf(),
            false => inside(target, path)?,
        };
        copy(blobs, path, file, roots, &place)
    })
}

fn export_tensors(blobs: &dyn Blobs, tensors: &Tensors, target: &Path) -> Result<(), ExportError> {
    fsx::make_folders(target).map_err(ExportError::io(target))?;
    write_json(&target.join("config.json"), &tensors.config)?;
    tensorfile::export(blobs, tensors, &target.join("tensors.safetensors"))?;
    Ok(())
}

/// A dataset of several parts becomes a folder of class folders for each.
fn export_dataset(
    blobs: &dyn Blobs,
    dataset: &Dataset,
    roots: &[PathBuf],
    target: &Path,
) -> Result<(), ExportError> {
    let classes: Vec<String> = dataset
        .classes
        .iter()
        .enumerate()
        .map(|(index, class)| match is_name(class) {
            true => class.clone(),
            false => format!("class-{index}"),
        })
        .collect();
    if let [part] = dataset.parts.as_slice() {
        return export_part(blobs, &classes, part, roots, target);
    }
    let mut taken = BTreeSet::new();
    for (index, part) in dataset.parts.iter().enumerate() {
        let mut name = member_name(&part.axes).unwrap_or_else(|| index.to_string());
        if !taken.insert(name.clone()) {
            name = format!("{name}-{index}");
        }
        export_part(blobs, &classes, part, roots, &inside(target, &name)?)?;
    }
    Ok(())
}

/// `method=ft,seed=0`: the folder name of a member of a gathered input or of a part of a dataset.
/// `None` without axes.
pub fn member_name(axes: &std::collections::BTreeMap<String, String>) -> Option<String> {
    let pairs: Vec<String> = axes
        .iter()
        .map(|(axis, id)| format!("{axis}={id}"))
        .collect();
    (!pairs.is_empty()).then(|| folder_name(&pairs.join(",")))
}

/// `text` as the name of a folder. File systems allow 255 bytes; a longer text keeps its start, and
/// a digest replaces the rest.
pub fn folder_name(text: &str) -> String {
    const MOST: usize = 255;
    if text.len() <= MOST {
        return text.to_string();
    }
    let digest = &Digest::of(text.as_bytes()).to_hex()[..16];
    let start = char_boundary(text, MOST - digest.len() - 1);
    format!("{}~{digest}", &text[..start])
}

fn export_part(
    blobs: &dyn Blobs,
    classes: &[String],
    part: &Part,
    roots: &[PathBuf],
    target: &Path,
) -> Result<(), ExportError> {
    match &part.images {
        Images::Encoded { files, .. } => {
            let places = encoded_places(classes, files)?;
            files.par_iter().zip(places).try_for_each(|(file, place)| {
                let blob = TreeFile::from(file.blob.clone());
                copy(blobs, &file.path, &blob, roots, &inside(target, &place)?)
            })
        }
        Images::Packed {
            pixels,
            height,
            width,
            labels,
        } => {
            let size = height * width * 3;
            let bytes = blobs.read(&pixels.digest)?;
            if size == 0 || bytes.len() != size * labels.len() {
                let why = format!("{} bytes are not {} images", bytes.len(), labels.len());
                return Err(ExportError::Dataset(why));
            }
            let images = bytes.par_chunks_exact(size).zip(labels).enumerate();
            images.try_for_each(|(index, (image, label))| {
                let class = class_of(classes, *label)?;
                let path = inside(target, &format!("{class}/{index:06}.png"))?;
                write_png(&path, image, *height, *width)
            })
        }
    }
}

fn class_of(classes: &[String], label: u32) -> Result<&str, ExportError> {
    let class = classes.get(label as usize).map(String::as_str);
    class.ok_or_else(|| ExportError::Dataset(format!("label {label} has no class")))
}

/// The target path of each encoded image: its original path if that is under its class folder, else
/// directly in the class folder.
fn encoded_places(classes: &[String], files: &[ImageFile]) -> Result<Vec<String>, ExportError> {
    let mut taken = BTreeSet::new();
    let mut places = Vec::with_capacity(files.len());
    for (index, file) in files.iter().enumerate() {
        let class = class_of(classes, file.label)?;
        let in_class = file.path.strip_prefix(class);
        let mut place = match in_class.is_some_and(|rest| rest.starts_with('/')) {
            true => file.path.clone(),
            false => format!("{class}/{}", file.path.replace('/', "_")),
        };
        if !taken.insert(place.clone()) {
            place = format!("{class}/{index:06}-{}", file.path.replace('/', "_"));
        }
        places.push(place);
    }
    Ok(places)
}

/// Content that may be outside the store: read from the first of `roots` that still has it at
/// `path`, else from the blobs.
///
/// # Errors
/// [`ExportError::Changed`] if none of them has it, but there is other content at its path.
pub fn content(
    blobs: &dyn Blobs,
    path: &str,
    blob: &Blob,
    roots: &[PathBuf],
) -> Result<Vec<u8>, ExportError> {
    let mut changed = None;
    for outside in roots.iter().map(|root| root.join(path)) {
        match fsx::read_regular(&outside) {
            Ok(bytes) if Digest::of(&bytes) == blob.digest => return Ok(bytes),
            Ok(_) => changed = Some(outside),
            Err(_) => {}
        }
    }
    match (blobs.read(&blob.digest), changed) {
        (Err(BlobError::Missing(blob)), Some(changed)) => Err(ExportError::Changed(changed, blob)),
        (found, _) => Ok(found?),
    }
}

fn copy(
    blobs: &dyn Blobs,
    path: &str,
    file: &TreeFile,
    roots: &[PathBuf],
    target: &Path,
) -> Result<(), ExportError> {
    make_parent(target)?;
    let mode = if file.executable { 0o777 } else { 0o666 };
    if !roots.is_empty() {
        let bytes = content(blobs, path, &file.blob(), roots)?;
        return create_as(mode, target, |file| file.write_all(&bytes));
    }
    let sealed = blobs.path(&file.digest)?;
    let mut from = File::open(&sealed).map_err(ExportError::io(&sealed))?;
    // Between two files the kernel copies, and shares blocks if the file system supports it.
    create_as(mode, target, |file| {
        calls::copy_bytes(&mut from, file).map(|_| ())
    })
}

fn create(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), ExportError> {
    create_as(0o666, path, write)
}

/// Creates a new file with `mode`, reduced by the umask.
fn create_as(
    mode: u32,
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), ExportError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    File::open_with(path, &options)
        .and_then(|mut file| write(&mut file))
        .map_err(ExportError::io(path))
}

fn make_parent(path: &Path) -> Result<(), ExportError> {
    match path.parent() {
        Some(parent) => fsx::make_folders(parent).map_err(ExportError::io(parent)),
        None => Ok(()),
    }
}

/// `folder` joined with `path`, which must stay inside the folder.
fn inside(folder: &Path, path: &str) -> Result<PathBuf, ExportError> {
    match path.split('/').all(is_name) {
        true => Ok(folder.join(path)),
        false => Err(ExportError::Path(path.to_string())),
    }
}

fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

fn write_png(path: &Path, pixels: &[u8], height: usize, width: usize) -> Result<(), ExportError> {
    make_parent(path)?;
    let bytes =
        encoded(pixels, height as u32, width as u32).map_err(|source| ExportError::Image {
            path: path.to_path_buf(),
            source,
        })?;
    create(path, |file| file.write_all(&bytes))
}

fn encoded(pixels: &[u8], height: u32, width: u32) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    encoder.set_filter(png::Filter::Adaptive);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}

fn json(value: &impl serde::Serialize) -> Value {
    // Encoding maps with string keys and finite numbers can't fail.
    serde_json::to_value(value).unwrap_or_default()
}

fn write_json(path: &Path, value: &Value) -> Result<(), ExportError> {
    make_parent(path)?;
    create(path, |file| {
        serde_json::to_writer_pretty(&mut *file, value)?;
        file.write_all(b"\n")
    })
}

fn metrics_table(metrics: &Metrics) -> Table {
    let columns = ["metric", "value", "unit", "n", "chance", "low", "high"];
    let rows = metrics.values.iter().map(|(name, metric)| {
        let [low, high] = metric
            .interval
            .map_or([None; 2], |interval| interval.map(Some));
        vec![
            Value::from(name.as_str()),
            Value::from(metric.value),
            Value::from(metric.unit.as_str()),
            Value::from(metric.n),
            Value::from(metric.chance),
            Value::from(low),
            Value::from(high),
        ]
    });
    Table {
        columns: columns.map(str::to_string).to_vec(),
        rows: rows.collect(),
    }
}

/// RFC 4180, with plain line feeds.
fn write_csv(path: &Path, table: &Table) -> Result<(), ExportError> {
    let header: Vec<Value> = table
        .columns
        .iter()
        .map(|name| name.as_str().into())
        .collect();
    let lines = std::iter::once(&header).chain(&table.rows);
    let text: String = lines
        .map(|row| {
            let cells: Vec<String> = row.iter().map(csv_cell).collect();
            cells.join(",") + "\n"
        })
        .collect();
    make_parent(path)?;
    create(path, |file| file.write_all(text.as_bytes()))
}

fn csv_cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}
