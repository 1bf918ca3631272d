//! Checks that the files of the workflow itself exist: scripts, lock files.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::expand::Expansion;
use super::kind::ParameterProblem;
use super::prepare::{Prepared, report_parameter};
use crate::diag::Problems;

/// Reports files that are missing. Relative locations start from `base`.
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
            for (path, location) in prepared.parameters.files() {
                if base.join(&location).exists() {
                    continue;
                }
                let message = format!("`{}` does not exist", location.display());
                let problem = ParameterProblem {
                    code: "missing-file",
                    path,
                    input: None,
                    at_name: false,
                    message,
                    hint: Some("paths start from the folder of the workflow file".to_string()),
                };
                report_parameter(problems, variant, &|| expansion.id(point), problem);
            }
        }
    }
}
