//! `ribflow graph FILE`: prints the graph of a workflow for Graphviz or Markdown.

use std::io::Write;

use clap::{Args, ValueEnum};

use super::call::Call;
use super::failure::{Exit, Failure};
use super::load;
use super::target::TargetArguments;
use crate::stages;
use crate::ui::diagram::Diagram;

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow graph grid.yaml --stages | dot -Tsvg > grid.svg
  ribflow graph grid.yaml --stages --format mermaid
  ribflow graph grid.yaml 'tuned[seed=0]' | dot -Tpdf > tuned.pdf";

/// Print the graph of a workflow
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct GraphArguments {
    #[command(flatten)]
    pub target: TargetArguments,

    /// The output language
    #[arg(long, value_enum, default_value_t = GraphFormat::Dot)]
    pub format: GraphFormat,

    /// Draw one box for each stage instead of one for each node
    #[arg(long)]
    pub stages: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// For Graphviz
    Dot,
    /// For Markdown
    Mermaid,
}

pub fn run(
    arguments: &GraphArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    let graph = load::graph(&arguments.target, common, &stages::registry())?;
    let diagram = match arguments.stages {
        true => Diagram::of_stages(&graph),
        false => Diagram::of_nodes(&graph),
    };
    if common.json {
        serde_json::to_writer(&mut *output, &diagram.json())?;
        writeln!(output)?;
        return Ok(Exit::Done);
    }
    let text = match arguments.format {
        GraphFormat::Dot => diagram.dot(),
        GraphFormat::Mermaid => diagram.mermaid(),
    };
    output.write_all(text.as_bytes())?;
    Ok(Exit::Done)
}
