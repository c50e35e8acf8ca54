"""Tables made of tidy frames: the right number in the right cell, marks where they belong, and links to the runs."""

import urllib.parse
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fakes import FakeRun, chapter

from kdlib import study
from kdlib.report import editions, tables
from kdlib.report.markdown import NO_BREAK, Markdown, csv_link, interval
from kdlib.results.contrasts import contrasts
from kdlib.results.frame import frame
from kdlib.results.measures import ACCURACY, ECE
from kdlib.results.paper import beside_paper, levels
from kdlib.runs import is_taught


@pytest.fixture(scope="module")
def students():
    """MixUp's students are better than all others by far."""
    return frame(chapter("students", lambda spec: 0.9 if "mixup" in str(spec) else 0.6, seeds=(0, 1)), "long")


@pytest.fixture(scope="module")
def teachers():
    return frame(chapter("teachers", seeds=(0, 1)))


def cells(table):
    """Header, and rows with the labels that a row shares with the one above."""
    header, _, *rows = [line[2:-2].split(" | ") for line in table.splitlines() if line.startswith("|")]
    before = [""] * len(header)
    for row in rows:
        row[:] = [new or old if i < 4 and "Runs" in header else new
                  for i, (new, old) in enumerate(zip(row, before, strict=True))]  # fmt: skip
        before = row
    return header, rows


def test_a_level_stands_beside_the_paper_with_its_seeds(teachers):
    table = tables.show(beside_paper(teachers, table=1), "Teachers.", "tab-1")
    header, rows = cells(table)
    assert header == ["Measure", "Augmentation", "Paper", "Ours", "Difference", "n", "Runs"]
    found = {(row[0], row[1]): row for row in rows}["accuracy", "MixUp"]
    runs = teachers.query("augmentation == 'mixup'")["run"]
    values = [ACCURACY.value(run) for run in runs]
    assert found[2] == "0.868" and found[5] == "2"
    assert found[3] == f"{np.mean(values):.3f} [{values[0]:.3f}, {values[1]:.3f}]{{.seeds}}"
    assert float(found[4].replace("−", "-")) == pytest.approx(np.mean(values) - 0.868, abs=6e-4)
    assert [f"(run:{mark})" in found[6] for mark in teachers.query("augmentation == 'mixup'")["mark"]] == [True, True]
    assert "After a mean: its seeds." in table and "95 %" not in table


def test_more_than_three_seeds_are_a_range():
    rows = levels(frame(chapter("teachers", seeds=range(4), augmentations=["none"])), [ACCURACY])
    table = tables.show(rows, "Teachers.", "tab-x")
    least, most = min(rows["seeds"][0]), max(rows["seeds"][0])
    assert f"[{interval(least, most)}]{{.seeds}}" in table and "the range of more than three" in table


def test_forms_of_the_loss_stand_side_by_side_and_controls_under_each(students):
    header, rows = cells(tables.show(beside_paper(students, table=2), "Students.", "tab-2"))
    assert header[:6] == ["Network", "Augmentation", "Paper", "Ours, formula", "Diff.", "Ours, released code"]
    alone = [row for row in rows if row[1] == "no teacher"]
    assert len(alone) == 2 and all(row[3] == row[5] != "–" and row[2] == "–" for row in alone)


def test_budgets_stand_side_by_side_where_there_are_two_and_what_was_not_run_has_no_column(students):
    both = pd.concat([students, students.assign(budget="chosen")], ignore_index=True)
    four = ["Formula, long", "Formula, chosen", "Released code, long", "Released code, chosen"]
    header, _ = cells(tables.show(contrasts(both, ACCURACY), "Both.", "tab-x"))
    assert [one for one in header if one in four] == four and "Budget" not in header
    header, _ = cells(tables.show(beside_paper(both, table=1), "Both.", "tab-x"))
    assert [one for one in header if "urs" in one] == [f"Ours, {one[0].lower()}{one[1:]}" for one in four]
    three = both[(both["budget"] == "long") | (both["loss"] != "mean")]
    header, _ = cells(tables.show(beside_paper(three, table=1), "Three.", "tab-x"))
    assert "Ours, formula, chosen" in header and "Ours, released code, chosen" not in header
    header, _ = cells(tables.show(contrasts(students, ACCURACY), "One.", "tab-x"))
    assert "Formula" in header and "Budget" not in header


