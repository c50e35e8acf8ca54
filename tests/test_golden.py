"""What pages have shown before, and the keys of published runs, as literals that no change of the code may move.

`golden/specs.json.gz` has the canonical JSON of every published run by its key. `golden/paper.json.gz` and
`golden/cpu.json.gz` have the CSV of every table of an edition, to ten digits, by chapter and table, from before runs
were measured into frames. Their means, differences, the paper's values, counts of seeds and runs are still those of
the tables of today. Their intervals are not: an arm's own mean has none any more, and those of differences come from
another engine. Left out are silhouettes in the plane of t-SNE, which differ between machines, the chapter on the paper
alone, whose cells compute what they show, and tables of settings.
"""

import functools
import gzip
import io
import json
import re
from pathlib import Path

import pandas as pd
import pytest

from kdlib import runs, study
from kdlib.report import editions, figures
from kdlib.report.tables import gathered, side_by_side
from kdlib.results import claims, measures
from kdlib.results.contrasts import contrasts
from kdlib.results.measures import ACCURACY, entropy, fidelity
from kdlib.results.names import LOSSES
from kdlib.results.names import test_set_name as name_of_test_set
from kdlib.results.paper import beside_paper, levels

GOLDEN = Path(__file__).parent / "golden"
DIGITS = 1e-9  # what is lost of numbers around 1 in ten digits
# Where the least of a function is: to the root of its rounding, which is another on each kind of processor.
FITTED = dict.fromkeys(("temperature", "ECE, scaled"), 1e-7)
PROFILES = ("paper", "cpu")
CHAPTERS = {"01_teachers": "teachers", "02_students": "students", "03_ablation": "ablation", "04_mnist": "mnist",
            "05_dichotomy": "dichotomy"}  # fmt: skip
# Layouts beside the paper's that a chapter shows.
SHOWN = {"teachers": ("human_kl", "training"), "students": ("restraint",), "dichotomy": ("calibration", "conventions")}
# What a number was called, where its measure has another title now.
CALLED = {
    "S_f true": "$S_f$", "S_f predicted": "$S_f$, classes by prediction", "test accuracy": "accuracy",
    "accuracy, training batches": "training accuracy", "loss, training batches": "training loss",
    "accuracy, test": "accuracy", "loss, test": "loss",
    **{f"{one.title} {convention}": f"{one.title}, {told}"
       for convention, told in (("pairs", "means over pairs"), ("printed", "as printed"))
       for one in measures.in_class_space()},
}  # fmt: skip


def fixture(name: str) -> dict:
    return json.loads(gzip.decompress((GOLDEN / f"{name}.json.gz").read_bytes()).decode("utf-8"))


SPECS = fixture("specs")


@pytest.mark.parametrize("key", SPECS)
def test_a_published_spec_keeps_its_json_and_its_key(key):
    spec = runs.from_canonical(SPECS[key])
    assert runs.canonical(spec) == SPECS[key]
    assert runs.key(spec) == key


@functools.cache
def golden(profile: str) -> dict[str, pd.DataFrame]:
    """The tables of an edition, the texts of missing cells as they are."""
    texts = ("runs", "arm", "variant", "metric", "loss", "by", "of", "effect")
    return {
        name: pd.read_csv(io.StringIO(text), keep_default_na=False, na_values={"": [""]} | dict.fromkeys(
            ("paper", "ours", "difference", "mean", "silhouette"), [""]), dtype=dict.fromkeys(texts, str))
        for name, text in fixture(profile).items()
    }  # fmt: skip


@functools.cache
def frames(profile: str, chapter: str) -> dict[str, pd.DataFrame]:
    """Teachers, students and both of a chapter, at the one length that there was."""
    settings = study.settings(chapter, profile, budgets=["long"])
    students = editions.ablation_rows if chapter == "ablation" else editions.student_rows
    own = {"teachers": editions.teacher_rows(settings, runs.stored), "students": students(settings, runs.stored)}
    return own | {"both": pd.concat(own.values(), ignore_index=True), "settings": settings}


def marks(text: str) -> frozenset[str]:
    return frozenset(text.split()) if isinstance(text, str) else frozenset()


# ---------------------------------------------------------------- levels


@functools.cache
def todays_levels(profile: str, chapter: str) -> dict[tuple, list[dict]]:
    """Every level that a chapter's frames give, by measure, test set, runs, and table of the paper (0 for none)."""
    of = frames(profile, chapter)
    found = {n: [beside_paper(of["both"], n)] for n in range(1, 10)}
    found[0] = [side_by_side(of["both"], layout) for layout in SHOWN.get(chapter, ())]
    temperature = of["settings"].temperature
    if chapter == "students":
        likeness = fidelity({run.spec: run for run in of["teachers"]["run"]}, temperature)
        found[0].append(side_by_side(of["teachers"], [entropy(), entropy(temperature)]))
        found[0].append(side_by_side(of["students"], likeness))
    found[0] += [levels(of["students"], [ACCURACY], split) for split in ("test", "shifted")]
    by_number: dict[tuple, list[dict]] = {}
    for n, tables in found.items():
        for row in pd.concat(tables, ignore_index=True).to_dict("records"):
            test_set = row["test_set"] if n else name_of_test_set(row["dataset"], row["split"])
            by_number.setdefault((row["title"], test_set, marks(row["runs"]), n), []).append(row)
    return by_number


