//! The CUDA kernels run on the host (`tests/cuda`), against the same formulas in f64.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use half::bf16;
use ribflow::rng::Stream;

/// Relative to the largest value of a result.
const FLOAT: f64 = 3e-6;
/// One rounding to bf16, of a value.
const HALF: f64 = 1.0 / 256.0;

/// The program that runs kernels; `None` where there is no compiler.
static PROGRAM: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda-kernels-on-host");
    let compiled = Command::new("g++")
        .args(["-O1", "-std=c++17", "-w", "-I"])
        .arg(root.join("tests/cuda"))
        .arg("-I")
        .arg(root.join("src/ml/ops/gpu/kernels"))
        .arg("-o")
        .arg(&program)
        .arg(root.join("tests/cuda/kernels.cpp"))
        .status();
    match compiled {
        Ok(status) => {
            assert!(status.success(), "the kernels don't compile");
            Some(program)
        }
        Err(_) => None,
    }
});

/// Numbers that a kernel is given or gives, as f32 or as bf16.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stored {
    F32,
    Bf16,
}

impl Stored {
    fn bytes(self, values: &[f64]) -> Vec<u8> {
        let encode = |value: &f64| match self {
            Self::F32 => (*value as f32).to_le_bytes().to_vec(),
            Self::Bf16 => bf16::from_f64(*value).to_le_bytes().to_vec(),
        };
        values.iter().flat_map(encode).collect()
    }

    fn values(self, bytes: &[u8]) -> Vec<f64> {
        match self {
            Self::F32 => {
                let words = bytes.as_chunks::<4>().0.iter();
                words.map(|word| f32::from_le_bytes(*word).into()).collect()
            }
            Self::Bf16 => {
                let words = bytes.as_chunks::<2>().0.iter();
                words
                    .map(|word| bf16::from_le_bytes(*word).into())
                    .collect()
            }
        }
    }

    fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// Values that this type holds exactly.
    fn random(self, name: &str, count: usize) -> Vec<f64> {
        let mut stream = Stream::new(0, name);
        let values: Vec<f64> = (0..count).map(|_| stream.range(-2.0, 2.0)).collect();
        self.values(&self.bytes(&values))
    }

    #[track_caller]
    fn check(self, what: &str, found: &[f64], exact: &[f64]) {
        assert_eq!(found.len(), exact.len(), "{what}");
        let top = exact
            .iter()
            .fold(1e-3_f64, |top, value| top.max(value.abs()));
        for (found, exact) in found.iter().zip(exact) {
            let most = match self {
                Self::F32 => FLOAT * top,
                Self::Bf16 => HALF * exact.abs() + FLOAT * top,
            };
            assert!(
                (found - exact).abs() <= most,
                "{what}: {found}, not {exact}"
            );
        }
    }
}

enum Given {
    Read(Vec<u8>),
    /// Written, or changed.
    Written(Vec<u8>),
    Integer(i32),
    Count(u64),
    Number(f32),
}

fn read(stored: Stored, values: &[f64]) -> Given {
    Given::Read(stored.bytes(values))
}

/// Filled with what no result may hold.
fn blank(stored: Stored, count: usize) -> Given {
    Given::Written(vec![0xff; count * stored.size()])
}

/// What kernel `name` leaves behind the pointers that it writes through.
fn run(name: &str, grid: [usize; 2], block: usize, given: &[Given]) -> Vec<Vec<u8>> {
    let program = PROGRAM.as_ref().expect("a compiler");
    let mut input = format!("{name} {} {} {block}\n", grid[0], grid[1]).into_bytes();
    let mut sizes = Vec::new();
    for one in given {
        match one {
            Given::Read(bytes) | Given::Written(bytes) => {
                input.extend((bytes.len() as u64).to_le_bytes());
                input.extend(bytes);
                if let Given::Written(bytes) = one {
                    sizes.push(bytes.len());
                }
            }
            Given::Integer(value) => input.extend(value.to_le_bytes()),
            Given::Count(value) => input.extend(value.to_le_bytes()),
            Given::Number(value) => input.extend(value.to_le_bytes()),
        }
    }
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{name}: {}", output.status);
    assert_eq!(output.stdout.len(), sizes.iter().sum::<usize>(), "{name}");
    let mut rest = output.stdout.as_slice();
    let take = |size: &usize| {
        let (taken, left) = rest.split_at(*size);
        rest = left;
        taken.to_vec()
    };
    sizes.iter().map(take).collect()
}

