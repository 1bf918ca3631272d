//! Optimal transport against numbers of other programs: POT, geomloss, scipy. What is of labelled
//! sets stands in `ot_reference_otdd`.
//!
//! Each entry brings its own tolerance. No entry may be without a comparison:
//! `ot_reference_coverage`.

use std::collections::BTreeSet;

use ribflow::ml::Unobserved;
use ribflow::ml::ot::{
    Cost, Exact, LabelProjections, Mode, Points, Power, Precision, Sinkhorn, SinkhornDistance,
    Sliced, energy, frechet, mmd, s_otdd, sliced, wasserstein, wasserstein_1d,
};

use crate::ot_fixtures::{Entry, cases};
use crate::ot_reference_otdd::{TIGHT, is_compared};

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
            let (found, scale) = if case.has("cost") {
                let (entries, shape) = case.tensor("cost");
                let cost = Cost::new(&entries, shape[0], shape[1], Precision::Double).unwrap();
                let (a, b) = (case.tensor("a").0, case.tensor("b").0);
                let found = Exact::default().solve(&cost, &a, &b, &Unobserved);
                (found, mean_size(&entries))
            } else {
                let (a, b) = case.sides();
                let power = match entry.key {
                    "emd2_euclidean" => Power::One,
                    _ => Power::Two,
                };
                let found = wasserstein(&a, &b, None, power, &Unobserved);
                (found, mean_distance(&a, &b, power))
            };
            let found = found.unwrap();
            entry.check("value", found.value, expected);
            // Rounding is relative to the costs of this problem.
            let rounding = 1e-12 * scale;
            let (case, key) = (&case.name, entry.key);
            let gap = found.dual_gap.abs();
            assert!(gap <= rounding, "{case}.{key}: {gap:e} of {scale}");
        }
    }
}

fn mean_size(costs: &[f64]) -> f64 {
    costs.iter().map(|cost| cost.abs()).sum::<f64>() / costs.len() as f64
}

/// The mean over all pairs of the distance, or of its square.
fn mean_distance(a: &Points, b: &Points, power: Power) -> f64 {
    let cost = |x: &[f64], y: &[f64]| {
        let square: f64 = x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum();
        match power {
            Power::One => square.sqrt(),
            Power::Two => square,
        }
    };
    let pairs = a.rows().flat_map(|x| b.rows().map(move |y| cost(x, y)));
    mean_size(&pairs.collect::<Vec<f64>>())
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
            for field in entry.fields() {
                let Some(scaling) = field.strip_prefix("geomloss_scaling") else {
                    continue;
                };
                let biased = scaling.strip_suffix("_biased");
                let scaling = biased.unwrap_or(scaling).parse().unwrap();
                let found = distance(Mode::Reference { scaling }, biased.is_none());
                entry.check_field(field, found.value);
            }
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
            if let Some(root) = entry.number("pot_sqrt") {
                entry.check("pot_sqrt", found, root * root);
            }
        }
    }
}

#[test]
fn ot_reference_line() {
    for case in cases() {
        for entry in case.entries("w1d") {
            let (a, b) = case.sides();
            let (of_a, of_b) = (a.uniform_weights(), b.uniform_weights());
            for field in entry.fields() {
                let (at, p) = line(field).unwrap_or_else(|| panic!("{field}"));
                let column =
                    |points: &Points| points.rows().map(|row| row[at]).collect::<Vec<f64>>();
                let (x, y) = (column(&a), column(&b));
                let found = wasserstein_1d(&x, &of_a, &y, &of_b, p).unwrap();
                entry.check_field(field, found);
            }
        }
    }
}

/// The coordinate and the power of a field: `coord0_p2`, `coord0_p2_emd`.
fn line(field: &str) -> Option<(usize, f64)> {
    let (at, power) = field.strip_prefix("coord")?.split_once("_p")?;
    let power = power.strip_suffix("_emd").unwrap_or(power);
    Some((at.parse().ok()?, power.parse().ok()?))
}

fn check_projections(entry: &Entry, found: &Sliced) {
    for field in entry.fields() {
        if field.starts_with("per_projection_w2sq_first") {
            let squares = &entry.value()[field];
            let first = &found.squares[..squares.as_array().unwrap().len()];
            entry.check_all(field, first, squares);
        }
    }
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
const REMARKS: &[&str] = &["pot_bures_nan_count", "otdd_microsoft_singleton_relabelled"];

/// No entry of the fixtures is left without a comparison.
#[test]
fn ot_reference_coverage() {
    let (mut compared, mut open) = (0, BTreeSet::new());
    for case in cases() {
        for entry in case.entries("otdd_microsoft") {
            let fields = entry.fields().into_iter();
            let fields =
                fields.filter(|field| entry.number(field).is_some() && !is_compared(field));
            open.extend(fields.map(|field| format!("{}.{}.{field}", case.name, entry.key)));
        }
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
