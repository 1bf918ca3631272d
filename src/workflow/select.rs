//! Selectors outside stages: targets on the command line, goals, published values. Axes that a
//! selector does not name are open: a bare stage selects all its nodes.

use petgraph::graph::NodeIndex;

use super::expression::SyntaxError;
use super::expression::selector::{Pick, Picked, Selector};
use super::graph::{AxisValue, Graph};
use super::ids::{self, Id};
use crate::diag::{Diagnostic, Diagnostics, SourceText, Span, suggest};

/// The axes of a stage and their ids.
pub type Axes<'a> = Vec<(&'a str, Vec<Id<'a>>)>;

/// The values of one axis that a selector accepts.
pub enum AxisFilter {
    All,
    Only(Vec<usize>),
}

impl AxisFilter {
    pub fn takes(&self, index: usize) -> bool {
        match self {
            Self::All => true,
            Self::Only(indices) => indices.contains(&index),
        }
    }
}

/// Why a selector selects nothing.
pub struct Refusal {
    pub code: &'static str,
    pub message: String,
    pub hint: Option<String>,
}

impl Refusal {
    pub fn unknown_stage<'a>(stage: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.collect();
        Self {
            code: "unknown-stage",
            message: format!("the workflow has no stage `{stage}`"),
            hint: Some(suggest(stage, "stages", known)),
        }
    }

    pub fn skipped(stage: &str, points: usize) -> Self {
        let message = match points {
            1 => format!("this point of stage `{stage}` is skipped: there is no such node"),
            _ => format!("all {points} points of stage `{stage}` that this selects are skipped"),
        };
        Self {
            code: "skipped-point",
            message,
            hint: Some("its `skip:` says why, or that of something it needs".to_string()),
        }
    }

    /// The error for `pattern` on the command line.
    pub fn diagnostic(self, pattern: &str) -> Diagnostic {
        let message = format!("`{pattern}`: {}", self.message);
        let mut diagnostic = Diagnostic::nowhere(self.code, "", message);
        diagnostic.hint = self.hint;
        diagnostic
    }
}

/// The error for a pattern that is not a selector.
pub fn refused_syntax(pattern: &str, error: SyntaxError) -> Diagnostic {
    let span = Span {
        start: error.range.start,
        end: error.range.end,
    };
    let source = SourceText::new("the command line", pattern);
    let mut diagnostic = source.diagnostic(span, "syntax", error.message);
    diagnostic.hint = error.hint;
    diagnostic
}

/// The values of each axis that `selector` accepts.
pub fn wanted(selector: &Selector, axes: &Axes) -> Result<Vec<AxisFilter>, Refusal> {
    for pick in &selector.picks {
        if !axes.iter().any(|(name, _)| *name == pick.axis) {
            let known = || axes.iter().map(|(name, _)| *name);
            return Err(Refusal {
                code: "unknown-axis",
                message: format!("stage `{}` has no axis `{}`", selector.stage, pick.axis),
                hint: Some(suggest(&pick.axis, "axes", known())),
            });
        }
    }
    let wanted = axes.iter().map(|(name, ids)| {
        let pick = selector.picks.iter().find(|pick| pick.axis == *name);
        pick.map_or(Ok(AxisFilter::All), |pick| of_pick(pick, name, ids))
    });
    wanted.collect()
}

fn of_pick(pick: &Pick, axis: &str, ids: &[Id]) -> Result<AxisFilter, Refusal> {
    let values = match &pick.values {
        Picked::All => return Ok(AxisFilter::All),
        Picked::Values(values) => values,
    };
    let indices = values.iter().map(|value| {
        let index = ids::find(&value.word, ids.iter().copied());
        index.ok_or_else(|| Refusal {
            code: "unknown-value",
            message: format!("axis `{axis}` has no value `{}`", value.word),
            hint: Some(suggest(
                &value.word,
                "values",
                ids.iter().map(|id| id.written),
            )),
        })
    });
    indices.collect::<Result<_, _>>().map(AxisFilter::Only)
}

/// The nodes of a graph that a pattern selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// Ascending.
    pub nodes: Vec<NodeIndex>,
    /// The output or metric after the dot, as written: `mri` in `robustness.mri`.
    pub name: Option<String>,
}

impl Graph {
    /// The nodes that `pattern` selects: `tuned[method=ft]`, an exact id, `accuracy[*]`, a bare
    /// stage. Ignores a name after a dot; [`Graph::resolve`] returns it.
    ///
    /// # Errors
    /// The pattern is not a selector, contains an unknown name, or selects no node.
    pub fn select(&self, pattern: &str) -> Result<Vec<NodeIndex>, Diagnostics> {
        self.resolve(pattern).map(|selected| selected.nodes)
    }

    /// As [`Graph::select`], with the output or metric that the pattern names.
    pub fn resolve(&self, pattern: &str) -> Result<Selected, Diagnostics> {
        let selector = Selector::parse(pattern).map_err(|error| refused_syntax(pattern, error))?;
        let nodes = self
            .nodes_of(&selector)
            .map_err(|refusal| refusal.diagnostic(pattern))?;
        Ok(Selected {
            nodes,
            name: selector.name.map(|(name, _)| name),
        })
    }

    fn nodes_of(&self, selector: &Selector) -> Result<Vec<NodeIndex>, Refusal> {
        let Some(stage) = self
            .stages
            .iter()
            .find(|stage| stage.name == selector.stage)
        else {
            let known = self.stages.iter().map(|stage| stage.name.as_str());
            return Err(Refusal::unknown_stage(&selector.stage, known));
        };
        let axes = stage.axes.iter().map(|name| {
            let axis = self.axes.iter().find(|axis| axis.name == *name);
            let values = axis.map_or(&[] as &[_], |axis| axis.values.as_slice());
            (name.as_str(), values.iter().map(AxisValue::id).collect())
        });
        let axes: Axes = axes.collect();
        let wanted = wanted(selector, &axes)?;
        let takes = |index: &NodeIndex| {
            let node = &self.dag[*index];
            node.stage == stage.name
                && node
                    .axes
                    .iter()
                    .zip(&axes)
                    .zip(&wanted)
                    .all(|(((_, id), (_, ids)), wanted)| match wanted {
                        AxisFilter::All => true,
                        AxisFilter::Only(indices) => indices.iter().any(|at| ids[*at].text == id),
                    })
        };
        let nodes: Vec<NodeIndex> = self.dag.node_indices().filter(takes).collect();
        if nodes.is_empty() {
            return Err(Refusal {
                code: "no-node",
                message: format!("no planned node of stage `{}` matches", stage.name),
                hint: Some("it is skipped, or no goal needs it".to_string()),
            });
        }
        Ok(nodes)
    }
}
