//! Figure: mean accuracy on the other domains before and after fine-tuning, two bars per panel, as
//! in the paper; published means are marked.

use maud::{Markup, html};

use super::plot::{Scale, px, tick_label, width};
use super::trace;
use crate::report::number::Number;
use crate::report::robustness::{Benchmark, Experiment};
use crate::report::view::View;

const HEIGHT: f64 = 190.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 34.0;
const LEFT: f64 = 30.0;
const BAR: f64 = 17.0;
const TEXT: f64 = 11.0;

/// One picture per series (a method), with its panels (sources) side by side.
pub fn figure(view: &View, benchmark: &Benchmark) -> Markup {
    let series = benchmark.series(view);
    html! {
        div.legend {
            span.key { svg width="12" height="12" { rect.before width="12" height="12" {} } "before" }
            span.key { svg width="12" height="12" { rect.after width="12" height="12" {} } "after" }
            @if has_published(view, benchmark) {
                span.key { svg width="16" height="12" { line.published x1="0" x2="16" y1="6" y2="6" {} } "published" }
            }
        }
        div.panels {
            @for name in &series {
                div.panel {
                    h3 { (name) }
                    (picture(view, benchmark, name))
                }
            }
        }
    }
}

fn picture(view: &View, benchmark: &Benchmark, series: &str) -> Markup {
    let of_series =
        |experiment: &&Experiment| experiment.series(view, benchmark.panel_axis) == series;
    let experiments: Vec<&Experiment> = benchmark.experiments.iter().filter(of_series).collect();
    let label = |experiment: &Experiment| match benchmark.panel_axis {
        Some(axis) => {
            let id = experiment.panel(Some(axis)).unwrap_or_default();
            view.label(axis, id).to_string()
        }
        None => String::new(),
    };
    let widest = experiments.iter().map(|one| width(&label(one), TEXT));
    let step = widest.fold(2.0 * BAR + 16.0, f64::max) + 8.0;
    let full = LEFT + step * experiments.len() as f64;
    let scale = Scale::new(0.0, highest(view, benchmark), HEIGHT - BOTTOM, TOP);
    html! {
        svg viewBox=(format!("0 0 {} {HEIGHT}", px(full))) style=(format!("max-width:{}px", px(full))) role="img" aria-label="Mean accuracy before and after" {
            @for tick in scale.ticks(4) {
                @let y = px(scale.at(tick));
                line.grid x1=(px(LEFT)) x2=(px(full)) y1=(y) y2=(y) {}
                text.tick x=(px(LEFT - 5.0)) y=(px(scale.at(tick) + 3.5)) text-anchor="end" { (tick_label(tick)) }
            }
            @for (place, experiment) in experiments.iter().enumerate() {
                @let middle = LEFT + step * (place as f64 + 0.5);
                (bar(view, experiment, "before", middle - BAR - 1.0, scale))
                (bar(view, experiment, "after", middle + 1.0, scale))
                text.axis x=(px(middle)) y=(px(HEIGHT - BOTTOM + 16.0)) text-anchor="middle" { (label(experiment)) }
            }
        }
    }
}

fn bar(view: &View, experiment: &Experiment, name: &'static str, x: f64, scale: Scale) -> Markup {
    let base = scale.at(0.0);
    let observed = experiment.metric(view, name).map(|metric| metric.value);
    html! {
        @match observed {
            Some(value) => {
                @let top = scale.at(value);
                @let shown = Number::percent(value).typeset();
                rect class=(name) x=(px(x)) y=(px(top)) width=(px(BAR)) height=(px(base - top)) {
                    title { (trace::of(view, &format!("{name} {shown} %"), &[experiment.index])) }
                }
            }
            None => {
                text.tick x=(px(x + BAR / 2.0)) y=(px(base - 4.0)) text-anchor="middle" {
                    "–" title { "not run" }
                }
            }
        }
        @if let Some(published) = published(view, experiment, name) {
            @let y = px(scale.at(published));
            line.published x1=(px(x - 2.0)) x2=(px(x + BAR + 2.0)) y1=(y) y2=(y) {
                title { (format!("{name}, published: {published} %")) }
            }
        }
    }
}

/// The end of the scale: the first round number above all bars.
fn highest(view: &View, benchmark: &Benchmark) -> f64 {
    let of = |experiment: &Experiment| {
        ["before", "after"]
            .into_iter()
            .flat_map(|name| {
                let observed = experiment.metric(view, name).map(|metric| metric.value);
                observed
                    .into_iter()
                    .chain(published(view, experiment, name))
            })
            .fold(0.0, f64::max)
    };
    let highest = benchmark.experiments.iter().map(of).fold(0.0, f64::max);
    ((highest / 20.0).ceil() * 20.0).clamp(20.0, 100.0)
}

fn has_published(view: &View, benchmark: &Benchmark) -> bool {
    let mut experiments = benchmark.experiments.iter();
    experiments.any(|experiment| published(view, experiment, "before").is_some())
}

fn published(view: &View, experiment: &Experiment, metric: &str) -> Option<f64> {
    view.expected?.published_value(experiment.index, metric)
}
