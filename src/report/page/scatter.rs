//! Figure: distance against drop, one picture per panel, one mark per domain and series. The
//! domains of a panel have the same distance in all series, so they are labelled once, above.

use maud::{Markup, html};

use super::palette::SERIES;
use super::plot::{Scale, px, tick_label, width};
use super::trace;
use crate::report::number::Number;
use crate::report::relation::{Point, Relation};
use crate::report::view::View;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 330.0;
const LEFT: f64 = 50.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 62.0;
const BOTTOM: f64 = 40.0;
/// The minimum gap between names of domains.
const NAME_GAP: f64 = 18.0;

/// The points of a relation by panel and series.
pub struct Layout<'r, 'a> {
    relation: &'r Relation<'a>,
    panel_axis: Option<&'a str>,
    series: Vec<String>,
}

impl<'r, 'a> Layout<'r, 'a> {
    /// Splits by the first axis if there are several, as the bars do.
    pub fn new(view: &View<'a>, relation: &'r Relation<'a>, panel_axis: Option<&'a str>) -> Self {
        let mut series = Vec::new();
        let mut ordered: Vec<&Point> = relation.points.iter().collect();
        ordered.sort_by_key(|point| place(view, &point.axes));
        for point in ordered {
            let name = series_name(view, &point.axes, panel_axis);
            if !series.contains(&name) {
                series.push(name);
            }
        }
        Self {
            relation,
            panel_axis,
            series,
        }
    }

    fn panels(&self, view: &View<'a>) -> Vec<(Option<&'a str>, Vec<&'r Point<'a>>)> {
        let mut panels: Vec<(Option<&'a str>, Vec<&Point>)> = Vec::new();
        for point in &self.relation.points {
            let panel = panel_of(&point.axes, self.panel_axis);
            match panels.iter_mut().find(|(known, _)| *known == panel) {
                Some((_, points)) => points.push(point),
                None => panels.push((panel, vec![point])),
            }
        }
        let axis = self.panel_axis.unwrap_or_default();
        panels.sort_by_key(|(panel, _)| panel.map(|id| view.position(axis, id)));
        panels
    }

    fn series_of(&self, view: &View<'a>, point: &Point<'a>) -> usize {
        let name = series_name(view, &point.axes, self.panel_axis);
        self.series
            .iter()
            .position(|known| *known == name)
            .unwrap_or_default()
    }
}

/// The id on the panel axis.
pub fn panel_of<'a>(axes: &[(&'a str, &'a str)], panel_axis: Option<&str>) -> Option<&'a str> {
    let found = axes.iter().find(|(axis, _)| Some(*axis) == panel_axis)?;
    Some(found.1)
}

/// The labels on all axes except the panel's, in the order of the file.
pub fn series_name<'a>(
    view: &View<'a>,
    axes: &[(&'a str, &'a str)],
    panel_axis: Option<&str>,
) -> String {
    let others = axes.iter().filter(|(axis, _)| Some(*axis) != panel_axis);
    others
        .map(|(axis, id)| view.label(axis, id))
        .collect::<Vec<&str>>()
        .join(" · ")
}

/// The positions of ids on their axes, for sorting in the order of the file.
pub fn place(view: &View, axes: &[(&str, &str)]) -> Vec<usize> {
    axes.iter()
        .map(|(axis, id)| view.position(axis, id))
        .collect()
}

pub fn figure<'a>(view: &View<'a>, layout: &Layout<'_, 'a>) -> Markup {
    let drops = layout.relation.points.iter().map(|point| point.drop);
    let low = drops.clone().fold(0.0, f64::min);
    let high = drops.fold(0.0, f64::max);
    let air = 0.06 * (high - low).max(1.0);
    let y = Scale::new(low - air, high + air, HEIGHT - BOTTOM, TOP);
    html! {
        @if layout.series.len() > 1 {
            div.legend {
                @for (place, name) in layout.series.iter().enumerate() {
                    span.key {
                        svg class=(colour(place)) viewBox="-7 -7 14 14" width="14" height="14" aria-hidden="true" {
                            path d=(shape(place, 0.0, 0.0)) {}
                        }
                        (name)
                    }
                }
            }
        }
        div.panels.wide {
            @for (panel, points) in layout.panels(view) {
                div.panel {
                    @if let (Some(axis), Some(id)) = (layout.panel_axis, panel) {
                        h3 { (view.label(axis, id)) }
                    }
                    (picture(view, layout, &points, y))
                }
            }
        }
    }
}

