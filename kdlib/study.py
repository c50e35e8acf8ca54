"""The paper's experiments as lists of runs, from a profile and a reader's parameters.

One set of parameter names serves the profiles, the notebooks and `python -m kdlib run --set NAME=VALUE`.
"""

import ast
import contextlib
import difflib
import functools
import math
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from itertools import product
from typing import Any

import torch
import yaml

from kdlib import KdlibError, augment, extensions
from kdlib.causes import FEWER, HALVES, PROTOCOL, SHORT, SMOOTHING, UNSEEN
from kdlib.data import LOADERS as DATASETS
from kdlib.distill import MAX_TEMPERATURE, TERMS
from kdlib.models import ARCHITECTURES, FULL_WIDTH
from kdlib.runs import Distilled, Spec, Supervised
from kdlib.train import Recipe

PROFILES = ("demo", "cpu", "paper")
# Width, peak_lr, weight_decay, precision and clip_norm of architectures that the profiles do not know: of extensions.
NETWORKS: dict[str, dict] = {}
# How long students train: as long as held-out images say (`kdlib.budgets`), or `student_epochs`, the same for all.
BUDGETS = ("chosen", "long")
STANDARD = "crop_flip"  # what is done to training images as a rule, before anything that the study is about


class ParameterError(KdlibError, ValueError):
    """A parameter that does not exist, or a value that it can't have."""


# ---------------------------------------------------------------- parameters
# A converter checks a value and returns it in the form that `Settings` holds; its `expects` says in words what that is.


def expecting(text: str) -> Callable[[Callable], Callable]:
    def describe(convert: Callable) -> Callable:
        convert.expects = text
        return convert

    return describe


