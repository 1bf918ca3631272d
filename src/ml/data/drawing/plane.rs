//! One channel of an image, and filters.

/// f64 values, row-major `[height, width]`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plane {
    pub values: Vec<f64>,
    pub width: usize,
    pub height: usize,
}

/// A weight at an offset from the centre.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    pub down: isize,
    pub across: isize,
    pub weight: f64,
}

impl Plane {
    /// The weighted sum over `taps` around every pixel; the image is mirrored at the border without
    /// repeating its edge (OpenCV's default).
    pub fn filtered(&self, taps: &[Tap]) -> Self {
        let mut values = Vec::with_capacity(self.values.len());
        for y in 0..self.height {
            for x in 0..self.width {
                let term = |tap: &Tap| {
                    let row = mirrored(y as isize + tap.down, self.height);
                    let column = mirrored(x as isize + tap.across, self.width);
                    tap.weight * self.values[row * self.width + column]
                };
                values.push(taps.iter().map(term).sum());
            }
        }
        Self {
            values,
            ..Self::like(self)
        }
    }

    /// A separable filter: `down`, then `across`.
    pub fn separably(&self, down: &[f64], across: &[f64]) -> Self {
        let line = |kernel: &[f64], vertical: bool| -> Vec<Tap> {
            let reach = (kernel.len() / 2) as isize;
            let place = |index: usize| index as isize - reach;
            let tap = |(index, weight): (usize, &f64)| Tap {
                down: if vertical { place(index) } else { 0 },
                across: if vertical { 0 } else { place(index) },
                weight: *weight,
            };
            kernel.iter().enumerate().map(tap).collect()
        };
        self.filtered(&line(down, true))
            .filtered(&line(across, false))
    }

    /// Applies `change` to every value.
    pub fn map(&self, change: impl Fn(f64) -> f64) -> Self {
        Self {
            values: self.values.iter().map(|value| change(*value)).collect(),
            ..Self::like(self)
        }
    }

    fn like(other: &Self) -> Self {
        Self {
            values: Vec::new(),
            width: other.width,
            height: other.height,
        }
    }
}

fn mirrored(place: isize, length: usize) -> usize {
    let period = 2 * (length as isize - 1);
    if period == 0 {
        return 0;
    }
    let place = place.rem_euclid(period);
    place.min(period - place) as usize
}

/// A Gaussian truncated at three standard deviations, which sums to 1.
pub(super) fn gaussian(deviation: f64) -> Vec<f64> {
    let reach = (3.0 * deviation).ceil() as i32;
    let weight = |at: i32| libm::exp(-0.5 * (f64::from(at) / deviation).powi(2));
    let weights: Vec<f64> = (-reach..=reach).map(weight).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_mirror() {
        let places: Vec<usize> = (-3..7).map(|place| mirrored(place, 4)).collect();
        assert_eq!(places, [3, 2, 1, 0, 1, 2, 3, 2, 1, 0]);
        assert_eq!(mirrored(-9, 1), 0);
    }
}
