"""Data sets as uint8 arrays: where they come from, what people saw in them, and second ("shifted") test sets.

Every file is looked for in one folder (`folder()`), and fetched from its original host when it is not there:

    cifar10.npz                    x_train (50000, 32, 32, 3), y_train (50000,), x_test, y_test, all uint8
    cifar10h-counts.npy            (10000, 10) int64, the votes of people for each CIFAR-10 test image
    cifar10h-probs.npy             (10000, 10) float64, the same as shares
    cinic10-imagenet.npz           x (70000, 32, 32, 3), y (70000,), uint8; or, only where that one is absent,
    cinic10-imagenet-sample.npz    the same arrays of fewer images
    MNIST/raw/*-ubyte              the four official files, as torchvision.datasets.MNIST reads them

`digits` comes with scikit-learn and needs no file.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from kdlib import fetch, folder_from
from kdlib.fetch import (
    CIFAR10_CLASSES,
    CIFAR10H,
    DataError,
    damaged,
    fetch_cifar10,
    fetch_cifar10h,
    fetch_cinic10,
    fetch_mnist,
    read,
    require,
)  # fmt: skip

DIGITS = tuple("0123456789")
# sha256 of images and labels as `_checksum` has it, of data whose published files were at hand. CIFAR-10's were not:
# its archive is held against its checksum as it is fetched, and the file made of it holds checksums of its own.
PUBLISHED: dict[str, dict[str, str]] = {
    "mnist": {
        "train": "a95c4b788b0ccd0395f9de37fa5e42f88ae9e69da549be6682b6868d3d25d923",
        "test": "9ba7f235c17632c230c2bc8657dda093bbabe1cf77361e355793f12c3f4a15ac",
    },
}


@dataclass(frozen=True)
class Split:
    """Images, uint8 (N, 32, 32, 3), and their labels, int64 (N,)."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """A training and a test split of K classes, and what else is known of the test images.

    `mean` and `std` are per channel, of pixel values in 0..1; they normalise every split, the shifted one too.
    `shifted` is a second test set of the same classes, which `shifted_name` describes. `human_counts`, int64
    (N_test, K), are the votes of people for each test image. Each is None where there is none.
    `checksum` is the sha256 over all arrays in a fixed order, for the provenance of results.
    """

    name: str
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    train: Split
    test: Split
    shifted: Split | None
    shifted_name: str | None
    human_counts: np.ndarray | None
    checksum: str


def held_out(dataset: Dataset, count: int) -> tuple[Dataset, np.ndarray]:
    """The same with `count` of its training images held out as its test set, and the rows (N - count,) that are left.

    The split is stratified and always the same. The dataset's own test sets are not in the result: what is chosen by
    the images held out has not seen them.
    """
    labels = dataset.train.labels
    if not len(dataset.classes) <= count <= len(labels) - len(dataset.classes):
        raise DataError(
            f"held_out is {count}, of {len(labels)} training images of {dataset.name}: both parts need one of each of "
            f"its {len(dataset.classes)} classes"
        )
    kept, held = stratified(labels, count)
    train, test = (Split(dataset.train.images[part], labels[part]) for part in (kept, held))
    return replace(dataset, train=train, test=test, shifted=None, shifted_name=None, human_counts=None), kept


def halved(dataset: Dataset, which: int) -> tuple[Dataset, np.ndarray]:
    """The same with one half of its training images, 1 or 2, and the rows (N / 2,) of these; test sets stay.

    The split is stratified and always the same.
    """
    train = dataset.train
    rows = stratified(train.labels, len(train.labels) // 2)[which - 1]
    return replace(dataset, train=Split(train.images[rows], train.labels[rows])), rows


def stratified(labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows of `count` images, of each class its share among all, after those of all others; always the same."""
    from sklearn.model_selection import train_test_split  # slow to import

    rows = np.arange(len(labels))
    return tuple(np.sort(part) for part in train_test_split(rows, test_size=count, stratify=labels, random_state=0))


