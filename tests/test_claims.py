"""Verdicts on made-up runs whose truth is known."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from kdlib import claims, metrics, paper, runs, stats, study, tables
from kdlib.runs import Distilled as Student, Supervised as Teacher

ARMS = claims.ARMS
CLASSES = 10
IMAGES = 600
LABELS = np.repeat(np.arange(CLASSES), IMAGES // CLASSES)
HUMAN = np.full((CLASSES, CLASSES), 0.01) + np.diag(np.full(CLASSES, 0.9))
LEVEL = 0.7  # accuracy of an arm of which nothing is said


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """The default of `resample_images` is bound already: hand the smaller number over."""
    monkeypatch.setattr(stats, "RESAMPLES", 500)
    full = stats.resample_images
    monkeypatch.setattr(stats, "resample_images", lambda quantities: full(quantities, 500))


def logits_of(accuracy, rng, confidence=3.0, images=IMAGES, labels=LABELS):
    """Logits that are right on a share of the images; the easy ones of one arm are easy for all."""
    difficulty = np.random.default_rng(99).permutation(images) / images
    wrong = difficulty + rng.normal(0, 0.05, images) > accuracy
    named = np.where(wrong, (labels + 1 + rng.integers(CLASSES - 1, size=images)) % CLASSES, labels)
    return (np.eye(CLASSES)[named] * confidence + rng.normal(0, 0.1, (images, CLASSES))).astype(np.float16)


def made_up(spec, accuracy, parts=("test", "shifted", "human"), confidence=3.0, compactness=1.0):
    """A run as `runs.ensure` gives it, with predictions of about this accuracy."""
    rng = np.random.default_rng(int.from_bytes(runs.key(spec).encode()) % 2**32)
    accuracy += rng.normal(0, 0.004)
    embeddings = np.eye(CLASSES)[LABELS] + rng.normal(0, 0.5 * compactness, (IMAGES, CLASSES))
    gram = metrics.class_gram(embeddings, LABELS)
    predictions = {"test_logits": logits_of(accuracy, rng, confidence), "test_labels": LABELS.astype(np.uint8)}
    predictions |= {"class_gram": gram.gram, "embedding_dim": np.int64(gram.dim)}
    scores = {"test": {}, "provenance": {}}
    if "shifted" in parts:
        predictions |= {"shifted_logits": logits_of(accuracy - 0.2, rng), "shifted_labels": LABELS.astype(np.uint8)}
    if "human" in parts:
        scores["human"] = {"class_means": HUMAN.tolist()}
    latent = {}
    if isinstance(spec, Teacher):
        of = {1: (3, 0), 9: (3, 1), 2: (-3, 0), 3: (-3, 1)}
        labels = np.repeat([1, 9, 3, 2], 50)
        x = np.array([of[k] for k in labels]) + rng.normal(0, compactness, (200, 2))
        latent = {"components": x.astype(np.float16), "labels": labels.astype(np.uint8)}
    return SimpleNamespace(spec=spec, key=runs.key(spec), predictions=predictions, latent=latent, metrics=scores)


def chapter(name, accuracy=None, dataset="cifar10", seeds=(0, 1, 2), **options):
    """The runs of a chapter; `accuracy` maps a run's spec to its accuracy, or to None where the run is missing."""
    given = {"dataset": dataset} if dataset else {}
    specs = study.CHAPTERS[name](study.settings(name, "demo", seeds=list(seeds), **given))
    accuracies = {spec: (accuracy(spec) if accuracy else LEVEL) for spec in specs}
    return [made_up(spec, a, **options) for spec, a in accuracies.items() if a is not None]


def student_arm(**by_arm):
    """Accuracy of students by their teacher's arm."""

    def accuracy(spec):
        arm = (spec.teacher.augmentations or ("none",))[0] if isinstance(spec, Student) else "none"
        return by_arm.get(arm, by_arm.get("rest", LEVEL))

    return accuracy


def judged(claim, **made):
    return claims.judge(made, [claims.CLAIMS[claim - 1]])


# --- What is declared ----------------------------------------------------------------------------------------


def test_there_are_thirteen_claims_with_a_rule_a_source_and_a_page_each():
    assert [claim.id for claim in claims.CLAIMS] == list(range(1, 14))
    pages = {"01_teachers", "02_students", "03_ablation", "04_mnist", "05_dichotomy"}
    for claim in claims.CLAIMS:
        assert claim.rule.endswith(".") and claim.statement.endswith(".") and claim.source
        assert claim.page in pages
        assert len({effect.title for effect in claim.effects}) == len(claim.effects) > 0


