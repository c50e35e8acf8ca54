"""Tables and paragraphs of the book's prose that come from the code, the stored runs and a measurement of costs."""

import functools
import itertools
import json
from collections import Counter
from typing import Any

import numpy as np
import yaml

from kdlib import ROOT, budgets, runs, study
from kdlib.fetch import CINIC10_IMAGES
from kdlib.report.markdown import MISSING, numbered
from kdlib.results.claims import NOT_RUN
from kdlib.results.names import CONTROLS, LOSSES, listing, test_set_name
from kdlib.runs import Run

COSTS = ROOT / "book" / "costs.json"  # written by benchmarks/costs.py
AGAIN = ROOT / "book" / "again.json"  # written by python -m kdlib again --json


# ---------------------------------------------------------------- parameters


def parameters() -> str:
    """Every parameter with its meaning, its type and its value in each profile, and the colours of their kinds."""
    legend = " · ".join(f"[{title}]{{.kind .kind-{kind}}}" for kind, title in study.KINDS.items())
    profiles = {name: yaml.safe_load(study.profile_text(name)) for name in study.PROFILES}
    lines = [["Parameter", "Meaning", "Type", "Value"], [":---"] * 4]
    for name in sorted(study.PARAMETERS, key=lambda name: list(study.KINDS).index(study.PARAMETERS[name]["kind"])):
        about = study.PARAMETERS[name]
        values = {profile: as_yaml(own.get(name)) for profile, own in profiles.items()}
        alike = len(set(values.values())) == 1
        default = values["demo"] if alike else "<br>".join(f"`{profile}`: {value}" for profile, value in values.items())
        label = f"[`{name}`]{{.kind .kind-{about['kind']}}}"
        lines.append([label, about["meaning"], about["convert"].expects, default])
    caption = "Parameters of the chapters, and the value of each in every profile where it is not set."
    return f"{legend}\n\n{numbered(lines, caption, 'tab-parameters')}"


def exceptions() -> str:
    """What single chapters have in the place of their profile's values, as a list."""
    said = []
    for profile in study.PROFILES:
        for chapter, own in yaml.safe_load(study.profile_text(profile))["chapters"].items():
            said.append(f"- `{profile}`, chapter *{chapter}*: {values(own)}")
    return "\n".join(said)


def networks() -> str:
    """Size and rates of each architecture in each profile: what no parameter sets."""
    names = ("width", "peak_lr", "weight_decay", "precision", "clip_norm", "student_seeds")
    lines = [["Profile", "Network", *(f"`{name}`" for name in names)], [":---", ":---", *[":---"] * len(names)]]
    for profile in study.PROFILES:
        for model, own in yaml.safe_load(study.profile_text(profile))["networks"].items():
            if model == "lenet":  # has one size
                own.pop("width")
            lines.append([f"`{profile}`", f"`{model}`", *(as_yaml(own.get(name)) for name in names)])
    return numbered(lines, "Networks of each profile, from `kdlib/profiles/`.", "tab-networks")


def chosen() -> str:
    """What images held out chose for students, a line for each kind of teacher and form of the loss, and how many
    there are of each teacher."""
    header = ["Profile", "Network", "Teacher", "Loss", "`peak_lr`", "`clip_norm`", "Epochs", "Students of each teacher"]
    lines = [header, [":---"] * 4 + ["---:"] * 4]
    for profile, group in itertools.product(study.PROFILES, budgets.LEARNERS):
        own = study.settings("students", profile)
        for model, loss in itertools.product(own.students, own.reductions if group != "alone" else [""]):
            if recipe := own.chosen(model, group, loss):
                who = (f"`{profile}`", f"`{model}`", CONTROLS.get(group, "trained"), LOSSES.get(loss, loss or MISSING))
                what = (recipe.peak_lr, recipe.clip_norm, recipe.epochs, len(own.own_seeds(model, group, loss)))
                lines.append([*who, *map(str, what)])
    return numbered(lines, "Students of the chosen length, from `kdlib/profiles/`.", "tab-chosen")


def values(own: dict) -> str:
    """What a part of a profile sets, in words."""
    return listing(f"`{name}` {as_yaml(value)}" for name, value in own.items())


def as_yaml(value: Any) -> str:
    """A value as it is written after `--set NAME=`; a dash where there is none."""
    if value is None:
        return MISSING
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()


# ---------------------------------------------------------------- costs


