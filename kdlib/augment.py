"""The paper's augmentations on whole batches: per sample, on the batch's device, drawn from one generator.

What is done to images is a tuple of names, `()` for none; as text the names are joined by "+": "crop_flip+cutmix".
Every augmentation takes `(images, labels, generator)` and returns `(images, labels)`. No function reads a value
back from the device, so on CUDA none of them waits for the GPU.

Adding one is adding a function to `BEFORE_NORMALISING` (uint8 images, (N, H, W, 3)) or to `AFTER_NORMALISING`
(normalised float32 images, (N, 3, H, W)), and its name to `MIXING` where its labels are those of two sources. It
returns images of the type and shape that it was given, and as labels

    (N,)            integers, a class an image
    (N, K)          soft labels, the shares of the classes, as torchvision's and timm's MixUp and CutMix give them
    (y_a, y_b, lam) the labels of two sources, each as above, and the share of the first: a number or a tensor of the
                    batch, or (N,), one an image
"""

from collections.abc import Callable

import torch
from torch import Tensor

from kdlib import KdlibError
from kdlib.distill import Labels

PADDING = 4  # pixels of black around an image before it is cropped
HOLE = 16  # side of Cutout's hole; the paper's "16 holes" is this number in the released code


class AugmentError(KdlibError, ValueError):
    """A name that is no augmentation, or some that cannot follow each other."""


def crop_flip(images: Tensor, labels: Labels, generator: torch.Generator) -> tuple[Tensor, Labels]:
    """Shift each image by up to 4 pixels in each direction, black coming in, and mirror it with even odds.

    `images` (N, H, W, 3) uint8. The same as torchvision's `RandomCrop(32, padding=4)`, `RandomHorizontalFlip()`.
    """
    n, height, width, _ = images.shape
    device = images.device
    padded = torch.nn.functional.pad(images, (0, 0, PADDING, PADDING, PADDING, PADDING))
    top = torch.randint(0, 2 * PADDING + 1, (n, 1), generator=generator, device=device)
    left = torch.randint(0, 2 * PADDING + 1, (n, 1), generator=generator, device=device)
    mirrored = torch.rand((n, 1), generator=generator, device=device) < 0.5
    column = torch.arange(width, device=device)
    rows = top + torch.arange(height, device=device)
    columns = left + torch.where(mirrored, width - 1 - column, column)
    sample = torch.arange(n, device=device)
    return padded[sample[:, None, None], rows[:, :, None], columns[:, None, :]], labels


def inside(centre: Tensor, side: Tensor | int, length: int) -> Tensor:
    """Which of `length` positions lie in [centre - side // 2, centre + side // 2), per centre: (N, length)."""
    position = torch.arange(length, device=centre.device)
    half = side // 2
    return (position >= centre[:, None] - half) & (position < centre[:, None] + half)


def random_box(count: int, side: Tensor | int, images: Tensor, generator: torch.Generator) -> Tensor:
    """Boolean masks (count, 1, H, W) of squares with a uniform centre, clipped at the border."""
    height, width = images.shape[2:]
    row = torch.randint(0, height, (count,), generator=generator, device=images.device)
    column = torch.randint(0, width, (count,), generator=generator, device=images.device)
    return (inside(row, side, height)[:, :, None] & inside(column, side, width)[:, None, :])[:, None]


def cutout(images: Tensor, labels: Labels, generator: torch.Generator) -> tuple[Tensor, Labels]:
    """One hole of 16 x 16 pixels in each image, filled with the mean colour (DeVries & Taylor 2017)."""
    return images.masked_fill(random_box(len(images), HOLE, images, generator), 0.0), labels


def mixup(images: Tensor, labels: Labels, generator: torch.Generator) -> tuple[Tensor, Labels]:
    """Blend each image with a random partner, one share `lam` ~ Beta(1, 1) a batch (Zhang et al. 2017)."""
    lam = torch.rand((), generator=generator, device=images.device)  # Beta(1, 1) is uniform
    partner = torch.randperm(len(images), generator=generator, device=images.device)
    return lam * images + (1 - lam) * images[partner], (labels, labels[partner], lam)


