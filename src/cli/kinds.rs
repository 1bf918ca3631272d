//! `ribflow kinds [KIND]`: describes the stage kinds.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::call::Call;
use super::failure::{Exit, Failure};
use crate::diag::nearest;
use crate::stages;
use crate::ui::kind;
use crate::workflow::kind::{Kind, Kinds};

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow kinds             one line for each kind that `use:` can name
  ribflow kinds finetune    its `needs:` and `with:` in full";

/// Describe the stage kinds
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct KindsArguments {
    /// Describe this kind in full: inputs, parameters with their defaults, outputs
    #[arg(value_name = "KIND")]
    pub kind: Option<String>,
}

pub fn run(
    arguments: &KindsArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    let registry = stages::registry();
    let kinds = registry.kinds();
    let chosen = match &arguments.kind {
        Some(name) => vec![named(name, kinds)?],
        None => kinds.0.values().map(AsRef::as_ref).collect(),
    };
    if common.json {
        let pages: Vec<_> = chosen.into_iter().map(kind::json).collect();
        serde_json::to_writer(&mut *output, &json!({ "kinds": pages }))?;
        writeln!(output)?;
        return Ok(Exit::Done);
    }
    if arguments.kind.is_some() {
        for kind in chosen {
            output.write_all(kind::page(kind).as_bytes())?;
        }
        return Ok(Exit::Done);
    }
    for kind in chosen {
        output.write_all(kind::line(kind).as_bytes())?;
    }
    writeln!(output, "\n`ribflow kinds KIND` describes one in full.")?;
    Ok(Exit::Done)
}

fn named<'a>(name: &str, kinds: &'a Kinds) -> Result<&'a dyn Kind, Failure> {
    if let Some(kind) = kinds.get(name) {
        return Ok(kind.as_ref());
    }
    let names = || kinds.0.keys().map(String::as_str);
    let failure = Failure::usage("unknown-kind", format!("there is no stage kind `{name}`"));
    Err(match nearest(name, names()) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure.hint(format!(
            "there are: {}",
            names().collect::<Vec<_>>().join(", ")
        )),
    })
}
