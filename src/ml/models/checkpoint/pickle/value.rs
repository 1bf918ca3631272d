//! The values of a pickle, which refer to one another by number, as Python's objects do by
//! reference. Shared values and cycles cost nothing.

/// The index of a value in its heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id(usize);

/// The pairs of a dict in insertion order.
pub(super) type Pairs = Vec<(Id, Id)>;

#[derive(Debug)]
pub(super) enum Value {
    None,
    Integer(i64),
    /// An integer beyond 64 bits, in two's complement, little-endian.
    Long(Vec<u8>),
    Text(String),
    /// A class or function, with its module.
    Class(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Pairs),
    /// The result of a call, and the state that was set afterwards.
    Made(Made),
    /// A storage outside the pickle.
    Outside(Id),
    /// Values that don't describe tensors: booleans, fractions, bytes, sets.
    Other,
}

/// An instance of a class or the result of a function, neither of which is executed.
#[derive(Debug)]
pub(super) struct Made {
    pub by: Id,
    pub arguments: Id,
    pub pairs: Pairs,
    pub state: Option<Id>,
}

/// All values of a pickle.
#[derive(Debug, Default)]
pub(super) struct Heap {
    values: Vec<Value>,
}

impl Heap {
    pub fn add(&mut self, value: Value) -> Id {
        self.values.push(value);
        Id(self.values.len() - 1)
    }

    pub fn get(&self, id: Id) -> &Value {
        &self.values[id.0]
    }

    pub fn get_mut(&mut self, id: Id) -> &mut Value {
        &mut self.values[id.0]
    }

    pub fn all(&self) -> impl Iterator<Item = &Value> {
        self.values.iter()
    }
}

/// A value with the heap that contains its parts.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Node<'a> {
    pub(super) heap: &'a Heap,
    pub(super) id: Id,
}

/// Classes that build a dict from their first argument: a dict, or a list of pairs.
const DICTS: [&str; 5] = [
    "collections.OrderedDict",
    "collections.Counter",
    "builtins.dict",
    "__builtin__.dict",
    "torch.nn.modules.container.ParameterDict",
];
/// Builds a dict from its second argument.
const DEFAULT_DICT: &str = "collections.defaultdict";
/// How protocols 0 and 1 build a subclass: the class, its base, and the argument of the base.
const RECONSTRUCTORS: [&str; 2] = ["copy_reg._reconstructor", "copyreg._reconstructor"];
/// The maximum nesting of calls, such as a parameter of a tensor of a storage.
const MOST_CALLS: usize = 16;
/// More than any call has arguments, and any tensor has dimensions.
const MOST_MEMBERS: usize = 64;

impl<'a> Node<'a> {
    pub(super) fn value(self) -> &'a Value {
        self.heap.get(self.id)
    }

    pub(super) fn at(self, id: Id) -> Self {
        Self { id, ..self }
    }

    pub fn is_none(self) -> bool {
        matches!(self.value(), Value::None)
    }

    pub fn text(self) -> Option<&'a str> {
        match self.value() {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn count(self) -> Option<usize> {
        match self.value() {
            Value::Integer(value) => usize::try_from(*value).ok(),
            _ => None,
        }
    }

    /// The members of a tuple or a list with at most [`MOST_MEMBERS`]: arguments, shapes, names of
    /// storages. A hostile file makes them long and shares them among many values.
    pub fn members(self) -> Option<Vec<Self>> {
        match self.value() {
            Value::Tuple(members) | Value::List(members) if members.len() > MOST_MEMBERS => None,
            _ => self.all_members(),
        }
    }

    /// All members of a tuple or a list.
    pub fn all_members(self) -> Option<Vec<Self>> {
        match self.value() {
            Value::Tuple(members) | Value::List(members) => {
                Some(members.iter().map(|id| self.at(*id)).collect())
            }
            _ => None,
        }
    }

    /// The name of a class, or of the function that creates the value.
    pub fn called(self) -> Option<&'a str> {
        let mut node = self;
        for _ in 0..MOST_CALLS {
            match node.value() {
                Value::Class(name) => return Some(name),
                Value::Made(made) => node = node.at(made.by),
                _ => return None,
            }
        }
        None
    }

    /// The pairs of a dict of any class. `None` for anything else.
    pub fn entries(self) -> Option<Vec<(Self, Self)>> {
        match self.value() {
            Value::Dict(pairs) => Some(self.nodes(pairs)),
            Value::Made(made) => {
                let mut entries = self.arguments_as_entries(made);
                if !made.pairs.is_empty() {
                    entries
                        .get_or_insert_default()
                        .extend(self.nodes(&made.pairs));
                }
                entries
            }
            _ => None,
        }
    }

    fn nodes(self, pairs: &Pairs) -> Vec<(Self, Self)> {
        let pairs = pairs.iter();
        pairs.map(|(a, b)| (self.at(*a), self.at(*b))).collect()
    }

    fn arguments_as_entries(self, made: &Made) -> Option<Vec<(Self, Self)>> {
        let class = self.at(made.by).called()?;
        let arguments = self.at(made.arguments).members()?;
        let content = match class {
            _ if DICTS.contains(&class) => arguments.first(),
            DEFAULT_DICT => arguments.get(1),
            _ if RECONSTRUCTORS.contains(&class) => {
                let base = arguments.get(1)?.called()?;
                return DICTS.contains(&base).then(|| pairs(arguments.get(2)))?;
            }
            _ => return None,
        };
        pairs(content).or(Some(Vec::new()))
    }
}

/// A dict's own pairs, or a list of pairs as one.
fn pairs<'a>(content: Option<&Node<'a>>) -> Option<Vec<(Node<'a>, Node<'a>)>> {
    let content = content?;
    if let Value::Dict(pairs) = content.value() {
        return Some(content.nodes(pairs));
    }
    let pair = |node: Node<'a>| match node.members()?.as_slice() {
        [key, value] => Some((*key, *value)),
        _ => None,
    };
    content.all_members()?.into_iter().map(pair).collect()
}
