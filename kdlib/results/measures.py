"""What is measured of a run: each number by one `Measure`, computed in one place.

A run is anything with `spec`, `metrics`, `predictions`, `history` and `latent` as `kdlib.runs.Run` has them. What was
stored with a run is read; what was not is computed by `kdlib.metrics`. N is the number of images of a test set, K of
classes. A `split` is `test` or `shifted`.
"""

import functools
import weakref
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from kdlib import metrics
from kdlib.runs import TSNE_CLASSES, Run, is_taught, predicted_classes

GROUPS = {dataset: (classes[:2], classes[2:]) for dataset, classes in TSNE_CLASSES.items()}  # semantic, of Figure 4
_MEASURED: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # of each run: what was computed, by its key


def once(run: Run, key: Hashable, compute: Callable[[], Any]) -> Any:
    """What `compute` gives, computed once a run."""
    values = _MEASURED.setdefault(run, {})
    if key not in values:
        values[key] = compute()
    return values[key]


@dataclass(frozen=True)
class Measure:
    """A number of a run on one of its test sets, None where the run or its data set has no such number.

    `per_image` gives it image by image, (N,), where it is their mean. `nil` bounds what counts as no difference: it
    was declared with the claims, before their verdicts at a chosen budget were seen; NaN where nothing was.
    """

    name: str  # a column of a frame
    title: str  # on a page
    of: Callable[[Run, str], float | None]
    per_image: Callable[[Run, str], np.ndarray] | None = None
    printed: str = ""  # the metric in paper.csv; "" where the paper prints no such number
    digits: int = 3
    split: str = "test"  # where it is measured if nothing else is said
    nil: float = np.nan
    by_class: bool = False  # whether the predicted classes are enough for `per_image`

    @property
    def named(self) -> dict[str, str | int]:
        """What a row of a frame says of it."""
        return {"measure": self.name, "title": self.title, "digits": self.digits}

    def value(self, run: Run, split: str | None = None) -> float | None:
        """The number, computed once a run."""
        split = split or self.split
        return once(run, (self, split), lambda: self.of(run, split))

    def images(self, run: Run, split: str | None = None) -> np.ndarray | None:
        """The number of each image, (N,), computed once a run; None where it is no mean over stored images."""
        split = split or self.split
        enough = (f"{split}_logits", f"{split}_classes")[: 1 + self.by_class]
        if self.per_image is None or not any(name in run.predictions for name in enough):
            return None
        return once(run, (self, split, "images"), lambda: self.per_image(run, split))


def image_mean(name: str, title: str, per_image: Callable[[Run, str], np.ndarray], **options) -> Measure:
    """A measure that is no more than the mean of what it is image by image."""

    def of(run: Run, split: str) -> float | None:
        return float(per_image(run, split).mean()) if has_logits(run, split) else None

    return Measure(name, title, of, per_image, **options)


# ---------------------------------------------------------------- what a run's files hold


def has_logits(run: Run, split: str = "test") -> bool:
    """Whether a run has kept its predictions of a test set: a slim one has not, and some data have no second set."""
    return f"{split}_logits" in run.predictions


def probabilities(run: Run, split: str = "test") -> np.ndarray:
    """(N, K) on a test set."""
    return metrics.softmax(run.predictions[f"{split}_logits"])


def labels(run: Run, split: str = "test") -> np.ndarray:
    """(N,) of a test set."""
    return run.predictions[f"{split}_labels"].astype(np.int64)


def human_means(run: Run) -> np.ndarray | None:
    """Mean distribution of people over the test images of each true class, (K, K); None where nobody was asked."""
    return np.array(run.metrics["human"]["class_means"]) if "human" in run.metrics else None


def mean_predictions(run: Run) -> np.ndarray:
    """Mean prediction over the test images of each true class, (K, K): Figure 3."""
    return metrics.class_means(probabilities(run), labels(run))


def class_kl(run: Run, form: str = "sound") -> np.ndarray:
    """KL(people on class i || model on class j), (K, K), nats (Figure 6); where nobody was asked, labels stand in."""
    people = human_means(run)
    probs = probabilities(run)
    return metrics.class_kl_matrix(probs, np.eye(probs.shape[1]) if people is None else people, labels(run), form)


def stored_gram(run: Run) -> metrics.ClassGram:
    """What cohesion and adhesion need of a run's embeddings of the test images."""
    kept = run.predictions
    counts = np.bincount(labels(run), minlength=len(kept["class_gram"]))
    return metrics.ClassGram(kept["class_gram"], counts, int(kept["embedding_dim"]))


# ---------------------------------------------------------------- how a measure is made


def _scored(score: str) -> Callable[[Run, str], float | None]:
    """A score that was stored with the run: see `metrics.evaluate_logits`."""
    return lambda run, split: run.metrics.get(split, {}).get(score)


def _on_probs(value: Callable[[np.ndarray, np.ndarray], float]) -> Callable[[Run, str], float | None]:
    """`value` of the probabilities (N, K) and labels (N,) of a test set."""

    def of(run: Run, split: str) -> float | None:
        return value(probabilities(run, split), labels(run, split)) if has_logits(run, split) else None

    return of


