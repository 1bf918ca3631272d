//! The fixtures' weights: a tensor is a function of its name and shape, so none is shipped.

/// splitmix64, started at the FNV-1a hash of a name.
pub struct Rule(u64);

impl Rule {
    pub fn named(name: &str) -> Self {
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        Self(name.bytes().fold(0xcbf2_9ce4_8422_2325, step))
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// `count` values offset + scale·c, c in [−1, 1).
pub fn values(name: &str, count: usize, offset: f64, scale: f64) -> Vec<f32> {
    let mut rule = Rule::named(name);
    let unit = |bits: u64| (bits >> 40) as f64 / f64::from(1 << 23) - 1.0;
    (0..count)
        .map(|_| (offset + scale * unit(rule.bits())) as f32)
        .collect()
}

/// The tensor `name`, by the last part of its name.
pub fn tensor(name: &str, shape: &[usize]) -> Vec<f32> {
    let last = name.rsplit('.').next().unwrap();
    let fan = |dims: &[usize]| (3.0 / dims.iter().product::<usize>() as f64).sqrt();
    let (offset, scale) = match last {
        "running_var" => (1.0, 0.5),
        "running_mean" => (0.0, 0.1),
        "num_batches_tracked" => (0.0, 0.0),
        "lora_A" | "lora_B" => (0.0, fan(&shape[shape.len() - 1..])),
        "weight" if shape.len() > 1 => (0.0, fan(&shape[1..])),
        "weight" => (1.0, 0.1),
        "bias" => (0.0, 0.05),
        _ => (0.0, 0.5),
    };
    values(name, shape.iter().product(), offset, scale)
}

/// Labels below `classes`.
pub fn labels(name: &str, count: usize, classes: u64) -> Vec<u32> {
    let mut rule = Rule::named(name);
    (0..count)
        .map(|_| ((rule.bits() >> 33) % classes) as u32)
        .collect()
}

/// The sum of the bit patterns, which tells whether two sides made the same tensor.
pub fn bitsum(values: &[f32]) -> u64 {
    values.iter().map(|value| u64::from(value.to_bits())).sum()
}
