//! The tone map (section 3.2): matches the luma's histogram to that of pencil drawings.

use super::plane::{Plane, gaussian};

/// Weights of the bright, mild and dark layers, in percent.
const WEIGHTS: [f64; 3] = [76.0, 22.0, 2.0];
/// Scale of the bright layer, in grey levels.
const BRIGHT: f64 = 9.0;
/// The mild layer is uniform between these grey levels.
const MILD: [f64; 2] = [105.0, 225.0];
/// Mean and deviation of the dark layer, in grey levels.
const DARK: [f64; 2] = [90.0, 11.0];
/// Deviation of the smoothing, in pixels.
const SMOOTHING: f64 = 1.0;
const LEVELS: usize = 256;

/// The tone of a luma in [0, 1]: grey levels in [1/255, 1].
pub(super) fn tone(luma: &Plane) -> Plane {
    let level = |value: f64| ((255.0 * value).round() as usize).min(LEVELS - 1);
    let mut own = [0.0; LEVELS];
    for value in &luma.values {
        own[level(*value)] += 1.0;
    }
    let (own, target) = (cumulated(own), cumulated(target()));
    // Maps each level to the one below which the target has the same share.
    let place = |share: f64| target.iter().position(|it| *it >= share - 1e-12);
    let map: Vec<f64> = own
        .iter()
        .map(|share| place(*share).unwrap_or(LEVELS - 1).max(1) as f64 / 255.0)
        .collect();
    let kernel = gaussian(SMOOTHING);
    luma.map(|value| map[level(value)])
        .separably(&kernel, &kernel)
}

/// Equations 5 to 8 of the paper: p(v) over grey levels, up to a factor; each layer sums to its
/// weight.
fn target() -> [f64; LEVELS] {
    let bright = |v: f64| libm::exp(-(255.0 - v) / BRIGHT);
    let mild = |v: f64| f64::from(u8::from((MILD[0]..=MILD[1]).contains(&v)));
    let dark = |v: f64| libm::exp(-0.5 * ((v - DARK[0]) / DARK[1]).powi(2));
    let layers: [&dyn Fn(f64) -> f64; 3] = [&bright, &mild, &dark];
    let mut sum = [0.0; LEVELS];
    for (layer, weight) in layers.iter().zip(WEIGHTS) {
        let total: f64 = (0..LEVELS).map(|level| layer(level as f64)).sum();
        for (level, value) in sum.iter_mut().enumerate() {
            *value += weight * layer(level as f64) / total;
        }
    }
    sum
}

/// The cumulative share of each level.
fn cumulated(histogram: [f64; LEVELS]) -> [f64; LEVELS] {
    let total: f64 = histogram.iter().sum();
    let mut sum = 0.0;
    histogram.map(|count| {
        sum += count;
        sum / total
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_histogram_becomes_that_of_drawings() {
        // A slow ramp, which smoothing does not change.
        let (width, height) = (512, 40);
        for power in [0.5, 1.0, 1.5] {
            let ramp = Plane {
                values: (0..width * height)
                    .map(|pixel| ((pixel % width) as f64 / 511.0).powf(power))
                    .collect(),
                width,
                height,
            };
            let drawn = tone(&ramp);
            let share = |below: f64| {
                let values = drawn.values.iter().filter(|it| 255.0 * **it <= below);
                values.count() as f64 / drawn.values.len() as f64
            };
            let expected = cumulated(target());
            for level in [90, 120, 180, 230, 250] {
                let (found, expected) = (share(level as f64 + 0.5), expected[level]);
                assert!(
                    (found - expected).abs() < 0.04,
                    "{power}, {level}: {found} {expected}"
                );
            }
        }
    }

    #[test]
    fn brighter_stays_brighter() {
        let row = Plane {
            values: (0..256).map(|level| f64::from(level) / 255.0).collect(),
            width: 256,
            height: 1,
        };
        assert!(tone(&row).values.is_sorted());
    }
}
