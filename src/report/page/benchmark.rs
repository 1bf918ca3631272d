//! The sections of a benchmark: its headline, mRI, RI, accuracies and baselines.

use maud::{Markup, html};

use super::frame::{Numbering, figure, heading, not_as_published, table, unseen_head};
use super::{bars, before_after, heat, matrix, palette, radar, trace};
use crate::report::number::Number;
use crate::report::robustness::{Accuracy, Benchmark, Experiment};
use crate::report::view::View;
use crate::store::artifact::Metric;

pub fn sections(view: &View, benchmark: &Benchmark, numbering: &mut Numbering) -> Markup {
    let repeats = benchmark.repeats(view);
    let deviations = not_as_published(view, &benchmark.nodes());
    let of_baselines = not_as_published(view, &benchmark.baselines());
    let has_mri = benchmark
        .experiments
        .iter()
        .any(|experiment| experiment.metric(view, "mri").is_some());
    let has_after = benchmark
        .experiments
        .iter()
        .any(|experiment| !experiment.after.is_empty());
    let has_before = benchmark
        .experiments
        .iter()
        .any(|experiment| !experiment.before.is_empty());
    html! {
        section id=(format!("{}-mri", benchmark.stage)) {
            (heading("Robustness after fine-tuning"))
            p.lead { (findings(view, benchmark)) }
            @if has_mri {
                (table(numbering, html! { (headline_caption()) (deviations) }, headline(view, benchmark)))
                (figure(numbering, bars::figure(view, benchmark), html! {
                    "Mean robustness improvement (mRI). Bars are the mean over the domains fine-tuned on, dots the "
                    "RI of each domain" @if repeats > 1 { ", whiskers the 95 % interval over " (repeats) " repeats" } ". "
                    "Left of zero, fine-tuning cost accuracy elsewhere." (deviations)
                }))
                (figure(numbering, before_after::figure(view, benchmark), html! {
                    "Mean accuracy on the domains other than the one fine-tuned on, before and after, in percent." (deviations)
                }))
            }
        }
        @if has_after { (by_domain(view, benchmark, has_mri, &deviations, numbering)) }
        @if has_before {
            section id=(format!("{}-baselines", benchmark.stage)) {
                (heading("Before fine-tuning"))
                (table(numbering, html! { (baseline_caption(view, benchmark)) (of_baselines) }, baselines(view, benchmark)))
            }
        }
    }
}

fn by_domain(
    view: &View,
    benchmark: &Benchmark,
    has_mri: bool,
    deviations: &Markup,
    numbering: &mut Numbering,
) -> Markup {
    html! {
        section id=(format!("{}-ri", benchmark.stage)) {
            (heading("By the domain fine-tuned on"))
            @if has_mri {
                (table(numbering, html! { "Robustness improvement (RI) in points" (deviations) }, ri(view, benchmark)))
            }
            (figure(numbering, heat::figure(view, benchmark), html! {
                "Change of accuracy by what was fine-tuned on (rows) and tested on (columns), in points against the "
                "accuracy before, which the first row gives in percent. A model's accuracy on the domain it was tuned on "
                "is not measured (·); – was not run" (own_note(view, benchmark)) ". RI is the mean of a row's domains." (deviations)
            }))
            (matrix::matrices(view, benchmark, deviations))
            @if radar::has_shape(benchmark) {
                (figure(numbering, radar::figure(view, benchmark), html! {
                    "Accuracy on every set before (grey) and after fine-tuning on one domain; rings are 25, 50, 75 and 100 %. "
                    "The outline skips sets that were not run." (deviations)
                }))
            }
        }
    }
}

/// The best and the worst experiment, in a sentence.
fn findings(view: &View, benchmark: &Benchmark) -> Markup {
    let mut ranked: Vec<(&Experiment, &Metric)> = benchmark
        .experiments
        .iter()
        .filter_map(|experiment| Some((experiment, experiment.metric(view, "mri")?)))
        .collect();
    ranked.sort_by(|a, b| b.1.value.total_cmp(&a.1.value));
    let fell = ranked.iter().filter(|(_, mri)| mri.value < 0.0).count();
    let name = |experiment: &Experiment| experiment.name(view);
    let shown = |mri: &Metric| Number::points(mri.value).typeset();
    if ranked.is_empty() {
        return html! { "No experiment is complete yet." };
    }
    html! {
        "Fine-tuned on one domain, tested on the others: mean accuracy fell in "
        b { (fell) " of " (ranked.len()) } " experiments. "
        @if let [(first, best), .., (last, worst)] = ranked.as_slice() {
            "The best was " b { (name(first)) } " (" (shown(best)) " points), the worst "
            b { (name(last)) } " (" (shown(worst)) " points)."
        }
    }
}

