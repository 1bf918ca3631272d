//! Relations between distances and drops, as the `report` nodes of a graph paired and correlated
//! them.

use petgraph::graph::NodeIndex;
use serde_json::Value;

use super::view::View;
use crate::store::artifact::{Metric, Table};
use crate::workflow::kind::Meaning;

/// The relation between drops and the distances of one input of a `report` node.
pub struct Relation<'a> {
    pub index: NodeIndex,
    /// The name of the input.
    pub input: &'a str,
    pub points: Vec<Point<'a>>,
    pub groups: Vec<Group<'a>>,
}

/// How well a predictor predicts drops, among others.
pub struct Predictor<'a> {
    pub name: &'a str,
    pub points: usize,
    pub spearman: Option<Correlation>,
    pub pearson: Option<f64>,
    /// Root mean square error in leave-one-domain-out cross-validation, in points.
    pub left_out: Option<f64>,
    /// The same for predicting the mean: the error of a useless predictor.
    pub left_out_of_mean: Option<f64>,
}

/// One domain in one group.
pub struct Point<'a> {
    /// The ids that identify its group.
    pub axes: Vec<(&'a str, &'a str)>,
    pub tuned_on: &'a str,
    pub distance: f64,
    pub drop: f64,
}

/// The correlations within one group.
pub struct Group<'a> {
    pub axes: Vec<(&'a str, &'a str)>,
    pub points: usize,
    pub spearman: Option<Correlation>,
    pub pearson: Option<Correlation>,
}

#[derive(Clone, Copy)]
pub struct Correlation {
    pub value: f64,
    pub p_value: f64,
    pub interval: Option<[f64; 2]>,
}

/// The relations of a graph for which records exist.
pub fn relations<'a>(view: &View<'a>) -> Vec<Relation<'a>> {
    let mut relations: Vec<Relation<'a>> = Vec::new();
    for index in view.done(Meaning::Report) {
        let first = relations.len();
        for row in rows(view.table(index, "relation")) {
            let Some((input, point)) = point(&row) else {
                continue;
            };
            let known = relations[first..]
                .iter()
                .position(|relation| relation.input == input);
            let place = known.map_or(relations.len(), |place| first + place);
            if known.is_none() {
                relations.push(Relation {
                    index,
                    input,
                    points: Vec::new(),
                    groups: Vec::new(),
                });
            }
            relations[place].points.push(point);
        }
        for row in rows(view.table(index, "correlation")) {
            let input = row.text("input");
            let of_input = |relation: &&mut Relation| Some(relation.input) == input;
            if let Some(relation) = relations[first..].iter_mut().find(of_input) {
                relation.groups.push(group(&row));
            }
        }
    }
    relations
}

/// The predictors that the `report` node `index` compares.
pub fn predictors<'a>(view: &View<'a>, index: NodeIndex) -> Vec<Predictor<'a>> {
    let rows = rows(view.table(index, "predictors"));
    let predictor = |row: &Row<'a>| {
        Some(Predictor {
            name: row.text("predictor")?,
            points: row.number("n").unwrap_or_default() as usize,
            spearman: row.correlation("spearman"),
            pearson: row.number("pearson"),
            left_out: row.number("loo"),
            left_out_of_mean: row.number("loo_mean"),
        })
    };
    rows.iter().filter_map(predictor).collect()
}

impl<'a> Relation<'a> {
    /// The headline number of `coefficient`, or of one of its companions (`spearman_p`).
    pub fn headline(&self, view: &View<'a>, coefficient: &str) -> Option<&'a Metric> {
        view.metric(self.index, &format!("{}_drop_{coefficient}", self.input))
    }
}

impl<'a> Group<'a> {
    /// The id on an axis; empty if the group has none.
    pub fn id(&self, axis: &str) -> &'a str {
        self.axes
            .iter()
            .find(|(name, _)| *name == axis)
            .map_or("", |(_, id)| *id)
    }
}

/// A row of a table, by column name.
struct Row<'a>(Vec<(&'a str, &'a Value)>);

fn rows<'a>(table: Option<&'a Table>) -> Vec<Row<'a>> {
    let Some(table) = table else {
        return Vec::new();
    };
    let names = || table.columns.iter().map(String::as_str);
    table
        .rows
        .iter()
        .map(|row| Row(names().zip(row).collect()))
        .collect()
}

impl<'a> Row<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.0
            .iter()
            .find(|(column, _)| *column == name)
            .map(|(_, value)| *value)
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        self.get(name)?.as_str()
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.get(name)?.as_f64()
    }

    /// The text columns other than `fixed`.
    fn axes(&self, fixed: &[&str]) -> Vec<(&'a str, &'a str)> {
        self.0
            .iter()
            .filter(|(name, _)| !fixed.contains(name))
            .filter_map(|(name, value)| Some((*name, value.as_str()?)))
            .collect()
    }

    fn correlation(&self, name: &str) -> Option<Correlation> {
        let end = |ending: &str| self.number(&format!("{name}_{ending}"));
        Some(Correlation {
            value: self.number(name)?,
            p_value: end("p")?,
            interval: end("low").zip(end("high")).map(|(low, high)| [low, high]),
        })
    }
}

fn point<'a>(row: &Row<'a>) -> Option<(&'a str, Point<'a>)> {
    let point = Point {
        axes: row.axes(&["input", "tuned_on"]),
        tuned_on: row.text("tuned_on")?,
        distance: row.number("distance")?,
        drop: row.number("drop")?,
    };
    Some((row.text("input")?, point))
}

fn group<'a>(row: &Row<'a>) -> Group<'a> {
    Group {
        axes: row.axes(&["input"]),
        points: row.number("n").unwrap_or_default() as usize,
        spearman: row.correlation("spearman"),
        pearson: row.correlation("pearson"),
    }
}
