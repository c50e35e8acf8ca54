"""What a run is (its spec), where it is kept, and making it exist exactly once.

A run is a folder `<key>` in the run store (`KDLIB_RUNS`, or `runs/` beside this package):

    spec.json           everything that changes its numbers, and nothing else, but what equals its default
    metrics.json        what it scored, and where the numbers come from
    history.csv         a row an epoch
    predictions.npz     float16 logits on the test sets, with their labels
    latent.npz          of a network trained on labels: what the figure of the latent space shows
    train_logits.npy.xz of a network trained on labels: float16 logits on the training images, for its students; a
                        random network's are computed from its seed
    weights.safetensors of a network trained on labels, for students that augment their images

The last three may be missing: only figures and claims on the latent space, and students that are still to be trained,
need them. Weights are not committed, the other two only of CIFAR-10's trained teachers under the arms of the study, and
logits of reduced ones for one seed.
"""

import contextlib
import functools
import hashlib
import io
import json
import lzma
import os
import platform
import shutil
import subprocess
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from kdlib import KdlibError, __version__, augment, data, distill, extensions, metrics, models
from kdlib.train import (
    Distillation, Recipe, TrainingError, TrainingSet, derive, fit, infer, memory_format, to_device,
)  # fmt: skip

# Figure 4 of the paper: two groups of two classes each. Other data sets show their first four classes.
TSNE_CLASSES = {"cifar10": (1, 9, 3, 2)}
TSNE_IMAGES = 500  # a class
TSNE_DIMENSIONS = 50

# Batches of these gain nothing from a second thread, and lose much where the processor is shared: threads that wait
# for each other several thousand times a second are slow as soon as one of them is not running.
SMALL_DATASETS = ("digits",)


class RunError(KdlibError, RuntimeError):
    """A spec without meaning, or a run store that is damaged or lacks what a run needs."""


@dataclass(frozen=True)
class Teacher:
    """A network trained on labels alone: a teacher, or a student's architecture without one.

    With no epochs it is a random network, which tells what the loss does without anything being taught.
    """

    dataset: str
    model: str
    width: int
    recipe: Recipe
    augmentations: tuple[str, ...] = ()
    seed: int = 0
    held_out: int = 0

    def __post_init__(self) -> None:
        check_network(self)


@dataclass(frozen=True)
class Student:
    """A network distilled from a teacher (Section 3.2)."""

    dataset: str
    teacher: Teacher
    model: str
    width: int
    recipe: Recipe
    augmentations: tuple[str, ...] = ()
    seed: int = 0
    temperature: float = 20.0
    kd_weight: float = 0.5
    direction: str = "teacher_student"
    reduction: str = "batchmean"
    held_out: int = 0

    def __post_init__(self) -> None:
        check_network(self)
        distill.check_settings(self.temperature, self.kd_weight, self.direction, self.reduction)
        if self.teacher.dataset != self.dataset:
            raise RunError(
                f"a student of {self.dataset} can't learn from a teacher of {self.teacher.dataset}: "
                f"their classes are not the same"
            )

    @property
    def distillation(self) -> Distillation:
        return Distillation(self.temperature, self.kd_weight, self.direction, self.reduction)


Spec = Teacher | Student


def is_taught(spec: Spec) -> bool:
    """Whether a network learns from a teacher that was trained."""
    return isinstance(spec, Student) and spec.teacher.recipe.epochs > 0


def check_network(spec: Spec) -> None:
    """Refuse a data set, network or arm that does not exist, before anything is trained."""
    if spec.dataset not in data.LOADERS:
        raise RunError(f"no data set is called {spec.dataset!r}: there are {', '.join(data.LOADERS)}")
    models.check(spec.model, spec.width)
    object.__setattr__(spec, "augmentations", tuple(spec.augmentations))
    augment.check(spec.augmentations)
    if isinstance(spec.held_out, bool) or not isinstance(spec.held_out, int) or spec.held_out < 0:
        raise RunError(f"held_out is {spec.held_out!r}: expected a number of training images, or 0")


