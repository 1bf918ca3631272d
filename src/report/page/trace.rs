//! The tooltips that say where a number comes from.

use petgraph::graph::NodeIndex;

use crate::report::view::View;

/// The maximum number of nodes that a tooltip names.
const NAMED: usize = 3;

/// `text`, followed by the nodes with the short forms of their keys and records.
pub fn of(view: &View, text: &str, nodes: &[NodeIndex]) -> String {
    let mut lines = vec![text.to_string()];
    for index in nodes.iter().take(NAMED) {
        let id = &view.node(*index).id;
        lines.push(match view.records.get(index) {
            Some(stored) => {
                let key = stored.record.key.short();
                format!("{id}\nkey {key} · record {}", stored.digest.short())
            }
            None => format!("{id}\nno record yet"),
        });
    }
    if nodes.len() > NAMED {
        lines.push(format!(
            "and {} more, in the provenance below",
            nodes.len() - NAMED
        ));
    }
    lines.join("\n")
}