/// Under `RIBFLOW_TEST_ALL` a missing compiler is a failure, otherwise a line that says so.
fn can_run(test: &str) -> bool {
    let there = PROGRAM.is_some();
    assert!(
        there || std::env::var_os("RIBFLOW_TEST_ALL").is_none(),
        "g++ is not installed"
    );
    if !there {
        println!("skipped: {test}: g++ is not installed");
    }
    there
}

const BOTH: [Stored; 2] = [Stored::F32, Stored::Bf16];

#[test]
fn gpu_layer_norm_on_the_host() {
    if !can_run("gpu_layer_norm_on_the_host") {
        return;
    }
    let (rows, width, eps) = (37, 45, 1e-5);
    let f32 = Stored::F32;
    let x = f32.random("x", rows * width);
    let (weight, bias) = (f32.random("weight", width), f32.random("bias", width));
    let mut normal = Vec::new();
    let mut scales = Vec::new();
    for row in x.chunks(width) {
        let mean = row.iter().sum::<f64>() / width as f64;
        let spread = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
        let scale = 1.0 / (spread + eps).sqrt();
        scales.push((mean, scale));
        normal.extend(row.iter().map(|x| (x - mean) * scale));
    }
    let by_column = |at: usize| at % width;
    let exact: Vec<f64> = (0..rows * width)
        .map(|at| normal[at] * weight[by_column(at)] + bias[by_column(at)])
        .collect();
    for (stored, suffix) in [(Stored::F32, "f32"), (Stored::Bf16, "mixed")] {
        let sizes = || [Given::Integer(rows as i32), Given::Integer(width as i32)];
        let mut given = vec![
            read(f32, &x),
            read(f32, &weight),
            read(f32, &bias),
            blank(stored, rows * width),
            blank(f32, 2 * rows),
        ];
        given.extend(sizes());
        given.push(Given::Number(eps as f32));
        let name = format!("layer_norm_{suffix}");
        let found = run(&name, [rows.div_ceil(4), 1], 128, &given);
        stored.check(&name, &stored.values(&found[0]), &exact);
        let moments: Vec<f64> = scales.iter().flat_map(|(m, s)| [*m, *s]).collect();
        f32.check("moments", &f32.values(&found[1]), &moments);

        let gradient = stored.random("gradient", rows * width);
        let mut to_x = Vec::new();
        for (row, (_, scale)) in scales.iter().enumerate() {
            let at = row * width..(row + 1) * width;
            let scaled: Vec<f64> = (0..width)
                .map(|c| gradient[at.start + c] * weight[c])
                .collect();
            let plain = scaled.iter().sum::<f64>() / width as f64;
            let along = scaled.iter().zip(&normal[at.clone()]).map(|(g, h)| g * h);
            let along = along.sum::<f64>() / width as f64;
            let values = scaled.iter().zip(&normal[at]);
            to_x.extend(values.map(|(g, h)| scale * (g - plain - h * along)));
        }
        let mut given = vec![
            read(stored, &gradient),
            read(f32, &x),
            read(f32, &weight),
            Given::Read(found[1].clone()),
            blank(f32, rows * width),
        ];
        given.extend(sizes());
        let name = format!("layer_norm_to_x_{suffix}");
        let back = run(&name, [rows.div_ceil(4), 1], 128, &given);
        f32.check(&name, &f32.values(&back[0]), &to_x);

        let deep = 16;
        let chunks = rows.div_ceil(deep);
        let mut given = vec![
            read(stored, &gradient),
            read(f32, &x),
            Given::Read(found[1].clone()),
            blank(f32, chunks * 2 * width),
        ];
        given.extend(sizes());
        given.push(Given::Integer(deep as i32));
        let name = format!("layer_norm_to_parameters_{suffix}");
        let parts = run(&name, [width.div_ceil(32), chunks], 256, &given);
        let sums = folded(&parts[0], chunks, 2 * width);
        let total = |of: &dyn Fn(usize) -> f64| -> Vec<f64> {
            (0..width)
                .map(|column| (0..rows).map(|row| of(row * width + column)).sum())
                .collect()
        };
        f32.check(
            &name,
            &sums[..width],
            &total(&|at| gradient[at] * normal[at]),
        );
        f32.check(&name, &sums[width..], &total(&|at| gradient[at]));
    }
}

