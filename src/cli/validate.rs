//! `ribflow validate FILE`: reports all problems of a workflow file at once.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::call::Call;
use super::failure::{Exit, Failure};
use super::load::{self, Ready};
use super::target::TargetArguments;
use crate::diag::Diagnostics;
use crate::quantity::count;
use crate::stages;
use crate::ui::paint::Paint;
use crate::workflow::graph::Graph;

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow validate grid.yaml
  ribflow validate grid.yaml --profile tiny --json

Nothing is run and no data is read. The files of commands must exist. Exits with 0 if the file is valid, otherwise with 2.";

/// Check a workflow file
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ValidateArguments {
    #[command(flatten)]
    pub target: TargetArguments,
}

/// Problems are returned as the failure, which reports them as text or JSON.
pub fn run(
    arguments: &ValidateArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    let target = &arguments.target;
    let registry = stages::registry();
    let Ready {
        graph,
        mut warnings,
        short,
    } = load::ready(&target.workflow, &target.targets, &registry)?;
    load::expected(&graph)?;
    warnings.extend(short.iter().map(|stage| stage.diagnostic(&graph)));
    if common.json {
        let errors: [(); 0] = [];
        writeln!(
            output,
            "{}",
            json!({ "errors": errors, "warnings": warnings })
        )?;
    } else if !common.quiet {
        let paint = Paint::for_stdout();
        if !warnings.is_empty() {
            writeln!(output, "{}", Diagnostics(warnings).render(paint.color))?;
        }
        writeln!(output, "{}", verdict(&graph, paint))?;
    }
    Ok(Exit::Done)
}

fn verdict(graph: &Graph, paint: Paint) -> String {
    let stages: std::collections::BTreeSet<&str> = graph
        .dag
        .node_weights()
        .map(|node| node.stage.as_str())
        .collect();
    let left_out: usize = graph.skipped.values().sum();
    let mut text = format!(
        "{}: {}, {} in {}",
        graph.name,
        paint.green("good"),
        count(graph.order.len(), "node"),
        count(stages.len(), "stage"),
    );
    if left_out > 0 {
        text.push_str(&format!(
            ", {} excluded by `skip`",
            count(left_out, "point")
        ));
    }
    text
}
