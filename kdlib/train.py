"""The training loop: one for teachers and students, on the CPU and on CUDA.

It knows nothing of runs or folders: it takes a network, images on the device and a recipe, and changes the
network's weights. All randomness comes from (seed, purpose, epoch), so that arms of one seed share their order of
images, and a run taken up again after an interruption draws what it would have drawn.
"""

import contextlib
import ctypes
import functools
import hashlib
import math
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from kdlib import KdlibError
from kdlib.augment import augment, label, normalise
from kdlib.distill import Labels, cross_entropy, kd_loss
from kdlib.models import Classifier

SECONDS_BETWEEN_CHECKPOINTS = 20
PRECISIONS = ("float32", "bfloat16")


class TrainingError(KdlibError, RuntimeError):
    """Training that cannot start, or whose loss is not a number any more."""


@dataclass(frozen=True)
class Recipe:
    """How a network is optimised: SGD with Nesterov momentum, the rate rising to its peak and falling to zero.

    `precision` is that of the forward pass under autocast; losses and everything reported are float32.
    `warmup` is the share of the steps before the peak, where the rate rises from a fifth of it. `clip_norm` bounds
    the norm of the whole gradient: the distillation term grows with the teacher's logits, whatever their scale.
    """

    epochs: int
    batch_size: int
    peak_lr: float
    weight_decay: float
    precision: str
    momentum: float = 0.9
    warmup: float = 0.2
    clip_norm: float | None = None
    label_smoothing: float = 0.0
    version: int = 1

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise TrainingError(f"epochs is {self.epochs}, it must be 0 or more")
        if self.batch_size < 1:
            raise TrainingError(f"batch_size is {self.batch_size}, it must be 1 or more")
        if not 0 < self.peak_lr < math.inf:
            raise TrainingError(f"peak_lr is {self.peak_lr}, it must be above 0 and finite")
        if not 0 <= self.warmup <= 1:
            raise TrainingError(f"warmup is {self.warmup}, it must lie between 0 and 1")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise TrainingError(f"clip_norm is {self.clip_norm}, it must be above 0, or None")
        if not 0 <= self.label_smoothing < 1:
            raise TrainingError(f"label_smoothing is {self.label_smoothing}, it must lie between 0 and 1")
        if self.precision not in PRECISIONS:
            raise TrainingError(f"precision is {self.precision!r}, it must be one of {', '.join(PRECISIONS)}")

    def learning_rate(self, step: int, steps: int) -> float:
        """The rate of step `step` of `steps`: linear from a fifth of the peak up, then linear down to zero."""
        peak = self.warmup * steps
        if step < peak:
            return self.peak_lr * (0.2 + 0.8 * step / peak)
        return self.peak_lr * (steps - step) / (steps - peak)


@dataclass(frozen=True)
class Distillation:
    """The settings of `kdlib.distill.kd_loss`."""

    temperature: float
    kd_weight: float
    direction: str
    reduction: str


@dataclass(frozen=True)
class TrainingSet:
    """Images (N, 32, 32, 3) uint8 and labels (N,) int64 on the device, with the statistics to normalise by."""

    images: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor


def derive(seed: int, purpose: str, epoch: int = 0) -> int:
    """A seed of its own for each purpose and epoch, so that no draw of one shifts those of another."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{epoch}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def to_device(images, labels, mean, std, device: str | torch.device) -> TrainingSet:
    """Arrays of a data set's split as a `TrainingSet`."""
    return TrainingSet(
        torch.as_tensor(images).to(device),
        torch.as_tensor(labels).long().to(device),
        torch.tensor(mean, dtype=torch.float32, device=device),
        torch.tensor(std, dtype=torch.float32, device=device),
    )


