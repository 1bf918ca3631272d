"""Models beside PyTorch, in one interleaved run: forward passes and steps of training.

    python -m venv /tmp/peers && /tmp/peers/bin/pip install torch torchvision timm
    cargo build --release
    /tmp/peers/bin/python benches/peers/train/compare.py target/release/ribflow [NAME…]
        [--rounds 3] [--seconds 4] [--threads 2] [--device cpu] [--json FILE]

A NAME is one of `ribflow bench --list`'s model/…, any batch. Every measurement is a process of its
own, so that its peak memory is its own: ribflow's, then PyTorch's in each of its forms, and so on,
`rounds` times. Told are medians of the rounds' medians, and the ratio of PyTorch to ribflow in one
round each, its median and its least: what else the machine does falls on both. On a busy machine
the ratio of processor time with `--threads 1` says more; with more threads it counts what
PyTorch's spend waiting for each other. PyTorch is represented by the form that was fastest over
all rounds. Of its peak memory `import torch` alone takes what stands in brackets.

The work is the same on both sides: random images of the same shape in memory; forward in evaluation
mode (PyTorch under inference_mode), or zero_grad(set_to_none), forward, cross-entropy, backward and
a step of SGD with momentum 0.9. Models are timm's and torchvision's; the two small ones are written
out below. bf16 is ribflow's precision of that name and PyTorch's autocast.

With `--device cuda` both work there: PyTorch as it is and with torch.compile, TF32 off for f32 as ribflow has
it, every call waited for; memory is then the host's. ribflow must be built with the feature `cuda`.
"""

import argparse
import contextlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time

NAMES = [
    "model/vit_tiny_d6_p4_32/forward/b128/f32",
    "model/vit_tiny_d6_p4_32/train/b128/f32",
    "model/vit_tiny_d6_p4_32/train/b128/bf16",
    "model/resnet20_32/forward/b128/f32",
    "model/resnet20_32/train/b128/f32",
    "model/resnet20_32/train/b128/bf16",
    "model/vit_small_patch16_224/forward/b16/f32",
    "model/vit_small_patch16_224/forward/b16/bf16",
    "model/vit_small_patch16_224/train/b16/f32",
    "model/vit_small_patch16_224/train/b16/bf16",
    "model/vit_base_patch16_224/forward/b16/f32",
    "model/vit_base_patch16_224/forward/b16/bf16",
    "model/vit_base_patch16_224/train/b16/f32",
    "model/vit_base_patch16_224/train/b16/bf16",
    "model/resnet18/forward/b16/f32",
    "model/resnet18/train/b16/f32",
    "model/resnet18/train/b16/bf16",
    "model/resnet50/forward/b16/f32",
    "model/resnet50/train/b16/f32",
    "model/resnet50/train/b16/bf16",
]
MIB = 2**20


def parts(name):
    _, arch, work, batch, *precision = name.split("/")
    return arch, work, int(batch[1:]), precision[0] if precision else "f32"


def forms(name, device):
    """The ways in which PyTorch is tried."""
    layouts = ["nchw", "channels_last"] if "resnet" in name else ["eager"]
    return layouts if device == "cpu" else layouts + [layouts[-1] + ", compiled"]