def costs() -> str:
    """What each profile takes: measured where it was made from nothing, else told from the times of its runs, a line
    for each kind of device."""
    measured = json.loads(COSTS.read_text(encoding="utf-8")) if COSTS.is_file() else {}
    header = ["Profile", "Networks", "Time", "Memory", "Disk", "Measured"]
    lines = [header, [":---", *["---:"] * 4, ":---"]]
    for profile in study.PROFILES:
        specs = dict.fromkeys(study.all_specs(profile))
        if profile in measured:
            found = measured[profile]
            told = [shown_time(found["seconds"]), found["memory"], found["disk"], found["how"]]
            lines.append([f"`{profile}`", str(len(specs)), *told])
            continue
        there: dict[str, list[Run]] = {}
        for run in runs.stored(specs):
            there.setdefault(run.metrics["provenance"]["device"], []).append(run)
        for device, made in there.items():
            seconds = sum(run.metrics["provenance"]["seconds"] for run in made)
            files = [path for run in made for path in run.folder.iterdir() if path.suffix != ".safetensors"]
            size = sum(path.stat().st_size for path in files)
            lines.append([
                f"`{profile}`", f"{len(made)} of {len(specs)}", shown_time(seconds), "not recorded",
                f"{size / 1e6:.0f} MB of runs, without weights", f"the sum over the stored runs on {device}",
            ])  # fmt: skip
        if not there:
            lines.append([f"`{profile}`", str(len(specs)), *[NOT_RUN] * 3, MISSING])
    return numbered(lines, "What a profile takes; the last column says what was measured.", "tab-costs")


costs.reads = (COSTS,)


def shown_time(seconds: float) -> str:
    """In the unit that leaves one to three digits before the point.

    >>> shown_time(5400)
    '1.5 hours'
    """
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


# ---------------------------------------------------------------- made again


def made_again() -> str:
    """How published runs came out when they were trained again: what `python -m kdlib again --json` said."""
    if not AGAIN.is_file():
        return f"Runs of the published edition, trained again: {NOT_RUN}."
    header = ["Run", "Then", "Now", "Same class", "Accuracy then", "now", "Bit for bit"]
    lines = [header, [":---"] * 3 + ["---:"] * 3 + [":---"]]
    for one in json.loads(AGAIN.read_text(encoding="utf-8")):
        lines.append([
            f"`{one['key']}`", one["device_then"], one["device_now"], f"{one['agreement']:.1%}",
            f"{one['accuracy_then']:.4f}", f"{one['accuracy_now']:.4f}", "yes" if one["identical"] else "no",
        ])  # fmt: skip
    return numbered(lines, "Stored runs trained again, on the test images.", "tab-again")


made_again.reads = (AGAIN,)


# ---------------------------------------------------------------- data


@functools.cache
def published_runs() -> list[Run]:
    """The stored runs of the `paper` profile."""
    return runs.stored(dict.fromkeys(study.all_specs("paper")))


def datasets() -> str:
    """The checksum of each data set that stored runs of the `paper` profile were made with, and its shifted set."""
    found = Counter(
        (run.spec.dataset, run.metrics["provenance"]["dataset_checksum"], run.metrics["provenance"]["shifted"])
        for run in published_runs()
    )
    if not found:
        return f"Networks of the `paper` profile: {NOT_RUN}."
    lines = [["Data set", "Runs", "Shifted test set", "sha256 over all arrays"], [":---", "---:", ":---", ":---"]]
    for (dataset, checksum, shifted), count in sorted(found.items(), key=str):
        lines.append([test_set_name(dataset, "test"), str(count), shifted or MISSING, f"`{checksum}`"])
    return numbered(lines, "Data that the stored runs of the `paper` profile were made with.", "tab-datasets")


def sampling() -> str:
    """How uncertain an accuracy on the shifted images is because there are only so many of them."""
    shifted = [run for run in published_runs() if "shifted" in run.metrics]
    if not shifted:
        return f"Networks of the `paper` profile: {NOT_RUN}."
    images: dict[str, int] = {}  # by the name of the set: one run's predictions are enough, unless it is slim
    for run in shifted:
        name = run.metrics["provenance"]["shifted"]
        if name not in images and "shifted_labels" in run.predictions:
            images[name] = len(run.predictions["shifted_labels"])
    accuracy = float(np.mean([run.metrics["shifted"]["accuracy"] for run in shifted]))
    counts = (*sorted({*images.values()}), CINIC10_IMAGES)
    error = {count: 100 * np.sqrt(accuracy * (1 - accuracy) / count) for count in counts}
    return (
        f"The mean accuracy of the stored networks on the shifted images is {accuracy:.3f}. At that accuracy the "
        f"standard error is {listing(f'{e:.2f} points on {n:,} images' for n, e in error.items())}."
    )
