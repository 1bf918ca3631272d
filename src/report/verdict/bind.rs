//! Binds published numbers and claims to the nodes of a graph, by their selectors.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use petgraph::graph::NodeIndex;

use super::metric::{self, Declared};
use super::published::{Check, Claim, Published, Values};
use super::target::Target;
use crate::diag::{Place, Problems, listed, suggest};
use crate::workflow::graph::{Axis, Graph, StageInfo};
use crate::workflow::ids::alike;
use crate::workflow::reading::{Picked, Selector, Text, report_syntax};

/// A published number with its target.
#[derive(Debug)]
pub struct Bound {
    pub target: Target,
    pub published: f64,
    /// The index of its entry in the file's `values`.
    pub entry: usize,
}

/// A claim with the targets of its selectors.
#[derive(Debug)]
pub struct BoundClaim {
    pub claim: usize,
    /// By selector, then by node.
    pub targets: Vec<Vec<Target>>,
    /// The targets to compare the first with (`highest`, `lowest`).
    pub among: Vec<Target>,
}

/// Resolves selectors in one graph.
pub struct Binder<'a> {
    graph: &'a Graph,
    /// The axes that repeat the same experiment.
    repeats: Vec<&'a str>,
    stages: BTreeMap<&'a str, Vec<NodeIndex>>,
    /// Every axis has all values of the file: no profile and no `--set` has removed any.
    complete: bool,
}

impl<'a> Binder<'a> {
    pub fn new(graph: &'a Graph, repeats: Vec<&'a str>) -> Self {
        let mut stages: BTreeMap<&str, Vec<NodeIndex>> = BTreeMap::new();
        for index in graph.dag.node_indices() {
            stages
                .entry(&graph.dag[index].stage)
                .or_default()
                .push(index);
        }
        Self {
            graph,
            repeats,
            stages,
            complete: graph.profiles.is_empty() && graph.overrides.is_empty(),
        }
    }

    pub fn values(&self, published: &Published, problems: &mut Problems) -> Vec<Bound> {
        let mut bound = Vec::new();
        for (entry, values) in published.values.iter().enumerate() {
            let targets = self.of_values(values, problems).unwrap_or_default();
            bound.extend(targets.into_iter().map(|(target, published)| Bound {
                target,
                published,
                entry,
            }));
        }
        bound
    }

    fn of_values(&self, values: &Values, problems: &mut Problems) -> Option<Vec<(Target, f64)>> {
        let (selector, stage) = self.selector(&values.metric, problems)?;
        if let Some(by) = &values.by
            && !stage.axes.contains(&by.text)
        {
            self.no_axis(stage, &by.text, by.place, problems);
            return None;
        }
        let mut targets = Vec::new();
        for (id, published) in &values.published {
            let id = id.as_ref().zip(values.by.as_ref());
            let id = id.map(|(id, by)| Text {
                text: self.id(&by.text, &id.text),
                place: id.place,
            });
            let also = values.by.as_ref().zip(id.as_ref());
            if let Some((by, id)) = also {
                if self.is_elsewhere(&by.text, &id.text) {
                    continue;
                }
                self.known_id(&by.text, id, problems);
                if !takes(&selector, &by.text, &id.text) {
                    let message = format!(
                        "`metric` pins `{}` to other values, so no node has this number",
                        by.text
                    );
                    let found = problems.error(id.place, "bad-value", message);
                    found.hint("leave the axis out of `metric`, or leave out `by`");
                    return None;
                }
            }
            let also = also.map(|(by, id)| (by.text.as_str(), id.text.as_str()));
            let found = self.targets(&selector, also);
            let [target] = found.as_slice() else {
                if found.is_empty() {
                    targets.push((self.missing(&selector, also), *published));
                    continue;
                }
                let hint = |axis: &str| match also {
                    None => {
                        format!("pin it, `[{axis}=…]`, or tell the numbers apart with `by: {axis}`")
                    }
                    Some(_) => {
                        format!("pin it, `[{axis}=…]`: `by` tells numbers apart by one axis")
                    }
                };
                self.open_axis(&selector, stage, also, values.metric.place, &hint, problems);
                return None;
            };
            targets.push((target.clone(), *published));
        }
        Some(targets)
    }

