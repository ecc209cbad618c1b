"""From the text of a module to machine code for this host."""

from __future__ import annotations

from collections.abc import Iterable

import llvmlite.binding as llvm

from lazyflow.runtime.backends.cpu.vectormath import define
from lazyflow.runtime.backends.cpu.writer import Writer

ATTRIBUTES = """
attributes #0 = { nounwind "prefer-vector-width"="512" }
attributes #1 = { nounwind inlinehint "prefer-vector-width"="512" }
!0 = !{}
"""


class Machine:
    """The host: its processor, and the compiler for it. LLVM is initialised on the first use."""

    def __init__(self) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self.cpu: str = llvm.get_host_cpu_name()
        self.features: str = llvm.get_host_cpu_features().flatten()
        target = llvm.Target.from_default_triple()
        self.target = target.create_target_machine(
            cpu=self.cpu, features=self.features, opt=2, reloc="default", codemodel="jitdefault", jit=True
        )

    def compile(self, text: str) -> llvm.ExecutionEngine:
        """Optimise and link a module; its functions' addresses can be asked for afterwards."""
        module = llvm.parse_assembly(text)
        module.verify()
        options = llvm.create_pipeline_tuning_options(speed_level=2)
        options.loop_vectorization = False  # the lanes are explicit: their number decides the bits of sums
        options.slp_vectorization = False
        builder = llvm.create_pass_builder(self.target, options)
        builder.getModulePassManager().run(module, builder)
        engine = llvm.create_mcjit_compiler(module, self.target)
        engine.finalize_object()
        return engine


def module_text(functions: Iterable[str], writers: Iterable[Writer]) -> str:
    """A whole module: the functions, and what they use of vectormath and of the C library."""
    used = sorted({item for writer in writers for item in writer.functions})
    declarations = {text for writer in writers for text in writer.declarations}
    definitions = []
    for name, width in used:
        definition, needs = define(name, width)
        definitions.append(definition)
        declarations |= needs
    return "\n".join([*sorted(declarations), *definitions, *functions, ATTRIBUTES])
