"""From predictions and embeddings to numbers: what the chapters report of a network.

Pure functions of arrays. Wherever an array is taken, so is a torch tensor; everything is computed in float64 by
NumPy. N is the number of images, K of classes, d the width of the embeddings. Probabilities have shape (N, K) and
rows that sum to 1; labels are integers in 0..K-1, shape (N,). Divergences and entropies are in nats.

Where the paper's text, its tables and the released code disagree, each convention has a name; the default is the
sound one. Input that a metric has no meaning for raises `MetricError`, which names the argument and the finding.
A model that never predicts some class is not bad input: every value stays defined, and the docstrings say how.
A true class without images is an error wherever a mean over classes needs it.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import entr, log_softmax, rel_entr
from scipy.special import softmax as scipy_softmax
from threadpoolctl import ThreadpoolController

from kdlib import KdlibError

AVERAGES = ("macro", "weighted")
EDGES = ("right", "left")
CLASSES_BY = ("true", "predicted")
FORMS = ("sound", "released")
CONVENTIONS = ("pairs", "table", "printed")

# Rows of stored probabilities may be float16, whose rounding moves a sum by some 1e-4.
SUM_TOLERANCE = 1e-3
# Half a vote of CIFAR-10H's 51 an image, shared by the classes: what "nobody said so" is worth beside a log.
HUMAN_SMOOTHING = 0.01
# The least probability a logarithm is taken of: a softmax that has underflowed to 0 costs 708 nats, not infinity.
FLOOR = np.finfo(np.float64).tiny
TEMPERATURE_RANGE = (0.01, 100.0)
MOST = 1_000_000  # bins, resamples and the like: beyond, arrays fill the memory
CHUNK = 128  # embeddings at a time: their float64 copy stays in the cache

Array = Any  # a NumPy array, or anything that turns into one: a torch tensor, nested sequences


class MetricError(KdlibError, ValueError):
    """Input that a metric has no meaning for; the message names the argument and what was found in it."""


# --- Predictions ---------------------------------------------------------------------------------------------


def softmax(logits: Array, temperature: float = 1.0) -> np.ndarray:
    """Probabilities (N, K), float64, of `logits` (N, K) of any float type, softened by `temperature` > 0.

    >>> softmax([[0.0, 0.0], [np.log(3.0), 0.0]]).round(2).tolist()
    [[0.5, 0.5], [0.75, 0.25]]
    """
    return scipy_softmax(_logits(logits) / _temperature(temperature), axis=1)


def evaluate_logits(logits: Array, labels: Array) -> dict[str, float]:
    """What a run records of a network on one test set, from its `logits` (N, K): plain floats by name.

    Precision, recall and f1 are macro means; ece has 15 bins with edges (lo, hi], ece_adaptive 15 bins of equal
    mass. Every class must have an image.
    """
    probs = softmax(logits)
    return classification_report(probs, labels) | {
        "nll": negative_log_likelihood(probs, labels),
        "brier": brier_score(probs, labels),
        "ece": expected_calibration_error(probs, labels),
        "ece_adaptive": adaptive_calibration_error(probs, labels),
        "mean_confidence": float(probs.max(axis=1).mean()),
        "mean_entropy": mean_entropy(logits),
        "class_separability_true": class_separability(probs, labels, by="true"),
        "class_separability_predicted": class_separability(probs, labels, by="predicted"),
    }


def classification_report(probs: Array, labels: Array, average: str = "macro") -> dict[str, float]:
    """Accuracy, precision, recall and f1, each in 0..1 (Tables 6-9), by scikit-learn.

    `average="macro"` is the mean over classes; `"weighted"`, as in the released code, weights them by their
    images. The precision and f1 of a class that is never predicted are 0. A class without images is an error
    under "macro"; under "weighted" it has no weight.

    >>> classification_report([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], [0, 1, 1])["accuracy"].__round__(3)
    0.667
    """
    from sklearn.metrics import precision_recall_fscore_support  # slow to import

    _choice("average", average, AVERAGES)
    probs, labels = _predictions(probs, labels)
    if average == "macro":
        _require_images(labels, probs.shape[1])
    predicted = probs.argmax(axis=1)
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, predicted, labels=np.arange(probs.shape[1]), average=average, zero_division=0
    )
    accuracy = (predicted == labels).mean()
    return {"accuracy": float(accuracy), "precision": float(precision), "recall": float(recall), "f1": float(f1)}


def negative_log_likelihood(probs: Array, labels: Array) -> float:
    """Mean of -log p(label), >= 0: the test loss of Table 3. A probability of 0 counts as 708 nats, not infinity.

    >>> negative_log_likelihood([[0.5, 0.5], [0.25, 0.75]], [0, 1]).__round__(4)
    0.4904
    """
    probs, labels = _predictions(probs, labels)
    return float(-np.log(np.maximum(probs[np.arange(len(labels)), labels], FLOOR)).mean())


def brier_score(probs: Array, labels: Array) -> float:
    """Mean squared distance between the probabilities and the one-hot label, summed over classes: in 0..2.

    >>> brier_score([[0.5, 0.5], [0.0, 1.0]], [0, 1])
    0.25
    """
    probs, labels = _predictions(probs, labels)
    return float(((probs - np.eye(probs.shape[1])[labels]) ** 2).sum(axis=1).mean())


# --- Calibration ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """A reliability diagram (Figure 5), one entry a bin, lowest confidence first; NaN where a bin is empty."""

    count: np.ndarray  # images in the bin
    confidence: np.ndarray  # their mean confidence
    accuracy: np.ndarray  # their accuracy


class TemperatureScaling(NamedTuple):
    """A fitted temperature, and the calibration error after dividing the logits by one."""

    temperature: float  # fitted on all images given
    ece_after: float  # every image scaled by a temperature fitted without it


def expected_calibration_error(probs: Array, labels: Array, bins: int = 15, edges: str = "right") -> float:
    """ECE (Section 3.4): the gap between accuracy and mean confidence, averaged over images binned by confidence.

    In 0..1; `bins` of equal width over 0..1, empty ones count nothing. `edges="right"` puts a confidence on an edge
    into the bin below, (lo, hi], as Guo et al. (2017) and the released code (with 10 bins) do. `edges="left"`
    puts it into the bin above, [lo, hi), and a confidence of exactly 1 into a bin of its own, as torchmetrics does.

    >>> expected_calibration_error([[0.8, 0.2], [0.8, 0.2]], [0, 1]).__round__(3)
    0.3
    """
    confidence, correct = _top_label(probs, labels)
    return _calibration_error(confidence, correct, _bin_index(confidence, bins, edges))


def adaptive_calibration_error(probs: Array, labels: Array, bins: int = 15) -> float:
    """ECE over `bins` of equal mass: each holds the same number of images. In 0..1.

    The edges are quantiles of the confidences, (lo, hi]; equal confidences share a bin, so that the order of the
    images does not matter, and a bin that ties leave empty counts nothing.
    """
    confidence, correct = _top_label(probs, labels)
    shares = np.arange(1, _positive("bins", bins)) / bins
    inner = np.quantile(confidence, shares, method="inverted_cdf")
    return _calibration_error(confidence, correct, np.searchsorted(inner, confidence, side="left"))


def reliability_curve(probs: Array, labels: Array, bins: int = 15) -> ReliabilityCurve:
    """Accuracy against confidence by bin (Figure 5).

    The bins are those of `expected_calibration_error`, (lo, hi]: it is the count-weighted mean of
    |accuracy - confidence| here.
    """
    confidence, correct = _top_label(probs, labels)
    index = _bin_index(confidence, bins, "right")
    count = np.bincount(index, minlength=int(bins))
    filled = np.where(count > 0, count, np.nan)
    total, right = (np.bincount(index, of, minlength=int(bins)) for of in (confidence, correct))
    return ReliabilityCurve(count, total / filled, right / filled)


def fit_temperature(logits: Array, labels: Array) -> float:
    """The temperature that minimises the negative log-likelihood of `logits` (N, K) divided by it (Guo et al., 2017).

    Between 0.01 and 100. The loss has one minimum in the temperature. Where every image is classified rightly the
    loss only falls with the temperature, to 0: the result is then one at which it has got there.
    """
    logits = _logits(logits)
    labels = _labels(labels, "labels", len(logits), logits.shape[1], "logits")
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        return -log_softmax(logits / np.exp(log_temperature), axis=1)[rows, labels].mean()

    fit = minimize_scalar(loss, bounds=np.log(TEMPERATURE_RANGE), method="bounded", options={"xatol": 1e-8})
    return float(np.exp(fit.x))


def temperature_scaling(logits: Array, labels: Array, *, folds: int = 2, seed: int = 0) -> TemperatureScaling:
    """The temperature of `logits` (N, K), and what is left of their ECE once they are divided by one.

    No image is scaled by a temperature that it helped to fit: the images are dealt into `folds` parts at random
    (by `seed`), and each part takes the temperature of the others.
    """
    from sklearn.model_selection import KFold  # slow to import

    logits = _logits(logits)
    labels = _labels(labels, "labels", len(logits), logits.shape[1], "logits")
    if not 2 <= folds <= len(logits) or folds != int(folds):
        raise MetricError(f"folds is {folds}; expected 2 up to the number of images, {len(logits)}.")
    scaled = np.empty_like(logits)
    for rest, held_out in KFold(int(folds), shuffle=True, random_state=seed).split(logits):
        scaled[held_out] = logits[held_out] / fit_temperature(logits[rest], labels[rest])
    return TemperatureScaling(
        temperature=fit_temperature(logits, labels),
        ece_after=expected_calibration_error(softmax(scaled), labels),
    )


# --- People --------------------------------------------------------------------------------------------------


class KLToHumans(NamedTuple):
    """Mean divergences between the distributions of people and of a model, nats."""

    human_model: float  # KL(human || model)
    model_human: float  # KL(model || human), the human distribution smoothed


def per_image_kl_to_humans(probs: Array, human: Array) -> np.ndarray:
    """KL(human || model) of every image, shape (N,), nats, from `probs` and `human`, both (N, K).

    Not smoothed: classes that nobody named count nothing. A model's probability of 0 counts as 2e-308.

    >>> per_image_kl_to_humans([[0.5, 0.5]], [[1.0, 0.0]]).round(4).tolist()
    [0.6931]
    """
    probs = _distributions(probs, "probs")
    human = _distributions(human, "human")
    _same_shape("human", human, "probs", probs)
    return _kl(human, probs)


def kl_to_humans(probs: Array, human: Array, smoothing: float = HUMAN_SMOOTHING) -> KLToHumans:
    """Mean over images of KL(human || model) and KL(model || human) (Section 3.4; KLD of Table 1 as its text has it).

    The first is `per_image_kl_to_humans`, not smoothed. In the second, people's zeros would make it infinite: the
    human distribution is mixed with the uniform one, of weight `smoothing` in (0, 1). The default, 0.01, is half a
    vote of CIFAR-10H's 51 an image; the second number depends on it, so state it beside the number.
    """
    human_model = per_image_kl_to_humans(probs, human)
    human = _smoothed(_distributions(human, "human"), smoothing)
    return KLToHumans(float(human_model.mean()), float(_kl(_distributions(probs, "probs"), human).mean()))


def class_means(distributions: Array, labels: Array) -> np.ndarray:
    """Mean distribution of each true class, (K, K), from `distributions` (N, K): Figure 3. Every class needs an image.

    >>> class_means([[0.8, 0.2], [0.6, 0.4], [0.0, 1.0]], [0, 0, 1]).round(2).tolist()
    [[0.7, 0.3], [0.0, 1.0]]
    """
    distributions, labels = _predictions(distributions, labels, "distributions")
    counts = _require_images(labels, distributions.shape[1])
    return _class_sums(distributions, labels) / counts[:, None]


def class_kl_matrix(probs: Array, human: Array, labels: Array, form: str = "sound") -> np.ndarray:
    """KL(people on class i || model on class j), (K, K), nats (Figure 6).

    `human` is (K, K), averaged by true class as `class_means` does. `form="sound"` averages the model over the images
    of true class j. `form="released"` does as the released code: the sum over the images of true class j is divided by
    the number of images *predicted* as j, so that the model's rows do not sum to 1 and cells may be negative. The mean
    of its diagonal is the KLD of Table 1 as computed there. For a class that is never predicted the code divides by 0;
    here the divisor is then 1.
    """
    _choice("form", form, FORMS)
    probs, labels = _predictions(probs, labels)
    human = _distributions(human, "human")
    classes = probs.shape[1]
    if human.shape != (classes, classes):
        raise MetricError(f"human has shape {human.shape}; expected class means, {(classes, classes)}.")
    counts = _require_images(labels, classes)
    if form == "released":
        counts = np.maximum(np.bincount(probs.argmax(axis=1), minlength=classes), 1)
    return _kl(human[:, None], (_class_sums(probs, labels) / counts[:, None])[None])


def human_ceiling(counts: Array, smoothing: float = HUMAN_SMOOTHING, *, splits: int = 10, seed: int = 0) -> float:
    """How near people are to people: KL between random halves of the annotators, mean over images, nats.

    `counts` (N, K): votes of an image for each class, at least two an image. Each of `splits` deals an image's votes
    into two halves (the odd vote to the second) and takes KL(half || other half) both ways, the reference half
    smoothed as in `kl_to_humans`. A half is noisier than all the votes, so a model may do better than this.
    """
    counts = _integers(counts, "counts", ndim=2)
    if counts.min() < 0 or counts.sum(axis=1).min() < 2:
        row = int(np.argmax((counts < 0).any(axis=1) | (counts.sum(axis=1) < 2)))
        raise MetricError(f"counts: image {row} has votes {counts[row].tolist()}; expected two or more, none negative.")
    splits = _positive("splits", splits)
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(splits):
        first = _half_of_votes(counts, rng)
        second = counts - first
        p, q = (half / half.sum(axis=1, keepdims=True) for half in (first, second))
        means += [_kl(p, _smoothed(q, smoothing)).mean(), _kl(q, _smoothed(p, smoothing)).mean()]
    return float(np.mean(means))


# --- Structure between classes (Section 5) -------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ClassGram:
    """All that cohesion, adhesion and discrimination need of the embeddings of a data set."""

    gram: np.ndarray  # (K, K) float64: inner products of the per-class sums of unit vectors
    counts: np.ndarray  # (K,) images of each class
    dim: int  # width of the embeddings

    def __post_init__(self) -> None:
        gram, counts = np.shape(self.gram), np.shape(self.counts)
        if len(gram) != 2 or gram[0] != gram[1] or counts != gram[:1]:
            raise MetricError(f"gram has shape {gram} and counts {counts}; expected (K, K) and (K,).")
        if not np.isfinite(self.gram).all():
            raise MetricError("gram contains NaN or infinity.")
        if np.min(self.counts) < 1:
            raise MetricError(f"counts: class {int(np.argmin(self.counts))} has no images.")
        _positive("dim", self.dim)


def class_separability(probs: Array, labels: Array, by: str = "true") -> float:
    """S_f (Section 5, Table 4): the mean of KL(p_i || p_j) over all ordered pairs of classes, i = j included; >= 0.

    p_k is the mean prediction over the images of true class k (`by="true"`, every class needs an image) or over those
    predicted as k (`by="predicted"`; the text does not say). A class that is never predicted has no p_k: it is left
    out, of the sum and of C alike, so that a model that predicts one class only has S_f = 0.

    >>> class_separability([[0.8, 0.2], [0.2, 0.8]], [0, 1]).__round__(4)
    0.4159
    """
    _choice("by", by, CLASSES_BY)
    probs, labels = _predictions(probs, labels)
    if by == "true":
        means = class_means(probs, labels)
    else:
        predicted = probs.argmax(axis=1)
        counts = np.bincount(predicted, minlength=probs.shape[1])
        means = _class_sums(probs, predicted)[counts > 0] / counts[counts > 0, None]
    return float(_kl(means[:, None], means[None]).mean())


def class_gram(embeddings: Array, labels: Array) -> ClassGram:
    """Inner products of the classes' summed unit vectors, of `embeddings` (N, d): linear in N.

    The embeddings are standardised over the data set, each feature to zero mean and unit deviation (Section 3.4), then
    scaled to length 1. A constant feature becomes 0. An embedding that becomes the zero vector has no direction: it
    counts as orthogonal to every other one. K is the largest label + 1, and each class needs an image.
    """
    x = _array(embeddings, "embeddings", ndim=2)
    labels = _labels(labels, "labels", len(x), None, "embeddings")
    classes = int(labels.max()) + 1
    counts = _require_images(labels, classes)
    parts = [slice(start, start + CHUNK) for start in range(0, len(x), CHUNK)]

    mean = x.mean(axis=0, dtype=np.float64)
    squares = np.zeros(x.shape[1])
    for part in parts:
        centred = x[part] - mean
        squares += np.einsum("nd,nd->d", centred, centred)
    # By its values, not by a deviation that rounding keeps from being 0.
    constant = x.min(axis=0) == x.max(axis=0)
    scale = np.where(constant, 0.0, 1 / np.sqrt(np.where(constant, 1.0, squares) / len(x)))

    sums = np.zeros((classes, x.shape[1]))
    undirected = np.zeros(classes)
    # Products so small gain nothing from a second thread, and take very long where it has to be waited for.
    with _threadpools().limit(limits=1, user_api="blas"):
        for part in parts:
            z = (x[part] - mean) * scale
            norm = np.sqrt(np.einsum("nd,nd->n", z, z))
            # Standardised embeddings have length sqrt(d) in the mean: what is this short is the mean itself, and
            # rounding.
            zero = norm < 1e-9
            weights = np.zeros((classes, len(z)))
            weights[labels[part], np.arange(len(z))] = np.where(zero, 0.0, 1 / np.where(zero, 1.0, norm))
            sums += weights @ z
            undirected += np.bincount(labels[part][zero], minlength=classes)
    # A unit vector orthogonal to all the rest adds nothing but its similarity with itself.
    return ClassGram(sums @ sums.T + np.diag(undirected), counts, x.shape[1])


def cohesion(gram: ClassGram, *, convention: str = "pairs") -> float:
    """Similarity within classes (Section 3.4, Table 5): cosine over the pairs of images of a class, mean over classes.

    At least two images a class; an image's similarity with itself is not a pair. `"pairs"` and `"table"` take the mean
    over pairs, in -1..1. `"printed"` is the formula as printed, 1 / (n (n - 1)) times the sum over unordered pairs:
    half the mean.

    >>> round(cohesion(class_gram([[1.0, 2.0], [1.0, 2.0], [3.0, 0.0], [3.0, 0.0]], [0, 0, 1, 1])), 6)
    1.0
    """
    _choice("convention", convention, CONVENTIONS)
    counts = _counts_of_pairs(gram)
    mean = np.mean((np.diag(gram.gram) - counts) / (counts * (counts - 1)))
    return float(mean / 2 if convention == "printed" else mean)


def adhesion(gram: ClassGram, *, convention: str = "pairs") -> float:
    """Similarity between classes (Section 3.4, Table 5): cosine over pairs of images of two classes, mean over them.

    At least two classes. `"pairs"` and `"printed"` take the mean over pairs of classes, in -1..1; `"table"` half of it
    (1 / (K (K - 1)) times the sum over i < j), which is what Table 5 holds.
    """
    _choice("convention", convention, CONVENTIONS)
    if len(gram.counts) < 2:
        raise MetricError("labels holds one class; adhesion needs two.")
    upper = np.triu_indices(len(gram.counts), 1)
    mean = np.mean((gram.gram / np.outer(gram.counts, gram.counts))[upper])
    return float(mean / 2 if convention == "table" else mean)


def discrimination(gram: ClassGram, *, convention: str = "pairs") -> float:
    """(cohesion - adhesion) / sqrt(d), both under the same `convention` (Section 3.4, Table 5).

    d is the width of the embeddings as the text says; under `"table"` it is the number of classes, which is what
    reproduces Table 5.
    """
    d = len(gram.counts) if convention == "table" else gram.dim
    return (cohesion(gram, convention=convention) - adhesion(gram, convention=convention)) / float(np.sqrt(d))


# --- Student and teacher -------------------------------------------------------------------------------------


def per_image_student_teacher_kl(student_logits: Array, teacher_logits: Array, temperature: float = 1.0) -> np.ndarray:
    """KL(student || teacher) of every image, shape (N,), nats, both softened by `temperature`; logits (N, K).

    From log-probabilities, so exact however confident the two are. Swap the arguments for KL(teacher || student).
    """
    student, teacher = _logits(student_logits, "student_logits"), _logits(teacher_logits, "teacher_logits")
    _same_shape("student_logits", student, "teacher_logits", teacher)
    temperature = _temperature(temperature)
    log_p, log_q = log_softmax(student / temperature, axis=1), log_softmax(teacher / temperature, axis=1)
    return (np.exp(log_p) * (log_p - log_q)).sum(axis=1)


def mean_entropy(logits: Array, temperature: float = 1.0) -> float:
    """Mean entropy of the predictions softened by `temperature`, 0..log K nats: how much a teacher says besides.

    >>> round(mean_entropy([[1.0, 0.0]], temperature=1e6), 4)
    0.6931
    """
    return float(per_image_entropy(logits, temperature).mean())


def per_image_entropy(logits: Array, temperature: float = 1.0) -> np.ndarray:
    """Entropy of every prediction softened by `temperature`, shape (N,), 0..log K nats; logits (N, K)."""
    return entr(softmax(logits, temperature)).sum(axis=1)


# --- Parts ---------------------------------------------------------------------------------------------------


@functools.cache
def _threadpools() -> ThreadpoolController:
    """The thread pools of this process; to find them takes longer than a product."""
    return ThreadpoolController()


def _kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Sum of p log(p / q) over the last axis."""
    return rel_entr(p, np.maximum(q, FLOOR)).sum(axis=-1)


