//! From images to a transformer's tokens.

use candle_core::Tensor;

use super::{Tape, Value};
use crate::ml::{Error, Result};

impl Tape {
    /// Cuts `images` `[batch, channels, height, width]` into squares of `size` pixels:
    /// `[batch, patches, channels·size·size]`, patches by rows, their values in the order of a
    /// convolution's weight.
    pub fn patches(&self, images: &Value, size: usize) -> Result<Value> {
        let (batch, channels, height, width) = images.tensor().dims4()?;
        if size == 0 || height % size != 0 || width % size != 0 {
            return Err(Error::Invalid(format!(
                "images of {width}×{height} pixels do not divide into patches of {size}"
            )));
        }
        let (down, across) = (height / size, width / size);
        let output = images
            .tensor()
            .reshape(&[batch, channels, down, size, across, size][..])?
            .permute([0, 2, 4, 1, 3, 5])?
            .reshape((batch, down * across, channels * size * size))?;
        Ok(self.record(output, &[images], move |gradient, _| {
            let images = gradient
                .reshape(&[batch, down, across, channels, size, size][..])?
                .permute([0, 3, 1, 4, 2, 5])?
                .reshape((batch, channels, height, width))?;
            Ok(vec![Some(images)])
        }))
    }

    /// Puts the class token before the patches and adds the positions: `patches`
    /// `[batch, n, width]`, `class` `[1, 1, width]`, `positions` `[1, n + 1, width]`.
    pub fn embed(&self, patches: &Value, class: &Value, positions: &Value) -> Result<Value> {
        let (batch, count, width) = patches.tensor().dims3()?;
        let first = class.tensor().broadcast_as((batch, 1, width))?;
        let output =
            Tensor::cat(&[&first, patches.tensor()], 1)?.broadcast_add(positions.tensor())?;
        let parents = [patches, class, positions];
        Ok(self.record(output, &parents, move |gradient, wanted| {
            let to_patches = || gradient.narrow(1, 1, count)?.contiguous();
            let to_class = || gradient.narrow(1, 0, 1)?.sum_keepdim(0);
            let to_positions = || gradient.sum_keepdim(0);
            Ok(vec![
                wanted[0].then(to_patches).transpose()?,
                wanted[1].then(to_class).transpose()?,
                wanted[2].then(to_positions).transpose()?,
            ])
        }))
    }
}
