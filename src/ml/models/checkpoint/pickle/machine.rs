//! The stack machine of pickles, for all protocols. Calls are recorded and never executed.

use std::collections::HashMap;

use super::bytes::{Bytes, decimal, decoded};
use super::value::{Heap, Id, Made, Value};

/// The maximum number of values created and pushed: a state dict needs about twenty per tensor.
const MOST_STEPS: usize = 2_000_000;
/// Bytes of the name of a class with its module. A hostile file shares a long one among many classes.
const LONGEST_CLASS: usize = 1 << 10;

type Step<T> = Result<T, String>;

/// A pickle's values and its result.
#[derive(Debug)]
pub(in super::super) struct Pickle {
    pub(super) heap: Heap,
    pub(super) root: Id,
}

/// Parses one pickle at the beginning of `bytes`.
pub(in super::super) fn read(bytes: &mut &[u8]) -> Step<Pickle> {
    let mut machine = Machine::default();
    let mut rest = Bytes(bytes);
    for _ in 0..MOST_STEPS {
        let code = rest.byte()?;
        if code == b'.' {
            let root = machine.pop()?;
            *bytes = rest.0;
            return Ok(Pickle {
                heap: machine.heap,
                root,
            });
        }
        machine.step(code, &mut rest)?;
    }
    Err("its pickle is larger than any state dict's".to_string())
}

#[derive(Default)]
struct Machine {
    heap: Heap,
    stack: Vec<Id>,
    /// Heights of the stack at its marks.
    marks: Vec<usize>,
    memo: HashMap<usize, Id>,
}

impl Machine {
    fn step(&mut self, code: u8, rest: &mut Bytes) -> Step<()> {
        match code {
            // Protocol, frame.
            0x80 => rest.take(1).map(drop),
            0x95 => rest.take(8).map(drop),
            b'(' | b'0' | b'1' | b'2' => self.arrange(code),
            b'p' | b'q' | b'r' | 0x94 => self.keep(code, rest),
            b'g' | b'h' | b'j' => self.recall(code, rest),
            b')' | b']' | b'}' | 0x8f | b't' | b'l' | b'd' | 0x85..=0x87 | 0x91 => {
                self.collect(code)
            }
            b'a' | b'e' | b's' | b'u' | 0x90 => self.put_into(code),
            b'c' | 0x93 | b'i' | b'o' | b'R' | 0x81 | 0x92 | b'b' => self.call(code, rest),
            b'P' | b'Q' => self.outside(code, rest),
            _ => {
                let value = scalar(code, rest)?;
                self.push(value);
                Ok(())
            }
        }
    }

    fn push(&mut self, value: Value) {
        let id = self.heap.add(value);
        self.stack.push(id);
    }

    fn pop(&mut self) -> Step<Id> {
        let floor = self.marks.last().copied().unwrap_or_default();
        match self.stack.len() > floor {
            true => self.stack.pop().ok_or_else(malformed),
            false => Err(malformed()),
        }
    }

    fn top(&self) -> Step<Id> {
        self.stack.last().copied().ok_or_else(malformed)
    }

    fn pop_to_mark(&mut self) -> Step<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(malformed)?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn arrange(&mut self, code: u8) -> Step<()> {
        match code {
            b'(' => self.marks.push(self.stack.len()),
            b'1' => drop(self.pop_to_mark()?),
            b'2' => self.stack.push(self.top()?),
            // A pop removes the mark if there is nothing above it.
            _ if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            _ => drop(self.pop()?),
        }
        Ok(())
    }

    fn keep(&mut self, code: u8, rest: &mut Bytes) -> Step<()> {
        let name = match code {
            0x94 => self.memo.len(),
            _ => memo_name(code == b'p', code == b'q', rest)?,
        };
        self.memo.insert(name, self.top()?);
        Ok(())
    }

    fn recall(&mut self, code: u8, rest: &mut Bytes) -> Step<()> {
        let name = memo_name(code == b'g', code == b'h', rest)?;
        let id = self.memo.get(&name).ok_or_else(malformed)?;
        self.stack.push(*id);
        Ok(())
    }

    fn collect(&mut self, code: u8) -> Step<()> {
        let value = match code {
            b')' => Value::Tuple(Vec::new()),
            b']' => Value::List(Vec::new()),
            b'}' => Value::Dict(Vec::new()),
            0x8f => Value::Other,
            b't' => Value::Tuple(self.pop_to_mark()?),
            b'l' => Value::List(self.pop_to_mark()?),
            b'd' => Value::Dict(paired(&self.pop_to_mark()?)?),
            0x91 => {
                self.pop_to_mark()?;
                Value::Other
            }
            // Tuples of one, two, three.
            _ => {
                let mut members = Vec::new();
                for _ in 0x84..code {
                    members.push(self.pop()?);
                }
                members.reverse();
                Value::Tuple(members)
            }
        };
        self.push(value);
        Ok(())
    }

    /// Appends to a list, a dict, or an object of any other class, whose members do not matter.
    fn put_into(&mut self, code: u8) -> Step<()> {
        let items = match code {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_to_mark()?,
        };
        let is_dict = matches!(code, b's' | b'u');
        let target = self.top()?;
        match (self.heap.get_mut(target), is_dict) {
            (Value::Dict(pairs), true) => pairs.extend(paired(&items)?),
            (Value::Made(made), true) => made.pairs.extend(paired(&items)?),
            (Value::List(members), false) => members.extend(items),
            (Value::Made(_) | Value::Other, _) => {}
            _ => return Err(malformed()),
        }
        Ok(())
    }

