//! Finds what a cluster would refuse, or leave in the queue for ever, before anything is submitted.

use super::ask::{self, Asked};
use super::facts::{self, Facts, Node, Partition};
use super::settings::SlurmSettings;
use super::submission::Submission;
use crate::cluster::ClusterError;
use crate::cluster::call::{Answer, Programs};
use crate::cluster::place::{PlaceClass, WorkerLine};
use crate::diag::suggest;
use crate::quantity;

/// What is wrong, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Otherwise a warning: a run may do well.
    pub is_error: bool,
    pub what: String,
    pub cure: String,
}

impl Finding {
    pub fn error(what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            is_error: true,
            what: what.into(),
            cure: cure.into(),
        }
    }

    pub fn warning(what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            is_error: false,
            ..Self::error(what, cure)
        }
    }
}

/// What a cluster says of itself.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub config: Facts,
    pub partitions: Vec<Partition>,
    pub nodes: Vec<Node>,
}

impl Cluster {
    /// Asks for it: three calls.
    ///
    /// # Errors
    /// `scontrol` is missing.
    pub fn ask(programs: &Programs) -> Result<Asked<Self>, ClusterError> {
        let show = |what: &[&str]| ask::ask(programs, "scontrol", what);
        let config = match show(&["show", "config"])? {
            Ok(text) => facts::settings(&text),
            Err(message) => return Ok(Err(message)),
        };
        let partitions = match show(&["-o", "show", "partition"])? {
            Ok(text) => facts::partitions(&text),
            Err(message) => return Ok(Err(message)),
        };
        Ok(show(&["-o", "show", "node"])?.map(|text| Self {
            config,
            partitions,
            nodes: facts::nodes(&text),
        }))
    }

    /// What would go wrong for workers of these classes. `of` names the stages of each class.
    pub fn findings(
        &self,
        settings: &SlurmSettings,
        classes: &[(PlaceClass, String)],
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.setting("MaxArraySize").is_some_and(|most| most < 2) {
            findings.push(Finding::warning(
                "the cluster has no job arrays: each worker is a job of its own",
                "`batch: 1` in cluster.yaml keeps the submissions small",
            ));
        }
        for (class, of) in classes {
            for finding in self.of_class(settings, class, of) {
                // Classes share a partition.
                if !findings.contains(&finding) {
                    findings.push(finding);
                }
            }
        }
        findings
    }

    fn setting(&self, name: &str) -> Option<u64> {
        self.config.get(name)?.split(' ').next()?.parse().ok()
    }

    fn of_class(&self, settings: &SlurmSettings, class: &PlaceClass, of: &str) -> Vec<Finding> {
        let request = settings.request(class);
        let partitions = match self.chosen(request.partition.as_deref()) {
            Ok(partitions) => partitions,
            Err(finding) => return vec![finding],
        };
        let mut findings = Vec::new();
        let names: Vec<&str> = partitions.iter().map(|one| one.name.as_str()).collect();
        let shown = shown_partitions(&names);
        if !partitions.iter().any(|partition| partition.is_up) {
            let cure = "choose another `partition:`, or ask the administrators";
            findings.push(Finding::error(format!("{shown} is down"), cure));
        }
        if let Some(account) = &request.account {
            let allows =
                |one: &Partition| one.accounts.is_empty() || one.accounts.contains(account);
            if !partitions.iter().any(|one| allows(one)) {
                let what = format!("{shown} does not allow the account `{account}`");
                let known = partitions.iter().flat_map(|one| &one.accounts);
                let known = known.map(String::as_str);
                findings.push(Finding::error(what, suggest(account, "accounts", known)));
            }
        }
        if let Some(qos) = &request.qos {
            let allows = |one: &Partition| one.qos.is_empty() || one.qos.contains(qos);
            if !partitions.iter().any(|one| allows(one)) {
                let what = format!("{shown} does not allow the quality of service `{qos}`");
                let known = partitions
                    .iter()
                    .flat_map(|one| &one.qos)
                    .map(String::as_str);
                findings.push(Finding::error(
                    what,
                    suggest(qos, "qualities of service", known),
                ));
            }
        }
        let time = Submission::minutes_of(settings, class) * 60;
        let limits = partitions.iter().map(|one| one.max_time);
        // No limit is above all others.
        let limit = limits
            .max_by_key(|limit| limit.unwrap_or(u64::MAX))
            .flatten();
        if let Some(limit) = limit.filter(|limit| time > *limit) {
            let (time, limit) = (
                quantity::duration(time as f64),
                quantity::duration(limit as f64),
            );
            findings.push(Finding::error(
                format!("workers for {of} ask for {time}; {shown} gives at most {limit}"),
                "`time:` in cluster.yaml, or `resources: { time: … }` of the stage, or another `partition:`",
            ));
        }
        findings.extend(self.of_nodes(
            class,
            request.mem,
            request.constraint.as_deref(),
            of,
            &names,
        ));
        findings
    }

    /// The partitions that a request names, or the default one.
    fn chosen(&self, names: Option<&str>) -> Result<Vec<&Partition>, Finding> {
        let known = || self.partitions.iter().map(|one| one.name.as_str());
        let Some(names) = names else {
            let default = self.partitions.iter().find(|one| one.is_default);
            return default.map(|one| vec![one]).ok_or_else(|| {
                let cure = format!(
                    "set `partition:` in cluster.yaml; {}",
                    suggest("", "partitions", known().collect::<Vec<_>>())
                );
                Finding::error("the cluster has no default partition", cure)
            });
        };
        let find = |name: &str| {
            let found = self.partitions.iter().find(|one| one.name == name);
            found.ok_or_else(|| {
                let cure = suggest(name, "partitions", known().collect::<Vec<_>>());
                Finding::error(format!("there is no partition `{name}`"), cure)
            })
        };
        names.split(',').map(find).collect()
    }

