"""What augmentations, networks and losses must return, those of an extension above all: checked once before training.

What an augmentation may return is written at the head of `kdlib.augment`; a network gives float32 logits (N, K); a
divergence is a finite scalar that the student's logits have a gradient of. (Data sets are checked in `kdlib.data`.)
"""

from collections.abc import Callable

import torch
from torch import Tensor

from kdlib.augment import AFTER_NORMALISING, BEFORE_NORMALISING, AugmentError, as_tensors, normalise
from kdlib.distill import TERMS, DistillError
from kdlib.speed import TrainingError

FAULTS = (ArithmeticError, AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError)


def failed(error: Exception) -> str:
    return f"failed with {type(error).__name__}: {' '.join(str(error).split())[:200]}"


def check_network(model: torch.nn.Module, look: Callable[[], tuple[Tensor, Tensor]], highest: int) -> int:
    """The number of classes that a network tells apart; `look` gives its logits and features of two images.

    Refuses one that fails, or has no class for the `highest` label.
    """
    network = f"the network {type(model).__name__}"
    try:
        logits, features = look()
    except FAULTS as error:
        raise TrainingError(f"{network} {failed(error)}") from error
    if logits.dim() != 2 or len(logits) != len(features) or logits.dtype != torch.float32:
        raise TrainingError(
            f"{network} returned logits of {logits.dtype} {tuple(logits.shape)} for two images: expected float32 (2, K)"
        )
    if highest >= logits.shape[1]:
        raise TrainingError(f"{network} has {logits.shape[1]} classes, and there are labels up to {highest}")
    return logits.shape[1]


def check_loss(reduction: str, direction: str, classes: int, device: torch.device) -> None:
    """Refuse a divergence whose value is no finite scalar that a student's logits can follow."""
    student, teacher = torch.linspace(-1, 1, 4 * classes, device=device).view(2, 2, classes)
    value = TERMS[reduction](student.requires_grad_(), teacher, temperature=2.0, direction=direction)
    if not isinstance(value, Tensor) or value.dim() or not value.requires_grad or not value.isfinite():
        found = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise DistillError(
            f"the loss {reduction!r} returned {found}: expected a finite scalar with a gradient for the student"
        )


def check_augmentations_return(
    images: Tensor, labels: Tensor, names: tuple[str, ...], mean: Tensor, std: Tensor, classes: int
) -> None:
    """Refuse an augmentation that fails, or returns something else than the head of `kdlib.augment` says."""
    generator = torch.Generator(images.device).manual_seed(0)
    for name in names:
        if name in AFTER_NORMALISING and images.dtype == torch.uint8:
            images = normalise(images, mean, std)
        function = BEFORE_NORMALISING.get(name) or AFTER_NORMALISING[name]
        try:
            returned = function(images, labels, generator)
            if not isinstance(returned, tuple | list) or len(returned) != 2:
                raise TypeError(f"it returned {type(returned).__name__}, expected images and labels")
            changed, mixed = as_tensors(*returned)
            sources = mixed if isinstance(mixed, tuple) else (mixed,)
            fault = fault_of_images(changed, images) or fault_of_labels(sources, len(images), classes)
        except FAULTS as error:
            fault = failed(error)
        if fault:
            raise AugmentError(f"the augmentation {name!r} {fault}")
        images, labels = changed, mixed


def fault_of_images(found: Tensor, given: Tensor) -> str | None:
    if (found.dtype, found.shape, found.device) == (given.dtype, given.shape, given.device):
        return None
    return (
        f"returned images of {found.dtype} {tuple(found.shape)} on {found.device}: expected {given.dtype} "
        f"{tuple(given.shape)} on {given.device}, as it was given"
    )


def fault_of_labels(sources: tuple[Tensor, ...], n: int, classes: int) -> str | None:
    for labels in sources[:2]:
        hard = labels.shape == (n,) and labels.dtype == torch.int64
        if not hard and labels.shape != (n, classes):
            return (
                f"returned labels of {labels.dtype} {tuple(labels.shape)}: expected int64 ({n},), or shares "
                f"({n}, {classes})"
            )
        if hard and not (0 <= labels.min() and labels.max() < classes):
            return f"returned labels from {labels.min()} to {labels.max()}: expected 0 to {classes - 1}"
        if not hard and not (labels.min() >= 0 and (labels.sum(1) - 1).abs().max() < 1e-3):
            return "returned soft labels that are no shares: expected rows of 0 or more whose sum is 1"
    for lam in sources[2:]:
        if lam.shape not in ((), (n,)) or not (0 <= lam.min() and lam.max() <= 1):
            return f"returned a share of shape {tuple(lam.shape)}: expected (), or ({n},), of numbers from 0 to 1"
    return None
