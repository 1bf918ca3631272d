//! Optimal transport: what must hold for any input.

use proptest::prelude::*;
use ribflow::ml::ot::{
    Cost, LabelProjections, Labelled, Mode, Otdd, OtddResult, Points, Precision, Sinkhorn,
    SinkhornDistance, energy, frechet, mmd, s_otdd, sliced,
};
use ribflow::ml::{Error, Observer, Unobserved};
use ribflow::rng::Stream;

/// Some classes of points around centres of their own.
fn classes(seed: u64, count: usize, dimension: usize, classes: u32, shift: f64) -> Labelled {
    let mut stream = Stream::new(seed, "test classes");
    let centres: Vec<f64> = (0..classes as usize * dimension)
        .map(|_| 2.0 * stream.normal())
        .collect();
    // Two of each class at least, then by chance.
    let labels: Vec<u32> = (0..count as u32)
        .map(|index| match index {
            index if index < 2 * classes => index % classes,
            _ => stream.below(u64::from(classes)) as u32,
        })
        .collect();
    let values = labels.iter().flat_map(|label| {
        let centre = &centres[*label as usize * dimension..][..dimension];
        let draws = centre.iter().map(|centre| centre + shift + stream.normal());
        draws.collect::<Vec<f64>>()
    });
    let points = Points::new(values.collect(), dimension).unwrap();
    Labelled::new(points, labels).unwrap()
}

fn changed(set: &Labelled, value: impl Fn(usize, f64) -> f64) -> Labelled {
    let dimension = set.points().dimension();
    let values = set.points().values().iter().enumerate();
    let values = values
        .map(|(place, x)| value(place % dimension, *x))
        .collect();
    let points = Points::new(values, dimension).unwrap();
    Labelled::new(points, set.labels().to_vec()).unwrap()
}

/// The rows in another order, and the labels under other names.
fn shuffled(set: &Labelled, seed: u64, rename: impl Fn(u32) -> u32) -> Labelled {
    let order = Stream::new(seed, "test order").permutation(set.labels().len());
    let labels = order.iter().map(|row| rename(set.labels()[*row])).collect();
    Labelled::new(set.points().select(&order).unwrap(), labels).unwrap()
}

fn otdd() -> Otdd {
    Otdd {
        epsilon: 1.0,
        mode: Mode::Converged {
            tolerance: 1e-8,
            max_iterations: 100_000,
        },
        ..Otdd::default()
    }
}

fn value(distance: &Otdd, a: &Labelled, b: &Labelled) -> f64 {
    let found = distance.between(a, b, &Unobserved).unwrap();
    assert!(found.divergence.marginal_error() <= 1e-8);
    found.divergence.value
}

