//! Compares published numbers with reproduced ones, number by number and claim by claim. A pure function
//! of a file of published values, a graph and its records; docs/verify.md is its specification.
//!
//! ```text
//! published    the file as it is written
//! metric       which metrics a node can have
//! bind         selectors → nodes of the graph
//! setting      where a run differs from the published setting, and what that affects
//! observe      what was reproduced, and its variation over repeats
//! judge        verdicts
//! tables       verdicts as tables and JSON
//! ```

mod bind;
mod judge;
mod metric;
mod observe;
mod published;
mod setting;
mod tables;
mod target;

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use petgraph::graph::NodeIndex;
use serde_json::Value;

pub use judge::{JudgedClaim, JudgedValue, Verdict};
pub use setting::Deviation;
pub use tables::document;
pub(super) use tables::{claims_table, values_table};

use super::view::{Role, View, roles};
use crate::diag::{Diagnostic, Diagnostics, Problems};
use crate::digest::Digest;
use crate::workflow::graph::Graph;
use crate::workflow::kind::Meaning;
use crate::workflow::reading;
use crate::yaml;
use bind::{Binder, Bound, BoundClaim};
use judge::Judge;
use observe::RepeatMasks;
use published::Published;

/// Published values, bound to the nodes of one graph.
pub struct Expected {
    pub(super) published: Published,
    /// The digest of the file.
    pub digest: Digest,
    values: Vec<Bound>,
    claims: Vec<BoundClaim>,
    pub deviations: Vec<Deviation>,
    /// What is odd about the file.
    pub warnings: Vec<Diagnostic>,
}

/// The verdicts of a run on published values.
pub struct Verdicts<'a> {
    pub expected: &'a Expected,
    pub values: Vec<JudgedValue>,
    pub claims: Vec<JudgedClaim>,
    /// Whether all calibration numbers were reproduced; true if there are none.
    pub calibrated: bool,
}

/// The file of published values that a `report` node of `graph` names under `expect:`, relative to
/// the workflow file. The first one, if there are several.
pub fn expected_file(graph: &Graph) -> Option<PathBuf> {
    let nodes = graph.dag.node_weights();
    let mut reports = nodes.filter(|node| node.kind.meaning() == Meaning::Report);
    let file = reports.find_map(|node| node.with.get("expect").and_then(Value::as_str))?;
    let folder = graph.file.parent().unwrap_or(Path::new("."));
    Some(folder.join(file))
}

impl Expected {
    /// Reads `file` and binds its numbers to the nodes of `graph`.
    ///
    /// # Errors
    /// All problems with the file, by place.
    pub fn read(file: &Path, graph: &Graph) -> Result<Self, Diagnostics> {
        let limits = yaml::Limits::default();
        let source = reading::read(file, &limits)?;
        let digest = Digest::of(source.text().as_bytes());
        let mut problems = Problems::default();
        let source = problems.add_source(source);
        let tree = reading::parse_with_numbers(&mut problems, source, &limits);
        let published = tree.map(|tree| published::read(&tree, &mut problems));
        let published = published.unwrap_or_default();
        let binder = Binder::new(graph, repeats(graph));
        let values = binder.values(&published, &mut problems);
        let claims = binder.claims(&published.claims, &mut problems);
        check_apart(&published, &values, &mut problems);
        let deviations = setting::deviations(graph, &binder, &published.setting, &mut problems);
        let warnings = problems.finish()?;
        Ok(Self {
            warnings,
            published,
            digest,
            values,
            claims,
            deviations,
        })
    }

    /// The verdicts on the results in `view`.
    pub fn judge(&self, view: &View) -> Verdicts<'_> {
        let judge = Judge {
            view,
            behind: RepeatMasks::of(view),
            published: &self.published,
            deviations: &self.deviations,
        };
        let (values, calibrated) = judge.values(&self.values);
        let claims = judge.claims(&self.claims, calibrated);
        Verdicts {
            expected: self,
            values,
            claims,
            calibrated,
        }
    }

    /// The published value of a metric of this single node.
    pub fn published_value(&self, node: NodeIndex, metric: &str) -> Option<f64> {
        let mut values = self.values.iter();
        let found = values
            .find(|bound| bound.target.metric == metric && bound.target.nodes.as_slice() == [node]);
        found.map(|bound| bound.published)
    }

    /// How some of the nodes deviate from the published setting, as text.
    pub fn deviations_of(&self, nodes: &[NodeIndex]) -> Vec<&str> {
        let touches = |deviation: &&Deviation| nodes.iter().any(|node| deviation.touches(*node));
        let touching = self.deviations.iter().filter(touches);
        let texts: BTreeSet<&str> = touching.map(|deviation| deviation.text.as_str()).collect();
        texts.into_iter().collect()
    }
}

/// Checks that each source gives one number for a metric.
fn check_apart(published: &Published, values: &[Bound], problems: &mut Problems) {
    let mut seen = HashSet::new();
    for bound in values {
        let entry = &published.values[bound.entry];
        if !seen.insert((&entry.from, &bound.target.name)) {
            let message = format!(
                "`{}` is published twice by `{}`",
                bound.target.name, entry.from
            );
            problems.error(entry.metric.place, "duplicate-value", message);
        }
    }
}

impl Verdicts<'_> {
    pub fn all(&self) -> impl Iterator<Item = Verdict> + '_ {
        let values = self.values.iter().map(|value| value.verdict);
        values.chain(self.claims.iter().map(|claim| claim.verdict))
    }

    /// The number with this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.all().filter(|one| *one == verdict).count()
    }
}

fn repeats(graph: &Graph) -> Vec<&str> {
    let repeats = roles(graph).into_iter();
    let repeats = repeats.filter(|(_, role)| *role == Role::Repeats);
    repeats.map(|(axis, _)| axis).collect()
}
