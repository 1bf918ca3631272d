//! `ribflow run FILE [NODE…]`: runs a workflow, shows progress, and writes the report.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use clap::{ArgAction, Args};
use petgraph::graph::NodeIndex;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use super::amounts::Size;
use super::call::{self, Call};
use super::common::Common;
use super::executor::ExecutorArguments;
use super::failure::{Exit, Failure};
use super::interrupts;
use super::load::{self, Ready};
use super::locations::{self, Locations};
use super::machines;
use super::no_op_check::NoOpCheck;
use super::older_versions::{self, AcceptArguments};
use super::record_standing::StandingReport;
use super::shared_run::SharedRun;
use super::shells;
use super::stores;
use super::target::TargetArguments;
use super::unpinned_checkpoints;
use super::workflow_files;
use super::{command_permissions, sharing};
use crate::digest::Digest;
use crate::engine::event::{Event, Summary};
use crate::engine::join::Invites;
use crate::engine::journal::Machines;
use crate::engine::price::forecast::Forecaster;
use crate::engine::price::rates;
use crate::engine::{self, EngineError, RunOptions, RunResult};
use crate::process;
use crate::quantity::{count, duration, grouped};
use crate::remote::Exchange;
use crate::report;
use crate::stages;
use crate::stages::registry::Registry;
use crate::store::Store;
use crate::store::receipt::Receipt;
use crate::ui::json::{JsonLines, write_line};
use crate::ui::live::Live;
use crate::ui::log::Console;
use crate::ui::paint::{self, Paint};
use crate::ui::plain::PlainLines;
use crate::ui::streams;
use crate::ui::{Detail, Display, DisplayOptions};
use crate::workflow::graph::Graph;

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow run grid.yaml                           everything; results in the store are reused
  ribflow run grid.yaml --profile tiny            with a profile of the file
  ribflow run grid.yaml --set params.epochs=2     with another value
  ribflow run grid.yaml 'accuracy[method=ft]'     these nodes and their dependencies
  ribflow run grid.yaml --force 'tuned[seed=0]'   run again, to check that the result is the same
  ribflow run grid.yaml --accept evaluate@2       after an upgrade: reuse records of version 2
  ribflow run grid.yaml --json | jq -c 'select(.event == \"node_failed\")'

Ctrl-C stops cleanly, and the same command resumes the run; a second Ctrl-C stops immediately.";

/// Run or resume a workflow
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArguments {
    #[command(flatten)]
    pub target: TargetArguments,

    /// Run these nodes even if they have a record; repeatable
    ///
    /// Nodes that depend on them run again only if the results differ.
    #[arg(long, value_name = "NODE", action = ArgAction::Append)]
    pub force: Vec<String>,

    #[command(flatten)]
    pub accept: AcceptArguments,

    /// Start at most N nodes, then stop
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,

    /// Check every file of datasets with `sealed: true`, as if they were not sealed
    #[arg(long)]
    pub check_sealed: bool,

    /// Maximum size of derived work in the store: 64GB, 500GiB, 0 for none
    ///
    /// Decoded images, features and logits that many nodes need are computed once and kept in the
    /// store's derived/. Above the limit, images are decoded on every read; the results are the
    /// same. A tenth of the disk always stays free.
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "64GB",
        env = "RIBFLOW_DERIVED_MAX"
    )]
    #[arg(hide_env_values = true)]
    pub derived_max: Size,

    /// After a failure, continue with all nodes that do not depend on it
    #[arg(long)]
    pub keep_going: bool,

    #[command(flatten)]
    pub executor: ExecutorArguments,

    /// Look for results at this remote before computing them; repeatable, in order of preference
    ///
    /// A name from `ribflow remote list`, or a URL. Only results with a trusted signature are used;
    /// files are fetched when something reads them. New results are written to remotes that were
    /// added with `--write`. If a remote is down, the run continues without its results.
    #[arg(long = "remote", value_name = "NAME", action = ArgAction::Append)]
    pub remotes: Vec<String>,
}

impl RunArguments {
    /// Whether the command asks for a plain run: the whole graph, without an event for each node
    /// and without remotes.
    fn is_plain(&self, common: &Common) -> bool {
        self.target.targets.is_empty()
            && self.force.is_empty()
            && self.remotes.is_empty()
            && self.accept.accept.is_empty()
            && self.limit.is_none()
            && self.executor.is_local()
            && !self.check_sealed
            && !common.json
            && common.detail() <= Detail::Normal
    }
}

