"""The source notebooks: their structure, and what executing them with plain papermill does."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from kdlib import study

ROOT = Path(__file__).parents[1]
EVERY = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOURCES = [path for path in EVERY if path.stem[1] in "123458"]
CHAPTER = {path.stem: path.stem.partition("_")[2] for path in SOURCES}
TINY = {"seeds": "[0]", "augmentations": "[none, cutmix]", "teacher_epochs": "1", "device": "cpu"}
TINY_STUDENTS = {"students": "[lenet]", "student_epochs": "1"}


@pytest.fixture(params=SOURCES, ids=lambda path: path.stem)
def source(request):
    return request.param


def read(path: Path) -> nbformat.NotebookNode:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_is_a_notebook_for_every_chapter():
    assert set(CHAPTER.values()) == set(study.CHAPTERS)


def test_the_first_code_cell_declares_parameters_that_exist(source):
    first, *rest = code(read(source))
    assert "parameters" in first.metadata.tags
    assert not any("parameters" in cell.metadata.get("tags", []) for cell in rest)
    lines = first.source.splitlines()
    declared = {}
    for line, statement in zip(lines, ast.parse(first.source).body, strict=True):
        assert isinstance(statement, ast.AnnAssign), f"{line} has no type"
        name = statement.target.id
        assert line.partition("  # ")[2] == study.PARAMETERS[name]["meaning"]
        declared[name] = ast.literal_eval(statement.value)
    assert set(declared) <= set(study.PARAMETERS)
    assert declared.pop("profile") == "demo"
    assert set(declared.values()) == {None}


def test_the_second_code_cell_checks_them(source):
    second = code(read(source))[1].source
    assert f'study.from_notebook(globals(), "{CHAPTER[source.stem]}")' in second


def test_labels_are_unique_over_the_book():
    names = []
    for path in EVERY:
        for cell in code(read(path)):
            names += re.findall(r'f?"((?:tab|fig)-[\w{}-]+)"', cell.source)
            figure = cell.metadata.get("mystnb", {}).get("figure")
            if figure:
                names.append(figure["name"])
                assert figure["caption"] and cell.metadata.mystnb.image.alt
    assert len(names) == len(set(names)) and len(names) > 20


def test_pictures_have_captions_and_alternative_texts(source):
    for cell in code(read(source)):
        if re.match(r"(figures\.(?!which|silhouettes|latent_maps)|front\.(?!answer))\w+\(", cell.source):
            assert "figure" in cell.metadata.mystnb and cell.metadata.mystnb.image.alt


@pytest.mark.parametrize("path", EVERY, ids=lambda path: path.stem)
def test_a_cell_asks_and_shows_and_does_not_compute_in_loops(path):
    for cell in code(read(path)):
        nodes = [type(node) for node in ast.walk(ast.parse(cell.source))]
        assert not {ast.For, ast.While, ast.FunctionDef} & set(nodes), cell.source
        assert max(map(len, cell.source.splitlines())) <= 120
        assert len(cell.source.splitlines()) <= 20


def test_code_is_folded(source):
    for cell in code(read(source)):
        assert {"hide-input", "hide-cell"} & set(cell.metadata.tags)


def papermill(path: Path, out: Path, store: Path, **parameters: str) -> subprocess.CompletedProcess:
    """Execute a notebook from the command line, as a reader would, from another folder than the project's.

    The tree stands in the place of an installed package.
    """
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", str(path), str(out)]
    for name, value in parameters.items():
        command += ["-y", f"{name}: {value}"]
    environment = os.environ | {"KDLIB_RUNS": str(store), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=out.parent, env=environment, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def test_a_notebook_runs_with_plain_papermill(source, store, tmp_path):
    out = tmp_path / source.name
    given = TINY if CHAPTER[source.stem] == "teachers" else TINY | TINY_STUDENTS
    done = papermill(source, out, store, **given)
    assert done.returncode == 0, done.stderr[-3000:]
    notebook = read(out)
    shown = {kind for cell in code(notebook) for o in cell.outputs for kind in o.get("data", {})}
    assert "text/markdown" in shown
    assert all(o.output_type != "error" for cell in code(notebook) for o in cell.outputs)
    for cell in code(notebook):
        if "figure" in cell.metadata.get("mystnb", {}):
            assert len(cell.outputs) == 1 and {"image/svg+xml", "image/png"} & set(cell.outputs[0].data)
    assert out.stat().st_size < 400_000


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("studnet_epochs", "2", "no parameter is called 'studnet_epochs': did you mean student_epochs?"),
        ("seeds", "false", "seeds is False: expected a list that is not empty, such as [0, 1]"),
        ("student_epochs", "-3", "student_epochs is -3: expected a whole number of at least 1"),
    ],
)
def test_a_bad_parameter_is_refused_in_the_cell_after_those_that_are_given(name, value, sentence):
    source = load_notebook_node(str(ROOT / "notebooks" / "02_students.ipynb"))
    given = parameterize_notebook(source, {name: yaml.safe_load(value)})
    declared, injected, checked, *_ = code(given)
    with pytest.raises(study.ParameterError, match=re.escape(sentence)):
        exec("\n".join(cell.source for cell in (declared, injected, checked)), {})


def test_a_bad_parameter_ends_papermill_with_one_sentence_before_training(tmp_path):
    fresh = tmp_path / "runs"
    done = papermill(ROOT / "notebooks" / "02_students.ipynb", tmp_path / "out.ipynb", fresh, seeds="false")
    assert done.returncode != 0
    assert "ParameterError: seeds is False: expected a list that is not empty, such as [0, 1]\n" in done.stderr
    assert not fresh.exists()


def test_a_chapter_that_takes_no_parameters_runs_and_refuses_any(store, tmp_path):
    source, out = ROOT / "notebooks" / "07_paper.ipynb", tmp_path / "out.ipynb"
    done = papermill(source, out, store, nonsense="1")
    assert done.returncode != 0
    assert "ParameterError: this chapter takes no parameters, and was given nonsense" in done.stderr
    done = papermill(source, out, store)
    assert done.returncode == 0, done.stderr[-3000:]


def test_start_up_files_of_the_kernel_set_no_parameter(store, tmp_path, monkeypatch):
    start_up = tmp_path / "ipython" / "profile_default" / "startup"
    start_up.mkdir(parents=True)
    (start_up / "00.py").write_text("seeds = [7]\ncolour = 3\nbatch_size = 64\n")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    cells = [
        nbformat.v4.new_code_cell("profile = 'demo'\nbatch_size = None", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("from kdlib import study\ns = study.from_notebook(globals(), 'teachers')"),
        nbformat.v4.new_code_cell("print(s.seeds, s.batch_size, colour)"),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "in.ipynb")
    done = papermill(tmp_path / "in.ipynb", tmp_path / "out.ipynb", store, batch_size="64")
    assert done.returncode == 0, done.stderr[-3000:]
    assert code(read(tmp_path / "out.ipynb"))[-1].outputs[0].text == "(0,) 64 3\n"
