"""Imports point down only: lazyflow -> compiler -> runtime, and down the rows of each floor.

The tables below are the whole rule. A module that no row names fails a test: give it its place.
"""

import subprocess
import sys

import networkx as nx
import pytest

from imports import COMPUTED, imports
from repository import MODULES, PYPROJECT, ROOT

PACKAGES = PYPROJECT["tool"]["setuptools"]["packages"]

# One floor per table, its rows from the lowest to the highest. A name stands for a module, or for a package
# with all that is in it. A module may import what stands in lower rows of its floor, and in its own row.
ROWS = {
    "lazyflow.runtime": [
        "errors collector",
        "dtypes dimensions",
        "schema scalars",
        "values tensors files proofs threads",
        "steps",
        "verify archive",
        "backends",
        "backends.cpu.code",
        "backends.cpu.lowering",
        "backends.cpu.running",
        "backends.cpu",
        "loans",
        "state checkpoint",
        "feeds groups",
        "batches",
        "session",
        "inspect",
        "plan",
    ],
    "lazyflow.compiler": [
        "rules",
        "primitives",
        "graph",
        "rewrite spelling text interpret reasons lower sorting",
        "placement",
        "instructions fusion",
        "ordering",
        "passes",
        "pipeline",
    ],
    "lazyflow": [
        "habits location inspect",
        "context",
        "tensor",
        "append",
        "variable",
        "ops",
        "autograd",
        "graph",
        "nn optim",
        "compile",
        "nn.graph",
        "command",
    ],
}

SHARED = "errors dtypes dimensions collector"  # of the runtime: the words that all floors use
IR = "rules graph primitives text interpret"  # of the compiler: what the front builds

# What a module may import of the floors below. The most specific name counts; "*" is the whole floor.
BELOW = {
    "lazyflow.compiler": {"lazyflow.runtime": f"{SHARED} schema scalars"},
    "lazyflow.compiler.pipeline": {"lazyflow.runtime": "*"},
    "lazyflow": {"lazyflow.runtime": SHARED, "lazyflow.compiler": IR},
    "lazyflow.optim.table": {"lazyflow.runtime": f"{SHARED} schema", "lazyflow.compiler": IR},
    "lazyflow.inspect": {"lazyflow.runtime": f"{SHARED} inspect", "lazyflow.compiler": IR},
    "lazyflow.compile": {"lazyflow.runtime": f"{SHARED} plan", "lazyflow.compiler": f"{IR} pipeline"},
    "lazyflow.nn.graph": {"lazyflow.runtime": f"{SHARED} plan session", "lazyflow.compiler": IR},
    "lazyflow.command": {"lazyflow.runtime": "*", "lazyflow.compiler": "*"},
}

# Modules of these packages never import each other, but for the ones named here.
STRANGERS = {
    "lazyflow.compiler.passes": [],
    "lazyflow.runtime.backends": ["backend"],
}

# Modules that only these may import.
RESERVED = {
    "lazyflow.compiler.interpret": [
        "lazyflow",
        "lazyflow.compiler.passes.fold_constants",
        "lazyflow.compiler.pipeline",
    ],
}

# Modules that compute the name of what they import. Elsewhere the text tells it, so that it can be checked.
COMPUTING = ["lazyflow"]

# Third-party packages that only these may import. One that is not listed may be imported anywhere.
THIRD_PARTY = {
    "networkx": ["lazyflow.compiler", "lazyflow"],
    "llvmlite": ["lazyflow.runtime.backends.cpu"],
    "cupy": ["lazyflow.runtime.backends.cuda"],
    "scipy": ["lazyflow.runtime.backends.cpu"],
    "rich": ["lazyflow.command"],
    "typer": ["lazyflow.command"],
}


def closest(name, holders):
    """The longest of the dotted names that is this name or holds it; None if there is none."""
    return max((h for h in holders if name == h or name.startswith(h + ".")), key=len, default=None)


def inside(name, rooms):
    """Whether the name lies in one of the rooms; a floor does not hold the floors below it."""
    return closest(name, {*rooms, *ROWS}) in rooms


def floor(name):
    return closest(name, ROWS)


def places(floor_name):
    """The row number of each place of a floor; the floor's own ``__init__`` stands above all."""
    rows = ROWS[floor_name]
    numbered = {f"{floor_name}.{place}": number for number, row in enumerate(rows) for place in row.split()}
    return numbered | {floor_name: len(rows)}