def tiny_vit():
    import torch
    from torch import nn
    from torch.nn import functional

    class Attention(nn.Module):
        def __init__(self, width, heads):
            super().__init__()
            self.heads = heads
            self.qkv = nn.Linear(width, 3 * width)
            self.proj = nn.Linear(width, width)

        def forward(self, x):
            batch, tokens, width = x.shape
            packed = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads)
            q, k, v = packed.permute(2, 0, 3, 1, 4).unbind(0)
            x = functional.scaled_dot_product_attention(q, k, v)
            return self.proj(x.transpose(1, 2).reshape(batch, tokens, width))

    class Block(nn.Module):
        def __init__(self, width, heads):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
            self.attn = Attention(width, heads)
            self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

        def forward(self, x):
            x = x + self.attn(self.norm1(x))
            return x + self.mlp(self.norm2(x))

    class Vit(nn.Module):
        def __init__(self, width=192, depth=6, heads=3, patch=4, size=32, classes=10):
            super().__init__()
            self.patch = nn.Conv2d(3, width, patch, patch)
            self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
            self.pos_embed = nn.Parameter(0.02 * torch.randn(1, (size // patch) ** 2 + 1, width))
            self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(depth)])
            self.norm = nn.LayerNorm(width, eps=1e-6)
            self.head = nn.Linear(width, classes)

        def forward(self, images):
            x = self.patch(images).flatten(2).transpose(1, 2)
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
            return self.head(self.norm(self.blocks(x)[:, 0]))

    return Vit()


def small_resnet():
    """Stages of three basic blocks with 16, 32 and 64 channels, 1×1 convolutions as shortcuts."""
    from torch import nn

    class Block(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(outputs)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(outputs)
            self.relu = nn.ReLU(inplace=True)
            self.shortcut = nn.Identity()
            if stride != 1 or inputs != outputs:
                convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
                self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(outputs))

        def forward(self, x):
            y = self.relu(self.bn1(self.conv1(x)))
            return self.relu(self.bn2(self.conv2(y)) + self.shortcut(x))

    layers = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)]
    inputs = 16
    for stage in range(3):
        for index in range(3):
            layers.append(Block(inputs, 16 << stage, 2 if stage and not index else 1))
            inputs = 16 << stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def network(arch):
    if arch == "vit_tiny_d6_p4_32":
        return tiny_vit(), 32
    if arch == "resnet20_32":
        return small_resnet(), 32
    if arch.startswith("resnet"):
        import torchvision

        return getattr(torchvision.models, arch)(), 224
    import timm

    model = timm.create_model(arch)
    return model, model.patch_embed.img_size[0]


def work_of(name, form, device):
    """What PyTorch does in one call."""
    import torch

    arch, work, batch, precision = parts(name)
    model, size = network(arch)
    model = model.to(device)
    images = torch.randn(batch, 3, size, size, device=device)
    if form.startswith("channels_last"):
        model = model.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    with torch.no_grad():
        classes = model.eval()(images[:2]).shape[1]
    if form.endswith("compiled"):
        model = torch.compile(model)
    autocast = lambda: contextlib.nullcontext()
    if precision != "f32":
        autocast = lambda: torch.autocast(device, getattr(torch, {"bf16": "bfloat16", "f16": "float16"}[precision]))
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    if work == "forward":
        model.eval()

        def forward():
            with torch.inference_mode(), autocast():
                model(images)
            wait()

        return forward

    model.train()
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    labels = torch.arange(batch, device=device) % classes

    def step():
        optimiser.zero_grad(set_to_none=True)
        with autocast():
            loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimiser.step()
        wait()

    return step


def torch_side(name, form, seconds, threads, device):
    """One measurement, as `ribflow bench` takes its own; printed as JSON."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    imports = peak_bytes()
    work = work_of(name, form, device)
    # A compiled one takes a second call to come to rest.
    work()
    work()
    rounds, begin, cpu = [], time.perf_counter(), time.process_time()
    while len(rounds) < 3 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        work()
        rounds.append(1e3 * (time.perf_counter() - start))
    found = {
        "median": statistics.median(rounds),
        "least": min(rounds),
        "cpu": 1e3 * (time.process_time() - cpu) / len(rounds),
        "peak": peak_bytes(),
        "imports": imports,
    }
    print(json.dumps(found))


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measured(command):
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(found.stdout.strip().splitlines()[-1])


def peer(name, form, options):
    command = [sys.executable, os.path.abspath(__file__), "--torch", name, form]
    return measured(command + [str(options.seconds), str(options.threads), options.device])


def ours(name, options):
    """The measurement, and the machine in ribflow's words."""
    command = [options.binary, "bench", name, "--json", "--threads", str(options.threads)]
    document = measured(command + ["--seconds", str(options.seconds), "--device", options.device])
    (found,) = document["results"]
    wall = found["wall_ms"]
    times = {"median": wall["median"], "least": wall["least"], "cpu": found["cpu_ms"]}
    return times | {"peak": found["peak_bytes"]}, document["machine"]


