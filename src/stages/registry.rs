//! The registry of all stage kinds of this build, for the language and for workers.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use super::derived::{InputArtifacts, Work};
use super::price::{CostEstimate, InputForecasts};
use super::task::{Context, Outputs, Stage, TaskError, Weight};
use crate::contract::port::{OutputSpec, PortType};
use crate::contract::source::Source;
use crate::workflow::kind::{
    BoundInput, ClassForecast, Comparison, InputClasses, InputSpec, Kind, Kinds, Meaning, OnlyWith,
    Origins, ParameterProblem, Parameters, Withholds, WorkflowFile,
};
use crate::workflow::ranges;

/// A node with typed parameters that can be run.
pub trait Task: Send + Sync {
    fn price(&self, foreseen: &InputForecasts) -> CostEstimate;
    fn weight(&self) -> Weight;
    fn derived(&self, given: &InputArtifacts, device_class: &str) -> Vec<Work>;
    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError>;
}

type ParseTask = fn(&Value) -> Result<Box<dyn Task>, Vec<ParameterProblem>>;

/// The kinds of this build.
#[derive(Clone, Default)]
pub struct Registry {
    kinds: Kinds,
    tasks: BTreeMap<String, ParseTask>,
}

impl Registry {
    /// Adds a kind.
    pub fn with<S: Stage>(mut self) -> Self {
        let kind: Arc<dyn Kind> = Arc::new(StageKind::<S>::new());
        self.kinds.0.insert(S::NAME.to_string(), kind);
        self.tasks.insert(S::NAME.to_string(), parse_task::<S>);
        self
    }

    /// The view for `workflow`.
    pub fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    /// The task of a node of `kind`; `None` if this build does not have the kind.
    pub fn task(
        &self,
        kind: &str,
        with: &Value,
    ) -> Option<Result<Box<dyn Task>, Vec<ParameterProblem>>> {
        self.tasks.get(kind).map(|parse| parse(with))
    }
}

struct StageKind<S> {
    /// The JSON Schema of `with:`.
    schema: Arc<LazyLock<Value>>,
    stage: PhantomData<fn() -> S>,
}

impl<S: Stage> StageKind<S> {
    fn new() -> Self {
        let schema: fn() -> Value = || schemars::schema_for!(S).to_value();
        Self {
            schema: Arc::new(LazyLock::new(schema)),
            stage: PhantomData,
        }
    }

    fn parameters(&self, stage: S) -> Box<dyn Parameters> {
        Box::new(TypedParameters {
            schema: self.schema.clone(),
            stage,
        })
    }
}

impl<S: Stage> Kind for StageKind<S> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn version(&self) -> u32 {
        S::VERSION
    }

    fn summary(&self) -> &'static str {
        S::SUMMARY
    }

    fn schema(&self) -> Value {
        Value::clone(&self.schema)
    }

    fn parse(&self, with: &Value) -> Result<Box<dyn Parameters>, Vec<ParameterProblem>> {
        parse_stage::<S>(with).map(|stage| self.parameters(stage))
    }

    fn comparison(&self) -> Comparison {
        S::COMPARISON
    }

    fn meaning(&self) -> Meaning {
        S::MEANING
    }

    fn usual(&self) -> Box<dyn Parameters> {
        self.parameters(S::default())
    }

    fn conditional_inputs(&self) -> Vec<OnlyWith<InputSpec>> {
        S::conditional_inputs()
    }

    fn conditional_outputs(&self) -> Vec<OnlyWith<OutputSpec>> {
        S::conditional_outputs()
    }

    fn ordered_fields(&self) -> &'static [&'static str] {
        S::ORDERED_FIELDS
    }

    fn file_fields(&self) -> &'static [&'static str] {
        S::FILE_FIELDS
    }
}

/// A stage, as the language sees it.
struct TypedParameters<S> {
    schema: Arc<LazyLock<Value>>,
    stage: S,
}

impl<S: Stage> Parameters for TypedParameters<S> {
    fn canonical(&self) -> Value {
        canonical(&self.stage)
    }

    fn inputs(&self) -> Vec<InputSpec> {
        self.stage.inputs()
    }

    fn open_inputs(&self) -> Option<&'static [PortType]> {
        self.stage.open_inputs()
    }

    fn outputs(&self) -> Vec<OutputSpec> {
        self.stage.outputs()
    }

    fn sources(&self) -> Vec<Source> {
        self.stage.sources()
    }

    fn files(&self) -> Vec<WorkflowFile> {
        self.stage.files()
    }

    fn passed_variables(&self) -> &[String] {
        self.stage.passed_variables()
    }

    fn withholds(&self) -> Withholds {
        self.stage.withholds()
    }

    fn check(&self, inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        let mut problems = self.stage.check(inputs);
        // Every part of `with:` serialises: the key is computed from it.
        let with = serde_json::to_value(&self.stage).unwrap_or_default();
        for problem in ranges::problems(&self.schema, &with) {
            if !problems.iter().any(|other| other.path == problem.path) {
                problems.push(problem);
            }
        }
        problems
    }

    fn origin_problems(&self, given: &dyn Fn() -> Origins) -> Vec<ParameterProblem> {
        self.stage.origin_problems(given)
    }

    fn classes(&self, inputs: &InputClasses) -> ClassForecast {
        self.stage.classes(inputs)
    }
}

/// A stage that can be run.
struct TypedTask<S>(S);

impl<S: Stage> Task for TypedTask<S> {
    fn price(&self, foreseen: &InputForecasts) -> CostEstimate {
        self.0.price(foreseen)
    }

    fn weight(&self) -> Weight {
        self.0.weight()
    }

    fn derived(&self, given: &InputArtifacts, device_class: &str) -> Vec<Work> {
        self.0.derived(given, device_class)
    }

    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError> {
        self.0.run(context)
    }
}

fn parse_task<S: Stage>(with: &Value) -> Result<Box<dyn Task>, Vec<ParameterProblem>> {
    parse_stage::<S>(with).map(|stage| Box::new(TypedTask(stage)) as Box<dyn Task>)
}

/// The fields that differ from their default. Locations serialise as null, so they are left out
/// too.
fn canonical<S: Stage>(stage: &S) -> Value {
    let encode = |stage: &S| match serde_json::to_value(stage) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let defaults = encode(&S::default());
    let mut fields = encode(stage);
    fields.retain(|name, value| !value.is_null() && defaults.get(name) != Some(value));
    Value::Object(fields)
}

fn parse_stage<S: Stage>(with: &Value) -> Result<S, Vec<ParameterProblem>> {
    ParameterProblem::typed(with)
}
