//! Pickles, read and never executed: Candle's stack machine, watched so that no pickle can exhaust
//! the memory or the stack, and the tensors that one describes.

use std::collections::HashMap;

use candle_core::DType;
use candle_core::pickle::{Object, OpCode, Stack};

/// Objects in one another. A state dict in its wrappers needs about ten.
const DEEPEST: usize = 100;
/// Objects made in all, copies included: a state dict needs some twenty a tensor.
const MOST_OBJECTS: usize = 5_000_000;

/// A tensor as a pickle describes it: part of a storage.
#[derive(Debug)]
pub(super) struct Stored {
    pub storage: String,
    pub dtype: DType,
    pub shape: Vec<usize>,
    /// In elements, like `offset`.
    pub strides: Vec<usize>,
    pub offset: usize,
}

/// A storage that a pickle names: its key, type and number of elements.
pub(super) struct Storage {
    pub key: String,
    pub dtype: DType,
    pub count: usize,
}

/// Reads one pickle off the beginning of `bytes`.
pub(super) fn object(bytes: &mut &[u8]) -> Result<Object, String> {
    let mut stack = Stack::empty();
    let mut watch = Watch::default();
    loop {
        let step = *bytes;
        check_length(step)?;
        let done = stack.read(bytes).map_err(|error| error.to_string())?;
        watch.follow(step, stack.stack().len())?;
        if done {
            return stack.finalize().map_err(|error| error.to_string());
        }
    }
}

/// Refuses texts longer than what is left, before room is made for them, and numbers too long for
/// Candle.
fn check_length(step: &[u8]) -> Result<(), String> {
    let Some((code, rest)) = step.split_first() else {
        return Err("its pickle is cut short".to_string());
    };
    match OpCode::try_from(*code) {
        Ok(OpCode::BinUnicode) if number(rest, 4).is_none_or(|it| it > rest.len()) => {
            Err("its pickle is cut short".to_string())
        }
        Ok(OpCode::Long1) if number(rest, 1).is_none_or(|it| it > 8) => {
            Err("its pickle holds a number of more than 64 bits".to_string())
        }
        Ok(_) => Ok(()),
        Err(code) => Err(format!(
            "its pickle is of a newer protocol than 2 (code {code}); \
             `torch.save` with its usual `pickle_protocol` writes one that can be read"
        )),
    }
}

/// The little-endian number in the first `width` bytes.
fn number(bytes: &[u8], width: usize) -> Option<usize> {
    let bytes = bytes.get(..width)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
    )
}

/// How large an object is, in objects, and how deep.
#[derive(Clone, Copy, Default)]
struct Extent {
    size: usize,
    depth: usize,
}

/// The extents of what lies on the machine's stack and in its memo.
#[derive(Default)]
struct Watch {
    stack: Vec<Extent>,
    memo: HashMap<usize, Extent>,
    made: usize,
}

impl Watch {
    /// Follows the machine over the step that it has just taken; its stack holds `length` now.
    fn follow(&mut self, step: &[u8], length: usize) -> Result<(), String> {
        let (code, rest) = (OpCode::try_from(step[0]), &step[1..]);
        let named = |width| number(rest, width).unwrap_or_default();
        match code {
            Ok(OpCode::BinPut) => self.keep(named(1)),
            Ok(OpCode::LongBinPut) => self.keep(named(4)),
            Ok(OpCode::BinGet) => self.recall(named(1)),
            Ok(OpCode::LongBinGet) => self.recall(named(4)),
            Ok(OpCode::Proto | OpCode::Stop) => {}
            Ok(OpCode::BinUnicode) => self.combine(length, 1 + named(4) / 64),
            _ => self.combine(length, 1),
        }
        let deepest = self.stack.last().is_some_and(|top| top.depth > DEEPEST);
        match deepest || self.made > MOST_OBJECTS {
            true => Err("its pickle is larger or deeper than any state dict's".to_string()),
            false => Ok(()),
        }
    }

    /// Whatever the step took from the stack is part of what it left on top.
    fn combine(&mut self, length: usize, size: usize) {
        let parts = self.stack.len().min(length.saturating_sub(1));
        let taken = self.stack.split_off(parts);
        self.stack.push(Extent {
            size: taken
                .iter()
                .fold(size, |sum, part| sum.saturating_add(part.size)),
            depth: 1 + taken.iter().map(|part| part.depth).max().unwrap_or(0),
        });
        self.made = self.made.saturating_add(size);
    }

    fn keep(&mut self, name: usize) {
        let top = self.stack.last().copied().unwrap_or_default();
        self.memo.insert(name, top);
        self.made = self.made.saturating_add(top.size);
    }

    fn recall(&mut self, name: usize) {
        let copy = self.memo.get(&name).copied().unwrap_or_default();
        self.stack.push(copy);
        self.made = self.made.saturating_add(copy.size);
    }
}

/// What an object would have been made by.
pub(super) fn called(object: &Object) -> Option<String> {
    match object {
        Object::Reduce { callable, .. } | Object::Build { callable, .. } => called(callable),
        Object::Class {
            module_name,
            class_name,
        } => Some(format!("{module_name}.{class_name}")),
        _ => None,
    }
}

