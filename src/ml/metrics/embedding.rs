//! Embeds objects of which only the distances are known: classical multidimensional scaling.

use faer::{Mat, Side};

use crate::{Error, Result};

/// Points in the plane whose distances approximate the given ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// One point for each row of the distances, centred at the origin, in their unit. The first
    /// coordinate has the largest spread.
    pub points: Vec<[f64; 2]>,
    /// The share of the spread that the plane shows: its two eigenvalues over the sum of all
    /// magnitudes; 1 if the distances are those of points in a plane.
    pub shown: f64,
}

/// Classical multidimensional scaling (Torgerson 1952): the two leading eigenvectors of the doubly
/// centred `B = -J D² J / 2`, times the square roots of their eigenvalues.
///
/// `distances` is `[n, n]`, row-major and symmetric, with a zero diagonal. A direction is unique
/// only up to its sign: the coordinate of largest magnitude is positive.
///
/// # Errors
/// Fewer than three rows, a wrong length, a value that is negative or not finite, an asymmetry, all
/// distances zero, or an eigenvalue problem that does not converge.
pub fn classical_scaling(distances: &[f64], n: usize) -> Result<Embedding> {
    check(distances, n)?;
    let centred = doubly_centred(distances, n);
    let matrix = Mat::from_fn(n, n, |row, column| centred[row * n + column]);
    let eigen = matrix
        .self_adjoint_eigen(Side::Lower)
        .map_err(|_| Error::Invalid("the eigenvalues of the distances do not converge".into()))?;
    // In ascending order.
    let values: Vec<f64> = (0..n)
        .map(|place| eigen.S().column_vector()[place])
        .collect();
    let total: f64 = values.iter().map(|value| value.abs()).sum();
    if total == 0.0 {
        return Err(Error::Invalid("all distances are zero".into()));
    }
    let kept = [n - 1, n - 2].map(|place| (place, values[place].max(0.0)));
    let coordinate = |(place, value): (usize, f64)| -> Vec<f64> {
        let vector: Vec<f64> = (0..n).map(|row| eigen.U()[(row, place)]).collect();
        let largest = vector.iter().fold(
            0.0,
            |most: f64, it| if it.abs() > most.abs() { *it } else { most },
        );
        let scale = value.sqrt() * if largest < 0.0 { -1.0 } else { 1.0 };
        vector.iter().map(|it| it * scale).collect()
    };
    let [first, second] = kept.map(coordinate);
    Ok(Embedding {
        points: first.iter().zip(&second).map(|(x, y)| [*x, *y]).collect(),
        shown: (kept[0].1 + kept[1].1) / total,
    })
}

fn check(distances: &[f64], n: usize) -> Result<()> {
    let wrong = |what: String| Err(Error::Invalid(what));
    if n < 3 || distances.len() != n * n {
        return wrong(format!(
            "a map needs the distances [n, n] of at least three things, not {} values for {n}",
            distances.len()
        ));
    }
    let bad = distances.iter().find(|it| !(it.is_finite() && **it >= 0.0));
    if let Some(value) = bad {
        return wrong(format!("{value} is not a distance"));
    }
    for row in 0..n {
        for column in 0..row {
            let (one, other) = (distances[row * n + column], distances[column * n + row]);
            if one != other {
                return wrong(format!("distances differ by direction: {one} and {other}"));
            }
        }
    }
    Ok(())
}

/// -J D² J / 2 with J = I - 1/n, by subtracting the means of rows and columns.
fn doubly_centred(distances: &[f64], n: usize) -> Vec<f64> {
    let squares: Vec<f64> = distances.iter().map(|it| it * it).collect();
    let mean = |row: usize| squares[row * n..(row + 1) * n].iter().sum::<f64>() / n as f64;
    let means: Vec<f64> = (0..n).map(mean).collect();
    let whole = means.iter().sum::<f64>() / n as f64;
    let entry =
        |place: usize| -0.5 * (squares[place] - means[place / n] - means[place % n] + whole);
    (0..n * n).map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distances(points: &[[f64; 2]]) -> Vec<f64> {
        let between = |a: &[f64; 2], b: &[f64; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
        let rows = points.iter();
        rows.flat_map(|a| points.iter().map(move |b| between(a, b)))
            .collect()
    }

    #[test]
    fn points_of_a_plane_come_back_up_to_rotation() {
        let points = [[0.0, 0.0], [3.0, 0.0], [3.0, 4.0], [-1.0, 2.5], [0.5, 7.0]];
        let wanted = distances(&points);
        let found = classical_scaling(&wanted, 5).unwrap();
        assert!((found.shown - 1.0).abs() < 1e-12);
        for (is, should) in distances(&found.points).iter().zip(&wanted) {
            assert!((is - should).abs() < 1e-12 * 8.0, "{is} {should}");
        }
        let sum = |side: usize| found.points.iter().map(|point| point[side]).sum::<f64>();
        assert!(sum(0).abs() < 1e-12 && sum(1).abs() < 1e-12);
    }

    #[test]
    fn what_no_plane_holds_is_reported() {
        // Five objects with equal distances: a simplex of four dimensions.
        let n = 5;
        let equal: Vec<f64> = (0..n * n)
            .map(|place| f64::from(u8::from(place / n != place % n)))
            .collect();
        let found = classical_scaling(&equal, n).unwrap();
        assert!((found.shown - 0.5).abs() < 1e-12);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(classical_scaling(&[0.0; 4], 2).is_err());
        assert!(classical_scaling(&[0.0; 9], 3).is_err());
        let asymmetric = [0.0, 1.0, 1.0, 2.0, 0.0, 1.0, 1.0, 1.0, 0.0];
        assert!(classical_scaling(&asymmetric, 3).is_err());
        let infinite = [0.0, f64::NAN, 1.0, f64::NAN, 0.0, 1.0, 1.0, 1.0, 0.0];
        assert!(classical_scaling(&infinite, 3).is_err());
    }
}
