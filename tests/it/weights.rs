//! Which weights of a file are taken, and whether classes can be told by their names.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use ribflow::ml::data::classes;
use ribflow::ml::data::presets::{ObjectnetLabels, Preset};
use ribflow::ml::models::checkpoint::{StateDict, read};
use ribflow::ml::train::classes::class_columns;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::Value;

use crate::fixtures::small_checkpoint;
use crate::space::TestSpace;

fn preset(name: &str) -> Preset {
    Preset::named(name).unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints")
}

fn choice(name: &str, wanted: Option<&str>) -> ribflow::ml::Result<(StateDict, String)> {
    let found = read(&folder().join(format!("choices/{name}.pth")), wanted)?;
    Ok((found.tensors, found.place.join(".")))
}

/// The one number of such a state dict.
fn mark(tensors: &StateDict) -> Option<f32> {
    let tensor = tensors.get("head.bias")?;
    Some(tensor.to_vec1::<f32>().unwrap()[0])
}

#[test]
fn of_several_state_dicts_the_one_is_taken_that_timm_takes() {
    let bytes = fs::read(folder().join("choices/choices.json")).unwrap();
    let timm: Value = serde_json::from_slice(&bytes).unwrap();
    for (name, expected) in timm.as_object().unwrap() {
        let found = choice(name, None);
        let found = found.ok().and_then(|(tensors, _)| mark(&tensors));
        let expected = expected.as_f64().map(|value| value as f32);
        assert_eq!(found, expected, "{name}");
    }
    for (name, place) in [
        ("state_dict", "state_dict_ema"),
        ("model", "model_ema"),
        ("no_average", "state_dict"),
        ("parallel", "model_ema.module"),
        ("compiled", "state_dict_ema._orig_mod.module"),
    ] {
        assert_eq!(choice(name, None).unwrap().1, place, "{name}");
    }
    let beside = read(&folder().join("choices/model.pth"), None).unwrap();
    assert_eq!(beside.beside, ["model"]);
}

#[test]
fn any_key_or_prefix_of_a_file_can_be_chosen() {
    for (name, wanted, value) in [
        ("state_dict", "state_dict", 1.0),
        ("state_dict", "state_dict_ema", 2.0),
        ("legacy", "state_dict", 1.0),
        ("model", "model", 1.0),
        ("swa", "swa_state_dict", 2.0),
        ("model_state_dict", "model_state_dict", 2.0),
        ("empty_average", "state_dict", 1.0),
        ("params", "params", 1.0),
        ("params", "params_ema", 2.0),
        ("parallel", "model", 1.0),
        ("parallel", "model.module", 1.0),
        ("parallel", "model.module.", 1.0),
        // A prefix inside the usual state dict, and with the key before it.
        ("lightning", "net", 1.0),
        ("lightning", "ema.net", 2.0),
        ("lightning", "state_dict.ema.net", 2.0),
        ("nested", "networks.teacher", 2.0),
        ("nested", "networks.student", 1.0),
    ] {
        let (tensors, _) = choice(name, Some(wanted)).unwrap();
        assert_eq!(mark(&tensors), Some(value), "{name} {wanted}");
        assert_eq!(tensors.len(), 1, "{name} {wanted}");
    }
    let safetensors = folder().join("vit.safetensors");
    let part = read(&safetensors, Some("blocks.0.norm1")).unwrap();
    let names: Vec<&String> = part.tensors.keys().collect();
    assert_eq!(names, ["bias", "weight"]);
    let sharded = read(&folder().join("sharded"), Some("blocks.0.norm1")).unwrap();
    assert_eq!(sharded.place, ["blocks.0.norm1"]);
    assert_eq!(sharded.tensors.len(), 2);
}

#[test]
fn a_place_that_is_not_in_the_file_is_refused_with_those_that_are() {
    for (name, wanted, told) in [
        ("state_dict", Some("state_dic"), "`state_dict_ema`"),
        ("state_dict", Some("state_dict.body"), "`state_dict`"),
        ("state_dict", Some("hea"), "nothing in it stands at `hea`"),
        ("nested", Some("networks"), "`teacher`"),
        ("nested", None, "`networks.teacher`"),
        ("params", None, "`params_ema`"),
        // An average that is not there is no reason to take what is not one.
        (
            "empty_average",
            None,
            "`state_dict_ema` holds no state dict",
        ),
    ] {
        let error = choice(name, wanted).unwrap_err().to_string();
        assert!(error.contains(told), "{name} {wanted:?}: {error}");
    }
    let error = read(&folder().join("vit.safetensors"), Some("block")).unwrap_err();
    assert!(error.to_string().contains("`blocks`"), "{error}");
}

