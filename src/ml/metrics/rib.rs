//! Robustness improvement (RI), its mean over fine-tuning datasets (mRI), and the drop on the
//! data that a model was pre-trained on, as ImageNet-RIB (arXiv 2410.21582) defines them:
//!
//! ```text
//! RI_i^j = A_i^(j) - A_pre^(j)          fine-tuned on i, tested on j ≠ i
//! RI_i   = mean over j ≠ i of RI_i^j
//! mRI    = mean over i of RI_i
//! before = mean over i of mean over j ≠ i of A_pre^(j)      after = the same of A_i^(j)
//! drop_i = A_pre^(p) - A_i^(p)          p: the held-out set of the pre-training data
//! ```
//!
//! so that mRI = after - before. If the same datasets are used for fine-tuning and testing, each is
//! left out once and `before` is the plain mean of A_pre. A dataset's accuracy on itself is never
//! used; p is in no RI. Any other missing value is an error, never a smaller mean.

use std::collections::{BTreeMap, BTreeSet};

use super::estimate::{Estimate, estimate, mean};

/// The accuracy of the model before fine-tuning on one dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct Before {
    pub tested_on: String,
    /// `None`: the same model for every repeat.
    pub repeat: Option<String>,
    pub accuracy: f64,
}

/// The accuracy of a fine-tuned model on one dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct After {
    pub tuned_on: String,
    pub tested_on: String,
    pub repeat: Option<String>,
    pub accuracy: f64,
}

/// RI and related means, each over repeats, in the unit of the accuracies.
#[derive(Clone, Debug, PartialEq)]
pub struct Robustness {
    pub mri: Estimate,
    pub before: Estimate,
    pub after: Estimate,
    /// Mean over fine-tuning datasets of the accuracy lost on the pre-training data; positive if
    /// accuracy fell. `None` without a pre-training dataset.
    pub drop: Option<Estimate>,
    /// Sorted by name.
    pub domains: Vec<Domain>,
}

/// The effect of fine-tuning on one dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct Domain {
    pub tuned_on: String,
    pub ri: Estimate,
    /// RI_i^j for each j ≠ i, sorted by name.
    pub differences: Vec<Difference>,
    /// The change of accuracy on the pre-training data, as a `Difference` (so negative if accuracy
    /// fell); `None` without such a dataset, or if the model was tuned on it.
    pub pretrained: Option<Difference>,
}

/// One accuracy before and after.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    pub tested_on: String,
    pub before: Estimate,
    pub after: Estimate,
    /// After minus before.
    pub change: Estimate,
}

/// Why robustness can't be computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RibError {
    #[error("there is no fine-tuned model to judge")]
    NothingTuned,
    #[error("`{0}` was tuned on, but there is no other dataset to test it on")]
    NothingElse(String),
    #[error("no accuracy before fine-tuning on `{}`{}", .0.tested_on, of_repeat(&.0.repeat))]
    MissingBefore(Cell),
    #[error("no accuracy after fine-tuning on `{}`, tested on `{}`{}",
        .0.tuned_on.as_deref().unwrap_or("?"), .0.tested_on, of_repeat(&.0.repeat))]
    MissingAfter(Cell),
    #[error("two accuracies for the same cell: {0}")]
    Duplicate(Cell),
}

/// The coordinates of one accuracy; `tuned_on` is `None` before fine-tuning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    pub tuned_on: Option<String>,
    pub tested_on: String,
    pub repeat: Option<String>,
}

impl std::fmt::Display for Cell {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.tuned_on {
            Some(tuned_on) => write!(formatter, "tuned on `{tuned_on}`, ")?,
            None => write!(formatter, "before fine-tuning, ")?,
        }
        let repeat = of_repeat(&self.repeat);
        write!(formatter, "tested on `{}`{repeat}", self.tested_on)
    }
}

fn of_repeat(repeat: &Option<String>) -> String {
    repeat
        .as_ref()
        .map_or(String::new(), |id| format!(" (repeat `{id}`)"))
}

/// The cells that a set of coordinates requires: every (tuned on, tested on ≠ tuned on, repeat),
/// and the cells before fine-tuning that they are compared with.
#[derive(Clone, Debug, PartialEq)]
pub struct Design {
    tuned_on: BTreeSet<String>,
    /// Without the pre-training dataset.
    tested_on: BTreeSet<String>,
    repeats: BTreeSet<Option<String>>,
    pretrained_on: Option<String>,
    /// One model before fine-tuning for all repeats.
    shared_before: bool,
}

