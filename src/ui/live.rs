//! The live display of a run on a terminal: a bar for the whole run, a line for each running node.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use console::{Alignment, Term, measure_text_width, pad_str};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::log::Console;
use super::resize;
use super::streams::stderr_text;
use super::tally::Tally;
use super::text;
use super::{Detail, Display, DisplayOptions, plain};
use crate::diag::terminal::cleaned;
use crate::engine::event::Event;
use crate::engine::price::forecast::{Forecast, Forecaster};
use crate::quantity::{duration, grouped};

const REDRAWS_A_SECOND: u8 = 10;
/// The update interval of the clocks in the bars.
const TICK: Duration = Duration::from_millis(250);

/// The line of a running node.
struct NodeBar {
    bar: ProgressBar,
    id: String,
    /// Whether it has reported progress with a known total.
    measured: bool,
}

/// Bars on standard error. Nothing is drawn before the first node starts, so a run that reuses
/// everything shows no bar.
pub struct Live<'a> {
    bars: MultiProgress,
    overall: Option<ProgressBar>,
    nodes: BTreeMap<String, NodeBar>,
    columns: usize,
    options: DisplayOptions,
    tally: Tally,
    forecaster: Forecaster<'a>,
    begun: Instant,
}

impl<'a> Live<'a> {
    /// `console` writes its lines above the bars from now on.
    pub fn new(
        console: &Console,
        options: DisplayOptions,
        stages: BTreeMap<String, usize>,
        forecaster: Forecaster<'a>,
    ) -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_A_SECOND);
        let bars = MultiProgress::with_draw_target(target);
        console.share_with(&bars);
        Self {
            bars,
            overall: None,
            nodes: BTreeMap::new(),
            columns: columns(),
            options,
            tally: Tally::new(stages, Forecast::default()),
            forecaster,
            begun: Instant::now(),
        }
    }

    fn start(&mut self, id: &str) {
        if self.overall.is_none() {
            let style = style(&overall_line(self.columns));
            let bar = ProgressBar::new(self.tally.nodes as u64).with_style(style);
            self.overall = Some(self.bars.add(bar));
        }
        let bar = ProgressBar::no_length();
        // Insert it above the overall bar, which stays the last line.
        let bar = match &self.overall {
            Some(overall) => self.bars.insert_before(overall, bar),
            None => self.bars.add(bar),
        };
        bar.enable_steady_tick(TICK);
        let node = NodeBar {
            bar,
            id: text::printable(id),
            measured: false,
        };
        self.nodes.insert(id.to_string(), node);
        self.lay_out();
    }

    /// Fits the lines to the terminal: names are shortened first, so that each node has one line.
    fn lay_out(&mut self) {
        let room = self.columns.saturating_sub(beside_name(self.columns));
        let room = room.max(SHORTEST_NAME);
        let names = self.nodes.values().map(|node| fitting(&node.id, room));
        let names: Vec<String> = names.collect();
        let longest = names.iter().map(|name| measure_text_width(name)).max();
        let width = longest.unwrap_or_default().min(room);
        for (node, name) in self.nodes.values().zip(names) {
            node.bar
                .set_style(style(&node_line(self.columns, node.measured)));
            node.bar.set_prefix(shortened(&name, width));
        }
        if let Some(overall) = &self.overall {
            overall.set_style(style(&overall_line(self.columns)));
        }
    }

    fn advance(&mut self, id: &str, done: u64, total: u64, unit: &str) {
        let Some(node) = self.nodes.get_mut(id) else {
            return;
        };
        // Without a known total there is no bar.
        let measured = total > 0;
        let changed = std::mem::replace(&mut node.measured, measured) != measured;
        let unit = text::printable(unit);
        if measured {
            node.bar.set_length(total);
            node.bar.set_position(done.min(total));
            node.bar.set_message(unit);
        } else {
            node.bar.set_message(format!(
                "{} {unit}",
                grouped(usize::try_from(done).unwrap_or(usize::MAX))
            ));
        }
        if changed {
            self.lay_out();
        }
    }

    fn end(&mut self, id: &str) {
        if let Some(node) = self.nodes.remove(id) {
            node.bar.finish_and_clear();
            self.bars.remove(&node.bar);
        }
    }

    /// Fits the lines to a terminal that has changed its width.
    fn resize(&mut self) {
        let columns = columns();
        if columns == self.columns {
            return;
        }
        if resize::wraps_drawn_lines() {
            let rows = resize::wrapped_rows(&self.drawn_widths(), columns);
            self.bars.suspend(|| resize::erase_above(rows));
        }
        self.columns = columns;
        self.lay_out();
    }

    /// The widths of the lines on the screen.
    fn drawn_widths(&self) -> Vec<usize> {
        let lines = self.nodes.values().map(|node| {
            let text = measure_text_width(&node.bar.prefix()) + 2 + 2 + 4 + 2;
            let message = measure_text_width(&node.bar.message());
            let count = match node.bar.length().filter(|_| node.measured) {
                Some(total) => {
                    let digits = |number: u64| grouped(usize::try_from(number).unwrap_or(0)).len();
                    let (_, bar) = bar_widths(self.columns);
                    bar + 1 + digits(node.bar.position()) + 1 + digits(total) + 1
                }
                None => 0,
            };
            (text + count + message).min(self.columns)
        });
        // The last line is filled up.
        lines
            .chain(self.overall.iter().map(|_| self.columns))
            .collect()
    }

    fn refresh(&mut self, now: f64) {
        if let Some(overall) = &self.overall {
            overall.set_position(self.tally.ended() as u64);
            overall.set_message(progress_summary(&self.tally, now));
        }
    }
}

