//! Exact optimal transport, by the network simplex.
//!
//! ```text
//! minimise Σ π_ij C_ij  over π ≥ 0 with row sums a and column sums b
//! maximise Σ a_i f_i + Σ b_j g_j  with f_i + g_j ≤ C_ij
//! ```
//!
//! (Dantzig 1951; Ahuja, Magnanti, Orlin 1993, chapter 11.) Potentials of a coarsely solved
//! entropic problem select promising arcs: they give the initial plan and the first candidate
//! lists. Then the simplex method runs, in f64 over integer masses, until no arc of the whole cost
//! violates the potentials. The value is returned with its gap to a feasible dual solution, which
//! proves its accuracy.
//!
//! Potentials may be as large as the largest cost. If f64 is not precise enough for the value, the
//! simplex method continues in double-double; if that does not suffice, it is an error.

mod finish;
mod prices;
mod start;
mod tree;

use super::cost::{Cost, Precision};
use super::digits::Digits;
use super::mass::Masses;
use super::points::{Points, normalised};
use super::sinkhorn::Sinkhorn;
use crate::{Error, Observer, Result};

use prices::{Arc, search};
use qd::Quad;
use tree::Tree;

/// How to solve an exact problem.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exact {
    /// The maximum number of pivots, above which it is an error; `None`: unlimited.
    pub max_pivots: Option<u64>,
}

/// Mass moved from a row to a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Move {
    pub row: usize,
    pub column: usize,
    pub mass: f64,
}

/// A solved problem.
#[derive(Clone, Debug, PartialEq)]
pub struct ExactTransport {
    /// <π, C>, in the unit of the cost.
    pub value: f64,
    /// An upper bound on how much `value` is too large: its distance to the dual value of the
    /// feasible potentials `f` and `g`. Due to rounding only.
    pub dual_gap: f64,
    /// Potentials of the rows and of the columns: `f + g ≤ cost`.
    pub f: Vec<f64>,
    pub g: Vec<f64>,
    /// The plan: fewer than rows + columns moves, by row and column.
    pub plan: Vec<Move>,
    pub pivots: u64,
}

/// The number of arcs of a row that a search returns to the simplex.
const SHORT_LIST: usize = 24;

impl ExactTransport {
    /// The mass that the plan moves between groups: row-major `[groups[0], groups[1]]`. `of_rows`
    /// and `of_columns` are the groups of the points, from 0.
    ///
    /// # Errors
    /// A point without a group, or in a group beyond `groups`.
    pub fn coupling(
        &self,
        (of_rows, of_columns): (&[usize], &[usize]),
        groups: [usize; 2],
    ) -> Result<Vec<f64>> {
        let mut moved = vec![0.0; groups[0] * groups[1]];
        for arc in &self.plan {
            let row = of_rows.get(arc.row).filter(|group| **group < groups[0]);
            let column = of_columns
                .get(arc.column)
                .filter(|group| **group < groups[1]);
            let (Some(row), Some(column)) = (row, column) else {
                return Err(Error::Invalid("every point needs a group".to_string()));
            };
            moved[row * groups[1] + column] += arc.mass;
        }
        Ok(moved)
    }
}

