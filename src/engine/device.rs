//! Devices by name, and device classes, which the bits of a result may depend on.

use std::sync::Once;

use candle_core::Device;

/// A device that this build or this machine does not have.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("`{0}` is not a device: `auto`, `cpu`, `cuda` or `cuda:N` is expected")]
    Unknown(String),
    #[error("`{0}` needs a build with the `cuda` feature")]
    NotBuilt(String),
    #[error("`{name}` can't be used: {why}")]
    Unusable { name: String, why: String },
}

/// Resolves the requested device to `cpu` or `cuda:N`.
///
/// `auto` is the first CUDA device if this build and this machine have one, otherwise the CPU.
pub fn resolve(wish: &str) -> Result<String, DeviceError> {
    match wish {
        "auto" if cfg!(feature = "cuda") => Ok(match check(0) {
            Ok(()) => "cuda:0".to_string(),
            Err(error) => {
                static WARNED: Once = Once::new();
                WARNED.call_once(|| tracing::warn!("no GPU is used: {error}"));
                "cpu".to_string()
            }
        }),
        "auto" | "cpu" => Ok("cpu".to_string()),
        "cuda" => resolve("cuda:0"),
        _ => match (ordinal(wish), cfg!(feature = "cuda")) {
            (None, _) => Err(DeviceError::Unknown(wish.to_string())),
            (Some(_), false) => Err(DeviceError::NotBuilt(wish.to_string())),
            (Some(ordinal), true) => check(ordinal).map(|()| format!("cuda:{ordinal}")),
        },
    }
}

/// Checks that this machine has a GPU of this number. Allocates no GPU memory.
fn check(ordinal: usize) -> Result<(), DeviceError> {
    let why = match count() {
        Ok(count) if ordinal < count => return Ok(()),
        Ok(0) => "there is no GPU here".to_string(),
        Ok(1) => "the only GPU here is cuda:0".to_string(),
        Ok(count) => format!("the GPUs here are cuda:0 to cuda:{}", count - 1),
        Err(why) => why,
    };
    let name = format!("cuda:{ordinal}");
    Err(DeviceError::Unusable { name, why })
}

#[cfg(feature = "cuda")]
fn count() -> Result<usize, String> {
    use candle_core::cuda_backend::cudarc::driver::result;
    let count = result::init().and_then(|()| result::device::get_count());
    match count {
        Ok(count) => Ok(usize::try_from(count).unwrap_or(0)),
        Err(error) => Err(format!(
            "there is no GPU here, or no driver that serves it ({:?})",
            error.0
        )),
    }
}

#[cfg(not(feature = "cuda"))]
fn count() -> Result<usize, String> {
    Ok(0)
}

fn ordinal(name: &str) -> Option<usize> {
    name.strip_prefix("cuda:")?.parse().ok()
}

/// Opens a device by its resolved name.
pub fn open(name: &str) -> Result<Device, DeviceError> {
    match ordinal(name) {
        Some(ordinal) => Device::new_cuda(ordinal).map_err(|error| DeviceError::Unusable {
            name: name.to_string(),
            // The remaining lines are a backtrace.
            why: error.to_string().lines().take(1).collect(),
        }),
        None if name == "cpu" => Ok(Device::Cpu),
        None => Err(DeviceError::Unknown(name.to_string())),
    }
}

/// The class of the processor: `cpu/x86-64-v4`, `cpu/aarch64`.
///
/// Determined by the widest instructions that the matrix kernels of this build use in this process.
pub fn device_class() -> String {
    format!("cpu/{}", crate::isa::level())
}

/// The class of an open device.
pub fn class_of(device: &Device) -> String {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => match cuda.cuda_stream().context().compute_capability() {
            Ok((major, minor)) => format!("cuda/sm_{major}{minor}"),
            Err(_) => "cuda/unknown".to_string(),
        },
        _ => device_class(),
    }
}

/// The class of the requested device.
pub fn class_named(wish: &str) -> Result<String, DeviceError> {
    Ok(class_of(&open(&resolve(wish)?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_go_by_their_names() {
        assert_eq!(resolve("cpu").unwrap(), "cpu");
        assert!(matches!(resolve("gpu"), Err(DeviceError::Unknown(_))));
        assert!(matches!(resolve("cuda:x"), Err(DeviceError::Unknown(_))));
        assert!(class_of(&open("cpu").unwrap()).starts_with("cpu/"));
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_says_so() {
        assert_eq!(resolve("auto").unwrap(), "cpu");
        assert!(matches!(resolve("cuda"), Err(DeviceError::NotBuilt(_))));
    }
}