def _with_people(value: Callable[[Run], float]) -> Callable[[Run, str], float | None]:
    return lambda run, split: value(run) if "human" in run.metrics and split == "test" else None


def _of_classes(value: Callable[[Run], float]) -> Callable[[Run, str], float | None]:
    """`value` of a run's predictions, class by class, where people were asked."""
    return _with_people(lambda run: value(run) if has_logits(run) else None)


def _weighted(score: str) -> Callable[[Run, str], float | None]:
    return _on_probs(lambda probs, truth: metrics.classification_report(probs, truth, "weighted")[score])


def _scaled(field: str) -> Callable[[Run, str], float | None]:
    """A field of `metrics.temperature_scaling`, whose fit serves both."""

    def of(run: Run, split: str) -> float | None:
        if not has_logits(run, split):
            return None
        fit = functools.partial(metrics.temperature_scaling, run.predictions[f"{split}_logits"], labels(run, split))
        return getattr(once(run, ("temperature scaling", split), fit), field)

    return of


def _correct(run: Run, split: str) -> np.ndarray:
    return predicted_classes(run.predictions, split) == labels(run, split)


def _losses(run: Run, split: str) -> np.ndarray:
    """-log p(label): the divergence from one-hot labels."""
    probs = probabilities(run, split)
    return metrics.per_image_kl_to_humans(probs, np.eye(probs.shape[1])[labels(run, split)])


def _confidences(run: Run, split: str) -> np.ndarray:
    return probabilities(run, split).max(axis=1)


def _sizes(run: Run, split: str) -> np.ndarray:
    """The norm of a prediction's logits less their mean."""
    logits = run.predictions[f"{split}_logits"].astype(np.float64)
    return np.linalg.norm(logits - logits.mean(axis=1, keepdims=True), axis=1)


def _off_diagonal(matrix: np.ndarray) -> np.ndarray:
    return matrix[~np.eye(len(matrix), dtype=bool)]


def _human_order(run: Run) -> float:
    people, model = _off_diagonal(human_means(run)), _off_diagonal(mean_predictions(run))
    return float(spearmanr(people, model).statistic)


# ---------------------------------------------------------------- the measures

ACCURACY = Measure("accuracy", "accuracy", _scored("accuracy"), _correct, "accuracy", nil=0.005, by_class=True)
PRECISION = Measure("precision", "precision", _scored("precision"), printed="precision")
RECALL = Measure("recall", "recall", _scored("recall"), printed="recall")
F1 = Measure("f1", "F1", _scored("f1"), printed="f1")
LOSS = Measure("nll", "loss", _scored("nll"), _losses, "loss", nil=0.005)
ECE = Measure("ece", "ECE", _scored("ece"), printed="ece", nil=0.005)
HUMAN_KL = Measure(
    "human_kl", "KLD", _with_people(lambda run: run.metrics["human"]["human_model"]),
    lambda run, split: run.predictions["human_kl"].astype(np.float64), "kl_to_humans", nil=0.01,
)  # fmt: skip
# The KLD of Table 1 as the released code computes it.
RELEASED_HUMAN_KL = Measure(
    "released_human_kl", "KLD, by class", _of_classes(lambda run: float(np.diag(class_kl(run, "released")).mean())),
    printed="kl_to_humans",
)  # fmt: skip
MODEL_HUMAN_KL = Measure(
    "model_human_kl", "KLD, model to people", _with_people(lambda run: run.metrics["human"]["model_human"])
)
SEPARABILITY = Measure(
    "separability", "$S_f$", _scored("class_separability_true"), printed="class_separability", digits=2, nil=0.1
)
SEPARABILITY_PREDICTED = Measure(
    "separability_predicted", "$S_f$, classes by prediction", _scored("class_separability_predicted"),
    printed="class_separability", digits=2,
)  # fmt: skip
# What the text, the tables and the released code leave open, beside the defaults above.
WEIGHTED_PRECISION = Measure("precision_weighted", "precision, weighted", _weighted("precision"))
WEIGHTED_F1 = Measure("f1_weighted", "F1, weighted", _weighted("f1"))
CALIBRATIONS = (
    ECE,
    Measure(
        "ece_left", "ECE, [lo, hi)", _on_probs(functools.partial(metrics.expected_calibration_error, edges="left"))
    ),
    Measure("ece_10", "ECE, 10 bins", _on_probs(functools.partial(metrics.expected_calibration_error, bins=10))),
    Measure("ece_adaptive", "ECE, equal mass", _scored("ece_adaptive")),
    Measure("ece_scaled", "ECE, scaled", _scaled("ece_after")),
    Measure("temperature", "temperature", _scaled("temperature")),
)
CONFIDENCE = image_mean("confidence", "confidence", _confidences)
LOGIT_SIZE = image_mean("logit_size", "logits", _sizes)
KL_OFF_DIAGONAL = Measure(
    "kl_off_diagonal", "class KL from people, off the diagonal",
    _of_classes(lambda run: float(_off_diagonal(class_kl(run)).mean())),
)  # fmt: skip
# Which wrong classes are the likely ones, however confident the model is (Figure 3).
HUMAN_ORDER = Measure("human_order", "rank correlation with people, off the diagonal", _of_classes(_human_order))


