//! The result of a run in a terminal: a few aligned lines of plain text.

use super::number::Number;
use super::relation::{Relation, relations};
use super::robustness::benchmarks;
use super::tables;
use super::view::View;

/// Above this many rows a table says more on the page than in a terminal.
const ROWS: usize = 40;

/// The mRI table and what the `report` nodes conclude; without a benchmark in the graph, the
/// metrics of every stage that has few nodes. Empty where there is nothing to say.
pub fn summary_text(view: &View) -> String {
    let benchmarks = benchmarks(view);
    let mut parts: Vec<String> = benchmarks
        .iter()
        .map(|benchmark| tables::mri(view, benchmark, ""))
        .filter(|table| table.rows.len() <= ROWS)
        .map(|table| format!("{}, in points\n{}", table.title, table.to_text()))
        .collect();
    if benchmarks.is_empty() {
        let small = tables::of_sheets(view, false)
            .into_iter()
            .filter(|table| table.rows.len() <= ROWS);
        parts.extend(small.map(|table| format!("{}\n{}", table.title, table.to_text())));
    }
    let found = relations(view);
    parts.extend(found.iter().filter_map(|relation| in_words(view, relation)));
    parts.join("\n")
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
