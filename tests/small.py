"""The smallest runs on digits, and what else several tests share."""

import contextlib
import dataclasses
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from kdlib import runs
from kdlib.runs import Distilled, Recipe, Supervised

ROOT = Path(__file__).parents[1]
RECIPE = Recipe(epochs=1, batch_size=256, peak_lr=0.05, weight_decay=5e-4, precision="float32", clip_norm=2.0)
TEACHER = Supervised("digits", "resnet18", 2, RECIPE, ("cutout",))
RANDOM = Supervised("digits", "resnet18", 2, Recipe(0, 256, 0.05, 5e-4, "float32"))
STUDENT = Distilled("digits", TEACHER, "lenet", 64, RECIPE)
AUGMENTED = Distilled("digits", TEACHER, "lenet", 64, RECIPE, ("crop_flip",))
FIRST_HALF = dataclasses.replace(TEACHER, half=1)
HELD_OUT = dataclasses.replace(STUDENT, held_out=300)
INTERRUPTED = Supervised(
    "digits", "alexnet", 2, Recipe(4, 256, 0.05, 5e-4, "float32", label_smoothing=0.1), ("crop_flip", "cutmix"), 5
)

# A locale that is not UTF-8, with Python kept from taking UTF-8 all the same. PyTorch itself can't be imported under it
# in a folder whose name it can't spell, so that nothing of ours can be asked there.
ASCII_ONLY = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
spelt_in_ascii = pytest.mark.skipif(
    not f"{sys.prefix}{ROOT}".isascii(), reason="PyTorch can't be imported from this folder under an ASCII locale"
)


def made_once(tmp_path_factory, specs):
    """A store with these runs, to be copied."""
    folder = tmp_path_factory.mktemp("made") / "runs"
    runs.ensure(specs, store=folder)
    return folder


def copy_of(made, tmp_path, monkeypatch):
    """A store of one's own with the same runs, the default one while the test lasts."""
    shutil.copytree(made, tmp_path / "runs")
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@contextlib.contextmanager
def ordinary_user(*folders):
    """Not root, whom no permission holds back; the folders are this user's."""
    if os.geteuid():
        yield
        return
    for folder in folders:
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, 65534, 65534)
        for above in folder.parents:
            if above.stat().st_uid == 0 and above.is_relative_to(tempfile.gettempdir()):
                above.chmod(above.stat().st_mode | 0o011)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