def whole_number(minimum: int) -> Callable[[str, Any], int]:
    @expecting(f"whole number from {minimum}")
    def convert(name: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise ParameterError(f"{name} is {value!r}: expected a whole number of at least {minimum}")
        return value

    return convert


def real_number(low: float, high: float, *, open_low: bool = False) -> Callable[[str, Any], float]:
    bounds = f"{'above' if open_low else 'from'} {low:g} to {high:g}"

    @expecting(f"number {bounds}")
    def convert(name: str, value: Any) -> float:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        if not fits or not math.isfinite(value) or not low <= value <= high or (open_low and value == low):
            hint = " (in YAML, write 1.0e-3 rather than 1e-3)" if isinstance(value, str) else ""
            raise ParameterError(f"{name} is {value!r}: expected a number {bounds}{hint}")
        return float(value)

    return convert


def one_of(choices: Collection[str]) -> Callable[[str, Any], str]:
    """`choices` may grow: what is asked is whether a value is among them when it is checked."""

    @expecting(", ".join(choices))
    def convert(name: str, value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ParameterError(f"{name} is {value!r}: expected one of {', '.join(choices)}")
        return value

    return convert


def sequence(item: Callable[[str, Any], Any], example: str) -> Callable[[str, Any], tuple]:
    @expecting(f"list of: {item.expects}")
    def convert(name: str, value: Any) -> tuple:
        if isinstance(value, str):  # papermill -p hands lists over as text
            try:
                value = yaml.safe_load(value)
            except yaml.YAMLError:
                pass
        if not isinstance(value, list | tuple) or not value:
            raise ParameterError(f"{name} is {value!r}: expected a list that is not empty, such as {example}")
        items = tuple(item(f"an item of {name}", one) for one in value)
        if len(set(items)) < len(items):
            raise ParameterError(f"{name} is {value!r}: it names something twice")
        return items

    return convert


@expecting("names joined by +, or none")
def augmentations_of(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, str):
        raise ParameterError(f"{name} is {value!r}: expected a text such as none or crop_flip+cutmix")
    return augment.parse(value)


@expecting("settings joined by +, such as epochs=12+temperature=4")
def a_change(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ParameterError(f"{name} is {value!r}: expected a text such as epochs=12+temperature=4")
    settings_of_change(value)
    return value


@expecting("auto, cpu, cuda, cuda:0")
def a_device(name: str, value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
        raise ParameterError(f"{name} is {value!r}: expected auto, cpu, cuda or cuda:0")
    if value == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return value


# What a parameter is about, in the order of the book's table, and its title there.
KINDS = {
    "edition": "the edition", "data": "data", "networks": "networks", "training": "training", "loss": "the loss",
    "machine": "the machine",
}  # fmt: skip


def parameter(kind: str, convert: Callable[[str, Any], Any], meaning: str) -> Any:
    return field(metadata={"kind": kind, "convert": convert, "meaning": meaning})


@dataclass(frozen=True)
class Settings:
    """The parameters of a chapter, checked; `networks` (size and rates of each) comes from the profile alone."""

    profile: str = parameter(
        "edition", one_of(PROFILES), "edition whose settings fill what is not set; demo if not given"
    )
    dataset: str = parameter("data", one_of(DATASETS), "data that teachers and students are trained on")
    seeds: tuple[int, ...] = parameter(
        "edition", sequence(whole_number(0), "[0, 1]"), "one whole repetition of the chapter each"
    )
    augmentations: tuple[tuple[str, ...], ...] = parameter(
        "data", sequence(augmentations_of, "[none, cutmix, crop_flip+cutmix]"), "augmentations to be compared"
    )
    teacher: str = parameter("networks", one_of(ARCHITECTURES), "architecture of the teachers")
    students: tuple[str, ...] = parameter(
        "networks", sequence(one_of(ARCHITECTURES), "[lenet, alexnet]"), "architectures of the students"
    )
    reductions: tuple[str, ...] = parameter(
        "loss", sequence(one_of(TERMS), "[batchmean, mean]"), "forms of the distillation loss"
    )
    teacher_epochs: int = parameter("training", whole_number(1), "epochs of each teacher")
    student_epochs: int = parameter(
        "training", whole_number(1), "epochs of each student under the long budget; given alone, the only budget"
    )
    budgets: tuple[str, ...] = parameter(
        "training",
        sequence(one_of(BUDGETS), "[chosen, long]"),
        "lengths of the students' training: chosen by held-out images, or long",
    )
    students_per_teacher: int = parameter(
        "training", whole_number(1), "students of each teacher under the chosen budget and in the chapter Why, at least"
    )
    batch_size: int = parameter("training", whole_number(1), "images in a step")
    changes: tuple[str, ...] = parameter(
        "training",
        sequence(a_change, "[epochs=12, epochs=12+temperature=4]"),
        "what is changed of the students of the chapter Why, each time in other students",
    )
    temperature: float = parameter(
        "loss", real_number(0, MAX_TEMPERATURE, open_low=True), "softening of both distributions"
    )
    kd_weight: float = parameter("loss", real_number(0, 1), "share of the distillation term in the loss")
    device: str = parameter("machine", a_device, "where the networks are trained; auto takes a GPU where there is one")
    networks: dict[str, dict] = field(repr=False)

    def recipe(self, model: str, epochs: int) -> Recipe:
        own = self.networks[model]
        return Recipe(
            epochs=epochs,
            batch_size=self.batch_size,
            peak_lr=own["peak_lr"],
            weight_decay=own["weight_decay"],
            precision=own["precision"],
            clip_norm=own.get("clip_norm"),
        )

    def chosen(self, model: str, group: str, reduction: str | None = None) -> Recipe | None:
        """The recipe that held-out images chose for a group of networks, see `kdlib.budgets`; None where none did.

        Networks without a teacher (`alone`) are under no form of the loss.
        """
        own = self.networks[model].get("chosen", {})
        epochs = of_group(own.get("epochs", {}), group, reduction)
        if epochs is None:
            return None
        return replace(self.recipe(model, epochs), peak_lr=own["peak_lr"], clip_norm=own["clip_norm"])

    def own_seeds(self, model: str, group: str, reduction: str | None = None) -> range:
        """The own seeds of a group's networks of the chosen length: more where the profile has more for it."""
        more = of_group(self.networks[model].get("chosen", {}).get("students", {}), group, reduction)
        return range(more or self.students_per_teacher)

    def width(self, model: str) -> int:
        return self.networks[model]["width"]

    def seeds_of(self, student: str) -> tuple[int, ...]:
        """The seeds of one architecture's students: all, unless the profile has fewer for it."""
        return tuple(self.networks[student].get("student_seeds", self.seeds))


PARAMETERS = {f.name: f.metadata for f in fields(Settings) if f.metadata}


def of_group(table: dict, group: str, reduction: str | None) -> int | None:
    """What a table of the profile has for a group of networks: one number, or one for each form of the loss."""
    found = table.get(group)
    return found.get(reduction) if isinstance(found, dict) else found


@functools.cache
def profile_text(profile: str) -> str:
    return resources.files("kdlib").joinpath("profiles", f"{profile}.yaml").read_text(encoding="utf-8")


def settings(chapter: str, profile: str = "demo", /, **overrides: Any) -> Settings:
    """The settings of a chapter: the profile's, the profile's for this chapter, then what is given and not None."""
    extensions.load_extensions()
    if chapter not in CHAPTERS:
        raise ParameterError(f"no chapter is called {chapter!r}: there are {', '.join(CHAPTERS)}")
    for name in overrides:
        if name not in PARAMETERS:
            near = difflib.get_close_matches(name, PARAMETERS, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(PARAMETERS)}"
            raise ParameterError(f"no parameter is called {name!r}: {hint}")
    PARAMETERS["profile"]["convert"]("profile", profile)
    values = yaml.safe_load(profile_text(profile))
    values |= values.pop("chapters").get(chapter, {})
    values |= {name: value for name, value in overrides.items() if value is not None}
    if overrides.get("seeds") is not None:  # a reader's seeds are for every network
        for network in values["networks"].values():
            network.pop("student_seeds", None)
    if overrides.get("students_per_teacher") is not None:  # and so is a reader's number of students
        for network in values["networks"].values():
            network.get("chosen", {}).pop("students", None)
    if overrides.get("student_epochs") is not None and overrides.get("budgets") is None:
        values["budgets"] = ["long"]
    values["profile"] = profile
    checked = {name: meta["convert"](name, values[name]) for name, meta in PARAMETERS.items()}
    networks = NETWORKS | values["networks"]
    for model in (checked["teacher"], *checked["students"]):
        check_sized(model, networks, profile)
    return Settings(**checked, networks=networks)


def check_sized(model: str, networks: dict[str, dict], profile: str) -> None:
    """Refuse an architecture whose size and rates neither the profile nor an extension gives."""
    own = networks.get(model, {})
    missing = [name for name in ("width", "peak_lr", "weight_decay", "precision") if name not in own]
    if missing:
        raise ParameterError(
            f"the profile {profile} has no {', '.join(missing)} for {model}: expected them in kdlib.study.NETWORKS"
            f"[{model!r}]"
        )


def from_notebook(namespace: dict[str, Any], chapter: str) -> Settings:
    """The settings that a notebook's `parameters` cell, and what papermill put after it, ask for."""
    given = given_in(namespace)
    profile = given.pop("profile", "demo")
    return settings(chapter, profile, **given)


def without_parameters(namespace: dict[str, Any]) -> None:
    """Refuse whatever papermill was given for a chapter that takes no parameters."""
    if given := given_in(namespace):
        raise ParameterError(f"this chapter takes no parameters, and was given {', '.join(given)}")


def given_in(namespace: dict[str, Any]) -> dict[str, Any]:
    """The parameters that a notebook has so far: every plain value that its cells have named.

    papermill accepts a misspelt parameter with a warning only, so one that does not exist has to be found here.
    """
    plain = str | int | float | bool | list | tuple | dict | None
    if "_parameters" not in namespace:  # cells further down may define what they like, and this one be run again
        namespace["_parameters"] = [name for name in named_by_cells(namespace) if isinstance(namespace[name], plain)]
    return {name: namespace[name] for name in namespace["_parameters"]}


def named_by_cells(namespace: dict[str, Any]) -> list[str]:
    """The names in a notebook but for IPython's own and those that the kernel's start-up files have left."""
    shell = namespace.get("get_ipython", lambda: None)()
    before = shell.user_ns_hidden if shell else {}
    again = set()  # a cell may give a name the very object, such as a small number, that it had before
    for cell in namespace.get("In", ()):
        with contextlib.suppress(SyntaxError):  # of a cell that failed
            again |= assigned(cell)
    names = (name for name in namespace if not name.startswith("_"))
    return [name for name in names if name in again or namespace[name] is not before.get(name, before)]


def assigned(source: str) -> set[str]:
    """The names that the statements of a piece of Python assign, what they have within not counted."""
    assignments = [node for node in ast.parse(source).body if isinstance(node, ast.Assign | ast.AnnAssign)]
    targets = [target for node in assignments for target in getattr(node, "targets", None) or [node.target]]
    return {node.id for target in targets for node in ast.walk(target)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}  # fmt: skip


# ---------------------------------------------------------------- experiments


def teacher(s: Settings, augmentations: tuple[str, ...], seed: int) -> Supervised:
    """The teacher of one augmentation and seed (Section 4.1)."""
    recipe = s.recipe(s.teacher, s.teacher_epochs)
    return Supervised(s.dataset, s.teacher, s.width(s.teacher), recipe, augmentations, seed)


def random_teacher(s: Settings, seed: int) -> Supervised:
    """A teacher that was never trained: what the released code distils from once its weights fail to load."""
    return Supervised(s.dataset, s.teacher, s.width(s.teacher), s.recipe(s.teacher, 0), (), seed)


def uniform_teacher(s: Settings) -> Supervised:
    """A teacher that says nothing: the control with the weight on labels that students have, and no knowledge."""
    return Supervised(s.dataset, "uniform", FULL_WIDTH, s.recipe(s.teacher, 0))


def alone(
    s: Settings, model: str, seed: int, augmentations: tuple[str, ...] = (), *, recipe: Recipe | None = None
) -> Supervised:
    """A student's architecture on labels alone; it trains long or by `recipe`."""
    recipe = recipe or s.recipe(model, s.student_epochs)
    return Supervised(s.dataset, model, s.width(model), recipe, augmentations, seed)


def student(
    s: Settings,
    model: str,
    of: Supervised,
    reduction: str,
    augmentations: tuple[str, ...] = (),
    *,
    seed: int | None = None,
    recipe: Recipe | None = None,
) -> Distilled:
    """A student of `of`, not augmented unless said so (Sections 4.1 to 4.4).

    It has its teacher's seed or one of its own, and trains long or by `recipe`.
    """
    return Distilled(
        s.dataset,
        of,
        model,
        s.width(model),
        recipe or s.recipe(model, s.student_epochs),
        augmentations,
        of.seed if seed is None else seed,
        s.temperature,
        s.kd_weight,
        reduction=reduction,
    )


def teachers(s: Settings) -> list[Spec]:
    """A teacher for each augmentation and seed: Tables 1, 2, 4, 5 and 9."""
    return [teacher(s, augmentations, seed) for seed in s.seeds for augmentations in s.augmentations]


def students(s: Settings) -> list[Spec]:
    """Students of every teacher under every loss, and the controls: Tables 1, 2, 4 and 6, under each budget."""
    return [spec for budget in s.budgets for spec in OF_BUDGET[budget](s)]


def long_students(s: Settings) -> list[Spec]:
    """One student of each teacher, with the teacher's seed."""
    specs: list[Spec] = []
    for seed in s.seeds:
        for model in s.students:
            if seed not in s.seeds_of(model):
                continue
            for reduction in s.reductions:
                specs += [student(s, model, teacher(s, a, seed), reduction) for a in s.augmentations]
                specs.append(student(s, model, random_teacher(s, seed), reduction))
            specs.append(alone(s, model, seed))
    return specs


def chosen_students(s: Settings) -> list[Spec]:
    """Several students of each teacher, with seeds of their own, and several of each control; where a length is chosen.

    Teachers that know nothing are of the first seed: what they say hardly depends on it.
    """
    specs: list[Spec] = []
    for model in s.students:
        for reduction in s.reductions:
            groups = {
                "taught": [teacher(s, a, seed) for seed in s.seeds for a in s.augmentations],
                "uniform": [uniform_teacher(s)],
                "random": [random_teacher(s, s.seeds[0])],
            }
            for group, its_teachers in groups.items():
                recipe = s.chosen(model, group, reduction)
                pairs = product(its_teachers, s.own_seeds(model, group, reduction)) if recipe else ()
                specs += [student(s, model, of, reduction, seed=seed, recipe=recipe) for of, seed in pairs]
        if recipe := s.chosen(model, "alone"):
            specs += [alone(s, model, seed, recipe=recipe) for seed in s.own_seeds(model, "alone")]
    return specs


OF_BUDGET = {"long": long_students, "chosen": chosen_students}


def ablation(s: Settings) -> list[Spec]:
    """Augmentation of the teacher, the student or both: Tables 6, 7 and 8; and of a network without a teacher."""
    specs: list[Spec] = []
    for seed in s.seeds:
        for model in s.students:
            specs += [alone(s, model, seed, a) for a in s.augmentations]
            for reduction in s.reductions:
                for a in s.augmentations:
                    specs.append(student(s, model, teacher(s, a, seed), reduction))
                    specs.append(student(s, model, teacher(s, (), seed), reduction, a))
                    specs.append(student(s, model, teacher(s, a, seed), reduction, a))
    return list(dict.fromkeys(specs))


# What of a student, of its training and of its teacher can be changed: of `Distilled`, `Recipe` and `Supervised`.
CHANGEABLE = ("temperature", "kd_weight", "direction", "reduction", "targets", "half")
OF_RECIPE = ("epochs", "batch_size", "peak_lr", "weight_decay", "momentum", "clip_norm", "drops")
OF_TEACHER = {"teacher_half": "half"}


def settings_of_change(change: str) -> dict[str, Any]:
    """The settings that a change names, the last where one is named twice: values are Python's, or names as they are.

    >>> settings_of_change("epochs=12+targets=shuffled+drops=[6, 9]")
    {'epochs': 12, 'targets': 'shuffled', 'drops': [6, 9]}
    """
    found: dict[str, Any] = {}
    for setting in change.split("+") if change else ():
        name, equals, text = setting.partition("=")
        if name not in (known := (*CHANGEABLE, *OF_RECIPE, *OF_TEACHER)) or not equals:
            raise ParameterError(f"{setting!r} changes nothing: expected NAME=VALUE, of {', '.join(known)}")
        try:
            found[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            found[name] = text
    return found


def changed(spec: Distilled, change: str) -> Distilled:
    """A student with some settings changed, its teacher's among them."""
    values = settings_of_change(change)
    recipe = {name: values.pop(name) for name in OF_RECIPE if name in values}
    of = {field: values.pop(name) for name, field in OF_TEACHER.items() if name in values}
    try:
        return replace(spec, recipe=replace(spec.recipe, **recipe), teacher=replace(spec.teacher, **of), **values)
    except (KdlibError, TypeError) as error:
        raise ParameterError(f"{change} can't be done: {error}") from error


def why(s: Settings) -> list[Spec]:
    """Students of each augmentation's teachers, as held-out images favour, and with each of the settings' changes; and
    who stands beside those of short training."""
    changed_in_turn = (spec for change in ("", *s.changes) for spec in changed_students(s, change))
    return list(dict.fromkeys([*changed_in_turn, *untaught(s)]))


def changed_students(s: Settings, change: str) -> list[Distilled]:
    """Under the first form of the loss; of the chosen length, or the long one where none is chosen."""
    reduction, students = s.reductions[0], s.students_per_teacher
    own_seeds = range(min(students, FEWER) if change.startswith(PROTOCOL) else students)
    return [
        changed(student(s, model, teacher(s, a, seed), reduction, seed=own, recipe=recipe), change)
        for model in s.students
        for recipe in [s.chosen(model, "taught", reduction)]
        for seed in s.seeds
        for a in s.augmentations
        for own in own_seeds
    ]


def untaught(s: Settings) -> list[Spec]:
    """Of the recipe and seeds of the students of short training, where there are such: networks without a teacher, on
    labels as they are and smoothed, and students of a teacher that says nothing and of one that was never trained."""
    if SHORT not in s.changes:
        return []
    found: list[Spec] = []
    of_one_teacher = replace(s, seeds=s.seeds[:1], augmentations=((),))
    for taught in changed_students(of_one_teacher, SHORT):
        lone = alone(s, taught.model, taught.seed, recipe=taught.recipe)
        smoothed = replace(lone, recipe=replace(lone.recipe, label_smoothing=SMOOTHING))
        others = (uniform_teacher(s), random_teacher(s, s.seeds[0]))
        found += [lone, smoothed, *(replace(taught, teacher=of) for of in others)]
    return found


def unseen(s: Settings) -> list[Spec]:
    """Students of teachers of one half of the images, on that half and on the other (Section 6); and on either half a
    network without a teacher and a student of one that says nothing."""
    found: list[Spec] = []
    for change in (HALVES, UNSEEN):
        found += (students := changed_students(s, change))
        for one in dict.fromkeys(replace(one, teacher=uniform_teacher(s)) for one in students):
            lone = alone(s, one.model, one.seed, recipe=one.recipe)
            found += [replace(lone, half=one.half), one]
    return found


def teachers_and_students(s: Settings) -> list[Spec]:
    """Both: Table 3 on the second data set (Section 4.3), and what Section 5 looks at."""
    return teachers(s) + students(s)


def crossed(s: Settings) -> Settings:
    """The same with images that are cropped and flipped first: crop and flip alone, and what cuts or mixes after it."""
    crossed_with = tuple((STANDARD, *a) for a in s.augmentations if STANDARD not in a)
    return replace(s, augmentations=crossed_with)


CHAPTERS: dict[str, Callable[[Settings], list[Spec]]] = {
    "teachers": teachers,
    "students": students,
    "ablation": ablation,
    "mnist": teachers_and_students,
    "dichotomy": teachers_and_students,
    "why": why,
}


def all_specs(profile: str, **overrides: Any) -> Iterator[Spec]:
    """Every run of every chapter, and the teachers that they need; some come more than once."""
    for chapter, specs in CHAPTERS.items():
        for spec in specs(settings(chapter, profile, **overrides)):
            yield spec
            if teacher := getattr(spec, "teacher", None):
                yield teacher
