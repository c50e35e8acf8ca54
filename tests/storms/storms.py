"""Storms by a seed and a count: files of runs damaged, training killed, parameters that mean nothing.

    PYTHONPATH=. python tests/storms/storms.py damage 1000      # each in a copy of one of the published runs
    PYTHONPATH=. python tests/storms/storms.py kills 200
    PYTHONPATH=. python tests/storms/storms.py parameters 5000 [SEED]

What comes out is counted and printed; what may not be, another number read without a word above all, ends the storm.
"""

import collections
import json
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from kdlib import KdlibError, metrics, runs, speed, study
from kdlib.runs import Run, check

ROOT = Path(__file__).resolve().parents[2]


# ---------------------------------------------------------------- damage


def flip(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]


def digit(content: bytes, draw: random.Random) -> bytes:
    places = [at for at, byte in enumerate(content) if 48 <= byte < 58]
    at = draw.choice(places or [0])
    return content[:at] + draw.choice("0123456789").encode() + content[at + 1 :]


def zeros(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content))
    length = min(draw.choice((1, 512, 4096)), len(content) - start)
    return content[:start] + bytes(length) + content[start + length :]


CONTENT = {
    "truncated": lambda content, draw: content[: draw.randrange(len(content))],
    "flipped": flip,
    "a digit": digit,
    "empty": lambda content, draw: b"",
    "garbage": lambda content, draw: draw.randbytes(draw.choice((1, 100, len(content)))),
    "appended": lambda content, draw: content + draw.choice((b"\n", b"\0", b"0", draw.randbytes(99))),
    "zeros": zeros,
}
KINDS = [*CONTENT, "deleted", "exchanged", "a folder in its place"]


def damage(path: Path, kind: str, other: Path, draw: random.Random) -> None:
    content = path.read_bytes()
    path.unlink()
    if kind in CONTENT:
        path.write_bytes(CONTENT[kind](content, draw))
    elif kind == "exchanged":
        shutil.copyfile(other, path)
    elif kind != "deleted":
        path.mkdir()


def numbers(run: Run) -> list:
    """Everything that can be read of a run."""
    run.check()
    out = [json.dumps(run.metrics, sort_keys=True), run.history.to_csv()]
    readers = [lambda: run.predictions] * (not run.spec.held_out) + [lambda: run.latent, run.train_logits]
    for read in readers:
        try:
            arrays = read()
        except KdlibError as error:
            if "is missing, and" not in str(error):  # which some may be
                raise
            out.append("missing")
            continue
        arrays = arrays if isinstance(arrays, dict) else {"": arrays}
        out.append({name: (array.dtype.str, array.shape, array.tobytes()) for name, array in arrays.items()})
    return out


def storm_of_damage(folders: list[Path], count: int, seed: int) -> collections.Counter:
    """Damage one file at a time of a copy of one of the runs, and read all of that: refused, or not changed."""
    draw, found = random.Random(seed), collections.Counter()
    for _ in range(count):
        folder, other = draw.sample(folders, 2)
        name = draw.choice(sorted(path.name for path in folder.iterdir()))
        kind = draw.choice(KINDS)
        with tempfile.TemporaryDirectory() as aside:
            copy = Path(aside) / folder.name
            shutil.copytree(folder, copy)
            spec = runs.from_canonical(json.loads((folder / "spec.json").read_text(encoding="utf-8")))
            source = other / name if (other / name).is_file() else other / "metrics.json"
            damage(copy / name, kind, source, draw)
            try:
                after = numbers(Run(spec, Path(aside)))
            except KdlibError as error:
                said = str(error)
                named = str(copy / name) in said or (name == "SHA256SUMS" and str(copy) in said)
                if not named or "restore" not in said or "\n" in said:
                    raise AssertionError(f"{kind} {folder.name}/{name}: {said}") from error
                found["refused"] += 1
                continue
            before = numbers(Run(spec, folder.parent))
            told = [a == b or b == "missing" for a, b in zip(before, after, strict=True)]
            if not all(told):
                raise AssertionError(f"{kind} {folder.name}/{name} was read as other numbers")
            found["missing, which is told" if before != after else "not changed"] += 1
    return found


# ---------------------------------------------------------------- kills


def grid() -> list[runs.Spec]:
    """Teachers and students of the demo edition, few and short."""
    given = {"seeds": [0], "augmentations": ["none", "cutmix"], "teacher_epochs": 2, "student_epochs": 3}
    students = study.students(study.settings("students", device="cpu", **given))
    augmented = [replace(spec, augmentations=("cutmix",)) for spec in students if runs.is_taught(spec)]
    return [*students, *augmented[:2]]


def results(store: Path, specs: list[runs.Spec]) -> dict[str, bytes]:
    """Every byte of the runs but for time and place."""
    out = {}
    for spec in specs:
        run = Run(spec, store)
        out[f"{run.key}/scores"] = json.dumps({k: v for k, v in run.metrics.items() if k != "provenance"}).encode()
        out[f"{run.key}/history"] = run.history.drop(columns="seconds").to_csv().encode()
        for path in run.folder.iterdir():
            if path.name not in ("metrics.json", "history.csv", "SHA256SUMS"):
                out[f"{run.key}/{path.name}"] = path.read_bytes()
    return out


