"""The examples of the page "Extend it", as a reader would use them, and what a file of extensions may not do."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from kdlib import KdlibError, augment, data, distill, extensions, models, runs, study

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "book" / "extend.md").read_text()
EXAMPLES = re.findall(r"```\{code-block\} python\n:class: example\n(.*?)```", PAGE, re.DOTALL)
RANDAUGMENT, PERCEPTRON, MATCHED, FASHION = EXAMPLES
TINY = {"seeds": "[0]", "teacher_epochs": "1", "student_epochs": "1", "device": "cpu"}


@pytest.fixture(autouse=True)
def registries():
    """What a test adds is gone after it, and nothing is loaded that another test has loaded."""
    before = {kind: dict(registry) for kind, registry in extensions.REGISTRIES.items()}
    networks = dict(study.NETWORKS)
    extensions.execute.cache_clear()
    yield
    for kind, registry in extensions.REGISTRIES.items():
        registry.clear()
        registry.update(before[kind])
        extensions.ADDED[kind].clear()
    study.NETWORKS.clear()
    study.NETWORKS.update(networks)


@pytest.fixture
def extension(tmp_path, monkeypatch):
    """Write a file of extensions and have `KDLIB_EXTENSIONS` name it."""

    def write(source: str, name: str = "mine.py") -> Path:
        path = tmp_path / name
        path.write_text(source)
        monkeypatch.setenv("KDLIB_EXTENSIONS", str(path))
        extensions.execute.cache_clear()
        return path

    return write


def papermill(chapter: str, out: Path, environment: dict[str, str], **parameters: str) -> str:
    """Execute a chapter from the command line; returns the executed notebook's text."""
    (source,) = (ROOT / "notebooks").glob(f"*_{chapter}.ipynb")
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", str(source), str(out)]
    for name, value in (TINY | parameters).items():
        command += ["-y", f"{name}: {value}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment
    done = subprocess.run(command, cwd=out.parent, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return out.read_text()


# --- the examples ---


def test_an_augmentation_a_student_and_a_loss_are_in_the_chapter(extension, tmp_path):
    path = extension(RANDAUGMENT + PERCEPTRON + MATCHED)
    executed = papermill(
        "students",
        tmp_path / "out.ipynb",
        {"KDLIB_EXTENSIONS": path.name, "KDLIB_RUNS": str(tmp_path / "runs")},
        augmentations="[none, randaugment+cutmix]",
        students="[perceptron]",
        reductions="[batchmean, matched_logits]",
    )
    assert "randaugment + CutMix" in executed and "perceptron" in executed and "matched_logits" in executed
    names = sorted(path.name for path in (tmp_path / "runs").iterdir() if not path.name.startswith("."))
    assert len(names) == 3 + 1 + 2 * 3  # teachers and the random one, alone, and students of the three
    assert sum("digits-perceptron-none-of-resnet18-randaugment.cutmix-s0" in name for name in names) == 2


def write_idx(path: Path, array: np.ndarray) -> None:
    """The format of the files of MNIST and Fashion-MNIST."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def test_a_data_set_can_be_trained_on(extension, tmp_path):
    rng = np.random.default_rng(0)
    for prefix, count in (("train", 640), ("t10k", 200)):
        raw = tmp_path / "data" / "FashionMNIST" / "raw"
        labels = np.arange(count) % 10
        images = (20 * labels[:, None, None] + rng.integers(0, 40, (count, 28, 28))).clip(0, 255)
        write_idx(raw / f"{prefix}-images-idx3-ubyte", images)
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", labels)
    path = extension(FASHION)
    executed = papermill(
        "students",
        tmp_path / "out.ipynb",
        {
            "KDLIB_EXTENSIONS": str(path),
            "KDLIB_RUNS": str(tmp_path / "runs"),
            "KDLIB_DATA": str(tmp_path / "data"),
        },
        dataset="fashion",
        augmentations="[none, mixup]",
        students="[lenet]",
    )
    assert "fashion, test set" in executed


def test_randaugment_changes_each_image_in_its_own_way_and_only_as_the_generator_says(extension):
    extension(RANDAUGMENT)
    study.settings("teachers", augmentations=["randaugment"])
    images = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8).repeat(16, 1, 1, 1)
    labels = torch.arange(16)
    state = torch.get_rng_state()
    draw = augment.BEFORE_NORMALISING["randaugment"]
    first, kept = draw(images, labels, torch.Generator().manual_seed(1))
    again, _ = draw(images, labels, torch.Generator().manual_seed(1))
    other, _ = draw(images, labels, torch.Generator().manual_seed(2))
    assert first.dtype == torch.uint8 and first.shape == images.shape and torch.equal(kept, labels)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert len({image.numpy().tobytes() for image in first}) > 8
    assert torch.equal(torch.get_rng_state(), state)


def test_matched_logits_are_the_limit_of_high_temperatures(extension):
    extension(MATCHED)
    study.settings("students")
    torch.manual_seed(0)
    student, teacher = torch.randn(64, 10).double(), torch.randn(64, 10).double()
    settings = dict(temperature=1000.0, kd_weight=1.0)
    labels = torch.zeros(64, dtype=torch.int64)
    matched = distill.kd_loss(student, teacher, labels, **settings, reduction="matched_logits")
    softened = [
        settings["temperature"] ** 2
        * (p.softmax(1) * (p.log_softmax(1) - q.log_softmax(1))).sum(1).mean()
        for p, q in [(teacher / settings["temperature"], student / settings["temperature"])]
    ]
    assert matched == pytest.approx(float(softened[0]), rel=1e-2)


def test_the_perceptron_has_the_faces_of_every_network(extension):
    extension(PERCEPTRON)
    s = study.settings("students", students=["perceptron"])
    model = models.build("perceptron", width=s.width("perceptron"), classes=7)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert s.recipe("perceptron", 3).clip_norm == 2.0


# --- what a run is ---


def test_a_key_tells_the_version_of_the_file_and_others_stay(extension):
    plain = runs.key(study.teachers(study.settings("teachers"))[0])
    keys = []
    for source in (RANDAUGMENT, RANDAUGMENT + "\n# other", RANDAUGMENT):
        extensions.ADDED["before_normalising"].clear()
        augment.BEFORE_NORMALISING.pop("randaugment", None)
        extension(source)
        none, arm = study.teachers(study.settings("teachers", augmentations=["none", "randaugment"]))
        keys.append(runs.key(arm))
        assert runs.key(none) == plain and "extensions" not in runs.canonical(none)
        assert list(runs.canonical(arm)["extensions"]) == ["before_normalising randaugment"]
        assert runs.from_canonical(runs.canonical(arm)) == arm
        of = study.student(study.settings("students"), "lenet", arm, "mean")
        assert "extensions" not in runs.canonical(of) and "extensions" in runs.canonical(of)["teacher"]
    assert keys[0] == keys[2] != keys[1]


# --- what is refused ---

REFUSED = {
    "fails": ("1 / 0", "failed with ZeroDivisionError"),
    "not Python": ("x = =", "failed with SyntaxError"),
    "replaces": ("from kdlib import augment as a; a.AFTER_NORMALISING['cutmix'] = a.mixup", "gives 'cutmix' another"),
    "moves": ("from kdlib import augment as a; a.BEFORE_NORMALISING['cutmix'] = a.cutmix", "gives 'cutmix' another"),
    "takes away": ("from kdlib import models; del models.ARCHITECTURES['lenet']", "takes away 'lenet'"),
    "name": ("from kdlib import augment as a; a.AFTER_NORMALISING['My-Mix'] = a.mixup", "adds 'My-Mix'"),
    "reserved": ("from kdlib import augment as a; a.AFTER_NORMALISING['none'] = a.mixup", "adds 'none'"),
}


@pytest.mark.parametrize(("source", "finding"), REFUSED.values(), ids=REFUSED)
def test_a_faulty_file_is_one_sentence_and_leaves_nothing(source, finding, extension):
    before = {kind: dict(registry) for kind, registry in extensions.REGISTRIES.items()}
    path = extension(source)
    with pytest.raises(extensions.ExtensionError) as fault:
        study.settings("teachers")
    assert finding in str(fault.value) and str(path) in str(fault.value) and "\n" not in str(fault.value)
    assert {kind: dict(registry) for kind, registry in extensions.REGISTRIES.items()} == before


def test_a_missing_file_is_one_sentence_on_the_command_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "kdlib", "run", "--chapter", "teachers"],
        cwd=ROOT,
        env=os.environ | {"KDLIB_EXTENSIONS": str(tmp_path / "gone.py"), "KDLIB_RUNS": str(tmp_path / "runs")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "gone.py" in done.stderr


def test_a_network_without_sizes_is_refused(extension):
    extension("from kdlib import models; models.ARCHITECTURES['other'] = models.LeNet")
    with pytest.raises(KdlibError, match=r"no width, peak_lr.* for other: expected them in kdlib.study.NETWORKS"):
        study.settings("students", students=["other"])


@pytest.mark.parametrize(
    ("images", "labels", "finding"),
    [
        (np.zeros((4, 28, 28, 3), np.uint8), np.zeros(4, np.int64), "(4, 28, 28, 3)"),
        (np.zeros((4, 32, 32, 3), np.float32), np.zeros(4, np.int64), "float32"),
        (np.zeros((4, 32, 32, 3), np.uint8), np.zeros(5, np.int64), "(5,)"),
        (np.zeros((4, 32, 32, 3), np.uint8), np.array([0, 1, 2, 3]), "labels from 0 to 3: expected 0 to 1"),
    ],
)
def test_a_data_set_of_other_arrays_is_refused(images, labels, finding, monkeypatch, tmp_path):
    split = data.Split(images, labels)
    loader = dict(classes=("a", "b"), mean=(0.5,) * 3, std=(0.5,) * 3, train=split, test=split)
    monkeypatch.setitem(data.LOADERS, "other", lambda where: loader)
    monkeypatch.setenv("KDLIB_DATA", str(tmp_path))
    with pytest.raises(data.DataError) as fault:
        data.load("other")
    assert finding in str(fault.value) and "the train split of other" in str(fault.value)