    fn of_nodes(
        &self,
        class: &PlaceClass,
        mem: Option<u64>,
        constraint: Option<&str>,
        of: &str,
        partitions: &[&str],
    ) -> Vec<Finding> {
        let shown = shown_partitions(partitions);
        let is_in = |node: &&Node| {
            node.partitions
                .iter()
                .any(|it| partitions.contains(&it.as_str()))
        };
        let nodes: Vec<&Node> = self.nodes.iter().filter(is_in).collect();
        // Other constraints are expressions, which `sbatch --test-only` checks.
        let is_name = |text: &&str| {
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let feature = constraint.filter(is_name);
        let has_feature =
            |node: &Node| feature.is_none_or(|name| node.features.iter().any(|it| it == name));
        if let Some(name) = feature
            && !nodes.iter().any(|node| has_feature(node))
        {
            let known = nodes
                .iter()
                .flat_map(|node| &node.features)
                .map(String::as_str);
            let known: std::collections::BTreeSet<&str> = known.collect();
            let what = format!("no node of {shown} has the feature `{name}`");
            return vec![Finding::error(what, suggest(name, "features", known))];
        }
        let nodes: Vec<&Node> = nodes.into_iter().filter(|node| has_feature(node)).collect();
        let mem = class.mem.or(mem).unwrap_or(0);
        let mut findings = Vec::new();
        let mut lack = |lacks: bool, wanted: String, most: String, field: &str| {
            if lacks {
                let what =
                    format!("no node of {shown} has {wanted} for {of}; the largest has {most}");
                let cure =
                    format!("`resources: {{ {field}: … }}` of the stage, or another `partition:`");
                findings.push(Finding::error(what, cure));
            }
        };
        let (cpus, gpus) = (class.cpus.max(1), class.gpus);
        let most =
            |value: fn(&Node) -> u64| nodes.iter().map(|node| value(node)).max().unwrap_or(0);
        let most_cpus = most(|node| u64::from(node.cpus));
        lack(
            u64::from(cpus) > most_cpus,
            format!("{cpus} CPUs"),
            most_cpus.to_string(),
            "cpus",
        );
        let most_mem = most(|node| node.mem);
        lack(
            mem > most_mem,
            quantity::bytes(mem),
            quantity::bytes(most_mem),
            "mem",
        );
        let most_gpus = most(|node| u64::from(node.gpus));
        lack(
            u64::from(gpus) > most_gpus,
            format!("{gpus} GPUs"),
            most_gpus.to_string(),
            "gpus",
        );
        let fits = |node: &&&Node| node.cpus >= cpus && node.mem >= mem && node.gpus >= gpus;
        let fitting: Vec<&&Node> = nodes.iter().filter(fits).collect();
        if findings.is_empty() && fitting.is_empty() {
            let mem = quantity::bytes(mem);
            findings.push(Finding::error(
                format!(
                    "no node of {shown} has {cpus} CPUs, {mem} and {gpus} GPUs together, for {of}"
                ),
                "smaller `resources:` of the stage, or another `partition:`",
            ));
        }
        if !fitting.is_empty() && !fitting.iter().any(|node| node.is_usable()) {
            let states: std::collections::BTreeSet<&str> =
                fitting.iter().map(|node| node.state.as_str()).collect();
            let states: Vec<&str> = states.into_iter().collect();
            findings.push(Finding::warning(
                format!(
                    "all nodes of {shown} that fit {of} are away now: {}",
                    states.join(", ")
                ),
                "workers wait until one returns; `sinfo -R` says why they are away",
            ));
        }
        findings
    }
}

fn shown_partitions(names: &[&str]) -> String {
    match names {
        [one] => format!("partition `{one}`"),
        several => format!("the partitions `{}`", several.join(",")),
    }
}

/// Asks Slurm itself whether it would take a submission, without making it: `sbatch --test-only`. Slurm
/// takes some that never start, which [`Cluster::findings`] finds.
///
/// # Errors
/// `sbatch` is missing.
pub fn try_out(
    programs: &Programs,
    line: &WorkerLine,
    settings: &SlurmSettings,
    class: &PlaceClass,
    of: &str,
) -> Result<Option<Finding>, ClusterError> {
    let submission = Submission {
        line,
        settings,
        class,
        nonce: "check",
        workers: 1,
        is_array: false,
    };
    let mut options = submission.resources();
    options.extend(["--test-only", "--wrap", "true"].map(Into::into));
    let message = match programs.call("sbatch", options)? {
        Answer::Ended { success: true, .. } => return Ok(None),
        Answer::TimedOut => "it does not answer".to_string(),
        Answer::Ended { errors, .. } => {
            let lines = errors
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty());
            let lines: Vec<&str> = lines.collect();
            lines.join("; ")
        }
    };
    let message = message
        .replace("sbatch: error: ", "")
        .replace("allocation failure: ", "");
    Ok(Some(Finding::error(
        format!("Slurm refuses workers for {of}: {message}"),
        "what cluster.yaml and `resources:` ask for must be what the cluster gives",
    )))
}

#[cfg(test)]
mod tests;
