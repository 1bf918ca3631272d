"""Writes the files of this folder with the real packages: torch, torchvision, timm, safetensors.

    pip install torch torchvision timm safetensors numpy && python make.py

Weights follow the rule of tests/it/rule.rs, so that the tests know them without these packages.
"""

import json
import os

import numpy as np
import timm
import torch
import torchvision
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed

HERE = os.path.dirname(os.path.abspath(__file__))


def stream(name, count):
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    with np.errstate(over="ignore"):
        s = np.uint64(h) + np.uint64(0x9E3779B97F4A7C15) * np.arange(1, count + 1, dtype=np.uint64)
        z = (s ^ (s >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def rule(name, shape, offset, scale):
    unit = (stream(name, int(np.prod(shape))) >> np.uint64(40)).astype(np.float64) / 2**23 - 1
    return torch.from_numpy((offset + scale * unit).astype(np.float32).reshape(shape))


def ruled(name, shape):
    last = name.split(".")[-1]
    if last == "weight" and len(shape) > 1:
        return rule(name, shape, 0, np.sqrt(3 / np.prod(shape[1:])))
    if last == "num_batches_tracked":
        return torch.tensor(7)
    usual = {
        "weight": (1, 0.1),
        "bias": (0, 0.05),
        "running_mean": (0, 0.1),
        "running_var": (1, 0.5),
    }
    offset, scale = usual.get(last, (0, 0.5))
    return rule(name, shape, offset, scale)


def place(*names):
    path = os.path.join(HERE, *names)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/ribflow-was-executed",)


class SmallResNet(torchvision.models.ResNet):
    """torchvision's ResNet of basic blocks with 4 channels in place of 64."""

    def __init__(self, classes):
        torch.nn.Module.__init__(self)
        self._norm_layer = torch.nn.BatchNorm2d
        self.inplanes, self.dilation, self.groups, self.base_width = 4, 1, 1, 64
        self.conv1 = torch.nn.Conv2d(3, 4, 7, stride=2, padding=3, bias=False)
        self.bn1 = self._norm_layer(4)
        self.relu = torch.nn.ReLU()
        self.maxpool = torch.nn.MaxPool2d(3, stride=2, padding=1)
        block = torchvision.models.resnet.BasicBlock
        for stage in range(4):
            layer = self._make_layer(block, 4 << stage, 1, stride=1 if stage == 0 else 2)
            setattr(self, f"layer{stage + 1}", layer)
        self.avgpool = torch.nn.AdaptiveAvgPool2d(1)
        self.fc = torch.nn.Linear(32, classes)


model = timm.models.VisionTransformer(
    img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2, num_classes=5
)
state = {name: ruled(name, tuple(t.shape)) for name, t in model.state_dict().items()}
model.load_state_dict(state)
ordered = model.state_dict()

save_file(state, place("vit.safetensors"))
save_file({k: v.half() for k, v in state.items()}, place("vit.f16.safetensors"))
save_file({k: v.bfloat16() for k, v in state.items()}, place("vit.bf16.safetensors"))
torch.save(ordered, place("vit.pth"))
torch.save({"module." + k: v for k, v in ordered.items()}, place("parallel.pth"))
torch.save({"epoch": 3, "state_dict": ordered, "arch": "vit"}, place("wrapped.pth"))
torch.save({k: v.double() for k, v in ordered.items()}, place("double.pth"))
torch.save(ordered, place("legacy.pth"), _use_new_zipfile_serialization=False)
# What training scripts leave beside the state dict, tensors among it.
logged = {"best_acc1": torch.tensor(76.1), "state_dict": ordered, "optimizer": {"state": {}}}
torch.save(logged, place("logged.pth"))
torch.save({"state_dict": {"module." + k: v for k, v in ordered.items()}, "epoch": 3}, place("both.pth"))
# Other orders in memory, and parts of one storage.
patches = state["patch_embed.proj.weight"].to(memory_format=torch.channels_last)
fused = torch.cat([state["blocks.0.mlp.fc1.bias"], state["norm.weight"], state["norm.bias"]])
hidden, width = state["blocks.0.mlp.fc1.bias"].numel(), state["norm.weight"].numel()
strided = {
    **state,
    "patch_embed.proj.weight": patches,
    "blocks.0.attn.qkv.weight": state["blocks.0.attn.qkv.weight"].t().contiguous().t(),
    "blocks.0.mlp.fc1.bias": fused[:hidden],
    "norm.weight": fused[hidden : hidden + width],
    "norm.bias": torch.nn.Parameter(fused[hidden + width :]),
}
torch.save(strided, place("strided.pth"))
torch.save(strided, place("strided.legacy.pth"), _use_new_zipfile_serialization=False)
torch.save({"state_dict": Evil()}, place("evil.pth"))
torch.save({"state_dict": ordered, "args": Evil()}, place("evil.beside.pth"))
torch.save({"state_dict": Evil()}, place("evil.legacy.pth"), _use_new_zipfile_serialization=False)
torch.save(model, place("whole.pth"))

residual = SmallResNet(3).eval()
weights = {name: ruled(name, tuple(t.shape)) for name, t in residual.state_dict().items()}
residual.load_state_dict(weights)
torch.save(residual.state_dict(), place("resnet.pth"))
untracked = {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}
save_file(untracked, place("resnet.untracked.safetensors"))
picture = rule("input.residual", (1, 3, 32, 32), 0, 2)
with torch.no_grad():
    logits = residual(picture).flatten().tolist()
    larger = timm.models.VisionTransformer(
        img_size=48, patch_size=8, embed_dim=16, depth=1, num_heads=2, num_classes=5
    ).eval()
    larger.load_state_dict(timm.models.vision_transformer.checkpoint_filter_fn(state, larger))
    resampled = larger(rule("input.larger", (1, 3, 48, 48), 0, 2)).flatten().tolist()
with open(place("logits.json"), "w") as file:
    json.dump({"resnet": logits, "vit_at_48_pixels": resampled}, file, indent=1)

names = list(state)
shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
for shard, members in shards.items():
    save_file({name: state[name] for name in members}, place("sharded", shard))
index = {
    "metadata": {"total_size": sum(t.numel() * 4 for t in state.values())},
    "weight_map": {name: shard for shard, members in shards.items() for name in members},
}
with open(place("sharded", "model.safetensors.index.json"), "w") as file:
    json.dump(index, file, indent=1)

cases = []
for old, new in [(4, 7), (7, 4), (14, 24), (24, 14), (5, 6)]:
    positions = rule(f"positions.{old}", (1, old * old + 1, 3), 0, 0.5)
    resampled = resample_abs_pos_embed(positions, (new, new), num_prefix_tokens=1)
    cases.append({"from": old, "to": new, "values": resampled.flatten().tolist()})
with open(place("positions.json"), "w") as file:
    json.dump(cases, file)
