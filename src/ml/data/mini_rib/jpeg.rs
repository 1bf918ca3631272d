//! JPEG artefacts without JPEG files: 8 × 8 cosine transforms of luma and chroma, rounded to the
//! steps of a quantisation table.

use super::SIDE;
use super::canvas::Canvas;

/// The standard table for brightness (ITU-T T.81, annex K), at quality 50.
const STEPS: [[f32; 8]; 8] = [
    [16.0, 11.0, 10.0, 16.0, 24.0, 40.0, 51.0, 61.0],
    [12.0, 12.0, 14.0, 19.0, 26.0, 58.0, 60.0, 55.0],
    [14.0, 13.0, 16.0, 24.0, 40.0, 57.0, 69.0, 56.0],
    [14.0, 17.0, 22.0, 29.0, 51.0, 87.0, 80.0, 62.0],
    [18.0, 22.0, 37.0, 56.0, 68.0, 109.0, 103.0, 77.0],
    [24.0, 35.0, 55.0, 64.0, 81.0, 104.0, 113.0, 92.0],
    [49.0, 64.0, 78.0, 87.0, 103.0, 121.0, 120.0, 101.0],
    [72.0, 92.0, 95.0, 98.0, 112.0, 100.0, 103.0, 99.0],
];

/// `coarseness` multiplies the table; chroma is rounded twice as coarsely.
pub fn compress(canvas: Canvas, coarseness: f32) -> Canvas {
    let basis = basis();
    let mut planes = canvas.map(|[red, green, blue], _, _| {
        let bright = 0.299 * red + 0.587 * green + 0.114 * blue;
        [bright, (blue - bright) * 0.564, (red - bright) * 0.713]
    });
    for channel in 0..3 {
        let coarse = coarseness * if channel == 0 { 1.0 } else { 2.0 } / 255.0;
        for top in (0..SIDE).step_by(8) {
            for left in (0..SIDE).step_by(8) {
                round_block(&mut planes, channel, top, left, coarse, &basis);
            }
        }
    }
    planes.map(|[bright, blue, red], _, _| {
        let (red, blue) = (bright + red / 0.713, bright + blue / 0.564);
        [red, (bright - 0.299 * red - 0.114 * blue) / 0.587, blue]
    })
}

/// Row `k`: the k-th cosine at the eight places, orthonormal.
fn basis() -> [[f32; 8]; 8] {
    std::array::from_fn(|wave| {
        let size: f32 = if wave == 0 { 0.125 } else { 0.25 };
        std::array::from_fn(|at| {
            let angle = std::f32::consts::PI * wave as f32 * (at as f32 + 0.5) / 8.0;
            size.sqrt() * libm::cosf(angle)
        })
    })
}

fn round_block(
    planes: &mut Canvas,
    channel: usize,
    top: usize,
    left: usize,
    coarse: f32,
    basis: &[[f32; 8]; 8],
) {
    let index = |row: usize, column: usize| (top + row) * SIDE + left + column;
    let block: [[f32; 8]; 8] = std::array::from_fn(|row| {
        std::array::from_fn(|column| planes.0[index(row, column)][channel])
    });
    let mut waves = product(basis, &block, &transpose(basis));
    for (row, steps) in STEPS.iter().enumerate() {
        for (column, step) in steps.iter().enumerate() {
            let size = step * coarse;
            waves[row][column] = (waves[row][column] / size + 0.5).floor() * size;
        }
    }
    let block = product(&transpose(basis), &waves, basis);
    for (row, values) in block.iter().enumerate() {
        for (column, value) in values.iter().enumerate() {
            planes.0[index(row, column)][channel] = *value;
        }
    }
}

type Block = [[f32; 8]; 8];

fn transpose(block: &Block) -> Block {
    std::array::from_fn(|row| std::array::from_fn(|column| block[column][row]))
}

/// a · b · c
fn product(a: &Block, b: &Block, c: &Block) -> Block {
    let times = |left: &Block, right: &Block| -> Block {
        std::array::from_fn(|row| {
            std::array::from_fn(|column| (0..8).map(|k| left[row][k] * right[k][column]).sum())
        })
    };
    times(&times(a, b), c)
}
