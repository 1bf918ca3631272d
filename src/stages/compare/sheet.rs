//! A sheet of images on which two models differ, as an SVG with captions.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};
use png::{BitDepth, ColorType, Encoder};

use crate::ml::data::picture::Picture;
use crate::ml::data::resize::{Filter, Transform};
use crate::stages::images;
use crate::stages::task::{Context, TaskError, TaskInput};

/// Pixels of a side of an image.
const SIDE: usize = 112;
/// The distance between images, and the height of a line of text.
const GAP: usize = 12;
const LINE: usize = 13;
const COLUMNS: usize = 6;
/// The size of a letter, and the width of a line of text: that of an image.
const LETTER: usize = LINE - 2;
const WIDTH: f64 = SIDE as f64;

/// An image on which the models differ.
pub(super) struct Difference<'a> {
    /// The position in the dataset.
    pub index: usize,
    pub label: &'a str,
    /// The predictions, and whether they are right.
    pub a: (&'a str, bool),
    pub b: (&'a str, bool),
}

/// The sheet, with the images of `data` at the positions of `shown`.
pub(super) fn svg(
    context: &Context,
    data: &TaskInput,
    shown: &[Difference],
) -> Result<Vec<u8>, TaskError> {
    let transform = Transform::square(SIDE, Filter::Bilinear);
    let indices: Vec<usize> = shown.iter().map(|it| it.index).collect();
    let pictures = images::at(context, data, &indices, &transform)?;
    let mut sources = Vec::with_capacity(pictures.len());
    for picture in &pictures {
        sources.push(data_url(picture)?);
    }
    if shown.is_empty() {
        return Ok(nothing().into_string().into_bytes());
    }
    let columns = COLUMNS.min(shown.len());
    let (wide, high) = (SIDE + GAP, SIDE + 3 * LINE + GAP);
    let width = columns * wide + GAP;
    let height = shown.len().div_ceil(columns) * high + GAP;
    let text = format!("font: {LETTER}px sans-serif");
    let markup = html! {
        svg xmlns="http://www.w3.org/2000/svg" width=(width) height=(height) viewBox={ "0 0 " (width) " " (height) } {
            rect width=(width) height=(height) fill="#fff" {}
            @for (place, (source, of)) in sources.iter().zip(shown).enumerate() {
                g transform={ "translate(" (GAP + place % columns * wide) " " (GAP + place / columns * high) ")" } style=(text) {
                    image width=(SIDE) height=(SIDE) href=(source) {}
                    (line(1, "", of.label, "#000"))
                    (line(2, "a: ", of.a.0, colour(of.a.1)))
                    (line(3, "b: ", of.b.0, colour(of.b.1)))
                }
            }
        }
    };
    Ok(markup.into_string().into_bytes())
}

/// The sheet of models that agree on every image.
fn nothing() -> Markup {
    let (width, height) = (3 * SIDE, LINE + 2 * GAP);
    html! {
        svg xmlns="http://www.w3.org/2000/svg" width=(width) height=(height) viewBox={ "0 0 " (width) " " (height) } {
            rect width=(width) height=(height) fill="#fff" {}
            text x=(GAP) y=(GAP + LETTER) fill="#000" style={ "font: " (LETTER) "px sans-serif" } {
                "The models give the same prediction for every image."
            }
        }
    }
}

fn line(number: usize, model: &str, class: &str, fill: &str) -> Markup {
    let text = fitting(&format!("{model}{class}"));
    html! { text y=(SIDE + number * LINE) fill=(fill) { (text) } }
}

/// The text, cut to the width of an image.
fn fitting(text: &str) -> String {
    let width = |text: &str| text.chars().map(breadth).sum::<f64>();
    if width(text) <= WIDTH {
        return text.to_string();
    }
    let ends = text.char_indices().map(|(at, _)| at);
    let cut = ends.map(|end| format!("{}…", &text[..end]));
    let fits = cut.take_while(|cut| width(cut) <= WIDTH);
    fits.last().unwrap_or_default()
}

/// At least the width of a letter in pixels: fonts differ.
fn breadth(letter: char) -> f64 {
    let share = match letter {
        'i' | 'j' | 'l' | 'I' | 'f' | 't' | 'r' | ' ' | '.' | ',' | ':' | ';' | '\'' | '|' => 0.45,
        'm' | 'w' | 'M' | 'W' | '@' | '%' | '…' => 1.05,
        'A'..='Z' => 0.8,
        letter if letter.is_ascii() => 0.65,
        _ => 1.1,
    };
    share * LETTER as f64
}

/// Right predictions are green and wrong ones red; both have a contrast of 4.5 : 1 to white.
fn colour(is_right: bool) -> &'static str {
    if is_right { "#166534" } else { "#b91c1c" }
}

fn data_url(picture: &Picture) -> Result<String, TaskError> {
    let failed = |error: png::EncodingError| TaskError::Failed(error.to_string());
    let mut bytes = Vec::new();
    let (width, height) = (picture.width as u32, picture.height as u32);
    let mut encoder = Encoder::new(&mut bytes, width, height);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&picture.pixels).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A label stays below its own image, whatever its letters, and is cut no shorter than needed.
    #[test]
    fn labels_are_as_wide_as_an_image_at_most() {
        assert_eq!(fitting("a: illicit little"), "a: illicit little");
        let wide = fitting("a: WWWWWWWWWWWWWWWWWWWW");
        assert!(wide.ends_with('…') && wide.chars().count() < 12, "{wide}");
        let other = fitting("a: 東西南北東西南北東西南北");
        assert!(
            other.ends_with('…') && other.chars().count() < 12,
            "{other}"
        );
    }
}
