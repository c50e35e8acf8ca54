"""The pages of runs: found by the ends of their keys, whole, and of settings that make the same run again."""

import dataclasses
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import pytest

from kdlib import runs
from kdlib.runs.store import write_sums

ROOT = Path(__file__).parents[1]
STORED = sorted(path.parent for path in (ROOT / "runs").glob("*/spec.json"))


@pytest.fixture
def records(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "book" / "_ext"))
    return importlib.import_module("run_records")


@pytest.fixture
def student():
    return runs.find(next(path.name for path in STORED if "-of-" in path.name), ROOT / "runs")


def copied(run, store):
    """The same run in another store."""
    shutil.copytree(run.folder, store / run.key)
    return runs.Run(run.spec, store)


def test_marks_name_one_run_each():
    assert len({runs.mark(folder.name) for folder in STORED}) == len(STORED)


def test_a_record_holds_what_the_run_is_scored_and_came_from(records, student):
    text = records.body(student, {})
    scores = json.loads((student.folder / "metrics.json").read_text())
    for value in (scores["test"]["accuracy"], scores["test"]["nll"]):
        assert f">{value:.6g}<" in text  # all digits are in the file, which the page links to
    for stored, shown in (("ece_adaptive", "ECE, equal mass"), ("f1", "F1"), ("human_model", "KLD")):
        assert f">{stored}<" not in text and f">{shown}<" in text
    for value in scores["provenance"].values():
        assert str(value) in unescape(text)
    assert text.count("<polyline") == 2
    epochs = len((student.folder / "history.csv").read_text().splitlines()) - 1
    assert text.split("<details>")[1].count("<tr") == epochs + 1


def test_the_settings_of_a_record_are_python_that_makes_this_run(records, student, monkeypatch):
    text = records.body(student, {})
    code = unescape(re.search("<pre>(.*?)</pre>", text, re.DOTALL)[1])
    asked = []
    monkeypatch.setattr(runs, "ensure", asked.extend)
    exec(code, {})
    assert [runs.key(spec) for spec in asked] == [student.key]


@pytest.mark.parametrize(
    "epochs, augmentations, says",
    [(1, (), "logits on the training images"), (1, ("cutmix",), "weights"), (0, ("cutmix",), "weights"), (0, (), "")],
)
def test_a_record_tells_what_its_student_needs_and_the_store_lacks(records, tmp_path, epochs, augmentations, says):
    recipe = runs.Recipe(1, 256, 0.05, 5e-4, "float32")
    teacher = runs.Supervised("digits", "resnet18", 2, dataclasses.replace(recipe, epochs=epochs))
    spec = runs.Distilled("digits", teacher, "lenet", 64, recipe, augmentations)
    told = records.lacks(runs.Run(spec, tmp_path))
    assert says in told and bool(told) == bool(says)
    folder = tmp_path / runs.key(teacher)
    folder.mkdir()
    for name in ("train_logits.npy.xz", "weights.safetensors"):
        (folder / name).touch()
    assert records.lacks(runs.Run(spec, tmp_path)) == records.lacks(runs.Run(teacher, tmp_path)) == ""


def test_a_student_links_to_its_teacher_where_that_has_a_record(records, student):
    known = records.with_teachers({runs.mark(student.key): student})
    assert len(known) == 2
    (teacher,) = known.keys() - {runs.mark(student.key)}
    assert f'href="{teacher}.html"' in records.body(student, known)
    assert f'href="{teacher}.html"' not in records.body(student, {})


def test_another_store_comes_before_the_projects(records, student, tmp_path, monkeypatch):
    mark = runs.mark(student.key)
    assert records.whole_run(mark).folder == student.folder
    other = copied(student, tmp_path).folder
    monkeypatch.setenv("KDLIB_RUNS", os.path.relpath(tmp_path, ROOT))  # a relative one lies in the checkout
    monkeypatch.chdir(tmp_path)
    assert os.path.samefile(records.whole_run(mark).folder, other)
    assert records.whole_run(runs.mark(STORED[-1].name)).folder == STORED[-1]
    assert records.whole_run("s0-00000000") is None
    (other / "history.csv").write_bytes((other / "history.csv").read_bytes().replace(b"1", b"2", 1))
    assert records.whole_run(mark).folder == student.folder  # the other is not whole