impl Design {
    /// The design that `before` and `after` span; checks that they fill it.
    pub fn new(
        before: &[Cell],
        after: &[Cell],
        pretrained_on: Option<&str>,
    ) -> Result<Self, RibError> {
        let tuned_on: BTreeSet<String> = after
            .iter()
            .filter_map(|cell| cell.tuned_on.clone())
            .collect();
        if tuned_on.is_empty() {
            return Err(RibError::NothingTuned);
        }
        let design = Self {
            tuned_on,
            tested_on: before
                .iter()
                .chain(after)
                .map(|cell| cell.tested_on.clone())
                .filter(|id| Some(id.as_str()) != pretrained_on)
                .collect(),
            repeats: after.iter().map(|cell| cell.repeat.clone()).collect(),
            pretrained_on: pretrained_on.map(str::to_string),
            shared_before: before.iter().all(|cell| cell.repeat.is_none()),
        };
        design.check(before, after)?;
        Ok(design)
    }

    fn check(&self, before: &[Cell], after: &[Cell]) -> Result<(), RibError> {
        let known = unique(before.iter().chain(after))?;
        for tuned_on in &self.tuned_on {
            if self.others(tuned_on).next().is_none() {
                return Err(RibError::NothingElse(tuned_on.clone()));
            }
            for tested_on in self.others(tuned_on).chain(self.pretrained(tuned_on)) {
                for repeat in &self.repeats {
                    let before = self.before(tested_on, repeat);
                    if !known.contains(&before) {
                        return Err(RibError::MissingBefore(before));
                    }
                    let after = self.after(tuned_on, tested_on, repeat);
                    if !known.contains(&after) {
                        return Err(RibError::MissingAfter(after));
                    }
                }
            }
        }
        Ok(())
    }

    /// The datasets that a model tuned on `tuned_on` is tested on for its RI.
    fn others<'a>(&'a self, tuned_on: &'a str) -> impl Iterator<Item = &'a str> {
        let tested_on = self.tested_on.iter().map(String::as_str);
        tested_on.filter(move |id| *id != tuned_on)
    }

    /// The pre-training dataset, unless the model was tuned on it.
    fn pretrained<'a>(&'a self, tuned_on: &str) -> Option<&'a str> {
        let pretrained_on = self.pretrained_on.as_deref();
        pretrained_on.filter(|id| *id != tuned_on)
    }

    fn before(&self, tested_on: &str, repeat: &Option<String>) -> Cell {
        Cell {
            tuned_on: None,
            tested_on: tested_on.to_string(),
            repeat: if self.shared_before {
                None
            } else {
                repeat.clone()
            },
        }
    }

    fn after(&self, tuned_on: &str, tested_on: &str, repeat: &Option<String>) -> Cell {
        Cell {
            tuned_on: Some(tuned_on.to_string()),
            tested_on: tested_on.to_string(),
            repeat: repeat.clone(),
        }
    }
}

fn unique<'a>(cells: impl Iterator<Item = &'a Cell>) -> Result<BTreeSet<Cell>, RibError> {
    let mut known = BTreeSet::new();
    for cell in cells {
        if !known.insert(cell.clone()) {
            return Err(RibError::Duplicate(cell.clone()));
        }
    }
    Ok(known)
}

/// RI, mRI, before, after and drop. `pretrained_on` names the test dataset that is the held-out set
/// of the pre-training data.
///
/// Sums run in the order of names, so the order of the cells does not affect the bits.
///
/// # Errors
/// A missing or duplicate cell, or nothing to compare; see [`RibError`].
pub fn robustness(
    before: &[Before],
    after: &[After],
    pretrained_on: Option<&str>,
) -> Result<Robustness, RibError> {
    let before: Vec<(Cell, f64)> = before.iter().map(Before::cell).collect();
    let after: Vec<(Cell, f64)> = after.iter().map(After::cell).collect();
    let cells =
        |side: &[(Cell, f64)]| -> Vec<Cell> { side.iter().map(|(cell, _)| cell.clone()).collect() };
    let design = Design::new(&cells(&before), &cells(&after), pretrained_on)?;
    let table = Table {
        accuracies: before.into_iter().chain(after).collect(),
        design,
    };
    table.robustness()
}

impl Before {
    fn cell(&self) -> (Cell, f64) {
        let cell = Cell {
            tuned_on: None,
            tested_on: self.tested_on.clone(),
            repeat: self.repeat.clone(),
        };
        (cell, self.accuracy)
    }
}

