"""The .lfplan file: a zip that holds a plan, its constants and, where asked, the state.

    version.json             {"format": "lfplan", "version": [major, minor]}
    plan.json                the document
    constants.safetensors    the array of each constant
    variables.safetensors    the state that sessions start with, where one was saved

Members are stored, not packed, with fixed times: the same plan gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import msgspec
from msgspec.structs import replace
from numpy.typing import NDArray

from lazyflow.runtime import schema
from lazyflow.runtime.errors import PlanError, message
from lazyflow.runtime.files import replace_file
from lazyflow.runtime.tensors import from_bytes, to_bytes

Array: TypeAlias = NDArray[Any]

_VERSION, _PLAN = "version.json", "plan.json"
_CONSTANTS, _VARIABLES = "constants.safetensors", "variables.safetensors"
_LIMITS = {_VERSION: 2**12, _PLAN: 2**30, _CONSTANTS: 2**40, _VARIABLES: 2**44}  # bytes
_EPOCH = (1980, 1, 1, 0, 0, 0)


class _Version(msgspec.Struct, frozen=True):
    """Which readers can read a file. It is read before the plan, whose form it tells."""

    format: str
    version: tuple[int, int]


class Archive(NamedTuple):
    """What a file holds."""

    document: schema.Document
    constants: dict[str, Array]
    state: dict[str, Array] | None


def write_archive(
    path: str | os.PathLike[str],
    document: schema.Document,
    constants: Mapping[str, Array],
    state: Mapping[str, Array] | None,
) -> None:
    """Write a plan to ``path``, aside first, so that the path holds either the old file or the new one.

    Raises:
        OSError: if the file cannot be written.
    """
    version = msgspec.json.encode(_Version("lfplan", schema.VERSION))
    members = {_VERSION: version, _PLAN: msgspec.json.encode(document), _CONSTANTS: to_bytes(constants)}
    if state is not None:
        members[_VARIABLES] = to_bytes(state)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3  # else it would tell the writer's operating system
            archive.writestr(info, data)
    replace_file(Path(path), file.getvalue())


def read_archive(path: str | os.PathLike[str]) -> Archive:
    """Read a file that ``write_archive`` wrote. What it says is not verified yet.

    Raises:
        OSError: if the file cannot be read.
        PlanError: if it is no plan, is damaged, or needs a newer version.
    """
    what = f"plan {str(path)!r}"
    try:
        with zipfile.ZipFile(os.fspath(path)) as archive:
            members = _members(archive, what)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as reason:
        raise PlanError(f"{what}: not a .lfplan file, or a damaged one: {reason}") from None
    _check_version(members, what)
    for name in (_PLAN, _CONSTANTS):
        if name not in members:
            raise PlanError(f"{what}: {name} is missing")
    document = _decode(members[_PLAN], schema.Document, f"{what}, {_PLAN}")
    constants = from_bytes(members[_CONSTANTS], f"{what}, {_CONSTANTS}", PlanError)
    state = None
    if _VARIABLES in members:
        state = from_bytes(members[_VARIABLES], f"{what}, {_VARIABLES}", PlanError)
    return Archive(document, constants, state)


def _members(archive: zipfile.ZipFile, what: str) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    for info in archive.infolist():
        if info.filename in members or info.filename not in _LIMITS:
            raise PlanError(f"{what}: unexpected member {info.filename!r}")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise PlanError(f"{what}: {info.filename} is packed or encrypted; members are stored as they are")
        if info.file_size > _LIMITS[info.filename]:
            raise PlanError(f"{what}: {info.filename} has {info.file_size} bytes, beyond the limit")
        members[info.filename] = archive.read(info)
    return members


def _check_version(members: Mapping[str, bytes], what: str) -> None:
    if _VERSION not in members:
        raise PlanError(f"{what}: not a .lfplan file: {_VERSION} is missing")
    found = _decode(members[_VERSION], _Version, f"{what}, {_VERSION}")
    if found.format != "lfplan":
        raise PlanError(f"{what}: not a .lfplan file, but {found.format!r}")
    if found.version[0] > schema.VERSION[0]:
        headline = f"{what}: written in version {found.version[0]}.{found.version[1]} of the format"
        expected = f"{schema.VERSION[0]}.{schema.VERSION[1]} or older"
        raise PlanError(message(headline, expected=expected, hint="install a newer lazyflow"))


def _decode(data: bytes, kind: Any, what: str) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError) as reason:
        raise PlanError(f"{what}: {reason}") from None


def fingerprint(document: schema.Document, constants: Mapping[str, Array]) -> str:
    """SHA-256, in hex, of what a plan computes: without origins, reasons, the user's lines, and the source.

    >>> len(fingerprint(schema.Document(name="empty"), {}))
    64
    """
    programs = tuple(_without_origins(program) for program in document.programs)
    canonical = replace(document, programs=programs, origins=(), reasons=(), source="")
    digest = hashlib.sha256(msgspec.json.encode(canonical, order="deterministic"))
    digest.update(to_bytes(constants))
    return digest.hexdigest()


def _without_origins(program: schema.Program) -> schema.Program:
    return replace(
        program,
        feeds=tuple(replace(feed, location="") for feed in program.feeds),
        instructions=tuple(replace(step, origin=()) for step in program.instructions),
    )
