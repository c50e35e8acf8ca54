"""From notebooks to pages, with tiny notebooks and a book made for the purpose."""

import contextlib
import errno
import fcntl
import json
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from small import ASCII_ONLY, ordinary_user, spelt_in_ascii

from kdlib import __main__ as cli
from kdlib import runs, study
from kdlib.report import press

PARAMETERS = 'profile = "demo"\nseeds: list[int] | None = None  # one repetition each'
SHOWS = "print('seeds', seeds)"


def write_notebook(path: Path, code: str = SHOWS, parameters: str = PARAMETERS) -> None:
    cells = [
        new_markdown_cell(f"# Title of {path.stem}"),
        new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        new_code_cell(code),
    ]
    path.parent.mkdir(exist_ok=True)
    nbformat.write(new_notebook(cells=cells), path)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with two chapters, whose experiments need no runs."""
    root = tmp_path / "project"
    (root / "book").mkdir(parents=True)
    (root / "_config.yml").write_text("title: Tiny\nexecute: {execute_notebooks: 'off'}\nonly_build_toc_files: true\n")
    toc = "format: jb-book\nroot: intro\nchapters:\n- file: 01_first\n- file: 02_second\n"
    (root / "book" / "_toc.yml").write_text(toc)
    (root / "book" / "intro.md").write_text("# Tiny\n\n{doc}`01_first` and {doc}`02_second`\n")
    write_notebook(root / "notebooks" / "01_first.ipynb")
    write_notebook(root / "notebooks" / "02_second.ipynb", "print(profile)", 'profile = "demo"')
    monkeypatch.setattr(press, "ROOT", root)
    monkeypatch.setattr(study, "CHAPTERS", {"first": lambda settings: [], "second": lambda settings: []})
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "runs"))
    return root


@pytest.fixture
def quick(monkeypatch):
    """Pages are not built, only a first page put where they would be."""

    def build_pages(book, *, strict):
        page = book / "_build" / "html" / "index.html"
        page.parent.mkdir(parents=True)
        page.write_text(f"strict: {strict}")

    monkeypatch.setattr(press, "build_pages", build_pages)


def files(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def text_of(notebook: Path) -> str:
    cells = nbformat.read(notebook, as_version=4).cells
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.text for output in outputs if output.output_type == "stream")


# --- before anything is made ---

REFUSED = {
    "profile": (["--profile", "huge"], "'huge'"),
    "chapter": (["--chapter", "third"], "there are first, second"),
    "parameter": (["--set", "sedes=[0]"], "did you mean seeds"),
    "value": (["--set", "seeds=[]"], "seeds is []"),
    "type": (["--set", "temperature=1e-3"], "1.0e-3"),
    "no notebook reads it": (["--set", "temperature=4"], "'temperature'"),
    "the chapter does not read it": (["--chapter", "second", "--set", "seeds=[0]"], "no notebook of second"),
}


@pytest.mark.parametrize(("arguments", "names"), REFUSED.values(), ids=REFUSED)
def test_a_fault_is_one_sentence_and_leaves_nothing(arguments, names, project, capsys):
    before = files(project)
    assert cli.main(["report", *arguments]) == 2
    err = capsys.readouterr().err
    assert names in err and err.count("\n") == 1
    assert files(project) == before


@pytest.mark.parametrize("damage", ["not JSON", "not Python", "not listed", "none"])
def test_a_project_that_is_damaged_is_refused(damage, project):
    if damage == "not JSON":
        (project / "notebooks" / "01_first.ipynb").write_text('{"cells": [')
    elif damage == "not Python":
        write_notebook(project / "notebooks" / "01_first.ipynb", parameters="profile = =")
    elif damage == "not listed":
        write_notebook(project / "notebooks" / "03_third.ipynb")
    else:
        for path in (project / "notebooks").iterdir():
            path.unlink()
    before = files(project)
    with pytest.raises(press.ReportError):
        press.build_report("demo", None, {})
    assert files(project) == before


def test_declared_names_are_those_the_parameters_cell_assigns(tmp_path):
    parameters = "profile = 'demo'\nseeds: list | None = None\nbatch_size: int\n# temperature = 1\nprint(profile)"
    write_notebook(tmp_path / "n" / "01_x.ipynb", "kd_weight = 1", parameters)
    chapter = press.read_chapter(tmp_path / "n" / "01_x.ipynb")
    assert (chapter.name, chapter.title) == ("x", "Title of 01_x")
    assert chapter.parameters == {"profile", "seeds", "batch_size"}


def test_a_notebook_gets_what_it_declares(project):
    first, second = press.find_chapters().values()
    overrides = {"seeds": [1]}
    assert press.checked_parameters(first, "cpu", overrides) == {"profile": "cpu", "seeds": [1]}
    assert press.checked_parameters(second, "cpu", overrides) == {"profile": "cpu"}


def test_a_chapter_without_experiments_draws_on_all(project):
    write_notebook(project / "notebooks" / "03_third.ipynb")
    first, _, third = press.find_chapters().values()
    assert first.experiments == ["first"]
    assert third.experiments == ["first", "second"]


def test_editions_with_other_parameters_have_other_folders():
    one, other = press.edition_name("demo", {"seeds": [0]}), press.edition_name("demo", {"seeds": [1]})
    assert len({"demo", press.edition_name("demo", {}), one, other}) == 3


def test_the_command_can_be_pasted():
    command = press.as_command("cpu", ["students"], {"seeds": [0, 1], "device": "cpu", "temperature": 4})
    assert command == (
        "python -m kdlib report --profile cpu --chapter students --set 'seeds=[0, 1]' --set device=cpu "
        "--set temperature=4"
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(42.4, "42 s"), (3599.6, "1 h 0 min"), (150, "2 min 30 s"), (7380, "2 h 3 min")]
)
def test_a_length_of_time_in_words(seconds, text):
    assert press.duration(seconds) == text


def test_a_page_foot_says_where_the_runs_come_from_once_each():
    def made(key, dataset, device, seconds):
        provenance = {"device": device, "seconds": seconds, "commit": "abc123"}
        return SimpleNamespace(key=key, spec=SimpleNamespace(dataset=dataset), metrics={"provenance": provenance})

    found = [made("a", "mnist", "a GPU", 60.2), made("b", "cifar10", "a CPU", 30.0), made("a", "mnist", "a GPU", 60.2)]
    assert press.page_foot("paper", press.origin(found), "python -m kdlib report") == (
        "*Edition `paper`; data: cifar10, mnist; 2 networks trained on: a CPU, a GPU; "
        "training time in all: 1 min 30 s; "
        "trained at commit: abc123; made by `python -m kdlib report`.*"
    )
    assert press.page_foot("paper", press.origin([]), "x") == "*Edition `paper`; made by `x`.*"


@pytest.mark.parametrize("profile", ["demo", "cpu"])
def test_a_second_process_makes_the_runs_that_the_report_is_of(profile, monkeypatch):
    """Those of the profile, chapters and settings that the report was started with, on the same device."""
    overrides = {"dataset": "digits", "device": "cpu", "seeds": [3]}
    asked, ended = [], []

    def start(command, **options):
        assert command[1:3] == ["-m", "kdlib"] and cli.main(command[3:]) == 0
        return SimpleNamespace(terminate=lambda: ended.append("terminated"), wait=lambda: ended.append("waited for"))

    monkeypatch.setattr(runs, "ensure", lambda specs, device: asked.extend((spec, device) for spec in specs) or [])
    monkeypatch.setattr(press.subprocess, "Popen", start)
    chosen = [SimpleNamespace(experiments=["teachers"]), SimpleNamespace(experiments=["students", "teachers"])]
    with press.colleague(profile, chosen, overrides):
        assert not ended
    settings = [study.settings(name, profile, **overrides) for name in ("teachers", "students")]
    specs = [*study.teachers(settings[0]), *study.students(settings[1])]
    assert set(asked) == {(spec, "cpu") for spec in specs} and ended == ["terminated", "waited for"]


# --- executing and building ---


def test_a_report_from_notebooks_to_pages(project):
    page = press.build_report("demo", None, {"seeds": [4, 5]})
    folder = page.parents[3]
    assert folder.parent == project / "_build" / "report"
    assert page.name == "index.html" and page.is_file()
    intro = (page.parent / "intro.html").read_text()
    assert "Edition demo" in intro and "seeds=[4, 5]" in intro
    first = folder / "book" / "01_first.ipynb"
    assert text_of(first) == "seeds [4, 5]\n"
    assert "seeds [4, 5]" in (page.parent / "01_first.html").read_text()
    assert yaml.safe_load((folder / "book" / "_config.yml").read_text())["title"] == "Tiny"
    assert {path.name for path in folder.iterdir()} <= {"book", "build.log", ".lock"}

    notebook = json.loads(first.read_text())
    assert notebook["metadata"]["papermill"] == {
        "input_path": "notebooks/01_first.ipynb",
        "parameters": {"profile": "demo", "seeds": [4, 5]},
    }
    assert "python -m kdlib report --profile demo" in "".join(notebook["cells"][-1]["source"])
    assert str(project) not in first.read_text()


def test_a_notebook_that_fails_leaves_the_last_good_report(project, quick, capsys):
    page = press.build_report("demo", ["first"], {})
    before = files(page.parents[2])
    write_notebook(project / "notebooks" / "01_first.ipynb", "print('begun')\nraise ValueError('a\\nb')")
    assert cli.main(["report", "--chapter", "first", "--publish"]) == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert err.startswith("kdlib: notebooks/01_first.ipynb failed in its cell [3] with ValueError: a;")
    assert files(page.parents[2]) == before
    assert text_of(page.parents[3] / "making" / "01_first.ipynb") == "begun\n"
    assert not (project / "book" / "01_first.ipynb").exists()


def test_no_notebook_is_begun_once_another_has_failed(tmp_path, monkeypatch):
    """Though one that came before it in the book is still under way."""
    begun, failed = [], threading.Event()

    def execute(chapter, given, target, foot):
        begun.append(chapter.name)
        if chapter.name == "second":
            failed.set()
            raise press.ReportError("second failed")
        assert failed.wait(10)
        time.sleep(0.2)  # for the failure to have been noted

    monkeypatch.setattr(press, "execute_notebook", execute)
    chapters = [SimpleNamespace(name=name, source=Path(f"{name}.ipynb")) for name in ("first", "second", "third")]
    named = {one.name: {} for one in chapters}
    with pytest.raises(press.ReportError, match="second failed"):
        press.execute_all(chapters, named, tmp_path, named)
    assert sorted(begun) == ["first", "second"]


def test_pages_that_can_not_be_built_leave_the_last_good_report(project, tmp_path, monkeypatch):
    book = tmp_path / "edition" / "making"
    press.stage(book, tmp_path / "none", [])
    press.write_config(book, "")
    (book / "intro.md").write_text("# Tiny\n\n{doc}`99_gone`\n")
    with pytest.raises(press.ReportError, match="99_gone"):
        press.build_pages(book, strict=True)


def test_chapters_of_an_edition_are_kept_and_those_never_made_say_so(project, quick):
    page = press.build_report("demo", ["second"], {})
    assert page.read_text() == "strict: False"
    book = page.parents[2]
    assert "has not been made" in (book / "01_first.md").read_text()
    assert (book / "01_first.md").read_text().startswith("# Title of 01_first\n")
    assert "which has {doc}`02_second`." in (book / "01_first.md").read_text()
    page = press.build_report("demo", ["first"], {})
    assert page.read_text() == "strict: True"
    assert {path.name for path in book.glob("0*")} == {"01_first.ipynb", "02_second.ipynb"}


def test_publish_puts_executed_notebooks_into_the_book(project, quick):
    press.build_report("demo", ["second"], {}, publish=True)
    assert text_of(project / "book" / "02_second.ipynb") == "demo\n"
    assert not (project / "book" / "01_first.ipynb").exists()
    once = (project / "book" / "02_second.ipynb").read_bytes()
    press.build_report("demo", ["second"], {}, publish=True)
    assert (project / "book" / "02_second.ipynb").read_bytes() == once


def test_publishing_the_front_page_renews_what_the_readme_says(project, quick):
    (project / "README.md").write_text("# Tiny\n<!-- found -->\nold\n<!-- /found -->\n")
    with (project / "book" / "_toc.yml").open("a") as toc:
        toc.write("- file: 00_intro\n")
    code = "from IPython.display import SVG, Markdown\ndisplay(Markdown('Found.'), SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>'))"
    write_notebook(project / "notebooks" / "00_intro.ipynb", code, "")
    press.build_report("demo", ["intro", "second"], {}, publish=True)
    readme = (project / "README.md").read_text()
    assert "Found.\n\n![](book/found.svg)" in readme and "old" not in readme
    assert "<svg" in (project / "book" / "found.svg").read_text()


def test_what_cells_write_to_stderr_is_for_the_terminal(project, quick, capsys):
    write_notebook(project / "notebooks" / "02_second.ipynb", "import warnings\nwarnings.warn('careful')\nprint('x')")
    page = press.build_report("demo", ["second"], {})
    assert text_of(page.parents[2] / "02_second.ipynb") == "x\n"
    assert "careful" in capsys.readouterr().err


# --- machines unlike ours ---

KEPT = (
    "the report can't be kept in {folder} ({finding}): make room there, or use a checkout on a local disk that you may "
)
KEPT += "write; the last report stays as it was"


def sentence(*arguments):
    """What is told where a report of the project fails."""
    with pytest.raises(press.ReportError) as fault:
        press.build_report("demo", *arguments or (None, {}))
    assert "\n" not in str(fault.value)
    return str(fault.value)


@pytest.mark.parametrize("first", ["a page of the book", "an executed notebook"])
def test_a_full_disk_is_one_sentence_and_leaves_the_last_good_report(project, quick, first):
    """A limit on the size of files stands for it, and one is too large."""
    page = press.build_report("demo", None, {})
    before = files(page.parents[2])
    if first == "a page of the book":
        (project / "book" / "long.md").write_text("long " * 1000)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, limit[1]))
    try:
        said = sentence()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert said == KEPT.format(folder=page.parents[3], finding="File too large")
    assert files(page.parents[2]) == before


def test_a_log_that_can_not_be_written_is_one_sentence(project, monkeypatch):
    folder = project / "_build" / "report" / "demo"
    (folder / "build.log").mkdir(parents=True)
    assert sentence() == KEPT.format(folder=folder, finding="Is a directory")


def test_what_stops_the_builder_without_a_warning_is_named(project, tmp_path):
    book = tmp_path / "edition" / "making"
    press.stage(book, tmp_path / "none", [])
    press.write_config(book, "")
    (book / "_build").write_text("a file where a folder has to be")
    with pytest.raises(press.ReportError, match=r"could not be built \(\w*Error: .*_build.*\): see "):
        press.build_pages(book, strict=True)


@pytest.mark.parametrize("shut", [".", "_build", "_build/report/demo"])
def test_a_checkout_that_can_only_be_read_is_one_sentence(project, monkeypatch, shut):
    monkeypatch.setattr(press, "SMALL_DATASETS", ())  # no process beside, which another user may not be able to start
    folder = project / "_build" / "report" / "demo"
    (project / shut).mkdir(parents=True, exist_ok=True)
    with ordinary_user(project):
        (project / shut).chmod(0o555)
        assert sentence() == KEPT.format(folder=folder, finding="Permission denied")


def test_a_page_that_can_not_be_published_is_one_sentence_and_nothing_of_it_is_left(project, quick):
    (project / "book" / "02_second.ipynb").mkdir()
    with pytest.raises(press.ReportError) as fault:
        press.build_report("demo", ["second"], {}, publish=True)
    assert str(fault.value) == KEPT.format(folder=project / "book", finding="Is a directory")
    assert not list((project / "book").glob(".*"))


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_is_one_sentence(project, quick, monkeypatch, number):
    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with contextlib.suppress(press.ReportError):  # filelock may take another kind of lock where it knows one
        press.build_report("demo", ["second"], {})
        assert number == errno.ENOSYS
        return
    assert sentence().startswith(KEPT.partition(" (")[0].format(folder=project / "_build" / "report" / "demo"))


def test_a_kernel_that_dies_is_one_sentence_and_leaves_the_last_good_report(project, quick):
    page = press.build_report("demo", ["first"], {})
    before = files(page.parents[2])
    write_notebook(project / "notebooks" / "01_first.ipynb", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    assert sentence(["first"], {}).startswith(
        "the kernel of notebooks/01_first.ipynb ended (Kernel died): its memory may have run out; the last report stays"
    )
    assert files(page.parents[2]) == before


def test_a_kernel_that_dies_as_it_starts_is_one_sentence(project, quick, monkeypatch):
    def start(*arguments, **more):
        raise RuntimeError("Kernel died before replying to kernel_info")

    monkeypatch.setattr(press.papermill, "execute_notebook", start)
    assert "ended (Kernel died before replying to kernel_info): its memory may have run out;" in sentence(["first"], {})


@spelt_in_ascii
def test_a_report_is_made_without_a_home_and_under_another_locale(project):
    """Its text is UTF-8 all the same. No folder can be made within /proc, not even by root."""
    (project / "book" / "intro.md").write_text("# Größe\n\n{doc}`01_first`, {doc}`02_second`\n", encoding="utf-8")
    write_notebook(
        project / "notebooks" / "01_first.ipynb", "from pathlib import Path\nprint(Path('ö').write_text('ß'))"
    )
    code = (
        "import sys; from pathlib import Path; from kdlib import __main__ as cli, study\n"
        "from kdlib.report import press\n"
        f"press.ROOT = Path({str(project)!r}); study.CHAPTERS = dict.fromkeys(('first', 'second'), lambda s: []);"
        "sys.exit(cli.main(['report']))"
    )
    unlike = dict.fromkeys(("HOME", "XDG_RUNTIME_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "MPLCONFIGDIR"), "/proc/no")
    command = [sys.executable, "-X", "utf8=0", "-c", code]
    given = os.environ | {"PYTHONPATH": str(Path(press.__file__).parents[2])} | ASCII_ONLY | unlike
    done = subprocess.run(command, env=given, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    book = project / "_build" / "report" / "demo" / "book"
    assert "Größe" in (book / "_build" / "html" / "intro.html").read_text(encoding="utf-8")
    assert text_of(book / "01_first.ipynb") == "1\n" and (project / "ö").read_text(encoding="utf-8") == "ß"


def test_start_up_files_of_the_users_kernels_have_no_part_in_a_report(project, quick, tmp_path, monkeypatch):
    start_up = tmp_path / "ipython" / "profile_default" / "startup"
    start_up.mkdir(parents=True)
    (start_up / "00.py").write_text("print = len")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    page = press.build_report("demo", ["second"], {})
    assert text_of(page.parents[2] / "02_second.ipynb") == "demo\n"
    assert os.environ["IPYTHONDIR"] == str(tmp_path / "ipython") and "PYTHONUTF8" not in os.environ


# --- this project ---


def test_every_chapter_is_listed_in_the_table_of_contents():
    listed = press.toc_entries(press.ROOT / "book" / "_toc.yml")
    for path in (press.ROOT / "notebooks").glob("[0-9]*.ipynb"):
        assert path.stem in listed
