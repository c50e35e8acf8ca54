"""Making each run exist exactly once: teachers before their students, whoever else works on the same store."""

import contextlib
import functools
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from filelock import Timeout
from torch import Tensor

from kdlib import __version__, data, distill, extensions, metrics, models, reason, speed, written_aside
from kdlib.runs.specs import Distilled, RunError, Spec, Supervised, canonical, digest, key
from kdlib.runs.store import (
    LATENT,
    PREDICTIONS,
    TRAIN_LOGITS,
    UNREADABLE,
    WEIGHTS,
    Run,
    content_of,
    default_store,
    locked,
    open_store,
    write_json,
    write_packed,
    write_sums,
)  # fmt: skip
from kdlib.speed import LiveTeacher, StoredTeacher, precision_on
from kdlib.train import TrainingSet, derive, fit, infer, to_device

# Figure 4 of the paper: two groups of two classes each. Other data sets show their first four classes.
TSNE_CLASSES = {"cifar10": (1, 9, 3, 2)}
TSNE_IMAGES = 500  # a class
TSNE_DIMENSIONS = 50
# Batches of these gain nothing from a second thread, and lose much where the processor is shared: threads that wait
# for each other several thousand times a second are slow as soon as one of them is not running.
SMALL_DATASETS = ("digits",)


def ensure(
    specs: Iterable[Spec], *, device: str | None = None, store: Path | None = None, cluster: Any = None
) -> list[Run]:
    """Make each run exist exactly once, teachers before their students, and return them in the order asked for.

    What is in the store is checked and read; what is not is trained on `device`. Several processes may work on one
    list: each run is locked while it is made, and who finds it locked goes on with the next. `.passes` in the store
    holds a teacher's passes over augmented batches until the last student that shares them is made.

    With `cluster`, a `distributed.Client`, its workers make what is missing, each on its own GPU if it has one, unless
    `device` says otherwise; without it, `device` is the CPU unless said otherwise.
    """
    asked = [Run(spec, store) for spec in specs]
    pending: dict[str, Run] = {}
    for run in asked:
        add_pending(run, pending)
    if cluster and pending:
        from kdlib.runs.cluster import make_on  # Dask is there for those who ask for it

        make_on(cluster, pending, device or "auto")
        return asked
    device = device or "cpu"
    if pending:
        check_device(device)
        for name in {run.spec.dataset for run in pending.values()}:
            data.load(name)
        open_store(next(iter(pending.values())).store)
    pending = in_groups(pending)
    while pending:
        made = make_next(pending, device)
        if made:
            passes = passes_of(pending.pop(made))
            if passes and passes not in map(passes_of, pending.values()):
                shutil.rmtree(passes, ignore_errors=True)
        else:
            time.sleep(1)  # other processes are making all that can be made now
    return asked


def in_groups(pending: dict[str, Run]) -> dict[str, Run]:
    """The same, but students that share their teacher's passes come after one another: few of these are kept then."""
    groups = {name: passes_of(run) or name for name, run in pending.items()}
    order = list(dict.fromkeys(groups.values()))
    return {name: pending[name] for name in sorted(pending, key=lambda name: order.index(groups[name]))}


def add_pending(run: Run, pending: dict[str, Run]) -> None:
    """Check a run that exists; note one that does not, after the teacher that it needs."""
    if run.key in pending:
        return
    if run.exists():
        run.check()
        clear_away(run)
        return
    if isinstance(run.spec, Distilled):
        teacher = run.beside(run.spec.teacher)
        add_pending(teacher, pending)
        if teacher.exists():
            check_teaching(run)
    pending[run.key] = run


def check_teaching(run: Run) -> None:
    """Raise where what a student's teacher teaches by, its logits or its weights, is missing or unreadable."""
    teacher = run.beside(run.spec.teacher)
    file = taught_from(run.spec)
    if file == WEIGHTS:
        teacher.network()
    elif file == TRAIN_LOGITS:
        teacher.train_logits()