def fit(
    model: Classifier,
    data: TrainingSet,
    recipe: Recipe,
    *,
    augmentations: tuple[str, ...] = (),
    seed: int = 0,
    teacher: Tensor | Classifier | None = None,
    teacher_precision: str = "float32",
    distillation: Distillation | None = None,
    passes: Path | None = None,
    validation: TrainingSet | None = None,
    checkpoint: Path | None = None,
    title: str = "",
) -> pd.DataFrame:
    """Train `model` in place on the device of `data`; returns a row an epoch: epoch, lr, loss, accuracy, seconds.

    Where the recipe clips gradients, `clipped` is the share of steps on which it did; with images for `validation`,
    `validation_loss` and `validation_accuracy` are those of the network after the epoch, on these images as they are.

    `teacher` is None (labels alone), logits of every training image (N, K), which are exact for a student whose
    images are not augmented, or a network, which then sees the student's batch in `teacher_precision`. On the CPU the
    folder `passes` keeps what it says of them, for other students of the same batches (`TeacherPasses`): `seconds` is
    then less for those that come later.
    Batches have one fixed size: the images that are left over at the end of an epoch's order wait for the next.
    `accuracy` is on the batches as they were trained on (mixed ones count their first label).
    """
    check_teacher(teacher, distillation, recipe, augmentations, data)
    device = data.images.device
    steps = len(data.images) // recipe.batch_size  # an epoch
    if recipe.epochs and not steps:
        raise TrainingError(
            f"batch_size is {recipe.batch_size}, but there are only {len(data.images)} training images"
        )
    if device.type == "cpu":
        keep_freed_memory()
    model.to(device, memory_format=memory_format(recipe.precision)).train()
    optimizer = make_optimizer(model, recipe)
    state = [*model.state_dict().values(), *momentum_buffers(optimizer)]
    rows = load_checkpoint(checkpoint, state, device)
    in_loop, stored = (None, teacher) if isinstance(teacher, Tensor) else (teacher, None)
    beside = None
    if in_loop is not None:
        in_loop = in_loop.to(device, memory_format=memory_format(teacher_precision)).eval()
        if device.type != "cuda":
            beside, in_loop = TeacherPasses(in_loop, teacher_precision, passes), None
    step = training_step(model, optimizer, recipe, in_loop, teacher_precision, distillation)
    progress = Progress(title, recipe.epochs, len(rows))
    last_saved = time.monotonic()
    for epoch in range(len(rows), recipe.epochs):
        started = time.monotonic()
        torch.manual_seed(derive(seed, "dropout", epoch))
        totals = torch.zeros(3, device=device)
        of_epoch = batches(data, steps, recipe.batch_size, augmentations, seed, epoch, stored)
        for i, batch in enumerate(beside.added(of_epoch, epoch) if beside else of_epoch):
            lr = recipe.learning_rate(epoch * steps + i, recipe.epochs * steps)
            optimizer.param_groups[0]["lr"].fill_(lr)
            if device.type == "cuda" and not isinstance(step, CapturedStep):
                step = CapturedStep(step, state, batch)
                torch.manual_seed(derive(seed, "dropout", epoch))  # the warm-up has drawn from it
            totals += step(*batch)
        loss, accuracy, clipped = (totals / steps).tolist()  # the only wait for the device in an epoch
        last = epoch + 1 == recipe.epochs
        if not math.isfinite(loss) or (last and not all_finite(model)):
            raise TrainingError(
                f"{title or type(model).__name__}: the loss is {loss} in epoch {epoch + 1}, and the weights are lost, "
                f"under {asdict(recipe)}, augmentations {label(augmentations)}, seed {seed}, "
                f"{distillation or 'no distillation'}"
            )
        seconds = time.monotonic() - started
        row = {"epoch": epoch + 1, "lr": lr, "loss": loss, "accuracy": accuracy, "seconds": seconds}
        row |= {} if recipe.clip_norm is None else {"clipped": clipped}
        row |= validated(model, validation) if validation else {}
        rows.append(row)
        progress.show(rows[-1])
        if checkpoint and time.monotonic() - last_saved > SECONDS_BETWEEN_CHECKPOINTS:
            save_checkpoint(checkpoint, state, rows)
            last_saved = time.monotonic()
    progress.close()
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=["epoch", "lr", "loss", "accuracy", "seconds"])


