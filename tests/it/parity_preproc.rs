//! Decoding and resizing against Pillow's bytes: fixtures that lie in the fixtures' folder, and
//! the project's own small files.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ribflow::ml::data::decode::{DecodeError, decode, decode_warned};
use ribflow::ml::data::photograph;
use ribflow::ml::data::picture::Picture;
use ribflow::ml::data::resize::{Filter, Transform, resize};
use safetensors::SafeTensors;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::described::after;
use super::fixtures;
use super::rule::Rule;
use super::space::TestSpace;

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// `name` of the fixtures' folder, or the copy in this repository.
fn shared(name: &str) -> PathBuf {
    let relative = Path::new("parity/preproc").join(name);
    let given = fixtures::folder().join(&relative);
    if given.exists() {
        given
    } else {
        fixtures::copies().join(relative)
    }
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of the fixtures' rule for pictures.
fn rule_bytes(name: &str, count: usize) -> Vec<u8> {
    let mut rule = Rule::named(name);
    (0..count).map(|_| (rule.bits() >> 56) as u8).collect()
}

fn sides(text: &str) -> (usize, usize) {
    let (width, height) = text.split_once('x').unwrap();
    (width.parse().unwrap(), height.parse().unwrap())
}

#[test]
fn parity_resize_is_bit_exact() {
    let bytes = fs::read(shared("resize_u8.safetensors")).unwrap();
    let sums = json(&shared("resize_u8.json"));
    for (name, tensor) in SafeTensors::deserialize(&bytes).unwrap().iter() {
        let parts: Vec<&str> = name.rsplitn(4, '.').collect();
        let [target, filter, source, prefix] = parts[..] else {
            panic!("{name}");
        };
        let (width, height) = sides(source);
        let rule = format!("{prefix}.{source}");
        let picture = Picture {
            pixels: rule_bytes(&rule, width * height * 3),
            width,
            height,
        };
        let sum: u64 = picture.pixels.iter().map(|byte| u64::from(*byte)).sum();
        assert_eq!(sums[&rule]["bytesum"].as_u64(), Some(sum), "{rule}");
        let filter: Filter = serde_json::from_value(filter.into()).unwrap();
        let (width, height) = sides(target);
        let resized = resize(&picture, width, height, filter);
        assert!(resized.pixels == tensor.data(), "{name}");
    }
}

/// The photographs are not shipped: this checks those that lie in the fixtures' folder.
#[test]
fn parity_photographs_are_bit_exact() {
    let table = json(&shared("preproc.json"));
    let folder = fixtures::folder().join("parity/preproc/jpeg");
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let Some(expected) = table["images"].get(name) else {
            continue;
        };
        let picture = decode(&fs::read(&path).unwrap()).unwrap();
        let size = serde_json::json!([picture.width, picture.height]);
        assert_eq!(expected["size_wh"], size, "{name}");
        let decoded = expected["decoded_rgb_sha256"].as_str();
        assert_eq!(decoded, Some(&*sha256(&picture.pixels)), "{name}");
        for (model, out) in expected["out"].as_object().unwrap() {
            let pixels = transform(&table, model).apply(&picture).unwrap();
            let expected = out["u8_sha256"].as_str();
            assert_eq!(expected, Some(&*sha256(&pixels)), "{name} for {model}");
        }
    }
}

/// The transform `model` of the table, from what torchvision prints of it:
/// `Resize(size=248, interpolation=bicubic, …) CenterCrop(size=(224, 224))`.
fn transform(table: &Value, model: &str) -> Transform {
    let printed = table["transforms"][model]["repr"].as_str();
    let printed = printed.unwrap_or_else(|| panic!("unknown transform {model}"));
    let step = |name: &str| {
        let (_, rest) = printed.split_once(name).unwrap();
        rest.split_once('\n').map_or(rest, |(line, _)| line)
    };
    let (resize, crop) = (step("Resize("), step("CenterCrop("));
    let interpolation = resize.split_once("interpolation=").unwrap().1;
    let filter = interpolation.split([',', ')']).next().unwrap();
    let size = |text: &str| after(text, "size").unwrap() as usize;
    Transform {
        resize: size(resize),
        crop: size(crop),
        filter: serde_json::from_value(filter.into()).unwrap(),
    }
}

