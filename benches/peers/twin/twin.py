"""Trains twin.yaml's grid with PyTorch and timm and compares every number with ribflow's.

    pip install torch timm pillow numpy blake3 safetensors
    python twin.py PHOTOS WORK [path of ribflow]

PHOTOS holds train/ and test/ with a folder of images per class (CIFAR-10 was used); WORK is a
folder for the derived images and everything else. Never needed to build or test ribflow.
"""

import copy
import glob
import json
import os
import subprocess
import sys
from pathlib import Path

import blake3
import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter, ImageOps
from safetensors.torch import load_file

HERE = Path(__file__).resolve().parent
PER_CLASS = {"train": 30, "test": 60}
EPOCHS, BATCH, LR, WARMUP = 3, 50, 0.01, 5
DOMAINS, SEEDS = ["negative", "blur"], [0, 1, 2]
TESTS = ["photo"] + DOMAINS
METHODS = ["ft", "lp", "lp-released", "lpft", "lora", "prompt", "lwf", "ewc", "wise-50", "soup"]


class Stream:
    """ribflow's named random numbers: ChaCha8 keyed with BLAKE3 of seed and purpose."""

    def __init__(self, seed, purpose):
        hasher = blake3.blake3(derive_key_context="ribflow 2026 random stream v1")
        hasher.update(seed.to_bytes(8, "little") + purpose.encode())
        self.key = np.frombuffer(hasher.digest(), dtype="<u4").copy()
        self.block, self.words = 0, []

    def refill(self):
        count = 64
        counters = np.arange(self.block, self.block + count, dtype=np.uint64)
        constants = np.frombuffer(b"expand 32-byte k", dtype="<u4")
        state = np.zeros((16, count), dtype=np.uint32)
        state[:4] = constants[:, None]
        state[4:12] = self.key[:, None]
        state[12] = (counters & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        state[13] = (counters >> np.uint64(32)).astype(np.uint32)
        x = state.copy()

        def turn(value, by):
            return (value << np.uint32(by)) | (value >> np.uint32(32 - by))

        def quarter(a, b, c, d):
            x[a] += x[b]
            x[d] = turn(x[d] ^ x[a], 16)
            x[c] += x[d]
            x[b] = turn(x[b] ^ x[c], 12)
            x[a] += x[b]
            x[d] = turn(x[d] ^ x[a], 8)
            x[c] += x[d]
            x[b] = turn(x[b] ^ x[c], 7)

        for _ in range(4):
            for column in range(4):
                quarter(column, 4 + column, 8 + column, 12 + column)
            quarter(0, 5, 10, 15)
            quarter(1, 6, 11, 12)
            quarter(2, 7, 8, 13)
            quarter(3, 4, 9, 14)
        self.block += count
        self.words.extend((x + state).T.reshape(-1).tolist())

    def bits(self):
        if len(self.words) < 2:
            self.refill()
        low, high = self.words[0], self.words[1]
        del self.words[:2]
        return low | high << 32

    def uniform(self):
        return (self.bits() >> 11) / 2**53

    def below(self, count):
        while True:
            product = self.bits() * count
            if product & (2**64 - 1) >= (2**64 - count) % count:
                return product >> 64

    def normal(self):
        radius = np.sqrt(-2.0 * np.log(1.0 - self.uniform()))
        return radius * np.cos(2.0 * np.pi * self.uniform())

    def permutation(self, count):
        order = list(range(count))
        for last in range(count - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order


def derive(photos, data):
    looks = {
        "photo": lambda image: image,
        "negative": ImageOps.invert,
        "blur": lambda image: image.filter(ImageFilter.GaussianBlur(1.2)),
    }
    for split, count in PER_CLASS.items():
        for folder in sorted(p for p in (photos / split).iterdir() if p.is_dir()):
            for file in sorted(folder.iterdir())[:count]:
                image = Image.open(file).convert("RGB")
                for look, change in looks.items():
                    target = data / look / split / folder.name
                    target.mkdir(parents=True, exist_ok=True)
                    change(image).save(target / (file.stem + ".png"))


def images(folder):
    classes = sorted(p.name for p in folder.iterdir() if p.is_dir())
    pixels, labels = [], []
    for label, name in enumerate(classes):
        for file in sorted((folder / name).iterdir()):
            array = np.asarray(Image.open(file).convert("RGB"), dtype=np.float32) / np.float32(255)
            pixels.append((array - np.float32(0.5)) / np.float32(0.5))
            labels.append(label)
    return torch.from_numpy(np.stack(pixels).transpose(0, 3, 1, 2).copy()), torch.tensor(labels)


def network(state, dtype):
    model = timm.models.VisionTransformer(
        img_size=32, patch_size=4, embed_dim=64, depth=5, num_heads=2, num_classes=10
    )
    model.load_state_dict(state)
    return model.to(dtype)


def rate(step, total):
    if step < WARMUP:
        return LR * (step + 1) / WARMUP
    return 0.5 * LR * (1 + np.cos(np.pi * (step - WARMUP) / (total - WARMUP)))


class Lora(torch.nn.Module):
    def __init__(self, linear, name, seed, rank=4, alpha=4.0):
        super().__init__()
        self.linear, self.scale, width = linear, alpha / rank, linear.in_features
        stream = Stream(seed, f"init/{name}.lora_A")
        bound = 1 / np.sqrt(width)
        values = [-bound + 2 * bound * stream.uniform() for _ in range(2 * rank * width)]
        a = torch.tensor(np.array(values, dtype=np.float32)).reshape(2 * rank, width)
        self.a = torch.nn.Parameter(a.to(linear.weight.dtype))
        self.b = torch.nn.Parameter(torch.zeros(2 * width, rank, dtype=linear.weight.dtype))
        self.width, self.rank = width, rank

    def weight(self):
        w, r = self.width, self.rank
        change = torch.zeros_like(self.linear.weight)
        queries = self.b[:w] @ self.a[:r] * self.scale
        values = self.b[w:] @ self.a[r:] * self.scale
        return self.linear.weight + torch.cat([queries, change[w : 2 * w], values])

    def forward(self, x):
        return F.linear(x, self.weight(), self.linear.bias)


class Prompted(torch.nn.Module):
    def __init__(self, model, seed, pad=4, size=32):
        super().__init__()
        self.model, inner = model, size - 2 * pad
        shapes = {"up": (pad, size), "down": (pad, size), "left": (inner, pad), "right": (inner, pad)}
        for side, (rows, columns) in shapes.items():
            stream = Stream(seed, f"init/prompter.pad_{side}")
            values = np.array([stream.normal() for _ in range(3 * rows * columns)], dtype=np.float32)
            value = torch.from_numpy(values).reshape(1, 3, rows, columns)
            dtype = next(model.parameters()).dtype
            setattr(self, side, torch.nn.Parameter(value.to(dtype)))
        self.inner = inner

    def forward(self, x):
        hole = torch.zeros(1, 3, self.inner, self.inner, dtype=x.dtype)
        middle = torch.cat([self.left, hole, self.right], 3)
        return self.model(x + torch.cat([self.up, middle, self.down], 2))


def prepared(method, seed, start, init, dtype, strength=0.1):
    """The module to train, its trained parameters requiring gradients, and what its loss adds for
    logits and a batch; `start` is the pre-trained state, `init` where this training begins."""
    model = network(init, dtype).train()
    outer = ("cls_token", "pos_embed", "norm.")
    penalty = lambda logits, batch: 0.0
    if method == "lp":
        trained = lambda name: name.startswith("head.")
        model.eval()
    elif method == "lp-released":
        trained = lambda name: name.startswith(outer + ("head.",))
    elif method == "lora":
        trained = lambda name: name.startswith(outer) or name.endswith((".a", ".b"))
        for index, block in enumerate(model.blocks):
            block.attn.qkv = Lora(block.attn.qkv, f"blocks.{index}.attn.qkv", seed)
    elif method == "prompt":
        model = Prompted(model.eval(), seed)
        trained = lambda name: not name.startswith("model.")
    else:
        trained = lambda name: True
    if method == "lwf":
        teacher = network(start, dtype).eval()

        def penalty(logits, batch):
            with torch.no_grad():
                taught = F.log_softmax(teacher(batch) / 2, 1)
            return F.kl_div(F.log_softmax(logits / 2, 1), taught, reduction="batchmean", log_target=True)

    if method == "ewc":
        anchor = {name: value.detach().clone() for name, value in model.named_parameters()}

        def penalty(logits, batch):
            pulls = [((value - anchor[name]) ** 2).sum() for name, value in model.named_parameters()]
            return strength * sum(pulls)

    for name, value in model.named_parameters():
        value.requires_grad = trained(name)
    return model, penalty


def train(method, seed, start, init, data, dtype):
    """The trained module."""
    pixels, labels = data
    pixels = pixels.to(dtype)
    model, penalty = prepared(method, seed, start, init, dtype)
    parameters = [value for value in model.parameters() if value.requires_grad]
    optimiser = torch.optim.SGD(parameters, lr=LR, momentum=0.9)
    steps = -(-len(labels) // BATCH)
    for epoch in range(EPOCHS):
        order = Stream(seed, f"order/{epoch}").permutation(len(labels))
        for index in range(steps):
            chosen = order[index * BATCH : (index + 1) * BATCH]
            for group in optimiser.param_groups:
                group["lr"] = rate(epoch * steps + index, steps * EPOCHS)
            logits = model(pixels[chosen])
            loss = F.cross_entropy(logits, labels[chosen]) + penalty(logits, pixels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.eval()


def predictions(model, pixels):
    dtype = next(model.parameters()).dtype
    with torch.no_grad():
        return torch.cat([model(part.to(dtype)).argmax(1) for part in pixels.split(64)])


def average(states):
    return {k: sum(s[k].double() for s in states).div(len(states)).float() for k in states[0]}


def grid(start, data, dtype, seeds):
    """Predictions by (domain, method, seed, test)."""
    found = {}
    for domain in DOMAINS:
        for seed in seeds:
            states = {}
            for method in METHODS:
                if method in ("wise-50", "soup"):
                    members = ["ft"] if method == "wise-50" else ["ft", "ewc", "lwf"]
                    model = network(average([start] + [states[m] for m in members]), dtype).eval()
                else:
                    init = states["lp-released"] if method == "lpft" else start
                    kind = "ft" if method == "lpft" else method
                    model = train(kind, seed, start, init, data["train"][domain], dtype)
                    if method in ("ft", "ewc", "lwf", "lp-released"):
                        states[method] = {k: v.clone() for k, v in model.state_dict().items()}
                for test in TESTS:
                    found[domain, method, seed, test] = predictions(model, data["test"][test][0])
    return found


def exported(state, dtype):
    """A module with the weights that ribflow exported, a visual prompt included."""
    prompt = {k: state.pop(k) for k in list(state) if k.startswith("prompter.")}
    model = network(state, dtype)
    if prompt:
        model = Prompted(model, 0)
        for side in ("up", "down", "left", "right"):
            getattr(model, side).data = prompt[f"prompter.pad_{side}"].to(dtype)
    return model.eval()


def main():
    photos, work = Path(sys.argv[1]), Path(sys.argv[2]).resolve()
    ribflow = sys.argv[3] if len(sys.argv) > 3 else "ribflow"
    work.mkdir(parents=True, exist_ok=True)
    derive(photos, work / "data")
    workflow = str(HERE / "twin.yaml")
    places = ["--store", str(work / "cache"), "--out", str(work / "out")]
    environment = dict(os.environ, TWIN_DATA=str(work / "data"))

    def run(*words):
        subprocess.run([ribflow, *words, *places, "-q"], check=True, env=environment)

    run("run", workflow)
    if not (work / "pretrained").exists():
        run("get", workflow, "pretrained", "-o", str(work / "pretrained"))
    start = load_file(glob.glob(str(work / "pretrained/*.safetensors"))[0])
    results = json.load(open(work / "out/twin/results.json"))
    ours = {}
    for node in results["nodes"]:
        if node["stage"] == "accuracy":
            axes = node["axes"]
            key = (axes["domain"], axes["method"], int(axes["seed"]), axes["test"])
            ours[key] = node["metrics"]["top1"]["value"]
    data = {split: {test: images(work / "data" / test / split) for test in TESTS} for split in PER_CLASS}
    torch.set_num_threads(2)
    single = grid(start, data, torch.float32, SEEDS)
    # What rounding alone does, on the first seed.
    double = grid(start, data, torch.float64, SEEDS[:1])

    rows, equal32, equal64, worst = [], 0, 0, 0.0
    total, total_double = 0, 0
    for method in METHODS:
        gaps, same, same_double, count, count_double = [], 0, 0, 0, 0
        for domain in DOMAINS:
            for seed in SEEDS:
                node = f"tuned[domain={domain},method={method},seed={seed}]"
                folder = work / "models" / node
                if not folder.exists():
                    run("get", workflow, node, "-o", str(folder))
                model = exported(load_file(glob.glob(str(folder).replace("[", "[[]") + "/*.safetensors")[0]), torch.float32)
                for test in TESTS:
                    key = (domain, method, seed, test)
                    pixels, labels = data["test"][test]
                    mine = predictions(model, pixels)
                    # ribflow's own evaluation of its model, against PyTorch's of the same.
                    accuracy = 100 * (mine == labels).double().mean().item()
                    assert abs(accuracy - ours[key]) < 1e-9 or abs(accuracy - ours[key]) <= 100 / len(labels), key
                    gaps.append(abs(100 * (single[key] == labels).double().mean().item() - ours[key]))
                    same += (mine == single[key]).sum().item()
                    count += len(labels)
                    if key in double:
                        same_double += (double[key] == single[key]).sum().item()
                        count_double += len(labels)
        rows.append((method, max(gaps), 100 * same / count, 100 * same_double / count_double))
        equal32, equal64 = equal32 + same, equal64 + same_double
        total, total_double = total + count, total_double + count_double

    def ri(accuracies, before):
        tested = {d: [t for t in DOMAINS if t != d] for d in DOMAINS}
        values = [
            np.mean([accuracies(d, t) - before[t] for t in tested[d]]) for d in DOMAINS
        ]
        return float(np.mean(values))

    before = {}
    base = network(start, torch.float32).eval()
    for test in TESTS:
        pixels, labels = data["test"][test]
        before[test] = 100 * (predictions(base, pixels) == labels).double().mean().item()
    print("| method | largest accuracy difference | predictions equal | PyTorch f32 and f64 equal | mRI ribflow | mRI PyTorch |")
    print("|---|---|---|---|---|---|")
    for method, gap, same, same_double in rows:
        def mean_of(of):
            return ri(lambda d, t: np.mean([of(d, method, s, t) for s in SEEDS]), before)

        own = mean_of(lambda *key: ours[key])

        def torch_accuracy(*key):
            labels = data["test"][key[3]][1]
            return 100 * (single[key] == labels).double().mean().item()

        theirs = mean_of(torch_accuracy)
        print(f"| {method} | {gap:.2f} | {same:.3f} % | {same_double:.3f} % | {own:+.3f} | {theirs:+.3f} |")
    print(f"\n{total} predictions: {100 * equal32 / total:.4f} % equal; PyTorch's f32 and f64: {100 * equal64 / total_double:.4f} %")


if __name__ == "__main__":
    main()
