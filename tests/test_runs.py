"""Runs: their keys, made exactly once, the same after an interruption, and whole or refused."""

import dataclasses
import fcntl
import hashlib
import json
import lzma
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA
from small import AUGMENTED, FIRST_HALF, INTERRUPTED, RANDOM, RECIPE, ROOT, STUDENT, TEACHER
from torchvision.transforms import v2

from kdlib import KdlibError, data, distill, metrics, models, runs, speed, study, train
from kdlib.runs import Distilled, Run, RunError, Supervised, again, make
from kdlib.runs.store import FILES, write_json, write_sums
from kdlib.train import Recipe

KEYS = [runs.key(spec) for spec in (TEACHER, RANDOM, STUDENT)]


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty run store that does not exist yet."""
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store with a teacher, a random teacher and a student, to be copied."""
    folder = tmp_path_factory.mktemp("made") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDLIB_RUNS", str(folder))
        runs.ensure([TEACHER, RANDOM, STUDENT])
    return folder


@pytest.fixture
def filled(made, store):
    """A store of one's own that holds the three runs."""
    shutil.copytree(made, store)
    return store


@pytest.fixture
def no_training(monkeypatch):
    def refuse(*arguments, **named):
        raise AssertionError("something is trained")

    monkeypatch.setattr(make, "fit", refuse)


