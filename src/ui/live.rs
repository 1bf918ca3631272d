//! A run on a terminal: one bar for the whole, one line for every running node.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::log::Console;
use super::streams::stderr_text;
use super::tally::Tally;
use super::words::{self, duration, grouped};
use super::{Detail, Display, Wording, plain};
use crate::diag::terminal::cleaned;
use crate::engine::event::Event;
use crate::engine::price::forecast::Forecast;

const OVERALL: &str = "{bar:24} {human_pos}/{human_len} nodes  {elapsed}  {wide_msg}";
const NODE: &str = "  {prefix}  {bar:16.dim} {human_pos}/{human_len} {msg}  {elapsed}";
/// A node that has not said how far it is.
const SILENT: &str = "  {prefix}  {elapsed}";

const REDRAWS_A_SECOND: u8 = 10;
/// How often the clocks in the bars go on while no event comes.
const TICK: Duration = Duration::from_millis(250);

/// Bars on standard error. Nothing is drawn before the first node starts, so a run that reuses
/// everything shows no bar.
pub struct Live {
    bars: MultiProgress,
    overall: Option<ProgressBar>,
    nodes: BTreeMap<String, ProgressBar>,
    wording: Wording,
    tally: Tally,
    begun: Instant,
}

impl Live {
    /// `console` is told to write its lines above the bars.
    pub fn new(
        console: &Console,
        wording: Wording,
        stages: BTreeMap<String, usize>,
        forecast: Forecast,
    ) -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_A_SECOND);
        let bars = MultiProgress::with_draw_target(target);
        console.share_with(&bars);
        Self {
            bars,
            overall: None,
            nodes: BTreeMap::new(),
            wording,
            tally: Tally::new(stages, forecast),
            begun: Instant::now(),
        }
    }

    fn start(&mut self, id: &str) {
        if self.overall.is_none() {
            let bar = ProgressBar::new(self.tally.nodes as u64).with_style(style(OVERALL));
            self.overall = Some(self.bars.add(bar));
        }
        let bar = ProgressBar::no_length()
            .with_style(style(SILENT))
            .with_prefix(words::printable(id));
        // Above the bar of the whole, which stays the last line.
        let bar = match &self.overall {
            Some(overall) => self.bars.insert_before(overall, bar),
            None => self.bars.add(bar),
        };
        bar.enable_steady_tick(TICK);
        self.nodes.insert(id.to_string(), bar);
    }

    fn advance(&mut self, id: &str, done: u64, total: u64, unit: &str) {
        let Some(bar) = self.nodes.get(id) else {
            return;
        };
        if bar.length().is_none() {
            bar.set_style(style(NODE));
        }
        bar.set_length(total);
        bar.set_position(done.min(total));
        bar.set_message(words::printable(unit));
    }

    fn end(&mut self, id: &str) {
        if let Some(bar) = self.nodes.remove(id) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }

    fn refresh(&self, now: f64) {
        if let Some(overall) = &self.overall {
            overall.set_position(self.tally.ended() as u64);
            overall.set_message(standing(&self.tally, now));
        }
    }
}

impl Display for Live {
    fn show(&mut self, event: &Event) -> io::Result<()> {
        let now = self.begun.elapsed().as_secs_f64();
        self.tally.observe(event, now);
        match event {
            Event::NodeStarted { id, .. } => self.start(id),
            Event::NodeProgress {
                id,
                done,
                total,
                unit,
            } => self.advance(id, *done, *total, unit),
            Event::NodeFinished { id, .. }
            | Event::NodeFailed { id, .. }
            | Event::NodeSkipped { id, .. }
            | Event::NodeReused { id, .. } => self.end(id),
            _ => {}
        }
        if self.wording.detail >= Detail::Verbose || !shown_by_bars(event) {
            for line in plain::lines(event, &self.wording, &self.tally) {
                self.bars.println(cleaned(&line, stderr_text()))?;
            }
        }
        self.refresh(now);
        Ok(())
    }

    fn close(&mut self) {
        for (_, bar) in std::mem::take(&mut self.nodes) {
            bar.finish_and_clear();
        }
        if let Some(overall) = self.overall.take() {
            overall.finish_and_clear();
        }
    }
}

fn shown_by_bars(event: &Event) -> bool {
    matches!(
        event,
        Event::NodeStarted { .. } | Event::NodeFinished { .. } | Event::NodeWaiting { .. }
    )
}

/// What stands behind the bar of the whole: `3.1/s · 2 min 10 s left · 480 reused · 1 failed`.
fn standing(tally: &Tally, now: f64) -> String {
    let mut parts = Vec::new();
    if let Some(rate) = tally.rate(now) {
        parts.push(match rate {
            1.0.. => format!("{rate:.1}/s"),
            _ => format!("{:.1}/min", rate * 60.0),
        });
    }
    if let Some(left) = tally.time_left(now) {
        parts.push(format!("{} left", duration(left.max(1.0))));
    }
    for (number, word) in [
        (tally.reused, "reused"),
        (tally.failed, "failed"),
        (tally.skipped, "skipped"),
    ] {
        if number > 0 {
            parts.push(format!("{} {word}", grouped(number)));
        }
    }
    parts.join(" · ")
}

/// The templates above are constants, and a test builds them; a broken one falls back to the
/// default style.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━━╌")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn the_standing_names_only_what_there_is() {
        let mut tally = Tally::new(
            BTreeMap::from([("test".to_string(), 3)]),
            Forecast::default(),
        );
        assert_eq!(standing(&tally, 0.0), "");
        let key = Digest::of(b"");
        let id = |number: usize| format!("test[n={number}]");
        tally.observe(&Event::NodeReused { id: id(0), key }, 0.0);
        let why = String::new();
        tally.observe(
            &Event::NodeStarted {
                id: id(1),
                key,
                threads: 1,
                why,
            },
            0.0,
        );
        tally.observe(
            &Event::NodeFinished {
                id: id(1),
                key,
                wall_s: 30.0,
            },
            30.0,
        );
        assert_eq!(standing(&tally, 30.0), "2.0/min · 30 s left · 1 reused");
    }

    #[test]
    fn templates_are_well_formed() {
        for template in [OVERALL, NODE, SILENT] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }
}
