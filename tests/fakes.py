"""Runs without training: what `runs.Run` shows, with predictions, or a number alone, that a test decides."""

import numpy as np
import pandas as pd

from kdlib import metrics, runs, study
from kdlib.results.measures import Measure
from kdlib.runs.make import beside_humans

CLASSES = 10


class FakeRun:
    """A run of `spec` that is right on about `accuracy` of its test images, and on 0.2 less of the shifted ones.

    The images that are easy for one run are easy for all. `confidence` is the size of the logits, `compactness` the
    spread of the embeddings within classes. A `slim` one has kept its predicted classes alone.
    """

    def __init__(
        self, spec, accuracy=0.7, *, images=200, people=True, shifted=True, confidence=3.0, compactness=1.0,
        device="a CPU", slim=False,
    ):  # fmt: skip
        self.spec, self.key, self.is_slim = spec, runs.key(spec), slim
        rng = np.random.default_rng(list(self.key.encode()))
        labels = np.arange(images) % CLASSES
        self.metrics, self.predictions = {}, {}
        for split, of in (("test", accuracy), ("shifted", accuracy - 0.2))[: 1 + shifted]:
            logits = logits_of(labels, of, confidence, rng)
            self.predictions |= {f"{split}_logits": logits, f"{split}_labels": labels.astype(np.uint8)}
            self.metrics[split] = metrics.evaluate_logits(logits, labels)
        if people:
            votes = 0.9 * np.eye(CLASSES)[labels] + 0.1 * np.eye(CLASSES)[(labels + 1) % CLASSES]
            scores, self.predictions["human_kl"] = beside_humans(self.predictions["test_logits"], votes, labels)
            self.metrics["human"] = scores
        embeddings = 3 * np.eye(CLASSES)[labels] + rng.normal(0, compactness, (images, CLASSES))
        gram = metrics.class_gram(embeddings, labels)
        self.predictions |= {"class_gram": gram.gram, "embedding_dim": np.int64(gram.dim)}
        if slim:
            self.predictions = {"test_classes": runs.predicted_classes(self.predictions), "test_labels": labels}
        shown = runs.TSNE_CLASSES.get(spec.dataset, (0, 1, 2, 3))
        order = np.concatenate([np.flatnonzero(labels == k) for k in shown])
        self.latent = {"components": embeddings[order].astype(np.float16), "labels": labels[order].astype(np.uint8)}
        epochs = np.arange(1, spec.recipe.epochs + 1)
        self.history = pd.DataFrame(
            {"epoch": epochs, "lr": 0.1, "loss": 1 / epochs, "accuracy": epochs / (epochs + 1), "seconds": 1.0}
        )
        self.metrics["provenance"] = {
            "seconds": 1.0, "device": device, "commit": "abc", "shifted": "a sample" if shifted else None,
        }  # fmt: skip


def logits_of(labels, accuracy, confidence, rng):
    """Float16 logits (N, K) that are right on a share of the images."""
    images = len(labels)
    difficulty = np.random.default_rng(99).permutation(images) / images
    wrong = difficulty + rng.normal(0, 0.05, images) > accuracy
    named = np.where(wrong, (labels + 1 + rng.integers(CLASSES - 1, size=images)) % CLASSES, labels)
    return (np.eye(CLASSES)[named] * confidence + rng.normal(0, 0.5, (images, CLASSES))).astype(np.float16)


def chapter(name, accuracy=None, *, seeds=(0, 1, 2), dataset="cifar10", options=None, **overrides):
    """The runs of a chapter at full size, each made up; `accuracy` and `options` map a spec to what it is made with.

    Where `accuracy` gives None, that run is missing.
    """
    overrides = {"budgets": ["long"]} | overrides
    settings = study.settings(name, "paper", seeds=list(seeds), dataset=dataset, **overrides)
    there = {"people": dataset == "cifar10", "shifted": dataset != "mnist"}
    made = []
    for spec in study.CHAPTERS[name](settings):
        level = accuracy(spec) if accuracy else 0.7
        if level is not None:
            made.append(FakeRun(spec, level, **there | (options(spec) if options else {})))
    return made


class Number:
    """All that a contrast needs of a run: a number, or one an image."""

    def __init__(self, value):
        self.images, self.value = np.atleast_1d(value), float(np.mean(value))
        self.predictions = {"test_logits": self.images} if np.ndim(value) else {}


NUMBER = Measure("number", "number", lambda run, split: run.value, lambda run, split: run.images)


def numbers(values, network="lenet", loss="mean", control=None, **columns):
    """A frame of numbers: `values` maps an arm and a pair of seeds, the teacher's and the student's, to a number."""
    rows = []
    for (arm, (teacher_seed, seed)), value in values.items():
        alone = arm[0] == "alone"
        rows.append(
            {"run": Number(value), "mark": f"s{seed}-{network}{loss}{arm}{teacher_seed}", "dataset": "cifar10",
             "network": network, "width": 64, "epochs": 60, "budget": "", "loss": "" if alone else loss,
             "teacher_augmentation": arm[0], "augmentation": arm[1], "teacher_seed": teacher_seed, "seed": seed,
             "control": arm[0] in ("alone", "random", "uniform") if control is None else control, "device": "a CPU"}
            | columns
        )  # fmt: skip
    return pd.DataFrame(rows)
