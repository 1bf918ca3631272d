//! A forward pass of a model as one operation of Candle's graph.

use std::collections::BTreeMap;
use std::sync::Mutex;

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp2, Layout, MetalStorage, Shape, Storage, Tensor,
};

use crate::models::{BufferUpdates, Config, Pass, Weights};
use crate::ops::{Gradients, Tape, Value};
use crate::{Error, Result};

/// The tensors of a model by name.
type NamedTensors = BTreeMap<String, Tensor>;

/// Logits `[batch, outputs]` of `images` `[batch, 3, size, size]`, and the new values of buffers.
/// The logits are part of Candle's graph if an image or a tensor is.
///
/// # Errors
/// A shape that does not fit; a missing tensor.
pub fn forward(
    config: &Config,
    tensors: &NamedTensors,
    images: &Tensor,
    training: bool,
) -> Result<(Tensor, BufferUpdates)> {
    let trace = Trace::record(config, tensors, images, training)?;
    let trained: Vec<Tensor> = trace
        .leaves
        .keys()
        .map(|name| Ok(tensors[name].flatten_all()?))
        .collect::<Result<_>>()?;
    let output = trace.output.tensor().contiguous()?;
    let updates = trace.updates.clone();
    let joined = match trained.is_empty() {
        false => Tensor::cat(&trained, 0)?,
        true if images.track_op() => Tensor::zeros(1, images.dtype(), images.device())?,
        true => return Ok((output, updates)),
    };
    let bridge = Bridge {
        config: config.clone(),
        tensors: tensors
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.detach()))
            .collect(),
        trained: trace.leaves.keys().cloned().collect(),
        training,
        output,
        trace: Mutex::new(Some(trace)),
    };
    Ok((images.apply_op2(&joined, bridge)?, updates))
}

/// A forward pass on our tape.
struct Trace {
    tape: Tape,
    images: Value,
    /// The tensors that need a gradient.
    leaves: BTreeMap<String, Value>,
    output: Value,
    updates: BufferUpdates,
}

impl Trace {
    fn record(
        config: &Config,
        tensors: &NamedTensors,
        images: &Tensor,
        training: bool,
    ) -> Result<Self> {
        let is_trained = |name: &String| tensors[name].track_op();
        let trained: Vec<String> = tensors
            .keys()
            .filter(|it| is_trained(it))
            .cloned()
            .collect();
        Self::of(config, tensors, &trained, images, training)
    }

    fn of(
        config: &Config,
        tensors: &NamedTensors,
        trained: &[String],
        images: &Tensor,
        training: bool,
    ) -> Result<Self> {
        let tape = Tape::new();
        let value = |tensor: &Tensor, is_leaf: bool| match is_leaf {
            true => tape.leaf(tensor.detach()),
            false => Value::constant(tensor.detach()),
        };
        let images = value(images, images.track_op());
        let mut values = BTreeMap::new();
        for (name, tensor) in tensors {
            let is_leaf = trained.binary_search(name).is_ok();
            values.insert(name.clone(), value(tensor, is_leaf));
        }
        let weights = Values(values);
        let pass = Pass::new(&tape, &weights, training);
        let features = config.features_of(&pass, &images)?;
        let output = config.classify(&pass, &features)?;
        let updates = pass.into_updates();
        let mut leaves = weights.0;
        leaves.retain(|_, value| value.is_tracked());
        Ok(Self {
            tape,
            images,
            leaves,
            output,
            updates,
        })
    }

    /// The gradients of the images and of all leaves, joined in the order of their names.
    fn backward(self, seed: &Tensor) -> Result<(Option<Tensor>, Tensor)> {
        let mut found = self.tape.backward_from(&self.output, seed.contiguous()?)?;
        let images = self.images.is_tracked();
        let images = images.then(|| gradient(&mut found, &self.images));
        let mut parts = Vec::with_capacity(self.leaves.len());
        for leaf in self.leaves.values() {
            parts.push(gradient(&mut found, leaf)?.flatten_all()?);
        }
        let joined = match parts.is_empty() {
            true => Tensor::zeros(1, seed.dtype(), seed.device())?,
            false => Tensor::cat(&parts, 0)?,
        };
        Ok((images.transpose()?, joined))
    }
}

/// The gradient of `leaf`: zeros if the output does not depend on it.
fn gradient(found: &mut Gradients, leaf: &Value) -> Result<Tensor> {
    match found.take(leaf) {
        Some(gradient) => Ok(gradient.to_dtype(leaf.tensor().dtype())?),
        None => Ok(leaf.tensor().zeros_like()?),
    }
}

struct Values(BTreeMap<String, Value>);

impl Weights for Values {
    fn weight(&self, _tape: &Tape, name: &str) -> Result<Value> {
        let value = self.0.get(name).cloned();
        value.ok_or_else(|| Error::Invalid(format!("the model's tensor `{name}` is missing")))
    }
}

/// The operation: its first argument is the images, its second the joined parameters.
struct Bridge {
    config: Config,
    tensors: NamedTensors,
    /// In the order in which they are joined.
    trained: Vec<String>,
    training: bool,
    output: Tensor,
    /// Consumed by the first backward pass; another one records it again.
    trace: Mutex<Option<Trace>>,
}

impl Bridge {
    fn trace(&self, images: &Tensor) -> Result<Trace> {
        let kept = self
            .trace
            .lock()
            .unwrap_or_else(|it| it.into_inner())
            .take();
        match kept {
            Some(trace) => Ok(trace),
            None => Trace::of(
                &self.config,
                &self.tensors,
                &self.trained,
                images,
                self.training,
            ),
        }
    }

    fn shape(&self) -> Shape {
        self.output.shape().clone()
    }
}

impl CustomOp2 for Bridge {
    fn name(&self) -> &'static str {
        "ribflow-model"
    }

    fn cpu_fwd(
        &self,
        _images: &CpuStorage,
        _images_layout: &Layout,
        _joined: &CpuStorage,
        _joined_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (storage, layout) = self.output.storage_and_layout();
        match &*storage {
            Storage::Cpu(storage) => Ok((storage.try_clone(layout)?, self.shape())),
            _ => candle_core::bail!("the logits are not on the CPU"),
        }
    }

    fn cuda_fwd(
        &self,
        _images: &CudaStorage,
        _images_layout: &Layout,
        _joined: &CudaStorage,
        _joined_layout: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        let (storage, layout) = self.output.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, self.shape())),
            _ => candle_core::bail!("the logits are not on the GPU"),
        }
    }

    fn metal_fwd(
        &self,
        _images: &MetalStorage,
        _images_layout: &Layout,
        _joined: &MetalStorage,
        _joined_layout: &Layout,
    ) -> candle_core::Result<(MetalStorage, Shape)> {
        let (storage, layout) = self.output.storage_and_layout();
        match &*storage {
            Storage::Metal(storage) => Ok((storage.try_clone(layout)?, self.shape())),
            _ => candle_core::bail!("the logits are not on the GPU"),
        }
    }

    fn bwd(
        &self,
        images: &Tensor,
        _joined: &Tensor,
        _output: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let trace = self.trace(images).map_err(candle_core::Error::wrap)?;
        let (images, joined) = trace.backward(gradient).map_err(candle_core::Error::wrap)?;
        Ok((images, Some(joined)))
    }
}
