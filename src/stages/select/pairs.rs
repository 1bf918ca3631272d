//! Which score is that of which model.

use std::collections::BTreeMap;

use crate::store::export::member_name;

/// For each model, the place of its score.
///
/// # Errors
/// A model without a score, or a score without a model, in words.
pub(super) fn pairs(
    models: &[BTreeMap<String, String>],
    scores: &[BTreeMap<String, String>],
) -> Result<Vec<usize>, String> {
    if models.len() != scores.len() {
        let (models, scores) = (models.len(), scores.len());
        return Err(format!("{scores} scores for {models} models"));
    }
    // Members of a list have no axes.
    if models.iter().chain(scores).all(BTreeMap::is_empty) {
        return Ok((0..models.len()).collect());
    }
    let mut places: BTreeMap<&BTreeMap<String, String>, usize> = BTreeMap::new();
    for (place, axes) in scores.iter().enumerate() {
        let name = || member_name(axes).unwrap_or_default();
        if places.insert(axes, place).is_some() {
            return Err(format!("two scores for {}", name()));
        }
    }
    let mut seen = BTreeMap::new();
    let mut pairs = Vec::new();
    for (index, axes) in models.iter().enumerate() {
        let name = || member_name(axes).unwrap_or_else(|| format!("model {}", index + 1));
        let place = places.get(axes).ok_or(format!("no score for {}", name()))?;
        if seen.insert(place, index).is_some() {
            return Err(format!("two models for the score of {}", name()));
        }
        pairs.push(*place);
    }
    Ok(pairs)
}
