//! Files of `torch.save` of all ages, written here byte by byte: what `torch.load` gives as
//! tensors is read.

use std::fs;

use candle_core::{DType, Device, Tensor};
use ribflow::ml::models::checkpoint::{Part, StateDict, fit, read, rooted};
use ribflow::ml::models::{Config, Model};

mod hostile;
mod write;

use self::write::*;
use crate::space::TestSpace;

fn values(tensors: &StateDict, name: &str) -> Vec<f64> {
    let tensor = tensors[name].flatten_all().unwrap();
    tensor.to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

struct Read {
    tensors: StateDict,
    place: String,
}

fn found(content: Vec<u8>) -> Result<Read, String> {
    let space = TestSpace::new();
    let found = read(&space.write("file.pth", content), None).map_err(|it| it.to_string())?;
    Ok(Read {
        tensors: found.tensors,
        place: found.place.join("."),
    })
}

#[test]
fn a_file_of_any_name_is_read() {
    let space = TestSpace::new();
    let body = dict(&[("a.weight", floats("0")), ("b.bias", floats("1"))]);
    for length in 1..=80 {
        let stem = "s".repeat(length);
        let file = archive(&entries(&stem, &body, &[three(1.0), three(2.0)]));
        let path = space.write(&format!("{stem}.pth"), file);
        let found = read(&path, None).unwrap_or_else(|error| panic!("{length}: {error}"));
        assert_eq!(values(&found.tensors, "a.weight"), [1.0; 3], "{length}");
        assert_eq!(values(&found.tensors, "b.bias"), [2.0; 3], "{length}");
    }
}

#[test]
fn what_python_2_wrote_is_read() {
    // OrderedDict(([["a", tensor], …],)), texts of bytes, the first function that made tensors.
    let old = |storage: &str, key: &str| {
        let parts = [
            class("torch._utils._rebuild_tensor"),
            b"((".to_vec(),
            short("storage"),
            class(storage),
            short(key),
            [b"T".as_slice(), &6u32.to_le_bytes(), b"cuda:0"].concat(),
            b"K\x03NtQK\0K\x03\x85K\x01\x85tR".to_vec(),
        ];
        parts.concat()
    };
    let pair = |name: &str, value: Vec<u8>| [b"](".to_vec(), short(name), value, b"e".to_vec()];
    let body = [
        class("collections.OrderedDict"),
        b"](".to_vec(),
        pair("a.weight", old("torch.FloatStorage", "7")).concat(),
        pair("b.bias", old("torch.cuda.FloatStorage", "8")).concat(),
        b"e\x85R".to_vec(),
    ]
    .concat();
    let storages = [("7", 3, three(1.0)), ("8", 3, three(2.0))];
    let read = found(legacy(&body, &storages)).unwrap();
    assert_eq!(values(&read.tensors, "a.weight"), [1.0; 3]);
    assert_eq!(values(&read.tensors, "b.bias"), [2.0; 3]);
    // The same below a key of bytes, beside a dict of protocol 0.
    let wrapped = [
        b"}(".to_vec(),
        short("state_dict"),
        body,
        short("args"),
        class("copy_reg._reconstructor"),
        b"(".to_vec(),
        class("yacs.config.CfgNode"),
        class("__builtin__.dict"),
        b"(dtRI3\nL9223372036854775808L\nS'x'\nF0.5\n0000u".to_vec(),
    ];
    let read = found(legacy(&wrapped.concat(), &storages)).unwrap();
    assert_eq!(read.place, "state_dict");
    assert_eq!(read.tensors.len(), 2);
}

#[test]
fn whatever_stands_beside_the_weights_is_passed_over() {
    let object = |name: &str, rest: &[u8]| [&class(name), rest].concat();
    let int8 = tensor("_rebuild_tensor_v2", "torch.CharStorage", "1", 5, b"\x89N");
    let complex = tensor(
        "_rebuild_tensor_v2",
        "torch.ComplexFloatStorage",
        "2",
        2,
        b"\x89N",
    );
    let bytes_of = tensor(
        "_rebuild_tensor_v3",
        "torch.storage.UntypedStorage",
        "3",
        4,
        b"\x89Nctorch\nuint16\n",
    );
    let beside = [
        // Subclasses of dict and list, with items and a state; a deque; texts and long integers.
        (
            "cfg",
            object("yacs.config.CfgNode", b")\x81(X\x01\0\0\0aK\x01u}b"),
        ),
        (
            "one",
            object("easydict.EasyDict", b")\x81X\x01\0\0\0aK\x01s}b"),
        ),
        ("list", object("lab.Names", b")\x81(K\x01K\x02e")),
        ("queue", object("collections.deque", b")K\x04\x86RK\x01a")),
        ("two_to_the_63", b"\x8a\x09\0\0\0\0\0\0\0\x80\0".to_vec()),
        (
            "long",
            b"\x8b\x12\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01".to_vec(),
        ),
        ("new", b"\x8c\x01x\x8f(K\x01\x90C\x02ab00".to_vec()),
        ("call", object("posix.system", b"(X\x02\0\0\0lstR")),
        ("int8", int8),
        ("complex", complex),
        ("uint16", bytes_of),
    ];
    let weights = ("model", dict(&[("a", floats("0"))]));
    for (name, value) in &beside {
        let body = dict(&[(name, value.clone()), weights.clone()]);
        let read = found(zipped(&body, &[three(1.0)])).unwrap_or_else(|it| panic!("{name}: {it}"));
        assert_eq!(values(&read.tensors, "a"), [1.0; 3], "{name}");
    }
    let all = beside.iter().map(|(name, value)| (*name, value.clone()));
    let all: Vec<_> = all.chain([weights]).collect();
    let storages = [
        ("1", 5, vec![0; 5]),
        ("2", 2, vec![0; 16]),
        ("3", 4, vec![0; 4]),
        ("0", 3, three(1.0)),
    ];
    let read = found(legacy(&dict(&all), &storages)).unwrap();
    assert_eq!(values(&read.tensors, "a"), [1.0; 3]);
}

#[test]
fn a_state_dict_of_any_class_is_one() {
    let items = [text("a"), floats("0")].concat();
    let shared = [b"}q\0".to_vec(), items.clone(), b"s0".to_vec()].concat();
    for (name, body) in [
        (
            "subclass",
            [
                class("easydict.EasyDict"),
                b")\x81(".to_vec(),
                items.clone(),
                b"u}b".to_vec(),
            ]
            .concat(),
        ),
        (
            "defaultdict",
            [
                class("collections.defaultdict"),
                class("lab.f"),
                b"\x85R".to_vec(),
                items.clone(),
                b"s".to_vec(),
            ]
            .concat(),
        ),
        (
            "of a dict",
            [
                class("collections.OrderedDict"),
                dict(&[("a", floats("0"))]),
                b"\x85R".to_vec(),
            ]
            .concat(),
        ),
        // An object that is filled after it was named, and stands at two places.
        (
            "shared",
            [
                shared,
                dict(&[("model", b"h\0".to_vec()), ("last", b"h\0".to_vec())]),
            ]
            .concat(),
        ),
    ] {
        let read = found(zipped(&body, &[three(1.0)])).unwrap_or_else(|it| panic!("{name}: {it}"));
        assert_eq!(values(&read.tensors, "a"), [1.0; 3], "{name}");
    }
}

#[test]
fn weights_are_found_under_the_keys_and_prefixes_of_wrappers() {
    for key in [
        "teacher", "module", "net", "network", "ema", "backbone", "params", "any",
    ] {
        let body = dict(&[
            ("epoch", b"K\x03".to_vec()),
            (key, dict(&[("a", floats("0"))])),
            ("optimizer", dict(&[("momentum", floats("1"))])),
        ]);
        let read = found(zipped(&body, &[three(1.0), three(2.0)])).unwrap();
        assert_eq!(
            (values(&read.tensors, "a"), read.place.as_str()),
            (vec![1.0; 3], key)
        );
    }
    for prefix in [
        "module",
        "net",
        "ema",
        "backbone",
        "encoder",
        "teacher.backbone",
        "model.module",
    ] {
        let name = |it: &str| format!("{prefix}.{it}");
        let body = dict(&[(&name("a"), floats("0")), (&name("b"), floats("1"))]);
        let read = found(zipped(&body, &[three(1.0), three(2.0)])).unwrap();
        assert_eq!(
            (values(&read.tensors, "a"), read.place),
            (vec![1.0; 3], prefix.to_string())
        );
    }
    let (student, teacher) = (
        dict(&[("module.a", floats("0"))]),
        dict(&[("a", floats("1"))]),
    );
    let body = dict(&[("student", student), ("teacher", teacher)]);
    let read = found(zipped(&body, &[three(1.0), three(2.0)])).unwrap();
    assert_eq!(
        (values(&read.tensors, "a"), read.place.as_str()),
        (vec![2.0; 3], "teacher")
    );
}

#[test]
fn every_type_of_elements_is_read_or_named() {
    // What torch makes of 0x01, 0x3c, 0xc5, 0x7b.
    let bits = vec![0x01, 0x3c, 0xc5, 0x7b];
    for (dtype, expected) in [
        ("float8_e4m3fn", [0.001953125, 1.5, -3.25, 352.0]),
        ("float8_e5m2", [1.52587890625e-05, 1.0, -5.0, 57344.0]),
        ("float8_e4m3fnuz", [0.0009765625, 0.75, -1.625, 176.0]),
        ("float8_e5m2fnuz", [7.62939453125e-06, 0.5, -2.5, 28672.0]),
        ("uint8", [1.0, 60.0, 197.0, 123.0]),
        ("int8", [1.0, 60.0, -59.0, 123.0]),
    ] {
        let more = [b"\x89N".to_vec(), class(&format!("torch.{dtype}"))].concat();
        let stored = tensor(
            "_rebuild_tensor_v3",
            "torch.storage.UntypedStorage",
            "0",
            4,
            &more,
        );
        let read = found(zipped(&dict(&[("a", stored)]), std::slice::from_ref(&bits))).unwrap();
        assert_eq!(values(&read.tensors, "a"), expected, "{dtype}");
    }
    let complex = tensor(
        "_rebuild_tensor_v2",
        "torch.ComplexFloatStorage",
        "0",
        2,
        b"\x89N",
    );
    for (stored, named) in [
        (complex, "complex64"),
        (
            [class("torch._utils._rebuild_sparse_tensor"), b")R".to_vec()].concat(),
            "_rebuild_sparse_tensor",
        ),
    ] {
        let error = found(zipped(&dict(&[("a", stored)]), &[vec![0; 16]]))
            .err()
            .unwrap();
        assert!(error.contains("`a`") && error.contains(named), "{error}");
    }
}

#[test]
fn archives_of_other_writers_are_read() {
    let body = dict(&[("a", floats("0"))]);
    let mut big = entries(
        "archive",
        &body,
        &[[2.0f32; 3].iter().flat_map(|it| it.to_be_bytes()).collect()],
    );
    big[3].1 = b"big".to_vec();
    assert_eq!(
        values(&found(archive(&big)).unwrap().tensors, "a"),
        [2.0; 3]
    );
    // Written by Python: writestr of each entry of such a file into a ZipFile(…, ZIP_DEFLATED).
    let deflated = fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/checkpoints/deflated.pth"
    ));
    let read = found(deflated.unwrap()).unwrap();
    assert_eq!(values(&read.tensors, "a.weight"), [1.0; 3]);
    assert_eq!(values(&read.tensors, "b.bias"), [2.0; 3]);
}

