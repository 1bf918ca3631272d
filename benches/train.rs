//! Speed of training and inference: `cargo bench --bench train [ARCH…]`.
//!
//! Prints milliseconds per image, wall and processor time, for one and two threads.

use std::time::Instant;

use candle_core::{Device, Tensor};
use ribflow::ml::models::{Config, Model};
use ribflow::ml::ops::Precision;
use ribflow::ml::ops::parallel;
use ribflow::ml::train::method::{Part, Plain};
use ribflow::ml::train::optimiser::Rule;
use ribflow::ml::train::trainer::{Batch, Fed, Objective, Trainer};
use ribflow::rng::Stream;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Seconds that one measurement lasts at least.
const SECONDS: f64 = 2.0;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let named = wanted.iter().filter(|name| !name.starts_with('-'));
    let mut archs: Vec<&str> = named.map(String::as_str).collect();
    if archs.is_empty() {
        archs = vec!["vit_mini", "resnet_mini"];
    }
    println!(
        "{:<24} {:<12} threads  wall ms  cpu ms   (per image)",
        "model", "work"
    );
    for arch in archs {
        for threads in [1, 2] {
            parallel::scope(threads, || train(arch, 16, threads));
            parallel::scope(threads, || train(arch, 64, threads));
            parallel::scope(threads, || infer(arch, 64, threads));
        }
    }
}

fn train(arch: &str, batch: usize, threads: usize) {
    let model = model(arch);
    let images = Batch::from(Fed::Images(images(&model, batch)));
    let labels: Vec<u32> = (0..batch as u32).map(|image| image % 10).collect();
    let method = Plain { part: Part::All };
    let objective = Objective {
        rule: Rule::Sgd { momentum: 0.9 },
        weight_decay: 0.0,
        smoothing: 0.0,
        classes: None,
        precision: Precision::F32,
        seed: 0,
    };
    let mut trainer = Trainer::new(model, &method, &objective).expect("a trainer");
    measure(arch, &format!("train {batch}"), threads, batch, || {
        trainer.step(&images, &labels, 0.01).expect("a step");
    });
}

fn infer(arch: &str, batch: usize, threads: usize) {
    let model = model(arch);
    let images = images(&model, batch);
    measure(arch, &format!("infer {batch}"), threads, batch, || {
        model.logits(&images).expect("logits");
    });
}

fn model(arch: &str) -> Model {
    let classes: Vec<String> = (0..10).map(|class| class.to_string()).collect();
    let config = Config::named(arch, &classes).expect("an architecture");
    Model::new(config, 0, &Device::Cpu).expect("a model")
}

fn images(model: &Model, batch: usize) -> Tensor {
    let size = model.config().input.size;
    let mut stream = Stream::new(0, "bench");
    let count = batch * 3 * size * size;
    let values: Vec<f32> = (0..count).map(|_| stream.range(-1.0, 1.0) as f32).collect();
    Tensor::from_vec(values, (batch, 3, size, size), &Device::Cpu).expect("images")
}

fn measure(arch: &str, work: &str, threads: usize, images: usize, mut run: impl FnMut()) {
    run();
    let (start, cpu) = (Instant::now(), processor_seconds());
    let mut rounds = 0;
    while start.elapsed().as_secs_f64() < SECONDS {
        run();
        rounds += 1;
    }
    let per_image = 1e3 / (rounds * images) as f64;
    let wall = start.elapsed().as_secs_f64() * per_image;
    let cpu = (processor_seconds() - cpu) * per_image;
    println!("{arch:<24} {work:<12} {threads:>7} {wall:>8.3} {cpu:>7.3}");
}

/// User and system time of this process, from Linux; NaN elsewhere.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat
        .rsplit(") ")
        .next()
        .unwrap_or_default()
        .split(' ')
        .collect();
    let ticks = |index: usize| fields.get(index).and_then(|it| it.parse::<f64>().ok());
    match (ticks(11), ticks(12)) {
        (Some(user), Some(system)) => (user + system) / 100.0,
        _ => f64::NAN,
    }
}
