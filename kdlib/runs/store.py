"""Where runs lie, and what is checked when they are read.

A run is a folder `<key>` in the run store (`KDLIB_RUNS`, or `runs/` beside the package):

    spec.json           everything that changes its numbers, and nothing else, but what equals its default
    metrics.json        what it scored, and where the numbers come from
    history.csv         a row an epoch
    predictions.npz     float16 logits on the test sets, with their labels
    classes.npz         in its place, of networks of which no page shows more: the predicted classes of the test set,
                        with their labels (`kdlib.runs.slim`)
    latent.npz          of a network trained on labels: what the figure of the latent space shows
    train_logits.npy.xz of a network trained on labels: float16 logits on the training images, for its students; a
                        random network's are computed from its seed
    weights.safetensors of a network trained on labels, for students that augment their images
    SHA256SUMS          the key, and the checksum of each of these files as it was written

Latent space, logits and weights may be missing: only figures and claims on the latent space, and students that are
still to be trained, need them. Weights are not committed, the other two only of CIFAR-10's trained teachers under the
augmentations of the study, and logits of some of the reduced ones. A run that was judged on images held out has the
first three alone.

Every byte is checked against SHA256SUMS as it is read. Without us: `sha256sum -c --ignore-missing SHA256SUMS`.
"""

import contextlib
import functools
import hashlib
import io
import json
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError

from kdlib import folder_from, models, reason
from kdlib.runs.specs import RunError, Spec, canonical, from_canonical, key

FILES = ("spec.json", "metrics.json", "history.csv")
PREDICTIONS = "predictions.npz"
CLASSES = "classes.npz"
LATENT = "latent.npz"
TRAIN_LOGITS = "train_logits.npy.xz"
WEIGHTS = "weights.safetensors"
SUMS = "SHA256SUMS"
FOR_SOME = {  # files that a run can do without, and who needs them
    LATENT: "figures and claims on its latent space",
    TRAIN_LOGITS: "students that learn from it",
    WEIGHTS: "students that augment their images",
}
# What reading a file that is none of ours can raise: JSON, CSV, an archive, and safetensors with their shapes.
UNREADABLE = (
    OSError, EOFError, ValueError, LookupError, TypeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile,
    SafetensorError, RuntimeError,
)  # fmt: skip
# For numbers of two bytes: logits take a tenth less than in NumPy's archives.
TWO_BYTES = [{"id": lzma.FILTER_LZMA2, "lp": 1, "pb": 1}]


def default_store() -> Path:
    """The folder that holds the runs: `KDLIB_RUNS`, or `runs/` beside the package."""
    return folder_from("KDLIB_RUNS", "runs")


def open_store(store: Path) -> None:
    """Make the store's folder where there is none; refuse one that can't be written to."""
    try:
        (store / ".locks").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"runs can't be kept in {store} ({error.strerror}): set KDLIB_RUNS to a folder") from error


