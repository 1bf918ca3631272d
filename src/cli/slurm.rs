//! `ribflow slurm check [FILE]`: finds what a Slurm cluster would refuse, before anything is submitted.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgAction, Args, Subcommand, ValueHint};
use serde_json::{Value, json};

use super::amounts::Age;
use super::call::{self, Call};
use super::failure::{Exit, Failure};
use super::load;
use super::locations::Locations;
use super::target::WorkflowArguments;
use crate::cluster::slurm::check::{Cluster, Finding, try_out};
use crate::cluster::slurm::probe::{Probed, Sights, probe};
use crate::cluster::{PlaceClass, Programs, Site, WorkerLine};
use crate::engine::join::place_class;
use crate::quantity::count;
use crate::remote::home::Home;
use crate::stages;
use crate::ui::paint::Paint;
use crate::workflow::graph::Graph;

/// What `ribflow slurm --help` begins with.
const ABOUT: &str = "\
Look at a Slurm cluster

The settings of a site (partition, account, limits) are in cluster.yaml in the user's configuration
folder, normally ~/.config/ribflow/cluster.yaml. docs/clusters.md describes it.";

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow slurm check                      the settings of cluster.yaml
  ribflow slurm check grid.yaml            and what the stages of a workflow ask for
  ribflow slurm check grid.yaml --submit   and whether a node sees the store and the program";

/// Look at a Slurm cluster
#[derive(Clone, Debug, Args)]
#[command(long_about = ABOUT, after_help = EXAMPLES)]
pub struct SlurmArguments {
    #[command(subcommand)]
    pub command: SlurmCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum SlurmCommand {
    /// Find what the cluster would refuse, or leave in its queue for ever
    ///
    /// Compares cluster.yaml and the `resources:` of the workflow with the partitions and nodes of the
    /// cluster, and asks `sbatch --test-only`. Submits nothing without --submit. Exits with 1 if workers
    /// would not start.
    Check(CheckArguments),
}

#[derive(Clone, Debug, Args)]
pub struct CheckArguments {
    /// The workflow whose stages are to run there [default: a worker with one CPU]
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,

    /// Override a parameter or axis; repeatable
    #[arg(long = "set", value_name = "PATH=VALUE", action = ArgAction::Append, requires = "file")]
    pub sets: Vec<String>,

    /// Apply a profile of the workflow file; repeatable, applied from left to right
    #[arg(long = "profile", value_name = "NAME", action = ArgAction::Append, requires = "file")]
    pub profiles: Vec<String>,

    /// Submit a tiny job that looks whether its node sees the store and can run this program
    #[arg(long)]
    pub submit: bool,

