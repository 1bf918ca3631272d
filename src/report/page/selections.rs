//! The section on selections: what each one chose, among how many candidates, and at what cost.

use maud::{Markup, html};

use super::attachments::table as rows;
use super::frame::{self, Numbering, heading};
use crate::quantity::duration;
use crate::quantity::page::{count, grouped};
use crate::report::number::Number;
use crate::report::selections::{Selection, selections};
use crate::report::view::View;

pub fn section(view: &View, numbering: &mut Numbering) -> Markup {
    let found = selections(view);
    if found.is_empty() {
        return html! {};
    }
    let caption = html! {
        "Selected models. The score was measured on the data of the selection, so it favours the chosen model; "
        "the cost is the recorded time of all nodes that the selection depends on"
    };
    html! {
        section #selections {
            (heading("Selections"))
            (frame::table(numbering, caption, table(view, &found)))
            @for selection in &found { (choice(view, selection)) }
        }
    }
}

fn table(view: &View, found: &[Selection]) -> Markup {
    html! {
        table.data.roomy {
            thead { tr {
                th scope="col" { "selection" }
                th scope="col" { "chosen" }
                th scope="col" { "by" }
                th.number scope="col" { "score" }
                th.number scope="col" { "candidates" }
                th.number scope="col" { "cost" }
            } }
            tbody { @for selection in found { tr {
                th scope="row" { (view.node(selection.node).id) }
                td { (selection.chosen.join(" + ")) }
                td { (selection.by) }
                td.number { @if let Some(score) = selection.score { (Number::of(score.value, &score.unit).typeset()) } }
                td.number { (grouped(selection.candidates)) }
                td.number { (duration(selection.seconds)) }
            } } }
        }
    }
}

fn choice(view: &View, selection: &Selection) -> Markup {
    let name = format!("choice, {}", view.node(selection.node).id);
    html! {
        details.sheet {
            summary { b { (name) } " " span.quiet { (count(selection.candidates, "candidate")) } }
            (frame::scroll(&name, rows(selection.choice)))
        }
    }
}
