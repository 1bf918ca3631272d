//! Permissions for the `command` stages of imported workflows: what each would run, and whether the
//! user has allowed it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use petgraph::graph::NodeIndex;
use serde::Serialize;
use serde_json::Value;

use super::common::Common;
use super::failure::Failure;
use super::locations::{self, Locations};
use super::stores;
use crate::contract::source::{Source, SourceShape};
use crate::digest::{Digest, hash_value};
use crate::fsx;
use crate::remote::config::Config;
use crate::remote::home::Home;
use crate::remote::{imported, mark};
use crate::store::StatCache;
use crate::ui::text::visible;
use crate::workflow::graph::{Graph, Node};
use crate::workflow::kind::Meaning;

/// A node that runs a program.
#[derive(Clone, Debug)]
pub struct CommandNode {
    pub node: NodeIndex,
    pub terms: Rc<CommandSpec>,
}

/// What a command would run. The user allows it by its digest.
#[derive(Clone, Debug, Serialize)]
pub struct CommandSpec {
    /// Covers the fields below and all other parameters except the locations of files.
    pub digest: Digest,
    /// The digest of earlier versions, which covered only the line and its files.
    #[serde(skip)]
    earlier: Digest,
    pub line: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// The words in front of the shell.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runner: Vec<String>,
    /// By name; `None` if the file can't be read.
    pub files: BTreeMap<String, Option<Digest>>,
    /// The environment variables that it receives.
    pub variables: Vec<String>,
}

/// The nodes of `graph` that run programs.
pub fn of(graph: &Graph, common: &Common) -> Result<Vec<CommandNode>, Failure> {
    let nodes = nodes(graph);
    if nodes.is_empty() {
        return Ok(Vec::new());
    }
    let quiet = Common {
        quiet: true,
        ..common.clone()
    };
    let locations = Locations::of(&graph.file, common);
    let store = stores::open_read_only(&locations.store, &quiet)?;
    let stats = StatCache::open(&store);
    let base = graph.file.parent().unwrap_or(Path::new("/"));
    // Equal nodes share their parameters.
    let mut known: HashMap<*const Value, Rc<CommandSpec>> = HashMap::new();
    let commands = nodes.into_iter().map(|node| {
        let with = std::sync::Arc::as_ptr(&graph.dag[node].with);
        let terms = known.entry(with);
        let terms =
            terms.or_insert_with(|| Rc::new(CommandSpec::of(&graph.dag[node], &stats, base)));
        let terms = Rc::clone(terms);
        CommandNode { node, terms }
    });
    Ok(commands.collect())
}

fn nodes(graph: &Graph) -> Vec<NodeIndex> {
    let is_command = |node: &NodeIndex| graph.dag[*node].kind.meaning() == Meaning::Program;
    graph.dag.node_indices().filter(is_command).collect()
}

impl CommandSpec {
    fn of(node: &Node, stats: &StatCache, base: &Path) -> Self {
        // An unreadable file counts as a value of its own: the node can't run, and needs a new
        // permission once it can.
        let content = |source: &Source| stats.identify(source, base).ok().map(|it| it.digest);
        let files: Vec<(String, Option<Digest>)> = file_sources(node)
            .map(|source| (source.name.clone(), content(&source)))
            .collect();
        let text = |field: &str| node.with.get(field).and_then(Value::as_str);
        let names = |field: &str| node.with.get(field).and_then(Value::as_array);
        let variables = ["env", "pass"].into_iter().filter_map(names).flatten();
        let texts = |values: &Vec<Value>| {
            let texts = values.iter().filter_map(Value::as_str);
            texts.map(str::to_string).collect()
        };
        Self {
            digest: digest(node, &files),
            earlier: earlier_digest(node, &files),
            line: text("run").unwrap_or_default().to_string(),
            shell: text("shell").map(str::to_string),
            runner: names("runner").map(texts).unwrap_or_default(),
            files: files.into_iter().collect(),
            variables: variables
                .filter_map(|name| name.as_str().map(str::to_string))
                .collect(),
        }
    }
}

/// The files of a command. Variables belong to the user, so they are not included.
pub fn file_sources(node: &Node) -> impl Iterator<Item = Source> {
    let sources = node.parameters.sources().into_iter();
    sources.filter(|source| !matches!(source.shape, SourceShape::Environment(_)))
}

/// The files of a command that bundles include: not environments and images, which are large and
/// of one machine.
pub fn shared_sources(node: &Node) -> Vec<Source> {
    let listed = node.with.get("files").and_then(Value::as_array);
    let is_kept = |index: usize| {
        let file = listed.and_then(|files| files.get(index));
        file.and_then(|file| file.get("share")) == Some(&Value::Bool(false))
    };
    let is_machine_s =
        |source: &Source| matches!(source.shape, SourceShape::CondaPackages | SourceShape::File);
    let sources = file_sources(node).enumerate();
    sources
        .filter(|(index, source)| !is_kept(*index) && !is_machine_s(source))
        .map(|(_, source)| source)
        .collect()
}

