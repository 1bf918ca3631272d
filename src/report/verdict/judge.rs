//! Verdicts on published numbers and claims.

use super::bind::{Bound, BoundClaim};
use super::observe::{Observed, RepeatMasks, Repeats, observe};
use super::published::{Check, Claim, Published, Take};
use super::setting::Deviation;
use super::target::Target;
use crate::report::number::{Number, decimals_within, decimals_written};
use crate::report::view::View;

/// The verdict on a published number or a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The number differs by no more than its precision and the spread over repeats allow.
    Reproduced,
    /// It differs by more.
    Different,
    /// The claim holds.
    Same,
    /// The opposite of the claim holds.
    Opposite,
    /// Neither holds beyond the spread over repeats.
    Indistinguishable,
    /// There is only one repeat, so the spread is unknown.
    DifferenceOnly,
    /// It was measured in another setting than the published one.
    OtherSetting,
    /// The calibration numbers were not reproduced.
    NotCalibrated,
    NotRun,
}

impl Verdict {
    pub fn words(self) -> &'static str {
        match self {
            Self::Reproduced => "reproduced",
            Self::Different => "different",
            Self::Same => "same",
            Self::Opposite => "opposite",
            Self::Indistinguishable => "indistinguishable",
            Self::DifferenceOnly => "difference only",
            Self::OtherSetting => "other setting",
            Self::NotCalibrated => "not calibrated",
            Self::NotRun => "not run",
        }
    }

    /// Whether the verdict is a judgement.
    pub fn is_judged(self) -> bool {
        matches!(
            self,
            Self::Reproduced
                | Self::Different
                | Self::Same
                | Self::Opposite
                | Self::Indistinguishable
        )
    }

    /// Whether the result differs from the published one.
    pub fn is_difference(self) -> bool {
        matches!(self, Self::Different | Self::Opposite)
    }
}

/// A published number with its reproduction.
#[derive(Debug)]
pub struct JudgedValue {
    pub target: Target,
    pub published: f64,
    /// The allowed difference: the source's precision and twice the deviation over repeats.
    pub allowed: f64,
    pub observed: Option<Observed>,
    pub verdict: Verdict,
    /// Why there is no judgement, if the verdict does not say it.
    pub why: String,
    /// Indices of deviations.
    pub deviations: Vec<usize>,
    /// The index of its entry in the file.
    pub entry: usize,
}

impl JudgedValue {
    /// The decimals of its numbers: those of the published number and of the tolerance, both as
    /// written, and as many as show what is allowed.
    pub fn decimals(&self, published: &Published) -> usize {
        let tolerance = published.values[self.entry].tolerance;
        let written = decimals_written(self.published).max(decimals_written(tolerance));
        written.max(decimals_within(self.allowed, 0.05))
    }

    pub fn difference(&self) -> Option<f64> {
        self.observed
            .map(|observed| observed.value - self.published)
    }
}

/// A judged claim.
#[derive(Debug)]
pub struct JudgedClaim {
    pub claim: usize,
    pub verdict: Verdict,
    /// The numbers behind it, as text.
    pub evidence: String,
    pub deviations: Vec<usize>,
    pub targets: Vec<Target>,
}

/// A correlation that chance produces at least this often is not significant.
const SIGNIFICANT: f64 = 0.05;
/// Smaller differences are rounding.
const ROUNDING: f64 = 1e-9;

pub struct Judge<'a> {
    pub view: &'a View<'a>,
    pub behind: RepeatMasks,
    pub published: &'a Published,
    pub deviations: &'a [Deviation],
}

