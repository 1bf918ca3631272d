//! Whether scores are those of the models, and of one dataset. A score that is not an evaluation can't
//! be checked.

use super::pairs::pairs;
use super::{DATA, MODELS, SCORES};
use crate::store::export::member_name;
use crate::workflow::kind::{Origin, Origins, ParameterProblem};

/// The inputs of an evaluation.
const MODEL: &str = "model";

pub(super) fn problems(origins: &Origins) -> Vec<ParameterProblem> {
    let found = [
        other_models(origins),
        other_data(origins),
        soup_data(origins),
    ];
    found.into_iter().flatten().collect()
}

fn members<'a>(origins: &'a Origins, input: &str) -> &'a [Origin] {
    origins.get(input).map_or(&[], Vec::as_slice)
}

/// The first score of another model.
fn other_models(origins: &Origins) -> Option<ParameterProblem> {
    let (models, scores) = (members(origins, MODELS), members(origins, SCORES));
    let axes = |members: &[Origin]| Vec::from_iter(members.iter().map(|it| it.axes.clone()));
    // Reported by the check of the inputs.
    let pairs = pairs(&axes(models), &axes(scores)).ok()?;
    let mut pairs = models.iter().zip(pairs).zip(1..);
    pairs.find_map(|((model, score), place)| {
        let score = &scores[score];
        let of = score.measured(MODEL)?;
        if of.is_same(&model.output) {
            return None;
        }
        let (score_id, of, id) = (&score.output.id, &of.id, &model.output.id);
        let (name, hint) = match member_name(&model.axes) {
            Some(name) => (
                name,
                "pin the same values of the other axes in `models` and in `scores`",
            ),
            None => (
                format!("model {place}"),
                "list the scores in the order of the models",
            ),
        };
        let message =
            format!("the score of {name}, `{score_id}`, is that of `{of}` and not of `{id}`");
        Some(ParameterProblem::input(SCORES, message).hint(hint))
    })
}

/// The first score on another dataset than the first one.
fn other_data(origins: &Origins) -> Option<ParameterProblem> {
    let scores = members(origins, SCORES).iter();
    let mut scores = scores.filter_map(|it| Some((it, it.measured(DATA)?)));
    let (first, data) = scores.next()?;
    let (other, other_data) = scores.find(|(_, it)| !it.is_same(data))?;
    let message = format!(
        "the scores are of different data: `{}` is on `{}`, and `{}` on `{}`",
        first.output.id, data.id, other.output.id, other_data.id
    );
    let hint = "evaluate all models on the same dataset";
    Some(ParameterProblem::input(SCORES, message).hint(hint))
}

/// A soup that is scored on other data than its candidates.
fn soup_data(origins: &Origins) -> Option<ParameterProblem> {
    let data = members(origins, DATA).first()?;
    let mut scores = members(origins, SCORES).iter();
    let of = scores.find_map(|it| it.measured(DATA))?;
    if of.is_same(&data.output) {
        return None;
    }
    let (data, of) = (&data.output.id, &of.id);
    let message = format!("`{DATA}` is `{data}`, and the scores are on `{of}`");
    let hint = "`data` must be the dataset that the scores were measured on";
    Some(ParameterProblem::input(DATA, message).hint(hint))
}
