//! Figure: the workflow as a picture of its stages, left to right from what they read to what
//! they give. A stage stands one layer right of the last stage it needs; long edges bend around
//! the layers between.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};
use petgraph::graph::NodeIndex;

use super::plot::{px, width};
use crate::report::number::{grouped, plural};
use crate::report::view::View;

const BOX_HEIGHT: f64 = 46.0;
const GAP_X: f64 = 46.0;
const GAP_Y: f64 = 22.0;
const MARGIN: f64 = 14.0;

/// A stage as the picture shows it.
struct Block {
    name: String,
    subtitle: String,
    words: String,
    complete: bool,
}

/// A place in a layer: a stage, or a bend of a long edge.
#[derive(Clone, Copy, PartialEq)]
enum LayerSlot {
    Stage(usize),
    Bend,
}

impl LayerSlot {
    fn height(self) -> f64 {
        match self {
            LayerSlot::Stage(_) => BOX_HEIGHT,
            LayerSlot::Bend => 10.0,
        }
    }
}

/// An edge as the (layer, place in layer) of its ends and of the bends between.
type Chain = Vec<(usize, usize)>;

pub fn figure(view: &View) -> Markup {
    let blocks = blocks(view);
    let names: Vec<&str> = blocks.iter().map(|block| block.name.as_str()).collect();
    let (edges, loops) = edges(view, &names);
    let layout = Layout::new(blocks.len(), &edges);
    let widths = layout.widths(&blocks);
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
        div.scroll {
            svg.flow viewBox=(format!("0 0 {} {}", px(whole), px(height))) style=(format!("width:{}px", px(whole)))
                role="img" aria-label="The stages of the workflow and what they need" {
                @for path in &layout.paths {
                    path.edge d=(layout.curve(path, &left, &widths)) {}
                }
                @for (stage, block) in blocks.iter().enumerate() {
                    @let (layer, y) = layout.place[stage];
                    @let (x, y) = (left[layer], y + MARGIN);
                    g.stage.partial[!block.complete] {
                        title { (block.words) }
                        rect x=(px(x)) y=(px(y)) width=(px(widths[layer])) height=(px(BOX_HEIGHT)) rx="6" {}
                        text.head x=(px(x + 12.0)) y=(px(y + 20.0)) { (block.name) }
                        text.sub x=(px(x + 12.0)) y=(px(y + 36.0)) { (block.subtitle) }
                        @if loops.contains(&stage) {
                            @let (end, top) = (x + widths[layer] - 16.0, y);
                            path.edge d=(format!("M{} {}c-4 -13 18 -13 14 0", px(end - 8.0), px(top))) {}
                        }
                    }
                }
            }
        }
    }
}

fn blocks(view: &View) -> Vec<Block> {
    let members: BTreeMap<&str, Vec<NodeIndex>> = view.stages().into_iter().collect();
    let block = |stage: &crate::workflow::graph::StageInfo| {
        let members = members.get(stage.name.as_str())?;
        let nodes = members.len();
        let has_record = |index: &&NodeIndex| view.records.contains_key(*index);
        let done = members.iter().filter(has_record).count();
        let kinds = view.kinds(members).join(", ");
        let axes = match stage.axes.len() {
            0 => String::new(),
            _ => format!(" over {}", stage.axes.join(" × ")),
        };
        let skipped = match view.graph.skipped.get(&stage.name) {
            Some(skipped) if *skipped > 0 => {
                format!("\n{} left out by skip", plural(*skipped, "point"))
            }
            _ => String::new(),
        };
        let description = stage.description.iter().map(|text| format!("\n{text}"));
        let description: String = description.collect();
        let share = match done == nodes {
            true => grouped(nodes),
            false => format!("{} of {}", grouped(done), grouped(nodes)),
        };
        Some(Block {
            name: stage.name.clone(),
            subtitle: format!("{kinds} · {share}"),
            words: format!(
                "{}: {}{axes}{skipped}{description}",
                stage.name,
                plural(nodes, "node")
            ),
            complete: done == nodes,
        })
    };
    view.graph.stages.iter().filter_map(block).collect()
}

/// Which stage feeds which, and the stages that feed on other nodes of themselves.
fn edges(view: &View, names: &[&str]) -> (BTreeSet<(usize, usize)>, BTreeSet<usize>) {
    let place: BTreeMap<&str, usize> = names
        .iter()
        .enumerate()
        .map(|(place, name)| (*name, place))
        .collect();
    let (mut edges, mut loops) = (BTreeSet::new(), BTreeSet::new());
    for (_, node) in view.nodes() {
        for member in node.inputs.iter().flat_map(|input| &input.members) {
            let from = place.get(view.node(member.node).stage.as_str());
            match (from, place.get(node.stage.as_str())) {
                (Some(from), Some(to)) if from == to => {
                    loops.insert(*from);
                }
                (Some(from), Some(to)) => {
                    edges.insert((*from, *to));
                }
                _ => {}
            }
        }
    }
    (edges, loops)
}