def test_the_papers_effects_are_computed_from_its_tables():
    effects = claims.CLAIMS[1].effects  # of LeNet students
    baseline = paper.value(1, "none", "lenet", "cifar10", "accuracy")
    for effect, arm in zip(effects, reversed(ARMS[1:]), strict=True):
        assert effect.paper() == paper.value(1, arm, "lenet", "cifar10", "accuracy") - baseline
    assert [effect.paper() for effect in claims.CLAIMS[10].effects] == [None, None]  # figures alone


@pytest.mark.parametrize("claim", [1, 2, 3, 4, 5, 6, 7, 8, 9])
def test_the_papers_own_numbers_speak_for_its_plain_claims(claim):
    for effect in claims.CLAIMS[claim - 1].effects:
        assert effect.says(effect.paper(), effect.paper()) == claims.FOR, effect.title


def test_the_papers_own_numbers_speak_against_parts_of_claims_10_and_12():
    against = {
        claim.id: [e.title for e in claim.effects[:7] if e.says(e.paper(), e.paper()) == "against"]
        for claim in claims.CLAIMS[9:12:2]
    }
    assert len(against[10]) == 1 and "AlexNet" in against[10][0]
    assert len(against[12]) == 2 and all("CutMix" in title for title in against[12])


@pytest.mark.parametrize(
    ("expected", "threshold", "low", "high", "says"),
    [
        ("above", 0, 0.1, 0.2, "for"),
        ("above", 0, -0.1, 0.2, "open"),
        ("above", 0, -0.2, -0.1, "against"),
        ("above", 0.5, 0.1, 0.4, "against"),
        ("below", 0, -0.2, -0.1, "for"),
        ("below", 0, 0.1, 0.2, "against"),
        ("within", 0.1, -0.05, 0.05, "for"),
        ("within", 0.1, -0.05, 0.15, "open"),
        ("within", 0.1, 0.11, 0.15, "against"),
        ("within", 0.1, -0.15, -0.11, "against"),
        ("above", 0, np.nan, np.nan, "open"),
        ("below", 0, np.nan, np.nan, "open"),
        ("within", 0.1, np.nan, np.nan, "open"),
    ],
)
def test_what_an_interval_says(expected, threshold, low, high, says):
    assert claims.Effect("an effect", expected, threshold).says(low, high) == says


@pytest.mark.parametrize(
    ("comparisons", "order", "says"),
    [(1, (0, 1, 2, 3, 4), "against"), (1, (4, 3, 2, 1, 0), "against"), (3, (0, 1, 2, 3, 4), "against"),
     (4, (0, 1, 2, 3, 4), "open"), (1, (1, 0, 2, 4, 3), "open"), (1, (2, 4, 0, 3, 1), "open")],
)  # fmt: skip
def test_no_relation_is_refuted_by_the_orders_of_the_arms(comparisons, order, says):
    """However well each arm is known: the interval over seeds and images of each is a single point."""
    x, y = (next(e for e in claims.CLAIMS[11].effects if e.expected == "unrelated").columns)
    values = np.stack([np.arange(5.0), np.array(order, dtype=float)], axis=-1)[:, None]
    of = stats.arms(values, np.tile(values, (20, 1, 1, 1)))
    effect = claims.Effect("e", "unrelated", x=x, y=y)
    found = effect.find(of, ARMS, (x, y), comparisons)
    assert found.interval.low == found.interval.high != 0 and found.says == says
    assert found.p == stats.permutation_p(values[:, 0, 0], values[:, 0, 1])
    with pytest.raises(claims.ClaimError, match="fixed arms"):
        effect.says(0.1, 0.9)


def test_an_open_question_of_no_relation_does_not_keep_a_claim_from_holding():
    def finding(expected, says):
        return claims.Finding(claims.Effect("e", expected), stats.Interval(0, 0, 0, 3), says)

    assert claims.verdict([finding("below", "for"), finding("unrelated", "open")]) == "holds"
    assert claims.verdict([finding("below", "for"), finding("unrelated", "against")]) == "does not hold"
    assert claims.verdict([finding("below", "open"), finding("unrelated", "open")]) == "undecided"


