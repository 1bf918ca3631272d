//! Optimal transport as a library, without a workflow: `cargo run --release --example transport`.
//!
//! Two small labelled sets: three classes around three centres, and the same three moved by one
//! along the first axis. Their exact distances are then known beforehand.

use std::error::Error;

use ribflow::ml::Unobserved;
use ribflow::ot::{Labelled, Otdd, Points, Power, frechet, wasserstein};
use ribflow::rng::Stream;

const CENTRES: [[f64; 2]; 3] = [[0.0, 0.0], [6.0, 0.0], [3.0, 5.0]];

/// `count` points of every class, each centre moved by `shift` along the first axis.
fn classes(count: usize, shift: f64) -> Result<Labelled, ribflow::ml::Error> {
    let mut stream = Stream::new(7, "transport example");
    let mut values = Vec::new();
    let mut labels = Vec::new();
    for (label, [x, y]) in CENTRES.iter().enumerate() {
        for _ in 0..count {
            values.extend([x + shift + stream.normal(), y + stream.normal()]);
            labels.push(label as u32);
        }
    }
    Labelled::new(Points::new(values, 2)?, labels)
}

pub fn main() -> Result<(), Box<dyn Error>> {
    let (a, b) = (classes(100, 0.0)?, classes(100, 1.0)?);

    // W2 = (min over plans of the mean squared distance)^(1/2): exact, by a network simplex. The
    // dual gap is the proof: the value is too large by no more than that.
    let exact = wasserstein(a.points(), b.points(), None, Power::Two, &Unobserved)?;
    println!("W2       {:.4}", exact.value.sqrt());
    println!("dual gap {:.1e}", exact.dual_gap);
    // A translation is its own best plan.
    assert!((exact.value - 1.0).abs() < 1e-9);

    // The same of the Gaussians fitted to the sets (Dowson and Landau 1982).
    println!("Frechet  {:.4}", frechet(a.points(), b.points())?.sqrt());

    // OTDD also carries classes onto classes: |x - x'|²/2 + W2²(class, class')/2.
    let found = Otdd::default().between(&a, &b, &Unobserved)?;
    println!("OTDD     {:.4}", found.distance());
    println!("squared distances of the classes, and the mass moved between them:");
    let columns = found.classes.b.len();
    for (row, label) in found.classes.a.iter().enumerate() {
        let places = row * columns..(row + 1) * columns;
        let distances = &found.classes.ab[places.clone()];
        println!(
            "  {label}  {distances:8.3?}  {:6.3?}",
            &found.coupling[places]
        );
    }
    Ok(())
}
