//! `provenance.json`: for every node its key, its record, and when, where and how long it ran; and
//! a digest of what the report was rendered from, so that an unchanged report is not rendered
//! again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::attachments;
use super::document::document;
use super::machines::Place;
use super::number::utc;
use super::standing::Standing;
use super::view::View;
use crate::digest::Digest;
use crate::store::Accepted;

/// Incremented when the same view is rendered to different bytes: reports of older builds are then
/// rendered again.
const RENDERING: u32 = 5;

/// The name of the list in the document.
pub const NODES: &str = "nodes";
/// The name of the list of workers, after that of the nodes.
const WORKERS: &str = "workers";

/// Identifies the content of a report.
#[derive(Deserialize, Serialize)]
pub struct Stamp {
    /// Digest of all data that the report shows.
    pub view: Digest,
    /// Digest of every other file of the report, by path relative to its folder.
    pub files: BTreeMap<String, Digest>,
}

#[derive(Serialize)]
struct NodeProvenance<'a> {
    id: &'a str,
    kind: &'a str,
    version: u32,
    key: Digest,
    record: Digest,
    started: String,
    wall_seconds: f64,
    device_class: &'a str,
    threads: usize,
    ribflow: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    notes: &'a BTreeMap<String, Value>,
    /// The records of older versions that it repeats, nearest first.
    #[serde(skip_serializing_if = "<[Accepted]>::is_empty")]
    accepted: &'a [Accepted],
    #[serde(flatten)]
    standing: Option<&'a Standing>,
    #[serde(flatten)]
    place: Option<&'a Place>,
}

/// The digest of all data that the report of `view` shows.
pub fn fingerprint(view: &View) -> Digest {
    let graph = view.graph;
    let mut fed = Vec::new();
    let mut text = |text: &str| {
        fed.extend((text.len() as u64).to_le_bytes());
        fed.extend(text.as_bytes());
    };
    text(env!("CARGO_PKG_VERSION"));
    text(&RENDERING.to_string());
    text(&graph.name);
    text(graph.description.as_deref().unwrap_or_default());
    for list in [&graph.profiles, &graph.overrides] {
        text(&list.len().to_string());
        list.iter().for_each(|item| text(item));
    }
    for axis in &graph.axes {
        text(&axis.name);
        if axis.repeats {
            text("repeats");
        }
        for value in &axis.values {
            text(&value.id);
            text(value.label.as_deref().unwrap_or_default());
            if value.written != value.id {
                text(&value.written);
            }
        }
    }
    for stage in &graph.stages {
        text(&stage.name);
        text(stage.description.as_deref().unwrap_or_default());
        text(
            &graph
                .skipped
                .get(&stage.name)
                .copied()
                .unwrap_or_default()
                .to_string(),
        );
    }
    match view.expected {
        Some(expected) => text(&expected.digest.to_hex()),
        None => text(""),
    }
    view.warnings.iter().for_each(|warning| text(warning));
    for is_present in attachments::presence(view) {
        text(if is_present { "present" } else { "missing" });
    }
    for (index, standing) in view.standings.into_iter().flatten() {
        text(&graph.dag[*index].id);
        // Names, digests and texts always serialise.
        text(&serde_json::to_string(standing).unwrap_or_default());
    }
    for index in graph.dag.node_indices() {
        let node = &graph.dag[index];
        text(&node.id);
        match view.records.get(&index) {
            Some(stored) => text(&stored.digest.to_hex()),
            None => text(""),
        }
        for member in node.inputs.iter().flat_map(|input| &input.members) {
            text(&member.node.index().to_string());
        }
    }
    if let Some(machines) = view.machines {
        text("machines");
        for worker in &machines.workers {
            text(&serde_json::to_string(worker).unwrap_or_default());
        }
        for (index, place) in &machines.places {
            text(&graph.dag[*index].id);
            text(&serde_json::to_string(place).unwrap_or_default());
        }
    }
    let mut hasher = blake3::Hasher::new_derive_key("ribflow 2026 report view v1");
    hasher.update(&fed);
    Digest::finish(&hasher)
}

/// The document: the stamp, then a line for every node with a record.
pub fn render(view: &View, stamp: &Stamp) -> Result<String, serde_json::Error> {
    let lines: Result<Vec<String>, _> = view
        .nodes()
        .filter_map(|(index, node)| Some((index, node, view.records.get(&index)?)))
        .map(|(index, node, stored)| {
            let provenance = &stored.record.provenance;
            serde_json::to_string(&NodeProvenance {
                id: &node.id,
                kind: &stored.record.recipe.kind,
                version: stored.record.recipe.version,
                key: stored.record.key,
                record: stored.digest,
                started: utc(provenance.started),
                wall_seconds: provenance.wall_seconds,
                device_class: &provenance.device_class,
                threads: provenance.threads,
                ribflow: &provenance.ribflow,
                notes: &provenance.notes,
                accepted: &provenance.accepted,
                standing: view.standings.and_then(|known| known.get(&index)),
                place: view
                    .machines
                    .and_then(|machines| machines.places.get(&index)),
            })
        })
        .collect();
    let mut lists = vec![(NODES, lines?)];
    if let Some(machines) = view.machines {
        let workers = machines.workers.iter().map(serde_json::to_string);
        lists.push((WORKERS, workers.collect::<Result<_, _>>()?));
    }
    document(stamp, &lists)
}