def compare(name, options):
    """All rounds of one work, and what comes of them."""
    rounds = {"ribflow": [], **{form: [] for form in forms(name, options.device)}}
    for _ in range(options.rounds):
        found, machine = ours(name, options)
        rounds["ribflow"].append(found)
        for form in forms(name, options.device):
            rounds[form].append(peer(name, form, options))
    median = lambda who, what: statistics.median(each[what] for each in rounds[who])
    best = min(forms(name, options.device), key=lambda form: median(form, "median"))
    pairs = list(zip(rounds[best], rounds["ribflow"]))
    ratios = [theirs["median"] / own["median"] for theirs, own in pairs]
    return {
        "name": name,
        "ribflow_ms": median("ribflow", "median"),
        "ribflow_least_ms": min(each["least"] for each in rounds["ribflow"]),
        "torch_ms": median(best, "median"),
        "torch_least_ms": min(each["least"] for each in rounds[best]),
        "torch_form": best,
        "ratio": statistics.median(ratios),
        "ratio_least": min(ratios),
        "ratio_cpu": statistics.median(theirs["cpu"] / own["cpu"] for theirs, own in pairs),
        "ribflow_mib": median("ribflow", "peak") / MIB,
        "torch_mib": median(best, "peak") / MIB,
        "torch_imports_mib": median(best, "imports") / MIB,
        "load": os.getloadavg()[0],
        "machine": machine,
        "rounds": rounds,
    }


def show(found):
    memory = found["torch_mib"] / found["ribflow_mib"]
    print(
        f"| {found['name'].removeprefix('model/')} | {found['ribflow_ms']:.0f} ({found['ribflow_least_ms']:.0f})"
        f" | {found['torch_ms']:.0f} ({found['torch_least_ms']:.0f}) {found['torch_form']}"
        f" | {found['ratio']:.2f} | {found['ratio_least']:.2f} | {found['ratio_cpu']:.2f}"
        f" | {found['ribflow_mib']:.0f} | {found['torch_mib']:.0f} ({found['torch_imports_mib']:.0f}) | {memory:.2f} |",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", help="the ribflow of a release build")
    parser.add_argument("names", nargs="*", metavar="NAME", default=NAMES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement, at least")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--json", metavar="FILE", help="write everything there")
    options = parser.parse_args()
    options.binary = os.path.abspath(options.binary)
    versions = "import torch, torchvision, timm; print(torch.__version__, torchvision.__version__, timm.__version__)"
    versions = subprocess.run([sys.executable, "-c", versions], capture_output=True, text=True, check=True).stdout.split()
    versions = dict(zip(["torch", "torchvision", "timm"], versions), python=platform.python_version())
    print(f"{versions}, {options.device}, {options.threads} threads, {options.rounds} rounds of {options.seconds} s")
    print("| work | ribflow, ms (least) | torch, ms (least) | torch/ribflow | least | of CPU time | ribflow, MiB | torch, MiB (import) | torch/ribflow |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    results = []
    for name in options.names:
        results.append(compare(name, options))
        show(results[-1])
        if options.json:
            document = {"versions": versions, "threads": options.threads, "seconds": options.seconds, "results": results}
            with open(options.json, "w") as file:
                json.dump(document, file, indent=1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--torch"]:
        name, form, seconds, threads, device = sys.argv[2:]
        torch_side(name, form, float(seconds), int(threads), device)
    else:
        main()
