"""Claims: what is declared, what an interval says, and verdicts on made-up runs whose truth is known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fakes import FakeRun, chapter

from kdlib.results import claims, contrasts, measures, paper
from kdlib.results.claims import CLAIMS, Effect, Finding
from kdlib.results.frame import frame

BY_ID = {claim.id: claim for claim in CLAIMS}
ALL = claims.ALL


def students_of(**by_augmentation):
    """Accuracy of students by their teacher's augmentation; of what is not named, and of controls, `rest`."""

    def accuracy(spec):
        of = getattr(spec, "teacher", None)
        if of is None or not of.recipe.epochs:
            return by_augmentation.get("rest", 0.7)
        return by_augmentation.get("+".join(of.augmentations) or "none", by_augmentation.get("rest", 0.7))

    return accuracy


def own_images(**by_augmentation):
    return lambda spec: by_augmentation.get("+".join(spec.augmentations) or "none", by_augmentation.get("rest", 0.7))


def made(name, accuracy=None, budget="", **options):
    options = {"seeds": (0, 1, 2)} | options
    return frame(chapter(name, accuracy, **options), budget)


def judged(claim, **frames):
    return claims.judge(frames, [BY_ID[claim]])


# --- What is declared ----------------------------------------------------------------------------------------


def test_there_are_thirteen_claims_with_a_rule_a_source_and_a_page_each():
    assert [claim.id for claim in CLAIMS] == list(range(1, 14))
    pages = {"01_teachers", "02_students", "03_ablation", "04_mnist", "05_dichotomy"}
    for claim in CLAIMS:
        assert claim.rule.endswith(".") and claim.statement.endswith(".") and claim.source and claim.page in pages
        assert len({effect.title for effect in claim.effects}) == len(claim.effects) > 0


SIDES = {
    1: "aaaaaaaa", 2: "bbbbb", 3: "bbbaa", 4: "bbbbbb", 5: "aaa", 6: "aaaww", 7: "bbbbb", 8: "bbbbb",
    9: "aaaaa" + 12 * "b", 10: "aaaaabb", 11: "ab", 12: "bbbbbbbbaa", 13: "bbbbbaaaa",
}  # fmt: skip


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: str(claim.id))
def test_the_side_of_every_effect(claim):
    assert "".join(effect.expected[0] for effect in claim.effects) == SIDES[claim.id]


@pytest.mark.parametrize("claim", [1, 2, 3, 4, 6, 7, 8, 9])
def test_the_papers_own_numbers_speak_for_its_plain_claims(claim):
    for effect in BY_ID[claim].effects:
        said = effect.says(effect.printed(), effect.printed())
        assert said == claims.FOR or (said == claims.NIL and abs(effect.printed()) < 0.005), effect.title


def says_of_itself(claim):
    """What the paper's own numbers say of a claim's effects that are no ranks, by title."""
    return {e.title: e.says(e.printed(), e.printed()) for e in BY_ID[claim].effects if not e.ranked}


def test_the_papers_own_numbers_speak_against_parts_of_claim_12_and_none_of_10():
    against = [title for title, says in says_of_itself(12).items() if says == claims.AGAINST and "mean of" not in title]
    assert len(against) == 2 and all("CutMix" in title for title in against)
    assert says_of_itself(10) and claims.AGAINST not in says_of_itself(10).values()


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: str(claim.id))
def test_the_papers_effects_are_computed_from_its_tables(claim):
    cells = paper.published().set_index(["table", "augmentation", "network", "test_set", "metric"])["value"]
    for effect in claim.effects:
        if effect.ranked or effect.columns[0].table is None:
            continue
        total = 0.0
        for weight, augmentation, column in effect.terms:
            set_of = {"shifted": "cinic10"}.get(column.split, "mnist" if column.chapter == "mnist" else "cifar10")
            total += weight * cells[column.table, augmentation, column.network, set_of, column.measure.printed]
        assert effect.printed() == pytest.approx(total)
        assert sum(weight for weight, _, _ in effect.terms) == pytest.approx(0)
    assert all(effect.printed() is None for effect in BY_ID[11].effects + BY_ID[13].effects)