/// The sums of the columns of `[chunks, width]`.
fn folded(parts: &[u8], chunks: usize, width: usize) -> Vec<f64> {
    let given = [
        Given::Read(parts.to_vec()),
        blank(Stored::F32, width),
        Given::Integer(chunks as i32),
        Given::Integer(width as i32),
    ];
    let sum = run("fold", [width.div_ceil(64), 1], 64, &given);
    Stored::F32.values(&sum[0])
}

/// erf by its series, which is exact to f64 for what is asked here.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

#[test]
fn gpu_what_stands_around_a_product_on_the_host() {
    if !can_run("gpu_what_stands_around_a_product_on_the_host") {
        return;
    }
    let (rows, width) = (13, 37);
    let count = rows * width;
    let f32 = Stored::F32;
    let bias = f32.random("bias", width);
    let density = |x: f64| (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let normal = |x: f64| 0.5 * (1.0 + erf(x / std::f64::consts::SQRT_2));
    let gate = |x: f64| 1.0 / (1.0 + (-1.702 * x).exp());
    for stored in BOTH {
        let x = stored.random("x", count);
        let gradient = stored.random("gradient", count);
        let shifted: Vec<f64> = (0..count).map(|at| x[at] + bias[at % width]).collect();
        for kind in 0..3 {
            let value = |x: f64| [x, x * normal(x), x * gate(x)][kind];
            let slope = |x: f64| {
                let quick = gate(x) * (1.0 + 1.702 * x * (1.0 - gate(x)));
                [1.0, normal(x) + x * density(x), quick][kind]
            };
            let sizes = || {
                let kind = Given::Integer(kind as i32);
                [
                    Given::Count(count as u64),
                    Given::Integer(width as i32),
                    kind,
                ]
            };
            let mut given = vec![read(stored, &x), read(f32, &bias), blank(stored, count)];
            given.extend(sizes());
            let name = format!("activate_{}", stored.suffix());
            let found = run(&name, [count.div_ceil(64), 1], 64, &given);
            let exact: Vec<f64> = shifted.iter().map(|x| value(*x)).collect();
            stored.check(&name, &stored.values(&found[0]), &exact);

            let mut given = vec![
                read(stored, &gradient),
                read(stored, &x),
                read(f32, &bias),
                blank(stored, count),
            ];
            given.extend(sizes());
            let name = format!("through_{}", stored.suffix());
            let found = run(&name, [count.div_ceil(64), 1], 64, &given);
            let exact: Vec<f64> = (0..count)
                .map(|at| gradient[at] * slope(shifted[at]))
                .collect();
            stored.check(&name, &stored.values(&found[0]), &exact);
        }
        let before = f32.random("before", count);
        let given = [
            read(stored, &x),
            read(f32, &bias),
            read(f32, &before),
            blank(f32, count),
            Given::Count(count as u64),
            Given::Integer(width as i32),
        ];
        let name = format!("residual_{}", stored.suffix());
        let found = run(&name, [count.div_ceil(64), 1], 64, &given);
        let exact: Vec<f64> = (0..count).map(|at| before[at] + shifted[at]).collect();
        f32.check(&name, &f32.values(&found[0]), &exact);

        let deep = 8;
        let chunks = rows.div_ceil(deep);
        let given = [
            read(stored, &x),
            blank(f32, chunks * width),
            Given::Integer(rows as i32),
            Given::Integer(width as i32),
            Given::Integer(deep as i32),
        ];
        let name = format!("columns_{}", stored.suffix());
        let parts = run(&name, [width.div_ceil(32), chunks], 256, &given);
        let sums: Vec<f64> = (0..width)
            .map(|column| x.iter().skip(column).step_by(width).sum())
            .collect();
        f32.check(&name, &folded(&parts[0], chunks, width), &sums);
    }
}

#[test]
fn gpu_softmax_on_the_host() {
    if !can_run("gpu_softmax_on_the_host") {
        return;
    }
    let (rows, width, scale) = (11, 197, 0.125);
    for stored in BOTH {
        // As large as scores may be: nothing overflows.
        let scores: Vec<f64> = stored.random("scores", rows * width);
        let scores: Vec<f64> = scores.iter().map(|score| score * 1024.0).collect();
        let mut shares = Vec::new();
        for row in scores.chunks(width) {
            let top = row.iter().fold(f64::MIN, |top, score| top.max(*score));
            let parts: Vec<f64> = row
                .iter()
                .map(|score| ((score - top) * scale).exp())
                .collect();
            let total: f64 = parts.iter().sum();
            shares.extend(parts.iter().map(|part| part / total));
        }
        let sizes = || {
            let (rows, width) = (Given::Integer(rows as i32), Given::Integer(width as i32));
            [rows, width, Given::Number(scale as f32)]
        };
        let mut given = vec![read(stored, &scores), blank(stored, rows * width)];
        given.extend(sizes());
        let name = format!("softmax_{}", stored.suffix());
        let found = run(&name, [rows.div_ceil(8), 1], 256, &given);
        stored.check(&name, &stored.values(&found[0]), &shares);

        let shares = stored.values(&found[0]);
        let gradient = stored.random("gradient", rows * width);
        let mut exact = Vec::new();
        for (gradient, shares) in gradient.chunks(width).zip(shares.chunks(width)) {
            let sum: f64 = gradient.iter().zip(shares).map(|(g, s)| g * s).sum();
            exact.extend(
                gradient
                    .iter()
                    .zip(shares)
                    .map(|(g, s)| scale * s * (g - sum)),
            );
        }
        let mut given = vec![
            read(stored, &gradient),
            read(stored, &shares),
            blank(stored, rows * width),
        ];
        given.extend(sizes());
        let name = format!("softmax_back_{}", stored.suffix());
        let found = run(&name, [rows.div_ceil(8), 1], 256, &given);
        stored.check(&name, &stored.values(&found[0]), &exact);
    }
}

#[test]
fn gpu_cross_entropy_on_the_host() {
    if !can_run("gpu_cross_entropy_on_the_host") {
        return;
    }
    let (rows, classes) = (9, 50);
    let f32 = Stored::F32;
    let labels: Vec<u32> = (0..rows as u32).map(|row| row * 7 % 50).collect();
    let labels: Vec<u8> = labels
        .iter()
        .flat_map(|label| label.to_le_bytes())
        .collect();
    let label = |row: usize| row * 7 % 50;
    for (stored, smoothing) in [(Stored::F32, 0.0), (Stored::F32, 0.1), (Stored::Bf16, 0.1)] {
        let logits = stored.random("logits", rows * classes);
        let (mut losses, mut logs, mut back) = (Vec::new(), Vec::new(), Vec::new());
        for (row, logits) in logits.chunks(classes).enumerate() {
            let log = logits.iter().map(|z| z.exp()).sum::<f64>().ln();
            let mean = logits.iter().sum::<f64>() / classes as f64;
            logs.push(log);
            losses.push(log - (1.0 - smoothing) * logits[label(row)] - smoothing * mean);
            back.extend(logits.iter().enumerate().map(|(class, z)| {
                let right = if class == label(row) {
                    1.0 - smoothing
                } else {
                    0.0
                };
                let target = smoothing / classes as f64 + right;
                ((z - log).exp() - target) * 0.5 / rows as f64
            }));
        }
        let sizes = || {
            let (rows, classes) = (Given::Integer(rows as i32), Given::Integer(classes as i32));
            [rows, classes, Given::Number(smoothing as f32)]
        };
        let mut given = vec![
            read(stored, &logits),
            Given::Read(labels.clone()),
            blank(f32, rows),
            blank(f32, rows),
        ];
        given.extend(sizes());
        let name = format!("cross_entropy_{}", stored.suffix());
        let found = run(&name, [rows.div_ceil(2), 1], 64, &given);
        f32.check("logs", &f32.values(&found[0]), &logs);
        f32.check(&name, &f32.values(&found[1]), &losses);
        let mut given = vec![
            read(f32, &[0.5]),
            read(stored, &logits),
            Given::Read(labels.clone()),
            Given::Read(found[0].clone()),
            blank(stored, rows * classes),
        ];
        given.extend(sizes());
        let name = format!("cross_entropy_back_{}", stored.suffix());
        let found = run(&name, [(rows * classes).div_ceil(64), 1], 64, &given);
        stored.check(&name, &stored.values(&found[0]), &back);
    }
}

#[test]
fn gpu_updates_on_the_host() {
    if !can_run("gpu_updates_on_the_host") {
        return;
    }
    let f32 = Stored::F32;
    let (count, deep, decay) = (1000, 300, 0.05);
    let pieces = count / deep + 1;
    let table: Vec<u8> = (0..pieces as u32)
        .flat_map(|piece| [0_u32.to_le_bytes(), piece.to_le_bytes()].concat())
        .collect();
    let values = f32.random("values", count);
    let gradient = f32.random("gradient", count);
    let memory: Vec<f64> = f32
        .random("memory", 2 * count)
        .iter()
        .map(|m| m.abs())
        .collect();
    for rate in [0.1, 0.0] {
        let head = |memory: &[f64]| {
            vec![
                Given::Written(f32.bytes(&values)),
                read(f32, &gradient),
                Given::Written(f32.bytes(memory)),
                Given::Read(table.clone()),
                Given::Count(count as u64),
                Given::Number(decay as f32),
                Given::Integer(deep as i32),
                Given::Number(rate as f32),
            ]
        };
        let mut given = head(&memory[..count]);
        given.push(Given::Number(0.9));
        let found = run("sgd_of_one", [pieces, 1], 64, &given);
        let velocity: Vec<f64> = (0..count)
            .map(|at| 0.9 * memory[at] + gradient[at] + decay * values[at])
            .collect();
        let moved: Vec<f64> = (0..count)
            .map(|at| values[at] - rate * velocity[at])
            .collect();
        f32.check("velocity", &f32.values(&found[1]), &velocity);
        f32.check("sgd", &f32.values(&found[0]), &moved);

        let (beta1, beta2, eps) = (0.9, 0.999, 1e-8);
        let (stride, scale) = (rate / 0.19, 1.0 / 0.02_f64.sqrt());
        let mut given = head(&memory);
        let numbers = [beta1, beta2, 1.0 - beta1, 1.0 - beta2, stride, scale, eps];
        given.extend(numbers.map(|number| Given::Number(number as f32)));
        let found = run("adamw_of_one", [pieces, 1], 64, &given);
        let first = |at: usize| beta1 * memory[at] + (1.0 - beta1) * gradient[at];
        let second = |at: usize| beta2 * memory[count + at] + (1.0 - beta2) * gradient[at].powi(2);
        let moved: Vec<f64> = (0..count)
            .map(|at| {
                let step = stride * first(at) / (second(at).sqrt() * scale + eps);
                (1.0 - rate * decay) * values[at] - step
            })
            .collect();
        let means: Vec<f64> = (0..count)
            .map(first)
            .chain((0..count).map(second))
            .collect();
        f32.check("means", &f32.values(&found[1]), &means);
        f32.check("adamw", &f32.values(&found[0]), &moved);
        if rate == 0.0 {
            assert_eq!(found[0], f32.bytes(&values));
        }
    }
}

#[test]
fn gpu_windows_on_the_host() {
    if !can_run("gpu_windows_on_the_host") {
        return;
    }
    let f32 = Stored::F32;
    let (batch, channels) = (2, 3);
    for (height, width, size, stride, padding) in
        [(7, 8, 3, 2, 1), (6, 5, 1, 2, 0), (9, 9, 7, 2, 3)]
    {
        let places = |length: usize| (length + 2 * padding - size) / stride + 1;
        let (down, across, taps) = (places(height), places(width), channels * size * size);
        let rows = batch * down * across;
        let pixels = batch * channels * height * width;
        // For each value of the rows the pixel that it is of, if it lies inside.
        let mut from = Vec::new();
        for (image, y, x) in (0..rows).map(|row| {
            let place = row % (down * across);
            (row / (down * across), place / across, place % across)
        }) {
            for tap in 0..taps {
                let (channel, dy, dx) = (tap / (size * size), tap / size % size, tap % size);
                let i = (y * stride + dy)
                    .checked_sub(padding)
                    .filter(|i| *i < height);
                let j = (x * stride + dx)
                    .checked_sub(padding)
                    .filter(|j| *j < width);
                let pixel = i
                    .zip(j)
                    .map(|(i, j)| ((image * channels + channel) * height + i) * width + j);
                from.push(pixel);
            }
        }
        let numbers = || {
            [channels, height, width, size, stride, padding, down, across]
                .map(|number| Given::Integer(number as i32))
        };
        let image = f32.random("image", pixels);
        for stored in BOTH {
            let mut given = vec![read(f32, &image), blank(stored, rows * taps)];
            given.push(Given::Count((rows * taps) as u64));
            given.extend(numbers());
            let name = format!("unfold_{}", stored.suffix());
            let found = run(&name, [(rows * taps).div_ceil(64), 1], 64, &given);
            let exact: Vec<f64> = from
                .iter()
                .map(|at| at.map_or(0.0, |at| image[at]))
                .collect();
            stored.check(&name, &stored.values(&found[0]), &exact);

            let gradient = stored.random("rows", rows * taps);
            let mut exact = vec![0.0; pixels];
            for (at, value) in from.iter().zip(&gradient) {
                if let Some(at) = at {
                    exact[*at] += value;
                }
            }
            let mut given = vec![read(stored, &gradient), blank(f32, pixels)];
            given.push(Given::Count(pixels as u64));
            given.extend(numbers());
            let name = format!("unfold_back_{}", stored.suffix());
            let found = run(&name, [pixels.div_ceil(64), 1], 64, &given);
            f32.check(&name, &f32.values(&found[0]), &exact);
        }
    }
}

#[test]
fn gpu_pixels_on_the_host() {
    if !can_run("gpu_pixels_on_the_host") {
        return;
    }
    let (batch, size) = (2, 35);
    let (means, deviations) = ([0.485_f32, 0.456, 0.406], [0.229_f32, 0.224, 0.225]);
    let mut stream = Stream::new(0, "pixels");
    let pixels: Vec<u8> = (0..batch * size * 3)
        .map(|_| stream.below(256) as u8)
        .collect();
    let scales = [means, deviations].concat();
    let given = [
        Given::Read(pixels.clone()),
        Given::Read(scales.iter().flat_map(|it| it.to_le_bytes()).collect()),
        blank(Stored::F32, pixels.len()),
        Given::Count(pixels.len() as u64),
        Given::Integer(size as i32),
    ];
    let found = run("normalise", [pixels.len().div_ceil(64), 1], 64, &given);
    let mut exact = Vec::new();
    for image in pixels.chunks(3 * size) {
        for channel in 0..3 {
            exact.extend(image.iter().skip(channel).step_by(3).flat_map(|pixel| {
                let value = (f32::from(*pixel) / 255.0 - means[channel]) / deviations[channel];
                value.to_le_bytes()
            }));
        }
    }
    // Bit for bit: keys say nothing of where images were normalised.
    assert!(found[0] == exact);
}

#[test]
fn gpu_batch_norm_on_the_host() {
    if !can_run("gpu_batch_norm_on_the_host") {
        return;
    }
    let f32 = Stored::F32;
    let (batch, channels, pixels) = (5, 3, 300);
    let count = batch * channels * pixels;
    let of = |at: usize| at / pixels % channels;
    let random = |name: &str, count: usize| f32.random(name, count);
    let (x, gradient) = (random("x", count), random("gradient", count));
    let (mean, weight) = (random("mean", channels), random("weight", channels));
    let (bias, residual) = (random("bias", channels), random("residual", count));
    let inverse: Vec<f64> = random("inverse", channels)
        .iter()
        .map(|it| it.abs() + 0.5)
        .collect();
    let inverse = f32.values(&f32.bytes(&inverse));
    let normal: Vec<f64> = (0..count)
        .map(|at| (x[at] - mean[of(at)]) * inverse[of(at)])
        .collect();
    let number = |value: usize| Given::Integer(value as i32);
    let total = |term: &dyn Fn(usize) -> f64| -> Vec<f64> {
        let mut sums = vec![0.0; channels];
        (0..count).for_each(|at| sums[of(at)] += term(at));
        sums
    };
    let deep = 2;
    let chunks = batch.div_ceil(deep);
    for squares in [0, 1] {
        let given = [
            read(f32, &x),
            read(f32, &mean),
            blank(f32, chunks * channels),
            number(batch),
            number(channels),
            number(pixels),
            number(deep),
            number(squares),
        ];
        let parts = run("channel_sums", [channels, chunks], 256, &given);
        let exact = total(&|at| (x[at] - mean[of(at)]).powi(squares as i32 + 1));
        f32.check("channel_sums", &folded(&parts[0], chunks, channels), &exact);
    }
    let exact: Vec<f64> = (0..count)
        .map(|at| normal[at] * weight[of(at)] + bias[of(at)] + residual[at])
        .collect();
    let channelled = || vec![read(f32, &mean), read(f32, &inverse), read(f32, &weight)];
    for rectify in [0, 1] {
        let mut given = vec![read(f32, &x)];
        given.extend(channelled());
        given.extend([read(f32, &bias), read(f32, &residual), blank(f32, count)]);
        given.push(Given::Count(count as u64));
        given.extend([number(channels), number(pixels), number(1), number(rectify)]);
        let found = run("batch_norm", [count.div_ceil(256), 1], 256, &given);
        let least = if rectify == 1 { 0.0 } else { f64::MIN };
        let exact: Vec<f64> = exact.iter().map(|y| y.max(least)).collect();
        f32.check("batch_norm", &f32.values(&found[0]), &exact);
    }
    let given = [
        read(f32, &gradient),
        read(f32, &exact),
        blank(f32, count),
        Given::Count(count as u64),
    ];
    let found = run("rectifier_back", [count.div_ceil(256), 1], 256, &given);
    let passed: Vec<f64> = (0..count)
        .map(|at| if exact[at] > 0.0 { gradient[at] } else { 0.0 })
        .collect();
    f32.check("rectifier_back", &f32.values(&found[0]), &passed);

    let given = [
        read(f32, &gradient),
        read(f32, &x),
        read(f32, &mean),
        read(f32, &inverse),
        blank(f32, chunks * 2 * channels),
        number(batch),
        number(channels),
        number(pixels),
        number(deep),
    ];
    let parts = run("channel_gradients", [channels, chunks], 256, &given);
    let sums = folded(&parts[0], chunks, 2 * channels);
    let exact = [
        total(&|at| gradient[at] * normal[at]),
        total(&|at| gradient[at]),
    ]
    .concat();
    f32.check("channel_gradients", &sums, &exact);
    for own in [0, 1] {
        let mut given = vec![read(f32, &gradient), read(f32, &x)];
        given.extend(channelled());
        given.extend([
            read(f32, &exact),
            blank(f32, count),
            Given::Count(count as u64),
        ]);
        given.extend([number(channels), number(pixels), number(own)]);
        let found = run("batch_norm_to_x", [count.div_ceil(256), 1], 256, &given);
        let share = own as f64 / (batch * pixels) as f64;
        let exact: Vec<f64> = (0..count)
            .map(|at| {
                let (along, plain) = (exact[of(at)], exact[channels + of(at)]);
                let inner = gradient[at] - plain * share - normal[at] * along * share;
                inner * weight[of(at)] * inverse[of(at)]
            })
            .collect();
        f32.check("batch_norm_to_x", &f32.values(&found[0]), &exact);
    }
}
