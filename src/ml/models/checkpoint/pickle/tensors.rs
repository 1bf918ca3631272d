//! The tensors and storages that a pickle describes.

use super::super::element::Element;
use super::value::{Node, Value};

/// A tensor as described by a pickle: part of a storage.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct Stored {
    pub storage: String,
    pub element: Element,
    pub shape: Vec<usize>,
    /// In elements, like `offset`.
    pub strides: Vec<usize>,
    pub offset: usize,
}

/// A storage that a pickle refers to: its key, type and number of elements.
pub(in super::super) struct Storage {
    pub key: String,
    /// `None` for a storage of bytes, whose tensors have their own type.
    pub element: Option<Element>,
    pub count: usize,
    /// The offset of a view in elements, in old files.
    offset: usize,
}

/// The maximum nesting of parameters and subclasses of tensors.
const DEEPEST: usize = 8;

/// The tensor that `node` describes; `None` for anything else.
pub(in super::super) fn stored(node: Node) -> Result<Option<Stored>, String> {
    let Value::Made(made) = node.value() else {
        return Ok(None);
    };
    tensor(node, node.at(made.by), node.at(made.arguments), DEEPEST)
}

/// The result of `function` for `arguments`.
fn tensor(
    node: Node,
    function: Node,
    arguments: Node,
    depth: usize,
) -> Result<Option<Stored>, String> {
    let Value::Class(name) = function.value() else {
        return Ok(None);
    };
    let arguments = arguments.members().unwrap_or_default();
    let inner = |node: Node| match (node.value(), depth.checked_sub(1)) {
        (Value::Made(made), Some(depth)) => {
            tensor(node, node.at(made.by), node.at(made.arguments), depth)
        }
        _ => Ok(None),
    };
    match name.as_str() {
        "torch._utils._rebuild_tensor"
        | "torch._utils._rebuild_tensor_v2"
        | "torch._utils._rebuild_tensor_v3" => rebuilt(&arguments).map(Some),
        "torch._utils._rebuild_parameter"
        | "torch._utils._rebuild_parameter_with_state"
        | "torch.nn.parameter.Parameter"
        | "torch.nn.parameter.Buffer" => arguments.first().map_or(Ok(None), |it| inner(*it)),
        // A subclass of Tensor: the function, the class, the function's arguments, the state.
        "torch._tensor._rebuild_from_type_v2" => match (arguments.as_slice(), depth) {
            ([function, _, given, ..], 1..) => tensor(node, *function, *given, depth - 1),
            _ => Ok(None),
        },
        name if name.starts_with("torch._utils._rebuild_") => Err(format!(
            "it is made by `{name}`: only dense tensors are read"
        )),
        "numpy.core.multiarray._reconstruct" | "numpy._core.multiarray._reconstruct" => {
            Err("it is an array of NumPy: only tensors are read".to_string())
        }
        name if is_class_of_tensors(name) => set(node),
        _ => Ok(None),
    }
}

fn is_class_of_tensors(name: &str) -> bool {
    name.starts_with("torch.") && name.ends_with("Tensor")
}

/// A tensor of early PyTorch files, whose state is its storage, offset, shape and strides.
fn set(node: Node) -> Result<Option<Stored>, String> {
    let Value::Made(made) = node.value() else {
        return Ok(None);
    };
    match made.state.and_then(|state| node.at(state).members()) {
        Some(state) => rebuilt(&state).map(Some),
        None => Ok(None),
    }
}

fn rebuilt(arguments: &[Node]) -> Result<Stored, String> {
    let odd = || "its pickle describes no tensor".to_string();
    let [outside, offset, shape, strides, more @ ..] = arguments else {
        return Err(odd());
    };
    let Value::Outside(id) = outside.value() else {
        return Err(odd());
    };
    let storage = storage(outside.at(*id))?;
    // After `requires_grad` and the hooks, some state their type.
    let named = more.get(2).and_then(|it| match it.value() {
        Value::Class(name) => Some(name),
        _ => None,
    });
    let named = named.map(|name| Element::of_dtype(name).ok_or_else(|| unknown(name)));
    let element = named.transpose()?.or(storage.element);
    let offset = offset.count().and_then(|it| it.checked_add(storage.offset));
    let tensor = Stored {
        storage: storage.key,
        element: element.unwrap_or(Element::U8),
        shape: counts(*shape).ok_or_else(odd)?,
        strides: counts(*strides).ok_or_else(odd)?,
        offset: offset.ok_or_else(odd)?,
    };
    match tensor.shape.len() == tensor.strides.len() {
        true => Ok(tensor),
        false => Err(odd()),
    }
}

fn unknown(name: &str) -> String {
    format!("tensors of `{name}` are not read")
}

/// The maximum length of a storage's name.
const LONGEST_KEY: usize = 1 << 7;

/// The storage of a persistent id: a word, its class, key and location, its number of elements, and
/// in old files the view of another storage.
pub(super) fn storage(id: Node) -> Result<Storage, String> {
    let odd = || "its pickle names a storage in an unknown way".to_string();
    let parts = id.members().ok_or_else(odd)?;
    let [_, class, key, _, elements, view @ ..] = parts.as_slice() else {
        return Err(odd());
    };
    let class = class.called().ok_or_else(odd)?;
    let element = match class {
        "torch.storage.UntypedStorage" | "torch.UntypedStorage" => None,
        class => Some(Element::of_storage(class).ok_or_else(|| unknown(class))?),
    };
    let offset = match view {
        [] => 0,
        [view] if view.is_none() => 0,
        // The view's key, its first element, its number of elements.
        [view] => match view.members().as_deref() {
            Some([_, offset, _]) => offset.count().ok_or_else(odd)?,
            _ => return Err(odd()),
        },
        _ => return Err(odd()),
    };
    Ok(Storage {
        key: key
            .text()
            .filter(|key| key.len() <= LONGEST_KEY)
            .ok_or_else(odd)?
            .to_string(),
        element,
        count: elements.count().ok_or_else(odd)?,
        offset,
    })
}

fn counts(node: Node) -> Option<Vec<usize>> {
    // torch.Size is a call of that class with a tuple.
    if let Value::Made(made) = node.value() {
        let arguments = node.at(made.arguments).members()?;
        return match node.called()? {
            "torch.Size" => arguments.first()?.members()?.into_iter(),
            _ => return None,
        }
        .map(Node::count)
        .collect();
    }
    node.members()?.into_iter().map(Node::count).collect()
}