def test_a_damaged_run_has_no_page_and_is_named(records, student, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "PROJECT", tmp_path)
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "runs"))
    damaged = copied(student, tmp_path / "runs").folder / "metrics.json"
    damaged.write_text(damaged.read_text().replace("1", "2", 1))
    told = []
    monkeypatch.setattr(records.log, "warning", lambda form, *given: told.append(form % given))
    assert records.whole_run(runs.mark(student.key)) is None
    assert len(told) == 1 and told[0].startswith(f"{damaged} can't be used, its sha256 is")


def test_links_lead_to_pages_and_a_dead_one_is_an_error(student, tmp_path):
    book = ROOT / "_build" / "tests" / tmp_path.name  # within the project, as the extension expects
    shutil.rmtree(book, ignore_errors=True)
    shutil.copytree(ROOT / "book" / "_ext", book / "_ext")
    try:
        (book / "conf.py").write_text(
            "import sys; sys.path.insert(0, '_ext')\n"
            "extensions = ['myst_parser', 'run_records']\n"
            "myst_url_schemes = {'run': {'url': 'runs/{{path}}.html', 'classes': ['run']}}\n"
        )
        mark = runs.mark(student.key)
        (book / "index.md").write_text(f"# Tiny\n\n[0](run:{mark})\n")
        build = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", ".", "html"]
        done = subprocess.run(build, cwd=book, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert f'href="runs/{mark}.html"' in (book / "html" / "index.html").read_text()
        page = (book / "html" / "runs" / f"{mark}.html").read_text()
        for link in re.findall(r'href="([^"#]+(?:html|json|csv))"', page):
            assert (book / "html" / "runs" / link).is_file(), link
        kept = book / "html" / "runs" / mark
        assert (kept / "history.csv").read_bytes() == (student.folder / "history.csv").read_bytes()
        compare = ["sha256sum", "-c", "--ignore-missing", "SHA256SUMS"]
        done = subprocess.run(compare, cwd=kept, capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.count(": OK") == 3

        (book / "index.md").write_text("# Tiny\n\n[0](run:s0-00000000)\n")
        done = subprocess.run(build, cwd=book, capture_output=True, text=True)
        assert done.returncode != 0 and "run:s0-00000000 leads nowhere" in done.stderr
    finally:
        shutil.rmtree(book)


def test_a_history_of_held_out_images_is_drawn_where_there_is_one(records, student, tmp_path):
    folder = copied(student, tmp_path).folder
    for column, drawn in (("validation_loss", None), ("validation_accuracy", 0.25)):
        student.history.assign(**{column: drawn}).to_csv(folder / "history.csv", index=False)
        write_sums(folder)
        text = records.body(runs.Run(student.spec, tmp_path), {})
        assert ("Validation accuracy from 0.25 in the first epoch" in text) == (drawn is not None)
        assert text.count("<polyline") == 2 + (drawn is not None)


def test_a_run_judged_on_images_held_out_tells_that_and_promises_no_predictions(records, student, tmp_path):
    held_out = copied(student, tmp_path)
    text = json.dumps({"validation": {"accuracy": 0.6125}, "provenance": student.metrics["provenance"]})
    (held_out.folder / "metrics.json").write_text(text)
    write_sums(held_out.folder)
    trial, whole = (records.body(run, {}) for run in (held_out, student))
    assert "held out" in trial and ">0.6125<" in trial and "Test images" not in trial
    for promised in ("Its predictions", "kdlib again"):
        assert promised in whole and promised not in trial


def test_records_fill_in_one_page_that_the_theme_made(records, student, tmp_path):
    mark = runs.mark(student.key)
    app = SimpleNamespace(env=SimpleNamespace(found_docs=["a"], metadata={"a": {"runs": mark}}), outdir=tmp_path)
    for page, context, _ in records.pages(app):
        (tmp_path / page).parent.mkdir(exist_ok=True)
        (tmp_path / f"{page}.html").write_text(f"{page}: {context['title']}<main>{context.get('body')}</main>")
    known = records.with_teachers({mark: student})
    made = {path.stem: path.read_text() for path in (tmp_path / "runs").glob("*.html")}
    assert made.pop("index").startswith("runs/index: Runs")
    assert made == {one: f"runs/{one}: {run.key}<main>{records.body(run, known)}</main>" for one, run in known.items()}
