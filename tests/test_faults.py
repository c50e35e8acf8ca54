"""Machines unlike ours: each fault is one sentence, or it simply works; nothing is half-written."""

import ast
import contextlib
import errno
import fcntl
import importlib
import os
import re
import resource
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small import ASCII_ONLY, RANDOM, ROOT, STUDENT, TEACHER, ordinary_user, spelt_in_ascii

from kdlib import KdlibError, data, extensions, folder_from, metrics, models, runs, speed, study
from kdlib.__main__ import main
from kdlib.runs import Run, RunError, check, make, store

WRITTEN = [
    str(path.relative_to(ROOT))
    for folder in ("kdlib", "book/_ext", "benchmarks", "tests/storms")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
BINARY = ("tarfile.open", "lzma.open", "Image.open", "os.open")  # files that hold no text


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults") / "runs"
    runs.ensure([TEACHER], store=folder)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def sentence(call):
    with pytest.raises(KdlibError) as fault:
        call()
    assert "\n" not in str(fault.value) and "delete" not in str(fault.value)
    return str(fault.value)


def python(code, *options, **environment):
    """A process of its own; a variable that is None is not set."""
    given = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | environment
    given = {name: value for name, value in given.items() if value is not None}
    return subprocess.run([sys.executable, *options, "-c", code], env=given, capture_output=True, timeout=300)


# --- disks ---


@pytest.mark.parametrize("room", [4_000, 40_000])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(here, room):
    """A limit on the size of files stands for it: the write itself fails, up to that of the weights."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        said = sentence(lambda: runs.ensure([TEACHER]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert re.fullmatch(rf"{runs.key(TEACHER)} can't be kept in {here} \(File too large\): make room there.*", said)
    assert [path.name for path in here.iterdir() if path.name[0] != "."] == []
    assert not list((here / ".making").iterdir())
    assert runs.ensure([TEACHER])[0].predictions


@pytest.mark.parametrize("name", ["rename", "replace"])  # into the store; of the checkpoint
def test_what_one_leaves_who_is_killed_beside_a_rename_is_cleared_away_by_the_next(here, name):
    child = os.fork()
    if child == 0:
        speed.SECONDS_BETWEEN_CHECKPOINTS, real = 0, getattr(os, name)

        def last(source, target):
            if name == "rename":
                real(source, target)
            os._exit(9)

        setattr(os, name, last)
        try:
            runs.ensure([TEACHER])
        finally:  # not into what the parent has on its stack
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert check.walk(here).left_over and Run(TEACHER).exists() == (name == "rename")
    runs.ensure([TEACHER])
    assert not check.walk(here).left_over and not check.walk(here).faults


def test_a_store_that_can_only_be_read_serves_what_is_stored_and_says_what_it_cannot_keep(made, tmp_path):
    shutil.copytree(made, tmp_path / "runs")
    for path in (tmp_path / "runs").glob("*/"):
        path.chmod(0o555)
    (tmp_path / "runs").chmod(0o555)
    with ordinary_user(tmp_path / "runs"):
        assert runs.ensure([TEACHER], store=tmp_path / "runs")[0].metrics
        said = sentence(lambda: runs.ensure([RANDOM], store=tmp_path / "runs"))
    assert "Permission denied" in said and "set KDLIB_RUNS to a folder" in said


def test_what_people_say_is_computed_each_time_where_it_can_not_be_kept(here, monkeypatch):
    counts = np.random.default_rng(0).multinomial(50, np.ones(10) / 10, size=30)
    monkeypatch.setattr(data, "at_hand", lambda name: True)
    monkeypatch.setattr(data, "load", lambda name: SimpleNamespace(human_counts=counts, checksum="abc"))
    expected = metrics.human_ceiling(counts)
    here.mkdir(mode=0o555)
    with ordinary_user(here):
        assert runs.people_apart("cifar10") == expected and not list(here.iterdir())


def test_a_file_that_may_not_be_read_is_not_called_damaged(made, tmp_path):
    shutil.copytree(made, tmp_path / "runs")
    path = tmp_path / "runs" / runs.key(TEACHER) / "metrics.json"
    path.chmod(0)
    with ordinary_user(tmp_path / "runs"):
        said = sentence(lambda: runs.ensure([TEACHER], store=tmp_path / "runs"))
    assert said == f"{path} can't be read here (Permission denied): see to that, or set KDLIB_RUNS to another store"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_one_sentence(here, monkeypatch, number):
    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    said = sentence(lambda: runs.ensure([RANDOM]))
    assert said.startswith(f"runs can't be locked in {here} ({os.strerror(number)}): set KDLIB_RUNS to a folder on")
    assert not Run(RANDOM).exists()


def test_a_file_system_that_knows_of_no_locks_at_all_makes_each_run_or_says_so(here, monkeypatch):
    """ENOSYS: filelock takes another kind of lock by itself, in the versions that know one."""

    def refuse(*arguments):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with contextlib.suppress(RunError):
        runs.ensure([RANDOM])
        assert Run(RANDOM).metrics


def test_weights_are_read_without_mapping_them_into_memory(made, monkeypatch):
    monkeypatch.setattr(torch.UntypedStorage, "from_file", lambda *a, **b: pytest.fail("mapped"))
    monkeypatch.setattr(store.safetensors, "safe_open", lambda *a, **b: pytest.fail("mapped"))
    assert isinstance(Run(TEACHER, made).network(), models.ResNet18)


# --- folders ---


def test_a_data_folder_whose_parent_may_not_be_read_is_one_sentence(tmp_path, monkeypatch):
    importlib.import_module("torchvision.datasets.mnist")  # before: others may not read the libraries of root's Python
    (tmp_path / "shut").mkdir(mode=0)
    monkeypatch.setenv("KDLIB_DATA", str(tmp_path / "shut" / "data"))
    with ordinary_user():
        for name in ("cifar10", "mnist"):
            assert "Permission denied" in sentence(lambda name=name: data.load(name))


def test_data_that_may_not_be_read_are_not_called_damaged(tmp_path, monkeypatch):
    path = tmp_path / "cifar10.npz"
    path.write_bytes(b"whole")
    path.chmod(0)
    monkeypatch.setenv("KDLIB_DATA", str(tmp_path))
    with ordinary_user(tmp_path):
        assert sentence(lambda: data.load("cifar10")).startswith(f"{path} can't be read here (Permission denied)")


def test_a_data_folder_without_locks_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("KDLIB_DATA", str(tmp_path))

    def refuse(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert os.strerror(errno.ENOLCK) in sentence(lambda: data.load("cifar10"))


def test_without_a_home_what_needs_one_is_one_sentence_and_the_rest_works(monkeypatch):
    def nobody(path):
        return path

    monkeypatch.setattr(os.path, "expanduser", nobody)  # no HOME, and no entry in the list of users
    for name in ("KDLIB_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    said = sentence(data.folder)
    assert said == "~/.cache/kdlib needs a home directory, and there is none: set KDLIB_DATA to a folder"
    monkeypatch.setenv("KDLIB_RUNS", "~/runs")
    assert "set KDLIB_RUNS to a folder" in sentence(runs.default_store)
    monkeypatch.setenv("KDLIB_EXTENSIONS", "~/mine.py")
    assert sentence(extensions.load_extensions).startswith("KDLIB_EXTENSIONS has a ~")
    assert data.load("digits")


def test_a_home_that_is_not_there_stops_nobody(tmp_path):
    code = f"from kdlib.__main__ import main; raise SystemExit(main({TINY!r}))"
    done = python(code, HOME="/nonexistent", XDG_RUNTIME_DIR="/nonexistent", KDLIB_RUNS=str(tmp_path), KDLIB_DATA=None)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("variable, named", [("KDLIB_RUNS", runs.default_store), ("KDLIB_DATA", data.folder)])
def test_a_folder_is_the_same_whoever_names_it_from_wherever(tmp_path, monkeypatch, variable, named):
    monkeypatch.setenv(variable, "mine/of today")
    monkeypatch.chdir(tmp_path)
    assert named() == ROOT / "mine" / "of today" == folder_from(variable, "other")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(variable, "~/mine")
    assert named() == tmp_path / "mine"


# --- letters ---


def opened_otherwise(source):
    """The calls that open a text file, and do not say that it is UTF-8."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    opening = [call for call in calls if re.search(r"(^|\.)(open|read_text|write_text)$", ast.unparse(call.func))]
    texts = [ast.unparse(call) for call in opening if ast.unparse(call.func) not in BINARY]
    return [text for text in texts if "encoding='utf-8'" not in text and not re.search(r"'[rwax]b'", text)]


TINY = ["run", "--profile", "demo", "--chapter", "teachers", "--set", "seeds=[0]", "--set", "augmentations=[none]"]
TINY += ["--set", "teacher=lenet", "--set", "teacher_epochs=1", "--set", "device=cpu"]


@spelt_in_ascii
def test_a_locale_that_is_not_utf8_serves_as_well(tmp_path):
    code = f"from kdlib.__main__ import main; raise SystemExit(main({TINY!r}) or main(['check', '--seal']))"
    ascii_only = ASCII_ONLY | {"PYTHONIOENCODING": None}
    done = python(code, "-X", "utf8=0", KDLIB_RUNS=str(tmp_path / "Läufe"), **ascii_only)
    assert done.returncode == 0 and b"1 of them whole" in done.stdout, done.stderr
    code = r"from kdlib.__main__ import main; main(['run', '--set', 'dataset=\u2026'])"
    done = python(code, "-X", "utf8=0", **ascii_only)
    assert b"kdlib: dataset is '?'" in done.stderr


@pytest.mark.parametrize("name", WRITTEN)
def test_every_text_file_is_opened_as_utf8(name):
    assert opened_otherwise((ROOT / name).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "call", ["path.read_text()", "path.write_text(x)", "open(path)", "path.open('w')", "open(p, 'a')"]
)
def test_a_text_file_that_is_opened_in_a_machines_own_letters_is_noticed(call):
    assert opened_otherwise(f"print({call})") == [call]


# --- GPUs ---


@pytest.mark.parametrize(
    "capability, triton, expected",
    [((6, 1), True, "capability is below 7.0"), ((9, 0), False, "Triton is not installed"), ((9, 0), True, None)],
)
def test_a_gpu_that_can_not_run_compiled_networks_runs_them_as_they_are(monkeypatch, capability, triton, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(speed.importlib.util, "find_spec", lambda name: triton or None)
    speed.uncompiled.cache_clear()
    why = speed.uncompiled("cuda")
    speed.uncompiled.cache_clear()
    assert why is expected is None or expected in why


def test_networks_that_are_not_compiled_are_told_of_once_and_in_the_provenance(monkeypatch, capsys):
    monkeypatch.setattr(speed, "uncompiled", lambda device: "uncompiled, as it is an old one")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GTX 1080")
    monkeypatch.setattr(make, "precision_on", lambda device, precision: "float32")
    make.check_device("cpu")
    assert capsys.readouterr().out == "cpu: networks run uncompiled, as it is an old one\n"
    told = make.provenance(STUDENT, data.load("digits"), "cuda:0", 1.0)
    assert (told["device"], told["compiled"], told["precision"]) == ("GTX 1080", False, "float32")
    model = models.build("lenet")
    assert speed.compiled(model) is model


@pytest.mark.parametrize("device", ["mps", "meta", "cuda:x", "cuda:", "gpu", "cpu:0", "auto ", 0])
def test_a_device_that_networks_are_not_trained_on_is_refused(device):
    with pytest.raises(study.ParameterError, match="expected auto, cpu, cuda or cuda:0"):
        study.settings("teachers", device=device)


def test_the_advice_is_never_to_delete_a_run():
    for path in (ROOT / "kdlib" / "runs").glob("*.py"):
        for advice in re.findall(r"[^.\n]*\bdelete\b[^\n]*", path.read_text(encoding="utf-8")):
            assert "compute it again" in advice or "it can be deleted" in advice or "Nothing is" in advice, advice


def test_a_fault_ends_the_command_with_a_status(here, capsys, monkeypatch):
    monkeypatch.setattr(make, "fit", lambda *a, **b: (_ for _ in ()).throw(RunError("no room")))
    assert main(TINY) == 2 and capsys.readouterr().err == "kdlib: no room\n"
