"""Tiles of matrix products: chosen from shapes alone, so that bits do not depend on the number of threads."""

from __future__ import annotations

from enum import Enum, IntEnum, auto
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from lazyflow.runtime.errors import ShapeError

PRODUCT = "lazyflow.product."  # how the names of functions begin that work on tiles
_LEAST_WORK = 1 << 18  # multiplications of a tile that is worth a claim
_OWN_WORK = 1 << 24  # multiplications up to which our own product is as fast as BLAS, with narrower lanes
_MOST = 2**31 - 1  # what BLAS can count
_GRANULES = (8, 16)  # rows and columns of a tile come in multiples of these
_DOWN = (1, 2, 4, 8, 16, 32, 64)
_ACROSS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 24, 32)
_THREADS = (1, 2, 4, 8, 16, 32)  # that tiles are to suit
_SHARE = 1 << 22  # multiplications that each of more than 8 threads has to find
_PANEL = 32  # columns that meet a row of a at once; fewer have that row fetched as often, for less
_REST = (0, 24, 32)  # what up to as many granules of columns cost
_CLAIM = 1 << 14  # multiplications in the time that it takes to claim a tile
_PACKING = 24  # rows that could be multiplied while b is packed for a tile
# 131072 x 128 x 128 in tiles of 2048 x 128 took 0.78 to 0.88 of that in 16384 x 32: a comes from memory once
_TALL = 1 << 14  # rows of a that do not stay in cache from one tile to the next
_FETCHING = 8  # columns that could be multiplied while such rows come from memory
# A kernel that runs over tiles takes, with its product, 0.92 to 1.07 of the time of both apart where the
# result stays in the last cache. Of larger ones: with relu 0.87 at 131072 x 128 x 128 (64 MiB), 0.74 to
# 0.93 at 500 x 128 x 128 x 16 (32 MiB); with gelu and softmax, which compute for longer, 0.96 to 1.04.
# Tiles that are not whole rows: up to 1.7.
_UNCACHED = 1 << 24  # bytes of a result


class Way(Enum):
    """Who multiplies; EITHER is decided when the sizes are known."""

    BLAS = auto()
    OWN = auto()
    EITHER = auto()


class ProductWord(IntEnum):
    """The numbers of a product; those of its batch's axes follow, four each: an extent and three steps."""

    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last: list[int]) -> int:
        return count

    M = auto()
    N = auto()
    K = auto()
    OWN = auto()  # the way; when the sizes are known: whether we multiply, where BLAS could too
    TILE_M = auto()
    TILE_N = auto()
    ACROSS = auto()  # tiles side by side
    TILES = auto()  # of a matrix
    FLAG_B = auto()  # for BLAS
    FLAG_A = auto()
    LEADING_B = auto()
    LEADING_A = auto()
    LEADING_C = auto()
    A_ROW = auto()  # steps in bytes
    A_COL = auto()
    B_ROW = auto()
    B_COL = auto()
    C_ROW = auto()
    TAIL = auto()  # what takes on each tile; 0 where nothing does
    TAIL_ARGS = auto()
    TAIL_SIZES = auto()
    TAIL_STEP = auto()  # how much of its range is one row
    RANK = auto()  # of the batch
    SIZE = auto()


def product_name(way: Way, type_: str) -> str:
    """The function of products of a type of LLVM.

    >>> product_name(Way.OWN, "float")
    'lazyflow.product.own.float'
    """
    return f"{PRODUCT}{way.name.lower()}.{type_}"


def calls_blas(function: str) -> bool:
    """Whether a task's function needs BLAS."""
    return function.startswith(PRODUCT) and not function.startswith(product_name(Way.OWN, ""))


def leaves_cache(nbytes: int) -> bool:
    """Whether a result of so many bytes is worth to be taken on tile by tile; see ``tails``."""
    return nbytes >= _UNCACHED


def tiled(batch: int, numbers: NDArray[np.int64]) -> int:
    """Fill in what follows from the sizes among a product's numbers; how many tiles a matrix has.

    Raises:
        ShapeError: BLAS alone takes the layout, and counts no further than the sizes go.
    """
    word = ProductWord
    m, n, k = (int(number) for number in numbers[word.M : word.K + 1])
    rows, columns = tiles(batch, m, n, k)
    largest = max(rows, columns, k, *numbers[word.LEADING_B : word.LEADING_C + 1].tolist())
    if largest > _MOST and numbers[word.OWN] == Way.BLAS.value:
        found = f"a product of {m} by {k} and {k} by {n} elements: {largest} in a row, or from row to row"
        raise ShapeError(f"{found}; BLAS, which alone takes this layout on this host, counts to {_MOST}")
    numbers[word.OWN] = largest > _MOST or m * n * k <= _OWN_WORK
    across = -(-n // columns)
    count = -(-m // rows) * across
    numbers[word.TILE_M : word.TILES + 1] = rows, columns, max(1, across), max(1, count)
    return count


@lru_cache(maxsize=4096)
def tiles(batch: int, m: int, n: int, k: int) -> tuple[int, int]:
    """The rows and columns of a tile: those that serve one thread and several best.

    >>> tiles(1, 64, 64, 32), tiles(1, 128, 784, 64), tiles(32, 64, 64, 32), tiles(1, 65536, 128, 64)
    ((64, 64), (128, 112), (64, 64), (2048, 128))
    """
    most = max(1, m * n * k // _LEAST_WORK)
    shapes = {
        (_part(m, down, _GRANULES[0]), _part(n, across, _GRANULES[1]))
        for down, across in product(_DOWN, _ACROSS)
        if down * across <= most
    }
    return min(sorted(shapes, reverse=True), key=lambda shape: _cost(batch, m, n, k, *shape))


def _part(size: int, parts: int, granule: int) -> int:
    """The length of a part, a multiple of the granule where there are several."""
    return max(1, min(size, -(-size // (parts * granule)) * granule))


def _cost(batch: int, m: int, n: int, k: int, rows: int, columns: int) -> int:
    """What several numbers of threads take, each times that number, in multiplications."""
    count = batch * -(-m // rows) * -(-n // columns)
    panels, rest = divmod(columns, _PANEL)
    height = -(-rows // _GRANULES[0]) * _GRANULES[0] + _PACKING
    width = panels * _PANEL + _REST[-(-rest // _GRANULES[1])] + _FETCHING * (m >= _TALL)
    tile = height * k * width + _CLAIM
    most = max(8, batch * m * n * k // _SHARE)
    return sum(-(-count // threads) * threads * tile for threads in _THREADS if threads <= most)
