"""Notebooks to executed notebooks to a book: what `python -m kdlib report` does.

An edition is a profile with whatever was set beside it. It has a folder of its own under `_build/report/`:

    <edition>/book/              a copy of `book/` with the chapters executed
    <edition>/book/_build/html/  the pages built from them
    <edition>/making/            the same while it is being made, or as far as it got where something failed
    <edition>/build.log          what jupyter-book said

`making` becomes `book` by a rename once everything has succeeded, so that a failure leaves the last good report as it
was, and no report mixes chapters made with different settings.
"""

import contextlib
import hashlib
import html
import itertools
import json
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import papermill
import yaml
from filelock import FileLock, Timeout
from jupyter_client.kernelspec import NoSuchKernel
from papermill.exceptions import PapermillExecutionError
from sphinx_external_toc.parsing import parse_toc_yaml

from kdlib import ROOT, KdlibError, reason, runs, study, written_aside
from kdlib.report import readme
from kdlib.runs import Run
from kdlib.runs.make import SMALL_DATASETS

# papermill warns of parameters as unknown whose annotation it can't read; unknown ones are refused here before.
logging.getLogger("papermill").setLevel(logging.ERROR)
KERNEL = "python3"  # of the environment that this runs in, whatever kernel a notebook was last opened with
CHAPTERS_AT_ONCE = 2  # executed: each takes 1 to 2 GB of memory


class ReportError(KdlibError, RuntimeError):
    """A notebook or a book that can't be made into a report."""


@dataclass(frozen=True)
class Chapter:
    """A notebook's source, and what can be said of it without executing it."""

    name: str  # the file's name after its number: students
    source: Path
    title: str
    parameters: frozenset[str]  # assigned in its `parameters` cell

    @property
    def experiments(self) -> list[str]:
        """Those of `study.CHAPTERS` whose runs it shows: its own, else all, or none where it takes no parameter."""
        if self.name in study.CHAPTERS:
            return [self.name]
        return list(study.CHAPTERS) if self.parameters else []


def build_report(
    profile: str, chapters: Iterable[str] | None, overrides: dict[str, Any], *, publish: bool = False
) -> Path:
    """Make the runs, execute the notebooks and build the book; returns its first page.

    `chapters` are names such as "students", all if None; `overrides` are parameters beside the profile's. With
    `publish`, the executed notebooks then replace those in `book/`. Everything that was given is checked first.
    Raises `KdlibError` with one sentence; what was made of this edition before is then still there.
    """
    overrides = {name: value for name, value in overrides.items() if value is not None}
    chosen = chosen_chapters(find_chapters(), chapters)
    given = {chapter.name: checked_parameters(chapter, profile, overrides) for chapter in chosen}
    refuse_unread(overrides, chosen)
    check_listed(chosen)
    command = as_command(profile, chapters, overrides)

    made = {}
    with colleague(profile, chosen, overrides):
        for chapter in chosen:
            made[chapter.name] = make_runs(chapter, profile, given[chapter.name])
            print(f"{chapter.name}: {len(made[chapter.name])} runs in {runs.default_store()}", flush=True)

    folder = ROOT / "_build" / "report" / edition_name(profile, overrides)
    with kept_in(folder), surroundings():
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=0):
            making = folder / "making"
            missing = stage(making, folder / "book", chosen)
            write_config(making, announcement(profile, origin(itertools.chain(*made.values())), command))
            feet = {name: page_foot(profile, origin(of_chapter), command) for name, of_chapter in made.items()}
            execute_all(chosen, given, making, feet)
            # Pages that are still to come are linked to from others: only a whole book can be without a warning.
            build_pages(making, strict=not missing)
            replace(making, folder / "book")
    if publish:
        with kept_in(ROOT / "book"):
            publish_chapters(folder / "book", chosen)
    return folder / "book" / "_build" / "html" / "index.html"


@contextlib.contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """A folder that can't be written or locked is one sentence."""
    try:
        yield
    except Timeout as error:
        raise ReportError(f"another process is making the report in {folder}: wait until it has ended") from error
    except (OSError, NotImplementedError) as error:
        finding = reason(error)
        if isinstance(error, shutil.Error):  # of a whole folder, a list: what the first file's says after its number
            finding = re.sub(r"^\[Errno \d+\] |: .*$", "", error.args[0][0][-1])
        raise ReportError(
            f"the report can't be kept in {folder} ({finding}): make room there, or use a checkout on a local disk "
            f"that you may write; the last report stays as it was"
        ) from error