fn close(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-5 * expected.abs().max(1.0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn otdd_is_a_divergence(seed in 0u64..1000, n in 24usize..60, m in 24usize..60, d in 2usize..24) {
        let (a, b) = (classes(seed, n, d, 4, 0.0), classes(seed + 1, m, d, 3, 0.5));
        let distance = otdd();
        let ab = value(&distance, &a, &b);
        prop_assert!(ab > 0.0);
        prop_assert!(close(value(&distance, &b, &a), ab), "symmetry");
        let same = shuffled(&a, seed, |label| label);
        prop_assert!(value(&distance, &a, &same).abs() < 1e-6, "identity");
        let renamed = shuffled(&a, seed, |label| 90 - 7 * label);
        prop_assert!(close(value(&distance, &renamed, &b), ab), "names of classes and order of rows");
        // W² of the points and of the classes grows by |t|² each, where the plan is the identity.
        let moved = changed(&a, |coordinate, x| if coordinate == 0 { x + 3.0 } else { x });
        prop_assert!(close(value(&distance, &a, &moved), 9.0), "translation");
        let (a, b) = (changed(&a, |_, x| 3.0 * x - 2.0), changed(&b, |_, x| 3.0 * x - 2.0));
        let scaled = Otdd { epsilon: 9.0, ..otdd() };
        prop_assert!(close(value(&scaled, &a, &b), 9.0 * ab), "scale");
    }

    #[test]
    fn a_plan_has_its_marginals_and_dual_and_primal_meet(
        seed in 0u64..1000, n in 5usize..40, m in 5usize..40,
    ) {
        let (a, b) = (classes(seed, n, 3, 2, 0.0), classes(seed + 1, m, 3, 2, 1.0));
        let cost = Cost::squared_euclidean(a.points(), b.points(), 1.0, None, Precision::Double)
            .unwrap();
        let mut stream = Stream::new(seed, "test weights");
        let weights = |stream: &mut Stream, count: usize| -> Vec<f64> {
            let sum: Vec<f64> = (0..count).map(|_| 0.05 + stream.uniform()).collect();
            sum.iter().map(|weight| weight / sum.iter().sum::<f64>()).collect()
        };
        let (mass_a, mass_b) = (weights(&mut stream, n), weights(&mut stream, m));
        let solver = Sinkhorn { epsilon: 0.5, tolerance: 1e-9, ..Sinkhorn::default() };
        let found = solver.solve(&cost, &mass_a, &mass_b, &Unobserved).unwrap();
        let (rows, columns): (Vec<usize>, Vec<usize>) = ((0..n).collect(), (0..m).collect());
        let plan = found
            .coupling(&cost, &mass_a, &mass_b, (&rows, &columns), [n, m])
            .unwrap();
        let mut error = 0.0;
        for row in 0..n {
            let sum: f64 = plan[row * m..(row + 1) * m].iter().sum();
            error += (sum - mass_a[row]).abs();
        }
        for column in 0..m {
            let sum: f64 = (0..n).map(|row| plan[row * m + column]).sum();
            error += (sum - mass_b[column]).abs();
        }
        prop_assert!(error <= 1.1e-9, "{error}");
        let entropy: f64 = (0..n * m)
            .filter(|place| plan[*place] > 0.0)
            .map(|place| plan[place] * (plan[place] / (mass_a[place / m] * mass_b[place % m])).ln())
            .sum();
        let sharp = found.cost(&cost, &mass_a, &mass_b).unwrap();
        prop_assert!((sharp + 0.5 * entropy - found.value).abs() < 1e-6, "duality");
        // Any other plan costs more: the independent one, for instance.
        prop_assert!(found.value < independent(&cost, &mass_a, &mass_b));
        // In f32 the same, up to the rounding of the cost.
        let single = Cost::squared_euclidean(a.points(), b.points(), 1.0, None, Precision::Single)
            .unwrap();
        let solver = Sinkhorn { tolerance: 1e-6, ..solver };
        let rough = solver.solve(&single, &mass_a, &mass_b, &Unobserved).unwrap();
        prop_assert!((rough.value - found.value).abs() < 1e-5 * found.value.abs().max(1.0));
    }

    #[test]
    fn unlabelled_distances_are_symmetric_and_0_from_themselves(
        seed in 0u64..1000, n in 8usize..40, m in 8usize..40, d in 1usize..20,
    ) {
        let (a, b) = (classes(seed, n, d, 2, 0.0), classes(seed + 1, m, d, 2, 1.0));
        let same = shuffled(&a, seed, |label| label);
        let draws = LabelProjections::draw(20, d, 3, 8, seed);
        type Distance<'a> = (&'a str, &'a dyn Fn(&Labelled, &Labelled) -> f64);
        let sinkhorn = SinkhornDistance { epsilon: 2.0, ..SinkhornDistance::default() };
        let distances: [Distance; 6] = [
            ("frechet", &|a, b| frechet(a.points(), b.points()).unwrap()),
            ("mmd", &|a, b| mmd(a.points(), b.points(), Some(4.0)).unwrap().biased),
            ("energy", &|a, b| energy(a.points(), b.points(), 0.0).unwrap()),
            ("sliced", &|a, b| sliced(a.points(), b.points(), &draws.theta).unwrap().mean_square()),
            ("s-otdd", &|a, b| s_otdd(a, b, &draws).unwrap().mean_square()),
            ("sinkhorn", &|a, b| {
                sinkhorn.between(a.points(), b.points(), &Unobserved).unwrap().value
            }),
        ];
        for (name, distance) in distances {
            let (ab, ba, aa) = (distance(&a, &b), distance(&b, &a), distance(&a, &same));
            prop_assert!(ab > 0.0, "{} is {}", name, ab);
            prop_assert!(close(ba, ab), "{}: {} and {}", name, ab, ba);
            prop_assert!(aa.abs() < 1e-5, "{} of a set to itself is {}", name, aa);
        }
    }
}

fn independent(cost: &Cost, a: &[f64], b: &[f64]) -> f64 {
    let rows = a.iter().enumerate().map(|(row, mass)| {
        let line = b.iter().enumerate();
        mass * line
            .map(|(column, share)| share * cost.at(row, column))
            .sum::<f64>()
    });
    rows.sum()
}

/// Everything that runs in parallel, as bits.
fn everything() -> Vec<u64> {
    let (a, b) = (classes(1, 700, 20, 5, 0.0), classes(2, 333, 20, 4, 0.5));
    let mut bits = Vec::new();
    let keep = |bits: &mut Vec<u64>, found: OtddResult| {
        bits.push(found.divergence.value.to_bits());
        bits.extend(found.coupling.iter().map(|mass| mass.to_bits()));
        bits.extend(found.classes.ab.iter().map(|square| square.to_bits()));
    };
    for precision in [Precision::Single, Precision::Double] {
        let distance = Otdd {
            precision,
            epsilon: 5.0,
            ..Otdd::default()
        };
        keep(&mut bits, distance.between(&a, &b, &Unobserved).unwrap());
    }
    let reference = Otdd {
        mode: Mode::Reference { scaling: 0.5 },
        samples: 200,
        ..Otdd::default()
    };
    keep(&mut bits, reference.between(&a, &b, &Unobserved).unwrap());
    let draws = LabelProjections::draw(30, 20, 3, 5, 1);
    let (a_points, b_points) = (a.points(), b.points());
    bits.push(mmd(a_points, b_points, None).unwrap().unbiased.to_bits());
    bits.push(energy(a_points, b_points, 0.0).unwrap().to_bits());
    bits.push(frechet(a_points, b_points).unwrap().to_bits());
    bits.push(
        sliced(a_points, b_points, &draws.theta)
            .unwrap()
            .distance()
            .to_bits(),
    );
    bits.push(s_otdd(&a, &b, &draws).unwrap().distance().to_bits());
    bits
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let in_pool = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(everything)
    };
    let one = in_pool(1);
    assert_eq!(in_pool(2), one);
    assert_eq!(in_pool(3), one);
}

