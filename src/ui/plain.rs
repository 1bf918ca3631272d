//! The display of a run as plain lines, for pipes, files and simple terminals.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::time::Instant;

use super::tally::Tally;
use super::text::printable;
use super::{Detail, Display, DisplayOptions};
use crate::engine::event::Event;
use crate::engine::price::forecast::Forecast;
use crate::quantity::{self, count, duration};

/// One line for each node that starts or ends. Reused nodes are counted, and listed only with `-v`.
pub struct PlainLines<W: Write + Send> {
    writer: W,
    options: DisplayOptions,
    tally: Tally,
    begun: Instant,
}

impl<W: Write + Send> PlainLines<W> {
    pub fn new(writer: W, options: DisplayOptions, stages: BTreeMap<String, usize>) -> Self {
        Self {
            writer,
            options,
            tally: Tally::new(stages, Forecast::default()),
            begun: Instant::now(),
        }
    }
}

impl<W: Write + Send> Display for PlainLines<W> {
    fn show(&mut self, event: &Event) -> io::Result<()> {
        self.tally
            .observe(event, self.begun.elapsed().as_secs_f64());
        for line in lines(event, &self.options, &self.tally) {
            writeln!(self.writer, "{line}")?;
        }
        self.writer.flush()
    }

    fn close(&mut self) {}
}

/// The lines for an event. The live display prints the same lines above its bars, except for starts
/// and ends, which its bars show.
pub fn lines(event: &Event, options: &DisplayOptions, tally: &Tally) -> Vec<String> {
    let (detail, paint) = (options.detail, options.paint);
    let at = At(tally);
    let normal = detail >= Detail::Normal;
    let verbose = detail >= Detail::Verbose;
    match event {
        Event::RunStarted {
            workflow,
            nodes,
            threads,
            device,
            run,
            host: _,
        } if normal => {
            let threads = count(*threads, "thread");
            let run = if verbose {
                format!(", run {run}")
            } else {
                String::new()
            };
            vec![format!(
                "{workflow}: {}, {threads}, {device}{run}",
                count(*nodes, "node")
            )]
        }
        Event::NodeReused { id, key } if verbose => {
            vec![format!("{at} reused   {id}  {}", key.short())]
        }
        Event::NodeStarted {
            id, why, worker, ..
        } if normal => {
            let worker = worker
                .as_ref()
                .map(|worker| format!("  on {}", printable(worker)));
            let worker = worker.unwrap_or_default();
            let why = if verbose && !why.is_empty() {
                format!("  ({})", printable(why))
            } else {
                String::new()
            };
            vec![format!("{at} start    {id}{worker}{why}")]
        }
        Event::NodeWaiting { id, .. } if normal => {
            vec![format!("{at} wait     {id}  (for another process)")]
        }
        Event::DerivedMade {
            id,
            kind,
            what,
            bytes,
            wall_s,
            ..
        } if verbose => {
            let (size, took) = (quantity::bytes(*bytes), duration(*wall_s));
            vec![format!(
                "{at} derived  {kind}: {what}, {size}, {took}  ({id})"
            )]
        }
        Event::NodeFinished { id, wall_s, .. } if normal => {
            vec![format!(
                "{at} {}     {id}  {}",
                paint.green("done"),
                duration(*wall_s)
            )]
        }
        Event::NodeFailed { id, message, log } => {
            let mut lines = vec![format!("{at} {}   {id}", paint.red("failed"))];
            lines.extend(printable(message).lines().map(|line| format!("    {line}")));
            let log = log
                .iter()
                .map(|log| format!("    log: {}/{log}", options.store));
            lines.extend(log);
            lines
        }
        Event::NodeSkipped { id, why } if verbose => {
            vec![format!("{at} skipped  {id}  ({})", printable(why))]
        }
        Event::Machines { message } if normal => {
            vec![format!("{at} {}", printable(message))]
        }
        Event::Warning { message } => {
            vec![format!(
                "{} {}",
                paint.yellow("warning:"),
                printable(message)
            )]
        }
        _ => Vec::new(),
    }
}

/// The number of ended nodes, formatted only if an event has a line.
struct At<'a>(&'a Tally);

impl fmt::Display for At<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let Self(tally) = self;
        let width = tally.nodes.to_string().len();
        write!(formatter, "[{:>width$}/{}]", tally.ended(), tally.nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::paint::Paint;
    use super::*;
    use crate::digest::Digest;

    fn shown(detail: Detail) -> String {
        let key = Digest::of(b"");
        let id = |name: &str| name.to_string();
        let events = [
            Event::RunStarted {
                workflow: id("demo"),
                run: id("2026-11-23-1"),
                nodes: 12,
                threads: 2,
                device: id("cpu"),
                host: None,
            },
            Event::NodeReused {
                id: id("images"),
                key,
            },
            Event::NodeStarted {
                id: id("tuned[method=ft]"),
                key,
                threads: 1,
                why: id("epochs was 1, is 2"),
                worker: None,
            },
            Event::NodeProgress {
                id: id("tuned[method=ft]"),
                done: 1,
                total: 2,
                unit: id("steps"),
            },
            Event::NodeFinished {
                id: id("tuned[method=ft]"),
                key,
                wall_s: 3.21,
            },
            Event::Warning {
                message: id("the disk is nearly full"),
            },
            Event::NodeFailed {
                id: id("accuracy"),
                message: id("loss is NaN\nafter step 3"),
                log: Some(id("runs/1/logs/accuracy.log")),
            },
            Event::NodeSkipped {
                id: id("robustness"),
                why: id("accuracy failed"),
            },
        ];
        let mut text = Vec::new();
        let options = DisplayOptions {
            detail,
            paint: Paint { color: false },
            store: "cache".to_string(),
        };
        let mut display = PlainLines::new(&mut text, options, BTreeMap::new());
        for event in &events {
            display.show(event).unwrap();
        }
        drop(display);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_run_in_plain_lines() {
        insta::assert_snapshot!(shown(Detail::Normal), @r"
        demo: 12 nodes, 2 threads, cpu
        [ 1/12] start    tuned[method=ft]
        [ 2/12] done     tuned[method=ft]  3.2 s
        warning: the disk is nearly full
        [ 3/12] failed   accuracy
            loss is NaN
            after step 3
            log: cache/runs/1/logs/accuracy.log
        ");
    }

    #[test]
    fn a_run_in_detail() {
        insta::assert_snapshot!(shown(Detail::Verbose), @r"
        demo: 12 nodes, 2 threads, cpu, run 2026-11-23-1
        [ 1/12] reused   images  af1349b9f5f9
        [ 1/12] start    tuned[method=ft]  (epochs was 1, is 2)
        [ 2/12] done     tuned[method=ft]  3.2 s
        warning: the disk is nearly full
        [ 3/12] failed   accuracy
            loss is NaN
            after step 3
            log: cache/runs/1/logs/accuracy.log
        [ 4/12] skipped  robustness  (accuracy failed)
        ");
    }

    #[test]
    fn quiet_keeps_to_what_went_wrong() {
        insta::assert_snapshot!(shown(Detail::Quiet), @r"
        warning: the disk is nearly full
        [ 3/12] failed   accuracy
            loss is NaN
            after step 3
            log: cache/runs/1/logs/accuracy.log
        ");
    }
}