def row(name):
    places_here = places(floor(name))
    return places_here[name if name in ROWS else closest(name, places_here)]


def complaint(importer, target):
    """Why the importer must not import the target, both modules of ours; None if it may."""
    if target in PACKAGES and not target.startswith(importer + "."):
        return "import from the module that defines the name, not from a package"
    allowed = RESERVED.get(target)
    if allowed is not None and not inside(importer, allowed):
        return f"only {', '.join(allowed)} may"
    if floor(importer) == floor(target):
        return _complaint_within(importer, target)
    return _complaint_below(importer, target)


def _complaint_within(importer, target):
    package = closest(importer, STRANGERS)
    if package and package != importer and closest(target, [package]):
        own = ".".join(importer.split(".")[: package.count(".") + 2])
        known = [own, *(f"{package}.{name}" for name in STRANGERS[package])]
        if closest(target, known) is None:
            return f"modules of {package} do not import each other"
    if importer in PACKAGES and target.startswith(importer + "."):
        return None
    return "it stands higher on the same floor" if row(target) > row(importer) else None


def _complaint_below(importer, target):
    if list(ROWS).index(floor(target)) > list(ROWS).index(floor(importer)):
        return "imports point down only"
    if importer in ROWS:
        return None
    allowed = BELOW[closest(importer, BELOW)].get(floor(target), "")
    whole = [f"{floor(target)}.{name}" for name in allowed.split()]
    if allowed == "*" or closest(target, whole):
        return None
    return f"of {floor(target)} it may import {allowed or 'nothing'}"


OUR_IMPORTS = [
    (m, target, node) for m in MODULES.values() for target, node in imports(m) if target in MODULES
]


def test_every_module_has_a_row():
    missing = [
        name
        for name in MODULES
        if name not in ROWS and closest(name, places(floor(name))) in (None, floor(name))
    ]
    assert not missing, f"give these modules a place in ROWS: {missing}"


def test_imports_point_down():
    complaints = [
        f"{module.place(node)}: {module.name} imports {target}: {why}"
        for module, target, node in OUR_IMPORTS
        if (why := complaint(module.name, target))
    ]
    assert not complaints, "\n".join(complaints)


def test_every_import_has_its_full_name():
    complaints = [
        f"{module.place(node)}: imports {name}: write lazyflow...., the name it has when installed"
        for module in MODULES.values()
        for name, node in imports(module)
        if name.split(".")[0] in {"", "compiler", "runtime"}
        or (name == COMPUTED and module.name not in COMPUTING)
    ]
    assert not complaints, "\n".join(complaints)


def test_no_modules_import_each_other():
    graph = nx.DiGraph((module.name, target) for module, target, _ in OUR_IMPORTS)
    cycles = [sorted(group) for group in nx.strongly_connected_components(graph) if len(group) > 1]
    assert not cycles, f"these import each other: {cycles}"


def test_third_party_packages_stay_in_their_rooms():
    complaints = [
        f"{module.place(node)}: {name} may be imported only in {', '.join(THIRD_PARTY[name.split('.')[0]])}"
        for module in MODULES.values()
        for name, node in imports(module)
        if (rooms := THIRD_PARTY.get(name.split(".")[0])) is not None and not inside(module.name, rooms)
    ]
    assert not complaints, "\n".join(complaints)


# An extra, and what is used where the user has it.
OPTIONAL = ["cupy", "matplotlib"]


def test_third_party_packages_are_declared():
    declared = {spec.split(">")[0].replace("-", "_") for spec in PYPROJECT["project"]["dependencies"]}
    known = declared | sys.stdlib_module_names | {"lazyflow", *OPTIONAL}
    undeclared = {
        f"{module.place(node)}: {name}"
        for module in MODULES.values()
        for name, node in imports(module)
        if name != COMPUTED and name.split(".")[0] not in known
    }
    assert not undeclared, f"not among the dependencies of pyproject.toml: {undeclared}"