struct Layout {
    layers: Vec<Vec<LayerSlot>>,
    /// For each stage its layer and its top edge.
    place: Vec<(usize, f64)>,
    /// For each edge the (layer, middle) of its ends and bends.
    paths: Vec<Vec<(usize, f64)>>,
    height: f64,
}

impl Layout {
    fn new(stages: usize, edges: &BTreeSet<(usize, usize)>) -> Self {
        let layer_of = layers(stages, edges);
        let depth = layer_of.iter().max().map_or(0, |last| last + 1);
        let mut layers: Vec<Vec<LayerSlot>> = vec![Vec::new(); depth];
        for (stage, layer) in layer_of.iter().enumerate() {
            layers[*layer].push(LayerSlot::Stage(stage));
        }
        // Every edge becomes a chain of (layer, place in layer), with a bend in each layer between.
        let mut chains: Vec<Chain> = Vec::new();
        for (from, to) in edges
            .iter()
            .filter(|(from, to)| layer_of[*from] < layer_of[*to])
        {
            let place = |layers: &[Vec<LayerSlot>], stage: usize| {
                let layer = layer_of[stage];
                let place = layers[layer]
                    .iter()
                    .position(|spot| *spot == LayerSlot::Stage(stage));
                (layer, place.unwrap_or_default())
            };
            let mut chain = vec![place(&layers, *from)];
            for (layer, spots) in layers
                .iter_mut()
                .enumerate()
                .take(layer_of[*to])
                .skip(layer_of[*from] + 1)
            {
                chain.push((layer, spots.len()));
                spots.push(LayerSlot::Bend);
            }
            chain.push(place(&layers, *to));
            chains.push(chain);
        }
        let orders = untangled(&layers, &chains);
        let (middles, height) = middles(&layers, &orders, &chains);
        let mut place = vec![(0, 0.0); stages];
        for (layer, spots) in layers.iter().enumerate() {
            for (spot, middle) in spots.iter().zip(&middles[layer]) {
                if let LayerSlot::Stage(stage) = spot {
                    place[*stage] = (layer, middle - BOX_HEIGHT / 2.0);
                }
            }
        }
        let paths = chains
            .iter()
            .map(|chain| {
                chain
                    .iter()
                    .map(|(layer, spot)| (*layer, middles[*layer][*spot]))
                    .collect()
            })
            .collect();
        Self {
            layers,
            place,
            paths,
            height,
        }
    }

    /// A layer is as wide as its widest stage.
    fn widths(&self, blocks: &[Block]) -> Vec<f64> {
        let of = |spot: &LayerSlot| match spot {
            LayerSlot::Stage(stage) => {
                let block = &blocks[*stage];
                width(&block.name, 15.5).max(width(&block.subtitle, 12.0)) + 28.0
            }
            LayerSlot::Bend => 0.0,
        };
        self.layers
            .iter()
            .map(|spots| spots.iter().map(of).fold(72.0, f64::max))
            .collect()
    }

    /// From the right side of the first stage through the bends to the left side of the last.
    fn curve(&self, path: &[(usize, f64)], left: &[f64], widths: &[f64]) -> String {
        let mut d = String::new();
        for (place, (layer, middle)) in path.iter().enumerate() {
            let y = px(middle + MARGIN);
            let (start, end) = (left[*layer], left[*layer] + widths[*layer]);
            if place == 0 {
                d = format!("M{} {y}", px(end));
                continue;
            }
            let before = px(path[place - 1].1 + MARGIN);
            let half = GAP_X / 2.0;
            d.push_str(&format!(
                "C{} {before} {} {y} {} {y}",
                px(start - half),
                px(start - half),
                px(start)
            ));
            if place + 1 < path.len() {
                d.push_str(&format!("H{}", px(end)));
            }
        }
        d
    }
}

/// One layer right of the last stage needed. Edges against the order of a cycle of stages (which
/// nodes may have) are given up after as many rounds as there are stages.
fn layers(stages: usize, edges: &BTreeSet<(usize, usize)>) -> Vec<usize> {
    let mut layer = vec![0; stages];
    for _ in 0..stages {
        for (from, to) in edges {
            if layer[*to] <= layer[*from] && layer[*from] + 1 < stages {
                layer[*to] = layer[*from] + 1;
            }
        }
    }
    let mut used: Vec<usize> = layer.clone();
    used.sort_unstable();
    used.dedup();
    layer
        .iter()
        .map(|layer| used.binary_search(layer).unwrap_or_default())
        .collect()
}

