//! OTDD: the optimal transport distance of labelled datasets (Alvarez-Melis and Fusi 2020).
//!
//! ```text
//! c((x, y), (x', y')) = λx |x - x'|² / 2 + λy W²(y, y') / 2
//! value = S_ε = OT_ε(A, B) - OT_ε(A, A) / 2 - OT_ε(B, B) / 2  under c
//! ```
//!
//! where W²(y, y') is a squared Wasserstein distance between the points of class y and those of
//! class y'. The value is half of the squared distance, as returned by microsoft/otdd; `d_OT = √(2
//! value)`. Classes with fewer than `min_class` points are omitted with their points; a class keeps
//! its statistics even if only few of its points are sampled.

use super::cost::{Cost, LabelCost, Precision};
use super::divergence::{Divergence, Mode, SinkhornDistance, Solver, Term};
use super::exact::{Exact, Power, wasserstein};
use super::gaussian::Gaussian;
use super::points::{Labelled, Points};
use super::reference::box_diameter;
use super::sinkhorn::Transport;
use crate::{Error, Observer, Result, Unobserved};
use rayon::prelude::*;

/// The distance between two classes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum LabelDistance {
    /// Between Gaussians fitted to the classes.
    #[default]
    Gaussian,
    /// Between these Gaussians without correlations.
    Diagonal,
    /// |m1 - m2|² + tr S1 + tr S2.
    UpperBound,
    /// Entropic transport between their points under |x - x'|² (microsoft/otdd's `exact`, which
    /// defaults to ε = 0.1 without debiasing).
    Points { epsilon: f64, debiased: bool },
    /// Exact transport between their points under |x - x'|².
    Exact,
}

/// The distance and its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Otdd {
    pub label_distance: LabelDistance,
    /// λx; 0 ignores the features.
    pub feature_weight: f64,
    /// λy; 0 ignores the labels.
    pub label_weight: f64,
    /// ε of the outer problem, in the unit of c.
    pub epsilon: f64,
    pub debiased: bool,
    pub mode: Mode,
    pub precision: Precision,
    /// Classes with fewer points are omitted; at least 2.
    pub min_class: usize,
    /// The maximum number of points of each set in the outer problem.
    pub samples: usize,
    /// Seeds the sampling.
    pub seed: u64,
    /// Whether every class keeps its share in the sample.
    pub stratified: bool,
}

impl Default for Otdd {
    fn default() -> Self {
        Self {
            label_distance: LabelDistance::Gaussian,
            feature_weight: 1.0,
            label_weight: 1.0,
            epsilon: 0.1,
            debiased: true,
            mode: Mode::default(),
            precision: Precision::Auto,
            min_class: 2,
            samples: 10_000,
            seed: 0,
            stratified: false,
        }
    }
}

/// The result of OTDD.
#[derive(Clone, Debug, PartialEq)]
pub struct OtddResult {
    /// Half of the squared distance, with its terms.
    pub divergence: Divergence,
    /// With [`Mode::Exact`]: an upper bound on how much the value is too large.
    pub dual_gap: Option<f64>,
    pub classes: ClassDistances,
    /// The mass that the plan moves from each class of a to each class of b: `[a, b]`, sums to 1.
    pub coupling: Vec<f64>,
    /// Points of each set in the outer problem.
    pub points: [usize; 2],
    /// Points of each set that were omitted with their classes.
    pub left_out: [usize; 2],
}

impl OtddResult {
    /// `√(2 value)`: the distance, in the unit of the features. Negative values due to rounding
    /// become 0.
    pub fn distance(&self) -> f64 {
        (2.0 * self.divergence.value).max(0.0).sqrt()
    }
}

/// Squared distances between classes, row-major; the diagonal of a set with itself is 0.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassDistances {
    /// The labels of a's classes, ascending, in row order.
    pub a: Vec<u32>,
    pub b: Vec<u32>,
    /// `[a, b]`
    pub ab: Vec<f64>,
    /// `[a, a]`
    pub aa: Vec<f64>,
    /// `[b, b]`
    pub bb: Vec<f64>,
}