impl Judge<'_> {
    /// Judges all values. Calibration values come first and decide whether the others are judged.
    pub fn values(&self, bound: &[Bound]) -> (Vec<JudgedValue>, bool) {
        let mut judged: Vec<JudgedValue> = bound.iter().map(|bound| self.value(bound)).collect();
        let calibrates = |value: &JudgedValue| self.published.values[value.entry].calibration;
        let planned = |value: &&JudgedValue| calibrates(value) && !value.target.nodes.is_empty();
        let calibrated = judged
            .iter()
            .filter(planned)
            .all(|value| value.verdict == Verdict::Reproduced);
        if !calibrated {
            let others = judged.iter_mut().filter(|value| !calibrates(value));
            for value in others.filter(|value| value.verdict.is_judged()) {
                value.verdict = Verdict::NotCalibrated;
            }
        }
        (judged, calibrated)
    }

    fn value(&self, bound: &Bound) -> JudgedValue {
        let target = &bound.target;
        let tolerance = self.published.values[bound.entry].tolerance;
        let deviations = self.deviations_of(target);
        let mut judged = JudgedValue {
            target: target.clone(),
            published: bound.published,
            allowed: tolerance,
            observed: None,
            verdict: Verdict::NotRun,
            why: String::new(),
            deviations,
            entry: bound.entry,
        };
        let observed = match observe(self.view, &self.behind, target) {
            Ok(observed) => observed,
            Err(why) => return JudgedValue { why, ..judged },
        };
        judged.observed = Some(observed);
        judged.allowed += 2.0 * observed.deviation.unwrap_or_default();
        let difference = (observed.value - bound.published).abs();
        judged.verdict = match self.unjudged(&judged.deviations, &[observed]) {
            Some(verdict) => verdict,
            None if difference <= judged.allowed + ROUNDING => Verdict::Reproduced,
            None => Verdict::Different,
        };
        judged
    }

    /// Why existing numbers can't be judged.
    fn unjudged(&self, deviations: &[usize], observed: &[Observed]) -> Option<Verdict> {
        let barred = |place: &usize| !self.deviations[*place].judge;
        if deviations.iter().any(barred) {
            return Some(Verdict::OtherSetting);
        }
        let single = |observed: &Observed| observed.repeats == Repeats::One;
        observed
            .iter()
            .any(single)
            .then_some(Verdict::DifferenceOnly)
    }

    fn deviations_of(&self, target: &Target) -> Vec<usize> {
        let touches = |deviation: &Deviation| {
            let mut nodes = target.nodes.iter();
            nodes.any(|node| deviation.touches_metric(self.view.graph, *node, &target.metric))
        };
        let places = self.deviations.iter().enumerate();
        places
            .filter(|(_, deviation)| touches(deviation))
            .map(|(place, _)| place)
            .collect()
    }

    pub fn claims(&self, bound: &[BoundClaim], calibrated: bool) -> Vec<JudgedClaim> {
        let judge = |bound: &BoundClaim| {
            let mut judged = self.claim(bound);
            if !calibrated && judged.verdict.is_judged() {
                judged.verdict = Verdict::NotCalibrated;
            }
            judged
        };
        bound.iter().map(judge).collect()
    }

    fn claim(&self, bound: &BoundClaim) -> JudgedClaim {
        let claim: &Claim = &self.published.claims[bound.claim];
        let firsts: Vec<Target> = match claim.take {
            Some(take) => bound
                .targets
                .iter()
                .flat_map(|targets| self.taken(targets, take))
                .collect(),
            None => bound.targets.concat(),
        };
        let is_first = |target: &&Target| firsts.iter().all(|first| first.name != target.name);
        let others: Vec<Target> = bound.among.iter().filter(is_first).cloned().collect();
        let targets: Vec<Target> = firsts.iter().chain(&others).cloned().collect();
        let mut deviations: Vec<usize> = targets
            .iter()
            .flat_map(|target| self.deviations_of(target))
            .collect();
        deviations.sort_unstable();
        deviations.dedup();
        let mut judged = JudgedClaim {
            claim: bound.claim,
            verdict: Verdict::NotRun,
            evidence: String::new(),
            deviations,
            targets: targets.clone(),
        };
        let observed = targets
            .iter()
            .map(|target| observe(self.view, &self.behind, target));
        let observed: Vec<Observed> = match observed.collect() {
            Ok(observed) => observed,
            Err(why) => {
                judged.evidence = why;
                return judged;
            }
        };
        let (first, rest) = observed.split_at(firsts.len());
        judged.evidence = evidence(&claim.check, first, rest, &others);
        judged.verdict = match self.unjudged(&judged.deviations, &observed) {
            Some(verdict) => verdict,
            None => holds(&claim.check, first, rest),
        };
        judged
    }
}

impl Judge<'_> {
    /// The target that counts; all of them while one is missing.
    fn taken(&self, targets: &[Target], take: Take) -> Vec<Target> {
        let observed = targets
            .iter()
            .map(|target| Ok((observe(self.view, &self.behind, target)?.value, target)));
        let observed: Result<Vec<(f64, &Target)>, String> = observed.collect();
        let Ok(observed) = observed else {
            return targets.to_vec();
        };
        let compare = |a: &&(f64, &Target), b: &&(f64, &Target)| a.0.total_cmp(&b.0);
        let taken = match take {
            Take::Highest => observed.iter().max_by(compare),
            Take::Lowest => observed.iter().min_by(compare),
        };
        taken
            .map(|(_, target)| (*target).clone())
            .into_iter()
            .collect()
    }
}

