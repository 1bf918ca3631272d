//! Derived work: what many nodes need of the same content. Decoded, resized and cropped pixels of
//! a dataset; a frozen model's features and logits. It is made in pieces by whichever node needs
//! it first, several nodes sharing the pieces out among them, and kept on the store's shelf as
//! far as the budget goes. It stands in no key: what it holds follows from what is in the keys.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::task::{Context, TaskError};
use crate::digest::Digest;
use crate::ml::data::ImageSet;
use crate::ml::data::decode::DECODER;
use crate::ml::data::pixels::{Rows, Shard};
use crate::ml::data::resize::Transform;
use crate::ml::models::{Config, Model};
use crate::ml::ops::KERNELS;
use crate::ml::train::infer::{ROWS_APART, features_of, logits_of};
use crate::store::StoreError;
use crate::store::artifact::{Artifact, Dataset, Images, Part, Tensors};
use crate::store::shelf::{About, Shelf};

/// Bytes of a piece of pixels, at most, unless one image is larger.
const PIXEL_PIECE: usize = 64 << 20;
/// Rows of a piece of features or logits.
const ROW_PIECE: usize = 32 * ROWS_APART;
/// Between two looks at a piece that another process makes.
const POLL: Duration = Duration::from_millis(20);

/// What a node reads of its inputs: the first member of each, by name.
pub type Given = BTreeMap<String, Arc<Artifact>>;

/// One derived work: rows of equal length, one an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// `pixels`, `features` or `logits`.
    pub kind: &'static str,
    /// Of everything that decides the bytes.
    pub key: Digest,
    pub what: String,
    pub rows: usize,
    /// Bytes of a row.
    pub width: usize,
    /// Rows of a piece.
    each: usize,
}

impl Work {
    pub fn bytes(&self) -> u64 {
        self.rows as u64 * self.width as u64
    }

    pub fn pieces(&self) -> usize {
        self.rows.div_ceil(self.each)
    }

    pub(super) fn range(&self, piece: usize) -> Range<usize> {
        let begin = piece * self.each;
        begin..self.rows.min(begin + self.each)
    }

    /// The piece that holds row `index`, and its place in there.
    pub(super) fn place(&self, index: usize) -> (usize, usize) {
        (index / self.each, index % self.each)
    }

    /// Whether every piece lies on the shelf.
    pub fn is_there(&self, shelf: &Shelf) -> bool {
        (0..self.pieces()).all(|piece| shelf.has(&self.key, piece))
    }
}

/// Derived work that a node did, for the run's account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Made {
    pub kind: String,
    pub key: Digest,
    pub what: String,
    /// Bytes that were kept.
    pub bytes: u64,
    pub wall_s: f64,
}

/// The shelf as a task sees it, and what the task put there.
#[derive(Debug, Default)]
pub struct Derived<'a> {
    shelf: Option<Shelf<'a>>,
    /// The class of the device: floats of one class are not those of another.
    device_class: String,
    made: Mutex<Vec<Made>>,
}

impl<'a> Derived<'a> {
    pub fn new(shelf: Shelf<'a>, device_class: &str) -> Self {
        Self {
            shelf: Some(shelf),
            device_class: device_class.to_string(),
            made: Mutex::default(),
        }
    }

    pub fn into_made(self) -> Vec<Made> {
        let made = self.made.into_inner();
        made.unwrap_or_else(|held| held.into_inner())
    }

    /// The pieces of `work`, `None` for those that there is no room for. Missing ones are made by
    /// `make`, which gives the bytes of some rows; those that another process makes are waited
    /// for.
    pub(super) fn pieces(
        &self,
        context: &Context,
        work: &Work,
        make: &mut dyn FnMut(Range<usize>) -> Result<Vec<u8>, TaskError>,
    ) -> Result<Vec<Option<Shard>>, TaskError> {
        let Some(shelf) = &self.shelf else {
            return Ok(vec![None; work.pieces()]);
        };
        let started = Instant::now();
        let (mut pieces, mut kept) = (vec![None; work.pieces()], 0);
        let mut left: Vec<usize> = (0..pieces.len()).collect();
        while !left.is_empty() {
            let mut waiting = Vec::new();
            for piece in std::mem::take(&mut left) {
                context.check_cancelled()?;
                match one_piece(shelf, work, piece, make).map_err(own)? {
                    Found::There(shard) => pieces[piece] = Some(shard),
                    Found::Made(shard) => {
                        kept += (work.range(piece).len() * work.width) as u64;
                        pieces[piece] = Some(shard);
                    }
                    Found::NoRoom => {}
                    Found::Elsewhere => waiting.push(piece),
                }
            }
            if !waiting.is_empty() {
                std::thread::sleep(POLL);
            }
            left = waiting;
        }
        shelf.used(&work.key);
        if kept > 0 {
            let mut made = self.made.lock().unwrap_or_else(|held| held.into_inner());
            made.push(Made {
                kind: work.kind.to_string(),
                key: work.key,
                what: work.what.clone(),
                bytes: kept,
                wall_s: started.elapsed().as_secs_f64(),
            });
        }
        Ok(pieces)
    }
}

