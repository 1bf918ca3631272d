//! Tables of the accuracies before and after fine-tuning, by fine-tuning set and test set; one per
//! panel, collapsed.

use maud::{Markup, html};

use super::frame::{scroll, unseen_head};
use super::trace;
use crate::report::number::Number;
use crate::report::robustness::{Accuracy, Benchmark, Experiment};
use crate::report::view::View;

pub fn matrices(view: &View, benchmark: &Benchmark, deviations: &Markup) -> Markup {
    html! {
        @for (panel, experiments) in benchmark.panels().into_iter().filter(|(_, experiments)| has_results(experiments)) {
            details.sheet {
                summary {
                    b { "Accuracies in percent" }
                    @if let (Some(axis), Some(id)) = (benchmark.panel_axis, panel) { " of " (view.label(axis, id)) }
                }
                p.quiet { (deviations) }
                (scroll("Accuracies in percent", matrix(view, benchmark, &experiments)))
            }
        }
    }
}

fn has_results(experiments: &[&Experiment]) -> bool {
    let mut experiments = experiments.iter();
    experiments.any(|experiment| !experiment.before.is_empty() || !experiment.after.is_empty())
}

/// All experiments of a panel start from the same models; the first row has their accuracies.
fn matrix(view: &View, benchmark: &Benchmark, experiments: &[&Experiment]) -> Markup {
    let tested = benchmark.tested();
    html! {
        table.data.sortable {
            thead { tr {
                (unseen_head("method"))
                th scope="col" { "tuned on" }
                @for id in &tested { th.number scope="col" { (view.label(benchmark.tested_axis(), id)) } }
            } }
            tbody {
                @if let Some(first) = experiments.first() {
                    tr {
                        th scope="row" { "before" }
                        td {}
                        @for id in &tested { (cell(view, first.before.get(id))) }
                    }
                }
                @for experiment in experiments {
                    @for tuned in &experiment.tuned { (row(view, benchmark, experiment, tuned)) }
                }
            }
        }
    }
}

fn row(view: &View, benchmark: &Benchmark, experiment: &Experiment, tuned: &str) -> Markup {
    html! {
        tr {
            th scope="row" { (experiment.series(view, benchmark.panel_axis)) }
            td { (view.label(experiment.tuned_axis, tuned)) }
            @for id in benchmark.tested() {
                @let after = experiment.after.get(&(tuned, id));
                @if id == tuned && after.is_none() { td.number { "·" } } @else { (cell(view, after)) }
            }
        }
    }
}

fn cell(view: &View, accuracy: Option<&Accuracy>) -> Markup {
    let Some(accuracy) = accuracy else {
        return html! { td.number.unrun { "not run" } };
    };
    let shown = Number::percent(accuracy.value.mean).typeset();
    let words = trace::of(view, &format!("{shown} %"), &accuracy.nodes);
    html! { td.number title=(words) { (shown) } }
}
