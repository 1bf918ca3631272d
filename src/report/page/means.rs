//! Means over repeats, for any workflow: a table, and a figure of the first metric with each repeat
//! as a dot and the 95 % interval as a line.

use maud::{Markup, html};
use petgraph::graph::NodeIndex;

use super::frame::{self, Numbering, not_as_published};
use super::plot::{Scale, px, tick_label, width};
use super::trace;
use crate::diag::listed;
use crate::ml::metrics::estimate::Estimate;
use crate::report::number::Number;
use crate::report::repeats::{self, Group};
use crate::report::sheets::Sheet;
use crate::report::view::View;

/// Figures and tables with more rows are only in the files.
const ROWS: usize = 60;
const WIDTH: f64 = 640.0;
const ROW: f64 = 26.0;
const TOP: f64 = 6.0;
const BOTTOM: f64 = 30.0;
const TEXT: f64 = 12.5;

/// The means of a sheet; `None` if no group of it has several repeats.
pub fn of_sheet(view: &View, sheet: &Sheet, numbering: &mut Numbering) -> Option<Markup> {
    let mut groups = repeats::repeated(view, sheet.nodes.iter().copied())?;
    groups.truncate(ROWS);
    let over = groups.first()?.over.iter().copied();
    let names = sheet.wholes(view);
    let title = format!("{} over {}", sheet.stages.join(", "), listed(over));
    let caption = html! {
        "Means of " (title) ": n repeats, standard deviation (sd), and Student’s 95 % interval"
        (not_as_published(view, &sheet.nodes))
    };
    let first = names.first()?;
    Some(html! {
        (frame::table(numbering, caption, table(view, sheet, &groups, &names)))
        (frame::figure(numbering, picture(view, sheet, &groups, first), html! {
            (first) " of " (title) ": the mean, its 95 % interval, and each repeat as a dot"
        }))
    })
}

fn table(view: &View, sheet: &Sheet, groups: &[Group], names: &[String]) -> Markup {
    let axes = groups.first().map_or(&[][..], |group| &group.axes);
    let has_stage = sheet.names_stages() || axes.is_empty();
    html! {
        table.data.sortable.roomy {
            thead { tr {
                @if has_stage { th scope="col" { "stage" } }
                @for (axis, _) in axes { th scope="col" { (axis) } }
                th.number scope="col" { "n" }
                @for name in names {
                    th.number scope="col" { (name) }
                    th.number scope="col" { "sd" }
                    th.number scope="col" { "95 %" }
                }
            } }
            tbody { @for group in groups {
                @let estimates = group.estimates(view);
                tr {
                    @if has_stage { td { (group.stage) } }
                    @for (axis, id) in &group.axes { td { (view.label(axis, id)) } }
                    td.number { (group.members.len()) }
                    @for name in names {
                        (cells(view, group, name, sheet.unit(view, name).unwrap_or_default(), estimates.get(name)))
                    }
                }
            } }
        }
    }
}

fn cells(
    view: &View,
    group: &Group,
    name: &str,
    unit: &str,
    estimate: Option<&Estimate>,
) -> Markup {
    let Some(estimate) = estimate else {
        return html! { td {} td {} td {} };
    };
    let number = |value: f64| Number::of(value, unit);
    let deviation = estimate.deviation().map(|value| Number {
        signed: false,
        ..number(value)
    });
    let text = format!("mean of {name} {} over {}", estimate.mean, estimate.n);
    html! {
        td.number title=(trace::of(view, &text, &group.members)) { (number(estimate.mean).typeset()) }
        td.number { @if let Some(deviation) = deviation { (deviation.typeset()) } }
        td.number { @if let Some([low, high]) = estimate.interval {
            (number(low).typeset()) " to " (number(high).typeset())
        } }
    }
}

/// The name of a row: the values of its axes.
fn row_name(view: &View, sheet: &Sheet, group: &Group) -> String {
    let stage = (sheet.names_stages() || group.axes.is_empty()).then_some(group.stage);
    let values = group.axes.iter().map(|(axis, id)| view.label(axis, id));
    stage
        .into_iter()
        .chain(values)
        .collect::<Vec<&str>>()
        .join(" · ")
}

fn picture(view: &View, sheet: &Sheet, groups: &[Group], metric: &str) -> Markup {
    let unit = sheet.unit(view, metric).unwrap_or_default();
    let rows: Vec<Row> = groups
        .iter()
        .filter_map(|group| Row::of(view, sheet, group, metric))
        .collect();
    let ends = rows.iter().flat_map(|row| {
        let values = row.values.iter().map(|(value, _)| *value);
        values.chain(row.estimate.interval.into_iter().flatten())
    });
    let (low, high) = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let air = 0.04 * (high - low).max(f64::MIN_POSITIVE);
    let names = rows.iter().map(|row| width(&row.name, TEXT));
    let left = names.fold(40.0, f64::max).min(280.0) + 12.0;
    let scale = Scale::new(low - air, high + air, left, WIDTH - 72.0);
    let bottom = TOP + ROW * rows.len() as f64;
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {}", bottom + BOTTOM)) role="img" aria-label=(format!("Means of {metric}")) {
            @for tick in scale.ticks(6) {
                @let x = px(scale.at(tick));
                line.grid x1=(x) x2=(x) y1=(px(TOP)) y2=(px(bottom)) {}
                text.tick x=(x) y=(px(bottom + 15.0)) text-anchor="middle" { (tick_label(tick)) }
            }
            text.axis x=(px(WIDTH)) y=(px(bottom + 15.0)) text-anchor="end" { (unit) }
            @for (place, row) in rows.iter().enumerate() {
                (row.drawn(view, scale, unit, TOP + ROW * (place as f64 + 0.5)))
            }
        }
    }
}

struct Row {
    name: String,
    estimate: Estimate,
    values: Vec<(f64, NodeIndex)>,
}

impl Row {
    fn of(view: &View, sheet: &Sheet, group: &Group, metric: &str) -> Option<Self> {
        let value = |index: &NodeIndex| {
            let metrics = view.metrics(*index);
            let found = metrics.iter().find(|(name, _)| name == metric)?;
            Some((found.1.value, *index))
        };
        Some(Self {
            name: row_name(view, sheet, group),
            estimate: group.estimates(view).get(metric).copied()?,
            values: group.members.iter().filter_map(value).collect(),
        })
    }

    fn drawn(&self, view: &View, scale: Scale, unit: &str, y: f64) -> Markup {
        let shown = |value: f64| Number::of(value, unit).typeset();
        html! {
            text.name x="0" y=(px(y + 4.0)) { (self.name) }
            @if let Some([low, high]) = self.estimate.interval {
                @let (low, high) = (px(scale.at(low)), px(scale.at(high)));
                path.whisker d=(format!("M{low} {y}H{high}M{low} {0}V{1}M{high} {0}V{1}", y - 4.0, y + 4.0)) {}
            }
            @for (value, node) in &self.values {
                circle.dot cx=(px(scale.at(*value))) cy=(px(y)) r="3" {
                    title { (trace::of(view, &format!("{} {}", self.name, shown(*value)), &[*node])) }
                }
            }
            @let x = scale.at(self.estimate.mean);
            rect.bar.gain x=(px(x - 1.5)) y=(px(y - 8.0)) width="3" height="16" {}
            text.value x=(px(WIDTH)) y=(px(y + 4.0)) text-anchor="end" { (shown(self.estimate.mean)) }
        }
    }
}