fn picture<'a>(
    view: &View<'a>,
    layout: &Layout<'_, 'a>,
    points: &[&Point<'a>],
    y: Scale,
) -> Markup {
    let distances = points.iter().map(|point| point.distance);
    let low = distances.clone().fold(f64::INFINITY, f64::min);
    let high = distances.fold(f64::NEG_INFINITY, f64::max);
    let air = 0.06 * (high - low);
    let x = Scale::new(low - air, high + air, LEFT, WIDTH - RIGHT);
    let bottom = HEIGHT - BOTTOM;
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label="Distance against drop" {
            @for tick in y.ticks(5) {
                @let at = px(y.at(tick));
                line.grid x1=(px(LEFT)) x2=(px(WIDTH - RIGHT)) y1=(at) y2=(at) {}
                text.tick x=(px(LEFT - 6.0)) y=(px(y.at(tick) + 4.0)) text-anchor="end" { (tick_label(tick)) }
            }
            @let zero = px(y.at(0.0));
            line.zero x1=(px(LEFT)) x2=(px(WIDTH - RIGHT)) y1=(zero) y2=(zero) {}
            @for tick in x.ticks(5) {
                text.tick x=(px(x.at(tick))) y=(px(bottom + 16.0)) text-anchor="middle" { (tick_label(tick)) }
            }
            text.axis x=(px((LEFT + WIDTH - RIGHT) / 2.0)) y=(px(HEIGHT - 4.0)) text-anchor="middle" { "distance" }
            text.axis transform=(format!("translate(11 {}) rotate(-90)", px((TOP + bottom) / 2.0))) text-anchor="middle" { "drop, points" }
            (names(view, points, x, y))
            @for series in 0..layout.series.len() {
                @let own: Vec<&Point> = points.iter().copied().filter(|point| layout.series_of(view, point) == series).collect();
                g class=(colour(series)) {
                    @if let Some(d) = line(&own, x, y) { path.fit d=(d) {} }
                    @for point in own {
                        path.mark d=(shape(series, x.at(point.distance), y.at(point.drop))) {
                            title { (trace::of(view, &words(&layout.series[series], point), &[layout.relation.index])) }
                        }
                    }
                }
            }
        }
    }
}

fn words(series: &str, point: &Point) -> String {
    let distance = Number::of(point.distance, "").typeset();
    let drop = Number::points(point.drop).typeset();
    format!(
        "{series}, tuned on {}: distance {distance}, drop {drop} points",
        point.tuned_on
    )
}

/// A fine line down from each domain's name; overlapping names are pushed apart.
fn names<'a>(view: &View<'a>, points: &[&Point<'a>], x: Scale, y: Scale) -> Markup {
    let mut domains: Vec<(&str, f64, f64)> = Vec::new();
    for point in points {
        let (at, depth) = (x.at(point.distance), y.at(point.drop));
        match domains
            .iter_mut()
            .find(|(id, known, _)| *id == point.tuned_on && (known - at).abs() < 0.5)
        {
            Some((_, _, lowest)) => *lowest = lowest.max(depth),
            None => domains.push((point.tuned_on, at, depth)),
        }
    }
    domains.sort_by(|a, b| a.1.total_cmp(&b.1));
    let wanted: Vec<f64> = domains.iter().map(|(_, at, _)| *at).collect();
    let placed = spread_out(&wanted, LEFT + 4.0, WIDTH - 34.0);
    html! {
        @for ((id, at, depth), name_at) in domains.iter().zip(placed) {
            path.guide d=(format!("M{} {}L{} {}V{}", px(name_at), px(TOP - 16.0), px(*at), px(TOP - 4.0), px(*depth))) {}
            text.domain transform=(format!("translate({} {}) rotate(-42)", px(name_at + 2.0), px(TOP - 19.0))) {
                (short_name(label_of(view, id)))
            }
        }
    }
}

