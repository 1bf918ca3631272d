//! The result of a run for a terminal: a few aligned lines of plain text.

use super::accepted;
use super::number::Number;
use super::relation::{Relation, relations};
use super::robustness::benchmarks;
use super::tables;
use super::verdict::{Verdict, Verdicts, claims_table, values_table};
use super::view::View;

/// Tables with more rows are left to the page.
const ROWS: usize = 40;

/// The mRI table and the conclusions of the `report` nodes; without a benchmark in the graph, the
/// metrics of every stage with few nodes. Empty if there are no results.
pub fn summary_text(view: &View) -> String {
    let benchmarks = benchmarks(view);
    let warnings = view.warnings.iter();
    let warnings = warnings.map(|warning| format!("Revoked: {warning}\n"));
    let warnings = warnings.chain(accepted_lines(view));
    let mut parts: Vec<String> = benchmarks
        .iter()
        .map(|benchmark| tables::mri(view, benchmark, ""))
        .filter(|table| table.rows.len() <= ROWS)
        .map(|table| format!("{}, in points\n{}", table.title, table.to_text()))
        .collect();
    if benchmarks.is_empty() {
        let small = tables::short(view)
            .into_iter()
            .filter(|table| table.rows.len() <= ROWS);
        parts.extend(small.map(|table| format!("{}\n{}", table.title, table.to_text())));
    }
    let found = relations(view);
    parts.extend(found.iter().filter_map(|relation| in_words(view, relation)));
    if let Some(expected) = view.expected {
        parts.push(closing(&expected.judge(view)));
    }
    warnings.chain(parts).collect::<Vec<_>>().join("\n")
}

fn accepted_lines(view: &View) -> Vec<String> {
    let sentences = accepted::sentences(view).into_iter();
    sentences.map(|it| format!("Accepted: {it}\n")).collect()
}

/// Everything about published numbers: numbers, claims, deviations from the published setting,
/// predictors of the drop, and the totals.
pub fn verdict_text(view: &View, verdicts: &Verdicts) -> String {
    let mut parts = accepted_lines(view);
    if !verdicts.values.is_empty() {
        parts.push(values_table(verdicts).to_text());
    }
    if !verdicts.claims.is_empty() {
        let mut table = claims_table(verdicts);
        if !verdicts.values.is_empty() {
            // They are below the first table.
            table.notes.clear();
        }
        parts.push(table.to_text());
    }
    let predictors = tables::predictors(view).into_iter();
    parts.extend(predictors.map(|table| format!("{}\n{}", table.title, table.to_text())));
    parts.push(closing(verdicts));
    parts.join("\n")
}

/// `published numbers: 31 reproduced, 4 different, 27 not run`, and the same for claims.
fn closing(verdicts: &Verdicts) -> String {
    const ALL: [Verdict; 9] = [
        Verdict::Reproduced,
        Verdict::Different,
        Verdict::Same,
        Verdict::Opposite,
        Verdict::Indistinguishable,
        Verdict::DifferenceOnly,
        Verdict::OtherSetting,
        Verdict::NotCalibrated,
        Verdict::NotRun,
    ];
    let counts = |verdicts: &[Verdict]| {
        let counts = ALL.iter().filter_map(|verdict| {
            let number = verdicts.iter().filter(|one| *one == verdict).count();
            (number > 0).then(|| format!("{number} {}", verdict.words()))
        });
        counts.collect::<Vec<String>>().join(", ")
    };
    let values: Vec<Verdict> = verdicts.values.iter().map(|value| value.verdict).collect();
    let claims: Vec<Verdict> = verdicts.claims.iter().map(|claim| claim.verdict).collect();
    let mut text = String::new();
    for (what, verdicts) in [("published numbers", values), ("claims", claims)] {
        if !verdicts.is_empty() {
            text.push_str(&format!("{what}: {}\n", counts(&verdicts)));
        }
    }
    if !verdicts.calibrated {
        text.push_str("The calibration numbers were not reproduced: nothing else is judged.\n");
    }
    text
}

/// `distance against drop: Spearman +0.91 (95 % +0.64 to +0.98), p 0.0001`
fn in_words(view: &View, relation: &Relation) -> Option<String> {
    let shown = |value: f64| Number::correlation(value).ascii();
    let spearman = relation.headline(view, "spearman")?;
    let mut line = format!(
        "{} against drop: Spearman {}",
        relation.input,
        shown(spearman.value)
    );
    if let Some([low, high]) = spearman.interval {
        line.push_str(&format!(" (95 % {} to {})", shown(low), shown(high)));
    }
    if let Some(p_value) = relation.headline(view, "spearman_p") {
        line.push_str(&format!(", p {:.4}", p_value.value));
    }
    line.push('\n');
    Some(line)
}
