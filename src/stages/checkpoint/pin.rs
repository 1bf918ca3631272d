//! The expected digest of a file.

use std::io;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::io_error;
use crate::digest::Digest;
use crate::fsx;
use crate::stages::task::TaskError;

/// `sha256:…` or `blake3:…`, as written in the workflow.
pub(super) struct Pin {
    function: Function,
    hex: String,
}

#[derive(Clone, Copy)]
enum Function {
    Sha256,
    Blake3,
}

impl Pin {
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, hex) = text.split_once(':').unwrap_or(("", text));
        let function = match name {
            "sha256" => Some(Function::Sha256),
            "blake3" => Some(Function::Blake3),
            _ => None,
        };
        let fits = hex.len() == 64 && hex.chars().all(|letter| letter.is_ascii_hexdigit());
        let function = function.filter(|_| fits).ok_or_else(|| {
            format!("`{text}` is not a digest: expected `sha256:` or `blake3:` and 64 hexadecimal digits")
        })?;
        Ok(Self {
            function,
            hex: hex.to_ascii_lowercase(),
        })
    }

    /// Fails if the file has another digest.
    pub fn check(&self, file: &Path) -> Result<(), TaskError> {
        let (name, found) = match self.function {
            Function::Sha256 => ("SHA-256", sha256(file)?),
            Function::Blake3 => ("BLAKE3", blake3(file)?.to_hex()),
        };
        if found == self.hex {
            return Ok(());
        }
        Err(TaskError::Failed(format!(
            "the {name} of the file is {found}, but `digest` is {}",
            self.hex
        )))
    }
}

pub(super) fn blake3(file: &Path) -> Result<Digest, TaskError> {
    let mut reader = fsx::open_regular(file).map_err(io_error(file))?;
    let (digest, _) = fsx::hash_reader(&mut reader).map_err(io_error(file))?;
    Ok(digest)
}

pub(super) fn sha256(file: &Path) -> Result<String, TaskError> {
    let mut reader = fsx::open_regular(file).map_err(io_error(file))?;
    let mut hasher = Sha256::new();
    io::copy(&mut reader, &mut hasher).map_err(io_error(file))?;
    let bytes = hasher.finalize();
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
