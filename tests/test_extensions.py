"""The examples of the page "Extend it", as a reader would use them, and what a file of extensions may not do."""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from kdlib import KdlibError, augment, data, distill, extensions, models, runs, speed, study, train

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "book" / "extend.md").read_text()
EXAMPLES = re.findall(r"```\{code-block\} python\n:class: example\n(.*?)```", PAGE, re.DOTALL)
RANDAUGMENT, MIXED, PERCEPTRON, MATCHED, FASHION = EXAMPLES
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


def test_torchvisions_cutmix_is_trained_with_as_only_the_generator_says(extension, tmp_path):
    extension(MIXED)
    study.settings("teachers", augmentations=["their_cutmix"])
    mix, images, labels = augment.AFTER_NORMALISING["their_cutmix"], torch.rand(16, 3, 32, 32), torch.arange(16) % 10
    state = torch.get_rng_state()
    (first, shares), (again, _) = (mix(images, labels, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again) and not torch.equal(first, images) and torch.equal(torch.get_rng_state(), state)
    assert torch.allclose(shares.sum(1), torch.ones(16)) and shares.shape == (16, 10)
    with pytest.raises(augment.AugmentError):
        study.settings("teachers", augmentations=["their_cutmix+mixup"])
    recipe = runs.Recipe(1, 256, 0.05, 5e-4, "float32")
    (made,) = runs.ensure([runs.Supervised("digits", "lenet", 64, recipe, ("their_cutmix",))], store=tmp_path)
    assert made.history.loss.item() < 3 and "their_cutmix" in made.key


def test_matched_logits_are_the_limit_of_high_temperatures(extension):
    extension(MATCHED)
    study.settings("students")
    torch.manual_seed(0)
    student, teacher = torch.randn(64, 10).double(), torch.randn(64, 10).double()
    settings = dict(temperature=1000.0, kd_weight=1.0)
    labels = torch.zeros(64, dtype=torch.int64)
    matched = distill.kd_loss(student, teacher, labels, **settings, reduction="matched_logits")
    softened = [
        settings["temperature"] ** 2 * (p.softmax(1) * (p.log_softmax(1) - q.log_softmax(1))).sum(1).mean()
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
    "a control": ("from kdlib import augment as a; a.AFTER_NORMALISING['uniform'] = a.mixup", "adds 'uniform'"),
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


# --- what an extension returns ---

KD = train.Distillation(temperature=20.0, kd_weight=0.5, direction="teacher_student", reduction="batchmean")


def fitted(monkeypatch, function, *, batch_size=10, model="lenet", registry=augment.AFTER_NORMALISING, **asked):
    """The history of an epoch on some digits under an augmentation called "mine"."""
    monkeypatch.setitem(registry, "mine", function)
    digits = data.load("digits")
    images = train.to_device(digits.train.images[:40], digits.train.labels[:40], digits.mean, digits.std, "cpu")
    recipe = train.Recipe(1, batch_size, 0.05, 5e-4, "float32")
    network = models.build(model, width=64) if isinstance(model, str) else model
    return train.fit(network, images, recipe, augmentations=("mine",), **asked).iloc[0]


def one_hot(labels):
    return torch.nn.functional.one_hot(labels, 10)


def half_each(labels):
    """Each image's label and the one of the image at the other end of the batch, in any of the forms of labels."""
    return labels, labels.flip(0)


SAME = {
    "one-hot": (lambda y: one_hot(y), lambda y: y),
    "one-hot in half precision": (lambda y: one_hot(y).half(), lambda y: y),
    "a number for a share": (lambda y: (*half_each(y), 0.25), lambda y: (*half_each(y), torch.tensor(0.25))),
    "a list": (lambda y: [*half_each(y), 1], lambda y: (*half_each(y), torch.tensor(1.0))),
    "a share an image": (
        lambda y: (*half_each(y), torch.linspace(0.6, 0.9, len(y))),
        lambda y: (torch.linspace(0.6, 0.9, len(y))[:, None] * one_hot(y))
        + (1 - torch.linspace(0.6, 0.9, len(y)))[:, None] * one_hot(y.flip(0)),
    ),
    "soft labels of two sources": (
        lambda y: (one_hot(y), one_hot(y.flip(0)), 0.75), lambda y: (*half_each(y), torch.tensor(0.75)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("taught", [False, True])
@pytest.mark.parametrize("batch_size", [10, 20])
@pytest.mark.parametrize("given, same", SAME.values(), ids=SAME)
def test_labels_that_say_the_same_train_the_same(monkeypatch, given, same, batch_size, taught):
    asked = {} if not taught else {"teacher": speed.LiveTeacher(models.build("lenet", seed=1)), "distillation": KD}
    one, other = (
        fitted(monkeypatch, lambda x, y, draw, form=form: (x, form(y)), batch_size=batch_size, **asked)
        for form in (given, same)
    )
    assert one.loss == pytest.approx(other.loss, rel=1e-6) and one.accuracy == other.accuracy


def test_a_share_an_image_weighs_each_image(monkeypatch):
    """By hand, on one batch: lam_i * CE(y_i) + (1 - lam_i) * CE(y_-i), and accuracy by the first label."""
    lam = torch.rand(40, generator=torch.Generator().manual_seed(3))
    got = []

    def mine(x, y, draw):
        got.append((x, y))
        return x, (y, y.flip(0), lam)

    model = models.build("lenet", seed=0)
    row = fitted(monkeypatch, mine, batch_size=40, model=models.build("lenet", seed=0))
    x, y = got[-1]
    with torch.no_grad():
        log_p = model(x).log_softmax(1)
    rows = torch.arange(40)
    expected = -(lam * log_p[rows, y] + (1 - lam) * log_p[rows, y.flip(0)]).mean()
    assert row.loss == pytest.approx(float(expected), rel=1e-5)
    assert row.accuracy == pytest.approx(float((log_p.argmax(1) == y).float().mean()))


@pytest.mark.parametrize("of", [v2.MixUp(num_classes=10), v2.CutMix(num_classes=10)], ids=["MixUp", "CutMix"])
def test_torchvisions_mixing_serves_as_it_is(monkeypatch, of):
    assert fitted(monkeypatch, lambda x, y, draw: of(x, y)).loss < 3


WRONG = {
    "nothing": (lambda x, y: None, "it returned NoneType, expected images and labels"),
    "images alone": (lambda x, y: x, "it returned Tensor, expected images and labels"),
    "another type of images": (lambda x, y: (x.double(), y), "returned images of torch.float64 (10, 3, 32, 32)"),
    "fewer images": (lambda x, y: (x[1:], y[1:]), "returned images of torch.float32 (9, 3, 32, 32)"),
    "fewer labels": (lambda x, y: (x, y[1:]), "returned labels of torch.int64 (9,): expected int64 (10,), or shares"),
    "labels as numbers": (lambda x, y: (x, y.float()), "returned labels of torch.float32 (10,)"),
    "no class": (lambda x, y: (x, y + 10), "returned labels from 10 to 19: expected 0 to 9"),
    "other classes": (lambda x, y: (x, torch.ones(10, 7) / 7), "returned labels of torch.float32 (10, 7)"),
    "no shares": (lambda x, y: (x, 2 * one_hot(y)), "returned soft labels that are no shares"),
    "not a number": (lambda x, y: (x, one_hot(y) * torch.nan), "returned soft labels that are no shares"),
    "two sources, no share": (lambda x, y: (x, (y, y)), "failed with ValueError"),
    "a share of 2": (lambda x, y: (x, (y, y, 2.0)), "returned a share of shape ()"),
    "a column of shares": (lambda x, y: (x, (y, y, torch.rand(10, 1))), "returned a share of shape (10, 1)"),
    "a fault": (lambda x, y: (x, y / 0 + x), "failed with RuntimeError"),
}


@pytest.mark.parametrize("function, says", WRONG.values(), ids=WRONG)
def test_what_an_augmentation_returns_is_checked_before_training(monkeypatch, function, says):
    with pytest.raises(augment.AugmentError) as fault:
        fitted(monkeypatch, lambda x, y, draw: function(x, torch.arange(10)))
    assert "the augmentation 'mine' " in str(fault.value) and says in str(fault.value)
    assert "\n" not in str(fault.value)


def test_an_augmentation_that_works_in_place_leaves_the_training_images(monkeypatch):
    before = data.load("digits").train.images.copy()
    fitted(monkeypatch, lambda x, y, draw: (x.zero_(), y), registry=augment.BEFORE_NORMALISING)
    assert np.array_equal(data.load("digits").train.images, before)


class Wrong(models.Classifier):
    def __init__(self, returns):
        super().__init__(3, 10)
        self.returns = returns

    def penultimate(self, x):
        return self.returns(x)

    def head(self, features):
        return features


@pytest.mark.parametrize(
    "returns, says",
    [
        (lambda x: 1 / 0 if x is None else x.view(-1, 7), "the network Wrong failed with RuntimeError"),
        (lambda x: x, "returned logits of torch.float32 (2, 3, 32, 32) for two images"),
        (lambda x: x.mean((2, 3)).double(), "returned logits of torch.float64 (2, 3)"),
        (lambda x: x.mean((2, 3)), "the network Wrong has 3 classes, and there are labels up to 9"),
    ],
)
def test_what_a_network_returns_is_checked_before_training(monkeypatch, returns, says):
    with pytest.raises(train.TrainingError) as fault:
        fitted(monkeypatch, lambda x, y, draw: (x, y), model=Wrong(returns))
    assert says in str(fault.value) and "\n" not in str(fault.value)


@pytest.mark.parametrize(
    "term, says",
    [
        (lambda p, q, **settings: (p - q).square().mean(1), "a tensor of shape (2,)"),
        (lambda p, q, **settings: (p - q).square().mean().item(), "float"),
        (lambda p, q, **settings: (p.detach() - q).square().mean(), "a tensor of shape ()"),
        (lambda p, q, **settings: (p - q).mean() / 0, "a tensor of shape ()"),
    ],
    ids=["an image each", "a number", "without a gradient", "infinite"],
)
def test_what_a_loss_returns_is_checked_before_training(monkeypatch, term, says):
    monkeypatch.setitem(distill.TERMS, "mine", term)
    kd = dataclasses.replace(KD, reduction="mine")
    with pytest.raises(distill.DistillError) as fault:
        fitted(
            monkeypatch, lambda x, y, draw: (x, y), teacher=speed.LiveTeacher(models.build("lenet")), distillation=kd
        )
    assert f"the loss 'mine' returned {says}: expected a finite scalar" in str(fault.value)
