"""Matrix products: BLAS over fixed tiles of the result where it takes the layout, else a nest that sums."""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.backends.cpu.natives import OWN, TILED
from lazyflow.runtime.backends.cpu.nest import as_size
from lazyflow.runtime.backends.cpu.tasks import Shared, Tasks
from lazyflow.runtime.dimensions import Size, at_least, elements

_GEMM = {dtypes.float32: 0, dtypes.float64: 1}  # which function of BLAS; see blas.NAMES
_TILE_WORK = 1 << 21  # multiplications that are worth a thread
_NARROW = 4  # columns of a result that would leave most lanes unused
_TILES = 8  # at most, per matrix
TILES_AT = 8  # where their numbers hold what ``tiles`` gives
_NO_TILES = (1, 0, 1)  # until the sizes are known
_GRANULE = 16  # rows or columns of a tile come in multiples of this


class _Operand(NamedTuple):
    """A matrix as BLAS takes it: whether rows or columns are contiguous, and the step between them."""

    transposed: bool
    leading: Size


def add_product(tasks: Tasks, item: schema.MatMul) -> None:
    """Call BLAS for each tile of each matrix of the batch; see ``driver`` for the numbers that it takes."""
    if item.out.strides[-1] != 1 and item.out.strides[-2] == 1:
        item = _flipped(item)
    m, n, k = (as_size(e) for e in (item.m, item.n, item.k))
    a, b, out = (_operand(item.a, m, k), _operand(item.b, k, n), _operand(item.out, m, n))
    dtype = tasks.dtype(item.out)
    takes_blas = dtype in _GEMM and a is not None and b is not None and out is not None and not out.transposed
    own = tasks.wide and dtype == dtypes.float32 and _fits_lanes(item)
    if not own and not takes_blas:
        _add_nest(tasks, item)
        return
    # BLAS counts columns first: the row-major product is the transposed product of the transposed operands
    flags = [ord("T" if operand is not None and operand.transposed else "N") for operand in (b, a)]
    leading = [1 if operand is None else operand.leading for operand in (b, a, out)]
    numbers: list[Size] = [*flags, m, n, k, *leading, *_NO_TILES]
    steps = [item.a.strides[-2], item.b.strides[-1], *item.out.strides[-2:]]
    size = dtype.itemsize
    numbers += [as_size(step) * size for step in steps]
    numbers.append(len(item.batch))
    numbers += [as_size(step) * size for step in (item.a.strides[-1], item.b.strides[-2])]
    for axis in reversed(range(len(item.batch))):
        numbers.append(as_size(item.batch[axis]))
        numbers += [as_size(access.strides[axis]) * size for access in (item.a, item.b, item.out)]
    args = [*map(tasks.address, (item.a, item.b, item.out)), (tasks.blas + _GEMM[dtype], 0)]
    batch = elements(as_size(e) for e in item.batch)
    shared = Shared(OWN if own else f"{TILED}{dtype.name}", batch, batch * m * n * k)
    tasks.add(shared, args, tuple(numbers))


def _flipped(item: schema.MatMul) -> schema.MatMul:
    """The same product as that of the transposed factors, whose result lies in rows."""

    def transposed(access: schema.Access) -> schema.Access:
        *batch, down, along = access.strides
        return replace(access, strides=(*batch, along, down))

    a, b, out = map(transposed, (item.b, item.a, item.out))
    return replace(item, m=item.n, n=item.m, a=a, b=b, out=out)


def _fits_lanes(item: schema.MatMul) -> bool:
    """Whether our own product takes the layout, and is worth it: a matrix, whose rows lanes can write."""
    down, along = item.b.strides[-2:]
    narrow = isinstance(item.n, int) and item.n < _NARROW
    return item.out.strides[-1] == 1 and 1 in (down, along) and not narrow


def tiles(m: int, n: int, k: int) -> tuple[int, int, int]:
    """Whether tiles cut rows, the length of each, and how many there are: by the shape alone.

    Columns are cut unless there are few: b is copied for each tile, a is not.

    >>> tiles(64, 10, 128), tiles(256, 1024, 784), tiles(4096, 64, 64)
    ((1, 64, 1), (0, 128, 8), (1, 512, 8))
    """
    by_rows = m >= 4 * n
    cut = m if by_rows else n
    count = max(1, min(_TILES, m * n * k // _TILE_WORK, cut // (4 * _GRANULE)))
    tile = min(cut, -(-cut // (count * _GRANULE)) * _GRANULE)
    return int(by_rows), tile, -(-cut // tile)


def _operand(access: schema.Access, rows: Size, columns: Size) -> _Operand | None:
    """How BLAS would take a matrix of ``rows`` by ``columns``, or None."""
    down, along = (as_size(s) for s in access.strides[-2:])
    if along == 1 or columns == 1:
        leading = columns if rows == 1 else down
        if at_least(leading, columns):  # else rows overlap, which BLAS refuses
            return _Operand(False, leading)
    if down == 1 or rows == 1:
        leading = rows if columns == 1 else along
        if at_least(leading, rows):
            return _Operand(True, leading)
    return None


def _add_nest(tasks: Tasks, item: schema.MatMul) -> None:
    """The product as a kernel: a sum over k of products, half types summed in float32."""
    dtype = tasks.dtype(item.out)
    wide = "float32" if dtype in dtypes.HALF else dtype.name

    def spread(access: schema.Access, position: int) -> schema.Access:
        strides = list(access.strides)
        strides.insert(len(item.batch) + position, 0)
        return schema.Access(buffer=access.buffer, offset=access.offset, strides=tuple(strides))

    # over batch, m, n, k: a does not move along n, b not along m, the result not along k
    a, b, out = spread(item.a, 1), spread(item.b, 0), spread(item.out, 2)
    b_strides = list(b.strides)
    b_strides[-2:] = reversed(b_strides[-2:])
    b = schema.Access(buffer=b.buffer, offset=b.offset, strides=tuple(b_strides))
    body = (
        schema.Call(op="cast", args=(0,), dtype=wide),
        schema.Call(op="cast", args=(1,), dtype=wide),
        schema.Call(op="mul", args=(2, 3), dtype=wide),
        schema.Call(op="reduce_sum", args=(4,), dtype=wide),
        schema.Call(op="cast", args=(5,), dtype=dtype.name),
    )
    space = (*item.batch, item.m, item.n, item.k)
    writes = (schema.Write(value=6, to=out),)
    tasks.add_nest(schema.Kernel(space=space, inner=1, reads=(a, b), body=body, writes=writes), late=False)