#[test]
fn a_point_without_mass_counts_for_nothing() {
    let a = classes(1, 12, 3, 2, 0.0);
    let b = classes(2, 9, 3, 2, 0.0);
    let solve = |a: &Points, mass: &[f64]| {
        let cost = Cost::squared_euclidean(a, b.points(), 1.0, None, Precision::Double).unwrap();
        let solver = Sinkhorn {
            epsilon: 0.3,
            tolerance: 1e-10,
            ..Sinkhorn::default()
        };
        let found = solver.solve(&cost, mass, &[1.0; 9], &Unobserved).unwrap();
        (found.value, found.cost(&cost, mass, &[1.0; 9]).unwrap())
    };
    let mut mass = [1.0; 12];
    mass[5] = 0.0;
    let kept: Vec<usize> = (0..12).filter(|row| *row != 5).collect();
    let (with, without) = (
        solve(a.points(), &mass),
        solve(&a.points().select(&kept).unwrap(), &[1.0; 11]),
    );
    assert!((with.0 - without.0).abs() < 1e-8 && (with.1 - without.1).abs() < 1e-8);
}

/// Costs a million times ε: exponents far beyond what f32 or f64 can raise.
#[test]
fn far_sets_are_transported_as_well_as_near_ones() {
    let a = classes(1, 60, 4, 2, 0.0);
    let far = changed(&a, |_, x| x + 1e3);
    for precision in [Precision::Single, Precision::Double] {
        let distance = SinkhornDistance {
            epsilon: 1.0,
            precision,
            ..SinkhornDistance::default()
        };
        let found = distance
            .between(a.points(), far.points(), &Unobserved)
            .unwrap();
        assert!(
            (found.value / 2e6 - 1.0).abs() < 1e-6,
            "{precision:?}: {}",
            found.value
        );
    }
}

struct Impatient;

impl Observer for Impatient {
    fn advance(&self, done: u64, _total: u64, _unit: &'static str) -> bool {
        done < 3
    }

    fn log(&self, _line: &str) {}
}

#[test]
fn what_is_not_found_is_an_error() {
    let (a, b) = (classes(1, 40, 3, 2, 0.0), classes(2, 30, 3, 2, 0.0));
    let hurried = Otdd {
        epsilon: 1e-3,
        mode: Mode::Converged {
            tolerance: 1e-9,
            max_iterations: 15,
        },
        ..Otdd::default()
    };
    let told = |distance: &Otdd, a: &Labelled, b: &Labelled| {
        distance.between(a, b, &Unobserved).unwrap_err().to_string()
    };
    assert!(told(&hurried, &a, &b).contains("did not converge"));
    let wrong = Otdd {
        epsilon: 0.0,
        ..Otdd::default()
    };
    assert!(told(&wrong, &a, &b).contains("entropic weight"));
    let lonely = Labelled::new(b.points().clone(), (0..30).collect()).unwrap();
    assert!(told(&Otdd::default(), &a, &lonely).contains("no class of `b`"));
    let flat = classes(3, 30, 2, 2, 0.0);
    assert!(told(&Otdd::default(), &a, &flat).contains("coordinates"));
    let stopped = Otdd::default().between(&a, &b, &Impatient);
    assert!(matches!(stopped, Err(Error::Interrupted)));
    assert!(Points::new(vec![0.0, f64::NAN], 1).is_err());
    assert!(Points::new(vec![], 1).is_err());
    assert!(Points::new(vec![0.0; 3], 2).is_err());
    // All points equal: a schedule has nowhere to start, the converged mode has nothing to move.
    let point = changed(&a, |_, _| 1.0);
    let reference = Otdd {
        mode: Mode::Reference { scaling: 0.5 },
        feature_weight: 0.0,
        ..Otdd::default()
    };
    assert!(reference.between(&point, &point, &Unobserved).is_ok());
    assert!(value(&otdd(), &point, &point).abs() < 1e-12);
}
