//! Recipes and keys of nodes, computed from the port digests of their inputs and the content of
//! their sources. Nodes may be keyed in any order in which inputs come first.

mod sources;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use petgraph::graph::NodeIndex;
use serde_json::Value;

use super::EngineError;
use super::accepting::{Acceptable, Accepting};
use super::join::JoinPlan;
use crate::contract::recipe::{Recipe, RecipeInput};
use crate::contract::source::{Source, SourceShape};
use crate::digest::Digest;
use crate::remote::exchange::TrustedOutcomes;
use crate::store::receipt::{RunInput, RunInputs};
use crate::store::{
    IdentifiedSource, Port, RecordIndex, SourceError, StatCache, Store, StoredRecord,
};
use crate::workflow::graph::{Graph, Member, Node};

/// Why a node can't be keyed here.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Missing {
    #[error("the environment variable{} {} {} not set", plural(.0), list(.0), if .0.len() == 1 { "is" } else { "are" })]
    Environment(Vec<String>),
    #[error("{}", unread(name, source))]
    Data {
        name: String,
        source: Arc<SourceError>,
    },
    /// The data exists and differs from the lock file.
    #[error(
        "the data of `{name}` is not what the lock file says (BLAKE3 {}, not {}); \
         `ribflow lock {} --update` takes it as it is",
        found.short(),
        locked.short(),
        workflow.display()
    )]
    Differs {
        name: String,
        locked: Digest,
        found: Digest,
        workflow: PathBuf,
    },
    /// The data exists and differs from the plan of the run.
    #[error(
        "the data of `{name}` is not here what it was where the run began (BLAKE3 {}, not {})",
        found.short(),
        planned.short()
    )]
    Unplanned {
        name: String,
        planned: Digest,
        found: Digest,
    },
}

fn unread(name: &str, source: &SourceError) -> String {
    match source {
        // The user has not written the source name of a command's environment variables.
        SourceError::Unset(_) | SourceError::Value(_) => source.to_string(),
        // Nor those of the files that an environment is built from.
        SourceError::NoLock { .. } | SourceError::BadLock { .. } => source.to_string(),
        _ => format!("the data of `{name}` can't be read: {source}"),
    }
}

fn plural(names: &[String]) -> &'static str {
    if names.len() == 1 { "" } else { "s" }
}

fn list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// A source by its location, as bytes: comparing paths component by component is slower.
type SourcePlace = (OsString, SourceShape, bool);

type Identified = Result<Arc<IdentifiedSource>, Arc<SourceError>>;

/// The result of looking up a recipe in the store.
pub(super) enum KeyState {
    Record(Arc<StoredRecord>),
    /// No record; returns the recipe.
    Nothing(Recipe),
}

impl KeyState {
    pub fn record(self) -> Option<Arc<StoredRecord>> {
        match self {
            Self::Record(record) => Some(record),
            Self::Nothing(_) => None,
        }
    }
}

/// Everything known about a graph's nodes: their sources, recipes and records.
pub(super) struct Keys<'a> {
    graph: &'a Graph,
    store: &'a Store,
    accepting: Accepting,
    index: RecordIndex<'a>,
    /// The folder that relative locations refer to.
    base: PathBuf,
    /// The device class, if it is part of the keys.
    device: Option<String>,
    stats: StatCache,
    /// Check sealed data like any other.
    check_sealed: bool,
    /// The digests that outside data has in the plan of a shared run.
    planned: HashMap<SourcePlace, Digest>,
    sources: HashMap<SourcePlace, Identified>,
    /// Whether checked sealed data has changed since it was hashed.
    seals: HashMap<(OsString, SourceShape), bool>,
    /// The canonical parameters, by the address of the parameters, which many nodes share.
    canonical: HashMap<usize, Value>,
    found: HashMap<Digest, Option<Arc<StoredRecord>>>,
    records: Vec<Option<Arc<StoredRecord>>>,
}

impl<'a> Keys<'a> {
    /// `device` is the class of the device that nodes run on.
    pub fn new(graph: &'a Graph, store: &'a Store, device: &str) -> Self {
        Self {
            graph,
            store,
            accepting: Accepting::default(),
            index: RecordIndex::open(store, &index_name(graph)),
            base: graph.file.parent().map_or_else(PathBuf::new, PathBuf::from),
            device: graph.strict.then(|| device.to_string()),
            stats: StatCache::open(store),
            check_sealed: false,
            planned: HashMap::new(),
            sources: HashMap::new(),
            seals: HashMap::new(),
            canonical: HashMap::new(),
            found: HashMap::new(),
            records: vec![None; graph.dag.node_count()],
        }
    }

