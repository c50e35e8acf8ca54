"""ResNet-18, LeNet and AlexNet for 32 x 32 RGB images: logits and penultimate features.

Every network has the same three faces: `model.penultimate(x)` gives the features (N, D) that Figure 4 and
Table 5 of the paper look at, `model.head(features)` the logits, and `model(x)` both in a row. The head runs in
float32 even under autocast: distillation at a temperature of 20 lives on small differences between logits
that bfloat16 would round away.
"""

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdlib import KdlibError

FULL_WIDTH = 64  # channels of the first convolution of the paper's ResNet-18 and AlexNet


class ModelError(KdlibError, ValueError):
    """An architecture that does not exist, or in a size that it cannot have."""


class Classifier(nn.Module):
    """Features (`penultimate`, to be defined) under a linear head in float32."""

    def __init__(self, features: int, classes: int):
        super().__init__()
        self.head_layer = nn.Linear(features, classes)

    @functools.cached_property
    def layout(self) -> torch.memory_format:
        """Channels-last, faster in bfloat16 and in float32, unless a convolution gives fewer than eight channels.

        Such narrow networks are faster in the plain layout; and where a processor has no more than AVX2, the backward
        pass of a strided 1 x 1 convolution of so few channels writes beyond its memory in the other (oneDNN 3.12).
        """
        narrow = any(isinstance(layer, nn.Conv2d) and layer.out_channels < 8 for layer in self.modules())
        return torch.contiguous_format if narrow else torch.channels_last

    def penultimate(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def head(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return self.head_layer(features.float())

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.penultimate(x))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (He et al. 2015)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class ResNet18(Classifier):
    """ResNet-18 with the CIFAR stem (3 x 3, no pooling): 11,173,962 parameters at width 64 and 10 classes."""

    def __init__(self, width: int, classes: int):
        super().__init__(8 * width, classes)
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        blocks, inputs = [], width
        for stage in range(4):
            for stride in (1 if stage == 0 else 2, 1):
                blocks.append(BasicBlock(inputs, width << stage, stride))
                inputs = width << stage
        self.blocks = nn.Sequential(*blocks)

    def penultimate(self, x: Tensor) -> Tensor:
        return self.blocks(F.relu(self.bn1(self.conv1(x)))).mean(dim=(2, 3))


class MaxPool(torch.autograd.Function):
    """`F.max_pool2d(x, 2)` for training on a CPU, bit for bit, and of equals the first has the gradient there too.

    PyTorch's kernel of the plain layout asks each pixel in turn whether it is the largest; here a whole batch is
    compared at once, which is faster.
    """

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        a, b, c, d = corners(x)
        upper, lower = torch.maximum(a, b), torch.maximum(c, d)
        below = lower > upper
        right = (below & (d > c)) | (~below & (b > a))
        rows, columns = torch.arange(0, height, 2), torch.arange(0, width, 2)
        index = (rows[:, None] * width + columns + right).add_(below, alpha=width)
        ctx.save_for_backward(x, index)
        return torch.maximum(upper, lower)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        x, index = ctx.saved_tensors
        twice = [2, 2]
        pool_backward = torch.ops.aten.max_pool2d_with_indices_backward
        return pool_backward(gradient, x, twice, twice, [0, 0], [1, 1], False, index)


def corners(x: Tensor) -> tuple[Tensor, ...]:
    """The four pixels, from left to right and down, of each square of two by two in (N, C, H, W), H and W even."""
    squares = x.view(*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 2, 2)
    return tuple(squares[:, :, :, row, :, column] for row in (0, 1) for column in (0, 1))


def max_pool(x: Tensor) -> Tensor:
    """The largest of each square of two by two pixels of (N, C, H, W), H and W even."""
    return F.max_pool2d(x, 2) if x.is_cuda or not x.is_contiguous() else MaxPool.apply(x)


class LeNet(Classifier):
    """LeNet as the paper's code has it: ReLU and max pooling, 62,006 parameters. It has no other width."""

    def __init__(self, width: int, classes: int):
        super().__init__(84, classes)
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)

    def penultimate(self, x: Tensor) -> Tensor:
        # Pooled first, ReLU has a quarter of the work: the maximum of what is cut off is the same, as is its gradient.
        x = F.relu(max_pool(self.conv1(x)))
        x = F.relu(max_pool(self.conv2(x)))
        return F.relu(self.fc2(F.relu(self.fc1(x.flatten(1)))))


class AlexNet(Classifier):
    """AlexNet for 32 x 32 images as the paper's code has it: 14,859,082 parameters at width 64."""

    def __init__(self, width: int, classes: int):
        super().__init__(32 * width, classes)
        w = width
        self.features = nn.Sequential(
            nn.Conv2d(3, w, 3, padding=2), nn.MaxPool2d(2), nn.ReLU(),
            nn.Conv2d(w, 3 * w, 3, padding=2), nn.MaxPool2d(2), nn.ReLU(),
            nn.Conv2d(3 * w, 6 * w, 3, padding=1), nn.ReLU(),
            nn.Conv2d(6 * w, 4 * w, 3, padding=1), nn.ReLU(),
            nn.Conv2d(4 * w, 4 * w, 3, padding=1), nn.MaxPool2d(3, 2), nn.ReLU(),
        )  # fmt: skip
        self.hidden = nn.Sequential(
            nn.Dropout(0.6), nn.Linear(64 * w, 32 * w), nn.ReLU(),
            nn.Dropout(0.6), nn.Linear(32 * w, 32 * w), nn.ReLU(),
        )  # fmt: skip

    def penultimate(self, x: Tensor) -> Tensor:
        return self.hidden(self.features(x).flatten(1))


class Uniform(Classifier):
    """A teacher that says nothing: every logit is zero, all classes are as likely. It has no weights to train.

    Distilling from it keeps the student's logits small and leaves the labels the weight that they have beside any
    teacher: the control that tells restraint from knowledge.
    """

    def __init__(self, width: int, classes: int):
        super().__init__(1, classes)
        nn.init.zeros_(self.head_layer.weight)
        nn.init.zeros_(self.head_layer.bias)

    def penultimate(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), 1)


ARCHITECTURES: dict[str, Callable[[int, int], Classifier]] = {
    "resnet18": ResNet18,
    "lenet": LeNet,
    "alexnet": AlexNet,
    "uniform": Uniform,
}
ONE_SIZE = ("lenet", "uniform")


def build(name: str, *, width: int = FULL_WIDTH, classes: int = 10, seed: int = 0) -> Classifier:
    """A network with PyTorch's default initial weights, drawn on the CPU from `seed` alone.

    They are the same whatever the device, and the global generators are left as they were.
    """
    check_architecture(name, width)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        return ARCHITECTURES[name](width, classes)


def check_architecture(name: str, width: int) -> None:
    """Refuse an architecture that does not exist, or one in a size that it can't have."""
    if name not in ARCHITECTURES:
        raise ModelError(f"no model is called {name!r}: there are {', '.join(ARCHITECTURES)}")
    if width < 1:
        raise ModelError(f"width is {width}, it must be at least 1")
    if name in ONE_SIZE and width != FULL_WIDTH:
        raise ModelError(f"{name} has one size only: width is {width}, leave it at {FULL_WIDTH}")
