"""Images beside PIL, torchvision and FFCV, in one interleaved run.

    python -m venv /tmp/peers && /tmp/peers/bin/pip install torch torchvision numpy pillow [ffcv]
    cargo build --release
    /tmp/peers/bin/python benches/peers/data/compare.py target/release/ribflow PHOTOGRAPHS
        [--rounds 3] [--seconds 4] [--json FILE]

PHOTOGRAPHS is a folder of class folders with .jpg or .jpeg files. Two questions, every measurement
in a process of its own:

* What does it cost one core to make a normalised f32 tensor of 224 × 224 of a JPEG file in memory
  (shorter side to 256, bilinear, centre), and what the u8 pixels alone? ribflow against PIL with
  torchvision's transforms. The SHA-256 of all pixels must be the same on both sides: zero difference.
* How many normalised f32 images a second do two threads or workers bring to a model, in batches of
  64 and a random order? ribflow from its shards, which an epoch after the first reads; torchvision's
  ImageFolder and DataLoader, which decode every time; NumPy and torch from a memory-mapped array of
  the same pixels as the shards have; FFCV from a .beton of those pixels, where it is installed.
"""

import argparse
import hashlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 64
# As `ribflow bench data/shards` has them.
SHARD_IMAGES = 512


def files(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))


def timed(work, images, seconds):
    """Rounds of `work` after one to warm up: seconds of wall and of processor time an image."""
    work()
    wall, cpu, begin = [], time.process_time(), time.perf_counter()
    while len(wall) < 3 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        work()
        wall.append(time.perf_counter() - start)
    cpu = (time.process_time() - cpu) / len(wall) / images
    return {"wall_ms": 1e3 * statistics.median(wall) / images, "cpu_ms": 1e3 * cpu}


def pillow(folder, seconds, normalised=False):
    import torch
    from PIL import Image
    from torchvision import transforms

    torch.set_num_threads(1)
    photographs = [path.read_bytes() for path in files(folder)]
    shape = [transforms.Resize(256), transforms.CenterCrop(224)]
    as_pixels = transforms.Compose([*shape, transforms.PILToTensor()])
    as_floats = transforms.Compose([*shape, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])

    def opened(photograph):
        return Image.open(io.BytesIO(photograph)).convert("RGB")

    def work():
        # What is made lives until the next image only, here as in ribflow.
        transform = as_floats if normalised else as_pixels
        for photograph in photographs:
            transform(opened(photograph))

    hasher = hashlib.sha256()
    for photograph in photographs:
        hasher.update(as_pixels(opened(photograph)).permute(1, 2, 0).contiguous().numpy().tobytes())
    found = timed(work, len(photographs), seconds)
    return found | {"digest": hasher.hexdigest(), "images": len(photographs)}


def pillow_normalised(folder, seconds):
    return pillow(folder, seconds, normalised=True)