    /// How long to wait for that job
    #[arg(long, value_name = "TIME", default_value = "5m", requires = "submit")]
    pub wait: Age,
}

pub fn run(
    arguments: &SlurmArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let SlurmCommand::Check(arguments) = &arguments.command;
    check(arguments, call, output)
}

/// What was looked at, and what was found.
struct Looked {
    lines: Vec<String>,
    findings: Vec<Finding>,
}

fn check(arguments: &CheckArguments, call: &Call, output: &mut dyn Write) -> Result<Exit, Failure> {
    let home = Home::of_user().map_err(|error| Failure::from_error(&error))?;
    let file = home.cluster_file();
    let site = Site::read(&file)?;
    let classes = classes(arguments, call)?;
    let workflow = arguments.file.as_deref().unwrap_or(Path::new("."));
    let locations = Locations::of(workflow, call.common);
    let mut looked = Looked {
        lines: vec![match file.exists() {
            true => format!("settings: {}", file.display()),
            false => format!("settings: the defaults; there is no {}", file.display()),
        }],
        findings: Vec::new(),
    };
    let programs = Programs::default();
    let is_reached = look(&mut looked, &programs, &site, &classes)?;
    let has_errors = looked.findings.iter().any(|finding| finding.is_error);
    if arguments.submit && is_reached && !has_errors {
        submit(&mut looked, &programs, &site, arguments, &locations)?;
    }
    let is_fine = !looked.findings.iter().any(|finding| finding.is_error);
    match call.common.json {
        true => writeln!(output, "{}", document(&looked))?,
        false => write_text(&looked, output)?,
    }
    Ok(if is_fine { Exit::Done } else { Exit::Failed })
}

/// The classes of workers that the stages need, with what to call each.
fn classes(arguments: &CheckArguments, call: &Call) -> Result<Vec<(PlaceClass, String)>, Failure> {
    let Some(file) = &arguments.file else {
        let class = PlaceClass {
            name: "check".to_string(),
            cpus: 1,
            ..PlaceClass::default()
        };
        return Ok(vec![(class, "one CPU".to_string())]);
    };
    let workflow = WorkflowArguments {
        file: file.clone(),
        sets: arguments.sets.clone(),
        profiles: arguments.profiles.clone(),
    };
    let graph = load::whole(&workflow, call.common, &stages::registry())?;
    let on_gpu = call.common.device.to_string() != "cpu";
    Ok(classes_of(&graph, on_gpu))
}

/// CPUs, bytes of memory, GPUs.
type Amounts = (u32, Option<u64>, u32);

/// One class for each combination of resources, with the longest time of its nodes, as a run has them.
fn classes_of(graph: &Graph, on_gpu: bool) -> Vec<(PlaceClass, String)> {
    let mut classes: BTreeMap<Amounts, (PlaceClass, Vec<&str>)> = BTreeMap::new();
    for node in graph.order.iter().map(|index| &graph.dag[*index]) {
        let wanted = place_class(node, on_gpu);
        let amounts = (wanted.cpus, wanted.mem, wanted.gpus);
        let (class, stages) = classes.entry(amounts).or_default();
        *class = PlaceClass {
            name: "check".to_string(),
            time: class.time.max(wanted.time),
            only: None,
            ..wanted
        };
        if !stages.contains(&node.stage.as_str()) {
            stages.push(&node.stage);
        }
    }
    let named = classes.into_values().map(|(class, stages)| {
        let of = match stages.as_slice() {
            [one] => format!("stage `{one}`"),
            [one, ..] => format!(
                "stage `{one}` and {}",
                count(stages.len() - 1, "other stage")
            ),
            [] => "no stage".to_string(),
        };
        (class, of)
    });
    named.collect()
}

/// Asks the cluster; `false`: it does not answer.
fn look(
    looked: &mut Looked,
    programs: &Programs,
    site: &Site,
    classes: &[(PlaceClass, String)],
) -> Result<bool, Failure> {
    let cluster = match Cluster::ask(programs)? {
        Ok(cluster) => cluster,
        Err(message) => {
            let cure = "run this on a machine from which jobs are submitted (a login node)";
            looked.findings.push(Finding::error(
                format!("Slurm does not answer: {message}"),
                cure,
            ));
            return Ok(false);
        }
    };
    let version = cluster
        .config
        .get("SLURM_VERSION")
        .map_or("", String::as_str);
    looked.lines.push(format!(
        "Slurm {version}: {} in {}",
        count(cluster.nodes.len(), "node"),
        count(cluster.partitions.len(), "partition")
    ));
    looked
        .findings
        .extend(cluster.findings(&site.slurm, classes));
    let line = WorkerLine {
        run: "check".to_string(),
        words: Vec::new(),
        folder: PathBuf::from("/"),
        logs: PathBuf::from("/"),
    };
    for (class, of) in classes {
        // It does not say why: a known reason says more.
        if looked.findings.is_empty()
            && let Some(finding) = try_out(programs, &line, &site.slurm, class, of)?
        {
            looked.findings.push(finding);
        }
    }
    Ok(true)
}

/// Submits the job that looks around.
fn submit(
    looked: &mut Looked,
    programs: &Programs,
    site: &Site,
    arguments: &CheckArguments,
    locations: &Locations,
) -> Result<(), Failure> {
    let store = &locations.store;
    if !store.exists() {
        let message = format!("there is no store at {}", store.root.display());
        let hint = "a run makes it; or name another with `--store`";
        return Err(Failure::usage("no-store", message).hint(hint));
    }
    let program = call::program()?;
    let sights = Sights {
        store: store.root.clone(),
        program,
        folder: store.root.join("tmp"),
    };
    let class = PlaceClass {
        name: "check".to_string(),
        cpus: 1,
        time: Some(60),
        ..PlaceClass::default()
    };
    let patience = Duration::from_secs(arguments.wait.0);
    match probe(programs, &site.slurm, &class, &sights, patience)? {
        Probed::Seen { node, findings } => {
            if findings.is_empty() {
                let store = store.root.display();
                looked
                    .lines
                    .push(format!("{node} sees {store} and runs this program"));
            }
            looked.findings.extend(findings);
        }
        Probed::Failed(finding) => looked.findings.push(finding),
        Probed::Waits(reason) => {
            let reason = if reason.is_empty() {
                "no reason given"
            } else {
                &reason
            };
            looked.findings.push(Finding::warning(
                format!("the job has not started in time ({reason}), and is cancelled"),
                "`--wait 1h` waits for longer",
            ));
        }
    }
    Ok(())
}

fn document(looked: &Looked) -> Value {
    let findings = looked.findings.iter().map(|finding| {
        json!({
            "severity": if finding.is_error { "error" } else { "warning" },
            "message": finding.what,
            "hint": finding.cure,
        })
    });
    json!({ "checked": looked.lines, "findings": findings.collect::<Vec<Value>>() })
}

fn write_text(looked: &Looked, output: &mut dyn Write) -> Result<(), Failure> {
    let paint = Paint::for_stdout();
    for line in &looked.lines {
        writeln!(output, "{line}")?;
    }
    for finding in &looked.findings {
        let word = match finding.is_error {
            true => paint.red("error:"),
            false => paint.yellow("warning:"),
        };
        writeln!(output, "{word} {}", finding.what)?;
        writeln!(output, "{} {}", paint.green("hint:"), finding.cure)?;
    }
    if looked.findings.is_empty() {
        writeln!(output, "nothing is wrong")?;
    }
    Ok(())
}
