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
/// Characters of a line of text: what fits below an image.
const LETTERS: usize = 20;

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
    let columns = COLUMNS.min(shown.len().max(1));
    let (wide, high) = (SIDE + GAP, SIDE + 3 * LINE + GAP);
    let width = columns * wide + GAP;
    let height = shown.len().div_ceil(columns) * high + GAP;
    let text = format!("font: {}px sans-serif", LINE - 2);
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

fn line(number: usize, model: &str, class: &str, fill: &str) -> Markup {
    let mut text = format!("{model}{class}");
    if text.chars().count() > LETTERS {
        text = text.chars().take(LETTERS - 1).chain(['…']).collect();
    }
    html! { text y=(SIDE + number * LINE) fill=(fill) { (text) } }
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
