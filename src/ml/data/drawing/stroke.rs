//! The stroke map (section 3.1 of the paper): every edge redrawn with straight lines.

use super::plane::{Plane, Tap};

/// Directions of lines.
const DIRECTIONS: usize = 8;
/// Pixels from the centre of a line to its end: kernels of 17 × 17.
const REACH: i32 = 8;

/// The strokes of a luma in [0, 1]: 1 is paper, 0 the darkest line.
pub(super) fn strokes(luma: &Plane) -> Plane {
    let edges = gradient(luma);
    let lines: Vec<Vec<Tap>> = (0..DIRECTIONS).map(line).collect();
    let responses: Vec<Plane> = lines.iter().map(|line| edges.filtered(line)).collect();
    let mut drawn = edges.map(|_| 0.0);
    for (direction, line) in lines.iter().enumerate() {
        let mut own = edges.clone();
        for (pixel, value) in own.values.iter_mut().enumerate() {
            if strongest(&responses, pixel) != direction {
                *value = 0.0;
            }
        }
        let own = own.filtered(line);
        let sums = drawn.values.iter_mut().zip(own.values);
        sums.for_each(|(sum, value)| *sum += value);
    }
    let most = drawn.values.iter().copied().fold(0.0, f64::max);
    if most == 0.0 {
        return drawn.map(|_| 1.0);
    }
    drawn.map(|value| (1.0 - value / most).powi(2))
}

/// The first direction with the largest response.
fn strongest(responses: &[Plane], pixel: usize) -> usize {
    let mut best = 0;
    for (direction, response) in responses.iter().enumerate() {
        if response.values[pixel] > responses[best].values[pixel] {
            best = direction;
        }
    }
    best
}

/// The magnitude of OpenCV's 5 × 5 Sobel gradient.
fn gradient(luma: &Plane) -> Plane {
    let (slope, smooth) = ([-1.0, -2.0, 0.0, 2.0, 1.0], [1.0, 4.0, 6.0, 4.0, 1.0]);
    let mut across = luma.separably(&smooth, &slope);
    let down = luma.separably(&slope, &smooth);
    let pairs = across.values.iter_mut().zip(&down.values);
    pairs.for_each(|(a, b)| *a = (*a * *a + b * b).sqrt());
    across
}

/// A line through the centre, each of its pixels distributed over the four around it.
fn line(direction: usize) -> Vec<Tap> {
    let angle = std::f64::consts::PI * direction as f64 / DIRECTIONS as f64;
    let (sine, cosine) = (libm::sin(angle), libm::cos(angle));
    let weight = 1.0 / f64::from(2 * REACH + 1);
    let mut taps = Vec::new();
    for step in -REACH..=REACH {
        let (y, x) = (f64::from(step) * sine, f64::from(step) * cosine);
        let (top, left) = (y.floor(), x.floor());
        for (down, tall) in [(top, 1.0 - (y - top)), (top + 1.0, y - top)] {
            for (across, wide) in [(left, 1.0 - (x - left)), (left + 1.0, x - left)] {
                if tall * wide > 1e-9 {
                    taps.push(Tap {
                        down: down as isize,
                        across: across as isize,
                        weight: weight * tall * wide,
                    });
                }
            }
        }
    }
    taps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_weigh_one_and_point_their_way() {
        for direction in 0..DIRECTIONS {
            let taps = line(direction);
            let sum: f64 = taps.iter().map(|tap| tap.weight).sum();
            assert!((sum - 1.0).abs() < 1e-6, "{direction}: {sum}");
            let reach = |of: fn(&Tap) -> isize| taps.iter().map(of).max().unwrap();
            let (down, across) = (reach(|tap| tap.down), reach(|tap| tap.across));
            match direction {
                0 => assert_eq!((down, across), (0, 8)),
                4 => assert_eq!((down, across), (8, 0)),
                _ => assert!(down > 0 && across > 0),
            }
        }
    }

    #[test]
    fn a_step_becomes_a_line_along_it() {
        let (width, height) = (40, 40);
        let step = Plane {
            values: (0..width * height)
                .map(|pixel| if pixel % width < 20 { 0.2 } else { 0.8 })
                .collect(),
            width,
            height,
        };
        let drawn = strokes(&step);
        let at = |x: usize, y: usize| drawn.values[y * width + x];
        assert!(at(19, 20) < 0.05, "{}", at(19, 20));
        assert!(at(3, 20) > 0.95, "{}", at(3, 20));
        assert!((at(19, 8) - at(19, 30)).abs() < 1e-9);
    }
}