def files(folder):
    """Every file below a folder with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def scores(folder, spec):
    """What a run scored, without where and when."""
    content = json.loads((folder / runs.key(spec) / "metrics.json").read_text())
    return {part: value for part, value in content.items() if part != "provenance"}


def arrays(folder, spec, name="predictions.npz"):
    return dict(np.load(folder / runs.key(spec) / name))


def train_logits(folder, spec):
    with lzma.open(folder / runs.key(spec) / "train_logits.npy.xz") as file:
        return np.load(file)


def same_arrays(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


def refusal(*specs):
    """The sentence with which ensure refuses."""
    with pytest.raises(KdlibError) as fault:
        runs.ensure(specs)
    assert "\n" not in str(fault.value)
    return str(fault.value)


def record_fits(monkeypatch):
    """The titles under which networks are trained, and what they are taught by."""
    titles, signals, fit = [], [], train.fit

    def recorded(*arguments, **named):
        titles.append(named["title"])
        teacher = named.get("teacher")
        signals.append(teacher.logits if isinstance(teacher, speed.StoredTeacher) else teacher and teacher.network)
        return fit(*arguments, **named)

    monkeypatch.setattr(make, "fit", recorded)
    return titles, signals


# --- keys ---

PINNED = [
    (
        Supervised("cifar10", "resnet18", 64, Recipe(80, 512, 0.2, 5e-4, "bfloat16"), ("crop_flip", "cutmix"), 3),
        "cifar10-resnet18-crop_flip.cutmix-s3-",
        '{"augmentations": ["crop_flip", "cutmix"], "dataset": "cifar10", "kind": "teacher", "model": "resnet18", '
        '"recipe": {"batch_size": 512, "epochs": 80, "peak_lr": 0.2, "precision": "bfloat16", '
        '"weight_decay": 0.0005}, "seed": 3, "width": 64}',
        "d6016ba9",
    ),
    (
        Distilled("mnist", Supervised("mnist", "alexnet", 16, Recipe(0, 256, 1, 0, "float32")), "lenet", 64,
                Recipe(10, 256, 0.05, 5e-4, "float32", clip_norm=2.0), temperature=4, reduction="mean"),
        "mnist-lenet-none-of-alexnet-random-s0-",
        '{"dataset": "mnist", "kind": "student", "model": "lenet", "recipe": {"batch_size": 256, "clip_norm": 2.0, '
        '"epochs": 10, "peak_lr": 0.05, "precision": "float32", "weight_decay": 0.0005}, "reduction": "mean", '
        '"teacher": {"dataset": "mnist", "kind": "teacher", "model": "alexnet", "recipe": {"batch_size": 256, '
        '"epochs": 0, "peak_lr": 1.0, "precision": "float32", "weight_decay": 0.0}, "width": 16}, '
        '"temperature": 4.0, "width": 64}',
        "fce04d55",
    ),
]  # fmt: skip


@pytest.mark.parametrize("spec, readable, text, digest", PINNED, ids=["teacher", "student"])
def test_keys_stay_for_ever(spec, readable, text, digest):
    """Stored runs are found by them: a change here orphans every run that was ever made."""
    assert json.dumps(runs.canonical(spec), sort_keys=True) == text
    assert hashlib.sha256(text.encode()).hexdigest()[:8] == digest
    assert runs.key(spec) == readable + digest


def test_a_default_leaves_the_key_alone_and_any_other_value_does_not():
    plain = Distilled("digits", TEACHER, "lenet", 64, RECIPE)
    spelt = Distilled("digits", TEACHER, "lenet", 64, RECIPE, (), 0, 20, 0.5, "teacher_student", "batchmean")
    assert runs.key(plain) == runs.key(spelt)
    others = [
        Distilled("digits", RANDOM, "lenet", 64, RECIPE),
        Distilled("digits", TEACHER, "alexnet", 64, RECIPE),
        Distilled("digits", TEACHER, "alexnet", 4, RECIPE),
        Distilled("digits", TEACHER, "lenet", 64, Recipe(**{**vars(RECIPE), "momentum": 0.99})),
        Distilled("digits", TEACHER, "lenet", 64, Recipe(**{**vars(RECIPE), "clip_norm": None})),
        Distilled("digits", TEACHER, "lenet", 64, RECIPE, ("cutmix",)),
        Distilled("digits", TEACHER, "lenet", 64, RECIPE, seed=1),
        Distilled("digits", TEACHER, "lenet", 64, RECIPE, temperature=4),
        Distilled("digits", TEACHER, "lenet", 64, RECIPE, kd_weight=0.9),
        Distilled("digits", TEACHER, "lenet", 64, RECIPE, direction="student_teacher"),
        Distilled("digits", TEACHER, "lenet", 64, RECIPE, reduction="mean"),
    ]
    assert len({runs.key(spec) for spec in [plain, *others]}) == 12


def test_a_new_field_with_a_default_leaves_old_keys_alone():
    @dataclasses.dataclass(frozen=True)
    class Longer(Recipe):
        schedule: str = "triangle"

    old = Recipe(5, 256, 0.05, 5e-4, "float32")
    assert runs.canonical(Longer(5, 256, 0.05, 5e-4, "float32")) == runs.canonical(old)
    assert runs.canonical(Longer(5, 256, 0.05, 5e-4, "float32", schedule="flat")) != runs.canonical(old)


@pytest.mark.parametrize("name, whole", [("peak_lr", 1), ("weight_decay", 1), ("momentum", 0), ("clip_norm", 2)])
def test_whole_numbers_and_floats_that_are_equal_are_one_key(name, whole):
    first, second = (Recipe(**{**vars(RECIPE), name: value}) for value in (whole, float(whole)))
    assert first == second
    assert runs.key(Supervised("digits", "lenet", 64, first)) == runs.key(Supervised("digits", "lenet", 64, second))


# --- specs without meaning ---


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: Supervised("imagenet", "lenet", 64, RECIPE), "no data set is called 'imagenet'"),
        (lambda: Supervised("digits", "vgg", 64, RECIPE), "no model is called 'vgg'"),
        (lambda: Supervised("digits", "lenet", 64, RECIPE, ("cutmx",)), "no augmentation is called 'cutmx'"),
        (lambda: Supervised("digits", "lenet", 32, RECIPE), "lenet has one size only: width is 32"),
        (lambda: Supervised("digits", "resnet18", 0, RECIPE), "width is 0"),
        (lambda: Distilled("mnist", TEACHER, "lenet", 64, RECIPE), "a student of mnist can't learn from"),
        (lambda: Distilled("digits", TEACHER, "vgg", 64, RECIPE), "no model is called 'vgg'"),
        (lambda: Distilled("digits", TEACHER, "lenet", 64, RECIPE, ("mixup", "cutmix")), "mixes twice"),
        (lambda: Distilled("digits", TEACHER, "lenet", 64, RECIPE, temperature=0), "temperature is 0"),
        (lambda: Distilled("digits", TEACHER, "lenet", 64, RECIPE, kd_weight=2), "kd_weight is 2"),
        (lambda: Distilled("digits", TEACHER, "lenet", 64, RECIPE, direction="x"), "direction is 'x'"),
        (lambda: Distilled("digits", TEACHER, "lenet", 64, RECIPE, reduction="sum"), "reduction is 'sum'"),
        (lambda: dataclasses.replace(TEACHER, half=3), "half is 3: expected 1 or 2"),
        (lambda: dataclasses.replace(STUDENT, half=True), "half is True: expected 1 or 2"),
        (lambda: dataclasses.replace(STUDENT, half=1.0), "half is 1.0: expected 1 or 2"),
        (lambda: dataclasses.replace(STUDENT, half=1, held_out=100), "none are held out"),
        (lambda: dataclasses.replace(FIRST_HALF, held_out=100), "none are held out"),
    ],
)
def test_a_spec_without_meaning_is_refused_before_anything_is_trained(make, says):
    with pytest.raises(KdlibError) as fault:
        make()
    assert says in str(fault.value) and "\n" not in str(fault.value)


# --- made once ---


def test_a_run_is_its_files_and_nothing_else_remains(made):
    everywhere = {"spec.json", "metrics.json", "history.csv", "predictions.npz", "SHA256SUMS"}
    of_labels = {"latent.npz", "weights.safetensors"}
    for key, own in zip(KEYS, (of_labels | {"train_logits.npy.xz"}, of_labels, set()), strict=True):
        assert {path.name for path in (made / key).iterdir()} == everywhere | own
    assert sorted(path.name for path in made.iterdir() if not path.name.startswith(".")) == sorted(KEYS)
    for aside in (".making", ".checkpoints"):
        assert not (made / aside).exists() or not list((made / aside).iterdir())


def test_a_run_judged_on_images_held_out_keeps_its_curve_and_opens_no_test_set(filled, monkeypatch):
    spec = dataclasses.replace(STUDENT, held_out=300)

    def shut(*arguments):
        raise AssertionError("a test set is opened")

    monkeypatch.setattr(make, "evaluate", shut)
    (run,) = runs.ensure([spec])
    assert sorted(path.name for path in run.folder.iterdir()) == [
        "SHA256SUMS",
        "history.csv",
        "metrics.json",
        "spec.json",
    ]
    assert run.metrics["validation"]["accuracy"] == run.history.validation_accuracy.iloc[-1]
    assert runs.ensure([spec])[0].key == run.key  # it is whole
    with pytest.raises(RunError, match="held out"):
        again.again(run.key, "cpu")


def test_a_student_judged_on_images_held_out_learns_from_the_logits_of_the_others(filled, monkeypatch):
    _, signals = record_fits(monkeypatch)
    runs.ensure([dataclasses.replace(STUDENT, held_out=300)])
    _, rows = data.held_out(data.load("digits"), 300)
    assert torch.equal(signals[0], torch.as_tensor(Run(TEACHER).train_logits()[rows]))


@pytest.mark.parametrize("value", [-1, True, 0.5])
def test_a_number_of_held_out_images_that_has_no_meaning_is_refused(value):
    with pytest.raises(RunError, match="held_out"):
        dataclasses.replace(STUDENT, held_out=value)


def test_a_run_holds_what_the_chapters_read(filled, no_training):
    teacher, _, student = runs.ensure([TEACHER, RANDOM, STUDENT])
    digits = data.load("digits")
    for run in (teacher, student):
        held = run.predictions
        assert held["test_logits"].shape == (360, 10) and held["test_logits"].dtype == np.float16
        assert held["test_labels"].dtype == np.uint8 and np.array_equal(held["test_labels"], digits.test.labels)
        assert np.array_equal(held["shifted_labels"], digits.shifted.labels)
        assert held["class_gram"].shape == (10, 10) and held["class_gram"].dtype == np.float64
        assert held["embedding_dim"] == (16 if run is teacher else 84)
        assert run.history.epoch.tolist() == [1]
        for part in ("test", "shifted"):  # scored on what is stored, so that it can be scored again
            again = metrics.evaluate_logits(held[f"{part}_logits"], held[f"{part}_labels"])
            assert run.metrics[part] == pytest.approx(again)
        told = run.metrics["provenance"]
        assert told["dataset_checksum"] == digits.checksum and told["torch"] == torch.__version__
        assert told["seconds"] > 0
    assert teacher.latent["components"].dtype == np.float16
    assert len(teacher.latent["components"]) == len(teacher.latent["labels"])
    assert set(teacher.latent["labels"]) == {0, 1, 2, 3}
    logits = train_logits(filled, TEACHER)
    assert logits.shape == (len(digits.train.labels), 10) and logits.dtype == np.float16
    assert np.array_equal(teacher.train_logits(), logits.astype(np.float32))


def test_stored_runs_are_found_and_nothing_is_trained(filled, no_training):
    absent = dataclasses.replace(TEACHER, seed=5)
    assert [run.spec for run in runs.stored([STUDENT, absent, TEACHER])] == [STUDENT, TEACHER]
    assert not (filled / runs.key(absent)).exists()


def test_a_second_time_nothing_is_trained_or_written(filled, no_training):
    before = files(filled)
    found = runs.ensure([STUDENT, TEACHER, RANDOM, STUDENT])
    assert [run.key for run in found] == [KEYS[2], KEYS[0], KEYS[1], KEYS[2]]
    assert files(filled) == before


def test_teachers_come_first_each_once_and_results_in_the_order_asked_for(store, monkeypatch):
    titles, _ = record_fits(monkeypatch)
    asked = [STUDENT, Distilled("digits", RANDOM, "lenet", 64, RECIPE), STUDENT, TEACHER]
    found = runs.ensure(asked)
    assert [run.spec for run in found] == asked and all(run.exists() for run in found)
    assert len(titles) == len(set(titles)) == 4
    for spec in asked[:2]:
        assert titles.index(runs.key(spec.teacher)) < titles.index(runs.key(spec))


def test_an_existing_student_does_not_need_its_teacher(filled, no_training):
    shutil.rmtree(filled / KEYS[0])
    assert runs.ensure([STUDENT])[0].metrics["test"]


def test_the_same_spec_gives_the_same_run_anywhere(made, store):
    runs.ensure([STUDENT])
    for spec in (TEACHER, STUDENT):
        assert scores(store, spec) == scores(made, spec) and same_arrays(arrays(store, spec), arrays(made, spec))


def test_arms_of_a_seed_start_from_the_same_weights(store, monkeypatch):
    started = []
    fit = train.fit
    monkeypatch.setattr(
        make, "fit", lambda model, *rest, **named: started.append(model.state_dict()["head_layer.weight"].clone())
        or fit(model, *rest, **named)
    )  # fmt: skip
    runs.ensure([Supervised("digits", "lenet", 64, RECIPE, arm) for arm in ((), ("cutmix",))])
    runs.ensure([Supervised("digits", "lenet", 64, RECIPE, (), 1)])
    assert torch.equal(started[0], started[1]) and not torch.equal(started[0], started[2])


def test_finding_300_runs_takes_under_2_seconds(filled, no_training):
    specs = [Supervised("digits", "resnet18", 2, RECIPE, ("cutout",), seed) for seed in range(1, 151)]
    specs += [Distilled("digits", TEACHER, "lenet", 64, RECIPE, (), seed) for seed in range(1, 151)]
    for spec in specs:
        folder = filled / runs.key(spec)
        shutil.copytree(filled / KEYS[0 if isinstance(spec, Supervised) else 2], folder)
        write_json(folder / "spec.json", runs.canonical(spec))
        write_sums(folder)
    start = time.process_time()
    assert len(runs.ensure(specs)) == 300
    assert time.process_time() - start < 2


# --- several processes ---


def test_two_processes_make_each_run_once(tmp_path):
    settings = ["seeds=[0]", "augmentations=[none, cutout]", "teacher=lenet", "teacher_epochs=3", "device=cpu"]
    command = [sys.executable, "-m", "kdlib", "run", "--chapter", "teachers"]
    command += [part for setting in settings for part in ("--set", setting)]
    environment = os.environ | {"KDLIB_RUNS": str(tmp_path / "runs"), "OMP_NUM_THREADS": "1"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    both = [subprocess.Popen(command, cwd=ROOT, env=environment, **streams) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum(text.count(" epoch ") for text in said) == 2 * 3  # two runs of three epochs, wherever they were made
    assert all("teachers: 2 runs" in text for text in said)


@pytest.mark.parametrize("change", [{"reduction": "mean"}, {"temperature": 4.0}, {"model": "alexnet", "width": 16}])
def test_students_of_the_same_batches_share_their_teachers_passes(change):
    assert runs.passes_of(Run(dataclasses.replace(AUGMENTED, **change))) == runs.passes_of(Run(AUGMENTED))


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"augmentations": ("mixup",)},
        {"teacher": RANDOM},
        {"recipe": dataclasses.replace(RECIPE, batch_size=128)},
    ],
)
def test_students_of_other_batches_or_teachers_do_not(change):
    assert runs.passes_of(Run(dataclasses.replace(AUGMENTED, **change))) != runs.passes_of(Run(AUGMENTED))


def test_networks_without_passes_have_no_folder_for_them():
    assert runs.passes_of(Run(TEACHER)) is runs.passes_of(Run(STUDENT)) is None


def test_students_that_share_passes_are_made_after_one_another():
    one = [AUGMENTED, dataclasses.replace(AUGMENTED, seed=1)]
    other = [dataclasses.replace(spec, reduction="mean") for spec in one]
    specs = [TEACHER, one[0], STUDENT, one[1], *other]
    ordered = make.in_groups({runs.key(spec): Run(spec) for spec in specs})
    assert [run.spec for run in ordered.values()] == [TEACHER, one[0], other[0], STUDENT, one[1], other[1]]
    assert all(name == run.key for name, run in ordered.items())


def test_a_student_whose_passes_another_process_makes_is_put_off(store, monkeypatch):
    weaker, other = dataclasses.replace(AUGMENTED, reduction="mean"), dataclasses.replace(AUGMENTED, seed=1)
    pending = {runs.key(spec): Run(spec) for spec in (AUGMENTED, weaker, other, STUDENT)}
    monkeypatch.setattr(make, "make_run", lambda run, device: None)
    made = []
    (store / ".locks").mkdir(parents=True)
    with open(store / ".locks" / runs.key(AUGMENTED), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        while name := make.make_next(pending, "cpu"):
            made.append(pending.pop(name).spec)
    assert made == [other, STUDENT, weaker] and len(pending) == 1
    assert make.make_next(pending, "cpu") == runs.key(AUGMENTED)


def test_a_student_is_the_same_whether_or_not_another_shares_its_teachers_passes(filled, monkeypatch):
    weaker = dataclasses.replace(AUGMENTED, reduction="mean")
    runs.ensure([weaker])
    alone = arrays(filled, weaker)
    shutil.rmtree(filled / runs.key(weaker))
    asked = []
    read = speed.LiveTeacher.read
    monkeypatch.setattr(speed.LiveTeacher, "read", lambda self, epoch: asked.append(read(self, epoch)) or asked[-1])
    runs.ensure([AUGMENTED, weaker])
    first, second = asked
    assert first is None and second is not None
    assert same_arrays(arrays(filled, weaker), alone)
    assert not list((filled / ".passes").iterdir())


def test_what_another_process_is_making_is_waited_for(store, made, monkeypatch):
    (store / ".locks").mkdir(parents=True)
    lock = open(store / ".locks" / KEYS[0], "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    titles, _ = record_fits(monkeypatch)
    waits = []

    def the_other_finishes(seconds):
        waits.append(seconds)
        assert titles == [KEYS[1]]  # what is free was made meanwhile; the student waits for its teacher
        shutil.copytree(made / KEYS[0], store / KEYS[0])
        lock.close()

    monkeypatch.setattr(make.time, "sleep", the_other_finishes)
    found = runs.ensure([STUDENT, TEACHER, RANDOM])
    assert len(waits) == 1 and all(run.exists() for run in found)
    assert titles == [KEYS[1], KEYS[2]]


def test_what_another_process_gave_up_is_made(store, monkeypatch):
    (store / ".locks").mkdir(parents=True)
    lock = open(store / ".locks" / KEYS[1], "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    monkeypatch.setattr(make.time, "sleep", lambda seconds: lock.close())
    assert runs.ensure([RANDOM])[0].exists()


# --- interruption ---

KILLED_IN_EPOCH_3 = """
import os, signal, sys
import torch
from kdlib import runs, speed, train
torch.set_num_threads(1)
sys.path.insert(0, "tests")
from small import INTERRUPTED
speed.SECONDS_BETWEEN_CHECKPOINTS = 0
steps, augment = iter(range(2 * 5 + 2)), train.augment
def killed(*arguments):
    if next(steps, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    return augment(*arguments)
train.augment = killed
runs.ensure([INTERRUPTED])
"""


def test_a_run_killed_in_mid_epoch_resumes_to_the_same_numbers(store, tmp_path, monkeypatch, capsys):
    done = subprocess.run([sys.executable, "-c", KILLED_IN_EPOCH_3], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    key = runs.key(INTERRUPTED)
    assert not (store / key).exists() and (store / ".checkpoints" / f"{key}.pt").exists()
    runs.ensure([INTERRUPTED])
    assert capsys.readouterr().out.count(" epoch ") == 2  # the third and the fourth
    assert not (store / ".checkpoints" / f"{key}.pt").exists()

    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "straight"))
    runs.ensure([INTERRUPTED])
    assert scores(store, INTERRUPTED) == scores(tmp_path / "straight", INTERRUPTED)
    one, other = (arrays(folder, INTERRUPTED) for folder in (store, tmp_path / "straight"))
    assert same_arrays(one, other)
    one, other = (train_logits(folder, INTERRUPTED) for folder in (store, tmp_path / "straight"))
    assert np.array_equal(one, other)
    resumed, straight = (
        pd.read_csv(folder / key / "history.csv").drop(columns="seconds") for folder in (store, tmp_path / "straight")
    )
    pd.testing.assert_frame_equal(resumed, straight, check_exact=True)


@pytest.mark.parametrize("half", [1, 2])
def test_students_of_a_teacher_of_one_half_learn_what_it_says_of_the_images_that_they_see(store, monkeypatch, half):
    teacher = dataclasses.replace(TEACHER, half=half)
    seen = dataclasses.replace(STUDENT, teacher=teacher, half=half)
    _, shown = record_fits(monkeypatch)
    sets, fit = [], make.fit
    monkeypatch.setattr(make, "fit", lambda *given, **named: sets.append(given[1]) or fit(*given, **named))
    made = runs.ensure([teacher, seen, dataclasses.replace(seen, half=3 - half)])
    said, whole = torch.as_tensor(made[0].train_logits()), data.load("digits").train
    assert len(said) == len(whole.labels)  # of all images, those that the teacher has not seen among them
    halves = [data.halved(data.load("digits"), which)[1] for which in (half, half, 3 - half)]
    for trained_on, rows in zip(sets, halves, strict=True):
        assert trained_on.labels.equal(torch.as_tensor(whole.labels[rows]))
        assert trained_on.images.equal(torch.as_tensor(whole.images[rows]))
    assert shown[1].equal(said[halves[1]]) and shown[2].equal(said[halves[2]])
    assert all(set(run.metrics) == {"test", "shifted", "provenance"} for run in made)
    assert len({run.key for run in made}) == 3 and runs.find(made[2].key).spec == made[2].spec


@pytest.mark.parametrize("broken", ["fit", "evaluate", "write_json", "provenance", "write_packed", "write_sums"])
def test_a_run_that_fails_leaves_nothing_half_written(store, monkeypatch, broken):
    with monkeypatch.context() as patch:

        def fails(*arguments, **named):
            raise OSError(28, "No space left on device")

        patch.setattr(make, broken, fails)
        with pytest.raises((OSError, RunError), match="No space left on device"):
            runs.ensure([TEACHER])
    assert not (store / KEYS[0]).exists()
    for aside in (".making", ".checkpoints"):
        assert not list((store / aside).glob("*"))
    assert runs.ensure([TEACHER])[0].metrics["test"]


# --- damage ---


def flipped(content):
    """A digit is another one, as bits turn in a memory."""
    at = next(at for at in range(len(content) // 2, len(content)) if content[at : at + 1].isdigit())
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


DAMAGE = {
    "missing": lambda content: None,
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "garbage": lambda content: b"\x93\xff\x00garbage" * 20,
    "a digit": flipped,
    "longer": lambda content: content + b"\n",
}
PACKED = "train_logits.npy.xz"


def damage(path, how):
    content = how(path.read_bytes())
    path.unlink()
    if content is not None:
        path.write_bytes(content)


def check_refusal(folder, path, *specs):
    before = files(folder)
    message = refusal(*specs)
    assert str(path) in message and re.search(r"restore (it|that file), or ", message) and "delete" not in message
    assert files(folder) == before


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("name", [*FILES, "predictions.npz"])
@pytest.mark.parametrize("spec", [TEACHER, STUDENT], ids=["teacher", "student"])
def test_a_damaged_file_is_named_in_one_sentence(filled, no_training, spec, name, kind):
    path = filled / runs.key(spec) / name
    damage(path, DAMAGE[kind])
    check_refusal(filled, path, RANDOM, spec)
    with pytest.raises(RunError, match=str(path)):  # whoever reads it, checked before or not
        run = Run(spec)
        run.metrics, run.history, run.predictions, run.check()  # noqa: B018


@pytest.mark.parametrize("kind", [kind for kind in DAMAGE if kind != "missing"])
def test_damaged_checksums_are_named(filled, no_training, kind):
    path = filled / KEYS[0] / "SHA256SUMS"
    damage(path, DAMAGE[kind])
    message = refusal(TEACHER)
    assert str(filled / KEYS[0]) in message and "SHA256SUMS" in message


def test_a_run_without_checksums_is_not_taken_for_whole(filled, no_training):
    (filled / KEYS[0] / "SHA256SUMS").unlink()
    message = refusal(TEACHER)
    assert str(filled / KEYS[0]) in message and "python -m kdlib check --seal" in message


@pytest.mark.parametrize("name", [*FILES, "predictions.npz", "SHA256SUMS"])
def test_a_file_of_another_run_is_named(filled, no_training, name):
    shutil.copyfile(filled / KEYS[2] / name, filled / KEYS[0] / name)
    check_refusal(filled, filled / KEYS[0] / name, TEACHER)


def test_a_whole_folder_of_another_run_is_named(filled, no_training):
    shutil.rmtree(filled / KEYS[0])
    shutil.copytree(filled / KEYS[2], filled / KEYS[0])
    check_refusal(filled, filled / KEYS[0] / "SHA256SUMS", TEACHER)
    write_sums(filled / KEYS[0])
    check_refusal(filled, filled / KEYS[0] / "spec.json", TEACHER)


@pytest.mark.parametrize("name", ["metrics.json", "SHA256SUMS", None])
def test_a_folder_in_a_files_place_or_a_file_in_a_runs_is_named(filled, no_training, name):
    path = filled / KEYS[0] / (name or "")
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.mkdir() if name else path.write_text("a run")
    check_refusal(filled, path, TEACHER)


def test_the_checksums_are_those_of_coreutils(filled):
    command = ["sha256sum", "--check", "--strict", "--ignore-missing", "--quiet", "SHA256SUMS"]
    (filled / KEYS[0] / "weights.safetensors").unlink()
    for key, name in ((KEYS[0], "train_logits.npy.xz"), (KEYS[2], "predictions.npz")):
        listed = (filled / key / "SHA256SUMS").read_text()
        assert listed.startswith(f"# {key}\n") and name in listed
        assert subprocess.run(command, cwd=filled / key, capture_output=True).stderr == b""
        damage(filled / key / name, DAMAGE["longer"])
        assert subprocess.run(command, cwd=filled / key, capture_output=True).returncode == 1


@pytest.mark.parametrize("kind", [kind for kind in DAMAGE if kind != "missing"])
@pytest.mark.parametrize("name", ["latent.npz", PACKED])
def test_what_some_runs_lack_is_damaged_where_it_is_not_what_was_written(filled, no_training, name, kind):
    damage(filled / KEYS[0] / name, DAMAGE[kind])
    check_refusal(filled, filled / KEYS[0] / name, TEACHER)


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_teachers_damaged_logits_are_named_before_a_student_is_trained(filled, no_training, kind):
    path = filled / KEYS[0] / PACKED
    damage(path, DAMAGE[kind])
    assert str(path) in refusal(Distilled("digits", TEACHER, "lenet", 64, RECIPE, seed=0, temperature=2))


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_teachers_damaged_weights_are_named_before_an_augmented_student_is_trained(filled, no_training, kind):
    path = filled / KEYS[0] / "weights.safetensors"
    damage(path, DAMAGE[kind])
    assert str(path) in (said := refusal(AUGMENTED)) and "delete" not in said
    assert runs.ensure([STUDENT, TEACHER])  # who does not need them does not mind


def test_who_learns_nothing_new_from_a_network_does_not_mind_that_its_logits_are_missing(filled, no_training):
    """They are large, and committed of CIFAR-10's teachers alone."""
    (filled / KEYS[0] / PACKED).unlink()
    assert runs.ensure([STUDENT, TEACHER])


def test_only_pictures_of_the_latent_space_mind_that_its_components_are_missing(filled, no_training):
    path = filled / KEYS[0] / "latent.npz"
    path.unlink()
    (run,) = runs.ensure([TEACHER])
    with pytest.raises(KdlibError) as fault:
        run.latent  # noqa: B018
    assert str(path) in str(fault.value) and "latent space" in str(fault.value) and "\n" not in str(fault.value)


def test_archives_hold_no_pickles(filled, no_training):
    path = filled / KEYS[0] / "predictions.npz"
    np.savez_compressed(path, test_logits=np.array([print, len], dtype=object))
    write_sums(path.parent)
    with pytest.raises(KdlibError, match="predictions.npz can't be used"):
        runs.ensure([TEACHER])[0].predictions["test_logits"]  # noqa: B018


def test_a_run_is_begun_anew_where_its_checkpoint_is_damaged(store, capsys):
    checkpoint = store / ".checkpoints" / f"{KEYS[0]}.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"PK cut short")
    assert runs.ensure([TEACHER]) and f"{checkpoint} is not gone on from" in capsys.readouterr().out


# --- what can not be had ---


def test_a_device_that_is_not_there_is_refused_before_anything_is_written(store):
    for device in ("cuda:99", "nonsense", "meta", "mps", "cuda:x", "cpu:0", "cuda:-1"):
        with pytest.raises(RunError, match=f"device '{device}' can't be used here"):
            runs.ensure([TEACHER], device=device)
    assert not store.exists()


def test_missing_data_is_told_before_another_data_sets_run_is_trained(store, no_training, monkeypatch):
    load = data.load

    def absent(name):
        if name == "mnist":
            raise data.DataError("mnist is not here")
        return load(name)

    monkeypatch.setattr(data, "load", absent)
    assert refusal(TEACHER, Supervised("mnist", "lenet", 64, RECIPE)) == "mnist is not here"
    assert not store.exists()


def test_existing_runs_need_no_data_and_no_device(filled, no_training, monkeypatch):
    monkeypatch.setattr(data, "load", lambda name: pytest.fail("data are read"))
    assert runs.ensure([TEACHER, STUDENT], device="cuda:99")


def test_a_store_that_can_not_be_written_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "file"))
    assert str(tmp_path / "file") in refusal(RANDOM)


