//! Evaluates a classifier on a dataset.

use super::classes::class_columns;
use super::infer::each_logits;
use crate::data::pixels::Rows;
use crate::data::{ImagePart, ImageSet};
use crate::models::Classifier;
use crate::{Error, Observer, Result};

/// The result of evaluating a classifier.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// In the order of the set's parts.
    pub parts: Vec<Score>,
    /// Images by true (rows) and predicted (columns) class of the dataset, `[classes, classes]`.
    pub confusion: Vec<u64>,
    /// Names of the dataset's classes.
    pub classes: Vec<String>,
    /// The number of images of each class. If all of a model's classes compete, this can exceed the
    /// sum of a row of `confusion`, which excludes predictions outside the dataset's classes.
    pub images: Vec<u64>,
    /// One for each image in order, if asked for; otherwise empty.
    pub predictions: Vec<Prediction>,
}

/// The prediction for one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Whether the class with the largest logit is the image's.
    pub is_right: bool,
    /// Up to five competing columns of the model with their probabilities (softmax over the
    /// competing columns), the largest first; the first one if several are equal.
    pub best: Vec<(u32, f64)>,
}

/// What [`evaluate_with`] counts.
#[derive(Clone, Copy, Debug)]
pub struct EvaluateOptions {
    /// Only the dataset's classes compete; otherwise all of the model's.
    pub masked: bool,
    /// Keep the prediction for each image.
    pub predictions: bool,
}

/// The score on one part of a dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    pub name: String,
    pub images: u64,
    /// Images whose class had the largest logit (the first one if several are equal).
    pub top1: u64,
    /// Images whose class was among the five largest.
    pub top5: u64,
    /// Sum of the cross-entropies, in nats.
    pub loss: f64,
}

/// Evaluates `model` on `set`. Its classes are matched with the model's by name. With `masked`,
/// only the dataset's classes compete; otherwise all of the model's.
pub fn evaluate(
    model: &dyn Classifier,
    set: &ImageSet,
    masked: bool,
    threads: usize,
    observer: &dyn Observer,
) -> Result<Evaluation> {
    let options = EvaluateOptions {
        masked,
        predictions: false,
    };
    evaluate_with(model, set, options, threads, observer)
}

/// As [`evaluate`], with options.
pub fn evaluate_with(
    model: &dyn Classifier,
    set: &ImageSet,
    options: EvaluateOptions,
    threads: usize,
    observer: &dyn Observer,
) -> Result<Evaluation> {
    let mut count = Count::new(model, set, options)?;
    let width = count.width;
    let take = |first: usize, rows: &[f32]| {
        let rows = rows.chunks_exact(width).enumerate();
        rows.into_iter()
            .try_for_each(|(row, logits)| count.take(first + row, logits))
    };
    each_logits(model, set, threads, observer, take)?;
    Ok(count.finish())
}

/// As [`evaluate_with`], with known logits of all images: f32 `[images, outputs]`.
pub fn evaluate_known(
    model: &dyn Classifier,
    set: &ImageSet,
    options: EvaluateOptions,
    logits: &Rows,
) -> Result<Evaluation> {
    let mut count = Count::new(model, set, options)?;
    let mut row = Vec::with_capacity(count.width);
    for image in 0..set.len() {
        row.clear();
        row.extend(logits.floats(image)?);
        count.take(image, &row)?;
    }
    Ok(count.finish())
}

/// Counts correct predictions, image by image.
struct Count<'a> {
    set: &'a ImageSet<'a>,
    width: usize,
    /// The columns of each of the set's classes.
    columns: Vec<Vec<u32>>,
    /// In the model's order, so that ties are resolved equally with and without a mask.
    competing: Vec<u32>,
    class_of_column: Vec<Option<usize>>,
    keeps_predictions: bool,
    evaluation: Evaluation,
}

