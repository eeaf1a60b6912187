"""Cutting a batch into tiles and putting maps of the tiles together again (PuzzleCAM)."""

from __future__ import annotations

import math

from torch import Tensor

from wsseg_cli.errors import RecipeError


def tiled(images: Tensor, pieces: int) -> Tensor:
    """Return the tiles of a batch, (pieces * N, D, H / s, W / s) with s the root of `pieces`.

    The tile is the outer index: first the top left tile of every image, then the next to the right.

    Raises:
        RecipeError: pieces is not a square, or does not cut the sides evenly.
    """
    side = _side(pieces)
    n, channels, height, width = images.shape
    if height % side or width % side:
        raise RecipeError(f"images of {width}x{height} pixels do not fall into {pieces} equal tiles; change the crop")
    tiles = images.reshape(n, channels, side, height // side, side, width // side)
    return tiles.permute(2, 4, 0, 1, 3, 5).reshape(pieces * n, channels, height // side, width // side)


def merged(maps: Tensor, pieces: int, like: Tensor | None = None) -> Tensor:
    """Return the maps of whole images, (N, D, s * h, s * w), from those of their tiles (pieces * N, D, h, w).

    like: maps that the result is to be compared with.

    Raises:
        RecipeError: pieces is not a square, or the size is not that of `like`.
    """
    side = _side(pieces)
    count, channels, h, w = maps.shape
    n = count // pieces
    whole = maps.reshape(side, side, n, channels, h, w).permute(2, 3, 0, 4, 1, 5)
    whole = whole.reshape(n, channels, side * h, side * w)
    if like is not None and like.shape[2:] != whole.shape[2:]:
        raise RecipeError(
            f"maps of {pieces} tiles make {side * w}x{side * h} cells, those of the whole image {like.shape[3]}x"
            f"{like.shape[2]}; give a crop that is a multiple of {side} times the backbone's stride"
        )
    return whole


def side_of(pieces: int) -> int | None:
    """Return the number of tiles in a row, None if `pieces` is not a square."""
    side = math.isqrt(max(pieces, 0))
    return side if side and side * side == pieces else None


def _side(pieces: int) -> int:
    side = side_of(pieces)
    if side is None:
        raise RecipeError(f"an image cannot be cut into {pieces} tiles of equal sides; expected 1, 4, 9, 16, …")
    return side