pub fn run(arguments: &RunArguments, call: &Call, output: &mut dyn Write) -> Result<Exit, Failure> {
    let common = call.common;
    let begun = Instant::now();
    let locations = Locations::of(&arguments.target.workflow.file, common);
    let words = arguments
        .is_plain(common)
        .then(|| NoOpCheck::of(&arguments.target.workflow, common, &locations))
        .flatten();
    if let Some(receipt) = words.as_ref().and_then(|words| words.hold(&locations)) {
        return unchanged(&receipt, begun, common, output);
    }
    let registry = stages::registry();
    let Ready {
        graph, warnings, ..
    } = load::ready(
        &arguments.target.workflow,
        &arguments.target.targets,
        &registry,
    )?;
    // The process is about to exit, so skip dropping every node and record.
    let graph = ManuallyDrop::new(graph);
    let words = words.filter(|words| warnings.is_empty() && words.may_leave(&graph));
    load::warn(warnings, common);
    let force = forced(&graph, &arguments.force)?;
    let accepting = arguments.accept.checked(&registry, &graph)?;
    let expected = load::expected(&graph)?;
    unpinned_checkpoints::warn(&graph, &arguments.target.workflow.file, common);
    let store = Arc::new(stores::open_store(&locations.store)?);
    workflow_files::note(&store, &graph.file);
    arguments.executor.warn_of_locks(&store, common);
    let device = common.device.to_string();
    let shared = SharedRun::open(
        &arguments.remotes,
        &arguments.target.workflow,
        &graph,
        &store,
        &accepting,
        common,
    )?;
    let (accepting, accepted) = older_versions::accept(
        &arguments.accept,
        &arguments.target.workflow,
        &graph,
        &store,
        &device,
        accepting,
        &force,
    )?;
    let force = shared.forced(force);
    shells::check_run(&graph, &store, &force, &device, &accepting)?;
    // Workers would not follow these.
    let local = [
        ("--force", !force.is_empty()),
        ("--limit", arguments.limit.is_some()),
        ("--accept", !arguments.accept.accept.is_empty()),
    ];
    let local = local
        .into_iter()
        .find_map(|(option, is_given)| is_given.then_some(option));
    arguments.executor.check(local)?;
    let invites = local.is_none().then(|| Invites {
        targets: arguments.target.targets.clone(),
        remotes: arguments.remotes.clone(),
    });
    let options = RunOptions {
        threads: common.threads(),
        force,
        device,
        keep_going: arguments.keep_going,
        limit: arguments.limit,
        check_sealed: arguments.check_sealed,
        collect_inputs: words.is_some(),
        derived_max: arguments.derived_max.0,
        worker: worker(
            store.root(),
            None,
            &arguments.remotes,
            shared.exchange.as_deref(),
        )?,
        accepting,
        exchange: shared.exchange.clone(),
        refused: command_permissions::refused(&graph, common)?
            .into_iter()
            .collect(),
        role: arguments.executor.role(),
        invites,
        places: arguments.executor.places(store.root())?,
    };
    let started = std::time::UNIX_EPOCH
        .elapsed()
        .map_or(0, |since| since.as_secs());
    let display = display(&graph, &registry, &store, call);
    // Workers run the nodes, and what becomes of those is another sentence.
    let meaning = match options.role {
        engine::join::Role::Coordinator => "",
        _ => interrupts::NODES_END,
    };
    let RunResult {
        mut summary,
        records,
        run,
        inputs,
    } = drive(
        display,
        call.console,
        shared.made(),
        meaning,
        |stopped, events| {
            let store = Arc::clone(&store);
            engine::run(&graph, store, &registry, &options, stopped, events)
        },
    )?;
    let records = ManuallyDrop::new(records);
    shared.finish(summary.interrupted, common);
    // Only estimates use this.
    if summary.ran > 0
        && let Err(error) = rates::learn(&graph, &store, &registry, &records, started)
    {
        tracing::warn!("the durations of nodes could not be saved: {error}");
    }
    let standing = StandingReport::of(&graph, &store, &records)?;
    let facts = match (summary.ran + summary.failed, run.as_deref()) {
        (1.., Some(run)) => machines::of_run(&store, run),
        _ => machines::of_last_run(&store, &graph),
    };
    let machines = facts
        .as_ref()
        .map(|facts| machines::for_report(&graph, facts));
    let view = standing
        .view(&graph, &records, expected.as_ref())
        .reading(&store)
        .ran_on(machines.as_ref());
    let folder = locations.out.join(report::folder_name(&graph));
    let page = match arguments.target.targets.as_slice() {
        [] => report::write(&view, &folder).map_err(Failure::from),
        _ => write_whole(
            arguments,
            common,
            &registry,
            &store,
            facts.as_ref(),
            &folder,
        ),
    };
    let page = match page {
        // With a read-only store, the report usually can't be written either.
        Err(failure) if run.is_none() => {
            tracing::warn!("the report could not be written: {}", failure.message());
            None
        }
        page => Some(page?),
    };
    if let (Some(words), Some(inputs), Some(run), Some(page)) = (words, inputs, run, &page) {
        words.leave(&store, run, inputs, &view, page);
    }
    summary.report = page
        .as_ref()
        .map_or_else(String::new, |page| page.display().to_string());
    if common.json {
        for sentence in &standing.sentences {
            let message = format!("revoked: {sentence}");
            write_line(output, &Event::Warning { message })?;
        }
        for sentence in report::accepted_sentences(&view) {
            let message = format!("accepted: {sentence}");
            write_line(output, &Event::Warning { message })?;
        }
        write_line(output, &Event::Summary(summary.clone()))?;
    } else if !common.quiet {
        write!(output, "{}", report::summary_text(&view))?;
        writeln!(output, "{}", closing(&summary, Paint::for_stdout()))?;
        if accepted > 0 {
            let records = count(accepted, "record");
            writeln!(output, "{records} of older versions accepted")?;
        }
        for line in shared.lines() {
            writeln!(output, "{line}")?;
        }
        if let Some(page) = &page {
            writeln!(output, "report: {}", locations::shown(page))?;
        }
    }
    Ok(exit(&summary))
}