def test_a_contrast_that_is_clear_is_bold_and_one_between_machines_is_grey(students):
    found = contrasts(students, ACCURACY)
    table = tables.show(found, "Less.", "tab-x")
    mixup = next(row for row in cells(table)[1] if row[1] == "MixUp")
    row = found.query("who == 'mixup' and loss == 'batchmean'").iloc[0]
    assert row["clear"] and mixup[2].startswith(f"**+{row['estimate']:.3f}** [{interval(row['low'], row['high'])}]")
    assert "**bold** if that is clear of zero" in table and "Grey" not in table
    table = tables.show(found.assign(one_device=False, clear=False), "Less.", "tab-x")
    assert f"[+{row['estimate']:.3f}]{{.grey}}" in table and "[Grey]{.grey}: between networks from different" in table
    assert "**+" not in table


def test_one_seed_has_no_interval():
    table = tables.show(contrasts(frame(chapter("teachers", seeds=[0])), ACCURACY, of="augmentation"), "Less.", "tab-x")
    assert "Without an interval: one seed" in table and "{.seeds}" not in table and "**+" not in table


def test_counts_are_one_where_all_agree_and_else_one_a_column():
    four, eight, single = (SimpleNamespace(n=n, students=s) for n, s in ((2, 4), (2, 8), (1, 1)))
    rows = ([four, None, four], [eight, single, four, single], [four, None, single], [None])
    shown = [tables.counts(row).replace(NO_BREAK, " ") for row in rows]
    assert shown == ["2 × 4", "2 × 8 / 1 × 1 / 2 × 4 / 1 × 1", "2 × 4 / – / 1 × 1", "–"]


def test_what_a_contrast_is_less_stands_side_by_side(students):
    header, rows = cells(tables.show(contrasts(students, ACCURACY, minus=["alone", "random"]), "Worth.", "tab-x"))
    assert header[3:5] == ["Less no teacher", "Less random teacher"]
    assert next(row for row in rows if row[2] == "random teacher")[4] == "–"


def test_measures_stand_side_by_side(students):
    found = tables.side_by_side(students, "restraint")
    header, rows = cells(tables.show(found, "Restraint.", "tab-x", "measure"))
    assert header[3:7] == ["Training accuracy", "Accuracy", "Confidence", "Logits"]
    assert len(rows) == 2 * 2 * 7  # networks, losses, five augmentations and two controls


def test_whose_images_are_augmented_stands_side_by_side():
    made = frame(chapter("ablation", lambda spec: 0.9 if spec.augmentations else 0.6, seeds=[0]), "long")
    header, rows = cells(tables.show(tables.places(made, [ACCURACY]), "Places.", "tab-x", "place"))
    assert header[2:5] == ["Teacher's", "Student's", "Both"]
    cutmix = next(row for row in rows if row[1] == "CutMix")
    assert float(cutmix[2]) < 0.75 < float(cutmix[3])


def test_what_nobody_has_is_left_out_and_what_is_absent_is_said():
    digits = frame(chapter("teachers", seeds=[0], dataset="digits"))
    assert set(tables.side_by_side(digits, "human_kl")["measure"]) == set()
    table = tables.show(beside_paper(digits, table=1), "Digits.", "tab-1")
    assert "no such number" in table and "Ours are of digits, the paper's of CIFAR-10" in table
    few = frame(chapter("teachers", lambda spec: None if "cutmix" in str(spec) else 0.7, seeds=[0]))
    rows = cells(tables.show(beside_paper(few, 2), "Few.", "tab-2"))[1]
    assert next(row for row in rows if "CutMix" in row)[2] == "not run"


def test_nothing_to_show_is_said():
    assert tables.show(pd.DataFrame(), "What a teacher is worth.", "tab-x") == "*What a teacher is worth: not run.*"


def test_a_measure_has_the_digits_that_the_paper_gives_it():
    made = frame(chapter("mnist", seeds=[0], dataset="mnist"))
    table = tables.show(beside_paper(made[made["loss"] == ""].query("not control"), 3), "MNIST.", "tab-3")
    accuracies = [row[3] for row in cells(table)[1] if row[0] == "accuracy"]
    assert "| 0.9958 |" in table and [len(text.partition(".")[2]) for text in accuracies] == [4, 4, 4]


