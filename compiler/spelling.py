"""How names, sizes, numbers, types and scalar calls are spelled in the text form of a graph."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from lazyflow.compiler.rules import Type
from lazyflow.runtime import dimensions, dtypes, schema
from lazyflow.runtime.dimensions import Size
from lazyflow.runtime.errors import GraphError

LARGEST_WRITTEN = 16  # elements of a constant that are written as numbers

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*\Z")
_PIECE = re.compile(r'"(?:\\.|[^"\\])*"|.')
_OURS = re.compile("True|False|nan|inf")
_JSONS = {"True": "true", "False": "false", "nan": "NaN", "inf": "Infinity"}


def split(text: str, separator: str) -> list[str]:
    """The parts between separators that stand outside of brackets and strings."""
    parts, depth = [""], 0
    for piece in _PIECE.findall(text):
        depth += (piece in "([{") - (piece in ")]}")
        if depth == 0 and piece == separator:
            parts.append("")
        else:
            parts[-1] += piece
    return [part.strip() for part in parts if part.strip()]


def spell_tuple(parts: Iterable[str]) -> str:
    """Parts between parentheses; a single one has a comma, as in Python."""
    parts = list(parts)
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def read_tuple(text: str) -> list[str]:
    """The parts of a tuple, still as text."""
    return split(text[1:-1], ",")


def spell_name(name: str) -> str:
    """A name as it is, or as a JSON string where it holds unusual characters."""
    return name if _PLAIN.match(name) else json.dumps(name)


def read_name(text: str) -> str:
    """The name that :func:`spell_name` wrote."""
    return str(json.loads(text)) if text.startswith('"') else text


def spell_size(size: Size) -> str:
    """A size, without spaces outside of parentheses."""
    text = str(size)
    return f"({text})" if " " in text else text


def read_size(text: str) -> Size:
    """The size that :func:`spell_size` wrote."""
    return dimensions.parse(text.strip("()"))


def spell_sizes(sizes: Iterable[Size]) -> str:
    """A tuple of sizes."""
    return spell_tuple(map(str, sizes))


def read_sizes(text: str) -> tuple[Size, ...]:
    """The sizes of a tuple."""
    return tuple(map(dimensions.parse, read_tuple(text)))


def spell_number(number: Any) -> str:
    """A Python or numpy number with the digits that it needs; a string as JSON."""
    if isinstance(number, str):
        return json.dumps(number)
    exact = isinstance(number, np.float32 | np.float16)  # numpy writes these with the digits that they need
    return str(number) if exact else repr(number.item() if hasattr(number, "item") else number)


def spell_numbers(value: Any) -> str:
    """A number, or an array as nested lists, or the hash of a large one."""
    if getattr(value, "size", 1) > LARGEST_WRITTEN:
        return "sha256:" + hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:16]
    if getattr(value, "ndim", 0):
        return f"[{', '.join(map(spell_numbers, value))}]"
    return spell_number(value[()] if isinstance(value, np.ndarray) else value)


def read_numbers(text: str) -> Any:
    """The number, nested lists or string that :func:`spell_numbers` wrote."""
    if text.startswith("sha256:"):
        raise GraphError("the numbers of a large constant are written as a hash, which does not read back")
    return json.loads(text if text.startswith('"') else _OURS.sub(lambda found: _JSONS[found[0]], text))


def spell_calls(body: tuple[schema.Call, ...], first: int) -> str:
    """The scalar calls of a kernel body, numbered from ``first`` as their arguments count them."""
    calls = []
    for number, call in enumerate(body, start=first):
        value = [] if call.value is None else [f"value={spell_number(call.value)}"]
        calls.append(" ".join([f"{number}={call.op}", *map(str, call.args), *value, f":{call.dtype}"]))
    return "{" + "; ".join(calls) + "}"


def read_calls(text: str) -> tuple[schema.Call, ...]:
    """The calls that :func:`spell_calls` wrote."""
    calls = []
    for part in split(text[1:-1], ";"):
        head, *args, dtype = split(part, " ")
        value = read_numbers(args.pop().removeprefix("value=")) if args and "=" in args[-1] else None
        op = head.partition("=")[2]
        calls.append(schema.Call(op=op, args=tuple(map(int, args)), dtype=dtype[1:], value=value))
    return tuple(calls)


# how an attribute is written and read, by its name; those not here are Python literals
_CODECS: dict[str, tuple[Callable[[Any], str], Callable[[str], Any]]] = {
    "name": (spell_name, read_name),
    "place": (spell_name, read_name),
    "text": (json.dumps, json.loads),
    "size": (spell_size, read_size),
    "offset": (spell_size, read_size),
    "sizes": (spell_sizes, read_sizes),
    "space": (spell_sizes, read_sizes),
    "strides": (spell_sizes, read_sizes),
    "value": (spell_numbers, read_numbers),
    "initial": (spell_numbers, read_numbers),
}
_LITERAL = (repr, ast.literal_eval)


def spell_attribute(name: str, value: Any) -> str:
    """``name=value``, in the form that attributes of this name have."""
    return f"{name}={_CODECS.get(name, _LITERAL)[0](value)}"


def read_attribute(name: str, text: str) -> Any:
    """The value of the attribute from the text behind its ``=``."""
    return _CODECS.get(name, _LITERAL)[1](text)


def read_types(tokens: list[str]) -> list[Type]:
    """The types of a list such as ``float32[batch, 64], int64[]``."""
    types = []
    for text in split(" ".join(tokens), ","):
        dtype, _, shape = text.partition("[")
        types.append(Type(read_sizes(f"({shape[:-1]})"), dtypes.as_dtype(dtype)))
    return types
