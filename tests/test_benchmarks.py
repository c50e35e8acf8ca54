"""The benchmarks: their scripts run, and their table is what its script makes of the results and says what falls
short."""

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from kdlib import train

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def report():
    spec = importlib.util.spec_from_file_location("benchmarks_report", FOLDER / "report.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(folder: Path, name: str, measured: dict, processor: str = "A CPU") -> None:
    (folder / processor).mkdir(exist_ok=True)
    content = {"machine": {"processor": processor}, **measured}
    (folder / processor / f"{name}.json").write_text(json.dumps(content))


def test_the_page_is_what_the_script_makes_of_the_results(report):
    assert (FOLDER / "README.md").read_text() == report.page(report.all_results(FOLDER / "results"))


def test_a_line_that_falls_short_says_by_how_much_and_why(report, tmp_path):
    write(tmp_path, "students_bare", {"seconds": {"kdlib": [3, 1.5, 9], "bare": [2, 2, 2]}})
    rows = report.table(report.all_results(tmp_path))
    (short,) = [row for row in rows if "falls short" in row]
    assert "1.5 (0.75 to 4.5) times" in short and "by 20%" in short and "the batches" in short


def test_what_was_not_measured_is_said(report, tmp_path):
    rows = report.table(report.all_results(tmp_path))
    assert len(rows) == 2 + len(report.LINES) and all("not measured" in row for row in rows[2:])


def test_a_bound_that_is_met_is_reached(report, tmp_path):
    write(tmp_path, "memory", {"gigabytes": [3.0, 4.0]})
    (reached,) = [row for row in report.table(report.all_results(tmp_path)) if "reached" in row]
    assert "4 GB at most of 2 runs" in reached


def test_each_machine_has_a_row_of_its_own(report, tmp_path):
    write(tmp_path, "memory", {"gigabytes": [3.0]}, "One CPU")
    write(tmp_path, "memory", {"gigabytes": [5.0]}, "Other CPU")
    first, second = (row for row in report.table(report.all_results(tmp_path)) if "GB at most" in row)
    assert "One CPU" in first and "reached" in first
    assert "Other CPU" in second and "falls short by 25%" in second


# Sizes at which a script runs through in a second or two.
SMALL = {
    "students": {"BATCH_SIZE": 8, "STEPS": 2},
    "teachers": {"FULL": (8, 8, 1), "REDUCED": (8, 8, 1)},
    "memory": {"BATCH_SIZE": 8, "STEPS": 1},
    "growth": {"BATCH_SIZE": 8, "IMAGES": (8, 16), "EPOCHS": (1, 2), "FEW": 8},
    "store": {"ASKED": 2, "STORES": (2, 3)},
}


@pytest.fixture
def script(monkeypatch):
    """A benchmark's module at a small size, on random images, with what it keeps in `kept`."""
    monkeypatch.syspath_prepend(FOLDER)
    before, kept = set(sys.modules), {}
    timing = importlib.import_module("timing")
    draw = torch.Generator().manual_seed(0)

    def images(count: int = 50_000) -> train.TrainingSet:
        few = torch.randint(256, (min(count, 32), 32, 32, 3), generator=draw, dtype=torch.uint8)
        return train.to_device(few, torch.arange(len(few)) % 10, [0.5] * 3, [0.25] * 3, "cpu")

    monkeypatch.setattr(timing, "cifar10", images)
    monkeypatch.setattr(timing, "stored_logits", lambda: torch.randn(32, 10, generator=draw))
    monkeypatch.setattr(timing, "test_accuracy", lambda model: 0.1)
    monkeypatch.setattr(timing, "alternate", lambda sides, repeats=1: {name: [side()] for name, side in sides.items()})
    monkeypatch.setattr(timing, "keep", lambda name, of="", **measured: kept.update({name: measured}))

    def load(name: str) -> SimpleNamespace:
        module = importlib.import_module(name)
        for constant, value in SMALL.get(name, {}).items():
            monkeypatch.setattr(module, constant, value)
        return SimpleNamespace(module=module, kept=kept)

    yield load
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(FOLDER)):
            del sys.modules[name]


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_every_script_finds_what_it_uses(script, name):
    if name in ("cluster", "workers"):
        pytest.importorskip("distributed")
    script(name)


@pytest.mark.parametrize("part", ["bare", "cached", "usual", "accuracy", "shared"])
def test_every_part_of_the_students_runs(script, monkeypatch, part):
    students = script("students").module
    told = {"seconds": 1.0, "accuracy": 0.1}
    monkeypatch.setattr(students.torchdistill_loop, "run", lambda *arguments, **more: told)
    measured = students.PARTS[part](*{"accuracy": (16, 8), "shared": (2, 1)}.get(part, ()))
    assert all(value > 0 for side in (measured.get("seconds") or measured["accuracy"]).values() for value in side)


@pytest.mark.parametrize("size", ["FULL", "REDUCED"])
def test_both_sizes_of_teachers_run(script, size):
    teachers = script("teachers").module
    found = teachers.measured(*getattr(teachers, size))
    assert found["precision"] in train.PRECISIONS and all(value > 0 for (value,) in found["seconds"].values())


@pytest.mark.parametrize("name", ["growth", "stored"])
def test_a_script_runs_and_keeps_what_it_measured(script, name):
    loaded = script(name)
    loaded.module.main()
    assert list(loaded.kept) == [name] and loaded.kept[name]


def test_memory_is_that_of_a_process(script):
    assert 0.1 < script("memory").module.peak() < 100


def test_stored_runs_are_asked_for(script):
    loaded = script("store")
    loaded.module.time_store()
    assert list(loaded.kept["store"]["seconds"]) == ["300 asked for", "100 of 2", "100 of 3"]


def test_notebooks_are_asked_for_the_edition_where_they_have_one(script, monkeypatch, tmp_path):
    store, asked = script("store").module, {}
    monkeypatch.setattr(store.subprocess, "run", lambda command, **more: asked.update({command[3].stem: command[5:]}))
    for notebook in (store.ROOT / "notebooks").glob("*.ipynb"):
        store.execute(notebook, tmp_path)
    assert asked["01_teachers"] == ["-p", "profile", "paper"] and asked["07_paper"] == []


@pytest.mark.parametrize(
    "flags, kind",
    [
        ({"avx2": True, "avx512_f": False}, "AVX2"),
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False}, "AVX-512"),
        ({"avx2": True, "avx512_f": True, "avx512_bf16": True}, "AVX-512 with bf16"),
        ({"avx2": True, "avx512_f": True, "avx512_bf16": True, "amx_bf16": True}, "AMX"),
    ],
)
def test_results_of_two_kinds_of_processor_lie_apart(script, monkeypatch, tmp_path, flags, kind):
    timing = importlib.reload(script("timing").module)
    monkeypatch.setattr(timing, "RESULTS", tmp_path)
    monkeypatch.setattr(timing, "cpuinfo", lambda: ["model name : AMD EPYC Processor"])
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags, raising=False)
    timing.keep("memory", gigabytes=[1.0])
    (written,) = tmp_path.glob("*/memory.json")
    assert json.loads(written.read_text())["machine"]["processor"] == f"AMD EPYC, {kind}"
    assert written.parent.name == f"amd-epyc-{kind.lower().replace(' ', '-')}"