@contextlib.contextmanager
def surroundings() -> Iterator[None]:
    """What kernels and Sphinx find: text is UTF-8, and their own folders can be written, and hold nothing of a user's.

    Else a home directory that can't be written would stop them, and start-up files would decide about a report.
    """
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as aside:
        fonts = str(ROOT / "_build" / "matplotlib")  # their list takes long where there are many, and is kept
        os.environ |= {"JUPYTER_RUNTIME_DIR": aside, "IPYTHONDIR": aside, "MPLCONFIGDIR": fonts, "PYTHONUTF8": "1"}
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


# ---------------------------------------------------------------- what is asked for


def find_chapters() -> dict[str, Chapter]:
    """The chapters by name, in the order of their numbers."""
    found = (read_chapter(path) for path in sorted((ROOT / "notebooks").glob("[0-9]*_*.ipynb")))
    chapters = {chapter.name: chapter for chapter in found}
    if not chapters:
        raise ReportError(f"no notebooks in {ROOT / 'notebooks'}: a report is made in a checkout of the project")
    return chapters


def read_chapter(path: Path) -> Chapter:
    try:
        notebook = nbformat.read(path, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError) as error:  # NotJSONError is a ValueError
        raise ReportError(f"{path} can't be read as a notebook ({first_line(error)})") from error
    return Chapter(path.stem.partition("_")[2], path, title_of(notebook, path.stem), declared(notebook, path))


def title_of(notebook: nbformat.NotebookNode, otherwise: str) -> str:
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    heading = re.search(r"^# +(.+)$", text, re.MULTILINE)
    return heading[1] if heading else otherwise


def declared(notebook: nbformat.NotebookNode, path: Path) -> frozenset[str]:
    """Names that the `parameters` cell assigns; none where there is no such cell."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    try:
        found = [study.assigned(cell.source) for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    except SyntaxError as error:
        raise ReportError(f"the parameters cell of {path} is not Python ({error.msg})") from error
    return frozenset().union(*found)


def chosen_chapters(found: dict[str, Chapter], names: Iterable[str] | None) -> list[Chapter]:
    """The chapters asked for, in the book's order."""
    wanted = set(found) if names is None else set(names)
    for name in sorted(wanted - set(found)):
        raise study.ParameterError(f"no chapter is called {name!r}: there are {', '.join(found)}")
    return [chapter for chapter in found.values() if chapter.name in wanted]


def checked_parameters(chapter: Chapter, profile: str, overrides: dict[str, Any]) -> dict[str, Any]:
    """What of profile and `overrides` the notebook declares; raises `ParameterError` if any of them can't be."""
    for experiment in chapter.experiments:
        study.settings(experiment, profile, **overrides)
    values = {"profile": profile, **overrides}
    return {name: value for name, value in values.items() if name in chapter.parameters}


def refuse_unread(overrides: dict[str, Any], chosen: list[Chapter]) -> None:
    read = frozenset().union(*(chapter.parameters for chapter in chosen))
    for name in overrides:
        if name not in read:
            names = ", ".join(chapter.name for chapter in chosen)
            raise study.ParameterError(f"no notebook of {names} has the parameter {name!r} in its parameters cell")


def check_listed(chosen: list[Chapter]) -> None:
    """A page that the table of contents does not list would be executed and then left out."""
    listed = set(toc_entries(ROOT / "book" / "_toc.yml"))
    for chapter in chosen:
        if chapter.source.stem not in listed:
            page = chapter.source.stem
            raise ReportError(f"{chapter.source.name} is not listed in book/_toc.yml: add `- file: {page}` to it")


def edition_name(profile: str, overrides: dict[str, Any]) -> str:
    """The name of an edition's folder: `demo`, or `demo-3fa9c1d2` where something was set beside the profile."""
    if not overrides:
        return profile
    return f"{profile}-{hashlib.sha256(json.dumps(overrides, sort_keys=True).encode()).hexdigest()[:8]}"


def as_command(profile: str, chapters: Iterable[str] | None, overrides: dict[str, Any]) -> str:
    """The command that makes the same again."""
    words = ["python", "-m", "kdlib", "report", "--profile", profile]
    for name in chapters or ():
        words += ["--chapter", name]
    for name, value in overrides.items():
        words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join(words)


# ---------------------------------------------------------------- runs and where they come from


def make_runs(chapter: Chapter, profile: str, given: dict[str, Any]) -> list[Run]:
    """Train what the chapter shows and the store lacks, here, where progress is seen, and not in the notebook."""
    overrides = {name: value for name, value in given.items() if name != "profile"}
    made: dict[str, Run] = {}
    for experiment in chapter.experiments:
        settings = study.settings(experiment, profile, **overrides)
        made |= {run.key: run for run in runs.ensure(study.CHAPTERS[experiment](settings), device=settings.device)}
    return list(made.values())