impl<'a> Count<'a> {
    fn new(model: &dyn Classifier, set: &'a ImageSet, options: EvaluateOptions) -> Result<Self> {
        let columns = class_columns(model.classes(), &set.classes)?;
        let width = model.outputs();
        let mut competing: Vec<u32> = match options.masked {
            true => columns.concat(),
            false => (0..width as u32).collect(),
        };
        competing.sort_unstable();
        competing.dedup();
        let mut class_of_column = vec![None; width];
        for (class, columns) in columns.iter().enumerate() {
            for column in columns {
                class_of_column[*column as usize] = Some(class);
            }
        }
        let score = |part: &ImagePart| Score {
            name: part.name.clone(),
            images: part.range.len() as u64,
            top1: 0,
            top5: 0,
            loss: 0.0,
        };
        let count = set.classes.len();
        Ok(Self {
            set,
            width,
            columns,
            competing,
            class_of_column,
            keeps_predictions: options.predictions,
            evaluation: Evaluation {
                parts: set.parts.iter().map(score).collect(),
                confusion: vec![0; count * count],
                classes: set.classes.clone(),
                images: vec![0; count],
                predictions: Vec::new(),
            },
        })
    }

    /// Counts the next image; the parts cover all images in order.
    fn take(&mut self, image: usize, logits: &[f32]) -> Result<()> {
        if logits.iter().any(|logit| !logit.is_finite()) {
            let message = "the model gives logits that are not finite";
            return Err(Error::Numerical(message.to_string()));
        }
        let (set, evaluation) = (self.set, &mut self.evaluation);
        let label = set.labels[image] as usize;
        evaluation.images[label] += 1;
        let verdict = judge(logits, &self.competing, &self.columns[label]);
        let part = set.parts.partition_point(|part| part.range.end <= image);
        if let Some(score) = evaluation.parts.get_mut(part) {
            score.top1 += u64::from(verdict.rank < 1);
            score.top5 += u64::from(verdict.rank < 5);
            score.loss += verdict.loss;
        }
        if self.keeps_predictions {
            evaluation.predictions.push(Prediction {
                is_right: verdict.rank < 1,
                best: best(logits, &self.competing),
            });
        }
        if let Some(predicted) = self.class_of_column[verdict.best as usize] {
            evaluation.confusion[label * set.classes.len() + predicted] += 1;
        }
        Ok(())
    }

    fn finish(self) -> Evaluation {
        self.evaluation
    }
}

/// The number of classes of a prediction.
const BEST: usize = 5;

/// See [`Prediction::best`].
fn best(logits: &[f32], competing: &[u32]) -> Vec<(u32, f64)> {
    let logit = |column: &u32| f64::from(logits[*column as usize]);
    let mut columns = competing.to_vec();
    columns.sort_by(|a, b| logit(b).total_cmp(&logit(a)).then(a.cmp(b)));
    let largest = columns.first().map_or(0.0, logit);
    let sum: f64 = competing
        .iter()
        .map(|column| libm::exp(logit(column) - largest))
        .sum();
    let columns = columns.into_iter().take(BEST);
    columns
        .map(|column| (column, libm::exp(logit(&column) - largest) / sum))
        .collect()
}

struct Verdict {
    /// The column with the largest logit.
    best: u32,
    /// The number of columns ranked before the first correct one.
    rank: usize,
    loss: f64,
}

fn judge(logits: &[f32], competing: &[u32], right: &[u32]) -> Verdict {
    let mut own = f32::NEG_INFINITY;
    let mut best = 0;
    for column in right {
        if logits[*column as usize] > own {
            (own, best) = (logits[*column as usize], *column);
        }
    }
    let first = best;
    let mut rank = 0;
    let mut largest = f64::NEG_INFINITY;
    for column in competing {
        let logit = logits[*column as usize];
        if f64::from(logit) > largest {
            largest = f64::from(logit);
            best = *column;
        }
        let before = logit > own || (logit == own && *column < first);
        rank += usize::from(before && !right.contains(column));
    }
    let sum = |columns: &[u32]| -> f64 {
        let term = |column: &u32| libm::exp(f64::from(logits[*column as usize]) - largest);
        columns.iter().map(term).sum()
    };
    let loss = match right {
        [_] => libm::log(sum(competing)) + largest - f64::from(own),
        several => libm::log(sum(competing)) - libm::log(sum(several)),
    };
    Verdict { best, rank, loss }
}
