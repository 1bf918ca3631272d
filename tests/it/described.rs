//! Tensors as the fixtures describe them in words: `rule m.student (4,200) scale 5`,
//! `m.lora.x (3,D) offset 0 scale 1`, `rule "tiny.x.{step}" (B,3,32,32) offset 0 scale 1`,
//! `input.shared.resnet18 offset 0 scale 2, batch 1`.

use candle_core::{Device, Tensor};

use crate::rule;

/// A tensor of the rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    pub name: String,
    /// Empty where the text states no shape.
    pub shape: Vec<usize>,
    pub offset: f64,
    pub scale: f64,
    pub batch: usize,
}

impl Described {
    /// Reads `text`; `letters` are the sizes that the shape names by letters.
    pub fn read(text: &str, letters: &[(&str, usize)]) -> Self {
        let (name, rest) = named(text);
        let shape = match rest.trim_start().strip_prefix('(') {
            Some(shape) => sizes(shape.split_once(')').unwrap().0, letters),
            None => Vec::new(),
        };
        Self {
            name,
            shape,
            offset: after(rest, "offset").unwrap_or(0.0),
            scale: after(rest, "scale").unwrap_or(1.0),
            batch: after(rest, "batch").map_or(1, |count| count as usize),
        }
    }

    /// The same tensor with `{step}` of its name replaced.
    pub fn at(&self, step: impl std::fmt::Display) -> Self {
        let name = self.name.replace("{step}", &step.to_string());
        Self {
            name,
            ..self.clone()
        }
    }

    pub fn values(&self) -> Vec<f32> {
        let count = self.shape.iter().product();
        rule::values(&self.name, count, self.offset, self.scale)
    }

    pub fn tensor(&self) -> Tensor {
        Tensor::from_vec(self.values(), self.shape.as_slice(), &Device::Cpu).unwrap()
    }
}

/// The name of a tensor, after `rule` or `rule.labels` and in quotes or not, and the rest.
pub fn named(text: &str) -> (String, &str) {
    let text = text.trim_start();
    let text = ["rule.labels ", "rule "]
        .iter()
        .find_map(|start| text.strip_prefix(start))
        .unwrap_or(text)
        .trim_start();
    match text.strip_prefix('"') {
        Some(quoted) => {
            let (name, rest) = quoted.split_once('"').unwrap();
            (name.to_string(), rest)
        }
        None => {
            let end = text.find([' ', ',', ';', '(']).unwrap_or(text.len());
            (text[..end].to_string(), &text[end..])
        }
    }
}

/// The number that follows the word `word`.
pub fn after(text: &str, word: &str) -> Option<f64> {
    let separators = [' ', ',', ';', '=', '(', ')'];
    let mut words = text.split(separators).filter(|it| !it.is_empty());
    words.find(|it| *it == word)?;
    words.next()?.parse().ok()
}

fn sizes(text: &str, letters: &[(&str, usize)]) -> Vec<usize> {
    let size = |part: &str| {
        let by_letter = letters.iter().find(|(letter, _)| *letter == part);
        match by_letter {
            Some((_, size)) => *size,
            None => part
                .parse()
                .unwrap_or_else(|_| panic!("({text}) has an unknown size `{part}`")),
        }
    };
    let parts = text.split(',').map(str::trim);
    parts.filter(|part| !part.is_empty()).map(size).collect()
}

#[test]
fn descriptions_of_tensors_are_read() {
    let read = |text: &str| {
        let found = Described::read(text, &[("B", 6), ("D", 24)]);
        let numbers = (found.offset, found.scale, found.batch);
        (found.name, found.shape, numbers)
    };
    let expected = |name: &str, shape: &[usize], numbers: (f64, f64, usize)| {
        (name.to_string(), shape.to_vec(), numbers)
    };
    assert_eq!(
        read("rule m.teacher_full (4,1000) scale 5, then class mask"),
        expected("m.teacher_full", &[4, 1000], (0.0, 5.0, 1))
    );
    assert_eq!(
        read("m.lora.x (3,D) offset 0.5 scale 1"),
        expected("m.lora.x", &[3, 24], (0.5, 1.0, 1))
    );
    assert_eq!(
        read("rule \"tiny.x.{step}\" (B,3,32,32) offset 0 scale 1"),
        expected("tiny.x.{step}", &[6, 3, 32, 32], (0.0, 1.0, 1))
    );
    assert_eq!(
        read("input.shared.vit.augreg offset 0 scale 2, batch 3"),
        expected("input.shared.vit.augreg", &[], (0.0, 2.0, 3))
    );
    assert_eq!(named("rule.labels \"tiny.y.{step}\"").0, "tiny.y.{step}");
    assert_eq!(after("norm eps 1e-6, exact GELU", "eps"), Some(1e-6));
    assert_eq!(after("entreg=0.1, p=2", "entreg"), Some(0.1));
}
