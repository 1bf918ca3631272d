//! `ribflow worker --join RUN`: takes part in a run of another process.

use std::collections::HashMap;
use std::io::Write;
use std::num::NonZeroUsize;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{ArgAction, Args};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::amounts::{Age, Size};
use super::call::{self, Call};
use super::failure::{Exit, Failure};
use super::interrupts::NODES_END;
use super::invocation;
use super::load;
use super::locations::{self, StoreLocation};
use super::run;
use super::sharing;
use super::stores;
use crate::engine::join::{Invitation, JoinPlan, Role, WorkerRole, is_worker_name, read_plan};
use crate::engine::{self, Accepting, RunOptions, RunResult};
use crate::fsx::lease::this_host;
use crate::stages;
use crate::store::{BlobSource, Store};
use crate::ui::paint::Paint;
use crate::ui::plain::PlainLines;
use crate::ui::{DisplayOptions, streams};
use crate::workflow::graph::Graph;

/// Which run a worker joins, and what it may use.
#[derive(Clone, Debug, Args)]
pub struct JoinArguments {
    /// The run to join, by its id [without RUN: the newest one that has not ended]
    ///
    /// The worker computes what is ready and fits, until nothing is left for it. It must be of the
    /// same build as the run, and under `determinism: strict` of the same class of device.
    #[arg(long, value_name = "RUN", num_args = 0..=1, default_missing_value = LATEST)]
    pub join: Option<String>,

    /// The name of the worker in journals and messages, new in this run [default: host, process number, digits]
    #[arg(long, value_name = "NAME", requires = "join", value_parser = worker_name)]
    pub name: Option<String>,

    /// Number of cores that the worker uses [default: --threads, otherwise all]
    #[arg(long, value_name = "N", requires = "join")]
    pub cpus: Option<NonZeroUsize>,

    /// Number of GPUs that the worker has [default: 1 if its device is a GPU, otherwise 0]
    #[arg(long, value_name = "N", requires = "join")]
    pub gpus: Option<u32>,

    /// Memory for nodes that declare theirs: 64GiB [default: the machine's]
    #[arg(long, value_name = "SIZE", requires = "join")]
    pub mem: Option<Size>,

    /// The worker's time: 4h, 90m. It starts no node in the last minute, and stops what runs 20 seconds
    /// before the end
    #[arg(long, value_name = "TIME", requires = "join")]
    pub time: Option<Age>,

    /// Leave after this time without a node to run
    #[arg(long, value_name = "TIME", requires = "join", default_value = "5m")]
    pub idle: Age,

    /// A folder on this machine's own disk for the folders in which nodes run, and for derived work:
    /// "$TMPDIR" [default: in the store]
    ///
    /// Spares a store on a file server. Derived work (decoded images, features, logits) is then shared
    /// by the workers of one machine.
    #[arg(long, value_name = "DIR", requires = "join", visible_alias = "derived")]
    pub scratch: Option<PathBuf>,

    /// Run only this node, by its id
    #[arg(long, value_name = "NODE", requires = "join")]
    pub only: Option<String>,

    /// Join runs of this user, too, by name or number; repeatable
    #[arg(long = "trust-user", value_name = "USER", requires = "join", action = ArgAction::Append)]
    pub trust_users: Vec<String>,
}

/// The interval between two looks for a run.
const LOOK: Duration = Duration::from_millis(500);

/// Stands for the newest run.
pub const LATEST: &str = "latest";

