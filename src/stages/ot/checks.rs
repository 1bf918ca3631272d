//! Validates the parameters of `ot` and their combinations.

use super::parameters::{Interval, Mask, Resampling, Weights};
use super::side::common;
use super::{Comparing, Ot};
use crate::ml::data::classes::ClassIndex;
use crate::stages::choice::WordOr;
use crate::stages::known_classes::{self, Classes};
use crate::workflow::kind::{InputClasses, ParameterProblem};

impl Ot {
    pub(super) fn problems(&self) -> Vec<ParameterProblem> {
        let mut problems: Vec<ParameterProblem> = Vec::new();
        for distance in self.common.all() {
            for problem in self.options(distance).problems() {
                let known = |it: &ParameterProblem| {
                    it.path == [problem.option] && it.message == problem.message
                };
                // Distances share options.
                if !problems.iter().any(known) {
                    problems.push(problem.into());
                }
            }
        }
        problems.extend(self.misplaced_options());
        problems.extend(self.unweighted());
        problems.extend(self.common.unused_share());
        problems.extend(self.common.no_rivals());
        problems
    }

    /// Classes of `mask` that a dataset does not have.
    pub(super) fn mask_problems(&self, inputs: &InputClasses) -> Vec<ParameterProblem> {
        let (a, b) = (
            known_classes::of(inputs, "a"),
            known_classes::of(inputs, "b"),
        );
        let missing = |names: &[String], (side, classes): (&str, &Option<Classes>)| {
            let index = ClassIndex::new(classes.as_ref()?);
            let missing = names.iter().find(|name| index.find(name).is_empty())?;
            let message = format!("`{side}` has no class `{missing}`, which `mask` names");
            Some(known_classes::problem(side, message))
        };
        match (&self.common.mask, &a, &b) {
            (Some(WordOr::Other(names)), ..) => {
                let sides = [("a", &a), ("b", &b)].into_iter();
                sides.filter_map(|side| missing(names, side)).collect()
            }
            (Some(WordOr::Word(Mask::Common)), Some(a), Some(b)) if common(a, b).is_empty() => {
                let message = "`a` and `b` have no class in common, so `mask` excludes all";
                vec![known_classes::problem("b", message)]
            }
            _ => Vec::new(),
        }
    }

    /// `weights: classes` with a distance that does not support weights.
    fn unweighted(&self) -> Option<ParameterProblem> {
        let balanced = self.common.weights == Weights::Classes;
        let mut all = self.common.all().filter(|_| balanced);
        let other = all.find(|distance| !self.options(*distance).takes_weights())?;
        Some(conflict("weights", other.name()))
    }
}

fn conflict(option: &str, with: &str) -> ParameterProblem {
    let message = format!("`{option}` has no effect with `{with}`");
    ParameterProblem::value(option, message)
}

impl Comparing {
    fn no_rivals(&self) -> Option<ParameterProblem> {
        let times = |wanted| self.all().filter(|distance| *distance == wanted).count();
        let twice = self.rivals.iter().find(|rival| times(**rival) > 1)?;
        let message = format!("`{}` is listed twice", twice.name());
        Some(ParameterProblem::value("rivals", message))
    }

    fn unused_share(&self) -> Option<ParameterProblem> {
        let interval = self.interval.as_ref()?;
        let unused =
            interval.by == Resampling::Bootstrap && interval.share != Interval::default().share;
        unused.then(|| conflict("interval.share", "by: bootstrap"))
    }
}