def test_the_headline_is_the_mean_of_the_mixed_less_the_baseline():
    primary = BY_ID[4].effects[0]
    assert [(weight, one) for weight, one, _ in primary.terms] == [(0.5, "mixup"), (0.5, "cutmix"), (-1, "none")]
    assert {column.network for _, _, column in primary.terms} == {"lenet"}
    assert (
        primary.title == "accuracy of LeNet students of augmented teachers: mean of MixUp and CutMix less the baseline"
    )


# --- What an interval says -----------------------------------------------------------------------------------

COLUMN = claims.Column(measures.ACCURACY, "lenet", 1)
TERMS = ((1.0, "cutmix", COLUMN), (-1.0, "none", COLUMN))


@pytest.mark.parametrize(
    ("expected", "threshold", "low", "high", "says"),
    [
        ("above", 0, 0.1, 0.2, "for"),
        ("above", 0, -0.1, 0.2, "open"),
        ("above", 0, -0.2, -0.1, "against"),
        ("below", 0, -0.2, -0.1, "for"),
        ("below", 0, -0.2, 0.1, "open"),
        ("below", 0, 0.1, 0.2, "against"),
        ("above", 0, -0.004, 0.004, "nil"),  # half a point of accuracy is the bound
        ("below", 0, -0.004, -0.001, "nil"),
        ("below", 0, -0.006, -0.001, "for"),
        ("above", 0, -0.001, 0.006, "open"),
        ("within", 0.1, -0.05, 0.05, "for"),
        ("within", 0.1, -0.001, 0.001, "for"),
        ("within", 0.1, -0.05, 0.15, "open"),
        ("within", 0.1, 0.11, 0.15, "against"),
        ("within", 0.1, -0.15, -0.11, "against"),
        ("above", 0, np.nan, np.nan, "one seed"),
        ("below", 0, np.nan, np.nan, "one seed"),
        ("within", 0.1, np.nan, np.nan, "one seed"),
    ],
)
def test_what_an_interval_says(expected, threshold, low, high, says):
    assert Effect("an effect", expected, threshold, TERMS).says(low, high) == says


def test_each_measure_that_a_claim_compares_in_shares_of_images_has_a_bound():
    assert measures.ACCURACY.nil == measures.ECE.nil == 0.005
    without = replace(COLUMN, measure=measures.KL_OFF_DIAGONAL)
    assert Effect("e", "above", 0, ((1.0, "cutmix", without),)).says(-1e-9, 1e-9) == "open"


def test_holm_is_the_step_down_of_bonferroni():
    ps = [0.01, 0.04, 0.03, 0.005]
    np.testing.assert_allclose(claims.holm(ps), [0.03, 0.06, 0.06, 0.02])
    assert claims.holm([0.6, 0.9]) == [1.0, 1.0] and claims.holm([0.02]) == [0.02]


def finding(says, p=0.001, part="", expected="below"):
    estimate = {"for": -1.0, "against": 1.0}.get(says, 0.0)
    return Finding(Effect("e", expected, 0, TERMS, part=part), says, estimate, p=p)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (["for", "for"], "holds"),
        (["for", "open"], "undecided"),
        (["for", "nil"], "undecided"),
        (["against", "for"], "refuted"),
        (["for", "against"], "undecided"),  # the primary effect alone refutes
        (["nil", "for"], "no effect"),
        (["open", "against"], "undecided"),
        (["one seed", "for"], "can't be told"),
        (["for", "one seed"], "undecided"),
        (["for", "not testable here"], "undecided"),
        (["not testable here", "not testable here"], "not testable here"),
        (["not run", "for"], "not run"),
        (["for", "not run"], "undecided"),
    ],
)
def test_verdicts_by_what_the_effects_say(said, expected):
    assert claims.verdict([finding(one) for one in said]) == (expected, ())


def test_a_claim_holds_in_part_in_the_words_of_the_part():
    said = [("open", ""), ("for", "one"), ("for", "one"), ("for", "other"), ("nil", "other")]
    assert claims.verdict([finding(one, part=part) for one, part in said]) == ("holds in part", ("one",))
    whole = [("for", ""), ("for", "one"), ("for", "other")]
    assert claims.verdict([finding(one, part=part) for one, part in whole]) == ("holds", ("one", "other"))
    beside = [("for", "one"), ("not testable here", "other")]
    assert claims.verdict([finding(one, part=part) for one, part in beside]) == ("holds in part", ("one",))
    refuted = [("against", ""), ("for", "one")]
    assert claims.verdict([finding(one, part=part) for one, part in refuted]) == ("refuted", ("one",))


