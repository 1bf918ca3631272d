//! Figure: datasets as points of a map, one picture per model. Both directions have the same scale.

use maud::{Markup, html};

use super::plot::{Scale, px, width};
use super::trace;
use crate::report::atlas::Map;
use crate::report::number::Number;
use crate::report::view::View;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 330.0;
/// Margin for names and the ruler around the points.
const AIR: f64 = 44.0;
const TEXT: f64 = 11.0;

pub fn figure(view: &View, maps: &[Map]) -> Markup {
    html! {
        div.panels.wide {
            @for map in maps {
                div.panel {
                    h3 { (title(view, map, maps)) }
                    (picture(view, map))
                }
            }
        }
    }
}

/// The model of a map, by its labels; also the stage if there are several.
fn title(view: &View, map: &Map, maps: &[Map]) -> String {
    let of_model = match map.model {
        Some(model) => {
            let axes = &view.node(model).axes;
            let labels: Vec<&str> = axes.iter().map(|(axis, id)| view.label(axis, id)).collect();
            match labels.is_empty() {
                true => view.node(model).stage.clone(),
                false => labels.join(" · "),
            }
        }
        None => "without a model".to_string(),
    };
    match maps.iter().any(|other| other.stage != map.stage) {
        true => format!("{}: {of_model}", map.stage),
        false => of_model,
    }
}

/// The positions of a map's points in pixels, and pixels per unit of distance.
struct Layout {
    places: Vec<[f64; 2]>,
    scale: f64,
}

impl Layout {
    fn of(points: &[[f64; 2]]) -> Self {
        let range = |side: usize| {
            let values = points.iter().map(|point| point[side]);
            let low = values.clone().fold(f64::INFINITY, f64::min);
            (low, values.fold(f64::NEG_INFINITY, f64::max))
        };
        let [(left, right), (bottom, top)] = [range(0), range(1)];
        let fits = |room: f64, span: f64| match span > 0.0 {
            true => room / span,
            false => f64::INFINITY,
        };
        let across = fits(WIDTH - 2.0 * AIR, right - left);
        let scale = across.min(fits(HEIGHT - 2.0 * AIR, top - bottom));
        let place = |point: &[f64; 2]| {
            let x = WIDTH / 2.0 + scale * (point[0] - (left + right) / 2.0);
            let y = HEIGHT / 2.0 - scale * (point[1] - (bottom + top) / 2.0);
            [x, y]
        };
        Self {
            places: points.iter().map(place).collect(),
            scale,
        }
    }

    /// A round length that is about a fifth of the picture, with its pixels.
    fn ruler(&self) -> (f64, f64) {
        let unit = Scale::new(0.0, WIDTH / self.scale, 0.0, WIDTH).ticks(5);
        let length = unit.get(1).copied().unwrap_or(1.0);
        (length, length * self.scale)
    }
}

fn picture(view: &View, map: &Map) -> Markup {
    let layout = Layout::of(&map.embedding.points);
    let (length, pixels) = layout.ruler();
    let names = map.names(view);
    let shown = Number::percent(100.0 * map.embedding.shown).typeset();
    let words = format!("{} of {} datasets", map.distance, map.datasets.len());
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label="Map of the datasets" {
            @let base = px(HEIGHT - 8.0);
            path.whisker d=(format!("M10 {base}v-5m0 5h{}v-5", px(pixels))) {}
            text.tick x=(px(16.0 + pixels)) y=(px(HEIGHT - 9.0)) { (super::plot::tick_label(length)) }
            text.tick x=(px(WIDTH - 8.0)) y=(px(HEIGHT - 9.0)) text-anchor="end" { (shown) " % of the spread" }
            g.s0 {
                @for (place, (at, dataset)) in layout.places.iter().zip(&map.datasets).enumerate() {
                    circle.mark cx=(px(at[0])) cy=(px(at[1])) r="5" {
                        title { (trace::of(view, &format!("{}; {words}", names[place]), &[*dataset])) }
                    }
                }
            }
            @for (place, at) in layout.places.iter().enumerate() {
                @let [x, y] = beside(*at, &names[place], &layout.places);
                text.domain x=(px(x)) y=(px(y)) { (names[place]) }
            }
        }
    }
}

/// The position of a name beside its point: on the side with fewer points nearby.
fn beside(at: [f64; 2], name: &str, places: &[[f64; 2]]) -> [f64; 2] {
    let wide = width(name, TEXT);
    let right = [at[0] + 9.0, at[1] + 4.0];
    let left = [at[0] - 9.0 - wide, at[1] + 4.0];
    let above = [at[0] - wide / 2.0, at[1] - 9.0];
    let below = [at[0] - wide / 2.0, at[1] + 18.0];
    let hidden = |corner: &[f64; 2]| {
        let outside = corner[0] < 2.0 || corner[0] + wide > WIDTH - 2.0;
        let covers = |place: &&[f64; 2]| {
            let across = place[0] > corner[0] - 5.0 && place[0] < corner[0] + wide + 5.0;
            across && (place[1] - corner[1] + 4.0).abs() < 11.0
        };
        places.iter().filter(covers).count() + usize::from(outside) * places.len()
    };
    let choices = [right, left, above, below];
    let best = choices.iter().min_by_key(|corner| hidden(corner));
    best.copied().unwrap_or(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_stay_inside_and_keep_their_shape() {
        let layout = Layout::of(&[[-3.0, 0.0], [5.0, 0.5], [0.0, -1.0]]);
        for [x, y] in &layout.places {
            assert!((AIR - 1e-9..=WIDTH - AIR + 1e-9).contains(x));
            assert!((AIR - 1e-9..=HEIGHT - AIR + 1e-9).contains(y));
        }
        let [a, b, _] = layout.places[..] else {
            panic!("three points");
        };
        let pixels = (a[0] - b[0]).hypot(a[1] - b[1]);
        assert!((pixels / layout.scale - 64.25f64.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn names_avoid_points() {
        let crowd = [[100.0, 100.0], [120.0, 100.0]];
        assert!(beside(crowd[0], "cartoon", &crowd)[0] < 100.0);
        assert!(beside(crowd[1], "cartoon", &crowd)[0] > 120.0);
    }
}