fn own_images() -> PathBuf {
    fixtures::copies().join("../images")
}

#[test]
fn parity_every_kind_of_file_decodes_as_pillow_decodes_it() {
    let expected = json(&own_images().join("expected.json"));
    for (name, expected) in expected["files"].as_object().unwrap() {
        let picture = decode(&fs::read(own_images().join(name)).unwrap()).unwrap();
        let size = (picture.width as u64, picture.height as u64);
        let wanted = (expected["width"].as_u64(), expected["height"].as_u64());
        assert_eq!(wanted, (Some(size.0), Some(size.1)), "{name}");
        assert_eq!(
            expected["sha256"].as_str(),
            Some(&*sha256(&picture.pixels)),
            "{name}"
        );
    }
}

/// Every kind of PNG with and without transparency, JPEG files whose coefficients leave the range
/// of an encoder, and damage: the pixels are Pillow's, or the file is refused. Where Pillow raises,
/// it is always refused.
#[test]
fn parity_variants_of_files_are_decoded_as_pillow_decodes_them_or_refused() {
    let expected = json(&own_images().join("variants.json"));
    for (name, expected) in expected["files"].as_object().unwrap() {
        let bytes = STANDARD.decode(expected["file"].as_str().unwrap()).unwrap();
        let found = decode_warned(&bytes);
        if expected["error"].is_string() || expected["ours"] == "refused" {
            assert!(found.is_err(), "{name} is decoded");
            continue;
        }
        let (picture, warning) = found.unwrap_or_else(|error| panic!("{name} {error}"));
        let size = serde_json::json!([expected["width"], expected["height"]]);
        assert_eq!(
            size,
            serde_json::json!([picture.width, picture.height]),
            "{name}"
        );
        let digest = expected["sha256"].as_str();
        assert_eq!(digest, Some(&*sha256(&picture.pixels)), "{name}");
        assert_eq!(
            warning.is_some(),
            expected["warns"] == true,
            "{name}: {warning:?}"
        );
    }
}

/// Damage that libjpeg decodes past gives Pillow's pixels, and a line in the log of the node.
#[test]
fn what_libjpeg_warns_of_is_in_the_log_of_the_node() {
    let space = TestSpace::new();
    let variants = json(&own_images().join("variants.json"));
    let file = variants["files"]["jpeg/an early end"]["file"].as_str();
    let bytes = STANDARD.decode(file.unwrap()).unwrap();
    space.write("photos/dog/early.jpg", bytes);
    let sound = fs::read(own_images().join("420.jpg")).unwrap();
    space.write("photos/dog/sound.jpg", sound);
    space.write(
        "drawn.yaml",
        "ribflow: 1
name: drawn
stages:
  photos: { use: dataset, with: { folder: photos } }
  drawn: { use: draw, needs: { images: photos } }
",
    );
    space.run(&["run", "drawn.yaml"]).ok();
    let runs = fs::read_dir(space.path("cache/runs")).unwrap();
    let logs = runs.map(|run| run.unwrap().path().join("logs/drawn.log"));
    let log: String = logs
        .filter_map(|log| fs::read_to_string(log).ok())
        .collect();
    let warned = "warning: image `dog/early.jpg`: Corrupt JPEG data: premature end of data segment";
    assert!(log.contains(warned), "{log}");
    assert!(!log.contains("sound.jpg"), "{log}");
}

/// The same without what lies beside the crop.
#[test]
fn variants_of_files_straight_to_pixels_give_the_same_bytes() {
    let expected = json(&own_images().join("variants.json"));
    for (name, expected) in expected["files"].as_object().unwrap() {
        let bytes = STANDARD.decode(expected["file"].as_str().unwrap()).unwrap();
        let transform = Transform {
            resize: 9,
            crop: 5,
            filter: Filter::Bicubic,
        };
        let straight = photograph::pixels_warned(&bytes, &transform).ok();
        let decoded = decode_warned(&bytes).ok();
        let by_steps =
            decoded.map(|(picture, warning)| (transform.apply(&picture).unwrap(), warning));
        assert_eq!(straight, by_steps, "{name}");
    }
}