def test_the_primary_effect_refutes_only_after_holms_correction():
    def verdict(primary, *others):
        found = [finding("against", primary), *(finding("against" if p > 0 else "for", abs(p)) for p in others)]
        return claims.verdict(found)[0]

    assert verdict(0.04) == "refuted"
    assert verdict(0.04, 0.04) == "undecided"  # twice 0.04
    assert verdict(0.04, 0.001) == "refuted"  # stepped over the smaller one
    assert verdict(0.04, -0.001) == "undecided"  # what is for the claim makes it no easier


# --- Verdicts on runs ----------------------------------------------------------------------------------------


def test_a_planted_effect_holds_under_both_forms_of_the_loss():
    found = judged(2, students=made("students", students_of(none=0.8, rest=0.65)))
    assert [(j.loss, j.verdict, j.primary.n) for j in found] == [("batchmean", "holds", 3), ("mean", "holds", 3)]
    for one in found[0].findings:
        assert one.low < one.estimate < one.high < 0 and one.estimate == pytest.approx(-0.15, abs=0.04)
        assert one.excluded == (one.low > one.effect.printed() + 0.001 or one.high < one.effect.printed() - 0.001)


def test_a_planted_opposite_is_refuted():
    found = judged(2, students=made("students", students_of(none=0.6, rest=0.75)))
    assert {j.verdict for j in found} == {"refuted"} and {f.says for f in found[0].findings} == {"against"}
    assert all(f.excluded for f in found[0].findings)  # of the paper's sizes, which are below zero


def test_a_part_can_hold():
    found = judged(
        2, students=made("students", students_of(none=0.7, mixup=0.5, cutmix=0.5, cutout=0.85, crop_flip=0.85))
    )
    assert {j.verdict for j in found} == {"holds in part"}
    assert found[0].held == ("MixUp's and CutMix's teachers make it worse",)


def test_noise_is_undecided():
    found = judged(2, students=made("students")) + judged(1, teachers=made("teachers"))
    assert {j.verdict for j in found} == {"undecided"}


def test_what_is_alike_for_many_images_has_no_effect():
    rows = made("students", seeds=(0, 1), students=["lenet"])
    same = {}
    for run in rows["run"]:  # what students of one seed predict is the same, whoever taught them
        first = same.setdefault(run.spec.seed, run)
        run.metrics["test"], run.predictions = first.metrics["test"], first.predictions
    assert {j.verdict for j in judged(2, students=rows)} == {"no effect"}


def test_the_two_forms_of_the_loss_are_told_apart():
    def accuracy(spec):
        return students_of(none=0.85 if getattr(spec, "reduction", "") == "mean" else 0.5, rest=0.7)(spec)

    assert [j.verdict for j in judged(2, students=made("students", accuracy))] == ["refuted", "holds"]


def budgets(long, short):
    """Students of two lengths in one frame."""
    rows = [made("students", students_of(**long), "long", students=["lenet"])]
    for run in rows[0]["run"]:
        spec = replace(run.spec, recipe=replace(run.spec.recipe, epochs=12))
        rows.append(frame([FakeRun(spec, students_of(**short)(spec))], "short"))
    return pd.concat(rows, ignore_index=True)


def test_two_budgets_are_judged_side_by_side():
    rows = budgets({"none": 0.6, "rest": 0.75}, {"none": 0.85, "rest": 0.7})
    found = judged(2, students=rows)
    assert [(j.loss, j.budget, j.verdict) for j in found] == [
        ("batchmean", "long", "refuted"), ("batchmean", "short", "holds"),
        ("mean", "long", "refuted"), ("mean", "short", "holds"),
    ]  # fmt: skip
    (alone,) = judged(2, students=rows[rows["budget"] == "short"])[:1]
    kept = next(j for j in found if (j.loss, j.budget) == ("batchmean", "short"))
    assert alone == kept
    with pytest.raises(claims.ClaimError, match="2 sizes or lengths"):
        judged(2, students=rows.assign(budget=""))


