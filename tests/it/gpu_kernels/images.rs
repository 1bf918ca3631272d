//! Updates, windows, pixels and batch norm.

use super::*;

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