def test_any_frame_is_shown_as_it_is():
    some = pd.DataFrame({"x": [0.5, -0.25], "fits": [True, False]}, index=["none", "mixup"])
    rows = cells(tables.show(some, "Some.", "tab-x"))[1]
    assert rows == [["none (baseline)", "0.500", "yes"], ["MixUp", "−0.250", "no"]]


def test_numbers_behind_a_figure_become_levels():
    numbers = pd.DataFrame({"augmentation": "none", "of": ["a", "a", "b"], "value": [0.1, 0.3, 0.5], "runs": "s0-1"})
    found = tables.gathered(numbers, "value")
    assert list(found["ours"]) == [0.2, 0.5] and list(found["n"]) == [1, 1] and found["seeds"][0] == (0.1, 0.3)
    assert tables.OF_EACH in tables.show(found, "Some.", "tab-x", "of")
    of_planes = tables.gathered(numbers.assign(space="t-SNE"), "value")
    assert tables.OF_MAPS in tables.show(of_planes, "Some.", "tab-x", ["of", "space"])


def test_the_csv_has_every_number_to_ten_digits(teachers):
    found = beside_paper(teachers, table=2)
    table = tables.show(found, "Teachers.", "tab-2")
    address = table.partition('href="')[2].partition('"')[0]
    text = urllib.parse.unquote(address.replace("&amp;", "&"))
    for value in found["ours"]:
        assert f"{value:.10g}" in text
    assert "title" not in text and 'download="tab-2.csv"' in table


def test_a_csv_stays_within_its_address():
    assert '"' not in csv_link(pd.DataFrame({"a": ['<"&%'], "b": ["ü"]}), "x").partition('href="')[2].partition('">')[0]


def test_markdown_is_kept_once():
    assert Markdown("x")._repr_mimebundle_() == {"text/markdown": "x"}


# ---------------------------------------------------------------- tables of runs


def test_recipes_have_a_line_for_each_kind_of_training(students):
    header, rows = cells(tables.recipes(students, "Training.", "tab-x"))
    assert [row[:2] for row in rows] == [
        ["LeNet", "labels and teacher"], ["LeNet", "labels"], ["AlexNet", "labels and teacher"], ["AlexNet", "labels"],
    ]  # fmt: skip


def test_sanity_is_loud_where_a_network_is_outside_of_what_is_expected():
    spec = study.teacher(study.settings("teachers", "paper"), ("crop_flip",), 0)
    sound, poor = (frame([FakeRun(replace(spec, seed=i), level)]) for i, level in enumerate((0.97, 0.5)))
    for rows, inside in ((sound, True), (poor, False)):
        value = ACCURACY.value(rows["run"][0])
        table = tables.sanity(rows, "Sound.", "tab-x")
        assert ("Outside of what is expected" in table) != inside and f"{value:.4f}" in table
        assert ("**0 of 1**" in table) != inside
        assert "Expected is what the baselines of [airbench](" in table


def inside_of(table):
    """How many networks lie inside of what is expected, and of how many, over all lines."""
    header, lines = cells(table)
    shares = [line[header.index("Inside")].strip("*").split(" of ") for line in lines]
    return tuple(sum(map(int, column)) for column in zip(*shares, strict=True))


@pytest.mark.parametrize("name", editions.OF_CHAPTER)
def test_every_network_of_the_demo_edition_that_has_not_learned_is_told(name):
    for accuracy in (0.99, 0.5):
        made = lambda specs: [FakeRun(spec, accuracy, shifted=False) for spec in specs]  # noqa: B023, E731
        rows = editions.OF_CHAPTER[name](study.settings(name), made)
        table = tables.sanity(rows, "Sound.", "tab-x")
        random = (rows["loss"] != "") & ~rows["run"].map(lambda run: is_taught(run.spec))
        assert inside_of(table) == (sum(~random) * (accuracy == 0.99), sum(~random))
        told = table.partition("Outside of what is expected")[2]
        assert told.count("](run:") == sum(~random) * (accuracy == 0.5)