# --- teachers and their students ---


@pytest.mark.parametrize("targets", [name for name in distill.TARGETS if name != "logits"])
def test_a_student_learns_from_what_it_is_shown_of_its_teacher(filled, targets):
    """With held-out images, too, whose labels are not those of the whole set."""
    dataset = data.load("digits")
    for held_out in (0, 100):
        run = Run(dataclasses.replace(STUDENT, targets=targets, held_out=held_out))
        part, rows = data.held_out(dataset, held_out) if held_out else (dataset, slice(None))
        labels = torch.as_tensor(part.train.labels).long()
        logits = torch.as_tensor(Run(TEACHER).train_logits()[rows])
        shown = make.taught_by(run, "cpu", labels, None if held_out == 0 else rows)["teacher"].logits
        assert torch.equal(shown, distill.TARGETS[targets](logits, labels)) and not torch.equal(shown, logits)


@pytest.mark.parametrize(
    "fields, said",
    [({"targets": "labels"}, "targets is 'labels', it must be one of logits"),
     ({"targets": "shuffled", "augmentations": ("cutout",)}, "whose images are augmented can't learn from it")],
)  # fmt: skip
def test_a_student_that_cannot_be_shown_that_is_refused(fields, said):
    with pytest.raises(RunError, match=said):
        dataclasses.replace(STUDENT, **fields)