def cutmix(images: Tensor, labels: Labels, generator: torch.Generator) -> tuple[Tensor, Labels]:
    """Paste a random partner's pixels into one box of a share 1 - lam ~ Beta(1, 1) a batch (Yun et al. 2019).

    The box is clipped at the border and `lam` recomputed from the pixels really pasted. Every batch is mixed, as
    in the released code; the paper's 0.5 is a probability that it never draws.
    """
    area = torch.rand((), generator=generator, device=images.device)  # Beta(1, 1) is uniform
    side = (images.shape[3] * area.sqrt()).long()
    box = random_box(1, side, images, generator)
    partner = torch.randperm(len(images), generator=generator, device=images.device)
    lam = 1 - box.float().mean()
    return torch.where(box, images[partner], images), (labels, labels[partner], lam)


Augmentation = Callable[[Tensor, Labels, torch.Generator], tuple[Tensor, Labels]]
BEFORE_NORMALISING: dict[str, Augmentation] = {"crop_flip": crop_flip}
AFTER_NORMALISING: dict[str, Augmentation] = {"cutout": cutout, "mixup": mixup, "cutmix": cutmix}
MIXING = {"mixup", "cutmix"}


def parse(text: str) -> tuple[str, ...]:
    """The augmentations that a text names; raises `AugmentError` where there are no such ones.

    >>> parse("crop_flip+cutmix")
    ('crop_flip', 'cutmix')
    >>> parse("none")
    ()
    """
    names = () if text == "none" else tuple(text.split("+"))
    check_augmentations(names)
    return names


def label(names: tuple[str, ...]) -> str:
    """The text that names augmentations: the inverse of `parse`."""
    return "+".join(names) or "none"


def check_augmentations(names: tuple[str, ...]) -> None:
    """Refuse what is not a sequence of known, distinct augmentations in an order that exists."""
    known = [*BEFORE_NORMALISING, *AFTER_NORMALISING]
    for name in names:
        if name not in known:
            raise AugmentError(
                f"no augmentation is called {name!r}: there are none, {', '.join(known)}, "
                f"and sequences such as crop_flip+cutmix"
            )
    if len(set(names)) < len(names):
        raise AugmentError(f"{label(names)} names one augmentation twice")
    if sum(name in MIXING for name in names) > 1:
        raise AugmentError(f"{label(names)} mixes twice: an image can have two sources, not more")
    if list(names) != sorted(names, key=lambda name: name in AFTER_NORMALISING):
        raise AugmentError(f"{label(names)}: {', '.join(BEFORE_NORMALISING)} works on pixels and must come first")


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 (N, H, W, 3) -> float32 (N, 3, H, W) with channels-last strides; `mean`, `std` (3,) of pixels in 0..1."""
    n, height, width, _ = images.shape
    pixels = images.reshape(n, -1).float() / 255
    # A row of statistics as long as an image is read in a straight line, much faster than rows of three.
    pixels.sub_(mean.repeat(height * width)).div_(std.repeat(height * width))
    return pixels.view(images.shape).permute(0, 3, 1, 2)


def augment(
    images: Tensor, labels: Tensor, names: tuple[str, ...], mean: Tensor, std: Tensor, generator: torch.Generator
) -> tuple[Tensor, Labels]:
    """A training batch: uint8 images (N, H, W, 3) and labels (N,) -> network input (N, 3, H, W) and labels."""
    before = [name for name in names if name in BEFORE_NORMALISING]
    for name in before:
        images, labels = as_tensors(*BEFORE_NORMALISING[name](images, labels, generator))
    images = normalise(images, mean, std)
    for name in names[len(before) :]:
        images, labels = as_tensors(*AFTER_NORMALISING[name](images, labels, generator))
    return images, labels


def as_tensors(images: Tensor, labels: Labels) -> tuple[Tensor, Labels]:
    """The same with soft labels in float32, and a share that is a number as a tensor."""
    if isinstance(labels, tuple | list):
        y_a, y_b, lam = labels
        lam = lam.float() if isinstance(lam, Tensor) else torch.full((), lam, device=images.device)
        return images, (soft(y_a), soft(y_b), lam)
    return images, soft(labels)


def soft(labels: Tensor) -> Tensor:
    return labels.float() if labels.dim() == 2 else labels
