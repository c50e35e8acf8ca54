"""A walk through a run store: what is whole, unusable, incomplete or left over. What `python -m kdlib check` does.

A run is whole where every file is what was written, by `SHA256SUMS`, and its scores are those of its predictions. A
damaged one can be set aside, so that it is made again, and one that has no checksums, as those that were made before
there were any, can be given them once its scores have been computed again.
"""

import io
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import safetensors.torch
from filelock import Timeout

from kdlib import metrics, reason
from kdlib.runs.specs import RunError, digest
from kdlib.runs.store import (
    CLASSES,
    FILES,
    FOR_SOME,
    LATENT,
    PREDICTIONS,
    SUMS,
    TRAIN_LOGITS,
    UNREADABLE,
    WEIGHTS,
    is_locked,
    locked,
    open_store,
    read_arrays,
    read_packed,
    read_sums,
    sums_now,
    unusable,
    whole,
    write_sums,
)  # fmt: skip

ASIDE = ".damaged"  # in the store
CLOSE = 1e-6  # of a score and the same score computed elsewhere
MOMENT = 60  # seconds in which a finished run is written
HALF = 1e-3  # of a mean of float16 numbers and that of what they were rounded from


@dataclass
class Report:
    """What was found in a store."""

    runs: int = 0
    faults: dict[Path, list[RunError]] = field(default_factory=dict)  # by the run's folder
    sealed: list[Path] = field(default_factory=list)
    set_aside: list[Path] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)  # what a run can do without
    left_over: list[str] = field(default_factory=list)


def walk(store: Path, *, seal: bool = False, repair: bool = False) -> Report:
    """Check every run of a store; with `seal` write the checksums of those that have none, once their scores have been
    computed again; with `repair` move damaged ones to `.damaged` in the store. Nothing is deleted."""
    if not store.is_dir():
        raise RunError(f"there is no folder {store}: set KDLIB_RUNS to the folder that holds the runs")
    report = Report()
    if seal or repair:
        open_store(store)
    for folder in sorted(path for path in store.iterdir() if path.is_dir() and path.name[0] != "."):
        report.runs += 1
        unsealed = seal and not os.path.lexists(folder / SUMS)
        try:
            sums = sums_now(folder) if unsealed else read_sums(folder)
            faults = faults_of(folder, sums)
            report.absent += absent(folder, sums)
        except RunError as fault:
            faults = [fault]
        if faults:
            report.faults[folder] = faults
            if repair and os.path.lexists(folder / SUMS):
                report.set_aside.append(set_aside(folder))
        elif unsealed:
            write_sums(folder)
            report.sealed.append(folder)
    report.left_over = list(left_over(store))
    return report


def faults_of(folder: Path, sums: dict[str, str]) -> list[RunError]:
    """Every file of a run that is not what was written or is missing; where all are, what they say that can't be."""
    present, faults = {}, []
    needed = {*FILES, *sums} - {*FOR_SOME} - ({PREDICTIONS} if CLASSES in sums else set())
    for name in sorted({path.name for path in folder.iterdir()} - {SUMS} | needed):
        try:
            present[name] = whole(folder / name, sums)
        except RunError as fault:
            faults.append(fault)
    if not faults:
        try:
            check_content(folder, present)
        except RunError as fault:
            faults.append(fault)
    return faults


def absent(folder: Path, sums: dict[str, str]) -> Iterator[str]:
    """Files that were written and are not there, as where they are not published."""
    for name, who in FOR_SOME.items():
        if name in sums and not os.path.lexists(folder / name):
            yield f"{folder / name} is not there, which only {who} need: restore it for them"


