//! Pictures that were mutated, beside Pillow: what both decode has the same pixels.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use ribflow::ml::data::decode::decode;
use ribflow::rng::Stream;
use sha2::{Digest, Sha256};

use super::{files, mutated};
use crate::examples::pillow_is_there;

/// `RIBFLOW_TEST_FUZZ=10` makes ten times as many.
const PICTURES: usize = 4000;

/// A line for each file: its size and the digest of its pixels, or that Pillow refuses it.
const SCRIPT: &str = "
import hashlib, sys, warnings
from PIL import Image
warnings.simplefilter('ignore')
for number in range(int(sys.argv[2])):
    try:
        with Image.open(f'{sys.argv[1]}/{number}') as picture:
            picture.load()
            pixels = picture.convert('RGB')
            print(*pixels.size, hashlib.sha256(pixels.tobytes()).hexdigest())
    except Exception:
        print('refused')
";

/// Gives every chunk of a PNG the checksum of its content, which a mutation has changed.
fn with_checksums(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut at = 8;
    while let Some(length) = bytes.get(at..at + 4) {
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        let end = at + 8 + length;
        if length > bytes.len() || end + 4 > bytes.len() {
            break;
        }
        let checksum = crc32fast::hash(&bytes[at + 4..end]);
        bytes[end..end + 4].copy_from_slice(&checksum.to_be_bytes());
        at = end + 4;
    }
    bytes
}

fn ours(bytes: &[u8]) -> String {
    let Ok(picture) = decode(bytes) else {
        return "refused".to_string();
    };
    let digest = Sha256::digest(&picture.pixels);
    let mut hex = format!("{} {} ", picture.width, picture.height);
    digest
        .iter()
        .for_each(|byte| write!(hex, "{byte:02x}").unwrap());
    hex
}

#[test]
fn what_pillow_decodes_too_has_its_pixels() {
    if !pillow_is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let more = std::env::var("RIBFLOW_TEST_FUZZ").map_or(1, |more| more.parse().unwrap());
    let count = PICTURES * more;
    let (png, jpeg) = (
        files("tests/images", &[".png"]),
        files("tests/images", &[".jpg"]),
    );
    let mut random = Stream::new(1, "pillow");
    let pictures: Vec<Vec<u8>> = (0..count)
        .map(|number| match number % 2 {
            0 => with_checksums(mutated(&png, &mut random)),
            _ => mutated(&jpeg, &mut random),
        })
        .collect();
    for (number, bytes) in pictures.iter().enumerate() {
        fs::write(folder.path().join(number.to_string()), bytes).unwrap();
    }
    let output = Command::new("python3")
        .args(["-c", SCRIPT])
        .arg(folder.path())
        .arg(count.to_string())
        .output()
        .unwrap();
    let theirs = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        theirs.lines().count(),
        count,
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // Ours also takes some files that end between the pixels and the end of the picture.
    let (mut both, mut only_ours, mut neither) = (0, 0, 0);
    for (bytes, theirs) in pictures.iter().zip(theirs.lines()) {
        let ours = ours(bytes);
        match (ours == "refused", theirs == "refused") {
            (true, true) => neither += 1,
            (false, true) => only_ours += 1,
            (_, false) => {
                both += 1;
                assert_eq!(ours, theirs, "{bytes:?}");
            }
        }
    }
    println!(
        "pillow: {both} decoded by both to the same pixels, {only_ours} by ours alone, {neither} by neither"
    );
    assert!(both > count / 5, "{both}");
}
