"""Code for other processors than this host's: LLVM makes objects of all that the backend writes."""

import platform
import re
import sys

import llvmlite.binding as llvm
import pytest

import lazyflow as lf
from lazyflow import nn, optim
from lazyflow.runtime.backends.cpu.code.gemm import BYTES
from lazyflow.runtime.backends.cpu.code.natives import product_text
from lazyflow.runtime.backends.cpu.code.tiling import Way, product_name
from lazyflow.runtime.backends.cpu.lowering.program import program_tasks
from lazyflow.runtime.backends.cpu.lowering.tasks import Module
from lazyflow.runtime.backends.cpu.running.driver import driver_text
from lazyflow.runtime.backends.cpu.running.jit import ATTRIBUTES, Machine, module_text

ARM, APPLE, INTEL = "aarch64-unknown-linux-gnu", "arm64-apple-darwin", "x86_64-unknown-linux-gnu"
TARGETS = [
    (ARM, "generic"),
    (ARM, "neoverse-n1"),
    (APPLE, "apple-m1"),
    (INTEL, "x86-64-v2"),
    (INTEL, "x86-64-v3"),
]
_CALL = re.compile(r"^\s+(?:callq?|bl|b|jmp)\s+([A-Za-z_][\w.]*)(?:@PLT)?$", re.MULTILINE)
# what the process that runs the code has for sure: the C library
_LIBRARY = {
    "syscall",
    "usleep",
    "sched_yield",
    "clock_gettime",
    "memset",
    "memcpy",
    "memmove",
    "bzero",
}
_LIBRARY |= {
    "cos",
    "sin",
    "pow",
    "fmod",
    "fmodf",
    "ceilf",
    "ceil",
    "floorf",
    "floor",
    "rintf",
    "rint",
    "roundevenf",
    "truncf",
    "trunc",
}


@pytest.fixture(scope="module", autouse=True)
def all_targets():
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


def assembly(text, triple, cpu):
    """The assembly of a module for another processor."""
    module = llvm.parse_assembly(text)
    module.triple = triple
    module.verify()
    return (
        llvm.Target.from_triple(triple)
        .create_target_machine(cpu=cpu, opt=2, codemodel="small")
        .emit_assembly(module)
    )


def outside(code, triple):
    """The functions that it calls and does not define."""
    mangled = int("darwin" in triple)  # one more underscore
    defined = set(re.findall(r'^"?([A-Za-z_][\w.]*)"?:', code, re.MULTILINE))
    called = {name for name in _CALL.findall(code) if not name.startswith(("L", ".L"))}
    return {name[mangled:] for name in called - defined}


def model(dtype):
    """A plan with kernels of all kinds: rows, columns, draws, indices, products, batched updates."""
    with lf.Graph("model") as graph:
        words, labels = (
            lf.placeholder("words", ("batch", 6), lf.int64),
            lf.placeholder("labels", ("batch",), lf.int64),
        )
        table = lf.Parameter(nn.init.normal(), (20, 24), name="table", dtype=dtype)
        layers = nn.Sequential(
            nn.LayerNorm(24, dtype=dtype), nn.Linear(24, 24, dtype=dtype), nn.GELU(), nn.Dropout(0.5)
        )
        hidden = layers(nn.functional.embedding(words, table)).mean(axis=1)
        loss = nn.functional.cross_entropy(hidden, labels)
        optimizer = optim.LAMB([table, *layers.parameters()], lr=1e-3)
        with graph.program("train", fetches={"loss": loss}):
            loss.backward()
            optimizer.step()
    return lf.compile(graph)


def written(plan):
    module = Module()
    for program in plan.document.programs:
        program_tasks(program, module)
    return module_text(module.written())


@pytest.mark.parametrize(
    ("features", "bits"),
    [
        ("+sse2,+avx2,+fma,+avx512f", 512),
        ("+avx2,+fma,-avx512f", 256),
        ("+avx2,-fma", 0),
        ("+neon", 0),
        ("", 0),
    ],
)
def test_registers_of_products_follow_from_what_the_host_reports(features, bits):
    machine = Machine()
    machine.features = features
    assert machine.bits == bits


@pytest.mark.parametrize("dtype", [lf.float32, lf.float16, lf.bfloat16], ids=str)
@pytest.mark.parametrize(("triple", "cpu"), TARGETS)
def test_kernels_compile_for_other_processors(triple, cpu, dtype):
    code = assembly(written(model(dtype)), triple, cpu)
    assert outside(code, triple) <= _LIBRARY | (
        {"__extendhfsf2", "__truncsfhf2"} if cpu == "x86-64-v2" else set()
    )


@pytest.mark.parametrize(("triple", "cpu"), TARGETS)
def test_driver_compiles_for_other_processors(triple, cpu, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: triple.split("-")[0])
    monkeypatch.setattr(sys, "platform", "darwin" if "darwin" in triple else "linux")
    code = assembly(driver_text() + ATTRIBUTES, triple, cpu)
    assert outside(code, triple) <= _LIBRARY
    assert ("syscall" in outside(code, triple)) == ("linux" in triple)


# the first where products are those of BLAS alone
PRODUCTS = [(*target, Way.BLAS, 0) for target in TARGETS]
PRODUCTS += [(INTEL, "x86-64-v3", way, 256) for way in (Way.OWN, Way.EITHER)]
PRODUCTS += [(INTEL, "x86-64-v4", way, 512) for way in (Way.OWN, Way.EITHER)]


@pytest.mark.parametrize("type_", BYTES)
@pytest.mark.parametrize(("triple", "cpu", "way", "bits"), PRODUCTS)
def test_products_compile_for_other_processors(triple, cpu, way, bits, type_):
    text = product_text(product_name(way, type_), bits) + ATTRIBUTES
    assert outside(assembly(text, triple, cpu), triple) <= _LIBRARY
