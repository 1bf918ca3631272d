//! Which values and which combinations of `ot`'s parameters make sense.

use super::Ot;
use super::words::{Classes, Distance, Interval, Resampling, SolverMode, Weights};
use crate::workflow::kind::ParameterProblem;

impl Ot {
    pub(super) fn out_of_range(&self) -> Vec<ParameterProblem> {
        let mut problems = Vec::new();
        let mut demand = |fits: bool, field: &str, what: &str| {
            if !fits {
                problems.push(ParameterProblem::value(field, format!("must be {what}")));
            }
        };
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let share = |value: f64| (0.0..f64::INFINITY).contains(&value);
        demand(self.samples > 1, "samples", "at least 2");
        demand(positive(self.entreg), "entreg", "above 0");
        demand(positive(self.class_entreg), "class_entreg", "above 0");
        demand(positive(self.tolerance), "tolerance", "above 0");
        demand(self.min_class > 1, "min_class", "at least 2");
        demand(self.projections > 0, "projections", "at least 1");
        demand((1..=2).contains(&self.power), "power", "1 or 2");
        if let Some(interval) = &self.interval {
            demand(interval.repeats >= 20, "interval.repeats", "at least 20");
            let share = interval.share > 0.0 && interval.share < 1.0;
            demand(share, "interval.share", "between 0 and 1");
        }
        let bandwidth = self.bandwidth.is_none_or(positive);
        demand(bandwidth, "bandwidth", "above 0");
        demand(share(self.feature_weight), "feature_weight", "0 or more");
        demand(share(self.label_weight), "label_weight", "0 or more");
        let weights = self.feature_weight + self.label_weight > 0.0;
        demand(
            weights,
            "label_weight",
            "above 0 where `feature_weight` is 0",
        );
        problems
    }

    pub(super) fn no_rivals(&self) -> Option<ParameterProblem> {
        let all = |distance: Distance| {
            let asked = self.rivals.iter().chain([&self.distance]);
            asked.filter(|asked| **asked == distance).count()
        };
        let twice = self.rivals.iter().find(|rival| all(**rival) > 1)?;
        let message = format!("`{}` is asked for twice", twice.name());
        Some(ParameterProblem::value("rivals", message))
    }

    /// Options that say something to another distance than the one asked for.
    pub(super) fn out_of_place(&self) -> Vec<ParameterProblem> {
        use Distance::{Mmd, Otdd, SOtdd, Sinkhorn, SinkhornDivergence, Sliced, Wasserstein};
        let usual = Self::default();
        let entropic: &[Distance] = &[Otdd, Sinkhorn, SinkhornDivergence];
        let options: [(&str, bool, &[Distance]); 13] = [
            ("entreg", self.entreg != usual.entreg, entropic),
            ("mode", self.mode != usual.mode, entropic),
            ("tolerance", self.tolerance != usual.tolerance, entropic),
            ("debiased", self.debiased != usual.debiased, &[Otdd]),
            ("classes", self.classes != usual.classes, &[Otdd]),
            (
                "class_entreg",
                self.class_entreg != usual.class_entreg,
                &[Otdd],
            ),
            (
                "feature_weight",
                self.feature_weight != usual.feature_weight,
                &[Otdd],
            ),
            (
                "label_weight",
                self.label_weight != usual.label_weight,
                &[Otdd],
            ),
            ("min_class", self.min_class != usual.min_class, &[Otdd]),
            (
                "projections",
                self.projections != usual.projections,
                &[Sliced, SOtdd],
            ),
            ("power", self.power != usual.power, &[Wasserstein]),
            ("moments", self.moments != usual.moments, &[SOtdd]),
            ("bandwidth", self.bandwidth != usual.bandwidth, &[Mmd]),
        ];
        let mut problems = Vec::new();
        for (option, given, of) in options {
            let mut asked = self.rivals.iter().chain([&self.distance]);
            if given && !asked.any(|asked| of.contains(asked)) {
                let message = format!("`{option}` means nothing to `{}`", self.distance.name());
                let of: Vec<String> = of.iter().map(|of| format!("`{}`", of.name())).collect();
                let problem = ParameterProblem::value(option, message);
                problems.push(problem.hint(format!("it is an option of {}", of.join(", "))));
            }
        }
        let mut conflict = |option: &str, given: bool, with: &str| {
            if given {
                let message = format!("`{option}` means nothing with `{with}`");
                problems.push(ParameterProblem::value(option, message));
            }
        };
        let all = || self.rivals.iter().chain([&self.distance]);
        for (option, given, of) in [
            ("entreg", self.entreg != usual.entreg, Otdd),
            ("tolerance", self.tolerance != usual.tolerance, Otdd),
            ("debiased", self.debiased != usual.debiased, Otdd),
        ] {
            let alone = all().all(|asked| *asked == of || !entropic.contains(asked));
            let unused = given && alone && self.mode == SolverMode::Exact;
            conflict(option, unused, "mode: exact");
        }
        let exact = self.mode == SolverMode::Exact;
        let entropic_too = all().find(|asked| matches!(asked, Sinkhorn | SinkhornDivergence));
        if let Some(other) = entropic_too.filter(|_| exact) {
            conflict("mode", true, other.name());
        }
        let balanced = self.weights == Weights::Classes;
        if let Some(other) = all().find(|asked| balanced && !asked.takes_weights()) {
            conflict("weights", true, other.name());
        }
        let share = self
            .interval
            .as_ref()
            .map(|interval| (interval.by, interval.share));
        let unused = share.is_some_and(|(by, share)| {
            by == Resampling::Bootstrap && share != Interval::default().share
        });
        conflict("interval.share", unused, "by: bootstrap");
        let tolerance = self.tolerance != usual.tolerance;
        let unbounded = tolerance && self.mode == SolverMode::Reference;
        conflict("tolerance", unbounded, "mode: reference");
        let entropic = self.class_entreg != usual.class_entreg;
        let unused = entropic && self.classes != Classes::Points && self.distance == Otdd;
        conflict(
            "class_entreg",
            unused,
            "classes: gaussian, diagonal, upper_bound or exact",
        );
        problems
    }
}
