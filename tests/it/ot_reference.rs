//! Optimal transport against numbers of other programs: POT, geomloss, microsoft/otdd, scipy.
//!
//! Cases and entries are whatever lies in `RIBFLOW_FIXTURES/ot` (default: `tests/reference/ot`);
//! each entry brings its own tolerance. What no test here covers is printed by
//! `ot_reference_coverage`.

use std::collections::BTreeSet;
use std::path::Path;

use ribflow::ml::Unobserved;
use ribflow::ml::ot::{
    Cost, Exact, Gaussian, LabelDistance, LabelProjections, Labelled, Mode, Otdd, OtddResult,
    Points, Power, Precision, Sinkhorn, SinkhornDistance, Sliced, energy, frechet, mmd, s_otdd,
    sliced, wasserstein, wasserstein_1d,
};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::fixtures;

/// Far below every tolerance, so that the solver is not what is compared.
const TIGHT: Mode = Mode::Converged {
    tolerance: 1e-9,
    max_iterations: 200_000,
};

struct Case {
    name: String,
    values: Value,
    tensors: Vec<u8>,
    /// The scale that absolute tolerances are relative to.
    cost_mean: f64,
}

/// Every case that lies in the folder.
fn cases() -> Vec<Case> {
    let folder = fixtures::folder().join("ot");
    let Ok(text) = std::fs::read_to_string(folder.join("expected.json")) else {
        println!("not there, so not compared: {}", folder.display());
        return Vec::new();
    };
    let expected: Value = serde_json::from_str(&text).unwrap();
    let cases = expected["cases"].as_object().unwrap();
    cases
        .iter()
        .filter_map(|(name, case)| Case::read(&folder, name, case))
        .collect()
}

impl Case {
    fn read(folder: &Path, name: &str, case: &Value) -> Option<Self> {
        let path = folder.join(format!("{name}.safetensors"));
        let Ok(tensors) = std::fs::read(&path) else {
            println!("not there, so not compared: {}", path.display());
            return None;
        };
        let mut case = Self {
            name: name.to_string(),
            values: case["values"].clone(),
            cost_mean: case["values"]["cost_mean_sqeuclidean"]["value"]
                .as_f64()
                .unwrap_or(0.0),
            tensors,
        };
        if case.cost_mean == 0.0 && case.has("cost") {
            let (cost, _) = case.tensor("cost");
            case.cost_mean = cost.iter().sum::<f64>() / cost.len() as f64;
        }
        Some(case)
    }

    fn has(&self, tensor: &str) -> bool {
        SafeTensors::deserialize(&self.tensors)
            .unwrap()
            .tensor(tensor)
            .is_ok()
    }

    fn tensor(&self, name: &str) -> (Vec<f64>, Vec<usize>) {
        let tensors = SafeTensors::deserialize(&self.tensors).unwrap();
        let view = tensors.tensor(name).unwrap();
        let bytes = view.data();
        let eight = || bytes.chunks_exact(8).map(|bytes| bytes.try_into().unwrap());
        let values = match view.dtype() {
            Dtype::F64 => eight().map(f64::from_le_bytes).collect(),
            Dtype::I64 => eight()
                .map(|bytes| i64::from_le_bytes(bytes) as f64)
                .collect(),
            Dtype::F32 => bytes
                .chunks_exact(4)
                .map(|bytes| f64::from(f32::from_le_bytes(bytes.try_into().unwrap())))
                .collect(),
            other => panic!("{name} is {other:?}"),
        };
        (values, view.shape().to_vec())
    }

    fn points(&self, name: &str) -> Points {
        let (values, shape) = self.tensor(name);
        Points::new(values, shape[1]).unwrap()
    }

    fn sides(&self) -> (Points, Points) {
        (self.points("a_x"), self.points("b_x"))
    }

    fn labelled(&self, points: &str, labels: &str) -> Labelled {
        let labels = self.tensor(labels).0.into_iter().map(|label| label as u32);
        Labelled::new(self.points(points), labels.collect()).unwrap()
    }

    fn labelled_sides(&self) -> (Labelled, Labelled) {
        (self.labelled("a_x", "a_y"), self.labelled("b_x", "b_y"))
    }

