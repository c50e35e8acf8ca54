"""The training loop: one for teachers and students, on the CPU and on CUDA.

It knows nothing of runs or folders: it takes a network, images on the device and a recipe, and changes the
network's weights. All randomness comes from (seed, purpose, epoch), so that augmentations of one seed share their order
of images, and a run taken up again after an interruption draws what it would have drawn.
"""

import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from kdlib import speed
from kdlib.augment import augment, label, normalise
from kdlib.contract import check_augmentations_return, check_loss, check_network
from kdlib.distill import cross_entropy, first_label, kd_loss
from kdlib.models import Classifier
from kdlib.speed import Batch, LiveTeacher, Step, StoredTeacher, Teacher, TrainingError, logits_of

PRECISIONS = ("float32", "bfloat16")


def is_whole(value: Any, least: int = 0) -> bool:
    """Whether it is a whole number from `least` on; True and 2.0 are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


@dataclass(frozen=True)
class Recipe:
    """How a network is optimised: SGD with Nesterov momentum, the rate rising to its peak and falling to zero.

    `precision` is that of the forward pass under autocast; losses and everything reported are float32.
    `warmup` is the share of the steps before the peak, where the rate rises from a fifth of it. With `drops`, the rate
    is the peak's from the start and a tenth of what it was after each of these epochs, as in the released code.
    `clip_norm` bounds the norm of the whole gradient: the distillation term grows with the teacher's logits, whatever
    their scale.
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
    drops: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "drops", tuple(self.drops))
        if not is_whole(self.epochs):
            raise TrainingError(f"epochs is {self.epochs}, it must be a whole number, 0 or more")
        if not is_whole(self.batch_size, 1):
            raise TrainingError(f"batch_size is {self.batch_size}, it must be a whole number, 1 or more")
        if not 0 < self.peak_lr < math.inf:
            raise TrainingError(f"peak_lr is {self.peak_lr}, it must be above 0 and finite")
        if not 0 <= self.weight_decay < math.inf:
            raise TrainingError(f"weight_decay is {self.weight_decay}, it must be 0 or more and finite")
        if not 0 <= self.momentum < 1:
            raise TrainingError(f"momentum is {self.momentum}, it must lie between 0 and 1")
        if not 0 <= self.warmup <= 1:
            raise TrainingError(f"warmup is {self.warmup}, it must lie between 0 and 1")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise TrainingError(f"clip_norm is {self.clip_norm}, it must be above 0, or None")
        if not 0 <= self.label_smoothing < 1:
            raise TrainingError(f"label_smoothing is {self.label_smoothing}, it must lie between 0 and 1")
        if list(self.drops) != sorted(set(self.drops)) or any(not 0 < drop for drop in self.drops):
            raise TrainingError(f"drops is {self.drops}, it must be epochs in ascending order, from 1 on")
        if self.precision not in PRECISIONS:
            raise TrainingError(f"precision is {self.precision!r}, it must be one of {', '.join(PRECISIONS)}")

    def learning_rate(self, step: int, steps: int) -> float:
        """The rate of step `step` of `steps`: linear from a fifth of the peak up, then linear down to zero; or a
        staircase, see `drops`."""
        if self.drops:
            return self.peak_lr * 0.1 ** sum(step >= drop * steps / self.epochs for drop in self.drops)
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
    teacher: Teacher | None = None,
    distillation: Distillation | None = None,
    validation: TrainingSet | None = None,
    checkpoint: Path | None = None,
    made_by: str = "",
    title: str = "",
) -> pd.DataFrame:
    """Train `model` in place on the device of `data`; returns a row an epoch: epoch, lr, loss, accuracy, seconds.

    Where the recipe clips gradients, `clipped` is the share of steps on which it did; with images for `validation`,
    `validation_loss` and `validation_accuracy` are those of the network after the epoch, on these images as they are.

    `teacher` is None for a network that learns from labels alone, a `StoredTeacher`, or a `LiveTeacher`, which sees
    what the student sees. Where its passes are kept, `seconds` is less for the students that come later.
    Batches have one fixed size: the images that are left over at the end of an epoch's order wait for the next.
    `accuracy` is on the batches as they were trained on (mixed ones count their first label). A `checkpoint` is gone on
    from where it was `made_by` the same code. What network, augmentations and loss return is checked before training.
    """
    check_teacher(teacher, distillation, recipe, augmentations, data)
    device = data.images.device
    steps = len(data.images) // recipe.batch_size  # an epoch
    if recipe.epochs and not steps:
        raise TrainingError(f"batch_size is {recipe.batch_size}, but there are only {len(data.images)} training images")
    if device.type == "cpu":
        speed.keep_freed_memory()
    model.to(device, memory_format=model.layout)
    if recipe.epochs:
        few = data.images[: recipe.batch_size].clone(), data.labels[: recipe.batch_size].clone()
        classes = check_network(model, lambda: infer(model, few[0][:2], data.mean, data.std), int(data.labels.max()))
        check_augmentations_return(*few, augmentations, data.mean, data.std, classes)
        if distillation:
            check_loss(distillation.reduction, distillation.direction, classes, device)
    model.train()
    optimizer = make_optimizer(model, recipe)
    state = [*model.state_dict().values(), *momentum_buffers(optimizer)]
    rows = speed.load_checkpoint(checkpoint, state, device, made_by)
    if isinstance(teacher, LiveTeacher):
        teacher = teacher.to(device)
    step = training_step(model, optimizer, recipe, teacher, distillation)
    progress = speed.Progress(title, recipe.epochs, len(rows))
    last_saved = time.monotonic()
    for epoch in range(len(rows), recipe.epochs):
        started = time.monotonic()
        torch.manual_seed(derive(seed, "dropout", epoch))
        totals = torch.zeros(3, device=device)
        of_epoch = batches(data, steps, recipe.batch_size, augmentations, seed, epoch)
        for i, batch in enumerate(teacher.added(of_epoch, epoch) if teacher else of_epoch):
            lr = recipe.learning_rate(epoch * steps + i, recipe.epochs * steps)
            optimizer.param_groups[0]["lr"].fill_(lr)
            if device.type == "cuda" and not isinstance(step, speed.CapturedStep):
                step = speed.CapturedStep(step, state, batch)
                torch.manual_seed(derive(seed, "dropout", epoch))  # the warm-up has drawn from it
            totals += step(batch)
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
        if checkpoint and time.monotonic() - last_saved > speed.SECONDS_BETWEEN_CHECKPOINTS:
            speed.save_checkpoint(checkpoint, state, rows, made_by)
            last_saved = time.monotonic()
    progress.close()
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=["epoch", "lr", "loss", "accuracy", "seconds"])


