"""Copies records from one `ribflow serve` to another, as docs/protocol.md says.

    protocol_client.py SOURCE TARGET TOKEN KEY...

Python's standard library alone: BLAKE3, Ed25519 and the checks of a client are written here from
their specifications, and share no code with ribflow. Prints what was copied as JSON.
"""

import base64
import hashlib
import json
import struct
import sys
import urllib.error
import urllib.request

# BLAKE3 (https://github.com/BLAKE3-team/BLAKE3-specs), hash mode, 32 bytes.
IV = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19]
PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8
WORD = 0xFFFFFFFF


def compress(chain, block, counter, length, flags):
    v = chain[:8] + IV[:4] + [counter & WORD, counter >> 32, length, flags]
    m = list(block)

    def mix(a, b, c, d, x, y):
        for message, first, second in ((x, 16, 12), (y, 8, 7)):
            v[a] = (v[a] + v[b] + message) & WORD
            turned = v[d] ^ v[a]
            v[d] = (turned >> first | turned << (32 - first)) & WORD
            v[c] = (v[c] + v[d]) & WORD
            turned = v[b] ^ v[c]
            v[b] = (turned >> second | turned << (32 - second)) & WORD

    for _ in range(7):
        for i in range(4):
            mix(i, 4 + i, 8 + i, 12 + i, m[2 * i], m[2 * i + 1])
        for i in range(4):
            mix(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, m[8 + 2 * i], m[9 + 2 * i])
        m = [m[i] for i in PERMUTATION]
    return [v[i] ^ v[i + 8] for i in range(8)]


def chunk(data, counter, root):
    chain = IV
    blocks = [data[i : i + 64] for i in range(0, len(data), 64)] or [b""]
    for number, block in enumerate(blocks):
        flags = (CHUNK_START if number == 0 else 0) | (0 if number < len(blocks) - 1 else CHUNK_END | root)
        words = struct.unpack("<16I", block.ljust(64, b"\0"))
        chain = compress(chain, words, counter, len(block), flags)
    return chain


