//! Converts stored pixels to the input tensors of a model.

#[cfg(feature = "cuda")]
use candle_core::DType;
use candle_core::{Device, Tensor};

use crate::data::ImageSet;
use crate::models::config::Input;
use crate::{Error, Result};

/// Turns images into normalised tensors: (value/255 − mean)/std for each channel.
pub struct Normaliser {
    /// For each channel, the f32 value of every byte.
    table: [[f32; 256]; 3],
    /// The means of the channels and their standard deviations.
    #[cfg(feature = "cuda")]
    scales: [f32; 6],
    device: Device,
}

impl Normaliser {
    pub fn new(input: &Input, device: &Device) -> Self {
        let table = std::array::from_fn(|channel| {
            std::array::from_fn(|byte| {
                // As in torchvision: in f32, one step after the other.
                let value = byte as f32 / 255.0;
                (value - input.mean[channel] as f32) / input.std[channel] as f32
            })
        });
        let device = device.clone();
        Self {
            table,
            #[cfg(feature = "cuda")]
            scales: {
                let ([a, b, c], [d, e, f]) = (input.mean, input.std);
                [a, b, c, d, e, f].map(|value| value as f32)
            },
            device,
        }
    }

    /// The images `indices` of `set` as `[batch, 3, height, width]`.
    pub fn batch(&self, set: &ImageSet, indices: &[usize]) -> Result<Tensor> {
        let images = set.images(indices)?;
        let images = images.iter().map(|image| &**image);
        self.images(images, set.height, set.width)
    }

    /// As [`Normaliser::batch`], for images `[height, width, 3]` given one by one.
    pub fn images<'a>(
        &self,
        images: impl ExactSizeIterator<Item = &'a [u8]>,
        height: usize,
        width: usize,
    ) -> Result<Tensor> {
        let (count, plane) = (images.len(), height * width);
        #[cfg(feature = "cuda")]
        if self.device.is_cuda() {
            return self.on_gpu(images, height, width);
        }
        let mut values = Vec::with_capacity(count * 3 * plane);
        for image in images {
            let (pixels, _) = image.as_chunks::<3>();
            for (channel, table) in self.table.iter().enumerate() {
                // The iterator has an exact length, so the vector is allocated once.
                values.extend(pixels.iter().map(|pixel| table[pixel[channel] as usize]));
            }
        }
        Ok(Tensor::from_vec(
            values,
            (count, 3, height, width),
            &self.device,
        )?)
    }

    /// The same values, computed on the device: transfers a quarter of the bytes.
    #[cfg(feature = "cuda")]
    fn on_gpu<'a>(
        &self,
        images: impl ExactSizeIterator<Item = &'a [u8]>,
        height: usize,
        width: usize,
    ) -> Result<Tensor> {
        use crate::ops::launch::{Grid, Kernel, blank};
        let (count, plane) = (images.len(), height * width);
        let mut pixels = Vec::with_capacity(3 * count * plane);
        images.for_each(|image| pixels.extend_from_slice(image));
        let pixels = Tensor::from_vec(pixels, (count, height, width, 3), &self.device)?;
        let scales = Tensor::new(&self.scales, &self.device)?;
        let values = blank((count, 3, height, width), DType::F32, &self.device)?;
        Kernel::new("normalise")
            .tensor(&pixels)
            .tensor(&scales)
            .tensor(&values)
            .count(3 * count * plane)
            .size(plane)
            .launch(Grid::over(3 * count * plane))?;
        Ok(values)
    }
}

/// Checks that the model can take the images.
pub fn check_images(set: &ImageSet, input: &Input) -> Result<()> {
    if set.is_empty() {
        return Err(Error::Invalid("the dataset contains no images".to_string()));
    }
    let classes = set.classes.len();
    if let Some(label) = set.labels.iter().find(|label| **label as usize >= classes) {
        return Err(Error::Invalid(format!(
            "label {label} is not among the dataset's {classes} classes"
        )));
    }
    if (set.height, set.width) != (input.size, input.size) {
        return Err(Error::Invalid(format!(
            "the model takes images of {0}×{0} pixels, these have {1}×{2}",
            input.size, set.width, set.height
        )));
    }
    Ok(())
}
