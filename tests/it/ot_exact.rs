//! Exact transport: what must hold for any input.

use proptest::prelude::*;
use ribflow::ml::Unobserved;
use ribflow::ot::{
    Cost, Exact, ExactTransport, Points, Power, Precision, Sinkhorn, sliced, wasserstein,
    wasserstein_1d,
};
use ribflow::rng::Stream;

fn points(seed: u64, count: usize, dimension: usize) -> Points {
    let mut stream = Stream::new(seed, "test points");
    let values = (0..count * dimension)
        .map(|_| 3.0 * stream.normal())
        .collect();
    Points::new(values, dimension).unwrap()
}

/// Of two significant digits, so that many are equal; every fifth is 0.
fn weights(seed: u64, count: usize) -> Vec<f64> {
    let mut stream = Stream::new(seed, "test weights");
    let mut weights: Vec<f64> = (0..count).map(|_| (stream.below(9) + 1) as f64).collect();
    weights
        .iter_mut()
        .skip(1)
        .step_by(5)
        .for_each(|it| *it = 0.0);
    weights
}

fn changed(set: &Points, value: impl Fn(f64) -> f64) -> Points {
    let values = set.values().iter().map(|x| value(*x)).collect();
    Points::new(values, set.dimension()).unwrap()
}

fn w2(a: &Points, b: &Points) -> f64 {
    let found = wasserstein(a, b, None, Power::Two, &Unobserved).unwrap();
    found.value.max(0.0).sqrt()
}

/// The plan moves all mass, the potentials are feasible, and their values meet.
fn check(cost: &Cost, a: &[f64], b: &[f64], found: &ExactTransport) -> Result<(), TestCaseError> {
    let (sum_a, sum_b) = (a.iter().sum::<f64>(), b.iter().sum::<f64>());
    let (mut rest_a, mut rest_b): (Vec<f64>, Vec<f64>) = (
        a.iter().map(|x| x / sum_a).collect(),
        b.iter().map(|x| x / sum_b).collect(),
    );
    for arc in &found.plan {
        prop_assert!(arc.mass > 0.0);
        rest_a[arc.row] -= arc.mass;
        rest_b[arc.column] -= arc.mass;
    }
    prop_assert!(rest_a.iter().chain(&rest_b).all(|rest| rest.abs() < 1e-14));
    prop_assert!(found.plan.len() < a.len() + b.len());
    let scale = cost.largest().max(1e-300);
    prop_assert!(found.dual_gap.abs() <= 1e-12 * scale, "{}", found.dual_gap);
    for (row, f) in found.f.iter().enumerate() {
        for (column, g) in found.g.iter().enumerate() {
            prop_assert!(f + g <= cost.at(row, column) + 1e-13 * scale);
        }
    }
    Ok(())
}

/// The best of all ways to pair rows with columns.
fn best_pairing(cost: &Cost, row: usize, free: &mut Vec<usize>) -> f64 {
    if free.is_empty() {
        return 0.0;
    }
    (0..free.len())
        .map(|place| {
            let column = free.swap_remove(place);
            let value = cost.at(row, column) + best_pairing(cost, row + 1, free);
            free.push(column);
            let last = free.len() - 1;
            free.swap(place, last);
            value
        })
        .fold(f64::INFINITY, f64::min)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn nothing_is_better_than_what_is_found(seed in 0u64..100_000, n in 1usize..7, whole in any::<bool>()) {
        let mut stream = Stream::new(seed, "test costs");
        // Whole costs are full of ties.
        let mut draw = || if whole { stream.below(4) as f64 } else { stream.normal() };
        let entries: Vec<f64> = (0..n * n).map(|_| draw()).collect();
        let cost = Cost::new(&entries, n, n, Precision::Double).unwrap();
        let alike = vec![1.0; n];
        let found = Exact::default().solve(&cost, &alike, &alike, &Unobserved).unwrap();
        let best = best_pairing(&cost, 0, &mut (0..n).collect()) / n as f64;
        prop_assert!((found.value - best).abs() < 1e-12, "{} for {best}", found.value);
        // Negative costs have a largest entry that is not their scale.
        prop_assert!(found.dual_gap.abs() < 1e-11);
    }

    #[test]
    fn primal_meets_dual(seed in 0u64..100_000, n in 1usize..90, m in 1usize..90, d in 1usize..9, own in any::<bool>()) {
        let (a, b) = (points(seed, n, d), points(seed + 1, m, d));
        let cost = Cost::squared_euclidean(&a, &b, 1.0, None, Precision::Double).unwrap();
        let (of_a, of_b) = match own {
            true => (weights(seed, n), weights(seed + 1, m)),
            false => (vec![1.0; n], vec![1.0; m]),
        };
        let found = Exact::default().solve(&cost, &of_a, &of_b, &Unobserved).unwrap();
        check(&cost, &of_a, &of_b, &found)?;
    }

    #[test]
    fn the_line_is_solved_as_sorting_solves_it(seed in 0u64..100_000, n in 1usize..60, m in 1usize..60) {
        let (a, b) = (points(seed, n, 1), points(seed + 1, m, 1));
        let (of_a, of_b) = (weights(seed, n), weights(seed + 1, m));
        for (power, exponent) in [(Power::One, 1.0), (Power::Two, 2.0)] {
            let found = wasserstein(&a, &b, Some([&of_a, &of_b]), power, &Unobserved).unwrap();
            let sorted = wasserstein_1d(a.values(), &of_a, b.values(), &of_b, exponent).unwrap();
            // The Euclidean cost is the root of a difference of squares.
            prop_assert!((found.value - sorted).abs() < 1e-6 * sorted.max(1.0), "{} {sorted}", found.value);
        }
    }

    #[test]
    fn it_is_a_metric(seed in 0u64..100_000, n in 2usize..40, d in 1usize..6) {
        let [a, b, c] = [0, 1, 2].map(|step| points(seed + step, n + 3 * step as usize, d));
        let (ab, bc, ac) = (w2(&a, &b), w2(&b, &c), w2(&a, &c));
        prop_assert!(ac <= ab + bc + 1e-9);
        prop_assert!((ab - w2(&b, &a)).abs() < 1e-12 * ab);
        // Permuted, a set is at 0 from itself, as far as its cost is 0.
        let order = Stream::new(seed, "test order").permutation(n);
        let shuffled = a.select(&order).unwrap();
        prop_assert!(w2(&a, &shuffled) < 1e-6);
        prop_assert!((w2(&shuffled, &b) - ab).abs() < 1e-12 * ab);
        let moved = changed(&a, |x| x + 2.0);
        prop_assert!((w2(&a, &moved) - 2.0 * (d as f64).sqrt()).abs() < 1e-9);
        let (wide_a, wide_b) = (changed(&a, |x| 7.0 * x), changed(&b, |x| 7.0 * x));
        prop_assert!((w2(&wide_a, &wide_b) - 7.0 * ab).abs() < 1e-9 * ab);
        // No projection moves further than the points do.
        let axes: Vec<f64> = (0..d * d).map(|place| f64::from(place % d == place / d)).collect();
        prop_assert!(sliced(&a, &b, &axes).unwrap().distance() <= ab + 1e-9);
    }

    #[test]
    fn small_entropic_terms_lead_to_it(seed in 0u64..1_000, n in 5usize..40, m in 5usize..40) {
        let (a, b) = (points(seed, n, 3), points(seed + 1, m, 3));
        let cost = Cost::squared_euclidean(&a, &b, 1.0, None, Precision::Double).unwrap();
        let (of_a, of_b) = (a.uniform_weights(), b.uniform_weights());
        let exact = Exact::default().solve(&cost, &of_a, &of_b, &Unobserved).unwrap();
        let mut off = f64::INFINITY;
        for epsilon in [10.0, 1.0, 0.3] {
            let solver = Sinkhorn { epsilon, ..Sinkhorn::default() };
            let entropic = solver.solve(&cost, &of_a, &of_b, &Unobserved).unwrap();
            // OT_ε lies above the exact value, and at most ε times the entropy of a plan above it.
            let above = entropic.value - exact.value;
            prop_assert!(above > -1e-4 && above < epsilon * ((n * m) as f64).ln());
            prop_assert!(above < off);
            off = above;
        }
    }
}

