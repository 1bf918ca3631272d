//! The result of a run in a terminal: a few aligned lines of plain text.

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
    parts.join("\n")
}
