//! Optimal transport between two sets of ten Gaussian classes.

use super::gemm::positive;
use super::measure::Throughput;
use super::{Family, Prepare, Result, Setting, Work, numbers};
use crate::ml::Unobserved;
use crate::ml::ot::{Cost, Exact, Labelled, Otdd, Points, Precision, Sinkhorn};

pub(super) const FAMILY: Family = Family {
    form: "ot/sinkhorn|exact|otdd/nPOINTS",
    about: "`sinkhorn`: 20 iterations in the log domain, f32 cost made before; `exact`: W2, f64 \
            cost made before; `otdd`: end to end, with labels. 768 dimensions",
    names: || NAMES.iter().map(|name| name.to_string()).collect(),
    usual: &["ot/sinkhorn/n2000", "ot/exact/n1000"],
    find,
};

const NAMES: &[&str] = &[
    "ot/sinkhorn/n2000",
    "ot/sinkhorn/n5000",
    "ot/exact/n1000",
    "ot/exact/n2000",
    "ot/otdd/n1000",
];

const DIMENSIONS: usize = 768;
const CLASSES: usize = 10;
const ITERATIONS: u32 = 20;

fn find(parts: &[&str]) -> Option<Prepare> {
    let [work, count] = parts else { return None };
    let count = positive(count.strip_prefix('n')?)?;
    let prepare = match *work {
        "sinkhorn" => sinkhorn,
        "exact" => exact,
        "otdd" => otdd,
        _ => return None,
    };
    Some(Box::new(move |_: &Setting| prepare(count)))
}

/// Points around ten centres; both sides (0 and 1) have the same centres.
fn points(count: usize, side: usize) -> Result<Points> {
    let centres = numbers::normal(CLASSES * DIMENSIONS, 0.7);
    // The two sides use different parts of the same numbers.
    let noise = numbers::normal((count + side + 1) * DIMENSIONS, 0.7);
    let noise = noise[(side + 1) * DIMENSIONS..].chunks_exact(DIMENSIONS);
    let rows = noise.enumerate().flat_map(|(row, noise)| {
        let centre = &centres[row % CLASSES * DIMENSIONS..][..DIMENSIONS];
        centre
            .iter()
            .zip(noise)
            .map(|(centre, noise)| centre + noise)
    });
    let values: Vec<f32> = rows.collect();
    Ok(Points::from_f32(&values, DIMENSIONS)?)
}

fn sinkhorn(count: usize) -> Result<Work> {
    let (a, b) = (points(count, 0)?, points(count, 1)?);
    let cost = Cost::squared_euclidean(&a, &b, 1.0, None, Precision::Single)?;
    let (of_a, of_b) = (a.uniform_weights(), b.uniform_weights());
    let solver = Sinkhorn {
        epsilon: 1.0,
        tolerance: 1e-300,
        max_iterations: ITERATIONS,
        ..Sinkhorn::default()
    };
    let amount = Throughput::of(ITERATIONS as usize, "iterations", "iterations/s");
    Ok(Work::new(amount, move || {
        // It can't converge to that tolerance: it runs all iterations, then returns an error.
        let _ = solver.solve(&cost, &of_a, &of_b, &Unobserved);
        Ok(())
    }))
}

fn exact(count: usize) -> Result<Work> {
    let (a, b) = (points(count, 0)?, points(count, 1)?);
    let cost = Cost::squared_euclidean(&a, &b, 1.0, None, Precision::Double)?;
    let (of_a, of_b) = (a.uniform_weights(), b.uniform_weights());
    Ok(Work::new(
        Throughput::of(1, "distances", "distances/s"),
        move || {
            Exact::default().solve(&cost, &of_a, &of_b, &Unobserved)?;
            Ok(())
        },
    ))
}

fn otdd(count: usize) -> Result<Work> {
    let labelled = |side: usize| -> Result<Labelled> {
        let labels = (0..count as u32).map(|row| row % CLASSES as u32).collect();
        Ok(Labelled::new(points(count, side)?, labels)?)
    };
    let (a, b) = (labelled(0)?, labelled(1)?);
    Ok(Work::new(
        Throughput::of(1, "distances", "distances/s"),
        move || {
            Otdd::default().between(&a, &b, &Unobserved)?;
            Ok(())
        },
    ))
}
