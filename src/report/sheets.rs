//! Groups nodes with metrics into tables for any workflow: stages of one kind with the same axes
//! share a table.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::graph::NodeIndex;

use super::view::View;

/// The nodes of one table.
pub struct Sheet<'a> {
    pub kind: &'a str,
    pub stages: Vec<&'a str>,
    pub axes: Vec<&'a str>,
    pub nodes: Vec<NodeIndex>,
}

/// The sheets of a graph, in the order of the file.
pub fn sheets<'a>(view: &View<'a>) -> Vec<Sheet<'a>> {
    let mut sheets: Vec<Sheet<'a>> = Vec::new();
    let mut places: BTreeMap<(&str, Vec<&str>), usize> = BTreeMap::new();
    for (index, node) in view.nodes() {
        if view.metrics(index).is_empty() {
            continue;
        }
        let axes: Vec<&str> = node.axes.iter().map(|(axis, _)| axis.as_str()).collect();
        let kind = node.kind.name();
        let place = places.entry((kind, axes.clone())).or_insert(sheets.len());
        let place = *place;
        if place == sheets.len() {
            sheets.push(Sheet {
                kind,
                stages: Vec::new(),
                axes,
                nodes: Vec::new(),
            });
        }
        if sheets[place].stages.last() != Some(&node.stage.as_str()) {
            sheets[place].stages.push(&node.stage);
        }
        sheets[place].nodes.push(index);
    }
    sheets
}

impl<'a> Sheet<'a> {
    /// Whether a row must say which stage it belongs to.
    pub fn names_stages(&self) -> bool {
        self.stages.len() > 1 || self.axes.is_empty()
    }

    /// The file name of this sheet: the stage, or the kind of several stages.
    pub fn name(&self) -> &'a str {
        match self.stages.as_slice() {
            [stage] => stage,
            _ => self.kind,
        }
    }

    /// The results of `pick` for the names of the metrics, without duplicates, in order of first
    /// appearance.
    pub fn names(&self, view: &View, pick: impl Fn(&str) -> Option<String>) -> Vec<String> {
        let (mut names, mut seen) = (Vec::new(), BTreeSet::new());
        for (name, _) in self.nodes.iter().flat_map(|index| view.metrics(*index)) {
            if let Some(name) = pick(&name).filter(|name| seen.insert(name.clone())) {
                names.push(name);
            }
        }
        names
    }

    /// The metrics of whole nodes, without those of parts; accuracies first.
    pub fn wholes(&self, view: &View) -> Vec<String> {
        let whole = |name: &str| part(name).is_none().then(|| name.to_string());
        let mut names = self.names(view, whole);
        names.sort_by_cached_key(|name| self.unit(view, name) != Some("percent"));
        names
    }

    /// The unit of a metric, from the first node that has it.
    pub fn unit<'v>(&self, view: &View<'v>, name: &str) -> Option<&'v str> {
        let mut metrics = self.nodes.iter().flat_map(|index| view.metrics(*index));
        metrics
            .find(|(known, _)| known == name)
            .map(|(_, metric)| metric.unit.as_str())
    }
}

/// Splits `top1/fog` and `ri[r]` into the metric and the part.
pub fn part(name: &str) -> Option<(&str, &str)> {
    match name.strip_suffix(']') {
        Some(rest) => rest.split_once('['),
        None => name.split_once('/'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_distinguished_from_wholes() {
        assert_eq!(part("ri[r]"), Some(("ri", "r")));
        assert_eq!(part("top1/fog/3"), Some(("top1", "fog/3")));
        assert_eq!(part("top1"), None);
    }
}
