//! The section that compares distances with drops.

use maud::{Markup, html};

use super::frame::{Numbering, figure, heading, table};
use super::scatter::{self, Layout};
use super::trace;
use crate::report::number::Number;
use crate::report::relation::{Correlation, Group, Relation, predictors};
use crate::report::view::View;

pub fn section<'a>(
    view: &View<'a>,
    relation: &Relation<'a>,
    panel_axis: Option<&'a str>,
    numbering: &mut Numbering,
) -> Markup {
    let layout = Layout::new(view, relation, panel_axis);
    html! {
        section id=(format!("relation-{}", relation.input)) {
            (heading("Distance and drop"))
            p.lead { (finding(view, relation)) }
            (figure(numbering, scatter::figure(view, &layout), html! {
                "Accuracy lost on the source's own held-out set, in points, against the distance (" code { (relation.input) }
                ") between what the model was pre-trained on and what it was fine-tuned on. Lines are least squares. "
                "Distances live in the feature space of each source and are not comparable across sources."
            }))
            (rivals(view, relation, numbering))
            @if relation.groups.iter().any(|group| group.spearman.is_some()) {
                (table(numbering, html! { "Correlation of distance and drop over the domains" }, correlations(view, relation)))
            }
        }
    }
}

fn finding<'a>(view: &View<'a>, relation: &Relation<'a>) -> Markup {
    let Some(spearman) = relation.headline(view, "spearman") else {
        return html! { "There are too few different points for a correlation." };
    };
    let value = spearman.value;
    let p_value = relation
        .headline(view, "spearman_p")
        .map(|metric| metric.value);
    let says = match p_value {
        Some(p_value) if p_value >= 0.05 => "is not shown to predict",
        _ if value > 0.0 => "predicts",
        _ => "predicts, with the opposite sign,",
    };
    html! {
        "The distance " b { (says) } " how much a model forgets: Spearman’s ρ = "
        b { (Number::correlation(value).typeset()) }
        @if let Some([low, high]) = spearman.interval {
            " (95 % from " (Number::correlation(low).typeset()) " to " (Number::correlation(high).typeset()) ")"
        }
        @if let Some(p_value) = p_value {
            ", p " @if p_value >= 0.001 { "= " } (probability(p_value))
        }
        @if let Some(pearson) = relation.headline(view, "pearson") {
            "; Pearson’s r = " b { (Number::correlation(pearson.value).typeset()) }
        }
        ". " span.quiet {
            "Means of the correlations within each row of the table below; the test and the interval shuffle and resample domains."
        }
    }
}

/// Compares the distance with other predictors of the drop.
fn rivals(view: &View, relation: &Relation, numbering: &mut Numbering) -> Markup {
    let predictors = predictors(view, relation.index);
    let shown = |value: Option<f64>| value.map(|value| Number::correlation(value).typeset());
    let points = |value: Option<f64>| value.map(|value| Number::percent(value).typeset());
    let body = html! {
        table.data.sortable {
            thead { tr {
                th scope="col" { "predictor" }
                th.number scope="col" { "n" }
                th.number scope="col" { "Spearman" }
                th.number scope="col" { "95 %" }
                th.number scope="col" { "p" }
                th.number scope="col" { "Pearson" }
                th.number scope="col" { "error, one left out" }
                th.number scope="col" { "of the mean" }
            } }
            tbody {
                @for predictor in &predictors {
                    tr title=(trace::of(view, predictor.name, &[relation.index])) {
                        th scope="row" { code { (predictor.name) } }
                        td.number { (predictor.points) }
                        (cells(predictor.spearman))
                        td.number { (shown(predictor.pearson).unwrap_or_default()) }
                        td.number { (points(predictor.left_out).unwrap_or_default()) }
                        td.number.quiet { (points(predictor.left_out_of_mean).unwrap_or_default()) }
                    }
                }
            }
        }
    };
    let caption = html! {
        "What predicts the drop: p by permuting domains; the error in points of a line through the other domains, beside "
        "that of their plain mean. " code { "…_gap" } " is the accuracy that models lack on a domain before they are tuned on it"
    };
    let has_values = predictors
        .iter()
        .any(|predictor| predictor.spearman.is_some());
    html! { @if predictors.len() > 1 && has_values { (table(numbering, caption, body)) } }
}

fn correlations<'a>(view: &View<'a>, relation: &Relation<'a>) -> Markup {
    let mut groups: Vec<&Group> = relation.groups.iter().collect();
    let axes: Vec<&str> = in_order(view, groups.first().map_or(&[][..], |group| &group.axes));
    groups.sort_by_key(|group| {
        axes.iter()
            .map(|axis| view.position(axis, group.id(axis)))
            .collect::<Vec<usize>>()
    });
    html! {
        table.data.sortable {
            thead { tr {
                @for axis in &axes { th scope="col" { (axis) } }
                th.number scope="col" { "n" }
                th.number scope="col" { "Spearman" }
                th.number scope="col" { "95 %" }
                th.number scope="col" { "p" }
                th.number scope="col" { "Pearson" }
                th.number scope="col" { "95 %" }
                th.number scope="col" { "p" }
            } }
            tbody {
                @for group in groups {
                    tr title=(trace::of(view, "correlations of the report node", &[relation.index])) {
                        @for axis in &axes { td { (view.label(axis, group.id(axis))) } }
                        td.number { (group.points) }
                        (cells(group.spearman))
                        (cells(group.pearson))
                    }
                }
            }
        }
    }
}

/// The axes of a group in the order of the file.
fn in_order<'a>(view: &View<'a>, axes: &[(&'a str, &'a str)]) -> Vec<&'a str> {
    let known = view.graph.axes.iter().map(|axis| axis.name.as_str());
    known
        .filter(|name| axes.iter().any(|(axis, _)| axis == name))
        .collect()
}

fn cells(correlation: Option<Correlation>) -> Markup {
    let Some(found) = correlation else {
        return html! { td.number { "·" } td {} td {} };
    };
    let shown = |value: f64| Number::correlation(value).typeset();
    html! {
        td.number { (shown(found.value)) }
        td.number.quiet {
            @if let Some([low, high]) = found.interval { (shown(low)) " … " (shown(high)) }
        }
        td.number.quiet { (probability(found.p_value)) }
    }
}

fn probability(p_value: f64) -> String {
    if p_value < 0.001 {
        "< 0.001".to_string()
    } else {
        format!("{p_value:.3}")
    }
}