def test_claims_on_teachers_are_judged_once_and_have_no_budget():
    teachers = made("teachers", own_images(none=0.5, cutmix=0.9, rest=0.7))
    (found,) = judged(1, teachers=teachers, students=made("students", budget="long", seeds=(0,)))
    assert (found.loss, found.budget, found.verdict) == ("", "", "holds")
    assert len(found.held) == 2


def test_who_is_augmented_decides_which_runs_are_looked_at():
    def accuracy(spec):  # augmenting the student hurts, augmenting both helps
        if not spec.augmentations or not hasattr(spec, "teacher"):
            return 0.7
        return 0.85 if spec.teacher.augmentations else 0.5

    rows = made("ablation", accuracy)
    assert {j.verdict for j in judged(7, ablation=rows)} == {"holds"}
    assert {j.verdict for j in judged(8, ablation=rows)} == {"refuted"}


def test_the_four_comparisons_of_the_headline():
    found = judged(4, students=made("students", students_of(mixup=0.55, cutmix=0.55, rest=0.75)))
    assert {j.verdict for j in found} == {"holds"}
    lenet_alone = made("students", students_of(mixup=0.55, cutmix=0.55, rest=0.75), students=["lenet"])
    found = judged(4, students=lenet_alone)
    assert {(j.verdict, j.held) for j in found} == {("holds in part", ("LeNet students are impaired",))}
    assert found[0].findings[1].says == "not run"


def test_alexnets_students_lie_on_two_sides():
    right = {"mixup": 0.5, "cutmix": 0.5, "none": 0.65, "rest": 0.85}
    assert {j.verdict for j in judged(3, students=made("students", students_of(**right)))} == {"holds"}
    wrong = {"mixup": 0.85, "cutmix": 0.85, "none": 0.65, "rest": 0.5}
    assert {j.verdict for j in judged(3, students=made("students", students_of(**wrong)))} == {"refuted"}


def test_an_order_of_five_is_told_and_not_tested():
    by_augmentation = dict(zip(ALL, (0.5, 0.6, 0.7, 0.8, 0.9), strict=True))
    frames = {
        "students": made("students", students_of(**by_augmentation)),
        "teachers": made("teachers", own_images(**by_augmentation)),
    }
    found = judged(5, **frames)
    assert {j.verdict for j in found} == {"not testable here"}
    assert [f.estimate for f in found[0].findings] == pytest.approx([1, 1, 1])
    reverse = frames | {
        "teachers": made("teachers", own_images(**dict(zip(ALL, (0.9, 0.8, 0.7, 0.6, 0.5), strict=True))))
    }
    ece = judged(12, **reverse)[0].findings[-2]
    taught = reverse["students"].query("network == 'lenet' and loss == 'batchmean' and not control")
    levels = [
        paper.levels(reverse["teachers"], [measures.ECE]).set_index("augmentation")["ours"],
        paper.levels(taught, [measures.ECE]).set_index("teacher_augmentation")["ours"],
    ]
    assert ece.says == "not testable here"
    assert ece.estimate == pytest.approx(levels[0][list(ALL)].corr(levels[1][list(ALL)], method="spearman"))


def test_mnist_ties_but_for_the_loss():
    def options(spec):
        of = getattr(spec, "teacher", spec)
        return {"confidence": 1.5 if of.augmentations else 4.0}

    found = judged(6, mnist=made("mnist", lambda spec: 0.95, dataset="mnist", options=options))
    assert [f.says for f in found[0].findings[:3]] == ["for"] * 3
    assert "the test loss is lowest for the baseline teacher" in found[0].held
    accuracies = {"mixup": 0.5, "cutmix": 0.5, "rest": 0.95}
    apart = judged(6, mnist=made("mnist", students_of(**accuracies), dataset="mnist"))[0]
    assert [f.says for f in apart.findings[3:]] == ["against"] * 2


def test_the_latent_space_of_a_compressed_teacher():
    def options(compact, rest):
        return lambda spec: {"compactness": compact if spec.augmentations == ("cutmix",) else rest}

    (found,) = judged(13, teachers=made("teachers", options=options(0.3, 1.0)))
    assert found.verdict == "holds"
    (found,) = judged(13, teachers=made("teachers", options=options(1.0, 0.3)))
    assert found.verdict == "refuted" and {f.says for f in found.findings} == {"against"}


