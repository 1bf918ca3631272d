//! The tables of a report: those of the benchmark, if the graph has one, and one for every stage
//! with metrics.

use std::collections::BTreeSet;

use petgraph::graph::NodeIndex;

use super::number::Number;
use super::relation::{self, Predictor};
use super::repeats::{self, Group};
use super::robustness::{Benchmark, Experiment, benchmarks};
use super::sheets::{Sheet, sheets};
use super::table::{Cell, Column, Table};
use super::verdict;
use super::view::View;
use crate::diag::listed;
use crate::ml::metrics::estimate::Estimate;
use crate::store::artifact::Metric;
use crate::workflow::graph::Node;
use crate::workflow::kind::Meaning;

/// The predictors of the drop in the `report` nodes: a table for each node that compares
/// predictors.
pub fn predictors(view: &View) -> Vec<Table> {
    let nodes = view.done(Meaning::Report);
    let mut tables: Vec<Table> = nodes
        .iter()
        .map(|node| of_predictors(view, *node))
        .filter(|table| table.rows.len() > 1)
        .collect();
    if tables.len() > 1 {
        for (place, table) in tables.iter_mut().enumerate() {
            table.name = format!("predictors-{}", place + 1);
        }
    }
    tables
}

fn of_predictors(view: &View, node: NodeIndex) -> Table {
    let row = |predictor: &Predictor| {
        let spearman = predictor.spearman;
        let [low, high] = spearman
            .and_then(|found| found.interval)
            .map_or([None, None], |ends| ends.map(Some));
        let correlation = |value: Option<f64>| Cell::maybe(value.map(Number::correlation));
        let plain = |value: Option<f64>| Cell::maybe(value.map(|value| Number::of(value, "")));
        vec![
            Cell::text(predictor.name),
            Cell::Number(Number::of(predictor.points as f64, "")),
            correlation(spearman.map(|found| found.value)),
            correlation(low),
            correlation(high),
            plain(spearman.map(|found| found.p_value)),
            correlation(predictor.pearson),
            plain(predictor.left_out),
            plain(predictor.left_out_of_mean),
        ]
    };
    Table {
        name: "predictors".to_string(),
        title: "What predicts the drop on the models' own set".to_string(),
        columns: vec![
            Column::text("predictor", "predictor"),
            Column::number("n", "n"),
            Column::number("spearman", "Spearman"),
            Column::number("spearman_low", "95 % from"),
            Column::number("spearman_high", "to"),
            Column::number("spearman_p", "p"),
            Column::number("pearson", "Pearson"),
            Column::number("loo", "error, one left out"),
            Column::number("loo_mean", "of the mean"),
        ],
        rows: relation::predictors(view, node).iter().map(row).collect(),
        notes: notes(view, &[node]),
    }
}

/// All tables, those of the benchmark first. Names are unique.
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
    tables.extend(predictors(view));
    if let Some(expected) = view.expected {
        let verdicts = expected.judge(view);
        tables.push(verdict::values_table(&verdicts));
        tables.push(verdict::claims_table(&verdicts));
    }
    let mut taken: BTreeSet<String> = tables.iter().map(|table| table.name.clone()).collect();
    for mut table in of_sheets(view, true) {
        let name = table.name.clone();
        let mut count = 1;
        while !taken.insert(table.name.clone()) {
            count += 1;
            table.name = format!("{name}-{count}");
        }
        tables.push(table);
    }
    tables
}

/// One row per experiment: before, after, mRI, the drop on the sources' own set.
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
            row.push(result_cell(metric));
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
        notes: notes(view, &benchmark.nodes()),
    }
}

/// One row per experiment, one column per domain for fine-tuning.
pub fn ri(view: &View, benchmark: &Benchmark, prefix: &str) -> Table {
    let domains = benchmark.domains();
    let axis = benchmark.tuned_axis();
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
                .map(|domain| match experiment.tuned.contains(domain) {
                    true => result_cell(experiment.ri(view, domain)),
                    false => Cell::Empty,
                }),
        );
        row.push(result_cell(experiment.metric(view, "mri")));
        row
    };
    Table {
        name: format!("{prefix}ri"),
        title: "Robustness improvement (RI) by the domain fine-tuned on".to_string(),
        columns,
        rows: benchmark.experiments.iter().map(row).collect(),
        notes: notes(view, &benchmark.nodes()),
    }
}

