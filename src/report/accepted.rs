//! Sentences about results that depend on records of an older version of their kind.

use std::collections::BTreeMap;

use super::view::View;
use crate::diag::listed;

/// One sentence for each kind and version; empty if every record is of the current version.
pub fn sentences(view: &View) -> Vec<String> {
    let mut groups: BTreeMap<(&str, u32, u32), Vec<&str>> = BTreeMap::new();
    for (index, node) in view.nodes() {
        let stored = view.records.get(&index);
        let accepted = stored.and_then(|stored| stored.record.provenance.accepted.last());
        // The last record is the one that was computed.
        if let Some(made) = accepted {
            let versions = (node.kind.name(), made.version, node.kind.version());
            groups.entry(versions).or_default().push(&node.id);
        }
    }
    let sentence = |((kind, from, to), ids): ((&str, u32, u32), Vec<&str>)| {
        let rest = if ids.len() == 1 {
            "rests on a record"
        } else {
            "rest on records"
        };
        let ids = listed(ids);
        format!("{ids} {rest} of version {from} of `{kind}`, accepted in place of version {to}.")
    };
    groups.into_iter().map(sentence).collect()
}