def make_next(pending: dict[str, Run], device: str) -> str | None:
    """Make the first run that can be made; its key, None where all wait for a teacher or another process.

    What shares a teacher's passes with a run that another process is at comes last: most are kept by then.
    """
    elsewhere = set()
    for passes_apart in (True, False):
        for name, run in pending.items():
            waiting = isinstance(run.spec, Distilled) and key(run.spec.teacher) in pending
            passes = passes_of(run)
            if waiting or (passes_apart and passes and passes in elsewhere):
                continue
            if make_if_free(run, device):
                return name
            elsewhere.add(passes)
    return None


def make_if_free(run: Run, device: str) -> bool:
    """Make a run, unless another process is at it; True once it exists."""
    try:
        with locked(run.store, run.key):
            if run.exists():  # made since, by one who may have been killed then
                clear_away(run)
            else:
                with threads_for(run.spec):
                    make_run(run, device)
    except Timeout:
        return False
    return True


def threads_for(spec: Spec) -> contextlib.AbstractContextManager:
    return threads(1 if spec.dataset in SMALL_DATASETS else torch.get_num_threads())


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Let PyTorch work on `count` threads of the CPU for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def check_device(device: str) -> None:
    """Refuse a device that this machine lacks, and set CUDA up: float32 is float32, convolutions are tuned once."""
    try:
        if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
            raise RuntimeError("networks are trained on cpu, cuda or cuda:N")
        torch.empty(1, device=device)
        if ":" in device:  # streams and graphs are made on the current one
            torch.cuda.set_device(device)
    except (RuntimeError, AssertionError) as error:
        raise RunError(f"device {device!r} can't be used here: {reason(error)}") from error
    if why := speed.uncompiled(device):
        print(f"{device}: networks run {why}", flush=True)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = False


def make_run(run: Run, device: str) -> None:
    """Train a run and put it into the store by one rename."""
    started = time.monotonic()
    spec = run.spec
    dataset = whole = data.load(spec.dataset)
    rows = None
    if spec.held_out:
        dataset, rows = data.held_out(whole, spec.held_out)
    elif spec.half:
        dataset, rows = data.halved(whole, spec.half)
    train = training_set(dataset.train, dataset, device)
    model = initial_network(spec, dataset)
    checkpoint = run.store / ".checkpoints" / f"{run.key}.pt"
    if precision_on(device, spec.recipe.precision) != spec.recipe.precision:
        print(f"{run.key}: in float32, as this processor has no instructions for {spec.recipe.precision}", flush=True)
    history = fit(
        model,
        train,
        spec.recipe,
        augmentations=spec.augmentations,
        seed=spec.seed,
        **taught_by(run, device, train.labels, rows),
        validation=training_set(dataset.test, dataset, device) if spec.held_out else None,
        checkpoint=checkpoint,
        made_by=f"commit {commit()}, PyTorch {torch.__version__}",
        title=run.key,
    )
    with appearing(run) as aside:
        write_json(aside / "spec.json", canonical(spec))
        history.to_csv(aside / "history.csv", index=False)
        if spec.held_out:
            last = history.iloc[-1]
            scores = {"validation": {name: float(last[f"validation_{name}"]) for name in ("accuracy", "loss")}}
        else:
            predictions, scores, embeddings = evaluate(model, dataset, train)
            np.savez_compressed(aside / PREDICTIONS, **predictions)
        if isinstance(spec, Supervised) and not spec.held_out:
            np.savez_compressed(aside / LATENT, **principal_components(embeddings, dataset))
            if spec.recipe.epochs:
                seen_or_not = train if rows is None else training_set(whole.train, whole, device)
                write_packed(aside / TRAIN_LOGITS, on_training_images(model, seen_or_not))
            weights = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
            (aside / WEIGHTS).write_bytes(safetensors.torch.save(weights))
        scores["provenance"] = provenance(spec, dataset, device, time.monotonic() - started)
        write_json(aside / "metrics.json", scores)
        write_sums(aside)