#[test]
fn shards_of_torch_save_are_read_by_their_index() {
    let space = TestSpace::new();
    for (shard, name) in [
        ("pytorch_model-00001-of-00002.bin", "a"),
        ("pytorch_model-00002-of-00002.bin", "b"),
    ] {
        space.write(shard, zipped(&dict(&[(name, floats("0"))]), &[three(1.0)]));
    }
    let index = r#"{"weight_map": {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}}"#;
    let index = space.write("pytorch_model.bin.index.json", index);
    for place in [index, space.root()] {
        let found = read(&place, None).unwrap();
        assert_eq!(found.tensors.len(), 2);
    }
}

fn flattened(given: &[usize]) -> Result<Vec<usize>, String> {
    let config = Config::named("vit_mini", &["a".to_string(), "b".to_string()]).unwrap();
    let model = Model::new(config.clone(), 1, &Device::Cpu).unwrap();
    let mut tensors = model.into_tensors();
    let patches = tensors["patch_embed.proj.weight"].clone();
    let flat = patches.reshape(given).map_err(|error| error.to_string())?;
    tensors.insert("patch_embed.proj.weight".to_string(), flat);
    let fitted = fit(config, tensors).map_err(|error| error.to_string())?;
    let found = &fitted.tensors()["patch_embed.proj.weight"];
    let same = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(same(found), same(&patches));
    Ok(found.dims().to_vec())
}