def killed(specs: list[runs.Spec], store: Path, seconds: float) -> bool:
    """Make the runs in a process that is killed after a while; whether it was done before that."""
    child = os.fork()
    if child == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            speed.SECONDS_BETWEEN_CHECKPOINTS = 0
            runs.ensure(specs, store=store)
            os._exit(0)
        finally:  # not into what the parent has on its stack
            os._exit(1)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if status:
            raise AssertionError(f"training ended with {status}")
        if done:
            return True
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def storm_of_kills(specs: list[runs.Spec], count: int, seed: int, seconds: float = 3.0) -> collections.Counter:
    """Kill training after up to `seconds` again and again: what is there is whole, and in the end the same."""
    draw, found = random.Random(seed), collections.Counter()
    with tempfile.TemporaryDirectory() as aside:
        straight = Path(aside) / "straight"
        killed(specs, straight, math.inf)  # in a process of its own, as all others
        expected = results(straight, specs)
        while found["kills"] < count:
            store = Path(aside) / f"store{found['grids']}"
            done = False
            while not done:
                left = count > found["kills"]
                done = killed(specs, store, draw.uniform(0, seconds) if left else math.inf)
                found["kills"] += not done
                if store.is_dir() and (faults := check.walk(store).faults):
                    raise AssertionError(f"after {found['kills']} kills: {faults}")
            found["grids"] += 1
            if results(store, specs) != expected:
                raise AssertionError(f"after {found['kills']} kills runs are not the same")
            if left := check.walk(store).left_over:
                raise AssertionError(f"after {found['kills']} kills something is left over: {left}")
            shutil.rmtree(store)
    return found


# ---------------------------------------------------------------- parameters

ODD = [
    -1, 0, 1, 2, 10**30, -0.0, 0.5, 1.5, 1e-300, math.nan, math.inf, -math.inf, True, False, "", "x", "1e-3", "none",
    "…", "auto", "cuda:99", "cutmix", "none+none", "a\nb", [], [0], [0, 0], [[]], [None], ["none"], ["cutmix+mixup"],
    [0.5], [math.nan], (), {}, {"a": 1}, {0}, b"x", object(), np.float64(2), np.int64(2), np.nan, np.zeros(3), 1j,
]  # fmt: skip


def storm_of_parameters(count: int, seed: int) -> collections.Counter:
    """Parameters of chapters and settings of metrics without a meaning: taken, or refused in one sentence."""
    draw, found = random.Random(seed), collections.Counter()
    logits, labels = np.random.default_rng(0).normal(size=(40, 4)), np.arange(40) % 4
    probs, counts = metrics.softmax(logits), np.ones((3, 4), int)
    settings = [
        lambda value: metrics.expected_calibration_error(probs, labels, bins=value),
        lambda value: metrics.adaptive_calibration_error(probs, labels, bins=value),
        lambda value: metrics.reliability_curve(probs, labels, bins=value),
        lambda value: metrics.expected_calibration_error(probs, labels, edges=value),
        lambda value: metrics.temperature_scaling(logits, labels, folds=value),
        lambda value: metrics.softmax(logits, value),
        lambda value: metrics.human_ceiling(counts, splits=value),
        lambda value: metrics.human_ceiling(counts, smoothing=value),
    ]
    for _ in range(count):
        value, name = draw.choice(ODD), draw.choice([*study.PARAMETERS, "nonsense", "studnet_epochs"])
        chapter = draw.choice([*study.CHAPTERS, "nowhere"])
        if draw.random() < 0.7:
            asked, call = f"{chapter}: {name}={value!r}", partial(study.settings, chapter, **{name: value})
        else:
            which = draw.randrange(len(settings))
            value = draw.choice([value for value in ODD if isinstance(value, int | float)])
            asked, call = f"metric {which}: {value!r}", partial(settings[which], value)
        try:
            call()
            found["taken"] += 1
        except KdlibError as error:
            if "\n" in str(error):
                raise AssertionError(f"{asked}: more than one line") from error
            found["refused"] += 1
        except Exception as error:
            raise AssertionError(f"{asked}: {type(error).__name__}") from error
    return found


if __name__ == "__main__":
    kind, count, seed = sys.argv[1], int(sys.argv[2]), int((sys.argv[3:] or ["0"])[0])
    published = [path.parent for path in sorted((ROOT / "runs").glob("*/SHA256SUMS"))]
    storms = {
        "damage": lambda: storm_of_damage(published, count, seed),
        "kills": lambda: storm_of_kills(grid(), count, seed),
        "parameters": lambda: storm_of_parameters(count, seed),
    }
    started = time.monotonic()
    print(f"{kind}: {dict(storms[kind]())} in {time.monotonic() - started:.0f} s")
