"""What is installed: the packages listed, the public names, and the wheel tried far from the checkout."""

import ast
import shutil
import subprocess
import sys
import textwrap
import venv
import zipfile

import pytest

import lazyflow
from repository import FLOORS, MODULES, PYPROJECT, ROOT


def test_packages_are_the_folders():
    assert sorted(PYPROJECT["tool"]["setuptools"]["packages"]) == sorted(
        m.name for m in MODULES.values() if m.is_package
    )


def test_every_folder_with_code_is_a_package():
    folders = {m.path.parent for m in MODULES.values()}
    assert not [f for f in folders if not (f / "__init__.py").exists()]


def test_package_dir_maps_the_floors():
    mapped = PYPROJECT["tool"]["setuptools"]["package-dir"]
    assert mapped == {package: folder for folder, package in FLOORS.items()}


def test_the_public_names_are_those_that_type_checkers_see():
    stub = ast.parse((ROOT / "lazyflow" / "__init__.pyi").read_text())
    seen = {alias.asname: (node.module, alias.name) for node in stub.body for alias in node.names}
    assert sorted(seen) == lazyflow.__all__
    assert [name for name, (_, own) in seen.items() if name != own] == []


def test_every_public_name_is_there():
    missing = [name for name in lazyflow.__all__ if getattr(lazyflow, name, None) is None]
    assert not missing
    assert set(lazyflow.__all__) <= set(dir(lazyflow))


def test_a_function_is_not_replaced_by_the_module_of_its_name(tmp_path):
    package = tmp_path / "lazyflow"
    package.mkdir()
    shutil.copy(ROOT / "lazyflow" / "__init__.py", package)
    (package / "__init__.pyi").write_text("from lazyflow.compile import compile as compile\n")
    (package / "compile.py").write_text("def compile(): return 'called'\n")
    code = "import sys; sys.path.insert(0, ''); import lazyflow.compile; print(lazyflow.compile())"
    assert run_python(code, tmp_path) == "called"


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="module 'lazyflow' has no attribute 'no_such_name'"):
        _ = lazyflow.no_such_name


def run_python(code, cwd, python=sys.executable):
    result = subprocess.run([python, "-W", "error", "-c", code], cwd=cwd, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize("where", ["checkout", "elsewhere"])
def test_the_floors_are_found_from(where, tmp_path):
    # in the checkout, the folder lazyflow/ is found first, and holds neither compiler/ nor runtime/
    code = "import lazyflow.compiler, lazyflow.runtime; print(lazyflow.compiler.__file__)"
    folder = ROOT if where == "checkout" else tmp_path
    assert run_python(code, folder) == str(ROOT / "compiler" / "__init__.py")


IMPORT_ALL = textwrap.dedent("""
    import importlib, pkgutil, lazyflow, lazyflow.compiler, lazyflow.runtime
    names = [m.name for m in pkgutil.walk_packages(lazyflow.__path__, "lazyflow.")]
    for name in names: importlib.import_module(name)
    for name in lazyflow.__all__: getattr(lazyflow, name)
    print(*sorted([*names, "lazyflow"]))
""")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    source = tmp_path_factory.mktemp("source")  # a copy: building leaves files beside the source
    for name in [*FLOORS, "pyproject.toml", "README.md", "LICENSE"]:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", source, source]
    subprocess.run(command, check=True)
    (built,) = source.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_the_modules_the_data_and_the_license(wheel):
    files = set(zipfile.ZipFile(wheel).namelist())
    endings = {True: "/__init__.py", False: ".py"}
    modules = {name.replace(".", "/") + endings[m.is_package] for name, m in MODULES.items()}
    marks = {"lazyflow/__init__.pyi", *(f"{floor.replace('.', '/')}/py.typed" for floor in FLOORS.values())}
    data = {
        f"{package.replace('.', '/')}/{path.relative_to(ROOT / folder)}"
        for folder, package in FLOORS.items()
        for path in (ROOT / folder).rglob("*.ll")
    }
    inside = {file for file in files if ".dist-info/" not in file}
    assert inside == modules | marks | data
    assert any(file.endswith("/licenses/LICENSE") for file in files)


@pytest.mark.slow
def test_the_wheel_works_in_a_fresh_environment(wheel, tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True)
    assert run_python(IMPORT_ALL, tmp_path, python).split() == sorted(MODULES)