pub fn run(
    arguments: &JoinArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let begun = Instant::now();
    let common = call.common;
    let root = common.store.as_ref().ok_or_else(|| {
        Failure::usage("command-line", "`--join` needs the store of the run")
            .hint("add `--store DIR`, or set RIBFLOW_STORE")
    })?;
    let place = StoreLocation::named(root);
    if !place.exists() && !place.is_other() {
        let message = format!("there is no store at {}", locations::shown(&place.root));
        return Err(
            Failure::usage("no-store", message).hint("`--store` names the store of the run")
        );
    }
    let store = Arc::new(stores::open_store(&place)?);
    if let Some(folder) = &arguments.scratch {
        work_locally(&store, folder)?;
    }
    let run = match arguments.join.as_deref() {
        None | Some(LATEST) => latest(&store, arguments, common.quiet)?,
        Some(run) => run.to_string(),
    };
    let run = run.as_str();
    let (plan, owner) = read_plan(&store, run).map_err(|error| Failure::from_error(&error))?;
    trust(run, owner, &arguments.trust_users)?;
    check_build(&plan)?;
    check_host(&store, &plan)?;
    take_environment(&plan.invitation)?;
    let registry = stages::registry();
    let graph = load::planned(&plan.invitation, &registry)?;
    check_only(&graph, arguments.only.as_deref())?;
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => own_name()?,
    };
    let device = device(&plan, call)?;
    let exchange = match plan.invitation.remotes.as_slice() {
        [] => None,
        remotes => {
            let exchange = Arc::new(sharing::exchange(remotes, &store)?);
            store.set_blob_source(Arc::clone(&exchange) as Arc<dyn BlobSource>);
            Some(exchange)
        }
    };
    let mut executor = run::worker(
        store.root(),
        None,
        &plan.invitation.remotes,
        exchange.as_deref(),
    )?;
    if let Some(folder) = &arguments.scratch {
        executor.extend(["--local".into(), folder.into()]);
    }
    let (leave, left) = watch::channel(false);
    let invitation = &plan.invitation;
    let options = RunOptions {
        threads: arguments
            .cpus
            .map_or_else(|| common.threads(), |cpus| cpus.get()),
        device,
        keep_going: invitation.keep_going,
        limit: None,
        force: Vec::new(),
        check_sealed: false,
        collect_inputs: false,
        derived_max: invitation.derived_max,
        worker: executor,
        exchange,
        refused: refused(&graph, invitation),
        accepting: Accepting::default(),
        invites: None,
        places: None,
        role: Role::Worker(Arc::new(WorkerRole {
            name: name.clone(),
            idle: Duration::from_secs(arguments.idle.0),
            until: arguments
                .time
                .map(|time| begun + Duration::from_secs(time.0)),
            mem: arguments.mem.map(|mem| mem.0),
            gpus: arguments.gpus,
            only: arguments.only.clone(),
            leave: left,
            plan,
        })),
    };
    if !common.quiet {
        writeln!(output, "worker {name} joins run {run} of {}", graph.name)?;
        output.flush()?;
    }
    let display = PlainLines::new(
        streams::stderr(),
        DisplayOptions {
            detail: common.detail(),
            paint: Paint::for_stderr(),
            store: super::locations::shown(store.root()),
        },
        run::stage_sizes(&graph),
    );
    let RunResult { summary, .. } = run::drive(
        Box::new(display),
        call.console,
        None,
        NODES_END,
        |stopped, events| {
            tokio::spawn(leave_on_signal(leave));
            let store: Arc<Store> = Arc::clone(&store);
            engine::run(&graph, store, &registry, &options, stopped, events)
        },
    )?;
    if !common.quiet {
        writeln!(
            output,
            "worker {name} leaves: {} ran, {} failed",
            summary.ran, summary.failed
        )?;
    }
    Ok(match summary.interrupted {
        true => Exit::Interrupted,
        // Whether the run has failed is for its coordinator to say.
        false => Exit::Done,
    })
}

fn work_locally(store: &Store, folder: &Path) -> Result<(), Failure> {
    store.work_locally(folder).map_err(|error| {
        Failure::usage("scratch", error.to_string())
            .hint("`--scratch` names a folder that exists on this machine; `mkdir -p` makes it")
    })
}

/// The newest run that has left a plan and goes on. Waits for one, as long as for a node and not beyond
/// the worker's time.
fn latest(store: &Store, arguments: &JoinArguments, is_quiet: bool) -> Result<String, Failure> {
    let begun = Instant::now();
    let seconds = arguments
        .time
        .map_or(arguments.idle.0, |time| time.0.min(arguments.idle.0));
    let mut is_announced = is_quiet;
    loop {
        if let Some(run) = engine::join::latest(store) {
            return Ok(run);
        }
        if begun.elapsed() >= Duration::from_secs(seconds) {
            return Err(Failure::failed("no run in this store waits for workers")
                .hint("a run leaves its plan after a second, and at once with `run --executor joined`"));
        }
        if !std::mem::replace(&mut is_announced, true) {
            // Failing to print a note must not stop the worker.
            let _ = writeln!(
                streams::stderr(),
                "no run in this store waits for workers; this worker waits for a run"
            );
        }
        std::thread::sleep(LOOK);
    }
}

/// Refuses plans of other users: a worker runs their commands with this user's rights.
fn trust(run: &str, owner: u32, trusted: &[String]) -> Result<(), Failure> {
    if owner == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    let owner = owner.to_string();
    for word in trusted {
        let number = match word.parse::<u32>() {
            Ok(number) => Some(number.to_string()),
            Err(_) => id("-u", word),
        };
        match number {
            None => {
                let message = format!("`{word}` is not a user of this machine");
                return Err(Failure::usage("trust-user", message)
                    .hint("`--trust-user` takes a name that `id` knows, or a number"));
            }
            Some(number) if number == owner => return Ok(()),
            Some(_) => {}
        }
    }
    let user = id("-nu", &owner).unwrap_or(owner);
    let message = format!("run {run} is a run of the user {user}");
    Err(Failure::usage("foreign-run", message).hint(format!(
        "a worker runs its commands with your rights; if you trust {user}, add `--trust-user {user}`"
    )))
}

