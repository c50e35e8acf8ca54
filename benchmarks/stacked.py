"""Several LeNets as one network: stacked weights, trained on the same images with a teacher each.

It stands here and not in `kdlib`: what it saves is measured, and small beside what it would cost (`report.py`).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

import timing
from kdlib import distill, models, train

SHAPE = models.build("lenet")


def by_vmap(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
    """Logits (S, N, K) by `torch.func`: the plain network, vectorised over its weights."""
    return torch.func.vmap(lambda p: torch.func.functional_call(SHAPE, p, (x,)))(parameters)


def by_groups(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
    """Logits (S, N, K) by grouped convolutions: the first is one wide convolution, since all see the same images."""
    p, students = parameters, len(parameters["conv1.bias"])
    x = F.conv2d(x, p["conv1.weight"].flatten(0, 1), p["conv1.bias"].flatten())
    x = F.max_pool2d(F.relu(x), 2)
    x = F.conv2d(x, p["conv2.weight"].flatten(0, 1), p["conv2.bias"].flatten(), groups=students)
    return heads(p, F.max_pool2d(F.relu(x), 2).unflatten(1, (students, 16)).transpose(0, 1).flatten(2))


def by_unfolding(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
    """Logits (S, N, K) by matrix products of unfolded patches."""
    p, students = parameters, len(parameters["conv1.bias"])
    x = F.conv2d(x, p["conv1.weight"].flatten(0, 1), p["conv1.bias"].flatten())
    x = F.max_pool2d(F.relu(x), 2)
    patches = F.unfold(x, 5).unflatten(1, (students, 150))  # (N, S, 150, 100)
    x = p["conv2.weight"].flatten(2) @ patches + p["conv2.bias"][:, :, None]
    x = F.max_pool2d(F.relu(x).flatten(0, 1).unflatten(2, (10, 10)), 2)
    return heads(p, x.flatten(1).unflatten(0, (-1, students)).transpose(0, 1))


def heads(p: dict[str, Tensor], x: Tensor) -> Tensor:
    """The linear layers on features (S, N, 400)."""
    for name in ("fc1", "fc2", "head_layer"):
        x = torch.baddbmm(p[f"{name}.bias"][:, None], x, p[f"{name}.weight"].mT)
        x = x if name == "head_layer" else F.relu(x)
    return x


class Stack:
    """S students of one seed, trained as `train.fit` trains each of them alone."""

    FORMS: dict[str, Callable[[dict[str, Tensor], Tensor], Tensor]] = {
        "torch.func": by_vmap,
        "grouped convolutions": by_groups,
        "unfolded convolutions": by_unfolding,
    }

    def __init__(self, students: int, recipe: train.Recipe, form: Callable[[dict[str, Tensor], Tensor], Tensor]):
        self.students, self.recipe, self.form = students, recipe, form

    def fit(self, data: train.TrainingSet, logits: Tensor) -> None:
        """`logits` (S, N, K): each student's teacher on the images of `data`."""
        start = [models.build("lenet") for _ in range(self.students)]
        stacked, _ = torch.func.stack_module_state(start)
        self.parameters = {name: value.detach().requires_grad_() for name, value in stacked.items()}
        leaves = list(self.parameters.values())
        optimizer = torch.optim.SGD(leaves, lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True, fused=True)
        steps = len(data.images) // self.recipe.batch_size
        together = logits.transpose(0, 1).contiguous()
        for epoch in range(self.recipe.epochs):
            batches = train.batches(data, steps, self.recipe.batch_size, (), 0, epoch, together)
            for i, (x, labels, teachers) in enumerate(batches):
                rate = self.recipe.learning_rate(epoch * steps + i, self.recipe.epochs * steps)
                optimizer.param_groups[0]["lr"] = rate
                optimizer.zero_grad()
                self.loss(x.contiguous(), labels, teachers).backward()
                self.clip()
                optimizer.step()

    def loss(self, x: Tensor, labels: Tensor, teachers: Tensor) -> Tensor:
        """The sum of the students' losses: each has the gradient of its own."""
        z = self.form(self.parameters, x)
        each = range(self.students)
        settings = vars(timing.KD)
        return sum(distill.kd_loss(z[i], teachers[:, i], labels, **settings) for i in each)

    def clip(self) -> None:
        """Bound each student's gradient by its own norm."""
        gradients = [p.grad.flatten(1) for p in self.parameters.values()]
        norms = torch.stack([g.square().sum(1) for g in gradients]).sum(0).sqrt()
        factors = (self.recipe.clip_norm / (norms + 1e-6)).clamp(max=1)
        for gradient in gradients:
            gradient.mul_(factors[:, None])
