//! `report`: a pure node that collects the results of other nodes. It lists all numbers in one
//! long table, and relates distances to drops if both exist. The files for readers are views of
//! its output and of the records; `crate::report` writes them.

pub mod predictors;
pub mod relation;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::price::{CostEstimate, InputForecasts};
use super::task::{Context, Location, Outputs, Stage, TaskError, TaskInput, Weight};
use crate::contract::port::{OutputSpec, PortType};
use crate::store::artifact::{Artifact, Metric, Metrics, Table};
use crate::workflow::kind::{
    BoundInput, Comparison, InputSpec, Meaning, ParameterProblem, Withholds,
};

/// Collects metrics and tables under any names.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Report {
    /// A file of published numbers and claims to compare the results with, relative to the workflow
    /// file: `published/imagenet-rib.yaml`. Verdicts are views of the records, so this is not part
    /// of the key.
    expect: Option<Location>,
}

impl Stage for Report {
    const NAME: &'static str = "report";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str =
        "Collects metrics and tables in one long table, and relates distances to drops.";
    const COMPARISON: Comparison = Comparison::BitEqual;
    const MEANING: Meaning = Meaning::Report;

    fn inputs(&self) -> Vec<InputSpec> {
        Vec::new()
    }

    fn outputs(&self) -> Vec<OutputSpec> {
        vec![
            OutputSpec::metrics("metrics", &relation::METRICS),
            OutputSpec::new("table", PortType::Table),
            OutputSpec::new("relation", PortType::Table),
            OutputSpec::new("correlation", PortType::Table),
            OutputSpec::new("predictors", PortType::Table),
        ]
    }

    fn open_inputs(&self) -> Option<&'static [PortType]> {
        Some(&[PortType::Metrics, PortType::Table])
    }

    fn withholds(&self) -> Withholds {
        Withholds::Nothing
    }

    fn check(&self, inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        if inputs.iter().any(|input| !input.members.is_empty()) {
            return Vec::new();
        }
        let problem = ParameterProblem {
            path: Vec::new(),
            ..ParameterProblem::value("", "a report needs at least one input")
        };
        vec![problem.hint("list the stages to report on under `needs:`")]
    }

    fn price(&self, _foreseen: &InputForecasts) -> CostEstimate {
        CostEstimate::nothing()
    }

    fn weight(&self) -> Weight {
        Weight::Heavy
    }

    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError> {
        let cells = cells(&context.inputs)?;
        let relations = relation::relations(&cells);
        let rivals = predictors::rivals(&cells);
        let mut values = BTreeMap::new();
        let mut correlations = Vec::new();
        for relation in &relations {
            context.check_cancelled()?;
            values.extend(relation.metrics());
            correlations.extend(relation.correlations());
        }
        for rival in rivals.iter().filter(|_| !relations.is_empty()) {
            context.check_cancelled()?;
            values.extend(rival.metrics());
        }
        Ok(
            Outputs::one("metrics", Artifact::Metrics(Metrics { values }))
                .and("table", Artifact::Table(long_table(&cells)))
                .and(
                    "relation",
                    Artifact::Table(relation::point_table(&relations)),
                )
                .and(
                    "correlation",
                    Artifact::Table(relation::correlation_table(&correlations)),
                )
                .and(
                    "predictors",
                    Artifact::Table(predictors::predictor_table(relations.iter().chain(&rivals))),
                ),
        )
    }
}

/// One number of an input member.
pub struct Cell<'a> {
    pub input: &'a str,
    /// The gathered axes of the member and, for a table, the text columns of the row.
    pub axes: BTreeMap<String, String>,
    pub name: String,
    pub metric: Metric,
}

fn cells(inputs: &BTreeMap<String, Vec<TaskInput>>) -> Result<Vec<Cell<'_>>, TaskError> {
    let mut cells = Vec::new();
    for (input, members) in inputs {
        for member in members {
            match &member.artifact {
                Artifact::Metrics(metrics) => {
                    cells.extend(metrics.values.iter().map(|(name, metric)| Cell {
                        input,
                        axes: member.axes.clone(),
                        name: name.clone(),
                        metric: metric.clone(),
                    }));
                }
                Artifact::Table(table) => {
                    cells.extend(
                        table
                            .rows
                            .iter()
                            .flat_map(|row| row_cells(input, member, table, row)),
                    );
                }
                _ => {
                    let message = format!("`{input}` is neither metrics nor a table");
                    return Err(TaskError::Input(message));
                }
            }
        }
    }
    Ok(cells)
}

/// The columns of [`long_table`] beside the axes.
const LONG: [&str; 7] = ["input", "metric", "value", "n", "unit", "low", "high"];

/// The numbers of a row, identified by its text columns. A column with the name of an axis or of a
/// column of the long table gets the name of the input before its own.
fn row_cells<'a>(
    input: &'a str,
    member: &TaskInput,
    table: &Table,
    row: &[Value],
) -> Vec<Cell<'a>> {
    let mut axes = member.axes.clone();
    for (column, value) in table.columns.iter().zip(row) {
        if let Value::String(text) = value {
            let taken = member.axes.contains_key(column) || LONG.contains(&column.as_str());
            let name = match taken {
                true => format!("{input}.{column}"),
                false => column.clone(),
            };
            axes.insert(name, text.clone());
        }
    }
    table
        .columns
        .iter()
        .zip(row)
        .filter_map(|(column, value)| {
            Some(Cell {
                input,
                axes: axes.clone(),
                name: column.clone(),
                metric: Metric::new(value.as_f64()?, ""),
            })
        })
        .collect()
}

/// One row for each number: input, axes, metric, value, n, unit, and the bounds of the interval.
fn long_table(cells: &[Cell]) -> Table {
    let axes: BTreeSet<&String> = cells.iter().flat_map(|cell| cell.axes.keys()).collect();
    let [input, numbers @ ..] = LONG;
    let mut columns = vec![input.to_string()];
    columns.extend(axes.iter().map(|axis| axis.to_string()));
    columns.extend(numbers.map(str::to_string));
    let row = |cell: &Cell| {
        let metric = &cell.metric;
        let mut row = vec![json!(cell.input)];
        row.extend(axes.iter().map(|axis| json!(cell.axes.get(*axis))));
        row.extend([
            json!(cell.name),
            json!(metric.value),
            json!(metric.n),
            json!(metric.unit),
            json!(metric.interval.map(|[low, _]| low)),
            json!(metric.interval.map(|[_, high]| high)),
        ]);
        row
    };
    Table {
        columns,
        rows: cells.iter().map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of a program may have the columns of the long table, and those of its own axes.
    #[test]
    fn text_columns_do_not_replace_axes_or_columns() {
        let columns = ["seed", "metric", "group", "loss"].map(str::to_string);
        let table = Table {
            columns: columns.to_vec(),
            rows: vec![vec![json!("first"), json!("l2"), json!("a"), json!(0.5)]],
        };
        let member = TaskInput {
            axes: BTreeMap::from([("seed".to_string(), "1".to_string())]),
            artifact: Artifact::Table(table),
            roots: Vec::new(),
        };
        let inputs = BTreeMap::from([("mine".to_string(), vec![member])]);
        let long = long_table(&cells(&inputs).unwrap());
        assert_eq!(
            long.columns.join(" "),
            "input group mine.metric mine.seed seed metric value n unit low high"
        );
        let row = json!(long.rows[0]);
        assert_eq!(
            row,
            json!([
                "mine", "a", "l2", "first", "1", "loss", 0.5, null, "", null, null
            ])
        );
    }
}