    /// The entries whose key starts with `prefix`.
    fn entries(&self, prefix: &str) -> Vec<Entry<'_>> {
        let entries = self.values.as_object().unwrap().iter();
        entries
            .filter(|(key, _)| key.starts_with(prefix))
            .map(|(key, entry)| Entry {
                case: self,
                key,
                entry,
            })
            .collect()
    }
}

struct Entry<'a> {
    case: &'a Case,
    key: &'a str,
    entry: &'a Value,
}

impl Entry<'_> {
    fn value(&self) -> &Value {
        &self.entry["value"]
    }

    /// The number at `field`; `None` where the fixture has none (a check that could not be made).
    fn number(&self, field: &str) -> Option<f64> {
        self.value()[field].as_f64()
    }

    /// `|got - value| ≤ max(rtol |value|, 1e-9 · mean cost)`, as the fixtures propose.
    fn check(&self, what: &str, got: f64, expected: f64) {
        self.within(what, got, expected, "rtol_f64", 1e-9);
    }

    /// The same for a number that was computed in f32.
    fn check_single(&self, what: &str, got: f64, expected: f64) {
        self.within(what, got, expected, "rtol_f32", 5e-5);
    }

    fn within(&self, what: &str, got: f64, expected: f64, relative: &str, floor: f64) {
        let relative = self.entry[relative].as_f64().unwrap();
        let allowed = (relative * expected.abs()).max(floor * self.case.cost_mean);
        let (case, key) = (&self.case.name, self.key);
        assert!(
            (got - expected).abs() <= allowed,
            "{case}.{key}.{what}: {got} for {expected}, off by {:e} of {allowed:e}",
            (got - expected).abs()
        );
    }

    /// Compares a field if the fixture has it.
    fn check_field(&self, field: &str, got: f64) {
        if let Some(expected) = self.number(field) {
            self.check(field, got, expected);
        }
    }

    /// Compares a matrix or a list, in its order.
    fn check_all(&self, what: &str, got: &[f64], expected: &Value) {
        let expected = flat(expected);
        assert_eq!(got.len(), expected.len(), "{}.{what}", self.key);
        for (got, expected) in got.iter().zip(expected) {
            self.check(what, *got, expected);
        }
    }
}

fn flat(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(flat).collect(),
        other => vec![other.as_f64().unwrap()],
    }
}

#[test]
fn ot_reference_cost() {
    for case in cases() {
        for entry in case.entries("cost_mean_sqeuclidean") {
            let (a, b) = case.sides();
            let cost = Cost::squared_euclidean(&a, &b, 1.0, None, Precision::Double).unwrap();
            entry.check("mean", cost.mean(), entry.value().as_f64().unwrap());
            let cost = Cost::squared_euclidean(&a, &b, 1.0, None, Precision::Single).unwrap();
            entry.check_single("mean", cost.mean(), entry.value().as_f64().unwrap());
        }
    }
}

#[test]
fn ot_reference_sinkhorn() {
    for case in cases() {
        for entry in case.entries("sinkhorn_reg") {
            let (cost, a, b) = if case.has("cost") {
                let (cost, shape) = case.tensor("cost");
                let cost = Cost::new(&cost, shape[0], shape[1], Precision::Double).unwrap();
                (cost, case.tensor("a").0, case.tensor("b").0)
            } else {
                let (a, b) = case.sides();
                let cost = Cost::squared_euclidean(&a, &b, 1.0, None, Precision::Double);
                (cost.unwrap(), a.uniform_weights(), b.uniform_weights())
            };
            // `sinkhorn_reg0_2`: the raw cost has its ε in the name only.
            let named = || {
                entry.key["sinkhorn_reg".len()..]
                    .replace('_', ".")
                    .parse()
                    .ok()
            };
            let solver = Sinkhorn {
                epsilon: entry.number("reg").or_else(named).unwrap(),
                tolerance: 1e-10,
                ..Sinkhorn::default()
            };
            let found = solver.solve(&cost, &a, &b, &Unobserved).unwrap();
            assert!(found.marginal_error <= 1e-10);
            let sharp = found.cost(&cost, &a, &b).unwrap();
            entry.check_field("sharp", sharp);
            entry.check_field("sharp_own", sharp);
            entry.check_field("dual_KLab", found.value);
        }
    }
}

