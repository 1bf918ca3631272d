//! The parts of all sections: headings, numbered figures and tables.

use maud::{Markup, html};
use petgraph::graph::NodeIndex;

use crate::report::view::View;

/// Numbers the figures and tables of the page.
#[derive(Default)]
pub struct Numbering {
    figures: usize,
    tables: usize,
}

pub fn heading(text: &str) -> Markup {
    html! { h2 { (text) } }
}

/// How the nodes behind a table or figure deviate from the published setting.
pub fn not_as_published(view: &View, nodes: &[NodeIndex]) -> Markup {
    let deviations = view.deviations(nodes);
    html! { @if !deviations.is_empty() { " " b { "Not as published:" } " " (deviations.join("; ")) "." } }
}

/// A figure with its numbered caption below.
pub fn figure(numbering: &mut Numbering, picture: Markup, caption: Markup) -> Markup {
    numbering.figures += 1;
    html! {
        figure {
            (picture)
            figcaption { b { "Figure " (numbering.figures) "." } " " (caption) }
        }
    }
}

/// A table with its numbered caption above; the caption may be wider than the table.
pub fn table(numbering: &mut Numbering, caption: Markup, table: Markup) -> Markup {
    numbering.tables += 1;
    html! {
        p.caption { b { "Table " (numbering.tables) "." } " " (caption) }
        (scroll(&format!("Table {}", numbering.tables), table))
    }
}

/// Content that may be wider than the page, which can be scrolled by keyboard, too.
pub fn scroll(name: &str, content: Markup) -> Markup {
    html! { div.scroll tabindex="0" role="group" aria-label=(name) { (content) } }
}

/// The head of a column that needs no words to those who see the table.
pub fn unseen_head(words: &str) -> Markup {
    html! { th scope="col" { span.unseen { (words) } } }
}
