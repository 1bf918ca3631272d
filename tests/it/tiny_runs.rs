//! The table of short runs of a tiny ViT: its settings, names, shapes and inputs.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use ribflow::ml::data::resize::Filter;
use ribflow::ml::models::config::Input;
use ribflow::ml::models::{Config, Model, Network, Vit, VitStart};
use ribflow::ml::train::method::{Anchored, Lora, Lwf, Method, Part, Plain, Prompt};
use serde_json::Value;

use crate::described::{Described, after, named};
use crate::rule;

fn read(path: &std::path::Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

pub fn count(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

/// The table of runs, and what it states about all of them.
pub struct Runs {
    pub fixture: Value,
    /// The settings of LwF and LoRA, which the table of runs does not state.
    pieces: Value,
}

impl Runs {
    pub fn read(fixtures: &std::path::Path) -> Self {
        let folder = fixtures.join("parity/methods");
        let pieces = folder.join("methods.json");
        Self {
            fixture: read(&folder.join("tiny_vit_runs.json")),
            pieces: if pieces.exists() {
                read(&pieces)
            } else {
                Value::Null
            },
        }
    }

    fn text(&self, field: &str) -> &str {
        self.fixture[field].as_str().unwrap()
    }

    pub fn runs(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.fixture["runs"].as_object().unwrap().iter()
    }

    pub fn classes(&self) -> usize {
        count(&self.fixture["config"]["num_classes"])
    }

    /// What stands before the names of tensors in the rule.
    pub fn prefix(&self) -> String {
        let (_, rest) = self.text("weights").split_once("prefix").unwrap();
        named(rest).0
    }

    pub fn images(&self, step: &str, batch: usize) -> Tensor {
        let images = Described::read(self.text("x"), &[("B", batch)]);
        images.at(step).tensor()
    }

    pub fn labels(&self, step: usize, batch: usize, classes: u64) -> Vec<u32> {
        let (name, _) = named(self.text("labels"));
        rule::labels(&name.replace("{step}", &step.to_string()), batch, classes)
    }

    /// The shapes of the start's tensors.
    pub fn shapes(&self, clip_style: bool) -> BTreeMap<String, Vec<usize>> {
        let field = match clip_style {
            true => "state_dict_clipstyle",
            false => "state_dict",
        };
        let shape = |(name, entry): (&String, &Value)| {
            let shape = entry.get("shape").unwrap_or(entry).clone();
            (name.clone(), serde_json::from_value(shape).unwrap())
        };
        let tensors = self.fixture[field].as_object().unwrap();
        tensors.iter().map(shape).collect()
    }

    fn config(&self, clip_style: bool) -> Config {
        let shapes = self.shapes(clip_style);
        let stated = &self.fixture["config"];
        // The file states the ε of the usual network only; CLIP's is another.
        let norm_eps = match clip_style {
            true => 1e-5,
            false => after(self.text("weights"), "eps").unwrap(),
        };
        Config {
            arch: "tiny".to_string(),
            classes: (0..self.classes()).map(|it| it.to_string()).collect(),
            embedding: None,
            headless: false,
            prompt: None,
            input: Input {
                size: count(&stated["img_size"]),
                mean: [0.5; 3],
                std: [0.5; 3],
                interpolation: Filter::Bicubic,
                crop: 1.0,
            },
            network: Network::Vit(Vit {
                patch: count(&stated["patch_size"]),
                width: count(&stated["embed_dim"]),
                depth: count(&stated["depth"]),
                heads: count(&stated["num_heads"]),
                hidden: shapes["blocks.0.mlp.fc1.weight"][0],
                norm_eps,
                norm_pre: shapes.contains_key("norm_pre.weight"),
                patch_bias: shapes.contains_key("patch_embed.proj.bias"),
                qkv_bias: shapes.contains_key("blocks.0.attn.qkv.bias"),
                quick_gelu: false,
                start: VitStart::Normal,
            }),
        }
    }

    pub fn start(&self, clip_style: bool) -> Model {
        let config = self.config(clip_style);
        let shapes: BTreeMap<String, Vec<usize>> = (config.tensors().into_iter())
            .map(|spec| (spec.name, spec.shape))
            .collect();
        assert_eq!(shapes, self.shapes(clip_style));
        let prefix = self.prefix();
        let tensors = shapes.into_iter().map(|(name, shape)| {
            let values = rule::tensor(&format!("{prefix}{name}"), &shape);
            let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
            (name, tensor)
        });
        let tensors = tensors.collect();
        Model::from_tensors(config, tensors).unwrap()
    }

    fn setting(&self, method: &str, field: &str, default: f64) -> f64 {
        self.pieces[method][field].as_f64().unwrap_or(default)
    }

    /// The method of `run`, which starts from `start`.
    pub fn method(&self, run: &Value, start: &Model) -> Box<dyn Method> {
        match run["method"].as_str().unwrap() {
            "FT" | "LPFT" => Box::new(Plain { part: Part::All }),
            "HeadOnly" => Box::new(Plain {
                part: Part::Released,
            }),
            "lora" => {
                let alpha = self.setting("lora", "lora_alpha", 1.0);
                Box::new(Lora::new(start, rank(run, start), alpha).unwrap())
            }
            "Prompter" => Box::new(Prompt::new(start, pad(run, start)).unwrap()),
            "lwf" => Box::new(Lwf {
                teacher: start.clone(),
                strength: self.setting("lwf", "alpha", 1.0),
                temperature: self.setting("lwf", "temperature", 2.0),
            }),
            "ewc" => Box::new(Anchored::new(start, None, 1.0)),
            other => panic!("unknown method {other}"),
        }
    }

    /// The run of the head that LPFT continues: its settings are the same.
    pub fn probe(&self, run: &Value) -> &Value {
        let fields = ["mask", "lr", "warmup", "total_steps", "batch", "clip_style"];
        let fits = |other: &Value| {
            other["method"] == "HeadOnly" && fields.iter().all(|field| other[field] == run[field])
        };
        let mut found = self.runs().map(|(_, run)| run).filter(|run| fits(run));
        found.next().expect("the run of the head before LPFT")
    }
}

/// The rank of LoRA's factors, from how many numbers train.
fn rank(run: &Value, start: &Model) -> usize {
    let names: Vec<String> = serde_json::from_value(run["trainable"].clone()).unwrap();
    let tensors = start.tensors();
    let own = names.iter().filter_map(|name| tensors.get(name));
    let own: usize = own.map(Tensor::elem_count).sum();
    let Network::Vit(vit) = &start.config().network else {
        panic!("LoRA without attention");
    };
    let blocks = names.iter().filter(|name| name.ends_with("lora_A")).count();
    // A is [2·rank, width] and B [2·width, rank].
    (count(&run["trainable_numel"]) - own) / (4 * vit.width * blocks)
}

/// The width of a prompt's sides, from how many numbers train.
fn pad(run: &Value, start: &Model) -> usize {
    let size = start.config().input.size;
    let numbers = |pad: &usize| 12 * pad * (size - pad) == count(&run["trainable_numel"]);
    (1..=size / 2).find(numbers).expect("the width of a prompt")
}