/// One row per experiment and fine-tuning domain, one column per test set; the row before
/// fine-tuning has no domain.
pub fn accuracy(view: &View, benchmark: &Benchmark, prefix: &str) -> Table {
    let tested = benchmark.tested();
    let mut columns = axis_columns(benchmark);
    columns.push(Column::text("tuned_on", "tuned on"));
    let axis = benchmark.tested_axis();
    columns.extend(
        tested
            .iter()
            .map(|id| Column::number(id, view.label(axis, id))),
    );
    let mut rows = Vec::new();
    for experiment in &benchmark.experiments {
        let row = |tuned: Cell, own: &str, accuracy: &dyn Fn(&str) -> Option<f64>| {
            let mut row = axis_cells(view, experiment);
            row.push(tuned);
            row.extend(tested.iter().map(|id| match *id == own {
                true => Cell::Empty,
                false => Cell::or_not_run(accuracy(id).map(Number::percent)),
            }));
            row
        };
        rows.push(row(Cell::Empty, "", &|id| {
            Some(experiment.before.get(id)?.value.mean)
        }));
        for tuned in &experiment.tuned {
            let after = |id: &str| Some(experiment.after.get(&(*tuned, id))?.value.mean);
            rows.push(row(
                Cell::named(tuned, view.label(experiment.tuned_axis, tuned)),
                tuned,
                &after,
            ));
        }
    }
    Table {
        name: format!("{prefix}accuracy-matrix"),
        title: "Accuracy by what was tuned on and tested on (%)".to_string(),
        columns,
        rows,
        notes: notes(view, &benchmark.nodes()),
    }
}

/// One table per sheet, with all metrics or only those of whole nodes. A table of means over repeats
/// precedes the table of their nodes.
pub fn of_sheets(view: &View, parts: bool) -> Vec<Table> {
    let sheets = sheets(view);
    let tables = sheets.iter().flat_map(|sheet| {
        let means = means(view, sheet, true);
        means.into_iter().chain([of_sheet(view, sheet, parts)])
    });
    tables.collect()
}

/// As [`of_sheets`] for a terminal: where there are repeats, only their means.
pub fn short(view: &View) -> Vec<Table> {
    let sheets = sheets(view);
    let table = |sheet| means(view, sheet, false).unwrap_or_else(|| of_sheet(view, sheet, false));
    sheets.iter().map(table).collect()
}

/// The means of a sheet over repeats: a row for each group with the number of repeats, and of each
/// metric of whole nodes the mean, the standard deviation and Student's 95 % interval. Only the mean
/// and half the width of the interval unless `is_full`. `None` without repeats.
pub fn means(view: &View, sheet: &Sheet, is_full: bool) -> Option<Table> {
    let groups = repeats::repeated(view, sheet.nodes.iter().copied())?;
    let first = groups.first()?;
    let axes: Vec<&str> = first.axes.iter().map(|(axis, _)| *axis).collect();
    let over = first.over.iter().copied();
    let names = sheet.wholes(view);
    let mut columns = Vec::new();
    if sheet.names_stages() || axes.is_empty() {
        columns.push(Column::text("stage", "stage"));
    }
    columns.extend(axes.iter().map(|axis| Column::text(axis, axis)));
    columns.push(Column::number("n", "n"));
    for name in &names {
        columns.push(Column::number(name, &with_unit(view, sheet, name)));
        let more: &[(&str, &str)] = match is_full {
            true => &[("deviation", "sd"), ("low", "95 % from"), ("high", "to")],
            false => &[("half", "± 95 %")],
        };
        let more = more.iter();
        columns.extend(more.map(|(of, label)| Column::number(&format!("{name}_{of}"), label)));
    }
    let row = |group: &Group| {
        let estimates = group.estimates(view);
        let stage = (sheet.names_stages() || axes.is_empty()).then(|| Cell::text(group.stage));
        let mut row: Vec<Cell> = stage.into_iter().collect();
        let axes = group.axes.iter();
        row.extend(axes.map(|(axis, id)| Cell::named(id, view.label(axis, id))));
        row.push(Cell::Number(Number::of(group.members.len() as f64, "")));
        for name in &names {
            let unit = sheet.unit(view, name).unwrap_or_default();
            row.extend(mean_cells(estimates.get(name), unit, is_full));
        }
        row
    };
    Some(Table {
        name: format!("{}-means", sheet.name()),
        title: format!("Means of {} over {}", sheet.stages.join(", "), listed(over)),
        columns,
        rows: groups.iter().map(row).collect(),
        notes: notes(view, &sheet.nodes),
    })
}