    /// Checks sealed data like any other.
    pub fn checking_sealed(self, check_sealed: bool) -> Self {
        Self {
            check_sealed,
            ..self
        }
    }

    /// Takes the digests of outside data from the plan of a shared run: a process computes the keys
    /// of all nodes, and reads the data of those only that it runs.
    pub fn planned(mut self, plan: Option<&JoinPlan>) -> Self {
        for source in plan.into_iter().flat_map(|plan| &plan.sources) {
            let place = source.location.as_os_str().to_os_string();
            let place = (place, source.shape.clone(), source.sealed);
            self.planned.insert(place, source.digest);
        }
        self
    }

    /// Sets the versions that [`Keys::accept`] accepts.
    pub fn accepting(self, accepting: Accepting) -> Self {
        Self { accepting, ..self }
    }

    /// The recipe of a node whose inputs all have records.
    pub fn recipe(&mut self, node: NodeIndex) -> Result<Recipe, Missing> {
        let graph = self.graph;
        let node = &graph.dag[node];
        let sources = self.source_digests(node)?;
        let mut inputs = BTreeMap::new();
        for input in &node.inputs {
            let members = input.members.iter().map(|member| RecipeInput {
                axes: member.axes.clone(),
                // A record is used only if it has every port of its node.
                digest: self
                    .port(member)
                    .map_or(Digest::from_bytes([0; 32]), |port| port.digest),
            });
            inputs.insert(input.name.clone(), members.collect());
        }
        for (name, digest) in sources {
            let member = RecipeInput {
                axes: BTreeMap::new(),
                digest,
            };
            inputs.insert(name, vec![member]);
        }
        Ok(Recipe {
            kind: node.kind.name().to_string(),
            version: node.kind.version(),
            with: self.canonical(node).clone(),
            inputs,
            device: self.device.clone(),
        })
    }

    /// The parameters of a node in the form that enters its key.
    pub fn canonical(&mut self, node: &Node) -> &Value {
        let address = Arc::as_ptr(&node.parameters).cast::<()>() as usize;
        let canonical = self.canonical.entry(address);
        canonical.or_insert_with(|| node.parameters.canonical())
    }

    /// Whether a node can run here: its variables are set and its data exists.
    pub fn can_run(&mut self, node: NodeIndex) -> Result<(), Missing> {
        let node = &self.graph.dag[node];
        let passed = node.parameters.passed_variables().iter();
        let unset = passed.filter(|name| std::env::var_os(name).is_none());
        let missing: Vec<String> = unset.chain(&node.missing_env).cloned().collect();
        if !missing.is_empty() {
            return Err(Missing::Environment(missing));
        }
        for (source, found) in self.sources(node)? {
            self.as_planned(&source, &found.digest)?;
        }
        Ok(())
    }

    /// The record in the store for `key`, the key of `recipe`, that fits `node`; looked up once.
    pub fn find(
        &mut self,
        node: NodeIndex,
        key: &Digest,
        recipe: Recipe,
    ) -> Result<KeyState, EngineError> {
        if let Some(found) = self.found.get(key) {
            return Ok(match found {
                Some(record) => KeyState::Record(Arc::clone(record)),
                None => KeyState::Nothing(recipe),
            });
        }
        let recipe = match self.index.copy(key, recipe) {
            Err(recipe) => recipe,
            Ok(copy) if fits(&self.graph.dag[node], &copy) => {
                let record = Arc::new(copy);
                self.found.insert(*key, Some(Arc::clone(&record)));
                return Ok(KeyState::Record(record));
            }
            Ok(copy) => copy.record.recipe,
        };
        Ok(match self.find_again(node, key)? {
            Some(record) => KeyState::Record(record),
            None => KeyState::Nothing(recipe),
        })
    }

    /// As [`Keys::find`], but repeats a lookup that found nothing.
    pub fn find_again(
        &mut self,
        node: NodeIndex,
        key: &Digest,
    ) -> Result<Option<Arc<StoredRecord>>, EngineError> {
        let found = self.index.chosen(key)?;
        let fits = found.filter(|found| fits(&self.graph.dag[node], found));
        let fits = fits.map(Arc::new);
        self.found.insert(*key, fits.clone());
        Ok(fits)
    }

