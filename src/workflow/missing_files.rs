//! Checks the files of the workflow itself: scripts, lock files.

use std::collections::HashSet;
use std::path::{Component, Path};
use std::sync::Arc;

use super::expand::Expansion;
use super::kind::{ParameterProblem, WorkflowFile};
use super::prepare::{Prepared, report_parameter};
use crate::diag::Problems;

/// Reports files that are missing or can't be what they are declared as. Relative locations start
/// from `base`.
pub fn check(
    expansion: &Expansion,
    prepared: &[Option<Arc<Prepared>>],
    base: &Path,
    problems: &mut Problems,
) {
    let mut known = HashSet::new();
    for stage in 0..expansion.heads.len() {
        for point in expansion.points(stage) {
            let (Some(prepared), Some(variant)) =
                (&prepared[point as usize], expansion.variant(stage, point))
            else {
                continue;
            };
            // Nodes share parameters. An unset variable may be part of a path.
            if !known.insert(Arc::as_ptr(prepared)) || !prepared.missing_env.is_empty() {
                continue;
            }
            let files = prepared.parameters.files().into_iter();
            for problem in files.filter_map(|file| file.problem(base)) {
                report_parameter(problems, variant, &|| expansion.id(point), problem);
            }
        }
    }
}

impl WorkflowFile {
    /// What is wrong with the file as it is on this machine.
    pub fn problem(&self, base: &Path) -> Option<ParameterProblem> {
        let place = base.join(&self.location);
        let shown = self.location.display();
        if !place.exists() {
            let message = format!("`{shown}` does not exist");
            return Some(ParameterProblem {
                code: "missing-file",
                ..self.at(&[], message)
            })
            .map(|problem| problem.hint(self.hint));
        }
        if place.is_file() && !self.ignore.is_empty() {
            let message = format!("`ignore` is for folders, and `{shown}` is a file");
            return Some(self.at(&["ignore"], message));
        }
        let mut patterns = self.ignore.iter().enumerate();
        patterns.find_map(|(index, pattern)| self.named_twice(index, pattern, &place))
    }

    /// A pattern with the folder's own name in front: paths start inside the folder.
    fn named_twice(&self, index: usize, pattern: &str, place: &Path) -> Option<ParameterProblem> {
        let (first, rest) = pattern.trim_start_matches('/').split_once('/')?;
        let Some(Component::Normal(name)) = self.location.components().next_back() else {
            return None;
        };
        let is_own = name == first && !rest.is_empty() && !place.join(first).exists();
        let message = || format!("`{pattern}` matches nothing: paths start inside `{first}`");
        is_own.then(|| {
            let problem = self.at(&["ignore", &index.to_string()], message());
            problem.hint(format!("write `/{rest}`"))
        })
    }

    fn at(&self, further: &[&str], message: String) -> ParameterProblem {
        let further = further.iter().map(|step| step.to_string());
        ParameterProblem {
            path: self.field.iter().cloned().chain(further).collect(),
            ..ParameterProblem::value("", message)
        }
    }
}
