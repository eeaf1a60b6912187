"""Seeded damage that knows the form of a file: values of JSON, tensors' headers, chunks of PNG, words of binaries."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

from end_to_end.mutations import damaged

NASTY_JSON = [
    "null", "true", "false", "-1", "0", "1", "3", "1.5", "-0.0", "1e308", "-1e308", "1e999", "NaN", "-Infinity",
    "18446744073709551616", "9223372036854775807", "2147483648", "4294967295", "9" * 400, "9" * 5000, '""', '"x"',
    '"\\ud800"', '"a\\u0000b"', '"../../outside"', '"/etc/passwd"', '"' + "x" * 20000 + '"', "[]", "{}", "[[]]",
    "[1, 2, 3]", '{"a": 1}', "[" * 3000 + "]" * 3000, '{"a":' * 3000 + "1" + "}" * 3000, '["\\udfff"]', "[NaN]",
    "1" + "0" * 4299, "0.1e-400", '"\u00e9\u2028"',
]  # fmt: skip
NASTY_TEXT = [
    "", "-1", "0", "1e999", "nan", "9" * 400, "9" * 5000, "../../outside", "/etc/passwd", "\x00", "\u2028", "\ufeff",
    "x" * 200_000, "[" * 2000, "{" * 2000, "<a>" * 2000, "&lt;", "&#0;", "<![CDATA[", "!!python/object:os.system {}",
    "&a [*a, *a]", "*b", "? ", "- " * 500, ": ", "\t", '"', "'", ",,,,", ";", "|", "${HOME}", "${", "\\", "%s", "\r",
    "1_000", "0x" + "f" * 300, "0o7", ".inf", "~", "true", "2007_000032", "é", "\ud800",
]  # fmt: skip
NASTY_WORDS = [0, 1, 2, 3, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 1 << 20, 0x7FFFFFFF, 1 << 31, 0xFFFFFFFF]


def words(data: bytes, rng: Random) -> bytes:
    """Return `data` with some of its 1-, 2-, 4- and 8-byte words replaced, at the beginning more often."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        width = rng.choice([1, 2, 4, 4, 4, 8])
        reach = len(changed) if rng.random() < 0.5 else min(len(changed), 400)
        place = rng.randrange(max(1, reach - width)) // width * width if rng.random() < 0.7 else rng.randrange(reach)
        value = rng.choice(NASTY_WORDS) if rng.random() < 0.8 else rng.getrandbits(8 * width)
        if width == 8 and rng.random() < 0.5:
            value = rng.choice([1 << 40, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
        order = rng.choice(["little", "little", "big"])
        changed[place : place + width] = (value % (1 << 8 * width)).to_bytes(width, order)  # type: ignore[arg-type]
    return bytes(changed)


def text(data: bytes, rng: Random) -> bytes:
    """Return a text with words replaced, lines doubled, moved or gone."""
    content = data.decode("utf-8", "surrogateescape")
    for _ in range(rng.randint(1, 3)):
        if rng.random() < 0.7:
            found = list(re.finditer(r"\w+|[^\w\s]|\s", content))
            if not found:
                break
            hit = rng.choice(found)
            content = content[: hit.start()] + rng.choice(NASTY_TEXT) + content[hit.end() :]
        else:
            lines = content.split("\n")
            place = rng.randrange(len(lines))
            match rng.randrange(4):
                case 0:
                    del lines[place]
                case 1:
                    lines.insert(place, lines[place])
                case 2:
                    lines.insert(rng.randrange(len(lines)), lines.pop(place))
                case 3:
                    lines[place] = rng.choice(["  ", "\t"]) + lines[place]
            content = "\n".join(lines)
    return content.encode("utf-8", "surrogatepass")


def json_value(data: bytes, rng: Random) -> bytes:
    """Return JSON with values replaced by nasty ones, doubled, exchanged or gone."""
    content = json.loads(data)
    nasty: dict[str, str] = {}
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places: list[tuple[Any, Any]] = []
        _places(content, places)
        if not places:
            break
        holder, key = rng.choice(places)
        kind = rng.random()
        if kind < 0.7:
            mark = f"@{len(nasty)}@"
            nasty[mark] = rng.choice(NASTY_JSON)
            holder[key] = mark
        elif kind < 0.8:
            del holder[key]
        elif kind < 0.9:
            other, name = rng.choice(places)
            try:
                holder[key] = json.loads(json.dumps(other[name]))
            except (KeyError, IndexError):
                continue
        elif isinstance(holder, dict):
            holder[f"{key}x"] = holder.pop(key)
        else:
            holder.insert(key, holder[key])
    written = json.dumps(content)
    for mark, value in nasty.items():
        written = written.replace(f'"{mark}"', value)
    return written.encode("utf-8", "surrogatepass")


def _places(node: Any, found: list[tuple[Any, Any]]) -> None:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        found.append((node, key))
        _places(value, found)


def json_lines(data: bytes, rng: Random) -> bytes:
    """Return JSON lines, one of them changed, doubled or cut."""
    lines = data.rstrip(b"\n").split(b"\n")
    place = rng.randrange(len(lines))
    if rng.random() < 0.85:
        lines[place] = json_value(lines[place], rng)
    else:
        lines.insert(rng.randrange(len(lines)), rng.choice([lines[place], lines[place][:-3], b"[]", b"null"]))
    return b"\n".join(lines) + b"\n"


def safetensors(data: bytes, rng: Random) -> bytes:
    """Return a safetensors file whose header is changed, our own values in it as well."""
    length = int.from_bytes(data[:8], "little")
    header, rest = data[8 : 8 + length], data[8 + length :]
    if rng.random() < 0.4 and b"__metadata__" in header:
        content = json.loads(header)
        inner = json_value(content["__metadata__"].get("wsseg", "{}").encode(), rng).decode("utf-8", "replace")
        content["__metadata__"]["wsseg"] = inner
        header = json.dumps(content).encode()
    else:
        header = json_value(header, rng)
        for _ in range(rng.choice([0, 0, 1])):
            kinds = [b"F32", b"BF16", b"F16", b"F8_E4M3", b"F8_E5M2", b"I64", b"BOOL", b"U64", b"C64", b"F4"]
            header = header.replace(rng.choice(kinds), rng.choice(kinds))
    size = len(header) if rng.random() < 0.9 else rng.choice([0, 1, 1 << 30, 1 << 63])
    return size.to_bytes(8, "little") + header + (rest if rng.random() < 0.9 else rest[: len(rest) // 2])


def png(data: bytes, rng: Random) -> bytes:
    """Return a PNG with chunks changed, doubled, moved or gone, their checksums right."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append([data[at + 4 : at + 8], bytearray(data[at + 8 : at + 8 + size])])
        at += 12 + size
    place = rng.randrange(len(chunks))
    match rng.randrange(6):
        case 0:
            del chunks[place]
        case 1:
            chunks.insert(place, chunks[place])
        case 2:
            chunks[place][0] = rng.choice([b"IHDR", b"PLTE", b"tRNS", b"iCCP", b"zTXt", b"acTL", b"fcTL", b"eXIf"])
        case 3:
            struct.pack_into(">II", chunks[0][1], 0, *(rng.choice([0, 1, 9, 30_000, 10**5, 1 << 31]) for _ in "wh"))
        case 4:
            chunks[0][1][8 + rng.randrange(5)] = rng.choice([0, 1, 2, 3, 4, 6, 8, 16, 255])
        case _:
            chunks[place][1] = bytearray(words(bytes(chunks[place][1]) or b"\0", rng))
    out = data[:8]
    for name, content in chunks:
        body = bytes(name) + bytes(content)
        out += struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
    return out


def mat(data: bytes, rng: Random) -> bytes:
    """Return a MATLAB file whose elements are changed inside of what is compressed."""
    kind, size = struct.unpack_from("<II", data, 128)
    if kind != 15:
        return words(data, rng)
    inner = bytearray(zlib.decompress(data[136 : 136 + size]))
    for _ in range(rng.randint(1, 3)):
        inner = bytearray(words(bytes(inner), rng) if rng.random() < 0.7 else damaged(bytes(inner), rng))
    packed = zlib.compress(bytes(inner))
    return data[:128] + struct.pack("<II", 15, len(packed)) + packed


def archive(data: bytes, rng: Random) -> bytes:
    """Return a zip archive with one of its files changed, doubled or gone."""
    with zipfile.ZipFile(io.BytesIO(data)) as old:
        files = [(info.filename, old.read(info)) for info in old.infolist()]
    place = (
        rng.randrange(len(files))
        if rng.random() < 0.4
        else next((n for n, (name, _) in enumerate(files) if name.endswith("data.pkl")), 0)
    )
    name, content = files[place]
    if rng.random() < 0.1:
        del files[place]
    else:
        files[place] = (name, rng.choice([words, damaged, damaged])(content or b"\0", rng))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as new:
        for name, content in files:
            new.writestr(name, content)
    return buffer.getvalue()


FORMS: dict[str, list[Callable[[bytes, Random], bytes]]] = {
    "binary": [damaged, words, words],
    "text": [damaged, text, text, text],
    "json": [damaged, json_value, json_value, json_value],
    "jsonl": [damaged, json_lines, json_lines, json_lines],
    "safetensors": [damaged, words, safetensors, safetensors, safetensors],
    "png": [damaged, png, png, png],
    "mat": [damaged, mat, mat, mat],
    "zip": [damaged, archive, archive, archive],
}
"""Changes by the form of a file; each is as likely as the others of its list."""


def mutated(data: bytes, form: str, rng: Random) -> bytes:
    """Return `data` changed in one of the ways of its form; what a change cannot parse is changed as bytes."""
    change = rng.choice(FORMS[form])
    try:
        return change(data, rng)
    except (ValueError, KeyError, IndexError, struct.error, zlib.error, zipfile.BadZipFile, AttributeError, TypeError):
        return damaged(data, rng)
