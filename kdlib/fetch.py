"""Data files from their original hosts: fetched once, resumed, and checked against the checksum of each source."""

import hashlib
import os
import shutil
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from urllib.request import Request, urlopen

import numpy as np
from filelock import FileLock
from PIL import Image
from tqdm import tqdm

from kdlib import KdlibError, written_aside

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CINIC10_IMAGES = 70_000  # of ImageNet, in CINIC-10's test fold


SLOW = 300_000  # bytes a second: below it another address is tried, which goes on from what has arrived
SECONDS_TO_JUDGE = 20  # for which a server is watched before it is called slow


class DataError(KdlibError):
    """A data set that is unknown, or whose file is missing and out of reach, or damaged."""


class SlowServer(Exception):
    """A server that is left for another one."""


@dataclass(frozen=True)
class Remote:
    """A published file: the addresses to try in turn, its size in bytes, its checksum ("sha256:..." or "md5:...")."""

    urls: tuple[str, ...]
    size: int
    checksum: str


CIFAR10_ARCHIVE = Remote(  # the author's, and the copy from which PaddlePaddle's loader takes the same bytes
    (
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",
    ),
    170_498_071,
    "md5:c58f30108f718f92721af3b95e74349a",
)
_CIFAR10H_URL = "https://raw.githubusercontent.com/jcpeterson/cifar-10h/master/data"
CIFAR10H = {
    name: Remote((f"{_CIFAR10H_URL}/{name}",), 800_128, f"sha256:{sha256}")
    for name, sha256 in (
        ("cifar10h-counts.npy", "9b36b4550349af56c79083356312eb4af856cc5fd3caf1f669d40b9d0bbb69ff"),
        ("cifar10h-probs.npy", "436ae98620e00073f9d08585ac870573b588853e7af9f54eb1647408114af77d"),
    )
}
CINIC10_ARCHIVE = Remote(  # https://datashare.ed.ac.uk/handle/10283/3192
    (
        "https://datashare.ed.ac.uk/server/api/core/bitstreams/e8e186cc-2688-48f1-aa5a-3fda1a43f8b6/content",
        "https://datashare.ed.ac.uk/bitstream/handle/10283/3192/CINIC-10.tar.gz",
    ),
    687_544_992,
    "md5:6ee4d0c996905fe93221de577967a372",
)


def require(path: Path, fetch: Callable[[Path], None]) -> Path:
    """`path`, once it exists: `fetch(path)` makes it, in one process at a time."""
    try:
        if path.exists():
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{fetch.__name__}.lock")):
            if not path.exists():  # another process may have fetched it meanwhile
                fetch(path)
    # RuntimeError: torchvision's, when no mirror answers, or filelock's, where a file system has no locks
    except (DataError, OSError, RuntimeError) as fault:
        raise DataError(
            f"{path} is missing and could not be fetched ({_one_line(fault)}): try again with a network connection, "
            "put the file there, or set KDLIB_DATA to a folder that holds it"
        ) from fault
    return path


def fetch_cifar10(path: Path) -> None:
    """torchvision's loader unpacks and reads what our downloader, which unlike its own resumes, has put in its way."""
    from torchvision.datasets import CIFAR10  # slow to import, and seldom needed

    work = path.with_name("cifar10-download")
    download(CIFAR10_ARCHIVE, work / CIFAR10.filename)
    train, test = (CIFAR10(work, train=train, download=True) for train in (True, False))
    _save_npz(
        path,
        x_train=train.data,
        y_train=np.array(train.targets, np.uint8),
        x_test=test.data,
        y_test=np.array(test.targets, np.uint8),
    )
    shutil.rmtree(work)


def fetch_mnist(path: Path) -> None:
    """torchvision's loader fetches and unpacks the four files; broken off, it keeps those it has."""
    from torchvision.datasets import MNIST

    work = path.with_name("mnist-download")
    MNIST(work, download=True)
    for packed, _ in MNIST.resources:
        name = packed.removesuffix(".gz")
        os.replace(work / "MNIST" / "raw" / name, path.with_name(name))
    shutil.rmtree(work)


def fetch_cifar10h(path: Path) -> None:
    download(CIFAR10H[path.name], path)


def fetch_cinic10(path: Path) -> None:
    archive = path.with_name("CINIC-10.tar.gz")
    download(CINIC10_ARCHIVE, archive)
    images, labels = read(archive, imagenet_part)
    if len(labels) != CINIC10_IMAGES:
        raise DataError(f"{archive} has {len(labels):,} ImageNet images in its test fold, expected {CINIC10_IMAGES:,}")
    _save_npz(path, x=images, y=labels)
    archive.unlink()