/// Prints the summary of the last run, which is still valid.
fn unchanged(
    receipt: &Receipt,
    begun: Instant,
    common: &Common,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let nodes = usize::try_from(receipt.nodes).unwrap_or(usize::MAX);
    let summary = Summary {
        workflow: receipt.workflow.clone(),
        nodes,
        reused: nodes,
        wall_s: begun.elapsed().as_secs_f64(),
        ..Summary::default()
    };
    if !common.quiet {
        write!(output, "{}", receipt.text)?;
        writeln!(output, "{}", closing(&summary, Paint::for_stdout()))?;
        writeln!(output, "report: {}", locations::shown(&receipt.page))?;
    }
    Ok(exit(&summary))
}

/// Writes the report of the whole workflow after a run of a part of it.
fn write_whole(
    arguments: &RunArguments,
    common: &Common,
    registry: &Registry,
    store: &Store,
    facts: Option<&Machines>,
    folder: &Path,
) -> Result<PathBuf, Failure> {
    let (graph, _) = load::checked(&arguments.target.workflow, &[], registry)?;
    let expected = load::expected(&graph)?;
    let survey = engine::survey(&graph, store, &common.device.to_string())?;
    let records = survey.into_records();
    let standing = StandingReport::of(&graph, store, &records)?;
    let machines = facts.map(|facts| machines::for_report(&graph, facts));
    Ok(report::write(
        &standing
            .view(&graph, &records, expected.as_ref())
            .reading(store)
            .ran_on(machines.as_ref()),
        folder,
    )?)
}

fn exit(summary: &Summary) -> Exit {
    match summary {
        Summary { failed: 1.., .. } => Exit::Failed,
        Summary {
            interrupted: true, ..
        } => Exit::Interrupted,
        _ => Exit::Done,
    }
}

fn forced(graph: &Graph, patterns: &[String]) -> Result<Vec<NodeIndex>, Failure> {
    let mut nodes = Vec::new();
    for pattern in patterns {
        nodes.extend(graph.select(pattern)?);
    }
    Ok(nodes)
}