impl Exact {
    /// Transport between weights `a` of the rows and `b` of the columns (both are normalised here).
    ///
    /// # Errors
    /// Weights out of range; a cost stored in f32, for which the optimum would be limited by its
    /// rounding; a value whose relative error exceeds a millionth (of the sum of all moves at
    /// absolute cost); more pivots than allowed; interruption by `observer`.
    pub fn solve(
        &self,
        cost: &Cost,
        a: &[f64],
        b: &[f64],
        observer: &dyn Observer,
    ) -> Result<ExactTransport> {
        if !cost.is_double() {
            return Err(Error::Invalid(
                "exact transport needs its cost in f64".to_string(),
            ));
        }
        let (a, b) = (normalised(a, cost.rows())?, normalised(b, cost.columns())?);
        let masses = Masses::of(&a, &b);
        let (u, v) = rough_potentials(cost, &a, &b, observer)?;
        let mut first = search(cost, &u, &v, SHORT_LIST, f64::INFINITY);
        let reduced = |arc: &Arc| arc.cost - u[arc.row as usize] - v[arc.column as usize];
        let mut ordered = first.clone();
        ordered.sort_by(|x, y| {
            let places = (x.row, x.column).cmp(&(y.row, y.column));
            reduced(x).total_cmp(&reduced(y)).then(places)
        });
        let mut simplex = Simplex {
            tree: start::tree(cost, &masses, &ordered, &u, &v),
            rows: cost.rows(),
            tolerance: Simplex::<f64>::tolerance(cost),
            pivots: 0,
            limit: self.max_pivots.unwrap_or(u64::MAX),
            observer,
        };
        let potentials = simplex.optimise(cost, &masses, &mut first)?;
        let found = finish::in_single(cost, &simplex.plan(masses.unit), [&a, &b], potentials);
        if let Some(found) = found.result(cost, simplex.pivots) {
            return checked(cost, &masses, found);
        }
        let mut simplex = simplex.in_double(cost);
        let potentials = simplex.optimise(cost, &masses, &mut first)?;
        let found = finish::in_double(cost, &simplex.plan(1.0), &masses, potentials);
        let result = found.result(cost, simplex.pivots);
        checked(cost, &masses, result.ok_or_else(|| found.inaccuracy(cost))?)
    }
}

/// Returns `found` if neither rounded masses nor the range of f64 affect its value.
fn checked(cost: &Cost, masses: &Masses, found: ExactTransport) -> Result<ExactTransport> {
    let (mut moved, mut doubtful) = (0.0, 0.0);
    for arc in &found.plan {
        let cost = cost.at(arc.row, arc.column).abs();
        moved += arc.mass * cost;
        doubtful += masses.doubtful(arc.mass) * cost;
    }
    masses.check(moved, doubtful)?;
    if found.value > 0.0 {
        cost.check_floor(found.value)?;
    }
    Ok(found)
}

/// The power of the distance used as cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Power {
    /// |x - y|: gives W1.
    One,
    /// |x - y|²: gives W2².
    #[default]
    Two,
}

/// W1, or W2², between two sets of points with `weights` for the points of each set, or equal
/// weights.
///
/// # Errors
/// Different dimensions; as [`Exact::solve`].
pub fn wasserstein(
    a: &Points,
    b: &Points,
    weights: Option<[&[f64]; 2]>,
    power: Power,
    observer: &dyn Observer,
) -> Result<ExactTransport> {
    let cost = match power {
        Power::One => Cost::euclidean(a, b, Precision::Double)?,
        Power::Two => Cost::squared_euclidean(a, b, 1.0, None, Precision::Double)?,
    };
    let alike = [a.uniform_weights(), b.uniform_weights()];
    let [of_a, of_b] = weights.unwrap_or([&alike[0], &alike[1]]);
    Exact::default().solve(&cost, of_a, of_b, observer)
}

/// Potentials of the rows and columns of an entropic problem after a few passes; -∞ for points
/// without mass.
fn rough_potentials(
    cost: &Cost,
    a: &[f64],
    b: &[f64],
    observer: &dyn Observer,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut u, mut v) = Sinkhorn::rough(cost, a, b, observer)?;
    let without = |potentials: &mut [f64], weights: &[f64]| {
        let pairs = potentials.iter_mut().zip(weights);
        pairs
            .filter(|(_, weight)| **weight == 0.0)
            .for_each(|(potential, _)| *potential = f64::NEG_INFINITY);
    };
    without(&mut u, a);
    without(&mut v, b);
    Ok((u, v))
}

struct Simplex<'a, P> {
    tree: Tree<P>,
    rows: usize,
    tolerance: f64,
    pivots: u64,
    limit: u64,
    observer: &'a dyn Observer,
}