def loaded_after(statement):
    code = f"{statement}\nimport sys; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.anchor)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def test_the_runtime_loads_neither_front_nor_compiler_nor_their_packages():
    devices = ["lazyflow.runtime.backends.cpu", "lazyflow.runtime.backends.cuda"]
    runtime = [name for name in MODULES if floor(name) == "lazyflow.runtime" and not closest(name, devices)]
    loaded = loaded_after(f"import {', '.join(runtime)}")
    above = {name for name in loaded & MODULES.keys() - {"lazyflow"} if floor(name) != "lazyflow.runtime"}
    assert not above
    assert not loaded & {"networkx", "scipy", "llvmlite", "cupy", "rich", "typer"}


JOB = """
import numpy as np
import lazyflow as lf
from lazyflow import nn, optim
with lf.Graph("job") as graph:
    x = lf.placeholder("x", ("batch", 8))
    model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 1))
    loss = nn.functional.mse_loss(model(x), x[:, :1])
    optimizer = optim.Adam(model.parameters())
    scheduler = optim.lr_scheduler.CosineDecayLR(optimizer, 10)
    with graph.program("train"):
        loss.backward()
        optimizer.step()
        scheduler.step()
lf.compile(graph).session("cpu").run("train", x=np.ones((2, 8), np.float32))
"""


def test_a_training_job_loads_no_package_that_it_does_not_need():
    """Each of these takes as long to load as a small graph to compile; BLAS comes without its package."""
    slow = {"networkx", "importlib.metadata", "scipy", "numpy.ma", "lazyflow.runtime.backends.numpy"}
    assert not loaded_after(JOB) & slow


def test_import_lazyflow_loads_nothing_of_ours():
    assert loaded_after("import lazyflow") & MODULES.keys() == {"lazyflow"}


@pytest.mark.parametrize(
    ("importer", "target", "expected"),
    [
        ("lazyflow.runtime.schema", "lazyflow.runtime.errors", None),
        ("lazyflow.runtime.errors", "lazyflow.runtime.schema", "higher on the same floor"),
        ("lazyflow.runtime.plan", "lazyflow.compiler.graph", "down only"),
        ("lazyflow.runtime.plan", "lazyflow.graph", "down only"),
        ("lazyflow.runtime", "lazyflow.runtime.plan", None),
        ("lazyflow.runtime.backends.numpy", "lazyflow.runtime.backends.backend", None),
        ("lazyflow.runtime.backends.cpu.emit", "lazyflow.runtime.backends.cpu.running.cache", None),
        ("lazyflow.runtime.backends.cpu.emit", "lazyflow.runtime.backends.numpy", "do not import each other"),
        ("lazyflow.runtime.backends.numpy", "lazyflow.runtime.session", "higher on the same floor"),
        ("lazyflow.compiler.passes.fuse", "lazyflow.compiler.passes.order", "do not import each other"),
        ("lazyflow.compiler.passes.fuse", "lazyflow.compiler.interpret", "only lazyflow"),
        ("lazyflow.compiler.passes.fold_constants", "lazyflow.compiler.interpret", None),
        ("lazyflow.compiler.passes.emit", "lazyflow.runtime.schema", None),
        ("lazyflow.compiler.passes.emit", "lazyflow.runtime.plan", "may import"),
        ("lazyflow.compiler.pipeline", "lazyflow.compiler.passes.emit", None),
        ("lazyflow.compiler.pipeline", "lazyflow.runtime.plan", None),
        ("lazyflow.compiler.graph", "lazyflow.tensor", "down only"),
        ("lazyflow.ops.shaping", "lazyflow.tensor", None),
        ("lazyflow.tensor", "lazyflow.ops.shaping", "higher on the same floor"),
        ("lazyflow.ops.shaping", "lazyflow.compiler.rewrite", "may import"),
        ("lazyflow.ops.shaping", "lazyflow.runtime.schema", "may import"),
        ("lazyflow.compile", "lazyflow.compiler.pipeline", None),
        ("lazyflow.autograd", "lazyflow.compiler.pipeline", "may import"),
        ("lazyflow.nn.module", "lazyflow.nn.graph", "higher on the same floor"),
        ("lazyflow.nn.graph", "lazyflow.compile", None),
        ("lazyflow.nn", "lazyflow.nn.graph", None),
        ("lazyflow.nn.linear", "lazyflow.nn", "not from a package"),
        ("lazyflow", "lazyflow.runtime.plan", None),
    ],
)
def test_the_rules_refuse_what_they_should(importer, target, expected):
    why = complaint(importer, target)
    assert why is None if expected is None else expected in (why or "")
