"""Keep of a network the predicted classes in place of its predictions: what `python -m kdlib slim KEY` does.

Predictions are nearly all that a network takes that teaches none. Where pages show no more of it than accuracy, and
compare that image by image, the classes will do: `check` computes from them again what it can, and as SHA256SUMS still
has the checksum of the predictions, `again` tells whether the run comes out the same.
"""

import contextlib

import numpy as np
from filelock import Timeout

from kdlib import written_aside
from kdlib.runs.specs import RunError
from kdlib.runs.store import (
    CLASSES,
    PREDICTIONS,
    SUMS,
    Run,
    content_of,
    find,
    locked,
    predicted_classes,
    sha256,
    written,
)  # fmt: skip


def slim(name: str) -> Run:
    """Do so with the stored network whose key is `name`; one that was done stays as it is. Broken off, it is done again
    from the beginning."""
    run = find(name)
    if run.spec.held_out or teaches(run):
        raise RunError(f"{name} was not judged on the test set, or students learn from it: of such runs all is kept")
    try:
        with locked(run.store, name):  # of what changes nothing has been read yet: another process may have slimmed it
            run.check()
            if not run.is_slim:
                keep_classes(run)
            (run.folder / PREDICTIONS).unlink(missing_ok=True)
            for left in run.folder.glob(".*.tmp"):  # by one who was killed
                left.unlink()
    except Timeout as error:
        raise RunError(f"another process is at work on {run.folder}: wait until it has ended") from error
    return find(name, run.store)


def teaches(run: Run) -> bool:
    """Whether its store has a student of it."""
    for path in run.store.glob("*/spec.json"):
        with contextlib.suppress(RunError):  # one that is damaged says of nobody that he taught it
            if getattr(find(path.parent.name, run.store).spec, "teacher", None) == run.spec:
                return True
    return False


def keep_classes(run: Run) -> None:
    """Write the classes, and list them beside the predictions."""
    labels = run.predictions["test_labels"]
    classes = predicted_classes(run.predictions).astype(labels.dtype)
    with written_aside(run.folder / CLASSES) as aside, aside.open("wb") as file:
        np.savez_compressed(file, test_classes=classes, test_labels=labels)
    sums = run.sums | {CLASSES: sha256(content_of(run.folder / CLASSES))}
    with written_aside(run.folder / SUMS) as aside:
        aside.write_text(written(run.folder, dict(sorted(sums.items()))), encoding="utf-8")