def test_students_read_the_float16_logits_on_disk(filled, monkeypatch):
    """Always, even right after the teacher was trained: so a student made later is the same student."""
    _, signals = record_fits(monkeypatch)
    runs.ensure([Distilled("digits", TEACHER, "lenet", 64, RECIPE, temperature=3)])
    stored = train_logits(filled, TEACHER)
    assert stored.dtype == np.float16 and signals[0].dtype == torch.float32
    assert torch.equal(signals[0], torch.tensor(stored.astype(np.float32)))


def test_a_student_of_logits_alone_is_the_same_student(filled):
    before = scores(filled, STUDENT)
    shutil.rmtree(filled / KEYS[2])
    (filled / KEYS[0] / "weights.safetensors").unlink()  # they are not committed
    runs.ensure([STUDENT])
    assert scores(filled, STUDENT) == before


def images(split):
    digits = data.load("digits")
    to_input = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(digits.mean, digits.std)])
    return to_input(torch.tensor(split.images).permute(0, 3, 1, 2))


def test_released_code_bug_weights_are_really_loaded(filled, monkeypatch):
    """The released code moved the teacher to the GPU and never loaded its weights: its students had a random one."""
    _, signals = record_fits(monkeypatch)
    runs.ensure([AUGMENTED, Distilled("digits", RANDOM, "lenet", 64, RECIPE, ("crop_flip",))])
    x = images(data.load("digits").train)
    with torch.no_grad():
        trained, random = (network.eval()(x).numpy() for network in signals)
    stored = train_logits(filled, TEACHER)
    np.testing.assert_allclose(trained, stored, rtol=2e-3, atol=2e-3)
    assert np.abs(random - stored).max() > 0.1
    np.testing.assert_allclose(random, make.untrained_logits(RANDOM, "cpu"), rtol=2e-3, atol=2e-3)