def canonical(spec: Spec | Recipe) -> dict:
    """A spec as JSON holds it, without the fields that equal their default.

    So a field added later, with a default that says what was done before, leaves the keys of old runs alone. A name
    that comes from a file of extensions stands with the version of that file.
    """
    out: dict = {"kind": type(spec).__name__.lower()} if isinstance(spec, Spec) else {}
    for field in fields(spec):
        value = getattr(spec, field.name)
        if field.default is not MISSING and value == field.default:
            continue
        if is_dataclass(value):
            value = canonical(value)
        elif isinstance(value, tuple):
            value = list(value)
        elif isinstance(value, int) and field.type in (float, float | None):
            value = float(value)  # 20 and 20.0 are one temperature
        out[field.name] = value
    if isinstance(spec, Spec):
        loss = getattr(spec, "reduction", None)
        if versions := extensions.versions(spec.dataset, spec.model, spec.augmentations, loss):
            out["extensions"] = versions
    return out


def from_canonical(content: dict) -> Spec:
    """The spec that `canonical` made `content` of; raises RunError where it is none.

    The versions of extensions are those of today's files: where one has changed, the key is another.
    """
    extensions.load()
    try:
        kind, *_ = (one for one in (Teacher, Student) if one.__name__.lower() == content["kind"])
        values = {name: value for name, value in content.items() if name not in ("kind", "extensions")}
        values["recipe"] = Recipe(**values["recipe"])
        if "teacher" in values:
            values["teacher"] = from_canonical(values["teacher"])
        return kind(**values)
    except (KeyError, TypeError, ValueError, AttributeError, TrainingError) as error:
        raise RunError(f"this describes no run ({error}): {json.dumps(content)[:80]}") from error


def find(name: str) -> "Run":
    """The stored run whose key is `name`."""
    path = store() / name / "spec.json"
    if not path.is_file():
        raise RunError(f"there is no run {name!r} in {store()}: its folders are named by the keys of the runs")
    try:
        run = Run(from_canonical(json.loads(path.read_text())))
    except UNREADABLE as error:
        raise RunError(f"{path} can't be used ({error}): restore it") from error
    if run.key != name:
        raise RunError(f"{path} describes {run.key}: restore it")
    return run


def key(spec: Spec) -> str:
    """A readable, unique name, such as `cifar10-resnet18-cutmix-s0-3fa9c1d2`."""
    digest = hashlib.sha256(json.dumps(canonical(spec), sort_keys=True).encode()).hexdigest()[:8]
    parts = [spec.dataset, network_name(spec)]
    if isinstance(spec, Student):
        parts += ["of", network_name(spec.teacher)]
    return "-".join([*parts, f"s{spec.seed}", digest])


def mark(run_key: str) -> str:
    """The end of a key, by which pages link to the run's record.

    >>> mark("cifar10-resnet18-cutmix-s0-3fa9c1d2")
    's0-3fa9c1d2'
    """
    return "-".join(run_key.split("-")[-2:])


def network_name(spec: Spec) -> str:
    if spec.model == "uniform":  # it has nothing to train and nothing to augment for
        return spec.model
    arm = "random" if spec.recipe.epochs == 0 else augment.label(spec.augmentations).replace("+", ".")
    return f"{spec.model}-{arm}"


def store() -> Path:
    """The folder that holds the runs: `KDLIB_RUNS`, or `runs/` beside the package."""
    return Path(os.environ.get("KDLIB_RUNS") or Path(__file__).resolve().parent.parent / "runs")


FILES = ("spec.json", "metrics.json", "history.csv")
LATENT = "latent.npz"
TRAIN_LOGITS = "train_logits.npy.xz"
WEIGHTS = "weights.safetensors"
# What reading a damaged file can raise: of the file itself, JSON, CSV, an archive, and safetensors with their shapes.
UNREADABLE = (
    OSError, EOFError, ValueError, LookupError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, SafetensorError,
    RuntimeError,
)  # fmt: skip
# For numbers of two bytes: logits take a tenth less than in NumPy's archives.
TWO_BYTES = [{"id": lzma.FILTER_LZMA2, "lp": 1, "pb": 1}]


def write_packed(path: Path, logits: np.ndarray) -> None:
    """One array as a .npy in an .xz, class by class, since logits of one class are alike."""
    with lzma.open(path, "wb", filters=TWO_BYTES) as file:
        np.save(file, np.asfortranarray(logits))


def read_packed(path: Path) -> np.ndarray:
    """The array of `write_packed`. It is unpacked whole, since checksums stand at the end."""
    logits = np.load(io.BytesIO(lzma.decompress(path.read_bytes())), allow_pickle=False)
    if logits.ndim != 2 or logits.dtype != np.float16:
        raise ValueError(f"it holds {logits.dtype} of shape {logits.shape}, no float16 logits")
    return logits


