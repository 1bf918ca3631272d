//! Speed of optimal transport: `cargo bench --bench transport`.
//!
//! Prints wall and processor time of OTDD end to end and of its parts, on one thread and on two.
//! `peer TASK A B D ITERATIONS` is one measurement for `benches/peers/transport/compare.py`: A and B
//! hold rows of D numbers in f32, classes in turn; it prints a line of JSON.

use std::time::Instant;

use ribflow::ml::Unobserved;
use ribflow::ml::ot::{Cost, Exact, Gaussian, Labelled, Mode, Otdd, Points, Precision, Sinkhorn};
use ribflow::rng::Stream;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    if let Err(error) = ribflow::isa::hold() {
        eprintln!("{error}");
        std::process::exit(2);
    }
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(place) = arguments.iter().position(|word| word == "peer") {
        match peer(&arguments[place + 1..]) {
            Ok(line) => println!("{line}"),
            Err(error) => {
                eprintln!("{error}");
                std::process::exit(1);
            }
        }
        return;
    }
    println!("{:<44} threads  wall ms   cpu ms   ", "work");
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let Ok(pool) = pool else { continue };
        pool.install(|| {
            passes(threads, 2000, 2000);
            passes(threads, 5000, 5000);
            for n in [1000, 2000, 5000] {
                exact(threads, n);
            }
            for (n, m, d) in [(1000, 200, 96), (2000, 2000, 768)] {
                otdd(threads, n, m, d);
            }
            bures(threads, 200, 200, 768);
        });
    }
}

/// Seconds and value of one task, as the other programs are measured: what both need before
/// (points, and for `exact` and `sinkhorn` the cost) is not counted.
fn peer(arguments: &[String]) -> Result<String, Box<dyn std::error::Error>> {
    let [task, a, b, dimension, count] = arguments else {
        return Err("peer TASK A B D COUNT".into());
    };
    let (dimension, count): (usize, u32) = (dimension.parse()?, count.parse()?);
    let read = |path: &String| -> Result<Points, Box<dyn std::error::Error>> {
        let bytes = std::fs::read(path)?;
        let (numbers, _) = bytes.as_chunks::<4>();
        let values: Vec<f32> = numbers.iter().map(|it| f32::from_le_bytes(*it)).collect();
        Ok(Points::from_f32(&values, dimension)?)
    };
    let (a, b) = (read(a)?, read(b)?);
    let (of_a, of_b) = (a.uniform_weights(), b.uniform_weights());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build()?;
    let (value, seconds) = pool.install(|| -> Result<(f64, f64), ribflow::ml::Error> {
        let squared = |precision| Cost::squared_euclidean(&a, &b, 1.0, None, precision);
        match task.as_str() {
            "exact" => {
                let cost = squared(Precision::Double)?;
                let begin = Instant::now();
                let found = Exact::default().solve(&cost, &of_a, &of_b, &Unobserved)?;
                Ok((found.value, begin.elapsed().as_secs_f64()))
            }
            "sinkhorn" => {
                let cost = squared(Precision::Single)?;
                let solver = Sinkhorn {
                    epsilon: 1.0,
                    tolerance: 1e-300,
                    max_iterations: count,
                    ..Sinkhorn::default()
                };
                let begin = Instant::now();
                // It can't converge to that: `count` passes, then an error.
                let _ = solver.solve(&cost, &of_a, &of_b, &Unobserved);
                Ok((0.0, begin.elapsed().as_secs_f64() / f64::from(count)))
            }
            _ => {
                let labelled = |points: &Points| {
                    let labels = (0..points.count() as u32).map(|row| row % count);
                    Labelled::new(points.clone(), labels.collect())
                };
                let (a, b) = (labelled(&a)?, labelled(&b)?);
                let mode = match task.as_str() {
                    "otdd_reference" => Mode::Reference { scaling: 0.5 },
                    "otdd_exact" => Mode::Exact,
                    _ => Mode::default(),
                };
                let distance = Otdd {
                    mode,
                    ..Otdd::default()
                };
                let begin = Instant::now();
                let found = distance.between(&a, &b, &Unobserved)?;
                Ok((found.divergence.value, begin.elapsed().as_secs_f64()))
            }
        }
    })?;
    let memory = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = memory.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.unwrap_or("0").trim().trim_end_matches(" kB");
    Ok(format!(
        "{{\"seconds\": {seconds}, \"value\": {value}, \"peak_kib\": {peak}}}"
    ))
}

