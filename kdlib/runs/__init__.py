"""Runs: what one is (`specs`), where it lies (`store`), making it exist exactly once (`make`) and again (`again`)."""

# ruff: noqa: F401, what other packages take from here
from kdlib.runs.make import TSNE_CLASSES, check_teaching, commit, ensure, passes_of, people_apart, taught_from, threads
from kdlib.runs.specs import (
    Distilled,
    Recipe,
    RunError,
    Spec,
    Supervised,
    canonical,
    from_canonical,
    is_taught,
    key,
    mark,
)  # fmt: skip
from kdlib.runs.store import LATENT, TRAIN_LOGITS, WEIGHTS, Run, default_store, find, predicted_classes, stored
