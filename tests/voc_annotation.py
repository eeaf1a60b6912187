"""An annotation as VOC writes them."""

from __future__ import annotations


def annotation(*objects: tuple[str, int]) -> str:
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>"
    things = "".join(f"<object><name>{n}</name><difficult>{d}</difficult>{box}</object>" for n, d in objects)
    return f"<annotation><size><width>8</width><height>6</height></size>{things}</annotation>"
