//! `--executor`: where the nodes of a run execute.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::call;
use super::common::Common;
use super::failure::Failure;
use super::invocation::quoted;
use super::locations;
use crate::cluster::slurm::SlurmLauncher;
use crate::cluster::{CommandLauncher, LaunchLine, Programs, Site, WorkerLine};
use crate::engine::join::{Places, Role};
use crate::remote::home::Home;
use crate::store::Store;

/// How long a worker that was started by the run keeps its place without a node to run: other classes of
/// workers may wait for it.
const IDLE: &str = "30s";

/// Where nodes run.
#[derive(Clone, Debug, Args)]
pub struct ExecutorArguments {
    /// Where the nodes run
    #[arg(long, value_enum, value_name = "WHERE", default_value_t = Executor::Local)]
    pub executor: Executor,

    /// The command that starts a worker somewhere: 'hq submit --cpus {cpus} -- {worker}'
    ///
    /// For `--executor command`, instead of `command: launch:` in cluster.yaml. Run without a shell,
    /// once for each worker. Placeholders: {worker} (the command line of the worker), {name}, {cpus},
    /// {gpus}, {mem} (bytes), {time} (seconds), {log}.
    #[arg(long, value_name = "LINE")]
    pub launch: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Executor {
    /// In this process and its workers; others may join
    Local,
    /// In workers that you start (`ribflow worker --join`)
    Joined,
    /// In jobs of Slurm that the run submits
    Slurm,
    /// In workers that a launch line starts: HyperQueue, PBS, ssh, Kubernetes
    Command,
}

impl ExecutorArguments {
    pub fn is_local(&self) -> bool {
        self.executor == Executor::Local
    }

    pub fn role(&self) -> Role {
        match self.executor {
            Executor::Local => Role::Local,
            Executor::Joined | Executor::Slurm | Executor::Command => Role::Coordinator,
        }
    }

    /// Warns of a store whose locks other hosts do not see: their workers would refuse it.
    pub fn warn_of_locks(&self, store: &Store, common: &Common) {
        if self.is_local() || store.locks().reach_other_hosts() || common.quiet {
            return;
        }
        let shown = locations::shown(store.root());
        // Failing to print a warning must not stop the command.
        let _ = writeln!(
            crate::ui::streams::stderr(),
            "note: the locks of {shown} hold on this host only; for workers on others, while nothing \
             uses the store: `ribflow cache claims lease --store {}`",
            quoted(&shown)
        );
    }

    /// What starts the workers.
    pub fn places(&self, store: &Path) -> Result<Option<Places>, Failure> {
        if let (Some(_), Executor::Local | Executor::Joined | Executor::Slurm) =
            (&self.launch, self.executor)
        {
            let message = "`--launch` is for `--executor command`";
            return Err(Failure::usage("command-line", message));
        }
        if matches!(self.executor, Executor::Local | Executor::Joined) {
            return Ok(None);
        }
        let home = Home::of_user().map_err(|error| Failure::from_error(&error))?;
        let file = home.cluster_file();
        let site = Site::read(&file)?;
        let words = [call::program()?, store.to_path_buf()].map(text);
        let [program, store] = words;
        let (program, store) = (program?, store?);
        let line = move |run: &str, logs: PathBuf| WorkerLine {
            run: run.to_string(),
            words: [
                &program, "worker", "--quiet", "--join", run, "--store", &store, "--idle", IDLE,
            ]
            .map(str::to_string)
            .to_vec(),
            folder: PathBuf::from(&store),
            logs,
        };
        let programs = Programs::default();
        Ok(Some(match self.executor {
            Executor::Command => {
                let settings = site.launch(self.launch.as_deref()).ok_or_else(|| {
                    let message = "`--executor command` needs a launch line";
                    Failure::usage("command-line", message).hint(format!(
                        "add `--launch 'hq submit --cpus {{cpus}} -- {{worker}}'`, or set \
                         `command: launch:` in {}",
                        file.display()
                    ))
                })?;
                // Wrong lines are reported before anything runs.
                LaunchLine::parse(&settings.launch).map_err(|error| {
                    Failure::usage("launch-line", error.to_string()).hint(error.hint())
                })?;
                Places(Arc::new(move |run, logs| {
                    let launcher =
                        CommandLauncher::new(line(run, logs), settings.clone(), programs.clone())?;
                    Ok(Box::new(launcher))
                }))
            }
            _ => Places(Arc::new(move |run, logs| {
                let settings = site.slurm.clone();
                let launcher =
                    SlurmLauncher::new(line(run, logs), settings, site.pace(), programs.clone());
                Ok(Box::new(launcher))
            })),
        }))
    }

    /// Refuses `local`, an option that only a local run has.
    pub fn check(&self, local: Option<&str>) -> Result<(), Failure> {
        match local.filter(|_| !self.is_local()) {
            None => Ok(()),
            Some(option) => {
                let message = format!("`{option}` is for runs whose nodes execute here");
                Err(Failure::usage("command-line", message)
                    .hint("leave out `--executor`, or run that part without it first"))
            }
        }
    }
}

/// A path as text: it stands in scripts and command lines of other programs.
fn text(path: PathBuf) -> Result<String, Failure> {
    path.into_os_string().into_string().map_err(|path| {
        Failure::failed(format!(
            "{} is not UTF-8, and workers need it",
            path.display()
        ))
    })
}
