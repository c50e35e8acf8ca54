"""Every metric against an independent implementation, its invariances, the conventions of Table 5, and bad input."""

import time
from itertools import combinations, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import brentq
from scipy.spatial.distance import pdist
from scipy.special import softmax as scipy_softmax
from sklearn import metrics as sk
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler
from torchmetrics.functional.classification import multiclass_calibration_error

from kdlib import KdlibError, metrics
from kdlib.metrics import ClassGram, MetricError

CLOSE = {"rtol": 0, "atol": 1e-6}
FEW = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def random_predictions(seed, n=200, classes=5, sharpness=2.0):
    """Logits that lean to the label; every class has at least two images."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.append(np.repeat(np.arange(classes), 2), rng.integers(0, classes, n - 2 * classes)))
    logits = sharpness * (rng.standard_normal((n, classes)) + np.eye(classes)[labels])
    return logits, labels


def random_humans(seed, labels, classes=5, votes=20):
    rng = np.random.default_rng(seed)
    chance = 0.3 / classes + 0.7 * np.eye(classes)[labels]
    return rng.multinomial(votes, chance)


@pytest.fixture(scope="module")
def real():
    """Real predictions: a linear model of the digits on images it has not seen; some confidences are nearly 1."""
    images, labels = load_digits(return_X_y=True)
    model = LogisticRegression(max_iter=200).fit(images[:600], labels[:600])
    return model.decision_function(images[600:]), labels[600:]


@pytest.fixture(params=["random", "sharp", "real"])
def predictions(request, real):
    if request.param == "real":
        return real
    return random_predictions(3, sharpness=2.0 if request.param == "random" else 20.0)


# --- Predictions against scikit-learn ------------------------------------------------------------------------


def test_softmax_matches_scipy_and_is_float64(predictions):
    logits, _ = predictions
    probs = metrics.softmax(logits.astype(np.float16), temperature=4)
    assert probs.dtype == np.float64
    np.testing.assert_allclose(probs, scipy_softmax(logits.astype(np.float16).astype(float) / 4, axis=1), **CLOSE)


@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_classification_report_matches_sklearn(predictions, average):
    logits, labels = predictions
    got = metrics.classification_report(metrics.softmax(logits), labels, average=average)
    predicted = logits.argmax(1)
    options = {"average": average, "zero_division": 0}
    expected = {
        "accuracy": sk.accuracy_score(labels, predicted),
        "precision": sk.precision_score(labels, predicted, **options),
        "recall": sk.recall_score(labels, predicted, **options),
        "f1": sk.f1_score(labels, predicted, **options),
    }
    assert got == pytest.approx(expected, abs=1e-6)


def test_nll_matches_sklearn_and_torch(predictions):
    logits, labels = predictions
    got = metrics.negative_log_likelihood(metrics.softmax(logits), labels)
    reference = torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(labels))
    assert got == pytest.approx(reference.item(), abs=1e-6)
    if logits.std() < 10:  # scikit-learn clips probabilities at 2e-16
        assert got == pytest.approx(sk.log_loss(labels, metrics.softmax(logits)), abs=1e-6)


def test_nll_of_an_impossible_label_is_finite():
    assert metrics.negative_log_likelihood([[1.0, 0.0]], [1]) == pytest.approx(708.4, abs=0.1)


def test_brier_score_matches_sklearn(predictions):
    logits, labels = predictions
    probs = metrics.softmax(logits)
    expected = sum(sk.brier_score_loss(labels == k, probs[:, k]) for k in range(probs.shape[1]))
    assert metrics.brier_score(probs, labels) == pytest.approx(expected, abs=1e-6)


# --- Calibration ---------------------------------------------------------------------------------------------


def loop_ece(probs, labels, bins, edges):
    """Bin by bin, as the formula is written."""
    confidence, correct = probs.max(1), probs.argmax(1) == labels
    total = 0.0
    bounds = np.linspace(0, 1, bins + 1)
    for low, high in zip(bounds[:-1], bounds[1:]):
        if edges == "right":
            inside = (confidence > low) & (confidence <= high)
        else:
            inside = (confidence >= low) & (confidence < high)
        if inside.any():
            total += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    one = confidence == 1
    if edges == "left" and one.any():
        total += one.mean() * abs(correct[one].mean() - 1)
    return total


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_ece_left_matches_torchmetrics(predictions, bins):
    logits, labels = predictions
    probs = metrics.softmax(logits)
    expected = multiclass_calibration_error(torch.tensor(probs), torch.tensor(labels), probs.shape[1], n_bins=bins)
    got = metrics.expected_calibration_error(probs, labels, bins, edges="left")
    assert got == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("edges", metrics.EDGES)
@pytest.mark.parametrize("bins", [1, 10, 15])
def test_ece_matches_the_formula(predictions, bins, edges):
    logits, labels = predictions
    probs = metrics.softmax(logits)
    got = metrics.expected_calibration_error(probs, labels, bins, edges)
    assert got == pytest.approx(loop_ece(probs, labels, bins, edges), abs=1e-6)


@pytest.mark.parametrize("edges", metrics.EDGES)
def test_ece_where_confidences_lie_on_the_edges(edges):
    """Confidences 0.5, 0.75 and 1 with 4 bins: the edge rule decides, and 1 has its own bin under "left"."""
    probs = np.array([[1, 0], [1, 0], [0.75, 0.25], [0.75, 0.25], [0.5, 0.5], [0.625, 0.375], [0.875, 0.125]])
    labels = np.array([0, 1, 0, 1, 0, 1, 0])
    got = metrics.expected_calibration_error(probs, labels, 4, edges)
    assert got == pytest.approx(loop_ece(probs, labels, 4, edges), abs=1e-12)
    other = metrics.expected_calibration_error(probs, labels, 4, "left" if edges == "right" else "right")
    assert abs(got - other) > 0.01
    if edges == "left":
        expected = multiclass_calibration_error(torch.tensor(probs), torch.tensor(labels), 2, n_bins=4)
        assert got == pytest.approx(expected.item(), abs=1e-6)


def test_adaptive_ece_matches_equal_parts(predictions):
    """Without ties and with N a multiple of the bins, the sorted images cut into equal parts."""
    logits, labels = (a[:150] for a in predictions)
    logits = logits / logits.std()
    probs = metrics.softmax(logits)
    assert len(np.unique(probs.max(1))) == 150
    parts = np.split(np.argsort(probs.max(1)), 15)
    gaps = [abs(probs[p].max(1).mean() - (probs[p].argmax(1) == labels[p]).mean()) for p in parts]
    assert metrics.adaptive_calibration_error(probs, labels) == pytest.approx(np.mean(gaps), abs=1e-6)


def test_adaptive_ece_with_ties_does_not_depend_on_order():
    probs, labels = np.tile([[0.9, 0.1], [0.6, 0.4]], (10, 1)), np.arange(20) % 3 % 2
    values = {round(metrics.adaptive_calibration_error(probs[o], labels[o], 4), 12) for o in shuffles(20, 5)}
    assert len(values) == 1


def shuffles(n, times):
    return [np.random.default_rng(seed).permutation(n) for seed in range(times)]


def test_whole_numbers_given_as_floats_count_as_whole_numbers(predictions):
    logits, labels = predictions
    probs = metrics.softmax(logits)
    one, other = (metrics.reliability_curve(probs, labels, bins) for bins in (2, 2.0))
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(vars(one).values(), vars(other).values()))
    for measure in (metrics.expected_calibration_error, metrics.adaptive_calibration_error):
        assert measure(probs, labels, 3.0) == measure(probs, labels, 3)
    assert metrics.temperature_scaling(logits, labels, folds=2.0) == metrics.temperature_scaling(logits, labels)


def test_reliability_curve_holds_the_ece(predictions):
    logits, labels = predictions
    probs = metrics.softmax(logits)
    curve = metrics.reliability_curve(probs, labels, 10)
    full = curve.count > 0
    assert curve.count.sum() == len(labels)
    assert len(curve.count) == len(curve.confidence) == len(curve.accuracy) == 10
    assert np.isnan(curve.accuracy[~full]).all()
    ece = (curve.count[full] * abs(curve.accuracy - curve.confidence)[full]).sum() / len(labels)
    assert ece == pytest.approx(metrics.expected_calibration_error(probs, labels, 10), abs=1e-9)


def test_temperature_is_the_minimum_and_undoes_a_scaling(real):
    logits, labels = random_predictions(0, n=400, sharpness=1.0)
    t = metrics.fit_temperature(logits, labels)
    assert metrics.fit_temperature(3 * logits, labels) == pytest.approx(3 * t, rel=1e-5)

    def slope(x):  # of the loss in 1 / temperature: zero at the minimum
        probs = scipy_softmax(logits * x, axis=1)
        return ((probs * logits).sum(1) - logits[np.arange(len(labels)), labels]).mean()

    assert 1 / t == pytest.approx(brentq(slope, 1e-3, 1e3), rel=1e-5)


def test_no_image_is_scaled_by_a_temperature_that_it_helped_to_fit():
    """By hand: halves dealt by scikit-learn, each with the other's temperature, which is not its own."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 60)
    logits = rng.normal(size=(60, 3)) + 2 * np.eye(3)[labels]
    scaled, own = np.empty_like(logits), np.empty_like(logits)
    for rest, part in KFold(2, shuffle=True, random_state=0).split(logits):
        scaled[part] = logits[part] / metrics.fit_temperature(logits[rest], labels[rest])
        own[part] = logits[part] / metrics.fit_temperature(logits[part], labels[part])
    expected, cheating = (
        metrics.expected_calibration_error(scipy_softmax(one, axis=1), labels) for one in (scaled, own)
    )
    assert metrics.temperature_scaling(logits, labels).ece_after == pytest.approx(expected, abs=1e-12)
    assert abs(expected - cheating) > 1e-3


