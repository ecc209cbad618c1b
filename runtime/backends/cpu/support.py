"""Whether the backend runs a plan on this host."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import llvmlite.binding as llvm

from lazyflow.runtime import schema

_X86 = ("x86_64", "i386", "i686")


def lacking(document: schema.Document) -> str | None:
    """What this host has not and the plan needs, in words; None where the backend runs it."""
    if os.name != "posix" or sys.maxsize < 1 << 32:
        return "a 64-bit POSIX system"
    halves = any(buffer.dtype == "float16" for program in document.programs for buffer in program.buffers)
    triple, features = _host()
    if halves and triple.startswith(_X86) and not features.get("f16c"):
        # LLVM would call functions of compiler-rt, which this process does not have
        return "a processor that converts float16 (F16C)"
    return None


def _host() -> tuple[str, Mapping[str, bool]]:
    return llvm.get_process_triple(), llvm.get_host_cpu_features()
