//! `ribflow verify FILE`: checks the results against published numbers.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};

use super::call::Call;
use super::failure::{Exit, Failure};
use super::invocation::other_settings;
use super::load;
use super::locations::Locations;
use super::missing;
use super::recompute::{self, RecomputeArguments};
use super::stores;
use super::target::WorkflowArguments;
use crate::engine::event::PlanState;
use crate::engine::{self, Survey, SurveyedNode};
use crate::quantity::count;
use crate::report::verdict::{Expected, Verdicts, document, expected_file};
use crate::report::{View, verdict_text};
use crate::stages;
use crate::workflow::graph::Graph;

/// What `--help` begins with.
const ABOUT: &str = "\
Check the results against published numbers

Nothing is run. Every published number and claim gets a verdict:

  reproduced         the difference is at most the precision of the source plus twice the standard
                     deviation over repeats
  different          the difference is larger
  same, opposite     the claim holds, or its opposite does
  indistinguishable  neither holds beyond the spread over repeats
  difference only    there is only one repeat, so the spread is unknown
  other setting      a setting differs from the published one: fewer images, other epochs
  not calibrated     numbers that must be reproduced first have not been
  not run            there is no result

Exits with 0 if nothing differs, 3 if something does, 4 if nothing could be judged.

With --recompute, a sample of the workflow's own results is computed again instead and compared with
the records:

  equal      bit-identical
  within     metrics are within the tolerance of the kind
  different  anything else
  failed     the node failed
  not here   data or a file that the node reads is missing

Exits with 0, 3 or 4 likewise, or with 1 if a node failed.";

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow verify grid.yaml                                  all published numbers and claims
  ribflow verify grid.yaml --profile calibrate              only the pre-trained models
  ribflow verify grid.yaml --expect other-lab.yaml          against other numbers
  ribflow verify grid.yaml --recompute                      recompute a sample of the results
  ribflow verify grid.yaml --recompute 10% --accept evaluate@2   check records for `run --accept`
  ribflow verify grid.yaml --json | jq -r '.values[] | select(.verdict == \"different\") | .metric'";

/// Check the results against published numbers
#[derive(Clone, Debug, Args)]
#[command(long_about = ABOUT, after_help = EXAMPLES)]
pub struct VerifyArguments {
    #[command(flatten)]
    pub workflow: WorkflowArguments,

    /// The published values, instead of those that the workflow's report names under `expect:`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub expect: Option<PathBuf>,

    /// Also exit with 4 if anything could not be judged
    #[arg(long)]
    pub complete: bool,

    #[command(flatten)]
    pub recompute: RecomputeArguments,
}

pub fn run(
    arguments: &VerifyArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    if let Some(share) = arguments.recompute.recompute {
        let request = recompute::Request {
            workflow: &arguments.workflow,
            options: &arguments.recompute,
            share: share.0,
            complete: arguments.complete,
        };
        return recompute::run(&request, call, output);
    }
    let registry = stages::registry();
    let graph = load::whole(&arguments.workflow, common, &registry)?;
    let file = arguments.expect.clone().or_else(|| expected_file(&graph));
    let Some(file) = file else {
        let message = format!("`{}` names no published values", graph.name);
        return Err(Failure::usage("no-expectation", message).hint(
            "set `expect: published/….yaml` in a stage with `use: report`, or use `--expect FILE`; \
             `--recompute 5%` needs no published values: it recomputes a sample of the results",
        ));
    };
    let mut expected = Expected::read(&file, &graph)?;
    load::warn(std::mem::take(&mut expected.warnings), common);
    let locations = Locations::of(&arguments.workflow.file, common);
    let store = stores::open_read_only(&locations.store, common)?;
    let survey = engine::survey(&graph, &store, &common.device.to_string())?;
    if !common.quiet {
        say_unknown(&graph, &survey, &arguments.workflow.file);
    }
    let records = survey.into_records();
    let view = View::new(&graph, &records).expecting(Some(&expected));
    let verdicts = expected.judge(&view);
    if !common.quiet
        && !verdicts.all().any(|verdict| verdict.is_judged())
        && let Some(note) = other_settings(&store, &graph)
    {
        // Failing to print a note must not stop the command.
        let _ = writeln!(crate::ui::streams::stderr(), "note: {note}");
    }
    if common.json {
        serde_json::to_writer(&mut *output, &document(&view, &verdicts))?;
        writeln!(output)?;
    } else if !common.quiet {
        write!(output, "{}", verdict_text(&view, &verdicts))?;
    }
    Ok(exit(&verdicts, arguments.complete))
}

/// Notes nodes without data: they have no key, so whether they ran is unknown.
fn say_unknown(graph: &Graph, survey: &Survey, file: &Path) {
    let surveyed = survey.nodes.iter();
    let lacking = surveyed.filter(|node| node.state == PlanState::MissingData);
    let lacking: Vec<&SurveyedNode> = lacking.collect();
    if lacking.is_empty() {
        return;
    }
    let nodes = count(lacking.len(), "node");
    let mut lines = missing::lines(graph, &lacking);
    lines.extend(missing::locked_hint(graph, &lacking, file));
    let lines = lines.join("\n");
    // Failing to print a note must not stop the command.
    let _ = writeln!(
        crate::ui::streams::stderr(),
        "note: {nodes} can't be looked up, nor nodes that depend on them:\n{lines}"
    );
}

fn exit(verdicts: &Verdicts, complete: bool) -> Exit {
    let judged = verdicts.all().filter(|verdict| verdict.is_judged()).count();
    if verdicts.all().any(|verdict| verdict.is_difference()) {
        return Exit::Different;
    }
    match judged {
        0 => Exit::Unjudged,
        some if complete && some < verdicts.all().count() => Exit::Unjudged,
        _ => Exit::Done,
    }
}