def test_who_is_outside_is_named_by_whose_images_are_augmented():
    of_one = lambda spec: 0.3 if getattr(spec, "teacher", None) and spec.augmentations == ("mixup",) else 0.7  # noqa: E731
    rows = frame(chapter("ablation", of_one, seeds=[0], augmentations=["none", "mixup"]))
    table = tables.sanity(rows, "Sound.", "tab-x")
    ((header, (line,)), told) = cells(table), table.partition("**Outside of what is expected**: ")[2]
    assert line[:3] == ["LeNet", "each", "0.60 to 0.75"] and line[header.index("Inside")].startswith("**")
    assert len(told.split("; ")) == 4 and "LeNet, formula (none (baseline), own images: MixUp) with 0." in told
    assert "(MixUp, own images: MixUp)" in told and "no teacher" not in told
    accuracies = [ACCURACY.value(run) for run in rows["run"]]
    assert line[header.index("Found")] == f"{min(accuracies):.4f} to {max(accuracies):.4f}"
    assert all(mark in table for mark in rows["mark"])  # in the CSV
    poor = {mark for mark, accuracy in zip(rows["mark"], accuracies, strict=True) if accuracy < 0.6}
    assert len(poor) == 4 and all(f"](run:{mark})" in told for mark in poor)


def test_nothing_is_expected_of_narrow_networks_nor_of_students_of_random_teachers(students):
    narrow = study.teacher(study.settings("teachers", "cpu"), ("crop_flip",), 0)
    assert tables.sanity(frame([FakeRun(narrow)]), "Sound.", "tab-x") is None
    random = students["teacher_augmentation"] == "random"
    assert tables.sanity(students[random], "Sound.", "tab-x") is None
    small = students["network"] == "lenet"
    assert inside_of(tables.sanity(students, "Sound.", "tab-x"))[1] == sum(small & ~random)


def test_every_run_is_listed_with_its_record(students):
    table = tables.every_run(students)
    header, rows = cells(table)
    assert len(rows) == len(students) and header[:2] == ["run", "teacher's images"]
    for row, run, mark in zip(rows, students["run"], students["mark"], strict=True):
        assert row[0] == f"[{run.key}](run:{mark})" and row[header.index("ECE")] == f"{ECE.value(run):.4f}"


def test_a_row_of_many_runs_names_them_in_the_csv_alone(students):
    few = tables.show(contrasts(students, ACCURACY), "Few.", "tab-x")
    assert few.count("](run:") > 20 and "named in the CSV" not in few
    made = frame(chapter("students", seeds=range(5), students=["lenet"]), "long")
    many = tables.show(contrasts(made, ACCURACY), "Many.", "tab-x")
    assert "| 20 runs |" in many and "](run:" not in many
    assert "[The runs of a row are named in the CSV.]{.screen}" in many


def test_changes_of_the_gap_have_a_line_each_with_what_they_do_and_their_share():
    found = pd.DataFrame({
        "who": ["", "epochs=12", "epochs=12+temperature=4"], "less": ["", "", "epochs=12"],
        "gap": [0.001, -0.02, -0.03],
        "gap_low": [-0.01, -0.03, -0.04], "gap_high": [0.012, -0.01, -0.02], "estimate": [np.nan, -0.021, -0.01],
        "low": [np.nan, -0.03, -0.02], "high": [np.nan, -0.012, 0.004], "clear": [False, True, False],
        "one_device": True, "share": [np.nan, 0.84, 0.4], "says": ["", "makes the gap", "open"], "n": 2, "students": 2,
        "digits": 3, "title": "accuracy", "split": "test", "runs": ["s0-00000000", "s1-00000001", "s2-00000002"],
        "network": "lenet",
    })  # fmt: skip
    text = tables.changes_of_gap(found, "Gaps.", "tab-why").replace(NO_BREAK, " ")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert lines[2][:6] == ["as it is", "–", "+0.001 [−0.010 to 0.012]{.seeds}", "–", "–", "–"]
    assert lines[3][:3] == ["epochs 12", "as it is", "−0.020 [−0.030 to −0.010]{.seeds}"]
    assert lines[3][3:7] == ["**−0.021** [−0.030 to −0.012]{.seeds}", "84 %", "makes the gap", "2 × 2"]
    assert lines[4][:2] == ["epochs 12, temperature 4", "epochs 12"] and lines[4][5] == "open"
    assert "After a difference" in text and "Without an interval" not in text
    both = tables.changes_of_gap(pd.concat([found, found.assign(network="alexnet")]), "Gaps.", "tab-why")
    assert "| LeNet, epochs 12 | as it is |" in both and "| AlexNet, epochs 12 | as it is |" in both
