//! Shapes as signed distances: negative inside, positive outside, zero on the outline.
//!
//! Coordinates run from -1 to 1 over an object, x to the right and y down. Formulas from Inigo
//! Quilez, "2D distance functions"; the distance to an ellipse is his first-order approximation.

/// A point, or a vector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub x: f32,
    pub y: f32,
}

pub const fn point(x: f32, y: f32) -> Point {
    Point { x, y }
}

impl Point {
    pub fn minus(self, other: Point) -> Point {
        point(self.x - other.x, self.y - other.y)
    }

    pub fn dot(self, other: Point) -> f32 {
        self.x * other.x + self.y * other.y
    }

    pub fn length(self) -> f32 {
        self.dot(self).sqrt()
    }

    /// A point at `radius` and `angle` (radians, clockwise from the right) around this one.
    pub fn polar(self, radius: f32, angle: f32) -> Point {
        point(
            self.x + radius * libm::cosf(angle),
            self.y + radius * libm::sinf(angle),
        )
    }
}

/// A region of the plane.
#[derive(Clone, Debug)]
pub enum Shape {
    Ellipse {
        centre: Point,
        radii: Point,
    },
    /// A rectangle with rounded corners; `half` includes the rounding.
    Slab {
        centre: Point,
        half: Point,
        round: f32,
    },
    /// A line with round ends.
    Stroke {
        from: Point,
        to: Point,
        radius: f32,
    },
    /// A closed polygon without self-intersections.
    Polygon(Vec<Point>),
    /// The outline of a circle, `half` wide on each side.
    Ring {
        centre: Point,
        radius: f32,
        half: f32,
    },
    /// The union of several shapes.
    Union(Vec<Shape>),
    /// The part of a shape above a height.
    Above(Box<Shape>, f32),
}

impl Shape {
    pub fn circle(centre: Point, radius: f32) -> Self {
        Self::Ellipse {
            centre,
            radii: point(radius, radius),
        }
    }

    pub fn slab(centre: Point, half: Point, round: f32) -> Self {
        Self::Slab {
            centre,
            half,
            round,
        }
    }

    pub fn stroke(from: Point, to: Point, radius: f32) -> Self {
        Self::Stroke { from, to, radius }
    }

    pub fn polygon<const N: usize>(corners: [(f32, f32); N]) -> Self {
        Self::Polygon(corners.map(|(x, y)| point(x, y)).to_vec())
    }

    /// The signed distance from `at` to the outline.
    pub fn distance(&self, at: Point) -> f32 {
        match self {
            Self::Ellipse { centre, radii } => ellipse(at.minus(*centre), *radii),
            Self::Slab {
                centre,
                half,
                round,
            } => slab(at.minus(*centre), *half, *round),
            Self::Stroke { from, to, radius } => segment(at, *from, *to) - radius,
            Self::Polygon(corners) => polygon(at, corners),
            Self::Ring {
                centre,
                radius,
                half,
            } => (at.minus(*centre).length() - radius).abs() - half,
            Self::Union(shapes) => shapes
                .iter()
                .fold(f32::MAX, |nearest, shape| nearest.min(shape.distance(at))),
            Self::Above(shape, height) => shape.distance(at).max(at.y - height),
        }
    }
}

fn ellipse(at: Point, radii: Point) -> f32 {
    let scaled = point(at.x / radii.x, at.y / radii.y).length();
    let slope = point(at.x / (radii.x * radii.x), at.y / (radii.y * radii.y)).length();
    if slope == 0.0 {
        return -radii.x.min(radii.y);
    }
    scaled * (scaled - 1.0) / slope
}

fn slab(at: Point, half: Point, round: f32) -> f32 {
    let over = point(at.x.abs() - half.x + round, at.y.abs() - half.y + round);
    let outside = point(over.x.max(0.0), over.y.max(0.0)).length();
    outside + over.x.max(over.y).min(0.0) - round
}

fn segment(at: Point, from: Point, to: Point) -> f32 {
    let (along, arm) = (to.minus(from), at.minus(from));
    let share = (arm.dot(along) / along.dot(along).max(1e-12)).clamp(0.0, 1.0);
    point(arm.x - along.x * share, arm.y - along.y * share).length()
}

fn polygon(at: Point, corners: &[Point]) -> f32 {
    let mut nearest = f32::MAX;
    let mut inside = false;
    let Some(mut previous) = corners.last().copied() else {
        return nearest;
    };
    for &corner in corners {
        nearest = nearest.min(segment(at, previous, corner));
        // The horizontal ray from `at` to the right crosses this edge.
        let spans = (corner.y > at.y) != (previous.y > at.y);
        if spans {
            let share = (at.y - corner.y) / (previous.y - corner.y);
            if at.x < corner.x + share * (previous.x - corner.x) {
                inside = !inside;
            }
        }
        previous = corner;
    }
    if inside { -nearest } else { nearest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_negative_inside_and_exact_on_axes() {
        let square = Shape::polygon([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]);
        let slab = Shape::slab(point(0.0, 0.0), point(1.0, 1.0), 0.0);
        let circle = Shape::circle(point(0.0, 0.0), 1.0);
        let stroke = Shape::stroke(point(-1.0, 0.0), point(1.0, 0.0), 0.5);
        for (x, expected) in [(0.0, -1.0), (0.5, -0.5), (1.5, 0.5), (3.0, 2.0)] {
            for shape in [&square, &slab, &circle] {
                assert!((shape.distance(point(x, 0.0)) - expected).abs() < 1e-6);
            }
        }
        assert_eq!(stroke.distance(point(0.3, 0.0)), -0.5);
        assert_eq!(stroke.distance(point(0.3, 0.75)), 0.25);
        assert!((square.distance(point(4.0, 5.0)) - 5.0).abs() < 1e-6);
        assert!((slab.distance(point(4.0, 5.0)) - 5.0).abs() < 1e-6);
    }
}
