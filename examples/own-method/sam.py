"""Sharpness-aware minimisation in PyTorch: each step follows the gradient at the worst point nearby.

Foret, Kleiner, Mobahi, Neyshabur: Sharpness-Aware Minimization for Efficiently Improving
Generalization, ICLR 2021. Reads init/, data/ and params.json; writes out/model.safetensors.
"""

import json
import math

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

import images


def logits(weights, x, vit):
    """The plain vision transformer, from its weights by name."""

    def linear(x, name):
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(x, name):
        scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return F.layer_norm(x, (vit["width"],), scale, shift, vit["norm_eps"])

    patches, bias = weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"]
    x = F.conv2d(x, patches, bias, stride=vit["patch"]).flatten(2).transpose(1, 2)
    x = torch.cat([weights["cls_token"].expand(len(x), -1, -1), x], 1) + weights["pos_embed"]
    for block in range(vit["depth"]):
        name = f"blocks.{block}"
        qkv = linear(norm(x, f"{name}.norm1"), f"{name}.attn.qkv")
        parts = qkv.reshape(len(x), -1, 3, vit["heads"], vit["width"] // vit["heads"])
        attended = F.scaled_dot_product_attention(*parts.permute(2, 0, 3, 1, 4))
        attended = attended.transpose(1, 2).reshape(x.shape)
        x = x + linear(attended, f"{name}.attn.proj")
        hidden = F.gelu(linear(norm(x, f"{name}.norm2"), f"{name}.mlp.fc1"))
        x = x + linear(hidden, f"{name}.mlp.fc2")
    return linear(norm(x, "norm")[:, 0], "head")


def step(weights, loss, optimizer, radius):
    """One step of SAM around SGD or Adam."""
    values = list(weights.values())
    gradients = torch.autograd.grad(loss(), values)
    size = torch.sqrt(sum(gradient.square().sum() for gradient in gradients)) + 1e-12
    moves = [gradient * (radius / size) for gradient in gradients]
    with torch.no_grad():
        for value, move in zip(values, moves):
            value.add_(move)
    for value, gradient in zip(values, torch.autograd.grad(loss(), values)):
        value.grad = gradient
    with torch.no_grad():
        for value, move in zip(values, moves):
            value.sub_(move)
    optimizer.step()


def main():
    with open("params.json") as file:
        params = json.load(file)
    torch.manual_seed(params["seed"])
    torch.use_deterministic_algorithms(True)
    vit, statistics = images.config("init")
    x, y = images.dataset("data")
    x, y = torch.from_numpy(images.normalised(x, statistics)), torch.from_numpy(y)
    weights = load_file("init/tensors.safetensors")
    weights = {name: value.requires_grad_() for name, value in weights.items()}
    optimizer = torch.optim.AdamW(weights.values(), lr=params["lr"], weight_decay=0.01)
    batches = math.ceil(len(x) / params["batch"])
    steps = params["epochs"] * batches
    warmup = max(1, steps // 10)
    shape = lambda at: min((at + 1) / warmup, (1 + math.cos(math.pi * at / steps)) / 2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, shape)
    for epoch in range(params["epochs"]):
        total = 0.0
        for batch in torch.randperm(len(x)).split(params["batch"]):
            inputs = x[batch]
            flipped = torch.rand(len(batch)) < 0.5
            inputs = torch.where(flipped[:, None, None, None], inputs.flip(3), inputs)
            loss = lambda: F.cross_entropy(logits(weights, inputs, vit), y[batch])
            step(weights, loss, optimizer, params["radius"])
            schedule.step()
            with torch.no_grad():
                total += loss().item()
        print(f"epoch {epoch + 1}: loss {total / batches:.4f}", flush=True)
    save_file({name: value.detach() for name, value in weights.items()}, "out/model.safetensors")


main()