@contextlib.contextmanager
def appearing(run: Run) -> Iterator[Path]:
    """A folder for a run's files, which becomes the run by one rename; after a fault nothing of it is left.

    A cluster's client holds no lock: where somebody was first, that run stays.
    """
    aside = run.store / ".making" / f"{run.key}.{uuid.uuid4().hex[:8]}" / run.key
    try:
        aside.mkdir(parents=True)
        yield aside
        os.rename(aside, run.folder)
    except OSError as error:
        if not run.exists():
            raise RunError(
                f"{run.key} can't be kept in {run.store} ({reason(error)}): make room there, or set KDLIB_RUNS to "
                f"another folder"
            ) from error
    finally:
        shutil.rmtree(aside.parent, ignore_errors=True)
    clear_away(run)


def clear_away(run: Run) -> None:
    """Remove what making a run that exists has left: its checkpoint, and what killed processes were writing.

    One killed between a run's rename and this leaves that to whoever asks for the run next.
    """
    for left in (run.store / ".making").glob(f"{run.key}.*"):
        shutil.rmtree(left, ignore_errors=True)
    checkpoints = run.store / ".checkpoints"
    for left in (*checkpoints.glob(f"{run.key}.pt"), *checkpoints.glob(f".{run.key}.pt.*.tmp")):
        with contextlib.suppress(OSError):  # a store that can only be read, or somebody else was first
            left.unlink()


def training_set(split: data.Split, dataset: data.Dataset, device: str) -> TrainingSet:
    return to_device(split.images, split.labels, dataset.mean, dataset.std, device)


def initial_network(spec: Spec, dataset: data.Dataset) -> models.Classifier:
    """A run's network before training, on the CPU."""
    seed = derive(spec.seed, "initialisation")
    return models.build(spec.model, width=spec.width, classes=len(dataset.classes), seed=seed)


def taught_by(run: Run, device: str, labels: Tensor, rows: np.ndarray | None = None) -> dict:
    """What `fit` needs to know of the teacher: logits where the images stay as they are, else the network.

    `labels` (N,) are those of the images trained on; `rows` are these images' in the training set, None where they are
    all of it.
    """
    spec = run.spec
    if isinstance(spec, Supervised):
        return {}
    teaching = run.beside(spec.teacher)
    if not spec.augmentations:
        stored = taught_from(spec) == TRAIN_LOGITS
        logits = teaching.train_logits() if stored else untrained_logits(spec.teacher, device)
        logits = logits if rows is None else logits[rows]
        shown = distill.TARGETS[spec.targets](torch.as_tensor(logits).to(device), labels)
        teacher = StoredTeacher(shown)
    else:
        teacher = LiveTeacher(teaching.network(), spec.teacher.recipe.precision, passes_of(run))
    return {"teacher": teacher, "distillation": spec.distillation}


def taught_from(spec: Spec) -> str | None:
    """The file of its teacher that a network learns from, None where there is no teacher or its seed is enough."""
    if isinstance(spec, Supervised):
        return None
    if spec.augmentations:
        return WEIGHTS
    return TRAIN_LOGITS if spec.teacher.recipe.epochs else None


def on_training_images(model: models.Classifier, train: TrainingSet) -> np.ndarray:
    """Logits (N, K) of a network on training images as they are, as they are kept."""
    logits, _ = infer(model, train.images, train.mean, train.std)
    return float16(logits)


@functools.lru_cache(maxsize=2)  # of one that says nothing, too: their students take turns
def untrained_logits(spec: Supervised, device: str) -> np.ndarray:
    """Logits (N, K) of a random network on the training images, as its students read them: float32 of float16.

    They are not kept: seed and data are all there is to them.
    """
    dataset = data.load(spec.dataset)
    model = initial_network(spec, dataset)
    model.to(device, memory_format=model.layout)
    return on_training_images(model, training_set(dataset.train, dataset, device)).astype(np.float32)


