//! Figure: distances between classes, as tables, which screen readers can read and users can copy.

use maud::{Markup, html};
use petgraph::graph::NodeIndex;

use super::palette;
use super::trace;
use crate::report::classes::{ClassPairs, Pair};
use crate::report::number::Number;
use crate::report::view::View;

/// The number of nearest pairs to list if there are too many for a full table.
const NEAREST: usize = 12;
/// Tables with more rows or columns don't fit on a page.
const WIDEST: usize = 24;

/// One table for each pair of datasets, each with its own scale, because features differ by model.
pub fn figure(view: &View, pairs: &[ClassPairs]) -> Markup {
    html! {
        div.heats {
            @for pairs in pairs {
                @if pairs.is_complete() && pairs.a.len().max(pairs.b.len()) <= WIDEST {
                    (map(view, pairs))
                } @else {
                    (list(view, pairs))
                }
            }
        }
    }
}

/// The labels of a node, or its stage if it has none.
fn name(view: &View, index: NodeIndex) -> String {
    let node = view.node(index);
    let labels: Vec<&str> = node
        .axes
        .iter()
        .map(|(axis, id)| view.label(axis, id))
        .collect();
    match labels.is_empty() {
        true => node.stage.clone(),
        false => labels.join(" · "),
    }
}

fn map(view: &View, pairs: &ClassPairs) -> Markup {
    let limit = pairs.largest_distance();
    html! {
        table.heat.classes {
            caption title=(trace::of(view, "distances between classes", &[pairs.index])) { (name(view, pairs.index)) }
            thead { tr {
                th.corner scope="col" { "a ↓  b →" }
                @for class in &pairs.b { th scope="col" { span { (class) } } }
            } }
            tbody {
                @for row in &pairs.a {
                    tr {
                        th scope="row" { (row) }
                        @for column in &pairs.b { (cell(pairs, row, column, limit)) }
                    }
                }
            }
        }
    }
}

fn cell(pairs: &ClassPairs, row: &str, column: &str, limit: f64) -> Markup {
    let Some(pair) = pairs.pair(row, column) else {
        return html! { td.none { "·" } };
    };
    let of_column = pairs.pairs.iter().filter(|other| other.b == column);
    let most = of_column.map(|other| other.mass).fold(0.0, f64::max);
    let class = palette::class(pair.distance, limit);
    let class = match pair.mass > 0.0 && pair.mass == most {
        true => format!("{class} most"),
        false => class,
    };
    html! { td class=(class) { (short(pair.distance)) } }
}

fn list(view: &View, pairs: &ClassPairs) -> Markup {
    let share = |pair: &Pair| Number::percent(100.0 * pair.mass).typeset();
    html! {
        table.data {
            caption title=(trace::of(view, "distances between classes", &[pairs.index])) { (name(view, pairs.index)) }
            thead { tr {
                th scope="col" { "class of a" }
                th scope="col" { "class of b" }
                th.number scope="col" { "distance" }
                th.number scope="col" { "mass, %" }
            } }
            tbody {
                @for pair in pairs.nearest(NEAREST) {
                    tr {
                        td { (pair.a) }
                        td { (pair.b) }
                        td.number { (short(pair.distance)) }
                        td.number { (share(&pair)) }
                    }
                }
            }
        }
    }
}

/// At most three digits, because cells are narrow.
fn short(value: f64) -> String {
    let decimals = match value {
        _ if value < 0.995 => 2,
        _ if value < 9.95 => 1,
        _ => 0,
    };
    let signed = false;
    Number {
        value,
        decimals,
        signed,
    }
    .typeset()
}