enum Found {
    There(Shard),
    Made(Shard),
    NoRoom,
    /// Another process makes it.
    Elsewhere,
}

/// What stopped a piece: the store, or the task itself.
enum Trouble {
    Store(StoreError),
    Task(TaskError),
}

fn own(trouble: Trouble) -> TaskError {
    match trouble {
        Trouble::Store(error) => TaskError::Failed(format!("derived work: {error}")),
        Trouble::Task(error) => error,
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn one_piece(
    shelf: &Shelf,
    work: &Work,
    piece: usize,
    make: &mut dyn FnMut(Range<usize>) -> Result<Vec<u8>, TaskError>,
) -> Result<Found, Trouble> {
    let range = work.range(piece);
    let bytes = range.len() * work.width;
    let there = || shelf.piece(&work.key, piece, bytes);
    if let Some(found) = there()? {
        return Ok(Found::There(Arc::new(found)));
    }
    if !shelf.room(&work.key, bytes)? {
        return Ok(Found::NoRoom);
    }
    let Some(_claim) = shelf.claim(&work.key, piece)? else {
        return Ok(Found::Elsewhere);
    };
    // Whoever held the claim may have made it.
    if let Some(found) = there()? {
        return Ok(Found::There(Arc::new(found)));
    }
    let made = make(range).map_err(Trouble::Task)?;
    let about = About {
        kind: work.kind.to_string(),
        what: work.what.clone(),
    };
    shelf.keep(&work.key, &about, piece, &made)?;
    Ok(match there()? {
        Some(found) => Found::Made(Arc::new(found)),
        None => Found::Made(Arc::new(made)),
    })
}

/// The pixels of `part` under `target`; none where they are stored that way already.
pub fn pixels(part: &Part, target: Option<&Transform>) -> Option<Work> {
    let target = target?;
    let mut hasher = blake3::Hasher::new_derive_key("ribflow 2026 derived pixels v1");
    // Texts and small numbers always encode.
    hasher.update(&serde_json::to_vec(&(DECODER, target)).unwrap_or_default());
    let rows = match &part.images {
        Images::Packed {
            pixels,
            height,
            width,
            labels,
        } => {
            if (*height, *width) == (target.crop, target.crop) {
                return None;
            }
            hasher.update(&serde_json::to_vec(&(pixels, height, width)).unwrap_or_default());
            labels.len()
        }
        Images::Encoded { files, border } => {
            hasher.update(&border.to_le_bytes());
            for file in files {
                hasher.update(file.blob.digest.as_bytes());
            }
            files.len()
        }
    };
    let width = 3 * target.crop * target.crop;
    let size = format!("{0}×{0}", target.crop);
    Some(Work {
        kind: "pixels",
        key: Digest::finish(&hasher),
        what: format!("{rows} images as {size} u8, cut from {}", target.resize),
        rows,
        width,
        each: (PIXEL_PIECE / width.max(1)).max(1),
    })
}

/// The pooled features of a dataset before the classifier of a model.
pub fn features(model: &Tensors, config: &Config, data: &Dataset, device_class: &str) -> Work {
    let head = format!("{}.", config.head());
    let tensors = model.tensors.iter();
    let tensors = tensors.filter(|(name, _)| !name.starts_with(&head));
    let config = Config {
        arch: String::new(),
        classes: Vec::new(),
        embedding: None,
        headless: false,
        ..config.clone()
    };
    let key = of_model("features", &config, tensors, data, device_class);
    rows_of("features", key, config.features(), data)
}

/// A model's logits on a dataset.
pub fn logits(model: &Tensors, config: &Config, data: &Dataset, device_class: &str) -> Work {
    let outputs = config.outputs();
    let config = Config {
        arch: String::new(),
        classes: Vec::new(),
        embedding: Some(outputs),
        ..config.clone()
    };
    let key = of_model("logits", &config, model.tensors.iter(), data, device_class);
    rows_of("logits", key, outputs, data)
}

fn rows_of(kind: &'static str, key: Digest, width: usize, data: &Dataset) -> Work {
    let rows = super::images::count(data);
    Work {
        kind,
        key,
        what: format!("{rows} rows of {width} f32"),
        rows,
        width: 4 * width,
        each: ROW_PIECE,
    }
}

fn of_model<'a>(
    kind: &str,
    config: &Config,
    tensors: impl Iterator<Item = (&'a String, &'a crate::store::artifact::TensorEntry)>,
    data: &Dataset,
    device_class: &str,
) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key("ribflow 2026 derived rows v1");
    let head = (kind, device_class, KERNELS, DECODER, config);
    // Texts and finite numbers always encode.
    hasher.update(&serde_json::to_vec(&head).unwrap_or_default());
    for (name, entry) in tensors {
        hasher.update(&serde_json::to_vec(&(name, entry.digest)).unwrap_or_default());
    }
    for part in &data.parts {
        match &part.images {
            Images::Packed {
                pixels,
                height,
                width,
                ..
            } => {
                hasher.update(&height.to_le_bytes());
                hasher.update(&width.to_le_bytes());
                hasher.update(pixels.digest.as_bytes());
            }
            Images::Encoded { files, border } => {
                hasher.update(&border.to_le_bytes());
                for file in files {
                    hasher.update(file.blob.digest.as_bytes());
                }
            }
        }
    }
    Digest::finish(&hasher)
}

