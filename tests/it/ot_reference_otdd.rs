//! Labelled sets against numbers of other programs: microsoft/otdd, POT, scipy.

use std::collections::BTreeSet;

use ribflow::ml::Unobserved;
use ribflow::ml::ot::{
    Gaussian, LabelDistance, Labelled, Mode, Otdd, OtddResult, Points, Precision, Schedule,
    SinkhornDistance, box_diameter,
};
use serde_json::Value;

use crate::described::after;
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
                if entry.number("d2").unwrap() > 1e-8 * case.cost_mean {
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
        mode: Mode::Reference {
            scaling: Defaults::USUAL.scaling,
        },
        samples: usize::MAX,
        ..Otdd::default()
    };
    change(&mut distance);
    distance.between(a, b, &Unobserved).unwrap()
}

/// What `params` of an entry states: `p=2, entreg=0.1, …, scaling 0.5, …`.
#[derive(Clone, Copy)]
struct Defaults {
    epsilon: f64,
    scaling: f64,
}

impl Defaults {
    const USUAL: Self = Self {
        epsilon: 0.1,
        scaling: 0.5,
    };

    fn of(entry: &Entry) -> Self {
        let stated = |word: &str| after(entry.params(), word);
        Self {
            epsilon: stated("entreg").unwrap_or(Self::USUAL.epsilon),
            scaling: stated("scaling").unwrap_or(Self::USUAL.scaling),
        }
    }

    /// The distance that a field is of, such as `gauss_double_lx0.5_ly2`; `None` for a field that
    /// is of no such distance.
    fn distance(self, field: &str) -> Option<Otdd> {
        let (labels, change) = field.split_once("_double")?;
        let mut otdd = Otdd {
            mode: Mode::Reference {
                scaling: self.scaling,
            },
            epsilon: self.epsilon,
            label_distance: match labels {
                "gauss" => LabelDistance::Gaussian,
                "upperbound" => LabelDistance::UpperBound,
                "exactinner" => self.points(false),
                "exactinner_debiased" => self.points(true),
                _ => return None,
            },
            samples: usize::MAX,
            ..Otdd::default()
        };
        match change {
            "" => {}
            "_exact_outer_half" => otdd.mode = Mode::Exact,
            "_diagcov" => otdd.label_distance = LabelDistance::Diagonal,
            other => match other.strip_prefix("_entreg") {
                Some(epsilon) => otdd.epsilon = epsilon.parse().ok()?,
                None => {
                    let (features, labels) = other.strip_prefix("_lx")?.split_once("_ly")?;
                    otdd.feature_weight = features.parse().ok()?;
                    otdd.label_weight = labels.parse().ok()?;
                }
            },
        }
        Some(otdd)
    }

    fn points(self, debiased: bool) -> LabelDistance {
        LabelDistance::Points {
            epsilon: self.epsilon,
            debiased,
        }
    }
}

#[test]
fn ot_reference_otdd() {
    for case in cases() {
        for entry in case.entries("otdd_microsoft") {
            if entry.key != "otdd_microsoft" {
                continue;
            }
            let (a, b) = case.labelled_sides();
            let defaults = Defaults::of(&entry);
            let found = |field: &str| {
                let distance = defaults.distance(field)?;
                Some(distance.between(&a, &b, &Unobserved).unwrap())
            };
            for field in entry.fields() {
                if entry.number(field).is_none() {
                    continue;
                }
                if let Some(found) = found(field) {
                    entry.check_field(field, found.divergence.value);
                }
            }
            if let Some(expected) = entry.number("gauss_single") {
                let found = found("gauss_double").unwrap().divergence.value;
                entry.check_single("gauss_single", found, expected);
            }
            if let Some(expected) = entry.value().get("exactinner_label_ab") {
                let found = found("exactinner_double").unwrap();
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
        let samples = |class: u32| raw.labels().iter().filter(|it| **it == class).count();
        let single = raw.labels().iter().copied().find(|it| samples(*it) == 1);
        let single = single.expect("a class of one sample");
        let smallest = raw.labels().iter().copied().min().unwrap();
        let moved = raw.labels().iter().map(|label| match *label {
            label if label == single => smallest + 1,
            label if label == smallest => label,
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
            let Defaults { epsilon, scaling } = Defaults::of(&entry);
            let distance = SinkhornDistance {
                epsilon,
                debiased: true,
                mode: Mode::Reference { scaling },
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
                let scaling = Defaults::of(&entry).scaling;
                let schedule = Schedule::new(diameter, epsilon, scaling).unwrap();
                entry.check_field(field, schedule.values().len() as f64);
            }
        }
    }
}

const CONVERGED: &str = "gauss_converged_S_eps";
const AUGMENTED: &str = "augmentation_diagcov_double";
const DIAMETER: &str = "_diameter_of_[x,label]";
const STEPS: &str = "_n_eps_entreg";

/// Whether a field of `otdd_microsoft` is compared above, or describes the other program only: how
/// it converged, and what it measured where the answer is known.
pub fn is_compared(field: &str) -> bool {
    let compared = ["gauss_single", "exactinner_label_ab", AUGMENTED, DIAMETER];
    let remarks = ["_conv_info", "_measured", "_note", "_label_distance_maxrel"];
    let starts = |start: &&str| field.starts_with(start);
    compared.contains(&field)
        || Defaults::USUAL.distance(field).is_some()
        || remarks.iter().chain(&[CONVERGED, STEPS]).any(starts)
}
