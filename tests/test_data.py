"""Data sets: what they hold, where they come from, and what is said when that fails."""

import dataclasses
import gzip
import hashlib
import io
import pickle
import re
import tarfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from torchvision.datasets import CIFAR10, MNIST

from kdlib import KdlibError, data, fetch


@pytest.fixture
def where(tmp_path, monkeypatch):
    """An empty data folder."""
    monkeypatch.setenv("KDLIB_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def refusal(name):
    """The message with which load(name) refuses: one sentence on one line."""
    with pytest.raises(data.DataError) as fault:
        data.load(name)
    message = str(fault.value)
    assert "\n" not in message and not message.endswith(".")
    return message


# --- the folder and the names ---


def test_the_folder_is_kdlib_data_or_in_the_cache(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("KDLIB_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert data.folder() == Path("/home/someone/.cache/kdlib")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert data.folder() == Path("/var/cache/kdlib")
    monkeypatch.setenv("KDLIB_DATA", "~/sets")
    assert data.folder() == Path("/home/someone/sets")


def test_an_unknown_name_lists_the_known_ones():
    assert refusal("cifar100") == "unknown data set 'cifar100': choose one of cifar10, mnist, digits"
    assert issubclass(data.DataError, KdlibError)


# --- digits ---


def check_form(dataset):
    """What holds for every data set."""
    for split in filter(None, (dataset.train, dataset.test, dataset.shifted)):
        assert split.images.dtype == np.uint8 and split.images.shape == (len(split.labels), 32, 32, 3)
        assert split.labels.dtype == np.int64
        assert set(split.labels) == set(range(len(dataset.classes)))
    assert (dataset.shifted is None) == (dataset.shifted_name is None)
    assert re.fullmatch("[0-9a-f]{64}", dataset.checksum)
    assert dataset.name in data.LOADERS


def test_digits_need_no_file(where):
    digits = data.load("digits")
    check_form(digits)
    assert data.load("digits") is digits
    assert not list(where.iterdir())
    assert digits.classes == tuple("0123456789") and digits.human_counts is None


def test_digits_are_split_by_class_and_lose_nothing():
    digits = data.load("digits")
    assert (len(digits.train.labels), len(digits.test.labels)) == (1437, 360)
    assert np.ptp(np.bincount(digits.train.labels) / 4 - np.bincount(digits.test.labels)) < 1.5
    ours = np.concatenate([digits.train.images, digits.test.images])[:, ::4, ::4, 0]
    theirs = np.rint(load_digits().images * 255 / 16).astype(np.uint8)
    assert sorted(image.tobytes() for image in ours) == sorted(image.tobytes() for image in theirs)


def test_digits_are_normalised_by_their_training_images():
    digits = data.load("digits")
    pixels = digits.train.images / 255
    assert digits.mean == pytest.approx(pixels.mean((0, 1, 2)), abs=1e-4)
    assert digits.std == pytest.approx(pixels.std((0, 1, 2)), abs=1e-4)


def test_digits_are_the_same_everywhere():
    """Results name this checksum: another split, scaling or corruption needs a new edition of the runs."""
    assert data.load("digits").checksum == "4514223030d1aaf4236c30077fb1646e6295bd077a48af449f1487b9ecba0f21"


def test_shifted_digits_are_a_corruption_of_the_test_images():
    digits = data.load("digits")
    assert np.array_equal(digits.shifted.labels, digits.test.labels)
    assert np.array_equal(digits.shifted.images, data.corrupt(digits.test.images))
    assert not np.array_equal(digits.shifted.images, digits.test.images)
    grey = np.full((50, 32, 32, 3), 100, np.uint8)
    corrupted = data.corrupt(grey)[:, 2:, 2:]
    assert np.array_equal(corrupted[..., 0], corrupted[..., 2])
    assert corrupted.mean() == pytest.approx(64 + 100 / 2, abs=1)
    assert corrupted.std() == pytest.approx(40, abs=1)


def test_the_checksum_sees_every_array():
    split = data.Split(np.zeros((2, 32, 32, 3), np.uint8), np.array([0, 1]))
    other = data.Split(split.images, np.array([1, 0]))
    counts = np.ones((2, 10), np.int64)
    plain = dict(train=split, test=split, shifted=None, human_counts=None)
    variants = [plain, plain | dict(train=other), plain | dict(test=other), plain | dict(shifted=split)]
    variants += [plain | dict(human_counts=counts), plain | dict(human_counts=counts.reshape(10, 2))]
    assert len({data._checksum(parts) for parts in variants}) == len(variants)


# --- reading files, small ones in the place of the real ---


@pytest.fixture
def small(where, monkeypatch):
    """A data folder with CIFAR-10 and MNIST in a few images each, whose names and arrays are those of the real ones."""
    sizes = {50_000: 30, 10_000: 20, 60_000: 30, fetch.CINIC10_IMAGES: 10}
    monkeypatch.setattr(data, "PUBLISHED", {})
    expect = data._expect
    resize = lambda shape: tuple(sizes.get(n, n) for n in shape)  # noqa: E731
    monkeypatch.setattr(data, "_expect", lambda path, array, dtype, shape: expect(path, array, dtype, resize(shape)))
    draw = np.random.RandomState(0)
    x, y = draw.randint(256, size=(30, 32, 32, 3), dtype=np.uint8), np.arange(30, dtype=np.uint8) % 10
    np.savez(where / "cifar10.npz", x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])
    counts = draw.randint(1, 9, size=(20, 10))
    np.save(where / "cifar10h-counts.npy", counts)
    np.save(where / "cifar10h-probs.npy", counts / counts.sum(1, keepdims=True))
    np.savez(where / "cinic10-imagenet-sample.npz", x=x[:13], y=y[:13])
    raw = where / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, n in (("train", 30), ("t10k", 20)):
        write_idx(raw / f"{prefix}-images-idx3-ubyte", x[:n, :28, :28, 0])
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", y[:n])
    return where


def write_idx(path, array):
    """An array of bytes as MNIST's files hold it: type and rank, lengths as big-endian integers, bytes."""
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes())


def test_cifar10_is_read_with_its_votes_and_its_second_source(small):
    cifar10 = data.load("cifar10")
    check_form(cifar10)
    assert len(cifar10.train.labels) == 30 and len(cifar10.test.labels) == 20
    assert np.array_equal(cifar10.human_counts, np.load(small / "cifar10h-counts.npy"))
    assert cifar10.shifted_name == "CINIC-10's ImageNet part, a sample of 13 images"


def test_the_full_imagenet_part_is_preferred_to_the_sample(small):
    images = np.zeros((10, 32, 32, 3), np.uint8)
    np.savez(small / "cinic10-imagenet.npz", x=images, y=np.arange(10, dtype=np.uint8))
    cifar10 = data.load("cifar10")
    assert np.array_equal(cifar10.shifted.images, images)
    assert cifar10.shifted_name == "CINIC-10's ImageNet part, all 10 images of the test fold"


def test_mnist_is_padded_and_repeated(small):
    mnist = data.load("mnist")
    check_form(mnist)
    images = mnist.train.images
    assert images[:, 2:-2, 2:-2].any() and not images[:, :2].any() and not images[:, :, -2:].any()
    assert np.array_equal(images[..., 0], images[..., 1]) and np.array_equal(images[..., 0], images[..., 2])
    assert mnist.human_counts is None and mnist.shifted is None


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def empty(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("not what it seems")


MNIST_IMAGES = "MNIST/raw/train-images-idx3-ubyte"
FILES = ["cifar10.npz", "cifar10h-counts.npy", "cifar10h-probs.npy", "cinic10-imagenet-sample.npz"]
FILES += [MNIST_IMAGES, "MNIST/raw/t10k-labels-idx1-ubyte"]


@pytest.mark.parametrize("damage", [cut, empty, text])
@pytest.mark.parametrize("file", FILES)
def test_an_unreadable_file_is_named(small, file, damage):
    if damage is cut and "labels" in file:
        (small / file).write_bytes((small / file).read_bytes()[:-1])
    else:
        damage(small / file)
    message = refusal("mnist" if "MNIST" in file else "cifar10")
    assert message.startswith(f"{small / file} holds ")
    assert message.endswith("delete it and it will be fetched again")


def rewrite_npz(file, **changes):
    def change(small):
        with np.load(small / file) as arrays:
            np.savez(small / file, **(dict(arrays) | changes))
        return small / file

    return change


def rewrite_npy(file, change_array):
    def change(small):
        np.save(small / file, change_array(np.load(small / file)))
        return small / file

    return change


def rewrite_idx(file, array):
    def change(small):
        write_idx(small / file, array)
        return small / file

    return change


X = np.zeros((30, 32, 32, 3), np.uint8)


@pytest.mark.parametrize(
    "change, found, expected",
    [
        (rewrite_npz("cifar10.npz", x_train=X[:29]), "an array of uint8 of shape (29, 32, 32, 3)", "(30, 32, 32, 3)"),
        (rewrite_npz("cifar10.npz", x_train=X / 255), "an array of float64", "uint8"),
        (rewrite_npz("cifar10.npz", x_train=X.reshape(30, 3, 32, 32)), "shape (30, 3, 32, 32)", "(30, 32, 32, 3)"),
        (rewrite_npz("cifar10.npz", y_test=X[:19, 0, 0, 0]), "shape (19,)", "(20)"),
        (rewrite_npz("cifar10.npz", y_test=X[:20, 0, 0, 0] + np.uint8(10)), "labels from 10 to 10", "0 to 9"),
        (rewrite_npz("cinic10-imagenet-sample.npz", x=X[:0], y=X[:0, 0, 0, 0]), "shape (0, 32", "(N, 32, 32, 3)"),
        (rewrite_npz("cinic10-imagenet-sample.npz", x=X[:12]), "shape (13,)", "(12)"),
        (rewrite_npy("cifar10h-counts.npy", lambda c: c.astype(float)), "an array of float64", "int64"),
        (rewrite_npy("cifar10h-counts.npy", lambda c: c[:5]), "shape (5, 10)", "(20, 10)"),
        (rewrite_npy("cifar10h-counts.npy", lambda c: c * 0), "images without any", "votes for every image"),
        (rewrite_npy("cifar10h-probs.npy", lambda p: p[::-1]), "other shares", "cifar10h-counts.npy"),
        (rewrite_idx(MNIST_IMAGES, X[:, :28, :28, 0][:7]), "shape (7, 28, 28)", "(30, 28, 28)"),
        (rewrite_idx(MNIST_IMAGES, X[:, :28, 0, 0]), "what can't be read", "a whole file"),
        (rewrite_idx(MNIST_IMAGES.replace("images-idx3", "labels-idx1"), X[:, 0, 0, 0] + np.uint8(11)), "11", "0 to 9"),
    ],
)
def test_an_odd_array_is_named_with_what_was_expected(small, change, found, expected):
    path = change(small)
    message = refusal("mnist" if "MNIST" in str(path) else "cifar10")
    assert message.startswith(f"{path} holds ") and message.endswith("delete it and it will be fetched again")
    before, after = message.split("expected", 1)
    assert found in before and expected in after


@pytest.mark.parametrize("name, split", [("cifar10", "train"), ("mnist", "train"), ("mnist", "test")])
def test_images_that_are_not_the_published_ones_are_told_by_their_checksum(small, monkeypatch, name, split):
    monkeypatch.setattr(data, "PUBLISHED", {name: {split: "0" * 64}})
    assert re.search(f"the {split} split of {name} in {small} has sha256 [0-9a-f]{{64}}, the published", refusal(name))


@pytest.mark.parametrize(
    "change, says",
    [
        ({"mean": None}, "mean too many or too few"),
        ({"title": "x"}, "title too many or too few"),
        ({"std": (1.0, 0.0, 1.0)}, "the std of other is (1.0, 0.0, 1.0)"),
        ({"mean": 0.5}, "the mean of other is 0.5"),
        ({"human_counts": np.ones((3, 2), np.int64)}, "the human_counts of other are int64 (3, 2)"),
    ],
)
def test_what_a_loader_returns_is_checked(where, monkeypatch, change, says):
    split = data.Split(np.zeros((4, 32, 32, 3), np.uint8), np.arange(4) % 2)
    parts = dict(classes=("a", "b"), mean=(0.5,) * 3, std=(0.5,) * 3, train=split, test=split) | change
    parts = {name: value for name, value in parts.items() if value is not None}
    monkeypatch.setitem(data.LOADERS, "other", lambda folder: parts)
    assert says in refusal("other")


def test_a_pickle_is_never_opened(small):
    np.save(small / "cifar10h-counts.npy", np.array([{}]), allow_pickle=True)
    assert "what can't be read" in refusal("cifar10")


# --- downloading, from a server on this machine ---


class Server(ThreadingHTTPServer):
    """Serves `files` (path to bytes), where `ranges` from the middle too, and `limit` bytes a connection at most."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.ranges, self.limit, self.content_type = {}, True, None, "application/octet-stream"
        self.requests = []

    def handle_error(self, request, client_address):
        pass  # a client that refuses what it is offered hangs up

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def remote(self, name, content, **changes):
        self.files[f"/{name}"] = content
        published = dict(urls=(self.url(name),), size=len(content), checksum=sha256(content))
        return fetch.Remote(**published | changes)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        server.requests.append((self.path, int(start[1]) if start else 0))
        if (content := server.files.get(self.path)) is None:
            return self.send_error(404)
        start = int(start[1]) if start and server.ranges else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", server.content_type)
        self.send_header("Content-Length", len(content) - start)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[start:][: server.limit])

    do_HEAD = do_GET  # torchvision asks first where an address leads

    def log_message(self, *args):
        pass


def sha256(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def md5(content):
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def server():
    with Server() as server:
        thread = Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.01))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


CONTENT = np.random.RandomState(1).bytes(3_000_000)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_download_appears_whole(server, tmp_path):
    fetch.download(server.remote("a.bin", CONTENT), tmp_path / "new" / "a.bin")
    assert (tmp_path / "new" / "a.bin").read_bytes() == CONTENT
    assert files(tmp_path / "new") == ["a.bin"]


def test_md5_is_a_checksum_too(server, tmp_path):
    fetch.download(server.remote("a.bin", CONTENT, checksum=f"md5:{md5(CONTENT)}"), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_broken_download_is_resumed(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:1_234_567])
    fetch.download(server.remote("a.bin", CONTENT), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.requests == [("/a.bin", 1_234_567)]


def test_a_server_without_ranges_begins_anew(server, tmp_path):
    server.ranges = False
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:1_234_567])
    fetch.download(server.remote("a.bin", CONTENT), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_connection_that_breaks_is_taken_up_again_while_it_brings_something(server, tmp_path):
    server.limit = 1_000_000
    fetch.download(server.remote("a.bin", CONTENT), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert [start for _, start in server.requests] == [0, 1_000_000, 2_000_000]


def test_a_connection_that_brings_nothing_new_is_given_up_and_the_part_kept(server, tmp_path):
    server.ranges, server.limit = False, 1_000_000
    with pytest.raises(data.DataError, match="ended after 1,000,000 of 3,000,000 bytes"):
        fetch.download(server.remote("a.bin", CONTENT), tmp_path / "a.bin")
    assert files(tmp_path) == ["a.bin.part"]


def test_a_file_that_is_there_is_left_alone(server, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"mine")
    fetch.download(server.remote("a.bin", CONTENT), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == b"mine" and not server.requests


def test_a_whole_part_is_only_verified(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(CONTENT)
    fetch.download(server.remote("a.bin", CONTENT), tmp_path / "a.bin")
    assert files(tmp_path) == ["a.bin"] and not server.requests


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    remote = server.remote("a.bin", CONTENT, checksum=sha256(b"other"))
    with pytest.raises(data.DataError, match="its sha256 is .*, expected "):
        fetch.download(remote, tmp_path / "a.bin")
    assert files(tmp_path) == []


@pytest.mark.parametrize("size", [2_999_999, 3_000_001])
def test_a_wrong_size_is_refused_before_anything_is_written(server, tmp_path, size):
    remote = server.remote("a.bin", CONTENT, size=size)
    with pytest.raises(data.DataError, match=f"it offers 3,000,000 bytes, expected {size:,}"):
        fetch.download(remote, tmp_path / "a.bin")
    assert files(tmp_path) == []


def test_a_part_that_is_too_long_is_begun_anew(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(CONTENT + b"more")
    fetch.download(server.remote("a.bin", CONTENT), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_web_page_is_not_the_file(server, tmp_path):
    server.content_type = "text/html; charset=utf-8"
    with pytest.raises(data.DataError, match="a web page"):
        fetch.download(server.remote("a.bin", CONTENT), tmp_path / "a.bin")
    assert files(tmp_path) == []


def test_the_next_address_is_tried(server, tmp_path):
    remote = server.remote("a.bin", CONTENT, urls=(server.url("gone.bin"), server.url("a.bin")))
    fetch.download(remote, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    with pytest.raises(data.DataError, match="gone.bin: HTTP Error 404.*; .*lost.bin: HTTP Error 404"):
        fetch.download(fetch.Remote((server.url("gone.bin"), server.url("lost.bin")), 1, "md5:0"), tmp_path / "b.bin")


# --- fetching what is missing ---


def cinic10_archive(count):
    """A tar.gz laid out as CINIC-10.tar.gz, with `count` images of ImageNet in its test fold, not in sorted order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        names = [f"test/{data.CIFAR10_CLASSES[i % 10]}/n{i:08}_{i}.png" for i in reversed(range(count))]
        others = ["train/cat/n9_9.png", "valid/dog/n9_9.png", "test/cat/cifar10-test-1.png", "README", "test/notes.txt"]
        for name in others[:3] + names + others[3:]:
            content = io.BytesIO()
            shade = int(name.split("_")[1].removesuffix(".png")) if name in names else 255
            Image.new("L", (32, 32), shade).save(content, "png")  # some of CINIC-10's images are grey
            member = tarfile.TarInfo(f"./{name}")
            member.size = content.tell()
            tar.addfile(member, io.BytesIO(content.getvalue()))
    return buffer.getvalue()


def test_the_imagenet_part_is_cut_from_the_archive(server, small, monkeypatch):
    (small / "cinic10-imagenet-sample.npz").unlink()
    monkeypatch.setattr(fetch, "CINIC10_ARCHIVE", server.remote("CINIC-10.tar.gz", cinic10_archive(20)))
    message = refusal("cifar10")
    assert "20 ImageNet images in its test fold, expected 70,000" in message
    assert "CINIC-10.tar.gz" in files(small) and "cinic10-imagenet.npz" not in files(small)
    monkeypatch.setattr(fetch, "CINIC10_IMAGES", 20)
    shifted = data.load("cifar10").shifted
    assert np.array_equal(shifted.labels, np.repeat(np.arange(10), 2))
    assert np.array_equal(shifted.images[:, 5, 5, 1], np.arange(20).reshape(2, 10).T.ravel())  # by class, then name
    assert "CINIC-10.tar.gz" not in files(small) and "cinic10-imagenet.npz" in files(small)
    assert len(server.requests) == 1


def test_a_damaged_archive_is_named(small, offline):
    (small / "cinic10-imagenet-sample.npz").unlink()
    (small / "CINIC-10.tar.gz").write_bytes(cinic10_archive(20)[:-500])
    assert f"{small / 'CINIC-10.tar.gz'} holds what can't be read" in refusal("cifar10")
    assert "cinic10-imagenet.npz" not in files(small)


def test_votes_are_fetched(server, small, monkeypatch):
    """A missing file is fetched into its place, and only that one."""
    content = (small / "cifar10h-counts.npy").read_bytes()
    (small / "cifar10h-counts.npy").unlink()
    monkeypatch.setitem(fetch.CIFAR10H, "cifar10h-counts.npy", server.remote("counts.npy", content))
    data.load("cifar10")
    assert (small / "cifar10h-counts.npy").read_bytes() == content
    assert server.requests == [("/counts.npy", 0)]


@pytest.fixture
def offline(monkeypatch):
    """No host answers."""

    def fail(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(fetch, "urlopen", fail)
    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", fail)


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_out_of_reach_is_named(small, offline, file):
    wanted = file.replace("-sample", "")  # in the absence of both the full set is fetched
    (small / file).unlink()
    message = refusal("mnist" if "MNIST" in file else "cifar10")
    assert message.startswith(f"{small / wanted} is missing and could not be fetched (")
    assert "no route to host" in message
    assert message.endswith("set KDLIB_DATA to a folder that holds it")
    assert not (small / wanted).exists()


def test_a_folder_that_can_not_be_made_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KDLIB_DATA", str(tmp_path / "file"))
    assert str(tmp_path / "file" / "cifar10.npz") in refusal("cifar10")


def cifar10_batch(images, labels):
    """A batch as CIFAR-10's archive holds it: a pickle of channel-first rows and a list of labels."""
    return pickle.dumps({"data": images.transpose(0, 3, 1, 2).reshape(len(images), -1), "labels": labels.tolist()})


def test_cifar10_is_fetched_for_torchvision_and_stored_as_one_file(server, small, monkeypatch):
    with np.load(small / "cifar10.npz") as arrays:
        original = dict(arrays)
    (small / "cifar10.npz").unlink()
    members = {
        "data_batch_1": cifar10_batch(original["x_train"], original["y_train"]),
        "test_batch": cifar10_batch(original["x_test"], original["y_test"]),
        "batches.meta": pickle.dumps({"label_names": list(data.CIFAR10_CLASSES)}),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    listed = {name: [name, md5(content)] for name, content in members.items()}
    monkeypatch.setattr(CIFAR10, "train_list", [listed["data_batch_1"]])
    monkeypatch.setattr(CIFAR10, "test_list", [listed["test_batch"]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5(members["batches.meta"])})
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(buffer.getvalue()))
    monkeypatch.setattr(fetch, "CIFAR10_ARCHIVE", server.remote("cifar.tar.gz", buffer.getvalue()))
    data.load("cifar10")
    with np.load(small / "cifar10.npz") as stored:
        for name, array in original.items():
            assert np.array_equal(stored[name], array) and stored[name].dtype == np.uint8
    assert not list(small.glob("*download*")) and server.requests == [("/cifar.tar.gz", 0)]


def test_mnist_is_fetched_by_torchvision_into_its_place(server, small, monkeypatch):
    raw = small / "MNIST" / "raw"
    original = {path.name: path.read_bytes() for path in raw.iterdir()}
    (raw / "t10k-labels-idx1-ubyte").unlink()
    packed = {f"{name}.gz": gzip.compress(content) for name, content in original.items()}
    server.files = {f"/{name}": content for name, content in packed.items()}
    monkeypatch.setattr(MNIST, "mirrors", [server.url("")])
    monkeypatch.setattr(MNIST, "resources", [(name, md5(content)) for name, content in packed.items()])
    data.load("mnist")
    assert {path.name: path.read_bytes() for path in raw.iterdir() if "lock" not in path.name} == original
    assert not list(small.glob("**/*download*"))


# --- slow servers ---


def test_a_slow_server_is_left_for_another_which_goes_on_from_what_has_arrived(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fetch, "SECONDS_TO_JUDGE", 0)
    monkeypatch.setattr(fetch, "SLOW", 1e12)
    remote = server.remote("slow.bin", CONTENT)
    other = server.url("other.bin")
    server.files["/other.bin"] = CONTENT
    urls = (*remote.urls, other)
    fetch.download(dataclasses.replace(remote, urls=urls), tmp_path / "x.bin")
    assert (tmp_path / "x.bin").read_bytes() == CONTENT
    asked, starts = zip(*server.requests, strict=True)
    # Both are slow here: the first is taken after all, whatever its rate.
    assert asked == ("/slow.bin", "/other.bin", "/slow.bin") and 0 == starts[0] < starts[1] < starts[2]
    said = capsys.readouterr().out
    assert f"fetching x.bin, 3.0 MB, from {other}" in said and "kB a second: another address is tried" in said


def test_the_only_server_may_be_slow(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "SECONDS_TO_JUDGE", 0)
    monkeypatch.setattr(fetch, "SLOW", 1e12)
    fetch.download(server.remote("a.bin", CONTENT), tmp_path / "a.bin")
    assert [path for path, _ in server.requests] == ["/a.bin"]


def test_cifar10_has_two_addresses_of_the_same_bytes():
    assert len({urlsplit(url).netloc for url in fetch.CIFAR10_ARCHIVE.urls}) == 2


# --- the real data ---


def test_the_real_cifar10(real_data, monkeypatch):
    monkeypatch.setenv("KDLIB_DATA", str(real_data))
    cifar10 = data.load("cifar10")
    check_form(cifar10)
    assert (len(cifar10.train.labels), len(cifar10.test.labels)) == (50_000, 10_000)
    assert (np.bincount(cifar10.train.labels) == 5_000).all() and (np.bincount(cifar10.test.labels) == 1_000).all()
    histograms = [np.bincount(cifar10.train.images[..., c].reshape(-1), minlength=256) for c in range(3)]
    check_statistics(cifar10, histograms)
    agree = (cifar10.human_counts.argmax(1) == cifar10.test.labels).mean()
    assert agree > 0.99  # people and labels agree, so the votes are in the order of the test images


def test_the_real_mnist(real_data, monkeypatch):
    monkeypatch.setenv("KDLIB_DATA", str(real_data))
    mnist = data.load("mnist")
    check_form(mnist)
    assert (len(mnist.train.labels), len(mnist.test.labels)) == (60_000, 10_000)
    inner = mnist.train.images[:, 2:-2, 2:-2, 0]
    check_statistics(mnist, [np.bincount(inner.reshape(-1), minlength=256)])


def check_statistics(dataset, histograms):
    """Mean and deviation of each channel are those that the data set states."""
    level = np.arange(256) / 255
    for channel, histogram in enumerate(histograms):
        share = histogram / histogram.sum()
        mean = share @ level
        assert dataset.mean[channel] == pytest.approx(mean, abs=1e-4)
        assert dataset.std[channel] == pytest.approx((share @ (level - mean) ** 2) ** 0.5, abs=1e-4)


def test_halves_are_stratified_disjoint_and_always_the_same():
    whole = data.load("digits")
    (first, rows), (second, others) = (data.halved(whole, which) for which in (1, 2))
    assert sorted([*rows, *others]) == list(range(len(whole.train.labels))) and abs(len(rows) - len(others)) <= 1
    assert np.abs(np.bincount(first.train.labels) - np.bincount(second.train.labels)).max() <= 1
    assert np.array_equal(second.train.images, whole.train.images[others]) and second.test is whole.test
    assert np.array_equal(data.halved(whole, 1)[1], rows)
