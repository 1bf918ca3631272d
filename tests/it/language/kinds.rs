//! Kinds for tests: typed as the real ones, and nothing behind them.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use ribflow::contract::port::{OutputSpec, PortType};
use ribflow::contract::source::Source;
use ribflow::workflow::kind::{
    BoundInput, Comparison, Gathers, InputSpec, Kind, Kinds, Meaning, ParameterProblem, Parameters,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a test kind says of itself; everything that can be left out is.
pub trait With:
    Default + DeserializeOwned + Serialize + schemars::JsonSchema + Clone + Send + Sync + 'static
{
    const NAME: &'static str;
    fn inputs(&self) -> Vec<InputSpec>;
    fn outputs(&self) -> Vec<OutputSpec>;
    fn open_inputs(&self) -> Option<&'static [PortType]> {
        None
    }
    fn check(&self, _inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        Vec::new()
    }
}

struct TestKind<W>(PhantomData<fn() -> W>);

struct Typed<W>(W);

impl<W: With> Kind for TestKind<W> {
    fn name(&self) -> &'static str {
        W::NAME
    }

    fn version(&self) -> u32 {
        1
    }

    fn summary(&self) -> &'static str {
        "A kind for tests."
    }

    fn schema(&self) -> Value {
        schemars::schema_for!(W).to_value()
    }

    fn parse(&self, with: &Value) -> Result<Box<dyn Parameters>, Vec<ParameterProblem>> {
        let typed: W = ParameterProblem::typed(with)?;
        Ok(Box::new(Typed(typed)))
    }

    fn comparison(&self) -> Comparison {
        Comparison::BitEqual
    }

    fn meaning(&self) -> Meaning {
        // That of the kind that it stands for.
        let real = ribflow::stages::registry();
        let real = real.kinds().get(W::NAME);
        real.map_or(Meaning::Plain, |kind| kind.meaning())
    }

    fn usual(&self) -> Box<dyn Parameters> {
        Box::new(Typed(W::default()))
    }
}

impl<W: With> Parameters for Typed<W> {
    fn canonical(&self) -> Value {
        serde_json::to_value(&self.0).unwrap()
    }

    fn inputs(&self) -> Vec<InputSpec> {
        self.0.inputs()
    }

    fn open_inputs(&self) -> Option<&'static [PortType]> {
        self.0.open_inputs()
    }

    fn outputs(&self) -> Vec<OutputSpec> {
        self.0.outputs()
    }

    fn sources(&self) -> Vec<Source> {
        Vec::new()
    }

    fn withholds(&self) -> ribflow::workflow::kind::Withholds {
        ribflow::workflow::kind::Withholds::Nothing
    }

    fn check(&self, inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        self.0.check(inputs)
    }
}

fn out(name: &str, gives: PortType) -> Vec<OutputSpec> {
    vec![OutputSpec::new(name, gives)]
}

#[derive(Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dataset {
    builtin: Option<String>,
    preset: Option<String>,
    folder: Option<String>,
    part: Option<String>,
    domain: Option<String>,
    split: Option<String>,
    classes: Option<String>,
    root: Option<String>,
    limit: Option<u32>,
}

impl With for Dataset {
    const NAME: &'static str = "dataset";
    fn inputs(&self) -> Vec<InputSpec> {
        vec![InputSpec::one("folder", PortType::Files).optional()]
    }
    fn outputs(&self) -> Vec<OutputSpec> {
        out("data", PortType::Dataset)
    }
}

#[derive(Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Concat {}

impl With for Concat {
    const NAME: &'static str = "concat";
    fn inputs(&self) -> Vec<InputSpec> {
        vec![InputSpec::many("parts", PortType::Dataset, Gathers::Any)]
    }
    fn outputs(&self) -> Vec<OutputSpec> {
        out("data", PortType::Dataset)
    }
}

#[derive(Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Corrupt {
    corruption: String,
    severity: u8,
    seed: u64,
    textures: Option<String>,
}

impl With for Corrupt {
    const NAME: &'static str = "corrupt";
    fn inputs(&self) -> Vec<InputSpec> {
        vec![InputSpec::one("images", PortType::Dataset)]
    }
    fn outputs(&self) -> Vec<OutputSpec> {
        out("data", PortType::Dataset)
    }
    fn check(&self, _inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        if (1..=5).contains(&self.severity) {
            return Vec::new();
        }
        let message = format!("a severity is 1 to 5, not {}", self.severity);
        vec![ParameterProblem::value("severity", message)]
    }
}

#[derive(Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    hub: Option<String>,
    revision: Option<String>,
    transform: Option<String>,
    path: Option<String>,
    arch: Option<String>,
}

impl With for Checkpoint {
    const NAME: &'static str = "checkpoint";
    fn inputs(&self) -> Vec<InputSpec> {
        Vec::new()
    }
    fn outputs(&self) -> Vec<OutputSpec> {
        out("model", PortType::Model)
    }
}

#[derive(Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pretrain {
    arch: String,
    epochs: u32,
    batch: Option<u32>,
    warmup: Option<f64>,
    seed: Option<u64>,
}

