"""The house's rules as facts: who may import whom, what stages declare, what is never written."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import clones
import pytest
from ruamel.yaml import YAML

from longshort import config

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/longshort"
# a room imports only rooms to its left
ROOMS = (
    "ingestion",
    "validation",
    "windows",
    "tasks",
    "models",
    "training",
    "evaluation",
    "audit",
    "tracking",
    "tuning",
    "registry",
    "serving",
    "monitoring",
    "systems",
)
# what stands under all of them, and what stands over all of them
GROUND = {"errors", "config", "editing", "storage", "databases", "journal", "sessions", "environment", "faults", "clock"}
GROUND |= {"forkclient", "forkserver", "graph"}
ABOVE = {"accounts", "cli", "console", "doctor", "lastrun", "leaderboard", "replay", "servers", "trials"}
STAGES = ("ingestion", "validation", "windows", "training", "evaluation")
# what a stage may read and not declare, with the reason
UNDECLARED = {"training": {"resources"}}  # how many processes train a fleet; they leave the bytes of one, as test_training holds
GRAPH = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
SOURCES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path, typing_too: bool = False) -> set[str]:
    """The dotted names that a module imports, also inside functions; those for annotations only on request."""
    tree = ast.parse(path.read_text())
    if not typing_too:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                node.body = []
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own_files(path: Path) -> set[Path]:
    """The files of this package that a module imports, and the packages above them."""
    found = set()
    for name in imports(path):
        if name == "longshort" or name.startswith("longshort."):
            parts = name.split(".")[1:]
            candidates = [PACKAGE / "__init__.py", PACKAGE.joinpath(*parts).with_suffix(".py"), PACKAGE.joinpath(*parts, "__init__.py")]
            candidates += [PACKAGE.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts))]
            found |= {candidate for candidate in candidates if candidate.is_file()}
    return found


def closure(path: Path) -> set[Path]:
    """Every file of this package that runs when a module is imported and used."""
    reached, todo = set(), [path]
    while todo:
        here = todo.pop()
        if here not in reached:
            reached.add(here)
            todo += own_files(here)
    return reached


def room(path: Path) -> str:
    """The room, or the module of the ground or the top, that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_rooms_to_its_left(path):
    here = room(path)
    for other in {room(file) for file in own_files(path)} - {here, "__init__"}:
        if here in ROOMS:
            assert other in GROUND or ROOMS.index(other) < ROOMS.index(here), f"{here} imports {other}"
        elif here in GROUND:
            assert other in GROUND, f"{here} imports {other}"


def test_every_module_has_its_place_in_the_house():
    assert {room(path) for path in SOURCES} - {"__init__"} == {*ROOMS, *GROUND, *ABOVE}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_every_module_that_it_imports(stage):
    declared = [ROOT / entry for entry in GRAPH[stage]["do"]["deps"] if entry.startswith("src/")]
    for file in closure(PACKAGE / stage / "stage.py"):
        assert any(file == entry or entry in file.parents for entry in declared), f"{stage} does not list {file.relative_to(ROOT)}"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_no_module_that_it_does_not_import(stage):
    reached = closure(PACKAGE / stage / "stage.py")
    for entry in (ROOT / entry for entry in GRAPH[stage]["do"]["deps"] if entry.startswith("src/")):
        assert any(file == entry or entry in file.parents for file in reached), f"{stage} lists {entry.relative_to(ROOT)} for nothing"


def attributes(tree: ast.AST, name: str) -> set[str]:
    """The attributes that are asked of a name."""
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == name}


def methods(path: Path, name: str) -> list[ast.FunctionDef]:
    """The methods of a class of a module."""
    (found,) = (node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef) and node.name == name)
    return [node for node in found.body if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_reads_no_parameter_that_it_does_not_declare(stage):
    named = attributes(ast.parse((PACKAGE / stage / "stage.py").read_text()), "params")
    # a method of the parameters reads what it names of itself, and what the methods that it calls read
    reads = {method.name: attributes(method, "self") for method in methods(PACKAGE / "config.py", "Params")}
    reads = {name: {one for each in own for one in reads.get(each, {each})} for name, own in reads.items()}
    read = {section for name in named for section in reads.get(name, {name})}
    assert read <= set(config.Params.model_fields)
    declared = {entry.partition(".")[0] for entry in GRAPH[stage]["do"].get("params", [])}
    assert read <= declared | UNDECLARED.get(stage, set())
    assert UNDECLARED.get(stage, set()) <= read, "an exception that nothing asks for"


def test_stage_room_folder_and_test_bear_one_name():
    assert tuple(GRAPH) == STAGES
    for stage, entry in GRAPH.items():
        assert entry["do"]["cmd"] == f"longshort stage {stage} --item ${{key}}"
        assert (PACKAGE / stage / "stage.py").is_file()
        outs = [
            next(iter(out)) if isinstance(out, dict) else out for kind in ("outs", "metrics", "plots") for out in entry["do"].get(kind, [])
        ]
        assert all(out.startswith(f"data/{stage}/${{key}}") for out in outs)
        assert list((ROOT / "tests").glob(f"test_{stage}*.py"))


def test_every_section_of_the_parameters_is_a_room_or_the_machine():
    assert set(config.Params.model_fields) <= {*ROOMS, "resources"}


@pytest.mark.parametrize("library", ["prefect", "mlflow", "dvc"])
def test_the_mathematics_knows_no_orchestrator(library):
    for path in SOURCES:
        if room(path) in ROOMS[:7]:
            assert library not in {name.partition(".")[0] for name in imports(path)}, path


def test_no_room_imports_prefect():
    users = {room(path) for path in SOURCES if "prefect" in {name.partition(".")[0] for name in imports(path)}}
    assert users <= {"cli", "servers"}


def test_only_the_search_knows_optuna():
    assert {room(path) for path in SOURCES if "optuna" in {name.partition(".")[0] for name in imports(path)}} == {"tuning"}


def test_importing_a_module_only_defines_names():
    for path in SOURCES:
        for node in ast.parse(path.read_text()).body:
            assert isinstance(
                node,
                ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.If,
            ) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)), f"{path}:{node.lineno}"


def test_every_module_says_which_room_it_is():
    assert all(ast.get_docstring(ast.parse(path.read_text())) for path in [*SOURCES, *sorted((ROOT / "flows").glob("*.py"))])


def test_nothing_is_unpickled():
    forbidden = re.compile(r"weights_only\s*=\s*False|pickle\.load|allow_pickle\s*=\s*True|yaml\.load\(.*Loader|shell\s*=\s*True")
    for path in [*SOURCES, *sorted((ROOT / "flows").glob("*.py"))]:
        assert not forbidden.search(path.read_text()), path


def test_no_name_hides_a_concept():
    assert not [path for path in SOURCES if path.stem in ("utils", "helpers", "common", "misc")]
    assert not [path for path in SOURCES if re.search(r"class \w*Manager\b", path.read_text())]


def test_the_constraints_name_versions_and_nothing_else():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert "torch==2.13.0" in lines
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line)] == []


def test_no_file_names_a_package_registry():
    address = re.compile("py" + r"pi\.org|python" + r"hosted|index" + "-url", re.IGNORECASE)
    for name in clones.git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        path = ROOT / name
        if path.is_file() and path.suffix not in (".png", ".parquet"):
            assert not address.search(path.read_text(errors="replace")), name


def test_the_folder_mlflow_holds_no_python():
    assert not list((ROOT / "mlflow").rglob("*.py"))
