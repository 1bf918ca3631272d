//! What every metric and distance answers for empty, single, constant, huge, tiny and undefined
//! input: docs/numerics.md is this table.

use std::fmt::{Display, Write as _};

use ribflow::ml::Unobserved;
use ribflow::ml::metrics::{correlation, embedding, estimate, mcnemar};
use ribflow::ml::ot::distance::{DISTANCES, DistanceOptions, Sampling};
use ribflow::ot::{Labelled, Points};

const PAGE: &str = "docs/numerics.md";
const BEGIN: &str = "<!-- table -->\n";

/// The answer, or the reason of a refusal.
fn answer<E: Display>(found: Result<f64, E>) -> String {
    match found {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("refused: {error}"),
    }
}

fn optional(found: Option<f64>) -> String {
    found.map_or("nothing".to_string(), |value| format!("{value:?}"))
}

/// Two sets of points on a line, and what they are.
const SETS: [(&str, &[f64], &[f64]); 10] = [
    ("an empty set", &[], &[1.0]),
    ("a coordinate that is not a number", &[f64::NAN], &[1.0]),
    ("one point each, the same", &[3.0], &[3.0]),
    ("one point each, 1 apart", &[3.0], &[4.0]),
    ("constant sets, the same", &[3.0; 4], &[3.0; 4]),
    ("constant sets, 1 apart", &[3.0; 4], &[4.0; 4]),
    (
        "a constant set, and 0, 1, 2, 3",
        &[3.0; 4],
        &[0.0, 1.0, 2.0, 3.0],
    ),
    (
        "0, 1, 2, 3 and the same",
        &[0.0, 1.0, 2.0, 3.0],
        &[0.0, 1.0, 2.0, 3.0],
    ),
    (
        "tiny: 0, 1, 2, 3 times 1e-200, and twice that",
        &[0.0, 1e-200, 2e-200, 3e-200],
        &[0.0, 2e-200, 4e-200, 6e-200],
    ),
    (
        "huge: 0, 1, 2, 3 times 1e200, and twice that",
        &[0.0, 1e200, 2e200, 3e200],
        &[0.0, 2e200, 4e200, 6e200],
    ),
];

fn measured(distance: &dyn DistanceOptions, a: &[f64], b: &[f64]) -> String {
    let set = |values: &[f64]| {
        let points = Points::new(values.to_vec(), 1)?;
        let labels = (0..points.count()).map(|at| at as u32 % 2).collect();
        Labelled::new(points, labels)
    };
    let sampling = Sampling {
        samples: 100,
        seed: 0,
        stratified: false,
    };
    let found = set(a).and_then(|a| {
        let b = set(b)?;
        distance.measure(&a, &b, sampling, &Unobserved)
    });
    answer(found.map(|found| found.distance))
}

fn distances(rows: &mut Vec<[String; 3]>) {
    for declaration in &DISTANCES.all {
        let distance = (declaration.parse)(serde_json::Map::new()).unwrap();
        for (what, a, b) in SETS {
            let name = format!("`ot`, `{}`", declaration.name);
            rows.push([name, what.to_string(), measured(&*distance, a, b)]);
        }
    }
}

fn metrics(rows: &mut Vec<[String; 3]>) {
    let mut row = |name: &str, what: &str, found: String| {
        rows.push([name.to_string(), what.to_string(), found]);
    };
    let repeats: [(&str, &[f64]); 5] = [
        ("none", &[]),
        ("one", &[2.5]),
        ("equal ones", &[2.5, 2.5, 2.5]),
        ("tiny: 1e-300, 3e-300", &[1e-300, 3e-300]),
        ("huge: 1e300, 3e300", &[1e300, 3e300]),
    ];
    for (what, samples) in repeats {
        let found = estimate::estimate(samples);
        row(
            "mean of repeats",
            what,
            optional(found.map(|found| found.mean)),
        );
        let half = found.and_then(|found| found.interval);
        let half = half.map(|[low, high]| (high - low) / 2.0);
        row("its 95 % interval, ±", what, optional(half));
    }
    let pairs: [(&str, &[f64], &[f64]); 7] = [
        ("two points", &[1.0, 2.0], &[1.0, 2.0]),
        ("of different lengths", &[1.0, 2.0, 3.0], &[1.0, 2.0]),
        ("one side constant", &[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0]),
        ("on a line", &[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0]),
        (
            "tiny, on a line",
            &[1e-200, 2e-200, 3e-200],
            &[2e-200, 4e-200, 6e-200],
        ),
        (
            "huge, on a falling line",
            &[1e200, 2e200, 3e200],
            &[-1e200, -2e200, -3e200],
        ),
        (
            "a value that is not a number",
            &[1.0, f64::NAN, 3.0],
            &[1.0, 2.0, 3.0],
        ),
    ];
    for (what, x, y) in pairs {
        row(
            "Pearson's correlation",
            what,
            answer(correlation::pearson(x, y)),
        );
        row(
            "Spearman's correlation",
            what,
            answer(correlation::spearman(x, y)),
        );
        let left_out = correlation::leave_one_out(x, y).map(|found| found.error);
        row("leave-one-out error", what, answer(left_out));
    }
    for (what, a, b) in [
        ("no image on which they differ", 0, 0),
        ("one", 1, 0),
        ("a million each", 1_000_000, 1_000_000),
    ] {
        row(
            "McNemar's p-value",
            what,
            optional(Some(mcnemar::exact(a, b))),
        );
    }
    let tables: [(&str, &[f64], usize); 4] = [
        ("two objects", &[0.0, 1.0, 1.0, 0.0], 2),
        ("all distances 0", &[0.0; 9], 3),
        (
            "a distance that is not a number",
            &[0.0, f64::NAN, 1.0, f64::NAN, 0.0, 1.0, 1.0, 1.0, 0.0],
            3,
        ),
        (
            "three objects, 1 apart",
            &[0.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0],
            3,
        ),
    ];
    for (what, distances, n) in tables {
        let found = embedding::classical_scaling(distances, n);
        row(
            "map of distances, share shown",
            what,
            answer(found.map(|found| found.shown)),
        );
    }
}

#[test]
fn the_page_is_the_table_of_all_answers() {
    let mut rows = Vec::new();
    metrics(&mut rows);
    distances(&mut rows);
    let mut table = "| what | input | answer |\n|---|---|---|\n".to_string();
    for [name, what, found] in &rows {
        writeln!(table, "| {name} | {what} | {found} |").unwrap();
    }
    crate::cli_docs::hold(PAGE, |page| {
        let (head, _) = page.split_once(BEGIN).expect("where the table begins");
        format!("{head}{BEGIN}{table}")
    });
    for [name, what, found] in rows {
        let refused = found.starts_with("refused");
        assert!(
            refused || !found.contains("NaN") && !found.contains("inf"),
            "{name}: {what}"
        );
    }
}
