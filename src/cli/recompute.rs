//! `ribflow verify FILE --recompute [SHARE]`: executes a sample of the reused nodes again and
//! compares the outcomes with their records. If a sample of older records agrees, `run --accept`
//! may reuse the others.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use clap::{ArgAction, Args};
use petgraph::graph::NodeIndex;
use serde_json::{Value, json};

use super::amounts::Share;
use super::call::Call;
use super::common::Common;
use super::failure::{Exit, Failure};
use super::interrupts::NODES_END;
use super::locations::{self, Locations};
use super::older_versions::{AcceptArguments, OlderVersion};
use super::stores;
use super::target::WorkflowArguments;
use super::{command_permissions, load, run, sharing};
use crate::digest::Digest;
use crate::engine::join::Role;
use crate::engine::recompute::{Group, Recomputation, RecomputeOutcome, Recomputed, pick};
use crate::engine::{self, Accepting, RemoteRecords, RunOptions, Survey};
use crate::quantity::{count, grouped};
use crate::remote::trust::shown_share;
use crate::stages;
use crate::stages::registry::Registry;
use crate::store::samples::Sample;
use crate::store::{BlobSource, Store, StoreError};
use crate::ui::log::Console;
use crate::ui::paint::Paint;
use crate::ui::plain::PlainLines;
use crate::ui::text::printable;
use crate::ui::{Detail, Display, DisplayOptions};
use crate::workflow::graph::Graph;

/// The maximum size of derived work in the scratch store, same as for `run`.
const DERIVED_MAX: u64 = 64_000_000_000;

/// What to recompute, and where to fetch it from.
#[derive(Clone, Debug, Args)]
pub struct RecomputeArguments {
    /// Recompute a share of the reused nodes instead, and compare: 5%, 0.05; 100% for all
    ///
    /// The default share is 5%. At least one node of each kind is drawn; the same records give the
    /// same draw. The nodes run in a scratch store with the inputs that their records name. The
    /// store does not change.
    #[arg(long, value_name = "SHARE", num_args = 0..=1, default_missing_value = "5%")]
    #[arg(conflicts_with = "expect")]
    pub recompute: Option<Share>,

    /// With --recompute: draw from records of an older version of a kind: evaluate@2
    ///
    /// If the sample agrees, `ribflow run --accept KIND@OLD` may reuse these records. Repeatable.
    #[arg(long, value_name = "KIND@OLD", action = ArgAction::Append, requires = "recompute")]
    pub accept: Vec<OlderVersion>,

    /// With --recompute: fetch missing records and files from this remote; repeatable
    #[arg(long = "remote", value_name = "NAME", action = ArgAction::Append)]
    #[arg(requires = "recompute")]
    pub remotes: Vec<String>,
}

/// One call of `verify --recompute`.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub workflow: &'a WorkflowArguments,
    pub options: &'a RecomputeArguments,
    /// The share of the nodes of each kind.
    pub share: f64,
    /// Whether nodes that could not be judged affect the exit code.
    pub complete: bool,
}

pub fn run(request: &Request, call: &Call, output: &mut dyn Write) -> Result<Exit, Failure> {
    let (common, options) = (call.common, request.options);
    let registry = stages::registry();
    let graph = load::whole(request.workflow, common, &registry)?;
    let accept = AcceptArguments {
        accept: options.accept.clone(),
    };
    let accepting = accept.checked(&registry, &graph)?;
    let locations = Locations::of(&request.workflow.file, common);
    let looked;
    let store = match options.remotes.is_empty() {
        true => {
            looked = stores::open_read_only(&locations.store, common)?;
            looked.shared()
        }
        // Records fetched from remotes are kept.
        false => &Arc::new(stores::open_store(&locations.store)?),
    };
    let device = common.device.to_string();
    gather(options, &graph, store, &accepting, common)?;
    let survey = engine::survey_with(
        &graph,
        store,
        &device,
        &RemoteRecords::default(),
        &accepting,
    )?;
    let refused = command_permissions::refused(&graph, common)?
        .into_iter()
        .collect();
    let groups = pick(&graph, store, &survey, request.share, &refused, &accepting);
    let verification = Verification {
        graph: &graph,
        store,
        survey: &survey,
        request: *request,
    };
    let came = verification.execute(&groups, &registry, common, call.console)?;
    if came.interrupted {
        return Ok(Exit::Interrupted);
    }
    let kept = verification.settle(&groups, &came, &accepting)?;
    let exit = exit(&groups, &came, &accepting, request.complete);
    if common.json {
        writeln!(output, "{}", verification.document(&groups, &came, &kept))?;
    } else if !common.quiet {
        verification.print(&groups, &came, &kept, &accept, output)?;
    }
    Ok(exit)
}

