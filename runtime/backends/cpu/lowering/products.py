"""Matrix products: BLAS over fixed tiles of the result where it takes the layout, else a nest that sums."""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.backends.cpu.code.nest import as_size
from lazyflow.runtime.backends.cpu.code.tiling import ProductWord, Way, product_name
from lazyflow.runtime.backends.cpu.code.writer import STORED
from lazyflow.runtime.backends.cpu.lowering.tasks import Shared, Tasks
from lazyflow.runtime.dimensions import Size, at_least, elements

_GEMM = {dtypes.float32: 0, dtypes.float64: 1}  # which function of BLAS; see blas.NAMES
_FASTEST = 512  # bits of registers with which our own float32 product is faster than BLAS at any size


class _Operand(NamedTuple):
    """A matrix as BLAS takes it: whether rows or columns are contiguous, and the step between them."""

    transposed: bool
    leading: Size


def add_product(tasks: Tasks, item: schema.MatMul) -> None:
    """Multiply tile by tile each pair of matrices of the batch; see ``tiling`` for the numbers of a task."""
    item = as_computed(item)
    dtype = tasks.dtype(item.out)
    m, n, k = (as_size(e) for e in (item.m, item.n, item.k))
    operands = [_operand(item.b, k, n), _operand(item.a, m, k), _operand(item.out, m, n)]
    way = _way(tasks, item, operands) if dtype in _GEMM else None
    if way is None:
        _add_nest(tasks, item)
        return
    numbers: list[Size] = [0] * ProductWord.SIZE
    word, size = ProductWord, dtype.itemsize
    numbers[word.M : word.K + 1] = m, n, k
    numbers[word.OWN], numbers[word.RANK] = way.value, len(item.batch)
    # BLAS counts columns first: the row-major product is the transposed product of the transposed operands
    known = [operand or _Operand(False, 1) for operand in operands]
    numbers[word.FLAG_B : word.FLAG_A + 1] = (ord("T" if each.transposed else "N") for each in known[:2])
    numbers[word.LEADING_B : word.LEADING_C + 1] = (each.leading for each in known)
    steps = [*item.a.strides[-2:], *item.b.strides[-2:], item.out.strides[-2]]
    numbers[word.A_ROW : word.C_ROW + 1] = (as_size(step) * size for step in steps)
    for axis in reversed(range(len(item.batch))):
        numbers.append(as_size(item.batch[axis]))
        numbers += [as_size(access.strides[axis]) * size for access in (item.a, item.b, item.out)]
    args = [*map(tasks.address, (item.a, item.b, item.out)), (tasks.blas + _GEMM[dtype], 0)]
    batch = elements(as_size(e) for e in item.batch)
    shared = Shared(product_name(way, STORED[dtype]), batch, batch * m * n * k)
    tasks.add(shared, args, tuple(numbers))


def _way(tasks: Tasks, item: schema.MatMul, operands: list[_Operand | None]) -> Way | None:
    """Who multiplies: None where neither BLAS nor our own product takes the layout."""
    b, a, out = operands
    blas = a is not None and b is not None and out is not None and not out.transposed
    lanes = item.n == 1 or item.out.strides[-1] == 1
    own = tasks.bits > 0 and lanes and (item.n == 1 or item.k == 1 or 1 in item.b.strides[-2:])
    if own and blas:
        fastest = tasks.bits >= _FASTEST and tasks.dtype(item.out) == dtypes.float32
        return Way.OWN if fastest else Way.EITHER
    return Way.OWN if own else Way.BLAS if blas else None


def as_computed(item: schema.MatMul) -> schema.MatMul:
    """The product, or the transposed one: whose result has rows that are contiguous, if one has."""
    return _turned(item) if _lies_across(item) else item


def _lies_across(item: schema.MatMul) -> bool:
    """Whether the result's columns are contiguous, or it is one column: better computed transposed."""
    down, along = item.out.strides[-2:]
    return down == 1 and item.m != 1 and (item.n == 1 or along != 1)


def _turned(item: schema.MatMul) -> schema.MatMul:
    """The transposed product."""

    def across(access: schema.Access) -> schema.Access:
        *batch, down, along = access.strides
        return replace(access, strides=(*batch, along, down))

    a, b, out = across(item.b), across(item.a), across(item.out)
    return replace(item, m=item.n, n=item.m, a=a, b=b, out=out)


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
