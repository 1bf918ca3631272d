//! Tables of every stage's metrics, for any workflow: stages of one kind with the same axes share a
//! table.

use maud::{Markup, html};
use petgraph::graph::NodeIndex;

use super::frame::{self, Numbering, heading, not_as_published, scroll};
use super::lineage::shown;
use super::means;
use super::trace;
use crate::quantity::page::{count, grouped};
use crate::report::sheets::{self, Sheet, part, sheets};
use crate::report::view::View;
use crate::store::artifact::Metric;

/// Further rows are only in the files.
const ROWS: usize = 1500;
/// Tables with more rows are always collapsed.
const OPEN: usize = 60;

/// The metrics, expanded: for a page without other content.
pub fn open(view: &View, numbering: &mut Numbering) -> Markup {
    html! {
        section #metrics {
            (heading("Metrics"))
            @for sheet in &sheets(view) {
                @if let Some(means) = means::of_sheet(view, sheet, numbering) {
                    (means)
                    (fold(view, sheet))
                } @else if sheet.nodes.len() <= OPEN {
                    @let said = format!("Metrics of {} ({})", sheet.stages.join(", "), sheet.kind);
                    (frame::table(numbering, html! { (said) (not_as_published(view, &sheet.nodes)) }, table(view, sheet, true)))
                    (parts(view, sheet))
                } @else {
                    (fold(view, sheet))
                }
            }
        }
    }
}

/// The metrics, collapsed: for a page with a benchmark.
pub fn folded(view: &View) -> Markup {
    html! {
        section #metrics {
            (heading("All metrics"))
            @for sheet in &sheets(view) { (fold(view, sheet)) }
        }
    }
}

fn fold(view: &View, sheet: &Sheet) -> Markup {
    html! {
        details.sheet {
            summary { (caption(sheet)) }
            p.quiet { (not_as_published(view, &sheet.nodes)) }
            (scroll("Metrics", table(view, sheet, false)))
            @if sheet.nodes.len() > ROWS {
                p.quiet { "and " (grouped(sheet.nodes.len() - ROWS)) " more in results.json" }
            }
            (parts(view, sheet))
        }
    }
}

fn caption(sheet: &Sheet) -> Markup {
    html! {
        b { (sheet.stages.join(", ")) } " "
        span.quiet { (sheet.kind) " · " (count(sheet.nodes.len(), "node")) }
    }
}

fn table(view: &View, sheet: &Sheet, roomy: bool) -> Markup {
    let names = sheet.wholes(view);
    html! {
        table.data.sortable.roomy[roomy] {
            thead { tr {
                @if sheet.names_stages() { th scope="col" { "stage" } }
                @for axis in &sheet.axes { th scope="col" { (axis) } }
                @for name in &names { th.number scope="col" { (name) } }
            } }
            tbody {
                @for index in sheet.nodes.iter().take(ROWS) {
                    tr {
                        (row_head(view, sheet, *index))
                        @for name in &names { (cell(view, *index, name)) }
                    }
                }
            }
        }
    }
}

fn row_head(view: &View, sheet: &Sheet, index: NodeIndex) -> Markup {
    let node = view.node(index);
    html! {
        @if sheet.names_stages() { td { (node.stage) } }
        @for (axis, id) in &node.axes { td { (view.label(axis, id)) } }
    }
}

fn cell(view: &View, index: NodeIndex, name: &str) -> Markup {
    let metrics = view.metrics(index);
    let Some((_, metric)) = metrics.iter().find(|(known, _)| known == name) else {
        return html! { td {} };
    };
    let level = (metric.unit == "percent").then(|| format!("--v:{:.1}%", metric.value));
    let class = if level.is_some() {
        "number level"
    } else {
        "number"
    };
    html! { td class=(class) style=[level] title=(words(view, index, name, metric)) { (shown(metric)) } }
}

fn words(view: &View, index: NodeIndex, name: &str, metric: &Metric) -> String {
    let mut text = format!("{name} {}", metric.value);
    if let Some(n) = metric.n {
        text.push_str(&format!(", n {n}"));
    }
    if let Some(chance) = metric.chance {
        text.push_str(&format!(", chance {chance}"));
    }
    trace::of(view, &text, &[index])
}

/// Metrics of parts (`top1/fog`, `ri[r]`): a row per node and part, a column per metric.
fn parts(view: &View, sheet: &Sheet) -> Markup {
    let bases = sheet.names(view, |name| part(name).map(|(base, _)| base.to_string()));
    let parts = sheet.names(view, |name| part(name).map(|(_, part)| part.to_string()));
    if parts.is_empty() {
        return html! {};
    }
    let rows = sheet
        .nodes
        .iter()
        .flat_map(|index| parts.iter().map(move |part| (*index, part)));
    html! {
        details.sheet.inner {
            summary { span.quiet { "by part: " (count(parts.len(), "part")) } }
            div.scroll tabindex="0" role="group" aria-label="Metrics by part" { table.data.sortable {
                thead { tr {
                    @if sheet.names_stages() { th scope="col" { "stage" } }
                    @for axis in &sheet.axes { th scope="col" { (axis) } }
                    th scope="col" { "part" }
                    @for base in &bases { th.number scope="col" { (base) } }
                } }
                tbody {
                    @for (index, part) in rows.take(ROWS) {
                        tr {
                            (row_head(view, sheet, index))
                            td { (part) }
                            @for base in &bases { (part_cell(view, index, base, part)) }
                        }
                    }
                }
            } }
        }
    }
}

fn part_cell(view: &View, index: NodeIndex, base: &str, part: &str) -> Markup {
    let metrics = view.metrics(index);
    let found = metrics
        .iter()
        .find(|(name, _)| sheets::part(name) == Some((base, part)));
    match found {
        Some((name, _)) => cell(view, index, name),
        None => html! { td {} },
    }
}