/// Fetches records from remotes, so that they can be recomputed.
fn gather(
    options: &RecomputeArguments,
    graph: &Graph,
    store: &Arc<Store>,
    accepting: &Accepting,
    common: &Common,
) -> Result<(), Failure> {
    if options.remotes.is_empty() {
        return Ok(());
    }
    let exchange = Arc::new(sharing::exchange(&options.remotes, store)?);
    store.set_blob_source(Arc::clone(&exchange) as Arc<dyn BlobSource>);
    let device = common.device.to_string();
    let gathered = engine::gather(graph, store, &device, &exchange, accepting)?;
    gathered.adopt(store).map_err(store_failure)?;
    sharing::warn_of_gathered(&exchange, &gathered, common);
    Ok(())
}

fn store_failure(error: StoreError) -> Failure {
    Failure::from_error(&error)
}

/// One draw of nodes, with the records that it is drawn from.
struct Verification<'a> {
    graph: &'a Graph,
    store: &'a Arc<Store>,
    survey: &'a Survey,
    request: Request<'a>,
}

/// The verdict on a sample of older records.
struct SampleVerdict {
    kind: String,
    version: u32,
    /// The number of records that can be accepted now; `None`: the sample does not agree.
    records: Option<usize>,
}

impl Verification<'_> {
    fn execute(
        &self,
        groups: &[Group],
        registry: &Registry,
        common: &Common,
        console: &Console,
    ) -> Result<Recomputed, Failure> {
        let nodes: Vec<NodeIndex> = groups
            .iter()
            .flat_map(|group| group.sample.clone())
            .collect();
        if nodes.is_empty() {
            return Ok(Recomputed {
                outcomes: BTreeMap::new(),
                device_class: String::new(),
                interrupted: false,
            });
        }
        let recomputation = Recomputation::beside(self.store, self.graph, self.survey)?;
        let (scratch, beside) = (recomputation.root(), Some(self.store.root()));
        let options = RunOptions {
            threads: common.threads(),
            device: common.device.to_string(),
            keep_going: true,
            limit: None,
            force: Vec::new(),
            check_sealed: false,
            collect_inputs: false,
            derived_max: DERIVED_MAX,
            worker: run::worker(scratch, beside, &self.request.options.remotes, None)?,
            exchange: None,
            refused: Default::default(),
            accepting: Accepting::default(),
            role: Role::Local,
            invites: None,
            places: None,
        };
        let display = self.display(&nodes, common);
        run::drive(display, console, None, NODES_END, |stopped, events| {
            recomputation.run(registry, &options, &nodes, stopped, events)
        })
    }

    fn display(&self, nodes: &[NodeIndex], common: &Common) -> Box<dyn Display> {
        let mut stages: BTreeMap<String, usize> = BTreeMap::new();
        for node in nodes {
            let stage = self.graph.dag[*node].stage.clone();
            *stages.entry(stage).or_default() += 1;
        }
        let options = DisplayOptions {
            detail: if common.json {
                Detail::Quiet
            } else {
                common.detail()
            },
            paint: Paint::for_stderr(),
            store: locations::shown(self.store.root()),
        };
        Box::new(PlainLines::new(io::stderr(), options, stages))
    }

    /// Records whether samples of older records agree.
    fn settle(
        &self,
        groups: &[Group],
        came: &Recomputed,
        accepting: &Accepting,
    ) -> Result<Vec<SampleVerdict>, Failure> {
        let mut kept = Vec::new();
        for group in groups {
            let Some(version) = group.from else {
                continue;
            };
            for node in &group.sample {
                if let Some(RecomputeOutcome::Different(_)) = came.outcomes.get(node)
                    && let Some(origin) = self.origin(*node)
                {
                    self.store.drop_samples_of(&origin).map_err(store_failure)?;
                }
            }
            if accepting.is_empty() {
                continue;
            }
            let records = match agrees(group, came) {
                true => Some(self.keep(group, version, came)?),
                false => None,
            };
            kept.push(SampleVerdict {
                kind: group.kind.clone(),
                version,
                records,
            });
        }
        Ok(kept)
    }

    /// Records a sample that agrees, and returns the number of records that it covers.
    fn keep(&self, group: &Group, version: u32, came: &Recomputed) -> Result<usize, Failure> {
        let today = group.nodes.first();
        let today = today.map_or(0, |node| self.graph.dag[*node].kind.version());
        let at = std::time::UNIX_EPOCH.elapsed();
        let at = at.map_or(0, |since| since.as_secs());
        let origins = |nodes: &[NodeIndex]| -> Vec<Digest> {
            let mut origins: Vec<Digest> =
                nodes.iter().filter_map(|node| self.origin(*node)).collect();
            origins.sort_unstable();
            origins
        };
        let sample = Sample::new(&group.kind, [version, today], &came.device_class, at)
            .of(origins(&group.sample), origins(&group.nodes));
        self.store.keep_sample(&sample).map_err(store_failure)?;
        let nodes = self.survey.nodes.iter();
        let waiting = nodes.filter(|node| node.would_accept && group.nodes.contains(&node.node));
        Ok(waiting.count())
    }

    /// The older record that the record of a node was accepted from.
    fn origin(&self, node: NodeIndex) -> Option<Digest> {
        let record = self.survey.get(node)?.record.as_ref()?;
        Some(record.record.provenance.accepted.first()?.record)
    }

    fn print(
        &self,
        groups: &[Group],
        came: &Recomputed,
        kept: &[SampleVerdict],
        accept: &AcceptArguments,
        output: &mut dyn Write,
    ) -> Result<(), Failure> {
        for group in groups {
            for node in &group.sample {
                if let Some(came) = came.outcomes.get(node) {
                    let (word, more) = verdict_label(came);
                    let id = self.named(*node, group);
                    writeln!(output, "{word:<12}  {id}{}", printable(&more))?;
                }
            }
            if let Some((node, why)) = group.unable.first() {
                let id = self.named(*node, group);
                let others = match group.unable.len() - 1 {
                    0 => String::new(),
                    more => format!(" and {} more", grouped(more)),
                };
                writeln!(output, "not here      {id}{others}: {}", printable(why))?;
            }
        }
        writeln!(output, "{}", self.closing(groups, came))?;
        for line in self.kept_lines(kept, accept) {
            writeln!(output, "{line}")?;
        }
        if came
            .outcomes
            .values()
            .any(|one| matches!(one, RecomputeOutcome::Different(_)))
        {
            writeln!(
                output,
                "The records stay unchanged; `ribflow run {} --force NODE` computes a node again, and \
                 `ribflow cache choose` selects the result to use.",
                self.request.workflow.typed()
            )?;
        }
        Ok(())
    }

    /// The id of a node, with the version of its record if that is older.
    fn named(&self, node: NodeIndex, group: &Group) -> String {
        let id = &self.graph.dag[node].id;
        match group.from {
            None => id.clone(),
            Some(version) => format!("{id} (record of {}@{version})", group.kind),
        }
    }

    fn closing(&self, groups: &[Group], came: &Recomputed) -> String {
        let all = groups.iter().map(|group| group.nodes.len()).sum();
        if all == 0 {
            return match self.request.options.accept.is_empty() {
                true => "nothing to recompute: no node has a record in the store".to_string(),
                false => {
                    "nothing to recompute: no record of these versions can be accepted".to_string()
                }
            };
        }
        let number = |is_meant: fn(&RecomputeOutcome) -> bool| {
            let outcomes = came.outcomes.values();
            outcomes.filter(|came| is_meant(came)).count()
        };
        let recomputed =
            number(|came| came.agrees() || matches!(came, RecomputeOutcome::Different(_)));
        let mut parts = vec![
            format!(
                "{} bit-identical",
                number(|came| *came == RecomputeOutcome::Equal)
            ),
            format!(
                "{} equal within the tolerance",
                number(|came| matches!(came, RecomputeOutcome::Within(_)))
            ),
            format!(
                "{} different",
                number(|came| matches!(came, RecomputeOutcome::Different(_)))
            ),
        ];
        let failed = number(|came| matches!(came, RecomputeOutcome::Failed(_)));
        if failed > 0 {
            parts.push(format!("{failed} failed"));
        }
        format!(
            "recomputed {} of {} ({} of each kind, at least one): {}",
            grouped(recomputed),
            count(all, "node"),
            shown_share(self.request.share),
            parts.join(", ")
        )
    }

    fn kept_lines(&self, kept: &[SampleVerdict], accept: &AcceptArguments) -> Vec<String> {
        let workflow = self.request.workflow.typed();
        let line = |one: &SampleVerdict| {
            let (kind, version) = (&one.kind, one.version);
            match one.records {
                Some(0) => format!("Every record of {kind}@{version} is already accepted."),
                Some(records) => format!(
                    "{} of {kind}@{version} can be accepted: `ribflow run {workflow}{}`",
                    count(records, "record"),
                    accept.typed()
                ),
                None => format!("The sample covers no record of {kind}@{version}."),
            }
        };
        kept.iter().map(line).collect()
    }

    fn document(&self, groups: &[Group], came: &Recomputed, kept: &[SampleVerdict]) -> Value {
        let mut nodes = Vec::new();
        for group in groups {
            for node in &group.sample {
                if let Some(came) = came.outcomes.get(node) {
                    nodes.push(self.entry(*node, group, came));
                }
            }
            for (node, why) in &group.unable {
                nodes.push(self.entry(*node, group, &RecomputeOutcome::Unable(why.clone())));
            }
        }
        let kept = kept.iter().map(|one| {
            json!({ "kind": one.kind, "version": one.version,
                    "agrees": one.records.is_some(), "records": one.records.unwrap_or(0) })
        });
        json!({
            "share": self.request.share,
            "of": groups.iter().map(|group| group.nodes.len()).sum::<usize>(),
            "device_class": came.device_class,
            "recomputed": nodes,
            "accept": kept.collect::<Vec<Value>>(),
        })
    }

    fn entry(&self, node: NodeIndex, group: &Group, came: &RecomputeOutcome) -> Value {
        let record = self.survey.get(node).and_then(|node| node.record.as_ref());
        let (differences, why) = match came {
            RecomputeOutcome::Equal => (Vec::new(), None),
            RecomputeOutcome::Within(differences) | RecomputeOutcome::Different(differences) => {
                (differences.clone(), None)
            }
            RecomputeOutcome::Failed(why) | RecomputeOutcome::Unable(why) => {
                (Vec::new(), Some(why))
            }
        };
        json!({
            "id": self.graph.dag[node].id,
            "kind": group.kind,
            "key": record.map(|stored| stored.record.key),
            "record": self.origin(node).or(record.map(|stored| stored.digest)),
            "accepted_from": group.from,
            "recorded_on": record.map(|stored| &stored.record.provenance.device_class),
            "outcome": match came {
                RecomputeOutcome::Equal => "equal",
                RecomputeOutcome::Within(_) => "within",
                RecomputeOutcome::Different(_) => "different",
                RecomputeOutcome::Failed(_) => "failed",
                RecomputeOutcome::Unable(_) => "not_here",
            },
            "differences": differences,
            "why": why,
        })
    }
}

