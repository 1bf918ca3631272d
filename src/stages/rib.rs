//! `rib`: computes RI, mRI, before, after and drop from accuracies, by the roles of axes.
//!
//! It maps gathered members to the cells of a grid; [`crate::ml::metrics::rib`] computes the
//! metrics from the grid.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::price::{CostEstimate, InputForecasts};
use super::task::{Context, Outputs, Stage, TaskError, TaskInput, Weight};
use crate::contract::port::{OutputSpec, PortType};
use crate::diag::nearest;
use crate::ml::metrics::estimate::Estimate;
use crate::ml::metrics::rib::{
    After, Before, Cell, Design, Difference, RibError, Robustness, robustness,
};
use crate::store::artifact::{Artifact, Better, Metric, Metrics, Table};
use crate::workflow::kind::{
    BoundInput, Comparison, Gathers, InputSpec, Meaning, ParameterProblem, Withholds,
};

const BEFORE: &str = "before";
const AFTER: &str = "after";

/// The robustness improvement of fine-tuned models over the pre-trained model.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rib {
    /// The axis of the datasets on which models were fine-tuned.
    pub tuned_on: String,
    /// The axis of the datasets on which models were tested.
    pub tested_on: String,
    /// The id of the source's own held-out set on that axis. It is excluded from RI, and `drop` is
    /// the loss on it. Without it there is no `drop`.
    #[serde(default)]
    pub pretrained_on: Option<String>,
    /// The axis of repeats (seeds), for means and 95 % intervals.
    #[serde(default)]
    pub repeats: Option<String>,
    /// The metric of the members to use.
    #[serde(default = "top1")]
    pub metric: String,
}

fn top1() -> String {
    "top1".to_string()
}

impl Default for Rib {
    fn default() -> Self {
        Self {
            tuned_on: String::new(),
            tested_on: String::new(),
            pretrained_on: None,
            repeats: None,
            metric: top1(),
        }
    }
}

/// Means, and the values for every fine-tuning dataset.
const METRICS: [&str; 6] = ["mri", "before", "after", "drop", "ri[*]", "drop[*]"];

impl Stage for Rib {
    const NAME: &'static str = "rib";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str =
        "RI, mRI, before, after and drop of fine-tuned models, as ImageNet-RIB defines them.";
    const COMPARISON: Comparison = Comparison::BitEqual;
    const MEANING: Meaning = Meaning::Robustness;

    fn inputs(&self) -> Vec<InputSpec> {
        let roles = |axes: &[&String]| {
            let axes = axes.iter().copied().chain(&self.repeats).cloned();
            Gathers::Only(axes.collect())
        };
        vec![
            InputSpec::many(BEFORE, PortType::Metrics, roles(&[&self.tested_on])),
            InputSpec::many(
                AFTER,
                PortType::Metrics,
                roles(&[&self.tuned_on, &self.tested_on]),
            ),
        ]
    }

    fn outputs(&self) -> Vec<OutputSpec> {
        vec![
            OutputSpec::metrics("metrics", &METRICS),
            OutputSpec::new("table", PortType::Table),
        ]
    }

    fn withholds(&self) -> Withholds {
        Withholds::Nothing
    }

    fn check(&self, inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        let mut problems = self.check_roles();
        if problems.is_empty() {
            problems = self.check_axes(inputs);
        }
        if problems.is_empty() {
            problems = self.check_cells(inputs);
        }
        problems
    }

    fn price(&self, _foreseen: &InputForecasts) -> CostEstimate {
        CostEstimate::nothing()
    }

