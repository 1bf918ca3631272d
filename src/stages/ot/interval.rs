//! Confidence intervals of a distance, by resampling the points of the same sets.
//!
//! Every repeat resamples points within each class and measures again. Distances between fewer or
//! repeated points are larger on average, so only deviations from the mean of the repeats count.
//! They are centred on the distance of all points, and scaled by the square root of the share that
//! a subsample keeps (Politis, Romano, Wolf 1999, for a rate of √n).

use std::collections::BTreeMap;

use super::parameters::{Interval, Resampling};
use crate::ml::ot::Labelled;
use crate::ml::ot::distance::Measurement;
use crate::ml::rng::Stream;
use crate::stages::task::TaskError;

impl Interval {
    /// The 95 % interval around `distance`. It does not extend below 0 unless `distance` is
    /// negative.
    pub(super) fn around(
        &self,
        distance: f64,
        (a, b): (&Labelled, &Labelled),
        seed: u64,
        measure: impl Fn(&Labelled, &Labelled) -> Result<Measurement, TaskError>,
    ) -> Result<[f64; 2], TaskError> {
        let mut found = Vec::with_capacity(self.repeats);
        for repeat in 0..self.repeats {
            let draw = |set: &Labelled, side: &str| {
                let mut stream = Stream::new(seed, &format!("ot interval {side} {repeat}"));
                set.select(&self.rows(set, &mut stream))
            };
            found.push(measure(&draw(a, "a")?, &draw(b, "b")?)?.distance);
        }
        let mean = found.iter().sum::<f64>() / found.len() as f64;
        let shrink = match self.by {
            Resampling::Subsample => self.share.sqrt(),
            Resampling::Bootstrap => 1.0,
        };
        let mut deviations: Vec<f64> = found.iter().map(|it| shrink * (it - mean)).collect();
        deviations.sort_by(f64::total_cmp);
        let floor = if distance < 0.0 {
            f64::NEG_INFINITY
        } else {
            0.0
        };
        Ok([
            (distance - quantile(&deviations, 0.975)).max(floor),
            distance - quantile(&deviations, 0.025),
        ])
    }

    /// The rows of the points of one repeat, class by class.
    fn rows(&self, set: &Labelled, stream: &mut Stream) -> Vec<usize> {
        let mut classes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (row, label) in set.labels().iter().enumerate() {
            classes.entry(*label).or_default().push(row);
        }
        let mut rows = Vec::with_capacity(set.labels().len());
        for members in classes.values() {
            let count = members.len();
            match self.by {
                Resampling::Bootstrap => {
                    rows.extend((0..count).map(|_| members[stream.below(count as u64) as usize]));
                }
                Resampling::Subsample => {
                    let kept = ((self.share * count as f64).round() as usize).max(count.min(2));
                    let order = stream.permutation(count);
                    rows.extend(order.into_iter().take(kept).map(|place| members[place]));
                }
            }
        }
        rows.sort_unstable();
        rows
    }
}

/// A quantile of sorted values, interpolated between the two nearest.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (place - below as f64) * (sorted[above] - sorted[below])
}