    fn call(&mut self, code: u8, rest: &mut Bytes) -> Step<()> {
        match code {
            b'c' => {
                let class = class(rest)?;
                self.push(class);
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let full = match (self.heap.get(module), self.heap.get(name)) {
                    (Value::Text(module), Value::Text(name))
                        if module.len() + name.len() <= LONGEST_CLASS =>
                    {
                        format!("{module}.{name}")
                    }
                    _ => return Err(malformed()),
                };
                self.push(Value::Class(full));
            }
            b'b' => {
                let state = self.pop()?;
                let target = self.top()?;
                if let Value::Made(made) = self.heap.get_mut(target) {
                    made.state = Some(state);
                }
            }
            _ => self.make(code, rest)?,
        }
        Ok(())
    }

    fn make(&mut self, code: u8, rest: &mut Bytes) -> Step<()> {
        let (by, arguments) = match code {
            b'i' => {
                let class = class(rest)?;
                let arguments = Value::Tuple(self.pop_to_mark()?);
                (self.heap.add(class), self.heap.add(arguments))
            }
            b'o' => {
                let mut parts = self.pop_to_mark()?.into_iter();
                let by = parts.next().ok_or_else(malformed)?;
                (by, self.heap.add(Value::Tuple(parts.collect())))
            }
            _ => {
                if code == 0x92 {
                    self.pop()?;
                }
                let arguments = self.pop()?;
                (self.pop()?, arguments)
            }
        };
        self.push(Value::Made(Made {
            by,
            arguments,
            pairs: Vec::new(),
            state: None,
        }));
        Ok(())
    }

    fn outside(&mut self, code: u8, rest: &mut Bytes) -> Step<()> {
        let id = match code {
            b'P' => {
                let line = decoded(rest.line()?);
                self.heap.add(Value::Text(line))
            }
            _ => self.pop()?,
        };
        self.push(Value::Outside(id));
        Ok(())
    }
}

fn memo_name(is_line: bool, is_byte: bool, rest: &mut Bytes) -> Step<usize> {
    match (is_line, is_byte) {
        (true, _) => decimal(rest.line()?).ok_or_else(malformed),
        (_, true) => rest.number(1),
        _ => rest.number(4),
    }
}

fn paired(items: &[Id]) -> Step<Vec<(Id, Id)>> {
    match items.len() % 2 {
        0 => Ok(items.chunks_exact(2).map(|it| (it[0], it[1])).collect()),
        _ => Err(malformed()),
    }
}

fn class(rest: &mut Bytes) -> Step<Value> {
    let (module, name) = (decoded(rest.line()?), decoded(rest.line()?));
    Ok(Value::Class(format!("{module}.{name}")))
}

/// A value without parts.
fn scalar(code: u8, rest: &mut Bytes) -> Step<Value> {
    Ok(match code {
        b'N' => Value::None,
        0x88 | 0x89 => Value::Other,
        b'J' => Value::Integer(i64::from(rest.number(4)? as u32 as i32)),
        b'K' => Value::Integer(rest.number(1)? as i64),
        b'M' => Value::Integer(rest.number(2)? as i64),
        b'I' | b'L' => match decimal(rest.line()?) {
            Some(value) => Value::Integer(value),
            None => Value::Other,
        },
        0x8a => integer(rest.counted(1)?),
        0x8b => integer(rest.counted(4)?),
        b'F' => rest.line().map(|_| Value::Other)?,
        b'G' => rest.take(8).map(|_| Value::Other)?,
        b'V' => Value::Text(decoded(rest.line()?)),
        b'S' => {
            let line = decoded(rest.line()?);
            Value::Text(line.trim_matches(['\'', '"']).to_string())
        }
        // Texts of Python 2, which are bytes, and of Python 3.
        b'U' | 0x8c => Value::Text(decoded(rest.counted(1)?)),
        b'T' | b'X' => Value::Text(decoded(rest.counted(4)?)),
        0x8d => Value::Text(decoded(rest.counted(8)?)),
        b'C' => rest.counted(1).map(|_| Value::Other)?,
        b'B' => rest.counted(4).map(|_| Value::Other)?,
        0x8e | 0x96 => rest.counted(8).map(|_| Value::Other)?,
        // Classes by their number in the extension registry, which is not part of the file.
        0x82 => rest.take(1).map(|_| Value::Other)?,
        0x83 => rest.take(2).map(|_| Value::Other)?,
        0x84 => rest.take(4).map(|_| Value::Other)?,
        code => {
            return Err(format!(
                "its pickle holds the code {code}, which no protocol up to 5 has for data in one file"
            ));
        }
    })
}

/// The integer of these bytes, in two's complement, little-endian.
fn integer(bytes: &[u8]) -> Value {
    if bytes.len() > size_of::<i64>() {
        return Value::Long(bytes.to_vec());
    }
    let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
    let mut wide = [if negative { 0xff } else { 0 }; size_of::<i64>()];
    wide[..bytes.len()].copy_from_slice(bytes);
    Value::Integer(i64::from_le_bytes(wide))
}

fn malformed() -> String {
    "its pickle is malformed".to_string()
}