/// The command line of a worker, which runs this program. `beside` is another store to read blobs
/// from. Remotes that `exchange` has given up are left out.
pub(super) fn worker(
    store: &Path,
    beside: Option<&Path>,
    remotes: &[String],
    exchange: Option<&Exchange>,
) -> Result<Vec<OsString>, Failure> {
    let mut words = vec![
        call::program()?.into(),
        "worker".into(),
        "--store".into(),
        store.into(),
    ];
    if let Some(beside) = beside {
        words.extend(["--beside".into(), beside.into()]);
    }
    words.extend(sharing::worker_arguments(remotes, exchange));
    Ok(words)
}

fn display<'a>(
    graph: &'a Graph,
    registry: &'a Registry,
    store: &'a Store,
    call: &Call,
) -> Box<dyn Display + 'a> {
    let common = call.common;
    if common.json {
        return Box::new(JsonLines::new(streams::stdout(true)));
    }
    let stages = stage_sizes(graph);
    let options = DisplayOptions {
        detail: common.detail(),
        paint: Paint::for_stderr(),
        store: locations::shown(store.root()),
    };
    match paint::stderr_is_live() && options.detail > Detail::Quiet {
        true => {
            let class = engine::class_named(&common.device.to_string()).unwrap_or_default();
            let forecaster = Forecaster::new(graph, registry, store, class);
            Box::new(Live::new(call.console, options, stages, forecaster))
        }
        false => Box::new(PlainLines::new(streams::stderr(), options, stages)),
    }
}

/// The number of nodes of each stage.
pub(super) fn stage_sizes(graph: &Graph) -> BTreeMap<String, usize> {
    let mut stages: BTreeMap<String, usize> = BTreeMap::new();
    for node in graph.dag.node_weights() {
        *stages.entry(node.stage.clone()).or_default() += 1;
    }
    stages
}

/// Runs `work` on this thread and the display on another one. Keys of new results go to `made`.
pub(super) fn drive<T, F>(
    display: Box<dyn Display + '_>,
    console: &Console,
    made: Option<Sender<Digest>>,
    meaning: &'static str,
    work: impl FnOnce(watch::Receiver<bool>, UnboundedSender<Event>) -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, EngineError>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("can't start the async runtime: {error}")))?;
    // Children of a worker that died can only be found among the orphans of this process.
    process::adopt_orphans();
    let (events, received) = unbounded_channel();
    let (stop, stopped) = watch::channel(false);
    std::thread::scope(|scope| {
        let shown = scope.spawn(move || show(display, received, made));
        let result = runtime.block_on(async {
            tokio::spawn(interrupts::listen(stop, console.clone(), meaning));
            work(stopped, events).await
        });
        // The run has ended and dropped its end of the channel, so the display ends too.
        if shown.join().is_err() {
            tracing::error!("the display of the run has failed");
        }
        Ok(result?)
    })
}

/// Shows events until the channel closes, and forwards the keys of new results. A run continues if
/// nobody reads its output, because its results are kept.
fn show(
    mut display: Box<dyn Display + '_>,
    mut events: UnboundedReceiver<Event>,
    made: Option<Sender<Digest>>,
) {
    /// Events come in bursts, and waking up for each costs more than showing it.
    const PAUSE: Duration = Duration::from_millis(2);
    let mut readable = true;
    loop {
        let event = match events.try_recv() {
            Ok(event) => event,
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {
                readable = readable && display.flush().is_ok();
                let Some(event) = events.blocking_recv() else {
                    break;
                };
                std::thread::sleep(PAUSE);
                event
            }
        };
        if let (Event::NodeFinished { key, .. }, Some(made)) = (&event, &made) {
            // The write-back thread may have given up.
            let _ = made.send(*key);
        }
        readable = readable && display.show(&event).is_ok();
    }
    display.close();
}

/// The closing line: counts and duration.
fn closing(summary: &Summary, paint: Paint) -> String {
    let mut parts = Vec::new();
    for (number, word) in [
        (summary.reused, "reused"),
        (summary.ran, "ran"),
        (summary.skipped, "skipped"),
    ] {
        if number > 0 {
            parts.push(format!("{} {word}", grouped(number)));
        }
    }
    if summary.failed > 0 {
        parts.push(paint.red(&format!("{} failed", grouped(summary.failed))));
    }
    if summary.interrupted {
        parts.push(paint.yellow("interrupted"));
    }
    format!(
        "{}: {} in {}: {}",
        summary.workflow,
        count(summary.nodes, "node"),
        duration(summary.wall_s),
        parts.join(", "),
    )
}