impl Display for Live<'_> {
    fn show(&mut self, event: &Event) -> io::Result<()> {
        let now = self.begun.elapsed().as_secs_f64();
        self.resize();
        self.tally.observe(event, now);
        if let Some(forecast) = self.forecaster.observe(event) {
            self.tally.set_forecast(forecast);
        }
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
        if self.options.detail >= Detail::Verbose || !shown_by_bars(event) {
            for line in plain::lines(event, &self.options, &self.tally) {
                self.bars.println(cleaned(&line, stderr_text()))?;
            }
        }
        self.refresh(now);
        Ok(())
    }

    fn close(&mut self) {
        for (_, node) in std::mem::take(&mut self.nodes) {
            node.bar.finish_and_clear();
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

/// The text after the overall bar, most important first, since a narrow terminal cuts off the rest:
/// `2 min 10 s left · 1 failed · 3.1/s · 480 reused`.
fn progress_summary(tally: &Tally, now: f64) -> String {
    let mut parts = Vec::new();
    if let Some(left) = tally.time_left(now) {
        parts.push(format!("{} left", duration(left.max(1.0))));
    }
    let counted = |number: usize, word| (number > 0).then(|| format!("{} {word}", grouped(number)));
    parts.extend(counted(tally.failed, "failed"));
    parts.extend(counted(tally.skipped, "skipped"));
    parts.extend(tally.rate(now).map(|rate| match rate {
        1.0.. => format!("{rate:.1}/s"),
        _ => format!("{:.1}/min", rate * 60.0),
    }));
    parts.extend(counted(tally.reused, "reused"));
    parts.join(" · ")
}

/// The number of columns of the terminal; 80 if unknown.
fn columns() -> usize {
    let size = Term::stderr().size_checked();
    size.map_or(80, |(_, columns)| usize::from(columns))
}

/// The minimum width of a name. On narrower terminals, the text after it is cut off instead.
const SHORTEST_NAME: usize = 12;

/// The widths of the overall bar and of the bar of one node.
fn bar_widths(columns: usize) -> (usize, usize) {
    ((columns / 5).clamp(8, 24), (columns / 8).clamp(6, 16))
}

/// The columns of a node's line besides its name: spaces, clock, bar, `1,562/7,812 images`.
fn beside_name(columns: usize) -> usize {
    2 + 2 + 4 + 2 + bar_widths(columns).1 + 1 + 11 + 1 + 6
}

fn overall_line(columns: usize) -> String {
    let (bar, _) = bar_widths(columns);
    format!("{{bar:{bar}}} {{human_pos}}/{{human_len}} nodes  {{elapsed}}  {{wide_msg}}")
}

fn node_line(columns: usize, measured: bool) -> String {
    let (_, bar) = bar_widths(columns);
    match measured {
        true => format!(
            "  {{prefix}}  {{elapsed:>4}}  {{bar:{bar}.dim}} {{human_pos}}/{{human_len}} {{wide_msg}}"
        ),
        false => "  {prefix}  {elapsed:>4}  {wide_msg}".to_string(),
    }
}

/// `name` if it has room; otherwise without the names of its axes: `tuned[narrow,r,ft]` of
/// `tuned[source=narrow,domain=r,method=ft]`. The values are what differs.
fn fitting(name: &str, room: usize) -> String {
    let Some((stage, axes)) = name.split_once('[') else {
        return name.to_string();
    };
    if measure_text_width(name) <= room {
        return name.to_string();
    }
    let value = |axis: &str| {
        axis.split_once('=')
            .map_or(axis, |(_, value)| value)
            .to_string()
    };
    let values: Vec<String> = axes.split(',').map(value).collect();
    format!("{stage}[{}", values.join(","))
}

/// `name` in exactly `width` columns: padded, or cut in the middle, because the axes at the end are
/// what differs.
fn shortened(name: &str, width: usize) -> String {
    let wide = measure_text_width(name);
    if wide <= width {
        return format!("{name}{}", " ".repeat(width - wide));
    }
    let kept = width.saturating_sub(1);
    let letters: Vec<char> = name.chars().collect();
    let (head, tail) = (kept.div_ceil(2), kept / 2);
    let mut short: String = letters.iter().take(head).collect();
    short.push('…');
    short.extend(&letters[letters.len().saturating_sub(tail)..]);
    pad_str(&short, width, Alignment::Left, Some("")).into_owned()
}

/// A test builds the templates above; a broken one falls back to the default style.
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
        assert_eq!(progress_summary(&tally, 0.0), "");
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
                worker: None,
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
        assert_eq!(
            progress_summary(&tally, 30.0),
            "30 s left · 2.0/min · 1 reused"
        );
    }

    #[test]
    fn templates_are_well_formed() {
        for columns in [0, 40, 60, 80, 200] {
            for template in [
                overall_line(columns),
                node_line(columns, true),
                node_line(columns, false),
            ] {
                assert!(ProgressStyle::with_template(&template).is_ok());
            }
        }
    }

    #[test]
    fn names_have_the_width_that_they_are_given() {
        let name = "tuned[method=l2sp,source=mini-rib,seed=0]";
        assert_eq!(shortened(name, 16), "tuned[me…seed=0]");
        assert_eq!(shortened("über", 6), "über  ");
        for width in 0..60 {
            for name in [name, "", "数据集[seed=0]"] {
                assert_eq!(measure_text_width(&shortened(name, width)), width, "{name}");
            }
        }
    }

    #[test]
    fn names_of_axes_go_before_their_values() {
        let name = "tuned[source=narrow,domain=r,method=ft,seed=0]";
        assert_eq!(fitting(name, 60), name);
        assert_eq!(fitting(name, 24), "tuned[narrow,r,ft,0]");
        assert_eq!(fitting("pretrained", 4), "pretrained");
    }

    #[test]
    fn a_line_has_room_for_a_name_at_every_usual_width() {
        for (columns, name) in [(60, 23), (80, 40), (200, 140)] {
            assert!(columns - beside_name(columns) >= name, "{columns}");
        }
    }
}
