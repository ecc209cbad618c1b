"""Native functions that are always the same: flags, checks of group indices, and tiles of matrix products."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lazyflow.runtime.backends.cpu.gemm import gemm_text
from lazyflow.runtime.backends.cpu.writer import Writer, definition

TILED = "lazyflow.product."  # how the names of functions begin that work on tiles; then a dtype, for BLAS
OWN = f"{TILED}own"  # works without BLAS
KNOWN = 18  # numbers of a product before those of its batch's axes; see ``products``


def natives_text() -> str:
    """The definitions of those that every process has."""
    return f"{_flag()}\n{_check_groups()}"


def product_text(name: str) -> str:
    """The definition of a function of products; each a module of its own: few programs need all."""
    if name == OWN:
        return f"{gemm_text()}\n{_own_product()}"
    dtype = name.removeprefix(TILED)
    return _product(dtype, {"float32": "float", "float64": "double"}[dtype])


def _flag() -> str:
    writer = Writer()
    writer.line(f"store i8 1, ptr {writer.argument(0)}")
    writer.line("ret i64 0")
    return definition("lazyflow.flag", writer)


def _check_groups() -> str:
    """Its number is that of the groups; its addresses are where a bad index goes, then those of indices."""
    writer = Writer()
    limit = writer.element(writer.argument(0), "i64", "0", 0)
    with writer.loop("%begin", "%end") as segment:
        pointer = writer.element("%args", "ptr", segment, 2)
        group = writer.let(f"sext i32 {writer.let(f'load i32, ptr {pointer}')} to i64")
        with writer.branch(writer.let(f"icmp uge i64 {group}, {limit}")):
            writer.line(f"store i64 {group}, ptr {writer.argument(1)}")
            writer.line("ret i64 1")
            writer.block(writer.fresh("unreached"))
    writer.line("ret i64 0")
    return definition("lazyflow.check_groups", writer)


def _product(dtype: str, type_: str) -> str:
    """Tiles of matrix products, by BLAS; its range is that of the tiles of all matrices of a batch."""
    writer = Writer()
    known = [writer.element(writer.argument(0), "i64", "0", i) for i in range(KNOWN)]
    places = _constants(writer, type_, known)
    with _tiles(writer, known) as (pointers, m, n):
        for name, size in (("m", m), ("n", n)):
            writer.line(f"store i32 {writer.let(f'trunc i64 {size} to i32')}, ptr {places[name]}")
        a, b, out = pointers
        order = ["flag_b", "flag_a", "n", "m", "k", "one", b, "ldb", a, "lda", "zero", out, "ldc"]
        given = ", ".join(f"ptr {places.get(name, name)}" for name in order)
        writer.line(f"call void {writer.argument(4)}({given})")
    writer.line("ret i64 0")
    return definition(f"{TILED}{dtype}", writer)


def _own_product() -> str:
    """The same of float32 without BLAS; see ``gemm``."""
    writer = Writer()
    known = [writer.element(writer.argument(0), "i64", "0", i) for i in range(KNOWN)]
    with _tiles(writer, known) as (pointers, m, n):
        sizes = [m, n, known[4], known[11], known[16], known[17], known[12], known[13]]
        given = [f"ptr {pointer}" for pointer in pointers] + [f"i64 {size}" for size in sizes]
        writer.line(f"call void @lazyflow.tile({', '.join(given)})")
    writer.line("ret i64 0")
    return definition(OWN, writer)


@contextmanager
def _tiles(writer: Writer, known: list[str]) -> Iterator[tuple[list[str], str, str]]:
    """A loop over tiles: the addresses of a, b and the result, and the rows and columns of the tile."""
    m, n, by_rows, tile, tiles = known[2], known[3], known[8], known[9], known[10]
    rows = writer.let(f"icmp ne i64 {by_rows}, 0")
    with writer.loop("%begin", "%end") as index:
        start = writer.let(f"mul i64 {writer.let(f'urem i64 {index}, {tiles}')}, {tile}")
        whole = writer.let(f"select i1 {rows}, i64 {m}, i64 {n}")
        left = writer.let(f"sub i64 {whole}, {start}")
        short = writer.let(f"icmp slt i64 {left}, {tile}")
        length = writer.let(f"select i1 {short}, i64 {left}, i64 {tile}")
        steps = [
            writer.let(f"select i1 {rows}, i64 {down}, i64 {along}")
            for down, along in ((known[11], "0"), ("0", known[12]), (known[13], known[14]))
        ]
        moved = [writer.let(f"mul i64 {start}, {step}") for step in steps]
        pointers = [
            writer.let(f"getelementptr i8, ptr {writer.argument(1 + i)}, i64 {offset}")
            for i, offset in enumerate(moved)
        ]
        matrix = writer.let(f"udiv i64 {index}, {tiles}")
        found = _in_batch(writer, writer.argument(0), known[15], matrix, pointers)
        height = writer.let(f"select i1 {rows}, i64 {length}, i64 {m}")
        width = writer.let(f"select i1 {rows}, i64 {n}, i64 {length}")
        yield found, height, width


def _constants(writer: Writer, type_: str, known: list[str]) -> dict[str, str]:
    """Memory for what BLAS takes by address."""
    places = {"m": writer.slot("i32"), "n": writer.slot("i32")}
    for name, number, kind in (
        ("flag_b", 0, "i8"),
        ("flag_a", 1, "i8"),
        ("k", 4, "i32"),
        ("ldb", 5, "i32"),
        ("lda", 6, "i32"),
        ("ldc", 7, "i32"),
    ):
        places[name] = writer.slot(kind)
        writer.line(f"store {kind} {writer.let(f'trunc i64 {known[number]} to {kind}')}, ptr {places[name]}")
    for name, value in (("one", "1.0"), ("zero", "0.0")):
        places[name] = writer.slot(type_)
        writer.line(f"store {type_} {value}, ptr {places[name]}")
    return places


def _in_batch(writer: Writer, numbers: str, rank: str, matrix: str, pointers: list[str]) -> list[str]:
    """The addresses of the matrices of a place in the batch, whose last axis comes first in the numbers."""
    slots = [writer.slot("ptr") for _ in pointers]
    rest = writer.slot("i64")
    for slot, pointer in zip(slots, pointers, strict=True):
        writer.line(f"store ptr {pointer}, ptr {slot}")
    writer.line(f"store i64 {matrix}, ptr {rest}")
    with writer.loop("0", rank) as axis:
        row = writer.let(f"add i64 {writer.let(f'mul i64 {axis}, 4')}, {KNOWN}")
        extent = writer.element(numbers, "i64", row, 0)
        left = writer.let(f"load i64, ptr {rest}")
        place = writer.let(f"urem i64 {left}, {extent}")
        writer.line(f"store i64 {writer.let(f'udiv i64 {left}, {extent}')}, ptr {rest}")
        for further, slot in enumerate(slots):
            step = writer.let(f"mul i64 {place}, {writer.element(numbers, 'i64', row, 1 + further)}")
            moved = writer.let(f"getelementptr i8, ptr {writer.let(f'load ptr, ptr {slot}')}, i64 {step}")
            writer.line(f"store ptr {moved}, ptr {slot}")
    return [writer.let(f"load ptr, ptr {slot}") for slot in slots]
