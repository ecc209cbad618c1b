"""Products of matrices in our own lanes, for hosts whose registers are known.

A panel of the columns of b is copied side by side, then some rows of a at a time meet it in registers. Each
element of the result is one chain of fused multiplications and additions along k: its bits depend on nothing
but the two vectors and the length of the blocks of k. Few rows meet b where it lies; and where there is
hardly a row, and columns are contiguous, both are multiplied lane by lane along k.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple

from lazyflow.runtime.backends.cpu.code.writer import Writer, suffix

BLOCK = 512  # of k
_DOTTED = 8  # rows, at most, that are multiplied along k
_DOTS = 8  # columns that a row, or a pair of rows, meets at a time
_UNPACKED = 16  # rows, at most, that meet b where it lies
BYTES = {"float": 4, "double": 8}  # of what there are products
_SIZES = ("m", "n", "k", "a.row", "a.col", "b.row", "b.col", "c.row")
_TILE = ", ".join(["ptr %a", "ptr %b", "ptr %c", *(f"i64 %{size}" for size in _SIZES)])
_Part = tuple[str, Writer]  # the parameters of a function, and its lines


class Registers(NamedTuple):
    """What the registers hold: sums of ``rows`` by ``vectors`` times ``lanes`` elements.

    >>> Registers.of("float", 512)
    Registers(type='float', lanes=16, rows=8, vectors=2)
    """

    type: str
    lanes: int
    rows: int
    vectors: int

    @classmethod
    def of(cls, type_: str, bits: int) -> Registers:
        """For 32 registers of 512 bits, or 16 of 256: more sums would be kept in memory."""
        return cls(type_, bits // (8 * BYTES[type_]), 8 if bits > 256 else 6, 2)


def gemm_functions(kind: Registers) -> tuple[list[str], set[str]]:
    """``void lazyflow.tile.TYPE(...)``, c = a * b with steps in bytes: what defines it, and declarations."""
    parts = list(_Gemm(kind).parts())
    declarations = {text for _, (_, writer) in parts for text in writer.declarations}
    return [_function(name, *part) for name, part in parts], declarations


def _function(name: str, parameters: str, writer: Writer) -> str:
    lines = "\n".join(["entry:", *writer.entry, *writer.lines, "  ret void"])
    # not inlined: each runs for long, and one large function takes LLVM twice as long as its parts
    return f"define internal void @lazyflow.{name}({parameters}) #0 {{\n{lines}\n}}"


def address_at(writer: Writer, base: str, *steps: tuple[str, str]) -> str:
    """An address some steps away: each an index, and bytes per index."""
    for index, nbytes in steps:
        offset = writer.let(f"mul i64 {index}, {nbytes}")
        base = writer.let(f"getelementptr i8, ptr {base}, i64 {offset}")
    return base


def _least(writer: Writer, a: str, b: str) -> str:
    return writer.call("i64", "llvm.smin.i64", f"i64 {a}", f"i64 {b}")


@contextmanager
def _steps(writer: Writer, stop: str, step: int, pieces: int = 0) -> Iterator[tuple[str, str]]:
    """A loop over pieces of up to ``step``, at least so many: where each begins, and how long it is."""
    count = writer.let(f"udiv i64 {writer.let(f'add i64 {stop}, {step - 1}')}, {step}")
    if pieces:
        count = writer.call("i64", "llvm.smax.i64", f"i64 {count}", f"i64 {pieces}")
    with writer.loop("0", count) as number:
        begin = writer.let(f"mul i64 {number}, {step}")
        yield begin, _least(writer, writer.let(f"sub i64 {stop}, {begin}"), str(step))


@contextmanager
def _otherwise(writer: Writer, condition: str) -> Iterator[None]:
    with writer.branch(writer.let(f"xor i1 {condition}, true")):
        yield


class _Gemm:
    """Writes the functions for elements of one type."""

    def __init__(self, kind: Registers) -> None:
        self.type, self.lanes, self.rows, self.vectors = kind
        self.columns, self.nbytes = kind.lanes * kind.vectors, BYTES[kind.type]
        self.heights = (1, kind.rows // 2, kind.rows)  # of what meets a panel at a time
        self.vector, self.bools = f"<{kind.lanes} x {kind.type}>", f"<{kind.lanes} x i1>"
        self.short = suffix(kind.type, kind.lanes)

    def parts(self) -> Iterator[tuple[str, _Part]]:
        """The functions by name."""
        parts = {
            "tile": self._tile(),
            "dots.1": self._dots(1),
            "dots.2": self._dots(2),
            "panels": self._panels(),
            "merge": self._merge(),
            "pack_rows": self._pack_rows(),
            "pack_columns": self._pack_columns(),
        }
        for rows in self.heights:
            parts |= {f"micro.{rows}.{v}": self._micro(rows, v) for v in range(1, self.vectors + 1)}
        for name, part in parts.items():
            yield f"{name}.{self.type}", part

    # --- words ---------------------------------------------------------------------------------------------

    def _call(self, writer: Writer, function: str, given: str) -> None:
        writer.line(f"call void @lazyflow.{function}.{self.type}({given})")

    def _mask(self, writer: Writer, count: str, before: int | str) -> str:
        """The lanes whose number, and ``before``, is below the count."""
        left = writer.splatted(writer.let(f"sub i64 {count}, {before}"), "i64", self.lanes)
        numbers = ", ".join(f"i64 {lane}" for lane in range(self.lanes))
        return writer.let(f"icmp slt <{self.lanes} x i64> <{numbers}>, {left}")

    def _element(self, writer: Writer, base: str, index: int | str) -> str:
        return writer.let(f"getelementptr {self.type}, ptr {base}, i64 {index}")

    def _load(self, writer: Writer, pointer: str, mask: str | None = None) -> str:
        if mask is None:
            return writer.let(f"load {self.vector}, ptr {pointer}, align {self.nbytes}")
        given = f"ptr {pointer}", self.nbytes, f"{self.bools} {mask}"
        return writer.masked(f"load.{self.short}.p0", self.vector, *given)

    def _sums(self, writer: Writer, count: int) -> list[str]:
        return [writer.slot(self.vector) for _ in range(count)]

    def _clear(self, writer: Writer, slots: Sequence[str]) -> None:
        for slot in slots:
            writer.line(f"store {self.vector} zeroinitializer, ptr {slot}")

    def _add_product(self, writer: Writer, slot: str, a: str, b: str) -> None:
        operands = [f"{self.vector} {x}" for x in (a, b, writer.let(f"load {self.vector}, ptr {slot}"))]
        total = writer.call(self.vector, f"llvm.fma.{self.short}", *operands)
        writer.line(f"store {self.vector} {total}, ptr {slot}")

    # --- a tile --------------------------------------------------------------------------------------------

    def _tile(self) -> _Part:
        writer = Writer()
        conditions = [f"sle i64 %m, {_DOTTED}"]
        conditions += [f"eq i64 %{step}, {self.nbytes}" for step in ("a.col", "b.row")]
        dotted = "true"
        for condition in conditions:
            dotted = writer.let(f"and i1 {dotted}, {writer.let(f'icmp {condition}')}")
        with writer.branch(dotted), _steps(writer, "%m", 2) as (i, rows):
            a, c = address_at(writer, "%a", (i, "%a.row")), address_at(writer, "%c", (i, "%c.row"))
            given = f"ptr {a}, ptr %b, ptr {c}, i64 %n, i64 %k, i64 %b.col, i64 %a.row, i64 %c.row"
            for height in (1, 2):
                with writer.branch(writer.let(f"icmp eq i64 {rows}, {height}")):
                    self._call(writer, f"dots.{height}", given)
        with _otherwise(writer, dotted):
            self._call(writer, "panels", _TILE)
        return _TILE, writer

    def _dots(self, height: int) -> _Part:
        """Rows of the result: the products of some columns at a time, each in lanes along k."""
        writer = Writer()
        width = _DOTS if self.rows >= _DOTS else _DOTS // height  # what half of the registers hold
        rows = [address_at(writer, "%a", (str(r), "%a.row")) for r in range(height)]
        results = [address_at(writer, "%c", (str(r), "%c.row")) for r in range(height)]
        sums = [self._sums(writer, height) for _ in range(width)]
        with _steps(writer, "%n", width) as (j, count):
            last = writer.let(f"sub i64 {count}, 1")
            first = address_at(writer, "%b", (j, "%step"))
            numbers = [_least(writer, str(i), last) for i in range(width)]
            columns = [address_at(writer, first, (number, "%step")) for number in numbers]
            for slots in sums:
                self._clear(writer, slots)
            with writer.loop("0", "%k", self.lanes) as k:
                self._dot(writer, rows, columns, sums, (k, None))
            rest = writer.whole_steps("0", "%k", self.lanes)
            with writer.branch(writer.let(f"icmp slt i64 {rest}, %k")):
                self._dot(writer, rows, columns, sums, (rest, self._mask(writer, "%k", rest)))
            for i, slots in enumerate(sums):
                with writer.branch(writer.let(f"icmp slt i64 {i}, {count}")):
                    places = [self._element(writer, self._element(writer, c, j), i) for c in results]
                    self._store_folded(writer, slots, places)
        return "ptr %a, ptr %b, ptr %c, i64 %n, i64 %k, i64 %step, i64 %a.row, i64 %c.row", writer

    def _dot(
        self,
        writer: Writer,
        rows: list[str],
        columns: list[str],
        sums: list[list[str]],
        place: tuple[str, str | None],
    ) -> None:
        k, mask = place
        left = [self._load(writer, self._element(writer, row, k), mask) for row in rows]
        for column, slots in zip(columns, sums, strict=True):
            right = self._load(writer, self._element(writer, column, k), mask)
            for a, slot in zip(left, slots, strict=True):
                self._add_product(writer, slot, a, right)

    def _store_folded(self, writer: Writer, slots: list[str], places: list[str]) -> None:
        for slot, place in zip(slots, places, strict=True):
            total = self._folded(writer, writer.let(f"load {self.vector}, ptr {slot}"))
            writer.line(f"store {self.type} {total}, ptr {place}, align {self.nbytes}")

    def _folded(self, writer: Writer, lanes: str) -> str:
        """The sum of all lanes: the upper half onto the lower one, again and again."""
        width = self.lanes // 2
        while width:
            picked = ", ".join(f"i32 {(lane + width) % self.lanes}" for lane in range(self.lanes))
            upper = writer.let(
                f"shufflevector {self.vector} {lanes}, {self.vector} poison, <{self.lanes} x i32> <{picked}>"
            )
            lanes, width = writer.let(f"fadd {self.vector} {lanes}, {upper}"), width // 2
        return writer.let(f"extractelement {self.vector} {lanes}, i64 0")

    def _panels(self) -> _Part:
        """Panel by panel, block of k by block of k, some rows at a time."""
        writer = Writer()
        packed = writer.slot(f"[{BLOCK * self.columns} x {self.type}], align 64")
        block = writer.slot(f"[{self.rows * self.columns} x {self.type}], align 64")
        few = writer.let(f"icmp sle i64 %m, {_UNPACKED}")
        beside = writer.let(f"icmp eq i64 %b.col, {self.nbytes}")
        beside = writer.let(f"or i1 {beside}, {writer.let('icmp eq i64 %n, 1')}")
        with _steps(writer, "%n", self.columns) as (j, columns), _steps(writer, "%k", BLOCK, 1) as (p, depth):
            b = address_at(writer, "%b", (j, "%b.col"), (p, "%b.row"))
            whole = writer.let(f"icmp eq i64 {columns}, {self.columns}")
            stay = writer.let(f"and i1 {writer.let(f'and i1 {few}, {beside}')}, {whole}")
            with _otherwise(writer, stay):
                self._pack(writer, beside, f"ptr {packed}, ptr {b}, i64 {depth}, i64 {columns}")
            panel = writer.let(f"select i1 {stay}, ptr {b}, ptr {packed}")
            step = writer.let(f"select i1 {stay}, i64 %b.row, i64 {self.columns * self.nbytes}")
            begins = writer.let(f"icmp eq i64 {p}, 0")
            with _steps(writer, "%m", self.rows) as (i, rows):
                a = address_at(writer, "%a", (i, "%a.row"), (p, "%a.col"))
                given = f"ptr {panel}, ptr {a}, ptr {block}, i64 {depth}, i64 {rows}, i64 {step}"
                self._choose_micro(writer, rows, columns, f"{given}, i64 %a.row, i64 %a.col")
                c = address_at(writer, "%c", (i, "%c.row"), (j, str(self.nbytes)))
                sizes = f"i64 {rows}, i64 {columns}, i64 %c.row, i1 {begins}"
                self._call(writer, "merge", f"ptr {block}, ptr {c}, {sizes}")
        return _TILE, writer

    def _pack(self, writer: Writer, beside: str, given: str) -> None:
        with writer.branch(beside):
            self._call(writer, "pack_rows", f"{given}, i64 %b.row")
        with _otherwise(writer, beside):
            self._call(writer, "pack_columns", f"{given}, i64 %b.col")

    def _choose_micro(self, writer: Writer, rows: str, columns: str, given: str) -> None:
        """As few rows, and as few vectors, as hold those that there are."""
        for lower, height in pairwise((0, *self.heights)):
            with writer.branch(self._between(writer, rows, lower, height)):
                self._choose_vectors(writer, height, columns, given)

    def _choose_vectors(self, writer: Writer, height: int, columns: str, given: str) -> None:
        for v in range(1, self.vectors + 1):
            with writer.branch(self._between(writer, columns, (v - 1) * self.lanes, v * self.lanes)):
                self._call(writer, f"micro.{height}.{v}", given)

    def _between(self, writer: Writer, value: str, below: int, most: int) -> str:
        above = writer.let(f"icmp sgt i64 {value}, {below}")
        return writer.let(f"and i1 {above}, {writer.let(f'icmp sle i64 {value}, {most}')}")

    def _micro(self, height: int, vectors: int) -> _Part:
        """Rows of a times a panel, into a block; rows that do not exist repeat the last one."""
        writer = Writer()
        last = writer.let("sub i64 %rows, 1")
        rows = [address_at(writer, "%a", (_least(writer, str(r), last), "%a.row")) for r in range(height)]
        sums = [self._sums(writer, vectors) for _ in rows]
        for slots in sums:
            self._clear(writer, slots)
        with writer.loop("0", "%depth") as k:
            start = address_at(writer, "%panel", (k, "%step"))
            right = [self._load(writer, self._element(writer, start, v * self.lanes)) for v in range(vectors)]
            along = writer.let(f"mul i64 {k}, %a.col")
            for row, slots in zip(rows, sums, strict=True):
                pointer = writer.let(f"getelementptr i8, ptr {row}, i64 {along}")
                element = writer.let(f"load {self.type}, ptr {pointer}, align {self.nbytes}")
                left = writer.splatted(element, self.type, self.lanes)
                for b, slot in zip(right, slots, strict=True):
                    self._add_product(writer, slot, left, b)
        for r, slots in enumerate(sums):
            for v, slot in enumerate(slots):
                total = writer.let(f"load {self.vector}, ptr {slot}")
                place = self._element(writer, "%block", r * self.columns + v * self.lanes)
                writer.line(f"store {self.vector} {total}, ptr {place}, align {self.nbytes}")
        given = "ptr %panel, ptr %a, ptr %block, i64 %depth, i64 %rows, i64 %step, i64 %a.row, i64 %a.col"
        return given, writer

    def _merge(self) -> _Part:
        """Store a block, or add it to what the blocks of k before it gave."""
        writer = Writer()
        masks = [self._mask(writer, "%columns", v * self.lanes) for v in range(self.vectors)]
        with writer.loop("0", "%rows") as r:
            row, start = address_at(writer, "%c", (r, "%c.row")), writer.let(f"mul i64 {r}, {self.columns}")
            start = self._element(writer, "%block", start)
            for v, mask in enumerate(masks):
                value = self._load(writer, self._element(writer, start, v * self.lanes))
                target = self._element(writer, row, v * self.lanes)
                more = writer.let("xor i1 %begins, true")
                kept = writer.let(f"and {self.bools} {mask}, {writer.splatted(more, 'i1', self.lanes)}")
                total = writer.let(f"fadd {self.vector} {self._load(writer, target, kept)}, {value}")
                chosen = writer.let(f"select i1 %begins, {self.vector} {value}, {self.vector} {total}")
                given = f"ptr {target}", self.nbytes, f"{self.bools} {mask}", chosen
                writer.masked(f"store.{self.short}.p0", self.vector, *given)
        return "ptr %block, ptr %c, i64 %rows, i64 %columns, i64 %c.row, i1 %begins", writer

    # --- panels --------------------------------------------------------------------------------------------

    def _pack_rows(self) -> _Part:
        """A panel of b whose rows are contiguous; zeros where it has no columns."""
        writer = Writer()
        masks = [self._mask(writer, "%columns", v * self.lanes) for v in range(self.vectors)]
        with writer.loop("0", "%depth") as k:
            row = address_at(writer, "%b", (k, "%step"))
            for v, mask in enumerate(masks):
                value = self._load(writer, self._element(writer, row, v * self.lanes), mask)
                self._store_panel(writer, value, k, str(v * self.lanes))
        return "ptr %panel, ptr %b, i64 %depth, i64 %columns, i64 %step", writer

    def _pack_columns(self) -> _Part:
        """A panel of b whose columns are contiguous: squares are transposed in registers."""
        writer = Writer()
        lanes = self.lanes
        with _steps(writer, "%depth", lanes) as (k, _), writer.loop("0", str(self.vectors)) as v:
            first = writer.let(f"mul i64 {v}, {lanes}")
            inside = self._mask(writer, "%depth", k)
            rows = []
            for r in range(lanes):
                column = writer.let(f"add i64 {first}, {r}")
                exists = writer.splatted(writer.let(f"icmp slt i64 {column}, %columns"), "i1", lanes)
                pointer = address_at(writer, "%b", (column, "%step"), (k, str(self.nbytes)))
                rows.append(self._load(writer, pointer, writer.let(f"and {self.bools} {inside}, {exists}")))
            for r, value in enumerate(self._transposed(writer, rows)):
                self._store_panel(writer, value, writer.let(f"add i64 {k}, {r}"), first)
        return "ptr %panel, ptr %b, i64 %depth, i64 %columns, i64 %step", writer

    def _store_panel(self, writer: Writer, value: str, k: str, column: str) -> None:
        place = writer.let(f"add i64 {writer.let(f'mul i64 {k}, {self.columns}')}, {column}")
        pointer = self._element(writer, "%panel", place)
        writer.line(f"store {self.vector} {value}, ptr {pointer}, align {self.nbytes}")

    def _transposed(self, writer: Writer, rows: list[str]) -> list[str]:
        """Squares of squares: at each size, the two off the diagonal change places."""
        lanes = self.lanes
        size = lanes // 2
        while size:
            swapped = list(rows)
            for r in (r for r in range(lanes) if not r & size):
                pair = f"{self.vector} {rows[r]}, {self.vector} {rows[r + size]}"
                upper = [j if not j & size else lanes + j - size for j in range(lanes)]
                lower = [j + size if not j & size else lanes + j for j in range(lanes)]
                for place, picked in ((r, upper), (r + size, lower)):
                    numbers = ", ".join(f"i32 {j}" for j in picked)
                    swapped[place] = writer.let(f"shufflevector {pair}, <{lanes} x i32> <{numbers}>")
            rows, size = swapped, size // 2
        return rows
