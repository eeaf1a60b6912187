"""COCO's text encoding of run lengths, read and written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..types import IntArray


def counts_of(text: str) -> IntArray:
    """Return the run lengths (n,) int64 encoded in COCO's text.

    Each character holds five bits; its sixth says that more follow, and the fifth of the last one is the sign. From the
    fourth number on, a number is the difference from the one two before.

    Raises:
        ValueError: a character is not one of the 64, or a number does not end or has more than 35 bits.
    """
    codes = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    if not len(codes):
        return codes
    if codes.min() < 0 or codes.max() > 63:
        raise ValueError("a character that no run length has")
    last = np.flatnonzero((codes & 32) == 0)
    if not len(last) or last[-1] != len(codes) - 1:
        raise ValueError("the last number does not end")
    first = np.concatenate([[0], last[:-1] + 1])
    if (last - first).max() > 6:
        raise ValueError("a number of more than 35 bits")
    place = np.arange(len(codes)) - np.repeat(first, last - first + 1)
    values = np.add.reduceat((codes & 31) << (5 * place), first)
    values -= ((codes[last] & 16) != 0).astype(np.int64) << (5 * (last - first + 1))
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def text_of(counts: Sequence[int] | IntArray) -> str:
    """Return run lengths (n,) as COCO's text."""
    differences = np.array(counts, np.int64)
    differences[3:] -= differences[1:-2].copy()
    codes = []
    for value in differences.tolist():
        more = True
        while more:
            code = value & 31
            value >>= 5
            more = value != (-1 if code & 16 else 0)
            codes.append(code + 48 + (32 if more else 0))
    return bytes(codes).decode("ascii")
