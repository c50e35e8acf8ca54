"""A user's own augmentations, networks, losses and data sets: Python files that `KDLIB_EXTENSIONS` names.

Such a file puts functions under new names into the dictionaries of `REGISTRIES`, and study.NETWORKS where it brings a
network. It is executed once in each process, before parameters are checked: by a notebook, `python -m kdlib` and
whatever these start. Paths are separated as in PATH, by ":" (";" on Windows).

Runs are told apart by such names, and a name says nothing of the code behind it. So the sha256 of the file becomes part
of what a run is, wherever the run uses a name from it: a file that has changed makes new runs. For the same reason a
name that exists can't be given to something else.
"""

import functools
import hashlib
import importlib.util
import os
import re
from pathlib import Path

from kdlib import KdlibError, augment, data, distill, models

REGISTRIES = {
    "before_normalising": augment.BEFORE_NORMALISING,
    "after_normalising": augment.AFTER_NORMALISING,
    "architecture": models.ARCHITECTURES,
    "loss": distill.TERMS,
    "dataset": data.LOADERS,
}
# What pages call networks of no augmentation, or of no trained teacher (`kdlib.results.names.CONTROLS`).
RESERVED = ("none", "alone", "smoothed", "random", "uniform")
ADDED: dict[str, dict[str, str]] = {kind: {} for kind in REGISTRIES}  # of each name: its file's sha256, shortened


class ExtensionError(KdlibError):
    """A file of extensions that is missing, fails, or takes a name that exists."""


def load_extensions() -> None:
    """Execute the files that `KDLIB_EXTENSIONS` names and that this process has not executed yet."""
    texts = os.environ.get("KDLIB_EXTENSIONS", "").split(os.pathsep)
    try:
        named = [Path(text).expanduser().resolve() for text in texts if text]
    except RuntimeError as error:
        raise ExtensionError("KDLIB_EXTENSIONS has a ~, and there is no home directory: give whole paths") from error
    for path in named:
        execute(path)
    if named:  # processes that are started from here may have another working directory
        os.environ["KDLIB_EXTENSIONS"] = os.pathsep.join(map(str, named))


@functools.cache
def execute(path: Path) -> None:
    """Execute one file and note which names it has added; after a fault, none of them is left."""
    if not path.is_file():
        raise ExtensionError(f"KDLIB_EXTENSIONS names {path}, and there is no such file: expected a Python file")
    before = {kind: dict(registry) for kind, registry in REGISTRIES.items()}
    try:
        found = importlib.util.spec_from_file_location(f"kdlib_extension_{path.stem}", path)
        if found is None:
            raise ExtensionError(f"KDLIB_EXTENSIONS names {path}: expected a Python file, whose name ends in .py")
        found.loader.exec_module(importlib.util.module_from_spec(found))
        check_names(path, before)
    except BaseException as error:
        for kind, registry in REGISTRIES.items():
            registry.clear()
            registry.update(before[kind])
        if isinstance(error, KdlibError) or not isinstance(error, Exception):
            raise
        finding = " ".join(str(error).split())
        raise ExtensionError(f"the extension {path} failed with {type(error).__name__}: {finding}") from error
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    for kind, registry in REGISTRIES.items():
        ADDED[kind] |= {name: digest for name in registry if name not in before[kind]}


def check_names(path: Path, before: dict[str, dict]) -> None:
    """Refuse a name that was there before, and one that could not stand in a parameter and in a file's name."""
    taken = {name for kind in ("before_normalising", "after_normalising") for name in before[kind]}
    for kind, registry in REGISTRIES.items():
        if lost := before[kind].keys() - registry.keys():
            raise ExtensionError(f"the extension {path} takes away {sorted(lost)[0]!r}: it can add names only")
        for name, entry in registry.items():
            if name in before[kind]:
                taken_over = before[kind][name] is not entry
            else:
                taken_over = kind.endswith("_normalising") and name in taken
                if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in RESERVED:
                    raise ExtensionError(
                        f"the extension {path} adds {name!r}: expected small letters, digits and _, and none of "
                        f"{', '.join(RESERVED)}"
                    )
            if taken_over:
                raise ExtensionError(
                    f"the extension {path} gives {name!r} another meaning: choose a new name, since stored runs "
                    f"go by the old one"
                )


def versions(dataset: str, model: str, augmentations: tuple[str, ...], loss: str | None) -> dict[str, str]:
    """Of what a run uses, what comes from extensions, as "dataset shapes", each with its file's sha256; else {}."""
    used = [("dataset", dataset), ("architecture", model), ("loss", loss)]
    used += [(kind, name) for name in augmentations for kind in ("before_normalising", "after_normalising")]
    return {f"{kind} {name}": ADDED[kind][name] for kind, name in used if name in ADDED[kind]}
