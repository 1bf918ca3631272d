"""Makes variants.json beside it: python3 variants.py SHEET.png.

Needs Pillow's wheel for x86-64 (libjpeg-turbo with its vector code), and jpegtran for the files
with arithmetic coding. SHEET.png is any picture of the project's own, such as
docs/images/mini-rib.png.

Every entry holds a file, and what Pillow's Image.open(...).convert("RGB") makes of it: width,
height and the digest of its pixels, or `error` where it raises. `ours: refused` marks a file that
Pillow reads and the decoder refuses on purpose; `warns` one that libjpeg warns of.
"""

import base64
import hashlib
import io
import json
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import PIL
from PIL import Image

here = Path(__file__).parent
sheet = Image.open(sys.argv[1]).convert("RGB")
entries = {}


def add(name, data, **marks):
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
        image = image.convert("RGB")
        found = {"width": image.width, "height": image.height, "sha256": hashlib.sha256(image.tobytes()).hexdigest()}
    except Exception as error:
        found = {"error": type(error).__name__}
    entries[name] = {"file": base64.b64encode(data).decode(), **found, **marks}


# PNG

WIDTH, HEIGHT = 11, 7
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16]}
PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def chunk(kind, data, wrong=0):
    checked = kind + data
    return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked) ^ wrong)


def sample(x, y, channel, depth):
    """Low, middle and high values, among them those that differ in the low byte of 16 bits only."""
    values = [0, 1, 2, 0x40, 0x7F, 0x80, 0xFF, 0x100, 0x140, 0x1FF, 0x8000, 0xFF00, 0xFFFE, 0xFFFF]
    if depth == 16:
        return values[(x + 3 * y + 5 * channel) % len(values)]
    return (x * 37 + y * 59 + channel * 83) % (1 << depth)


def line(values, depth):
    if depth == 16:
        return struct.pack(f">{len(values)}H", *values)
    bits = "".join(f"{value:0{depth}b}" for value in values)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))


