//! Launches kernels. The only place that passes raw addresses to the device.
//!
//! The kernels are machine code for one GPU architecture, compiled by `build.rs`; they are loaded
//! once per process. All work goes to the stream of Candle's device, in order, and memory is freed
//! in the same order, so a tensor that is dropped after a launch outlives the kernel.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaModule, CudaStream, DevicePtr, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::cuda_backend::{CudaDevice, CudaStorageSlice};
use candle_core::{DType, Device, DeviceLocation, Shape, Storage, Tensor};

use crate::{Error, Result};

/// Indexed like the file names.
const MODULES: [&[u8]; 9] = [
    include_bytes!(concat!(env!("OUT_DIR"), "/batch_norm.cubin")),
    include_bytes!(concat!(env!("OUT_DIR"), "/columns.cubin")),
    include_bytes!(concat!(env!("OUT_DIR"), "/cross_entropy.cubin")),
    include_bytes!(concat!(env!("OUT_DIR"), "/layer_norm.cubin")),
    include_bytes!(concat!(env!("OUT_DIR"), "/linear.cubin")),
    include_bytes!(concat!(env!("OUT_DIR"), "/optimiser.cubin")),
    include_bytes!(concat!(env!("OUT_DIR"), "/pixels.cubin")),
    include_bytes!(concat!(env!("OUT_DIR"), "/softmax.cubin")),
    include_bytes!(concat!(env!("OUT_DIR"), "/windows.cubin")),
];

/// Threads per block.
const BLOCK: usize = 256;
const WARP: usize = 32;

/// The number of blocks in two dimensions.
#[derive(Clone, Copy)]
pub struct Grid(usize, usize);

impl Grid {
    /// One thread for each of `count` values.
    pub fn over(count: usize) -> Self {
        Self(count.div_ceil(BLOCK), 1)
    }

    /// One warp per row.
    pub fn of_rows(rows: usize) -> Self {
        Self(rows.div_ceil(BLOCK / WARP), 1)
    }

    /// One block for 32 columns of each chunk of rows.
    pub fn of_columns(columns: usize, chunks: usize) -> Self {
        Self(columns.div_ceil(WARP), chunks)
    }

    /// One block for each channel of each chunk of images.
    pub fn of_channels(channels: usize, chunks: usize) -> Self {
        Self(channels, chunks)
    }

    /// One block for each of `count` pieces.
    pub fn of_pieces(count: usize) -> Self {
        Self(count, 1)
    }
}

/// A kernel and its arguments, in order.
pub struct Kernel<'a> {
    name: String,
    given: Vec<Argument<'a>>,
}

#[derive(Clone, Copy)]
enum Argument<'a> {
    /// The address of a contiguous tensor's first value.
    Tensor(&'a Tensor),
    /// u64
    Count(usize),
    /// int
    Size(usize),
    Integer(i32),
    /// float
    Number(f64),
}

enum RawArgument {
    Wide(u64),
    Integer(i32),
    Number(f32),
}

