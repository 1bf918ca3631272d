//! The tables of a report: of the benchmark where the graph has one, and of every stage that
//! gives metrics.

use std::collections::BTreeSet;

use petgraph::graph::NodeIndex;

use super::number::Number;
use super::robustness::{Benchmark, Experiment, benchmarks};
use super::table::{Cell, Column, Table};
use super::view::View;
use crate::store::artifact::Metric;

/// Every table, those of the benchmark first. Names are unique.
pub fn tables(view: &View) -> Vec<Table> {
    let mut tables = Vec::new();
    let benchmarks = benchmarks(view);
    for benchmark in &benchmarks {
        let prefix = match benchmarks.len() {
            1 => String::new(),
            _ => format!("{}-", benchmark.stage),
        };
        tables.push(mri(view, benchmark, &prefix));
        tables.push(ri(view, benchmark, &prefix));
        tables.push(accuracy(view, benchmark, &prefix));
    }
    let taken: BTreeSet<String> = tables.iter().map(|table| table.name.clone()).collect();
    tables.extend(stages(view).into_iter().map(|mut table| {
        if taken.contains(&table.name) {
            table.name = format!("stage-{}", table.name);
        }
        table
    }));
    tables
}

/// One row an experiment: before, after, mRI, the drop on the sources' own set.
pub fn mri(view: &View, benchmark: &Benchmark, prefix: &str) -> Table {
    let metrics = [
        ("before", "before"),
        ("after", "after"),
        ("mri", "mRI"),
        ("drop", "drop on own"),
    ];
    let intervals = benchmark.experiments.iter().any(|experiment| {
        experiment
            .metric(view, "mri")
            .is_some_and(|mri| mri.interval.is_some())
    });
    let mut columns = axis_columns(benchmark);
    for (name, label) in metrics {
        columns.push(Column::number(name, label));
        if name == "mri" && intervals {
            columns.push(Column::number("mri_low", "95 % from"));
            columns.push(Column::number("mri_high", "to"));
        }
    }
    let row = |experiment: &Experiment| {
        let mut row = axis_cells(view, experiment);
        for (name, _) in metrics {
            let metric = experiment.metric(view, name);
            row.push(metric_cell(metric));
            if name == "mri" && intervals {
                let ends = metric.and_then(|metric| metric.interval);
                row.push(Cell::maybe(ends.map(|[low, _]| Number::points(low))));
                row.push(Cell::maybe(ends.map(|[_, high]| Number::points(high))));
            }
        }
        row
    };
    Table {
        name: format!("{prefix}mri"),
        title: "Mean robustness improvement (mRI)".to_string(),
        columns,
        rows: benchmark.experiments.iter().map(row).collect(),
    }
}

/// One row an experiment, one column a domain that it was tuned on.
pub fn ri(view: &View, benchmark: &Benchmark, prefix: &str) -> Table {
    let domains = benchmark.domains();
    let axis = benchmark
        .experiments
        .first()
        .map_or("", |experiment| experiment.tuned_axis);
    let mut columns = axis_columns(benchmark);
    columns.extend(
        domains
            .iter()
            .map(|id| Column::number(id, view.label(axis, id))),
    );
    columns.push(Column::number("mri", "mRI"));
    let row = |experiment: &Experiment| {
        let mut row = axis_cells(view, experiment);
        row.extend(
            domains
                .iter()
                .map(|domain| metric_cell(experiment.ri(view, domain))),
        );
        row.push(metric_cell(experiment.metric(view, "mri")));
        row
    };
    Table {
        name: format!("{prefix}ri"),
        title: "Robustness improvement (RI) by the domain fine-tuned on".to_string(),
        columns,
        rows: benchmark.experiments.iter().map(row).collect(),
    }
}

