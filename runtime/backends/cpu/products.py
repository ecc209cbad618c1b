"""Matrix products: BLAS where it takes the layout, transposes as flags; else a nest that sums."""

from __future__ import annotations

from contextlib import ExitStack
from typing import NamedTuple

from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.backends.cpu.calls import Calls
from lazyflow.runtime.backends.cpu.nest import as_size
from lazyflow.runtime.backends.cpu.writer import STORED
from lazyflow.runtime.dimensions import Size

_GEMM = {dtypes.float32: ("sgemm", "float", "1.0"), dtypes.float64: ("dgemm", "double", "1.0")}


class _Operand(NamedTuple):
    """A matrix as BLAS takes it: whether rows or columns are contiguous, and the step between them."""

    transposed: bool
    leading: Size


def emit_product(function: Calls, item: schema.MatMul) -> None:
    """Write the call of a product into a program."""
    m, n, k = (as_size(e) for e in (item.m, item.n, item.k))
    a, b, out = (_operand(item.a, m, k), _operand(item.b, k, n), _operand(item.out, m, n))
    dtype = function.dtype(item.out)
    if dtype not in _GEMM or a is None or b is None or out is None or out.transposed:
        _emit_nest(function, item)
        return
    name, type_, one = _GEMM[dtype]
    writer, sizes = function.writer, function.sizes
    # BLAS counts columns first: the row-major product is the transposed product of the transposed operands
    numbers = [_integer(function, size) for size in (n, m, k, b.leading, a.leading, out.leading)]
    flags = [_constant(function, "i8", str(ord("T" if operand.transposed else "N"))) for operand in (b, a)]
    scales = [_constant(function, type_, value) for value in (one, "0.0")]
    bases = [function.address(access) for access in (item.b, item.a, item.out)]
    with ExitStack() as loops:
        extents = [as_size(e) for e in item.batch]
        place = [loops.enter_context(writer.loop("0", sizes[e])) for e in extents]
        pointers = []
        for base, access in zip(bases, (item.b, item.a, item.out), strict=True):
            pointer = base
            for index, stride in zip(place, access.strides, strict=False):
                step = writer.let(f"mul i64 {index}, {sizes[as_size(stride)]}")
                pointer = writer.let(f"getelementptr {STORED[dtype]}, ptr {pointer}, i64 {step}")
            pointers.append(pointer)
        given = [*flags, *numbers[:3], scales[0], pointers[0], numbers[3], pointers[1], numbers[4]]
        given += [scales[1], pointers[2], numbers[5]]
        writer.declarations.add(f"declare void @lazyflow_{name}({', '.join(['ptr'] * len(given))})")
        writer.line(f"call void @lazyflow_{name}({', '.join(f'ptr {p}' for p in given)})")


def _operand(access: schema.Access, rows: Size, columns: Size) -> _Operand | None:
    """How BLAS would take a matrix of ``rows`` by ``columns``, or None."""
    down, along = (as_size(s) for s in access.strides[-2:])
    if along == 1 or columns == 1:
        leading = columns if rows == 1 else down
        return _Operand(False, leading) if columns != 1 or down != 0 or rows == 1 else None
    if down == 1 or rows == 1:
        return _Operand(True, along) if along != 0 else None
    return None


def _integer(function: Calls, size: Size) -> str:
    slot = function.writer.slot("i32")
    if isinstance(size, int):
        function.writer.line(f"store i32 {size}, ptr {slot}")
    else:
        value = function.writer.let(f"trunc i64 {function.sizes[size]} to i32")
        function.writer.line(f"store i32 {value}, ptr {slot}")
    return slot


def _constant(function: Calls, type_: str, value: str) -> str:
    slot = function.writer.slot(type_)
    function.writer.line(f"store {type_} {value}, ptr {slot}")
    return slot


def _emit_nest(function: Calls, item: schema.MatMul) -> None:
    """The product as a kernel: a sum over k of products, half types summed in float32."""
    dtype = function.dtype(item.out)
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
    function.call_nest(space, 1, [a, b], [out], body, [6], late=False)
