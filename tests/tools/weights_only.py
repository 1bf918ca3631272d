"""What PyTorch's reader for `weights_only=True` makes of mutated pickles: a line for each, in JSON.

    python3 weights_only.py TORCH SEED FOLDER NUMBER

TORCH holds `torch/_weights_only_unpickler.py`, as any wheel of PyTorch does. It runs here without the
rest of PyTorch, whose tensors are stood in for. SEED is a file of `torch.save`;
FOLDER has the pickles 0.pkl, 1.pkl, … For each of them, N.pth is written: the seed with that pickle.
"""

import _compat_pickle
import array
import collections
import hashlib
import importlib.util
import io
import json
import os
import sys
import types
import warnings
import zipfile

warnings.simplefilter("ignore")
LARGEST = 100_000


class Storage:
    def __init__(self, kind):
        self.kind = kind


class Parameter:
    pass


class Tensor:
    """A view of a storage, with the checks that PyTorch makes."""

    def __init__(self, storage, offset, size, stride):
        code, values = storage
        size, stride = tuple(size), tuple(stride)
        if len(size) != len(stride) or offset < 0:
            raise ValueError("a view that is none")
        if any(type(number) is not int or number < 0 for number in size + stride):
            raise ValueError("a size that is none")
        self.size, self.stride, self.offset, self.values = size, stride, offset, values
        self.count = 1
        for number in size:
            self.count *= number
        last = offset + sum((n - 1) * step for n, step in zip(size, stride))
        if self.count and last >= len(values):
            raise ValueError("outside of the storage")

    def bytes(self):
        places = [self.offset]
        for n, step in zip(self.size, self.stride):
            places = [place + at * step for place in places for at in range(n)]
        return array.array("f", [self.values[place] for place in places]).tobytes()


def rebuild(storage, offset, size, stride, requires_grad, hooks, metadata=None):
    if type(requires_grad) is not bool or not isinstance(storage, tuple):
        raise TypeError("not the arguments of a tensor")
    return Tensor(storage, offset, size, stride)


def parameter(data, requires_grad, hooks):
    if type(requires_grad) is not bool or not isinstance(data, Tensor):
        raise TypeError("not the arguments of a parameter")
    return data


def reader(folder):
    """PyTorch's module, with stand-ins for what it names."""
    torch = types.ModuleType("torch")
    torch.__path__ = [os.path.join(folder, "torch")]
    torch.Tensor, torch.Size = Tensor, type("Size", (tuple,), {})
    torch._tensor_classes = set()
    torch.nn = types.SimpleNamespace(Parameter=Parameter)
    torch.serialization = types.SimpleNamespace(
        _maybe_decode_ascii=lambda text: text.decode("ascii") if isinstance(text, bytes) else text
    )
    sys.modules["torch"] = torch
    # Two tables and a list are wanted of it; the tables are those of `pickle`.
    utils = types.ModuleType("torch._utils")
    utils._sparse_tensors_to_validate = []
    utils.IMPORT_MAPPING, utils.NAME_MAPPING = _compat_pickle.IMPORT_MAPPING, _compat_pickle.NAME_MAPPING
    sys.modules["torch._utils"] = utils
    path = os.path.join(folder, "torch/_weights_only_unpickler.py")
    spec = importlib.util.spec_from_file_location("torch._weights_only_unpickler", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    allowed = {
        "collections.OrderedDict": collections.OrderedDict,
        "collections.Counter": collections.Counter,
        "torch.FloatStorage": Storage("f"),
        "torch.DoubleStorage": Storage("d"),
        "torch._utils._rebuild_tensor_v2": rebuild,
        "torch._utils._rebuild_parameter": parameter,
        "torch.nn.parameter.Parameter": Parameter,
        "torch.Size": torch.Size,
        "torch.Tensor": Tensor,
    }
    module._get_allowed_globals = lambda: allowed
    return module


def load(module, pickle, storages):
    def storage(pid):
        kind, key, _location, count = pid[1:]
        if not isinstance(kind, Storage):
            raise ValueError("an odd storage")
        bytes = storages[f"data/{key}"]
        values = array.array(kind.kind)
        values.frombytes(bytes)
        if len(values) != count:
            raise ValueError("an odd count")
        return kind.kind, values

    unpickler = module.Unpickler(io.BytesIO(pickle))
    unpickler.encoding = "utf-8"
    unpickler.persistent_load = storage
    return unpickler.load()


def described(found):
    """The tensors of a flat state dict."""
    if not isinstance(found, dict) or not found:
        return "no state dict"
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()):
        return "no flat state dict"
    if sum(value.count for value in found.values()) > LARGEST:
        return "large"
    return {
        name: [list(value.size), hashlib.sha256(value.bytes()).hexdigest()] for name, value in found.items()
    }


def main():
    folder, seed, place, number = sys.argv[1:]
    module = reader(folder)
    with zipfile.ZipFile(seed) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    (top,) = {name.split("/")[0] for name in files}
    storages = {name.split("/", 1)[1]: bytes for name, bytes in files.items()}
    for index in range(int(number)):
        with open(f"{place}/{index}.pkl", "rb") as file:
            pickle = file.read()
        with zipfile.ZipFile(f"{place}/{index}.pth", "w") as archive:
            for name, bytes in files.items():
                archive.writestr(name, pickle if name == f"{top}/data.pkl" else bytes)
        try:
            answer = described(load(module, pickle, storages))
        except Exception as error:
            answer = f"refused: {error!r}"
        print(json.dumps(answer))


main()