    fn weight(&self) -> Weight {
        Weight::Tiny
    }

    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError> {
        let before = self.accuracies(BEFORE, context.members(BEFORE))?;
        let after = self.accuracies(AFTER, context.members(AFTER))?;
        let scale = Scale::of(before.iter().chain(&after).map(|(_, metric)| metric))?;
        let before: Vec<Before> = before
            .iter()
            .map(|(cell, metric)| Before {
                tested_on: cell.tested_on.clone(),
                repeat: cell.repeat.clone(),
                accuracy: metric.value,
            })
            .collect();
        let after: Vec<After> = after
            .iter()
            .map(|(cell, metric)| After {
                tuned_on: cell.tuned_on.clone().unwrap_or_default(),
                tested_on: cell.tested_on.clone(),
                repeat: cell.repeat.clone(),
                accuracy: metric.value,
            })
            .collect();
        let found = robustness(&before, &after, self.pretrained_on.as_deref())
            .map_err(|error| TaskError::Input(self.message(&error)))?;
        Ok(
            Outputs::one("metrics", Artifact::Metrics(metrics(&found, &scale)))
                .and("table", Artifact::Table(table(&found))),
        )
    }
}

impl Rib {
    /// Checks that no two roles use the same axis.
    fn check_roles(&self) -> Vec<ParameterProblem> {
        let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
        let mut problems = Vec::new();
        for (role, axis) in self.roles() {
            if let Some(other) = taken.insert(axis, role) {
                let message = format!("`{axis}` can't be both `{other}` and `{role}`");
                problems.push(ParameterProblem::value(role, message));
            }
        }
        problems
    }

    fn roles(&self) -> Vec<(&'static str, &str)> {
        let mut roles = vec![
            ("tuned_on", self.tuned_on.as_str()),
            ("tested_on", self.tested_on.as_str()),
        ];
        roles.extend(self.repeats.as_deref().map(|axis| ("repeats", axis)));
        roles
    }

    /// Checks that the roles' axes are gathered, and that `pretrained_on` is one of the datasets.
    fn check_axes(&self, inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        let gathered = |input: &str| -> BTreeSet<&str> {
            let members = members(inputs, input);
            let axes = members.iter().flat_map(|axes| axes.keys());
            axes.map(String::as_str).collect()
        };
        let (before, after) = (gathered(BEFORE), gathered(AFTER));
        let mut problems = Vec::new();
        for (role, axis) in self.roles() {
            if !after.contains(axis) {
                problems.push(not_gathered(role, axis, AFTER, &after));
            } else if role == "tested_on" && !before.contains(axis) {
                problems.push(not_gathered(role, axis, BEFORE, &before));
            }
        }
        if let (Some(id), true) = (&self.pretrained_on, problems.is_empty()) {
            let both = members(inputs, BEFORE).iter().chain(members(inputs, AFTER));
            let ids: BTreeSet<&str> = both
                .filter_map(|axes| axes.get(&self.tested_on))
                .map(String::as_str)
                .collect();
            if !ids.contains(id.as_str()) {
                let message = format!("`{id}` is not on the axis `{}`", self.tested_on);
                problems.push(hinted("pretrained_on", message, id, &ids));
            }
        }
        problems
    }

    /// Checks that the members fill the grid.
    fn check_cells(&self, inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        let mut sides = Vec::new();
        for input in [BEFORE, AFTER] {
            let cells = members(inputs, input).iter();
            match cells.map(|axes| self.cell(input, axes)).collect() {
                Ok(cells) => sides.push(cells),
                Err(message) => return vec![ParameterProblem::input(input, message)],
            }
        }
        let [before, after]: &[Vec<Cell>; 2] = match sides.as_slice().try_into() {
            Ok(sides) => sides,
            Err(_) => return Vec::new(),
        };
        match Design::new(before, after, self.pretrained_on.as_deref()) {
            Ok(_) => Vec::new(),
            Err(error) => {
                let input = match error {
                    RibError::MissingBefore(_) => BEFORE,
                    _ => AFTER,
                };
                vec![ParameterProblem::input(input, self.message(&error))]
            }
        }
    }

    /// The cell of a member.
    fn cell(&self, input: &str, axes: &BTreeMap<String, String>) -> Result<Cell, String> {
        let required = |axis: &str| {
            let id = axes.get(axis).cloned();
            id.ok_or_else(|| format!("a member of `{input}` is not on the axis `{axis}`"))
        };
        let tuned_on = match input {
            AFTER => Some(required(&self.tuned_on)?),
            _ => None,
        };
        let repeat = match &self.repeats {
            Some(axis) if input == AFTER => Some(required(axis)?),
            Some(axis) => axes.get(axis).cloned(),
            None => None,
        };
        Ok(Cell {
            tuned_on,
            tested_on: required(&self.tested_on)?,
            repeat,
        })
    }

