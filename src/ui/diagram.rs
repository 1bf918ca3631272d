//! The graph of a workflow as diagram source: DOT for Graphviz, Mermaid for Markdown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use petgraph::graph::NodeIndex;
use serde_json::{Value, json};

use crate::quantity::count;
use crate::workflow::graph::Graph;

/// Boxes and arrows, independent of the workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagram {
    pub title: String,
    /// Lines of text for each box.
    pub boxes: Vec<Vec<String>>,
    /// Start and end of each arrow, as indices into `boxes`.
    pub arrows: BTreeSet<(usize, usize)>,
}

impl Diagram {
    /// One box for each node of the graph.
    pub fn of_nodes(graph: &Graph) -> Self {
        let boxes = graph
            .order
            .iter()
            .map(|node| vec![graph.dag[*node].id.clone()]);
        let place: BTreeMap<NodeIndex, usize> = graph.order.iter().copied().zip(0..).collect();
        let arrows = graph.dag.edge_indices().filter_map(|edge| {
            let (from, to) = graph.dag.edge_endpoints(edge)?;
            Some((*place.get(&from)?, *place.get(&to)?))
        });
        Self {
            title: graph.name.clone(),
            boxes: boxes.collect(),
            arrows: arrows.collect(),
        }
    }

    /// One box for each stage with nodes, with their number.
    pub fn of_stages(graph: &Graph) -> Self {
        let mut nodes: BTreeMap<&str, usize> = BTreeMap::new();
        for node in &graph.order {
            *nodes.entry(&graph.dag[*node].stage).or_default() += 1;
        }
        let stages: Vec<_> = graph
            .stages
            .iter()
            .filter_map(|stage| Some((stage, *nodes.get(stage.name.as_str())?)))
            .collect();
        let place: BTreeMap<&str, usize> = stages
            .iter()
            .enumerate()
            .map(|(index, (stage, _))| (stage.name.as_str(), index))
            .collect();
        let arrows = graph.dag.edge_indices().filter_map(|edge| {
            let (from, to) = graph.dag.edge_endpoints(edge)?;
            let place = |node: NodeIndex| place.get(graph.dag[node].stage.as_str()).copied();
            Some((place(from)?, place(to)?))
        });
        let boxes = stages.iter().map(|(stage, nodes)| {
            let mut lines = vec![stage.name.clone()];
            if !stage.axes.is_empty() {
                lines.push(stage.axes.join(" × "));
            }
            lines.push(count(*nodes, "node"));
            lines
        });
        Self {
            title: graph.name.clone(),
            boxes: boxes.collect(),
            arrows: arrows.collect(),
        }
    }

    /// JSON: `{"name": …, "boxes": ["…"], "arrows": [[from, to]]}` with the names of the boxes.
    pub fn json(&self) -> Value {
        let name = |index: usize| self.boxes.get(index).and_then(|lines| lines.first());
        let arrows = self.arrows.iter();
        json!({
            "name": self.title,
            "boxes": self.boxes.iter().map(|lines| lines.first()).collect::<Vec<_>>(),
            "arrows": arrows.map(|(from, to)| [name(*from), name(*to)]).collect::<Vec<_>>(),
        })
    }

    /// For Graphviz: `dot -Tsvg`.
    pub fn dot(&self) -> String {
        // Writing to a String can't fail, here and below.
        let mut text = format!(
            "digraph {} {{\n",
            dot_text(std::slice::from_ref(&self.title))
        );
        text.push_str("  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n");
        for (index, lines) in self.boxes.iter().enumerate() {
            let _ = writeln!(text, "  n{index} [label={}];", dot_text(lines));
        }
        for (from, to) in &self.arrows {
            let _ = writeln!(text, "  n{from} -> n{to};");
        }
        text.push_str("}\n");
        text
    }

    /// For a Markdown page, inside a block marked `mermaid`.
    pub fn mermaid(&self) -> String {
        let mut text = String::from("flowchart LR\n");
        for (index, lines) in self.boxes.iter().enumerate() {
            let _ = writeln!(text, "  n{index}[\"{}\"]", mermaid_text(lines));
        }
        for (from, to) in &self.arrows {
            let _ = writeln!(text, "  n{from} --> n{to}");
        }
        text
    }
}

fn dot_text(lines: &[String]) -> String {
    let text = lines.join("\n");
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", text.replace('\n', "\\n"))
}

/// Mermaid has no escapes but HTML entities.
fn mermaid_text(lines: &[String]) -> String {
    let lines = lines.iter().map(|line| {
        line.replace('&', "&amp;")
            .replace('"', "&quot;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
    });
    lines.collect::<Vec<_>>().join("<br>")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_boxes() -> Diagram {
        Diagram {
            title: "a \"grid\"".to_string(),
            boxes: vec![
                vec!["pool".to_string(), "2 nodes".to_string()],
                vec!["x < \"y\" \\ z".to_string()],
            ],
            arrows: BTreeSet::from([(0, 1), (1, 1)]),
        }
    }

    #[test]
    fn dot_is_quoted() {
        insta::assert_snapshot!(two_boxes().dot(), @r#"
        digraph "a \"grid\"" {
          rankdir=LR;
          node [shape=box, fontname="sans-serif"];
          n0 [label="pool\n2 nodes"];
          n1 [label="x < \"y\" \\ z"];
          n0 -> n1;
          n1 -> n1;
        }
        "#);
    }

    #[test]
    fn mermaid_is_quoted() {
        insta::assert_snapshot!(two_boxes().mermaid(), @r#"
        flowchart LR
          n0["pool<br>2 nodes"]
          n1["x &lt; &quot;y&quot; \ z"]
          n0 --> n1
          n1 --> n1
        "#);
    }
}