def test_temperature_scaling_lowers_the_error_of_an_overconfident_model():
    logits, labels = random_predictions(0, n=1000, sharpness=1.0)
    result = metrics.temperature_scaling(8 * logits, labels)
    assert result.temperature > 3
    assert result.ece_after < metrics.expected_calibration_error(metrics.softmax(8 * logits), labels) / 3


def test_temperature_of_a_faultless_model_is_low_and_of_a_hopeless_one_high():
    assert 0.01 <= metrics.fit_temperature(np.eye(4), np.arange(4)) < 0.05
    assert metrics.fit_temperature(-np.eye(4), np.arange(4)) == pytest.approx(100, rel=1e-3)


# --- People --------------------------------------------------------------------------------------------------


def test_kl_to_humans_matches_scipy():
    logits, labels = random_predictions(0)
    probs, human = metrics.softmax(logits), random_humans(1, labels) / 20
    expected = stats.entropy(human, probs, axis=1)
    np.testing.assert_allclose(metrics.per_image_kl_to_humans(probs, human), expected, **CLOSE)
    got = metrics.kl_to_humans(probs, human, smoothing=0.05)
    smooth = 0.95 * human + 0.05 / 5
    assert got.human_model == pytest.approx(expected.mean(), abs=1e-6)
    assert got.model_human == pytest.approx(stats.entropy(probs, smooth, axis=1).mean(), abs=1e-6)