def test_what_a_random_teacher_says_of_the_training_images_is_made_from_its_seed(filled, monkeypatch):
    """The same logits as those of its stored weights, rounded to float16 as a trained teacher's, and computed once."""
    make.untrained_logits.cache_clear()
    _, signals = record_fits(monkeypatch)
    students = [Distilled("digits", RANDOM, "lenet", 64, RECIPE, temperature=t) for t in (5, 6)]
    uniform = study.uniform_teacher(study.settings("students", "demo"))
    of_uniform = Distilled("digits", uniform, "lenet", 64, RECIPE)
    runs.ensure([students[0], of_uniform, students[1]])  # another's in between are kept beside them
    assert make.untrained_logits.cache_info().misses == 2
    first, second = (signal for signal in signals if signal is not None and signal.any())
    assert torch.equal(first, second)
    with torch.no_grad():
        logits = Run(RANDOM).network().eval()(images(data.load("digits").train))
    assert torch.equal(first, first.half().float())
    torch.testing.assert_close(first, logits, rtol=2e-3, atol=2e-3)
    (filled / runs.key(RANDOM) / "weights.safetensors").unlink()
    shutil.rmtree(filled / runs.key(students[0]))
    make.untrained_logits.cache_clear()
    runs.ensure(students)  # neither its weights nor its logits are needed