/// A frozen model beside the artifact it was read from, and the images it is shown.
pub struct Frozen<'a> {
    pub model: &'a Model,
    pub tensors: &'a Tensors,
    pub data: &'a Dataset,
    pub set: &'a ImageSet<'a>,
}

impl Frozen<'_> {
    /// The pooled features of all images, shared with whoever needs the same.
    pub fn features(&self, context: &Context) -> Result<Rows, TaskError> {
        let class = &context.derived.device_class;
        let work = features(self.tensors, self.model.config(), self.data, class);
        self.rows(context, &work, |range| {
            features_of(self.model, self.set, range, context.threads, context)
        })
    }

    /// The logits of all images, likewise.
    pub fn logits(&self, context: &Context) -> Result<Rows, TaskError> {
        self.rows(context, &self.logits_work(context), |range| {
            logits_of(self.model, self.set, range, context.threads, context)
        })
    }

    /// The logits if all of them have been made already.
    pub fn logits_if_there(&self, context: &Context) -> Result<Option<Rows>, TaskError> {
        let work = self.logits_work(context);
        match &context.derived.shelf {
            Some(shelf) if work.is_there(shelf) => self.logits(context).map(Some),
            _ => Ok(None),
        }
    }

    fn logits_work(&self, context: &Context) -> Work {
        let class = &context.derived.device_class;
        logits(self.tensors, self.model.config(), self.data, class)
    }

    fn rows(
        &self,
        context: &Context,
        work: &Work,
        compute: impl Fn(Range<usize>) -> crate::ml::Result<Vec<f32>>,
    ) -> Result<Rows, TaskError> {
        let mut make = |range: Range<usize>| -> Result<Vec<u8>, TaskError> {
            let values = compute(range)?;
            Ok(values.iter().flat_map(|it| it.to_le_bytes()).collect())
        };
        let pieces = context.derived.pieces(context, work, &mut make)?;
        let mut shards: Vec<Shard> = Vec::with_capacity(pieces.len());
        for (piece, shard) in pieces.into_iter().enumerate() {
            shards.push(match shard {
                Some(shard) => shard,
                None => Arc::new(make(work.range(piece))?),
            });
        }
        Ok(Rows::new(work.width, work.each, shards))
    }
}