def called(row: dict) -> str:
    """The title of a row's measure."""
    metric, variant = row.get("metric") or "", row.get("variant") or ""
    if "of" in row:
        metric = f"{metric}, {row['of']}"
    elif "by" in row:
        metric = f"{metric} {row['by']}"
    elif variant in ("pairs", "printed"):
        metric = f"{metric} {variant}"
    elif not metric or metric == "nan":
        metric = variant
    return CALLED.get(metric, metric)


LEVELS = [
    (profile, name)
    for profile in PROFILES
    for name in fixture(profile)
    if re.search(r"/tab-(\d|ablation-6|untaught|ece|entropies|fidelity|restraint|human-kl|training)", name)
    or name.endswith("/tab-ablation-lenet")
]


@pytest.mark.parametrize(("profile", "name"), LEVELS, ids=lambda value: value)
def test_a_level_is_what_it_was(profile, name):
    chapter, table = name.split("/")
    number = re.match(r"tab-(?:ablation-)?(\d)", table)
    n = int(number[1]) if number and "conventions" not in table else 0
    today = todays_levels(profile, CHAPTERS[chapter])
    compared = 0
    for row in golden(profile)[name].to_dict("records"):
        if not marks(row["runs"]):
            continue
        test_set = row.get("test_set") or name_of_test_set("cifar10", "test")  # of training accuracies it was not said
        same = today[called(row), test_set, marks(row["runs"]), n]
        row = {"paper": float("nan"), "difference": float("nan")} | row
        assert any(
            alike(one["ours"], row["ours"], FITTED.get(called(row), DIGITS))
            and one["n"] == row["n"]
            and (n == 0 or alike(one["paper"], row["paper"]) and alike(one["difference"], row["difference"]))
            for one in same
        ), row
        compared += 1
    assert compared >= 3


def alike(ours: float, theirs: float, digits: float = DIGITS) -> bool:
    return ours == pytest.approx(theirs, abs=digits, rel=digits, nan_ok=True)


# ---------------------------------------------------------------- differences


@functools.cache
def todays_differences(profile: str, chapter: str) -> dict[tuple, dict]:
    """Differences of accuracy by who is compared and the runs."""
    of = frames(profile, chapter)
    students = of["students"]
    found = [contrasts(students, ACCURACY), contrasts(students, ACCURACY, minus=["alone", "random"])]
    if chapter == "ablation":
        own = contrasts(students, ACCURACY, of="augmentation")
        alone = contrasts(students, ACCURACY, minus=["alone"])
        crossed = editions.crossed_rows(of["settings"], "ablation")
        found += [own, alone.assign(who=alone["augmentation"]), editions.on_top(crossed, ACCURACY)]
        found += [contrasts(students[students["control"]], ACCURACY, of="augmentation")]
    return {(row["who"], marks(row["runs"])): row for one in found for row in one.to_dict("records")}


DIFFERENCES = [
    (profile, name)
    for profile in PROFILES
    for name in fixture(profile)
    if re.search(r"/tab-(worth|teachers-part|without-teacher|crossed-effects)", name)
]


@pytest.mark.parametrize(("profile", "name"), DIFFERENCES, ids=lambda value: value)
def test_a_difference_is_what_it_was(profile, name):
    today = todays_differences(profile, CHAPTERS[name.partition("/")[0]])
    for row in golden(profile)[name].to_dict("records"):
        found = today[row["arm"], marks(row["runs"])]
        assert alike(found["estimate"], row["ours"]) and found["n"] == row["n"], row
        assert found["one_device"] == row["one_device"]


@functools.cache
def todays_effects(profile: str) -> dict[tuple, dict]:
    settings = {chapter: study.settings(chapter, profile, budgets=["long"]) for chapter in claims.CHAPTERS}
    made = {chapter: editions.OF_CHAPTER[chapter](own, runs.stored) for chapter, own in settings.items()}
    rows = claims.tidy(claims.judge(made)).to_dict("records")
    return {(row["claim"], row["loss"], row["effect"].replace("$", "")): row for row in rows}


@pytest.mark.parametrize("profile", PROFILES)
def test_an_effect_is_what_it_was(profile):
    today, compared = todays_effects(profile), 0
    for claim in range(1, 14):
        for row in golden(profile)[f"06_verdicts/tab-claim-{claim}"].to_dict("records"):
            loss = row["loss"] if row["loss"] in LOSSES else ""
            if found := today.get((claim, loss, row["effect"].replace("$", ""))):
                assert alike(found["estimate"], row["mean"]) and found["n"] == row["n"], row
                assert marks(found["runs"]) == marks(row["runs"])
                compared += 1
    assert compared > 100


@pytest.mark.parametrize("profile", PROFILES)
def test_silhouettes_in_the_embedding_are_what_they_were(profile):
    teachers = frames(profile, "dichotomy")["teachers"]
    today = figures.silhouettes(teachers, figures.latent_maps(teachers, seeds=()))
    was = golden(profile)["05_dichotomy/tab-silhouettes"]
    was = was[was["of"].str.endswith("embedding")]
    assert sorted(today["silhouette"]) == pytest.approx(sorted(was["silhouette"]), abs=1e-6)
    assert len(gathered(today, "silhouette")) == 2 * teachers["augmentation"].nunique()
