"""The usual loop: images decoded and augmented one by one in a `DataLoader`, float32, the teacher in every step.

As RepDistiller trains (Tian et al. 2020), and the paper's released code. It takes a number of steps and returns
their seconds.
"""

import time
from collections.abc import Callable

import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from kdlib import models


class Images(Dataset):
    """Images as torchvision's CIFAR10 gives them: through PIL."""

    def __init__(self, images, labels, mean, std, augmented: bool = False):
        self.images, self.labels = images.numpy(), labels.tolist()
        steps = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()] if augmented else []
        normalise = transforms.Normalize(mean.tolist(), std.tolist())
        self.transform = transforms.Compose([*steps, transforms.ToTensor(), normalise])

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def kd_loss(student, teacher, labels):
    """Equation 3.2 of the paper at a temperature of 20, with equal weights."""
    soft = F.kl_div(F.log_softmax(student / 20, 1), F.softmax(teacher / 20, 1), reduction="batchmean") * 400
    return 0.5 * F.cross_entropy(student, labels) + 0.5 * soft


class LeNet(models.LeNet):
    """With ReLU before pooling, as it is usually written: the same function, four times the work for ReLU."""

    def penultimate(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return F.relu(self.fc2(F.relu(self.fc1(x.flatten(1)))))


def distil(student: nn.Module, teacher: nn.Module) -> Callable:
    """The loss of a batch for a student whose teacher sees it too."""
    teacher.eval()

    def loss(x, labels):
        with torch.no_grad():
            logits = teacher(x)
        return kd_loss(student(x), logits, labels)

    return loss


def cutmix(model: nn.Module) -> Callable:
    """The loss of a batch under CutMix (Yun et al. 2019) for a network that learns from labels."""

    def loss(x, labels):
        lam = float(torch.rand(()))
        half = int(32 * (1 - lam) ** 0.5) // 2
        row, column = torch.randint(0, 32, (2,)).tolist()
        top, bottom = max(row - half, 0), min(row + half, 32)
        left, right = max(column - half, 0), min(column + half, 32)
        partner = torch.randperm(len(x))
        x[:, :, top:bottom, left:right] = x[partner, :, top:bottom, left:right]
        lam = 1 - (bottom - top) * (right - left) / 1024
        z = model(x)
        return lam * F.cross_entropy(z, labels) + (1 - lam) * F.cross_entropy(z, labels[partner])

    return loss


def train(
    model: nn.Module,
    loss_of: Callable,
    images: Images,
    batch_size: int,
    steps: int,
    workers: int,
    rate: Callable[[int], float],
    warmup: int = 1,
) -> float:
    """Take `warmup` + `steps` steps; returns the seconds of the last `steps`. `rate` gives each step's."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    model.train()
    started = time.perf_counter()
    for i, (x, labels) in enumerate(DataLoader(images, batch_size, shuffle=True, drop_last=True, num_workers=workers)):
        if i == warmup:
            started = time.perf_counter()
        optimizer.param_groups[0]["lr"] = rate(i)
        loss = loss_of(x, labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        if i + 1 == warmup + steps:
            break
    return time.perf_counter() - started
