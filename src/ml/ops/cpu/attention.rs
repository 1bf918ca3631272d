//! Attention on packed queries, keys and values: image by image, with products that read and write
//! the packed rows directly.

use pulp::{Simd, WithSimd};

use super::gemm::{Matrix, Write, multiply};
use super::lanes::{dispatch, sum_of};
use super::math::softmax;
use crate::ops::parallel;

/// The sizes of an attention.
#[derive(Clone, Copy)]
pub struct AttentionShape {
    pub batch: usize,
    pub tokens: usize,
    pub queries: usize,
    pub heads: usize,
    /// Dimensions of a head.
    pub size: usize,
}

impl AttentionShape {
    fn width(&self) -> usize {
        self.heads * self.size
    }

    /// The number of values in an image's packed rows.
    fn packed(&self) -> usize {
        self.tokens * 3 * self.width()
    }

    /// The number of attention weights of an image and a head.
    fn shares(&self) -> usize {
        self.queries * self.tokens
    }

    fn scale(&self) -> f32 {
        1.0 / (self.size as f32).sqrt()
    }

    /// Query (0), key (1) or value (2) rows of a head in an image's packed rows.
    fn part<'a>(&self, qkv: &'a [f32], part: usize, head: usize) -> Matrix<'a> {
        let rows = if part == 0 { self.queries } else { self.tokens };
        let from = part * self.width() + head * self.size;
        Matrix::strided(&qkv[from..], rows, self.size, 3 * self.width())
    }
}

/// The output `[batch, queries, width]`, and the attention weights `[batch, heads, queries,
/// tokens]` if `keep`.
pub fn forward(shape: AttentionShape, qkv: &[f32], keep: bool) -> (Vec<f32>, Vec<f32>) {
    let (width, shares) = (shape.width(), shape.shares());
    let mut output = vec![0.0; shape.batch * shape.queries * width];
    let work = |image: usize, target: &mut [f32], kept: &mut [f32]| {
        let qkv = &qkv[image * shape.packed()..][..shape.packed()];
        for (head, share) in kept.chunks_exact_mut(shares).enumerate() {
            head_forward(shape, qkv, head, target, share);
        }
    };
    let size = shape.queries * width;
    if keep {
        let mut kept = vec![0.0; shape.batch * shape.heads * shares];
        let kept_size = shape.heads * shares;
        parallel::each_pair(&mut output, size, &mut kept, kept_size, work);
        return (output, kept);
    }
    parallel::each_piece(&mut output, size, |image, target| {
        let mut scratch = vec![0.0; shape.heads * shares];
        work(image, target, &mut scratch);
    });
    (output, Vec::new())
}

fn head_forward(
    shape: AttentionShape,
    qkv: &[f32],
    head: usize,
    target: &mut [f32],
    share: &mut [f32],
) {
    let (q, k) = (shape.part(qkv, 0, head), shape.part(qkv, 1, head));
    multiply(share, shape.tokens, q, k.t(), Write::Replace);
    dispatch(Shares {
        shape,
        scores: share,
    });
    let shares = Matrix::new(share, shape.queries, shape.tokens);
    let target = &mut target[head * shape.size..];
    multiply(
        target,
        shape.width(),
        shares,
        shape.part(qkv, 2, head),
        Write::Replace,
    );
}

/// The gradient of the packed rows.
pub fn backward(shape: AttentionShape, gradient: &[f32], qkv: &[f32], kept: &[f32]) -> Vec<f32> {
    let (width, shares) = (shape.width(), shape.shares());
    let mut target = vec![0.0; qkv.len()];
    parallel::each_piece(&mut target, shape.packed(), |image, target| {
        let qkv = &qkv[image * shape.packed()..][..shape.packed()];
        let gradient = &gradient[image * shape.queries * width..][..shape.queries * width];
        let mut scratch = vec![0.0; shares];
        for head in 0..shape.heads {
            let share = &kept[(image * shape.heads + head) * shares..][..shares];
            head_backward(shape, qkv, gradient, head, share, &mut scratch, target);
        }
    });
    target
}

fn head_backward(
    shape: AttentionShape,
    qkv: &[f32],
    gradient: &[f32],
    head: usize,
    share: &[f32],
    scores: &mut [f32],
    target: &mut [f32],
) {
    let AttentionShape {
        tokens, queries, ..
    } = shape;
    let width = shape.width();
    let from = |part: usize| part * width + head * shape.size;
    let gradient = Matrix::strided(&gradient[head * shape.size..], queries, shape.size, width);
    let shares = Matrix::new(share, queries, tokens);
    let [q, k, v] = [0, 1, 2].map(|part| shape.part(qkv, part, head));
    multiply(
        &mut target[from(2)..],
        3 * width,
        shares.t(),
        gradient,
        Write::Replace,
    );
    multiply(scores, tokens, gradient, v.t(), Write::Replace);
    dispatch(ToScores {
        shape,
        gradient: scores,
        share,
    });
    let scores = Matrix::new(scores, queries, tokens);
    multiply(&mut target[from(0)..], 3 * width, scores, k, Write::Replace);
    multiply(
        &mut target[from(1)..],
        3 * width,
        scores.t(),
        q,
        Write::Replace,
    );
}

/// Converts the scores of a head to attention weights.
struct Shares<'a> {
    shape: AttentionShape,
    scores: &'a mut [f32],
}

impl WithSimd for Shares<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for row in self.scores.chunks_exact_mut(self.shape.tokens) {
            softmax(simd, row, self.shape.scale());
        }
    }
}

/// Converts the gradient of a head's attention weights to that of the unscaled scores.
struct ToScores<'a> {
    shape: AttentionShape,
    gradient: &'a mut [f32],
    share: &'a [f32],
}

impl WithSimd for ToScores<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (tokens, scale) = (self.shape.tokens, self.shape.scale());
        let rows = self.gradient.chunks_exact_mut(tokens);
        for (row, share) in rows.zip(self.share.chunks_exact(tokens)) {
            let mean = sum_of(
                simd,
                [&*row, share],
                #[inline(always)]
                |[value, share]| simd.mul_f32s(value, share),
            );
            for (value, share) in row.iter_mut().zip(share) {
                *value = (*value - mean) * share * scale;
            }
        }
    }
}
