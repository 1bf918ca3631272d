//! Updates on a GPU: one launch for all parameters.

use candle_core::{DType, Tensor};

use super::{AdamStep, SgdStep};
use crate::Result;
use crate::ops::launch::{Grid, Kernel, Table};

/// Values that one block updates.
const PIECE: usize = 1 << 14;

/// A parameter with its gradient and state, all f32 and contiguous.
pub struct ParameterUpdate {
    pub parameter: Tensor,
    pub gradient: Tensor,
    /// The velocity, or both running means one after the other.
    pub memory: Tensor,
    pub decay: f64,
}

impl ParameterUpdate {
    pub fn new(parameter: &Tensor, gradient: &Tensor, memory: Tensor, decay: f64) -> Result<Self> {
        Ok(Self {
            parameter: parameter.clone(),
            gradient: gradient.to_dtype(DType::F32)?.contiguous()?,
            memory,
            decay,
        })
    }
}

/// One step of SGD for all parameters; the decay of `step` is replaced by that of each parameter.
pub fn sgd(all: &[ParameterUpdate], step: SgdStep) -> Result<()> {
    update("sgd", all, &[step.rate, step.momentum])
}

/// One step of AdamW for all parameters, likewise.
pub fn adamw(all: &[ParameterUpdate], step: AdamStep) -> Result<()> {
    let numbers = [
        step.rate,
        step.beta1,
        step.beta2,
        1.0 - step.beta1,
        1.0 - step.beta2,
        step.rate / step.correction1,
        1.0 / libm::sqrt(step.correction2),
        step.eps,
    ];
    update("adamw", all, &numbers)
}

fn update(name: &str, all: &[ParameterUpdate], numbers: &[f64]) -> Result<()> {
    let Some(first) = all.first() else {
        return Ok(());
    };
    let (mut parameters, mut pieces) = (Vec::new(), Vec::new());
    for (index, moved) in all.iter().enumerate() {
        let count = moved.parameter.elem_count();
        for tensor in [&moved.parameter, &moved.gradient, &moved.memory] {
            parameters.extend(Table::address(tensor)?.to_le_bytes());
        }
        parameters.extend((count as u64).to_le_bytes());
        parameters.extend((moved.decay as f32).to_le_bytes());
        parameters.extend([0; 4]);
        for piece in 0..count.div_ceil(PIECE) {
            pieces.extend((index as u32).to_le_bytes());
            pieces.extend((piece as u32).to_le_bytes());
        }
    }
    let device = first.parameter.device();
    let count = pieces.len() / 8;
    let (parameters, pieces) = (
        Table::new(&parameters, device)?,
        Table::new(&pieces, device)?,
    );
    let kernel = Kernel::new(name)
        .tensor(parameters.tensor())
        .tensor(pieces.tensor())
        .size(PIECE);
    numbers
        .iter()
        .fold(kernel, |kernel, number| kernel.number(*number))
        .launch(Grid::of_pieces(count))
}
