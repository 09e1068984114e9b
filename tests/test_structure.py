"""The house: floors import downwards only, the public surface is as declared, files stay small."""

import ast
import importlib.util
from pathlib import Path

import pytest

import tellapart
from tellapart.errors import MissingExtra

SOURCE = Path(tellapart.__file__).parent
FLOORS = (
    "errors data model evaluation training audit ship reporting review finetuning scale cli".split()
)
MODULES = sorted(SOURCE.rglob("*.py"))


def floor_of(dotted: str) -> int | None:
    parts = dotted.split(".")
    return FLOORS.index(parts[1]) if len(parts) > 1 and parts[1] in FLOORS else None


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found.add(node.module or "")
    return {name for name in found if name.split(".")[0] == "tellapart"}


def dotted_name(path: Path) -> str:
    return ".".join(["tellapart", *path.relative_to(SOURCE).with_suffix("").parts])


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_floors_import_downwards_only(path):
    own = floor_of(dotted_name(path))
    if own is None:
        assert path.name in ("__init__.py", "__main__.py"), f"{path} stands on no floor"
        return
    for name in imports(path):
        other = floor_of(name)
        if other is None:  # the package itself: its version alone
            assert name == "tellapart"
        else:
            assert other <= own, f"{path.name} imports {name}, from a floor above"


def test_no_two_modules_import_each_other():
    graph = {dotted_name(path): imports(path) for path in MODULES}
    for start in graph:
        waiting, seen = list(graph[start]), set()
        while waiting:
            name = waiting.pop()
            assert name != start, f"{start} imports itself through others"
            if name not in seen:
                seen.add(name)
                waiting += graph.get(name, graph.get(f"{name}.__init__", set()))


def test_files_and_functions_stay_small():
    for path in MODULES:
        text = path.read_text("utf-8")
        assert len(text.splitlines()) <= 400, f"{path}: split it"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                first = node.body[0]
                documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
                start = (first.end_lineno or 0) if documented else node.lineno
                assert (node.end_lineno or 0) - start <= 50, f"{path}: {node.name} is too long"


def test_nothing_is_unpickled_or_evaluated():
    for path in MODULES:
        tree = ast.parse(path.read_text("utf-8"))
        names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
        modules = {
            alias.name.split(".")[0]
            for n in ast.walk(tree)
            if isinstance(n, ast.Import | ast.ImportFrom)
            for alias in n.names
        } | {
            n.module.split(".")[0]
            for n in ast.walk(tree)
            if isinstance(n, ast.ImportFrom) and n.module
        }
        assert not names & {"eval", "exec", "compile", "__import__"}, path
        assert not modules & {"pickle", "shelve", "marshal", "dill", "joblib"}, path
        on_its_floor = floor_of(dotted_name(path)) == FLOORS.index("finetuning")
        assert on_its_floor or not modules & {"torch", "torchvision", "timm"}, path


def test_public_surface():
    assert len(set(tellapart.__all__)) == len(tellapart.__all__)
    for name in tellapart.__all__:
        needs_torch = "finetuning" in tellapart._PLACES[name]
        if needs_torch and importlib.util.find_spec("torch") is None:
            with pytest.raises(MissingExtra, match="finetune"):
                getattr(tellapart, name)
            continue
        value = getattr(tellapart, name)
        assert name in dir(tellapart)
        if hasattr(value, "__doc__") and callable(value):
            assert value.__doc__, f"{name} has no docstring"
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = tellapart.nonsense


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_every_module_says_what_it_does(path):
    tree = ast.parse(path.read_text("utf-8"))
    if tree.body:
        assert ast.get_docstring(tree), f"{path} has no docstring"
