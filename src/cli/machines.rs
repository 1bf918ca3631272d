//! Where the nodes of a run with workers ran, for the report and for `status`.

use petgraph::graph::NodeIndex;
use serde_json::{Value, json};

use crate::engine::EngineError;
use crate::engine::journal::{self, Presence, WorkerFacts};
use crate::quantity::{duration, grouped};
use crate::report::machines::{Machines, Place, Worker, shown};
use crate::store::Store;
use crate::ui::table::Table;
use crate::ui::text::printable;
use crate::workflow::graph::Graph;

/// What the journals of the run `run` tell of its machines; `None` if it had no workers.
pub fn of_run(store: &Store, run: &str) -> Option<journal::Machines> {
    reported(journal::machines(store, run))
}

/// The same for the last run of `graph` that ran a node.
pub fn of_last_run(store: &Store, graph: &Graph) -> Option<journal::Machines> {
    reported(journal::last_machines(store, graph))
}

fn reported(machines: Result<Option<journal::Machines>, EngineError>) -> Option<journal::Machines> {
    match machines {
        Ok(machines) => machines,
        Err(error) => {
            tracing::warn!("the report does not say where nodes ran: {error}");
            None
        }
    }
}

/// The same for the report of `graph`.
pub fn for_report(graph: &Graph, machines: &journal::Machines) -> Machines {
    let workers = machines.workers.iter().map(|worker| Worker {
        name: worker.name.clone(),
        host: worker.host.clone(),
        cores: worker.cores,
        nodes: worker.ran,
        busy_seconds: rounded(worker.busy_s),
    });
    let place = |node: NodeIndex| {
        let stay = machines.stay(graph, node)?;
        let place = Place {
            worker: stay.worker,
            host: stay.host,
            waited_seconds: rounded(stay.waited_s),
        };
        Some((node, place))
    };
    Machines {
        workers: workers.collect(),
        places: graph.dag.node_indices().filter_map(place).collect(),
    }
}

/// A table of the workers.
pub fn table(workers: &[WorkerFacts]) -> Table {
    let mut table = Table::new([
        "worker", "machine", "cores", "state", "ran", "failed", "busy",
    ]);
    for worker in workers {
        let failed = match worker.failed {
            0 => String::new(),
            failed => grouped(failed),
        };
        table.row([
            printable(shown(worker.name.as_deref())),
            printable(worker.host.as_deref().unwrap_or_default()),
            grouped(worker.cores),
            state(worker.presence).to_string(),
            grouped(worker.ran),
            failed,
            duration(worker.busy_s),
        ]);
    }
    table
}

/// A worker in `status --json`.
pub fn entry(worker: &WorkerFacts) -> Value {
    json!({
        "name": worker.name,
        "host": worker.host,
        "cores": worker.cores,
        "state": state(worker.presence),
        "ran": worker.ran,
        "failed": worker.failed,
        "busy_seconds": rounded(worker.busy_s),
    })
}

fn state(presence: Presence) -> &'static str {
    match presence {
        Presence::Here => "here",
        Presence::Left => "gone",
        Presence::Died => "dead",
    }
}

/// Milliseconds are as much as the clocks of several machines agree, and more.
pub fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
