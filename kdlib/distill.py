"""The distillation loss (Section 3.2 of the paper) and the conventions under which it is computed."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from kdlib import KdlibError

DIRECTIONS = ("teacher_student", "student_teacher")
REDUCTIONS = ("batchmean", "mean")
SCALE = 3.0  # of `one_scale`: about that of the logits of a teacher trained on plain images
# Above it the two distributions differ by less than float32 tells apart, and their divergence is rounding.
MAX_TEMPERATURE = 1000.0

# Labels of a plain batch (N,), or soft ones (N, K); or, of a mixed batch, the labels of both sources and the share of
# the first, one of the batch or one of each image (N,).
Labels = Tensor | tuple[Tensor, Tensor, Tensor]


class DistillError(KdlibError, ValueError):
    """A setting or a shape that the loss has no meaning for."""


def cross_entropy(logits: Tensor, labels: Labels, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy in float32; of a mixed batch, lam * CE(y_a) + (1 - lam) * CE(y_b).

    `logits` (N, K); `labels` (N,) integers, (N, K) shares, or `(y_a, y_b, lam)` with `lam` a scalar tensor or (N,).
    """
    logits = logits.float()
    if isinstance(labels, tuple):
        y_a, y_b, lam = labels
        settings = {"label_smoothing": label_smoothing, "reduction": "none" if lam.dim() else "mean"}
        first = F.cross_entropy(logits, y_a, **settings)
        second = F.cross_entropy(logits, y_b, **settings)
        return (lam * first + (1 - lam) * second).mean()
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def first_label(labels: Labels) -> Tensor:
    """The label (N,) by which training accuracy counts: a mixed batch's first, the largest share of soft ones."""
    first = labels[0] if isinstance(labels, tuple) else labels
    return first.argmax(1) if first.dim() == 2 else first


def softened_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float,
    direction: str = "teacher_student",
    reduction: str = "batchmean",
) -> Tensor:
    """Divergence between the distributions softened by `temperature`, in nats, float32.

    `direction="teacher_student"` is KL(teacher || student), Hinton et al. (2015) and the released code;
    `"student_teacher"` is the order the paper prints. `reduction="batchmean"` sums over classes and averages
    over images; `"mean"` averages over both, as the released code does: K times less.
    """
    student = F.log_softmax(student_logits.float() / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits.float() / temperature, dim=1)
    if direction == "student_teacher":
        student, teacher = teacher, student
    terms = F.kl_div(student, teacher, reduction="none", log_target=True)
    return terms.mean() if reduction == "mean" else terms.sum(dim=1).mean()


# The distillation term, by the name that `kd_loss` calls `reduction`: of logits (N, K) of student and teacher, and the
# settings `temperature` and `direction`, a scalar, which `kd_loss` multiplies by temperature**2.
TERMS: dict[str, Callable[..., Tensor]] = {name: functools.partial(softened_kl, reduction=name) for name in REDUCTIONS}


def means_of_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over the images of its class in the place of each image's own (N, K): nothing within classes is left."""
    onehot = F.one_hot(labels).to(logits.dtype)
    return ((onehot.T @ logits) / onehot.sum(0).clamp(min=1)[:, None])[labels]


def shuffled(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits (N, K) of other images of the same class, the same for every teacher: what is said of a class stays,
    what is said of an image goes."""
    draw = torch.rand(len(labels), generator=torch.Generator().manual_seed(0)).to(labels.device)
    by_class = torch.argsort(labels, stable=True)
    at_random = torch.argsort(draw)
    at_random = at_random[torch.argsort(labels[at_random], stable=True)]
    out = torch.empty_like(logits)
    out[by_class] = logits[at_random]
    return out


def one_scale(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits (N, K) about their mean, multiplied so that their root mean square over all images is `SCALE`: at a high
    temperature all teachers then have the same mean entropy, to second order."""
    centred = logits - logits.mean(dim=1, keepdim=True)
    return centred * (SCALE / centred.square().mean().sqrt())


# What of a teacher's logits (N, K) on the training images, whose labels are (N,), its student is shown.
TARGETS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "logits": lambda logits, labels: logits,
    "class_means": means_of_classes,
    "shuffled": shuffled,
    "one_scale": one_scale,
}


def kd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Labels,
    *,
    temperature: float,
    kd_weight: float,
    direction: str = "teacher_student",
    reduction: str = "batchmean",
) -> Tensor:
    """(1 - kd_weight) * CE(student, labels) + kd_weight * temperature**2 * KL (Section 3.2).

    `reduction` names the divergence among `TERMS`; those that come with it are the two of `softened_kl`.

    `student_logits`, `teacher_logits` (N, K); `labels` as in `cross_entropy`.
    The paper calls `kd_weight` alpha (and gamma), and uses 0.5 with a temperature of 20.

    >>> import torch
    >>> same = torch.tensor([[2.0, 0.0]])
    >>> float(kd_loss(same, same, torch.tensor([0]), temperature=20, kd_weight=1.0))
    0.0
    """
    if student_logits.shape != teacher_logits.shape:
        raise DistillError(
            f"student_logits have shape {tuple(student_logits.shape)}, "
            f"teacher_logits {tuple(teacher_logits.shape)}: they must agree"
        )
    check_settings(temperature, kd_weight, direction, reduction)
    hard = cross_entropy(student_logits, labels)
    soft = TERMS[reduction](student_logits, teacher_logits, temperature=temperature, direction=direction)
    return (1 - kd_weight) * hard + kd_weight * temperature**2 * soft


def check_settings(temperature: float, kd_weight: float, direction: str, reduction: str) -> None:
    """Refuse settings that the loss has no meaning for."""
    if not 0 < temperature <= MAX_TEMPERATURE:
        raise DistillError(
            f"temperature is {temperature}, it must be above 0 and at most {MAX_TEMPERATURE:g}: beyond, float32 loses "
            f"the divergence to rounding"
        )
    if not 0 <= kd_weight <= 1:
        raise DistillError(f"kd_weight is {kd_weight}, it must lie between 0 and 1")
    if direction not in DIRECTIONS:
        raise DistillError(f"direction is {direction!r}, it must be one of {', '.join(DIRECTIONS)}")
    if reduction not in TERMS:
        raise DistillError(f"reduction is {reduction!r}, it must be one of {', '.join(TERMS)}")