    pub fn claims(&self, claims: &[Claim], problems: &mut Problems) -> Vec<BoundClaim> {
        let bind = |(claim, it): (usize, &Claim)| {
            let (texts, among): (&[Text], &[Text]) = match &it.check {
                Check::Ascending(texts) | Check::Positive(texts) | Check::Negative(texts) => {
                    (texts, &[])
                }
                Check::Highest { it, among } | Check::Lowest { it, among } => {
                    (std::slice::from_ref(it), among)
                }
            };
            let each = matches!(it.check, Check::Positive(_) | Check::Negative(_));
            let single = !each && it.take.is_none();
            let targets = texts
                .iter()
                .map(|text| self.of_claim(text, single, problems));
            let targets: Option<Vec<Vec<Target>>> = targets.collect();
            let among = among
                .iter()
                .map(|text| self.of_claim(text, false, problems));
            let among: Option<Vec<Vec<Target>>> = among.collect();
            Some(BoundClaim {
                claim,
                targets: targets?,
                among: among?.concat(),
            })
        };
        claims.iter().enumerate().filter_map(bind).collect()
    }

    fn of_claim(&self, text: &Text, single: bool, problems: &mut Problems) -> Option<Vec<Target>> {
        let (selector, stage) = self.selector(text, problems)?;
        let found = self.targets(&selector, None);
        if found.is_empty() {
            return Some(vec![self.missing(&selector, None)]);
        }
        if single && found.len() > 1 {
            let hint = |axis: &str| {
                format!("pin it, `[{axis}=…]`, or let `take: highest` or `take: lowest` choose one")
            };
            self.open_axis(&selector, stage, None, text.place, &hint, problems);
            return None;
        }
        Some(found)
    }

    /// The nodes that a selector without a metric selects.
    pub fn nodes(&self, text: &Text, problems: &mut Problems) -> Option<Vec<NodeIndex>> {
        let (selector, _) = self.parsed(text, problems)?;
        let targets = self.targets(&selector, None).into_iter();
        Some(targets.flat_map(|target| target.nodes).collect())
    }

    /// A selector with a metric of a stage of this graph, with known axes and ids.
    fn selector(&self, text: &Text, problems: &mut Problems) -> Option<(Selector, &'a StageInfo)> {
        let (selector, stage) = self.parsed(text, problems)?;
        let Some((name, _)) = &selector.name else {
            let found = problems.error(text.place, "bad-value", "this names no metric");
            found.hint(format!("write `{}.top1`", text.text));
            return None;
        };
        self.known_metric(&selector.stage, name, text.place, problems)
            .then_some((selector, stage))
    }

    /// Whether some node of the stage can have the metric; reports an error if none can.
    fn known_metric(&self, stage: &str, name: &str, place: Place, problems: &mut Problems) -> bool {
        let nodes = self.stages.get(stage).into_iter().flatten();
        let nodes = nodes.map(|index| &self.graph.dag[*index]);
        // Equal nodes share their parameters.
        let mut seen = HashSet::new();
        let mut nodes = nodes
            .filter(|node| seen.insert(Arc::as_ptr(&node.with)))
            .peekable();
        if nodes.peek().is_none() {
            return true;
        }
        let mut names = BTreeSet::new();
        for node in nodes {
            match metric::declared(node, name) {
                Declared::No => names.extend(metric::names(node)),
                Declared::Part => return self.known_part(name, place, problems),
                Declared::Open | Declared::Yes => return true,
            }
        }
        let message = format!("stage `{stage}` has no metric `{name}`");
        let found = problems.error(place, "unknown-metric", message);
        found.hint(suggest(name, "metrics", names.iter().map(String::as_str)));
        false
    }

    fn parsed(&self, text: &Text, problems: &mut Problems) -> Option<(Selector, &'a StageInfo)> {
        let mut selector = match Selector::parse(&text.text) {
            Ok(selector) => selector,
            Err(error) => {
                report_syntax(&text.text, text.place, error, problems);
                return None;
            }
        };
        let known = self.graph.stages.iter();
        let Some(stage) = known.clone().find(|stage| stage.name == selector.stage) else {
            let message = format!("the workflow has no stage `{}`", selector.stage);
            let found = problems.error(text.place, "unknown-stage", message);
            let names = known.map(|stage| stage.name.as_str());
            found.hint(suggest(&selector.stage, "stages", names));
            return None;
        };
        for pick in &selector.picks {
            if !stage.axes.contains(&pick.axis) {
                self.no_axis(stage, &pick.axis, text.place, problems);
                return None;
            }
            if let Picked::Values(values) = &pick.values {
                for value in values {
                    let id = Text {
                        text: value.word.clone(),
                        place: text.place,
                    };
                    self.known_id(&pick.axis, &id, problems);
                }
            }
        }
        for pick in &mut selector.picks {
            if let Picked::Values(values) = &mut pick.values {
                for value in values {
                    value.word = self.id(&pick.axis, &value.word);
                }
            }
        }
        if let Some((name, _)) = &mut selector.name {
            self.name_part(name);
        }
        Some((selector, stage))
    }