def test_kl_to_humans_is_finite_beside_zeros():
    got = metrics.kl_to_humans([[1.0, 0.0]], [[0.0, 1.0]])
    assert np.isfinite(got).all()


@pytest.mark.parametrize("form", metrics.FORMS)
def test_class_kl_matrix_matches_loops(form):
    logits, labels = random_predictions(0, sharpness=1.0)
    probs, human = metrics.softmax(logits), random_humans(1, labels) / 20
    predicted = probs.argmax(1)
    expected = np.empty((5, 5))
    for i, j in product(range(5), range(5)):
        p = human[labels == i].mean(0)
        q = probs[labels == j].sum(0) / ((labels if form == "sound" else predicted) == j).sum()
        expected[i, j] = sum(a * np.log(a / b) for a, b in zip(p, q) if a > 0)
    means = metrics.class_means(human, labels)
    np.testing.assert_allclose(metrics.class_kl_matrix(probs, means, labels, form=form), expected, **CLOSE)


def test_forms_of_the_class_kl_matrix_differ_by_the_counts():
    """The released form is the sound one plus log(predicted / true) of the model's class."""
    logits, labels = random_predictions(0, sharpness=1.0)
    probs, human = metrics.softmax(logits), metrics.class_means(random_humans(1, labels) / 20, labels)
    shift = np.log(np.bincount(probs.argmax(1), minlength=5) / np.bincount(labels))
    sound, released = (metrics.class_kl_matrix(probs, human, labels, form=f) for f in metrics.FORMS)
    np.testing.assert_allclose(released, sound + shift, **CLOSE)
    assert sound.min() >= 0


def test_human_ceiling():
    certain = np.eye(3, dtype=int)[[0, 1, 2, 0]] * 50
    assert metrics.human_ceiling(certain) < 0.01
    split = np.tile([25, 25, 0], (4, 1))
    assert 0.005 < metrics.human_ceiling(split) < 0.1
    assert metrics.human_ceiling(split, seed=1) == metrics.human_ceiling(split, seed=1)


def test_halves_of_votes_are_halves_and_hypergeometric():
    counts = np.tile([30, 15, 5, 1], (4000, 1))
    half = metrics._half_of_votes(counts, np.random.default_rng(0))
    assert (half.sum(1) == 25).all() and (half >= 0).all() and (half <= counts).all()
    law = stats.multivariate_hypergeom(counts[0], 25)
    np.testing.assert_allclose(half.mean(0), law.mean(), atol=0.1)
    np.testing.assert_allclose(np.cov(half.T), law.cov(), atol=0.2)