/// What lies beside the crop isn't decoded: the pixels are the same, for crops up to every edge.
#[test]
fn files_straight_to_pixels_give_the_same_bytes() {
    let expected = json(&own_images().join("expected.json"));
    for name in expected["files"].as_object().unwrap().keys() {
        let bytes = fs::read(own_images().join(name)).unwrap();
        let picture = decode(&bytes).unwrap();
        for (resize, filter) in [
            (7, Filter::Bilinear),
            (16, Filter::Box),
            (31, Filter::Bicubic),
            (64, Filter::Bilinear),
            (150, Filter::Bicubic),
        ] {
            for crop in [1, resize / 3, resize - 1, resize] {
                let transform = Transform {
                    resize,
                    crop,
                    filter,
                };
                let straight = photograph::pixels(&bytes, &transform).unwrap();
                let (width, height) = (picture.width, picture.height);
                assert!(
                    straight == transform.apply(&picture).unwrap(),
                    "{name} of {width} x {height} to {transform:?}"
                );
            }
        }
    }
}

#[test]
fn files_that_are_cut_short_say_so() {
    for name in [
        "420.jpg",
        "progressive.jpg",
        "cmyk.jpg",
        "grey.jpg",
        "rgb.png",
        "palette.png",
    ] {
        let bytes = fs::read(own_images().join(name)).unwrap();
        for share in [3, 5, 7, 9] {
            let cut = &bytes[..bytes.len() * share / 10];
            assert_eq!(
                decode(cut),
                Err(DecodeError::Truncated),
                "{name} at {share}/10"
            );
        }
    }
    assert_eq!(decode(b""), Err(DecodeError::Unknown));
    assert_eq!(decode(b"GIF89a"), Err(DecodeError::Unknown));
    assert_eq!(decode(&[0xFF, 0xD8]), Err(DecodeError::Truncated));
}

#[test]
fn a_header_that_promises_too_much_is_refused() {
    let mut bytes = fs::read(own_images().join("420.jpg")).unwrap();
    let frame = bytes
        .windows(2)
        .position(|pair| pair == [0xFF, 0xC0])
        .unwrap();
    let side: u16 = 65_000;
    bytes[frame + 5..frame + 7].copy_from_slice(&side.to_be_bytes());
    bytes[frame + 7..frame + 9].copy_from_slice(&side.to_be_bytes());
    let (width, height) = (side.into(), side.into());
    assert_eq!(decode(&bytes), Err(DecodeError::TooLarge { width, height }));
}

proptest::proptest! {
    /// Damage is an error or other pixels, never a crash, and the size is that of the pixels.
    #[test]
    fn damaged_files_do_no_harm(
        file in 0usize..6,
        places in proptest::collection::vec((0.0f64..1.0, proptest::num::u8::ANY), 1..6),
    ) {
        let name = ["420.jpg", "progressive.jpg", "cmyk.jpg", "grey16.png", "palette.png", "rgba.png"][file];
        let mut bytes = fs::read(own_images().join(name)).unwrap();
        for (share, value) in places {
            let place = (share * bytes.len() as f64) as usize;
            bytes[place] = value;
        }
        if let Ok(picture) = decode(&bytes) {
            assert_eq!(picture.pixels.len(), picture.width * picture.height * 3);
        }
    }
}

/// A crop or filter that is off by the least there is gives other pixels.
#[test]
fn planted_errors_of_transforms_are_caught() {
    let picture = Picture {
        pixels: rule_bytes("planted", 300 * 260 * 3),
        width: 300,
        height: 260,
    };
    let table = json(&shared("preproc.json"));
    for model in table["transforms"].as_object().unwrap().keys() {
        let right = transform(&table, model);
        let pixels = right.apply(&picture).unwrap();
        let others = [
            Transform {
                resize: right.resize + 1,
                ..right
            },
            Transform {
                filter: match right.filter {
                    Filter::Bilinear => Filter::Bicubic,
                    _ => Filter::Bilinear,
                },
                ..right
            },
        ];
        for wrong in others {
            assert_ne!(wrong.apply(&picture).unwrap(), pixels, "{model}: {wrong:?}");
        }
    }
}
