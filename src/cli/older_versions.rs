//! `--accept KIND@OLD`: reuses records of an older version of a kind.

use std::collections::{BTreeSet, HashSet};
use std::str::FromStr;

use clap::{ArgAction, Args};
use petgraph::graph::NodeIndex;

use super::failure::Failure;
use super::target::WorkflowArguments;
use crate::diag::{listed, suggest};
use crate::engine::{self, Acceptable, Accepting};
use crate::quantity::count;
use crate::stages::registry::Registry;
use crate::store::{ForeignRecord, Store};
use crate::workflow::graph::Graph;

/// The older versions to accept, as typed.
#[derive(Clone, Debug, Default, Args)]
pub struct AcceptArguments {
    /// Accept records of an older version of a kind: evaluate@2; repeatable
    ///
    /// An upgrade that raises the version of a kind changes the keys of its nodes. With this
    /// option, a node without a record under its new key permanently adopts its record under the
    /// older key: later runs find it without this option. `ribflow verify FILE --recompute --accept
    /// KIND@OLD` must have recomputed a sample of these records first. Reports name the affected
    /// nodes.
    #[arg(long, value_name = "KIND@OLD", action = ArgAction::Append)]
    pub accept: Vec<OlderVersion>,
}

/// `evaluate@2`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OlderVersion {
    pub kind: String,
    pub version: u32,
}

impl FromStr for OlderVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('@');
        let older = parts.and_then(|(kind, version)| {
            let is_number = version.bytes().all(|byte| byte.is_ascii_digit());
            let version = is_number.then(|| version.parse().ok()).flatten()?;
            (!kind.is_empty()).then(|| Self {
                kind: kind.to_string(),
                version,
            })
        });
        older.ok_or_else(|| "expected a kind and a version: `evaluate@2`".to_string())
    }
}

impl AcceptArguments {
    /// The accepted versions, if every one of them is valid.
    pub fn checked(&self, registry: &Registry, graph: &Graph) -> Result<Accepting, Failure> {
        let mut accepting = Accepting::default();
        for older in &self.accept {
            older.check(registry, graph)?;
            accepting.add(&older.kind, older.version);
        }
        Ok(accepting)
    }

    /// The options as typed.
    pub fn typed(&self) -> String {
        let words = self.accept.iter();
        let words = words.map(|one| format!(" --accept {}@{}", one.kind, one.version));
        words.collect()
    }
}

impl OlderVersion {
    fn check(&self, registry: &Registry, graph: &Graph) -> Result<(), Failure> {
        let Self { kind, version } = self;
        let kinds = registry.kinds();
        let Some(known) = kinds.get(kind) else {
            let message = format!("there is no stage kind `{kind}`");
            let names = kinds.0.keys().map(String::as_str);
            return Err(Failure::usage("unknown-kind", message).hint(suggest(kind, "kinds", names)));
        };
        let used: BTreeSet<&str> = graph
            .dag
            .node_weights()
            .map(|node| node.kind.name())
            .collect();
        if !used.contains(&**kind) {
            let message = format!("no node of `{}` is of the kind `{kind}`", graph.name);
            let hint = format!(
                "its nodes are of the kinds {}",
                listed(used.iter().copied())
            );
            return Err(Failure::usage("unused-kind", message).hint(hint));
        }
        let today = known.version();
        if (1..today).contains(version) {
            return Ok(());
        }
        let message = match *version {
            0 => format!("versions of `{kind}` begin with 1"),
            version if version == today => {
                format!("{version} is the version of `{kind}` in this ribflow, not an older one")
            }
            version => format!("`{kind}` has no version {version}: in this ribflow it is {today}"),
        };
        let hint = match today {
            0 | 1 => format!("`{kind}` has no older version"),
            2 => format!("its only older version is `{kind}@1`"),
            _ => format!("its older versions are 1 to {}", today - 1),
        };
        Err(Failure::usage("version", message).hint(hint))
    }
}

/// Accepts the older records that nodes of `graph` need, and returns how many. Nodes in `force` run
/// in any case.
pub fn accept(
    arguments: &AcceptArguments,
    workflow: &WorkflowArguments,
    graph: &Graph,
    store: &Store,
    device: &str,
    accepting: Accepting,
    force: &[NodeIndex],
) -> Result<(Accepting, usize), Failure> {
    if accepting.is_empty() {
        return Ok((accepting, 0));
    }
    let sampled = sampled(store, graph, &accepting)?;
    let mut found = engine::acceptable(graph, store, device, &accepting)?;
    found.retain(|one| !force.contains(&one.node));
    let unsampled = found
        .iter()
        .filter(|one| !sampled.contains(&one.older.digest));
    let unsampled: Vec<&Acceptable> = unsampled.collect();
    if let Some(first) = unsampled.first() {
        return Err(not_sampled(&unsampled, first, arguments, workflow, graph));
    }
    let records: Vec<ForeignRecord> = found
        .into_iter()
        .map(|one| ForeignRecord {
            record: one.record,
            signatures: Vec::new(),
        })
        .collect();
    store
        .adopt(&records)
        .map_err(|error| Failure::from_error(&error))?;
    Ok((accepting.only(sampled), records.len()))
}

/// The older records that recomputed samples cover.
pub fn sampled(
    store: &Store,
    graph: &Graph,
    accepting: &Accepting,
) -> Result<HashSet<crate::digest::Digest>, Failure> {
    let kinds = graph.dag.node_weights();
    let kinds: BTreeSet<(&str, u32)> = kinds
        .map(|node| (node.kind.name(), node.kind.version()))
        .collect();
    let mut sampled = HashSet::new();
    for (kind, today) in kinds {
        for version in accepting.versions_of(kind) {
            let records = store.sampled(kind, version, today);
            sampled.extend(records.map_err(|error| Failure::from_error(&error))?);
        }
    }
    Ok(sampled)
}

fn not_sampled(
    unsampled: &[&Acceptable],
    first: &Acceptable,
    arguments: &AcceptArguments,
    workflow: &WorkflowArguments,
    graph: &Graph,
) -> Failure {
    let kind = graph.dag[first.node].kind.name();
    let message = format!(
        "no recomputed sample covers {} of older versions that would be accepted, for example that \
         of `{}` (version {} of `{kind}`)",
        count(unsampled.len(), "record"),
        graph.dag[first.node].id,
        first.older.record.recipe.version,
    );
    Failure::usage("not-sampled", message).hint(sample_command(workflow, arguments))
}

/// The command that recomputes a sample.
pub fn sample_command(workflow: &WorkflowArguments, arguments: &AcceptArguments) -> String {
    format!(
        "`ribflow verify {} --recompute{}` recomputes a sample of them",
        workflow.typed(),
        arguments.typed()
    )
}
