//! Failures that end a run: places will not come without a change by the user.

use std::path::PathBuf;

use super::logs::tail;

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A program of the scheduler is missing or can't be started.
    #[error("`{program}` can't be started: {source}")]
    Program {
        program: String,
        source: std::io::Error,
    },
    /// The scheduler refuses, and no worker lives.
    #[error("no place for workers of class {class}: {message}")]
    Refused { class: String, message: String },
    /// Workers died one after another before any of them claimed a node.
    #[error(
        "{count} workers ended one after another without claiming a node; the log of the last, {}:\n{}",
        log.display(), shown(log)
    )]
    Died { count: usize, log: PathBuf },
    /// Launched workers did not join, one after another.
    #[error(
        "{count} launched workers did not join within {} s; the log of the last launch, {}:\n{}",
        limit, log.display(), shown(log)
    )]
    NeverJoined {
        count: usize,
        limit: u64,
        log: PathBuf,
    },
    /// The launch line can't be used.
    #[error("the launch line: {message}")]
    Launch { message: String, hint: String },
    /// A folder for logs or programs can't be written.
    #[error("{}: {source}", path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
}

impl ClusterError {
    /// How to fix it.
    pub fn hint(&self) -> String {
        match self {
            Self::Program { .. } => {
                "run this on a machine from which jobs are submitted (a login node)".to_string()
            }
            Self::Refused { .. } => "`ribflow slurm check` finds what the cluster refuses".to_string(),
            Self::Died { .. } => {
                "a worker needs the same store, program and libraries as this machine; `ribflow slurm \
                 check --submit` looks from a job"
                    .to_string()
            }
            Self::NeverJoined { .. } => {
                "run the launch line by hand; `join:` in cluster.yaml is the time limit".to_string()
            }
            Self::Launch { hint, .. } => hint.clone(),
            Self::Io { .. } => "workers write their logs there".to_string(),
        }
    }
}

fn shown(log: &std::path::Path) -> String {
    match tail(log) {
        text if text.is_empty() => "(empty)".to_string(),
        text => text,
    }
}
