//! Arrays in NumPy's own format (NEP 1: versions 1 to 3 of `.npy`).

/// An array: a dtype of safetensors, and row-major little-endian bytes.
pub struct Array {
    pub dtype: &'static str,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

const MAGIC: &[u8] = b"\x93NUMPY";
const MOST_DIMENSIONS: usize = 32;

pub fn parse(file: &[u8]) -> Result<Array, String> {
    let cut = || "the file is cut short".to_string();
    let rest = file.strip_prefix(MAGIC);
    let rest = rest.ok_or_else(|| "not an array of NumPy".to_string())?;
    let (version, rest) = rest.split_at_checked(2).ok_or_else(cut)?;
    let width = match version[0] {
        1 => 2,
        2 | 3 => 4,
        other => return Err(format!("version {other} of the format is not supported")),
    };
    let (length, rest) = rest.split_at_checked(width).ok_or_else(cut)?;
    let length = length
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    let (header, data) = rest.split_at_checked(length).ok_or_else(cut)?;
    let header = std::str::from_utf8(header).map_err(|error| error.to_string())?;
    let Header {
        dtype,
        width,
        is_big_endian,
        is_column_major,
        shape,
    } = Header::parse(header)?;
    let count = shape
        .iter()
        .try_fold(1usize, |all, size| all.checked_mul(*size));
    let expected = count.and_then(|count| count.checked_mul(width));
    if expected != Some(data.len()) {
        return Err(format!(
            "{} bytes do not match {dtype} {shape:?}",
            data.len()
        ));
    }
    let mut bytes = data.to_vec();
    if is_big_endian {
        bytes.chunks_exact_mut(width).for_each(<[u8]>::reverse);
    }
    if is_column_major && shape.len() > 1 {
        bytes = row_major(&bytes, &shape, width);
    }
    Ok(Array {
        dtype,
        shape,
        bytes,
    })
}

struct Header {
    dtype: &'static str,
    /// Bytes of an element.
    width: usize,
    is_big_endian: bool,
    is_column_major: bool,
    shape: Vec<usize>,
}

impl Header {
    /// Parses `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{}` is not a header of an array", text.trim());
        let after = |name: &str| {
            let rest = text.split_once(&format!("'{name}':"))?.1;
            Some(rest.trim_start())
        };
        let descr = after("descr").ok_or_else(wrong)?;
        let descr = descr
            .strip_prefix('\'')
            .and_then(|rest| rest.split_once('\''));
        let Some((descr, _)) = descr else {
            return Err("records of several fields are not supported".to_string());
        };
        let (dtype, width) = dtype(descr)?;
        let order = after("fortran_order").ok_or_else(wrong)?;
        let shape = after("shape").and_then(|rest| rest.strip_prefix('('));
        let (shape, _) = shape
            .and_then(|rest| rest.split_once(')'))
            .ok_or_else(wrong)?;
        let sizes = shape.split(',').map(str::trim).filter(|it| !it.is_empty());
        let shape: Result<Vec<usize>, _> = sizes.map(str::parse).collect();
        let shape = shape.map_err(|_| wrong())?;
        if shape.len() > MOST_DIMENSIONS {
            return Err(wrong());
        }
        Ok(Self {
            dtype,
            width,
            is_big_endian: descr.starts_with('>'),
            is_column_major: order.starts_with("True"),
            shape,
        })
    }
}

/// The dtype of safetensors for a type string of NumPy, and its bytes.
fn dtype(descr: &str) -> Result<(&'static str, usize), String> {
    Ok(match descr.trim_start_matches(['<', '>', '|', '=']) {
        "f8" => ("F64", 8),
        "f4" => ("F32", 4),
        "f2" => ("F16", 2),
        "i8" => ("I64", 8),
        "i4" => ("I32", 4),
        "i2" => ("I16", 2),
        "i1" => ("I8", 1),
        "u8" => ("U64", 8),
        "u4" => ("U32", 4),
        "u2" => ("U16", 2),
        "u1" => ("U8", 1),
        "b1" => ("BOOL", 1),
        "O" => return Err("objects of Python are not numbers".to_string()),
        _ => return Err(format!("the type `{descr}` is not supported")),
    })
}

/// Column-major elements in row-major order.
fn row_major(bytes: &[u8], shape: &[usize], width: usize) -> Vec<u8> {
    let mut strides = vec![1; shape.len()];
    for axis in 1..shape.len() {
        strides[axis] = strides[axis - 1] * shape[axis - 1];
    }
    let mut index = vec![0; shape.len()];
    let mut ordered = Vec::with_capacity(bytes.len());
    for _ in 0..bytes.len() / width {
        let at: usize = index
            .iter()
            .zip(&strides)
            .map(|(at, stride)| at * stride)
            .sum();
        ordered.extend_from_slice(&bytes[at * width..][..width]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let length = (header.len() as u16).to_le_bytes();
        [MAGIC, &[1, 0], &length, header.as_bytes(), data].concat()
    }

    #[test]
    fn big_endian_and_column_major_arrays_are_read() {
        let header = "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }";
        let array = parse(&file(header, &[0, 1, 0, 4, 0, 2, 0, 5, 0, 3, 0, 6])).unwrap();
        assert_eq!((array.dtype, array.shape), ("I16", vec![2, 3]));
        assert_eq!(array.bytes, [1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0]);
        let scalar = parse(&file(
            "{'descr': '|u1', 'fortran_order': False, 'shape': (), }",
            &[7],
        ));
        assert_eq!(scalar.unwrap().shape, Vec::<usize>::new());
    }

    #[test]
    fn what_is_no_array_of_numbers_is_refused() {
        for (header, data, words) in [
            (
                "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
                8,
                "objects of Python",
            ),
            (
                "{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }",
                8,
                "`<c8`",
            ),
            (
                "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }",
                4,
                "fields",
            ),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }",
                4,
                "4 bytes",
            ),
            (
                "{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904, 4), }",
                0,
                "0 bytes",
            ),
        ] {
            let error = parse(&file(header, &vec![0; data])).err().unwrap();
            assert!(error.contains(words), "{header}: {error}");
        }
        for end in 0..40 {
            let whole = file(
                "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }",
                &[0; 4],
            );
            assert!(parse(&whole[..end]).is_err());
        }
    }
}
