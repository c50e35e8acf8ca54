"""What is made, what is to make and what waits, and how long it should take: nothing is trained."""

import contextlib
import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from kdlib.runs.specs import Spec, canonical, is_taught
from kdlib.runs.store import Run, is_locked

MADE, TO_MAKE, WAITING, MAKING = "made", "to make", "waiting for its teacher", "being made by"


def states_of(
    specs: Iterable[Spec], device: str, store: Path | None = None, at_work: Mapping[str, str] = MappingProxyType({})
) -> Iterator[str]:
    """A line for each run and each teacher that it needs, then counts; `at_work` is who makes what on a cluster."""
    runs = {run.key: run for spec in specs for run in with_teacher(Run(spec, store))}
    if not runs:
        return
    costs = Costs(next(iter(runs.values())).store, device)
    states = {name: state(run, at_work) for name, run in runs.items()}
    for name, run in runs.items():
        cost = "" if states[name] == MADE else f", {in_words([costs.of(run.spec)])}"
        yield f"{name}: {states[name]}{cost}"
    counts = Counter(MAKING.partition(" by")[0] if text.startswith(MAKING) else text for text in states.values())
    left = [run.spec for name, run in runs.items() if states[name] != MADE]
    counted = ", ".join(f"{count} {text}" for text, count in counts.items())
    yield f"{counted}; {in_words(list(map(costs.of, left)))} left"


def with_teacher(run: Run) -> list[Run]:
    return [*([run.beside(run.spec.teacher)] if hasattr(run.spec, "teacher") else []), run]


def state(run: Run, at_work: Mapping[str, str]) -> str:
    if run.exists():
        return MADE
    if run.key in at_work:
        return f"{MAKING} {at_work[run.key]}"
    if is_locked(run.store, run.key):
        return f"{MAKING} another process"
    if is_taught(run.spec) and not run.beside(run.spec.teacher).exists():
        return WAITING
    return TO_MAKE


class Costs:
    """Seconds that runs should take: the median of an epoch of those of their kind, on that kind of device."""

    def __init__(self, store: Path, device: str):
        self.of_epoch: dict[tuple[tuple, bool], list[float]] = defaultdict(list)
        for path in store.glob("*/spec.json"):
            # A damaged run tells nothing.
            with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
                scores = path.with_name("metrics.json").read_text(encoding="utf-8")
                self.learn(json.loads(path.read_text(encoding="utf-8")), json.loads(scores))
        self.on_cpu = device == "cpu"

    def learn(self, spec: dict, scores: dict) -> None:
        """Take a finished run into account, given as its files have it."""
        of, epochs = size(spec)
        made = scores.get("provenance")
        if epochs and made:
            self.of_epoch[of, was_on_cpu(made)].append(made["seconds"] / epochs)

    def just_made(self, spec: dict, scores: dict) -> None:
        """The same of one that was made just now: the next are made on the kind of device that it was made on."""
        self.learn(spec, scores)
        if made := scores.get("provenance"):
            self.on_cpu = was_on_cpu(made)

    def of_size(self, of: tuple[tuple, int]) -> float | None:
        """Seconds of a whole run, None where none of its kind is known; nothing of a network without training."""
        kind, epochs = of
        known = self.of_epoch.get((kind, self.on_cpu))
        return statistics.median(known) * epochs if known else None if epochs else 0.0

    def of(self, spec: Spec) -> float | None:
        return self.of_size(size(canonical(spec)))


def was_on_cpu(provenance: dict) -> bool:
    return provenance["device"].endswith("CPU")


def size(spec: dict) -> tuple[tuple, int]:
    """The kind of run, and its epochs."""
    return kind(spec), spec["recipe"]["epochs"]


def kind(spec: dict) -> tuple:
    """What a run's time depends on beside its length: its data and network, and a teacher's that sees its batches."""
    augmented = bool(spec.get("augmentations"))
    seen_by = (spec["teacher"]["model"], spec["teacher"]["width"]) if augmented and "teacher" in spec else None
    halved = bool(spec.get("half"))
    return spec["dataset"], spec["model"], spec["width"], spec["recipe"]["batch_size"], augmented, seen_by, halved


def in_words(seconds: list[float | None], at_once: int = 1) -> str:
    """
    >>> in_words([3600.0, 1800.0], at_once=2)
    'about 45 min'
    >>> in_words([30.0, None])
    'about 30 s and 1 of kinds never made'
    """
    known = sum(one for one in seconds if one is not None) / max(at_once, 1)
    length = f"{known:.0f} s" if known < 120 else f"{known / 60:.0f} min" if known < 7200 else f"{known / 3600:.1f} h"
    unknown = seconds.count(None)
    if unknown:
        return f"about {length} and {unknown} of kinds never made" if known else "how long is unknown"
    return f"about {length}"