impl Otdd {
    /// # Errors
    /// Different dimensions; no class with enough points; parameters out of range; no
    /// convergence; interruption by `observer`.
    pub fn between(
        &self,
        a: &Labelled,
        b: &Labelled,
        observer: &dyn Observer,
    ) -> Result<OtddResult> {
        self.check()?;
        a.points().check_same_space(b.points())?;
        let (a, b) = (self.side(a, "a")?, self.side(b, "b")?);
        let classes = ClassDistances {
            ab: self.across(&a, &b)?,
            aa: self.within(&a)?,
            bb: self.within(&b)?,
            a: a.labels.clone(),
            b: b.labels.clone(),
        };
        let found = match self.mode {
            Mode::Exact => self.exactly(&a, &b, &classes, observer)?,
            _ => self.entropically(&a, &b, &classes, observer)?,
        };
        Ok(OtddResult {
            divergence: found.divergence,
            dual_gap: found.dual_gap,
            coupling: found.coupling,
            points: [a.outer.count(), b.outer.count()],
            left_out: [a.left_out, b.left_out],
            classes,
        })
    }

    fn exactly(
        &self,
        a: &Side,
        b: &Side,
        classes: &ClassDistances,
        observer: &dyn Observer,
    ) -> Result<Outer> {
        let cost = self.cost(Precision::Double, a, b, &classes.ab)?;
        let found = Exact::default().solve(&cost, &a.mass, &b.mass, observer)?;
        let groups = [a.classes.len(), b.classes.len()];
        let term = Term {
            value: found.value,
            marginal_error: 0.0,
            iterations: u32::try_from(found.pivots).unwrap_or(u32::MAX),
        };
        Ok(Outer {
            divergence: Divergence::new(term, None),
            dual_gap: Some(found.dual_gap),
            coupling: found.coupling((&a.class_of, &b.class_of), groups)?,
        })
    }

    fn entropically(
        &self,
        a: &Side,
        b: &Side,
        classes: &ClassDistances,
        observer: &dyn Observer,
    ) -> Result<Outer> {
        let solver = Solver::new(&self.mode, self.epsilon, || diameter(a, b))?;
        let (mass_a, mass_b) = (&a.mass[..], &b.mass[..]);
        let precision = solver.precision(self.precision);
        let (ab, coupling) = {
            let cost = self.cost(precision, a, b, &classes.ab)?;
            let found: Transport = solver.between(&cost, mass_a, mass_b, observer)?;
            let class_of = (a.class_of.as_slice(), b.class_of.as_slice());
            let groups = [a.classes.len(), b.classes.len()];
            let coupling = found.coupling(&cost, mass_a, mass_b, class_of, groups)?;
            (Term::from(&found), coupling)
        };
        let within = if self.debiased {
            let of_a = self.cost(precision, a, a, &classes.aa)?;
            let aa = solver.within(&of_a, mass_a, observer)?;
            drop(of_a);
            let of_b = self.cost(precision, b, b, &classes.bb)?;
            Some([aa, solver.within(&of_b, mass_b, observer)?])
        } else {
            None
        };
        Ok(Outer {
            divergence: Divergence::new(ab, within),
            dual_gap: None,
            coupling,
        })
    }

    fn check(&self) -> Result<()> {
        let weight = |value: f64| (0.0..f64::INFINITY).contains(&value);
        let problem = match () {
            () if !weight(self.feature_weight) => "the weight of the features",
            () if !weight(self.label_weight) => "the weight of the labels",
            () if self.feature_weight + self.label_weight == 0.0 => "a weight of 0 for both",
            () if self.min_class < 2 => "a class of fewer than two points",
            () if self.samples == 0 => "a sample of no point",
            () => return Ok(()),
        };
        Err(Error::Invalid(format!("{problem} is out of range")))
    }

    /// A prepared set: its classes, and the points of the outer problem.
    fn side(&self, set: &Labelled, name: &str) -> Result<Side> {
        let mut labels = set.labels().to_vec();
        labels.sort_unstable();
        let mut kept: Vec<u32> = Vec::new();
        for run in labels.chunk_by(|x, y| x == y) {
            if run.len() >= self.min_class {
                kept.push(run[0]);
            }
        }
        let class_of: Vec<Option<usize>> = set
            .labels()
            .iter()
            .map(|label| kept.binary_search(label).ok())
            .collect();
        let rows: Vec<usize> = (0..class_of.len())
            .filter(|row| class_of[*row].is_some())
            .collect();
        if rows.is_empty() {
            return Err(Error::Invalid(format!(
                "no class of `{name}` has {} points or more",
                self.min_class
            )));
        }
        let kept_set = set.select(&rows)?;
        let points = kept_set.points();
        let class_of: Vec<usize> = class_of.into_iter().flatten().collect();
        let purpose = format!("ot sample {name}");
        let picks = kept_set.sample(self.samples, self.seed, &purpose, self.stratified);
        let outer = kept_set.select(&picks)?;
        Ok(Side {
            classes: (0..kept.len())
                .map(|class| members(points, &class_of, class))
                .collect::<Result<_>>()?,
            labels: kept,
            mass: outer.weights(),
            outer: outer.points().clone(),
            class_of: picks.iter().map(|pick| class_of[*pick]).collect(),
            left_out: set.points().count() - rows.len(),
        })
    }