#[test]
fn ot_reference_wasserstein() {
    for case in cases() {
        for entry in case.entries("emd2") {
            let expected = entry.value().as_f64().unwrap();
            let found = if case.has("cost") {
                let (cost, shape) = case.tensor("cost");
                let cost = Cost::new(&cost, shape[0], shape[1], Precision::Double).unwrap();
                let (a, b) = (case.tensor("a").0, case.tensor("b").0);
                Exact::default().solve(&cost, &a, &b, &Unobserved)
            } else {
                let (a, b) = case.sides();
                let power = match entry.key {
                    "emd2_euclidean" => Power::One,
                    _ => Power::Two,
                };
                wasserstein(&a, &b, None, power, &Unobserved)
            };
            let found = found.unwrap();
            entry.check("value", found.value, expected);
            let rounding = 1e-12 * case.cost_mean.max(expected);
            assert!(found.dual_gap.abs() <= rounding, "{}", found.dual_gap);
        }
    }
}

#[test]
fn ot_reference_otdd_exact() {
    for case in cases() {
        for (prefix, label_distance) in [
            ("otdd_gauss_exact_outer", LabelDistance::Gaussian),
            ("otdd_exact_exact", LabelDistance::Exact),
        ] {
            for entry in case.entries(prefix) {
                let (a, b) = case.labelled_sides();
                let distance = Otdd {
                    mode: Mode::Exact,
                    label_distance,
                    samples: usize::MAX,
                    ..Otdd::default()
                };
                let found = distance.between(&a, &b, &Unobserved).unwrap();
                entry.check_field("half", found.divergence.value);
                entry.check_field("d2", 2.0 * found.divergence.value);
                // The root of nearly nothing is not compared.
                if entry.number("d2").unwrap() > 1e-6 {
                    entry.check_field("d", found.distance());
                }
                if let Some(expected) = entry.value().get("label_w2sq_ab") {
                    entry.check_all("label_w2sq_ab", &found.classes.ab, expected);
                }
            }
        }
    }
}

fn sharp(a: &Points, b: &Points, epsilon: f64) -> f64 {
    let cost = Cost::squared_euclidean(a, b, 0.5, None, Precision::Double).unwrap();
    let (of_a, of_b) = (a.uniform_weights(), b.uniform_weights());
    let solver = Sinkhorn {
        epsilon,
        tolerance: 1e-10,
        ..Sinkhorn::default()
    };
    let found = solver.solve(&cost, &of_a, &of_b, &Unobserved).unwrap();
    found.cost(&cost, &of_a, &of_b).unwrap()
}

#[test]
fn ot_reference_sinkhorn_divergence() {
    for case in cases() {
        for entry in case.entries("sinkhorn_divergence") {
            let (a, b) = case.sides();
            let epsilon = entry.number("eps").unwrap();
            let distance = |mode: Mode, debiased: bool| {
                let distance = SinkhornDistance {
                    epsilon,
                    debiased,
                    mode,
                    precision: Precision::Double,
                    ..SinkhornDistance::default()
                };
                distance.between(&a, &b, &Unobserved).unwrap()
            };
            let found = distance(TIGHT, true);
            let [aa, bb] = found.within.unwrap();
            let wanted = &entry.value()["converged"];
            entry.check("S", found.value, wanted["S"].as_f64().unwrap());
            entry.check("OT_ab", found.ab.value, wanted["OT_ab"].as_f64().unwrap());
            entry.check("OT_aa", aa.value, wanted["OT_aa"].as_f64().unwrap());
            entry.check("OT_bb", bb.value, wanted["OT_bb"].as_f64().unwrap());
            let [ab, aa, bb] = [(&a, &b), (&a, &a), (&b, &b)].map(|(x, y)| sharp(x, y, epsilon));
            entry.check("sharp_ab", ab, wanted["sharp_ab"].as_f64().unwrap());
            entry.check("sharp_aa", aa, wanted["sharp_aa"].as_f64().unwrap());
            entry.check("sharp_bb", bb, wanted["sharp_bb"].as_f64().unwrap());
            // POT's costs are |x - y|², twice these.
            let divergence = 2.0 * (ab - 0.5 * (aa + bb));
            entry.check_field("pot_sharp_div_from_converged", divergence);
            entry.check_field("pot_empirical_sinkhorn_divergence", divergence);
            for scaling in [0.5, 0.9] {
                let found = distance(Mode::Reference { scaling }, true).value;
                entry.check_field(&format!("geomloss_scaling{scaling}"), found);
            }
            let biased = distance(Mode::Reference { scaling: 0.5 }, false).value;
            entry.check_field("geomloss_scaling0.5_biased", biased);
        }
    }
}