def in_class_space(convention: str = "table") -> tuple[Measure, Measure, Measure]:
    """Cohesion, adhesion and discrimination (Table 5) under one of `metrics.CONVENTIONS`; "table" is the paper's."""

    def measure(value: Callable[..., float]) -> Measure:
        name, own = value.__name__, convention == "table"
        return Measure(
            name if own else f"{name}_{convention}", name,
            lambda run, split: value(stored_gram(run), convention=convention)
            if split == "test" and "class_gram" in run.predictions else None,
            printed=name if own else "", nil=0.005,
        )  # fmt: skip

    return measure(metrics.cohesion), measure(metrics.adhesion), measure(metrics.discrimination)


COHESION, ADHESION, DISCRIMINATION = in_class_space()


# What may tell how good a teacher is: its accuracy and confidence, and what Section 5 explains the dichotomy by.
TEACHING = (ACCURACY, LOSS, HUMAN_KL, ECE, CALIBRATIONS[4], LOGIT_SIZE, SEPARABILITY, DISCRIMINATION)


def trained(column: str) -> Measure:
    """A column of the learning curve in the last epoch, such as accuracy or loss on the training batches."""

    def of(run: Run, split: str) -> float | None:
        return float(run.history[column].iloc[-1]) if len(run.history) else None

    return Measure(f"training_{column}", f"training {column}", of)


def entropy(temperature: float = 1.0) -> Measure:
    """Mean entropy of predictions softened by `temperature`, nats: what a student can learn besides labels."""
    softened = "" if temperature == 1 else f" at temperature {temperature:g}"
    return image_mean(
        f"entropy_{temperature:g}", f"entropy{softened}",
        lambda run, split: metrics.per_image_entropy(run.predictions[f"{split}_logits"], temperature),
    )  # fmt: skip


def fidelity(teachers: Mapping, temperature: float) -> tuple[Measure, ...]:
    """How much like its own teacher a student predicts: agreement, and KL from it at temperature 1 and `temperature`.

    `teachers` maps specs to runs, the baseline's among them. Beside the baseline's teacher of their seed, or the first
    where there is none of theirs, stand the controls, which no trained network taught: so much alike are two networks
    that learned from the same labels.
    """
    baselines = {spec.seed: run for spec, run in teachers.items() if not spec.augmentations}
    first = next(iter(baselines.values()), None)  # beside a control whose seed no teacher has

    def pair(run: Run, split: str) -> tuple[np.ndarray, np.ndarray]:
        of = teachers[run.spec.teacher] if is_taught(run.spec) else baselines.get(run.spec.seed, first)
        return run.predictions[f"{split}_logits"], of.predictions[f"{split}_logits"]

    def agreeing(run: Run, split: str) -> np.ndarray:
        student, teacher = pair(run, split)
        return student.argmax(axis=1) == teacher.argmax(axis=1)

    def divergence(softened: float) -> Callable[[Run, str], np.ndarray]:
        return lambda run, split: metrics.per_image_student_teacher_kl(*pair(run, split), softened)

    return (
        image_mean("agreement", "agreement", agreeing, digits=4),
        image_mean("teacher_kl_1", "KL", divergence(1.0), digits=4),
        image_mean(
            f"teacher_kl_{temperature:g}", f"KL at temperature {temperature:g}", divergence(temperature), digits=4
        ),
    )


# ---------------------------------------------------------------- the latent space (Figure 4)


def _centroids(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Principal components (M, D) of embeddings about their common centre, their labels (M,), and each one's class's
    centre (M, D)."""
    x, truth = run.latent["components"].astype(np.float64), run.latent["labels"].astype(np.int64)
    x = x - x.mean(axis=0)
    of_class = {k: x[truth == k].mean(axis=0) for k in np.unique(truth)}
    return x, truth, np.array([of_class[k] for k in truth])


def _in_groups(value: Callable[[Run], float]) -> Callable[[Run, str], float | None]:
    return lambda run, split: value(run) if run.spec.dataset in GROUPS and split == "test" else None


def _spread(run: Run) -> float:
    """Root-mean-square distance of an image from the centre of its class, over that from the centre of all, 0..1."""
    x, _, centres = _centroids(run)
    return float(np.sqrt(((x - centres) ** 2).sum() / (x**2).sum()))


def _distance(run: Run) -> float:
    """Distance between the centres of the two groups, over the RMS distance from the centre of all, 0..2."""
    x, truth, _ = _centroids(run)
    one, other = (x[np.isin(truth, group)].mean(axis=0) for group in GROUPS[run.spec.dataset])
    return float(np.linalg.norm(one - other) / np.sqrt((x**2).sum(axis=1).mean()))


SPREAD = Measure("spread", "spread within classes", _in_groups(_spread))
DISTANCE = Measure("distance", "distance between groups", _in_groups(_distance))