    /// The cells of the members, and the scale of the metric.
    fn accuracies(
        &self,
        input: &str,
        members: &[TaskInput],
    ) -> Result<Vec<(Cell, Metric)>, TaskError> {
        members
            .iter()
            .map(|member| {
                let cell = self.cell(input, &member.axes).map_err(TaskError::Input)?;
                let metric = self.metric_of(input, member)?;
                Ok((cell, metric))
            })
            .collect()
    }

    fn metric_of(&self, input: &str, member: &TaskInput) -> Result<Metric, TaskError> {
        let Artifact::Metrics(metrics) = &member.artifact else {
            return Err(TaskError::Input(format!(
                "`{input}` does not contain metrics"
            )));
        };
        metrics.values.get(&self.metric).cloned().ok_or_else(|| {
            let names: Vec<&str> = metrics.values.keys().map(String::as_str).collect();
            TaskError::Input(format!(
                "`{}` has no metric `{}`; it has {}",
                named(input, &member.axes),
                self.metric,
                names.join(", ")
            ))
        })
    }

    /// The error message, with cells named as in the workflow.
    fn message(&self, error: &RibError) -> String {
        let (input, cell) = match error {
            RibError::MissingBefore(cell) => (BEFORE, cell),
            RibError::MissingAfter(cell) => (AFTER, cell),
            RibError::Duplicate(cell) if cell.tuned_on.is_some() => (AFTER, cell),
            RibError::Duplicate(cell) => (BEFORE, cell),
            other => return other.to_string(),
        };
        let tuned_on = cell.tuned_on.iter().map(|id| (&self.tuned_on, id));
        let repeats = self.repeats.iter().zip(&cell.repeat);
        let axes: BTreeMap<String, String> = tuned_on
            .chain([(&self.tested_on, &cell.tested_on)])
            .chain(repeats)
            .map(|(axis, id)| (axis.clone(), id.clone()))
            .collect();
        let place = named(input, &axes);
        match error {
            RibError::Duplicate(_) => format!("`{place}` occurs twice"),
            _ => {
                format!("`{place}` is missing, and a mean over fewer cells would not be comparable")
            }
        }
    }
}

fn members<'a>(inputs: &'a [BoundInput], name: &str) -> &'a [BTreeMap<String, String>] {
    let input = inputs.iter().find(|input| input.name == name);
    input.map_or(&[], |input| input.members.as_slice())
}

/// `after[domain=r,test=c]`
fn named(input: &str, axes: &BTreeMap<String, String>) -> String {
    let axes: Vec<String> = axes
        .iter()
        .map(|(axis, id)| format!("{axis}={id}"))
        .collect();
    format!("{input}[{}]", axes.join(","))
}

fn not_gathered(
    role: &str,
    axis: &str,
    input: &str,
    gathered: &BTreeSet<&str>,
) -> ParameterProblem {
    let message = format!("`{input}` is not gathered over an axis `{axis}`");
    hinted(role, message, axis, gathered)
}

fn hinted(field: &str, message: String, wrong: &str, known: &BTreeSet<&str>) -> ParameterProblem {
    let problem = ParameterProblem::value(field, message);
    if let Some(name) = nearest(wrong, known.iter().copied()) {
        return problem.hint(format!("did you mean `{name}`?"));
    }
    let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    match known.len() {
        0 => problem.hint("gather it in `needs`: `stage[*]`"),
        _ => problem.hint(format!("use one of {}", known.join(", "))),
    }
}

/// The common unit and direction of all members.
struct Scale {
    unit: String,
    better: Option<Better>,
}