/// Whether a sample covers its group: at least one node was recomputed, and all of them agreed.
fn agrees(group: &Group, came: &Recomputed) -> bool {
    let mut outcomes = group
        .sample
        .iter()
        .filter_map(|node| came.outcomes.get(node));
    !group.sample.is_empty() && outcomes.all(RecomputeOutcome::agrees)
}

fn verdict_label(came: &RecomputeOutcome) -> (&'static str, String) {
    let listed = |differences: &[String]| match differences {
        [] => String::new(),
        _ => format!("  {}", differences.join(", ")),
    };
    match came {
        RecomputeOutcome::Equal => ("equal", String::new()),
        RecomputeOutcome::Within(differences) => ("within", listed(differences)),
        RecomputeOutcome::Different(differences) => ("different", listed(differences)),
        RecomputeOutcome::Failed(why) => ("failed", format!(": {why}")),
        RecomputeOutcome::Unable(why) => ("not here", format!(": {why}")),
    }
}

fn exit(groups: &[Group], came: &Recomputed, accepting: &Accepting, complete: bool) -> Exit {
    let outcomes = || came.outcomes.values();
    if outcomes().any(|came| matches!(came, RecomputeOutcome::Different(_))) {
        return Exit::Different;
    }
    if outcomes().any(|came| matches!(came, RecomputeOutcome::Failed(_))) {
        return Exit::Failed;
    }
    let all_agree = groups.iter().all(|group| agrees(group, came));
    let strict = complete || !accepting.is_empty();
    match outcomes().any(RecomputeOutcome::agrees) {
        false => Exit::Unjudged,
        true if strict && !all_agree => Exit::Unjudged,
        true => Exit::Done,
    }
}