#[test]
fn ot_reference_energy() {
    for case in cases() {
        for entry in case.entries("geomloss_energy") {
            let (a, b) = case.sides();
            let found = energy(&a, &b, 1e-4).unwrap();
            entry.check("value", found, entry.value().as_f64().unwrap());
        }
    }
}

#[test]
fn ot_reference_mmd() {
    for case in cases() {
        for entry in case.entries("mmd2_rbf") {
            let (a, b) = case.sides();
            let found = mmd(&a, &b, None).unwrap();
            entry.check_field("sigma2", found.bandwidth);
            let found = mmd(&a, &b, entry.number("sigma2")).unwrap();
            entry.check_field("biased", found.biased);
            entry.check_field("geomloss_gaussian_times2", found.biased);
            entry.check_field("unbiased", found.unbiased);
        }
    }
}

#[test]
fn ot_reference_frechet() {
    for case in cases() {
        for entry in case.entries("frechet_global") {
            let (a, b) = case.sides();
            let found = frechet(&a, &b).unwrap();
            entry.check_field("d2", found);
            entry.check_field("d2_scipy_sqrtm", found);
            // A root near 0 has no digits to compare: the square has.
            let root = entry.number("pot_sqrt").unwrap();
            entry.check("pot_sqrt", found, root * root);
        }
    }
}

#[test]
fn ot_reference_line() {
    for case in cases() {
        for entry in case.entries("w1d") {
            let (a, b) = case.sides();
            let first = |points: &Points| points.rows().map(|row| row[0]).collect::<Vec<f64>>();
            let (x, y) = (first(&a), first(&b));
            let (of_a, of_b) = (a.uniform_weights(), b.uniform_weights());
            let found = |p| wasserstein_1d(&x, &of_a, &y, &of_b, p).unwrap();
            entry.check_field("coord0_p1", found(1.0));
            entry.check_field("coord0_p2", found(2.0));
            entry.check_field("coord0_p2_emd", found(2.0));
        }
    }
}

fn check_projections(entry: &Entry, found: &Sliced) {
    let squares = &entry.value()["per_projection_w2sq_first8"];
    let first = &found.squares[..squares.as_array().unwrap().len()];
    entry.check_all("per_projection", first, squares);
    entry.check_field("value", found.distance());
    entry.check_field("mean_w2sq", found.mean_square());
}

#[test]
fn ot_reference_sliced() {
    for case in cases() {
        for entry in case.entries("sliced_w2") {
            let (a, b) = case.sides();
            // Stored by column: [dimension, projections].
            let (columns, shape) = case.tensor("projections");
            let (d, count) = (shape[0], shape[1]);
            let at = |place: usize| columns[(place % d) * count + place / d];
            let directions: Vec<f64> = (0..d * count).map(at).collect();
            check_projections(&entry, &sliced(&a, &b, &directions).unwrap());
        }
    }
}

#[test]
fn ot_reference_s_otdd() {
    for case in cases() {
        for entry in case.entries("sotdd_p2") {
            let (a, b) = case.labelled_sides();
            let (orders, shape) = case.tensor("sotdd_moments");
            let projections = LabelProjections {
                theta: case.tensor("sotdd_theta").0,
                psi: case.tensor("sotdd_psi").0,
                orders: orders.into_iter().map(|order| order as u32).collect(),
                projections: shape[0],
                moments: shape[1],
            };
            check_projections(&entry, &s_otdd(&a, &b, &projections).unwrap());
        }
    }
}

