"""Measures: each is what its definition says, image by image too; none is computed twice; what is absent is None."""

import inspect
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import CLASSES, FakeRun
from scipy import stats
from scipy.special import softmax

from kdlib import metrics, study
from kdlib.results import measures, paper
from kdlib.results.measures import Measure

ALL = [one for one in vars(measures).values() if isinstance(one, Measure)] + [
    *measures.CALIBRATIONS, *measures.in_class_space("pairs"), measures.entropy(), measures.entropy(20.0),
    measures.trained("accuracy"),
]  # fmt: skip
RANGES = dict.fromkeys(
    ["accuracy", "precision", "recall", "f1", "precision_weighted", "f1_weighted", "ece", "ece_left", "ece_10",
     "ece_adaptive", "ece_scaled", "confidence", "spread"], (0, 1),
) | dict.fromkeys(
    ["human_order", "cohesion", "adhesion", "discrimination", "cohesion_pairs", "adhesion_pairs",
     "discrimination_pairs"], (-1, 1),
) | {"nll": (0, np.inf), "distance": (0, 2)}  # fmt: skip


@pytest.fixture(scope="module")
def run():
    return FakeRun(study.teacher(study.settings("teachers", "paper"), (), 0))


def latent_run(x, labels, dataset="cifar10"):
    """What the measures of the latent space read."""
    latent = {"components": np.asarray(x, dtype=np.float16), "labels": np.asarray(labels)}
    return SimpleNamespace(spec=SimpleNamespace(dataset=dataset), latent=latent)


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_a_measure_is_a_number_within_its_range(one, run):
    value, (low, high) = one.value(run), RANGES.get(one.name, (-np.inf, np.inf))
    assert isinstance(value, float) and low <= value <= high


def test_names_differ():
    names = {one.name for one in ALL}
    assert len(names) == len(set(ALL)) and names >= set(RANGES)


@pytest.mark.parametrize("one", [one for one in ALL if one.per_image], ids=lambda one: one.name)
def test_a_measure_of_images_is_their_mean(one, run):
    for split in ("test",) if one is measures.HUMAN_KL else ("test", "shifted"):
        images = one.images(run, split)
        assert images.shape == (len(run.predictions[f"{split}_labels"]),)
        assert images.mean() == pytest.approx(one.value(run, split), rel=1e-4 if one is measures.HUMAN_KL else 1e-12)


def test_accuracy_and_loss_image_by_image(run):
    logits, labels = run.predictions["test_logits"].astype(float), run.predictions["test_labels"]
    assert (measures.ACCURACY.images(run) == [row.argmax() == k for row, k in zip(logits, labels, strict=True)]).all()
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = [-np.log(row[k]) for row, k in zip(probs, labels, strict=True)]
    np.testing.assert_allclose(measures.LOSS.images(run), expected)
    sizes = [np.linalg.norm(row - row.mean()) for row in logits]
    np.testing.assert_allclose(measures.LOGIT_SIZE.images(run), sizes)


def test_a_run_is_measured_once():
    asked = []
    one = Measure("counted", "counted", lambda run, split: float(asked.append(split) or len(asked)))
    spec = study.teacher(study.settings("teachers", "paper"), (), 0)
    first, other = FakeRun(spec), FakeRun(spec)
    assert [one.value(first), one.value(first, "test"), one.value(first, "shifted"), one.value(first)] == [1, 1, 2, 1]
    assert one.value(other) == 3  # of another store, though the key is the same


def test_what_a_run_lacks_is_none():
    spec = study.teacher(study.settings("mnist", "paper"), (), 0)
    plain = FakeRun(spec, people=False, shifted=False)
    for one in (measures.HUMAN_KL, measures.RELEASED_HUMAN_KL, measures.KL_OFF_DIAGONAL, measures.HUMAN_ORDER):
        assert one.value(plain) is None
    for one in (measures.SPREAD, measures.DISTANCE):  # no two groups of classes
        assert one.value(plain) is None
    for one in (measures.ACCURACY, measures.WEIGHTED_F1, measures.CONFIDENCE, measures.CALIBRATIONS[1]):
        assert one.value(plain, "shifted") is None and one.images(plain, "shifted") is None
    assert measures.ECE.images(plain) is None
    plain.history = plain.history.iloc[:0]  # of a random network
    assert measures.trained("loss").value(plain) is None


def test_no_number_is_computed_outside_of_metrics_a_second_time():
    source = inspect.getsource(measures)
    for again in ("np.log(", "rel_entr", "entr(", "np.exp(", "bincount(np.digitize"):
        assert again not in source


def test_the_softened_entropy_is_that_of_the_temperature(run):
    expected = metrics.mean_entropy(run.predictions["test_logits"], 20.0)
    assert measures.entropy(20.0).value(run) == pytest.approx(expected)
    assert measures.entropy().value(run) < expected


def test_the_end_of_training_is_its_last_epoch(run):
    assert measures.trained("loss").value(run) == run.history["loss"].iloc[-1] != run.history["loss"].iloc[0]


# ---------------------------------------------------------------- people


def with_means(people, model):
    """A run whose mean predictions by class are `model` (K, K), beside people's."""
    predictions = {"test_logits": np.log(model), "test_labels": np.arange(len(model))}
    return SimpleNamespace(metrics={"human": {"class_means": np.asarray(people).tolist()}}, predictions=predictions)


