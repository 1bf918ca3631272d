//! A frame of learned pixels around images.

use candle_core::Tensor;

use super::tape::want;
use super::{Tape, Value};
use crate::{Error, Result};

/// The four sides of a frame of `pad` pixels for square images of `size` pixels. The upper and
/// lower sides include the corners.
pub struct Frame<'a> {
    /// `[1, channels, pad, size]`
    pub up: &'a Value,
    pub down: &'a Value,
    /// `[1, channels, size − 2·pad, pad]`
    pub left: &'a Value,
    pub right: &'a Value,
}

impl Tape {
    /// `images` `[batch, channels, size, size]` with `frame` added.
    pub fn frame(&self, images: &Value, frame: &Frame) -> Result<Value> {
        let (batch, channels, size, _) = images.tensor().dims4()?;
        let pad = frame.up.tensor().dim(2)?;
        let inner = size.checked_sub(2 * pad).filter(|inner| *inner > 0);
        let wide = [1, channels, pad, size];
        let high = inner.map(|inner| [1, channels, inner, pad]);
        let fits = [frame.up, frame.down]
            .iter()
            .all(|it| it.tensor().dims() == wide)
            && [frame.left, frame.right]
                .iter()
                .all(|it| high.is_some_and(|high| it.tensor().dims() == high));
        let (Some(inner), true) = (inner, fits) else {
            return Err(Error::Invalid(format!(
                "a frame of {pad} pixels does not fit images of {size}"
            )));
        };
        let (left, right) = (frame.left.tensor(), frame.right.tensor());
        let hole = Tensor::zeros((1, channels, inner, inner), left.dtype(), left.device())?;
        let middle = Tensor::cat(&[left, &hole, right], 3)?;
        let whole = Tensor::cat(&[frame.up.tensor(), &middle, frame.down.tensor()], 2)?;
        let output = images.tensor().broadcast_add(&whole)?;
        let parents = [images, frame.up, frame.down, frame.left, frame.right];
        Ok(self.record(output, &parents, move |gradient, wanted| {
            let to_images = want(wanted[0], || Ok(gradient.clone()))?;
            let whole = match batch {
                1 => gradient.clone(),
                _ => gradient.sum_keepdim(0)?,
            };
            let rows = |from: usize, count: usize| whole.narrow(2, from, count);
            let side = |from: usize| -> Result<Tensor> {
                Ok(rows(pad, inner)?.narrow(3, from, pad)?.contiguous()?)
            };
            Ok(vec![
                to_images,
                want(wanted[1], || Ok(rows(0, pad)?.contiguous()?))?,
                want(wanted[2], || Ok(rows(size - pad, pad)?.contiguous()?))?,
                want(wanted[3], || side(0))?,
                want(wanted[4], || side(size - pad))?,
            ])
        }))
    }
}