/// The tensor that `object` describes; `None` for anything else.
pub(super) fn stored(object: &Object) -> Result<Option<Stored>, String> {
    let Object::Reduce { callable, args } = object else {
        return Ok(None);
    };
    match (called(callable).as_deref(), args.as_ref()) {
        (Some("torch._utils._rebuild_tensor_v2"), Object::Tuple(args)) => rebuilt(args).map(Some),
        (Some("torch._utils._rebuild_parameter"), Object::Tuple(args)) => {
            args.first().map_or(Ok(None), stored)
        }
        // A subclass of Tensor: the function, the class, the function's arguments, the state.
        (Some("torch._tensor._rebuild_from_type_v2"), Object::Tuple(args)) => match args.as_slice()
        {
            [function, _, inner, ..] => stored(&Object::Reduce {
                callable: Box::new(function.clone()),
                args: Box::new(inner.clone()),
            }),
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

fn rebuilt(args: &[Object]) -> Result<Stored, String> {
    let odd = || "its pickle describes no tensor".to_string();
    let [Object::PersistentLoad(id), offset, shape, strides, ..] = args else {
        return Err(odd());
    };
    let storage = storage(id)?;
    let tensor = Stored {
        storage: storage.key,
        dtype: storage.dtype,
        shape: counts(shape).ok_or_else(odd)?,
        strides: counts(strides).ok_or_else(odd)?,
        offset: count(offset).ok_or_else(odd)?,
    };
    match tensor.shape.len() == tensor.strides.len() {
        true => Ok(tensor),
        false => Err(odd()),
    }
}

/// The storage of a persistent id: a word, its class, key and place, its number of elements, and
/// in old files what it is a view of.
fn storage(id: &Object) -> Result<Storage, String> {
    let odd = || "its pickle names a storage in an unknown way".to_string();
    let Object::Tuple(parts) = id else {
        return Err(odd());
    };
    let (_, class, key, elements) = match parts.as_slice() {
        [word, class, Object::Unicode(key), _, elements] => (word, class, key, elements),
        [word, class, Object::Unicode(key), _, elements, Object::None] => {
            (word, class, key, elements)
        }
        _ => return Err(odd()),
    };
    let class = called(class).ok_or_else(odd)?;
    Ok(Storage {
        key: key.clone(),
        dtype: dtype(&class).ok_or_else(|| format!("tensors in a `{class}` are not read"))?,
        count: count(elements).ok_or_else(odd)?,
    })
}

fn dtype(class: &str) -> Option<DType> {
    Some(match class.strip_prefix("torch.")? {
        "FloatStorage" => DType::F32,
        "DoubleStorage" => DType::F64,
        "HalfStorage" => DType::F16,
        "BFloat16Storage" => DType::BF16,
        "LongStorage" => DType::I64,
        "IntStorage" => DType::I32,
        "ShortStorage" => DType::I16,
        "ByteStorage" | "BoolStorage" => DType::U8,
        _ => return None,
    })
}

/// Every storage that is named anywhere in `object`.
pub(super) fn storages(object: &Object) -> Result<Vec<Storage>, String> {
    let mut found = Vec::new();
    let mut left = vec![object];
    while let Some(object) = left.pop() {
        match object {
            Object::PersistentLoad(id) => found.push(storage(id)?),
            Object::Tuple(members) | Object::List(members) => left.extend(members),
            Object::Dict(entries) => left.extend(entries.iter().flat_map(|(a, b)| [a, b])),
            Object::Reduce { callable, args } | Object::Build { callable, args } => {
                left.extend([callable.as_ref(), args.as_ref()]);
            }
            _ => {}
        }
    }
    Ok(found)
}

/// The texts of a list.
pub(super) fn texts(object: Object) -> Option<Vec<String>> {
    let Object::List(members) = object else {
        return None;
    };
    members
        .into_iter()
        .map(|member| member.unicode().ok())
        .collect()
}

fn counts(object: &Object) -> Option<Vec<usize>> {
    match object {
        Object::Tuple(members) => members.iter().map(count).collect(),
        _ => None,
    }
}

fn count(object: &Object) -> Option<usize> {
    match object {
        Object::Int(value) => usize::try_from(*value).ok(),
        Object::Long(value) => usize::try_from(*value).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTOCOL: &[u8] = b"\x80\x02";

    fn read(body: &[u8]) -> Result<Object, String> {
        let bytes = [PROTOCOL, body, b"."].concat();
        object(&mut bytes.as_slice())
    }

    #[test]
    fn what_would_exhaust_the_machine_is_refused() {
        // A tuple in a tuple, a million deep.
        let nested = [b")".as_slice(), &b"\x85".repeat(1_000_000)].concat();
        assert!(read(&nested).unwrap_err().contains("deeper"));
        // Twice as many objects with every step.
        let mut doubled = b")".to_vec();
        for memo in 0..60u8 {
            doubled.extend([b'q', memo, b'h', memo, 0x86]);
        }
        assert!(read(&doubled).unwrap_err().contains("larger"));
        // A text of four gigabytes in a file of twenty bytes.
        assert!(read(b"X\xff\xff\xff\xffabc").unwrap_err().contains("short"));
        assert!(read(b"\x8a\xff12345678").unwrap_err().contains("64 bits"));
        assert!(read(b"\x95frame").unwrap_err().contains("protocol"));
        assert!(object(&mut [].as_slice()).unwrap_err().contains("short"));
    }
}