    /// The squared distances of all pairs of classes: `[a, b]`.
    fn across(&self, a: &Side, b: &Side) -> Result<Vec<f64>> {
        let width = b.classes.len();
        let pairs = (0..a.classes.len() * width).into_par_iter();
        pairs
            .map(|pair| self.of_classes(&a.classes[pair / width], &b.classes[pair % width]))
            .collect()
    }

    /// The same within a set, where each pair is computed once and the diagonal is 0.
    fn within(&self, side: &Side) -> Result<Vec<f64>> {
        let count = side.classes.len();
        let pairs: Vec<(usize, usize)> = (0..count)
            .flat_map(|i| (i + 1..count).map(move |j| (i, j)))
            .collect();
        let found: Vec<f64> = pairs
            .par_iter()
            .map(|(i, j)| self.of_classes(&side.classes[*i], &side.classes[*j]))
            .collect::<Result<_>>()?;
        let mut table = vec![0.0; count * count];
        for ((i, j), square) in pairs.into_iter().zip(found) {
            table[i * count + j] = square;
            table[j * count + i] = square;
        }
        Ok(table)
    }

    fn of_classes(&self, a: &Class, b: &Class) -> Result<f64> {
        match self.label_distance {
            LabelDistance::Gaussian => a.gaussian.bures(&b.gaussian),
            LabelDistance::Diagonal => a.gaussian.bures_diagonal(&b.gaussian),
            LabelDistance::UpperBound => a.gaussian.upper_bound(&b.gaussian),
            LabelDistance::Points { epsilon, debiased } => {
                let inner = SinkhornDistance {
                    epsilon,
                    scale: 1.0,
                    debiased,
                    mode: match self.mode {
                        Mode::Exact => Mode::default(),
                        _ => self.mode.clone(),
                    },
                    precision: self.precision,
                };
                let found = inner.between(&a.points, &b.points, &Unobserved)?;
                Ok(found.value.max(0.0))
            }
            LabelDistance::Exact => {
                Ok(
                    wasserstein(&a.points, &b.points, None, Power::Two, &Unobserved)?
                        .value
                        .max(0.0),
                )
            }
        }
    }

    fn cost(&self, precision: Precision, a: &Side, b: &Side, table: &[f64]) -> Result<Cost> {
        let half = 0.5 * self.label_weight;
        let table: Vec<f64> = table.iter().map(|square| half * square).collect();
        let labels = LabelCost {
            of_rows: &a.class_of,
            of_columns: &b.class_of,
            table: &table,
            columns: b.classes.len(),
        };
        let scale = 0.5 * self.feature_weight;
        Cost::squared_euclidean(&a.outer, &b.outer, scale, Some(labels), precision)
    }
}

/// The solved outer problem.
struct Outer {
    divergence: Divergence,
    dual_gap: Option<f64>,
    coupling: Vec<f64>,
}

/// A prepared set.
struct Side {
    /// The labels of the kept classes, ascending.
    labels: Vec<u32>,
    classes: Vec<Class>,
    /// The points of the outer problem, and the class of each.
    outer: Points,
    mass: Vec<f64>,
    class_of: Vec<usize>,
    left_out: usize,
}

struct Class {
    points: Points,
    gaussian: Gaussian,
}

fn members(points: &Points, class_of: &[usize], class: usize) -> Result<Class> {
    let rows: Vec<usize> = (0..class_of.len())
        .filter(|row| class_of[*row] == class)
        .collect();
    let none = || Error::Invalid("a class without a point".to_string());
    let points = points.select(&rows).ok_or_else(none)?;
    Ok(Class {
        gaussian: Gaussian::fit(&points)?,
        points,
    })
}

/// The diameter from which microsoft/otdd starts geomloss's schedule: of rows [x, label], where the
/// labels of b continue those of a. It includes the label column.
fn diameter(a: &Side, b: &Side) -> f64 {
    let features = box_diameter(&a.outer, &b.outer);
    let of_b = b.class_of.iter().map(|class| class + a.classes.len());
    let labels = a.class_of.iter().copied().chain(of_b);
    let (low, high) = labels.fold((usize::MAX, 0), |(low, high), label| {
        (low.min(label), high.max(label))
    });
    let range = high.saturating_sub(low) as f64;
    (features * features + range * range).sqrt()
}
