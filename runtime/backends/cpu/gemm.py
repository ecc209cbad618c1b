"""Products of float32 matrices with 16 lanes, for hosts whose registers hold 24 vectors beside those in use.

A panel of 48 columns of b is copied side by side, then 8 rows of a at a time meet it in registers. Each
element of the result is one chain of fused multiplications and additions along k: its bits depend on nothing
but the two vectors and the length of the blocks of k.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lazyflow.runtime.backends.cpu.writer import Writer

ROWS = 8
VECTORS = 3
LANES = 16
COLUMNS = VECTORS * LANES
BLOCK = 512  # of k
_VECTOR = f"<{LANES} x float>"
_BOOLS = f"<{LANES} x i1>"
_LANE_NUMBERS = ", ".join(f"i64 {lane}" for lane in range(LANES))
_SIZES = ("m", "n", "k", "a.row", "a.col", "b.row", "b.col", "c.row")
_TILE = ", ".join(["ptr %a", "ptr %b", "ptr %c", *(f"i64 %{size}" for size in _SIZES)])


def gemm_text() -> str:
    """The definition of ``void lazyflow.tile(...)``: c = a * b, steps between rows and columns in bytes."""
    parts = [_pack_rows(), _pack_columns(), _merge(), _tile(), *(_micro(v) for v in range(1, VECTORS + 1))]
    writers = [writer for _, _, writer in parts]
    declarations = sorted({text for writer in writers for text in writer.declarations})
    return "\n".join([*declarations, *(_function(*part) for part in parts)])


def _function(name: str, parameters: str, writer: Writer) -> str:
    lines = "\n".join(["entry:", *writer.entry, *writer.lines, "  ret void"])
    return f"define internal void @lazyflow.{name}({parameters}) #0 {{\n{lines}\n}}"


def _at(writer: Writer, base: str, *steps: tuple[str, str]) -> str:
    """An address some steps away: each an index, and bytes per index."""
    for index, nbytes in steps:
        offset = writer.let(f"mul i64 {index}, {nbytes}")
        base = writer.let(f"getelementptr i8, ptr {base}, i64 {offset}")
    return base


def _least(writer: Writer, a: str, b: str) -> str:
    return writer.call("i64", "llvm.smin.i64", f"i64 {a}", f"i64 {b}")


def _mask(writer: Writer, count: str, before: int | str) -> str:
    """The lanes whose number, and ``before``, is below the count."""
    left = writer.splatted(writer.let(f"sub i64 {count}, {before}"), "i64", LANES)
    return writer.let(f"icmp slt <{LANES} x i64> <{_LANE_NUMBERS}>, {left}")


def _load(writer: Writer, pointer: str, mask: str) -> str:
    return writer.masked(f"load.v{LANES}f32.p0", _VECTOR, f"ptr {pointer}", 4, f"{_BOOLS} {mask}")


@contextmanager
def _steps(writer: Writer, stop: str, step: int) -> Iterator[tuple[str, str]]:
    """A loop over pieces of up to ``step``: where each begins, and how long it is."""
    count = writer.let(f"udiv i64 {writer.let(f'add i64 {stop}, {step - 1}')}, {step}")
    with writer.loop("0", count) as number:
        begin = writer.let(f"mul i64 {number}, {step}")
        yield begin, _least(writer, writer.let(f"sub i64 {stop}, {begin}"), str(step))


def _tile() -> tuple[str, str, Writer]:
    writer = Writer()
    panel = writer.slot(f"[{BLOCK * COLUMNS} x float], align 64")
    block = writer.slot(f"[{ROWS * COLUMNS} x float], align 64")
    beside = writer.let("icmp eq i64 %b.col, 4")
    with _steps(writer, "%n", COLUMNS) as (j, columns), _steps(writer, "%k", BLOCK) as (first, depth):
        b = _at(writer, "%b", (j, "%b.col"), (first, "%b.row"))
        given = f"ptr {panel}, ptr {b}, i64 {depth}, i64 {columns}"
        with writer.branch(beside):
            writer.line(f"call void @lazyflow.pack_rows({given}, i64 %b.row)")
        with writer.branch(writer.let(f"xor i1 {beside}, true")):
            writer.line(f"call void @lazyflow.pack_columns({given}, i64 %b.col)")
        begins = writer.let(f"icmp eq i64 {first}, 0")
        with _steps(writer, "%m", ROWS) as (i, rows):
            a = _at(writer, "%a", (i, "%a.row"), (first, "%a.col"))
            _choose_micro(writer, columns, f"ptr {panel}, ptr {a}, ptr {block}, i64 {depth}, i64 {rows}")
            c = _at(writer, "%c", (i, "%c.row"), (j, "4"))
            sizes = f"i64 {rows}, i64 {columns}, i64 %c.row, i1 {begins}"
            writer.line(f"call void @lazyflow.merge(ptr {block}, ptr {c}, {sizes})")
    return "tile", _TILE, writer


def _choose_micro(writer: Writer, columns: str, given: str) -> None:
    """As few vectors as hold the columns."""
    for vectors in range(1, VECTORS + 1):
        above = writer.let(f"icmp sgt i64 {columns}, {(vectors - 1) * LANES}")
        below = writer.let(f"icmp sle i64 {columns}, {vectors * LANES}")
        with writer.branch(writer.let(f"and i1 {above}, {below}")):
            writer.line(f"call void @lazyflow.micro.{vectors}({given}, i64 %a.row, i64 %a.col)")


def _micro(vectors: int) -> tuple[str, str, Writer]:
    """8 rows of a times a panel, into a block; rows that do not exist repeat the last one."""
    writer = Writer()
    last = writer.let("sub i64 %rows, 1")
    rows = [_at(writer, "%a", (_least(writer, str(r), last), "%a.row")) for r in range(ROWS)]
    sums = [[writer.slot(_VECTOR) for _ in range(vectors)] for _ in range(ROWS)]
    for slot in (slot for row in sums for slot in row):
        writer.line(f"store {_VECTOR} zeroinitializer, ptr {slot}")
    with writer.loop("0", "%depth") as k:
        place = writer.let(f"mul i64 {k}, {COLUMNS}")
        start = writer.let(f"getelementptr float, ptr %panel, i64 {place}")
        right = []
        for v in range(vectors):
            pointer = writer.let(f"getelementptr float, ptr {start}, i64 {v * LANES}")
            right.append(writer.let(f"load {_VECTOR}, ptr {pointer}, align 64"))
        along = writer.let(f"mul i64 {k}, %a.col")
        for row, slots in zip(rows, sums, strict=True):
            pointer = writer.let(f"getelementptr i8, ptr {row}, i64 {along}")
            left = writer.splatted(writer.let(f"load float, ptr {pointer}, align 4"), "float", LANES)
            for b, slot in zip(right, slots, strict=True):
                total = writer.let(f"load {_VECTOR}, ptr {slot}")
                operands = [f"{_VECTOR} {x}" for x in (left, b, total)]
                total = writer.call(_VECTOR, f"llvm.fma.v{LANES}f32", *operands)
                writer.line(f"store {_VECTOR} {total}, ptr {slot}")
    for r, slots in enumerate(sums):
        for v, slot in enumerate(slots):
            total = writer.let(f"load {_VECTOR}, ptr {slot}")
            place = writer.let(f"getelementptr float, ptr %block, i64 {r * COLUMNS + v * LANES}")
            writer.line(f"store {_VECTOR} {total}, ptr {place}, align 64")
    parameters = "ptr %panel, ptr %a, ptr %block, i64 %depth, i64 %rows, i64 %a.row, i64 %a.col"
    return f"micro.{vectors}", parameters, writer


def _merge() -> tuple[str, str, Writer]:
    """Store a block, or add it to what the blocks of k before it gave."""
    writer = Writer()
    masks = [_mask(writer, "%columns", v * LANES) for v in range(VECTORS)]
    with writer.loop("0", "%rows") as r:
        row, start = _at(writer, "%c", (r, "%c.row")), writer.let(f"mul i64 {r}, {COLUMNS}")
        start = writer.let(f"getelementptr float, ptr %block, i64 {start}")
        for v, mask in enumerate(masks):
            place = writer.let(f"getelementptr float, ptr {start}, i64 {v * LANES}")
            value = writer.let(f"load {_VECTOR}, ptr {place}, align 64")
            target = writer.let(f"getelementptr float, ptr {row}, i64 {v * LANES}")
            more = writer.let("xor i1 %begins, true")
            kept = writer.let(f"and {_BOOLS} {mask}, {writer.splatted(more, 'i1', LANES)}")
            total = writer.let(f"fadd {_VECTOR} {_load(writer, target, kept)}, {value}")
            chosen = writer.let(f"select i1 %begins, {_VECTOR} {value}, {_VECTOR} {total}")
            writer.masked(f"store.v{LANES}f32.p0", _VECTOR, f"ptr {target}", 4, f"{_BOOLS} {mask}", chosen)
    parameters = "ptr %block, ptr %c, i64 %rows, i64 %columns, i64 %c.row, i1 %begins"
    return "merge", parameters, writer


def _pack_rows() -> tuple[str, str, Writer]:
    """A panel of b whose rows are contiguous; zeros where it has no columns."""
    writer = Writer()
    masks = [_mask(writer, "%columns", v * LANES) for v in range(VECTORS)]
    with writer.loop("0", "%depth") as k:
        row = _at(writer, "%b", (k, "%step"))
        for v, mask in enumerate(masks):
            value = _load(writer, writer.let(f"getelementptr float, ptr {row}, i64 {v * LANES}"), mask)
            _store_panel(writer, value, k, str(v * LANES))
    return "pack_rows", "ptr %panel, ptr %b, i64 %depth, i64 %columns, i64 %step", writer


def _pack_columns() -> tuple[str, str, Writer]:
    """A panel of b whose columns are contiguous: squares of 16 by 16 are transposed in registers."""
    writer = Writer()
    with _steps(writer, "%depth", LANES) as (k, _), writer.loop("0", str(VECTORS)) as v:
        first = writer.let(f"mul i64 {v}, {LANES}")
        inside = _mask(writer, "%depth", k)
        rows = []
        for r in range(LANES):
            column = writer.let(f"add i64 {first}, {r}")
            exists = writer.splatted(writer.let(f"icmp slt i64 {column}, %columns"), "i1", LANES)
            pointer = _at(writer, "%b", (column, "%step"), (k, "4"))
            rows.append(_load(writer, pointer, writer.let(f"and {_BOOLS} {inside}, {exists}")))
        for r, value in enumerate(_transposed(writer, rows)):
            _store_panel(writer, value, writer.let(f"add i64 {k}, {r}"), first)
    return "pack_columns", "ptr %panel, ptr %b, i64 %depth, i64 %columns, i64 %step", writer


def _store_panel(writer: Writer, value: str, k: str, column: str) -> None:
    place = writer.let(f"add i64 {writer.let(f'mul i64 {k}, {COLUMNS}')}, {column}")
    pointer = writer.let(f"getelementptr float, ptr %panel, i64 {place}")
    writer.line(f"store {_VECTOR} {value}, ptr {pointer}, align 64")


def _transposed(writer: Writer, rows: list[str]) -> list[str]:
    """Squares of squares: at each size, the two off the diagonal change places."""
    size = LANES // 2
    while size:
        swapped = list(rows)
        for r in (r for r in range(LANES) if not r & size):
            pair = f"{_VECTOR} {rows[r]}, {_VECTOR} {rows[r + size]}"
            upper = [j if not j & size else LANES + j - size for j in range(LANES)]
            lower = [j + size if not j & size else LANES + j for j in range(LANES)]
            for place, picked in ((r, upper), (r + size, lower)):
                lanes = ", ".join(f"i32 {j}" for j in picked)
                swapped[place] = writer.let(f"shufflevector {pair}, <{LANES} x i32> <{lanes}>")
        rows, size = swapped, size // 2
    return rows