def validated(model: Classifier, held_out: TrainingSet) -> dict[str, float]:
    """Loss and accuracy of a network in training on images that it is not trained on; it goes on as before."""
    logits, _ = infer(model, held_out.images, held_out.mean, held_out.std)
    correct = (logits.argmax(1) == held_out.labels).float().mean()
    return {"validation_loss": float(cross_entropy(logits, held_out.labels)), "validation_accuracy": float(correct)}


@functools.cache
def keep_freed_memory() -> None:
    """Let this process keep blocks of up to 32 MB that a step frees, for the next one.

    By its defaults the C library may give them back to the system, which hands them out again page by page,
    cleared: a noticeable part of a short step. Larger blocks go back as before: keeping them, too, would cost a
    teacher much memory. Where there is no `mallopt` (it is glibc's), nothing changes.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(trim_threshold, -1)  # never
    mallopt(mmap_threshold, 32 << 20)  # the most that glibc allows


def all_finite(model: Classifier) -> bool:
    return bool(torch.stack([parameter.isfinite().all() for parameter in model.parameters()]).all())


def batches(
    data: TrainingSet,
    steps: int,
    batch_size: int,
    augmentations: tuple[str, ...],
    seed: int,
    epoch: int,
    stored_logits: Tensor | None,
) -> Iterator[list[Tensor]]:
    """The tensors of each step of an epoch: x, then y or y_a, y_b, lam, then the teacher's logits where stored."""
    device = data.images.device
    shuffle = torch.Generator().manual_seed(derive(seed, "order", epoch))
    order = torch.randperm(len(data.images), generator=shuffle).to(device)
    draws = torch.Generator(device).manual_seed(derive(seed, "augmentation", epoch))
    for i in range(steps):
        chosen = order[i * batch_size : (i + 1) * batch_size]
        images, labels = data.images.index_select(0, chosen), data.labels.index_select(0, chosen)
        x, labels = augment(images, labels, augmentations, data.mean, data.std, draws)
        batch = [x, *(labels if isinstance(labels, tuple) else (labels,))]
        if stored_logits is not None:
            batch.append(stored_logits.index_select(0, chosen))
        yield batch


def check_teacher(
    teacher: Tensor | Classifier | None,
    distillation: Distillation | None,
    recipe: Recipe,
    augmentations: tuple[str, ...],
    data: TrainingSet,
) -> None:
    """Refuse a teacher without settings, settings without a teacher, and stored logits of other images."""
    if (teacher is None) != (distillation is None):
        raise TrainingError("a teacher and the settings of distillation belong together: one is missing")
    if teacher is not None and recipe.label_smoothing:
        raise TrainingError(
            f"label_smoothing is {recipe.label_smoothing}: the labels of a student are not smoothed, leave it at 0"
        )
    if isinstance(teacher, Tensor):
        if augmentations:
            raise TrainingError(
                f"stored teacher logits belong to the clean images, not to batches under {label(augmentations)}"
            )
        if len(teacher) != len(data.images):
            raise TrainingError(f"there are {len(teacher)} teacher logits for {len(data.images)} training images")


def memory_format(precision: str) -> torch.memory_format:
    """Channels-last where bfloat16 convolutions run; LeNet's few channels are faster in the plain layout."""
    return torch.channels_last if precision == "bfloat16" else torch.contiguous_format


def make_optimizer(model: Classifier, recipe: Recipe) -> torch.optim.SGD:
    """SGD in one fused kernel, its rate a tensor so that a recorded step can follow the schedule."""
    parameters = list(model.parameters())
    optimizer = torch.optim.SGD(
        parameters,
        lr=torch.tensor(recipe.peak_lr, device=parameters[0].device),
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
        fused=True,
    )
    # Zero momentum from the start is what SGD's first step amounts to, and gives the state its final form.
    for parameter in parameters:
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def momentum_buffers(optimizer: torch.optim.SGD) -> list[Tensor]:
    return [optimizer.state[p]["momentum_buffer"] for group in optimizer.param_groups for p in group["params"]]