def tree(data, counter, root):
    if len(data) <= 1024:
        return chunk(data, counter, root)
    left = 1024
    while left * 2 < len(data):
        left *= 2
    halves = tree(data[:left], counter, 0) + tree(data[left:], counter + left // 1024, 0)
    return compress(IV, halves, 0, 64, PARENT | root)


def blake3(data):
    return struct.pack("<8I", *tree(data, 0, ROOT)).hex()


# Ed25519 (RFC 8032, 5.1), verification without a cofactor.
P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P


def x_of(y, sign):
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert (x * x - square) % P == 0, "not a point of the curve"
    return P - x if x % 2 != sign else x


def point(encoded):
    y = int.from_bytes(encoded, "little")
    y, sign = y & ((1 << 255) - 1), y >> 255
    assert y < P, "not canonical"
    return x_of(y, sign), y


def plus(p, q):
    (x1, y1), (x2, y2) = p, q
    product = D * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P
    return x, y


def times(number, p):
    total = (0, 1)
    while number:
        if number & 1:
            total = plus(total, p)
        p, number = plus(p, p), number >> 1
    return total


BASE_Y = 4 * pow(5, -1, P) % P
BASE = (x_of(BASE_Y, 0), BASE_Y)


def verify(key, message, signature):
    s = int.from_bytes(signature[32:], "little")
    assert s < ORDER, "not canonical"
    digest = hashlib.sha512(signature[:32] + key + message).digest()
    factor = int.from_bytes(digest, "little") % ORDER
    right = plus(point(signature[:32]), times(factor, point(key)))
    assert times(s, BASE) == right, "a false signature"


# The protocol.
class Server:
    def __init__(self, url, token=None):
        self.url, self.token = url.rstrip("/") + "/", token

    def ask(self, method, name, body=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token and method == "PUT":
            headers["Authorization"] = "Bearer " + self.token
        request = urllib.request.Request(self.url + name, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.headers, refused.read()

    def get(self, name):
        status, headers, body = self.ask("GET", name)
        assert status == 200, (name, status, body)
        tag = name.rsplit("/", 1)[1].removesuffix(".json").removesuffix(".sig")
        if name.startswith("objects/"):
            tag = "".join(name.split("/")[1:])
        assert headers["ETag"] == f'"{tag}"', (name, headers["ETag"])
        return body

    def names(self, folder):
        status, _, body = self.ask("GET", folder)
        assert status == 200, (folder, status)
        return [entry["name"] for entry in json.loads(body)]

    def has(self, names):
        return json.loads(self.ask("POST", "has", json.dumps(names).encode())[2])

    def put(self, name, body, expected, **headers):
        status, _, said = self.ask("PUT", name, body, **headers)
        assert status == expected, (name, status, said)


def object_name(digest):
    return f"objects/{digest[:2]}/{digest[2:]}"


def digests(artifact):
    """The blobs that an artifact names: objects with a digest and a number of bytes."""
    if isinstance(artifact, dict):
        if isinstance(artifact.get("digest"), str) and "bytes" in artifact:
            yield artifact["digest"], artifact["bytes"]
        for value in artifact.values():
            yield from digests(value)
    elif isinstance(artifact, list):
        for value in artifact:
            yield from digests(value)


def check_signature(envelope, signer, name, key, record):
    envelope = json.loads(envelope)
    (signature,) = envelope["signatures"]
    statement = base64.b64decode(envelope["payload"], validate=True)
    head = f"DSSEv1 28 application/vnd.in-toto+json {len(statement)} "
    verify(bytes.fromhex(signer), head.encode() + statement, base64.b64decode(signature["sig"], validate=True))
    statement = json.loads(statement)
    (subject,) = statement["subject"]
    assert subject["digest"]["blake3"] == name, "another record"
    predicate = statement["predicate"]
    assert statement["predicateType"] == "tag:ribflow,2026:outcome/v1"
    assert predicate["key"] == key and predicate["provenance"] == record["provenance"]
    ports = {name: port["digest"] for name, port in record["ports"].items()}
    assert predicate["ports"] == ports, "other outputs"


def copy(source, target, key):
    folder = f"records/{key[:2]}/{key}/"
    listed = source.names(folder)
    copied = {"records": 0, "signatures": 0, "blobs": 0}
    for file in [name for name in listed if name.endswith(".json")]:
        name = file[: -len(".json")]
        body = source.get(folder + file)
        record = json.loads(body)
        assert blake3(body) == name and record["key"] == key
        signatures = {sig: source.get(folder + sig) for sig in listed if sig.startswith(name) and sig.endswith(".sig")}
        for sig, envelope in signatures.items():
            check_signature(envelope, sig[len(name) + 1 : -len(".sig")], name, key, record)
            # Before its record it is refused.
            target.put(folder + sig, envelope, 409)
        for port in record["ports"].values():
            artifact = port.get("inline") or json.loads(source.get(object_name(port["digest"])))
            for digest, size in digests(artifact):
                at = object_name(digest)
                assert source.has([at, object_name("0" * 64)]) == [size, None]
                content = source.get(at)
                assert blake3(content) == digest and len(content) == size
                status, _, part = source.ask("GET", at, Range="bytes=1-3")
                assert (status, part) == (206, content[1:4])
                assert source.ask("GET", at, If_None_Match=f'"{digest}"')[0] == 304
                assert source.ask("HEAD", at)[1]["Content-Length"] == str(size)
                target.put(at, content + b"!", 422)
                target.put(at, content, 201)
                target.put(at, content, 200)
                target.put(at, content, 412, If_None_Match="*")
                copied["blobs"] += 1
        target.put(folder + file, body + b" ", 422)
        target.put(folder + file, body, 201)
        copied["records"] += 1
        for sig, envelope in signatures.items():
            target.put(folder + sig, envelope, 201)
            copied["signatures"] += 1
    return copied


def main():
    source, target, token, *keys = sys.argv[1:]
    stranger, reader, writer = Server(target), Server(source, token), Server(target, token)
    stranger.put(object_name(blake3(b"x")), b"x", 401)
    reader.put(object_name(blake3(b"x")), b"x", 405)
    assert writer.ask("GET", "store.json")[0] == 200
    assert writer.ask("DELETE", object_name(blake3(b"x")))[0] == 405
    total = {}
    for key in keys:
        for what, count in copy(reader, writer, key).items():
            total[what] = total.get(what, 0) + count
    print(json.dumps(total))


main()
