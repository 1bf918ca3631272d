//! Published weights: the containers of other tools, and the ways they come.

mod origins;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use candle_core::{DType, Device, Tensor};
use ribflow::contract::source::{Source, SourceShape};
use ribflow::fetch::download::{DownloadError, Request, download};
use ribflow::ml::data::resize::Filter;
use ribflow::ml::models::checkpoint::{StateDict, fit, read, resample};
use ribflow::ml::models::config::{Block, Input};
use ribflow::ml::models::{Config, Model, Network, ResNet, Vit, VitStart};
use ribflow::store::{StatCache, Store};
use sha2::{Digest, Sha256};

use crate::hub::{Hub, Seen, Trouble};
use crate::rule;
use crate::space::TestSpace;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints")
}

/// The tensors that a file gives where nothing else is asked for.
fn tensors_of(path: &Path) -> ribflow::ml::Result<StateDict> {
    Ok(read(path, None)?.tensors)
}

/// The structure of the files in that folder.
fn config(size: usize, outputs: usize) -> Config {
    Config {
        arch: "small".to_string(),
        classes: (0..outputs).map(|class| class.to_string()).collect(),
        embedding: None,
        headless: false,
        prompt: None,
        input: Input {
            size,
            mean: [0.5; 3],
            std: [0.5; 3],
            interpolation: Filter::Bicubic,
            crop: 1.0,
        },
        network: Network::Vit(Vit {
            patch: 8,
            width: 16,
            depth: 1,
            heads: 2,
            hidden: 64,
            norm_eps: 1e-6,
            norm_pre: false,
            patch_bias: true,
            qkv_bias: true,
            quick_gelu: false,
            start: VitStart::Normal,
        }),
    }
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn every_container_gives_the_same_tensors() {
    for (file, dtype) in [
        ("vit.safetensors", DType::F32),
        ("vit.f16.safetensors", DType::F16),
        ("vit.bf16.safetensors", DType::BF16),
        ("sharded", DType::F32),
        ("sharded/model.safetensors.index.json", DType::F32),
        ("vit.pth", DType::F32),
        ("parallel.pth", DType::F32),
        ("wrapped.pth", DType::F32),
        ("double.pth", DType::F32),
        ("both.pth", DType::F32),
        ("logged.pth", DType::F32),
        ("strided.pth", DType::F32),
        ("legacy.pth", DType::F32),
        ("strided.legacy.pth", DType::F32),
        ("evil.beside.pth", DType::F32),
    ] {
        let found =
            tensors_of(&folder().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let model = fit(config(32, 5), found).unwrap_or_else(|error| panic!("{file}: {error}"));
        for (name, tensor) in model.tensors() {
            let exact = Tensor::from_vec(
                rule::tensor(name, tensor.dims()),
                tensor.dims(),
                &Device::Cpu,
            );
            let rounded = exact.unwrap().to_dtype(dtype).unwrap();
            let expected = flat(&rounded.to_dtype(DType::F32).unwrap());
            assert_eq!(flat(tensor), expected, "{file}: {name}");
        }
    }
    assert!(!executed());
}

/// Whether one of the pickles was obeyed.
fn executed() -> bool {
    Path::new("/tmp/ribflow-was-executed").exists()
}

/// The structure of the files `resnet.*`.
fn residual() -> Config {
    let network = ResNet {
        block: Block::Basic,
        stages: vec![1; 4],
        width: 4,
        small_stem: false,
    };
    Config {
        network: Network::Resnet(network),
        ..config(32, 3)
    }
}

/// torch's logits for the same file and picture.
fn expected_logits(name: &str) -> Vec<f32> {
    let bytes = fs::read(folder().join("logits.json")).unwrap();
    let all: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    serde_json::from_value(all[name].clone()).unwrap()
}

fn assert_logits(model: &Model, input: &str, size: usize, name: &str) {
    let values = rule::values(input, 3 * size * size, 0.0, 2.0);
    let picture = Tensor::from_vec(values, (1, 3, size, size), &Device::Cpu).unwrap();
    let found = flat(&model.logits(&picture).unwrap());
    for (found, expected) in found.iter().zip(expected_logits(name)) {
        assert!(
            (found - expected).abs() < 1e-5,
            "{name}: {found} for {expected}"
        );
    }
}

#[test]
fn a_residual_network_gives_torchvisions_logits_with_and_without_counters() {
    for (file, counter) in [("resnet.pth", 7), ("resnet.untracked.safetensors", 0)] {
        let model = fit(residual(), tensors_of(&folder().join(file)).unwrap()).unwrap();
        let tracked = &model.tensors()["layer2.0.bn1.num_batches_tracked"];
        assert_eq!(tracked.to_scalar::<i64>().unwrap(), counter, "{file}");
        assert_logits(&model, "input.residual", 32, "resnet");
    }
}

#[test]
fn what_is_not_a_state_dict_is_refused_and_not_executed() {
    let space = TestSpace::new();
    let mut failures = BTreeMap::new();
    let mut note = |name: &str, path: &Path| {
        let error = tensors_of(path).expect_err(name);
        failures.insert(name.to_string(), error.to_string());
    };
    for name in [
        "evil.pth",
        "evil.legacy.pth",
        "whole.pth",
        "make.py",
        "absent.pth",
    ] {
        note(name, &folder().join(name));
    }
    for name in ["vit.safetensors", "vit.pth", "legacy.pth"] {
        let bytes = fs::read(folder().join(name)).unwrap();
        let half = space.write(&format!("half.{name}"), &bytes[..bytes.len() / 2]);
        note(&format!("half of {name}"), &half);
    }
    let index = r#"{"weight_map": {"a": "../../etc/passwd"}}"#;
    let index = space.write("model.safetensors.index.json", index);
    note("a shard elsewhere", &index);
    let index = r#"{"weight_map": {"a": "absent.safetensors"}}"#;
    let index = space.write("absent.safetensors.index.json", index);
    note("an absent shard", &index);
    assert!(!executed());
    insta::assert_json_snapshot!(failures);
}

/// Files with a few bytes changed, or cut: an error or other weights, and never a panic.
#[test]
fn damaged_files_are_read_or_refused() {
    let space = TestSpace::new();
    let rounds = std::env::var("RIBFLOW_DAMAGES").map_or(60, |it| it.parse().unwrap());
    for file in [
        "vit.bf16.safetensors",
        "strided.pth",
        "strided.legacy.pth",
        "evil.pth",
        "evil.legacy.pth",
        "whole.pth",
    ] {
        let whole = fs::read(folder().join(file)).unwrap();
        // Where the structure is, not the weights: the beginning, or a zip archive's end too.
        let structure = 4000.min(whole.len());
        let mut rule = rule::Rule::named(file);
        for round in 0..rounds {
            let mut bytes = whole.clone();
            for _ in 0..=round % 4 {
                let at = rule.bits() as usize % structure;
                let from_end = file.ends_with(".pth") && rule.bits().is_multiple_of(4);
                let at = if from_end { bytes.len() - 1 - at } else { at };
                bytes[at] = rule.bits() as u8;
            }
            if round % 8 == 7 {
                bytes.truncate(rule.bits() as usize % whole.len());
            }
            let path = space.write(file, &bytes);
            drop(tensors_of(&path));
        }
    }
    assert!(!executed());
}

#[test]
fn an_index_of_shards_without_end_is_not_read_to_its_end() {
    let space = TestSpace::new();
    let path = space.write("model.safetensors.index.json", "{");
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len((64 << 20) + 1).unwrap();
    let refused = tensors_of(&path).unwrap_err().to_string();
    assert!(refused.contains("larger than any index"), "{refused}");
    let store = Store::open(&space.path("cache")).unwrap();
    let source = Source {
        name: "path".to_string(),
        location: path.clone(),
        shape: SourceShape::Sharded(Vec::new()),
        sealed: false,
    };
    let refused = StatCache::open(&store)
        .resolve(&source, &space.root())
        .unwrap_err()
        .to_string();
    assert!(refused.contains("more than 67108864 bytes"), "{refused}");
}

#[test]
fn tensors_that_do_not_fit_are_listed_at_once() {
    let mut found = tensors_of(&folder().join("vit.safetensors")).unwrap();
    found.remove("norm.bias");
    let odd = Tensor::zeros((2, 2), DType::F32, &Device::Cpu).unwrap();
    found.insert("fc_norm.weight".to_string(), odd);
    let oblong = Tensor::zeros((1, 13, 16), DType::F32, &Device::Cpu).unwrap();
    found.insert("pos_embed".to_string(), oblong);
    let whole = Tensor::zeros(16, DType::I64, &Device::Cpu).unwrap();
    found.insert("norm.weight".to_string(), whole);
    let error = fit(config(32, 7), found).expect_err("they do not fit");
    insta::assert_snapshot!(error.to_string());
}

#[test]
fn the_architecture_that_would_fit_is_named() {
    let made = |arch: &str| {
        let classes = ["a".to_string(), "b".to_string()];
        let config = Config::named(arch, &classes).unwrap();
        Model::new(config, 1, &Device::Cpu).unwrap().into_tensors()
    };
    let wanted = || Config::named("vit_mini", &["a".to_string()]).unwrap();
    for (arch, named) in [
        ("resnet_mini", "those of `resnet_mini`"),
        ("vit_tiny_patch16_224", "those of `vit_tiny_patch16_224`"),
        ("vit_tiny_patch16_384", "those of `vit_tiny_patch16_384`"),
        ("vit_mini", "those of another size"),
    ] {
        let error = fit(wanted(), made(arch)).expect_err(arch).to_string();
        assert!(error.contains(named) && error.len() < 1500, "{error}");
    }
}

#[test]
fn positions_are_resampled_as_timm_does() {
    let bytes = fs::read(folder().join("positions.json")).unwrap();
    let cases: Vec<serde_json::Value> = serde_json::from_slice(&bytes).unwrap();
    for case in cases {
        let side = |name: &str| case[name].as_u64().unwrap() as usize;
        let (old, new) = (side("from"), side("to"));
        let values = rule::values(&format!("positions.{old}"), (old * old + 1) * 3, 0.0, 0.5);
        let positions = Tensor::from_vec(values, (1, old * old + 1, 3), &Device::Cpu).unwrap();
        let found = flat(&resample(&positions, new).unwrap());
        let expected: Vec<f32> = serde_json::from_value(case["values"].clone()).unwrap();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert!(
                (found - expected).abs() < 1e-6,
                "{old} to {new}: {found} for {expected}"
            );
        }
    }
    let larger = fit(
        config(64, 5),
        tensors_of(&folder().join("vit.pth")).unwrap(),
    )
    .unwrap();
    assert_eq!(larger.tensors()["pos_embed"].dims(), [1, 65, 16]);
    let larger = fit(
        config(48, 5),
        tensors_of(&folder().join("vit.pth")).unwrap(),
    )
    .unwrap();
    assert_logits(&larger, "input.larger", 48, "vit_at_48_pixels");
}
