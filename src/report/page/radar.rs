//! Figure: accuracy on every set before and after fine-tuning on one domain, as a radar chart; one
//! per panel and domain, for the first series (usually plain fine-tuning).

use maud::{Markup, html};

use super::plot::px;
use super::trace;
use crate::report::number::Number;
use crate::report::robustness::{Accuracy, Benchmark, Experiment};
use crate::report::view::View;

const WIDTH: f64 = 330.0;
const HEIGHT: f64 = 210.0;
const RADIUS: f64 = 78.0;

/// The number of domains whose charts are expanded.
const OPEN: usize = 1;

/// Fewer spokes make a line.
const FEWEST_SPOKES: usize = 3;

/// Whether some experiment has enough sets for a shape.
pub fn has_shape(benchmark: &Benchmark) -> bool {
    // The set it was tuned on is not tested.
    let mut experiments = benchmark.experiments.iter();
    experiments.any(|experiment| experiment.tested.len() > FEWEST_SPOKES)
}

pub fn figure(view: &View, benchmark: &Benchmark) -> Markup {
    let series = benchmark
        .series(view)
        .into_iter()
        .next()
        .unwrap_or_default();
    let of_series =
        |experiment: &&Experiment| experiment.series(view, benchmark.panel_axis) == series;
    let experiments: Vec<&Experiment> = benchmark.experiments.iter().filter(of_series).collect();
    let axis = benchmark.tuned_axis();
    html! {
        @for (place, domain) in benchmark.domains().into_iter().enumerate() {
            details.sheet open[place < OPEN] {
                summary { b { (series) } " on " (view.label(axis, domain)) }
                div.radars {
                    @for experiment in &experiments { (radar(view, benchmark, experiment, domain)) }
                }
            }
        }
    }
}

fn radar(view: &View, benchmark: &Benchmark, experiment: &Experiment, domain: &str) -> Markup {
    let before = |id: &str| experiment.before.get(id);
    let after = |id: &str| {
        let after = experiment.after.iter();
        let mut found = after.filter(|((tuned, tested), _)| *tuned == domain && *tested == id);
        found.next().map(|(_, accuracy)| accuracy)
    };
    // The fine-tuning set is not tested, so it has no spoke.
    let spokes: Vec<&str> = experiment
        .tested
        .iter()
        .copied()
        .filter(|id| *id != domain)
        .collect();
    let panel = benchmark
        .panel_axis
        .zip(experiment.panel(benchmark.panel_axis));
    html! {
        div.radar {
            @if let Some((axis, id)) = panel { h3 { (view.label(axis, id)) } }
            @if spokes.iter().filter(|id| after(id).is_some()).count() < FEWEST_SPOKES { p.quiet { "not run, or too few sets for a shape" } }
            @else {
                svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label="Accuracy before and after, by set" {
                    @for ring in [25.0, 50.0, 75.0, 100.0] {
                        polygon.web points=(polygon(spokes.len(), |_| Some(ring))) {}
                    }
                    polygon.reach.before points=(polygon(spokes.len(), |place| mean(before(spokes[place])))) {}
                    polygon.reach.after points=(polygon(spokes.len(), |place| mean(after(spokes[place])))) {}
                    @for (place, id) in spokes.iter().enumerate() {
                        (spoke(view, experiment, (place, spokes.len()), id, before(id), after(id)))
                    }
                }
            }
        }
    }
}

/// The name at the end of a spoke, with both numbers as a tooltip.
fn spoke(
    view: &View,
    experiment: &Experiment,
    (place, count): (usize, usize),
    id: &str,
    before: Option<&Accuracy>,
    after: Option<&Accuracy>,
) -> Markup {
    let (x, y) = point(place, count, 100.0 * (1.0 + 14.0 / RADIUS));
    let shown = |accuracy: Option<&Accuracy>| match accuracy {
        Some(accuracy) => format!("{} %", Number::percent(accuracy.value.mean).typeset()),
        None => "not run".to_string(),
    };
    let label = view.label(experiment.tested_axis, id);
    let words = format!("{label}: {} before, {} after", shown(before), shown(after));
    let nodes = before.into_iter().chain(after);
    let nodes: Vec<_> = nodes.flat_map(|accuracy| accuracy.nodes.clone()).collect();
    let anchor = match x - WIDTH / 2.0 {
        offset if offset > 8.0 => "start",
        offset if offset < -8.0 => "end",
        _ => "middle",
    };
    html! {
        text.axis x=(px(x)) y=(px(y + 4.0)) text-anchor=(anchor) {
            (label) @if after.is_none() { ": not run" } title { (trace::of(view, &words, &nodes)) }
        }
    }
}

fn mean(accuracy: Option<&Accuracy>) -> Option<f64> {
    accuracy.map(|accuracy| accuracy.value.mean)
}

/// An outline with corners at `value` percent. Skips missing values: at the centre they would look
/// like an accuracy of 0.
fn polygon(count: usize, value: impl Fn(usize) -> Option<f64>) -> String {
    let corners = (0..count).filter_map(|place| {
        let (x, y) = point(place, count, value(place)?);
        Some(format!("{},{}", px(x), px(y)))
    });
    corners.collect::<Vec<String>>().join(" ")
}

fn point(place: usize, count: usize, percent: f64) -> (f64, f64) {
    let angle = std::f64::consts::TAU * place as f64 / count.max(1) as f64;
    let reach = RADIUS * percent / 100.0;
    (
        WIDTH / 2.0 + reach * angle.sin(),
        HEIGHT / 2.0 - reach * angle.cos(),
    )
}
