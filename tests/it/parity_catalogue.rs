//! What the catalogue says of its models against timm, and what errors in it do.

use std::fs;

use ribflow::ml::data::resize::Filter;
use ribflow::ml::models::{Config, Model, Network, Vit};
use serde_json::Value as Json;

use crate::described::Described;
use crate::fixtures;
use crate::parity_models::{arrays, config, difference, filled, flat, folder, json};

#[test]
fn parity_catalogue_is_timms() {
    let path = fixtures::copies().join("parity/models/timm_configs.json");
    let given = folder().join("timm_configs.json");
    let path = if given.exists() { given } else { path };
    let table: Json = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    for (name, expected) in table["models"].as_object().unwrap() {
        let wrong = catalogue_differences(&config(name), expected);
        assert!(wrong.is_empty(), "{name}: {wrong:?}");
    }
}

/// The fields in which a model of the catalogue differs from what timm says of it.
fn catalogue_differences(config: &Config, expected: &Json) -> Vec<&'static str> {
    let Network::Vit(vit) = &config.network else {
        return vec!["it is no transformer"];
    };
    let is = |field: &str, found: f64| expected[field].as_f64() == Some(found);
    let are = |field: &str, found: [f64; 3]| expected[field] == serde_json::json!(found);
    let tensors = config.tensors();
    let parameters = tensors.iter();
    let parameters = parameters.map(|spec| spec.shape.iter().product::<usize>());
    let filter = serde_json::to_value(config.input.interpolation).unwrap();
    let fields = [
        ("num_classes", is("num_classes", config.outputs() as f64)),
        ("input", is("input", config.input.size as f64)),
        ("mean", are("mean", config.input.mean)),
        ("std", are("std", config.input.std)),
        ("crop_pct", is("crop_pct", config.input.crop)),
        ("interpolation", filter == expected["interpolation"]),
        ("params", is("params", parameters.sum::<usize>() as f64)),
        ("norm_eps", is("norm_eps", vit.norm_eps)),
        (
            "act",
            vit.quick_gelu == (expected["act_repr"] == "QuickGELU()"),
        ),
        (
            "norm_pre",
            vit.norm_pre == (expected["norm_pre"] == "LayerNorm"),
        ),
    ];
    let wrong = fields.into_iter().filter(|(_, equal)| !equal);
    wrong.map(|(field, _)| field).collect()
}

/// With embeddings a hundredth of the rule's, the first norm meets variances near its ε: logits
/// then tell a wrong ε or activation by percents.
#[test]
fn parity_lowvar() {
    let path = folder().join("lowvar.json");
    if !path.exists() && fixtures::folder() != fixtures::copies() {
        eprintln!("{}: not there, nothing compared", path.display());
        return;
    }
    let expected = arrays("lowvar");
    let cases = json("lowvar.json");
    assert_eq!(cases.as_object().unwrap().len(), expected.len());
    for name in cases.as_object().unwrap().keys() {
        let error = lowvar_error(&cases[name], &config(name), &expected[name]);
        assert!(error < 1e-5, "{name}: logits differ by {error:e}");
    }
}

/// How far the logits of `config` are from those expected of `case`.
fn lowvar_error(case: &Json, config: &Config, expected: &[f32]) -> f64 {
    let embeddings = ["cls_token", "pos_embed", "patch_embed."];
    let small = |name: &str| embeddings.iter().any(|start| name.starts_with(start));
    let tensors = filled(config).into_tensors().into_iter();
    let tensors = tensors.map(|(name, tensor)| {
        let tensor = match small(&name) {
            true => (tensor * 0.01).unwrap(),
            false => tensor,
        };
        (name, tensor)
    });
    let model = Model::from_tensors(config.clone(), tensors.collect()).unwrap();
    let size = config.input.size;
    let input = Described::read(case["input"].as_str().unwrap(), &[]);
    let input = Described {
        shape: vec![input.batch, 3, size, size],
        ..input
    };
    let image = input.tensor();
    difference(&flat(&model.logits(&image).unwrap()), expected)
}

/// A wrong ε or activation moves the logits by as much as the fixture states, and so does not pass
/// for rounding.
#[test]
fn planted_errors_of_models_are_caught() {
    let path = folder().join("lowvar.json");
    if !path.exists() {
        eprintln!("{}: not there, nothing compared", path.display());
        return;
    }
    let expected = arrays("lowvar");
    for (name, case) in json("lowvar.json").as_object().unwrap() {
        let right = config(name);
        let compare = |what: &str, spoil: &dyn Fn(&mut Vit), stated: &Json| {
            let mut wrong = right.clone();
            let Network::Vit(vit) = &mut wrong.network else {
                panic!("{name} is no transformer");
            };
            spoil(vit);
            let found = lowvar_error(case, &wrong, &expected[name]);
            let exact = stated.as_f64().unwrap();
            assert!(
                (found - exact).abs() < 1e-5 + 1e-3 * exact,
                "{name}, {what}: the logits move by {found:e}, not {exact:e}"
            );
        };
        for (epsilon, stated) in case["rel_change_if_eps_is"].as_object().unwrap() {
            let value = epsilon.parse().unwrap();
            compare(epsilon, &|vit| vit.norm_eps = value, stated);
        }
        let stated = &case["rel_change_if_activation_is"];
        for (activation, quick) in [("gelu_erf", false), ("quick_gelu", true)] {
            if stated[activation].as_f64().is_some_and(|it| it > 0.0) {
                compare(
                    activation,
                    &|vit| vit.quick_gelu = quick,
                    &stated[activation],
                );
            }
        }
    }
}

/// An error in one field of a model is found in that field.
#[test]
fn planted_errors_of_the_catalogue_are_caught() {
    let path = fixtures::copies().join("parity/models/timm_configs.json");
    let table: Json = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    for (name, expected) in table["models"].as_object().unwrap() {
        let right = config(name);
        let plant = |field: &'static str, spoil: &dyn Fn(&mut Config)| {
            let mut wrong = right.clone();
            spoil(&mut wrong);
            assert_eq!(catalogue_differences(&wrong, expected), [field], "{name}");
        };
        plant("crop_pct", &|it| it.input.crop -= 0.025);
        plant("mean", &|it| it.input.mean[2] += 1e-3);
        plant("std", &|it| it.input.std[0] -= 1e-3);
        plant("interpolation", &|it| {
            it.input.interpolation = match it.input.interpolation {
                Filter::Bicubic => Filter::Bilinear,
                _ => Filter::Bicubic,
            };
        });
        plant("norm_eps", &|it| match &mut it.network {
            Network::Vit(vit) => vit.norm_eps *= 10.0,
            Network::Resnet(_) => {}
        });
    }
}