/// One comparison: clearly true, clearly false, or neither.
fn holds(check: &Check, first: &[Observed], rest: &[Observed]) -> Verdict {
    let comparisons: Vec<Verdict> = match check {
        Check::Ascending(_) => first
            .windows(2)
            .map(|pair| larger(&pair[1], &pair[0]))
            .collect(),
        Check::Positive(_) => first.iter().map(positive).collect(),
        Check::Negative(_) => first.iter().map(positive).map(reversed).collect(),
        Check::Highest { .. } => rest.iter().map(|other| larger(&first[0], other)).collect(),
        Check::Lowest { .. } => rest.iter().map(|other| larger(other, &first[0])).collect(),
    };
    // One clear contradiction refutes a claim; one unclear comparison leaves it open.
    if comparisons.contains(&Verdict::Opposite) {
        return Verdict::Opposite;
    }
    match comparisons.contains(&Verdict::Indistinguishable) || comparisons.is_empty() {
        true => Verdict::Indistinguishable,
        false => Verdict::Same,
    }
}

/// Whether `a` exceeds `b` by more than twice the deviation of their difference.
fn larger(a: &Observed, b: &Observed) -> Verdict {
    let square = |observed: &Observed| observed.deviation.unwrap_or_default().powi(2);
    beyond(a.value - b.value, 2.0 * (square(a) + square(b)).sqrt())
}

/// Whether a number is above 0: by more than twice its deviation over repeats, or, without repeats,
/// by its own interval.
fn positive(observed: &Observed) -> Verdict {
    if observed
        .p_value
        .is_some_and(|p_value| p_value >= SIGNIFICANT)
    {
        return Verdict::Indistinguishable;
    }
    match (observed.deviation, observed.interval) {
        (None, Some([low, _])) if low > 0.0 => Verdict::Same,
        (None, Some([_, high])) if high < 0.0 => Verdict::Opposite,
        (None, Some(_)) => Verdict::Indistinguishable,
        (deviation, _) => beyond(observed.value, 2.0 * deviation.unwrap_or_default()),
    }
}

fn beyond(difference: f64, noise: f64) -> Verdict {
    match difference {
        _ if difference > noise + ROUNDING => Verdict::Same,
        _ if difference < -noise - ROUNDING => Verdict::Opposite,
        _ => Verdict::Indistinguishable,
    }
}

fn reversed(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Same => Verdict::Opposite,
        Verdict::Opposite => Verdict::Same,
        other => other,
    }
}

/// `-38.03 < -12.1 < -9.2`, with deviations if known.
fn evidence(check: &Check, first: &[Observed], rest: &[Observed], others: &[Target]) -> String {
    let joined = |observed: &[Observed], between: &str| {
        let words: Vec<String> = observed.iter().map(in_words).collect();
        words.join(between)
    };
    match check {
        Check::Ascending(_) => joined(first, ", "),
        Check::Positive(_) | Check::Negative(_) => joined(first, ", "),
        Check::Highest { .. } | Check::Lowest { .. } => {
            let compare = |a: &(&Observed, &Target), b: &(&Observed, &Target)| {
                a.0.value.total_cmp(&b.0.value)
            };
            let pairs = rest.iter().zip(others);
            let best = match check {
                Check::Highest { .. } => pairs.max_by(compare),
                _ => pairs.min_by(compare),
            };
            let against = best.map(|(observed, target)| {
                format!(" against {} of {}", in_words(observed), target.name)
            });
            format!("{}{}", joined(first, ", "), against.unwrap_or_default())
        }
    }
}

fn in_words(observed: &Observed) -> String {
    let noise = match (observed.deviation, observed.interval) {
        (Some(deviation), _) => deviation,
        (None, Some([low, high])) => high - low,
        (None, None) => 0.0,
    };
    // Numbers of another scale than percent are not all 0.00.
    let scale = if noise > 0.0 { noise } else { observed.value };
    let decimals = decimals_within(scale, 0.05);
    let number = |value: f64| Number::hundredths(value, false).at_least(decimals).ascii();
    let value = number(observed.value);
    if let Some(p_value) = observed.p_value {
        return format!("{value}, p {p_value:.3}");
    }
    match (observed.deviation, observed.interval) {
        (Some(deviation), _) => format!("{value} (sd {})", number(deviation)),
        (None, Some([low, high])) => {
            format!("{value} (95 % {} to {})", number(low), number(high))
        }
        _ => value,
    }
}
