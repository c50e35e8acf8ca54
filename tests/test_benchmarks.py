"""The table of the benchmarks: it is what its script makes of the results, and it says what falls short."""

import importlib.util
import json
from pathlib import Path

import pytest

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