@contextlib.contextmanager
def colleague(profile: str, chosen: list[Chapter], overrides: dict[str, Any]) -> Iterator[None]:
    """A second process on the same list of runs, where each run keeps to one thread of the CPU.

    The locks of the run store share the work out; what fails over there is met again, and told, over here.
    """
    experiments = list(dict.fromkeys(name for chapter in chosen for name in chapter.experiments))
    asked = [study.settings(name, profile, **overrides) for name in experiments]
    if not asked or not all(s.device == "cpu" and s.dataset in SMALL_DATASETS for s in asked):
        yield
        return
    command = [sys.executable, "-m", "kdlib", "run", "--profile", profile]
    command += [word for name in experiments for word in ("--chapter", name)]
    command += [word for name, value in overrides.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def origin(made: Iterable[Run]) -> list[str]:
    """Where runs come from, in words: their data, devices, time in all and commits; nothing where there are none.

    It is read from the runs, so that the same runs give the same words whenever and wherever a page is made.
    """
    distinct = {run.key: run for run in made}.values()
    if not distinct:
        return []
    provenance = [run.metrics["provenance"] for run in distinct]
    networks = f"{len(distinct)} network{'s' if len(distinct) > 1 else ''} trained"
    return [
        f"data: {listed(run.spec.dataset for run in distinct)}",
        f"{networks} on: {listed(p['device'] for p in provenance)}",
        f"training time in all: {duration(sum(p['seconds'] for p in provenance))}",
        f"trained at commit: {listed(p['commit'] for p in provenance)}",
    ]


def listed(values: Iterable[str]) -> str:
    return ", ".join(sorted(set(values)))


def duration(seconds: float) -> str:
    """A length of time to two units at most.

    >>> duration(42.4), duration(150), duration(7380)
    ('42 s', '2 min 30 s', '2 h 3 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min"


def announcement(profile: str, origin: list[str], command: str) -> str:
    """The line, in HTML, above every page of a staged book: data and devices, the rest is at each chapter's foot."""
    facts = "".join(f" · {html.escape(fact)}" for fact in origin[:2])
    return f"<b>Edition {profile}</b>{facts} · <code>{html.escape(command)}</code>"


def page_foot(profile: str, origin: list[str], command: str) -> str:
    """The same in Markdown, of one chapter and at its end: it stays with the notebook when that is published."""
    facts = [f"Edition `{profile}`", *origin, f"made by `{command}`"]
    return f"*{'; '.join(facts)}.*"


# ---------------------------------------------------------------- the staged book


def stage(making: Path, last: Path, chosen: list[Chapter]) -> list[str]:
    """Copy `book/` without its chapters, and put the other chapters of this edition in; returns what is missing.

    A chapter that is not being made is taken from the last report of this edition, which was made with the same
    settings; one that was never made gets a page that says so and leads to those that are there.
    """
    book = ROOT / "book"
    shutil.rmtree(making, ignore_errors=True)
    shutil.copytree(book, making, ignore=shutil.ignore_patterns("_build", "[0-9]*.ipynb", ".ipynb_checkpoints"))
    missing = []
    chosen_names = {chapter.source.stem for chapter in chosen}
    titles = {chapter.source.stem: chapter.title for chapter in find_chapters().values()}
    for entry in toc_entries(book / "_toc.yml"):
        if entry in chosen_names or any((making / f"{entry}{suffix}").exists() for suffix in (".md", ".ipynb")):
            continue
        if (last / f"{entry}.ipynb").exists():
            shutil.copyfile(last / f"{entry}.ipynb", making / f"{entry}.ipynb")
        else:
            missing.append(entry)
    made = ", ".join(f"{{doc}}`{entry}`" for entry in titles if entry not in missing)
    for entry in missing:
        page = f"# {titles.get(entry, entry)}\n\nThis chapter has not been made in this edition, which has {made}.\n"
        (making / f"{entry}.md").write_text(page, encoding="utf-8")
    return missing


def toc_entries(path: Path) -> list[str]:
    """The pages of a table of contents in their order, without suffixes."""
    return [page.removesuffix(".md").removesuffix(".ipynb") for page in parse_toc_yaml(path)]


def write_config(making: Path, banner: str) -> None:
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    config.setdefault("html", {})["announcement"] = banner
    (making / "_config.yml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")


# ---------------------------------------------------------------- notebooks and pages


def execute_all(chosen: list[Chapter], given: dict[str, dict[str, Any]], making: Path, feet: dict[str, str]) -> None:
    """Execute chapters into `making`, two at a time: a notebook spends much of its time on one thread.

    Where one fails, those that have begun are executed to their end, and no other is begun.
    """
    failed = threading.Event()

    def unless_failed(chapter: Chapter) -> None:
        if failed.is_set():
            return
        try:
            execute_notebook(chapter, given[chapter.name], making / chapter.source.name, feet[chapter.name])
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(CHAPTERS_AT_ONCE) as pool:
        list(pool.map(unless_failed, chosen))  # raises what a chapter raised


def execute_notebook(chapter: Chapter, given: dict[str, Any], target: Path, foot: str) -> None:
    """Execute a chapter's notebook into `target`, in the project's folder, and add its foot."""
    started = time.monotonic()
    source = chapter.source.relative_to(ROOT)
    kept = f"the last report stays as it was, and {target} shows how far this one got"
    try:
        notebook = papermill.execute_notebook(
            chapter.source,
            target,
            given,
            kernel_name=KERNEL,
            language="python",
            cwd=ROOT,
            progress_bar=False,
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],  # else it warns of how it begins and ends
        )
    except PapermillExecutionError as error:
        fault = f"{error.ename}: {first_line(error.evalue)}"
        raise ReportError(f"{source} failed in its cell [{error.exec_count}] with {fault}; {kept}") from error
    except NoSuchKernel as error:
        raise ReportError(f"{source} could not be executed ({first_line(error)}); {kept}") from error
    except RuntimeError as error:  # nbclient's DeadKernelError, or jupyter_client's where it dies as it starts
        fault = f"the kernel of {source} ended ({first_line(error)}): its memory may have run out"
        raise ReportError(f"{fault}; {kept}") from error
    for text in tidied(notebook):
        print(f"{source}: {text.rstrip()}", file=sys.stderr)
    notebook.metadata["papermill"] = {"input_path": source.as_posix(), "parameters": given}
    notebook.cells.append(nbformat.v4.new_markdown_cell(foot, id="edition"))
    nbformat.write(notebook, target)
    print(f"{source}: executed in {time.monotonic() - started:.0f} s", flush=True)