def logits_of(network: Callable[[Tensor], Tensor], x: Tensor, precision: str) -> Tensor:
    with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        return network(x.contiguous(memory_format=memory_format(precision)))


@dataclass
class TeacherPasses:
    """What a teacher says of augmented batches, computed once for all students that see them.

    Such students differ in their loss or their network alone: seed, augmentations and batches are the same. On the
    CPU the teacher's pass is most of their step. `folder` keeps (steps, N, K) float32 logits of each epoch that was
    trained to its end, which are the logits themselves, so that no student notices. Without it nothing is kept. What
    can't be read, or is of another teacher, version of PyTorch or number of threads, is computed again.
    """

    teacher: Classifier
    precision: str
    folder: Path | None

    def added(self, batches: Iterator[list[Tensor]], epoch: int) -> Iterator[list[Tensor]]:
        """The batches of an epoch, each with the teacher's logits at its end."""
        kept = self.read(epoch)
        if kept is not None:
            yield from ([*batch, logits] for batch, logits in zip(batches, kept, strict=True))
            return
        said = []
        for batch in batches:
            with torch.no_grad():
                said.append(logits_of(self.teacher, batch[0], self.precision))
            yield [*batch, said[-1]]
        if self.folder:
            with contextlib.suppress(OSError, RuntimeError):  # no room, or others have done with them: all the same
                write_whole(self.path(epoch), {"of": self.maker, "logits": torch.stack(said)})

    def path(self, epoch: int) -> Path:
        return self.folder / f"{epoch}.pt"

    def read(self, epoch: int) -> Tensor | None:
        if self.folder is None:
            return None
        try:
            kept = torch.load(self.path(epoch), weights_only=True)
            return kept["logits"] if kept["of"] == self.maker else None
        except (OSError, EOFError, RuntimeError, LookupError, pickle.UnpicklingError):
            return None

    @functools.cached_property
    def maker(self) -> str:
        """What makes the last digits of the logits: the teacher's weights, PyTorch and its threads."""
        digest = hashlib.sha256(f"{torch.__version__} {torch.get_num_threads()}".encode())
        for tensor in self.teacher.state_dict().values():
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()


Step = Callable[..., Tensor]


def training_step(
    model: Classifier,
    optimizer: torch.optim.SGD,
    recipe: Recipe,
    teacher: Classifier | None,
    teacher_precision: str,
    distillation: Distillation | None,
) -> Step:
    """A function of a batch's tensors (x, y | y_a, y_b, lam, [teacher logits]) that takes one step.

    It returns the loss, the share of images classified correctly and whether the gradient was clipped, as a tensor
    (3,). A `teacher` is for CUDA, where
    its pass belongs to the recorded step; on the CPU its logits come with the batch.
    """
    student = compiled(model) if next(model.parameters()).is_cuda else model
    said_by_teacher = None if teacher is None else compiled(teacher)

    def step(x: Tensor, *rest: Tensor) -> Tensor:
        teacher_logits = None
        if said_by_teacher is not None:
            with torch.no_grad():
                teacher_logits = logits_of(said_by_teacher, x, teacher_precision)
        elif distillation is not None:
            *rest, teacher_logits = rest
        labels: Labels = rest[0] if len(rest) == 1 else tuple(rest)
        optimizer.zero_grad(set_to_none=True)
        logits = logits_of(student, x, recipe.precision)
        if teacher_logits is None:
            loss = cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        else:
            loss = kd_loss(logits, teacher_logits, labels, **asdict(distillation))
        loss.backward()
        clipped = torch.zeros((), device=x.device)
        if recipe.clip_norm is not None:
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
            clipped = (norm > recipe.clip_norm).float()
        optimizer.step()
        correct = (logits.argmax(1) == rest[0]).float().mean()
        return torch.stack([loss.detach(), correct, clipped])

    return step


