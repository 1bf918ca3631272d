//! Normalisation, softmax, losses, and what surrounds a product.

use super::*;

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
