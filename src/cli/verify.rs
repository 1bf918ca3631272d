//! `ribflow verify FILE`: whether the published numbers came out.

use std::io::Write;

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::stores;
use super::target::WorkflowArguments;

use super::call::Call;
use super::failure::{Exit, Failure};
use super::invocation::other_settings;
use super::load;
use super::locations::Locations;
use super::missing;
use super::recompute::{self, RecomputeArguments};
use crate::engine::event::PlanState;
use crate::engine::{self, Survey, SurveyedNode};
use crate::report::verdict::{Expected, Verdicts, document, expected_file};
use crate::report::{View, verdict_text};
use crate::stages;
use crate::ui::text::count;
use crate::workflow::graph::Graph;

/// What `--help` begins with.
const ABOUT: &str = "\
Say whether the published numbers came out

Nothing is run. Every published number and claim gets a verdict:

  reproduced         the number differs by no more than its source's precision and twice the
                     standard deviation over repeats
  different          it differs by more
  same, opposite     the claim holds, or its contrary does
  indistinguishable  neither, beyond the spread over repeats
  difference only    there is one repeat only, so nobody knows how far it varies
  other setting      something is not as published: fewer images, other epochs
  not calibrated     numbers that must come out right first have not
  not run            it has no result

Ends with 0 where nothing differs, 3 where something does, 4 where nothing could be judged.

With --recompute a sample of the workflow's own results is computed again instead, and compared
with their records:

  equal      to the last bit
  within     the tolerance that the kind declares for its metrics
  different  anything else
  failed     the node failed
  not here   its data, or a file that it reads, is not here

Ends with 0, 3 and 4 likewise, and with 1 where a node failed.";

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow verify grid.yaml                                  every published number, and the claims
  ribflow verify grid.yaml --profile calibrate              what the pre-trained models come to
  ribflow verify grid.yaml --expect other-lab.yaml          against other numbers
  ribflow verify grid.yaml --recompute                      a sample of the results, once more
  ribflow verify grid.yaml --recompute 10% --accept evaluate@2   so that `run --accept` takes them
  ribflow verify grid.yaml --json | jq -r '.values[] | select(.verdict == \"different\") | .metric'";

/// Say whether the published numbers came out
#[derive(Clone, Debug, Args)]
#[command(long_about = ABOUT, after_help = EXAMPLES)]
pub struct VerifyArguments {
    #[command(flatten)]
    pub workflow: WorkflowArguments,

    /// The published values, in place of what the workflow's report names under `expect:`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub expect: Option<PathBuf>,

    /// End with 4 also where anything is left that could not be judged
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
            "a stage with `use: report` takes `expect: published/….yaml`, or give `--expect FILE`; \
             `--recompute 5%` needs none: it computes a sample of the results again",
        ));
    };
    let mut expected = Expected::read(&file, &graph)?;
    load::warn(std::mem::take(&mut expected.warnings), common);
    let locations = Locations::of(&arguments.workflow.file, common);
    let store = stores::open_read_only(&locations.store, common)?;
    let survey = engine::survey(&graph, &store, &common.device.to_string())?;
    if !common.quiet {
        say_unknown(&graph, &survey);
    }
    let records = survey.into_records();
    let view = View::new(&graph, &records).expecting(Some(&expected));
    let verdicts = expected.judge(&view);
    if !common.quiet
        && !verdicts.all().any(|verdict| verdict.is_judged())
        && let Some(note) = other_settings(&store, &graph)
    {
        // A note that can't be shown is no reason to stop.
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

/// Without its data a node has no key, so nobody can say whether it was run.
fn say_unknown(graph: &Graph, survey: &Survey) {
    let surveyed = survey.nodes.iter();
    let lacking = surveyed.filter(|node| node.state == PlanState::MissingData);
    let lacking: Vec<&SurveyedNode> = lacking.collect();
    if lacking.is_empty() {
        return;
    }
    let nodes = count(lacking.len(), "node");
    let lines = missing::lines(graph, &lacking).join("\n");
    // A note that can't be shown is no reason to stop.
    let _ = writeln!(
        crate::ui::streams::stderr(),
        "note: {nodes} can't be looked up, nor what follows from them:\n{lines}"
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
