"""The rooms of the code: imports run downwards, no files import in a circle, rooms are small and named plainly."""

import ast
import runpy
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("bench", "models", "paper_figures", "slurm")
ROOMS = (  # of bench, from the top; each imports from itself and those below
    "reproduction", "evaluation", "profiling", "prepare", "quality", "sampling", "training", "store", "data", "spec",
    "machine", "system",
)  # fmt: skip


class Import(NamedTuple):
    """That a module imports another, or something of another package."""

    importer: str
    imported: str
    line: int
    when_run: bool  # at module level, and not for type checkers only

    def __str__(self):
        return f"{FILES[self.importer].relative_to(ROOT)}:{self.line} imports {self.imported}"


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


def named(node, module):
    """The modules that an import statement names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module or ""
    if node.level:
        package = module if FILES[module].name == "__init__.py" else module.rpartition(".")[0]
        for _ in range(node.level - 1):
            package = package.rpartition(".")[0]
        base = f"{package}.{base}".rstrip(".")
    of_package = (f"{base}.{alias.name}" for alias in node.names)
    return [name if name in FILES else base for name in of_package]


@cache
def imports_of(module):
    """All imports of a module, those in functions and for type checkers too."""
    tree = ast.parse(FILES[module].read_text())
    late = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            late |= set(ast.walk(node))
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            late |= set(ast.walk(node))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    return tuple(
        Import(module, name, n.lineno, n not in late) for n in found for name in dict.fromkeys(named(n, module))
    )


ALL = [one for module in FILES for one in imports_of(module)]


def inside(name, *packages):
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def refuse(imports, why):
    assert not (found := sorted({str(one) for one in imports})), "\n".join([why, *found])


def height(module):
    """0 for bench's lowest room; commands and benchmarks are on top."""
    room = [*module.split("."), ""][1]
    return len(ROOMS) - 1 - ROOMS.index(room) if room in ROOMS else len(ROOMS)


def test_imports_of_bench_run_downwards():
    own = [one for one in ALL if inside(one.importer, "bench") and inside(one.imported, "bench")]
    assert len(own) > 100
    rooms = {module.split(".")[1] for module in FILES if inside(module, "bench") and module.count(".") > 1}
    assert rooms == {*ROOMS, "benchmarks"}
    upwards = (one for one in own if height(one.importer) < height(one.imported))
    refuse(upwards, f"imports run downwards: {' > '.join(ROOMS)}")
    refuse(
        (
            one
            for one in own
            if inside(one.imported, "bench.benchmarks") and not inside(one.importer, "bench.benchmarks")
        ),
        "nothing needs the benchmarks",
    )


def test_models_know_nothing_of_the_harness():
    wrong = (one for one in ALL if inside(one.importer, "models"))
    refuse((one for one in wrong if inside(one.imported, "bench", "paper_figures", "slurm")), "models stand alone")


def test_bench_imports_neither_figures_nor_slurm():
    """It reaches them by name, through registries of strings, or as processes."""
    own = (one for one in ALL if inside(one.importer, "bench"))
    refuse((one for one in own if inside(one.imported, "paper_figures", "slurm")), "bench knows them by name only")


@cache
def loads_torch(module):
    """Whether importing a module imports torch, through whatever modules of ours."""
    left, loaded = [module], set()
    while left:
        if (name := left.pop()) in loaded:
            continue
        loaded.add(name)
        if name in FILES:
            left += [one.imported for one in imports_of(name) if one.when_run]
            left += [name.rsplit(".", count)[0] for count in range(1, name.count(".") + 1)]
    heavy = ("torch", "timm", "torchvision", "torch_fidelity", "diffusers", "safetensors.torch")
    return any(inside(name, *heavy) for name in loaded)


def test_figures_are_drawn_from_records_without_torch():
    own = [one for one in ALL if inside(one.importer, "paper_figures")]
    allowed = ("bench.spec", "bench.store", "bench.system", "models", "paper_figures")
    ours = [one for one in own if inside(one.imported, *PACKAGES)]
    refuse((one for one in ours if not inside(one.imported, *allowed)), f"figures import only {', '.join(allowed)}")
    refuse((one for one in own if loads_torch(one.imported)), "figures need no torch")


def test_no_files_import_in_a_circle():
    """Strongly connected components, as Tarjan finds them."""
    graph = {
        module: {one.imported for one in imports_of(module) if one.when_run and one.imported in FILES}
        for module in FILES
    }
    number, low, stack, circles = {}, {}, [], []

    def visit(module):
        number[module] = low[module] = len(number)
        stack.append(module)
        for other in graph[module]:
            if other not in number:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], number[other])
        if low[module] == number[module]:
            circle = [stack.pop()]
            while circle[-1] != module:
                circle.append(stack.pop())
            if len(circle) > 1 or module in graph[module]:
                circles.append(circle)

    for module in graph:
        if module not in number:
            visit(module)
    wrong = (one for circle in circles for module in circle for one in imports_of(module) if one.imported in circle)
    refuse(wrong, f"{len(circles)} circles of files")


def test_no_module_is_called_as_one_of_the_standard_library():
    names = {str(path.relative_to(ROOT)): module.rpartition(".")[2] for module, path in FILES.items()}
    names = {path: name for path, name in names.items() if not name.startswith("__")}
    assert {path for path, name in names.items() if name in sys.stdlib_module_names} == set()


ROOM_FOLDERS = sorted(
    path.parent.relative_to(ROOT)
    for path in FILES.values()
    if path.name == "__init__.py" and inside(module_name(path), "bench", "models", "paper_figures")
)


@pytest.mark.parametrize("folder", ROOM_FOLDERS, ids=str)
def test_a_room_has_4_to_12_modules_and_says_what_it_is_for(folder):
    docstring = ast.get_docstring(ast.parse((ROOT / folder / "__init__.py").read_text()))
    assert docstring, f"{folder}/__init__.py has no docstring"
    assert len(docstring.splitlines()) <= 4, f"the docstring of {folder}/__init__.py is longer than four lines"
    if len(folder.parts) > 1:
        modules = [path.name for path in (ROOT / folder).glob("*.py") if path.name != "__init__.py"]
        assert 4 <= len(modules) <= 12, f"{folder} has {len(modules)} modules: {', '.join(sorted(modules))}"


def test_commands_start_without_torch():
    """So that --help and --list answer at once; `create_model` loads it when it is called."""
    script = (
        "import sys\n"
        "def load(statement):\n"
        "    exec(statement)\n"
        "    heavy = {'torch', 'sklearn', 'torch_fidelity', 'timm'} & set(sys.modules)\n"
        "    assert not heavy, f'{statement} loads {heavy}'\n"
        "load('import bench.run_grid')\n"
        "load('from models import create_model')\n"
        "load('import paper_figures.make_all')\n"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr.splitlines()[-1]


def test_bench_says_which_commands_there_are(capsys):
    runpy.run_module("bench", run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    commands = [line.split()[1] for line in lines if line.startswith("python ")]
    assert {"bench/run_grid.py", "bench/train.py", "paper_figures/make_all.py"} <= {*commands}
    assert all((ROOT / command).is_file() for command in commands)
    assert {path.name for path in (ROOT / "bench").glob("*.py")} - {"__init__.py", "__main__.py"} <= {
        Path(command).name for command in commands
    }