impl<'a> Kernel<'a> {
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            given: Vec::new(),
        }
    }

    fn and(mut self, argument: Argument<'a>) -> Self {
        self.given.push(argument);
        self
    }

    /// A pointer to the values of a contiguous tensor.
    pub fn tensor(self, tensor: &'a Tensor) -> Self {
        self.and(Argument::Tensor(tensor))
    }

    /// A u64.
    pub fn count(self, count: usize) -> Self {
        self.and(Argument::Count(count))
    }

    /// An int, checked as a size.
    pub fn size(self, size: usize) -> Self {
        self.and(Argument::Size(size))
    }

    /// An int.
    pub fn integer(self, value: i32) -> Self {
        self.and(Argument::Integer(value))
    }

    /// A float.
    pub fn number(self, value: f64) -> Self {
        self.and(Argument::Number(value))
    }

    /// Runs it on the device of its first tensor.
    ///
    /// # Errors
    /// The kernel does not exist, a size does not fit, a tensor is not contiguous or is on another
    /// device, or the device reports an error.
    pub fn launch(self, Grid(across, down): Grid) -> Result<()> {
        let name = self.name.as_str();
        let first = self.given.iter().find_map(|argument| match argument {
            Argument::Tensor(tensor) => Some(tensor.device()),
            _ => None,
        });
        let device = cuda(first)?;
        if across == 0 || down == 0 {
            return Ok(());
        }
        let stream = device.cuda_stream();
        let raw = |argument: &Argument| raw(name, argument, &stream);
        let given = self
            .given
            .iter()
            .map(raw)
            .collect::<Result<Vec<RawArgument>>>()?;
        let function = function(device, &stream, name)?;
        let mut builder = stream.launch_builder(&function);
        for argument in &given {
            match argument {
                RawArgument::Wide(value) => builder.arg(value),
                RawArgument::Integer(value) => builder.arg(value),
                RawArgument::Number(value) => builder.arg(value),
            };
        }
        let blocks = |count: usize| u32::try_from(count).map_err(|_| too_large(name));
        let config = LaunchConfig {
            grid_dim: (blocks(across)?, blocks(down)?, 1),
            block_dim: (BLOCK as u32, 1, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: the arguments are those of the kernel, in its order; it stays within the given
        // sizes, which are the tensors'.
        unsafe { builder.launch(config) }.map_err(|error| failed(name, &error))?;
        Ok(())
    }
}

fn too_large(name: &str) -> Error {
    Error::Invalid(format!("`{name}` can't be run on this many values"))
}

fn failed(name: &str, error: &dyn std::fmt::Display) -> Error {
    Error::Invalid(format!("kernel `{name}`: {error}"))
}

fn cuda(device: Option<&Device>) -> Result<&CudaDevice> {
    match device {
        Some(Device::Cuda(device)) => Ok(device),
        _ => Err(Error::Invalid(
            "a kernel of the GPU met another device".to_string(),
        )),
    }
}

fn raw(name: &str, argument: &Argument, stream: &CudaStream) -> Result<RawArgument> {
    Ok(match *argument {
        Argument::Tensor(tensor) => RawArgument::Wide(address(tensor, stream)?),
        Argument::Count(count) => RawArgument::Wide(count as u64),
        Argument::Size(size) => {
            RawArgument::Integer(i32::try_from(size).map_err(|_| too_large(name))?)
        }
        Argument::Integer(value) => RawArgument::Integer(value),
        Argument::Number(value) => RawArgument::Number(value as f32),
    })
}

/// The address of the first value of a contiguous tensor.
fn address(tensor: &Tensor, stream: &CudaStream) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cuda(storage), Some((start, _))) = (&*storage, layout.contiguous_offsets())
    else {
        let message = "a kernel of the GPU needs contiguous tensors on that GPU";
        return Err(Error::Invalid(message.to_string()));
    };
    let first = match &storage.slice {
        CudaStorageSlice::U8(slice) => slice.device_ptr(stream).0,
        CudaStorageSlice::U32(slice) => slice.device_ptr(stream).0,
        CudaStorageSlice::BF16(slice) => slice.device_ptr(stream).0,
        CudaStorageSlice::F32(slice) => slice.device_ptr(stream).0,
        _ => return Err(Error::Invalid("no kernel takes such numbers".to_string())),
    };
    Ok(first + (start * tensor.dtype().size_in_bytes()) as u64)
}

/// An uninitialised tensor that a kernel is about to write completely.
pub fn blank(shape: impl Into<Shape>, dtype: DType, device: &Device) -> Result<Tensor> {
    // SAFETY: every caller has a kernel write all of it before anything reads it.
    Ok(unsafe { Tensor::empty(shape, dtype, device)? })
}

/// A table of structures that a kernel reads.
pub struct Table(Tensor);

impl Table {
    /// `bytes`, a multiple of four, in the memory of `device`.
    pub fn new(bytes: &[u8], device: &Device) -> Result<Self> {
        let (words, _) = bytes.as_chunks::<4>();
        let words: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
        let count = words.len();
        Ok(Self(Tensor::from_vec(words, count, device)?))
    }

    /// The tensor to pass to a kernel.
    pub fn tensor(&self) -> &Tensor {
        &self.0
    }

    /// The address of a tensor, for use in a table.
    pub fn address(tensor: &Tensor) -> Result<u64> {
        let stream = cuda(Some(tensor.device()))?.cuda_stream();
        address(tensor, &stream)
    }
}

/// The modules of a device.
type LoadedModules = Arc<Vec<Arc<CudaModule>>>;

fn function(device: &CudaDevice, stream: &CudaStream, name: &str) -> Result<CudaFunction> {
    static LOADED: OnceLock<Mutex<HashMap<usize, LoadedModules>>> = OnceLock::new();
    let place = match candle_core::backend::BackendDevice::location(device) {
        DeviceLocation::Cuda { gpu_id } => gpu_id,
        _ => 0,
    };
    let loaded = {
        let loaded = LOADED.get_or_init(Mutex::default);
        let mut loaded = loaded.lock().unwrap_or_else(|held| held.into_inner());
        match loaded.get(&place) {
            Some(modules) => Arc::clone(modules),
            None => {
                let load = |bytes: &&[u8]| {
                    stream
                        .context()
                        .load_module(Ptx::from_binary(bytes.to_vec()))
                };
                let modules = MODULES
                    .iter()
                    .map(load)
                    .collect::<std::result::Result<Vec<_>, _>>();
                let modules = Arc::new(modules.map_err(|error| {
                    Error::Invalid(format!(
                        "this build's kernels are for another kind of GPU ({error}); \
                         CUDA_COMPUTE_CAP names one when ribflow is built"
                    ))
                })?);
                loaded.insert(place, Arc::clone(&modules));
                modules
            }
        }
    };
    let found = loaded
        .iter()
        .find_map(|module| module.load_function(name).ok());
    found.ok_or_else(|| Error::Invalid(format!("there is no kernel `{name}`")))
}