def check_archive(path: Path, arrays: Iterable[str]) -> None:
    """Raise where an .npz lacks an array or any of its bytes has changed."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"{damaged} in it is damaged")
        for name in arrays:
            if f"{name}.npy" not in archive.namelist():
                raise KeyError(f"it has no {name}")


class Run:
    """A finished run; its files are read when they are asked for."""

    def __init__(self, spec: Spec):
        self.spec = spec
        self.key = key(spec)
        self.folder = store() / self.key

    def exists(self) -> bool:
        return self.folder.is_dir()

    def check(self) -> None:
        """Raise `RunError` where a file that every run has is missing, or one is unreadable or of another spec."""
        archives = {"predictions.npz": ("test_logits", "test_labels", "class_gram", "embedding_dim")}
        if self.spec.held_out:  # its curve is all that is kept
            archives = {}
        for name in [*FILES, *archives]:
            if not (self.folder / name).is_file():
                raise self._damaged(name, "it is missing")
        if (self.folder / LATENT).is_file():
            archives[LATENT] = ("components", "labels")
        if self._json("spec.json") != canonical(self.spec):
            raise self._damaged("spec.json", "it describes another run")
        for part in ("validation" if self.spec.held_out else "test", "provenance"):
            if not isinstance(self.metrics, dict) or part not in self.metrics:
                raise self._damaged("metrics.json", f"it has no {part!r}")
        epochs = self.spec.recipe.epochs
        if len(self.history) != epochs or self.history.isna().any(axis=None):
            raise self._damaged("history.csv", f"it should hold {epochs} whole rows")
        for name, arrays in archives.items():
            self._reading(name, lambda path, arrays=arrays: check_archive(path, arrays))
        if (self.folder / TRAIN_LOGITS).is_file():
            self._reading(TRAIN_LOGITS, read_packed)

    def _damaged(self, name: str, finding: str) -> RunError:
        path = self.folder / name
        return RunError(f"{path} can't be used, {finding}: restore it, or delete the folder to train this run again")

    def _reading(self, name: str, read: Callable[[Path], Any]) -> Any:
        try:
            return read(self.folder / name)
        except UNREADABLE as error:
            finding = (str(error).splitlines() or [type(error).__name__])[0]
            raise self._damaged(name, finding) from error

    def _json(self, name: str) -> dict:
        return self._reading(name, lambda path: json.loads(path.read_text()))

    def _arrays(self, name: str) -> dict[str, np.ndarray]:
        return self._reading(name, lambda path: dict(np.load(path, allow_pickle=False)))

    @functools.cached_property
    def metrics(self) -> dict:
        return self._json("metrics.json")

    @functools.cached_property
    def history(self) -> pd.DataFrame:
        return self._reading("history.csv", pd.read_csv)

    @functools.cached_property
    def predictions(self) -> dict[str, np.ndarray]:
        return self._arrays("predictions.npz")

    @functools.cached_property
    def latent(self) -> dict[str, np.ndarray]:
        """`components` (M, D) of the embeddings of some test images, and their `labels` (M,): see `latent_space`."""
        self._expect(LATENT, "figures and claims on its latent space")
        return self._arrays(LATENT)

    def train_logits(self) -> np.ndarray:
        """Logits (N, K) on the training images, as every student reads them: float32 of the float16 on disk."""
        self._expect(TRAIN_LOGITS, "students that learn from it")
        return self._reading(TRAIN_LOGITS, read_packed).astype(np.float32, order="C")

    @property
    def weights(self) -> Path:
        return self.folder / WEIGHTS

    def _expect(self, name: str, who: str) -> None:
        """Raise where a file is missing that only some need."""
        path = self.folder / name
        if not path.is_file():
            raise RunError(
                f"{path} is missing, and {who} need it (not every seed's is published): to train that run again, "
                f"delete its folder, or set KDLIB_RUNS to another store"
            )

    def network(self) -> models.Classifier:
        """The trained network, on the CPU."""
        self._expect(self.weights.name, "students that augment their images")
        return self._reading(self.weights.name, self._network)

    def _network(self, weights: Path) -> models.Classifier:
        tensors = load_file(weights)
        classes = len(tensors["head_layer.bias"])
        model = models.build(self.spec.model, width=self.spec.width, classes=classes)
        model.load_state_dict(tensors)
        return model


def human_ceiling(name: str) -> float | None:
    """How near people are to people on the test images of data set `name` (`metrics.human_ceiling`), nats.

    Computed where their votes are at hand, and kept in the store beside the runs, for who has no data. None where
    nobody was asked, or where it is not kept and the files are not here.
    """
    path = store() / f"{name}-people.json"
    if not path.exists():
        counts = data.load(name).human_counts if data.at_hand(name) else None
        if counts is None:
            return None
        open_store()
        aside = path.with_suffix(f".{os.getpid()}.tmp")
        kept = {"human_ceiling": metrics.human_ceiling(counts), "smoothing": metrics.HUMAN_SMOOTHING}
        write_json(aside, kept | {"dataset_checksum": data.load(name).checksum})
        os.replace(aside, path)
    try:
        kept = json.loads(path.read_text())
        if kept["smoothing"] != metrics.HUMAN_SMOOTHING:
            raise ValueError(f"it has smoothing {kept['smoothing']}, expected {metrics.HUMAN_SMOOTHING}")
        return float(kept["human_ceiling"])
    except UNREADABLE as error:
        raise RunError(f"{path} can't be used ({error}): restore it, or delete it to compute it again") from error


def ensure(specs: Iterable[Spec], *, device: str = "cpu") -> list[Run]:
    """Make each run exist exactly once, teachers before their students, and return them in the order asked for.

    What is in the store is checked and read; what is not is trained on `device`. Several processes may work on one
    list: each run is locked while it is made, and who finds it locked goes on with the next. `.passes` in the store
    holds a teacher's passes over augmented batches until the last student that shares them is made.
    """
    asked = [Run(spec) for spec in specs]
    pending: dict[str, Run] = {}
    for run in asked:
        add_pending(run, pending)
    if pending:
        check_device(device)
        for name in {run.spec.dataset for run in pending.values()}:
            data.load(name)
        open_store()
    pending = in_groups(pending)
    while pending:
        made = next((name for name, run in pending.items() if make_if_free(run, pending, device)), None)
        if made:
            passes = passes_of(pending.pop(made).spec)
            if passes and passes not in [passes_of(run.spec) for run in pending.values()]:
                shutil.rmtree(passes, ignore_errors=True)
        else:
            time.sleep(1)  # other processes are making all that can be made now
    return asked


def stored(specs: Iterable[Spec]) -> list[Run]:
    """Those of the runs that are in the store; nothing is trained, and files are checked as they are read."""
    return [run for run in map(Run, specs) if run.exists()]


def in_groups(pending: dict[str, Run]) -> dict[str, Run]:
    """The same, but students that share their teacher's passes come after one another: few of these are kept then."""
    groups = {name: passes_of(run.spec) or name for name, run in pending.items()}
    order = list(dict.fromkeys(groups.values()))
    return {name: pending[name] for name in sorted(pending, key=lambda name: order.index(groups[name]))}