#[test]
fn a_flattened_patch_embedding_is_reshaped_as_timm_does() {
    let config = Config::named("vit_mini", &[]).unwrap();
    let specs = config.tensors();
    let spec = specs
        .iter()
        .find(|it| it.name == "patch_embed.proj.weight")
        .unwrap();
    let [width, channels, height, across] = spec.shape[..] else {
        panic!("a convolution")
    };
    let all = channels * height * across;
    assert_eq!(flattened(&[width, all]).unwrap(), spec.shape);
    assert_eq!(
        flattened(&[width, channels, height * across]).unwrap(),
        spec.shape
    );
    let error = flattened(&[all, width]).unwrap_err();
    assert!(error.contains("patch_embed.proj.weight is"), "{error}");
}

#[test]
fn a_backbone_in_a_model_of_another_class_is_found() {
    let classes = ["a".to_string(), "b".to_string()];
    let config = Config::named("vit_mini", &classes).unwrap();
    let own = Model::new(config.clone(), 1, &Device::Cpu)
        .unwrap()
        .into_tensors();
    let wrapped = |more: &str| {
        let mut tensors: StateDict = own
            .iter()
            .filter(|(name, _)| !name.starts_with("head."))
            .map(|(name, tensor)| (format!("vision.trunk.{name}"), tensor.clone()))
            .collect();
        tensors.insert(more.to_string(), own["head.weight"].clone());
        let (place, beside) = (Vec::new(), Vec::new());
        rooted(
            Part {
                tensors,
                place,
                beside,
            },
            &config,
        )
    };
    let found = wrapped("head.mlp.0.weight");
    assert_eq!(
        (found.place, found.beside.len()),
        (vec!["vision.trunk".to_string()], 1)
    );
    assert!(found.tensors.contains_key("pos_embed"));
    // The classifier beside it would be lost: the error names the prefix.
    let kept = wrapped("head.weight").tensors;
    assert!(kept.contains_key("vision.trunk.pos_embed"));
    let error = fit(config.clone(), kept).err().unwrap().to_string();
    assert!(
        error.contains("`vision.trunk`: `weights` takes one"),
        "{error}"
    );
}

#[test]
fn one_missing_tensor_is_no_other_size() {
    let config = Config::named("vit_mini", &["a".to_string(), "b".to_string()]).unwrap();
    let mut tensors = Model::new(config.clone(), 1, &Device::Cpu)
        .unwrap()
        .into_tensors();
    tensors.remove("head.bias");
    let error = fit(config, tensors).err().unwrap().to_string();
    assert!(
        error.contains("missing: head.bias (its other tensors are"),
        "{error}"
    );
}
