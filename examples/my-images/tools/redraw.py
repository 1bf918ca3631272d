"""Line drawings of photographs: edges, inverted, blended with the grey photograph.

    python3 redraw.py FROM TO [--strength 0.7]

FROM has one sub-folder per class; TO gets the same sub-folders with PNG files. Needs Pillow.
"""

import argparse
from pathlib import Path

from PIL import Image, ImageChops, ImageFilter, ImageOps


def redraw(photo: Image.Image, strength: float) -> Image.Image:
    grey = ImageOps.grayscale(photo)
    edges = ImageOps.autocontrast(grey.filter(ImageFilter.FIND_EDGES))
    lines = ImageChops.invert(edges)
    return Image.blend(grey, lines, strength).convert("RGB")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("source", type=Path)
    arguments.add_argument("target", type=Path)
    arguments.add_argument("--strength", type=float, default=0.7)
    options = arguments.parse_args()
    for path in sorted(options.source.glob("*/*")):
        target = options.target / path.parent.name / (path.stem + ".png")
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as photo:
            redraw(photo.convert("RGB"), options.strength).save(target)


if __name__ == "__main__":
    main()
