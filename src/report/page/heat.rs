//! Figure: the effect of fine-tuning on every accuracy, as tables of differences from the baseline
//! in the colours of loss and gain. Tables, because screen readers can read them and users can copy
//! them.

use maud::{Markup, html};

use super::palette;
use super::trace;
use crate::report::number::Number;
use crate::report::robustness::{Accuracy, Benchmark, Experiment};
use crate::report::view::View;

/// All heat maps on one colour scale, with a legend.
pub fn figure(view: &View, benchmark: &Benchmark) -> Markup {
    let limit = palette::limit(benchmark.experiments.iter().flat_map(differences));
    html! {
        (legend(limit))
        @for (panel, experiments) in benchmark.panels() {
            @if let (Some(axis), Some(id)) = (benchmark.panel_axis, panel) {
                h3 { (view.label(axis, id)) }
            }
            div.heats {
                @for experiment in experiments.iter().filter(|experiment| !experiment.after.is_empty()) {
                    (map(view, benchmark, experiment, limit))
                }
            }
        }
    }
}

/// The colour scale from the largest loss to the largest gain.
pub fn legend(limit: f64) -> Markup {
    let ends = [Number::points(-limit), Number::points(limit)];
    html! {
        div.legend.diverging aria-hidden="true" {
            span { (ends[0].typeset()) }
            span.scale {
                @for step in (1..=palette::STEPS).rev() { i class=(format!("n{step}")) {} }
                i.z {}
                @for step in 1..=palette::STEPS { i class=(format!("p{step}")) {} }
            }
            span { (ends[1].typeset()) " points" }
        }
    }
}

fn differences<'e>(experiment: &'e Experiment) -> impl Iterator<Item = f64> + 'e {
    experiment
        .after
        .iter()
        .filter_map(|((tuned, tested), after)| {
            let before = experiment.before.get(tested)?;
            (tuned != tested).then_some(after.value.mean - before.value.mean)
        })
}

fn map(view: &View, benchmark: &Benchmark, experiment: &Experiment, limit: f64) -> Markup {
    let is_own = |tested: &str| experiment.own == Some(tested);
    let class = |tested: &str| if is_own(tested) { "own" } else { "" };
    // The sources' own set comes first: it is not one of the domains and in no mean.
    let own = experiment.tested.iter().filter(|tested| is_own(tested));
    let others = experiment.tested.iter().filter(|tested| !is_own(tested));
    let tested: Vec<&str> = own.chain(others).copied().collect();
    html! {
        table.heat {
            caption { (experiment.series(view, benchmark.panel_axis)) }
            thead { tr {
                th.corner scope="col" { "tuned on" }
                @for id in &tested {
                    th class=(class(id)) scope="col" {
                        span { (view.label(experiment.tested_axis, id)) }
                    }
                }
                th.mean scope="col" { span { "RI" } }
            } }
            tbody {
                tr.before {
                    th scope="row" { "before" }
                    @for id in &tested {
                        td class=(class(id)) title=[before_words(view, experiment, id)] {
                            @if let Some(before) = experiment.before.get(id) {
                                (format!("{:.0}", before.value.mean))
                            }
                        }
                    }
                    td.mean {}
                }
                @for tuned in &experiment.tuned {
                    tr {
                        th scope="row" { (view.label(experiment.tuned_axis, tuned)) }
                        @for id in &tested {
                            (cell(view, experiment, tuned, id, limit, is_own(id)))
                        }
                        (mean(view, experiment, tuned, limit))
                    }
                }
            }
        }
    }
}

fn before_words(view: &View, experiment: &Experiment, tested: &str) -> Option<String> {
    let before = experiment.before.get(tested)?;
    let label = view.label(experiment.tested_axis, tested);
    let shown = Number::percent(before.value.mean).typeset();
    Some(trace::of(
        view,
        &format!("{label} before fine-tuning: {shown} %"),
        &before.nodes,
    ))
}

fn cell(
    view: &View,
    experiment: &Experiment,
    tuned: &str,
    tested: &str,
    limit: f64,
    own: bool,
) -> Markup {
    let side = if own { " own" } else { "" };
    let pair = experiment
        .before
        .get(tested)
        .zip(experiment.after.get(&(tuned, tested)));
    let Some((before, after)) = pair else {
        let class = format!("none{side}");
        return match tuned == tested {
            true => html! { td class=(class) { "·" } },
            false => html! { td class=(class) title="not run" { "–" } },
        };
    };
    let difference = after.value.mean - before.value.mean;
    // If a workflow tests a model on its fine-tuning set, the gain is shown but not counted.
    let class = match tuned == tested {
        true => format!("none{side}"),
        false => format!("{}{side}", palette::class(difference, limit)),
    };
    html! {
        td class=(class) title=(words(view, experiment, tuned, tested, before, after)) {
            (short(difference))
        }
    }
}

fn words(
    view: &View,
    experiment: &Experiment,
    tuned: &str,
    tested: &str,
    before: &Accuracy,
    after: &Accuracy,
) -> String {
    let show = |value: f64| Number::percent(value).typeset();
    let text = format!(
        "tuned on {}, tested on {}: {} \u{2192} {} % ({})",
        view.label(experiment.tuned_axis, tuned),
        view.label(experiment.tested_axis, tested),
        show(before.value.mean),
        show(after.value.mean),
        Number::points(after.value.mean - before.value.mean).typeset(),
    );
    trace::of(view, &text, &after.nodes)
}

fn mean(view: &View, experiment: &Experiment, tuned: &str, limit: f64) -> Markup {
    let Some(ri) = experiment.ri(view, tuned) else {
        return html! { td.mean {} };
    };
    let shown = Number::points(ri.value).typeset();
    let class = format!("mean {}", palette::class(ri.value, limit));
    let words = trace::of(view, &format!("RI {shown} points"), &[experiment.index]);
    html! { td class=(class) title=(words) { (short(ri.value)) } }
}

/// A difference in a narrow cell: with a decimal only where it is significant.
pub fn short(value: f64) -> String {
    let decimals = if value.abs() < 9.95 { 1 } else { 0 };
    Number {
        value,
        decimals,
        signed: true,
    }
    .typeset()
}
