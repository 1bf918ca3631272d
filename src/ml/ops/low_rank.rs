//! A frozen weight with a low-rank change.

use candle_core::Tensor;

use super::tape::want;
use super::{Tape, Value};
use crate::{Error, Result};

impl Tape {
    /// The joint weight `[3·width, inputs]` of queries, keys and values with a low-rank change of
    /// queries and values (Hu et al. 2022): `scale`·B₀A₀ is added to the first third of the rows
    /// and `scale`·B₁A₁ to the last, where `a` `[2·rank, inputs]` holds A₀ over A₁ and `b`
    /// `[2·width, rank]` B₀ over B₁.
    pub fn low_rank(&self, weight: &Tensor, a: &Value, b: &Value, scale: f64) -> Result<Value> {
        let halves = LowRankFactors::new(weight, a.tensor(), b.tensor(), scale)?;
        let output = halves.changed(weight)?;
        Ok(self.record(output, &[a, b], move |gradient, wanted| {
            Ok(vec![
                want(wanted[0], || halves.to_a(gradient))?,
                want(wanted[1], || halves.to_b(gradient))?,
            ])
        }))
    }
}

struct LowRankFactors {
    a: [Tensor; 2],
    b: [Tensor; 2],
    width: usize,
    scale: f64,
}

impl LowRankFactors {
    fn new(weight: &Tensor, a: &Tensor, b: &Tensor, scale: f64) -> Result<Self> {
        let ((rows, inputs), (ranks, a_inputs), (b_rows, rank)) =
            (weight.dims2()?, a.dims2()?, b.dims2()?);
        let width = rows / 3;
        let fits = rows == 3 * width && b_rows == 2 * width && ranks == 2 * rank;
        if !fits || inputs != a_inputs {
            return Err(Error::Invalid(format!(
                "a change {:?}·{:?} does not fit a weight {:?}",
                b.dims(),
                a.dims(),
                weight.dims()
            )));
        }
        Ok(Self {
            a: [a.narrow(0, 0, rank)?, a.narrow(0, rank, rank)?],
            b: [b.narrow(0, 0, width)?, b.narrow(0, width, width)?],
            width,
            scale,
        })
    }

    fn changed(&self, weight: &Tensor) -> Result<Tensor> {
        let change = |half: usize| -> Result<Tensor> {
            let product = self.b[half]
                .contiguous()?
                .matmul(&self.a[half].contiguous()?)?;
            Ok((product * self.scale)?)
        };
        let third = |index: usize| weight.narrow(0, index * self.width, self.width);
        let queries = (third(0)? + change(0)?)?;
        let values = (third(2)? + change(1)?)?;
        Ok(Tensor::cat(&[&queries, &third(1)?, &values], 0)?)
    }

    /// The part of the weight's gradient that flows to a half, times the scale.
    fn reaching(&self, gradient: &Tensor, half: usize) -> Result<Tensor> {
        let rows = gradient.narrow(0, 2 * half * self.width, self.width)?;
        Ok((rows * self.scale)?)
    }

    fn to_a(&self, gradient: &Tensor) -> Result<Tensor> {
        let half = |index: usize| -> Result<Tensor> {
            let gradient = self.reaching(gradient, index)?;
            Ok(self.b[index].t()?.contiguous()?.matmul(&gradient)?)
        };
        Ok(Tensor::cat(&[half(0)?, half(1)?], 0)?)
    }

    fn to_b(&self, gradient: &Tensor) -> Result<Tensor> {
        let half = |index: usize| -> Result<Tensor> {
            let gradient = self.reaching(gradient, index)?;
            Ok(gradient.matmul(&self.a[index].t()?.contiguous()?)?)
        };
        Ok(Tensor::cat(&[half(0)?, half(1)?], 0)?)
    }
}
