"""Makes the files beside it and expected.json: python3 make.py SHEET.png (needs Pillow).

SHEET.png is any picture of the project's own, such as docs/images/mini-rib.png. The digests are
those of Pillow's Image.open(...).convert("RGB"), which the decoder must give bit for bit.
"""

import hashlib
import json
import struct
import sys
import zlib
from pathlib import Path

import PIL
from PIL import Image

here = Path(__file__).parent
picture = Image.open(sys.argv[1]).convert("RGB").crop((350, 86, 447, 147))


def jpeg(name, image=picture, **options):
    image.save(here / f"{name}.jpg", **options)


def png(name, image, **options):
    image.save(here / f"{name}.png", **options)


def png16(name, colour_type, channels):
    """16 bits a channel, which Pillow does not write."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b""
    for y in range(9):
        values = [(x * 257 + y * 4099 + c * 20011) % 65536 for x in range(13) for c in range(channels)]
        rows += b"\0" + struct.pack(f">{len(values)}H", *values)
    header = struct.pack(">IIBBBBB", 13, 9, 16, colour_type, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (here / f"{name}.png").write_bytes(data)


jpeg("420", quality=80)
jpeg("444", quality=93, subsampling="4:4:4")
jpeg("422", quality=60, subsampling="4:2:2")
jpeg("progressive", quality=75, progressive=True)
jpeg("grey", picture.convert("L"), quality=80)
jpeg("cmyk", picture.convert("CMYK"), quality=85)
turned = Image.Exif()
turned[274] = 6
jpeg("turned", quality=70, exif=turned)
alpha = picture.convert("RGBA")
alpha.putalpha(picture.convert("L"))
png("rgb", picture)
png("rgba", alpha)
png("grey", picture.convert("L"))
png("grey_alpha", alpha.convert("LA"))
png("palette", picture.quantize(16))
png("palette_transparent", picture.quantize(5), transparency=2)
png("bilevel", picture.convert("1"))
png16("grey16", 0, 1)
png16("grey_alpha16", 4, 2)
png16("rgb16", 2, 3)
png16("rgba16", 6, 4)

expected = {}
for path in sorted(here.glob("*.jpg")) + sorted(here.glob("*.png")):
    image = Image.open(path).convert("RGB")
    digest = hashlib.sha256(image.tobytes()).hexdigest()
    expected[path.name] = {"width": image.width, "height": image.height, "sha256": digest}
document = {"pillow": PIL.__version__, "files": expected}
(here / "expected.json").write_text(json.dumps(document, indent=1) + "\n")
