//! Reads what `squeue` and `sacct` print about the jobs of a run.

/// The format for `squeue -h -r`. The name is last: only it may contain the separator.
pub const QUEUE_FORMAT: &str = "%A|%F|%K|%T|%r|%N|%j";
/// The fields for `sacct -n -P -X`.
pub const ACCOUNT_FORMAT: &str = "JobID,State,ExitCode,NodeList,JobName";

/// A job, or one task of a job array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub name: String,
    /// The position in the array; 0 for a job of its own.
    pub index: u32,
    /// The number that `scontrol show job` takes. Slurm may give it to another job later.
    pub id: String,
    pub state: State,
    /// Why it waits: `Resources`, `PartitionConfig`; empty if unknown.
    pub reason: String,
    pub nodes: String,
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Queued,
    Running,
    /// Its processes have ended; how is known later.
    Completing,
    /// It ended with success.
    Done,
    /// It ended by itself, as the text says: `failed`, `ran out of memory`.
    Failed(String),
    /// The machine ended it, as the text says: `was preempted`.
    Taken(&'static str),
    /// A state of a later version of Slurm.
    Other,
}

impl State {
    /// A state as `%T` and `sacct` show it: `RUNNING`, `CANCELLED by 0`.
    pub fn read(text: &str) -> Self {
        let word = text.split([' ', '+']).next().unwrap_or_default();
        match word {
            "PENDING" | "CONFIGURING" | "REQUEUED" | "REQUEUE_FED" | "REQUEUE_HOLD"
            | "RESV_DEL_HOLD" => Self::Queued,
            "RUNNING" | "SUSPENDED" | "STOPPED" | "SIGNALING" | "STAGE_OUT" | "RESIZING" => {
                Self::Running
            }
            "COMPLETING" => Self::Completing,
            "COMPLETED" => Self::Done,
            "FAILED" | "SPECIAL_EXIT" => Self::Failed("failed".to_string()),
            "OUT_OF_MEMORY" => Self::Failed("ran out of memory".to_string()),
            "TIMEOUT" => Self::Taken("reached its time limit"),
            "DEADLINE" => Self::Taken("reached its deadline"),
            "NODE_FAIL" => Self::Taken("was on a node that failed"),
            "BOOT_FAIL" => Self::Taken("was on a node that did not boot"),
            "PREEMPTED" => Self::Taken("was preempted"),
            "CANCELLED" | "REVOKED" => Self::Taken("was cancelled"),
            _ => Self::Other,
        }
    }

    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Done | Self::Failed(_) | Self::Taken(_))
    }
}

/// The jobs of [`QUEUE_FORMAT`] whose names begin with `prefix`. Other lines are left out.
pub fn read_queue(text: &str, prefix: &str) -> Vec<Job> {
    let jobs = text.lines().filter_map(|line| {
        let mut fields = line.splitn(7, '|');
        let mut field = || fields.next().map(str::trim);
        let (id, _array, index) = (field()?, field()?, field()?);
        let (state, reason, nodes, name) = (field()?, field()?, field()?, field()?);
        Some(Job {
            name: name.to_string(),
            index: index.parse().unwrap_or(0),
            id: id.to_string(),
            state: State::read(state),
            reason: match reason {
                "None" => String::new(),
                reason => reason.to_string(),
            },
            nodes: nodes.to_string(),
        })
    });
    jobs.filter(|job| job.name.starts_with(prefix)).collect()
}

/// The jobs of [`ACCOUNT_FORMAT`] whose names begin with `prefix`. Other lines are left out.
pub fn read_accounts(text: &str, prefix: &str) -> Vec<Job> {
    let jobs = text.lines().filter_map(|line| {
        let mut fields = line.splitn(5, '|');
        let mut field = || fields.next().map(str::trim);
        let (id, state, exit) = (field()?, field()?, field()?);
        let (nodes, name) = (field()?, field()?);
        // `12_3`, or `12_[0-7]` for tasks that never started.
        let index = id.split_once('_').and_then(|(_, index)| index.parse().ok());
        let state = match State::read(state) {
            State::Failed(how) if exit != "0:0" => {
                State::Failed(format!("{how} (exit code {exit})"))
            }
            state => state,
        };
        Some(Job {
            name: name.to_string(),
            index: index.unwrap_or(0),
            id: id.to_string(),
            state,
            reason: String::new(),
            nodes: nodes.to_string(),
        })
    });
    jobs.filter(|job| job.name.starts_with(prefix)).collect()
}

