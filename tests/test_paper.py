"""The paper's numbers: complete, as printed, and with the contradictions that the book reports."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kdlib import KdlibError, paper

TRANSCRIPTION = Path(__file__).parent / "paper_transcription.csv"
COLUMNS = [*paper.KEYS, "value"]
CELLS = {1: 45, 2: 15, 3: 12, 4: 15, 5: 15, 6: 80, 7: 40, 8: 40, 9: 40}
HALF_DIGIT = 0.0005  # rounding of a number printed with three decimals


def metrics(n, **keys):
    """Table n with one column per metric, indexed by model, role and test set (or what `keys` leaves)."""
    cells = paper.load().query("table == @n")
    for key, wanted in keys.items():
        cells = cells[cells[key] == wanted]
    index = [k for k in ("model", "role", "test_set") if k not in keys]
    return cells.pivot(index=index, columns="metric", values="value")


# --- the file ---


def differences(ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """Cells whose printed text differs, and cells that only one side has (all values are text)."""
    for cells in (ours, theirs):
        assert list(cells.columns) == COLUMNS
        assert not cells.duplicated(list(paper.KEYS)).any()
    both = ours.merge(theirs, on=list(paper.KEYS), how="outer", suffixes=("_ours", "_theirs"), indicator=True)
    return both[(both["_merge"] != "both") | (both["value_ours"] != both["value_theirs"])]


def our_text():
    return paper.load().assign(table=lambda d: d["table"].astype(str), value=lambda d: d["printed"])[COLUMNS]


def test_every_cell_agrees_with_an_independent_transcription():
    theirs = pd.read_csv(TRANSCRIPTION, dtype=str, keep_default_na=False)
    found = differences(our_text(), theirs)
    assert found.empty, found.to_string()


def test_differences_sees_a_missing_an_extra_and_a_changed_cell():
    ours = our_text()
    assert differences(ours, ours).empty
    assert len(differences(ours, ours.drop(index=7))) == 1
    assert len(differences(ours.drop(index=7), ours)) == 1
    assert len(differences(ours, ours.replace({"value": {"0.474": "0.4740"}}))) == 1


def test_number_of_cells():
    assert paper.load()["table"].value_counts().to_dict() == CELLS


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
def test_a_damaged_file_is_refused(tmp_path, damage):
    text = Path(paper.__file__).with_name("paper.csv").read_text(encoding="utf-8")
    path = tmp_path / "paper.csv"
    path.write_text(damage(text), encoding="utf-8")
    with pytest.raises(paper.PaperError, match="paper.csv"):
        paper._read(path)


def test_load_hands_out_copies():
    cells = paper.load()
    cells["value"] = 0.0
    assert paper.value(1, "none", "teacher", "cifar10", "accuracy") == 0.852


# --- look-up and print ---


@pytest.mark.parametrize("n", CELLS)
def test_printed_table_has_every_cell(n):
    shown = paper.table(n)
    assert shown.size == CELLS[n] and shown.notna().all(axis=None)
    cells = paper.load().query("table == @n")
    assert sorted(shown.to_numpy().ravel()) == sorted(cells["printed"])
    assert paper.as_text(n).startswith(f"Table {n}. {paper.TITLES[n][:20]}")
    assert max(map(len, paper.as_text(n).splitlines())) <= 100


def test_labels_lead_to_the_right_cells():
    assert paper.table(1).loc["MIXUP", ("LENET STUDENT", "ECE")] == "0.033"
    assert paper.table(2).loc["CUTMIX", "ALEXNET-ACCURACY"] == "0.499"
    assert list(paper.table(3).index) == ["BASILINE", "MIXUP", "CUTMIX"]
    assert paper.table(4).loc["CUTOUT", "ALEXNET"] == "3.41"
    assert paper.table(6).loc[("Cut Out", "AlexNet", "CINIC"), "F1-Score"] == "0.540"
    assert paper.table(9).loc[("Cut Mix", "ResNet", "CINIC"), "Recall"] == "0.720"
    assert paper.value(3, "cutmix", "lenet", "mnist", "loss") == 0.107


@pytest.mark.parametrize(
    "ask",
    [
        lambda: paper.table(10),
        lambda: paper.as_text(0),
        lambda: paper.value(11, "none", "teacher", "cifar10", "ece"),
        lambda: paper.value(5, "none", "lenet", "cifar10", "cohesion"),
        lambda: paper.value(3, "cutout", "lenet", "mnist", "loss"),
    ],
)
def test_what_the_paper_lacks_is_named_in_one_sentence(ask):
    with pytest.raises(KdlibError, match=r"^(The paper has no Table|Table \d has no cell) [^.]+\.$"):
        ask()


# --- the numbers against themselves ---


def test_table_5_divides_by_the_root_of_ten():
    t = metrics(5, role="teacher", test_set="cifar10")
    gap = t["cohesion"] - t["adhesion"]
    error = (t["discrimination"] - gap / np.sqrt(10)).abs()
    tolerance = HALF_DIGIT + 2 * HALF_DIGIT / np.sqrt(10)
    assert set(error.index[error > tolerance]) == {"mixup"}
    assert (gap / np.sqrt(512)).between(0.03, 0.045).all()  # the width of ResNet-18's embeddings


def test_table_5_adhesion_is_half_the_mean_that_standardised_embeddings_have():
    t = metrics(5, role="teacher", test_set="cifar10")
    mean = -t["cohesion"] / 9
    assert set(t.index[(t["adhesion"] - mean / 2).abs() > 2 * HALF_DIGIT]) == {"mixup"}
    assert ((t["adhesion"] / mean) < 0.52).all()


def test_table_5_mixup_fits_a_cohesion_of_0_764():
    t = metrics(5, role="teacher", test_set="cifar10").loc["mixup"]
    assert t["cohesion"] == 0.793
    assert t["discrimination"] * np.sqrt(10) + t["adhesion"] == pytest.approx(0.764, abs=0.002)
    assert t["adhesion"] == pytest.approx(-0.764 / 18, abs=HALF_DIGIT)


def test_table_9_swaps_precision_and_f1_of_mixup_and_cutmix():
    t = metrics(9, role="teacher", test_set="cifar10")
    off = (t["precision"] - t["accuracy"]).abs() > 0.05
    assert set(t.index[off]) == {"mixup", "cutmix"}
    for metric in ("precision", "f1"):
        swapped = t[metric].rename({"mixup": "cutmix", "cutmix": "mixup"})
        assert (swapped - t["accuracy"]).abs().max() < 0.003


def test_two_f1_are_impossible():
    """With equally large classes, macro-F1 is at least 2a²/(1+a) at accuracy a.

    Let r be a class's recall and q its predictions over its size: F1 = 2r/(1+q) and the mean of q is 1.
    F1 is convex in q, so by Jensen, weighted with r ≤ 1, the mean of F1 is at least 2a/(1+1/a).
    """
    t = paper.load().query("table >= 6").pivot(index=list(paper.KEYS[:-1]), columns="metric", values="value")
    accuracy = t[["accuracy", "recall"]].min(axis=1) - HALF_DIGIT
    impossible = t[t["f1"] + HALF_DIGIT < 2 * accuracy**2 / (1 + accuracy)]
    assert impossible["f1"].to_dict() == {
        (6, "crop_flip", "lenet", "cifar10"): 0.474,
        (9, "cutmix", "teacher", "cifar10"): 0.868,  # the swap above
    }


def test_tables_2_and_9_disagree_on_the_teachers_under_shift():
    second = metrics(2, role="teacher", test_set="cinic10")["accuracy"]
    ninth = metrics(9, role="teacher", test_set="cinic10")["accuracy"]
    gap = (second - ninth).round(3)
    assert gap[gap > 0.002].to_dict() == {"crop_flip": 0.057, "mixup": 0.011, "cutmix": 0.006}
    assert gap.min() >= 0


def test_the_teachers_ece_leaves_no_room_for_overconfidence():
    """ECE = O + U, the bins' summed over- and underconfidence; O ≤ 1 - accuracy, as confidence ≤ 1.

    Mean confidence is accuracy + O - U. Where ECE exceeds 1 - accuracy some bins are underconfident;
    if all are, mean confidence is accuracy - ECE, and it is never above 2 - accuracy - ECE.
    """
    t = metrics(1, role="teacher", test_set="cifar10")
    assert (t["ece"] > 1 - t["accuracy"]).all()
    most = (2 - t["accuracy"] - t["ece"]).round(3)
    assert most["crop_flip"] == 0.805 and most["cutmix"] == 0.794
    assert set(most.index[most < t["accuracy"]]) == {"crop_flip", "cutmix"}
    assert (t["accuracy"] - t["ece"]).round(3)["crop_flip"] == 0.685


def test_tables_6_7_and_8_share_one_baseline_row():
    sixth, seventh, eighth = (metrics(n, model="none", role="lenet") for n in (6, 7, 8))
    assert sixth.equals(seventh) and sixth.equals(eighth)