fn headline_caption() -> Markup {
    html! { "mRI in points, and mean accuracy on the other domains before → after, in percent" }
}

fn baseline_caption(view: &View, benchmark: &Benchmark) -> Markup {
    let chance = benchmark
        .experiments
        .first()
        .map(|experiment| chance_note(view, experiment));
    html! { "Accuracy before fine-tuning, in percent" (chance.unwrap_or_default()) }
}

/// Series as rows, panels as columns; each cell shows mRI and the means before and after.
fn headline(view: &View, benchmark: &Benchmark) -> Markup {
    let limit = mri_limit(view, benchmark);
    let panels = benchmark.panels();
    html! {
        table.data.headline {
            thead { tr {
                (unseen_head("method"))
                @for (panel, _) in &panels {
                    th.number scope="col" { (panel_label(view, benchmark, *panel)) }
                }
            } }
            tbody {
                @for series in benchmark.series(view) {
                    tr {
                        th scope="row" { (series) }
                        @for (_, experiments) in &panels {
                            @match experiments.iter().find(|experiment| experiment.series(view, benchmark.panel_axis) == series) {
                                Some(experiment) => (headline_cell(view, experiment, limit)),
                                None => td {},
                            }
                        }
                    }
                }
            }
        }
    }
}

fn headline_cell(view: &View, experiment: &Experiment, limit: f64) -> Markup {
    let Some(mri) = experiment.metric(view, "mri") else {
        return html! { td.number.unrun { "not run" } };
    };
    let shown = Number::points(mri.value).typeset();
    let words = trace::of(view, &format!("mRI {shown} points"), &[experiment.index]);
    let percent = |name: &str| {
        experiment
            .metric(view, name)
            .map(|metric| Number::percent(metric.value).typeset())
    };
    html! {
        td.number title=(words) {
            span class=(format!("chip {}", palette::class(mri.value, limit))) { (shown) }
            @if let Some(half) = half_width(mri.interval) { span.half { " ±\u{202f}" (half) } }
            @if let (Some(before), Some(after)) = (percent("before"), percent("after")) {
                span.under { (before) " \u{2192} " (after) }
            }
        }
    }
}

fn ri(view: &View, benchmark: &Benchmark) -> Markup {
    let domains = benchmark.domains();
    let axis = benchmark.tuned_axis();
    let values = benchmark.experiments.iter().flat_map(|experiment| {
        domains
            .iter()
            .filter_map(|domain| experiment.ri(view, domain))
            .map(|ri| ri.value)
    });
    let limit = palette::limit(values);
    let has_drop = benchmark
        .experiments
        .iter()
        .any(|experiment| experiment.metric(view, "drop").is_some());
    html! {
        table.data.tinted.sortable {
            thead { tr {
                (unseen_head("experiment"))
                @for domain in &domains { th.number scope="col" { (view.label(axis, domain)) } }
                th.number.mean scope="col" { "mRI" }
                @if has_drop { th.number scope="col" title="accuracy lost on the sources' own held-out set" { "drop on own" } }
            } }
            tbody {
                @for experiment in &benchmark.experiments {
                    tr {
                        th scope="row" { (experiment.name(view)) }
                        @for domain in &domains {
                            @if experiment.tuned.contains(domain) {
                                (tinted(view, experiment, experiment.ri(view, domain), limit, ""))
                            } @else { td.number { "·" } }
                        }
                        (tinted(view, experiment, experiment.metric(view, "mri"), limit, " mean"))
                        @if has_drop { (plain(view, experiment, experiment.metric(view, "drop"))) }
                    }
                }
            }
        }
    }
}

