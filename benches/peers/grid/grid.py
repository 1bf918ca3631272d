"""A whole grid of methods, cold and after one more method: ribflow beside PyTorch programs.

    pip install torch torchvision timm pillow numpy blake3 safetensors
    python benches/peers/grid/grid.py PHOTOS WORK target/release/ribflow
        [--rounds 1] [--seeds 3] [--json FILE]

The grid is that of ../twin/twin.yaml (ten methods, two domains, three seeds, each model tested on
three folders), PHOTOS and WORK are as twin.py has them. Everybody uses two threads. The programs,
each in a process of its own:

* ribflow: `ribflow run` into a fresh store, then once more with an eleventh method in the file.
* released: the structure of ImageNet-RIB's released code. Each cell by itself; every image decoded
  again from its file in every epoch, through a DataLoader with two workers; the teacher of LwF run
  again for every batch; images decoded again for every pair of a model and a test.
* released, no workers: the same with the images decoded by the program itself, as starting workers
  costs more than decoding where there are as few images as here.
* competent: every image decoded once and kept as u8 in memory, the teacher's logits kept for every
  image, evaluation in large batches.

PyTorch's programs pre-train for the time it takes and begin the grid with ribflow's weights, in
ribflow's order of images, so that all accuracies can be compared. Their times leave out starting
Python and its imports; ribflow's are those of the whole process. Their threads sleep while they
wait (OMP_WAIT_POLICY), which suits a machine with other work. After one more method they run
everything again; "cells" is the new ones only, what a careful user runs by hand.

Printed are wall seconds and, for machines with other work, seconds of processor time.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TWIN = HERE.parent / "twin"
ADDED = "ewc-1"
STRENGTH = 1.0
PRETRAINING = 8
PEERS = ["released", "released, no workers", "competent"]


def clock():
    """Wall seconds, and processor seconds of this process and the children that ended."""
    return time.perf_counter(), sum(os.times()[:4])


def since(begin):
    return [now - then for now, then in zip(clock(), begin)]


def peer(name, work, count):
    """Seconds of everything but imports, and all accuracies, for `count` seeds."""
    sys.path.insert(0, str(TWIN))
    import numpy as np
    import torch
    import torch.nn.functional as F
    import twin
    from PIL import Image
    from safetensors.torch import load_file
    from torchvision import transforms

    torch.set_num_threads(2)
    workers = 2 if name == "released" else 0
    data = work / "data"
    start = load_file(next((work / "pretrained").glob("*.safetensors")))
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])

    class Files(torch.utils.data.Dataset):
        """As ImageFolder, with each image's number."""

        def __init__(self, folder):
            classes = sorted(path for path in folder.iterdir() if path.is_dir())
            self.files = [(file, label) for label, name in enumerate(classes) for file in sorted(name.iterdir())]

        def __len__(self):
            return len(self.files)

        def __getitem__(self, index):
            file, label = self.files[index]
            return transform(Image.open(file).convert("RGB")), label, index

    class Decoding:
        """Batches of images that are decoded whenever they are asked for."""

        def batches(self, test, split, order=None, batch=64):
            files = Files(data / test / split)
            loader = torch.utils.data.DataLoader(files, batch, sampler=order, num_workers=workers)
            yield from loader

        def taught(self, test, teacher):
            return None

    class Keeping:
        """Batches of images that are decoded once."""

        def __init__(self):
            self.kept, self.logits = {}, {}

        def images(self, test, split):
            if (test, split) not in self.kept:
                files = Files(data / test / split).files
                arrays = [np.asarray(Image.open(file).convert("RGB")) for file, _ in files]
                pixels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()
                self.kept[test, split] = pixels, torch.tensor([label for _, label in files])
            return self.kept[test, split]

        def batches(self, test, split, order=None, batch=150):
            pixels, labels = self.images(test, split)
            order = torch.arange(len(labels)) if order is None else torch.tensor(order)
            for chosen in order.split(batch):
                floats = pixels[chosen].float().div_(255).sub_(0.5).div_(0.5)
                yield floats, labels[chosen], chosen

        def taught(self, test, teacher):
            if test not in self.logits:
                with torch.inference_mode():
                    parts = [teacher(pixels) for pixels, _, _ in self.batches(test, "train")]
                self.logits[test] = F.log_softmax(torch.cat(parts) / 2, 1).clone()
            return self.logits[test]

    source = Keeping() if name == "competent" else Decoding()

    def trained(model, penalty, optimiser, domain, seed, epochs, rate, taught=None):
        count = sum(1 for _ in Files(data / domain / "train").files)
        steps = -(-count // twin.BATCH)
        for epoch in range(epochs):
            order = twin.Stream(seed, f"order/{epoch}").permutation(count)
            batches = source.batches(domain, "train", order, twin.BATCH)
            for index, (pixels, labels, chosen) in enumerate(batches):
                for group in optimiser.param_groups:
                    group["lr"] = rate(epoch * steps + index, steps * epochs)
                logits = model(pixels)
                if taught is None:
                    added = penalty(logits, pixels)
                else:
                    found = F.log_softmax(logits / 2, 1)
                    added = F.kl_div(found, taught[chosen], reduction="batchmean", log_target=True)
                loss = F.cross_entropy(logits, labels) + added
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        return model.eval()

    def pretrained():
        model = twin.network(start, torch.float32).train()
        optimiser = torch.optim.AdamW(model.parameters(), lr=0.001, weight_decay=0.05)
        trained(model, lambda *_: 0.0, optimiser, "photo", 0, PRETRAINING, lambda *_: 0.001)

    def tuned(method, domain, seed, states):
        kind = {"lpft": "ft", ADDED: "ewc"}.get(method, method)
        init = states["lp-released"] if method == "lpft" else start
        strength = STRENGTH if method == ADDED else 0.1
        model, penalty = twin.prepared(kind, seed, start, init, torch.float32, strength)
        taught = None
        if kind == "lwf":
            taught = source.taught(domain, twin.network(start, torch.float32).eval())
        parameters = [value for value in model.parameters() if value.requires_grad]
        optimiser = torch.optim.SGD(parameters, lr=twin.LR, momentum=0.9)
        return trained(model, penalty, optimiser, domain, seed, twin.EPOCHS, twin.rate, taught)

    def averaged(method, states):
        members = ["ft"] if method == "wise-50" else ["ft", "ewc", "lwf"]
        mean = twin.average([start] + [states[member] for member in members])
        return twin.network(mean, torch.float32).eval()

    def accuracy(model, test):
        right = count = 0
        with torch.inference_mode():
            for pixels, labels, _ in source.batches(test, "test"):
                right += (model(pixels).argmax(1) == labels).sum().item()
                count += len(labels)
        return 100 * right / count

    def cell(method, domain, seed, states):
        if method in ("wise-50", "soup"):
            model = averaged(method, states)
        else:
            model = tuned(method, domain, seed, states)
        if method in ("ft", "ewc", "lwf", "lp-released"):
            states[method] = {name: value.clone() for name, value in model.state_dict().items()}
        return {f"{domain}/{method}/{seed}/{test}": accuracy(model, test) for test in twin.TESTS}

    seconds, accuracies = {}, {}

    def clocked(what, work):
        begin = clock()
        made = work()
        seconds[what] = [a + b for a, b in zip(seconds.get(what, (0.0, 0.0)), since(begin))]
        return made

    clocked("pretraining", pretrained)
    base = twin.network(start, torch.float32).eval()
    clocked("baseline", lambda: [accuracy(base, test) for test in twin.TESTS])
    for domain in twin.DOMAINS:
        for seed in twin.SEEDS[:count]:
            states = {}
            for method in twin.METHODS + [ADDED]:
                accuracies |= clocked(method, lambda: cell(method, domain, seed, states))
    return {"seconds": seconds, "accuracies": accuracies}


def eleven(work):
    """twin.yaml with one more method."""
    text = (TWIN / "twin.yaml").read_text()
    last = "    - { id: soup, of: [ft, ewc, lwf] }\n"
    assert last in text
    added = f"    - {{ id: {ADDED}, kind: ewc, strength: {STRENGTH} }}\n"
    path = work / "eleven.yaml"
    path.write_text(text.replace(last, last + added))
    return path


def ours(binary, work, count):
    """Seconds of a cold run, of one after an added method and of one with nothing to do."""
    store, out = work / "grid-store", work / "grid-out"
    shutil.rmtree(store, ignore_errors=True)
    places = ["--store", str(store), "--out", str(out), "--threads", "2", "-q"]
    places += ["--set", f"axes.seed={list(range(count))}"]
    environment = dict(os.environ, TWIN_DATA=str(work / "data"))

    def run(*words):
        begin = clock()
        subprocess.run([binary, *words, *places], check=True, env=environment)
        return since(begin)

    added = str(eleven(work))
    found = {"cold": run("run", str(TWIN / "twin.yaml")), "added": run("run", added), "again": run("run", added)}
    if not (work / "pretrained").exists():
        command = [binary, "get", added, "pretrained", "-o", str(work / "pretrained"), "--store", str(store), "-q"]
        subprocess.run(command, check=True, env=environment)
    return found | {"accuracies": accuracies(out)}


def accuracies(out):
    (path,) = out.glob("*/results.json")
    found = {}
    for node in json.loads(path.read_text())["nodes"]:
        if node["stage"] == "accuracy":
            axes = node["axes"]
            key = f"{axes['domain']}/{axes['method']}/{axes['seed']}/{axes['test']}"
            found[key] = node["metrics"]["top1"]["value"]
    return found


def theirs(name, work, count):
    command = [sys.executable, os.path.abspath(__file__), "--peer", name, str(work), str(count)]
    environment = dict(os.environ, OMP_WAIT_POLICY="PASSIVE")
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found = json.loads(ran.stdout.splitlines()[-1])
    seconds = found["seconds"]
    everything = [sum(of) for of in zip(*seconds.values())]
    before = [whole - part for whole, part in zip(everything, seconds[ADDED])]
    return found | {"cold": before, "added": everything, "cells": seconds[ADDED]}


def prepared(photos, work):
    if not (work / "data").exists():
        sys.path.insert(0, str(TWIN))
        import twin

        work.mkdir(parents=True, exist_ok=True)
        twin.derive(photos, work / "data")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="train/ and test/ with a folder of images per class")
    parser.add_argument("work", type=Path, help="a folder for everything that is made")
    parser.add_argument("binary", help="the ribflow of a release build")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE", help="write everything there")
    options = parser.parse_args()
    work = options.work.resolve()
    prepared(options.photos, work)
    rounds = []
    for _ in range(options.rounds):
        found = {"ribflow": ours(os.path.abspath(options.binary), work, options.seeds)}
        for name in PEERS:
            found[name] = theirs(name, work, options.seeds)
            print(f"{name}: {found[name]['cold'][0]:.1f} s (load {os.getloadavg()[0]:.1f})", file=sys.stderr, flush=True)
        rounds.append(found)
    report(rounds)
    if options.json:
        Path(options.json).write_text(json.dumps(rounds, indent=1))


def report(rounds):
    for kind, clocked in enumerate(("wall", "processor")):
        print(f"seconds of {clocked} time, ratios to ribflow's")

        def median(of):
            return statistics.median(of(found) for found in rounds)

        for what in ("cold", "added", "again"):
            print(f"  ribflow, {what:<28} {median(lambda found: found['ribflow'][what][kind]):8.2f}")
        for name in PEERS:
            for what, against in (("cold", "cold"), ("added", "added"), ("cells", "added")):
                value = median(lambda found: found[name][what][kind])
                ratio = median(lambda found: found[name][what][kind] / found["ribflow"][against][kind])
                print(f"  {f'{name}, {what}':<37} {value:8.2f}   x{ratio:.2f}")
    for name in PEERS:
        gaps = [
            abs(found[name]["accuracies"][key] - value)
            for found in rounds
            for key, value in found["ribflow"]["accuracies"].items()
        ]
        same = sum(gap < 1e-9 for gap in gaps)
        print(f"{name}: {same} of {len(gaps)} accuracies equal, largest difference {max(gaps):.2f} points")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer"]:
        name, work, count = sys.argv[2:]
        print(json.dumps(peer(name, Path(work), int(count))))
    else:
        main()