def test_the_order_of_wrong_classes_is_peoples_or_its_reverse():
    people = np.array([[0.8, 0.15, 0.05], [0.12, 0.7, 0.18], [0.01, 0.09, 0.9]])
    assert measures.HUMAN_ORDER.of(with_means(people, people), "test") == pytest.approx(1)
    off = ~np.eye(3, dtype=bool)
    reverse = people.copy()
    reverse[off] = 0.2 - people[off]
    reverse[~off] = 1 - (reverse * off).sum(axis=1)
    assert measures.HUMAN_ORDER.of(with_means(people, reverse), "test") == pytest.approx(-1)
    sharper = np.where(off, people / 10, 0)  # more confident, in the same order
    sharper += np.diag(1 - sharper.sum(axis=1))
    assert measures.HUMAN_ORDER.of(with_means(people, sharper), "test") == pytest.approx(1)


def test_the_order_is_by_true_class_not_by_predicted():
    people = np.array([[0.8, 0.18, 0.02], [0.01, 0.9, 0.09], [0.15, 0.05, 0.8]])
    turned = people.T / people.T.sum(axis=1, keepdims=True)
    assert measures.HUMAN_ORDER.of(with_means(people, turned), "test") < 0.5


def test_divergence_off_the_diagonal_leaves_the_diagonal_out():
    people = np.array([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.25, 0.25, 0.5]])
    model = np.array([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.3, 0.5]])
    kl = [[(p * np.log(p / q)).sum() for q in model] for p in people]
    expected = np.mean([kl[i][j] for i in range(3) for j in range(3) if i != j])
    assert measures.KL_OFF_DIAGONAL.of(with_means(people, model), "test") == pytest.approx(expected)
    np.testing.assert_allclose(measures.class_kl(with_means(people, model)), kl)


def test_where_nobody_was_asked_labels_stand_for_people(run):
    plain = SimpleNamespace(metrics={}, predictions=run.predictions)
    assert measures.human_means(plain) is None
    expected = metrics.class_kl_matrix(measures.probabilities(run), np.eye(CLASSES), measures.labels(run))
    np.testing.assert_allclose(measures.class_kl(plain), expected)


# ---------------------------------------------------------------- the latent space

SQUARE = [(3, 1), (3, -1), (-3, 1), (-3, -1)]  # vehicles to the right, animals to the left
LABELS = np.repeat([1, 9, 2, 3], 2)
SCATTER = np.repeat(SQUARE, 2, axis=0) + np.tile([[0.5, 0.0], [-0.5, 0.0]], (4, 1))


def test_spread_and_distance_of_a_known_space():
    found = latent_run(SCATTER, LABELS)
    total = np.sqrt(9 + 1 + 0.25)
    assert measures.SPREAD.of(found, "test") == pytest.approx(0.5 / total, rel=1e-3)
    assert measures.DISTANCE.of(found, "test") == pytest.approx(6 / total, rel=1e-3)


@pytest.mark.parametrize("one", [measures.SPREAD, measures.DISTANCE], ids=lambda one: one.name)
def test_where_the_latent_space_lies_and_how_large_it_is_does_not_matter(one):
    plain = one.of(latent_run(SCATTER, LABELS), "test")
    assert one.of(latent_run(SCATTER + [40.0, -70.0], LABELS), "test") == pytest.approx(plain, rel=1e-3)
    assert one.of(latent_run(8 * SCATTER, LABELS), "test") == pytest.approx(plain, rel=1e-3)


def test_the_groups_are_vehicles_and_animals():
    mixed = latent_run(SCATTER, np.repeat([1, 2, 9, 3], 2))  # one of each on either side
    assert measures.DISTANCE.of(mixed, "test") == pytest.approx(2 / np.sqrt(10.25), rel=1e-3)


# ---------------------------------------------------------------- student and teacher


def agreeing(*two):
    """Share of the test images on which two runs say the same class."""
    pairs = zip(*(run.predictions["test_logits"] for run in two), strict=True)
    return np.mean([one.argmax() == other.argmax() for one, other in pairs])


def test_fidelity_is_of_each_students_own_teacher_and_of_the_baselines_for_controls():
    s = study.settings("students", "paper", seeds=[0])
    teachers = {spec: FakeRun(spec, 0.5 + 0.1 * i) for i, spec in enumerate(study.teachers(s))}
    agreement, kl, softened = measures.fidelity(teachers, 20.0)
    own = study.teacher(s, ("mixup",), 0)
    student, control = FakeRun(study.student(s, "lenet", own, "mean")), FakeRun(study.alone(s, "lenet", 0))
    for run, teacher in ((student, teachers[own]), (control, teachers[study.teacher(s, (), 0)])):
        assert agreement.value(run) == agreeing(run, teacher)
        for measure, temperature in ((kl, 1.0), (softened, 20.0)):
            logits = [of.predictions["test_logits"].astype(float) for of in (run, teacher)]
            p, q = (softmax(one / temperature, axis=1) for one in logits)
            assert measure.value(run) == pytest.approx(stats.entropy(p, q, axis=1).mean())
    assert kl.value(student) > softened.value(student)
    later = FakeRun(study.alone(s, "lenet", 7))  # of a seed that no teacher has
    assert agreement.value(later) == agreeing(later, teachers[study.teacher(s, (), 0)])


def test_the_semantic_groups_are_those_of_the_figure():
    assert measures.GROUPS == {"cifar10": ((1, 9), (3, 2))}


def test_every_metric_of_the_paper_has_a_measure_that_says_so():
    printed = set(paper.published()["metric"])
    assert set(paper.MEASURES) == printed
    assert all(one.printed == metric for metric, some in paper.MEASURES.items() for one in some)