def add_pending(run: Run, pending: dict[str, Run]) -> None:
    """Check a run that exists; note one that does not, after the teacher that it needs."""
    if run.key in pending:
        return
    if run.exists():
        run.check()
        return
    if isinstance(run.spec, Student):
        teacher = Run(run.spec.teacher)
        add_pending(teacher, pending)
        if teacher.exists():
            check_teaching(run.spec)
    pending[run.key] = run


def check_teaching(spec: Student) -> None:
    """Raise where what a student's teacher teaches by, its logits or its weights, is missing or unreadable."""
    teacher = Run(spec.teacher)
    file = taught_from(spec)
    if file == WEIGHTS:
        teacher.network()
    elif file == TRAIN_LOGITS:
        teacher.train_logits()


def make_if_free(run: Run, pending: dict[str, Run], device: str) -> bool:
    """Make a run, unless its teacher is still to come or another process is at it; True once it exists."""
    if isinstance(run.spec, Student) and key(run.spec.teacher) in pending:
        return False
    try:
        with FileLock(store() / ".locks" / run.key, timeout=0):
            if not run.exists():
                with threads(1 if run.spec.dataset in SMALL_DATASETS else torch.get_num_threads()):
                    make(run, device)
    except Timeout:
        return False
    return True


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Let PyTorch work on `count` threads of the CPU for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def open_store() -> None:
    """Make the store's folder where there is none; refuse one that can't be written to."""
    try:
        (store() / ".locks").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"runs can't be kept in {store()} ({error.strerror}): set KDLIB_RUNS to a folder") from error