def imagenet_part(archive: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 (N, 32, 32, 3), and labels, uint8 (N,), of the test fold of CINIC-10 that are not CIFAR-10's.

    They are in the order of their paths, `test/CLASS/NAME.png`; CIFAR-10's are those named `cifar10-...`.
    """
    found = {}
    with tarfile.open(archive) as tar:
        for member in tqdm(tar, desc=f"reading {archive.name}", unit=" files", disable=None):
            fold, label, name = ("", "", "", *PurePosixPath(member.name).parts)[-3:]
            if fold == "test" and name.endswith(".png") and not name.startswith("cifar10-"):
                image = np.asarray(Image.open(tar.extractfile(member)).convert("RGB"))
                found[CIFAR10_CLASSES.index(label), name] = image
    order = sorted(found)  # the classes are in alphabetical order
    images = [found[key] for key in order]
    return np.array(images, np.uint8).reshape(-1, 32, 32, 3), np.array([label for label, _ in order], np.uint8)


def _save_npz(path: Path, **arrays: np.ndarray) -> None:
    with written_aside(path) as aside, aside.open("wb") as file:
        np.savez(file, **arrays)


def download(remote: Remote, path: Path) -> None:
    """Fetch `remote` into `path`, which appears only when it is whole and its checksum is right.

    What has arrived is kept in a `.part` beside it and, where the server can, continued from there: at once when the
    connection ends early, by another address when the server is slow, or in the next call. Raises DataError with each
    address and what was wrong with it.
    """
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    faults = []
    tries = [(url, SLOW if len(remote.urls) > 1 else 0) for url in remote.urls]
    for url, least in tries:
        print(f"fetching {path.name}, {remote.size / 1e6:.1f} MB, from {url}", flush=True)
        try:
            _receive(url, part, remote.size, least)
            _verify(part, remote.checksum)
            os.replace(part, path)
            return
        except SlowServer as fault:
            print(f"{url} {fault}", flush=True)
            tries.append((url, 0))  # whatever its rate, where no other one has the file
        except (OSError, HTTPException) as fault:
            faults.append(f"{url}: {_one_line(fault)}")
    raise DataError("; ".join(faults))


def _receive(url: str, part: Path, size: int, least: float) -> None:
    """Bring `part` to `size` bytes, in as many connections as it takes, as long as each brings it further."""
    have = part.stat().st_size if part.exists() else 0
    if have > size:
        part.unlink()
        have = 0
    while have < size:
        before = have
        _continue(url, part, have, size, least)
        have = part.stat().st_size
        if have <= before:
            raise OSError(f"the connection ended after {have:,} of {size:,} bytes, which are kept")


def _continue(url: str, part: Path, have: int, size: int, least: float) -> None:
    """One connection: append to `part`, which has `have` bytes, or write it anew if the server can't start there.

    Raises `SlowServer` where it brings less than `least` bytes a second.
    """
    request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urlopen(request, timeout=30) as response:
        if response.headers.get_content_type() == "text/html":
            raise OSError("it answers with a web page instead of the file")
        start = have if response.status == 206 else 0
        length = response.headers["Content-Length"]
        if length is not None and start + int(length) != size:
            raise OSError(f"it offers {start + int(length):,} bytes, expected {size:,}")
        with (
            open(part, "ab" if start else "wb") as file,
            tqdm(total=size, initial=start, unit="B", unit_scale=True, desc=part.stem, disable=None) as bar,
        ):
            since, at = time.monotonic(), start
            while block := response.read(min(1 << 18, size - file.tell())):
                bar.update(file.write(block))
                seconds = time.monotonic() - since
                if seconds >= SECONDS_TO_JUDGE:
                    if (rate := (file.tell() - at) / seconds) < least:
                        raise SlowServer(f"sends {rate / 1000:.0f} kB a second: another address is tried")
                    since, at = time.monotonic(), file.tell()


def _verify(part: Path, checksum: str) -> None:
    """Remove `part` and say so if it has another checksum."""
    algorithm, expected = checksum.split(":")
    with open(part, "rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != expected:
        part.unlink()
        raise OSError(f"its {algorithm} is {found}, expected {expected}; what was received is removed")


def _one_line(fault: BaseException) -> str:
    return " ".join(str(fault).split()) or type(fault).__name__


def damaged(path: Path, found: str, expected: str) -> DataError:
    return DataError(f"{path} holds {found}, expected {expected}: delete it and it will be fetched again")


def read(path: Path, reader: Callable):
    """`reader(path)`; whatever it stumbles over becomes a DataError that names the file."""
    try:
        with open(path, "rb"):
            pass
    except OSError as fault:
        raise DataError(
            f"{path} can't be read here ({fault.strerror}): see to that, or set KDLIB_DATA to another folder"
        ) from fault
    try:
        return reader(path)
    # NumPy, zipfile and torchvision's asserting parser each have their own way to fail on a truncated file.
    except (OSError, EOFError, LookupError, ValueError, TypeError, AssertionError, RuntimeError) as fault:
        raise damaged(path, f"what can't be read ({_one_line(fault)})", "a whole file") from fault
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error) as fault:
        raise damaged(path, f"a broken archive ({_one_line(fault)})", "a whole file") from fault