def test_a_network_is_read_back_as_it_was_evaluated(filled):
    network = Run(TEACHER).network().eval()
    with torch.no_grad():
        logits = network(images(data.load("digits").test)).numpy()
    np.testing.assert_allclose(logits, arrays(filled, TEACHER)["test_logits"], rtol=2e-3, atol=2e-3)


def test_a_random_teacher_is_the_initial_network(filled):
    seed = train.derive(0, "initialisation")
    initial = models.build("resnet18", width=2, seed=seed).state_dict()
    assert all(torch.equal(value, initial[name]) for name, value in Run(RANDOM).network().state_dict().items())
    assert len(Run(RANDOM).history) == 0


def test_released_code_bug_validation_images_are_never_augmented(store, monkeypatch):
    """The released code's validation images went through Cutout where crop and flip were off."""
    digits, augmented = data.load("digits"), []
    augment = train.augment

    def recorded(images, *rest):
        augmented.append(images)
        return augment(images, *rest)

    monkeypatch.setattr(train, "augment", recorded)
    arms = [("cutout",), ("crop_flip", "mixup")]
    specs = [Supervised("digits", "lenet", 64, RECIPE, arm) for arm in arms]
    for run in runs.ensure(specs):
        network = run.network().eval()
        for part, split in (("test", digits.test), ("shifted", digits.shifted)):
            with torch.no_grad():
                clean = network(images(split)).numpy()
            np.testing.assert_allclose(run.predictions[f"{part}_logits"], clean, rtol=2e-3, atol=2e-3)
    seen = {image.numpy().tobytes() for batch in augmented for image in batch}
    assert len(seen) > 1000 and seen <= {image.tobytes() for image in digits.train.images}
    own = {image.tobytes() for image in digits.test.images} - {image.tobytes() for image in digits.train.images}
    assert len(own) > 300 and not seen & own


