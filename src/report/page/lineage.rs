//! The collapsible section that lists the key and the record of every node, by stage.

use maud::{Markup, html};
use petgraph::graph::NodeIndex;

use crate::quantity::duration;
use crate::quantity::page::{count, grouped};
use crate::report::number::{Number, utc};
use crate::report::view::View;
use crate::store::artifact::Metric;

/// Longer stages are truncated here; `provenance.json` has all nodes.
const ROWS: usize = 1500;

pub fn section(view: &View) -> Markup {
    html! {
        @for (stage, members) in view.stages() {
            (fold(view, stage, &members))
        }
    }
}

fn fold(view: &View, stage: &str, members: &[NodeIndex]) -> Markup {
    let kinds = view.kinds(members).join(", ");
    let seconds = members.iter().filter_map(|index| view.records.get(index));
    let seconds: f64 = seconds
        .map(|stored| stored.record.provenance.wall_seconds)
        .sum();
    html! {
        details.lineage {
            summary {
                b { (stage) } " "
                span.quiet {
                    (kinds) " · " (count(members.len(), "node"))
                    @if seconds > 0.0 { " · " (duration(seconds)) }
                }
            }
            div.scroll tabindex="0" role="group" aria-label=(format!("Nodes of {stage}")) {
                table.data.sortable {
                    thead { tr {
                        th scope="col" { "node" }
                        th.number scope="col" { "result" }
                        th scope="col" { "key" }
                        th scope="col" { "record" }
                        th scope="col" { "started (UTC)" }
                        th.number scope="col" { "seconds" }
                        th scope="col" { "on" }
                        @if view.machines.is_some() {
                            th scope="col" { "worker" }
                            th.number scope="col" { "waited, seconds" }
                        }
                    } }
                    tbody {
                        @for index in members.iter().take(ROWS) { (row(view, *index)) }
                    }
                }
            }
            @if members.len() > ROWS {
                p.quiet { "and " (grouped(members.len() - ROWS)) " more in provenance.json" }
            }
        }
    }
}

fn row(view: &View, index: NodeIndex) -> Markup {
    let id = &view.node(index).id;
    let Some(stored) = view.records.get(&index) else {
        let others = if view.machines.is_some() { "8" } else { "6" };
        return html! { tr { td.id { (id) } td.quiet colspan=(others) { "no record yet" } } };
    };
    let provenance = &stored.record.provenance;
    html! {
        tr {
            td.id { (id) }
            td.number {
                @if let Some((name, metric)) = principal(view, index) {
                    span.quiet { (name) " " } (shown(metric))
                }
            }
            td.digest title=(stored.record.key) { (stored.record.key.short()) }
            td.digest title=(stored.digest) { (stored.digest.short()) }
            td.when { (utc(provenance.started).replace('T', " ").trim_end_matches('Z')) }
            td.number { (format!("{:.2}", provenance.wall_seconds)) }
            td.quiet { (provenance.device_class) }
            @if let Some(machines) = view.machines {
                @if let Some(place) = machines.places.get(&index) {
                    td.quiet { (place.shown()) }
                    td.number { (format!("{:.2}", place.waited_seconds)) }
                } @else {
                    td {} td {}
                }
            }
        }
    }
}

/// The metric that represents a node where there is room for only one.
fn principal<'a>(view: &View<'a>, index: NodeIndex) -> Option<(String, &'a Metric)> {
    let metrics = view.metrics(index);
    let known = ["mri", "top1", "distance"]
        .iter()
        .find_map(|name| metrics.iter().position(|(known, _)| known == name));
    metrics.into_iter().nth(known.unwrap_or_default())
}

/// A metric with its unit.
pub fn shown(metric: &Metric) -> String {
    let number = Number::of(metric.value, &metric.unit).typeset();
    match metric.unit.as_str() {
        "percent" => format!("{number} %"),
        _ => number,
    }
}