#[test]
fn a_workflow_chooses_weights_and_its_record_says_which() {
    let space = TestSpace::new();
    let bytes = small_checkpoint(&space);
    let plain = SafeTensors::deserialize(&bytes).unwrap();
    let mut both: HashMap<String, TensorView> = HashMap::new();
    for (name, tensor) in plain.tensors() {
        both.insert(format!("model.{name}"), tensor.clone());
        both.insert(format!("model_ema.{name}"), tensor);
    }
    let file = safetensors::serialize(both, None).unwrap();
    space.write("both.safetensors", file);
    let write = |more: &str| {
        let text = format!(
            "ribflow: 1\nname: chosen\nstages:\n  model:\n    use: checkpoint\n    with: {{ arch: vit_mini, path: both.safetensors{more} }}\n"
        );
        space.write("chosen.yaml", text);
    };
    write("");
    let told = space.run(&["run", "chosen.yaml"]).expect(1).stderr;
    assert!(
        told.contains("`model_ema`") && told.contains("`weights`"),
        "{told}"
    );
    write(", weights: model_ema");
    space.run(&["run", "chosen.yaml"]).ok();
    let provenance = space.read("out/chosen/provenance.json");
    assert!(provenance.contains("model_ema"), "{provenance}");
    write(", weights: ''");
    let told = space.run(&["validate", "chosen.yaml"]).expect(2).stderr;
    assert!(told.contains("chosen.yaml:6"), "{told}");
}

#[test]
fn classes_that_share_a_name_are_refused_where_they_are_listed() {
    let space = TestSpace::new();
    space.write(
        "names.yaml",
        "ribflow: 1
name: names
stages:
  model:
    use: checkpoint
    with: { arch: vit_mini, path: x.safetensors, classes: [crane, dog, crane] }
",
    );
    let told = space.run(&["validate", "names.yaml"]).expect(2).stderr;
    assert!(told.contains("names.yaml:6:72"), "{told}");
    assert!(
        told.contains("class `crane` is duplicated, at 0 and 2"),
        "{told}"
    );
    assert!(told.contains("WordNet"), "{told}");
}

#[test]
fn classes_that_share_a_name_are_an_error() {
    let names = |text: &str| -> Vec<String> { text.split(' ').map(str::to_string).collect() };
    let columns = |model: &str, data: &str| class_columns(&names(model), &names(data));
    assert_eq!(columns("a b c", "c a").unwrap(), [[2], [0]]);
    assert_eq!(columns("a b c", "a+c b").unwrap(), [vec![0, 2], vec![1]]);
    // Of the model's two classes only one is meant, and nobody knows which; others are found.
    assert_eq!(columns("a a b", "b").unwrap(), [[2]]);
    for (model, data, told) in [
        ("a a b", "a b", "2 classes `a` (outputs 0, 1)"),
        ("a a b", "b+a", "2 classes `a`"),
        ("a b", "a a", "two classes `a` (labels 0 and 1)"),
        ("a b", "a a+b", "`a` and `a+b` are both the model's `a`"),
        ("a b c", "a+b b+c", "are both the model's `b`"),
        ("a b", "a+a", "names `a` twice"),
        (
            "a b",
            "c",
            "is not among the model's 2 classes: a model has the classes",
        ),
        ("Cat b", "cat", "the model's is `Cat`; a model has"),
        (
            "n01440764 n01443537",
            "cat",
            "WordNet ids, such as `n01440764`",
        ),
        (
            "n01440764 b",
            "n01443537",
            "2 classes: a model has the classes",
        ),
    ] {
        let error = columns(model, data).unwrap_err().to_string();
        assert!(error.contains(told), "{model} / {data}: {error}");
    }
}

/// `é` as one character, and as two. The same bytes come first.
#[test]
fn a_class_is_found_in_either_unicode_form() {
    let (one, two) = ("\u{e9}", "e\u{301}");
    let columns = |model: &[&str], data: &[&str]| {
        let names =
            |names: &[&str]| -> Vec<String> { names.iter().map(|it| it.to_string()).collect() };
        class_columns(&names(model), &names(data)).map_err(|error| error.to_string())
    };
    let joined = format!("a+{two}");
    assert_eq!(columns(&["a", one], &[two, "a"]).unwrap(), [[1], [0]]);
    assert_eq!(columns(&["a", two], &[one]).unwrap(), [[1]]);
    assert_eq!(columns(&[two, one], &[one, two]).unwrap(), [[1], [0]]);
    assert_eq!(columns(&["a", one], &[&joined]).unwrap(), [[0, 1]]);
    assert_eq!(
        columns(&["a", two, "a+\u{e9}"], &[&joined]).unwrap(),
        [[0, 1]]
    );
    // The model has one class, and the dataset two.
    let error = columns(&[one], &[one, two]).unwrap_err();
    assert!(error.contains("in two Unicode forms"), "{error}");
    // `Å` in two forms of the model, and in a third one of the dataset.
    let error = columns(&["\u{c5}", "A\u{30a}"], &["\u{212b}"]).unwrap_err();
    assert!(error.contains("(outputs 0, 1)"), "{error}");
}

/// The datasets that the program knows can all be told among ImageNet's classes.
#[test]
fn every_preset_has_classes_of_its_own() {
    let model = classes::imagenet();
    let presets = [
        preset("imagenet-val"),
        preset("imagenet-v2"),
        preset("imagenet-a"),
        preset("imagenet-r"),
        preset("imagenet-sketch"),
        preset("imagenet-objectnet"),
        preset("imagenet-cartoon"),
        preset("imagenet-drawing"),
        preset("imagenet-c"),
    ];
    for preset in presets {
        for labels in [ObjectnetLabels::Intended, ObjectnetLabels::Released] {
            let folders = preset.folders(labels).into_iter();
            let mut names: Vec<String> = folders.map(|folder| folder.class).collect();
            names.sort();
            names.dedup();
            let columns = class_columns(&model, &names);
            assert!(columns.is_ok(), "{preset:?}, {labels:?}: {columns:?}");
        }
    }
}
