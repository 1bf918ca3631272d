//! Lays out boxes and edges from left to right. A box is one layer to the right of the last box it
//! needs; long edges bend around the layers between. Knows nothing about workflows.

use std::collections::BTreeSet;

use super::plot::px;

pub const BOX_HEIGHT: f64 = 46.0;
pub const GAP_X: f64 = 46.0;
pub const MARGIN: f64 = 14.0;
const GAP_Y: f64 = 22.0;

/// A figure with more boxes is not readable.
const MOST_BOXES: usize = 150;
/// The maximum number of edges of a readable figure. An edge counts once for every layer that it
/// crosses.
const MOST_STEPS: usize = 1000;

/// Edges as pairs (from, to) of indices into a list of boxes.
pub type Edges = BTreeSet<(usize, usize)>;

/// A slot in a layer: a box, or a bend of a long edge.
#[derive(Clone, Copy, PartialEq)]
enum LayerSlot {
    Box(usize),
    Bend,
}

impl LayerSlot {
    fn height(self) -> f64 {
        match self {
            LayerSlot::Box(_) => BOX_HEIGHT,
            LayerSlot::Bend => 10.0,
        }
    }
}

/// An edge as the (layer, slot) of its ends and of its bends.
type Chain = Vec<(usize, usize)>;

pub struct Layout {
    layers: Vec<Vec<LayerSlot>>,
    /// For each box, its layer and its top edge.
    pub place: Vec<(usize, f64)>,
    /// For each edge, the (layer, middle) of its ends and bends.
    pub paths: Vec<Vec<(usize, f64)>>,
    pub height: f64,
}

impl Layout {
    /// `None` for a figure that is too large to read.
    pub fn readable(boxes: usize, edges: &Edges) -> Option<Self> {
        if boxes > MOST_BOXES || edges.len() > MOST_STEPS {
            return None;
        }
        let layer_of = layers(boxes, edges);
        let crossed = |(from, to): &(usize, usize)| layer_of[*to].abs_diff(layer_of[*from]);
        let steps: usize = edges.iter().map(crossed).sum();
        (steps <= MOST_STEPS).then(|| Self::of(&layer_of, edges))
    }

    pub fn new(boxes: usize, edges: &Edges) -> Self {
        Self::of(&layers(boxes, edges), edges)
    }

    fn of(layer_of: &[usize], edges: &Edges) -> Self {
        let depth = layer_of.iter().max().map_or(0, |last| last + 1);
        let mut layers: Vec<Vec<LayerSlot>> = vec![Vec::new(); depth];
        let mut spot_of: Chain = Vec::new();
        for (index, layer) in layer_of.iter().enumerate() {
            spot_of.push((*layer, layers[*layer].len()));
            layers[*layer].push(LayerSlot::Box(index));
        }
        let chains = chains(&mut layers, &spot_of, edges);
        let neighbours = Neighbours::new(&layers, &chains);
        let orders = untangled(&layers, &neighbours);
        let (middles, height) = middles(&layers, &orders, &neighbours);
        let middle = |(layer, spot): &(usize, usize)| (*layer, middles[*layer][*spot]);
        let place = spot_of.iter().map(middle);
        let place = place.map(|(layer, middle)| (layer, middle - BOX_HEIGHT / 2.0));
        let paths = chains
            .iter()
            .map(|chain| chain.iter().map(middle).collect());
        Self {
            place: place.collect(),
            paths: paths.collect(),
            layers,
            height,
        }
    }

    /// The width of each layer: that of its widest box.
    pub fn widths(&self, width_of: impl Fn(usize) -> f64) -> Vec<f64> {
        let of = |spot: &LayerSlot| match spot {
            LayerSlot::Box(index) => width_of(*index),
            LayerSlot::Bend => 0.0,
        };
        self.layers
            .iter()
            .map(|spots| spots.iter().map(of).fold(72.0, f64::max))
            .collect()
    }