    /// Writes the part of a metric such as `ri[1e-3]` as records have it.
    fn name_part(&self, name: &mut String) {
        let Some((of, part)) = part(name) else {
            return;
        };
        let mut axes = self.graph.axes.iter();
        if let Some(value) = axes.find_map(|axis| axis.find(part)) {
            *name = format!("{of}[{}]", value.id);
        }
    }

    /// Whether the part in `ri[r]` is a value of some axis; reports an error if it is not, unless a
    /// profile or `--set` may have removed it.
    fn known_part(&self, name: &str, place: Place, problems: &mut Problems) -> bool {
        let part = part(name).map(|(_, part)| part);
        let Some(part) = part.filter(|_| self.complete) else {
            return true;
        };
        let ids = || {
            let values = self.graph.axes.iter().flat_map(|axis| &axis.values);
            values.map(|value| value.id.as_str())
        };
        let mut axes = self.graph.axes.iter();
        if ids().any(|id| id == part) || axes.any(|axis| axis.elsewhere.contains(part)) {
            return true;
        }
        let message = format!("no axis has a value `{part}`, of which `{name}` could be");
        let found = problems.error(place, "unknown-value", message);
        let ids: BTreeSet<&str> = ids().collect();
        found.hint(suggest(part, "values", ids));
        false
    }

    fn no_axis(&self, stage: &StageInfo, axis: &str, place: Place, problems: &mut Problems) {
        let message = format!("stage `{}` has no axis `{axis}`", stage.name);
        let found = problems.error(place, "unknown-axis", message);
        let axes = stage.axes.iter().map(String::as_str);
        found.hint(suggest(axis, "axes", axes));
    }