fn exact(threads: usize, n: usize) {
    let (a, b) = (classes(1, n, 768, 10), classes(2, n, 768, 10));
    let cost = Cost::squared_euclidean(a.points(), b.points(), 1.0, None, Precision::Double);
    let Ok(cost) = cost else { return };
    let (of_a, of_b) = (a.points().uniform_weights(), b.points().uniform_weights());
    let solve = || Exact::default().solve(&cost, &of_a, &of_b, &Unobserved);
    if let Ok(found) = timed(threads, &format!("exact {n} × {n}"), 1, solve) {
        println!(
            "    {:.6} ± {:.0e}, {} pivots",
            found.value, found.dual_gap, found.pivots
        );
    }
}

fn otdd(threads: usize, n: usize, m: usize, d: usize) {
    let (a, b) = (classes(1, n, d, 12), classes(2, m, d, 12));
    for (mode, name) in [
        (Mode::default(), "converged"),
        (Mode::Reference { scaling: 0.5 }, "reference"),
    ] {
        for label_weight in [1.0, 0.0] {
            let distance = Otdd {
                mode: mode.clone(),
                label_weight,
                ..Otdd::default()
            };
            let labels = if label_weight > 0.0 {
                ""
            } else {
                ", no labels"
            };
            let name = format!("otdd {name}{labels} {n} × {m} × {d}");
            let found = timed(threads, &name, 1, || distance.between(&a, &b, &Unobserved));
            match found {
                Ok(found) => println!(
                    "    {:.6} ± {:.0e}, {} passes",
                    found.divergence.value,
                    found.divergence.marginal_error(),
                    found.divergence.iterations()
                ),
                Err(error) => println!("    {error}"),
            }
        }
    }
}

fn passes(threads: usize, n: usize, m: usize) {
    let (a, b) = (classes(1, n, 96, 12), classes(2, m, 96, 12));
    for precision in [Precision::Single, Precision::Double] {
        let cost = Cost::squared_euclidean(a.points(), b.points(), 0.5, None, precision);
        let Ok(cost) = cost else { continue };
        let (of_a, of_b) = (a.points().uniform_weights(), b.points().uniform_weights());
        let solver = Sinkhorn {
            epsilon: 1.0,
            tolerance: 1e-300,
            max_iterations: 100,
            ..Sinkhorn::default()
        };
        let name = format!("100 passes {n} × {m} {precision:?}");
        let _ = timed(threads, &name, 1, || {
            solver.solve(&cost, &of_a, &of_b, &Unobserved)
        });
    }
}

fn bures(threads: usize, n: usize, m: usize, d: usize) {
    let (a, b) = (classes(1, n, d, 1), classes(2, m, d, 1));
    let fit = |set: &Labelled| Gaussian::fit(set.points());
    let (Ok(a), Ok(b)) = (fit(&a), fit(&b)) else {
        return;
    };
    for (name, a, b) in [("aa", &a, &a), ("ab", &a, &b), ("bb", &b, &b)] {
        let name = format!("10 class pairs {name} {n} {m} × {d}");
        let _ = timed(threads, &name, 10, || a.bures(b));
    }
}

/// Runs `work` `times` times and prints how long all of them took; gives the last result.
fn timed<R>(threads: usize, name: &str, times: usize, work: impl Fn() -> R) -> R {
    let (wall, cpu) = (Instant::now(), processor_seconds());
    let mut result = work();
    for _ in 1..times {
        result = work();
    }
    let cpu = 1e3 * (processor_seconds() - cpu);
    let wall = 1e3 * wall.elapsed().as_secs_f64();
    println!("{name:<44} {threads:>7} {wall:>8.1} {cpu:>8.1}");
    result
}

/// Of this process, from the scheduler's own count where there is one.
fn processor_seconds() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let nanoseconds = tasks.flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    });
    1e-9 * nanoseconds.sum::<f64>()
}

/// Clusters as a trained network's features have them: |x|² about d.
fn classes(seed: u64, count: usize, dimension: usize, classes: usize) -> Labelled {
    let mut stream = Stream::new(seed, "bench classes");
    let mut common = Stream::new(0, "bench centres");
    let centres: Vec<f64> = (0..classes * dimension)
        .map(|_| 0.7 * common.normal())
        .collect();
    let labels: Vec<u32> = (0..count).map(|index| (index % classes) as u32).collect();
    let values = labels.iter().flat_map(|label| {
        let centre = &centres[*label as usize * dimension..][..dimension];
        let draws: Vec<f64> = centre.iter().map(|x| x + 0.7 * stream.normal()).collect();
        draws
    });
    let points = Points::new(values.collect(), dimension).unwrap_or_else(|error| panic!("{error}"));
    Labelled::new(points, labels).unwrap_or_else(|error| panic!("{error}"))
}
