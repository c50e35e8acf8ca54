"""Who may import whom: the core knows of no runs, numbers know of no pages, and nothing but the command line prints."""

import ast
import doctest
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ("augment", "models", "distill", "train", "metrics", "data", "fetch", "speed", "contract")
HELPERS = ("conftest", "fakes", "gates", "small")  # of the tests, which are no tests themselves


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it, and every name that it takes from one."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def taken(path: Path, *forbidden: str) -> list[str]:
    """What a file imports of what it may not."""
    return [name for name in imports(path) if any(f"{name}.".startswith(f"{one}.") for one in forbidden)]


def files(*patterns: str) -> list[Path]:
    found = [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]
    assert found, f"no file is called {patterns}"
    return found


ARROWS = {  # files, and what they may not import
    "core": ([f"kdlib/{name}.py" for name in CORE], ["kdlib.runs", "kdlib.study", "kdlib.results", "kdlib.report"]),
    "runs": (["kdlib/runs/*.py"], ["kdlib.study", "kdlib.results", "kdlib.report"]),
    "study": (["kdlib/study.py", "kdlib/budgets.py", "kdlib/causes.py"], ["kdlib.results", "kdlib.report"]),
    "results": (["kdlib/results/*.py"], ["kdlib.report", "kdlib.study", "matplotlib"]),
    "benchmarks": (["benchmarks/**/*.py"], ["kdlib.report"]),
}


@pytest.mark.parametrize("name", ARROWS)
def test_no_arrow_points_upwards(name):
    patterns, forbidden = ARROWS[name]
    assert {str(path): found for path in files(*patterns) if (found := taken(path, *forbidden))} == {}


def test_only_the_command_line_uses_the_press():
    found = [path for path in files("kdlib/**/*.py") if taken(path, "kdlib.report.press")]
    assert found == [ROOT / "kdlib" / "__main__.py"]


def test_pages_know_names_and_runs_alone():
    """What `book/_ext` shows of other modules it is told in the book's own text."""
    for path in files("book/_ext/*.py"):
        for name in taken(path, "kdlib"):
            assert f"{name}.".startswith(("kdlib.runs.", "kdlib.results.names.")), f"{path.name} imports {name}"


def test_no_test_takes_from_another():
    tests = [path.stem for path in files("tests/*.py") if path.stem not in HELPERS]
    found = {str(path.name): names for path in files("tests/*.py") if (names := taken(path, *tests))}
    assert found == {}


def test_torchvision_is_imported_where_it_is_used():
    """It takes as long as torch itself, in every notebook and process, and is needed to read or fetch two data sets."""
    tops = [(path, node) for path in files("kdlib/**/*.py") for node in ast.parse(path.read_text("utf-8")).body]
    imported = [
        path
        for path, node in tops
        if isinstance(node, ast.Import | ast.ImportFrom) and "torchvision" in ast.unparse(node)
    ]
    assert imported == []


def test_an_import_is_seen_wherever_it_stands(tmp_path):
    path = tmp_path / "some.py"
    path.write_text("import os\n\ndef f():\n    from kdlib import runs, data\n    import kdlib.report.press as p\n")
    assert taken(path, "kdlib.runs", "kdlib.report") == ["kdlib.runs", "kdlib.report.press"]
    path.write_text("from kdlib.runs_of_old import x\n")
    assert taken(path, "kdlib.runs") == []


def test_a_public_function_or_class_has_one_home():
    """Whoever looks for a name finds one thing."""
    homes: dict[str, list[str]] = {}
    for path in files("kdlib/**/*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


def test_the_examples_in_docstrings_hold():
    attempted = 0
    for path in files("kdlib/*.py", "kdlib/*/*.py"):
        if ">>>" in path.read_text(encoding="utf-8"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found = doctest.testmod(importlib.import_module(name))
            assert found.failed == 0, name
            attempted += found.attempted
    assert attempted > 40