    fn axis(&self, name: &str) -> Option<&'a Axis> {
        self.graph.axes.iter().find(|axis| axis.name == name)
    }

    /// The id that `word` means on an axis, as nodes have it; `word` itself where none does.
    fn id(&self, axis: &str, word: &str) -> String {
        let found = self.axis(axis).and_then(|axis| axis.find(word));
        found.map_or(word, |value| &value.id).to_string()
    }

    /// An id of an axis as the file writes it.
    fn written<'s>(&self, axis: &str, id: &'s str) -> &'s str
    where
        'a: 's,
    {
        let mut values = self.axis(axis).into_iter().flat_map(|axis| &axis.values);
        let found = values.find(|value| value.id == id);
        found.map_or(id, |value| &value.written)
    }

    /// An id of another profile, which this run does not cover.
    fn is_elsewhere(&self, axis: &str, id: &str) -> bool {
        let Some(axis) = self.axis(axis).filter(|axis| axis.find(id).is_none()) else {
            return false;
        };
        axis.elsewhere.iter().any(|known| alike(known, id))
    }

    /// Reports an id that is not on the axis, unless a profile or `--set` may have removed it.
    fn known_id(&self, axis: &str, id: &Text, problems: &mut Problems) {
        let found = self.axis(axis);
        let ids = || {
            let values = found.map_or(&[][..], |axis| &axis.values);
            values.iter().map(|value| value.written.as_str())
        };
        let is_here = found.is_some_and(|axis| axis.find(&id.text).is_some());
        let known = is_here || self.is_elsewhere(axis, &id.text);
        if !self.complete || known {
            return;
        }
        let message = format!("axis `{axis}` has no value `{}`", id.text);
        let found = problems.error(id.place, "unknown-value", message);
        let ids: Vec<&str> = ids().collect();
        found.hint(suggest(&id.text, "values", ids));
    }

    fn open_axis(
        &self,
        selector: &Selector,
        stage: &StageInfo,
        also: Option<(&str, &str)>,
        place: Place,
        hint: &dyn Fn(&str) -> String,
        problems: &mut Problems,
    ) {
        let one = |axis: &str| {
            let picked = selector.picks.iter().find(|pick| pick.axis == axis);
            picked.is_some_and(
                |pick| matches!(&pick.values, Picked::Values(values) if values.len() == 1),
            )
        };
        let open = stage.axes.iter().map(String::as_str).filter(|axis| {
            !one(axis) && !self.repeats.contains(axis) && also.is_none_or(|(by, _)| by != *axis)
        });
        let open: Vec<&str> = open.collect();
        let message = format!(
            "this leaves {} open: it is several numbers",
            listed(open.iter().copied())
        );
        let found = problems.error(place, "open-axis", message);
        if let Some(axis) = open.first() {
            found.hint(hint(axis));
        }
    }

    /// The targets of a selector: nodes that differ only in repeats are one target.
    fn targets(&self, selector: &Selector, also: Option<(&str, &str)>) -> Vec<Target> {
        let takes = |(axis, id): &(String, String)| {
            takes(selector, axis, id) && also.is_none_or(|(by, wanted)| by != axis || wanted == id)
        };
        let metric = metric_of(selector);
        let mut targets: Vec<(Vec<(&str, &str)>, Target)> = Vec::new();
        for index in self
            .stages
            .get(selector.stage.as_str())
            .into_iter()
            .flatten()
        {
            let node = &self.graph.dag[*index];
            if !node.axes.iter().all(takes) {
                continue;
            }
            let own = node
                .axes
                .iter()
                .map(|(axis, id)| (axis.as_str(), id.as_str()));
            let pinned = |axis: &str| selector.picks.iter().any(|pick| pick.axis == axis);
            let own: Vec<(&str, &str)> = own
                .filter(|(axis, _)| !self.repeats.contains(axis) || pinned(axis))
                .collect();
            match targets.iter_mut().find(|(axes, _)| *axes == own) {
                Some((_, target)) => target.nodes.push(*index),
                None => {
                    let written = own.iter().map(|(axis, id)| (*axis, self.written(axis, id)));
                    let target = Target {
                        name: name(&selector.stage, &written.collect::<Vec<_>>(), &metric),
                        metric: metric.clone(),
                        nodes: vec![*index],
                    };
                    targets.push((own, target));
                }
            }
        }
        targets.into_iter().map(|(_, target)| target).collect()
    }

    /// The target of numbers that this run has no nodes for.
    fn missing(&self, selector: &Selector, also: Option<(&str, &str)>) -> Target {
        let picks = selector.picks.iter().filter_map(|pick| match &pick.values {
            Picked::All => None,
            Picked::Values(values) => {
                let words = values.iter();
                let words = words.map(|value| self.written(&pick.axis, &value.word));
                let words: Vec<&str> = words.collect();
                Some((pick.axis.as_str(), words.join("|")))
            }
        });
        let also = also.map(|(by, id)| (by, self.written(by, id).to_string()));
        let mut axes: Vec<(&str, String)> = picks.chain(also).collect();
        // Named like targets with nodes, so that a number has one name whether or not it has been
        // run.
        let mut stages = self.graph.stages.iter();
        let stage = stages.find(|stage| stage.name == selector.stage);
        let order = stage.map_or(&[][..], |stage| &stage.axes);
        axes.sort_by_key(|(axis, _)| order.iter().position(|known| known == axis));
        let axes: Vec<(&str, &str)> = axes.iter().map(|(axis, id)| (*axis, id.as_str())).collect();
        let metric = metric_of(selector);
        Target {
            name: name(&selector.stage, &axes, &metric),
            metric,
            nodes: Vec::new(),
        }
    }
}

/// Whether the picks of a selector accept an id of an axis.
fn takes(selector: &Selector, axis: &str, id: &str) -> bool {
    let picked = selector.picks.iter().find(|pick| pick.axis == axis);
    picked.is_none_or(|pick| match &pick.values {
        Picked::All => true,
        Picked::Values(values) => values.iter().any(|value| value.word == id),
    })
}

/// `ri` and `r` of `ri[r]`.
fn part(name: &str) -> Option<(&str, &str)> {
    name.strip_suffix(']')?.split_once('[')
}

fn metric_of(selector: &Selector) -> String {
    selector
        .name
        .as_ref()
        .map(|(name, _)| name.clone())
        .unwrap_or_default()
}

fn name(stage: &str, axes: &[(&str, &str)], metric: &str) -> String {
    let axes: Vec<String> = axes
        .iter()
        .map(|(axis, id)| format!("{axis}={id}"))
        .collect();
    match axes.is_empty() {
        true => format!("{stage}.{metric}"),
        false => format!("{stage}[{}].{metric}", axes.join(",")),
    }
}
