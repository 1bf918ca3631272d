//! The table of the workers of a run, with what each has done.

use maud::{Markup, html};

use crate::quantity::page::grouped;
use crate::report::view::View;

pub fn table(view: &View) -> Markup {
    let Some(machines) = view.machines else {
        return html! {};
    };
    html! {
        p { "These workers took part in the run that wrote this report. Busy is the time in which a worker ran "
            "at least one node; a node waits from when its inputs are there, and the run has begun, to its start." }
        div.scroll tabindex="0" role="group" aria-label="Workers" {
            table.data.sortable {
                thead { tr {
                    th scope="col" { "worker" }
                    th scope="col" { "machine" }
                    th.number scope="col" { "cores" }
                    th.number scope="col" { "nodes" }
                    th.number scope="col" { "busy, seconds" }
                } }
                tbody {
                    @for worker in &machines.workers {
                        tr {
                            td.id { (worker.shown()) }
                            td { (worker.host.as_deref().unwrap_or_default()) }
                            td.number { (grouped(worker.cores)) }
                            td.number { (grouped(worker.nodes)) }
                            td.number { (format!("{:.2}", worker.busy_seconds)) }
                        }
                    }
                }
            }
        }
    }
}