def check_device(device: str) -> None:
    """Refuse a device that this machine lacks, and set CUDA up: float32 is float32, convolutions are tuned once."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise RunError(f"device {device!r} can't be used here: {str(error).splitlines()[0]}") from error
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = False


def make(run: Run, device: str) -> None:
    """Train a run and put it into the store by one rename."""
    started = time.monotonic()
    spec = run.spec
    dataset, rows = data.load(spec.dataset), None
    if spec.held_out:
        dataset, rows = data.held_out(dataset, spec.held_out)
    train = training_set(dataset.train, dataset, device)
    model = initial_network(spec, dataset)
    checkpoint = store() / ".checkpoints" / f"{run.key}.pt"
    history = fit(
        model,
        train,
        spec.recipe,
        augmentations=spec.augmentations,
        seed=spec.seed,
        **taught_by(spec, device, rows),
        validation=training_set(dataset.test, dataset, device) if spec.held_out else None,
        checkpoint=checkpoint,
        title=run.key,
    )
    aside = store() / ".making" / run.key
    shutil.rmtree(aside, ignore_errors=True)  # of a process that was killed: this one holds the lock
    aside.mkdir(parents=True)
    write_json(aside / "spec.json", canonical(spec))
    history.to_csv(aside / "history.csv", index=False)
    if spec.held_out:
        scores = {"validation": {name: float(history[f"validation_{name}"].iloc[-1]) for name in ("accuracy", "loss")}}
    else:
        predictions, scores, embeddings = evaluate(model, dataset, train)
        np.savez_compressed(aside / "predictions.npz", **predictions)
    if isinstance(spec, Teacher) and not spec.held_out:
        np.savez_compressed(aside / LATENT, **latent_space(embeddings, dataset))
        if spec.recipe.epochs:
            write_packed(aside / TRAIN_LOGITS, on_training_images(model, train))
        save_file({name: t.cpu().contiguous() for name, t in model.state_dict().items()}, aside / run.weights.name)
    scores["provenance"] = provenance(dataset, device, time.monotonic() - started)
    write_json(aside / "metrics.json", scores)
    os.rename(aside, run.folder)
    checkpoint.unlink(missing_ok=True)


def training_set(split: data.Split, dataset: data.Dataset, device: str) -> TrainingSet:
    return to_device(split.images, split.labels, dataset.mean, dataset.std, device)


def initial_network(spec: Spec, dataset: data.Dataset) -> models.Classifier:
    """A run's network before training, on the CPU."""
    seed = derive(spec.seed, "initialisation")
    return models.build(spec.model, width=spec.width, classes=len(dataset.classes), seed=seed)


def taught_by(spec: Spec, device: str, rows: np.ndarray | None = None) -> dict:
    """What `fit` needs to know of the teacher: logits where the images stay as they are, else the network.

    `rows` are the training images that are not held out, None where all are trained on.
    """
    if isinstance(spec, Teacher):
        return {}
    if not spec.augmentations:
        stored = taught_from(spec) == TRAIN_LOGITS
        logits = Run(spec.teacher).train_logits() if stored else untrained_logits(spec.teacher, device)
        logits = logits if rows is None else logits[rows]
        return {"teacher": torch.as_tensor(logits).to(device), "distillation": spec.distillation}
    return {
        "teacher": Run(spec.teacher).network(),
        "teacher_precision": spec.teacher.recipe.precision,
        "distillation": spec.distillation,
        "passes": passes_of(spec),
    }


def taught_from(spec: Student) -> str | None:
    """The file of its teacher that a student learns from, None where the teacher's seed is enough."""
    if spec.augmentations:
        return WEIGHTS
    return TRAIN_LOGITS if spec.teacher.recipe.epochs else None


def on_training_images(model: models.Classifier, train: TrainingSet) -> np.ndarray:
    """Logits (N, K) of a network on the training images as they are, as they are kept."""
    logits, _ = infer(model, train.images, train.mean, train.std)
    return half(logits)


@functools.lru_cache(maxsize=1)
def untrained_logits(spec: Teacher, device: str) -> np.ndarray:
    """Logits (N, K) of a random network on the training images, as its students read them: float32 of float16.

    They are not kept: seed and data are all there is to them.
    """
    dataset = data.load(spec.dataset)
    model = initial_network(spec, dataset).to(device, memory_format=memory_format(spec.recipe.precision))
    return on_training_images(model, training_set(dataset.train, dataset, device)).astype(np.float32)


