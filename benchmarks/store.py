"""Reading what is there: `runs.ensure` on stored runs, every notebook executed from the published edition's, its pages.

python benchmarks/store.py runs                     # results/<processor>/store.json
python benchmarks/store.py notebooks [REPEATS]      # results/<processor>/notebooks.json
python benchmarks/store.py report [REPEATS]         # two notebooks at a time, and the pages: results/…/report.json
"""

import dataclasses
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import papermill
import timing
from timing import alternate, keep

from kdlib import runs, study
from kdlib.runs.store import write_json, write_sums

ROOT = Path(__file__).resolve().parents[1]
ASKED = 300
STORES = (300, 600, 1200)  # runs in the store when 100 of them are asked for


def published() -> list[runs.Spec]:
    """The specs of the published edition's runs, each once."""
    specs = [spec for chapter in study.CHAPTERS for spec in study.CHAPTERS[chapter](study.settings(chapter, "paper"))]
    return list({runs.key(spec): spec for spec in specs}.values())


def fill(store: Path, count: int) -> list[runs.Spec]:
    """A store of `count` runs: the published ones under new seeds, their files linked."""
    made = []
    for i, spec in zip(range(count), itertools.cycle(published())):
        copy = dataclasses.replace(spec, seed=1000 + i)
        folder = store / runs.key(copy)
        folder.mkdir()
        for file in runs.Run(spec).folder.iterdir():
            if file.name not in ("spec.json", "SHA256SUMS"):
                (folder / file.name).symlink_to(file)
        write_json(folder / "spec.json", runs.canonical(copy))
        write_sums(folder)
        made.append(copy)
    return made


def time_store() -> None:
    with tempfile.TemporaryDirectory() as folder:
        stores = {}
        for count in STORES:
            path = Path(folder) / str(count)
            path.mkdir()
            stores[count] = (path, fill(path, count))

        def ensure(count: int, asked: int) -> float:
            path, specs = stores[count]
            os.environ["KDLIB_RUNS"] = str(path)
            return timing.seconds(lambda: runs.ensure(specs[:asked]))

        sides = {"300 asked for": lambda: ensure(STORES[0], ASKED)}
        sides |= {f"100 of {count}": lambda count=count: ensure(count, 100) for count in STORES}
        found = alternate(sides)
    del os.environ["KDLIB_RUNS"]
    keep("store", runs=ASKED, seconds=found)


def execute(notebook: Path, folder: str) -> None:
    edition = ["-p", "profile", "paper"] if "profile" in papermill.inspect_notebook(str(notebook)) else []
    command = [sys.executable, "-m", "papermill", notebook, Path(folder) / notebook.name, *edition]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def execute_all(at_once: int) -> None:
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(at_once) as pool:
        list(pool.map(lambda notebook: execute(notebook, folder), notebooks))


def build_pages() -> float:
    """Seconds of a strict build of the published edition's pages, from a copy of their sources."""
    (ROOT / "_build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "_build") as folder:
        book = Path(folder) / "book"
        shutil.copytree(ROOT / "book", book, ignore=shutil.ignore_patterns("_build"))
        shutil.copyfile(ROOT / "_config.yml", book / "_config.yml")
        start = "from jupyter_book.cli.main import main; main()"
        command = [sys.executable, "-c", start, "build", book, "-W", "-n", "--keep-going"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return timing.seconds(lambda: subprocess.run(command, cwd=ROOT, check=True, **quiet))


def time_notebooks(repeats: int = timing.REPEATS) -> None:
    keep("notebooks", seconds=alternate({"all notebooks": lambda: timing.seconds(lambda: execute_all(1))}, repeats))


def time_report(repeats: int = timing.REPEATS) -> None:
    sides = {"notebooks": lambda: timing.seconds(lambda: execute_all(2)), "pages": build_pages}
    keep("report", seconds=alternate(sides, repeats))


if __name__ == "__main__":
    {"runs": time_store, "notebooks": time_notebooks, "report": time_report}[sys.argv[1]](*map(int, sys.argv[2:]))
