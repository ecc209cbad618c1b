"""From the text of a module to machine code for this host."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import llvmlite
import llvmlite.binding as llvm

from lazyflow.runtime.backends.cpu.code.lanes import define_philox
from lazyflow.runtime.backends.cpu.code.vectormath import define
from lazyflow.runtime.backends.cpu.lowering.tasks import Written

Engine: TypeAlias = llvm.ExecutionEngine

# LLVM's usual passes find little more in text with explicit lanes, and take half of a cold start's compiling.
# None vectorises: the number of lanes decides the bits of sums.
_PASSES = (
    "always_inliner",
    "sroa",
    "simplify_cfg",
    "instruction_combine",
    "new_gvn",
    "loop_rotate",
    "simplify_cfg",
    "instruction_combine",
)

ATTRIBUTES = """
attributes #0 = { nounwind "prefer-vector-width"="512" }
attributes #1 = { nounwind alwaysinline "prefer-vector-width"="512" }
!0 = !{}
"""

# base ** exponent by squaring; a negative exponent gives 0, but for the bases 1 and -1
POWER = """
define internal i64 @lazyflow.power(i64 %base, i64 %exponent) #0 {
entry:
  %negative = icmp slt i64 %exponent, 0
  %up = add i64 %base, 1
  %unit = icmp ult i64 %up, 3
  %nonzero = icmp ne i64 %base, 0
  %inverse = and i1 %unit, %nonzero
  %odd.only = and i64 %exponent, 1
  %count = select i1 %negative, i64 %odd.only, i64 %exponent
  br label %loop
loop:
  %result = phi i64 [1, %entry], [%next, %step]
  %square = phi i64 [%base, %entry], [%squared, %step]
  %left = phi i64 [%count, %entry], [%half, %step]
  %done = icmp eq i64 %left, 0
  br i1 %done, label %end, label %step
step:
  %bit = and i64 %left, 1
  %is.odd = icmp ne i64 %bit, 0
  %times = mul i64 %result, %square
  %next = select i1 %is.odd, i64 %times, i64 %result
  %squared = mul i64 %square, %square
  %half = lshr i64 %left, 1
  br label %loop
end:
  %cut = xor i1 %inverse, true
  %zero = and i1 %negative, %cut
  %answer = select i1 %zero, i64 0, i64 %result
  ret i64 %answer
}
"""


class Machine:
    """The host: its processor, and the compiler for it. LLVM is initialised on the first use."""

    def __init__(self) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self.cpu: str = llvm.get_host_cpu_name()
        self.features: str = llvm.get_host_cpu_features().flatten()
        self.triple: str = llvm.get_process_triple()
        self._target = llvm.Target.from_default_triple()

    @property
    def identity(self) -> tuple[str, ...]:
        """What decides the machine code of a text: a llvmlite of one version is built with several LLVMs."""
        versions = (llvmlite.__version__, *map(str, llvm.llvm_version_info))
        return (*versions, self.triple, self.cpu, self.features)

    @property
    def bits(self) -> int:
        """Of the registers that our own matrix products use, or 0: 32 of AVX-512, or 16 of AVX2 with FMA."""
        has = {feature[1:] for feature in self.features.split(",") if feature.startswith("+")}
        return 512 if "avx512f" in has else 256 if {"avx2", "fma"} <= has else 0

    def _target_machine(self) -> llvm.TargetMachine:
        """A new one for each engine, which owns it and frees it."""
        return self._target.create_target_machine(
            cpu=self.cpu, features=self.features, opt=2, reloc="default", codemodel="jitdefault", jit=True
        )

    def compile(self, text: str) -> bytes:
        """The object code of a module."""
        module = llvm.parse_assembly(text)
        module.verify()
        target = self._target_machine()
        passes = llvm.create_new_module_pass_manager()
        for name in _PASSES:
            getattr(passes, f"add_{name}_pass")()
        passes.run(module, llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options()))
        code: bytes = target.emit_object(module)
        return code

    def load(self, code: bytes) -> llvm.ExecutionEngine:
        """Object code, linked into this process; its functions' addresses can be asked for afterwards."""
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), self._target_machine())
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
        return engine


def module_text(written: Iterable[Written]) -> str:
    """A whole module: the functions, and what they use of vectormath and of the C library."""
    written = list(written)
    used = sorted({item for each in written for item in each.writer.functions})
    declarations = {text for each in written for text in each.writer.declarations}
    definitions = []
    for name, width in used:
        if name == "philox":
            definitions.append(define_philox(width))
            continue
        definition, needs = define(name, width)
        definitions.append(definition)
        declarations |= needs
    if any("@lazyflow.power(" in text for text in declarations):
        declarations = {text for text in declarations if "@lazyflow.power(" not in text}
        definitions.append(POWER)
    texts = [each.text for each in written]
    return "\n".join([*sorted(declarations), *definitions, *texts, ATTRIBUTES])
