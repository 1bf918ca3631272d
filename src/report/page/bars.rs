//! Figure: mRI as bars around zero, one picture per panel, with each domain's RI as a dot.

use maud::{Markup, html};

use super::plot::{Scale, px, tick_label, width};
use super::trace;
use crate::report::number::Number;
use crate::report::robustness::{Benchmark, Experiment};
use crate::report::view::View;

const WIDTH: f64 = 400.0;
const ROW: f64 = 34.0;
const TOP: f64 = 6.0;
const BOTTOM: f64 = 30.0;
const TEXT: f64 = 12.5;

/// All panels on one scale.
pub fn figure(view: &View, benchmark: &Benchmark) -> Markup {
    let (low, high) = range(view, benchmark);
    let names = benchmark.series(view);
    let left = names
        .iter()
        .map(|name| width(name, TEXT))
        .fold(40.0, f64::max)
        .min(130.0)
        + 12.0;
    let scale = Scale::new(low, high, left, WIDTH - 52.0);
    html! {
        div.panels {
            @for (panel, experiments) in benchmark.panels() {
                div.panel {
                    @if let (Some(axis), Some(id)) = (benchmark.panel_axis, panel) {
                        h3 { (view.label(axis, id)) }
                    }
                    (picture(view, benchmark, &experiments, scale))
                }
            }
        }
    }
}

/// The range from the smallest to the largest number, including zero, with a margin.
fn range(view: &View, benchmark: &Benchmark) -> (f64, f64) {
    let mut values = vec![0.0];
    for experiment in &benchmark.experiments {
        if let Some(mri) = experiment.metric(view, "mri") {
            values.push(mri.value);
            values.extend(mri.interval.into_iter().flatten());
        }
        let ri = experiment
            .tuned
            .iter()
            .filter_map(|domain| experiment.ri(view, domain));
        values.extend(ri.map(|ri| ri.value));
    }
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let air = 0.04 * (high - low).max(1.0);
    (low - air, high + air)
}

fn picture(
    view: &View,
    benchmark: &Benchmark,
    experiments: &[&Experiment],
    scale: Scale,
) -> Markup {
    let bottom = TOP + ROW * experiments.len() as f64;
    let height = bottom + BOTTOM;
    let title = "Mean robustness improvement, one bar a method";
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label=(title) {
            @for tick in scale.ticks(5) {
                @let x = px(scale.at(tick));
                line.grid x1=(x) x2=(x) y1=(px(TOP)) y2=(px(bottom)) {}
                text.tick x=(x) y=(px(bottom + 15.0)) text-anchor="middle" { (tick_label(tick)) }
            }
            text.axis x=(px(WIDTH)) y=(px(bottom + 15.0)) text-anchor="end" { "points" }
            @for (place, experiment) in experiments.iter().enumerate() {
                (row(view, benchmark, experiment, scale, TOP + ROW * (place as f64 + 0.5)))
            }
            @let zero = px(scale.at(0.0));
            line.zero x1=(zero) x2=(zero) y1=(px(TOP)) y2=(px(bottom)) {}
        }
    }
}

fn row(
    view: &View,
    benchmark: &Benchmark,
    experiment: &Experiment,
    scale: Scale,
    y: f64,
) -> Markup {
    let name = experiment.series(view, benchmark.panel_axis);
    let Some(mri) = experiment.metric(view, "mri") else {
        return html! {};
    };
    let (zero, end) = (scale.at(0.0), scale.at(mri.value));
    let side = if mri.value < 0.0 { "loss" } else { "gain" };
    let interval = match mri.interval {
        Some([low, high]) => format!(
            ", 95 % interval {} to {}",
            Number::points(low).typeset(),
            Number::points(high).typeset()
        ),
        None => String::new(),
    };
    let shown = Number::points(mri.value).typeset();
    let words = format!("{name}: mRI {shown} points{interval}");
    html! {
        text.name x="0" y=(px(y + 4.0)) { (name) }
        rect class=(format!("bar {side}")) x=(px(zero.min(end))) y=(px(y - 9.0)) height="18"
            width=(px((end - zero).abs().max(0.5))) rx="1.5" {
            title { (trace::of(view, &words, &[experiment.index])) }
        }
        @for domain in &experiment.tuned {
            @if let Some(ri) = experiment.ri(view, domain) {
                circle.dot cx=(px(scale.at(ri.value))) cy=(px(y)) r="3" {
                    @let label = view.label(experiment.tuned_axis, domain);
                    @let shown = Number::points(ri.value).typeset();
                    @let words = format!("{name}, tuned on {label}: RI {shown} points");
                    title { (trace::of(view, &words, &[experiment.index])) }
                }
            }
        }
        @if let Some([low, high]) = mri.interval {
            @let (low, high) = (px(scale.at(low)), px(scale.at(high)));
            path.whisker d=(format!("M{low} {y}H{high}M{low} {0}V{1}M{high} {0}V{1}", y - 4.0, y + 4.0)) {}
        }
        text.value x=(px(WIDTH)) y=(px(y + 4.0)) text-anchor="end" { (shown) }
    }
}
