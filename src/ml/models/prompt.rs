//! The tensors of a visual prompt, named as in the benchmark's `PadPrompter`, and their application
//! to images.

use super::{Initial, Role, TensorSpec};
use crate::Result;
use crate::ops::{Frame, Tape, Value};

const SIDES: [&str; 4] = [
    "prompter.pad_up",
    "prompter.pad_down",
    "prompter.pad_left",
    "prompter.pad_right",
];

/// The sides of a frame of `pad` pixels in images of `size`, which must leave part of the image
/// visible.
pub fn tensors(pad: usize, size: usize) -> Vec<TensorSpec> {
    let inner = size.saturating_sub(2 * pad);
    let shapes = [[pad, size], [pad, size], [inner, pad], [inner, pad]];
    let spec = |(name, [rows, columns]): (&str, [usize; 2])| TensorSpec {
        name: name.to_string(),
        shape: vec![1, 3, rows, columns],
        role: Role::Parameter,
        initial: Initial::Normal { deviation: 1.0 },
        head: false,
        outside_blocks: false,
    };
    SIDES.into_iter().zip(shapes).map(spec).collect()
}

/// `images` with the sides that `side` returns by name.
pub fn framed(tape: &Tape, images: &Value, side: impl Fn(&str) -> Result<Value>) -> Result<Value> {
    let [up, down, left, right] = SIDES;
    let (up, down, left, right) = (side(up)?, side(down)?, side(left)?, side(right)?);
    let frame = Frame {
        up: &up,
        down: &down,
        left: &left,
        right: &right,
    };
    tape.frame(images, &frame)
}
