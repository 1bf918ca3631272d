"""What PIL, timm and torchvision make of a folder of photographs, for examples/photographs.rs.

    pip install torch==2.15.0 torchvision==0.29.2 timm==1.0.31 safetensors
    python benches/peers/photographs/photographs.py PHOTOGRAPHS OUT

For a ViT-B/16 and a ResNet-50 it fills every tensor by a rule (no download), saves the state dict
as NAME.safetensors, and writes NAME.json: for each photograph the SHA-256 of the u8 pixels after
resize and crop, and the logits.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config

MASK = 0xFFFFFFFFFFFFFFFF


def rule(name, shape, offset, scale):
    """offset + scale * c, c in [-1, 1) by splitmix64 from the FNV-1a hash of the name."""
    count = int(np.prod(shape)) if len(shape) else 1
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = ((state ^ byte) * 0x100000001B3) & MASK
    with np.errstate(over="ignore"):
        z = np.uint64(state) + np.uint64(0x9E3779B97F4A7C15) * np.arange(1, count + 1, dtype=np.uint64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    unit = (z >> np.uint64(40)).astype(np.float64) / 2**23 - 1
    return torch.from_numpy((offset + scale * unit).astype(np.float32).reshape(shape))


def fill(model):
    filled = {}
    for name, tensor in model.state_dict().items():
        last, shape = name.split(".")[-1], tuple(tensor.shape)
        if last == "num_batches_tracked":
            filled[name] = torch.zeros_like(tensor)
        elif last == "weight" and len(shape) > 1:
            filled[name] = rule(name, shape, 0, (3 / np.prod(shape[1:])) ** 0.5)
        else:
            offset, scale = {
                "weight": (1, 0.1),
                "bias": (0, 0.05),
                "running_var": (1, 0.5),
                "running_mean": (0, 0.1),
            }.get(last, (0, 0.5))
            filled[name] = rule(name, shape, offset, scale)
    model.load_state_dict(filled)
    return model.eval()


def u8_and_input(transform, image):
    """The pixels before they become floats, and the model's input."""
    steps = transform.transforms
    first_float = next(i for i, step in enumerate(steps) if "ToTensor" in type(step).__name__)
    for step in steps[:first_float]:
        image = step(image)
    pixels = np.asarray(image)
    for step in steps[first_float:]:
        image = step(image)
    return pixels, image


def timm_vit():
    model = fill(timm.create_model("vit_base_patch16_224.augreg_in1k"))
    return model, create_transform(**resolve_model_data_config(model), is_training=False)


def torchvision_resnet():
    from torchvision import transforms

    steps = [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
    return fill(torchvision.models.resnet50()), transforms.Compose(steps)


def main(photographs, out):
    out.mkdir(parents=True, exist_ok=True)
    files = sorted(p for p in photographs.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    for name, make in [("vit_base_patch16_224.augreg_in1k", timm_vit), ("resnet50", torchvision_resnet)]:
        model, transform = make()
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, out / f"{name}.safetensors")
        images = []
        for file in files:
            pixels, tensor = u8_and_input(transform, Image.open(file).convert("RGB"))
            with torch.no_grad():
                logits = model(tensor[None])[0]
            images.append({
                "path": str(file.relative_to(photographs)),
                "pixels": hashlib.sha256(pixels.tobytes()).hexdigest(),
                "logits": [float(value) for value in logits],
            })
            print(f"\r{name}: {len(images)}/{len(files)}", end="", file=sys.stderr)
        print(file=sys.stderr)
        (out / f"{name}.json").write_text(json.dumps({"model": name, "images": images}))


main(Path(sys.argv[1]), Path(sys.argv[2]))
