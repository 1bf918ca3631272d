//! `ribflow verify FILE`: whether the published numbers came out.

use std::io::Write;

use super::arguments::{Common, VerifyArguments};
use super::failure::{Exit, Failure};
use super::load;
use super::places::{self, Places};
use super::recompute;
use crate::engine::event::PlanState;
use crate::engine::{self, Survey};
use crate::report::verdict::{Expected, Verdicts, document, expected_file};
use crate::report::{View, verdict_text};
use crate::stages;
use crate::ui::log::Console;
use crate::ui::words::count;
use crate::workflow::graph::Graph;

pub fn run(
    arguments: &VerifyArguments,
    common: &Common,
    console: &Console,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    if let Some(share) = arguments.recompute {
        return recompute::run(arguments, share, common, console, output);
    }
    let registry = stages::registry();
    let graph = load::whole(&arguments.workflow, common, &registry)?;
    let file = arguments.expect.clone().or_else(|| expected_file(&graph));
    let Some(file) = file else {
        let message = format!("`{}` names no published values", graph.name);
        return Err(Failure::usage("no-expectation", message).hint(
            "a stage with `use: report` takes `expect: published/….yaml`; or give `--expect FILE`",
        ));
    };
    let expected = Expected::read(&file, &graph)?;
    let places = Places::of(&arguments.workflow.file, common);
    let store = places::look_at_store(&places.store, common)?;
    let survey = engine::survey(&graph, &store, &common.device.to_string())?;
    if !common.quiet {
        say_unknown(&graph, &survey);
    }
    let records = survey.into_records();
    let view = View::new(&graph, &records).expecting(Some(&expected));
    let verdicts = expected.judge(&view);
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
    let mut missing = surveyed.filter(|node| node.state == PlanState::MissingData);
    let Some(first) = missing.next() else {
        return;
    };
    let nodes = count(1 + missing.count(), "node");
    let id = &graph.dag[first.node].id;
    // A note that can't be shown is no reason to stop.
    let _ = writeln!(
        crate::ui::streams::stderr(),
        "note: {nodes} can't be looked up, nor what follows from them; {id}: {}",
        first.why
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