def test_discrimination_of_compressed_embeddings():
    def options(baseline, rest):
        return lambda spec: {"compactness": baseline if not getattr(spec, "teacher", spec).augmentations else rest}

    frames = {"students": made("students", students=["lenet"], reductions=["mean"], seeds=(0,))}
    (_, found) = judged(10, teachers=made("teachers", options=options(1.5, 0.5)), **frames)
    assert found.verdict == "holds in part" and {f.says for f in found.findings[:5]} == {"for"}
    (_, found) = judged(10, teachers=made("teachers", options=options(0.5, 1.5)), **frames)
    assert found.verdict == "refuted"


def test_people_and_cutmix():
    """A teacher whose wrong answers are people's is nearer to them off the diagonal, and in their order."""

    def like_people(run, share):
        labels = run.predictions["test_labels"].astype(int)
        noise = np.random.default_rng(list(run.key.encode())).normal(0, 0.3, (len(labels), 10))
        wrong = np.eye(10)[(labels + (1 if share else 5)) % 10]
        run.predictions["test_logits"] = (5 * np.eye(10)[labels] + 2.5 * wrong + noise).astype(np.float16)
        return run

    runs = chapter("teachers", seeds=(0, 1, 2))
    for run in runs:
        like_people(run, run.spec.augmentations != ("cutmix",))
    (found,) = judged(11, teachers=frame(runs))
    assert found.findings[1].says == "for"
    runs = [like_people(run, run.spec.augmentations == ("cutmix",)) for run in chapter("teachers", seeds=(0, 1, 2))]
    (found,) = judged(11, teachers=frame(runs))
    assert found.findings[1].says == "against"


def test_calibration_of_small_and_large_networks_is_paired_by_seed():
    def options(confidence):
        return lambda spec: {"confidence": confidence}

    teachers, students = made("teachers", options=options(9.0)), made("students", options=options(3.0))
    small = next(
        f for f in judged(12, teachers=teachers, students=students)[0].findings if "mean of aug" in f.effect.title
    )
    levels = [paper.levels(rows, [measures.ECE]) for rows in (teachers, students)]
    of_lenet = levels[1].query("network == 'lenet' and loss == 'batchmean' and not control")
    assert small.says == "for" and small.estimate == pytest.approx(of_lenet["ours"].mean() - levels[0]["ours"].mean())
    swapped = judged(
        12, teachers=made("teachers", options=options(3.0)), students=made("students", options=options(9.0))
    )
    assert next(f for f in swapped[0].findings if "mean of aug" in f.effect.title).says == "against"


def test_from_one_seed_nothing_is_told():
    found = judged(2, students=made("students", students_of(none=0.8, rest=0.5), seeds=(1,)))
    assert {j.verdict for j in found} == {"can't be told"}
    for one in found[0].findings:
        assert one.says == "one seed" and one.excluded is None and one.estimate < -0.2

    def options(spec):
        return {"device": "a GPU" if getattr(spec, "teacher", spec).augmentations else "a CPU"}

    apart = judged(2, students=made("students", students_of(none=0.8, rest=0.5), seeds=(1,), options=options))
    assert {j.verdict for j in apart} == {"can't be told"}


def test_networks_with_fewer_seeds_leave_the_others_theirs():
    rows = made("students", students_of(mixup=0.55, cutmix=0.55, rest=0.75))
    rows = rows[(rows["network"] == "lenet") | (rows["seed"] == 0)]
    found = judged(4, students=rows)[0]
    assert [f.n for f in found.findings] == [3, 1, 3, 3, 1, 1]
    assert found.verdict == "holds in part" and found.held == ("LeNet students are impaired",)


def test_other_kinds_of_devices_leave_an_effect_open():
    def options(spec):
        of = getattr(spec, "teacher", None)
        return {"device": "a GPU" if of and of.augmentations == ("cutmix",) and spec.seed == 1 else "a CPU"}

    found = judged(2, students=made("students", students_of(none=0.8, rest=0.65), options=options))[0]
    said = {f.effect.title.rpartition(": ")[2]: f.says for f in found.findings}
    assert said["CutMix less the baseline"] == said["mean of all augmentations less the baseline"] == "open"
    assert said["MixUp less the baseline"] == "for"