/// Reasons for which a job waits for ever unless someone changes something, with what to change.
pub fn stuck(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "PartitionConfig" | "BadConstraints" | "NodeCPUs" => {
            "no node of the partition has what it asks for; `ribflow slurm check` says what"
        }
        "PartitionTimeLimit" => {
            "its time limit is beyond that of the partition: `time:` in cluster.yaml"
        }
        "PartitionNodeLimit" => "the partition does not allow it",
        "PartitionDown" | "PartitionInactive" => {
            "the partition is down: another `partition:`, or wait"
        }
        "AccountNotAllowed" | "InvalidAccount" => {
            "the account may not use the partition: `account:`"
        }
        "QOSNotAllowed" | "InvalidQOS" => "the account may not use the quality of service: `qos:`",
        "JobHeldUser" | "JobHeldAdmin" => {
            "it is held: `scontrol release`, or ask the administrators"
        }
        "ReqNodeNotAvail" | "UnavailableNodes" => {
            "the nodes that it needs are drained, down or reserved: it waits for them"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of Slurm 22.05.8.
    const QUEUE: &str = "\
91|90|0|PENDING|Resources||rf-r1-cpu-ab12
92|90|1|RUNNING|None|n1|rf-r1-cpu-ab12
93|93|N/A|FAILED|NonZeroExitCode|n[1-2]|rf-r1-gpu-x-cd34
94|94|N/A|RUNNING|None|n1|rf-r2-cpu-ab12
95|95|N/A|RUNNING|None|n1|a|b
no line of a job
";

    #[test]
    fn lines_of_squeue_are_read_and_others_left_out() {
        let jobs = read_queue(QUEUE, "rf-r1-");
        let seen: Vec<_> = jobs
            .iter()
            .map(|job| (job.name.as_str(), job.index, job.id.as_str(), &job.state))
            .collect();
        let failed = State::Failed("failed".to_string());
        assert_eq!(
            seen,
            [
                ("rf-r1-cpu-ab12", 0, "91", &State::Queued),
                ("rf-r1-cpu-ab12", 1, "92", &State::Running),
                ("rf-r1-gpu-x-cd34", 0, "93", &failed),
            ]
        );
        assert_eq!(
            (jobs[0].reason.as_str(), jobs[1].reason.as_str()),
            ("Resources", "")
        );
        assert_eq!(read_queue(QUEUE, "a|")[0].name, "a|b");
    }

    #[test]
    fn lines_of_sacct_are_read() {
        let text =
            "90_0|CANCELLED by 0|0:0|n1|rf-r1-cpu-ab12\n90_1|FAILED|42:0|n1|rf-r1-cpu-ab12\n";
        let jobs = read_accounts(text, "rf-r1-");
        assert_eq!(jobs[0].state, State::Taken("was cancelled"));
        let failed = State::Failed("failed (exit code 42:0)".to_string());
        assert_eq!((jobs[1].index, &jobs[1].state), (1, &failed));
        assert_eq!(
            read_accounts("Slurm accounting storage is disabled\n", ""),
            []
        );
    }

    #[test]
    fn the_machine_ends_a_job_or_the_job_ends_itself() {
        for state in [
            "TIMEOUT",
            "NODE_FAIL",
            "PREEMPTED",
            "BOOT_FAIL",
            "CANCELLED",
            "CANCELLED+",
        ] {
            assert!(matches!(State::read(state), State::Taken(_)), "{state}");
        }
        for state in ["FAILED", "OUT_OF_MEMORY"] {
            assert!(matches!(State::read(state), State::Failed(_)), "{state}");
        }
        assert_eq!(State::read("HIBERNATING"), State::Other);
    }
}
