"""The table of the benchmarks: it is what its script makes of the results, and it says what falls short."""

import importlib.util
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def report():
    spec = importlib.util.spec_from_file_location("benchmarks_report", FOLDER / "report.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_script_makes_of_the_results(report):
    assert (FOLDER / "README.md").read_text() == report.page(report.Results(FOLDER / "results"))


def test_a_line_that_falls_short_says_by_how_much_and_why(report, tmp_path):
    (tmp_path / "students_bare.json").write_text('{"seconds": {"kdlib": [3, 1.5, 9], "bare": [2, 2, 2]}}')
    rows = report.table(report.Results(tmp_path))
    (short,) = [row for row in rows if "falls short" in row]
    assert "1.5 (0.75 to 4.5) times" in short and "by 20%" in short and "the batches" in short


def test_what_was_not_measured_is_said(report, tmp_path):
    rows = report.table(report.Results(tmp_path))
    assert len(rows) == 2 + len(report.LINES) and all("not measured" in row for row in rows[2:])


def test_a_bound_that_is_met_is_reached(report, tmp_path):
    (tmp_path / "memory.json").write_text('{"gigabytes": [3.0, 4.0]}')
    (reached,) = [row for row in report.table(report.Results(tmp_path)) if "reached" in row]
    assert "4 GB at most of 2 runs" in reached
