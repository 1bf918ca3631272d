//! The transform of [`super`] on any processor.

use super::{CONSTANT_BITS, FIRST_SHIFT, KEPT_BITS, SECOND_SHIFT, SIDE, TURNS};

/// Values of eight lines, side by side.
type Lanes<T> = [T; SIDE];
/// Eight rows or columns.
type Block = [Lanes<i16>; SIDE];

/// As [`super::samples`].
pub fn samples(coefficients: &[i16; 64], quantisers: &[u16; 64]) -> [[u8; SIDE]; SIDE] {
    let mut block = [[0; SIDE]; SIDE];
    for (row, values) in block.iter_mut().enumerate() {
        for (column, value) in values.iter_mut().enumerate() {
            let at = SIDE * row + column;
            *value = coefficients[at].wrapping_mul(quantisers[at] as i16);
        }
    }
    let flat = coefficients[SIDE..].iter().all(|value| *value == 0);
    let columns = match flat {
        true => [block[0].map(|value| value.wrapping_shl(KEPT_BITS as u32)); SIDE],
        false => pass::<FIRST_SHIFT>(&block),
    };
    let rows = transposed(&pass::<SECOND_SHIFT>(&transposed(&columns)));
    rows.map(|row| row.map(|value| (value.clamp(-128, 127) + 128) as u8))
}

fn transposed(block: &Block) -> Block {
    std::array::from_fn(|row| std::array::from_fn(|column| block[column][row]))
}

fn pass<const SHIFT: i32>(inputs: &Block) -> Block {
    let [in0, in1, in2, in3, in4, in5, in6, in7] = *inputs;
    let even = turned(in2, in6, TURNS.even);
    let outer = each(|lane| i32::from(in0[lane].wrapping_add(in4[lane])) << CONSTANT_BITS);
    let inner = each(|lane| i32::from(in0[lane].wrapping_sub(in4[lane])) << CONSTANT_BITS);
    let (t10, t13) = (plus(outer, even[0]), minus(outer, even[0]));
    let (t11, t12) = (plus(inner, even[1]), minus(inner, even[1]));

    let third = each(|lane| in3[lane].wrapping_add(in7[lane]));
    let first = each(|lane| in1[lane].wrapping_add(in5[lane]));
    let [z3, z4] = turned(third, first, TURNS.sums);
    let [t0, t3] = turned(in7, in1, TURNS.far);
    let [t1, t2] = turned(in5, in3, TURNS.near);
    let (t0, t3) = (plus(t0, z3), plus(t3, z4));
    let (t1, t2) = (plus(t1, z4), plus(t2, z3));
    [
        narrow::<SHIFT>(plus(t10, t3)),
        narrow::<SHIFT>(plus(t11, t2)),
        narrow::<SHIFT>(plus(t12, t1)),
        narrow::<SHIFT>(plus(t13, t0)),
        narrow::<SHIFT>(minus(t13, t0)),
        narrow::<SHIFT>(minus(t12, t1)),
        narrow::<SHIFT>(minus(t11, t2)),
        narrow::<SHIFT>(minus(t10, t3)),
    ]
}

fn each<T>(value: impl Fn(usize) -> T) -> Lanes<T> {
    std::array::from_fn(value)
}

/// `a` and `b`, each multiplied by a constant, and added: for two pairs of constants.
fn turned(a: Lanes<i16>, b: Lanes<i16>, by: [[i16; 2]; 2]) -> [Lanes<i32>; 2] {
    let product = |value: i16, by: i16| i32::from(value) * i32::from(by);
    by.map(|by| each(|lane| product(a[lane], by[0]) + product(b[lane], by[1])))
}

fn plus(a: Lanes<i32>, b: Lanes<i32>) -> Lanes<i32> {
    each(|lane| a[lane].wrapping_add(b[lane]))
}

fn minus(a: Lanes<i32>, b: Lanes<i32>) -> Lanes<i32> {
    each(|lane| a[lane].wrapping_sub(b[lane]))
}

/// Rounded to integers, and saturated to 16 bits.
fn narrow<const SHIFT: i32>(sums: Lanes<i32>) -> Lanes<i16> {
    each(|lane| {
        let rounded = sums[lane].wrapping_add(1 << (SHIFT - 1)) >> SHIFT;
        rounded.clamp(i16::MIN.into(), i16::MAX.into()) as i16
    })
}
