//! Reference values of optimal transport: cases with their points, entries with their tolerances.
//!
//! Cases and entries are whatever lies in `RIBFLOW_FIXTURES/ot` (default: `tests/reference/ot`).

use std::path::Path;

use ribflow::ml::ot::{Labelled, Points};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::fixtures;

pub struct Case {
    pub name: String,
    pub values: Value,
    tensors: Vec<u8>,
    /// The scale that absolute tolerances are relative to.
    pub cost_mean: f64,
}

/// Every case that lies in the folder.
pub fn cases() -> Vec<Case> {
    let folder = fixtures::folder().join("ot");
    let Ok(text) = std::fs::read_to_string(folder.join("expected.json")) else {
        println!("not there, so not compared: {}", folder.display());
        return Vec::new();
    };
    let expected: Value = serde_json::from_str(&text).unwrap();
    let cases = expected["cases"].as_object().unwrap();
    cases
        .iter()
        .filter_map(|(name, case)| Case::read(&folder, name, case))
        .collect()
}

impl Case {
    fn read(folder: &Path, name: &str, case: &Value) -> Option<Self> {
        let path = folder.join(format!("{name}.safetensors"));
        let Ok(tensors) = std::fs::read(&path) else {
            println!("not there, so not compared: {}", path.display());
            return None;
        };
        let mut case = Self {
            name: name.to_string(),
            values: case["values"].clone(),
            cost_mean: case["values"]["cost_mean_sqeuclidean"]["value"]
                .as_f64()
                .unwrap_or(0.0),
            tensors,
        };
        if case.cost_mean == 0.0 && case.has("cost") {
            let (cost, _) = case.tensor("cost");
            case.cost_mean = cost.iter().sum::<f64>() / cost.len() as f64;
        }
        Some(case)
    }

    pub fn has(&self, tensor: &str) -> bool {
        SafeTensors::deserialize(&self.tensors)
            .unwrap()
            .tensor(tensor)
            .is_ok()
    }

    pub fn tensor(&self, name: &str) -> (Vec<f64>, Vec<usize>) {
        let tensors = SafeTensors::deserialize(&self.tensors).unwrap();
        let view = tensors.tensor(name).unwrap();
        let bytes = view.data();
        let eight = || bytes.chunks_exact(8).map(|bytes| bytes.try_into().unwrap());
        let values = match view.dtype() {
            Dtype::F64 => eight().map(f64::from_le_bytes).collect(),
            Dtype::I64 => eight()
                .map(|bytes| i64::from_le_bytes(bytes) as f64)
                .collect(),
            Dtype::F32 => bytes
                .chunks_exact(4)
                .map(|bytes| f64::from(f32::from_le_bytes(bytes.try_into().unwrap())))
                .collect(),
            other => panic!("{name} is {other:?}"),
        };
        (values, view.shape().to_vec())
    }

    pub fn points(&self, name: &str) -> Points {
        let (values, shape) = self.tensor(name);
        Points::new(values, shape[1]).unwrap()
    }

    pub fn sides(&self) -> (Points, Points) {
        (self.points("a_x"), self.points("b_x"))
    }

    pub fn labelled(&self, points: &str, labels: &str) -> Labelled {
        let labels = self.tensor(labels).0.into_iter().map(|label| label as u32);
        Labelled::new(self.points(points), labels.collect()).unwrap()
    }

    pub fn labelled_sides(&self) -> (Labelled, Labelled) {
        (self.labelled("a_x", "a_y"), self.labelled("b_x", "b_y"))
    }

    /// The entries whose key starts with `prefix`.
    pub fn entries(&self, prefix: &str) -> Vec<Entry<'_>> {
        let entries = self.values.as_object().unwrap().iter();
        entries
            .filter(|(key, _)| key.starts_with(prefix))
            .map(|(key, entry)| Entry {
                case: self,
                key,
                entry,
            })
            .collect()
    }
}

pub struct Entry<'a> {
    case: &'a Case,
    pub key: &'a str,
    entry: &'a Value,
}

impl<'a> Entry<'a> {
    pub fn value(&self) -> &'a Value {
        &self.entry["value"]
    }

    /// The settings of the other program, in words; empty where the fixture states none.
    pub fn params(&self) -> &'a str {
        self.entry["params"].as_str().unwrap_or_default()
    }

    /// The names in the value; none where it is a number or a list.
    pub fn fields(&self) -> Vec<&'a str> {
        let fields = self.value().as_object().into_iter().flatten();
        fields.map(|(field, _)| field.as_str()).collect()
    }

    /// The number at `field`; `None` where the fixture has none (a check that could not be made).
    pub fn number(&self, field: &str) -> Option<f64> {
        self.value()[field].as_f64()
    }

    /// `|got - value| ≤ max(rtol |value|, 1e-9 · mean cost)`, as the fixtures propose.
    pub fn check(&self, what: &str, got: f64, expected: f64) {
        self.within(what, got, expected, "rtol_f64", 1e-9);
    }

    /// The same for a number that was computed in f32.
    pub fn check_single(&self, what: &str, got: f64, expected: f64) {
        self.within(what, got, expected, "rtol_f32", 5e-5);
    }

    fn within(&self, what: &str, got: f64, expected: f64, relative: &str, floor: f64) {
        let relative = self.entry[relative].as_f64().unwrap();
        let allowed = (relative * expected.abs()).max(floor * self.case.cost_mean);
        let (case, key) = (&self.case.name, self.key);
        assert!(
            (got - expected).abs() <= allowed,
            "{case}.{key}.{what}: {got} for {expected}, off by {:e} of {allowed:e}",
            (got - expected).abs()
        );
    }

    /// Compares a field if the fixture has it.
    pub fn check_field(&self, field: &str, got: f64) {
        if let Some(expected) = self.number(field) {
            self.check(field, got, expected);
        }
    }

    /// Compares a matrix or a list, in its order.
    pub fn check_all(&self, what: &str, got: &[f64], expected: &Value) {
        let expected = flat(expected);
        assert_eq!(got.len(), expected.len(), "{}.{what}", self.key);
        for (got, expected) in got.iter().zip(expected) {
            self.check(what, *got, expected);
        }
    }
}

pub fn flat(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(flat).collect(),
        other => vec![other.as_f64().unwrap()],
    }
}