/// Whether a folder, or anything in it, was imported.
fn holds_mark(folder: &Path, depth: usize) -> bool {
    /// Deeper folders count as imported, because they are not searched.
    const DEEPEST: usize = 64;
    if depth > DEEPEST || mark::of(folder).is_some() {
        return true;
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths = entries.map(|entry| entry.path());
    paths.any(|path| match path.is_symlink() {
        true => mark::above(&path).is_some(),
        false => path.is_dir() && holds_mark(&path, depth + 1),
    })
}

/// The digest of everything that decides what runs: the content of the files, and the parameters
/// both typed and as written, so that parameters outside the key count too.
fn digest(node: &Node, files: &[(String, Option<Digest>)]) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key("ribflow 2026 command v2");
    hash_value(&mut hasher, &Value::from(node.kind.version()));
    hash_value(&mut hasher, &node.parameters.canonical());
    let mut with = (*node.with).clone();
    if let Value::Object(fields) = &mut with {
        // The location of a file does not affect its content.
        fields.remove("files");
    }
    hash_value(&mut hasher, &with);
    for (name, content) in files {
        hash_value(&mut hasher, &Value::from(name.as_str()));
        hash_value(&mut hasher, &Value::from(content.map(|it| it.to_hex())));
    }
    Digest::finish(&hasher)
}

/// The digest under which older versions recorded an imported command.
fn earlier_digest(node: &Node, files: &[(String, Option<Digest>)]) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key("ribflow 2026 command v1");
    let line = node.with.get("run").and_then(Value::as_str);
    hash_value(&mut hasher, &Value::from(line.unwrap_or_default()));
    for (name, content) in files {
        let content = content.map_or_else(String::new, |it| it.to_hex());
        hash_value(&mut hasher, &Value::from(name.as_str()));
        hash_value(&mut hasher, &Value::from(content));
    }
    Digest::finish(&hasher)
}

/// Where the commands of a workflow come from, as far as is known.
struct Origin {
    /// Why every command counts as imported, if it does.
    all: Option<String>,
    /// The digests of imported commands.
    imported: BTreeSet<Digest>,
    /// Whether a folder is below an import mark.
    marked: HashMap<PathBuf, bool>,
    base: PathBuf,
}

impl Origin {
    fn of(graph: &Graph, home: &Home) -> Self {
        const ELSEWHERE: &str = "came from elsewhere";
        let (imported, unread) = match imported::read(home) {
            Ok(imported) => (imported, None),
            Err(error) => {
                let why = format!("may have come from elsewhere ({error})");
                (BTreeSet::new(), Some(why))
            }
        };
        let is_imported = match fsx::read_regular(&graph.file) {
            Ok(bytes) => imported.contains(&Digest::of(&bytes)),
            // It was readable a moment ago; its origin is unknown now.
            Err(_) => true,
        };
        let is_marked = mark::above(&graph.file).is_some();
        Self {
            all: (is_imported || is_marked)
                .then(|| ELSEWHERE.to_string())
                .or(unread),
            imported,
            marked: HashMap::new(),
            base: graph.file.parent().unwrap_or(Path::new("/")).to_path_buf(),
        }
    }

    /// Whether a file of the node is in an imported folder.
    fn has_marked_file(&mut self, node: &Node) -> bool {
        file_sources(node).any(|source| {
            let path = self.base.join(source.location);
            // A link may lead there. Links are rare, so each one is checked.
            let is_link = path.is_symlink();
            let folder = path.parent().unwrap_or(&path).to_path_buf();
            let below = self.marked.entry(folder);
            *below.or_insert_with(|| mark::above(&path).is_some())
                || is_link && mark::above(&path).is_some()
                || path.is_dir() && holds_mark(&path, 0)
        })
    }
}

/// Whether nothing in `graph` is known to be imported, allowed or not.
pub fn is_own(graph: &Graph, home: &Home) -> bool {
    let mut origin = Origin::of(graph, home);
    let nodes = nodes(graph);
    let mut marked = nodes
        .iter()
        .filter(|node| origin.has_marked_file(&graph.dag[**node]));
    marked.next().is_none() && origin.all.is_none()
}

/// The nodes that must not run, and why.
pub fn refused(graph: &Graph, common: &Common) -> Result<Vec<(NodeIndex, String)>, Failure> {
    let nodes = nodes(graph);
    if nodes.is_empty() {
        return Ok(Vec::new());
    }
    let Ok(home) = Home::of_user() else {
        let why = "it runs a command, and without a home folder its origin and permissions are unknown: \
         set HOME";
        let refused = nodes.into_iter().map(|node| (node, why.to_string()));
        return Ok(refused.collect());
    };
    let mut origin = Origin::of(graph, &home);
    let marked = nodes
        .iter()
        .filter(|node| origin.has_marked_file(&graph.dag[**node]));
    let marked: BTreeSet<NodeIndex> = marked.copied().collect();
    if origin.all.is_none() && origin.imported.is_empty() && marked.is_empty() {
        return Ok(Vec::new());
    }
    // Reading the files of every command is expensive, so it comes last.
    let allowed = Config::read(&home)?.commands;
    let file = locations::shown(&graph.file);
    let mut refused = Vec::new();
    for CommandNode { node, terms } in of(graph, common)? {
        let digest = terms.digest;
        let is_known = [digest, terms.earlier]
            .iter()
            .any(|digest| origin.imported.contains(digest));
        let elsewhere = match &origin.all {
            Some(why) => why,
            None if is_known || marked.contains(&node) => "came from elsewhere",
            None => continue,
        };
        if !allowed.contains(&digest) {
            let why = format!(
                "it runs a command that {elsewhere}: `{}`; review it and its files, then allow it \
                 with `ribflow trust allow {digest}` (`ribflow trust allow --all {}` shows every \
                 command of the file)",
                visible(&terms.line),
                super::invocation::quoted(&file)
            );
            refused.push((node, why));
        }
    }
    Ok(refused)
}
