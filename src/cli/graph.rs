//! `ribflow graph FILE`: a drawing of the workflow, for Graphviz or Markdown.

use std::io::Write;

use super::arguments::{Common, GraphArguments, GraphFormat};
use super::failure::{Exit, Failure};
use super::load;
use crate::stages;
use crate::ui::diagram::Diagram;

pub fn run(
    arguments: &GraphArguments,
    common: &Common,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
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