# --- Structure between classes -------------------------------------------------------------------------------


@pytest.mark.parametrize("by", metrics.CLASSES_BY)
def test_class_separability_matches_loops(by, predictions):
    logits, labels = predictions
    probs = metrics.softmax(logits / logits.std())
    group = labels if by == "true" else probs.argmax(1)
    means = [probs[group == k].mean(0) for k in range(probs.shape[1])]
    expected = np.mean([stats.entropy(p, q) for p in means for q in means])
    assert metrics.class_separability(probs, labels, by=by) == pytest.approx(expected, abs=1e-6)


def random_embeddings(seed, n=60, dim=7, classes=4):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.append(np.repeat(np.arange(classes), 2), rng.integers(0, classes, n - 2 * classes)))
    return rng.standard_normal((n, dim)) * 5 + 3 * rng.standard_normal((classes, dim))[labels] + 10, labels


def pairwise(embeddings, labels, convention):
    """Cohesion, adhesion and discrimination from every pair of images, as the formulas are written."""
    x = np.asarray(embeddings, dtype=float)
    similarity = cosine_similarity(StandardScaler().fit_transform(x))
    classes = np.unique(labels)
    within, between = [], []
    for k in classes:
        values = [similarity[i, j] for i, j in combinations(np.flatnonzero(labels == k), 2)]
        pairs = len(values)
        within.append(sum(values) / (2 * pairs if convention == "printed" else pairs))
    for a, b in combinations(classes, 2):
        between.append(similarity[np.ix_(labels == a, labels == b)].mean())
    c = np.mean(within)
    k = len(classes)
    a = sum(between) / (k * (k - 1)) * (1 if convention == "table" else 2)
    return c, a, (c - a) / np.sqrt(k if convention == "table" else x.shape[1])


def all_three(gram, convention="pairs"):
    return [f(gram, convention=convention) for f in (metrics.cohesion, metrics.adhesion, metrics.discrimination)]