impl<'a> Simplex<'a, f64> {
    /// Continues in double-double.
    fn in_double(self, cost: &Cost) -> Simplex<'a, Quad> {
        let rows = self.rows;
        let between = |row: u32, sink: u32| cost.at(row as usize, sink as usize - rows);
        Simplex {
            tree: self.tree.with_potentials(between),
            rows,
            tolerance: Simplex::<Quad>::tolerance(cost),
            pivots: self.pivots,
            limit: self.limit,
            observer: self.observer,
        }
    }
}

impl<P: Digits> Simplex<'_, P> {
    /// Negative reduced costs above it are rounding errors.
    fn tolerance(cost: &Cost) -> f64 {
        P::ROUNDING * cost.largest().max(f64::MIN_POSITIVE)
    }

    /// Pivots until no arc of the whole cost is too cheap, starting with `arcs`. Returns the
    /// potentials of the rows and of the columns.
    fn optimise(
        &mut self,
        cost: &Cost,
        masses: &Masses,
        arcs: &mut Vec<Arc>,
    ) -> Result<(Vec<P>, Vec<P>)> {
        loop {
            self.settle(arcs)?;
            let (u, v) = self.potentials(masses);
            let found = search(cost, &u, &v, SHORT_LIST, -self.tolerance);
            if found.is_empty() {
                return Ok((u, v));
            }
            arcs.extend(found);
        }
    }

    /// Pivots until none of `arcs` is too cheap: block by block, the best arc of a block enters.
    fn settle(&mut self, arcs: &mut [Arc]) -> Result<()> {
        let block = arcs.len().isqrt().max(32);
        let (mut place, mut unchanged) = (0, 0);
        while unchanged < arcs.len() {
            let last = (place + block).min(arcs.len());
            let potentials = &self.tree.potentials;
            let (mut least, mut best) = (P::from(-self.tolerance), None);
            for arc in &arcs[place..last] {
                let sink = potentials[self.rows + arc.column as usize];
                let reduced = P::from(arc.cost) - potentials[arc.row as usize] + sink;
                if reduced < least {
                    (least, best) = (reduced, Some(*arc));
                }
            }
            unchanged += last - place;
            place = if last == arcs.len() { 0 } else { last };
            if let Some(arc) = best {
                let sink = (self.rows + arc.column as usize) as u32;
                self.tree.enter(arc.row, sink, least);
                unchanged = 0;
                self.count()?;
            }
        }
        Ok(())
    }

    fn count(&mut self) -> Result<()> {
        self.pivots += 1;
        if self.pivots > self.limit {
            return Err(Error::Numerical(format!(
                "exact transport was not done after {} pivots",
                self.limit
            )));
        }
        let report_due = self.pivots.is_multiple_of(4096);
        if report_due && !self.observer.advance(self.pivots, 0, "pivots") {
            return Err(Error::Interrupted);
        }
        Ok(())
    }

    /// The potentials of the rows and of the columns; -∞ for points without mass.
    fn potentials(&self, masses: &Masses) -> (Vec<P>, Vec<P>) {
        let of = |mass: &i64, value: P| match mass {
            0 => P::from(f64::NEG_INFINITY),
            _ => value,
        };
        let (u, v) = self.tree.potentials.split_at(self.rows);
        let u = masses.a.iter().zip(u).map(|(mass, u)| of(mass, *u));
        let v = masses.b.iter().zip(v).map(|(mass, v)| of(mass, -*v));
        (u.collect(), v.collect())
    }

    /// The moves, by row and column.
    fn plan(&self, unit: f64) -> Vec<Move> {
        let root = self.tree.root();
        let mut plan: Vec<Move> = (0..root)
            .filter(|node| self.tree.flow(*node) > 0)
            .map(|node| {
                let parent = self.tree.parent(node);
                Move {
                    row: node.min(parent) as usize,
                    column: node.max(parent) as usize - self.rows,
                    mass: self.tree.flow(node) as f64 * unit,
                }
            })
            .collect();
        plan.sort_by_key(|arc| (arc.row, arc.column));
        plan
    }
}
