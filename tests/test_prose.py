"""What the prose pages take from the code, the stored runs and the measurement of costs."""

import ast
import inspect
import json
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from kdlib import augment, distill, runs, study
from kdlib.report import prose

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import from_code  # noqa: E402


def rows(table: str) -> list[list[str]]:
    lines = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines]


def test_every_parameter_is_in_the_table_with_what_each_profile_has():
    header, _, *lines = rows(prose.parameters())
    by_name = {re.search(r"`(\w+)`", line[0])[1]: line for line in lines}
    assert set(by_name) == set(study.PARAMETERS)
    for profile in study.PROFILES:
        for name, value in yaml.safe_load(study.profile_text(profile)).items():
            if name in by_name:
                cell = by_name[name][header.index("Value")]
                told = dict(one.split(": ", 1) for one in cell.split("<br>") if ": " in one)
                assert yaml.safe_load(told.get(f"`{profile}`", cell)) == value


def test_types_are_those_that_the_converters_tell():
    _, _, *lines = rows(prose.parameters())
    told = {re.search(r"`(\w+)`", line[0])[1]: line[2] for line in lines}
    assert told["kd_weight"] == "number from 0 to 1" and told["temperature"] == "number above 0 to 1000"
    assert told["seeds"] == "list of: whole number from 0" and told["profile"] == "demo, cpu, paper"


def test_kinds_have_a_colour_each():
    css = (ROOT / "book" / "_static" / "book.css").read_text()
    for kind in study.KINDS:
        assert f".kind-{kind}::before" in css and f".kind-{kind}}}" in prose.parameters()
    assert {about["kind"] for about in study.PARAMETERS.values()} == set(study.KINDS)


def test_exceptions_name_every_chapter_with_values_of_its_own():
    told = prose.exceptions()
    for profile in study.PROFILES:
        for chapter, own in yaml.safe_load(study.profile_text(profile))["chapters"].items():
            line = next(line for line in told.splitlines() if line.startswith(f"- `{profile}`, chapter *{chapter}*"))
            assert all(f"`{name}` {prose.as_yaml(value)}" in line for name, value in own.items())


def test_lenet_has_one_size_and_a_chosen_length_has_a_line_for_each_form_of_the_loss():
    assert {line[2] for line in rows(prose.networks()) if line[1] == "`lenet`"} == {"–"}
    header, _, *lines = rows(prose.chosen())
    found = {(line[0], line[1], *line[2:4]): line[header.index("Epochs") :] for line in lines}
    own = study.settings("students", "paper")
    epochs = {loss: own.chosen("lenet", "taught", loss).epochs for loss in own.reductions}
    for loss, name in (("batchmean", "formula"), ("mean", "released code")):
        students = len(own.own_seeds("lenet", "taught", loss))
        assert found["`paper`", "`lenet`", "trained", name] == [str(epochs[loss]), str(students)]
    assert ("`paper`", "`lenet`", "no teacher", "–") in found


def test_stored_runs_are_told_by_the_kind_of_device_that_made_them(monkeypatch, tmp_path):
    monkeypatch.setenv("KDLIB_RUNS", str(ROOT / "runs"))
    monkeypatch.setattr(prose, "COSTS", tmp_path / "none.json")
    lines = [line for line in rows(prose.costs()) if line[0] == "`paper`"]
    specs = dict.fromkeys(study.all_specs("paper"))
    counted = Counter(run.metrics["provenance"]["device"] for run in runs.stored(specs))
    assert len(counted) > 1 and len(lines) == len(counted)
    for line, (device, count) in zip(lines, counted.items(), strict=True):
        assert line[1] == f"{count} of {len(specs)}" and line[-1].endswith(f" on {device}")


def test_costs_are_what_was_measured_and_what_was_not_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path))
    measured = {"demo": dict(memory="M", disk="D", how="H", seconds=90.0)}
    (tmp_path / "costs.json").write_text(json.dumps(measured))
    monkeypatch.setattr(prose, "COSTS", tmp_path / "costs.json")
    _, _, demo, cpu, paper = rows(prose.costs())
    assert demo[2:] == ["90 seconds", "M", "D", "H"] and int(demo[1]) == len(set(study.all_specs("demo")))
    assert cpu[2] == paper[2] == "not run"


def test_without_runs_the_data_pages_say_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path))
    prose.published_runs.cache_clear()
    assert "not run" in prose.datasets() and "not run" in prose.sampling()
    prose.published_runs.cache_clear()


def test_the_code_on_a_page_is_the_code_without_its_docstring():
    for function in (distill.kd_loss, augment.cutmix, augment.mixup):
        shown = ast.parse(from_code.without_docstring(inspect.getsource(function))).body[0]
        whole = ast.parse(inspect.getsource(function)).body[0]
        assert ast.get_docstring(shown) is None
        assert [ast.dump(one) for one in shown.body] == [ast.dump(one) for one in whole.body[1:]]


@pytest.mark.parametrize(
    ("line", "rest"),
    [
        ("`a` and `Run`s", r"``a`` and ``Run``\ s"),
        ("KL(p || q) of y_ * x", r"KL(p \|\| q) of y\_ \* x"),
        ("`temperature**2`", "``temperature**2``"),
        ("- a list", "- a list"),
        ("1. *Rate and clipping.* The *gap* is `a*b*c`.", "1. *Rate and clipping.* The *gap* is ``a*b*c``."),
        ("a * b * c, 2*x*y and *args", r"a \* b \* c, 2\*x\*y and \*args"),
    ],
)
def test_docstrings_become_rest(line, rest):
    assert from_code.inline(line) == rest


def test_an_indented_listing_keeps_its_columns_and_a_doctest_stays():
    lines = ["Files:", "", "    a_   first", "    b    second", "", "Then.", "", ">>> f('_')", "'*'"]
    from_code.as_rest(None, "module", "m", None, None, lines)
    listing = [".. code-block:: text", "", "    a_   first", "    b    second", ""]
    assert lines == ["Files:", "", *listing, "Then.", "", ">>> f('_')", "'*'"]
