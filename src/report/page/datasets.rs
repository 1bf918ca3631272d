//! The section about the datasets: the distances between them and between their classes.

use maud::{Markup, html};

use super::frame::{Numbering, figure, heading, not_as_published};
use super::{atlas, class_heat};
use crate::quantity::page::count;
use crate::report::atlas::maps;
use crate::report::classes::class_pairs;
use crate::report::view::View;

/// The maximum number of pictures of one type on the page.
const SHOWN: usize = 12;

/// The section; empty if no distances were measured.
pub fn section(view: &View, numbering: &mut Numbering) -> Markup {
    let (maps, pairs) = (maps(view), class_pairs(view));
    if maps.is_empty() && pairs.is_empty() {
        return Markup::default();
    }
    let measured: Vec<_> = maps.iter().flat_map(|map| map.nodes.clone()).collect();
    html! {
        section #datasets {
            (heading("How far the datasets are from each other"))
            @if !maps.is_empty() {
                (figure(numbering, atlas::figure(view, &maps[..maps.len().min(SHOWN)]), html! {
                    "The datasets as a map: the plane that keeps their distances best (classical multidimensional scaling). "
                    "A map turned or mirrored is the same map." (more(maps.len(), "map"))
                    (not_as_published(view, &measured))
                }))
            }
            @if !pairs.is_empty() {
                details.sheet {
                    summary { b { "Class by class" } " " span.quiet { (count(pairs.len(), "pair")) " of datasets" } }
                    (figure(numbering, class_heat::figure(view, &pairs[..pairs.len().min(SHOWN)]), html! {
                        "Distances between the classes of two datasets, in the unit of the features: the darker, the farther; "
                        "in bold where most of a column’s mass comes from. With many classes, the pairs nearest to each other."
                        (more(pairs.len(), "table"))
                    }))
                }
            }
        }
    }
}

fn more(number: usize, what: &str) -> Markup {
    html! {
        @if number > SHOWN { " The first " (SHOWN) " of " (count(number, what)) "; " code { "ribflow get" } " gives all." }
    }
}