impl After {
    fn cell(&self) -> (Cell, f64) {
        let cell = Cell {
            tuned_on: Some(self.tuned_on.clone()),
            tested_on: self.tested_on.clone(),
            repeat: self.repeat.clone(),
        };
        (cell, self.accuracy)
    }
}

/// A complete design.
struct Table {
    design: Design,
    accuracies: BTreeMap<Cell, f64>,
}

/// The means of one repeat for one fine-tuning dataset.
struct RepeatMeans {
    ri: f64,
    before: f64,
    after: f64,
    drop: Option<f64>,
}

impl Table {
    fn robustness(&self) -> Result<Robustness, RibError> {
        // [repeat][domain]
        let mut means = Vec::new();
        for repeat in &self.design.repeats {
            let domains = self.design.tuned_on.iter();
            let of_repeat: Result<Vec<RepeatMeans>, RibError> =
                domains.map(|id| self.means(id, repeat)).collect();
            means.push(of_repeat?);
        }
        let over_domains = |pick: fn(&RepeatMeans) -> Option<f64>| {
            let of_repeats: Vec<f64> = means
                .iter()
                .filter_map(|domains| mean(&domains.iter().filter_map(pick).collect::<Vec<_>>()))
                .collect();
            estimate(&of_repeats)
        };
        let domains = self.design.tuned_on.iter().enumerate();
        Ok(Robustness {
            mri: over_domains(|domain| Some(domain.ri)).ok_or(RibError::NothingTuned)?,
            before: over_domains(|domain| Some(domain.before)).ok_or(RibError::NothingTuned)?,
            after: over_domains(|domain| Some(domain.after)).ok_or(RibError::NothingTuned)?,
            drop: over_domains(|domain| domain.drop),
            domains: domains
                .map(|(index, id)| {
                    let ri: Vec<f64> = means.iter().map(|domains| domains[index].ri).collect();
                    self.domain(id, &ri)
                })
                .collect::<Result<_, _>>()?,
        })
    }