def passes_of(spec: Spec) -> Path | None:
    """The folder of the teacher's passes over a student's batches, the same for all students that see these batches.

    None for a network that has no teacher, or whose teacher needs no passes as its logits are stored. Another commit
    may make other batches, and has folders of its own.
    """
    if isinstance(spec, Teacher) or not spec.augmentations:
        return None
    seen = {
        "teacher": canonical(spec.teacher),
        "augmentations": spec.augmentations,
        "extensions": extensions.versions(spec.dataset, spec.teacher.model, spec.augmentations, None),
        "batches": [spec.seed, spec.recipe.batch_size, spec.recipe.version, spec.held_out],
        "commit": commit(),
    }
    return store() / ".passes" / hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()[:16]


def half(logits: Tensor) -> np.ndarray:
    return logits.cpu().numpy().astype(np.float16)


def evaluate(model: models.Classifier, dataset: data.Dataset, train: TrainingSet) -> tuple[dict, dict, np.ndarray]:
    """Open the test sets, once: arrays to keep, scores computed from those arrays as they are kept, and the
    penultimate embeddings (N, D) of the test set, which are too large to keep."""
    arrays: dict[str, np.ndarray] = {}
    scores: dict[str, dict] = {}
    for part, split in (("test", dataset.test), ("shifted", dataset.shifted)):
        if split is None:
            continue
        images = torch.as_tensor(split.images).to(train.images.device)
        logits, features = infer(model, images, train.mean, train.std)
        arrays[f"{part}_logits"] = half(logits)
        arrays[f"{part}_labels"] = split.labels.astype(np.uint8)
        scores[part] = metrics.evaluate_logits(arrays[f"{part}_logits"], split.labels)
        if part == "test":
            embeddings = features.cpu().numpy()
    gram = metrics.class_gram(embeddings, dataset.test.labels)
    arrays |= {"class_gram": gram.gram, "embedding_dim": np.int64(gram.dim)}
    if dataset.human_counts is not None:
        human = dataset.human_counts / dataset.human_counts.sum(1, keepdims=True)
        scores["human"], arrays["human_kl"] = beside_humans(arrays["test_logits"], human, dataset.test.labels)
    return arrays, scores, embeddings


def beside_humans(logits: np.ndarray, human: np.ndarray, labels: np.ndarray) -> tuple[dict, np.ndarray]:
    """What the votes of people are needed for (Table 1, Figures 3 and 6), and KL(human || model) of each image."""
    probs = metrics.softmax(logits)
    scores = metrics.kl_to_humans(probs, human)._asdict() | {"class_means": metrics.class_means(human, labels).tolist()}
    return scores, metrics.per_image_kl_to_humans(probs, human).astype(np.float16)


def latent_space(embeddings: np.ndarray, dataset: data.Dataset) -> dict[str, np.ndarray]:
    """The first principal components (M, D) of the embeddings of four classes' test images, and their labels
    (Figure 4)."""
    classes = TSNE_CLASSES.get(dataset.name, (0, 1, 2, 3))
    labels = dataset.test.labels
    chosen = np.concatenate([np.flatnonzero(labels == k)[:TSNE_IMAGES] for k in classes])
    centred = embeddings[chosen] - embeddings[chosen].mean(0)
    dimensions = min(TSNE_DIMENSIONS, *centred.shape)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    components = centred @ directions[:dimensions].T
    return {"components": components.astype(np.float16), "labels": labels[chosen].astype(np.uint8)}


def provenance(dataset: data.Dataset, device: str, seconds: float) -> dict:
    """Where and with what a run was made."""
    on_gpu = torch.device(device).type == "cuda"
    return {
        "commit": commit(),
        "kdlib": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": torch.cuda.get_device_name(device) if on_gpu else f"{platform.machine()} CPU",
        "threads": torch.get_num_threads(),
        "seconds": round(seconds, 2),
        "dataset_checksum": dataset.checksum,
        "shifted": dataset.shifted_name,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


@functools.cache
def commit() -> str:
    """The commit of this checkout, marked where files differ; `KDLIB_COMMIT` where there is no checkout."""
    here = Path(__file__).resolve().parent
    command = ["git", "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, cwd=here, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("KDLIB_COMMIT", "unknown")


def write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