/// The label of a domain, on whichever axis it is.
fn label_of<'a>(view: &View<'a>, id: &'a str) -> &'a str {
    let axes = view.graph.axes.iter();
    let labelled = axes
        .map(|axis| view.label(&axis.name, id))
        .find(|label| *label != id);
    labelled.unwrap_or(id)
}

fn short_name(name: &str) -> String {
    if width(name, 11.0) <= 70.0 {
        return name.to_string();
    }
    let mut short: String = name.chars().take(10).collect();
    short.push('…');
    short
}

/// The positions nearest to `wanted` (ascending) that respect [`NAME_GAP`] and the bounds.
fn spread_out(wanted: &[f64], low: f64, high: f64) -> Vec<f64> {
    let mut placed: Vec<f64> = Vec::with_capacity(wanted.len());
    for at in wanted {
        let least = placed.last().map_or(low, |before| before + NAME_GAP);
        placed.push(at.max(least));
    }
    let mut most = high;
    for at in placed.iter_mut().rev() {
        *at = at.min(most);
        most = *at - NAME_GAP;
    }
    placed
}

/// The least-squares line over the range of the points.
fn line(points: &[&Point], x: Scale, y: Scale) -> Option<String> {
    let n = points.len() as f64;
    if points.len() < 3 {
        return None;
    }
    let mean_x = points.iter().map(|point| point.distance).sum::<f64>() / n;
    let mean_y = points.iter().map(|point| point.drop).sum::<f64>() / n;
    let mixed: f64 = points
        .iter()
        .map(|point| (point.distance - mean_x) * (point.drop - mean_y))
        .sum();
    let squares: f64 = points
        .iter()
        .map(|point| (point.distance - mean_x).powi(2))
        .sum();
    if squares <= 0.0 {
        return None;
    }
    let slope = mixed / squares;
    let at = |distance: f64| {
        let drop = mean_y + slope * (distance - mean_x);
        format!("{} {}", px(x.at(distance)), px(y.at(drop)))
    };
    let first = points
        .iter()
        .map(|point| point.distance)
        .fold(f64::INFINITY, f64::min);
    let last = points
        .iter()
        .map(|point| point.distance)
        .fold(f64::NEG_INFINITY, f64::max);
    Some(format!("M{}L{}", at(first), at(last)))
}

/// The colour class of a series.
pub fn colour(series: usize) -> String {
    format!("s{}", series % SERIES)
}

/// The mark of a series as a path around a point; there are more shapes than colours.
fn shape(series: usize, x: f64, y: f64) -> String {
    let from = |dx: f64, dy: f64| format!("{} {}", px(x + dx), px(y + dy));
    match series % 5 {
        0 => format!("M{}a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z", from(-4.5, 0.0)),
        1 => format!("M{}h8v8h-8z", from(-4.0, -4.0)),
        2 => format!("M{}l5 8.6h-10z", from(0.0, -5.4)),
        3 => format!("M{}l5.4 5.4l-5.4 5.4l-5.4 -5.4z", from(0.0, -5.4)),
        _ => format!("M{}l5 -8.6h-10z", from(0.0, 5.4)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_pushed_apart_and_stay_inside() {
        assert_eq!(spread_out(&[10.0, 50.0], 0.0, 100.0), [10.0, 50.0]);
        assert_eq!(
            spread_out(&[10.0, 11.0, 99.0], 0.0, 100.0),
            [10.0, 28.0, 99.0]
        );
        assert_eq!(spread_out(&[98.0, 99.0], 0.0, 100.0), [82.0, 100.0]);
    }
}