def compiled(model: Classifier) -> Callable[[Tensor], Tensor]:
    """`model` compiled by TorchInductor: normalisation, ReLU and sum become one kernel after each convolution.

    Instances of one architecture share the compiled code, since their weights are its inputs.
    """
    return torch.compile(model, dynamic=False)


class CapturedStep:
    """A training step recorded as a CUDA graph: one launch a step instead of a hundred.

    LeNet's kernels are so short that launching them one by one costs several times their work. `state` holds all
    tensors that a step changes: they are put back after the warm-up that recording needs.
    """

    def __init__(self, step: Step, state: list[Tensor], example: list[Tensor]):
        self.inputs = [tensor.clone() for tensor in example]
        before = [tensor.clone() for tensor in state]
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                step(*self.inputs)
        torch.cuda.current_stream().wait_stream(aside)
        for tensor, value in zip(state, before, strict=True):
            tensor.copy_(value)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.outputs = step(*self.inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        for static, tensor in zip(self.inputs, inputs, strict=True):
            static.copy_(tensor)
        self.graph.replay()
        return self.outputs


def save_checkpoint(path: Path, state: list[Tensor], rows: list[dict]) -> None:
    write_whole(path, {"state": state, "rows": rows})


def write_whole(path: Path, content: Any) -> None:
    """Write aside, then rename: a file is whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}.tmp")
    torch.save(content, aside)
    os.replace(aside, path)


def load_checkpoint(path: Path | None, state: list[Tensor], device: torch.device) -> list[dict]:
    """Put a checkpoint's tensors into `state` in place and return its rows; [] where there is none."""
    if path is None or not path.exists():
        return []
    try:
        saved = torch.load(path, map_location=device, weights_only=True)
        tensors, rows = saved["state"], saved["rows"]
        fits = [t.shape for t in tensors] == [t.shape for t in state]
    except (OSError, EOFError, RuntimeError, LookupError, TypeError, ValueError, pickle.UnpicklingError) as error:
        raise TrainingError(f"{path} can't be read: delete it, and the run starts from the beginning") from error
    if not fits:
        raise TrainingError(f"{path} is of another network: delete it, and the run starts from the beginning")
    with torch.no_grad():
        for tensor, value in zip(state, tensors, strict=True):
            tensor.copy_(value)
    return rows


class Progress:
    """A bar in a terminal, one line an epoch elsewhere (a notebook, a log)."""

    def __init__(self, title: str, epochs: int, done: int):
        self.title, self.epochs = title, epochs
        self.bar = tqdm(total=epochs, initial=done, desc=title, unit="epoch") if sys.stderr.isatty() else None

    def show(self, row: dict) -> None:
        text = f"loss {row['loss']:.4f} accuracy {row['accuracy']:.4f}"
        if self.bar is None:
            print(f"{self.title} epoch {row['epoch']}/{self.epochs} {text} {row['seconds']:.1f} s", flush=True)
        else:
            self.bar.set_postfix_str(text, refresh=False)
            self.bar.update()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


@torch.inference_mode()
def infer(
    model: Classifier, images: Tensor, mean: Tensor, std: Tensor, batch_size: int = 1000
) -> tuple[Tensor, Tensor]:
    """Logits (N, K) and penultimate features (N, D) of un-augmented images, in float32 and evaluation mode.

    The network's mode is put back afterwards, so that an evaluation in mid-training changes nothing.
    """
    was_training = model.training
    model.eval()
    try:
        logits, features = [], []
        for chunk in images.split(batch_size):
            features.append(model.penultimate(normalise(chunk, mean, std)))
            logits.append(model.head(features[-1]))
    finally:
        model.train(was_training)
    return torch.cat(logits), torch.cat(features)
