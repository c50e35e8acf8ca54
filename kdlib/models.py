"""ResNet-18, LeNet and AlexNet for 32 x 32 RGB images: logits and penultimate features.

Every network has the same three faces: `model.penultimate(x)` gives the features (N, D) that Figure 4 and
Table 5 of the paper look at, `model.head(features)` the logits, and `model(x)` both in a row. The head runs in
float32 even under autocast: distillation at a temperature of 20 lives on small differences between logits
that bfloat16 would round away.
"""

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
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
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
