//! A square image of floats from 0 to 1.

use crate::data::picture::Picture;

#[derive(Clone)]
pub struct Canvas {
    /// Row-major `[side, side, 3]`.
    pub values: Vec<f64>,
    pub side: usize,
}

impl Canvas {
    pub fn of(picture: &Picture) -> Self {
        Self {
            values: picture
                .pixels
                .iter()
                .map(|it| f64::from(*it) / 255.0)
                .collect(),
            side: picture.width,
        }
    }

    /// Clips and truncates to bytes, as a conversion to numpy's `uint8` does.
    pub fn picture(&self) -> Picture {
        let byte = |value: &f64| (value.clamp(0.0, 1.0) * 255.0) as u8;
        Picture {
            pixels: self.values.iter().map(byte).collect(),
            width: self.side,
            height: self.side,
        }
    }

    pub fn pixels(&mut self) -> impl Iterator<Item = &mut [f64]> {
        self.values.chunks_exact_mut(3)
    }

    /// One channel, row-major `[side, side]`.
    pub fn plane(&self, channel: usize) -> Plane {
        Plane {
            values: self
                .values
                .iter()
                .skip(channel)
                .step_by(3)
                .copied()
                .collect(),
            side: self.side,
        }
    }

    pub fn from_planes(planes: [Plane; 3]) -> Self {
        let side = planes[0].side;
        let [red, green, blue] = planes;
        let values = red.values.into_iter().zip(green.values).zip(blue.values);
        Self {
            values: values.flat_map(|((r, g), b)| [r, g, b]).collect(),
            side,
        }
    }

    /// Applies `change` to each channel.
    pub fn by_plane(&self, change: impl Fn(Plane) -> Plane) -> Self {
        Self::from_planes([0, 1, 2].map(|channel| change(self.plane(channel))))
    }
}

/// A square of floats.
#[derive(Clone)]
pub struct Plane {
    pub values: Vec<f64>,
    pub side: usize,
}

/// How values beyond the border are defined.
#[derive(Clone, Copy)]
pub enum BorderMode {
    /// The nearest value: aaa|abcd|ddd.
    Nearest,
    /// Mirrored at the border: cba|abcd|dcb (scipy's `reflect`).
    Mirror,
    /// Mirrored at the last value: dcb|abcd|cba (OpenCV's reflect-101).
    Mirror101,
}

impl BorderMode {
    /// The index in `0..side` that `at` maps to.
    pub fn place(self, at: isize, side: usize) -> usize {
        let last = side as isize - 1;
        match self {
            Self::Nearest => at.clamp(0, last) as usize,
            Self::Mirror => {
                let folded = at.rem_euclid(2 * side as isize);
                folded.min(2 * side as isize - 1 - folded) as usize
            }
            Self::Mirror101 if last == 0 => 0,
            Self::Mirror101 => {
                let folded = at.rem_euclid(2 * last);
                folded.min(2 * last - folded) as usize
            }
        }
    }
}

impl Plane {
    /// Convolution with a Gaussian truncated at `truncate` standard deviations, rows then columns.
    pub fn gaussian(&self, sigma: f64, truncate: f64, beyond: BorderMode) -> Self {
        let weights = gaussian_weights(sigma, (truncate * sigma + 0.5) as usize);
        self.along(&weights, beyond, true)
            .along(&weights, beyond, false)
    }

    fn along(&self, weights: &[f64], beyond: BorderMode, down: bool) -> Self {
        let side = self.side;
        let radius = (weights.len() / 2) as isize;
        let mut values = vec![0.0; side * side];
        for at in 0..side {
            for (index, weight) in weights.iter().enumerate() {
                let from = beyond.place(at as isize + index as isize - radius, side);
                for other in 0..side {
                    let (target, source) = match down {
                        true => (at * side + other, from * side + other),
                        false => (other * side + at, other * side + from),
                    };
                    values[target] += weight * self.values[source];
                }
            }
        }
        Self { values, side }
    }

    /// The value at a fractional position, by bilinear interpolation.
    pub fn between(&self, row: f64, column: f64, beyond: BorderMode) -> f64 {
        let (top, left) = (row.floor(), column.floor());
        let (down, right) = (row - top, column - left);
        let value = |row: f64, column: f64| {
            let row = beyond.place(row as isize, self.side);
            let column = beyond.place(column as isize, self.side);
            self.values[row * self.side + column]
        };
        let upper = value(top, left) * (1.0 - right) + value(top, left + 1.0) * right;
        let lower = value(top + 1.0, left) * (1.0 - right) + value(top + 1.0, left + 1.0) * right;
        upper * (1.0 - down) + lower * down
    }
}

/// 2·radius + 1 weights that sum to 1.
pub fn gaussian_weights(sigma: f64, radius: usize) -> Vec<f64> {
    let weight = |place: isize| {
        let at = place as f64 / sigma;
        libm::exp(-0.5 * at * at)
    };
    let reach = radius as isize;
    let weights: Vec<f64> = (-reach..=reach).map(weight).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}