impl Scale {
    fn of<'a>(mut metrics: impl Iterator<Item = &'a Metric>) -> Result<Self, TaskError> {
        let Some(first) = metrics.next() else {
            return Err(TaskError::Input(
                "there is no member to compare".to_string(),
            ));
        };
        for metric in metrics {
            if metric.unit != first.unit || metric.better != first.better {
                return Err(TaskError::Input(format!(
                    "members differ in unit or direction: `{}` and `{}`",
                    first.unit, metric.unit
                )));
            }
        }
        Ok(Self {
            unit: first.unit.clone(),
            better: first.better,
        })
    }

    /// The unit of a difference.
    fn points(&self) -> &str {
        match self.unit.as_str() {
            "percent" => "points",
            other => other,
        }
    }

    /// The direction of a loss.
    fn worse(&self) -> Option<Better> {
        self.better.map(|better| match better {
            Better::Higher => Better::Lower,
            Better::Lower => Better::Higher,
        })
    }
}

/// The means, and `ri[…]` and `drop[…]` for every fine-tuning dataset, as metrics of the node's
/// default port.
fn metrics(found: &Robustness, scale: &Scale) -> Metrics {
    let metric = |estimate: &Estimate, unit: &str, better| Metric {
        n: Some(estimate.n),
        interval: estimate.interval,
        better,
        ..Metric::new(estimate.mean, unit)
    };
    let mut values = BTreeMap::from([
        (
            "mri".to_string(),
            metric(&found.mri, scale.points(), scale.better),
        ),
        (
            "before".to_string(),
            metric(&found.before, &scale.unit, scale.better),
        ),
        (
            "after".to_string(),
            metric(&found.after, &scale.unit, scale.better),
        ),
    ]);
    if let Some(drop) = &found.drop {
        values.insert(
            "drop".to_string(),
            metric(drop, scale.points(), scale.worse()),
        );
    }
    for domain in &found.domains {
        let name = |measure: &str| format!("{measure}[{}]", domain.tuned_on);
        let ri = metric(&domain.ri, scale.points(), scale.better);
        values.insert(name("ri"), ri);
        if let Some(pretrained) = &domain.pretrained {
            let lost = negated(&pretrained.change);
            let drop = metric(&lost, scale.points(), scale.worse());
            values.insert(name("drop"), drop);
        }
    }
    Metrics { values }
}

/// One row per RI, per difference and per drop; `before` and `after` are means over repeats,
/// `n`, `low` and `high` belong to `value`.
fn table(found: &Robustness) -> Table {
    let columns = [
        "measure",
        "tuned_on",
        "tested_on",
        "before",
        "after",
        "value",
        "n",
        "low",
        "high",
    ];
    let mut rows = Vec::new();
    for domain in &found.domains {
        let tuned_on = &domain.tuned_on;
        rows.push(row("ri", tuned_on, None, &domain.ri));
        for difference in &domain.differences {
            let change = &difference.change;
            rows.push(row("difference", tuned_on, Some(difference), change));
        }
        if let Some(pretrained) = &domain.pretrained {
            let lost = negated(&pretrained.change);
            rows.push(row("drop", tuned_on, Some(pretrained), &lost));
        }
    }
    Table {
        columns: columns.map(str::to_string).to_vec(),
        rows,
    }
}

fn row(measure: &str, tuned_on: &str, cell: Option<&Difference>, value: &Estimate) -> Vec<Value> {
    vec![
        json!(measure),
        json!(tuned_on),
        json!(cell.map(|cell| cell.tested_on.as_str())),
        json!(cell.map(|cell| cell.before.mean)),
        json!(cell.map(|cell| cell.after.mean)),
        json!(value.mean),
        json!(value.n),
        json!(value.interval.map(|[low, _]| low)),
        json!(value.interval.map(|[_, high]| high)),
    ]
}

/// Converts a gain to a loss; never a negative zero.
fn negated(gained: &Estimate) -> Estimate {
    Estimate {
        mean: 0.0 - gained.mean,
        interval: gained.interval.map(|[low, high]| [0.0 - high, 0.0 - low]),
        ..*gained
    }
}
