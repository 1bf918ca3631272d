//! Explains why a node must run: the differences between its recipe and that of the newest earlier
//! run.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use petgraph::graph::NodeIndex;
use serde_json::Value;

use super::journal::{self, PastRun, Unfinished, WorkflowIdentity};
use super::keys::Keys;
use crate::contract::recipe::{Change, Recipe};
use crate::digest::Digest;
use crate::store::Store;
use crate::workflow::graph::{Graph, Node};

/// The maximum number of earlier runs to search for a node.
const DEPTH: usize = 32;
/// Longer values are shortened.
const VALUE_WIDTH: usize = 40;

/// The recipes of earlier runs of the same workflow, read on demand.
pub(super) struct History<'a> {
    graph: &'a Graph,
    store: &'a Store,
    whose: WorkflowIdentity,
    /// Newest last; `None`: not listed yet.
    folders: Option<Vec<PathBuf>>,
    /// The current run, which is not part of the history.
    current: Option<String>,
    /// Newest first.
    read: Vec<PastRun>,
    recipes: HashMap<NodeIndex, Option<Recipe>>,
    /// Nodes that the run with their newest recipe did not finish.
    unfinished: HashMap<NodeIndex, Unfinished>,
}

impl<'a> History<'a> {
    pub fn new(graph: &'a Graph, store: &'a Store, current: Option<String>) -> Self {
        Self {
            graph,
            store,
            whose: WorkflowIdentity::of(graph, store),
            folders: None,
            current,
            read: Vec::new(),
            recipes: HashMap::new(),
            unfinished: HashMap::new(),
        }
    }

    /// The differences between `recipe` and the newest earlier one of the same node.
    pub fn why(&mut self, keys: &Keys, node: NodeIndex, recipe: &Recipe) -> String {
        let graph = self.graph;
        match self.newest(node) {
            None => "it has not run before".to_string(),
            Some(older) if older != recipe => words(graph, keys, node, &recipe.diff(older)),
            Some(_) => match self.unfinished.get(&node) {
                Some(Unfinished::Failed) => "unchanged, and its last attempt failed".to_string(),
                Some(Unfinished::Interrupted) => {
                    "unchanged, and its last attempt was interrupted".to_string()
                }
                None => "unchanged, but no record of it is in the store".to_string(),
            },
        }
    }

    /// The differences in the parameters of a node whose inputs are not known yet; empty if there
    /// are none, or if it has not run before.
    pub fn changed_parameters(&mut self, keys: &mut Keys, node: NodeIndex) -> String {
        let graph = self.graph;
        let Some(older) = self.newest(node) else {
            return String::new();
        };
        let mut recipe = older.clone();
        recipe.version = graph.dag[node].kind.version();
        recipe.kind = graph.dag[node].kind.name().to_string();
        recipe.with = keys.canonical(&graph.dag[node]).clone();
        words(graph, keys, node, &recipe.diff(older))
    }

    /// The recipe that `node` had in the newest run that keyed it.
    pub fn newest(&mut self, node: NodeIndex) -> Option<&Recipe> {
        if !self.recipes.contains_key(&node) {
            let at = &self.graph.dag[node];
            let by_value = at.id_by_value();
            let mut found = self.search(&at.id);
            // As earlier versions named it.
            if found.is_none() && by_value != at.id {
                found = self.search(&by_value);
            }
            let (recipe, unfinished) = found.unzip();
            self.recipes.insert(node, recipe);
            if let Some(unfinished) = unfinished.flatten() {
                self.unfinished.insert(node, unfinished);
            }
        }
        self.recipes.get(&node)?.as_ref()
    }

    /// The recipe, and why that run has no result.
    fn search(&mut self, id: &str) -> Option<(Recipe, Option<Unfinished>)> {
        let mut at = 0;
        while at < self.read.len() || self.read_next() {
            let past = &self.read[at];
            if let Some(key) = past.keys.get(id) {
                let unfinished = past.unfinished.get(id).copied();
                if let Some(recipe) = past.recipes.get(key) {
                    return Some((recipe.clone(), unfinished));
                }
                // An unreadable record counts as missing.
                let record = self.store.chosen(key).ok().flatten();
                return record.map(|record| (record.record.recipe, unfinished));
            }
            at += 1;
        }
        None
    }

    /// Reads the next older run; returns `false` if there is none.
    fn read_next(&mut self) -> bool {
        let store = self.store;
        let folders = self.folders.get_or_insert_with(|| journal::folders(store));
        while self.read.len() < DEPTH
            && let Some(folder) = folders.pop()
        {
            let name = folder.file_name().and_then(|name| name.to_str());
            if name != self.current.as_deref()
                && let Some(past) = PastRun::read(&folder, &self.whose)
            {
                self.read.push(past);
                return true;
            }
        }
        false
    }
}

/// The producers of the inputs of `node` that have no record.
pub(super) fn without_record(graph: &Graph, keys: &Keys, node: NodeIndex) -> Vec<NodeIndex> {
    let members = graph.dag[node]
        .inputs
        .iter()
        .flat_map(|input| &input.members);
    let mut without: Vec<NodeIndex> = members
        .map(|member| member.node)
        .filter(|&producer| keys.record(producer).is_none())
        .collect();
    without.sort();
    without.dedup();
    without
}

/// Appends to `also` that a node waits for others.
pub(super) fn waits(graph: &Graph, producers: &[NodeIndex], also: &str) -> String {
    let names = producers.iter().map(|&node| graph.dag[node].id.as_str());
    let separator = if also.is_empty() { "" } else { "; " };
    format!("{also}{separator}waits for {}", some_of(names))
}