def _smoothed(distributions: np.ndarray, smoothing: float) -> np.ndarray:
    if not 0 < smoothing < 1:
        raise MetricError(f"smoothing is {smoothing}; expected the weight of the uniform distribution, in (0, 1).")
    return (1 - smoothing) * distributions + smoothing / distributions.shape[1]


def _class_sums(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Sum of `values` (N, K) over the images of each class, (K, K)."""
    return np.eye(values.shape[1])[labels].T @ values


def _half_of_votes(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half of each image's votes, drawn without replacement: class after class, for all images at once."""
    rest, wanted = counts.sum(axis=1), counts.sum(axis=1) // 2
    half = np.empty_like(counts)
    for k in range(counts.shape[1]):
        rest = rest - counts[:, k]
        half[:, k] = rng.hypergeometric(counts[:, k], rest, wanted)
        wanted = wanted - half[:, k]
    return half


def _top_label(probs: Array, labels: Array) -> tuple[np.ndarray, np.ndarray]:
    """Confidence and correctness (0 or 1) of every prediction."""
    probs, labels = _predictions(probs, labels)
    return np.minimum(probs.max(axis=1), 1.0), (probs.argmax(axis=1) == labels).astype(np.float64)


def _bin_index(confidence: np.ndarray, bins: int, edges: str) -> np.ndarray:
    _choice("edges", edges, EDGES)
    bounds = np.linspace(0, 1, _positive("bins", bins) + 1)
    return np.searchsorted(bounds, confidence, side="left" if edges == "right" else "right") - 1


def _calibration_error(confidence: np.ndarray, correct: np.ndarray, index: np.ndarray) -> float:
    # count * |accuracy - confidence| of a bin is the absolute sum of its gaps.
    return float(np.abs(np.bincount(index, correct - confidence)).sum() / len(index))


def _counts_of_pairs(gram: ClassGram) -> np.ndarray:
    counts = np.asarray(gram.counts, dtype=np.float64)
    if counts.min() < 2:
        raise MetricError(f"labels: class {int(counts.argmin())} has one image; cohesion needs two in each class.")
    return counts


# --- The border: what comes in -------------------------------------------------------------------------------


def _numpy(values: Array) -> np.ndarray:
    if hasattr(values, "detach"):  # a torch tensor, on any device and of any type (NumPy has no bfloat16)
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() and values.itemsize < 4 else values
    return np.asarray(values)


def _array(values: Array, name: str, ndim: int) -> np.ndarray:
    values = _numpy(values)
    if values.dtype.kind not in "fiu":
        raise MetricError(f"{name} holds {values.dtype}; expected real numbers.")
    if values.ndim != ndim or values.size == 0:
        raise MetricError(f"{name} has shape {values.shape}; expected {ndim} dimensions, none of them empty.")
    finite = np.isfinite(values)
    if not finite.all():
        raise MetricError(f"{name} contains NaN or infinity, first in row {int(np.argwhere(~finite)[0, 0])}.")
    return values


def _logits(values: Array, name: str = "logits") -> np.ndarray:
    return _array(values, name, ndim=2).astype(np.float64)


def _distributions(values: Array, name: str) -> np.ndarray:
    values = _array(values, name, ndim=2).astype(np.float64)
    if values.min() < 0:
        row = int((values < 0).any(axis=1).argmax())
        raise MetricError(f"{name} is negative in row {row} ({values[row].min():.6g}); expected probabilities.")
    gap = np.abs(values.sum(axis=1) - 1)
    if gap.max() > SUM_TOLERANCE:
        row = int(gap.argmax())
        raise MetricError(f"{name} sums to {values[row].sum():.6g} in row {row}; expected probabilities, sum 1.")
    return values


def _integers(values: Array, name: str, ndim: int) -> np.ndarray:
    values = _array(values, name, ndim)
    if values.dtype.kind == "f":
        raise MetricError(f"{name} holds {values.dtype}; expected integers.")
    return values.astype(np.int64)


def _labels(values: Array, name: str, images: int, classes: int | None, beside: str) -> np.ndarray:
    values = _integers(values, name, ndim=1)
    if len(values) != images:
        raise MetricError(f"{name} has {len(values)} entries, {beside} has {images} rows; expected as many.")
    if values.min() < 0 or (classes is not None and values.max() >= classes):
        found = values.min() if values.min() < 0 else values.max()
        raise MetricError(f"{name} contains {found}; expected 0 to {'K' if classes is None else classes} - 1.")
    return values


def _predictions(probs: Array, labels: Array, name: str = "probs") -> tuple[np.ndarray, np.ndarray]:
    probs = _distributions(probs, name)
    return probs, _labels(labels, "labels", len(probs), probs.shape[1], name)


def _require_images(labels: np.ndarray, classes: int) -> np.ndarray:
    """Images of each class, (K,): at least one each."""
    counts = np.bincount(labels, minlength=classes)
    if counts.min() == 0:
        raise MetricError(f"labels: class {int(counts.argmin())} of {classes} has no images; expected one or more.")
    return counts


def _same_shape(name: str, values: np.ndarray, other_name: str, other: np.ndarray) -> None:
    if values.shape != other.shape:
        raise MetricError(f"{name} has shape {values.shape}, {other_name} {other.shape}; expected the same.")


def _choice(name: str, value: str, options: Sequence[str]) -> None:
    if value not in options:
        raise MetricError(f"{name} is {value!r}; expected one of {', '.join(map(repr, options))}.")


def _positive(name: str, value: int) -> int:
    if not 1 <= value <= MOST or value != int(value):
        raise MetricError(f"{name} is {value}; expected a whole number from 1 to {MOST:,}.")
    return int(value)


def _temperature(value: float) -> float:
    if not 0 < value < np.inf:
        raise MetricError(f"temperature is {value}; expected a number above 0.")
    return float(value)