def check_content(folder: Path, present: dict[str, bytes]) -> None:
    """Raise `RunError` where the files of a run contradict each other. Its augmentations, networks and losses need not
    be known here."""

    def reading(name, read):
        if name not in present:
            raise unusable(folder / name, "it is missing")
        try:
            return read(present[name])
        except UNREADABLE as error:
            raise unusable(folder / name, reason(error)) from error

    spec, scores = (reading(name, json.loads) for name in FILES[:2])
    if not folder.name.endswith(f"-{digest(spec)}"):
        raise unusable(folder / "spec.json", "it describes another run")
    history = reading("history.csv", lambda content: pd.read_csv(io.BytesIO(content)))
    if len(history) != spec["recipe"]["epochs"] or history.isna().any(axis=None):
        raise unusable(folder / "history.csv", f"it should hold {spec['recipe']['epochs']} whole rows")
    for name, read in {LATENT: read_arrays, TRAIN_LOGITS: read_packed, WEIGHTS: safetensors.torch.load}.items():
        if name in present:
            reading(name, read)
    if spec.get("held_out"):
        last = history.iloc[-1]
        again = {"validation": {name: last[f"validation_{name}"] for name in ("accuracy", "loss")}}
    elif CLASSES in present:
        again = reading(CLASSES, lambda content: told_by_classes(read_arrays(content)))
        scores = {part: scores[part] for part in ("test", "provenance") if part in scores}
    else:
        again = reading(PREDICTIONS, lambda content: scored_again(read_arrays(content)))
    if other := differing(scores, again):
        raise unusable(folder / "metrics.json", f"computed again, {other}")


def scored_again(arrays: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """What of a run's scores can be computed from its predictions."""
    parts = [part for part in ("test", "shifted") if f"{part}_logits" in arrays]
    scores = {part: metrics.evaluate_logits(arrays[f"{part}_logits"], arrays[f"{part}_labels"]) for part in parts}
    if "human_kl" in arrays:
        scores["human"] = {"human_model": float(arrays["human_kl"].astype(np.float64).mean())}
    return scores


def told_by_classes(arrays: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """What of a run's scores can be computed from its predicted classes."""
    classes, labels = arrays["test_classes"], arrays["test_labels"]
    onehot = np.eye(max(classes.max(), labels.max()) + 1)[classes]
    return {"test": metrics.classification_report(onehot, labels)}


def differing(scores: dict, again: dict[str, dict[str, float]]) -> str | None:
    """The first score that is not what it is when computed again, in words."""
    if "provenance" not in scores or set(scores) - {"provenance"} != set(again):
        return f"it holds {', '.join(scores)}, not {', '.join(again)} and provenance"
    for part, found in again.items():
        for name, value in found.items():
            kept, near = scores[part].get(name), HALF if part == "human" else CLOSE
            if not isinstance(kept, int | float) or not math.isclose(kept, value, rel_tol=near, abs_tol=CLOSE):
                return f"{name} of {part} is {value}, not {kept}"
    return None


def set_aside(folder: Path) -> Path:
    """Move a damaged run to where no run is looked for."""
    aside = folder.parent / ASIDE
    target = aside / f"{folder.name}-{time.time_ns()}"
    try:
        with locked(folder.parent, folder.name):
            aside.mkdir(exist_ok=True)
            os.rename(folder, target)
    except Timeout as error:
        raise RunError(f"another process is at work on {folder}: wait until it has ended") from error
    except OSError as error:
        raise RunError(f"{folder} can't be moved to {aside} ({reason(error)}): see to that and try again") from error
    return target


def left_over(store: Path) -> Iterator[str]:
    """What processes that were killed have left; what a living one is at is none of it."""
    for path in sorted(store.glob(".making/*")):
        if not is_locked(store, path.stem):
            if just_begun(path):
                yield f"{path} is being written by a cluster's client, or was when it was killed a moment ago"
            else:
                yield f"{path} was being written by a process that was killed: the next to ask for it clears it away"
    for path in sorted(store.glob(".checkpoints/*.pt")):
        if not is_locked(store, path.stem):
            does = "clears it away" if (store / path.stem).exists() else "goes on from it"
            yield f"{path} is of a run that was broken off: the next to ask for the run {does}"
    for path in sorted(store.glob(".[cp]*s/**/*.tmp")):
        yield f"{path} was being written: where nothing is being trained it can be deleted"


def just_begun(path: Path) -> bool:
    """Whether a folder may be what a cluster's client, who holds no lock, is writing; one that is gone was."""
    try:
        return time.time() - path.stat().st_mtime < MOMENT
    except FileNotFoundError:
        return True