fn words(graph: &Graph, keys: &Keys, node: NodeIndex, changes: &[Change]) -> String {
    let node = &graph.dag[node];
    if let [only] = changes
        && only.path == "version"
    {
        let [before, now] = both(only.before.as_ref(), only.now.as_ref());
        let kind = node.kind.name();
        return format!("only the version of `{kind}` differs: {before} → {now}");
    }
    let mut words = Vec::new();
    let mut inputs: BTreeMap<&str, Vec<&Change>> = BTreeMap::new();
    for change in changes {
        match change.path.strip_prefix("inputs.") {
            Some(rest) => {
                let name = rest.split_once('[').map_or(rest, |(name, _)| name);
                inputs.entry(name).or_default().push(change);
            }
            None => {
                let [before, now] = both(change.before.as_ref(), change.now.as_ref());
                words.push(format!("{}: {before} → {now}", change.path));
            }
        }
    }
    for (name, changes) in inputs {
        words.push(input_words(graph, keys, node, name, &changes));
    }
    words.join("; ")
}

/// Describes the change of one input.
fn input_words(graph: &Graph, keys: &Keys, node: &Node, name: &str, changes: &[&Change]) -> String {
    if let Some(part) = name.strip_prefix("runner/") {
        return runner_words(keys, node, part, changes);
    }
    let count = changes.iter().find(|change| !change.path.ends_with(']'));
    if let Some(count) = count {
        return match (&count.before, &count.now) {
            (None, _) => format!("inputs.{name} is new"),
            (_, None) => format!("inputs.{name} is gone"),
            (before, now) => {
                let [before, now] = both(before.as_ref(), now.as_ref());
                format!("inputs.{name}: {before} → {now} members")
            }
        };
    }
    let Some(input) = node.inputs.iter().find(|input| input.name == name) else {
        return format!("the content of {name} changed");
    };
    let changed = input.members.iter().enumerate().filter(|(index, member)| {
        let path = format!("inputs.{name}[{index}]");
        let change = changes.iter().find(|change| change.path == path);
        change.is_some() && keys.record(member.node).is_some()
    });
    let names = changed.map(|(_, member)| graph.dag[member.node].id.as_str());
    format!("inputs.{name} changed: produced by {}", some_of(names))
}

/// Describes the change of what the environment of a program is made of.
fn runner_words(keys: &Keys, node: &Node, part: &str, changes: &[&Change]) -> String {
    let digest = |value: &Option<Value>| {
        let digest = value.as_ref().and_then(|value| value["digest"].as_str());
        digest.and_then(|digest| digest.parse::<Digest>().ok())
    };
    let member = changes.iter().find(|change| change.path.ends_with(']'));
    let [before, now] = member.map_or([None, None], |change| {
        [digest(&change.before), digest(&change.now)]
    });
    let packages = before.and_then(|before| keys.package_changes(node, &before));
    let packages = packages.filter(|packages| part == "lock" && !packages.is_empty());
    if let Some(packages) = packages {
        let packages = some_of(packages.iter().map(String::as_str));
        return format!("runner.{part}: {packages}");
    }
    let shown = |digest: Option<Digest>| digest.map_or("none".to_string(), |it| it.short());
    format!("runner.{part}: {} → {}", shown(before), shown(now))
}

/// Two different values, shortened so that the first difference is visible.
fn both(before: Option<&Value>, now: Option<&Value>) -> [String; 2] {
    /// The number of equal characters to show before the difference.
    const LEAD: usize = 12;
    let texts = [before, now].map(|value| match value {
        Some(value) => value.to_string().chars().collect::<Vec<char>>(),
        None => "default".chars().collect(),
    });
    let [one, two] = &texts;
    let shared = one.iter().zip(two).take_while(|(a, b)| a == b).count();
    let long = texts.iter().any(|text| text.len() > VALUE_WIDTH);
    let from = match long && shared > LEAD {
        true => shared - LEAD,
        false => 0,
    };
    texts.map(|text| {
        let to = text.len().min(from + VALUE_WIDTH);
        let (head, tail) = (from > 0, to < text.len());
        let part: String = text[from.min(to)..to].iter().collect();
        format!(
            "{}{part}{}",
            if head { "…" } else { "" },
            if tail { "…" } else { "" }
        )
    })
}

/// The first three names, and the number of others.
fn some_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let shown = names[..names.len().min(3)].join(", ");
    match names.len() - names.len().min(3) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_seen_however_long_it_is() {
        let shown = |before: &str, now: &str| both(Some(&before.into()), Some(&now.into()));
        assert_eq!(shown("a", "b"), ["\"a\"", "\"b\""]);
        let long = "python3 train.py --epochs 10 --data images > out/log.txt";
        let [before, now] = shown(long, &format!("{long}; true"));
        assert_eq!(before, "… out/log.txt\"");
        assert_eq!(now, "… out/log.txt; true\"");
        let [before, now] = shown(&long.replace("10", "12"), &format!("{long}{long}"));
        assert!(
            before.contains("--epochs 12 ") && before.ends_with('…'),
            "{before}"
        );
        assert!(now.contains("--epochs 10 ") && now.ends_with('…'), "{now}");
        assert_eq!(both(None, Some(&3.into())), ["default", "3"]);
        assert_eq!(both(Some(&long.into()), None)[1], "default");
    }
}
