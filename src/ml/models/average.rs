//! Weighted averages of models: WiSE-FT, model soups.

use candle_core::{DType, Tensor};

use super::{Config, Model};
use crate::data::classes;
use crate::{Error, Result};

/// The weighted mean of `models` of one structure; there is one weight per model, and they sum to
/// 1.
///
/// Summed in f64 and rounded once. Models with weight 0 are skipped, so a single model with weight
/// 1 is returned bit for bit. Integer buffers are averaged too and truncated, as in PyTorch when it
/// loads such a mean.
pub fn average(models: &[Model], weights: &[f64]) -> Result<Model> {
    let taken: Vec<(&Model, f64)> = models
        .iter()
        .zip(weights)
        .filter(|(_, weight)| **weight != 0.0)
        .map(|(model, weight)| (model, *weight))
        .collect();
    let (Some((first, _)), true) = (taken.first(), models.len() == weights.len()) else {
        return Err(Error::Invalid(format!(
            "{} models cannot be averaged with {} weights",
            models.len(),
            weights.len()
        )));
    };
    for (other, _) in &taken {
        check_alike(first.config(), other.config())?;
    }
    if let [(only, 1.0)] = taken.as_slice() {
        return Ok((*only).clone());
    }
    let mut tensors = first.tensors().clone();
    for (name, tensor) in &mut tensors {
        let members: Vec<(&Tensor, f64)> = taken
            .iter()
            .filter_map(|(model, weight)| Some((model.tensors().get(name)?, *weight)))
            .collect();
        *tensor = mean(&members)?;
    }
    Model::from_tensors(first.config().clone(), tensors)
}

/// Checks that two models differ in nothing but the Unicode forms of their class names.
fn check_alike(first: &Config, other: &Config) -> Result<()> {
    let nameless = |config: &Config| Config {
        classes: Vec::new(),
        ..config.clone()
    };
    let sizes = (first.classes.len(), other.classes.len());
    if sizes.0 != sizes.1 || nameless(first) != nameless(other) {
        return Err(Error::Invalid(format!(
            "models of different structure cannot be averaged: {} for {} classes and {} for {}",
            first.arch, sizes.0, other.arch, sizes.1,
        )));
    }
    match classes::difference(&first.classes, &other.classes) {
        None => Ok(()),
        Some(difference) => Err(Error::Invalid(format!(
            "models with different classes cannot be averaged: {difference}"
        ))),
    }
}

fn mean(members: &[(&Tensor, f64)]) -> Result<Tensor> {
    let mut sum: Vec<f64> = Vec::new();
    for (tensor, weight) in members {
        let values = tensor
            .to_dtype(DType::F64)?
            .flatten_all()?
            .to_vec1::<f64>()?;
        sum.resize(values.len(), 0.0);
        for (sum, value) in sum.iter_mut().zip(&values) {
            *sum += value * weight;
        }
    }
    let (like, _) = members[0];
    if like.dtype() == DType::I64 {
        sum.iter_mut().for_each(|value| *value = value.trunc());
    }
    let mean = Tensor::from_vec(sum, like.shape(), like.device())?;
    Ok(mean.to_dtype(like.dtype())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Config;
    use candle_core::Device;

    fn model(seed: u64) -> Model {
        let classes = ["cat".to_string(), "dog".to_string()];
        let config = Config::named("resnet_mini", &classes).unwrap();
        Model::new(config, seed, &Device::Cpu).unwrap()
    }

    fn weight(model: &Model) -> Vec<f32> {
        let tensor = &model.tensors()["conv1.weight"];
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn the_ends_are_the_models_and_the_middle_is_between() {
        let (a, b) = (model(1), model(2));
        let both = [a.clone(), b.clone()];
        assert_eq!(weight(&average(&both, &[1.0, 0.0]).unwrap()), weight(&a));
        assert_eq!(weight(&average(&both, &[0.0, 1.0]).unwrap()), weight(&b));
        let middle = weight(&average(&both, &[0.25, 0.75]).unwrap());
        for ((a, b), middle) in weight(&a).iter().zip(weight(&b)).zip(middle) {
            let exact = 0.25 * f64::from(*a) + 0.75 * f64::from(b);
            assert_eq!(middle, exact as f32);
        }
    }

    #[test]
    fn different_structures_are_refused() {
        let config = Config::named("vit_mini", &["cat".to_string(), "dog".to_string()]).unwrap();
        let vit = Model::new(config, 1, &Device::Cpu).unwrap();
        assert!(average(&[model(1), vit], &[0.5, 0.5]).is_err());
        assert!(average(&[model(1)], &[0.5, 0.5]).is_err());
    }

    #[test]
    fn class_names_may_be_written_in_two_unicode_forms() {
        let model = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|it| it.to_string()).collect();
            let config = Config::named("vit_mini", &names).unwrap();
            Model::new(config, 0, &candle_core::Device::Cpu).unwrap()
        };
        let first = model(&["\u{e9}", "plain"]);
        let mean = average(&[first.clone(), model(&["e\u{301}", "plain"])], &[0.5, 0.5]).unwrap();
        assert_eq!(mean.config(), first.config());
        let error = average(&[first, model(&["plain", "e\u{301}"])], &[0.5, 0.5]).unwrap_err();
        let told = "models with different classes cannot be averaged: label 0 is `plain`";
        assert!(error.to_string().starts_with(told), "{error}");
    }
}
