"""Reads what ribflow puts into a command's folder: a folder of images for each class, and a model."""

import json
from pathlib import Path

import numpy as np
from PIL import Image


def dataset(folder):
    """Images as float32 [n, 3, side, side] from 0 to 1, and the positions of their classes."""
    classes = sorted(path.name for path in Path(folder).iterdir())
    images, labels = [], []
    for label, name in enumerate(classes):
        for path in sorted(Path(folder, name).glob("*")):
            with Image.open(path) as image:
                images.append(np.asarray(image.convert("RGB")))
            labels.append(label)
    images = np.stack(images).transpose(0, 3, 1, 2).astype(np.float32) / 255
    return images, np.array(labels)


def config(folder):
    """The architecture and the input statistics of a model."""
    document = json.loads(Path(folder, "config.json").read_text())
    return document["network"]["vit"], document["input"]


def normalised(images, statistics):
    mean, std = (np.array(statistics[name], np.float32) for name in ("mean", "std"))
    return (images - mean[:, None, None]) / std[:, None, None]
