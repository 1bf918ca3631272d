//! Gradient clipping by global norm.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::Result;
use crate::ops::sum_of_squares;

/// PyTorch adds this to the norm in the denominator.
const EPS: f64 = 1e-6;

/// √Σ g² over all gradients, summed in the order of their names.
pub fn norm(gradients: &BTreeMap<String, Tensor>) -> Result<f64> {
    let mut sum = 0.0;
    for gradient in gradients.values() {
        sum += sum_of_squares(gradient)?;
    }
    Ok(sum.sqrt())
}

/// Scales all gradients by min(1, `most`/(norm + 10⁻⁶)), as PyTorch's `clip_grad_norm_`, and
/// returns their original norm. Non-finite gradients are unchanged.
pub fn clip(gradients: &mut BTreeMap<String, Tensor>, most: f64) -> Result<f64> {
    let norm = norm(gradients)?;
    let factor = most / (norm + EPS);
    if factor < 1.0 {
        for gradient in gradients.values_mut() {
            *gradient = (&*gradient * factor)?;
        }
    }
    Ok(norm)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::ops::parallel;
    use crate::rng::Stream;

    fn gradients() -> BTreeMap<String, Tensor> {
        let tensor = |(name, count): (&str, usize)| {
            let mut stream = Stream::new(0, name);
            let values: Vec<f32> = (0..count).map(|_| stream.normal() as f32).collect();
            let tensor = Tensor::from_vec(values, count, &Device::Cpu).unwrap();
            (name.to_string(), tensor)
        };
        [("a", 3), ("b", 100_000), ("c", 1)].map(tensor).into()
    }

    fn exact(gradients: &BTreeMap<String, Tensor>) -> f64 {
        let all = gradients.values().flat_map(|gradient| {
            let wide = gradient.to_dtype(DType::F64).unwrap();
            wide.to_vec1::<f64>().unwrap()
        });
        all.map(|value| value * value).sum::<f64>().sqrt()
    }

    #[test]
    fn the_norm_of_all_is_bounded_and_no_thread_changes_it() {
        let found =
            [1, 2, 5].map(|threads| parallel::scope(threads, || norm(&gradients()).unwrap()));
        assert!((found[0] / exact(&gradients()) - 1.0).abs() < 1e-12);
        assert!(
            found
                .iter()
                .all(|norm| norm.to_bits() == found[0].to_bits())
        );
        let mut clipped = gradients();
        assert_eq!(clip(&mut clipped, 2.5).unwrap(), found[0]);
        assert!((exact(&clipped) / 2.5 - 1.0).abs() < 1e-6);
        let before = gradients()["a"].to_vec1::<f32>().unwrap();
        let after = clipped["a"].to_vec1::<f32>().unwrap();
        assert!((after[1] / before[1] - (2.5 / (found[0] + EPS)) as f32).abs() < 1e-9);
        // Small gradients stay bit for bit.
        clip(&mut clipped, 3.0).unwrap();
        assert_eq!(clipped["a"].to_vec1::<f32>().unwrap(), after);
    }
}
