"""The paper's numbers: complete and as printed; and ours beside them."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fakes import FakeRun, chapter

from kdlib import KdlibError, study
from kdlib.results import measures, paper
from kdlib.results.frame import frame
from kdlib.runs import mark

TRANSCRIPTION = Path(__file__).parent / "paper_transcription.csv"
COLUMNS = [*paper.KEYS, "value"]
CELLS = {1: 45, 2: 15, 3: 12, 4: 15, 5: 15, 6: 80, 7: 40, 8: 40, 9: 40}


# --- the file ---


def differences(ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """Cells whose printed text differs, and cells that only one side has (all values are text)."""
    for cells in (ours, theirs):
        assert list(cells.columns) == COLUMNS
        assert not cells.duplicated(list(paper.KEYS)).any()
    both = ours.merge(theirs, on=list(paper.KEYS), how="outer", suffixes=("_ours", "_theirs"), indicator=True)
    return both[(both["_merge"] != "both") | (both["value_ours"] != both["value_theirs"])]


def our_text():
    return paper.published().assign(table=lambda d: d["table"].astype(str), value=lambda d: d["printed"])[COLUMNS]


def test_every_cell_agrees_with_an_independent_transcription():
    theirs = pd.read_csv(TRANSCRIPTION, dtype=str, keep_default_na=False)
    theirs = theirs.rename(columns={"model": "augmentation", "role": "network"})
    found = differences(our_text(), theirs)
    assert found.empty, found.to_string()


def test_differences_sees_a_missing_an_extra_and_a_changed_cell():
    ours = our_text()
    assert differences(ours, ours).empty
    assert len(differences(ours, ours.drop(index=7))) == 1
    assert len(differences(ours.drop(index=7), ours)) == 1
    assert len(differences(ours, ours.replace({"value": {"0.474": "0.4740"}}))) == 1


@pytest.mark.parametrize("n", CELLS)
def test_a_table_has_every_cell(n):
    shown = paper.printed_table(n)
    assert shown.size == CELLS[n] and shown.notna().all(axis=None)
    assert sorted(shown.to_numpy().ravel()) == sorted(paper.published().query("table == @n")["printed"])


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("5,mixup,teacher,cifar10,cohesion,0.793\n", ""),
        lambda text: text + "5,mixup,teacher,cifar10,cohesion,0.793\n",
        lambda text: text + "5,mixup,lenet,cifar10,cohesion,0.793\n",
        lambda text: text.replace("0.793", "O.793"),
        lambda text: text.replace("metric", "measure", 1),
    ],
    ids=["missing", "doubled", "unknown", "not a number", "columns"],
)
def test_a_damaged_file_is_refused(damage):
    text = Path(paper.__file__).with_name("paper.csv").read_text(encoding="utf-8")
    with pytest.raises(paper.PaperError, match=r"paper\.csv"):
        paper._read(io.StringIO(damage(text)))


def test_load_hands_out_copies():
    cells = paper.published()
    cells["value"] = 0.0
    assert paper.value(1, "none", "teacher", "cifar10", "accuracy") == 0.852


def test_the_cells_are_where_the_paper_has_them():
    assert paper.printed_table(1).loc["mixup", ("lenet", "cifar10", "ece")] == "0.033"
    assert paper.printed_table(6).loc["cutout", ("alexnet", "cinic10", "f1")] == "0.540"
    assert list(paper.printed_table(3).index) == ["none", "mixup", "cutmix"]
    assert paper.value(3, "cutmix", "lenet", "mnist", "loss") == 0.107
    assert paper.half_a_digit(4) == 0.005


@pytest.mark.parametrize(
    "ask",
    [
        lambda: paper.printed_table(10),
        lambda: paper.value(11, "none", "teacher", "cifar10", "ece"),
        lambda: paper.value(5, "none", "lenet", "cifar10", "cohesion"),
        lambda: paper.value(3, "cutout", "lenet", "mnist", "loss"),
    ],
)
def test_what_the_paper_lacks_is_named_in_one_sentence(ask):
    with pytest.raises(KdlibError, match=r"^(The paper has no Table|Table \d has no \w+) [^.]+\.$"):
        ask()


# --- ours beside them ---


@pytest.fixture(scope="module")
def students():
    return frame(chapter("students", seeds=(0, 1)))


@pytest.fixture(scope="module")
def teachers():
    return frame(chapter("teachers", seeds=(0, 1)))


@pytest.fixture(scope="module")
def moved():
    return frame(chapter("ablation", seeds=(0,)))


def row(found, **labels):
    for name, value in labels.items():
        found = found[found[name] == value]
    assert len(found) == 1, f"{len(found)} rows for {labels}"
    return found.iloc[0]


def runs_of(rows, **labels):
    for name, value in labels.items():
        rows = rows[rows[name] == value]
    return list(rows["run"])


@pytest.mark.parametrize("n", CELLS)
def test_every_cell_of_the_paper_stands_in_its_table_once_a_form_of_the_loss(n, students, teachers, moved):
    rows = (
        frame(chapter("mnist", dataset="mnist", seeds=(0,)))
        if n == 3
        else (pd.concat([teachers, students, moved[~moved["mark"].isin(students["mark"])]]))
    )
    found = paper.beside_paper(rows, n)
    cells = paper.published().query("table == @n")
    of_one_form = found[(found["network"] == "teacher") | (found["loss"] == "mean")]
    of_one_form = of_one_form[~of_one_form["measure"].isin(["released_human_kl", "separability_predicted"])]
    theirs = of_one_form["printed"][of_one_form["printed"] != ""]
    assert sorted(theirs) == sorted(cells["printed"])
    assert (found["paper"].notna() == (found["printed"] != "")).all()


def test_ours_is_the_mean_over_the_seeds_and_the_seeds_stand_beside_it(students):
    found = row(
        paper.beside_paper(students, 1), network="lenet", measure="accuracy", augmentation="cutmix", loss="mean"
    )
    runs = runs_of(students, network="lenet", teacher_augmentation="cutmix", loss="mean")
    accuracies = [run.metrics["test"]["accuracy"] for run in runs]
    assert found["seeds"] == tuple(accuracies) and found["ours"] == pytest.approx(np.mean(accuracies))
    assert found["n"] == 2 and found["runs"].split() == list(students["mark"][students["run"].isin(runs)])
    assert found["printed"] == "0.621" and found["paper"] == 0.621
    assert found["difference"] == pytest.approx(np.mean(accuracies) - 0.621)


def test_a_student_is_found_by_whose_images_are_augmented(moved):
    s = study.settings("ablation", "paper", seeds=[0])
    places = {6: (("mixup",), ()), 7: ((), ("mixup",)), 8: (("mixup",), ("mixup",))}
    for n, (of, own) in places.items():
        found = row(
            paper.beside_paper(moved, n), network="lenet", test_set="CINIC-10", measure="f1", augmentation="mixup",
            loss="batchmean",
        )  # fmt: skip
        expected = FakeRun(study.student(s, "lenet", study.teacher(s, of, 0), "batchmean", own))
        assert found["ours"] == expected.metrics["shifted"]["f1"]


def test_controls_stand_beside_tables_1_to_4_under_each_form_of_the_loss(students):
    found = paper.beside_paper(students, 2)
    for form in ("batchmean", "mean"):
        alone = row(found, network="lenet", augmentation="alone", loss=form)
        (first, second) = runs_of(students, network="lenet", teacher_augmentation="alone")
        assert alone["seeds"] == (first.metrics["shifted"]["accuracy"], second.metrics["shifted"]["accuracy"])
        assert row(found, network="lenet", augmentation="random", loss=form)["n"] == 2
        assert np.isnan(alone["paper"]) and alone["printed"] == ""
    assert not set(paper.beside_paper(students, 6)["augmentation"]) & {"alone", "random"}


def test_the_order_is_the_papers_then_others_then_controls():
    rows = frame(chapter("students", seeds=(0,), augmentations=["cutmix", "crop_flip+cutmix", "none"]))
    found = paper.beside_paper(rows, 2)
    lines = list(dict.fromkeys(found["augmentation"]))
    assert lines == ["none", "crop_flip", "cutout", "mixup", "cutmix", "crop_flip+cutmix", "random", "alone"]
    assert list(dict.fromkeys(found["network"])) == ["lenet", "alexnet"]


def test_what_is_not_run_and_what_there_is_not_are_told_apart():
    rows = frame(chapter("students", seeds=(0,), students=["lenet"], augmentations=["none"], dataset="digits"))
    found = paper.beside_paper(rows, 1)
    assert row(found, network="lenet", augmentation="cutmix", measure="accuracy", loss="mean")["absent"] == "not run"
    human = row(found, network="lenet", augmentation="none", measure="human_kl", loss="mean")
    assert human["absent"] == "no such number"
    there = row(found, network="lenet", augmentation="none", measure="accuracy", loss="mean")
    assert there["absent"] == "" and there["paper"] == 0.652 and np.isnan(there["difference"])  # other data
    assert (found["absent"][found["network"] == "alexnet"] == "not run").all()


def test_no_runs_leave_the_paper_alone():
    found = paper.beside_paper(frame([]), 4)
    assert (found["absent"] == "not run").all() and len(found) == 30 and found["difference"].isna().all()


def test_measures_that_the_paper_does_not_print_stand_beside_nothing(teachers):
    found = paper.beside_paper(teachers, 5, measures.in_class_space("pairs"))
    assert len(found) == 15 and found["paper"].isna().all() and found["ours"].notna().all()


def test_two_settings_or_two_data_sets_in_one_table_are_refused(teachers):
    spec = teachers["run"].iloc[0].spec
    again = frame([FakeRun(replace(spec, recipe=replace(spec.recipe, peak_lr=0.3)))])
    with pytest.raises(paper.PaperError, match="same seeds"):
        paper.beside_paper(pd.concat([teachers, again]), 1)
    with pytest.raises(paper.PaperError, match="one data set"):
        paper.beside_paper(pd.concat([teachers, frame(chapter("teachers", seeds=(0,), dataset="mnist"))]), 1)


def test_two_budgets_stand_in_two_rows(students):
    shorter = [replace(run.spec, recipe=replace(run.spec.recipe, epochs=12)) for run in students["run"]]
    short = frame([FakeRun(spec, 0.8) for spec in shorter], budget="short")
    found = paper.beside_paper(pd.concat([students.assign(budget="long"), short]), 2)
    of = found[(found["network"] == "lenet") & (found["augmentation"] == "none") & (found["loss"] == "mean")]
    assert list(of["budget"]) == ["long", "short"] and of["ours"].iloc[1] > of["ours"].iloc[0]


def test_levels_average_students_of_several_teachers():
    s = study.settings("students", "paper", seeds=[0, 1])
    runs = [
        FakeRun(replace(study.student(s, "lenet", study.teacher(s, (), teacher), "mean"), seed=seed))
        for teacher in (0, 1)
        for seed in (3, 4, 5)
    ]
    (found,) = paper.levels(frame(runs[::-1]), [measures.ECE]).to_dict("records")
    assert found["n"] == 2 and found["seeds"] == tuple(run.metrics["test"]["ece"] for run in runs)
    assert found["ours"] == pytest.approx(np.mean(found["seeds"]))


def test_levels_are_of_the_runs_that_have_such_a_number():
    s = study.settings("students", "paper", seeds=[0, 1])
    specs = [replace(study.student(s, "lenet", study.teacher(s, (), 0), "mean"), seed=seed) for seed in range(3)]
    runs = [FakeRun(spec, slim=spec.seed > 0) for spec in specs]
    chosen = [measures.ACCURACY, measures.CONFIDENCE, measures.HUMAN_ORDER]
    accuracy, confidence, order = paper.levels(frame(runs), chosen).to_dict("records")
    assert len(accuracy["seeds"]) == 3 and len(accuracy["runs"].split()) == 3
    assert confidence["seeds"] == (measures.CONFIDENCE.value(runs[0]),) and confidence["runs"] == mark(runs[0].key)
    assert order["n"] == 1 and order["ours"] == order["seeds"][0]
    (none,) = paper.levels(frame(runs[1:]), [measures.CONFIDENCE]).to_dict("records")
    assert none["n"] == 0 and none["seeds"] == () and none["runs"] == "" and np.isnan(none["ours"])
