//! The section that compares reproduced numbers with published ones.

use maud::{Markup, html};

use super::frame::{Numbering, heading, table};
use super::trace;
use crate::report::number::Number;
use crate::report::verdict::{JudgedClaim, JudgedValue, Verdict, Verdicts};
use crate::report::view::View;

pub fn section(view: &View, verdicts: &Verdicts, numbering: &mut Numbering) -> Markup {
    let expected = verdicts.expected;
    html! {
        section #verdicts {
            (heading("Published and reproduced"))
            p.lead {
                @if !verdicts.values.is_empty() { (finding(verdicts)) " " }
                @if !verdicts.claims.is_empty() { (of_claims(verdicts)) }
                @if !verdicts.calibrated {
                    " The calibration numbers were not reproduced, so nothing else is judged."
                }
            }
            @if !expected.published.paper.is_empty() {
                p.quiet { "Published in " (expected.published.paper) "." }
            }
            @if !verdicts.claims.is_empty() {
                (table(numbering, html! { "Claims and the verdicts of this run" }, claims(view, verdicts)))
            }
            @if !verdicts.values.is_empty() {
                (table(numbering, html! {
                    "Published numbers, reproduced numbers, and the allowed difference: the precision of the source "
                    "and twice the standard deviation over repeats"
                }, values(view, verdicts)))
            }
            @if !expected.deviations.is_empty() {
                p.quiet { "Not as published: "
                    @for (place, deviation) in expected.deviations.iter().enumerate() {
                        @if place > 0 { "; " }
                        b { "[" (place + 1) "]" } " " (deviation.text)
                        @if deviation.judge { " (judged anyway)" }
                    }
                    "."
                }
            }
        }
    }
}

/// How many numbers were reproduced, in a sentence.
fn finding(verdicts: &Verdicts) -> Markup {
    let values = || verdicts.values.iter().map(|value| value.verdict);
    let of = |verdict: Verdict| values().filter(|one| *one == verdict).count();
    let judged = of(Verdict::Reproduced) + of(Verdict::Different);
    let rest: Vec<String> = [
        Verdict::DifferenceOnly,
        Verdict::OtherSetting,
        Verdict::NotCalibrated,
        Verdict::NotRun,
    ]
    .into_iter()
    .filter(|verdict| of(*verdict) > 0)
    .map(|verdict| format!("{} {}", of(verdict), verdict.words()))
    .collect();
    html! {
        @if judged == 0 { "None of the " (verdicts.values.len()) " published numbers could be judged" }
        @else {
            b { (of(Verdict::Reproduced)) " of " (judged) } " published numbers that could be judged were reproduced"
        }
        @if !rest.is_empty() { " (" (rest.join(", ")) ")" }
        "."
    }
}

/// How many claims held, in a sentence.
fn of_claims(verdicts: &Verdicts) -> Markup {
    let of = |verdict: Verdict| {
        let claims = verdicts.claims.iter();
        claims.filter(|claim| claim.verdict == verdict).count()
    };
    let total = verdicts.claims.len();
    let (same, opposite) = (of(Verdict::Same), of(Verdict::Opposite));
    let unclear = of(Verdict::Indistinguishable);
    html! {
        @if same + opposite + unclear == 0 && total == 1 { "The claim could not be judged." }
        @else if same + opposite + unclear == 0 { "None of the " (total) " claims could be judged." }
        @else if total == 1 {
            @if same == 1 { "The claim " b { "held" } "." }
            @else if opposite == 1 { "The opposite of the claim held." }
            @else { "The claim could not be decided." }
        }
        @else {
            "Of " (total) " claims " b { (same) " held" } ", for " (opposite) " the opposite held, and "
            (unclear) " could not be decided."
        }
    }
}

fn claims(view: &View, verdicts: &Verdicts) -> Markup {
    let row = |judged: &JudgedClaim| {
        let claim = &verdicts.expected.published.claims[judged.claim];
        let nodes: Vec<_> = judged
            .targets
            .iter()
            .flat_map(|target| target.nodes.clone())
            .collect();
        let names: Vec<&str> = judged
            .targets
            .iter()
            .map(|target| target.name.as_str())
            .collect();
        html! {
            tr title=(trace::of(view, &names.join(", "), &nodes)) {
                th scope="row" { (claim.says) (marks(&judged.deviations)) }
                td { (chip(judged.verdict)) }
                td.quiet { (judged.evidence) }
            }
        }
    };
    html! {
        table.data {
            thead { tr { th scope="col" { "claim" } th scope="col" { "verdict" } th scope="col" { "evidence" } } }
            tbody { @for judged in &verdicts.claims { (row(judged)) } }
        }
    }
}

fn values(view: &View, verdicts: &Verdicts) -> Markup {
    let row = |value: &JudgedValue| {
        let entry = &verdicts.expected.published.values[value.entry];
        let words = trace::of(view, &value.target.name, &value.target.nodes);
        let decimals = value.decimals(&verdicts.expected.published);
        let shown = |value, signed| {
            Number::hundredths(value, signed)
                .at_least(decimals)
                .typeset()
        };
        html! {
            tr title=(words) {
                th scope="row" { code { (value.target.name) } (marks(&value.deviations)) }
                td.number { (shown(value.published, false)) }
                @match value.observed {
                    Some(observed) => {
                        td.number { (shown(observed.value, false)) }
                        td.number { (shown(observed.value - value.published, true)) }
                    }
                    None => { td.number.quiet { "not run" } td {} }
                }
                td.number.quiet { (shown(value.allowed, false)) }
                td { (chip(value.verdict)) }
                td.quiet title=(source(verdicts, value)) { (entry.from) @if entry.note.is_some() { " *" } }
            }
        }
    };
    html! {
        table.data.sortable {
            thead { tr {
                th scope="col" { "metric" }
                th.number scope="col" { "published" }
                th.number scope="col" { "reproduced" }
                th.number scope="col" { "difference" }
                th.number scope="col" { "allowed" }
                th scope="col" { "verdict" }
                th scope="col" { "source" }
            } }
            tbody { @for value in &verdicts.values { (row(value)) } }
        }
    }
}

/// The source of a published number, as text.
fn source(verdicts: &Verdicts, value: &JudgedValue) -> String {
    let published = &verdicts.expected.published;
    let entry = &published.values[value.entry];
    let source = published.sources.get(&entry.from);
    let version = source.and_then(|source| source.version.clone());
    let what = source.map(|source| source.what.clone());
    let parts = [what, version, entry.note.clone()];
    parts
        .into_iter()
        .flatten()
        .collect::<Vec<String>>()
        .join("; ")
}

/// A verdict with a symbol, so that it does not depend on colour.
fn chip(verdict: Verdict) -> Markup {
    let (class, sign) = match verdict {
        Verdict::Reproduced | Verdict::Same => ("verdict good", "✓ "),
        Verdict::Different | Verdict::Opposite => ("verdict bad", "✗ "),
        Verdict::Indistinguishable => ("verdict", "≈ "),
        _ => ("verdict none", ""),
    };
    html! { span class=(class) { (sign) (verdict.words()) } }
}

fn marks(deviations: &[usize]) -> Markup {
    html! { @for place in deviations { sup { "[" (place + 1) "]" } } }
}