/// What kinds that show a dataset to a model derive: its pixels under the model's transform, and
/// what `more` adds.
pub fn of_model_and_data(
    given: &Given,
    model: &str,
    data: &str,
    more: impl Fn(&Tensors, &Config, &Dataset) -> Vec<Work>,
) -> Vec<Work> {
    let (Some(Artifact::Tensors(tensors)), Some(Artifact::Dataset(dataset))) = (
        given.get(model).map(|artifact| &**artifact),
        given.get(data).map(|artifact| &**artifact),
    ) else {
        return Vec::new();
    };
    let Ok(config) = serde_json::from_value::<Config>(tensors.config.clone()) else {
        return Vec::new();
    };
    let transform = config.input.transform();
    let parts = dataset.parts.iter();
    let mut works: Vec<Work> = parts
        .filter_map(|part| pixels(part, Some(&transform)))
        .collect();
    works.extend(more(tensors, &config, dataset));
    works
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;
    use crate::stages::task::Progress;
    use crate::store::Store;
    use crate::store::shelf::Budget;

    struct Silent;

    impl Progress for Silent {
        fn advance(&self, _done: u64, _total: u64, _unit: &'static str) {}

        fn log(&self, _line: &str) {}
    }

    fn work(rows: usize) -> Work {
        Work {
            kind: "pixels",
            key: Digest::of(&rows.to_le_bytes()),
            what: "numbers".to_string(),
            rows,
            width: 2,
            each: 4,
        }
    }

    fn bytes(range: Range<usize>) -> Vec<u8> {
        range.flat_map(|row| [row as u8, 7]).collect()
    }

    /// The pieces within a budget, and how many were made.
    fn pieces(store: &Store, budget: Budget, work: &Work) -> (Vec<Option<Vec<u8>>>, usize) {
        let made = AtomicUsize::new(0);
        let context = Context {
            inputs: BTreeMap::new(),
            blobs: store,
            scratch: Path::new("/nonexistent"),
            downloads: Path::new("/nonexistent"),
            threads: 1,
            device: candle_core::Device::Cpu,
            derived: Derived::new(store.shelf(budget), "cpu"),
            progress: &Silent,
            cancelled: &AtomicBool::new(false),
        };
        let mut make = |range: Range<usize>| {
            made.fetch_add(1, Ordering::Relaxed);
            // Long enough for another thread to come by.
            std::thread::sleep(Duration::from_millis(5));
            Ok(bytes(range))
        };
        let found = context.derived.pieces(&context, work, &mut make).unwrap();
        let content = |piece: Option<Shard>| piece.map(|it| (*it).as_ref().to_vec());
        let found = found.into_iter().map(content).collect();
        (found, made.into_inner())
    }

    fn all(work: &Work) -> Vec<Option<Vec<u8>>> {
        let range = |piece| Some(bytes(work.range(piece)));
        (0..work.pieces()).map(range).collect()
    }

    const PLENTY: Budget = Budget {
        bytes: 1 << 20,
        since: 0,
    };

    #[test]
    fn pieces_are_made_once_whoever_needs_them() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let work = work(41);
        let made = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| pieces(&store, PLENTY, &work)))
                .collect();
            let ended = threads.into_iter().map(|thread| thread.join().unwrap());
            let made = ended.map(|(found, made)| {
                assert_eq!(found, all(&work));
                made
            });
            made.collect::<Vec<usize>>()
        });
        assert_eq!(made.iter().sum::<usize>(), work.pieces());
        assert!(
            made.iter().filter(|made| **made > 0).count() > 1,
            "{made:?}"
        );
        assert!(work.is_there(&store.shelf(PLENTY)));
    }

    #[test]
    fn a_damaged_piece_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let work = work(10);
        pieces(&Store::open(folder.path()).unwrap(), PLENTY, &work);
        let hex = work.key.to_hex();
        let path = folder
            .path()
            .join("derived")
            .join(&hex[..2])
            .join(&hex)
            .join("000001");
        let mut content = fs::read(&path).unwrap();
        content[3] ^= 1;
        fs::remove_file(&path).unwrap();
        fs::write(&path, content).unwrap();
        let again = pieces(&Store::open(folder.path()).unwrap(), PLENTY, &work);
        assert_eq!(again, (all(&work), 1));
    }

    #[test]
    fn a_budget_is_kept_and_older_work_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        // Two pieces of eight bytes with their seals, and what the folder says of itself.
        let tight = Budget {
            bytes: 130,
            since: 0,
        };
        let first = work(12);
        let (found, _) = pieces(&store, tight, &first);
        let kept = found.iter().flatten().count();
        assert!((1..3).contains(&kept), "{kept} of 3 were kept");
        assert_eq!(found[..kept], all(&first)[..kept]);
        // In the same run nothing makes room; in a later one what nobody has used since does.
        let second = work(13);
        let (found, made) = pieces(&store, tight, &second);
        assert!(found.iter().flatten().count() < 4 && made < 4);
        let later = Budget {
            since: u64::MAX / 4,
            ..tight
        };
        pieces(&store, later, &second);
        assert!(!first.is_there(&store.shelf(PLENTY)));
        assert!(store.shelf(PLENTY).has(&second.key, 0));
    }
}