    /// A curve from the right side of the first box through the bends to the left side of the last
    /// box.
    pub fn curve(&self, path: &[(usize, f64)], left: &[f64], widths: &[f64]) -> String {
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

/// The layer of every box: one to the right of the last box it needs. Edges that close a cycle
/// (stages may have cycles) are ignored after as many rounds as there are boxes.
fn layers(boxes: usize, edges: &Edges) -> Vec<usize> {
    let mut layer = vec![0; boxes];
    for _ in 0..boxes {
        let mut moved = false;
        for (from, to) in edges {
            if layer[*to] <= layer[*from] && layer[*from] + 1 < boxes {
                layer[*to] = layer[*from] + 1;
                moved = true;
            }
        }
        if !moved {
            break;
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

/// Every edge as a chain from layer to layer, with a bend in each layer between its ends.
fn chains(layers: &mut [Vec<LayerSlot>], spot_of: &[(usize, usize)], edges: &Edges) -> Vec<Chain> {
    let mut chains = Vec::new();
    for (from, to) in edges {
        let (first, last) = (spot_of[*from], spot_of[*to]);
        if first.0 >= last.0 {
            continue;
        }
        let mut chain = vec![first];
        for (layer, spots) in layers.iter_mut().enumerate().take(last.0).skip(first.0 + 1) {
            chain.push((layer, spots.len()));
            spots.push(LayerSlot::Bend);
        }
        chain.push(last);
        chains.push(chain);
    }
    chains
}

/// For every slot of every layer, its neighbours along edges, as positions in their layer.
struct Neighbours {
    before: Vec<Vec<Vec<usize>>>,
    after: Vec<Vec<Vec<usize>>>,
}

impl Neighbours {
    fn new(layers: &[Vec<LayerSlot>], chains: &[Chain]) -> Self {
        let empty = || -> Vec<Vec<Vec<usize>>> {
            let of_layer = |spots: &Vec<LayerSlot>| vec![Vec::new(); spots.len()];
            layers.iter().map(of_layer).collect()
        };
        let (mut before, mut after) = (empty(), empty());
        for pair in chains.iter().flat_map(|chain| chain.windows(2)) {
            let (from, to) = (pair[0], pair[1]);
            before[to.0][to.1].push(from.1);
            after[from.0][from.1].push(to.1);
        }
        Self { before, after }
    }
}

/// The order of the slots of each layer: sweeps of the barycentre heuristic (Sugiyama 1981).
fn untangled(layers: &[Vec<LayerSlot>], neighbours: &Neighbours) -> Vec<Vec<usize>> {
    let mut orders: Vec<Vec<usize>> = layers
        .iter()
        .map(|spots| (0..spots.len()).collect())
        .collect();
    // The inverse: for each slot, its position in the order of its layer.
    let mut places = orders.clone();
    for sweep in 0..12 {
        let forwards = sweep % 2 == 0;
        for step in 1..layers.len() {
            let (layer, beside, near) = match forwards {
                true => (step, step - 1, &neighbours.before),
                false => {
                    let layer = layers.len() - 1 - step;
                    (layer, layer + 1, &neighbours.after)
                }
            };
            let rank = |spot: usize| {
                let near = near[layer][spot].iter();
                let near = near.map(|spot| places[beside][*spot] as f64);
                mean(near).unwrap_or(places[layer][spot] as f64)
            };
            let ranks: Vec<f64> = (0..layers[layer].len()).map(rank).collect();
            orders[layer].sort_by(|a, b| ranks[*a].total_cmp(&ranks[*b]));
            for (place, spot) in orders[layer].iter().enumerate() {
                places[layer][*spot] = place;
            }
        }
    }
    orders
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0, 0.0), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / f64::from(count))
}

/// The middle of every slot, and the total height: slots move towards their neighbours as far as
/// the order and the gaps of their layer allow.
fn middles(
    layers: &[Vec<LayerSlot>],
    orders: &[Vec<usize>],
    neighbours: &Neighbours,
) -> (Vec<Vec<f64>>, f64) {
    let mut middles: Vec<Vec<f64>> = layers.iter().map(|spots| vec![0.0; spots.len()]).collect();
    for _ in 0..24 {
        for layer in 0..layers.len() {
            let wish = |spot: usize| {
                let before = neighbours.before[layer][spot].iter();
                let before = before.map(|spot| middles[layer - 1][*spot]);
                let after = neighbours.after[layer][spot].iter();
                let after = after.map(|spot| middles[layer + 1][*spot]);
                mean(before.chain(after)).unwrap_or(middles[layer][spot])
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

/// Positions near `wishes` in the given order: the mean of pushing overlapping slots down and
/// pushing them up.
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

    #[test]
    fn a_readable_picture_is_bounded() {
        let chain = |boxes: usize| (1..boxes).map(|to| (to - 1, to)).collect::<Edges>();
        let layout = Layout::readable(MOST_BOXES, &chain(MOST_BOXES)).unwrap();
        assert_eq!(layout.place.len(), MOST_BOXES);
        assert_eq!(layout.paths.len(), MOST_BOXES - 1);
        for boxes in [MOST_BOXES + 1, 10_000] {
            assert!(Layout::readable(boxes, &Edges::new()).is_none());
            assert!(Layout::readable(boxes, &chain(boxes)).is_none());
        }
        // All pairs: few enough edges, but too many bends.
        let pairs = (0..40).flat_map(|to| (0..to).map(move |from| (from, to)));
        let pairs: Edges = pairs.collect();
        assert!(pairs.len() <= MOST_STEPS);
        assert!(Layout::readable(40, &pairs).is_none());
    }
}
