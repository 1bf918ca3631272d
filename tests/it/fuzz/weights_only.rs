//! Mutated pickles, beside PyTorch's reader for `weights_only=True`: what both take has the same tensors.
//!
//! `RIBFLOW_TEST_TORCH` names the unpacked wheel of PyTorch whose reader it is; without it nothing is
//! compared. PyTorch itself need not run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use ribflow::ml::models::checkpoint;
use ribflow::rng::Stream;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::mutated;
use super::targets::root;

/// Mutations of each seed; `RIBFLOW_TEST_FUZZ=10` makes ten times as many.
const PICKLES: usize = 2000;
const SEEDS: [&str; 2] = ["vit.pth", "double.pth"];

/// The pickle of a file of `torch.save`.
fn pickle(path: &Path) -> Vec<u8> {
    let mut archive = zip::ZipArchive::new(fs::File::open(path).unwrap()).unwrap();
    let stem = path.file_stem().unwrap().to_str().unwrap();
    let name = format!("{stem}/data.pkl");
    let mut bytes = Vec::new();
    std::io::copy(&mut archive.by_name(&name).unwrap(), &mut bytes).unwrap();
    bytes
}

fn ours(path: &Path) -> Option<Value> {
    let weights = checkpoint::read(path, None).ok()?;
    let tensors = weights.tensors.iter().map(|(name, tensor)| {
        let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap_or_default();
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let digest = Sha256::digest(&bytes);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        (name.clone(), json!([tensor.dims(), hex]))
    });
    let tensors: BTreeMap<String, Value> = tensors.collect();
    Some(json!(tensors))
}

#[derive(Default)]
struct Counts {
    both: usize,
    neither: usize,
    only_ours: usize,
    only_theirs: usize,
}

fn compare(torch: &Path, seed: &str, count: usize, counts: &mut Counts) {
    let seed = root().join("tests/checkpoints").join(seed);
    let folder = tempfile::tempdir().unwrap();
    let original = [pickle(&seed)];
    let mut random = Stream::new(1, "weights only");
    for number in 0..count {
        let bytes = match number {
            0 => original[0].clone(),
            _ => mutated(&original, &mut random),
        };
        fs::write(folder.path().join(format!("{number}.pkl")), bytes).unwrap();
    }
    let output = Command::new("python3")
        .arg(root().join("tests/tools/weights_only.py"))
        .args([torch, &seed, folder.path()])
        .arg(count.to_string())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(text.lines().count(), count, "{said}");
    for (number, line) in text.lines().enumerate() {
        let theirs: Value = serde_json::from_str(line).unwrap();
        let ours = ours(&folder.path().join(format!("{number}.pth")));
        match (ours, theirs) {
            (Some(ours), Value::Object(theirs)) => {
                counts.both += 1;
                let pickle = fs::read(folder.path().join(format!("{number}.pkl"))).unwrap();
                let text = pickle.escape_ascii();
                assert_eq!(ours, Value::Object(theirs), "{number}: {text}");
            }
            (None, Value::Object(_)) => counts.only_theirs += 1,
            (Some(_), _) => counts.only_ours += 1,
            (None, _) => counts.neither += 1,
        }
    }
}

#[test]
fn what_weights_only_takes_too_has_its_tensors() {
    let Some(torch) = std::env::var_os("RIBFLOW_TEST_TORCH") else {
        return;
    };
    let more = std::env::var("RIBFLOW_TEST_FUZZ").map_or(1, |more| more.parse().unwrap());
    let mut counts = Counts::default();
    for seed in SEEDS {
        compare(Path::new(&torch), seed, PICKLES * more, &mut counts);
    }
    println!(
        "weights only: {} taken by both with the same tensors, {} by ours alone, {} by theirs alone, {} by \
         neither",
        counts.both, counts.only_ours, counts.only_theirs, counts.neither
    );
    assert!(counts.both > PICKLES / 20, "{}", counts.both);
}
