//! The amount of arithmetic of a model, for cost estimates.

use super::config::{Config, Network, Vit};
use super::resnet;

impl Config {
    /// The number of values in the model's tensors.
    pub fn numbers(&self) -> u64 {
        let tensors = self.tensors();
        let sizes = tensors
            .iter()
            .map(|tensor| tensor.shape.iter().product::<usize>() as u64);
        sizes.sum()
    }

    /// Multiply-adds of a forward pass for one image; excludes norms, activations and softmax,
    /// includes the two products of attention.
    pub fn multiplications(&self) -> u64 {
        let head = match self.headless {
            true => 0,
            false => (self.features() * self.outputs()) as u64,
        };
        head + match &self.network {
            Network::Vit(vit) => transformer(vit, self.input.size),
            Network::Resnet(network) => resnet::multiplications(network, self.input.size),
        }
    }
}

fn transformer(vit: &Vit, size: usize) -> u64 {
    let patches = (size / vit.patch.max(1)).pow(2);
    let (tokens, width, hidden) = (patches + 1, vit.width, vit.hidden);
    let embedding = patches * 3 * vit.patch * vit.patch * width;
    let projections = tokens * (4 * width * width + 2 * width * hidden);
    let attention = 2 * tokens * tokens * width;
    (embedding + vit.depth * (projections + attention)) as u64
}

#[cfg(test)]
mod tests {
    /// Compares with the published counts: torchvision's `GFLOPS` (multiply-adds) and numbers of
    /// parameters.
    #[test]
    fn models_are_as_large_as_published() {
        for (arch, giga, parameters) in [
            ("resnet18", 1.814, 11_689_512),
            ("resnet50", 4.089, 25_557_032),
            ("resnet152", 11.514, 60_192_808),
            ("vit_base_patch16_224.augreg_in1k", 17.564, 86_567_656),
            ("vit_base_patch32_224.augreg_in1k", 4.409, 88_224_232),
            (
                "vit_large_patch16_224.augreg_in21k_ft_in1k",
                61.555,
                304_326_632,
            ),
        ] {
            let config = crate::models::catalogue::find(arch).unwrap().config(&[]);
            let found = config.multiplications() as f64 / 1e9;
            assert!((found / giga - 1.0).abs() < 0.005, "{arch}: {found}");
            let counted = config
                .tensors()
                .iter()
                .filter(|tensor| {
                    !tensor.name.contains("running_") && !tensor.name.contains("num_batches")
                })
                .map(|tensor| tensor.shape.iter().product::<usize>())
                .sum::<usize>();
            assert_eq!(counted, parameters, "{arch}");
        }
    }
}
