"""Changes, by kind of file, after which it must be refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from PIL import Image

from wsseg_cli.foreign.npy_out import AsTensor, npy_bytes

from .mutations import (
    OUT_OF_IT,
    SIZE,
    Attack,
    Mutation,
    animated,
    bytes_of,
    claiming,
    cut,
    edited,
    matlab,
    npy,
    pickled,
    picture,
    text,
    values,
    without,
)

UNREADABLE: dict[str, Mutation] = {
    "cut": cut,
    "cut elsewhere": cut,
    "empty": text(""),
    "no picture": text("this is no picture"),
    "a page": text("<html><body>404</body></html>"),
    "animated": animated,
    "of 110 megapixels": picture("1", (11000, 10000)),
    "claims 3600 megapixels": claiming,
    "a pickle": pickled(Attack()),
}
SIXTEEN: dict[str, Mutation] = {
    "16-bit": lambda data, rng: bytes_of(lambda to: Image.fromarray(np.zeros(SIZE[::-1], np.uint16)).save(to, "PNG")),
}
PHOTO = UNREADABLE | {
    "32-bit": lambda data, rng: bytes_of(lambda to: Image.new("I", SIZE, 70_000).save(to, "TIFF")),
    "floating point": picture("F", format="TIFF"),
    "LAB": picture("LAB", format="TIFF"),
    "of another size": picture("RGB", (SIZE[0] + 1, SIZE[1])),
}
MASK = (
    UNREADABLE
    | SIXTEEN
    | {
        "RGB": picture("RGB"),
        "RGBA": picture("RGBA"),
        "grey with alpha": picture("LA"),
        "of another size": picture("L", (SIZE[0], SIZE[1] + 1)),
        "turned": picture("L", SIZE[::-1]),
        "value above the classes": values(77),
    }
)
SALIENCY = (
    UNREADABLE
    | SIXTEEN
    | {
        "CMYK": picture("CMYK", format="TIFF"),
        "of another size": picture("L", (SIZE[0] - 1, SIZE[1])),
    }
)
XML: dict[str, Mutation] = {
    "cut": cut,
    "empty": text(""),
    "no XML": text("dog 1 2 3 4"),
    "a page": text("<html><body>404</body></html>"),
    "binary": lambda data, rng: rng.randbytes(200),
    "entities": without("<annotation>", '<!DOCTYPE a [<!ENTITY b "dog"><!ENTITY c "&b;&b;">]><annotation>'),
    "a file as entity": without(
        "<annotation>", '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation>&b;'
    ),
    "an object without name": without("<name>dog</name>"),
    "huge": lambda data, rng: data + b" " * (5 << 20),
}
LIST: dict[str, Mutation] = {
    **{f"the name {name!r}": text(f"p0\n{name}\np1\n") for name in OUT_OF_IT},
    "twice": text("p0\np1\np0\n"),
    "nothing there": text("p0\nnothere\n"),
    "binary": lambda data, rng: b"\xff\xfe" + rng.randbytes(200),
    "empty": text(""),
}
SBD_LIST = {name: change for name, change in LIST.items() if name != "empty"}
TABLE: dict[str, Mutation] = {
    **{f"the name {name!r}": text(f"image,labels\n{name},dog\n") for name in OUT_OF_IT},
    "no header": without("image,labels\n"),
    "another header": without("image,labels", "photo,what"),
    "a cell too many": without("p0,dog", "p0,dog,cat"),
    "no name": without("p0,dog", ",dog"),
    "unknown class": without("p0,dog", "p0,dgo"),
    "binary": lambda data, rng: b"\xff\xfe" + rng.randbytes(200),
    "a cell beyond measure": lambda data, rng: data + b"p9," + b"a" * 200_000 + b"\n",
    "empty": text(""),
}
LINES: dict[str, Mutation] = {
    **{f"the name {name!r}": text(json.dumps({"image": name, "labels": ["dog"]})) for name in OUT_OF_IT},
    "cut": lambda data, rng: data[:-4],
    "no object": text("[1, 2]\n"),
    "nested without end": text("[" * 100_000),
    "a number as name": text('{"image": 3, "labels": []}\n'),
    "a number as label": text('{"image": "p0", "labels": [3]}\n'),
    "no labels": text('{"image": "p0"}\n'),
    "unknown class": without("dog", "dgo"),
}
INSTANCES: dict[str, Mutation] = {
    **{f"the name {name!r}": edited(lambda c, name=name: c["images"][0].update(file_name=name)) for name in OUT_OF_IT},
    "cut": cut,
    "nested without end": text("[" * 100_000),
    "a list": text("[]"),
    "no images": edited(lambda c: c.pop("images")),
    "an image twice": edited(lambda c: c["images"].append(c["images"][0])),
    "an image of no size": edited(lambda c: c["images"][0].update(height=0)),
    "an image of another size": edited(lambda c: c["images"][0].update(height=SIZE[1] + 3)),
    "an image of 10^12 pixels": edited(lambda c: c["images"][0].update(height=10**6, width=10**6)),
    "an unknown image": edited(lambda c: c["annotations"][0].update(image_id=404)),
    "an unknown category": edited(lambda c: c["annotations"][0].update(category_id=404)),
    "a category twice": edited(lambda c: c["categories"].append(c["categories"][0])),
    "300 categories": edited(lambda c: c["categories"].extend({"id": n, "name": str(n)} for n in range(10, 310))),
    "a polygon of two corners": edited(lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3, 4]])),
    "a polygon of words": edited(lambda c: c["annotations"][0].update(segmentation=[["a"] * 6])),
    "a polygon without end": edited(lambda c: c["annotations"][0].update(segmentation=[[1e308] * 6])),
    "a polygon of NaN": edited(lambda c: c["annotations"][0].update(segmentation=[[float("nan")] * 6])),
    "runs of another size": edited(
        lambda c: c["annotations"][0].update(segmentation={"size": [3, 3], "counts": [4, 5]})
    ),
    "runs beyond the image": edited(
        lambda c: c["annotations"][0].update(segmentation={"size": list(SIZE[::-1]), "counts": [1, 10**9]})
    ),
    "runs in no form": edited(
        lambda c: c["annotations"][0].update(segmentation={"size": list(SIZE[::-1]), "counts": "\u00ff\u00fe"})
    ),
}
METADATA: dict[str, Mutation] = {
    **{
        f"the name {name!r}": without('"p0.jpg"', json.dumps(f"{name}.jpg"))
        for name in ("../../outside", "/etc/outside", "nothere")
    },
    "cut": lambda data, rng: data[:-9],
    "unknown class": without("dog", "dgo"),
    "no file name": without('"file_name"', '"name"'),
}
PARQUET: dict[str, Mutation] = {
    "cut": cut,
    "empty": text(""),
    "no parquet": text("PAR1 this is none PAR1"),
    "a pickle": pickled(Attack()),
}
MAT: dict[str, Mutation] = {
    "cut": cut,
    "empty": text(""),
    "no MATLAB file": text("this is none"),
    "a pickle": pickled(Attack()),
    "nothing in it": matlab({"x": np.eye(3)}),
    "a number in place of the struct": matlab({"GTcls": 3}),
    "no mask in it": matlab({"GTcls": {"Boundaries": np.eye(3)}}),
    "values beyond a byte": matlab({"GTcls": {"Segmentation": np.full(SIZE[::-1], 999)}}),
    "fractions": matlab({"GTcls": {"Segmentation": np.full(SIZE[::-1], 0.5)}}),
    "three dimensions": matlab({"GTcls": {"Segmentation": np.zeros((3, 3, 3), np.uint8)}}),
    "of another size": matlab({"GTcls": {"Segmentation": np.zeros((3, 3), np.uint8)}}),
    "100 megabytes of zeros": matlab({"GTcls": {"Segmentation": np.zeros((10_000, 10_000), np.uint8)}}),
}
_MAP = np.full((4, 5), 0.5, np.float32)
NUMPY: dict[str, Mutation] = {
    "code": npy({"a": Attack()}),
    "code alone": pickled(Attack()),
    "code in a list": npy({3: _MAP, "keys": [Attack()]}),
    "cut": cut,
    "empty": text(""),
    "no array": text("this is none"),
    "an object of ours": npy({3: Path("x")}),
    "a function": npy({3: os.getcwd}),
    "numbers in place of a dict": lambda data, rng: bytes_of(lambda to: np.save(to, np.zeros(4))),
    "an empty dict": npy({}),
    "a header that asks for more": without("'shape': ()", "'shape': (99999999,)"),
}
CAMS = NUMPY | {
    "maps of two sizes": lambda data, rng: npy_bytes({3: _MAP, 4: _MAP[1:]}),
    "values beyond 1": lambda data, rng: npy_bytes({3: _MAP * 9}),
    "not finite": lambda data, rng: npy_bytes({3: _MAP * np.float32("nan")}),
    "a negative class": lambda data, rng: npy_bytes({-3: _MAP}),
    "keys without maps": lambda data, rng: npy_bytes({"keys": AsTensor(np.array([3, 4])), "cam": AsTensor(_MAP[None])}),
}
VECTORS = NUMPY | {
    "vectors of two lengths": lambda data, rng: npy_bytes({"a": np.zeros(3), "b": np.zeros(4)}),
    "counts": lambda data, rng: npy_bytes({"a": np.full(3, 2.0)}),
    "not finite": lambda data, rng: npy_bytes({"a": np.full(3, np.nan)}),
    "maps": lambda data, rng: npy_bytes({"a": np.zeros((3, 3))}),
    "of one image twice": lambda data, rng: npy_bytes({2007000032: np.zeros(3), "2007_000032": np.zeros(3)}),
}
CODED = UNREADABLE | {
    "unknown colours": lambda data, rng: bytes_of(lambda to: Image.new("RGB", SIZE, (1, 2, 3)).save(to, "PNG")),
    "value above the classes": values(77),
}
CHECKPOINT: dict[str, Mutation] = {
    "code": pickled({"w": Attack()}),
    "code alone": pickled(Attack()),
    "cut": cut,
    "empty": text(""),
    "no checkpoint": text("this is none"),
    "a zip of nothing": text("PK\x05\x06" + "\0" * 18),
}

BROKEN: dict[str, dict[str, Mutation]] = {
    "PHOTO": PHOTO,
    "MASK": MASK,
    "SALIENCY": SALIENCY,
    "XML": XML,
    "LIST": LIST,
    "SBD_LIST": SBD_LIST,
    "TABLE": TABLE,
    "LINES": LINES,
    "INSTANCES": INSTANCES,
    "METADATA": METADATA,
    "PARQUET": PARQUET,
    "MAT": MAT,
    "CAMS": CAMS,
    "VECTORS": VECTORS,
    "CODED": CODED,
    "CHECKPOINT": CHECKPOINT,
}
