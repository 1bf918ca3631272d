//! A table of pairs of classes of two datasets, for readers.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::side::Side;
use crate::ml::ot::OtddResult;
use crate::store::artifact::Table;

/// The table lists all pairs up to this number.
const ALL: usize = 1_600;

/// Distance (in the unit of the features) and transported mass for pairs of classes. With more than
/// [`ALL`] pairs, only two for each class of `b`: the nearest class of `a`, and the one that most
/// of its mass comes from. The `classes` port has all pairs.
pub(super) fn table(found: &OtddResult, a: &Side, b: &Side) -> Table {
    let (of_a, of_b) = (&found.classes.a, &found.classes.b);
    let columns = of_b.len();
    let row = |place: usize| -> Vec<Value> {
        let (row, column) = (place / columns, place % columns);
        let distance = found.classes.ab[place].max(0.0).sqrt();
        let names = [a.name(of_a[row]), b.name(of_b[column])];
        let [name_a, name_b] = names;
        vec![
            json!(name_a),
            json!(name_b),
            json!(distance),
            json!(found.coupling[place]),
        ]
    };
    Table {
        columns: ["a", "b", "distance", "mass"].map(str::to_string).to_vec(),
        rows: selected(found, of_a.len(), columns)
            .into_iter()
            .map(row)
            .collect(),
    }
}

/// The indices of the listed pairs, ascending.
fn selected(found: &OtddResult, rows: usize, columns: usize) -> BTreeSet<usize> {
    if rows * columns <= ALL {
        return (0..rows * columns).collect();
    }
    let (distances, mass) = (&found.classes.ab, &found.coupling);
    let of_column = |column: usize| {
        let places = move || (0..rows).map(move |row| row * columns + column);
        let nearest = places().min_by(|x, y| distances[*x].total_cmp(&distances[*y]));
        // On ties, the first one.
        let most = places().rev().max_by(|x, y| mass[*x].total_cmp(&mass[*y]));
        nearest.into_iter().chain(most)
    };
    (0..columns).flat_map(of_column).collect()
}
