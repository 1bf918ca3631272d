//! `report.html`: one file that needs no network and no script.

use maud::{DOCTYPE, Markup, html};

use super::table::{Cell, Table};
use super::tables;
use super::view::View;

/// The whole page.
pub fn render(view: &View) -> String {
    let graph = view.graph;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (graph.name) " · ribflow" }
            }
            body {
                h1 { (graph.name) }
                @for table in tables::tables(view) {
                    (draw(&table))
                }
            }
        }
    };
    page.into_string()
}

fn draw(table: &Table) -> Markup {
    html! {
        h2 { (table.title) }
        table {
            thead { tr { @for column in &table.columns { th { (column.label) } } } }
            tbody {
                @for row in &table.rows {
                    tr { @for cell in row { td { @match cell {
                        Cell::Empty => {},
                        Cell::Text(text) => (text),
                        Cell::Number(number) => (number.typeset()),
                    } } } }
                }
            }
        }
    }
}
