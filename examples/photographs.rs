//! Photographs through decoder, transform and model, beside what PIL, timm and torchvision make of
//! them: benches/peers/photographs/photographs.py writes OUT.
//!
//!     cargo run --release --example photographs -- PHOTOGRAPHS OUT

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use ribflow::ml::Unobserved;
use ribflow::ml::data::decode::decode;
use ribflow::ml::data::{ImagePart, ImageSet, in_memory};
use ribflow::ml::models::Config;
use ribflow::ml::models::checkpoint::{fit, read};
use ribflow::ml::train::infer::logits_of;
use serde::Deserialize;
use sha2::{Digest, Sha256};

#[derive(Deserialize)]
struct Expected {
    model: String,
    images: Vec<Photograph>,
}

#[derive(Deserialize)]
struct Photograph {
    path: String,
    /// SHA-256 of the u8 pixels after resize and crop.
    pixels: String,
    logits: Vec<f32>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(PathBuf::from);
    let (Some(photographs), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err("photographs PHOTOGRAPHS OUT".into());
    };
    println!(
        "| model | photographs | pixels equal | argmax equal | largest logit difference | largest relative L2 |"
    );
    println!("|---|---|---|---|---|---|");
    let mut files: Vec<PathBuf> = fs::read_dir(&out)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_, std::io::Error>>()?;
    files.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    files.sort();
    for file in files {
        let expected: Expected = serde_json::from_slice(&fs::read(&file)?)?;
        compare(&photographs, &file.with_extension("safetensors"), &expected)?;
    }
    Ok(())
}

fn compare(photographs: &Path, weights: &Path, expected: &Expected) -> Result<(), Box<dyn Error>> {
    let classes: Vec<String> = (0..1000).map(|class| class.to_string()).collect();
    let weights = read(weights, None)?.tensors;
    let model = fit(Config::named(&expected.model, &classes)?, weights)?;
    let transform = model.config().input.transform();
    let mut pixels = Vec::new();
    let mut equal = 0;
    for image in &expected.images {
        let picture = decode(&fs::read(photographs.join(&image.path))?)?;
        let made = transform.apply(&picture)?;
        let digest = Sha256::digest(&made);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        equal += usize::from(hex == image.pixels);
        pixels.extend(made);
    }
    let (count, side) = (expected.images.len(), transform.crop);
    let set = ImageSet {
        pixels: in_memory(pixels, side, side),
        height: side,
        width: side,
        labels: vec![0; count],
        classes,
        parts: vec![ImagePart {
            name: String::new(),
            range: 0..count,
        }],
    };
    let logits = logits_of(&model, &set, 0..count, 2, &Unobserved)?;
    let (mut same, mut largest, mut relative) = (0, 0.0f64, 0.0f64);
    let mut seen = BTreeMap::new();
    for (image, row) in expected.images.iter().zip(logits.chunks(1000)) {
        let (ours, theirs) = (argmax(row), argmax(&image.logits));
        same += usize::from(ours == theirs);
        *seen.entry(theirs).or_insert(0) += 1;
        let gaps = row.iter().zip(&image.logits);
        let gaps: Vec<f64> = gaps.map(|(a, b)| f64::from(*a) - f64::from(*b)).collect();
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|it| it * it).sum::<f64>();
        let size = norm(&mut image.logits.iter().map(|it| f64::from(*it)));
        let gap = norm(&mut gaps.iter().copied());
        largest = gaps.iter().fold(largest, |most, gap| most.max(gap.abs()));
        relative = relative.max((gap / size).sqrt());
    }
    println!(
        "| {} | {count} | {equal} | {same} ({} different classes) | {largest:.1e} | {relative:.1e} |",
        expected.model,
        seen.len()
    );
    Ok(())
}

fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = index;
        }
    }
    best
}