fn tinted(
    view: &View,
    experiment: &Experiment,
    metric: Option<&Metric>,
    limit: f64,
    class: &str,
) -> Markup {
    let Some(metric) = metric else {
        return html! { td.number.unrun { "not run" } };
    };
    let class = format!("number {}{class}", palette::class(metric.value, limit));
    html! { td class=(class) title=(words(view, experiment, metric)) { (Number::points(metric.value).typeset()) } }
}

fn plain(view: &View, experiment: &Experiment, metric: Option<&Metric>) -> Markup {
    html! {
        td.number title=[metric.map(|metric| words(view, experiment, metric))] {
            @if let Some(metric) = metric { (Number::points(metric.value).typeset()) }
        }
    }
}

fn words(view: &View, experiment: &Experiment, metric: &Metric) -> String {
    let interval = metric.interval.map(|[low, high]| {
        let ends = (
            Number::points(low).typeset(),
            Number::points(high).typeset(),
        );
        format!(", 95 % interval {} to {}", ends.0, ends.1)
    });
    let shown = Number::points(metric.value).typeset();
    let text = format!("{shown} points{}", interval.unwrap_or_default());
    trace::of(view, &text, &[experiment.index])
}

/// One row per panel: all its experiments start from the same models.
fn baselines(view: &View, benchmark: &Benchmark) -> Markup {
    let (tested, axis) = (benchmark.tested(), benchmark.tested_axis());
    let panels = benchmark.panels();
    html! {
        table.data.sortable {
            thead { tr {
                (unseen_head("model"))
                @for tested in &tested {
                    th.number scope="col" { (view.label(axis, tested)) }
                }
            } }
            tbody {
                @for (panel, experiments) in &panels {
                    tr {
                        th scope="row" { (panel_label(view, benchmark, *panel)) }
                        @for tested in &tested {
                            @match experiments.first().and_then(|experiment| experiment.before.get(tested)) {
                                Some(accuracy) => (baseline(view, accuracy)),
                                None => { td.number.unrun { "not run" } },
                            }
                        }
                    }
                }
            }
        }
    }
}

fn baseline(view: &View, accuracy: &Accuracy) -> Markup {
    let shown = Number::percent(accuracy.value.mean).typeset();
    let words = trace::of(view, &format!("{shown} %"), &accuracy.nodes);
    html! {
        td.number.level style=(format!("--v:{:.1}%", accuracy.value.mean)) title=(words) {
            (shown)
            @if let Some(half) = half_width(accuracy.value.interval) { span.half { " ±\u{202f}" (half) } }
        }
    }
}

fn chance_note(view: &View, experiment: &Experiment) -> String {
    let nodes = experiment
        .before
        .values()
        .flat_map(|accuracy| &accuracy.nodes);
    let metrics = nodes.filter_map(|node| view.metric(*node, experiment.metric));
    let mut chances: Vec<f64> = metrics.filter_map(|metric| metric.chance).collect();
    chances.dedup();
    match chances.as_slice() {
        [chance] => format!("; guessing gives {}", Number::percent(*chance).typeset()),
        _ => String::new(),
    }
}

fn own_note(view: &View, benchmark: &Benchmark) -> String {
    let first = benchmark.experiments.first();
    match first.and_then(|experiment| Some((experiment.tested_axis, experiment.own?))) {
        Some((axis, own)) => format!(
            "; “{}” is the held-out part of what the model was pre-trained on, and in no mean",
            view.label(axis, own)
        ),
        None => String::new(),
    }
}

/// The heading of a panel; for a single panel, the name of the stage.
fn panel_label<'s>(view: &View<'s>, benchmark: &Benchmark<'s>, panel: Option<&'s str>) -> &'s str {
    match (benchmark.panel_axis, panel) {
        (Some(axis), Some(id)) => view.label(axis, id),
        _ => benchmark.stage,
    }
}

fn mri_limit(view: &View, benchmark: &Benchmark) -> f64 {
    let mri = benchmark
        .experiments
        .iter()
        .filter_map(|experiment| experiment.metric(view, "mri"));
    palette::limit(mri.map(|mri| mri.value))
}

/// Half of an interval, to follow a plus-minus sign.
pub fn half_width(interval: Option<[f64; 2]>) -> Option<String> {
    interval.map(|[low, high]| Number::percent((high - low) / 2.0).typeset())
}
