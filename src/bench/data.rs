//! Measures images on their way to a model: decoded from photographs, or read back from a store's
//! shards.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::measure::Throughput;
use super::store::temporary;
use super::{BenchError, Family, Prepare, Result, Setting, Work};
use crate::digest::Digest;
use crate::ml::data::decode::decode;
use crate::ml::data::photograph::{self, PhotographError};
use crate::ml::data::picture::Picture;
use crate::ml::data::pixels::{Pixels, Rows, Shard};
use crate::ml::data::resize::{Filter, Transform};
use crate::ml::data::{ImagePart, ImageSet, encode};
use crate::ml::models::catalogue;
use crate::ml::rng::Stream;
use crate::ml::train::batch::Normaliser;
use crate::store::derived_cache::{About, Budget};

pub(super) const FAMILY: Family = Family {
    form: "data/jpeg|jpeg224|tensor224|shards",
    about: "`jpeg`: decoding alone; `jpeg224`: JPEG to 224 x 224 pixels as torchvision evaluates (256, bilinear, centre), \
            of --images or of 32 made ones of 500 x 375; `tensor224`: the same, normalised to f32; `shards`: pieces of a store to normalised \
            batches of 64",
    names: || {
        ["data/jpeg", "data/jpeg224", "data/tensor224", "data/shards"]
            .map(str::to_string)
            .to_vec()
    },
    usual: &["data/jpeg224", "data/shards"],
    find,
};

const TRANSFORM: Transform = Transform {
    resize: 256,
    crop: SIDE,
    filter: Filter::Bilinear,
};
const SIDE: usize = 224;
/// The number of generated photographs.
const MADE: usize = 32;

fn find(parts: &[&str]) -> Option<Prepare> {
    let prepare = match parts {
        ["jpeg"] => jpeg,
        ["jpeg224"] => jpeg224,
        ["tensor224"] => tensor224,
        ["shards"] => shards,
        _ => return None,
    };
    Some(Box::new(prepare))
}

fn jpeg(setting: &Setting) -> Result<Work> {
    on_all(photographs(setting)?, |file| Ok(decoded(file)?.pixels))
}

fn jpeg224(setting: &Setting) -> Result<Work> {
    let files = photographs(setting)?;
    let digest = match setting.images {
        Some(_) => Some(digest(&files)?),
        None => None,
    };
    let work = on_all(files, pixels)?;
    Ok(Work { digest, ..work })
}

fn tensor224(setting: &Setting) -> Result<Work> {
    let normaliser = normaliser()?;
    on_all(photographs(setting)?, move |file| {
        let pixels = pixels(file)?;
        Ok(normaliser.images(std::iter::once(&pixels[..]), SIDE, SIDE)?)
    })
}

/// A result of `make` lives only until the next image, as a model's input does.
fn on_all<T>(
    files: Vec<Photograph>,
    make: impl Fn(&Photograph) -> Result<T> + Send + Sync + 'static,
) -> Result<Work> {
    let amount = Throughput::of(files.len(), "images", "images/s");
    Ok(Work::new(amount, move || {
        files.par_iter().try_for_each(|file| {
            std::hint::black_box(make(file)?);
            Ok(())
        })
    }))
}

fn photographs(setting: &Setting) -> Result<Vec<Photograph>> {
    match &setting.images {
        Some(folder) => read(folder),
        None => made(),
    }
}

