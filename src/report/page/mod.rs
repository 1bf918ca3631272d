//! `report.html`: one file that needs no network and no script, and prints well. Every number names
//! its node, key and record. Draws the data of [`View`] and reads no file.

mod atlas;
mod attachments;
mod bars;
mod before_after;
mod benchmark;
mod class_heat;
mod datasets;
mod distance;
mod flow;
mod frame;
mod heat;
mod layers;
mod lineage;
mod machines;
mod matrix;
mod means;
mod metrics;
mod palette;
mod plot;
mod radar;
mod scatter;
mod selections;
mod trace;
mod verdicts;

use std::collections::{BTreeMap, BTreeSet};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::accepted;
use super::number::utc;
use super::relation::relations;
use super::robustness::benchmarks;
use super::view::View;
use crate::quantity::duration;
use crate::quantity::page::{count, grouped};
use crate::workflow::kind::Meaning;
use frame::{Numbering, heading};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// Renders the page. `files` are the other files of the report, by path relative to its folder.
pub fn render<'f>(view: &View, files: impl Iterator<Item = &'f str>) -> String {
    let numbering = &mut Numbering::default();
    let benchmarks = benchmarks(view);
    let relations = relations(view);
    let verdicts = view.expected.map(|expected| expected.judge(view));
    let panel_axis = benchmarks
        .first()
        .and_then(|benchmark| benchmark.panel_axis);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (view.graph.name) " · ribflow" }
                style { (PreEscaped(palette::style())) (PreEscaped(STYLE)) }
            }
            body {
                main {
                    (head(view))
                    @if let Some(verdicts) = &verdicts { (verdicts::section(view, verdicts, numbering)) }
                    @for benchmark in &benchmarks { (benchmark::sections(view, benchmark, numbering)) }
                    @for relation in &relations { (distance::section(view, relation, panel_axis, numbering)) }
                    (datasets::section(view, numbering))
                    @if benchmarks.is_empty() { (metrics::open(view, numbering)) } @else { (metrics::folded(view)) }
                    (selections::section(view, numbering))
                    (attachments::section(view, numbering))
                    section #workflow {
                        (heading("Workflow"))
                        (flow::figure(view, numbering))
                    }
                    section #provenance {
                        (heading("Where every number comes from"))
                        p { "A node’s key is a digest of all its inputs; its record holds its results. "
                            "Hover over a number, or move the keyboard focus to it, to see its node, key and record. The tables list all of them. "
                            code { "ribflow why" } " explains a key." }
                        (machines::table(view))
                        (lineage::section(view))
                    }
                    (foot(files))
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

fn head(view: &View) -> Markup {
    let graph = view.graph;
    html! {
        header {
            p.eyebrow { "ribflow report" }
            h1 { (graph.name) }
            @if let Some(description) = &graph.description { p.description { (description) } }
            dl.facts {
                @for (name, value) in facts(view) { div { dt { (name) } dd { (value) } } }
            }
            @if view.records.len() < graph.dag.node_count() {
                p.note.warn { b { "Not complete. " }
                    (grouped(graph.dag.node_count() - view.records.len())) " of "
                    (count(graph.dag.node_count(), "node")) " have no result yet; means that need them are left out." }
            }
            @for warning in view.warnings {
                p.note.warn { b { "Revoked. " } (warning) }
            }
            @for sentence in accepted::sentences(view) {
                p.note.warn { b { "Accepted. " } (sentence) }
            }
            @if has_drawn_images(view) {
                p.note { b { "Procedural images. " }
                    "A built-in dataset is drawn by a program. These numbers are evidence about the software, "
                    "not about the paper’s models and data." }
            }
        }
    }
}

fn facts(view: &View) -> Vec<(&'static str, String)> {
    let graph = view.graph;
    let provenances = || {
        view.records
            .values()
            .map(|stored| &stored.record.provenance)
    };
    let done = match graph.dag.node_count() {
        total if total == view.records.len() => grouped(total),
        total => format!("{} of {}", grouped(view.records.len()), grouped(total)),
    };
    let mut facts = vec![("nodes", done)];
    if !graph.profiles.is_empty() {
        facts.push(("profile", graph.profiles.join(", ")));
    }
    if !graph.overrides.is_empty() {
        facts.push(("set", graph.overrides.join(", ")));
    }
    let devices: BTreeSet<&str> = provenances()
        .map(|known| known.device_class.as_str())
        .collect();
    facts.push((
        "device",
        devices.into_iter().collect::<Vec<&str>>().join(", "),
    ));
    let seconds: f64 = provenances().map(|known| known.wall_seconds).sum();
    facts.push(("time of all nodes", duration(seconds)));
    if let Some(last) = provenances().map(|known| known.started).max() {
        facts.push((
            "last node",
            utc(last).split('T').next().unwrap_or_default().to_string(),
        ));
    }
    facts
}

fn has_drawn_images(view: &View) -> bool {
    view.nodes().any(|(_, node)| {
        node.kind.meaning() == Meaning::Images
            && node.with.get("builtin").is_some_and(|name| !name.is_null())
    })
}

fn foot<'f>(files: impl Iterator<Item = &'f str>) -> Markup {
    // By table: its formats side by side.
    let mut tables: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    let mut others = Vec::new();
    for path in files {
        match path
            .strip_prefix("tables/")
            .and_then(|name| name.rsplit_once('.'))
        {
            Some((table, form)) => tables.entry(table).or_default().push((form, path)),
            None => others.push(path),
        }
    }
    html! {
        footer {
            p { "The same numbers as files: "
                @for path in others { a href=(path) { (path) } ", " } "provenance.json; tables"
                @for (table, forms) in tables {
                    " · " span.file { (table)
                        @for (form, path) in forms { " " a href=(path) { (form) } }
                    }
                }
            }
            p.quiet { "Written by ribflow " (env!("CARGO_PKG_VERSION")) ". This file is self-contained." }
        }
    }
}