def tidied(notebook: nbformat.NotebookNode) -> list[str]:
    """Take out what differs between two executions of the same; returns the warnings that cells wrote to stderr.

    Those are for whoever executes the notebook, not for the reader, and they name files of this machine.
    """
    warnings = []
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        tags = cell.metadata.get("tags", [])
        if "injected-parameters" in tags:
            cell.id = "given-parameters"
            cell.metadata["tags"] = [*tags, "hide-input"]
        if cell.cell_type == "code":
            warnings += [output.text for output in cell.outputs if output.get("name") == "stderr"]
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return warnings


def build_pages(book: Path, *, strict: bool) -> None:
    """Build the pages of a staged book; `strict` makes every warning an error."""
    # In a process of its own, since Sphinx changes the state of the one that it runs in.
    start = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(book)]
    flags = ["-W", "-n", "--keep-going"] if strict else []
    log = book.parent / "build.log"
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8", "errors": "replace"}
    done = subprocess.run([*start, *flags], cwd=ROOT, **piped)
    log.write_text(done.stdout, encoding="utf-8")
    if done.returncode:
        lines = done.stdout.splitlines()
        named = re.compile(r"WARNING|ERROR|^[\w.]*Error\b")
        first = next(filter(named.search, lines), "no warning is named")
        finding = without_colours(first)
        raise ReportError(f"the book could not be built ({finding}): see {log}; the last report stays as it was")


def replace(making: Path, book: Path) -> None:
    """Put what was made in the place of the last good report."""
    old = making.with_name("old")
    shutil.rmtree(old, ignore_errors=True)
    if book.exists():
        book.rename(old)
    making.rename(book)
    shutil.rmtree(old, ignore_errors=True)


def publish_chapters(staged: Path, chosen: list[Chapter]) -> None:
    """Copy executed notebooks into `book/`, each appearing by a rename; README.md shows what the front page found."""
    for chapter in chosen:
        target = ROOT / "book" / chapter.source.name
        with written_aside(target) as aside:
            shutil.copyfile(staged / target.name, aside)
        print(f"published {target.relative_to(ROOT)}", flush=True)
        if chapter.name == "intro":
            readme.write(ROOT)


def first_line(fault: object) -> str:
    return without_colours(next(iter(str(fault).strip().splitlines()), type(fault).__name__))


def without_colours(text: str) -> str:
    """Without the codes that colour a terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text).strip()