@pytest.mark.parametrize("convention", metrics.CONVENTIONS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_structure_matches_all_pairs(convention, dtype):
    embeddings, labels = random_embeddings(0)
    embeddings = embeddings.astype(dtype)
    expected = pairwise(embeddings, labels, convention)
    np.testing.assert_allclose(all_three(metrics.class_gram(embeddings, labels), convention), expected, **CLOSE)


def test_structure_matches_all_pairs_on_real_images():
    images, labels = load_digits(return_X_y=True)  # three of the 64 features are constant
    images, labels = images[:300], labels[:300]
    for convention in metrics.CONVENTIONS:
        got = all_three(metrics.class_gram(images, labels), convention)
        np.testing.assert_allclose(got, pairwise(images, labels, convention), **CLOSE)


def test_chunks_do_not_show(monkeypatch):
    embeddings, labels = random_embeddings(1)
    whole = metrics.class_gram(embeddings, labels).gram
    monkeypatch.setattr(metrics, "CHUNK", 7)
    np.testing.assert_allclose(metrics.class_gram(embeddings, labels).gram, whole, atol=1e-9)


def test_constant_features_and_collapsed_embeddings_are_defined():
    embeddings, labels = random_embeddings(2)
    wide = np.hstack([embeddings, np.full((len(labels), 1), 0.1)])  # 0.1: a mean with rounding error
    np.testing.assert_allclose(metrics.class_gram(wide, labels).gram, metrics.class_gram(embeddings, labels).gram)
    collapsed = metrics.class_gram(np.full((6, 3), 0.1), [0, 0, 0, 1, 1, 1])
    np.testing.assert_allclose(all_three(collapsed), [0, 0, 0], atol=1e-12)
    # The third image is the mean itself: orthogonal to all others, and no pair with itself.
    one = np.array([[1.0], [1.0], [0.0], [-1.0], [-1.0]])
    got = metrics.cohesion(metrics.class_gram(one, [0, 0, 0, 1, 1]))
    assert got == pytest.approx((1 / 3 + 1) / 2)


# Rows of Table 5 that agree with themselves: cohesion, adhesion, discrimination.
TABLE_5 = {
    "baseline": (0.739, -0.041, 0.246),
    "augment": (0.886, -0.049, 0.296),
    "cutout": (0.783, -0.043, 0.261),
    "cutmix": (0.917, -0.050, 0.306),
}
PRINTED = 1e-3  # the printed digits; some are cut off rather than rounded


def gram_of_cohesion(cohesion, classes=10, images=1000):
    """The Gram of standardised classes: their sums of unit vectors add up to zero, all alike."""
    own = cohesion * images * (images - 1) + images
    return ClassGram(own / (classes - 1) * (classes * np.eye(classes) - 1), np.full(classes, images), 512)


def gram_of_embeddings(cohesion, classes=10, images=100, dim=64):
    """The Gram of classes at the corners of a regular simplex, with as much noise as gives the cohesion."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), images)
    turn, _ = np.linalg.qr(rng.standard_normal((dim, dim)))
    corners = (np.eye(classes) - 1 / classes) @ turn[:classes]
    noise = rng.standard_normal((len(labels), dim))
    noise -= noise.mean(0)

    def gram(scale):
        return metrics.class_gram(corners[labels] + scale * noise, labels)

    return gram(brentq(lambda scale: metrics.cohesion(gram(scale)) - cohesion, 1e-3, 1, xtol=1e-9))


@pytest.mark.parametrize("row", TABLE_5)
@pytest.mark.parametrize("source", ["gram", "embeddings"])
def test_table_convention_reproduces_table_5(row, source):
    cohesion, adhesion, discrimination = TABLE_5[row]
    gram = gram_of_cohesion(cohesion) if source == "gram" else gram_of_embeddings(cohesion)
    got = all_three(gram, "table")
    np.testing.assert_allclose(got, [cohesion, adhesion, discrimination], rtol=0, atol=PRINTED)
    # With the formulas' own normalisation the same embeddings are nowhere near the table.
    assert metrics.adhesion(gram) == pytest.approx(2 * got[1])
    if source == "gram":
        assert metrics.discrimination(gram) < 0.05
        assert metrics.cohesion(gram, convention="printed") <= 0.5


def test_mixup_row_of_table_5_breaks_the_relation():
    """0.793 fits neither its adhesion, -0.042, nor its discrimination, 0.255; 0.764 fits both."""
    _, adhesion, discrimination = all_three(gram_of_cohesion(0.793), "table")
    assert abs(adhesion + 0.042) > 2 * PRINTED and abs(discrimination - 0.255) > 9 * PRINTED
    _, adhesion, discrimination = all_three(gram_of_cohesion(0.764), "table")
    np.testing.assert_allclose([adhesion, discrimination], [-0.042, 0.255], rtol=0, atol=PRINTED)


def test_discrimination_is_fast():
    """In seconds of the processor, all threads together: no less than by the clock, and the same on a busy machine."""
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((50_000, 512), dtype=np.float32)
    labels = rng.integers(0, 10, 50_000)

    def best(function, *arguments, times=3):
        spent = []
        for _ in range(times):
            start = time.process_time()
            function(*arguments)
            spent.append(time.process_time() - start)
        return min(spent)

    def discrimination(embeddings, labels):
        return metrics.discrimination(metrics.class_gram(embeddings, labels))

    assert best(discrimination, embeddings, labels) < 1
    fast = best(discrimination, embeddings[:5000], labels[:5000])
    pairs = best(pdist, StandardScaler().fit_transform(embeddings[:5000]), "cosine", times=1)
    assert fast < pairs / 100


# --- Student and teacher -------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 20.0])
def test_student_and_teacher_match_scipy(temperature):
    student, _ = random_predictions(0)
    teacher, _ = random_predictions(1)
    p, q = (scipy_softmax(z / temperature, axis=1) for z in (student, teacher))
    got = metrics.per_image_student_teacher_kl(student, teacher, temperature)
    np.testing.assert_allclose(got, stats.entropy(p, q, axis=1), **CLOSE)
    assert metrics.mean_entropy(teacher, temperature) == pytest.approx(stats.entropy(q, axis=1).mean(), abs=1e-6)


def test_kl_of_extreme_logits_is_exact():
    got = metrics.per_image_student_teacher_kl([[0.0, 2000.0]], [[2000.0, 0.0]])
    assert got == pytest.approx([2000])


def test_evaluate_logits_is_the_functions_by_name(real):
    logits, labels = real[0].astype(np.float16), real[1]
    got = metrics.evaluate_logits(torch.tensor(logits), torch.tensor(labels).byte())
    probs = metrics.softmax(logits)
    report = metrics.classification_report(probs, labels)
    assert got == report | {
        "nll": metrics.negative_log_likelihood(probs, labels),
        "brier": metrics.brier_score(probs, labels),
        "ece": metrics.expected_calibration_error(probs, labels, 15, "right"),
        "ece_adaptive": metrics.adaptive_calibration_error(probs, labels),
        "mean_confidence": probs.max(1).mean(),
        "mean_entropy": metrics.mean_entropy(logits),
        "class_separability_true": metrics.class_separability(probs, labels, by="true"),
        "class_separability_predicted": metrics.class_separability(probs, labels, by="predicted"),
    }
    assert all(type(value) is float for value in got.values())


# --- Invariances ---------------------------------------------------------------------------------------------


def every_value(logits, labels, human):
    probs, means = metrics.softmax(logits), metrics.class_means(human, labels)
    return metrics.evaluate_logits(logits, labels) | {
        "ece_left": metrics.expected_calibration_error(probs, labels, edges="left"),
        "temperature": metrics.fit_temperature(logits, labels),
        "human_model": metrics.kl_to_humans(probs, human).human_model,
        "model_human": metrics.kl_to_humans(probs, human).model_human,
        "class_kl": metrics.class_kl_matrix(probs, means, labels).trace(),
        "class_kl_released": metrics.class_kl_matrix(probs, means, labels, form="released").trace(),
        "kl": metrics.per_image_student_teacher_kl(logits, human, 4).mean(),
    }


@FEW
@given(seed=seeds)
def test_order_of_images_and_classes_does_not_matter(seed):
    logits, labels = random_predictions(seed, n=60)
    human = random_humans(seed, labels) / 20
    rng = np.random.default_rng(seed)
    images, classes = rng.permutation(60), rng.permutation(5)
    value = every_value(logits, labels, human)
    assert every_value(logits[images], labels[images], human[images]) == pytest.approx(value, abs=1e-6)
    renamed = np.argsort(classes)[labels]
    assert every_value(logits[:, classes], renamed, human[:, classes]) == pytest.approx(value, abs=1e-6)


@FEW
@given(seed=seeds, scale=st.floats(1e-3, 1e3), convention=st.sampled_from(metrics.CONVENTIONS))
def test_structure_does_not_change_with_order_scale_or_shift(seed, scale, convention):
    embeddings, labels = random_embeddings(seed)
    rng = np.random.default_rng(seed)

    def structure(embeddings, labels):
        return all_three(metrics.class_gram(embeddings, labels), convention)

    value = structure(embeddings, labels)
    images, classes = rng.permutation(60), rng.permutation(4)
    np.testing.assert_allclose(structure(embeddings[images], labels[images]), value, **CLOSE)
    np.testing.assert_allclose(structure(embeddings, classes[labels]), value, **CLOSE)
    each = rng.uniform(0.5, 2, 7) * scale
    np.testing.assert_allclose(structure(embeddings * each + rng.normal(size=7), labels), value, **CLOSE)
    np.testing.assert_allclose(structure(embeddings[:, rng.permutation(7)], labels), value, **CLOSE)


@FEW
@given(seed=seeds, shift=st.floats(-50, 50))
def test_adding_to_all_logits_changes_nothing(seed, shift):
    logits, labels = random_predictions(seed, n=40)
    assert metrics.evaluate_logits(logits + shift, labels) == pytest.approx(
        metrics.evaluate_logits(logits, labels), abs=1e-6
    )


@FEW
@given(seed=seeds, lam=st.floats(0, 1))
def test_mixtures_of_predictions_are_no_worse_than_the_mean_of_both(seed, lam):
    """Losses are convex in the prediction, divergences in both arguments."""
    logits, labels = random_predictions(seed, n=40)
    other, _ = random_predictions(seed + 1, n=40)
    human = random_humans(seed, labels) / 20
    means = metrics.class_means(human, labels)
    p, q = metrics.softmax(logits), metrics.softmax(other)
    mixed = lam * p + (1 - lam) * q
    for loss in (
        lambda x: metrics.brier_score(x, labels),
        lambda x: metrics.negative_log_likelihood(x, labels),
        lambda x: metrics.kl_to_humans(x, human).human_model,
        lambda x: metrics.kl_to_humans(x, human).model_human,
        lambda x: metrics.class_separability(x, labels, by="true"),
        lambda x: metrics.class_kl_matrix(x, means, labels).trace(),
    ):
        assert loss(mixed) <= lam * loss(p) + (1 - lam) * loss(q) + 1e-9


@FEW
@given(seed=seeds)
def test_means_over_images_pool_by_size(seed):
    logits, labels = random_predictions(seed, n=60)
    probs = metrics.softmax(logits)
    for value in (metrics.brier_score, metrics.negative_log_likelihood):
        parts = 0.25 * value(probs[:15], labels[:15]) + 0.75 * value(probs[15:], labels[15:])
        assert value(probs, labels) == pytest.approx(parts, abs=1e-9)


@FEW
@given(seed=seeds)
def test_ranges(seed):
    logits, labels = random_predictions(seed, n=40, sharpness=10 ** np.random.default_rng(seed).uniform(-2, 2))
    value = metrics.evaluate_logits(logits, labels)
    for name in ("accuracy", "precision", "recall", "f1", "ece", "ece_adaptive", "mean_confidence"):
        assert 0 <= value[name] <= 1
    assert 0 <= value["brier"] <= 2
    assert 0 <= value["mean_entropy"] <= np.log(5) + 1e-12
    assert value["nll"] >= 0 and value["class_separability_true"] >= 0 and value["class_separability_predicted"] >= 0


# --- A class that is never predicted -------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
def test_a_class_that_is_never_predicted_leaves_every_value_defined():
    logits, labels = random_predictions(0)
    human = random_humans(1, labels) / 20
    logits[:, 3] = -1e4  # its probability underflows to 0
    probs = metrics.softmax(logits)
    values = every_value(logits, labels, human)
    assert all(np.isfinite(list(values.values())))
    means = metrics.class_means(human, labels)
    for form in metrics.FORMS:
        assert np.isfinite(metrics.class_kl_matrix(probs, means, labels, form=form)).all()
    others = [probs[probs.argmax(1) == k].mean(0) for k in (0, 1, 2, 4)]
    expected = np.mean([stats.entropy(p, q) for p in others for q in others])
    assert metrics.class_separability(probs, labels, by="predicted") == pytest.approx(expected)


@pytest.mark.filterwarnings("error")
def test_a_model_that_predicts_one_class_only():
    labels = np.arange(10) % 5
    probs = np.tile([0.6, 0.1, 0.1, 0.1, 0.1], (10, 1))
    report = metrics.classification_report(probs, labels)
    assert report == pytest.approx({"accuracy": 0.2, "precision": 0.04, "recall": 0.2, "f1": 1 / 15})
    assert metrics.class_separability(probs, labels, by="predicted") == 0
    assert metrics.class_separability(probs, labels, by="true") == pytest.approx(0)


# --- Bad input -----------------------------------------------------------------------------------------------

P, Y = np.array([[0.7, 0.3], [0.2, 0.8], [0.6, 0.4], [0.5, 0.5]]), np.array([0, 1, 0, 1])
NAN = np.where(P == 0.7, np.nan, P)
X = np.arange(12.0).reshape(4, 3)
ON_PROBS = {
    "report": metrics.classification_report,
    "nll": metrics.negative_log_likelihood,
    "brier": metrics.brier_score,
    "ece": metrics.expected_calibration_error,
    "adaptive": metrics.adaptive_calibration_error,
    "curve": metrics.reliability_curve,
    "separability": metrics.class_separability,
    "class_kl": lambda probs, labels: metrics.class_kl_matrix(probs, P[:2], labels),
}


@pytest.mark.parametrize("function", ON_PROBS.values(), ids=ON_PROBS.keys())
@pytest.mark.parametrize(
    ("probs", "labels", "finding"),
    [
        (P * 1.1, Y, "probs sums to 1.1 in row"),
        (P - [0.5, -0.5], Y, "probs is negative in row 1"),
        (NAN, Y, "probs contains NaN or infinity, first in row 0"),
        (P[0], Y, r"probs has shape \(2,\)"),
        (P[:0], Y[:0], r"probs has shape \(0, 2\)"),
        (P.astype(str), Y, "probs holds <U"),
        (P, Y + 1, "labels contains 2; expected 0 to 2 - 1"),
        (P, Y - 1, "labels contains -1"),
        (P, Y[:3], "labels has 3 entries, probs has 4 rows"),
        (P, Y.astype(float), "labels holds float64; expected integers"),
        (P, Y[:, None], r"labels has shape \(4, 1\)"),
    ],
)
def test_bad_predictions(function, probs, labels, finding):
    with pytest.raises(MetricError, match=finding):
        function(probs, labels)


@pytest.mark.parametrize(
    ("call", "finding"),
    [
        (lambda: metrics.classification_report(P, Y * 0), "labels: class 1 of 2 has no images"),
        (lambda: metrics.classification_report(P, Y, average="micro"), "average is 'micro'; expected one of 'macro'"),
        (lambda: metrics.class_separability(P, Y * 0), "labels: class 1 of 2 has no images"),
        (lambda: metrics.class_separability(P, Y, by="label"), "by is 'label'"),
        (lambda: metrics.expected_calibration_error(P, Y, edges="both"), "edges is 'both'"),
        (lambda: metrics.expected_calibration_error(P, Y, bins=0), "bins is 0"),
        (lambda: metrics.adaptive_calibration_error(P, Y, bins=2.5), "bins is 2.5"),
        (lambda: metrics.reliability_curve(P, Y, bins=np.nan), "bins is nan"),
        (lambda: metrics.reliability_curve(P, Y, bins=np.inf), "bins is inf"),
        (lambda: metrics.adaptive_calibration_error(P, Y, bins=-np.inf), "bins is -inf"),
        (lambda: metrics.temperature_scaling(P, Y, folds=2.5), "folds is 2.5"),
        (lambda: metrics.human_ceiling([[5, 5]], splits=np.nan), "splits is nan"),
        (lambda: metrics.softmax(P, 0), "temperature is 0"),
        (lambda: metrics.softmax(P, np.nan), "temperature is nan"),
        (lambda: metrics.softmax(NAN), "logits contains NaN or infinity"),
        (lambda: metrics.evaluate_logits(P, Y + 1), "labels contains 2"),
        (lambda: metrics.temperature_scaling(P, Y, folds=5), "folds is 5"),
        (lambda: metrics.fit_temperature(P, Y[:2]), "labels has 2 entries, logits has 4 rows"),
        (lambda: metrics.kl_to_humans(P, P[:2]), "human has shape"),
        (lambda: metrics.kl_to_humans(P, P * 2), "human sums to 2 in row 0"),
        (lambda: metrics.kl_to_humans(P, P, smoothing=0), "smoothing is 0"),
        (lambda: metrics.per_image_kl_to_humans(P, NAN), "human contains NaN"),
        (lambda: metrics.class_kl_matrix(P, P, Y), "human has shape"),
        (lambda: metrics.class_kl_matrix(P, P[:2], Y * 0), "labels: class 1 of 2 has no images"),
        (lambda: metrics.class_kl_matrix(P, P[:2], Y, form="code"), "form is 'code'"),
        (lambda: metrics.class_means(P, Y * 0), "labels: class 1 of 2 has no images"),
        (lambda: metrics.human_ceiling([[1, 0], [5, 5]]), r"counts: image 0 has votes \[1, 0\]"),
        (lambda: metrics.human_ceiling([[5, 5], [7, -1]]), r"counts: image 1 has votes \[7, -1\]"),
        (lambda: metrics.human_ceiling([[0.5, 0.5]]), "counts holds float64; expected integers"),
        (lambda: metrics.cohesion(metrics.class_gram(X, [0, 0, 0, 1])), "labels: class 1 has one image"),
        (lambda: metrics.discrimination(metrics.class_gram(X, [0, 0, 0, 1])), "labels: class 1 has one image"),
        (lambda: metrics.adhesion(metrics.class_gram(X, [0, 0, 0, 0])), "labels holds one class"),
        (lambda: metrics.cohesion(metrics.class_gram(X, Y), convention="paper"), "convention is 'paper'"),
        (lambda: metrics.discrimination(metrics.class_gram(X, Y), convention="paper"), "convention is 'paper'"),
        (lambda: metrics.class_gram(X, [0, 0, 2, 2]), "labels: class 1 of 3 has no images"),
        (lambda: metrics.class_gram(X, [0, 0, 1]), "labels has 3 entries, embeddings has 4 rows"),
        (lambda: metrics.class_gram(X * np.nan, Y), "embeddings contains NaN"),
        (lambda: metrics.class_gram(X, -Y), "labels contains -1; expected 0 to K - 1"),
        (lambda: ClassGram(np.eye(3), np.ones(2), 5), r"gram has shape \(3, 3\) and counts \(2,\)"),
        (lambda: ClassGram(np.eye(2) * np.nan, np.ones(2), 5), "gram contains NaN"),
        (lambda: ClassGram(np.eye(2), np.array([3, 0]), 5), "counts: class 1 has no images"),
        (lambda: metrics.per_image_student_teacher_kl(P, P[:2]), "student_logits has shape"),
        (lambda: metrics.per_image_student_teacher_kl(P, NAN), "teacher_logits contains NaN"),
        (lambda: metrics.mean_entropy(P, -1), "temperature is -1"),
    ],
)
def test_bad_input_names_the_argument_and_the_finding(call, finding):
    with pytest.raises(MetricError, match=finding) as caught:
        call()
    assert isinstance(caught.value, KdlibError) and isinstance(caught.value, ValueError)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_of_every_type(dtype):
    logits, labels = random_predictions(0)
    tensor = torch.tensor(logits).to(dtype).requires_grad_()
    expected = metrics.evaluate_logits(tensor.detach().double().numpy(), labels)
    assert metrics.evaluate_logits(tensor, torch.tensor(labels)) == expected
    probs = torch.softmax(tensor.double(), 1).to(dtype)
    if dtype != torch.bfloat16:  # its sums are off by some 1e-2: not probabilities
        assert 0 <= metrics.brier_score(probs, torch.tensor(labels, dtype=torch.uint8)) <= 2