# --- Measures ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def teacher():
    return made_up(study.teachers(study.settings("teachers", "demo", dataset="cifar10", seeds=[0]))[0], 0.8)


def value(quantity):
    return stats.resample_images([quantity])[0][0]


def test_measures_are_those_of_kdlib_metrics(teacher):
    logits, labels = teacher.predictions["test_logits"], LABELS
    probs, scores = metrics.softmax(logits), metrics.evaluate_logits(logits, labels)
    assert value(claims.accuracy(teacher)) == pytest.approx(scores["accuracy"], abs=1e-12)
    assert value(claims.test_loss(teacher)) == pytest.approx(scores["nll"], abs=1e-9)
    assert value(claims.calibration_error(teacher)) == pytest.approx(scores["ece"], abs=1e-9)
    assert value(claims.class_separability(teacher)) == pytest.approx(scores["class_separability_true"], abs=1e-9)
    matrix = metrics.class_kl_matrix(probs, HUMAN, labels)
    off_diagonal = matrix[~np.eye(CLASSES, dtype=bool)]
    assert value(claims.kl_off_diagonal(teacher)) == pytest.approx(off_diagonal.mean(), abs=1e-9)
    gram = metrics.ClassGram(teacher.predictions["class_gram"], np.bincount(labels), CLASSES)
    assert claims.table_discrimination(teacher) == metrics.discrimination(gram, convention="table")


def test_latent_measures_are_those_of_the_points(teacher):
    x, labels = teacher.latent["components"].astype(float), teacher.latent["labels"]
    own = sum(((x[labels == k] - x[labels == k].mean(0)) ** 2).sum() for k in (1, 2, 3, 9))
    total = ((x - x.mean(0)) ** 2).sum()
    assert value(claims.cluster_spread(teacher)) == pytest.approx(np.sqrt(own / total))
    apart = np.linalg.norm(x[np.isin(labels, (1, 9))].mean(0) - x[np.isin(labels, (2, 3))].mean(0))
    assert value(claims.group_distance(teacher)) == pytest.approx(apart / np.sqrt(total / len(x)))


# --- Verdicts ------------------------------------------------------------------------------------------------


def test_a_planted_effect_holds_under_both_forms_of_the_loss():
    found = judged(2, students=chapter("students", student_arm(none=0.75, rest=0.65)))
    assert [(j.reduction, j.verdict, j.seeds) for j in found] == [("batchmean", "holds", [3]), ("mean", "holds", [3])]
    for finding in found[0].findings:
        assert finding.interval.low < finding.interval.mean < finding.interval.high < 0
        assert finding.interval.mean == pytest.approx(-0.1, abs=0.03)


def test_a_planted_opposite_does_not_hold():
    found = judged(2, students=chapter("students", student_arm(none=0.65, rest=0.75)))
    assert {j.verdict for j in found} == {"does not hold"} and found[0].count("against") == 4


def test_one_arm_against_is_enough():
    found = judged(2, students=chapter("students", student_arm(none=0.65, rest=0.55, cutout=0.75)))
    assert found[0].verdict == "does not hold" and (found[0].count("for"), found[0].count("against")) == (3, 1)


def test_noise_is_undecided():
    found = judged(2, students=chapter("students")) + judged(1, teachers=chapter("teachers"))
    assert {j.verdict for j in found} == {"undecided"}


def test_the_two_forms_of_the_loss_are_told_apart():
    def accuracy(spec):
        if not isinstance(spec, Student):
            return LEVEL
        return student_arm(none=0.75 if spec.reduction == "mean" else 0.55, rest=0.65)(spec)

    found = judged(2, students=chapter("students", accuracy))
    assert [j.verdict for j in found] == ["does not hold", "holds"]


def test_the_spread_over_seeds_is_that_of_all_arms_whatever_the_claim():
    def intervals(claim, made):
        return [{f.effect.title: f.interval for f in case.findings} for case in judged(claim, students=made)]

    made = chapter("students", seeds=[0, 1])
    for two, four in zip(intervals(2, made), intervals(4, made), strict=True):
        assert len(two.keys() & four.keys()) == 2
        for title in two.keys() & four:  # equal but for float32, whose products round by the number of quantities
            assert two[title] == pytest.approx(four[title], abs=1e-6)
    without = [run for run in made if not (isinstance(run.spec, Student) and run.spec.seed == 1
                                           and run.spec.teacher.augmentations == ("cutout",))]  # fmt: skip
    for all_arms, fewer in zip(intervals(4, made), intervals(4, without), strict=True):
        for title, interval in fewer.items():  # the pool has an arm less, and the effect still has both seeds
            assert interval.n == 2 and interval.mean == all_arms[title].mean
            assert interval.high - interval.low != pytest.approx(all_arms[title].high - all_arms[title].low, rel=1e-3)


