//! The source positions and weights of each output position.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

#[cfg(all(target_arch = "x86_64", feature = "avx512"))]
use super::wide::Groups;
use super::{Filter, PRECISION};

/// An axis of a resized part.
pub struct Axis {
    /// For each output position, the first source position and the start of its weights.
    begins: Vec<(usize, usize)>,
    weights: Vec<i32>,
    #[cfg(all(target_arch = "x86_64", feature = "avx512"))]
    pub groups: std::cell::OnceCell<Option<Groups>>,
}

impl Axis {
    pub fn len(&self) -> usize {
        self.begins.len()
    }

    /// The first source position of output position `index`, and the weights from there on.
    #[inline(always)]
    pub fn taps(&self, index: usize) -> (usize, &[i32]) {
        let (from, begin) = self.begins[index];
        let next = self.begins.get(index + 1);
        let end = next.map_or(self.weights.len(), |(_, end)| *end);
        (from, &self.weights[begin..end])
    }

    /// The source positions that contribute to any output.
    pub fn source(&self) -> Range<usize> {
        // Both ends of the taps increase with the position.
        let first = self.begins.first().map_or(0, |(from, _)| *from);
        let end = self.len().checked_sub(1).map_or(first, |last| {
            let (from, weights) = self.taps(last);
            from + weights.len()
        });
        first..end
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    source: usize,
    target: usize,
    filter: Filter,
    from: usize,
    count: usize,
}

/// The number of axes that a thread caches.
const REMEMBERED: usize = 32;

thread_local! {
    static AXES: RefCell<Vec<(Key, Rc<Axis>)>> = const { RefCell::new(Vec::new()) };
}

/// The output positions `from..from + count` of an axis scaled from `source` to `target`. Most
/// images of a dataset have one of a few sizes, so recent axes are cached.
pub fn axis(source: usize, target: usize, filter: Filter, from: usize, count: usize) -> Rc<Axis> {
    let key = Key {
        source,
        target,
        filter,
        from,
        count,
    };
    AXES.with_borrow_mut(|axes| {
        if let Some((_, axis)) = axes.iter().find(|(other, _)| *other == key) {
            return Rc::clone(axis);
        }
        if axes.len() == REMEMBERED {
            axes.remove(0);
        }
        let axis = Rc::new(made(key));
        axes.push((key, Rc::clone(&axis)));
        axis
    })
}

fn made(key: Key) -> Axis {
    let scale = key.source as f64 / key.target as f64;
    let widened = scale.max(1.0);
    let support = key.filter.support() * widened;
    let inverse = 1.0 / widened;
    let (mut begins, mut weights) = (Vec::with_capacity(key.count), Vec::new());
    let mut raw: Vec<f64> = Vec::new();
    for position in key.from..key.from + key.count {
        let centre = (position as f64 + 0.5) * scale;
        // Casts truncate towards zero and saturate at zero, as Pillow's do after its clamp.
        let low = (centre - support + 0.5) as usize;
        let high = ((centre + support + 0.5) as usize).min(key.source);
        raw.clear();
        raw.extend((low..high).map(|tap| key.filter.at((tap as f64 - centre + 0.5) * inverse)));
        let total: f64 = raw.iter().fold(0.0, |sum, weight| sum + weight);
        begins.push((low, weights.len()));
        weights.extend(raw.iter().map(|weight| fixed(*weight, total)));
    }
    Axis {
        begins,
        weights,
        #[cfg(all(target_arch = "x86_64", feature = "avx512"))]
        groups: std::cell::OnceCell::new(),
    }
}

fn fixed(weight: f64, total: f64) -> i32 {
    let scaled = weight / total * f64::from(1u32 << PRECISION);
    (scaled + if weight < 0.0 { -0.5 } else { 0.5 }) as i32
}