def validated(model: Classifier, held_out: TrainingSet) -> dict[str, float]:
    """Loss and accuracy of a network in training on images that it is not trained on; it goes on as before."""
    logits, _ = infer(model, held_out.images, held_out.mean, held_out.std)
    correct = (logits.argmax(1) == held_out.labels).float().mean()
    return {"validation_loss": float(cross_entropy(logits, held_out.labels)), "validation_accuracy": float(correct)}


def training_step(
    model: Classifier,
    optimizer: torch.optim.SGD,
    recipe: Recipe,
    teacher: Teacher | None,
    distillation: Distillation | None,
) -> Step:
    """A function of a `Batch` that takes one step.

    It returns the loss, the share of images classified correctly and whether the gradient was clipped, as a tensor
    (3,). A live teacher whose logits do not come with the batch, as on CUDA, sees it within the step.
    """
    on_gpu = next(model.parameters()).is_cuda
    student = speed.compiled(model) if on_gpu else model
    live = speed.compiled(teacher.network) if on_gpu and isinstance(teacher, LiveTeacher) else None

    def step(batch: Batch) -> Tensor:
        teacher_logits = batch.teacher_logits
        if live is not None:
            with torch.no_grad():
                teacher_logits = logits_of(live, batch.x, teacher.precision)
        optimizer.zero_grad(set_to_none=True)
        logits = logits_of(student, batch.x, recipe.precision)
        if distillation is None:
            loss = cross_entropy(logits, batch.labels, label_smoothing=recipe.label_smoothing)
        else:
            loss = kd_loss(logits, teacher_logits, batch.labels, **asdict(distillation))
        loss.backward()
        clipped = torch.zeros((), device=logits.device)
        if recipe.clip_norm is not None:
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
            clipped = (norm > recipe.clip_norm).float()
        optimizer.step()
        correct = (logits.argmax(1) == first_label(batch.labels)).float().mean()
        return torch.stack([loss.detach(), correct, clipped])

    return step


def batches(
    data: TrainingSet,
    steps: int,
    batch_size: int,
    augmentations: tuple[str, ...],
    seed: int,
    epoch: int,
) -> Iterator[Batch]:
    """The steps of an epoch, as yet without a teacher."""
    device = data.images.device
    shuffle = torch.Generator().manual_seed(derive(seed, "order", epoch))
    order = torch.randperm(len(data.images), generator=shuffle).to(device)
    draws = torch.Generator(device).manual_seed(derive(seed, "augmentation", epoch))
    for i in range(steps):
        rows = order[i * batch_size : (i + 1) * batch_size]
        images, labels = data.images.index_select(0, rows), data.labels.index_select(0, rows)
        yield Batch(*augment(images, labels, augmentations, data.mean, data.std, draws), rows)


def check_teacher(
    teacher: Teacher | None,
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
    if isinstance(teacher, StoredTeacher):
        if augmentations:
            raise TrainingError(
                f"stored teacher logits belong to the clean images, not to batches under {label(augmentations)}"
            )
        if len(teacher.logits) != len(data.images):
            found = len(teacher.logits)
            raise TrainingError(f"there are {found} teacher logits for {len(data.images)} training images")


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


def all_finite(model: Classifier) -> bool:
    return bool(torch.stack([parameter.isfinite().all() for parameter in model.parameters()]).all())


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
