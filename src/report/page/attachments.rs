//! Pictures and tables that are outputs of nodes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};
use serde_json::Value;

use super::frame::{self, Numbering, heading};
use crate::quantity::page::{count, grouped};
use crate::report::attachments::{Attachment, Content, attachments};
use crate::report::number::readable;
use crate::report::view::View;
use crate::store::artifact::Table;

/// Further rows are only in the output itself.
const ROWS: usize = 50;

pub fn section(view: &View, numbering: &mut Numbering) -> Markup {
    let found = attachments(view);
    if found.is_empty() {
        return html! {};
    }
    html! {
        section #outputs {
            (heading("Pictures and tables"))
            @for attachment in &found { (shown(view, attachment, numbering)) }
        }
    }
}

fn shown(view: &View, attachment: &Attachment, numbering: &mut Numbering) -> Markup {
    let id = &view.node(attachment.node).id;
    let name = format!("{}, {}", attachment.output, id);
    match &attachment.content {
        Content::Picture { media_type, bytes } => {
            let source = format!("data:{media_type};base64,{}", STANDARD.encode(bytes));
            // As an image, an SVG runs no script and loads nothing.
            let picture = html! { img.attached src=(source) alt=(name); };
            frame::figure(numbering, picture, html! { (name) })
        }
        Content::Table(content) => {
            let more = content.rows.len().saturating_sub(ROWS);
            html! {
                details.sheet {
                    summary { b { (name) } " " span.quiet { (count(content.rows.len(), "row")) } }
                    (frame::scroll(&name, table(content)))
                    @if more > 0 { p.quiet { "and " (grouped(more)) " more: " (get(id, attachment)) } }
                }
            }
        }
        Content::Withheld => html! {
            p.quiet { b { (name) } ": withheld by the licence of an input; " (get(id, attachment)) " exports it" }
        },
        Content::Missing => html! {
            p.quiet { b { (name) } ": not in this store; `ribflow pull` transfers it" }
        },
        Content::TooLarge => html! {
            p.quiet { b { (name) } ": " (get(id, attachment)) " exports it" }
        },
    }
}

fn get(id: &str, attachment: &Attachment) -> Markup {
    html! { code { "ribflow get … '" (id) "." (attachment.output) "'" } }
}

pub(super) fn table(content: &Table) -> Markup {
    html! {
        table.data.sortable {
            thead { tr { @for column in &content.columns { th scope="col" { (column) } } } }
            tbody {
                @for row in content.rows.iter().take(ROWS) {
                    tr { @for cell in row { (self::cell(cell)) } }
                }
            }
        }
    }
}

fn cell(value: &Value) -> Markup {
    match value {
        Value::Null => html! { td {} },
        Value::String(text) => html! { td { (text) } },
        // The whole number is in the file; the page has what can be read.
        Value::Number(number) if number.is_f64() => {
            let value = number.as_f64().unwrap_or_default();
            html! { td.number title=(number) { (readable(value)) } }
        }
        value => html! { td.number { (value) } },
    }
}