def test_effects_say_whose_images_are_augmented_and_where():
    titles = {claim.id: claim.effects[0].title for claim in claims.CLAIMS}
    assert titles[2] == titles[4] == "accuracy of LeNet students of augmented teachers: CutMix less the baseline"
    assert titles[7] == "accuracy of LeNet students augmented alone: CutMix less the baseline"
    assert titles[8] == "accuracy of LeNet students augmented like their teachers: CutMix less the baseline"
    assert titles[6] == "test loss of LeNet students of augmented teachers on MNIST: CutMix less the baseline"


def test_claims_on_teachers_are_judged_once():
    def accuracy(spec):
        return {(): 0.5, ("cutmix",): 0.9}.get(spec.augmentations, 0.7)

    (found,) = judged(1, teachers=chapter("teachers", accuracy))
    assert found.reduction is None and found.verdict == "holds"


def test_who_is_augmented_decides_which_runs_are_looked_at():
    def accuracy(spec):  # augmenting the student hurts, augmenting both helps
        if isinstance(spec, Teacher) or not spec.augmentations:
            return 0.7
        return 0.8 if spec.teacher.augmentations else 0.6

    made = chapter("ablation", accuracy)
    assert {j.verdict for j in judged(7, ablation=made)} == {"holds"}
    assert {j.verdict for j in judged(8, ablation=made)} == {"does not hold"}


def test_the_order_under_shift_is_a_rank_correlation():
    by_arm = dict(zip(ARMS, (0.5, 0.6, 0.7, 0.8, 0.9), strict=True))
    students = chapter("students", student_arm(**by_arm))
    teachers = chapter("teachers", lambda spec: by_arm[(spec.augmentations or ("none",))[0]])
    found = judged(5, teachers=teachers, students=students)
    assert {j.verdict for j in found} == {"holds"}
    assert found[0].findings[0].interval == (1, 1, 1, 3)


def test_the_latent_space_of_a_compressed_teacher():
    made = []
    for run in chapter("teachers"):
        made.append(made_up(run.spec, LEVEL, compactness=0.5 if run.spec.augmentations == ("cutmix",) else 1.0))
    (found,) = judged(13, teachers=made)
    assert found.verdict == "holds"
    (found,) = judged(13, teachers=chapter("teachers"))
    assert found.verdict == "undecided"


def test_calibration_over_roles_is_paired_by_seed():
    made = {
        "teachers": [made_up(run.spec, LEVEL, confidence=9.0) for run in chapter("teachers")],
        "students": [made_up(run.spec, LEVEL, confidence=3.4) for run in chapter("students")],
    }
    found = judged(12, **made)[0]
    smaller = next(f for f in found.findings if "mean of arms" in f.effect.title)
    assert smaller.says == "for" and found.verdict == "undecided"  # for arms do not differ


def test_with_one_seed_the_interval_is_over_images_and_says_so():
    found = judged(2, students=chapter("students", student_arm(none=0.8, rest=0.5), seeds=[1]))
    assert found[0].verdict == "holds" and found[0].seeds == [1]
    assert "there is one seed" in claims.verdict_table(found)
    assert claims.effect_table(found, 2).count("images alone") == 8


def test_with_one_seed_discrimination_has_no_interval():
    made = {name: chapter(name, seeds=[0]) for name in ("teachers", "students")}
    found = judged(10, **made)[0]
    assert all(np.isnan(f.interval.low) and f.says == "open" for f in found.findings)
    assert found.verdict == "undecided"
    assert "no interval" in claims.effect_table([found], 10)


# --- What is not there ---------------------------------------------------------------------------------------


def test_without_runs_thirteen_claims_are_not_run():
    found = claims.judge({})
    assert {j.verdict for j in found} == {"not run"} and {j.claim.id for j in found} == set(range(1, 14))
    table = claims.verdict_table(found)
    assert table.count("](0") == 13 and "Nothing has been run" in table