/// What `id` prints about a user: only it knows the users of a directory service.
fn id(option: &str, user: &str) -> Option<String> {
    let printed = Command::new("id")
        .args([option, "--", user])
        .output()
        .ok()?;
    let text = String::from_utf8(printed.stdout).ok()?;
    (printed.status.success() && !text.trim().is_empty()).then(|| text.trim().to_string())
}

/// A mistyped node would leave the worker without anything to run.
fn check_only(graph: &Graph, only: Option<&str>) -> Result<(), Failure> {
    let mut nodes = graph.dag.node_weights();
    match only {
        Some(only) if !nodes.any(|node| node.id == only) => {
            let message = format!("the run has no node `{only}`");
            Err(Failure::usage("no-such-node", message)
                .hint("ids have their axes: `tuned[method=ft]`; `ribflow plan FILE` lists them"))
        }
        _ => Ok(()),
    }
}

fn check_build(plan: &JoinPlan) -> Result<(), Failure> {
    let is_same = plan.is_of_this_build();
    if is_same.map_err(|error| Failure::failed(format!("this program can't be read: {error}")))? {
        return Ok(());
    }
    let message = "the run was begun by another build of ribflow";
    Err(Failure::usage("other-build", message)
        .hint("start the worker with the program that runs the workflow"))
}

/// Refuses a store whose locks other hosts do not see.
fn check_host(store: &Store, plan: &JoinPlan) -> Result<(), Failure> {
    if store.locks().reach_other_hosts() || plan.host == this_host() {
        return Ok(());
    }
    let store = super::locations::shown(store.root());
    let message =
        format!("the locks of the store {store} hold on one host, and the run is on another");
    Err(Failure::usage("locks", message).hint(format!(
        "while nothing uses the store: `ribflow cache claims lease --store {}`",
        invocation::quoted(&store)
    )))
}

/// Gives this process the variables of the plan. Threads may read the environment at any time, so it
/// starts anew instead of changing it.
fn take_environment(invitation: &Invitation) -> Result<(), Failure> {
    let differs =
        |(name, value): &(&String, &Option<String>)| std::env::var(name.as_str()).ok() != **value;
    if !invitation.environment.iter().any(|entry| differs(&entry)) {
        return Ok(());
    }
    let mut command = Command::new(call::program()?);
    command.args(std::env::args_os().skip(1));
    for (name, value) in &invitation.environment {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let error = command.exec();
    Err(Failure::failed(format!(
        "the worker can't be started with the variables of the run: {error}"
    )))
}

/// The device of the run, unless the worker has one of its own. Under `determinism: strict` its
/// class must be that of the run.
fn device(plan: &JoinPlan, call: &Call) -> Result<String, Failure> {
    let own = call.common.device.to_string();
    let device = match own.as_str() {
        "auto" => plan.invitation.device.clone(),
        _ => own,
    };
    if let Some(wanted) = &plan.invitation.class {
        let found = engine::class_named(&device).map_err(|error| Failure::from_error(&error))?;
        if found != *wanted {
            let message =
                format!("the run is of the device class {wanted}, this worker of {found}");
            return Err(Failure::usage("device-class", message)
                .hint("under `determinism: strict`, results of another class have other keys"));
        }
    }
    Ok(device)
}

fn refused(graph: &Graph, invitation: &Invitation) -> HashMap<petgraph::graph::NodeIndex, String> {
    let nodes = graph.dag.node_indices();
    let refused = nodes.filter_map(|node| {
        let why = invitation.refused.get(&graph.dag[node].id)?;
        Some((node, why.clone()))
    });
    refused.collect()
}

/// The host, the number of the process, and a random part, since hosts may share their numbers.
fn own_name() -> Result<String, Failure> {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let host: String = host
        .chars()
        .take_while(|letter| *letter != '.')
        .filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-')
        .take(40)
        .collect();
    let host = host.trim_start_matches('-');
    let host = if host.is_empty() { "worker" } else { host };
    let random = getrandom::u32().map_err(|error| Failure::from_error(&error))?;
    Ok(format!("{host}-{}-{random:08x}", std::process::id()))
}

/// A scheduler announces the end of a job by SIGUSR1: no node starts any more.
async fn leave_on_signal(leave: watch::Sender<bool>) {
    let Ok(mut announced) = signal(SignalKind::user_defined1()) else {
        return std::future::pending().await;
    };
    announced.recv().await;
    leave.send_replace(true);
    // The receiver must see the value as long as the worker lives.
    std::future::pending().await
}

/// Checks the name of a worker.
pub fn worker_name(text: &str) -> Result<String, String> {
    match is_worker_name(text) {
        true => Ok(text.to_string()),
        false => Err(
            "letters, digits, `.`, `-` and `_` are expected, at most 100, the first one a letter or a \
             digit"
                .to_string(),
        ),
    }
}
