//! Smooth random fields by integer hashing of a lattice: a field is a pure function of its salt and
//! the position, the same on every platform.

/// Uniform in [0, 1) at a lattice point.
fn lattice(salt: u32, x: i32, y: i32) -> f32 {
    // The finaliser of MurmurHash3 over the three words.
    let mut word =
        salt ^ (x as u32).wrapping_mul(0x9E37_79B1) ^ (y as u32).wrapping_mul(0x85EB_CA77);
    word = (word ^ (word >> 16)).wrapping_mul(0x85EB_CA6B);
    word = (word ^ (word >> 13)).wrapping_mul(0xC2B2_AE35);
    word ^= word >> 16;
    (word >> 8) as f32 / (1u32 << 24) as f32
}

/// Value noise in [0, 1) with features of size 1.
pub fn smooth(salt: u32, x: f32, y: f32) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let (column, row) = (left as i32, top as i32);
    let (across, down) = (ease(x - left), ease(y - top));
    let at = |dx: i32, dy: i32| lattice(salt, column.wrapping_add(dx), row.wrapping_add(dy));
    let upper = at(0, 0) + (at(1, 0) - at(0, 0)) * across;
    let lower = at(0, 1) + (at(1, 1) - at(0, 1)) * across;
    upper + (lower - upper) * down
}

fn ease(share: f32) -> f32 {
    share * share * (3.0 - 2.0 * share)
}
