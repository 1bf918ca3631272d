//! Verdicts as tables and as JSON.

use serde_json::{Value, json};

use super::{JudgedClaim, JudgedValue, Verdict, Verdicts};
use crate::report::number::Number;
use crate::report::relation::{self, Correlation, Predictor};
use crate::report::table::{Cell, Column, Table};
use crate::report::view::View;
use crate::workflow::kind::Meaning;

/// One row per published number.
pub fn values_table(verdicts: &Verdicts) -> Table {
    let published = &verdicts.expected.published;
    let row = |value: &JudgedValue| {
        let values = &published.values[value.entry];
        let observed = value.observed;
        let decimals = value.decimals(published);
        let number = |value, signed| Number::hundredths(value, signed).at_least(decimals);
        let difference = value.difference();
        vec![
            Cell::text(&value.target.name),
            Cell::Number(number(value.published, false)),
            Cell::or_not_run(observed.map(|observed| number(observed.value, false))),
            Cell::maybe(difference.map(|difference| number(difference, true))),
            Cell::Number(number(value.allowed, false)),
            Cell::maybe(observed.map(|observed| Number::of(observed.n as f64, ""))),
            Cell::text(value.verdict.words()),
            Cell::text(&marks(&value.deviations)),
            Cell::text(&values.from),
        ]
    };
    Table {
        name: "verdicts".to_string(),
        title: match published.unit.as_str() {
            "" => "Published and reproduced".to_string(),
            unit => format!("Published and reproduced, in {unit}"),
        },
        columns: vec![
            Column::text("metric", "metric"),
            Column::number("published", "published"),
            Column::number("reproduced", "reproduced"),
            Column::number("difference", "difference"),
            Column::number("allowed", "allowed"),
            Column::number("n", "n"),
            Column::text("verdict", "verdict"),
            Column::text("deviations", "not as published"),
            Column::text("source", "source"),
        ],
        rows: verdicts.values.iter().map(row).collect(),
        notes: notes(verdicts),
    }
}

/// One row per claim.
pub fn claims_table(verdicts: &Verdicts) -> Table {
    let claims = &verdicts.expected.published.claims;
    let row = |judged: &JudgedClaim| {
        let claim = &claims[judged.claim];
        vec![
            Cell::text(&claim.says),
            Cell::text(judged.verdict.words()),
            Cell::text(&judged.evidence),
            Cell::text(&marks(&judged.deviations)),
        ]
    };
    Table {
        name: "claims".to_string(),
        title: "Claims".to_string(),
        columns: vec![
            Column::text("claim", "claim"),
            Column::text("verdict", "verdict"),
            Column::text("evidence", "evidence"),
            Column::text("deviations", "not as published"),
        ],
        rows: verdicts.claims.iter().map(row).collect(),
        notes: notes(verdicts),
    }
}

/// The deviations that the marks refer to.
fn notes(verdicts: &Verdicts) -> Vec<String> {
    let deviations = verdicts.expected.deviations.iter().enumerate();
    deviations
        .map(|(place, deviation)| format!("[{}] {}", place + 1, deviation.text))
        .collect()
}

/// The marks for deviations in a table; the deviations are listed below it.
pub fn marks(deviations: &[usize]) -> String {
    let marks: Vec<String> = deviations
        .iter()
        .map(|place| format!("[{}]", place + 1))
        .collect();
    marks.join(" ")
}

/// Everything, as JSON.
pub fn document(view: &View, verdicts: &Verdicts) -> Value {
    let expected = verdicts.expected;
    let texts = |places: &[usize]| -> Vec<&str> {
        let deviation = |place: &usize| expected.deviations[*place].text.as_str();
        places.iter().map(deviation).collect()
    };
    let value = |value: &JudgedValue| {
        let entry = &expected.published.values[value.entry];
        let source = expected.published.sources.get(&entry.from);
        let observed = value.observed;
        json!({
            "metric": value.target.name,
            "published": value.published,
            "precision": entry.tolerance,
            "reproduced": observed.map(|observed| observed.value),
            "n": observed.map(|observed| observed.n),
            "deviation": observed.and_then(|observed| observed.deviation),
            "difference": value.difference(),
            "allowed": value.allowed,
            "verdict": value.verdict,
            "why": (!value.why.is_empty()).then_some(&value.why),
            "not_as_published": texts(&value.deviations),
            "calibration": entry.calibration,
            "source": entry.from,
            "source_is": source.map(|source| &source.what),
            "version": source.and_then(|source| source.version.as_ref()),
            "note": entry.note,
        })
    };
    let claim = |judged: &JudgedClaim| {
        let claim = &expected.published.claims[judged.claim];
        let metrics = judged.targets.iter().map(|target| &target.name);
        json!({
            "says": claim.says,
            "check": claim.check.word(),
            "metrics": metrics.collect::<Vec<_>>(),
            "verdict": judged.verdict,
            "evidence": judged.evidence,
            "not_as_published": texts(&judged.deviations),
            "source": claim.from,
        })
    };
    let judged = verdicts.all().filter(|verdict| verdict.is_judged()).count();
    json!({
        "paper": expected.published.paper,
        "unit": expected.published.unit,
        "calibrated": verdicts.calibrated,
        "judged": judged,
        "different": verdicts.all().filter(|verdict| verdict.is_difference()).count(),
        "not_run": verdicts.count(Verdict::NotRun),
        "values": verdicts.values.iter().map(value).collect::<Vec<Value>>(),
        "claims": verdicts.claims.iter().map(claim).collect::<Vec<Value>>(),
        "predictors": predictors(view),
    })
}

/// The predictors of the drop in `report` nodes.
fn predictors(view: &View) -> Vec<Value> {
    let nodes = view.done(Meaning::Report).into_iter();
    let predictors = nodes.flat_map(|node| relation::predictors(view, node));
    let spearman = |predictor: &Predictor, of: fn(Correlation) -> f64| predictor.spearman.map(of);
    let document = |predictor: Predictor| {
        json!({
            "predictor": predictor.name,
            "n": predictor.points,
            "spearman": spearman(&predictor, |found| found.value),
            "interval": predictor.spearman.and_then(|found| found.interval),
            "p": spearman(&predictor, |found| found.p_value),
            "pearson": predictor.pearson,
            "left_out": predictor.left_out,
            "left_out_of_mean": predictor.left_out_of_mean,
        })
    };
    predictors.map(document).collect()
}