/// For each layer its spots from top to bottom: sweeps of the barycentre heuristic (Sugiyama 1981).
fn untangled(layers: &[Vec<LayerSlot>], chains: &[Chain]) -> Vec<Vec<usize>> {
    let mut orders: Vec<Vec<usize>> = layers
        .iter()
        .map(|spots| (0..spots.len()).collect())
        .collect();
    for sweep in 0..12 {
        let forwards = sweep % 2 == 0;
        for step in 1..layers.len() {
            let layer = match forwards {
                true => step,
                false => layers.len() - 1 - step,
            };
            let place = |(layer, spot): (usize, usize)| {
                let found = orders[layer].iter().position(|known| *known == spot);
                found.unwrap_or_default() as f64
            };
            let rank = |spot: usize| {
                let near = neighbours(chains, (layer, spot), forwards).map(place);
                mean(near).unwrap_or_else(|| place((layer, spot)))
            };
            let ranks: Vec<f64> = (0..layers[layer].len()).map(rank).collect();
            orders[layer].sort_by(|a, b| ranks[*a].total_cmp(&ranks[*b]));
        }
    }
    orders
}

/// The spots next to one along its edges: in the layer before, or in the layer after.
fn neighbours(
    chains: &[Chain],
    spot: (usize, usize),
    before: bool,
) -> impl Iterator<Item = (usize, usize)> {
    let pairs = chains.iter().flat_map(|chain| chain.windows(2));
    pairs.filter_map(move |pair| match before {
        true if pair[1] == spot => Some(pair[0]),
        false if pair[0] == spot => Some(pair[1]),
        _ => None,
    })
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0, 0.0), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / f64::from(count))
}

/// The middle of every spot, and the height of all: spots are drawn towards their neighbours as
/// far as the order and the gaps of their layer allow.
fn middles(
    layers: &[Vec<LayerSlot>],
    orders: &[Vec<usize>],
    chains: &[Chain],
) -> (Vec<Vec<f64>>, f64) {
    let mut middles: Vec<Vec<f64>> = layers.iter().map(|spots| vec![0.0; spots.len()]).collect();
    for _ in 0..24 {
        for layer in 0..layers.len() {
            let wish = |spot: usize| {
                let here = (layer, spot);
                let before = neighbours(chains, here, true);
                let near = before.chain(neighbours(chains, here, false));
                let near = near.map(|(layer, spot)| middles[layer][spot]);
                mean(near).unwrap_or(middles[layer][spot])
            };
            let wishes: Vec<f64> = (0..layers[layer].len()).map(wish).collect();
            middles[layer] = kept_apart(&layers[layer], &orders[layer], &wishes);
        }
    }
    let ends = layers.iter().flatten().zip(middles.iter().flatten());
    let ends =
        ends.map(|(spot, middle)| (middle - spot.height() / 2.0, middle + spot.height() / 2.0));
    let (top, bottom) = ends
        .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
        .unwrap_or_default();
    middles
        .iter_mut()
        .flatten()
        .for_each(|middle| *middle -= top);
    (middles, bottom - top)
}

/// Places near `wishes` in the given order: half way between pushing everything down that is too
/// near to what lies above it, and pushing everything up that is too near to what lies below.
fn kept_apart(spots: &[LayerSlot], order: &[usize], wishes: &[f64]) -> Vec<f64> {
    let gap = |a: usize, b: usize| (spots[a].height() + spots[b].height()) / 2.0 + GAP_Y;
    let (mut down, mut up) = (wishes.to_vec(), wishes.to_vec());
    for pair in order.windows(2) {
        down[pair[1]] = down[pair[1]].max(down[pair[0]] + gap(pair[0], pair[1]));
    }
    for pair in order.windows(2).rev() {
        up[pair[0]] = up[pair[0]].min(up[pair[1]] - gap(pair[0], pair[1]));
    }
    down.iter()
        .zip(&up)
        .map(|(down, up)| (down + up) / 2.0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_edges_bend_and_boxes_keep_apart() {
        let edges = BTreeSet::from([(0, 1), (1, 2), (0, 2), (3, 2)]);
        let layout = Layout::new(4, &edges);
        let layers: Vec<usize> = layout.place.iter().map(|(layer, _)| *layer).collect();
        assert_eq!(layers, [0, 1, 2, 0]);
        assert!((layout.place[0].1 - layout.place[3].1).abs() >= BOX_HEIGHT);
        assert_eq!(layout.paths.len(), 4);
        assert_eq!(
            layout.paths.iter().filter(|path| path.len() == 3).count(),
            2
        );
    }

    #[test]
    fn a_cycle_of_stages_ends() {
        let edges = BTreeSet::from([(0, 1), (1, 0), (1, 2)]);
        assert_eq!(Layout::new(3, &edges).place.len(), 3);
        assert_eq!(Layout::new(0, &BTreeSet::new()).height, 0.0);
    }
}
