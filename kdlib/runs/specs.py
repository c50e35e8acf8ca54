"""What a run is: two frozen specs, one for a network trained on labels, one for a network taught by another.

A spec holds everything that changes a run's numbers and nothing else, and a taught one holds its teacher's: the specs
are the graph of what depends on what. Its JSON (`canonical`) is a file format, and its key is the run's name for ever.
"""

import hashlib
import json
from dataclasses import MISSING, dataclass, fields, is_dataclass

from kdlib import KdlibError, augment, data, distill, extensions, models
from kdlib.train import Distillation, Recipe, TrainingError, is_whole


class RunError(KdlibError, RuntimeError):
    """A spec without meaning, or a run store that is damaged or lacks what a run needs."""


@dataclass(frozen=True)
class Supervised:
    """A network trained on labels alone: a teacher, or a student's architecture without one; `kind` "teacher" in JSON.

    With no epochs it is a random network, which tells what the loss does without anything being taught.
    """

    dataset: str
    model: str
    width: int
    recipe: Recipe
    augmentations: tuple[str, ...] = ()
    seed: int = 0
    held_out: int = 0
    half: int = 0  # of the training images, 1 or 2: see `data.halved`; 0 is all of them

    def __post_init__(self) -> None:
        check_spec(self)


@dataclass(frozen=True)
class Distilled:
    """A network distilled from a teacher (Section 3.2); `kind` "student" in JSON."""

    dataset: str
    teacher: Supervised
    model: str
    width: int
    recipe: Recipe
    augmentations: tuple[str, ...] = ()
    seed: int = 0
    temperature: float = 20.0
    kd_weight: float = 0.5
    direction: str = "teacher_student"
    reduction: str = "batchmean"
    held_out: int = 0
    targets: str = "logits"
    half: int = 0  # that it is trained on, whatever its teacher was

    def __post_init__(self) -> None:
        check_spec(self)
        distill.check_settings(self.temperature, self.kd_weight, self.direction, self.reduction)
        if self.targets not in distill.TARGETS:
            raise RunError(f"targets is {self.targets!r}, it must be one of {', '.join(distill.TARGETS)}")
        if self.targets != "logits" and self.augmentations:
            raise RunError(
                f"targets is {self.targets!r}, which is made of the logits on plain images: a student whose images are "
                f"augmented can't learn from it"
            )
        if self.teacher.dataset != self.dataset:
            raise RunError(
                f"a student of {self.dataset} can't learn from a teacher of {self.teacher.dataset}: "
                f"their classes are not the same"
            )

    @property
    def distillation(self) -> Distillation:
        return Distillation(self.temperature, self.kd_weight, self.direction, self.reduction)


Spec = Supervised | Distilled
SPECS = {"teacher": Supervised, "student": Distilled}  # as spec.json has them, whatever the classes are called


def is_taught(spec: Spec) -> bool:
    """Whether a network learns from a teacher that was trained."""
    return isinstance(spec, Distilled) and spec.teacher.recipe.epochs > 0


def check_spec(spec: Spec) -> None:
    """Refuse a data set, network or augmentation that does not exist, before anything is trained."""
    if spec.dataset not in data.LOADERS:
        raise RunError(f"no data set is called {spec.dataset!r}: there are {', '.join(data.LOADERS)}")
    models.check_architecture(spec.model, spec.width)
    object.__setattr__(spec, "augmentations", tuple(spec.augmentations))
    augment.check_augmentations(spec.augmentations)
    if not is_whole(spec.held_out):
        raise RunError(f"held_out is {spec.held_out!r}: expected a number of training images, or 0")
    if not is_whole(spec.half) or spec.half > 2:
        raise RunError(f"half is {spec.half!r}: expected 1 or 2, or 0 for all training images")
    if spec.held_out and spec.half:
        raise RunError("of a half of the training images none are held out: expected held_out 0, or half 0")


def canonical(spec: Spec | Recipe) -> dict:
    """A spec as JSON holds it, without the fields that equal their default.

    So a field added later, with a default that says what was done before, leaves the keys of old runs alone. A name
    that comes from a file of extensions stands with the version of that file.
    """
    out: dict = {"kind": next(k for k, of in SPECS.items() if of is type(spec))} if isinstance(spec, Spec) else {}
    for field in fields(spec):
        value = getattr(spec, field.name)
        if field.default is not MISSING and value == field.default:
            continue
        if is_dataclass(value):
            value = canonical(value)
        elif isinstance(value, tuple):
            value = list(value)
        elif isinstance(value, int) and field.type in (float, float | None):
            value = float(value)  # 20 and 20.0 are one temperature
        out[field.name] = value
    if isinstance(spec, Spec):
        loss = getattr(spec, "reduction", None)
        if versions := extensions.versions(spec.dataset, spec.model, spec.augmentations, loss):
            out["extensions"] = versions
    return out


def from_canonical(content: dict) -> Spec:
    """The spec that `canonical` made `content` of; raises RunError where it is none.

    The versions of extensions are those of today's files: where one has changed, the key is another.
    """
    extensions.load_extensions()
    try:
        kind = SPECS[content["kind"]]
        values = {name: value for name, value in content.items() if name not in ("kind", "extensions")}
        values["recipe"] = Recipe(**values["recipe"])
        if "teacher" in values:
            values["teacher"] = from_canonical(values["teacher"])
        return kind(**values)
    except (KeyError, TypeError, ValueError, AttributeError, TrainingError) as error:
        raise RunError(f"this describes no run ({error}): {json.dumps(content)[:80]}") from error


def key(spec: Spec) -> str:
    """A readable, unique name, such as `cifar10-resnet18-cutmix-s0-3fa9c1d2`."""
    parts = [spec.dataset, short_name(spec)]
    if isinstance(spec, Distilled):
        parts += ["of", short_name(spec.teacher)]
    return "-".join([*parts, f"s{spec.seed}", digest(canonical(spec))])


def digest(content: dict) -> str:
    """What tells specs apart, of `canonical`'s JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def mark(run_key: str) -> str:
    """The end of a key, by which pages link to the run's record.

    >>> mark("cifar10-resnet18-cutmix-s0-3fa9c1d2")
    's0-3fa9c1d2'
    """
    return "-".join(run_key.split("-")[-2:])


def short_name(spec: Spec) -> str:
    if spec.model == "uniform":  # it has nothing to train and nothing to augment for
        return spec.model
    images = "random" if spec.recipe.epochs == 0 else augment.label(spec.augmentations).replace("+", ".")
    return f"{spec.model}-{images}"