def passes_of(run: Run) -> Path | None:
    """The folder of the teacher's passes over a student's batches, the same for all students that see these batches.

    None for a network that has no teacher, or whose teacher needs no passes as its logits are stored. Another commit
    may make other batches, and has folders of its own.
    """
    spec = run.spec
    if isinstance(spec, Supervised) or not spec.augmentations:
        return None
    seen = {
        "teacher": canonical(spec.teacher),
        "augmentations": spec.augmentations,
        "extensions": extensions.versions(spec.dataset, spec.teacher.model, spec.augmentations, None),
        "batches": [spec.seed, spec.recipe.batch_size, spec.held_out, spec.half],
        "commit": commit(),
    }
    return run.store / ".passes" / hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()[:16]


def float16(logits: Tensor) -> np.ndarray:
    return logits.cpu().numpy().astype(np.float16)


def evaluate(model: models.Classifier, dataset: data.Dataset, train: TrainingSet) -> tuple[dict, dict, np.ndarray]:
    """Open the test sets, once: arrays to keep, scores computed from those arrays as they are kept, and the
    penultimate embeddings (N, D) of the test set, which are too large to keep."""
    arrays: dict[str, np.ndarray] = {}
    scores: dict[str, dict] = {}
    for name, split in (("test", dataset.test), ("shifted", dataset.shifted)):
        if split is None:
            continue
        images = torch.as_tensor(split.images).to(train.images.device)
        logits, features = infer(model, images, train.mean, train.std)
        arrays[f"{name}_logits"] = float16(logits)
        arrays[f"{name}_labels"] = small(split.labels, dataset)
        scores[name] = metrics.evaluate_logits(arrays[f"{name}_logits"], split.labels)
        if name == "test":
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


def principal_components(embeddings: np.ndarray, dataset: data.Dataset) -> dict[str, np.ndarray]:
    """The first principal components (M, D) of the embeddings of four classes' test images, and their labels
    (Figure 4)."""
    classes = TSNE_CLASSES.get(dataset.name, (0, 1, 2, 3))
    labels = dataset.test.labels
    chosen = np.concatenate([np.flatnonzero(labels == k)[:TSNE_IMAGES] for k in classes])
    centred = embeddings[chosen] - embeddings[chosen].mean(0)
    dimensions = min(TSNE_DIMENSIONS, *centred.shape)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    components = centred @ directions[:dimensions].T
    return {"components": components.astype(np.float16), "labels": small(labels[chosen], dataset)}


def small(labels: np.ndarray, dataset: data.Dataset) -> np.ndarray:
    """Labels in the least type that holds all classes."""
    return labels.astype(np.min_scalar_type(len(dataset.classes) - 1))


def people_apart(name: str) -> float | None:
    """How near people are to people on the test images of data set `name` (`metrics.human_ceiling`), nats.

    Computed where their votes are at hand, and kept in the store beside the runs, for who has no data. None where
    nobody was asked, or where it is not kept and the files are not here.
    """
    path = default_store() / f"{name}-people.json"
    try:
        kept = json.loads(content_of(path))
        if kept.pop("digest") != digest(kept):
            raise ValueError("its numbers have another digest")
        if kept["smoothing"] != metrics.HUMAN_SMOOTHING:
            raise ValueError(f"it has smoothing {kept['smoothing']}, expected {metrics.HUMAN_SMOOTHING}")
        return kept["human_ceiling"]
    except FileNotFoundError:
        pass
    except UNREADABLE as error:
        raise RunError(f"{path} can't be used ({error}): restore it, or delete it to compute it again") from error
    counts = data.load(name).human_counts if data.at_hand(name) else None
    if counts is None:
        return None
    kept = {"human_ceiling": metrics.human_ceiling(counts), "smoothing": metrics.HUMAN_SMOOTHING}
    kept |= {"dataset_checksum": data.load(name).checksum}
    with contextlib.suppress(OSError, RunError):  # where nothing can be written it is computed each time
        open_store(path.parent)
        with written_aside(path) as aside:
            write_json(aside, kept | {"digest": digest(kept)})
    return kept["human_ceiling"]


def provenance(spec: Spec, dataset: data.Dataset, device: str, seconds: float) -> dict:
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
        "precision": precision_on(device, spec.recipe.precision),
        "compiled": on_gpu and not speed.uncompiled(device),
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
