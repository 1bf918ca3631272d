//! Validates the parameters of `ot` and their combinations.

use super::parameters::{Interval, Resampling, Weights};
use super::{Comparing, Ot};
use crate::workflow::kind::ParameterProblem;

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
