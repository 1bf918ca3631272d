//! Pictures and tables that are outputs of nodes and are not in their records: what commands give
//! with the types `plot` and `table`.

use petgraph::graph::NodeIndex;

use super::view::View;
use crate::contract::port::{OutputSpec, PortType};
use crate::store::Store;
use crate::store::artifact::{Artifact, Blobs, Table};
use crate::workflow::withheld::Withheld;

/// Bytes of all pictures of a page.
const MOST_BYTES: usize = 16 << 20;
/// Outputs of a page.
const MOST_SHOWN: usize = 200;
/// Bytes of a table that is read for the page.
const LARGEST_TABLE: u64 = 1 << 20;

/// One output.
pub struct Attachment {
    pub node: NodeIndex,
    pub output: String,
    pub content: Content,
}

pub enum Content {
    Picture {
        media_type: &'static str,
        bytes: Vec<u8>,
    },
    Table(Table),
    /// The licence of an input forbids passing it on, and a report may be passed on.
    Withheld,
    /// Its blob is not in the store.
    Missing,
    /// The page already has as many as it may, or the table is large.
    TooLarge,
}

/// The outputs of all nodes with records, in the order of the file.
pub fn attachments(view: &View) -> Vec<Attachment> {
    let Some(store) = view.store else {
        return Vec::new();
    };
    let withheld = Withheld::of(view.graph);
    let mut bytes = 0;
    let mut found: Vec<Attachment> = Vec::new();
    for (node, output) in outputs(view) {
        let content = match () {
            () if withheld.is_withheld(node, &output.name) => Content::Withheld,
            () if found.len() >= MOST_SHOWN || bytes > MOST_BYTES => Content::TooLarge,
            () => content(view, store, node, &output.name),
        };
        if let Content::Picture { bytes: picture, .. } = &content {
            bytes += picture.len();
        }
        found.push(Attachment {
            node,
            output: output.name,
            content,
        });
    }
    found
}

/// What the attachments depend on beside graph and records: which of them are in the store.
pub fn presence(view: &View) -> Vec<bool> {
    let is_present = |(node, output): (NodeIndex, OutputSpec)| {
        let port = view.records.get(&node)?.record.ports.get(&output.name)?;
        let store = view.store?;
        Some(match &port.inline {
            // A small list of files is in the record; the files are blobs.
            Some(Artifact::Files(files)) => files.files.values().all(|it| store.has(&it.digest)),
            Some(_) => true,
            None => store.has(&port.digest),
        })
    };
    let outputs = outputs(view).into_iter();
    outputs
        .map(|output| is_present(output).unwrap_or(false))
        .collect()
}

fn outputs(view: &View) -> Vec<(NodeIndex, OutputSpec)> {
    let is_attached = |output: &OutputSpec| {
        output.is_plot || (output.gives == PortType::Table && !output.in_record)
    };
    let of_node = |node: NodeIndex| {
        let outputs = view.node(node).parameters.outputs().into_iter();
        outputs
            .filter(is_attached)
            .map(move |output| (node, output))
    };
    let done = view
        .nodes()
        .filter(|(node, _)| view.records.contains_key(node));
    done.flat_map(|(node, _)| of_node(node)).collect()
}

fn content(view: &View, store: &Store, node: NodeIndex, output: &str) -> Content {
    let port = view
        .records
        .get(&node)
        .and_then(|it| it.record.ports.get(output));
    let Some(port) = port.filter(|it| it.inline.is_some() || store.has(&it.digest)) else {
        return Content::Missing;
    };
    if port.gives == PortType::Table && port.bytes > LARGEST_TABLE {
        return Content::TooLarge;
    }
    match store.artifact(port) {
        Ok(Artifact::Table(table)) => Content::Table(table),
        Ok(Artifact::Files(files)) => {
            let file = files.files.first_key_value();
            let file = file.filter(|(_, file)| store.has(&file.digest));
            file.and_then(|(name, file)| {
                let bytes = store.read(&file.digest).ok()?;
                let media_type = match name.ends_with(".png") {
                    true => "image/png",
                    false => "image/svg+xml",
                };
                Some(Content::Picture { media_type, bytes })
            })
            .unwrap_or(Content::Missing)
        }
        _ => Content::Missing,
    }
}
