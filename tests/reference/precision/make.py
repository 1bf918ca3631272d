"""Makes reference.json: one SGD step after the other, in f32, under torch.autocast on the CPU (with
and without fused attention, which round differently), and in f32 with the inputs and outputs of
every linear layer and convolution, and their gradients, rounded by hand.

    pip install torch==2.15.0 timm==1.0.31
    python tests/reference/precision/make.py > tests/reference/precision/reference.json
"""

import json

import numpy as np
import timm
import timm.layers
import torch

MASK = 0xFFFFFFFFFFFFFFFF
STEPS, BATCH, CLASSES = 8, 8, 10


def bits(name, count):
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = ((state ^ byte) * 0x100000001B3) & MASK
    with np.errstate(over="ignore"):
        z = np.uint64(state) + np.uint64(0x9E3779B97F4A7C15) * np.arange(1, count + 1, dtype=np.uint64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def rule(name, shape, offset, scale):
    unit = (bits(name, int(np.prod(shape))) >> np.uint64(40)).astype(np.float64) / 2**23 - 1
    return torch.from_numpy((offset + scale * unit).astype(np.float32).reshape(shape))


def model():
    net = timm.models.VisionTransformer(
        img_size=32, patch_size=4, embed_dim=64, depth=5, num_heads=2, num_classes=CLASSES
    )
    state = {}
    for name, tensor in net.state_dict().items():
        last, shape = name.split(".")[-1], tuple(tensor.shape)
        if last == "weight" and len(shape) > 1:
            state[name] = rule(name, shape, 0, (3 / np.prod(shape[1:])) ** 0.5)
        else:
            offset, scale = {"weight": (1, 0.1), "bias": (0, 0.05)}.get(last, (0, 0.5))
            state[name] = rule(name, shape, offset, scale)
    net.load_state_dict(state)
    return net.train()


class Rounded(torch.autograd.Function):
    """Rounds a value on its way forward and its gradient on its way back."""

    @staticmethod
    def forward(context, value, dtype):
        context.dtype = dtype
        return value.to(dtype).float()

    @staticmethod
    def backward(context, gradient):
        return gradient.to(context.dtype).float(), None


def by_hand(net, dtype):
    """Lets every linear layer and convolution of `net` round as ribflow defines it."""

    def rounded(value):
        return None if value is None else Rounded.apply(value, dtype)

    def linear(layer):
        weights = lambda: (rounded(layer.weight), rounded(layer.bias))
        return lambda x: rounded(torch.nn.functional.linear(rounded(x), *weights()))

    def convolution(layer):
        weights = lambda: (rounded(layer.weight), rounded(layer.bias))
        return lambda x: rounded(torch.nn.functional.conv2d(rounded(x), *weights(), stride=layer.stride))

    for layer in net.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.forward = linear(layer)
        if isinstance(layer, torch.nn.Conv2d):
            layer.forward = convolution(layer)


def run(dtype, fused=True, hand=False):
    timm.layers.set_fused_attn(fused)
    net = model()
    if hand:
        by_hand(net, dtype)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", enabled=dtype == torch.float16)
    steps = []
    for step in range(STEPS):
        images = rule(f"half.x.{step}", (BATCH, 3, 32, 32), 0, 1)
        labels = torch.from_numpy(((bits(f"half.y.{step}", BATCH) >> np.uint64(33)) % CLASSES).astype(np.int64))
        with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None and not hand):
            logits = net(images)
            loss = torch.nn.functional.cross_entropy(logits, labels)
        optimiser.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimiser)
        norm = torch.sqrt(sum((p.grad.double() ** 2).sum() for p in net.parameters())).item()
        scaler.step(optimiser)
        scaler.update()
        # Where a gradient overflowed, the step was left out.
        gradient = norm if np.isfinite(norm) else None
        steps.append({"loss": loss.item(), "gradient": gradient, "scale": scaler.get_scale()})
    return steps


print(json.dumps({
    "torch": torch.__version__,
    "timm": timm.__version__,
    "f32": run(None),
    "f16": run(torch.float16),
    "f16 unfused": run(torch.float16, fused=False),
    "f16 by hand": run(torch.float16, hand=True),
    "bf16": run(torch.bfloat16),
    "bf16 unfused": run(torch.bfloat16, fused=False),
    "bf16 by hand": run(torch.bfloat16, hand=True),
}))
