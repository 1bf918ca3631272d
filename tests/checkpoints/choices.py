"""Writes choices/: files of torch.save with several state dicts each, and which of them timm takes.

    pip install torch && pip download timm==1.0.31 --no-deps && python choices.py timm-1.0.31-*.whl

Every state dict is one tensor, `head.bias`, whose value tells it from the others. choices.json
holds the value that timm's load_state_dict comes to, and null where it finds no tensor.
"""

import importlib.util
import json
import sys
import tempfile
import zipfile
from pathlib import Path

import torch

here = Path(__file__).parent / "choices"
here.mkdir(exist_ok=True)


def state(value, prefix=""):
    return {f"{prefix}head.bias": torch.tensor([float(value)])}


files = {
    "state_dict": {"epoch": 3, "state_dict": state(1), "state_dict_ema": state(2)},
    "state_dict.reversed": {"state_dict_ema": state(2), "state_dict": state(1)},
    "model": {"model": state(1), "model_ema": state(2), "optimizer": {"state": {}, "lr": 0.1}},
    "both_averages": {"model_ema": state(1), "state_dict_ema": state(2)},
    "both_weights": {"model": state(1), "state_dict": state(2)},
    "average_of_the_other": {"state_dict": state(1), "model": state(3), "model_ema": state(2)},
    "no_average": {"state_dict": state(1), "state_dict_ema": None},
    "parallel": {"model": state(1, "module."), "model_ema": state(2, "module.")},
    "compiled": {"state_dict": state(1), "state_dict_ema": state(2, "_orig_mod.module.")},
    "swa": {"state_dict": state(1), "swa_state_dict": state(2)},
    "model_state_dict": {"model": state(1), "model_state_dict": state(2)},
    "params": {"params": state(1), "params_ema": state(2)},
    "lightning": {"state_dict": {**state(1, "net."), **state(2, "ema.net.")}},
    "nested": {"networks": {"teacher": state(2), "student": state(1)}, "step": 5},
    "empty_average": {"state_dict": state(1), "state_dict_ema": {}},
}


def helpers(wheel):
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(wheel).extract("timm/models/_helpers.py", folder)
        place = Path(folder, "timm/models/_helpers.py")
        spec = importlib.util.spec_from_file_location("helpers", place)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


timm = helpers(sys.argv[1])
taken = {}
for name, content in files.items():
    file = here / f"{name}.pth"
    torch.save(content, file)
    found = timm.load_state_dict(str(file), weights_only=False).get("head.bias")
    taken[name] = None if found is None else found.item()
torch.save(files["state_dict"], here / "legacy.pth", _use_new_zipfile_serialization=False)
taken["legacy"] = taken["state_dict"]
(here / "choices.json").write_text(json.dumps(taken, indent=1) + "\n")