def test_released_code_bug_a_runs_seed_governs_every_draw(store, tmp_path, monkeypatch):
    """The released code seeded torch alone: initialisation, order, mixing and dropout here come from the spec."""
    spec = Supervised("digits", "alexnet", 2, RECIPE, ("crop_flip", "cutmix"), 11)
    for noise, folder in ((1, "first"), (2, "second")):
        np.random.seed(noise), torch.manual_seed(noise)
        monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / folder))
        runs.ensure([spec])
    assert scores(tmp_path / "first", spec) == scores(tmp_path / "second", spec)
    assert same_arrays(arrays(tmp_path / "first", spec), arrays(tmp_path / "second", spec))


# ---------------------------------------------------------------- people


def test_the_ceiling_of_people_is_computed_once_and_kept_for_who_has_no_data(store, monkeypatch):
    counts = np.random.default_rng(0).multinomial(50, np.ones(10) / 10, size=30)
    here = SimpleNamespace(human_counts=counts, checksum="abc")
    monkeypatch.setattr(data, "at_hand", lambda name: False)
    monkeypatch.setattr(data, "load", lambda name: pytest.fail("data were loaded"))
    assert runs.people_apart("cifar10") is None and not store.exists()
    monkeypatch.setattr(data, "at_hand", lambda name: True)
    monkeypatch.setattr(data, "load", lambda name: here)
    assert runs.people_apart("cifar10") == metrics.human_ceiling(counts)
    monkeypatch.setattr(data, "load", lambda name: pytest.fail("data were loaded"))
    assert runs.people_apart("cifar10") == metrics.human_ceiling(counts)
    path = store / "cifar10-people.json"
    kept = path.read_text()
    path.write_text(flipped(kept.encode()).decode())
    with pytest.raises(RunError, match="cifar10-people.json can't be used"):
        runs.people_apart("cifar10")
    path.write_text(kept)
    monkeypatch.setattr(metrics, "HUMAN_SMOOTHING", 0.02)
    with pytest.raises(RunError, match="smoothing 0.01, expected 0.02"):
        runs.people_apart("cifar10")
    path.write_text("{")
    with pytest.raises(RunError, match="cifar10-people.json can't be used"):
        runs.people_apart("cifar10")
    monkeypatch.undo()
    assert runs.people_apart("digits") is None