/// The digest of all pixels, one photograph after the other.
fn digest(files: &[Photograph]) -> Result<String> {
    let mut hasher = Sha256::new();
    for file in files {
        hasher.update(pixels(file)?);
    }
    let digest = hasher.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

struct Photograph {
    path: PathBuf,
    bytes: Vec<u8>,
}

fn decoded(file: &Photograph) -> Result<Picture> {
    decode(&file.bytes).map_err(|error| BenchError::Image {
        path: file.path.clone(),
        error,
    })
}

fn pixels(file: &Photograph) -> Result<Vec<u8>> {
    photograph::pixels(&file.bytes, &TRANSFORM).map_err(|error| match error {
        PhotographError::Decode(error) => BenchError::Image {
            path: file.path.clone(),
            error,
        },
        PhotographError::Transform(error) => error.into(),
    })
}

fn normaliser() -> Result<Normaliser> {
    let input = catalogue::find("resnet50").map(|found| found.input);
    let input = input.ok_or_else(|| BenchError::Run("there is no resnet50".to_string()))?;
    Ok(Normaliser::new(&input, &Device::Cpu))
}

/// The JPEG files below `folder`, by path.
fn read(folder: &Path) -> Result<Vec<Photograph>> {
    let mut paths = Vec::new();
    gather(folder, &mut paths)?;
    paths.sort();
    if paths.is_empty() {
        return Err(BenchError::NoImages(folder.to_path_buf()));
    }
    let read = |path: PathBuf| match fs::read(&path) {
        Ok(bytes) => Ok(Photograph { path, bytes }),
        Err(error) => Err(BenchError::io(path)(error)),
    };
    paths.into_iter().map(read).collect()
}

fn gather(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(BenchError::io(folder))? {
        let path = entry.map_err(BenchError::io(folder))?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        match ending.map(str::to_ascii_lowercase).as_deref() {
            _ if path.is_dir() => gather(&path, paths)?,
            Some("jpg" | "jpeg") => paths.push(path),
            _ => {}
        }
    }
    Ok(())
}

/// Soft waves with a little noise: about as many bytes as a photograph of this size.
fn made() -> Result<Vec<Photograph>> {
    const WIDTH: usize = 500;
    const HEIGHT: usize = 375;
    let mut stream = Stream::new(0, "bench photographs");
    let mut files = Vec::new();
    for number in 0..MADE {
        let speeds: [f64; 3] = std::array::from_fn(|_| stream.range(0.01, 0.1));
        let mut pixels = Vec::with_capacity(3 * WIDTH * HEIGHT);
        for place in 0..WIDTH * HEIGHT {
            let (x, y) = ((place % WIDTH) as f64, (place / WIDTH) as f64);
            for (channel, speed) in speeds.iter().enumerate() {
                let wave = (speed * x).sin() + (speed * y + channel as f64).cos();
                pixels.push((128.0 + 50.0 * wave + stream.range(-12.0, 12.0)) as u8);
            }
        }
        let picture = Picture {
            pixels,
            width: WIDTH,
            height: HEIGHT,
        };
        files.push(Photograph {
            path: PathBuf::from(format!("made {number}")),
            bytes: encode::jpeg(&picture, 90)?,
        });
    }
    Ok(files)
}

fn shards(_: &Setting) -> Result<Work> {
    const PIECES: usize = 4;
    const EACH: usize = 128;
    const BATCH: usize = 64;
    const BYTES: usize = EACH * SIDE * SIDE * 3;
    let (folder, store) = temporary()?;
    let budget = Budget {
        bytes: u64::MAX,
        since: 0,
    };
    let shelf = store.derived_cache(budget);
    let key = Digest::of(b"bench shards");
    let about = About {
        kind: "pixels".to_string(),
        what: "a benchmark".to_string(),
    };
    let mut pieces: Vec<Shard> = Vec::new();
    for piece in 0..PIECES {
        let bytes: Vec<u8> = (0..BYTES).map(|byte| (byte * (piece + 7)) as u8).collect();
        shelf.keep(&key, &about, piece, &bytes)?;
        if let Some(kept) = shelf.piece(&key, piece, BYTES)? {
            pieces.push(Arc::new(kept));
        }
    }
    let count = pieces.len() * EACH;
    let rows: Arc<dyn Pixels> = Arc::new(Rows::new(SIDE * SIDE * 3, EACH, pieces));
    let set = image_set(rows, count);
    let normaliser = normaliser()?;
    // In the order in which an epoch of training reads them.
    let order = Stream::new(0, "bench order").permutation(count);
    Ok(Work::new(
        Throughput::of(count, "images", "images/s"),
        move || {
            let _ = &folder;
            for batch in order.chunks(BATCH) {
                std::hint::black_box(normaliser.batch(&set, batch)?);
            }
            Ok(())
        },
    ))
}

fn image_set(pixels: Arc<dyn Pixels>, count: usize) -> ImageSet<'static> {
    ImageSet {
        pixels,
        height: SIDE,
        width: SIDE,
        labels: vec![0; count],
        classes: vec!["all".to_string()],
        parts: vec![ImagePart {
            name: String::new(),
            range: 0..count,
        }],
    }
}
