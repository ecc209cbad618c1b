"""What a program takes on the cpu backend beyond its buffers, told without compiling it."""

from __future__ import annotations

from lazyflow.runtime import schema
from lazyflow.runtime.backends.cpu.lowering.program import program_tasks
from lazyflow.runtime.backends.cpu.lowering.tasks import Module
from lazyflow.runtime.dimensions import Size


def scratch_sizes(program: schema.Program) -> list[Size]:
    """The bytes of each further buffer of its tasks, such as the sums of blocks."""
    return program_tasks(program, Module()).scratch