/// One row for every experiment and domain tuned on, one column for every set tested on; the row
/// before tuning has no domain.
pub fn accuracy(view: &View, benchmark: &Benchmark, prefix: &str) -> Table {
    let Some(first) = benchmark.experiments.first() else {
        return Table {
            name: String::new(),
            title: String::new(),
            columns: vec![],
            rows: vec![],
        };
    };
    let mut columns = axis_columns(benchmark);
    columns.push(Column::text("tuned_on", "tuned on"));
    let tested: Vec<&str> = first.tested.clone();
    columns.extend(
        tested
            .iter()
            .map(|id| Column::number(id, view.label(first.tested_axis, id))),
    );
    let mut rows = Vec::new();
    for experiment in &benchmark.experiments {
        let mut row = axis_cells(view, experiment);
        row.push(Cell::Empty);
        row.extend(tested.iter().map(|tested| {
            let found = experiment.before.get(tested);
            Cell::maybe(found.map(|accuracy| Number::percent(accuracy.value.mean)))
        }));
        rows.push(row);
        for tuned in &experiment.tuned {
            let mut row = axis_cells(view, experiment);
            row.push(Cell::text(tuned));
            row.extend(tested.iter().map(|tested| {
                let found = experiment.after.get(&(*tuned, *tested));
                Cell::maybe(found.map(|accuracy| Number::percent(accuracy.value.mean)))
            }));
            rows.push(row);
        }
    }
    Table {
        name: format!("{prefix}accuracy-matrix"),
        title: "Accuracy by what was tuned on and tested on".to_string(),
        columns,
        rows,
    }
}

/// One table for every stage with metrics: a row a node, a column an axis and a metric.
pub fn stages(view: &View) -> Vec<Table> {
    let mut stages: Vec<(&str, Vec<NodeIndex>)> = Vec::new();
    for (index, node) in view.nodes() {
        if view.metrics(index).is_empty() {
            continue;
        }
        match stages.last_mut() {
            Some((stage, members)) if *stage == node.stage => members.push(index),
            _ => stages.push((&node.stage, vec![index])),
        }
    }
    stages
        .into_iter()
        .map(|(stage, members)| stage_table(view, stage, &members))
        .collect()
}

fn stage_table(view: &View, stage: &str, members: &[NodeIndex]) -> Table {
    let mut names: Vec<String> = Vec::new();
    for (name, _) in members.iter().flat_map(|index| view.metrics(*index)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let axes = members
        .first()
        .map_or(&[][..], |index| &view.node(*index).axes);
    let mut columns: Vec<Column> = axes
        .iter()
        .map(|(axis, _)| Column::text(axis, axis))
        .collect();
    columns.extend(names.iter().map(|name| Column::number(name, name)));
    let row = |index: &NodeIndex| {
        let axes = &view.node(*index).axes;
        let mut row: Vec<Cell> = axes.iter().map(|(_, id)| Cell::text(id)).collect();
        let metrics = view.metrics(*index);
        row.extend(names.iter().map(|name| {
            metric_cell(
                metrics
                    .iter()
                    .find(|(known, _)| known == name)
                    .map(|(_, metric)| *metric),
            )
        }));
        row
    };
    Table {
        name: stage.to_string(),
        title: format!("Metrics of `{stage}`"),
        columns,
        rows: members.iter().map(row).collect(),
    }
}

fn axis_columns(benchmark: &Benchmark) -> Vec<Column> {
    let axes = benchmark
        .experiments
        .first()
        .map_or(&[][..], |experiment| &experiment.node.axes);
    axes.iter()
        .map(|(axis, _)| Column::text(axis, axis))
        .collect()
}

fn axis_cells(view: &View, experiment: &Experiment) -> Vec<Cell> {
    let axes = &experiment.node.axes;
    axes.iter()
        .map(|(axis, id)| Cell::text(view.label(axis, id)))
        .collect()
}

fn metric_cell(metric: Option<&Metric>) -> Cell {
    Cell::maybe(metric.map(|metric| Number::of(metric.value, &metric.unit)))
}