def test_a_claim_prints_the_interval_of_every_other_page():
    rows = made("students")
    found = judged(2, students=rows)[0].findings[1]
    assert found.effect.title.endswith("CutMix less the baseline")
    same = contrasts.contrasts(rows, measures.ACCURACY)
    same = same[(same["network"] == "lenet") & (same["loss"] == "batchmean") & (same["who"] == "cutmix")].iloc[0]
    for name in ("estimate", "low", "high", "p", "n", "students"):
        assert same[name] == getattr(found, name)
    assert set(same["runs"].split()) == set(found.runs.split()) and len(found.runs.split()) == 6


# --- The paper's size ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(-0.04, -0.01, False), (-0.02, 0.01, True), (-0.0309, -0.0309, False), (-0.0301, -0.0200, False),
     (-0.0299, -0.0200, True), (-0.05, -0.0321, True), (np.nan, np.nan, None)],
)  # fmt: skip
def test_the_papers_size_is_excluded_with_all_that_its_digits_can_stand_for(low, high, expected):
    effect = Effect("e", "below", 0, TERMS)
    assert effect.printed() == pytest.approx(-0.031)
    row = {"low": low, "high": high, "dataset": "cifar10", "split": "test"}
    assert claims.excluded(effect, row) is expected
    assert claims.excluded(effect, row | {"dataset": "digits"}) is None


# --- What is not there ---------------------------------------------------------------------------------------


def test_without_runs_thirteen_claims_are_not_run():
    found = claims.judge({})
    assert {j.verdict for j in found} == {"not run"} and {j.claim.id for j in found} == set(range(1, 14))


def test_a_missing_augmentation_is_named():
    found = judged(2, students=made("students", students_of(cutout=None)))
    assert found[0].verdict == "not run" and found[0].primary.why_not == "no LeNet student with accuracy for Cutout"
    assert [f.says for f in found[0].findings].count("not run") == 2


def test_only_seeds_that_every_network_has_are_used():
    rows = made("students")
    without = rows[~((rows["seed"] == 1) & (rows["teacher_augmentation"] == "mixup"))]
    found = judged(2, students=without)[0]
    assert {f.effect.title.rpartition(": ")[2]: f.n for f in found.findings} == {
        "mean of all augmentations less the baseline": 2, "CutMix less the baseline": 3, "MixUp less the baseline": 2,
        "Cutout less the baseline": 3, "crop and flip less the baseline": 3,
    }  # fmt: skip


@pytest.mark.parametrize(("claim", "reason"), [(11, "with class KL"), (13, "with spread within classes")])
def test_a_part_that_the_data_lack_is_not_run(claim, reason):
    found = judged(claim, teachers=made("teachers", dataset="digits", seeds=(0,)))
    assert {j.verdict for j in found} == {"not run"} and reason in found[0].primary.why_not


def test_controls_are_not_taken_for_students():
    def accuracy(spec):  # students of random teachers, and networks without one, would turn the verdict
        of = getattr(spec, "teacher", None)
        return students_of(none=0.8, rest=0.65)(spec) if of and of.recipe.epochs else 0.1

    assert {j.verdict for j in judged(2, students=made("students", accuracy))} == {"holds"}


def test_two_runs_of_one_place_and_unknown_chapters_are_refused():
    rows = made("students", seeds=(0,))
    first = next(run for run in rows["run"] if hasattr(run.spec, "teacher") and run.spec.teacher.recipe.epochs)
    other = frame([FakeRun(replace(first.spec, temperature=4.0))])
    with pytest.raises(contrasts.ContrastError, match="differ in no augmentation and no seed"):
        judged(2, students=pd.concat([rows, other], ignore_index=True))
    with pytest.raises(claims.ClaimError, match="appendix"):
        claims.judge({"appendix": rows})


def test_tidy_has_a_row_an_effect_with_the_verdict_of_its_claim():
    found = claims.judge({"students": made("students", seeds=(0, 1))}, [BY_ID[2], BY_ID[4]])
    rows = claims.tidy(found)
    assert len(rows) == sum(len(j.findings) for j in found) and rows["primary"].sum() == 4
    first = rows.iloc[0]
    assert (first["claim"], first["loss"], first["verdict"]) == (2, "batchmean", found[0].verdict)
    assert first["paper"] == pytest.approx(BY_ID[2].effects[0].printed()) and first["low"] == found[0].primary.low