fn gaussians(set: &Labelled) -> Vec<Gaussian> {
    let classes: BTreeSet<u32> = set.labels().iter().copied().collect();
    let rows = |class: u32| -> Vec<usize> {
        let labels = set.labels().iter().enumerate();
        labels
            .filter(|(_, label)| **label == class)
            .map(|(row, _)| row)
            .collect()
    };
    classes
        .into_iter()
        .map(|class| Gaussian::fit(&set.points().select(&rows(class)).unwrap()).unwrap())
        .collect()
}

#[test]
fn ot_reference_bures() {
    for case in cases() {
        for entry in case.entries("class_stats") {
            let (a, b) = case.labelled_sides();
            for (side, set) in [("a", &a), ("b", &b)] {
                let found = gaussians(set);
                let all = |of: &dyn Fn(&Gaussian) -> f64| found.iter().map(of).collect::<Vec<_>>();
                let norm = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>().sqrt();
                let check = |name: &str, got: Vec<f64>| {
                    let name = format!("{name}_{side}");
                    entry.check_all(&name, &got, &entry.value()[&name]);
                };
                check("counts", all(&|class| class.count() as f64));
                check("trace_cov", all(&|class| class.trace()));
                check("fro_cov", all(&|class| norm(&class.covariance())));
                check("norm_mean", all(&|class| norm(class.mean())));
                for (index, class) in found.iter().enumerate() {
                    if !case.has(&format!("cov_{side}")) {
                        continue;
                    }
                    let row = |name: &str, got: &[f64]| {
                        let (values, _) = case.tensor(&format!("{name}_{side}"));
                        let wanted = &values[index * got.len()..(index + 1) * got.len()];
                        entry.check_all(name, got, &Value::from(wanted.to_vec()));
                    };
                    row("cov", &class.covariance());
                    row("mean", class.mean());
                }
            }
        }
        if case.entries("class_bw2").is_empty() {
            continue;
        }
        let (a, b) = case.labelled_sides();
        let found = reference_otdd(&a, &b, |_| {});
        for entry in case.entries("class_bw2") {
            let table = match entry.key {
                "class_bw2_ab" => &found.classes.ab,
                "class_bw2_aa" => &found.classes.aa,
                _ => &found.classes.bb,
            };
            entry.check_all("table", table, entry.value());
        }
        // POT gives NaN for some of these pairs: ours are all finite.
        assert!(found.classes.ab.iter().all(|square| square.is_finite()));
    }
}

/// microsoft/otdd's defaults, changed by `change`.
fn reference_otdd(a: &Labelled, b: &Labelled, change: impl Fn(&mut Otdd)) -> OtddResult {
    let mut distance = Otdd {
        mode: Mode::Reference { scaling: 0.5 },
        samples: usize::MAX,
        ..Otdd::default()
    };
    change(&mut distance);
    distance.between(a, b, &Unobserved).unwrap()
}

const EXACT: LabelDistance = LabelDistance::Points {
    epsilon: 0.1,
    debiased: false,
};

#[test]
fn ot_reference_otdd() {
    for case in cases() {
        for entry in case.entries("otdd_microsoft") {
            if entry.key != "otdd_microsoft" {
                continue;
            }
            let (a, b) = case.labelled_sides();
            let check = |field: &str, change: &dyn Fn(&mut Otdd)| {
                if entry.number(field).is_some() {
                    let found = reference_otdd(&a, &b, change);
                    entry.check_field(field, found.divergence.value);
                }
            };
            check("gauss_double", &|_| {});
            check("gauss_double_entreg1", &|otdd| otdd.epsilon = 1.0);
            check("gauss_double_entreg0.01", &|otdd| otdd.epsilon = 0.01);
            check("gauss_double_diagcov", &|otdd| {
                otdd.label_distance = LabelDistance::Diagonal;
            });
            check("gauss_double_lx1_ly0", &|otdd| otdd.label_weight = 0.0);
            check("gauss_double_lx0_ly1", &|otdd| otdd.feature_weight = 0.0);
            check("gauss_double_lx0.5_ly2", &|otdd| {
                otdd.feature_weight = 0.5;
                otdd.label_weight = 2.0;
            });
            check("upperbound_double", &|otdd| {
                otdd.label_distance = LabelDistance::UpperBound;
            });
            check("exactinner_double", &|otdd| otdd.label_distance = EXACT);
            check("exactinner_debiased_double", &|otdd| {
                otdd.label_distance = LabelDistance::Points {
                    epsilon: 0.1,
                    debiased: true,
                };
            });
            if let Some(expected) = entry.number("gauss_single") {
                let found = reference_otdd(&a, &b, |_| {}).divergence.value;
                entry.check_single("gauss_single", found, expected);
            }
            if entry.value().get("exactinner_label_ab").is_some() {
                let found = reference_otdd(&a, &b, |otdd| otdd.label_distance = EXACT);
                let expected = &entry.value()["exactinner_label_ab"];
                entry.check_all("exactinner_label_ab", &found.classes.ab, expected);
            }
        }
        for entry in case.entries("otdd_microsoft_on_raw") {
            let (a, b) = (case.labelled("a_x_raw", "a_y_raw"), case.labelled_sides().1);
            let found = reference_otdd(&a, &b, |_| {});
            assert!(found.left_out[0] > 0);
            entry.check(
                "value",
                found.divergence.value,
                entry.value().as_f64().unwrap(),
            );
        }
    }
}

