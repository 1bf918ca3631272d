//! The state of each node of a graph in a store, for `plan`, `status` and `why`. Runs nothing,
//! claims nothing, writes nothing but the stat cache.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use petgraph::graph::NodeIndex;

use super::EngineError;
use super::accepting::{Acceptable, Accepting};
use super::device;
use super::event::PlanState;
use super::gather::RemoteRecords;
use super::keys::{Keys, Missing};
use super::why::{self, History};
use crate::contract::recipe::Recipe;
use crate::digest::Digest;
use crate::remote::exchange::TrustedOutcomes;
use crate::store::{Store, StoredRecord};
use crate::workflow::graph::Graph;

/// The state of every node, in the order of the graph.
pub struct Survey {
    pub nodes: Vec<SurveyedNode>,
    positions: HashMap<NodeIndex, usize>,
}

/// The state of one node.
pub struct SurveyedNode {
    pub node: NodeIndex,
    pub state: PlanState,
    /// Known once every input has a record.
    pub key: Option<Digest>,
    pub recipe: Option<Recipe>,
    pub record: Option<Arc<StoredRecord>>,
    /// Its record repeats one of an older version, and is not yet in the store.
    pub would_accept: bool,
    /// If it has no record: the newest older version of its kind under which it has one that could
    /// be accepted.
    pub older: Option<u32>,
    /// The reason for the state, as text.
    pub why: String,
    /// Whether its data and variables exist, so that it could run. Checked only for keyed nodes.
    pub can_run: bool,
}

impl Survey {
    fn new(nodes: Vec<SurveyedNode>) -> Self {
        let positions = nodes.iter().enumerate();
        let positions = positions.map(|(position, one)| (one.node, position));
        Self {
            positions: positions.collect(),
            nodes,
        }
    }

    /// The record of every node that has one.
    pub fn into_records(self) -> BTreeMap<NodeIndex, StoredRecord> {
        let nodes = self.nodes.into_iter();
        nodes
            .filter_map(|surveyed| {
                let record = surveyed.record?;
                Some((surveyed.node, Arc::unwrap_or_clone(record)))
            })
            .collect()
    }

    pub fn get(&self, node: NodeIndex) -> Option<&SurveyedNode> {
        self.nodes.get(*self.positions.get(&node)?)
    }
}

/// Surveys every node of `graph`. `device` is the same as for `run`: it enters the keys of a strict
/// workflow.
pub fn survey(graph: &Graph, store: &Store, device: &str) -> Result<Survey, EngineError> {
    survey_with(
        graph,
        store,
        device,
        &RemoteRecords::default(),
        &Accepting::default(),
    )
}

/// As [`survey`], with records found at remotes, and with accepted older versions.
pub fn survey_with(
    graph: &Graph,
    store: &Store,
    device: &str,
    gathered: &RemoteRecords,
    accepting: &Accepting,
) -> Result<Survey, EngineError> {
    let class = device::class_named(device)?;
    let mut keys = Keys::new(graph, store, &class).accepting(accepting.clone());
    let mut history = History::new(graph, store, None);
    let mut nodes = Vec::with_capacity(graph.order.len());
    for &node in &graph.order {
        nodes.push(survey_node(graph, &mut keys, &mut history, gathered, node)?);
    }
    keys.save();
    Ok(Survey::new(nodes))
}

fn survey_node(
    graph: &Graph,
    keys: &mut Keys,
    history: &mut History,
    gathered: &RemoteRecords,
    node: NodeIndex,
) -> Result<SurveyedNode, EngineError> {
    let blank = |state, why| SurveyedNode {
        node,
        state,
        key: None,
        recipe: None,
        record: None,
        would_accept: false,
        older: None,
        why,
        can_run: false,
    };
    let waits_for = why::without_record(graph, keys, node);
    if !waits_for.is_empty() {
        if let Some(missing) = missing_env(graph, node) {
            return Ok(blank(PlanState::MissingData, missing.to_string()));
        }
        let changed = history.changed_parameters(keys, node);
        let why = why::waits(graph, &waits_for, &changed);
        return Ok(blank(PlanState::Unknown, why));
    }
    let recipe = match keys.recipe(node) {
        Ok(recipe) => recipe,
        Err(missing) => return Ok(blank(PlanState::MissingData, missing.to_string())),
    };
    let key = recipe.key();
    let here = keys.find(node, &key, recipe.clone())?.record();
    // Remotes were asked for records that are missing or revoked in the store.
    let taken = gathered.taken.get(&key);
    let found = taken
        .and_then(TrustedOutcomes::first)
        .map(Arc::new)
        .or(here);
    let accepted = match found {
        Some(_) => None,
        None => keys.accept(node, &recipe, &gathered.taken)?,
    };
    let missing = keys.can_run(node).err();
    let mut older = None;
    let (state, why) = match (&found, taken, &accepted) {
        (Some(_), Some(TrustedOutcomes { remote, .. }), _) => {
            (PlanState::Remote, format!("its record is at `{remote}`"))
        }
        (Some(_), None, _) => (PlanState::Reused, "its record is in the store".to_string()),
        (None, _, Some(accepted)) => accepted_words(accepted, gathered),
        (None, _, None) => {
            older = keys.older_version(node, &recipe)?;
            let (state, why) = match &missing {
                None => (PlanState::WouldRun, history.why(keys, node, &recipe)),
                Some(missing) => (PlanState::MissingData, missing.to_string()),
            };
            (state, why + &flag_words(&recipe, older))
        }
    };
    let would_accept = accepted.is_some();
    let accepted = accepted.map(|one| Arc::new(StoredRecord::of(one.record)));
    let record = found.or(accepted);
    if let Some(record) = &record {
        keys.set_record(node, Arc::clone(record));
    }
    Ok(SurveyedNode {
        key: Some(key),
        recipe: Some(recipe),
        record,
        would_accept,
        older,
        can_run: missing.is_none(),
        ..blank(state, why)
    })
}

fn accepted_words(accepted: &Acceptable, gathered: &RemoteRecords) -> (PlanState, String) {
    let Recipe { kind, version, .. } = &accepted.older.record.recipe;
    let record = format!("its record of version {version} of `{kind}`");
    match gathered.taken.get(&accepted.older.record.key) {
        Some(TrustedOutcomes { remote, .. }) if !accepted.is_here => (
            PlanState::Remote,
            format!("{record} is at `{remote}` and accepted"),
        ),
        _ => (PlanState::Reused, format!("{record} is accepted")),
    }
}

/// Mentions how an older record can be accepted.
fn flag_words(recipe: &Recipe, older: Option<u32>) -> String {
    older.map_or_else(String::new, |version| {
        let kind = &recipe.kind;
        format!("; `--accept {kind}@{version}` takes its record of version {version}")
    })
}

fn missing_env(graph: &Graph, node: NodeIndex) -> Option<Missing> {
    let missing = &graph.dag[node].missing_env;
    (!missing.is_empty()).then(|| Missing::Environment(missing.clone()))
}