fn mean_cells(estimate: Option<&Estimate>, unit: &str, is_full: bool) -> Vec<Cell> {
    let plain = |value: Option<f64>| {
        Cell::maybe(value.map(|value| Number {
            signed: false,
            ..Number::of(value, unit)
        }))
    };
    let mean = Cell::or_not_run(estimate.map(|it| Number::of(it.mean, unit)));
    let interval = estimate.and_then(|it| it.interval);
    let bound = |at: usize| Cell::maybe(interval.map(|ends| Number::of(ends[at], unit)));
    match is_full {
        true => vec![
            mean,
            plain(estimate.and_then(Estimate::deviation)),
            bound(0),
            bound(1),
        ],
        false => vec![mean, plain(interval.map(|[low, high]| (high - low) / 2.0))],
    }
}

fn of_sheet(view: &View, sheet: &Sheet, parts: bool) -> Table {
    let names = match parts {
        true => sheet.names(view, |name| Some(name.to_string())),
        false => sheet.wholes(view),
    };
    let mut columns = Vec::new();
    if sheet.names_stages() {
        columns.push(Column::text("stage", "stage"));
    }
    columns.extend(sheet.axes.iter().map(|axis| Column::text(axis, axis)));
    columns.extend(
        names
            .iter()
            .map(|name| Column::number(name, &with_unit(view, sheet, name))),
    );
    let row = |index: &NodeIndex| {
        let node = view.node(*index);
        let stage = sheet.names_stages().then(|| Cell::text(&node.stage));
        let mut row: Vec<Cell> = stage.into_iter().collect();
        row.extend(
            node.axes
                .iter()
                .map(|(axis, id)| Cell::named(id, view.label(axis, id))),
        );
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
        name: sheet.name().to_string(),
        title: format!("Metrics of {}", sheet.stages.join(", ")),
        columns,
        rows: sheet.nodes.iter().map(row).collect(),
        notes: notes(view, &sheet.nodes),
    }
}

/// Notes which classes compete in a table of evaluations.
fn mask_note(view: &View, nodes: &[NodeIndex]) -> Option<String> {
    let evaluations = nodes.iter().map(|index| view.node(*index));
    let evaluations = evaluations.filter(|node| node.kind.meaning() == Meaning::Evaluation);
    let of_model = |node: &&Node| node.with.get("mask").is_some_and(|mask| mask == "model");
    let (of_model, of_data): (Vec<&Node>, Vec<&Node>) = evaluations.partition(of_model);
    match (of_data.is_empty(), of_model.is_empty()) {
        (true, _) => None,
        (false, true) => Some(
            "Only the dataset's classes compete for an image, even if the model knows more."
                .to_string(),
        ),
        (false, false) => Some(
            "With `mask: model` all of the model's classes compete for an image, elsewhere only \
             the dataset's."
                .to_string(),
        ),
    }
}

/// The deviations from the published setting of a table of these nodes.
fn notes(view: &View, nodes: &[NodeIndex]) -> Vec<String> {
    let deviations = view.deviations(nodes);
    let note = || format!("Not as published: {}.", deviations.join("; "));
    let mask = mask_note(view, nodes).into_iter();
    mask.chain((!deviations.is_empty()).then(note)).collect()
}

/// `top1 (%)`
fn with_unit(view: &View, sheet: &Sheet, name: &str) -> String {
    match sheet.unit(view, name) {
        None | Some("") => name.to_string(),
        // `images`, counted in images.
        Some(unit) if unit == name => name.to_string(),
        Some("percent") => format!("{name} (%)"),
        Some(unit) => format!("{name} ({unit})"),
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
        .map(|(axis, id)| Cell::named(id, view.label(axis, id)))
        .collect()
}

/// The result of an experiment, which may not have run yet.
fn result_cell(metric: Option<&Metric>) -> Cell {
    Cell::or_not_run(metric.map(|metric| Number::of(metric.value, &metric.unit)))
}

fn metric_cell(metric: Option<&Metric>) -> Cell {
    Cell::maybe(metric.map(|metric| Number::of(metric.value, &metric.unit)))
}