/// Points on top of each other, sets of one point, costs that are all alike.
#[test]
fn degenerate_problems_have_an_answer() {
    let twice = Points::new([1.0, 2.0, 1.0, 2.0, 5.0, 5.0].repeat(20), 2).unwrap();
    let other = Points::new([1.0, 2.0, 5.0, 5.0].repeat(25), 2).unwrap();
    let found = wasserstein(&twice, &other, None, Power::Two, &Unobserved).unwrap();
    assert!((found.value - 25.0 / 6.0).abs() < 1e-12, "{}", found.value);
    let one = Points::new(vec![0.0, 0.0], 2).unwrap();
    assert!((w2(&one, &twice).powi(2) - (2.0 * 5.0 + 50.0) / 3.0).abs() < 1e-12);
    let flat = Cost::new(&[2.0; 30], 5, 6, Precision::Double).unwrap();
    let found = Exact::default()
        .solve(&flat, &[1.0; 5], &[1.0; 6], &Unobserved)
        .unwrap();
    assert!((found.value - 2.0).abs() < 1e-14 && found.dual_gap.abs() < 1e-14);
    let none = Cost::new(&[0.0; 30], 5, 6, Precision::Double).unwrap();
    let found = Exact::default()
        .solve(&none, &[1.0; 5], &[1.0; 6], &Unobserved)
        .unwrap();
    assert_eq!((found.value, found.dual_gap), (0.0, 0.0));
}

#[test]
fn what_can_not_be_solved_is_an_error() {
    let (a, b) = (points(1, 30, 4), points(2, 30, 4));
    let single = Cost::squared_euclidean(&a, &b, 1.0, None, Precision::Single).unwrap();
    let alike = a.uniform_weights();
    let solve = |exact: Exact, cost: &Cost, b: &[f64]| {
        let found = exact.solve(cost, &alike, b, &Unobserved);
        found.map(|_| ()).unwrap_err().to_string()
    };
    assert!(solve(Exact::default(), &single, &alike).contains("f64"));
    let double = Cost::squared_euclidean(&a, &b, 1.0, None, Precision::Double).unwrap();
    assert!(solve(Exact::default(), &double, &[0.0; 30]).contains("no mass"));
    let hurried = Exact {
        max_pivots: Some(1),
    };
    assert!(solve(hurried, &double, &alike).contains("1 pivots"));
}

#[test]
fn any_number_of_threads_gives_the_same_plan() {
    let (a, b) = (points(1, 700, 20), points(2, 433, 20));
    let (of_a, of_b) = (weights(1, 700), weights(2, 433));
    let solve = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let solve = || wasserstein(&a, &b, Some([&of_a, &of_b]), Power::Two, &Unobserved);
        pool.build().unwrap().install(solve).unwrap()
    };
    let one = solve(1);
    assert_eq!(solve(2), one);
    assert_eq!(solve(3), one);
}
