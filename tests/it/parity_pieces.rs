//! The pieces of the methods on their own, against PyTorch. Names, shapes, scales and masks are
//! those that the fixture states.

use candle_core::{Device, Tensor};
use ribflow::ml::ops::{self, Activation, Tape, Targets};
use ribflow::ml::train::schedule::Schedule;
use safetensors::SafeTensors;
use serde_json::Value;

use crate::described::Described;
use crate::{fixtures, rule};

/// The numbers and arrays of the fixture.
struct Pieces {
    numbers: Value,
    arrays: Vec<u8>,
}

impl Pieces {
    /// `None` where another folder than this repository's has none.
    fn read() -> Option<Self> {
        let folder = fixtures::folder().join("parity/methods");
        if !folder.join("methods.json").exists() && fixtures::folder() != fixtures::copies() {
            eprintln!("{}: not there, nothing compared", folder.display());
            return None;
        }
        let numbers = std::fs::read(folder.join("methods.json")).unwrap();
        Some(Self {
            numbers: serde_json::from_slice(&numbers).unwrap(),
            arrays: std::fs::read(folder.join("methods.safetensors")).unwrap(),
        })
    }

    fn array(&self, name: &str) -> Vec<f32> {
        let arrays = SafeTensors::deserialize(&self.arrays).unwrap();
        let view = arrays.tensor(name).unwrap();
        let (chunks, _) = view.data().as_chunks::<4>();
        chunks.iter().map(|it| f32::from_le_bytes(*it)).collect()
    }

    /// Relative L2 against the array `name`.
    fn near(&self, name: &str, found: &Tensor) {
        let (found, expected) = (values(found), self.array(name));
        assert_eq!(found.len(), expected.len(), "{name}");
        let gap: Vec<f32> = found.iter().zip(&expected).map(|(a, b)| a - b).collect();
        let error = (squares(&gap) / squares(&expected)).sqrt();
        assert!(error < 1e-5, "{name}: {error:e}");
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn squares(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value).powi(2)).sum()
}

fn scalar(value: &ops::Value) -> f64 {
    f64::from(value.tensor().to_scalar::<f32>().unwrap())
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn close(what: &str, found: f64, expected: f64) {
    let error = (found / expected - 1.0).abs();
    assert!(error < 1e-5, "{what}: {found} for {expected}");
}

#[test]
fn parity_lwf_alone() {
    let Some(pieces) = Pieces::read() else { return };
    let stated = &pieces.numbers["lwf"];
    let described = |field: &str| Described::read(stated[field].as_str().unwrap(), &[]).tensor();
    let tape = Tape::new();
    let student = tape.leaf(described("student"));
    let teacher = described("teacher");
    let classes = fixtures::classes(&stated["mask"], teacher.dims()[1]);
    let index = Tensor::new(classes.as_slice(), &Device::Cpu).unwrap();
    let teacher = teacher.index_select(&index, 1).unwrap();
    let temperature = number(&stated["temperature"]);
    let loss = tape.distillation(&student, &teacher, temperature).unwrap();
    close("LwF", scalar(&loss), number(&stated["value"]));

    let labels: Vec<u32> = serde_json::from_value(stated["labels"].clone()).unwrap();
    let targets = Targets {
        labels: &labels,
        smoothing: 0.0,
    };
    let entropy = tape.cross_entropy(&student, targets).unwrap();
    close("LwF's entropy", scalar(&entropy), number(&stated["ce"]));
    let total = scalar(&entropy) + number(&stated["alpha"]) * scalar(&loss);
    close("LwF's total", total, number(&stated["total"]));
    let gradient = tape.backward(&loss).unwrap().take(&student).unwrap();
    pieces.near("lwf.grad_student", &gradient);
}

/// What the fixture states of LoRA.
struct Stated<'a>(&'a Value);

impl Stated<'_> {
    fn tensor(&self, end: &str) -> Tensor {
        let names = self.0["names"].as_array().unwrap().iter();
        let mut names = names.filter_map(|name| name.as_str());
        let name = names.find(|name| name.ends_with(&format!(".{end}")));
        let shape: Vec<usize> = serde_json::from_value(self.0["shapes"][end].clone()).unwrap();
        let values = rule::tensor(name.unwrap(), &shape);
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }
}

#[test]
fn parity_lora_alone() {
    let Some(pieces) = Pieces::read() else { return };
    let stated = Stated(&pieces.numbers["lora"]);
    // Queries and values: the only change that LoRA makes here.
    assert_eq!(stated.0["enable"], serde_json::json!([true, false, true]));
    let scaling = number(&stated.0["scaling"]);
    let by_rank = number(&stated.0["lora_alpha"]) / number(&stated.0["r"]);
    assert!((scaling - by_rank).abs() < 1e-12);
    let weight = stated.tensor("weight");
    let tape = Tape::new();
    let a = tape.leaf(stated.tensor("lora_A"));
    let b = tape.leaf(stated.tensor("lora_B"));
    let changed = tape.low_rank(&weight, &a, &b, scaling).unwrap();
    let change = values(&(changed.tensor() - &weight).unwrap());
    let expected = pieces.array("lora.delta_w");
    assert_eq!(change.len(), expected.len());
    let error = change.iter().zip(expected).map(|(a, b)| (a - b).abs());
    assert!(error.fold(0.0, f32::max) < 1e-6, "LoRA's change");
    let bias = ops::Value::constant(stated.tensor("bias"));
    let width = weight.dims()[1];
    let x = Described::read(stated.0["x"].as_str().unwrap(), &[("D", width)]);
    let x = ops::Value::constant(x.tensor());
    let output = tape
        .linear(&x, &changed, Some(&bias), Activation::None)
        .unwrap();
    pieces.near("lora.out", output.tensor());
    // The loss is the sum of the squares.
    let seed = (output.tensor() * 2.0).unwrap();
    let mut gradients = tape.backward_from(&output, seed).unwrap();
    pieces.near("lora.grad_A", &gradients.take(&a).unwrap());
    pieces.near("lora.grad_B", &gradients.take(&b).unwrap());
}

#[test]
fn parity_schedules() {
    let Some(pieces) = Pieces::read() else { return };
    for (name, steps) in pieces.numbers["lr"].as_object().unwrap() {
        let numbers: Vec<f64> = name.split(',').map(|it| it.parse().unwrap()).collect();
        let schedule = Schedule {
            base: numbers[0],
            warmup: numbers[1] as u64,
            total: numbers[2] as u64,
        };
        for (step, expected) in steps.as_object().unwrap() {
            let found = schedule.rate(step.parse().unwrap());
            let error = (found - number(expected)).abs();
            assert!(error < 1e-9, "rate of step {step} of {name}");
        }
    }
}

#[test]
fn parity_shapes_of_prompts() {
    let Some(pieces) = Pieces::read() else { return };
    let stated = &pieces.numbers["prompter"];
    let up = &stated["shapes"]["pad_up"];
    let side = |place: usize| up[place].as_u64().unwrap() as usize;
    let specs = ribflow::ml::models::prompt::tensors(side(2), side(3));
    assert_eq!(stated["shapes"].as_object().unwrap().len(), specs.len());
    let mut numbers = 0;
    for spec in specs {
        let expected = &stated["shapes"][spec.name.trim_start_matches("prompter.")];
        assert_eq!(serde_json::json!(spec.shape), *expected, "{}", spec.name);
        numbers += spec.shape.iter().product::<usize>();
    }
    assert_eq!(stated["numel"].as_u64(), Some(numbers as u64));
}