def folder() -> Path:
    """Where data files are kept: the environment variable KDLIB_DATA, else kdlib in the user's cache directory."""
    return folder_from("KDLIB_DATA", f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/kdlib")


def load(name: str) -> Dataset:
    """The data set `name`, one of LOADERS; what is not in `folder()` is fetched, and a second call returns the same.

    Raises DataError, in one sentence, for an unknown name and for a file that is damaged or can't be had.
    """
    if name not in LOADERS:
        raise DataError(f"unknown data set {name!r}: choose one of {', '.join(LOADERS)}")
    return _load(name, folder() if _FILES.get(name) != () else Path())


def at_hand(name: str) -> bool:
    """Whether `load(name)` finds all its files in `folder()` and has nothing to fetch."""
    return all(any(folder().glob(file)) for file in _FILES.get(name, ("*",)))


@lru_cache
def _load(name: str, where: Path) -> Dataset:
    parts = dict(shifted=None, shifted_name=None, human_counts=None) | LOADERS[name](where)
    _check_parts(name, parts)
    for split, expected in PUBLISHED.get(name, {}).items():
        found = _checksum({split: parts[split]})
        if found != expected:
            raise DataError(
                f"the {split} split of {name} in {where} has sha256 {found}, the published one {expected}: delete its "
                f"files there and they will be fetched again"
            )
    return Dataset(name=name, **parts, checksum=_checksum(parts))


def _check_parts(name: str, parts: dict) -> None:
    """Refuse what a loader returns where it is not what `Dataset` holds."""
    expected = {field.name for field in fields(Dataset)} - {"name", "checksum"}
    if odd := parts.keys() ^ expected:
        raise DataError(f"the loader of {name} returned {', '.join(parts)}: {', '.join(odd)} too many or too few")
    for statistic in ("mean", "std"):
        values = parts[statistic]
        if np.shape(values) != (3,) or not np.isfinite(values).all() or (statistic == "std" and min(values) <= 0):
            raise DataError(f"the {statistic} of {name} is {values}: expected three finite numbers, a std above 0")
    for split in ("train", "test", "shifted"):
        if parts[split] is not None:
            _check_split(f"the {split} split of {name}", parts[split], len(parts["classes"]))
    counts, shape = parts["human_counts"], (len(parts["test"].labels), len(parts["classes"]))
    if counts is not None and (np.shape(counts) != shape or counts.dtype.kind not in "iu"):
        found = f"{counts.dtype} {np.shape(counts)}"
        raise DataError(f"the human_counts of {name} are {found}: expected integers of {shape}")


def _check_split(title: str, split: Split, classes: int) -> None:
    """Refuse arrays of another type or shape than `Split` has, and labels that are of no class."""
    images, labels = split.images, split.labels
    fits = images.dtype == np.uint8 and images.ndim == 4 and images.shape[1:] == (32, 32, 3)
    if not fits or labels.dtype != np.int64 or labels.shape != (len(images),) or not len(images):
        raise DataError(
            f"{title} has images of {images.dtype} {images.shape} and labels of {labels.dtype} {labels.shape}: "
            f"expected uint8 (N, 32, 32, 3) and int64 (N,)"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(f"{title} has labels from {labels.min()} to {labels.max()}: expected 0 to {classes - 1}")


def _checksum(parts: dict) -> str:
    """sha256 over each split's images and labels and the human counts, each preceded by its name, type and shape."""
    arrays = {"human_counts": parts.get("human_counts")}
    for split in ("train", "test", "shifted"):
        if parts.get(split) is not None:
            arrays |= {f"{split}.images": parts[split].images, f"{split}.labels": parts[split].labels}
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        if array is not None:
            digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def _cifar10(where: Path) -> dict:
    """CIFAR-10 (Krizhevsky 2009) with CIFAR-10H's votes, and the ImageNet part of CINIC-10 as shifted test set.

    The shifted images are normalised with CIFAR-10's statistics like any image that the network meets; the code
    released with the paper used CINIC-10's own.
    """
    path = require(where / "cifar10.npz", fetch_cifar10)
    x_train, y_train, x_test, y_test = _read_npz(path, "x_train", "y_train", "x_test", "y_test")
    shifted, shifted_name = _cinic10(where)
    return dict(
        classes=CIFAR10_CLASSES,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        train=_rgb_split(path, x_train, y_train, 50_000),
        test=_rgb_split(path, x_test, y_test, 10_000),
        shifted=shifted,
        shifted_name=shifted_name,
        human_counts=_cifar10h(where),
    )


def _cifar10h(where: Path) -> np.ndarray:
    """Votes of about 51 people for each CIFAR-10 test image, int64 (10000, 10) (Peterson et al. 2019).

    The votes are what is used; the published shares must say the same, so that a mixed-up file is noticed.
    """
    counts_path, probs_path = (require(where / name, fetch_cifar10h) for name in CIFAR10H)
    counts = _expect(counts_path, read(counts_path, _load_numpy), np.int64, (10_000, 10))
    probs = _expect(probs_path, read(probs_path, _load_numpy), np.float64, (10_000, 10))
    votes = counts.sum(axis=1, keepdims=True)
    if counts.min() < 0 or votes.min() < 1:
        raise damaged(counts_path, "negative votes or images without any", "votes for every image")
    if not np.allclose(probs, counts / votes):
        raise damaged(probs_path, "other shares than the votes give", f"those of {counts_path.name}")
    return counts


def _cinic10(where: Path) -> tuple[Split, str]:
    """The ImageNet images of CINIC-10's test fold (Darlow et al. 2018): all 70,000, or a sample where only that is."""
    full, sample = where / "cinic10-imagenet.npz", where / "cinic10-imagenet-sample.npz"
    if os.path.exists(sample) and not os.path.exists(full):
        split = _rgb_split(sample, *_read_npz(sample, "x", "y"), None)
        return split, f"CINIC-10's ImageNet part, a sample of {len(split.labels):,} images"
    path = require(full, fetch_cinic10)
    split = _rgb_split(path, *_read_npz(path, "x", "y"), fetch.CINIC10_IMAGES)
    return split, f"CINIC-10's ImageNet part, all {len(split.labels):,} images of the test fold"


def _mnist(where: Path) -> dict:
    """MNIST (LeCun et al. 1998), padded with black from 28x28 to 32x32 and repeated to three channels.

    Mean and deviation are the published ones of the 28x28 training images, not of the padded ones.
    """
    train, test = (_mnist_split(where / "MNIST" / "raw", *part) for part in (("train", 60_000), ("t10k", 10_000)))
    return dict(
        classes=DIGITS,
        mean=(0.1307,) * 3,
        std=(0.3081,) * 3,
        train=train,
        test=test,
    )


def _mnist_split(raw: Path, prefix: str, count: int) -> Split:
    from torchvision.datasets.mnist import read_image_file, read_label_file  # slow to import

    image_path = require(raw / f"{prefix}-images-idx3-ubyte", fetch_mnist)
    label_path = require(raw / f"{prefix}-labels-idx1-ubyte", fetch_mnist)
    images = read(image_path, lambda path: read_image_file(path).numpy())
    labels = read(label_path, lambda path: read_label_file(path).numpy())
    _expect(image_path, images, np.uint8, (count, 28, 28))
    _expect_classes(label_path, _expect(label_path, labels, np.int64, (count,)))
    return Split(_as_rgb(np.pad(images, ((0, 0), (2, 2), (2, 2)))), labels)


def _digits(where: Path) -> dict:
    """scikit-learn's handwritten digits, 1,797 of 8x8, each pixel repeated to a square of 4x4, its 0..16 as 0..255.

    The split into 1,437 and 360 is stratified and fixed. The shifted test set is a corruption of its own test images.
    """
    from sklearn.datasets import load_digits  # slow to import

    digits = load_digits()
    images = _as_rgb(np.rint(digits.images * (255 / 16)).astype(np.uint8).repeat(4, axis=1).repeat(4, axis=2))
    labels = digits.target.astype(np.int64)
    train, test = stratified(labels, 360)
    mean = round(float(images[train].mean()) / 255, 4)
    std = round(float(images[train].std()) / 255, 4)
    return dict(
        classes=DIGITS,
        mean=(mean,) * 3,
        std=(std,) * 3,
        train=Split(images[train], labels[train]),
        test=Split(images[test], labels[test]),
        shifted=Split(corrupt(images[test]), labels[test]),
        shifted_name=f"the same {len(test)} test images at half contrast, moved by 2 pixels, with Gaussian noise",
    )


def corrupt(images: np.ndarray) -> np.ndarray:
    """Grey images, uint8 (N, 32, 32, 3), at half contrast, moved 2 pixels down and right, with noise of 40 levels.

    The noise is Gaussian, the same in the three channels, and always the same: it is drawn by NumPy's RandomState,
    whose stream, unlike that of its newer generators, is promised never to change.
    """
    moved = np.pad(images, ((0, 0), (2, 0), (2, 0), (0, 0)))[:, :32, :32]
    noise = np.random.RandomState(0).normal(0, 40, (*images.shape[:3], 1))
    return np.rint(64 + moved / 2 + noise).clip(0, 255).astype(np.uint8)


def _as_rgb(grey: np.ndarray) -> np.ndarray:
    """Grey images (N, H, W) repeated to three channels (N, H, W, 3)."""
    return np.repeat(grey[..., np.newaxis], 3, axis=3)


# A loader gets the folder of the files and returns the fields of a `Dataset` but for name and checksum; `shifted`,
# `shifted_name` and `human_counts` may be left out.
LOADERS: dict[str, Callable[[Path], dict]] = {"cifar10": _cifar10, "mnist": _mnist, "digits": _digits}
_FILES = {  # what each reads, as patterns
    "cifar10": ("cifar10.npz", "cifar10h-counts.npy", "cifar10h-probs.npy", "cinic10-imagenet*.npz"),
    "mnist": tuple(f"MNIST/raw/{p}-{kind}-ubyte" for p in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")),
    "digits": (),
}  # fmt: skip


def _load_numpy(path: Path):
    return np.load(path, allow_pickle=False)


def _read_npz(path: Path, *names: str) -> list[np.ndarray]:
    def reader(path):
        with _load_numpy(path) as arrays:
            return [arrays[name] for name in names]

    return read(path, reader)


def _expect(path: Path, array: np.ndarray, dtype: type, shape: tuple[int | None, ...]) -> np.ndarray:
    """`array`, if it has this type and shape (None stands for any length but 0)."""
    fits = array.ndim == len(shape) and all(n == m or (n is None and m) for n, m in zip(shape, array.shape))
    if array.dtype != dtype or not fits:
        wanted = tuple("N" if n is None else n for n in shape)
        expected = f"{np.dtype(dtype)} of shape ({', '.join(map(str, wanted))})"
        raise damaged(path, f"an array of {array.dtype} of shape {array.shape}", expected)
    return array


def _expect_classes(path: Path, labels: np.ndarray) -> np.ndarray:
    """`labels`, if all are of the ten classes."""
    if labels.min() < 0 or labels.max() > 9:
        raise damaged(path, f"labels from {labels.min()} to {labels.max()}", "labels from 0 to 9")
    return labels


def _rgb_split(path: Path, images: np.ndarray, labels: np.ndarray, count: int | None) -> Split:
    """The split of `count` (None: any number of) images that `path` holds as uint8, as it holds the labels."""
    _expect(path, images, np.uint8, (count, 32, 32, 3))
    _expect_classes(path, _expect(path, labels, np.uint8, (len(images),)))
    return Split(images, labels.astype(np.int64))