def rows(colour, depth, interlaced=False, size=(WIDTH, HEIGHT), filters=(0,)):
    passes = PASSES if interlaced else [(0, 0, 1, 1)]
    data = b""
    for left, top, across, down in passes:
        before = b""
        for y in range(top, size[1], down):
            places = [(x, channel) for x in range(left, size[0], across) for channel in range(CHANNELS[colour])]
            if not places:
                continue
            values = line([sample(x, y, channel, depth) for x, channel in places], depth)
            kind = filters[y % len(filters)]
            data += bytes([kind]) + filtered(values, before, kind, max(1, CHANNELS[colour] * depth // 8))
            before = values
    return data


def filtered(values, before, kind, step):
    """Of the PNG filters: none, sub, up."""
    before = before or bytes(len(values))
    left = bytes(step) + values
    other = {0: bytes(len(values)), 1: left, 2: before}[kind]
    return bytes((value - other[at]) & 255 for at, value in enumerate(values))


def palette(count):
    return bytes((index * 7 + channel * 61 + 13) % 256 for index in range(count) for channel in range(3))


def png(colour, depth, before=(), interlaced=False, size=(WIDTH, HEIGHT), after=(), data=None, wrong=0, pieces=1, filters=(0,), ends=True):
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, int(interlaced))
    data = zlib.compress(rows(colour, depth, interlaced, size, filters)) if data is None else data
    cut = -(-len(data) // pieces)
    parts = [data[at : at + cut] for at in range(0, len(data), cut)] if pieces > 1 else [data]
    body = b"".join(chunk(b"IDAT", part, wrong) for part in parts)
    end = chunk(b"IEND", b"") if ends else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(before) + body + b"".join(after) + end


def transparent(*values):
    return chunk(b"tRNS", struct.pack(f">{len(values)}H", *values))


for colour, depths in DEPTHS.items():
    for depth in depths:
        own = [chunk(b"PLTE", palette(1 << depth))] if colour == 3 else []
        for interlaced in (False, True):
            name = f"png/colour {colour}, {depth} bits" + (", interlaced" if interlaced else "")
            add(name, png(colour, depth, own, interlaced))
            if colour == 0:
                for value in {0, 1, (1 << depth) - 1, 0x140 % (1 << depth)}:
                    add(f"{name}, {value} transparent", png(colour, depth, [transparent(value)], interlaced))
            if colour == 2:
                first = [sample(0, 0, channel, depth) for channel in range(3)]
                add(f"{name}, one transparent", png(colour, depth, [transparent(*first)], interlaced))
                add(f"{name}, an absent one transparent", png(colour, depth, [transparent(3, 3, 3)], interlaced))
            if colour == 3:
                for label, alphas in {
                    "one transparent": b"\xff\x00",
                    "several alphas": bytes([0, 128, 255][: 1 << depth]),
                    "all transparent": bytes(1 << depth),
                }.items():
                    add(f"{name}, {label}", png(colour, depth, [*own, chunk(b"tRNS", alphas)], interlaced))
            if colour == 2:
                add(f"{name}, with a palette", png(colour, depth, [chunk(b"PLTE", palette(4))], interlaced))

for depth in (2, 4, 8):
    add(f"png/palette of 3, {depth} bits", png(3, depth, [chunk(b"PLTE", palette(3))]))
    add(f"png/palette of 3, {depth} bits, transparent", png(3, depth, [chunk(b"PLTE", palette(3)), chunk(b"tRNS", b"\x00\x80\xff")]))
add("png/palette longer than its depth", png(3, 2, [chunk(b"PLTE", palette(9))]))
add("png/palette of no whole colours", png(3, 8, [chunk(b"PLTE", palette(9)[:-1])]))
add("png/palette of 257", png(3, 8, [chunk(b"PLTE", palette(257))]))
add("png/no palette", png(3, 8), ours="refused")
add("png/two palettes", png(3, 2, [chunk(b"PLTE", palette(4)), chunk(b"PLTE", palette(8)[12:])]), ours="refused")
add("png/transparency before its palette", png(3, 2, [chunk(b"tRNS", b"\x00\x80"), chunk(b"PLTE", palette(4))]))
add("png/transparency longer than its palette", png(3, 2, [chunk(b"PLTE", palette(3)), chunk(b"tRNS", bytes(9))]))
add("png/transparency of grey cut short", png(0, 8, [chunk(b"tRNS", b"\x00")]))
add("png/transparency of colour cut short", png(2, 8, [chunk(b"tRNS", b"\x00\x01")]))
add("png/transparency of grey with a byte too many", png(0, 8, [chunk(b"tRNS", b"\x00\x01\x02")]))
add("png/transparency beyond 8 bits", png(0, 8, [transparent(0x1FF)]))
add("png/transparency beyond 2 bits", png(0, 2, [transparent(7)]))
add("png/transparency beside alpha", png(4, 8, [transparent(1)]))
add("png/transparency beside colour and alpha", png(6, 16, [transparent(1, 2, 3)]))
add("png/two transparencies", png(0, 16, [transparent(1), transparent(0x140)]))
add("png/transparency behind the pixels", png(0, 16, after=[transparent(0x140)]))
add("png/palette behind the pixels", png(3, 2, after=[chunk(b"PLTE", palette(4))]), ours="refused")
for value in (0, 45455, 100000):
    add(f"png/gamma {value}", png(2, 8, [chunk(b"gAMA", struct.pack(">I", value))]))
add("png/gamma of 16-bit grey", png(0, 16, [chunk(b"gAMA", struct.pack(">I", 100000))]))
add("png/sRGB", png(2, 8, [chunk(b"sRGB", b"\x00")]))
add("png/profile", png(2, 8, [chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(200)))]))
add("png/damaged profile", png(2, 8, [chunk(b"iCCP", b"name\0\0" + b"no zlib")]))
add("png/significant bits", png(0, 16, [chunk(b"sBIT", b"\x09")]))
add("png/background", png(2, 8, [chunk(b"bKGD", struct.pack(">3H", 1, 2, 3))]))
add("png/text", png(2, 8, [chunk(b"tEXt", b"key\0value"), chunk(b"zTXt", b"key\0\0" + zlib.compress(b"v" * 999))]))
add("png/orientation", png(2, 8, [chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0")]))
add("png/an unknown chunk that may be skipped", png(2, 8, [chunk(b"teSt", b"123")]))
add("png/an unknown chunk that may not", png(2, 8, [chunk(b"TEST", b"123")]), ours="refused")
add("png/many pieces", png(6, 8, pieces=40))
add("png/an empty piece", png(6, 8, [chunk(b"IDAT", b"")]))
add("png/filters", png(2, 16, filters=(0, 1, 2)))
add("png/an unknown filter", png(0, 8, data=zlib.compress(b"".join(b"\x09" + bytes(WIDTH) for _ in range(HEIGHT)))))

animation = chunk(b"acTL", struct.pack(">II", 2, 0))
control = lambda number, size=(WIDTH, HEIGHT), at=(0, 0): chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, *size, *at, 1, 10, 0, 0))
frame = lambda number: chunk(b"fdAT", struct.pack(">I", number) + zlib.compress(rows(2, 8)[::-1].replace(b"\x09", b"\x00")))
second = [control(1), chunk(b"fdAT", struct.pack(">I", 2) + zlib.compress(bytes(HEIGHT * (1 + 3 * WIDTH))))]
add("png/animation", png(2, 8, [animation, control(0)], after=second))
hidden = [control(0), chunk(b"fdAT", struct.pack(">I", 1) + zlib.compress(bytes(HEIGHT * (1 + 3 * WIDTH)))),
          control(2), chunk(b"fdAT", struct.pack(">I", 3) + zlib.compress(bytes(HEIGHT * (1 + 3 * WIDTH))))]
add("png/animation without its first picture", png(2, 8, [animation], after=hidden))
add("png/animation of no frames", png(2, 8, [chunk(b"acTL", struct.pack(">II", 0, 0)), control(0)]))
add("png/animation of one frame", png(2, 8, [chunk(b"acTL", struct.pack(">II", 1, 0)), control(0)]))

add("png/no width", png(2, 8, size=(0, 7), data=zlib.compress(b"")))
add("png/no height", png(2, 8, size=(7, 0), data=zlib.compress(b"")))
add("png/one pixel", png(0, 16, size=(1, 1)))
add("png/one line, interlaced", png(2, 8, interlaced=True, size=(9, 1)))
add("png/one column, interlaced", png(0, 1, interlaced=True, size=(1, 9)))
add("png/wrong checksum of the header", b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0), 1) + chunk(b"IDAT", zlib.compress(b"\0\7")) + chunk(b"IEND", b""))
add("png/wrong checksum of the palette", png(3, 2, [chunk(b"PLTE", palette(4), 1)]))
add("png/wrong checksum of the transparency", png(0, 16, [chunk(b"tRNS", b"\x01\x40", 1)]))
add("png/wrong checksum of a text", png(2, 8, [chunk(b"tEXt", b"key\0value", 1)]))
# Pillow does not look at the checksums of pixels, and fills lines that are missing.
add("png/wrong checksum of the pixels", png(2, 8, wrong=1), ours="refused")
whole = zlib.compress(rows(2, 8))
add("png/wrong sum of the deflated pixels", png(2, 8, data=whole[:-1] + bytes([whole[-1] ^ 1])))
add("png/pixels cut short", png(2, 8, data=whole[: len(whole) // 2]))
add("png/pixels of a line too few", png(2, 8, data=zlib.compress(rows(2, 8, size=(WIDTH, HEIGHT - 1)))), ours="refused")
add("png/pixels of a line too many", png(2, 8, data=zlib.compress(rows(2, 8, size=(WIDTH, HEIGHT + 1)))))
add("png/no pixels", png(2, 8, data=b""))
add("png/no end", png(2, 8, ends=False))
add("png/more behind the end", png(2, 8) + b"more")
for colour, depth in ((0, 3), (2, 4), (3, 16), (4, 4), (5, 8), (6, 1)):
    header = struct.pack(">IIBBBBB", 1, 1, depth, colour, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")
    add(f"png/no such kind, colour {colour} of {depth} bits", data)
for field, label in ((0, "compression"), (1, "filtering"), (2, "interlacing")):
    rest = [0, 0, 0]
    rest[field] = 7
    header = struct.pack(">IIBB", WIDTH, HEIGHT, 8, 2) + bytes(rest)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", whole) + chunk(b"IEND", b"")
    add(f"png/unknown {label}", data, **({"ours": "refused"} if label == "compression" else {}))

# JPEG

photo = sheet.crop((363, 92, 363 + 29, 92 + 21))


def jpeg(image=photo, **options):
    target = io.BytesIO()
    image.save(target, "JPEG", **options)
    return target.getvalue()


def segments(data):
    """(position, marker, length) of the segments before the first scan."""
    at = 2
    while True:
        marker, length = data[at + 1], struct.unpack(">H", data[at + 2 : at + 4])[0]
        yield at, marker, length
        if marker == 0xDA:
            return
        at += 2 + length


def find(data, *markers):
    return next((at, length) for at, marker, length in segments(data) if marker in markers)


def scan(data):
    """Where the first scan's data begins."""
    at, length = find(data, 0xDA)
    return at + 2 + length


def scaled(data, factor, wide=False):
    """The file with its quantisation tables times `factor`: its coefficients leave the range."""
    out, last, most = data[:2], 2, 65535 if wide else 255
    for at, marker, length in segments(data):
        if marker == 0xDB:
            table, body = b"", data[at + 4 : at + 2 + length]
            while body:
                values = [min(most, value * factor) for value in body[1:65]]
                packed = struct.pack(">64H", *values) if wide else bytes(values)
                table += bytes([body[0] | (16 if wide else 0)]) + packed
                body = body[65:]
            out += data[last:at] + b"\xff\xdb" + struct.pack(">H", 2 + len(table)) + table
            last = at + 2 + length
    out += data[last:]
    if wide:  # Tables of 16 bits need the extended process.
        at, _ = find(out, 0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
        if out[at + 1] == 0xC0:
            out = out[: at + 1] + b"\xc1" + out[at + 2 :]
    return out


def sampled(factors, image=photo, quality=80, **options):
    """A file whose components have the sampling `factors`, which Pillow does not write."""
    target = here / "variants.ppm"
    image.save(target)
    words = ",".join(f"{across}x{down}" for across, down in factors)
    arguments = ["cjpeg", "-quality", str(quality), "-sample", words]
    arguments += [f"-{name}" for name in options]
    data = subprocess.run([*arguments, str(target)], stdout=subprocess.PIPE, check=True).stdout
    target.unlink()
    return data


def transformed(data, *options):
    return subprocess.run(["jpegtran", *options], input=data, stdout=subprocess.PIPE, check=True).stdout


grey, inked = photo.convert("L"), photo.convert("CMYK")
kinds = {
    "4:4:4": jpeg(quality=85, subsampling="4:4:4"),
    "4:2:2": jpeg(quality=70, subsampling="4:2:2"),
    "4:2:0": jpeg(quality=80, subsampling="4:2:0"),
    "4:4:0": sampled([(1, 2), (1, 1), (1, 1)]),
    "4:1:1": sampled([(4, 1), (1, 1), (1, 1)]),
    "4:1:0": sampled([(4, 2), (1, 1), (1, 1)]),
    "4:2:1": sampled([(2, 2), (2, 1), (1, 2)]),
    "3:1": sampled([(3, 1), (1, 1), (1, 1)]),
    "red, green, blue": jpeg(quality=80, keep_rgb=True),
    "grey": jpeg(grey, quality=80),
    "CMYK": jpeg(inked, quality=80),
    "progressive": jpeg(quality=75, progressive=True),
    "progressive grey": jpeg(grey, quality=75, progressive=True),
    "progressive CMYK": jpeg(inked, quality=75, progressive=True),
    "restarts": jpeg(quality=75, restart_marker_blocks=2),
}
at, _ = find(kinds["CMYK"], 0xEE)
kinds["YCCK"] = kinds["CMYK"][: at + 15] + b"\x02" + kinds["CMYK"][at + 16 :]
kinds["CMYK without Adobe's marker"] = kinds["CMYK"][:at] + kinds["CMYK"][at + 16 :]
at, _ = find(kinds["4:2:0"], 0xE0)
adobe = lambda transform: b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform])
bare = kinds["4:2:0"][:at] + kinds["4:2:0"][at + 18 :]
kinds["4:2:0 without JFIF"] = bare
for transform in (0, 1, 2):
    kinds[f"Adobe's transform {transform}"] = bare[:2] + adobe(transform) + bare[2:]
kinds["Adobe's transform 0 beside JFIF"] = kinds["4:2:0"][: at + 18] + adobe(0) + kinds["4:2:0"][at + 18 :]
kinds["arithmetic"] = transformed(kinds["4:2:0"], "-arithmetic")
kinds["arithmetic progressive"] = transformed(kinds["4:2:0"], "-arithmetic", "-progressive")
for name, data in kinds.items():
    marks = {"warns": True} if name == "Adobe's transform 2" else {}
    add(f"jpeg/{name}", data, **marks)
    for factor in (4, 20):
        add(f"jpeg/{name}, tables times {factor}", scaled(data, factor), **marks)
    for factor in (200, 3000):
        add(f"jpeg/{name}, tables of 16 bits times {factor}", scaled(data, factor, wide=True), **marks)
for width, height in ((1, 1), (2, 2), (3, 5), (8, 8), (15, 17), (16, 16), (17, 33)):
    for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
        add(f"jpeg/{width} x {height}, {subsampling}", jpeg(photo.crop((0, 0, width, height)), quality=90, subsampling=subsampling))

# Any coefficients at all: random bytes of a scan, whose tables are large.
for seed in range(12):
    stream = random.Random(seed)
    data = kinds["4:4:4" if seed % 2 else "4:2:0"]
    begin = scan(data)
    noise = bytes(stream.randrange(255) for _ in range(700))
    noisy = data[:begin] + noise + b"\xff\xd9"
    add(f"jpeg/noise {seed}", scaled(noisy, 1 + 30 * (seed % 3), wide=seed % 4 == 3), warns=True)

sound = kinds["4:2:0"]
begin, middle = scan(sound), (scan(sound) + len(sound)) // 2
restarted = kinds["restarts"]
first = restarted.index(b"\xff\xd0", scan(restarted))
add("jpeg/bytes before a marker", sound[:-2] + bytes(range(60)) + sound[-2:], warns=True)
add("jpeg/an early end", sound[:middle] + b"\xff\xd9", warns=True)
add("jpeg/a byte lost", sound[:middle] + sound[middle + 1 :])
add("jpeg/a restart lost", restarted[:first] + restarted[first + 2 :], warns=True)
add("jpeg/a restart out of order", restarted[: first + 1] + b"\xd3" + restarted[first + 2 :], warns=True)
add("jpeg/no end", sound[:-2])
add("jpeg/half an end", sound[:-1])
add("jpeg/more behind the end", sound + b"more\xff\xd8")
add("jpeg/cut in the scan", sound[:middle])
add("jpeg/cut in the header", sound[: begin - 5])
slow = kinds["progressive"]
scans = [at for at in range(len(slow)) if slow[at : at + 2] == b"\xff\xda"]
for count in (1, 2, 4):
    add(f"jpeg/progressive, {count} scans only", slow[: scans[count]] + b"\xff\xd9")
add("jpeg/progressive, cut", slow[: scans[3]])
at, _ = find(sound, 0xC0)
change = lambda place, value: sound[:place] + bytes([value]) + sound[place + 1 :]
add("jpeg/12 bits", change(at + 4, 12))
add("jpeg/two components", change(at + 9, 2))
add("jpeg/no lines", sound[: at + 5] + b"\0\0" + sound[at + 7 :])
add("jpeg/no columns", sound[: at + 7] + b"\0\0" + sound[at + 9 :])
add("jpeg/lossless", change(at + 1, 0xC3))
add("jpeg/hierarchical", change(at + 1, 0xC5))
tables = [(at, length) for at, marker, length in segments(sound) if marker == 0xDB]
at, length = tables[0]
add("jpeg/a table lost", sound[:at] + sound[at + 2 + length :])
at, length = find(sound, 0xC4)
add("jpeg/a Huffman table lost", sound[:at] + sound[at + 2 + length :])
turned = Image.Exif()
turned[274] = 6
add("jpeg/turned", jpeg(exif=turned))
add("jpeg/comment", jpeg(comment=b"words"))

document = {"pillow": PIL.__version__, "files": dict(sorted(entries.items()))}
(here / "variants.json").write_text(json.dumps(document, indent=1) + "\n")
print(len(entries), "files,", sum("error" in it for it in entries.values()), "of them errors")
