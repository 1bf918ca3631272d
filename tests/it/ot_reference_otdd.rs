//! Labelled sets against numbers of other programs: microsoft/otdd, POT, scipy.

use std::collections::BTreeSet;

use ribflow::ml::Unobserved;
use ribflow::ml::ot::{
    Gaussian, LabelDistance, Labelled, Mode, Otdd, OtddResult, Points, Precision, Schedule,
    SinkhornDistance, box_diameter,
};
use serde_json::Value;

use crate::ot_fixtures::{Entry, cases};

/// Far below every tolerance, so that the solver is not what is compared.
pub const TIGHT: Mode = Mode::Converged {
    tolerance: 1e-9,
    max_iterations: 200_000,
};

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
            check("gauss_double_exact_outer_half", &|otdd| {
                otdd.mode = Mode::Exact
            });
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

/// The fields of an entry whose names start with `start`, and the ε that the rest of the name is.
fn by_epsilon<'a>(entry: &Entry<'a>, start: &str) -> Vec<(&'a str, f64)> {
    let fields = entry.fields().into_iter();
    let epsilon = |field: &'a str| Some((field, field.strip_prefix(start)?.parse().ok()?));
    fields.filter_map(epsilon).collect()
}

#[test]
fn ot_reference_otdd_converged() {
    for case in cases() {
        for entry in case.entries("otdd_microsoft") {
            for (field, epsilon) in by_epsilon(&entry, CONVERGED) {
                let (a, b) = case.labelled_sides();
                let found = reference_otdd(&a, &b, |otdd| {
                    otdd.mode = TIGHT;
                    otdd.precision = Precision::Double;
                    otdd.epsilon = epsilon;
                });
                entry.check_field(field, found.divergence.value);
                assert!(found.divergence.marginal_error() <= 1e-9);
            }
        }
    }
}

/// microsoft/otdd's `augmentation`: no cost of labels, but every point carries the mean and the
/// standard deviations of its class.
#[test]
fn ot_reference_otdd_augmented() {
    for case in cases() {
        for entry in case.entries("otdd_microsoft") {
            if entry.number(AUGMENTED).is_none() {
                continue;
            }
            let (a, b) = case.labelled_sides();
            let distance = SinkhornDistance {
                epsilon: 0.1,
                debiased: true,
                mode: Mode::Reference { scaling: 0.5 },
                precision: Precision::Double,
                ..SinkhornDistance::default()
            };
            let found = distance.between(&augmented(&a), &augmented(&b), &Unobserved);
            entry.check_field(AUGMENTED, found.unwrap().value);
        }
    }
}

fn augmented(set: &Labelled) -> Points {
    let classes: BTreeSet<u32> = set.labels().iter().copied().collect();
    let of_classes = gaussians(set);
    let mut values = Vec::new();
    for (row, label) in set.points().rows().zip(set.labels()) {
        let place = classes.iter().position(|class| class == label).unwrap();
        let (class, d) = (&of_classes[place], row.len());
        let covariance = class.covariance();
        values.extend_from_slice(row);
        values.extend_from_slice(class.mean());
        values.extend((0..d).map(|at| covariance[at * d + at].sqrt()));
    }
    Points::new(values, 3 * set.points().dimension()).unwrap()
}

/// The loop's own numbers: the diameter, labels and all, and how many values of ε come of it.
#[test]
fn ot_reference_schedule() {
    for case in cases() {
        for entry in case.entries("otdd_microsoft") {
            let Some(diameter) = entry.number(DIAMETER) else {
                continue;
            };
            let (a, b) = case.labelled_sides();
            let classes = a.labels().iter().copied().collect::<BTreeSet<u32>>();
            let with_labels = |set: &Labelled, shift: usize| {
                let classes: Vec<u32> = set
                    .labels()
                    .iter()
                    .copied()
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect();
                let rows = set.points().rows().zip(set.labels());
                let values = rows.flat_map(|(row, label)| {
                    let place = classes.iter().position(|class| class == label).unwrap() + shift;
                    row.iter()
                        .copied()
                        .chain([place as f64])
                        .collect::<Vec<f64>>()
                });
                Points::new(values.collect(), set.points().dimension() + 1).unwrap()
            };
            let found = box_diameter(&with_labels(&a, 0), &with_labels(&b, classes.len()));
            entry.check(DIAMETER, found, diameter);
            for (field, epsilon) in by_epsilon(&entry, STEPS) {
                let schedule = Schedule::new(diameter, epsilon, 0.5).unwrap();
                entry.check_field(field, schedule.values().len() as f64);
            }
        }
    }
}

const CONVERGED: &str = "gauss_converged_S_eps";
const AUGMENTED: &str = "augmentation_diagcov_double";
const DIAMETER: &str = "_diameter_of_[x,label]";
const STEPS: &str = "_n_eps_entreg";

/// Whether a field of `otdd_microsoft` is compared above, or tells of the other program only: how
/// it converged, and what it measured where the answer is known.
pub fn is_compared(field: &str) -> bool {
    let compared = [
        "gauss_double",
        "gauss_double_entreg1",
        "gauss_double_entreg0.01",
        "gauss_double_diagcov",
        "gauss_double_lx1_ly0",
        "gauss_double_lx0_ly1",
        "gauss_double_lx0.5_ly2",
        "gauss_double_exact_outer_half",
        "gauss_single",
        "upperbound_double",
        "exactinner_double",
        "exactinner_debiased_double",
        "exactinner_label_ab",
        AUGMENTED,
        DIAMETER,
    ];
    let told = ["_conv_info", "_measured", "_note", "_label_distance_maxrel"];
    let starts = |start: &&str| field.starts_with(start);
    compared.contains(&field) || told.iter().chain(&[CONVERGED, STEPS]).any(starts)
}
