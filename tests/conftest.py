"""Fixtures shared by the tests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

# Of every process that a test starts: tests run two at a time, and threads that wait for each other take the time of
# both. Read once, when PyTorch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from filelock import FileLock
from small import copy_of, made_once

ROOT = Path(__file__).parents[1]
for name in ("KDLIB_RUNS", "KDLIB_EXTENSIONS"):  # of whoever runs the tests
    os.environ.pop(name, None)
UNPACK = ROOT.parent / "shared" / "data" / "unpack.py"


@pytest.fixture(scope="session")
def real_data(tmp_path_factory):
    """A folder with the real data files: the one KDLIB_TEST_DATA names, or one unpacked from ../shared/data."""
    if named := os.environ.get("KDLIB_TEST_DATA"):
        yield Path(named)
        return
    if not UNPACK.exists():
        pytest.skip("no real data: KDLIB_TEST_DATA is not set and there is no ../shared/data/unpack.py")
    unpacked = tmp_path_factory.mktemp("data")
    subprocess.run([sys.executable, UNPACK, unpacked], check=True, stdout=subprocess.DEVNULL)
    yield unpacked
    shutil.rmtree(unpacked)  # 250 MB, which pytest would keep for three sessions


@pytest.fixture(scope="module")
def made(request, tmp_path_factory):
    """A store with the runs that a file of tests lists as SPECS."""
    return made_once(tmp_path_factory, request.module.SPECS)


@pytest.fixture
def store(made, tmp_path, monkeypatch):
    """A copy of it, the default store while a test lasts."""
    return copy_of(made, tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the published edition's pages, built once as its readers build it, but not within the checkout."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # a folder of its own within that of the session
        shared = shared.parent
    with FileLock(shared / "site.lock"):
        if not (shared / "site").exists():
            built_site(tmp_path_factory.mktemp("checkout")).rename(shared / "site")
    return shared / "site"


def built_site(copy):
    for path in ROOT.iterdir():
        if path.name in ("book", "_config.yml"):
            (shutil.copytree if path.is_dir() else shutil.copy)(path, copy / path.name)
        elif path.name not in ("_build", "_toc.yml", ".git", ".venv"):
            (copy / path.name).symlink_to(path)
    (copy / "_toc.yml").symlink_to("book/_toc.yml")
    shutil.rmtree(copy / "book" / "_build", ignore_errors=True)  # of an earlier layout, or of somebody's try
    # As the command of this environment, whether or not that is activated; Sphinx changes the process it runs in.
    start = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    command = [*start, "build", "book", "-W", "-n", "--keep-going"]
    done = subprocess.run(command, cwd=copy, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        pytest.fail(f"jupyter-book build book -W -n --keep-going ended with {done.returncode}:\n{done.stdout[-5000:]}")
    return copy / "_build" / "html"


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Small tensors are slower on two threads than on one, by far where the processor is shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
