"""Where runs lie, and what is checked when they are read.

A run is a folder `<key>` in the run store (`KDLIB_RUNS`, or `runs/` beside the package):

    spec.json           everything that changes its numbers, and nothing else, but what equals its default
    metrics.json        what it scored, and where the numbers come from
    history.csv         a row an epoch
    predictions.npz     float16 logits on the test sets, with their labels
    latent.npz          of a network trained on labels: what the figure of the latent space shows
    train_logits.npy.xz of a network trained on labels: float16 logits on the training images, for its students; a
                        random network's are computed from its seed
    weights.safetensors of a network trained on labels, for students that augment their images

The last three may be missing: only figures and claims on the latent space, and students that are still to be trained,
need them. Weights are not committed, the other two only of CIFAR-10's trained teachers under the augmentations of the
study, and logits of reduced ones for one seed. A run that was judged on images held out has the first three alone.
"""

import functools
import io
import json
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.torch import load_file

from kdlib import models
from kdlib.runs.specs import RunError, Spec, canonical, from_canonical, key

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


def default_store() -> Path:
    """The folder that holds the runs: `KDLIB_RUNS`, or `runs/` beside the package."""
    return Path(os.environ.get("KDLIB_RUNS") or Path(__file__).resolve().parents[2] / "runs")


def open_store(store: Path) -> None:
    """Make the store's folder where there is none; refuse one that can't be written to."""
    try:
        (store / ".locks").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"runs can't be kept in {store} ({error.strerror}): set KDLIB_RUNS to a folder") from error


def find(name: str) -> "Run":
    """The stored run whose key is `name`."""
    store = default_store()
    path = store / name / "spec.json"
    if not path.is_file():
        raise RunError(f"there is no run {name!r} in {store}: its folders are named by the keys of the runs")
    try:
        run = Run(from_canonical(json.loads(path.read_text())))
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


def check_archive(path: Path, arrays: Iterable[str]) -> None:
    """Raise where an .npz lacks an array or any of its bytes has changed."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"{damaged} in it is damaged")
        for name in arrays:
            if f"{name}.npy" not in archive.namelist():
                raise KeyError(f"it has no {name}")


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


def write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
