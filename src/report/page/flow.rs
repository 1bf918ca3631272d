//! Figure: the stages of the workflow, left to right from inputs to outputs. If there are too many
//! stages to read, each box represents all nodes of a kind.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};
use petgraph::graph::NodeIndex;

use super::frame::{self, Numbering};
use super::layers::{BOX_HEIGHT, Edges, GAP_X, Layout, MARGIN};
use super::plot::{px, width};
use crate::quantity::page::{count, grouped};
use crate::report::view::View;
use crate::workflow::graph::StageInfo;

/// A box of the figure.
struct Block {
    name: String,
    subtitle: String,
    words: String,
    complete: bool,
    nodes: Vec<NodeIndex>,
}

impl Block {
    fn width(&self) -> f64 {
        width(&self.name, 15.5).max(width(&self.subtitle, 12.0)) + 28.0
    }
}

pub fn figure(view: &View, numbering: &mut Numbering) -> Markup {
    let stages = stages(view);
    let (edges, loops) = edges(view, &stages);
    if let Some(layout) = Layout::readable(stages.len(), &edges) {
        let label = "The stages of the workflow and what they need";
        let caption = html! { "The stages of the workflow with their kinds and numbers of nodes." };
        return frame::figure(numbering, drawing(&stages, &layout, &loops, label), caption);
    }
    let caption = html! {
        "The workflow has " (count(stages.len(), "stage")) " with " (count(edges.len(), "connection"))
        ", too many to draw one by one. A box stands for all nodes of a kind."
    };
    let kinds = kinds(view, &stages);
    let (edges, loops) = self::edges(view, &kinds);
    let layout = Layout::new(kinds.len(), &edges);
    let label = "The kinds of nodes in the workflow and what they need";
    frame::figure(numbering, drawing(&kinds, &layout, &loops, label), caption)
}

fn drawing(blocks: &[Block], layout: &Layout, loops: &BTreeSet<usize>, label: &str) -> Markup {
    let widths = layout.widths(|place| blocks[place].width());
    let left: Vec<f64> = widths
        .iter()
        .scan(MARGIN, |x, width| {
            let here = *x;
            *x += width + GAP_X;
            Some(here)
        })
        .collect();
    let whole =
        widths.iter().sum::<f64>() + GAP_X * (widths.len().max(1) - 1) as f64 + 2.0 * MARGIN;
    let height = layout.height + 2.0 * MARGIN;
    html! {
        div.scroll tabindex="0" role="group" aria-label="Picture of the stages" {
            svg.flow viewBox=(format!("0 0 {} {}", px(whole), px(height))) style=(format!("width:{}px", px(whole)))
                role="img" aria-label=(label) {
                @for path in &layout.paths {
                    path.edge d=(layout.curve(path, &left, &widths)) {}
                }
                @for (place, block) in blocks.iter().enumerate() {
                    @let (layer, y) = layout.place[place];
                    @let (x, y) = (left[layer], y + MARGIN);
                    g.stage.partial[!block.complete] {
                        title { (block.words) }
                        rect x=(px(x)) y=(px(y)) width=(px(widths[layer])) height=(px(BOX_HEIGHT)) rx="6" {}
                        text.head x=(px(x + 12.0)) y=(px(y + 20.0)) { (block.name) }
                        text.sub x=(px(x + 12.0)) y=(px(y + 36.0)) { (block.subtitle) }
                        @if loops.contains(&place) {
                            @let (end, top) = (x + widths[layer] - 16.0, y);
                            path.edge d=(format!("M{} {}c-4 -13 18 -13 14 0", px(end - 8.0), px(top))) {}
                        }
                    }
                }
            }
        }
    }
}

/// How many of some nodes have a record, as text, and whether all have.
fn share(view: &View, nodes: &[NodeIndex]) -> (String, bool) {
    let has_record = |index: &&NodeIndex| view.records.contains_key(*index);
    let done = nodes.iter().filter(has_record).count();
    match done == nodes.len() {
        true => (grouped(done), true),
        false => (
            format!("{} of {}", grouped(done), grouped(nodes.len())),
            false,
        ),
    }
}

/// A box for every stage with nodes.
fn stages(view: &View) -> Vec<Block> {
    let mut members: BTreeMap<&str, Vec<NodeIndex>> = view.stages().into_iter().collect();
    let stages = view.graph.stages.iter();
    let block = |stage| Some(of_stage(view, stage, members.remove(stage.name.as_str())?));
    stages.filter_map(block).collect()
}

fn of_stage(view: &View, stage: &StageInfo, nodes: Vec<NodeIndex>) -> Block {
    let kinds = view.kinds(&nodes).join(", ");
    let axes = match stage.axes.len() {
        0 => String::new(),
        _ => format!(" over {}", stage.axes.join(" × ")),
    };
    let skipped = match view.graph.skipped.get(&stage.name) {
        Some(skipped) if *skipped > 0 => {
            format!("\n{} left out by skip", count(*skipped, "point"))
        }
        _ => String::new(),
    };
    let description = stage.description.iter().map(|text| format!("\n{text}"));
    let description: String = description.collect();
    let (share, complete) = share(view, &nodes);
    Block {
        name: stage.name.clone(),
        subtitle: format!("{kinds} · {share}"),
        words: format!(
            "{}: {}{axes}{skipped}{description}",
            stage.name,
            count(nodes.len(), "node")
        ),
        complete,
        nodes,
    }
}

/// A box for every kind, in the order of the stages.
fn kinds(view: &View, stages: &[Block]) -> Vec<Block> {
    let mut kinds: Vec<(&str, BTreeSet<usize>, Vec<NodeIndex>)> = Vec::new();
    let mut place: BTreeMap<&str, usize> = BTreeMap::new();
    for (stage, block) in stages.iter().enumerate() {
        for index in &block.nodes {
            let kind = view.node(*index).kind.name();
            let place = *place.entry(kind).or_insert(kinds.len());
            if place == kinds.len() {
                kinds.push((kind, BTreeSet::new(), Vec::new()));
            }
            kinds[place].1.insert(stage);
            kinds[place].2.push(*index);
        }
    }
    let block = |(kind, stages, nodes): (&str, BTreeSet<usize>, Vec<NodeIndex>)| {
        let stages = count(stages.len(), "stage");
        let (share, complete) = share(view, &nodes);
        Block {
            name: kind.to_string(),
            subtitle: format!("{stages} · {share}"),
            words: format!("{kind}: {} of {stages}", count(nodes.len(), "node")),
            complete,
            nodes,
        }
    };
    kinds.into_iter().map(block).collect()
}

/// The edges between blocks, and the blocks whose nodes use other nodes of the same block.
fn edges(view: &View, blocks: &[Block]) -> (Edges, BTreeSet<usize>) {
    let mut block_of: Vec<Option<usize>> = vec![None; view.graph.dag.node_count()];
    for (place, block) in blocks.iter().enumerate() {
        for index in &block.nodes {
            block_of[index.index()] = Some(place);
        }
    }
    let (mut edges, mut loops) = (Edges::new(), BTreeSet::new());
    for (to, node) in view.nodes() {
        for member in node.inputs.iter().flat_map(|input| &input.members) {
            match (block_of[member.node.index()], block_of[to.index()]) {
                (Some(from), Some(to)) if from == to => {
                    loops.insert(from);
                }
                (Some(from), Some(to)) => {
                    edges.insert((from, to));
                }
                _ => {}
            }
        }
    }
    (edges, loops)
}
