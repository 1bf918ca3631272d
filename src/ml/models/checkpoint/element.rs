//! Element types in files, and their conversion to the types of models: fractions to f32, integers
//! to i64.

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::Dtype;

/// The type of a tensor's elements in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Element {
    F64,
    F32,
    F16,
    BF16,
    /// Eight bits without infinities, and the same with a larger bias and a single zero.
    F8E4M3,
    F8E4M3Fnuz,
    F8E5M2,
    F8E5M2Fnuz,
    /// An exponent only.
    F8E8M0,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    /// A type that no model here uses, and its size in bytes.
    Other(&'static str, usize),
}

use Element::*;

const COMPLEX: [Element; 3] = [
    Other("complex32", 4),
    Other("complex64", 8),
    Other("complex128", 16),
];

impl Element {
    /// From `torch.FloatStorage` and the like.
    pub fn of_storage(class: &str) -> Option<Self> {
        let name = class.strip_prefix("torch.")?;
        let name = name.strip_prefix("cuda.").unwrap_or(name);
        Some(match name.strip_suffix("Storage")? {
            "Double" => F64,
            "Float" => F32,
            "Half" => F16,
            "BFloat16" => BF16,
            "Long" => I64,
            "Int" => I32,
            "Short" => I16,
            "Char" => I8,
            "Byte" | "Bool" => U8,
            "ComplexFloat" => COMPLEX[1],
            "ComplexDouble" => COMPLEX[2],
            "QInt8" | "QUInt8" | "QUInt4x2" | "QUInt2x4" => Other("quantized", 1),
            "QInt32" => Other("quantized", 4),
            _ => return None,
        })
    }

    /// From `torch.float32` and the like.
    pub fn of_dtype(name: &str) -> Option<Self> {
        Some(match name.strip_prefix("torch.")? {
            "float64" | "double" => F64,
            "float32" | "float" => F32,
            "float16" | "half" => F16,
            "bfloat16" => BF16,
            "float8_e4m3fn" => F8E4M3,
            "float8_e4m3fnuz" => F8E4M3Fnuz,
            "float8_e5m2" => F8E5M2,
            "float8_e5m2fnuz" => F8E5M2Fnuz,
            "float8_e8m0fnu" => F8E8M0,
            "int64" | "long" => I64,
            "int32" | "int" => I32,
            "int16" | "short" => I16,
            "int8" => I8,
            "uint64" => U64,
            "uint32" => U32,
            "uint16" => U16,
            "uint8" | "bool" => U8,
            "complex32" => COMPLEX[0],
            "complex64" => COMPLEX[1],
            "complex128" => COMPLEX[2],
            "float4_e2m1fn_x2" => Other("float4_e2m1fn_x2", 1),
            _ => return None,
        })
    }

    /// From the dtypes of safetensors.
    pub fn of_safetensors(dtype: Dtype) -> Result<Self, String> {
        Ok(match dtype {
            Dtype::F64 => F64,
            Dtype::F32 => F32,
            Dtype::F16 => F16,
            Dtype::BF16 => BF16,
            Dtype::F8_E4M3 => F8E4M3,
            Dtype::F8_E5M2 => F8E5M2,
            Dtype::F8_E8M0 => F8E8M0,
            Dtype::I64 => I64,
            Dtype::I32 => I32,
            Dtype::I16 => I16,
            Dtype::I8 => I8,
            Dtype::U64 => U64,
            Dtype::U32 => U32,
            Dtype::U16 => U16,
            Dtype::U8 | Dtype::BOOL => U8,
            other => return Err(format!("tensors of {other} are not read")),
        })
    }

    pub fn bytes(self) -> usize {
        match self {
            F64 | I64 | U64 => 8,
            F32 | I32 | U32 => 4,
            F16 | BF16 | I16 | U16 => 2,
            F8E4M3 | F8E4M3Fnuz | F8E5M2 | F8E5M2Fnuz | F8E8M0 | I8 | U8 => 1,
            Other(_, bytes) => bytes,
        }
    }

    /// The tensor of little-endian elements: f32 or i64.
    pub fn tensor(self, bytes: &[u8], shape: &[usize]) -> Result<Tensor, String> {
        let small = |value: fn(u8) -> f32| bytes.iter().map(|byte| value(*byte)).collect();
        let fractions: Vec<f32> = match self {
            F64 | F32 | F16 | BF16 => return self.by_candle(bytes, shape),
            F8E4M3 => small(|byte| minifloat(byte, 3, 7, byte & 0x7f == 0x7f)),
            F8E4M3Fnuz => small(|byte| minifloat(byte, 3, 8, byte == 0x80)),
            F8E5M2Fnuz => small(|byte| minifloat(byte, 2, 16, byte == 0x80)),
            F8E5M2 => small(|byte| match byte & 0x7f {
                0x7c => minifloat(byte & 0x80 | 0x3c, 2, 15, false) * f32::INFINITY,
                bits => minifloat(byte, 2, 15, bits > 0x7c),
            }),
            F8E8M0 => small(|byte| match byte {
                0xff => f32::NAN,
                byte => 2f64.powi(i32::from(byte) - 127) as f32,
            }),
            Other(name, _) => return Err(format!("it is {name}, which no model here has")),
            _ => {
                let whole = self.whole(bytes)?;
                return Tensor::from_vec(whole, shape, &Device::Cpu).map_err(text);
            }
        };
        Tensor::from_vec(fractions, shape, &Device::Cpu).map_err(text)
    }

    fn by_candle(self, bytes: &[u8], shape: &[usize]) -> Result<Tensor, String> {
        let dtype = match self {
            F64 => DType::F64,
            F16 => DType::F16,
            BF16 => DType::BF16,
            _ => DType::F32,
        };
        let tensor = Tensor::from_raw_buffer(bytes, dtype, shape, &Device::Cpu);
        tensor.and_then(|it| it.to_dtype(DType::F32)).map_err(text)
    }

    fn whole(self, bytes: &[u8]) -> Result<Vec<i64>, String> {
        let one = |part: &[u8]| -> Result<i64, String> {
            let mut wide = [0; 8];
            wide[..part.len()].copy_from_slice(part);
            let value = u64::from_le_bytes(wide);
            Ok(match self {
                I8 => i64::from(value as i8),
                I16 => i64::from(value as i16),
                I32 => i64::from(value as i32),
                I64 => value as i64,
                _ => i64::try_from(value).map_err(|_| format!("{value} is beyond 64 bits"))?,
            })
        };
        bytes.chunks_exact(self.bytes()).map(one).collect()
    }
}

/// An eight-bit float: a sign, an exponent, and `mantissa` fractional bits.
fn minifloat(byte: u8, mantissa: u32, bias: i32, is_nan: bool) -> f32 {
    if is_nan {
        return f32::NAN;
    }
    let sign = if byte & 0x80 != 0 { -1.0 } else { 1.0 };
    let bits = u32::from(byte & 0x7f);
    let fraction = (bits & ((1 << mantissa) - 1)) as f32 / (1 << mantissa) as f32;
    let magnitude = match (bits >> mantissa) as i32 {
        0 => fraction * 2f32.powi(1 - bias),
        exponent => (1.0 + fraction) * 2f32.powi(exponent - bias),
    };
    sign * magnitude
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