def test_a_missing_arm_is_named():
    made = chapter("students", student_arm(cutout=None))
    (found, _) = judged(2, students=made)
    assert found.verdict == "not run" and found.why_not == "no LeNet student for Cutout"


def test_only_seeds_that_every_arm_has_are_used():
    made = [
        run
        for run in chapter("students")
        if not (isinstance(run.spec, Student) and run.spec.seed == 1 and run.spec.teacher.augmentations == ("mixup",))
    ]
    assert judged(2, students=made)[0].seeds == [2]


def test_networks_with_fewer_seeds_leave_the_others_theirs():
    made = [run for run in chapter("students") if run.spec.model != "alexnet" or run.spec.seed == 0]
    found = judged(4, students=made)[0]
    assert [f.interval.n for f in found.findings] == [3, 3, 1, 1] and found.seeds == [1, 3]
    table = claims.verdict_table([found, *judged(4, students=made)[1:]])
    assert "| 1 / 3 |" in table and "where there is one seed, over the test images alone" in table


@pytest.mark.parametrize(
    ("claim", "dataset", "parts", "reason"),
    [
        (5, "cifar10", (), "no shifted test set"),
        (11, "cifar10", (), "people have not labelled"),
        (13, "digits", (), "no two semantic groups"),
    ],
)
def test_a_part_that_the_data_lack_is_not_run(claim, dataset, parts, reason):
    made = {name: chapter(name, dataset=dataset, parts=parts, seeds=[0]) for name in ("teachers", "students")}
    found = judged(claim, **made)
    assert {j.verdict for j in found} == {"not run"} and reason in found[0].why_not


def test_controls_are_not_taken_for_arms():
    def accuracy(spec):  # students of random teachers, and networks without one, would turn the verdict
        control = not isinstance(spec, Student) or spec.teacher.recipe.epochs == 0
        return 0.1 if control else student_arm(none=0.75, rest=0.65)(spec)

    assert {j.verdict for j in judged(2, students=chapter("students", accuracy))} == {"holds"}


def test_two_runs_of_one_place_and_unknown_chapters_are_refused():
    made = chapter("students", seeds=[0])
    first = next(run for run in made if isinstance(run.spec, Student) and run.spec.teacher.recipe.epochs)
    other = made_up(replace(first.spec, temperature=4.0), LEVEL)
    with pytest.raises(claims.ClaimError, match="of one arm and seed"):
        claims.judge({"students": [*made, other]})
    with pytest.raises(claims.ClaimError, match="'appendix'"):
        claims.judge({"appendix": made})


# --- The page ------------------------------------------------------------------------------------------------


def test_an_effect_links_to_the_runs_that_it_compares():
    made = {"teachers": chapter("teachers", seeds=[0, 1]), "students": chapter("students", seeds=[0, 1])}
    cases = [case for case in claims.judge(made) if case.claim.id == 2 and case.verdict != claims.NOT_RUN]
    assert [case.reduction for case in cases] == ["batchmean", "mean"]
    for case in cases:
        wanted = {
            (run.spec.teacher.augmentations, run.spec.seed): runs.mark(run.key)
            for run in made["students"]
            if isinstance(run.spec, Student) and run.spec.model == "lenet" and run.spec.reduction == case.reduction
            and run.spec.teacher.recipe.epochs
        }  # fmt: skip
        for finding in case.findings:
            arms = [() if arm == "none" else (arm,) for _, arm, _ in finding.effect.terms]
            assert finding.runs == tuple(f"{wanted[arm, 0]} {wanted[arm, 1]}" for arm in arms)
            for marks in finding.runs:
                assert tables.links(marks) in claims.effect_table(cases, 2)


def test_the_page_has_a_row_for_every_claim_and_a_table_of_its_effects():
    made = {name: chapter(name, seeds=[0, 1], dataset=None, parts=("shifted",)) for name in claims.CHAPTERS}
    found = claims.judge(made)
    table = claims.verdict_table(found)
    rows = [line for line in table.splitlines() if line.startswith("| ") and "](0" in line]
    assert len(rows) == 13 and all(claim.statement in row for claim, row in zip(claims.CLAIMS, rows, strict=True))
    assert [claim.id for claim, row in zip(claims.CLAIMS, rows, strict=True) if "not run" in row] == [11, 13]
    for claim in claims.CLAIMS:
        of = claims.effect_table(found, claim.id)
        assert all(effect.title in of for effect in claim.effects) and claim.rule in of