/// A class with one point in the middle of the labels: the reference fails on it; the right
/// answer is that of the set without it.
#[test]
fn ot_reference_singleton_in_the_middle() {
    for case in cases().iter().filter(|case| case.has("a_x_raw")) {
        let raw = case.labelled("a_x_raw", "a_y_raw");
        let last = raw.labels().iter().copied().max().unwrap();
        let moved = raw.labels().iter().map(|label| match *label {
            label if label == last => 1,
            0 => 0,
            label => label + 1,
        });
        let a = Labelled::new(raw.points().clone(), moved.collect()).unwrap();
        let b = case.labelled_sides().1;
        let found = reference_otdd(&a, &b, |_| {}).divergence.value;
        for entry in case.entries("otdd_microsoft") {
            if let Some(expected) = entry.number("gauss_double") {
                entry.check("singleton in the middle", found, expected);
            }
        }
    }
}

#[test]
fn ot_reference_otdd_converged() {
    for case in cases() {
        for entry in case.entries("otdd_microsoft") {
            for epsilon in [0.1, 1.0, 5.0] {
                let field = match epsilon {
                    0.1 => "gauss_converged_S_eps0.1".to_string(),
                    epsilon => format!("gauss_converged_S_eps{epsilon:.1}"),
                };
                let Some(expected) = entry.number(&field) else {
                    continue;
                };
                let (a, b) = case.labelled_sides();
                let found = reference_otdd(&a, &b, |otdd| {
                    otdd.mode = TIGHT;
                    otdd.precision = Precision::Double;
                    otdd.epsilon = epsilon;
                });
                println!(
                    "{}: {epsilon}: {} passes",
                    case.name,
                    found.divergence.iterations()
                );
                entry.check(&field, found.divergence.value, expected);
                assert!(found.divergence.marginal_error() <= 1e-9);
            }
        }
    }
}

/// What the tests above compare, by the start of its key.
const COVERED: &[&str] = &[
    "cost_mean_sqeuclidean",
    "sinkhorn_reg",
    "sinkhorn_divergence",
    "geomloss_energy",
    "mmd2_rbf",
    "frechet_global",
    "w1d",
    "sliced_w2",
    "sotdd_p2",
    "class_stats",
    "class_bw2",
    "otdd_microsoft",
    "otdd_gauss_exact_outer",
    "otdd_exact_exact",
    "emd2",
];

/// Facts about other programs, not values to meet.
const REMARKS: &[&str] = &[
    "pot_bures_nan_count",
    "otdd_microsoft_singleton_relabelled_to_1",
];

/// No entry of the fixtures is left without a comparison.
#[test]
fn ot_reference_coverage() {
    let (mut compared, mut open) = (0, BTreeSet::new());
    for case in cases() {
        for key in case.values.as_object().unwrap().keys() {
            let starts = |known: &&str| key.starts_with(known);
            if COVERED.iter().any(starts) || REMARKS.iter().any(starts) {
                compared += 1;
            } else {
                open.insert(format!("{}.{key}", case.name));
            }
        }
    }
    assert!(compared > 0 && open.is_empty(), "not covered: {open:#?}");
}