    fn means(&self, tuned_on: &str, repeat: &Option<String>) -> Result<RepeatMeans, RibError> {
        let (mut before, mut after, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        for tested_on in self.design.others(tuned_on) {
            let [was, is] = self.pair(tuned_on, tested_on, repeat)?;
            before.push(was);
            after.push(is);
            changes.push(is - was);
        }
        let nothing_else = || RibError::NothingElse(tuned_on.to_string());
        let drop = match self.design.pretrained(tuned_on) {
            Some(id) => {
                let [was, is] = self.pair(tuned_on, id, repeat)?;
                Some(was - is)
            }
            None => None,
        };
        Ok(RepeatMeans {
            ri: mean(&changes).ok_or_else(nothing_else)?,
            before: mean(&before).ok_or_else(nothing_else)?,
            after: mean(&after).ok_or_else(nothing_else)?,
            drop,
        })
    }

    fn domain(&self, tuned_on: &str, ri: &[f64]) -> Result<Domain, RibError> {
        let pretrained = self.design.pretrained(tuned_on);
        Ok(Domain {
            tuned_on: tuned_on.to_string(),
            ri: estimate(ri).ok_or(RibError::NothingTuned)?,
            differences: self
                .design
                .others(tuned_on)
                .map(|tested_on| self.difference(tuned_on, tested_on))
                .collect::<Result<_, _>>()?,
            pretrained: pretrained
                .map(|id| self.difference(tuned_on, id))
                .transpose()?,
        })
    }

    fn difference(&self, tuned_on: &str, tested_on: &str) -> Result<Difference, RibError> {
        let (mut before, mut after, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        for repeat in &self.design.repeats {
            let [was, is] = self.pair(tuned_on, tested_on, repeat)?;
            before.push(was);
            after.push(is);
            changes.push(is - was);
        }
        // One model for all repeats is one number, not several equal ones.
        if self.design.shared_before {
            before.truncate(1);
        }
        Ok(Difference {
            tested_on: tested_on.to_string(),
            before: estimate(&before).ok_or(RibError::NothingTuned)?,
            after: estimate(&after).ok_or(RibError::NothingTuned)?,
            change: estimate(&changes).ok_or(RibError::NothingTuned)?,
        })
    }

    /// The accuracies before and after.
    fn pair(
        &self,
        tuned_on: &str,
        tested_on: &str,
        repeat: &Option<String>,
    ) -> Result<[f64; 2], RibError> {
        let before = self.design.before(tested_on, repeat);
        let after = self.design.after(tuned_on, tested_on, repeat);
        let was = self.accuracies.get(&before).copied();
        let is = self.accuracies.get(&after).copied();
        Ok([
            was.ok_or(RibError::MissingBefore(before))?,
            is.ok_or(RibError::MissingAfter(after))?,
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAMES: [&str; 4] = ["a", "b", "c", "d"];

    /// `grid[i][j]`: tuned on i, tested on j; the last test column is the source's own set.
    fn sides(pre: &[f64], grid: &[Vec<f64>], own: bool) -> (Vec<Before>, Vec<After>) {
        let name = |index: usize| match NAMES.get(index) {
            Some(name) if index < grid.len() => name.to_string(),
            _ => "own".to_string(),
        };
        let before = pre.iter().enumerate().map(|(j, accuracy)| Before {
            tested_on: name(j),
            repeat: None,
            accuracy: *accuracy,
        });
        let after = grid.iter().enumerate().flat_map(|(i, row)| {
            let cells = row.iter().enumerate();
            cells
                .filter(move |(j, _)| own || i != *j)
                .map(move |(j, accuracy)| After {
                    tuned_on: name(i),
                    tested_on: name(j),
                    repeat: None,
                    accuracy: *accuracy,
                })
        });
        (before.collect(), after.collect())
    }

    #[test]
    fn a_missing_cell_is_named() {
        let grid = vec![vec![1.0; 4]; 3];
        let (before, mut after) = sides(&[0.5; 4], &grid, false);
        assert!(robustness(&before, &after, Some("own")).is_ok());
        let gone = after.remove(1);
        let error = robustness(&before, &after, Some("own")).unwrap_err();
        let said = "no accuracy after fine-tuning on `a`, tested on `c`";
        assert_eq!(
            (gone.tested_on.as_str(), error.to_string().as_str()),
            ("c", said)
        );
        after.push(gone);
        after.push(after[0].clone());
        let error = robustness(&before, &after, Some("own")).unwrap_err();
        assert!(matches!(error, RibError::Duplicate(_)), "{error}");
        let error = robustness(&before[1..], &after[1..], Some("own")).unwrap_err();
        assert_eq!(error.to_string(), "no accuracy before fine-tuning on `a`");
    }

    #[test]
    fn repeats_give_intervals_and_pair_with_their_own_baseline() {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (seed, gain) in [("0", 1.0), ("1", 2.0), ("2", 3.0)] {
            let (mut pre, mut post) = sides(
                &[10.0 * gain, 20.0, 90.0],
                &[
                    vec![0.0, 20.0 + gain, 90.0],
                    vec![10.0 * gain + gain, 0.0, 80.0],
                ],
                false,
            );
            pre.iter_mut()
                .for_each(|cell| cell.repeat = Some(seed.into()));
            post.iter_mut()
                .for_each(|cell| cell.repeat = Some(seed.into()));
            before.extend(pre);
            after.extend(post);
        }
        let found = robustness(&before, &after, Some("own")).unwrap();
        assert_eq!(found.mri, estimate(&[1.0, 2.0, 3.0]).unwrap());
        assert_eq!(found.drop, estimate(&[5.0; 3]));
        assert_eq!(
            found.domains[1].pretrained.as_ref().unwrap().change.mean,
            -10.0
        );
    }

    proptest! {
        #[test]
        fn mri_is_after_minus_before_and_own_cells_count_for_nothing(
            pre in proptest::collection::vec(0.0..100.0f64, 5),
            grid in proptest::collection::vec(proptest::collection::vec(0.0..100.0f64, 5), 4),
        ) {
            let (before, after) = sides(&pre, &grid, false);
            let found = robustness(&before, &after, Some("own")).unwrap();
            let identity = found.after.mean - found.before.mean - found.mri.mean;
            prop_assert!(identity.abs() < 1e-10);
            prop_assert!((found.before.mean - pre[..4].iter().sum::<f64>() / 4.0).abs() < 1e-10);
            let (before, mut with_own) = sides(&pre, &grid, true);
            with_own.reverse();
            prop_assert_eq!(robustness(&before, &with_own, Some("own")).unwrap(), found.clone());
            let unchanged: Vec<Vec<f64>> = grid.iter().map(|_| pre.clone()).collect();
            let (before, after) = sides(&pre, &unchanged, false);
            let still = robustness(&before, &after, Some("own")).unwrap();
            prop_assert_eq!((still.mri.mean, still.drop.unwrap().mean), (0.0, 0.0));
        }
    }
}
