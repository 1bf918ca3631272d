//! What kinds know about the classes of their inputs and outputs before anything has run.

use std::sync::Arc;

use crate::ml::data::classes;
use crate::ml::train::classes::class_columns;
use crate::workflow::kind::{ClassForecast, InputClasses, ParameterProblem};

/// Names of classes.
pub type Classes = Arc<[String]>;

/// The code of a problem with classes that do not fit.
const CODE: &str = "other-classes";

/// The classes of the one member of an input.
pub fn of(inputs: &InputClasses, name: &str) -> Option<Classes> {
    inputs.get(name)?.first()?.clone()
}

/// A forecast of one port.
pub fn giving(port: &'static str, classes: Option<Classes>) -> ClassForecast {
    ClassForecast {
        outputs: classes.map(|classes| (port, classes)).into_iter().collect(),
        problems: Vec::new(),
    }
}

/// Whether the classes of the input `data` are among those of the input `model`.
pub fn unmatched(inputs: &InputClasses, model: &str, data: &str) -> Option<ParameterProblem> {
    let (of_model, of_data) = (of(inputs, model)?, of(inputs, data)?);
    // The usual case, and fast: there may be thousands of nodes.
    if is_sorted_part(&of_data, &of_model) {
        return None;
    }
    let mismatch = class_columns(&of_model, &of_data).err()?;
    Some(problem(data, mismatch.message).hint(mismatch.hint))
}

/// Whether both lists are sorted without duplicates, and `part` is in `whole`.
fn is_sorted_part(part: &[String], whole: &[String]) -> bool {
    let ascends = |names: &[String]| names.is_sorted_by(|a, b| a < b);
    let mut rest = whole.iter();
    ascends(part) && ascends(whole) && part.iter().all(|name| rest.any(|other| other == name))
}

/// The first difference between the classes of the members of an input. `is_ordered`: their order
/// matters.
pub fn difference(
    members: &[Option<Classes>],
    input: &str,
    is_ordered: bool,
) -> Option<ParameterProblem> {
    let mut known = members
        .iter()
        .zip(1..)
        .filter_map(|(it, at)| Some((it.as_ref()?, at)));
    let (first, place) = known.next()?;
    known.find_map(|(other, at)| {
        let is_same = Arc::ptr_eq(first, other);
        if is_same || (!is_ordered && classes::labels_in(first, other).is_some()) {
            return None;
        }
        let difference = classes::difference(first, other)?;
        let message = format!(
            "the classes of member {at} of `{input}` differ from those of member {place}: {difference}"
        );
        Some(problem(input, message))
    })
}

/// A problem with the classes of an input.
pub fn problem(input: &str, message: impl Into<String>) -> ParameterProblem {
    ParameterProblem {
        code: CODE,
        ..ParameterProblem::input(input, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_of_a_sorted_list() {
        let names = |text: &str| -> Vec<String> { text.split(' ').map(str::to_string).collect() };
        let is_part = |part: &str, whole: &str| is_sorted_part(&names(part), &names(whole));
        assert!(is_part("a c", "a b c") && is_part("a b", "a b"));
        for (part, whole) in [
            ("c a", "a b c"),
            ("a d", "a b c"),
            ("a", "b a"),
            ("a a", "a"),
        ] {
            assert!(!is_part(part, whole), "{part} in {whole}");
        }
    }
}
