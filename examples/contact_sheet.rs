//! Renders the contact sheet of mini-RIB, rows are collections, columns are classes:
//! `cargo run --release --example contact_sheet -- docs/images/mini-rib.png`

use std::error::Error;
use std::fs::File;
use std::io::BufWriter;

use ribflow::ml::data::mini_rib::{Collection, SIDE, Split, classes, render};

/// Pixels of the sheet per pixel of an image.
const ZOOM: usize = 2;
/// Images of each class side by side.
const REPEATS: usize = 2;
const CELL: usize = SIDE * ZOOM + 2;
const MARGIN_LEFT: usize = 84;
const MARGIN_TOP: usize = 20;

/// An RGB picture.
struct Sheet {
    width: usize,
    height: usize,
    pixels: Vec<[u8; 3]>,
}

impl Sheet {
    fn white(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            pixels: vec![[255; 3]; width * height],
        }
    }

    fn put(&mut self, x: usize, y: usize, colour: [u8; 3]) {
        self.pixels[y * self.width + x] = colour;
    }

    fn save(&self, path: &str) -> Result<(), Box<dyn Error>> {
        let file = BufWriter::new(File::create(path)?);
        let mut encoder = png::Encoder::new(file, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_compression(png::Compression::High);
        encoder.set_filter(png::Filter::Up);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(self.pixels.as_flattened())?;
        Ok(writer.finish()?)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args()
        .nth(1)
        .ok_or("usage: contact_sheet FILE.png")?;
    let classes = classes();
    let width = MARGIN_LEFT + classes.len() * REPEATS * CELL;
    let height = MARGIN_TOP + Collection::ALL.len() * CELL;
    let mut sheet = Sheet::white(width, height);
    for (label, class) in classes.iter().enumerate() {
        write(&mut sheet, class, MARGIN_LEFT + label * REPEATS * CELL, 4);
    }
    for (row, collection) in Collection::ALL.into_iter().enumerate() {
        let top = MARGIN_TOP + row * CELL;
        write(&mut sheet, collection.name(), 4, top + CELL / 2 - 6);
        let images = render(collection, Split::Train, classes.len() * REPEATS, 0);
        for index in 0..images.len() {
            let label = images.labels[index] as usize;
            let column = label * REPEATS + index / classes.len();
            paste(
                &mut sheet,
                &images.image(index)?,
                MARGIN_LEFT + column * CELL,
                top,
            );
        }
    }
    sheet.save(&path)?;
    println!("{path}: {width} x {height}");
    Ok(())
}

fn paste(sheet: &mut Sheet, pixels: &[u8], left: usize, top: usize) {
    for y in 0..SIDE * ZOOM {
        for x in 0..SIDE * ZOOM {
            let at = (y / ZOOM * SIDE + x / ZOOM) * 3;
            let colour = [pixels[at], pixels[at + 1], pixels[at + 2]];
            sheet.put(left + x, top + y, colour);
        }
    }
}

/// Writes in letters of 3 × 5 dots, each dot 2 × 2 pixels.
fn write(sheet: &mut Sheet, text: &str, left: usize, top: usize) {
    for (index, letter) in text.chars().enumerate() {
        let rows = glyph(letter);
        for dot in 0..15 {
            if rows >> (14 - dot) & 1 == 1 {
                let (x, y) = (left + (index * 4 + dot % 3) * 2, top + dot / 3 * 2);
                for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                    sheet.put(x + dx, y + dy, [40; 3]);
                }
            }
        }
    }
}

/// Five rows of three dots, from the top left.
fn glyph(letter: char) -> u16 {
    match letter {
        'a' => 0b010_101_111_101_101,
        'b' => 0b110_101_110_101_110,
        'c' => 0b011_100_100_100_011,
        'd' => 0b110_101_101_101_110,
        'e' => 0b111_100_110_100_111,
        'f' => 0b111_100_110_100_100,
        'g' => 0b011_100_101_101_011,
        'h' => 0b101_101_111_101_101,
        'i' => 0b111_010_010_010_111,
        'j' => 0b001_001_001_101_010,
        'k' => 0b101_101_110_101_101,
        'l' => 0b100_100_100_100_111,
        'm' => 0b101_111_111_101_101,
        'n' => 0b110_101_101_101_101,
        'o' => 0b010_101_101_101_010,
        'p' => 0b110_101_110_100_100,
        'r' => 0b110_101_110_101_101,
        's' => 0b011_100_010_001_110,
        't' => 0b111_010_010_010_010,
        'u' => 0b101_101_101_101_111,
        'v' => 0b101_101_101_101_010,
        'w' => 0b101_101_111_111_101,
        'y' => 0b101_101_010_010_010,
        '2' => 0b110_001_010_100_111,
        _ => 0,
    }
}