def image_folder(folder, seconds):
    import torch
    from torchvision import datasets, transforms

    torch.set_num_threads(2)
    transform = transforms.Compose(
        [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    )
    dataset = datasets.ImageFolder(folder, transform)
    loader = torch.utils.data.DataLoader(
        dataset, BATCH, shuffle=True, num_workers=2, persistent_workers=True
    )
    return timed(lambda: [images for images, _ in loader], len(dataset), seconds)


def memory_mapped(folder, seconds):
    import numpy as np
    import torch

    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as temporary:
        shape = (SHARD_IMAGES, 224, 224, 3)
        path = f"{temporary}/pixels"
        (np.arange(np.prod(shape)) % 251).astype(np.uint8).tofile(path)
        pixels = np.memmap(path, np.uint8, "r", shape=shape)
        mean, std = (torch.tensor(of).reshape(1, 3, 1, 1) for of in (MEAN, STD))
        order = np.random.default_rng(0).permutation(SHARD_IMAGES)

        def epoch():
            for first in range(0, SHARD_IMAGES, BATCH):
                images = torch.from_numpy(pixels[order[first : first + BATCH]])
                images = images.permute(0, 3, 1, 2).contiguous()
                images.float().div_(255).sub_(mean).div_(std)

        return timed(epoch, SHARD_IMAGES, seconds)


def ffcv(folder, seconds):
    import numpy as np
    from ffcv.fields import IntField, RGBImageField
    from ffcv.fields.rgb_image import SimpleRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import NormalizeImage, ToTensor, ToTorchImage
    from ffcv.writer import DatasetWriter

    class Pixels:
        def __len__(self):
            return SHARD_IMAGES

        def __getitem__(self, index):
            image = (np.arange(224 * 224 * 3) % 251 + index % 5).astype(np.uint8)
            return image.reshape(224, 224, 3), 0

    with tempfile.TemporaryDirectory() as temporary:
        path = f"{temporary}/pixels.beton"
        fields = {"image": RGBImageField(write_mode="raw"), "label": IntField()}
        DatasetWriter(path, fields, num_workers=1).from_indexed_dataset(Pixels())
        normalise = NormalizeImage(255 * np.array(MEAN), 255 * np.array(STD), np.float32)
        pipeline = [SimpleRGBImageDecoder(), normalise, ToTensor(), ToTorchImage()]
        loader = Loader(
            path, BATCH, num_workers=2, order=OrderOption.RANDOM, pipelines={"image": pipeline, "label": None}
        )
        return timed(lambda: [None for _ in loader], SHARD_IMAGES, seconds)


PEERS = {
    "pillow": pillow,
    "pillow, normalised": pillow_normalised,
    "ImageFolder, 2 workers": image_folder,
    "memory map": memory_mapped,
    "FFCV": ffcv,
}


def measured(command):
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(found.stdout.strip().splitlines()[-1])


def peer(name, options):
    script = os.path.abspath(__file__)
    return measured([sys.executable, script, "--peer", name, options.photographs, str(options.seconds)])


def ours(name, threads, options):
    command = [options.binary, "bench", name, "--json", "--threads", str(threads)]
    document = measured(command + ["--seconds", str(options.seconds), "--images", options.photographs])
    (found,) = document["results"]
    images = found["amount"]
    return {
        "wall_ms": found["wall_ms"]["median"] / images,
        "cpu_ms": found["cpu_ms"] / images,
        "digest": found.get("digest"),
        "images": images,
    }


def compare(question, what, own, peers, options):
    """Every program once a round, in turn; what is compared is `what`, milliseconds an image."""
    found = {"ribflow": [], **{name: [] for name in peers}}
    for _ in range(options.rounds):
        found["ribflow"].append(own())
        for name in peers:
            try:
                found[name].append(peer(name, options))
            except subprocess.CalledProcessError as error:
                print(f"{name}: {error.stderr.strip().splitlines()[-1]}", file=sys.stderr)
    print(f"\n{question} (load {os.getloadavg()[0]:.1f})")
    for name, runs in found.items():
        if not runs:
            continue
        value = statistics.median(each[what] for each in runs)
        ratios = [theirs[what] / own[what] for theirs, own in zip(runs, found["ribflow"])]
        print(
            f"  {name:<24} {value:8.3f} ms of {what.removesuffix('_ms')}, {1e3 / value:8.0f} images/s"
            f"   x{statistics.median(ratios):.2f} (least {min(ratios):.2f})",
            flush=True,
        )
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", help="the ribflow of a release build")
    parser.add_argument("photographs", help="a folder of class folders of JPEG files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement, at least")
    parser.add_argument("--json", metavar="FILE", help="write everything there")
    options = parser.parse_args()
    options.binary = os.path.abspath(options.binary)
    options.photographs = os.path.abspath(options.photographs)

    tensors = compare(
        "JPEG to 224 x 224 of normalised f32, one core",
        "cpu_ms",
        lambda: ours("data/tensor224", 1, options),
        ["pillow, normalised"],
        options,
    )
    decoding = compare(
        "JPEG to 224 x 224 of u8, one core",
        "cpu_ms",
        lambda: ours("data/jpeg224", 1, options),
        ["pillow"],
        options,
    )
    digests = {each["digest"] for runs in decoding.values() for each in runs}
    print(f"  pixels of {decoding['ribflow'][0]['images']:.0f} images", "equal" if len(digests) == 1 else "DIFFER")
    loading = compare(
        "an epoch's images, normalised, two threads",
        "wall_ms",
        lambda: ours("data/shards", 2, options),
        ["ImageFolder, 2 workers", "memory map", "FFCV"],
        options,
    )
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"tensors": tensors, "decoding": decoding, "loading": loading}, file, indent=1)
    return 0 if len(digests) == 1 else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer"]:
        name, folder, seconds = sys.argv[2:]
        print(json.dumps(PEERS[name](folder, float(seconds))))
    else:
        sys.exit(main())