    /// The accepted record of an older version for `node`, which has none under the key of
    /// `recipe`: from the store, or from `taken`, the records found at remotes, by key.
    pub fn accept(
        &self,
        node: NodeIndex,
        recipe: &Recipe,
        taken: &BTreeMap<Digest, TrustedOutcomes>,
    ) -> Result<Option<Acceptable>, EngineError> {
        for version in self.accepting.versions_of(&recipe.kind) {
            let here = self.of_version(node, recipe, version)?;
            let is_here = here.is_some();
            let there = || {
                let taken = taken.get(&recipe.of_version(version).key())?.first()?;
                fits(&self.graph.dag[node], &taken).then_some(taken)
            };
            if let Some(older) = here.or_else(there)
                && self.accepting.takes(&older.digest)
            {
                let signers = self.store.signers(&older.record.key, &older.digest)?;
                let record = older.accepted_for(recipe, signers);
                return Ok(Some(Acceptable {
                    node,
                    older,
                    record,
                    is_here,
                }));
            }
        }
        Ok(None)
    }

    /// The newest older version of the kind under which `node` has a record that could be accepted.
    pub fn older_version(
        &self,
        node: NodeIndex,
        recipe: &Recipe,
    ) -> Result<Option<u32>, EngineError> {
        for version in (1..recipe.version).rev() {
            if self.of_version(node, recipe, version)?.is_some() {
                return Ok(Some(version));
            }
        }
        Ok(None)
    }

    /// The record that the store would use under `version` of the kind. A revoked record is not
    /// used.
    fn of_version(
        &self,
        node: NodeIndex,
        recipe: &Recipe,
        version: u32,
    ) -> Result<Option<StoredRecord>, EngineError> {
        let key = recipe.of_version(version).key();
        let Some(found) = self.store.chosen(&key)? else {
            return Ok(None);
        };
        let is_good =
            fits(&self.graph.dag[node], &found) && !self.store.is_revoked(&key, &found.digest)?;
        Ok(is_good.then_some(found))
    }

    /// Sets the record of `node`.
    pub fn set_record(&mut self, node: NodeIndex, record: Arc<StoredRecord>) {
        self.found
            .insert(record.record.key, Some(Arc::clone(&record)));
        self.records[node.index()] = Some(record);
    }

    pub fn record(&self, node: NodeIndex) -> Option<&Arc<StoredRecord>> {
        self.records[node.index()].as_ref()
    }

    /// The digest of a member of an input, if its node has a record.
    pub fn port(&self, member: &Member) -> Option<&Port> {
        let record = self.record(member.node)?;
        record.record.ports.get(&member.port)
    }

    /// The record of every node that has one.
    pub fn into_records(self) -> BTreeMap<NodeIndex, StoredRecord> {
        drop(self.found);
        let records = self.records.into_iter().enumerate();
        records
            .filter_map(|(index, record)| {
                Some((NodeIndex::new(index), Arc::unwrap_or_clone(record?)))
            })
            .collect()
    }

    /// The inputs that all keys and records depend on; `None` if a cheap check can't cover them: a
    /// node without a record, a key with several records, missing data, or data that has only just
    /// changed.
    pub fn run_inputs(&self, store: &Store) -> Option<RunInputs> {
        let markers = store.markers()?;
        let records = self.index.folders()?;
        if self.records.iter().any(Option::is_none) || records.len() != self.found.len() {
            return None;
        }
        let mut sources = Vec::with_capacity(self.sources.len());
        for ((place, shape, sealed), identified) in &self.sources {
            let source = Source {
                name: String::new(),
                location: PathBuf::from(place),
                shape: shape.clone(),
                sealed: *sealed,
            };
            let digest = identified.as_ref().ok()?.digest;
            sources.push(RunInput::new(source, digest, &self.stats, &self.base));
        }
        // Sources in one folder are checked together.
        sources.sort_unstable_by(|one, two| one.source.location.cmp(&two.source.location));
        Some(RunInputs {
            records,
            sources,
            markers,
        })
    }

    /// Saves what was learnt about outside files and records. It is derived data, so a failure only
    /// costs time.
    pub fn save(&mut self) {
        let saved = [
            ("stat cache", self.stats.save()),
            ("record index", self.index.save()),
        ];
        for (what, saved) in saved {
            match saved {
                Err(error) if error.is_unwritable() => {
                    tracing::info!("the {what} could not be kept: {error}");
                }
                Err(error) => tracing::warn!("the {what} could not be kept: {error}"),
                Ok(()) => {}
            }
        }
    }
}

/// The name of the index of records that this graph uses.
fn index_name(graph: &Graph) -> String {
    format!("{:?}", (&graph.name, &graph.profiles, &graph.overrides))
}

/// Whether a record has every output that `node` declares. (Records published by ribflow do; others
/// may not, and must be refused.)
fn fits(node: &Node, found: &StoredRecord) -> bool {
    let outputs = node.parameters.outputs();
    outputs.iter().all(|output| {
        let port = found.record.ports.get(&output.name);
        port.is_some_and(|port| port.gives == output.gives)
    })
}
