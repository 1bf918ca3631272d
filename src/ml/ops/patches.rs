//! Converts images to a transformer's tokens.

use candle_core::Tensor;

use super::cpu::patches::Grid;
use super::tape::want;
use super::{Tape, Value, cpu};
use crate::{Error, Result};

impl Tape {
    /// Divides `images` `[batch, channels, height, width]` into squares of `size` pixels: `[batch,
    /// patches, channels·size·size]`, patches in row-major order, their values in the order of a
    /// convolution's weight.
    pub fn patches(&self, images: &Value, size: usize) -> Result<Value> {
        let (batch, channels, height, width) = images.tensor().dims4()?;
        if size == 0 || height % size != 0 || width % size != 0 {
            return Err(Error::Invalid(format!(
                "images of {width}×{height} pixels do not divide into patches of {size}"
            )));
        }
        let grid = Grid {
            channels,
            down: height / size,
            across: width / size,
            size,
        };
        let fused = cpu::serves(&[images.tensor()]);
        let dims = (batch, grid.down * grid.across, channels * size * size);
        let output = match fused {
            true => {
                let values = cpu::read([images.tensor()], |[x]| cpu::patches::cut(grid, x))?;
                cpu::tensor(values, dims)?
            }
            false => images
                .tensor()
                .reshape(&[batch, channels, grid.down, size, grid.across, size][..])?
                .permute([0, 2, 4, 1, 3, 5])?
                .reshape(dims)?,
        };
        Ok(self.record(output, &[images], move |gradient, _| {
            let dims = (batch, channels, height, width);
            if fused {
                let values = cpu::read([gradient], |[x]| cpu::patches::join(grid, x))?;
                return Ok(vec![Some(cpu::tensor(values, dims)?)]);
            }
            let images = gradient
                .reshape(&[batch, grid.down, grid.across, channels, size, size][..])?
                .permute([0, 3, 1, 4, 2, 5])?
                .reshape(dims)?;
            Ok(vec![Some(images)])
        }))
    }

    /// Puts the class token before the patches and adds the positions: `patches`
    /// `[batch, n, width]`, `class` `[1, 1, width]`, `positions` `[1, n + 1, width]`.
    pub fn embed(&self, patches: &Value, class: &Value, positions: &Value) -> Result<Value> {
        let patches = &self.widened(patches)?;
        let (batch, count, width) = patches.tensor().dims3()?;
        let fits = width > 0
            && class.tensor().dims() == [1, 1, width]
            && positions.tensor().dims() == [1, count + 1, width];
        if !fits {
            return Err(Error::Invalid(format!(
                "{count} patches of width {width} do not fit positions {:?}",
                positions.tensor().dims()
            )));
        }
        let tensors = [patches.tensor(), class.tensor(), positions.tensor()];
        let fused = count > 0 && cpu::serves(&tensors);
        let output = match fused {
            true => {
                let values = cpu::read(tensors, |[patches, class, positions]| {
                    cpu::patches::embed(patches, class, positions)
                })?;
                cpu::tensor(values, (batch, count + 1, width))?
            }
            false => {
                let first = class.tensor().broadcast_as((batch, 1, width))?;
                Tensor::cat(&[&first, patches.tensor()], 1)?.broadcast_add(positions.tensor())?
            }
        };
        let parents = [patches, class, positions];
        Ok(self.record(output, &parents, move |gradient, wanted| {
            let size = (count + 1) * width;
            let to_patches = || {
                if !fused {
                    return Ok(gradient.narrow(1, 1, count)?.contiguous()?);
                }
                let rest = |[x]: [&[f32]; 1]| cpu::patches::take(x, size, width, size);
                cpu::tensor(cpu::read([gradient], rest)?, (batch, count, width))
            };
            let over_images = match fused {
                true => {
                    let total = |[x]: [&[f32]; 1]| cpu::patches::sum_images(x, size);
                    cpu::tensor(cpu::read([gradient], total)?, (1, count + 1, width))?
                }
                false => gradient.sum_keepdim(0)?,
            };
            let to_class = || Ok(over_images.narrow(1, 0, 1)?.contiguous()?);
            Ok(vec![
                want(wanted[0], to_patches)?,
                want(wanted[1], to_class)?,
                want(wanted[2], || Ok(over_images.clone()))?,
            ])
        }))
    }
}