impl With for Pretrain {
    const NAME: &'static str = "pretrain";
    fn inputs(&self) -> Vec<InputSpec> {
        vec![InputSpec::one("data", PortType::Dataset)]
    }
    fn outputs(&self) -> Vec<OutputSpec> {
        out("model", PortType::Model)
    }
}

#[derive(Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Finetune {
    method: String,
    train: Option<String>,
    epochs: u32,
    lr: Option<f64>,
    batch: Option<u32>,
    warmup: Option<f64>,
    seed: Option<u64>,
}

impl With for Finetune {
    const NAME: &'static str = "finetune";
    fn inputs(&self) -> Vec<InputSpec> {
        vec![
            InputSpec::one("init", PortType::Model),
            InputSpec::one("data", PortType::Dataset),
        ]
    }
    fn outputs(&self) -> Vec<OutputSpec> {
        let mut outputs = out("model", PortType::Model);
        outputs.extend(out("history", PortType::Table));
        outputs
    }
}

#[derive(Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Average {
    weights: Option<Vec<f64>>,
}

impl With for Average {
    const NAME: &'static str = "average";
    fn inputs(&self) -> Vec<InputSpec> {
        vec![InputSpec::many("models", PortType::Model, Gathers::Any)]
    }
    fn outputs(&self) -> Vec<OutputSpec> {
        out("model", PortType::Model)
    }
}

#[derive(Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evaluate {
    batch: Option<u32>,
}

impl With for Evaluate {
    const NAME: &'static str = "evaluate";
    fn inputs(&self) -> Vec<InputSpec> {
        vec![
            InputSpec::one("model", PortType::Model),
            InputSpec::one("data", PortType::Dataset),
        ]
    }
    fn outputs(&self) -> Vec<OutputSpec> {
        out("metrics", PortType::Metrics)
    }
}

#[derive(Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ot {
    distance: Distance,
    samples: Option<u32>,
    seed: Option<u64>,
}

#[derive(Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Distance {
    #[default]
    Otdd,
    W2,
}

impl With for Ot {
    const NAME: &'static str = "ot";
    fn inputs(&self) -> Vec<InputSpec> {
        vec![
            InputSpec::one("model", PortType::Model),
            InputSpec::one("a", PortType::Dataset),
            InputSpec::one("b", PortType::Dataset),
        ]
    }
    fn outputs(&self) -> Vec<OutputSpec> {
        out("metrics", PortType::Metrics)
    }
}

#[derive(Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rib {
    tuned_on: String,
    tested_on: String,
    pretrained_on: String,
    repeats: Option<String>,
}

impl With for Rib {
    const NAME: &'static str = "rib";
    fn inputs(&self) -> Vec<InputSpec> {
        let mut roles = vec![self.tuned_on.clone(), self.tested_on.clone()];
        roles.extend(self.repeats.clone());
        vec![
            InputSpec::many("before", PortType::Metrics, Gathers::Only(roles.clone())),
            InputSpec::many("after", PortType::Metrics, Gathers::Only(roles)),
        ]
    }
    fn outputs(&self) -> Vec<OutputSpec> {
        out("metrics", PortType::Metrics)
    }
}

#[derive(Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    run: String,
    outputs: Vec<String>,
    files: Option<Vec<String>>,
    env: Option<BTreeMap<String, String>>,
}

impl With for Command {
    const NAME: &'static str = "command";
    fn inputs(&self) -> Vec<InputSpec> {
        Vec::new()
    }
    fn open_inputs(&self) -> Option<&'static [PortType]> {
        Some(&[])
    }
    fn outputs(&self) -> Vec<OutputSpec> {
        let outputs = self.outputs.iter();
        outputs
            .map(|name| OutputSpec::new(name, PortType::Files))
            .collect()
    }
}

#[derive(Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    expect: Option<String>,
}

impl With for Report {
    const NAME: &'static str = "report";
    fn inputs(&self) -> Vec<InputSpec> {
        Vec::new()
    }
    fn open_inputs(&self) -> Option<&'static [PortType]> {
        Some(&[])
    }
    fn outputs(&self) -> Vec<OutputSpec> {
        out("report", PortType::Table)
    }
}

fn add<W: With>(kinds: &mut Kinds) {
    kinds
        .0
        .insert(W::NAME.to_string(), Arc::new(TestKind::<W>(PhantomData)));
}

/// The kinds that the files of `tests/language` name.
pub fn test_kinds() -> Kinds {
    let mut kinds = Kinds::default();
    add::<Average>(&mut kinds);
    add::<Checkpoint>(&mut kinds);
    add::<Command>(&mut kinds);
    add::<Concat>(&mut kinds);
    add::<Corrupt>(&mut kinds);
    add::<Dataset>(&mut kinds);
    add::<Evaluate>(&mut kinds);
    add::<Finetune>(&mut kinds);
    add::<Ot>(&mut kinds);
    add::<Pretrain>(&mut kinds);
    add::<Report>(&mut kinds);
    add::<Rib>(&mut kinds);
    kinds
}