def test_the_kept_ceiling_of_people_is_that_of_their_votes(real_data, monkeypatch):
    monkeypatch.setenv("KDLIB_DATA", str(real_data))
    kept = json.loads((ROOT / "runs" / "cifar10-people.json").read_text())
    assert kept["human_ceiling"] == pytest.approx(metrics.human_ceiling(data.load("cifar10").human_counts), abs=1e-9)


# --- the committed runs ---


@pytest.fixture(scope="module")
def committed():
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout of git: what is committed is not known")
    listed = subprocess.run(["git", "ls-files", "runs"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.splitlines()]


def test_the_committed_runs_are_small_and_hold_no_weights(committed):
    assert sum(path.stat().st_size for path in committed) <= 110e6
    assert {path.suffix or path.name for path in committed} == {".json", ".csv", ".npz", ".xz", "SHA256SUMS"}


@pytest.mark.parametrize("profile", ["cpu", "paper"])
def test_new_students_can_learn_from_the_committed_teachers_of_cifar10(committed, profile):
    """Of the reduced ones, from those of the first seed."""
    teachers = study.teachers(study.settings("teachers", profile))
    folders = {spec: ROOT / "runs" / runs.key(spec) for spec in teachers}
    teaching = [folder for spec, folder in folders.items() if profile == "paper" or spec.seed == 0]
    assert len(teachers) == 2 * 5 and {folder / runs.TRAIN_LOGITS for folder in teaching} <= set(committed)
    # What the figure of the latent space, and the claim on it, need of them without the data.
    assert {folder / runs.LATENT for folder in folders.values()} <= set(committed)


def test_the_latent_space_keeps_distances_and_lies_around_its_centre():
    """Principal components, of embeddings far from the origin: without centring the first would be the mean itself."""
    digits = data.load("digits")
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(20, 20)))[0]
    embeddings = rng.normal(size=(len(digits.test.labels), 20)) * np.linspace(3, 0.1, 20) @ axes + 100 * axes[5]
    kept = make.principal_components(embeddings.astype(np.float32), digits)
    chosen = np.concatenate([np.flatnonzero(digits.test.labels == k) for k in (0, 1, 2, 3)])
    theirs = PCA(20).fit_transform(embeddings[chosen])
    assert np.abs(kept["components"].mean(axis=0)).max() < 0.01
    np.testing.assert_allclose(np.abs(kept["components"]), np.abs(theirs), atol=0.02)
    assert kept["labels"].tolist() == digits.test.labels[chosen].tolist()


@pytest.mark.parametrize("classes, dtype", [(10, np.uint8), (256, np.uint8), (257, np.uint16), (70_000, np.uint32)])
def test_labels_are_kept_in_the_least_type_that_holds_all_classes(classes, dtype):
    labels = np.array([0, classes - 1])
    kept = make.small(labels, SimpleNamespace(classes=range(classes)))
    assert kept.dtype == dtype and kept.tolist() == labels.tolist()
