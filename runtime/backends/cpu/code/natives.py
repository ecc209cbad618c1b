"""Native functions that are always the same: flags, checks of group indices, and tiles of matrix products."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lazyflow.runtime.backends.cpu.code.gemm import BYTES, Registers, address_at, gemm_functions
from lazyflow.runtime.backends.cpu.code.tiling import PRODUCT, ProductWord, Way
from lazyflow.runtime.backends.cpu.code.writer import Writer, definition

_STEPS = (
    ProductWord.K,
    ProductWord.A_ROW,
    ProductWord.A_COL,
    ProductWord.B_ROW,
    ProductWord.B_COL,
    ProductWord.C_ROW,
)


def natives_text() -> str:
    """The definitions of those that every process has."""
    return f"{_flag()}\n{_check_groups()}"


def product_text(name: str, bits: int) -> str:
    """The definition of a function of products; each a module of its own: few programs need all.

    Args:
        name: As ``product_name`` gives it.
        bits: Of the registers that our own products use.
    """
    way, type_ = name.removeprefix(PRODUCT).split(".")
    writer = _product(Way[way.upper()], type_)
    own, declarations = ([], set[str]()) if way == "blas" else gemm_functions(Registers.of(type_, bits))
    return "\n".join([*sorted(declarations | writer.declarations), *own, definition(name, writer)])


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


def _product(way: Way, type_: str) -> Writer:
    """Tiles of matrix products; its range is that of the tiles of all matrices of a batch."""
    writer = Writer()
    known = [writer.element(writer.argument(0), "i64", "0", word) for word in range(ProductWord.SIZE)]
    chosen = writer.let(f"icmp eq i64 {known[ProductWord.OWN]}, 1")
    places = {} if way == Way.OWN else _constants(writer, type_, known)
    with _tiles(writer, known, BYTES[type_]) as (pointers, row, m, n):
        if way != Way.BLAS:
            with writer.branch("true" if way == Way.OWN else chosen):
                steps = [m, n, *(known[word] for word in _STEPS)]
                given = [f"ptr {pointer}" for pointer in pointers] + [f"i64 {step}" for step in steps]
                writer.line(f"call void @lazyflow.tile.{type_}({', '.join(given)})")
        if way != Way.OWN:
            with writer.branch("true" if way == Way.BLAS else writer.let(f"xor i1 {chosen}, true")):
                _call_blas(writer, places, pointers, m, n)
        with writer.branch(writer.let(f"icmp ne i64 {known[ProductWord.TAIL]}, 0")):
            _call_tail(writer, known, row, m)
    writer.line("ret i64 0")
    return writer


def _call_tail(writer: Writer, known: list[str], row: str, count: str) -> None:
    """Let the task that takes on tiles take some rows."""
    words = (ProductWord.TAIL, ProductWord.TAIL_ARGS, ProductWord.TAIL_SIZES)
    function, args, sizes = (writer.let(f"inttoptr i64 {known[word]} to ptr") for word in words)
    rows = (row, writer.let(f"add i64 {row}, {count}"))
    begin, end = (writer.let(f"mul i64 {each}, {known[ProductWord.TAIL_STEP]}") for each in rows)
    writer.let(f"call i64 {function}(ptr {args}, ptr {sizes}, i64 {begin}, i64 {end})")


def _call_blas(writer: Writer, places: dict[str, str], pointers: list[str], m: str, n: str) -> None:
    for name, size in (("m", m), ("n", n)):
        writer.line(f"store i32 {writer.let(f'trunc i64 {size} to i32')}, ptr {places[name]}")
    a, b, out = pointers
    order = ["flag_b", "flag_a", "n", "m", "k", "one", b, "ldb", a, "lda", "zero", out, "ldc"]
    given = ", ".join(f"ptr {places.get(name, name)}" for name in order)
    writer.line(f"call void {writer.argument(4)}({given})")


@contextmanager
def _tiles(writer: Writer, known: list[str], nbytes: int) -> Iterator[tuple[list[str], str, str, str]]:
    """A loop over tiles: the addresses of a, b and the result, the first row, how many rows and columns.

    Rows are numbered through all matrices.
    """
    word = ProductWord
    with writer.loop("%begin", "%end") as index:
        matrix = writer.let(f"udiv i64 {index}, {known[word.TILES]}")
        inside = writer.let(f"urem i64 {index}, {known[word.TILES]}")
        starts, lengths = [], []
        for op, tile, whole in (("udiv", word.TILE_M, word.M), ("urem", word.TILE_N, word.N)):
            place = writer.let(f"{op} i64 {inside}, {known[word.ACROSS]}")
            starts.append(writer.let(f"mul i64 {place}, {known[tile]}"))
            left = writer.let(f"sub i64 {known[whole]}, {starts[-1]}")
            lengths.append(writer.call("i64", "llvm.smin.i64", f"i64 {left}", f"i64 {known[tile]}"))
        down, along = starts
        moves = (
            ((down, known[word.A_ROW]),),
            ((along, known[word.B_COL]),),
            ((down, known[word.C_ROW]), (along, str(nbytes))),
        )
        pointers = [address_at(writer, writer.argument(1 + i), *steps) for i, steps in enumerate(moves)]
        found = _in_batch(writer, writer.argument(0), known[word.RANK], matrix, pointers)
        row = writer.let(f"add i64 {writer.let(f'mul i64 {matrix}, {known[word.M]}')}, {down}")
        yield found, row, lengths[0], lengths[1]


def _constants(writer: Writer, type_: str, known: list[str]) -> dict[str, str]:
    """Memory for what BLAS takes by address."""
    places = {"m": writer.slot("i32"), "n": writer.slot("i32")}
    for name, word, kind in (
        ("flag_b", ProductWord.FLAG_B, "i8"),
        ("flag_a", ProductWord.FLAG_A, "i8"),
        ("k", ProductWord.K, "i32"),
        ("ldb", ProductWord.LEADING_B, "i32"),
        ("lda", ProductWord.LEADING_A, "i32"),
        ("ldc", ProductWord.LEADING_C, "i32"),
    ):
        places[name] = writer.slot(kind)
        writer.line(f"store {kind} {writer.let(f'trunc i64 {known[word]} to {kind}')}, ptr {places[name]}")
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
        row = writer.let(f"add i64 {writer.let(f'mul i64 {axis}, 4')}, {ProductWord.SIZE}")
        extent = writer.element(numbers, "i64", row, 0)
        left = writer.let(f"load i64, ptr {rest}")
        place = writer.let(f"urem i64 {left}, {extent}")
        writer.line(f"store i64 {writer.let(f'udiv i64 {left}, {extent}')}, ptr {rest}")
        for further, slot in enumerate(slots):
            step = writer.let(f"mul i64 {place}, {writer.element(numbers, 'i64', row, 1 + further)}")
            moved = writer.let(f"getelementptr i8, ptr {writer.let(f'load ptr, ptr {slot}')}, i64 {step}")
            writer.line(f"store ptr {moved}, ptr {slot}")
    return [writer.let(f"load ptr, ptr {slot}") for slot in slots]
