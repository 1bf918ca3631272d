//! The calls of Slurm's programs, and what their answers mean.

use std::ffi::OsString;
use std::path::Path;

use super::queue::{ACCOUNT_FORMAT, Job, QUEUE_FORMAT, read_accounts, read_queue};
use crate::cluster::ClusterError;
use crate::cluster::call::{Answer, Programs};

/// What came of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// With the number of the job.
    Accepted(String),
    /// It may have been accepted: the answer is missing.
    Doubtful(String),
    Refused(String),
}

/// The answer to a question, or why there is none. Without an answer nothing is known.
pub type Asked<T> = Result<T, String>;

/// Submits a script.
pub fn submit(
    programs: &Programs,
    options: Vec<OsString>,
    script: &Path,
) -> Result<Submitted, ClusterError> {
    let arguments = options.into_iter().chain([script.into()]);
    Ok(match programs.call("sbatch", arguments)? {
        Answer::TimedOut => Submitted::Doubtful(no_answer("sbatch", programs)),
        Answer::Ended {
            success: true,
            output,
            ..
        } => {
            let id = output.trim().split(';').next().unwrap_or_default();
            Submitted::Accepted(id.to_string())
        }
        Answer::Ended { output, errors, .. } => {
            let message = said(&errors, &output);
            match is_unreachable(&message) {
                true => Submitted::Doubtful(message),
                false => Submitted::Refused(message),
            }
        }
    })
}

/// All jobs of this user whose names begin with `prefix`.
pub fn queue(programs: &Programs, prefix: &str) -> Result<Asked<Vec<Job>>, ClusterError> {
    let arguments = ["-h", "-r", "--me", "-t", "all", "-o", QUEUE_FORMAT];
    let answer = ask(programs, "squeue", &arguments)?;
    Ok(answer.map(|output| read_queue(&output, prefix)))
}

/// What the accounting says about jobs by name.
pub fn accounts(
    programs: &Programs,
    names: &[&str],
    prefix: &str,
) -> Result<Asked<Vec<Job>>, ClusterError> {
    let names = names.join(",");
    // Without a start time only jobs since midnight are searched.
    let arguments = [
        "-X",
        "-n",
        "-P",
        "--name",
        &names,
        "--starttime",
        "now-7days",
        "-o",
        ACCOUNT_FORMAT,
    ];
    let answer = ask(programs, "sacct", &arguments)?;
    Ok(answer.map(|output| read_accounts(&output, prefix)))
}

/// The largest number of tasks in a job array; 0 or 1: there are none.
pub fn most_tasks(programs: &Programs) -> Result<Asked<u32>, ClusterError> {
    let answer = ask(programs, "scontrol", &["show", "config"])?;
    Ok(answer.map(|output| {
        let settings = super::facts::settings(&output);
        let most = settings.get("MaxArraySize");
        // Slurm's own default.
        most.and_then(|most| most.parse().ok()).unwrap_or(1001)
    }))
}

/// Cancels the jobs of one name; with `task` only that one, and with `pending` only what waits. The name
/// has the nonce of its submission, so a number that was given again meets no other job.
pub fn cancel(programs: &Programs, job_name: &str, task: Option<&str>, pending: bool) {
    let mut arguments = vec!["--quiet", "--name", job_name];
    if pending {
        arguments.extend(["--state", "PENDING"]);
    }
    arguments.extend(task);
    // What can't be cancelled ends by itself.
    let _ = programs.call("scancel", arguments);
}

/// The output of a program that answers a question.
pub fn ask(
    programs: &Programs,
    program: &str,
    arguments: &[&str],
) -> Result<Asked<String>, ClusterError> {
    Ok(match programs.call(program, arguments)? {
        Answer::TimedOut => Err(no_answer(program, programs)),
        Answer::Ended {
            success: true,
            output,
            ..
        } => Ok(output),
        Answer::Ended { output, errors, .. } => Err(said(&errors, &output)),
    })
}

fn no_answer(program: &str, programs: &Programs) -> String {
    let limit = programs.limit.as_secs();
    format!("{program} has not answered within {limit} s")
}

/// The line of an answer that says what is wrong, without the name of the program.
fn said(errors: &str, output: &str) -> String {
    // The last line often only says that the submission failed, and why behind that.
    let last = |text: &str| {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.next_back().map(str::to_string)
    };
    let line = last(errors).or_else(|| last(output));
    let line = line.as_deref().unwrap_or("it says nothing");
    let words = [
        "sbatch: error: ",
        "squeue: error: ",
        "sacct: error: ",
        "scontrol: error: ",
    ];
    let line = words
        .iter()
        .find_map(|words| line.strip_prefix(words))
        .unwrap_or(line);
    line.strip_prefix("Batch job submission failed: ")
        .unwrap_or(line)
        .to_string()
}

/// Whether a message says that the controller was not reached, or did not answer.
fn is_unreachable(message: &str) -> bool {
    [
        "ontact slurm controller",
        "Socket timed out",
        "onnection refused",
        "onnection timed out",
        "onnection failure",
        "Zero Bytes were transmitted",
        "Transport endpoint",
        "temporarily unable",
    ]
    .iter()
    .any(|words| message.contains(words))
}

/// Whether a refusal may end without anyone changing anything: other jobs end, other users go.
pub fn is_temporary(message: &str) -> bool {
    let words = ["ubmit limit", "SubmitJob", "MaxJob", "policy", "emporarily"];
    words.iter().any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_from_silence() {
        let message = said(
            "sbatch: error: invalid partition specified: nix\n\
             sbatch: error: Batch job submission failed: Invalid partition name specified\n",
            "",
        );
        assert_eq!(message, "Invalid partition name specified");
        for message in [
            "Unable to contact slurm controller (connect failure)",
            "Socket timed out on send/recv operation",
            "Zero Bytes were transmitted or received",
        ] {
            assert!(is_unreachable(message), "{message}");
        }
        assert!(!is_unreachable(
            "Requested node configuration is not available"
        ));
        assert!(is_temporary(
            "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
        ));
    }
}
