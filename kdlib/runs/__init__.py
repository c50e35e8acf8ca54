"""Runs: what one is (`specs`), where it lies (`store`), making it exist exactly once (`make`) and again (`again`)."""

from kdlib.runs.make import (
    TSNE_CLASSES,
    check_device,
    check_teaching,
    commit,
    ensure,
    human_ceiling,
    passes_of,
    taught_from,
    threads,
)  # fmt: skip
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
    network_name,
)  # fmt: skip
from kdlib.runs.store import LATENT, TRAIN_LOGITS, WEIGHTS, Run, default_store, find, stored

__all__ = [
    "LATENT", "TRAIN_LOGITS", "TSNE_CLASSES", "WEIGHTS", "Recipe", "Run", "RunError", "Spec", "Distilled", "Supervised",
    "canonical", "check_device", "check_teaching", "commit", "default_store", "ensure", "find", "from_canonical", "human_ceiling",
    "is_taught", "key", "mark", "network_name", "passes_of", "stored", "taught_from", "threads",
]  # fmt: skip