@contextlib.contextmanager
def locked(store: Path, name: str) -> Iterator[None]:
    """Be the only process at work on a run; raises filelock's `Timeout` where another one is."""
    lock = FileLock(store / ".locks" / name, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise
    except (OSError, NotImplementedError) as error:
        raise RunError(
            f"runs can't be locked in {store} ({reason(error)}): set KDLIB_RUNS to a folder on a local disk"
        ) from error
    try:
        yield
    finally:
        lock.release()


def is_locked(store: Path, name: str) -> bool:
    """Whether another process is at work on a run."""
    if not (store / ".locks" / name).exists():
        return False
    try:
        with locked(store, name):
            return False
    except Timeout:
        return True
    except RunError:  # this user can't lock anything there, and makes nothing
        return False


# ---------------------------------------------------------------- checksums


def write_sums(folder: Path) -> None:
    """The checksums of the files in a run's folder, in the format of coreutils; the key stands in a comment."""
    (folder / SUMS).write_text(written(folder, sums_now(folder)), encoding="utf-8")


def sums_now(folder: Path) -> dict[str, str]:
    """The checksum of each file that lies in a run's folder, by its name."""
    return {path.name: sha256(content_of(path)) for path in sorted(folder.iterdir()) if path.name != SUMS}


def written(folder: Path, sums: dict[str, str]) -> str:
    return "".join(f"{line}\n" for line in (f"# {folder.name}", *(f"{sums[name]}  {name}" for name in sums)))


def read_sums(folder: Path) -> dict[str, str]:
    """The checksum of each file in a run's folder, by its name."""
    try:
        text = content_of(folder / SUMS).decode("utf-8", "replace")
    except FileNotFoundError as error:
        if not folder.exists():
            raise RunError(f"there is no run {folder}: restore it, or make it first") from error
        raise RunError(
            f"{folder} has no {SUMS}, so that nobody can tell whether it is whole: restore that file, or have the "
            f"scores computed again and it written by `python -m kdlib check --seal`"
        ) from error
    if text.partition("\n")[0] != f"# {folder.name}":
        raise unusable(folder / SUMS, "it is not this run's")
    sums = {name: digest for digest, name in re.findall(r"^([0-9a-f]{64})  (.+)$", text, re.MULTILINE)}
    if text != written(folder, sums):
        raise unusable(folder / SUMS, "it holds more than checksums")
    return sums


def whole(path: Path, sums: dict[str, str]) -> bytes:
    """A file's content, if it is what was written."""
    try:
        content = content_of(path)
    except FileNotFoundError as error:
        raise unusable(path, "it is missing") from error
    if path.name not in sums:
        raise unusable(path, f"{SUMS} does not list it")
    if sha256(content) != sums[path.name]:
        raise unusable(path, f"its sha256 is {sha256(content)[:8]}…, not {sums[path.name][:8]}… as in {SUMS}")
    return content


def content_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except (IsADirectoryError, NotADirectoryError) as error:
        raise unusable(path, reason(error)) from error
    except OSError as error:
        raise RunError(
            f"{path} can't be read here ({reason(error)}): see to that, or set KDLIB_RUNS to another store"
        ) from error


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def unusable(path: Path, finding: str) -> RunError:
    return RunError(
        f"{path} can't be used, {finding}: restore it, or set the run aside by `python -m kdlib check --repair`, and "
        f"it is made again"
    )


# ---------------------------------------------------------------- runs


def find(name: str, store: Path | None = None) -> "Run":
    """The stored run whose key is `name`."""
    store = store or default_store()
    path = store / name / "spec.json"
    if not path.is_file():
        raise RunError(f"there is no run {name!r} in {store}: its folders are named by the keys of the runs")
    content = content_of(path)
    try:
        run = Run(from_canonical(json.loads(content)), store)
    except UNREADABLE as error:
        raise RunError(f"{path} can't be used ({error}): restore it") from error
    if run.key != name:
        raise RunError(f"{path} describes {run.key}: restore it")
    return run


def stored(specs: Iterable[Spec]) -> "list[Run]":
    """Those of the runs that are in the store; nothing is trained, and files are checked as they are read."""
    return [run for run in map(Run, specs) if run.exists()]


class Run:
    """A finished run; its files are read when they are asked for."""

    def __init__(self, spec: Spec, store: Path | None = None):
        self.spec = spec
        self.key = key(spec)
        self.store = store or default_store()
        self.folder = self.store / self.key

    def beside(self, spec: Spec) -> "Run":
        """Another run of the same store."""
        return Run(spec, self.store)

    def exists(self) -> bool:
        return os.path.lexists(self.folder)

    def check(self) -> None:
        """Raise `RunError` where a file that every run has is missing, or one is not what was written.

        Weights are left to those who need them.
        """
        for name in self.required():
            self._bytes(name)
        for name in (LATENT, TRAIN_LOGITS):
            if (self.folder / name).exists():
                self._bytes(name)
        if self._json("spec.json") != canonical(self.spec):
            raise unusable(self.folder / "spec.json", "it describes another run")

    def required(self) -> tuple[str, ...]:
        return FILES if self.spec.held_out else (*FILES, CLASSES if self.is_slim else PREDICTIONS)

    @property
    def is_slim(self) -> bool:
        """Whether of its predictions the classes alone are kept."""
        return CLASSES in self.sums

    @functools.cached_property
    def sums(self) -> dict[str, str]:
        return read_sums(self.folder)

    def _bytes(self, name: str) -> bytes:
        return whole(self.folder / name, self.sums)

    def _reading(self, name: str, read: Callable[[bytes], Any]) -> Any:
        content = self._bytes(name)
        try:
            return read(content)
        except UNREADABLE as error:
            raise unusable(self.folder / name, reason(error)) from error

    def _json(self, name: str) -> dict:
        return self._reading(name, json.loads)

    @functools.cached_property
    def metrics(self) -> dict:
        return self._json("metrics.json")

    @functools.cached_property
    def history(self) -> pd.DataFrame:
        return self._reading("history.csv", lambda content: pd.read_csv(io.BytesIO(content)))

    @functools.cached_property
    def predictions(self) -> dict[str, np.ndarray]:
        """What is kept of them; of a slim run `test_classes` and `test_labels` (N,) alone."""
        if self.is_slim:
            return Classes(self.folder, self._reading(CLASSES, read_arrays))
        return self._reading(PREDICTIONS, read_arrays)

    @functools.cached_property
    def latent(self) -> dict[str, np.ndarray]:
        """`components` (M, D) of the embeddings of some test images, and their `labels` (M,), as
        `make.principal_components` gives them."""
        self._expect(LATENT)
        return self._reading(LATENT, read_arrays)

    def train_logits(self) -> np.ndarray:
        """Logits (N, K) on the training images, as every student reads them: float32 of the float16 on disk."""
        self._expect(TRAIN_LOGITS)
        return self._reading(TRAIN_LOGITS, read_packed).astype(np.float32, order="C")

    def _expect(self, name: str) -> None:
        """Raise where a file is missing that only some need."""
        path = self.folder / name
        if not path.exists():
            raise RunError(
                f"{path} is missing, and {FOR_SOME[name]} need it (not every seed's is published): set KDLIB_RUNS to "
                f"another folder, and that run is trained there as well"
            )

    def network(self) -> models.Classifier:
        """The trained network, on the CPU."""
        self._expect(WEIGHTS)
        return self._reading(WEIGHTS, self._network)

    def _network(self, content: bytes) -> models.Classifier:
        tensors = safetensors.torch.load(content)  # of bytes: not every file system can map files into memory
        classes = len(tensors["head_layer.bias"])
        model = models.build(self.spec.model, width=self.spec.width, classes=classes)
        model.load_state_dict(tensors)
        return model


def predicted_classes(predictions: dict[str, np.ndarray], split: str = "test") -> np.ndarray:
    """The predicted class of each image of a test set, (N,), of what is kept of predictions."""
    kept = predictions.get(f"{split}_classes")
    return predictions[f"{split}_logits"].argmax(axis=1) if kept is None else kept


class Classes(dict):
    """The arrays of a slim run, who says what it lacks."""

    def __init__(self, folder: Path, arrays: dict[str, np.ndarray]):
        super().__init__(arrays)
        self.folder = folder

    def __missing__(self, name: str):
        raise RunError(
            f"{self.folder} has no {name}, since its predicted classes alone are kept: set KDLIB_RUNS to another "
            f"folder, and the run is trained there as well"
        )


def read_arrays(content: bytes) -> dict[str, np.ndarray]:
    return dict(np.load(io.BytesIO(content), allow_pickle=False))


def write_packed(path: Path, logits: np.ndarray) -> None:
    """One array as a .npy in an .xz, class by class, since logits of one class are alike."""
    with lzma.open(path, "wb", filters=TWO_BYTES) as file:
        np.save(file, np.asfortranarray(logits))


def read_packed(content: bytes) -> np.ndarray:
    """The array of `write_packed`."""
    logits = np.load(io.BytesIO(lzma.decompress(content)), allow_pickle=False)
    if logits.ndim != 2 or logits.dtype != np.float16:
        raise ValueError(f"it holds {logits.dtype} of shape {logits.shape}, no float16 logits")
    return logits


def write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
