"""Tables: runs told apart, the paper's numbers beside ours, what is absent said, and Markdown that renders."""

import dataclasses
import html
import io
import re
import urllib.parse
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from IPython.core.formatters import DisplayFormatter

from kdlib import augment, metrics, paper, runs, stats, study, tables
from kdlib.runs import make

CLASSES = 10


def made(spec: runs.Spec, *, images: int = 200, people: bool = True, shifted: bool = True) -> SimpleNamespace:
    """A run as `runs.Run` shows it, with random predictions that its seed and key decide."""
    rng = np.random.default_rng(list(runs.key(spec).encode()))
    labels = np.arange(images) % CLASSES
    run = SimpleNamespace(spec=spec, key=runs.key(spec), metrics={}, predictions={})
    for part in ("test", "shifted") if shifted else ("test",):
        logits = (rng.normal(size=(images, CLASSES)) + 2 * np.eye(CLASSES)[labels]).astype(np.float16)
        run.predictions |= {f"{part}_logits": logits, f"{part}_labels": labels.astype(np.uint8)}
        run.metrics[part] = metrics.evaluate_logits(logits, labels)
    if people:
        votes = 0.9 * np.eye(CLASSES)[labels] + 0.1 / CLASSES
        scores, run.predictions["human_kl"] = make.beside_humans(run.predictions["test_logits"], votes, labels)
        run.metrics["human"] = scores
    features = rng.normal(size=(images, 16)) + 3 * np.eye(16)[labels]
    gram = metrics.class_gram(features, labels)
    run.predictions |= {"class_gram": gram.gram, "embedding_dim": np.int64(gram.dim)}
    order = np.concatenate([np.flatnonzero(labels == k) for k in runs.TSNE_CLASSES.get(spec.dataset, (0, 1, 2, 3))])
    run.latent = {"components": features[order].astype(np.float16), "labels": labels[order]}
    epochs = np.arange(1, spec.recipe.epochs + 1)
    run.history = pd.DataFrame(
        {"epoch": epochs, "lr": 0.1, "loss": 1 / epochs, "accuracy": epochs / (epochs + 1), "seconds": 1.0}
    )
    run.metrics["provenance"] = {
        "seconds": 1.0, "device": "a CPU", "commit": "abc", "shifted": "a sample" if shifted else None,
    }  # fmt: skip
    return run


def chapter(name: str, *, seeds=(0, 1, 2), dataset: str = "cifar10", **overrides) -> SimpleNamespace:
    """Settings and runs of a chapter as full-size settings have it, on made-up predictions."""
    settings = study.settings(name, "paper", seeds=list(seeds), dataset=dataset, **overrides)
    specs = study.teachers(settings) + study.CHAPTERS[name](settings)
    there = {"people": dataset == "cifar10", "shifted": dataset != "mnist"}
    found = {spec: made(spec, **there) for spec in dict.fromkeys(specs)}
    teachers = [found[spec] for spec in study.teachers(settings)]
    return SimpleNamespace(
        settings=settings, teachers=teachers, students=[run for run in found.values() if run not in teachers]
    )


@pytest.fixture(scope="module")
def full():
    return chapter("dichotomy")


@pytest.fixture(scope="module")
def moved():
    return chapter("ablation")


def row(frame: pd.DataFrame, **labels) -> pd.Series:
    chosen = frame
    for name, value in labels.items():
        chosen = chosen[chosen[name] == value]
    assert len(chosen) == 1, f"{len(chosen)} rows for {labels}"
    return chosen.iloc[0]


# ---------------------------------------------------------------- grouping


def test_students_are_told_apart_by_whose_images_are_augmented(moved):
    for place in ("teacher", "student", "both"):
        by_arm = tables.students_by_arm(moved.students, "lenet", "mean", place)
        assert list(by_arm) == ["none", "crop_flip", "cutout", "mixup", "cutmix"]
        for arm, group in by_arm.items():
            assert [run.spec.seed for run in group] == [0, 1, 2]
            for run in group:
                names = augment.parse(arm)
                assert run.spec.augmentations == (() if place == "teacher" else names)
                assert run.spec.teacher.augmentations == (() if place == "student" else names)
                assert run.spec.reduction == "mean"
    with pytest.raises(tables.TableError, match="teacher, student or both"):
        tables.students_by_arm(moved.students, "lenet", "mean", "neither")


def test_controls_are_no_arms(full):
    by_arm = tables.students_by_arm(full.students, "lenet", "batchmean")
    assert all(run.spec.teacher.recipe.epochs for group in by_arm.values() for run in group)
    found = tables.controls(full.students, "lenet", "batchmean")
    assert list(found) == ["random", "alone"]  # as the tables have them
    assert {run.spec.model for run in found["alone"]} == {"lenet"}
    assert {run.spec.teacher.recipe.epochs for run in found["random"]} == {0}


def test_runs_of_two_settings_are_not_averaged(full):
    run = next(run for run in full.students if isinstance(run.spec, runs.Distilled))
    other = made(dataclasses.replace(run.spec, temperature=5.0))
    with pytest.raises(tables.TableError, match="one setting"):
        tables.table6([*full.students, other], run.spec.model)


def test_data_sets_are_not_mixed(full):
    other = made(dataclasses.replace(full.teachers[0].spec, dataset="mnist", seed=9))
    with pytest.raises(tables.TableError, match="one data set"):
        tables.table9([*full.teachers, other])


# ---------------------------------------------------------------- numbers


def test_ours_is_the_mean_over_seeds_and_the_difference_is_from_the_papers(full):
    found = row(tables.table1_teachers(full.teachers), metric="accuracy", arm="cutmix")
    values = {}
    for run in full.teachers:
        values.setdefault(run.spec.augmentations, {})[run.spec.seed] = run.metrics["test"]["accuracy"]
    expected = stats.over_seeds_of_arms(values)["cutmix",]
    assert expected.mean == np.mean(list(values["cutmix",].values()))
    assert found["ours"] == pytest.approx(expected.mean) and found["n"] == 3 and found["over"] == tables.POOLED
    assert found["low"] == pytest.approx(expected.low) and found["high"] == pytest.approx(min(expected.high, 1))
    assert found["paper"] == paper.value(1, "cutmix", "teacher", "cifar10", "accuracy")
    assert found["difference"] == pytest.approx(expected.mean - found["paper"])


def test_losses_and_training_batches_have_each_arms_own_spread(full):
    by_arm = tables.teachers_by_arm(full.teachers)
    for measure in (tables.LOSS, tables.trained("accuracy")):
        for arm, found in tables.measure_arms(by_arm, measure, "test").items():
            expected = stats.over_seeds(measure.of_run(run, "test") for run in by_arm[arm])
            assert found["low"] == pytest.approx(max(expected.low, 0) if measure.bounded else expected.low)
            assert found["over"] == "seeds"
    text = tables.training_accuracy(full.teachers, "T.", "t")
    assert "test scores between 0 and 1 is pooled over arms with the same seeds; that of other numbers" in text
    alone = tables.controls(full.students, "lenet", "mean")["alone"]
    expected = stats.over_seeds(run.metrics["test"]["accuracy"] for run in alone)
    frame = tables.table1_students(full.students, "lenet")
    for form in ("batchmean", "mean"):  # one network, whichever column it stands in
        found = row(frame, metric="accuracy", arm="alone", variant=form)
        assert (found["low"], found["over"]) == (pytest.approx(max(expected.low, 0)), "seeds")
    assert "each one's own" not in tables.note(tables.table9(full.teachers))


def test_seeds_beside_one_seed_are_told_apart():
    assert "Of one seed, the interval is over test images." in tables.interval_note({tables.POOLED, "images"}, False)
    assert "not kept image by image has none" in tables.interval_note({"seeds", ""}, False)


def test_one_seed_has_an_interval_over_images_where_there_is_one():
    one = chapter("teachers", seeds=[0])
    frame = tables.table1_teachers(one.teachers)
    run = one.teachers[0]
    correct = run.predictions["test_logits"].argmax(1) == run.predictions["test_labels"]
    found = row(frame, metric="accuracy", arm="none")
    assert (found["low"], found["high"]) == tuple(stats.over_images(correct)[1:3]) and found["over"] == "images"
    found = row(frame, metric="KLD", arm="none")
    assert found["low"] < found["ours"] < found["high"]
    found = row(frame, metric="ECE", arm="none")
    assert np.isnan(found["low"]) and found["over"] == ""
    assert "one seed" in tables.note(frame) and "over n seeds" not in tables.note(frame)


def test_the_loss_of_an_image_averages_to_the_loss_of_the_run(full):
    run = full.teachers[0]
    assert tables.LOSS.of_images(run, "test").mean() == pytest.approx(run.metrics["test"]["nll"])


@pytest.mark.parametrize("n", range(1, 10))
def test_every_cell_of_the_paper_stands_beside_ours(n, full, moved):
    second = chapter("mnist", dataset="mnist", seeds=[0])
    make = {
        1: lambda: [
            tables.table1_teachers(full.teachers),
            *(tables.table1_students(full.students, m) for m in tables.networks(1, full.students)),
        ],
        2: lambda: [tables.table2_teachers(full.teachers), tables.table2_students(full.students)],
        3: lambda: [tables.table3_teachers(second.teachers), tables.table3_students(second.students, "lenet")],
        4: lambda: [tables.table4_teachers(full.teachers), tables.table4_students(full.students)],
        5: lambda: [tables.table5(full.teachers)],
        6: lambda: [tables.table6(full.students, m) for m in tables.networks(6, full.students)],
        7: lambda: [tables.table7(moved.students, "lenet")],
        8: lambda: [tables.table8(moved.students, "lenet")],
        9: lambda: [tables.table9(full.teachers)],
    }  # fmt: skip
    frames = pd.concat(make[n]())
    beside = frames[frames["printed"] != ""]
    assert (beside["absent"] == "").all() and beside["difference"].notna().all()
    published = paper.load().query("table == @n")
    assert set(beside["printed"]) == set(published["printed"])
    network = beside["network"].fillna("teacher") if "network" in beside else pd.Series("teacher", beside.index)
    named = beside.assign(role=network)[["role", "test_set", "metric", "arm", "printed"]].drop_duplicates()
    named = named[named["metric"] != tables.RELEASED_HUMAN_KL.label]  # a second number of ours beside the same cell
    assert len(named) == len(published)


def test_table_5_is_beside_the_paper_under_its_convention_only(full):
    frame = tables.table5(full.teachers, "pairs", "printed")
    assert (frame["printed"] == "").all() and set(frame["variant"]) == {"pairs", "printed"}
    assert "Paper" not in tables.render(frame, "C.", "t")
    ours = row(tables.table5(full.teachers), metric="adhesion", arm="none")["ours"]
    assert row(frame, metric="adhesion", arm="none", variant="pairs")["ours"] == pytest.approx(2 * ours)


def test_the_three_places_share_the_baseline(moved):
    frame = tables.ablation(moved.students, "lenet")
    for (_, _), rows in frame[frame["arm"] == "none"].groupby(["test_set", "loss"]):
        assert set(rows["variant"]) == {"teacher", "student", "both"} and rows["ours"].nunique() == 1


# ---------------------------------------------------------------- what is absent, and other data


def test_arms_of_the_paper_that_were_not_run_say_so():
    few = chapter("students", seeds=[0], augmentations=["none", "crop_flip+cutmix"], students=["lenet"])
    frame = tables.table1_students(few.students, "lenet")
    assert row(frame, metric="accuracy", arm="cutout", variant="mean")["absent"] == "not run"
    ours = row(frame, metric="accuracy", arm="crop_flip+cutmix", variant="mean")
    assert ours["absent"] == "" and ours["printed"] == "" and np.isnan(ours["difference"])
    assert "crop and flip + CutMix" in tables.render(frame, "C.", "t")
    missing = tables.table1_students(few.students, "alexnet")
    assert set(missing["absent"]) == {"not run"}
    assert "| not run |" in tables.render(missing, "C.", "t")


def test_nothing_run_at_all_still_shows_the_papers_numbers():
    text = tables.render(tables.table9([]), "C.", "t")
    assert "0.954" in text and "not run" in text


def test_other_data_are_marked_and_no_difference_is_formed():
    digits = chapter("teachers", seeds=[0], dataset="digits")
    frame = tables.table9(digits.teachers)
    assert frame["difference"].isna().all()
    text = tables.render(frame, "Teachers.", "tab-9")
    assert "Paper (CIFAR-10, CINIC-10)" in text
    assert "Ours are of digits and corrupted digits, the paper's of CIFAR-10 and CINIC-10" in text
    first = tables.table1_teachers(digits.teachers)
    assert row(first, metric="KLD", arm="none")["absent"] == "no human labels"
    assert "no human labels" in tables.note(first)
    assert "people" in tables.lacks(digits.teachers, "human")


def test_a_missing_test_set_is_said():
    plain = chapter("mnist", seeds=[0], dataset="mnist")
    assert set(tables.table2_teachers(plain.teachers)["absent"]) == {"no such test set", "not run"}


# ---------------------------------------------------------------- Markdown


def test_a_rendered_table_is_a_directive_with_even_rows(full):
    text = tables.render(tables.table1_students(full.students, "lenet"), "Students.", "tab-1-lenet")
    lines = text.strip().splitlines()
    assert lines[0].startswith(":::{table} Students. Ours: the mean over n seeds") and lines[1] == ":name: tab-1-lenet"
    assert lines[2] == "" and lines[-3:-1] == [":::", ""] and lines[-1].startswith('<p class="data">')
    cells = [line.count("|") for line in lines[3:-3]]
    assert len(set(cells)) == 1
    header = lines[3]
    assert "Ours, formula" in header and "Ours, released code" in header and header.count("Diff.") == 2
    assert sum("no teacher" in line for line in lines) == 4  # once a metric
    assert DisplayFormatter().format(text)[0] == {"text/markdown": text, "text/plain": "<Markdown>"}


def test_a_repeated_label_stands_once(full):
    text = tables.render(tables.table9(full.teachers), "T.", "t")
    assert len(re.findall(r"\| CINIC-10 \|", text)) == 1 and len(re.findall(r"\| F1 \|", text)) == 2


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(0.88, 0.92, "0.900 ± 0.020"), (0.85, 0.92, "0.900 [0.850, 0.920]"), (np.nan, np.nan, "0.900")],
)
def test_an_interval_as_text(low, high, text):
    cell = pd.Series({"ours": 0.9, "low": low, "high": high, "digits": 3, "absent": ""})
    assert tables.ours(cell).replace(tables.NO_BREAK, " ") == text


def test_an_interval_of_an_accuracy_stays_between_0_and_1(full):
    spread = [
        SimpleNamespace(key=f"a-s{seed}-b", spec=SimpleNamespace(seed=seed), metrics={"test": {"accuracy": value}})
        for seed, value in enumerate((0.1, 0.9))
    ]
    found = tables.measure_arms({"none": spread}, tables.ACCURACY, "test")["none"]
    assert (found["low"], found["high"]) == (0.0, 1.0)


def test_sentences_name_the_best_and_the_worst_arm(full):
    frame = tables.table1_teachers(full.teachers)
    means = frame[frame["metric"] == "accuracy"].set_index("arm")["ours"]
    text = tables.extremes(frame)
    assert f"{means.max():.3f}" in text and f"{means.min():.3f}" in text
    assert tables.extremes(tables.table1_students(full.students, "lenet")).count("highest") == 2
    assert "known" in tables.extremes(tables.table9([]))


@pytest.mark.parametrize(("half", "said"), [(0.02, True), (0.005, False), (np.nan, False)])
def test_sentences_say_where_the_best_and_the_worst_overlap(full, half, said):
    frame = tables.table2_teachers(full.teachers)
    frame = frame[frame["arm"].isin(["none", "mixup"])].assign(ours=[0.90, 0.93])
    frame = frame.assign(low=frame["ours"] - half, high=frame["ours"] + half)
    assert ("the two intervals overlap" in tables.extremes(frame)) == said
    assert "overlap" not in tables.extremes(frame[:1])


def test_the_edition_is_described(full):
    text = tables.about(full.settings, full.teachers + full.students)
    assert "CIFAR-10" in text and "seeds 0, 1 and 2" in text and "a sample" in text and "claims" not in text
    fewer = [run for run in full.students if run.spec.model == "lenet" or run.spec.seed == 0]
    text = tables.about(full.settings, fewer)
    assert "LeNet (seeds 0, 1 and 2)" in text and "AlexNet (seed 0), on CIFAR-10" in text
    demo = study.settings("teachers", "demo")
    assert "says nothing of the claims" in tables.about(demo, full.teachers)


def test_reduced_networks_are_called_so_and_full_ones_not(full):
    assert "reduced" not in tables.about(full.settings, full.teachers + full.students)
    cpu = study.settings("students", "cpu")
    teachers = [SimpleNamespace(spec=spec) for spec in study.teachers(cpu)]
    students = [SimpleNamespace(spec=spec) for spec in study.students(cpu)]
    text = tables.reduced(teachers + students)
    teachers_size = f"ResNet-18 of width {cpu.width('resnet18')} ({cpu.teacher_epochs} epochs, seeds 0 and 1)"
    assert f"reduced models**: {teachers_size}" in text
    assert f"AlexNet of width {cpu.width('alexnet')} ({cpu.student_epochs} epochs, seed 0). The paper's have" in text
    assert "LeNet" not in text and "AlexNet" not in tables.reduced(teachers)


def test_sizes_tell_each_networks_own_seeds():
    paper = study.settings("students", "paper")
    text = tables.sizes(SimpleNamespace(spec=spec) for spec in study.students(paper))
    assert text == "LeNet (60 epochs, seeds 0 and 1) and AlexNet of width 64 (60 epochs, seed 0)"


def test_further_tables(full):
    text = tables.recipes(full.teachers + full.students, "R.", "r")
    assert text.count("| AlexNet |") == 2 and "| labels |" in text  # as a student, and alone
    assert text.count("| LeNet | labels | – |") == 1 and text.count("| AlexNet | labels | 64 |") == 1
    text = tables.training_accuracy(full.teachers, "T.", "t")
    assert text.startswith(":::{table} T. Ours: the mean over n seeds") and text.count("\n| ") == 2 + 5
    text = tables.all_runs(full.students)
    frame = csv_of(text)
    assert len(frame) == len(full.students) and frame["shifted accuracy"].notna().all()
    images = frame["teacher's images"].fillna("")
    assert images.isin(["random", "", "none", "crop_flip", "cutout", "mixup", "cutmix"]).all()
    for run in full.students:
        assert f"| [{run.key}](run:{runs.mark(run.key)}) |" in text


# ---------------------------------------------------------------- the trace


def csv_of(text: str) -> pd.DataFrame:
    """What the link under a table gives."""
    address = html.unescape(re.search(r'download="[^"]+\.csv" href="data:text/csv;charset=utf-8,([^"]*)"', text)[1])
    return pd.read_csv(io.StringIO(urllib.parse.unquote(address)))


def test_a_row_links_to_the_runs_that_it_is_of(full):
    frame, gap = tables.table1_students(full.students, "lenet"), tables.NO_BREAK
    by_arm = {form: tables.students_by_arm(full.students, "lenet", form)["cutmix"] for form in ("batchmean", "mean")}
    one = [[f"[{run.spec.seed}](run:{runs.mark(run.key)})" for run in group] for group in by_arm.values()]
    forms = [f",{gap}".join(links) for links in one]
    lines = [line for line in tables.render(frame, "C.", "t").splitlines() if "| CutMix |" in line]
    assert len(lines) == 4 and all(line.endswith(f"| {f'{gap}/{gap}'.join(forms)} |") for line in lines)
    few = chapter("students", seeds=[0], augmentations=["none"], students=["lenet"])
    text = tables.render(tables.table1_students(few.students, "lenet"), "C.", "t")
    assert next(line for line in text.splitlines() if "| CutMix |" in line).endswith("| 0 | – |")


def test_the_csv_of_a_table_is_the_frame_to_ten_digits(full):
    frame = tables.table1_students(full.students, "lenet")
    kept = csv_of(tables.render(frame, "C.", "t"))
    expected = frame.drop(columns=["printed", "digits", "absent"])  # nothing is absent here
    assert list(kept) == list(expected)
    for column in ("paper", "ours", "low", "high", "difference", "n"):
        np.testing.assert_allclose(kept[column], expected[column], rtol=1e-9, atol=1e-9)
    for column in ("metric", "arm", "variant", "over", "runs"):
        assert kept[column].astype(object).fillna("").tolist() == expected[column].tolist()
    losses = csv_of(tables.training_accuracy(full.teachers, "T.", "t")).query("metric == 'loss' and of == 'test'")
    for arm, group in tables.teachers_by_arm(full.teachers).items():
        mean = stats.over_seeds(run.metrics["test"]["nll"] for run in group).mean
        assert row(losses, arm=arm)["ours"] == pytest.approx(mean, rel=1e-9)
    assert csv_of(tables.recipes(full.teachers, "R.", "r"))["Epochs"].tolist() == [full.settings.teacher_epochs]


def test_a_csv_link_holds_whatever_a_cell_does():
    data = pd.DataFrame({"a": ['q"uote, <b> & % # ± −', "two\nlines"], "b": [0.1 + 0.2, 1e-17]})
    pd.testing.assert_frame_equal(csv_of(tables.csv_link(data, "t")), data, rtol=1e-9)
    assert "\n" not in tables.csv_link(data, "t")


# ---------------------------------------------------------------- conventions, fidelity, sanity


def test_conventions_stand_side_by_side(full):
    frame = tables.human_kl(full.teachers)
    assert list(dict.fromkeys(frame["variant"])) == ["KLD", "KLD, model to people", "KLD, by class"]
    text = tables.render(frame, "H.", "h")
    assert "| Augmentation | KLD | KLD, model to people | KLD, by class | n | Runs |" in text
    of_cutmix = [run.metrics["human"]["model_human"] for run in tables.teachers_by_arm(full.teachers)["cutmix"]]
    assert row(frame, arm="cutmix", variant="KLD, model to people")["ours"] == pytest.approx(np.mean(of_cutmix))


def test_calibration_under_each_convention(full):
    frame = tables.calibration_of_students(full.students, "lenet")
    assert list(dict.fromkeys(frame["loss"])) == ["batchmean", "mean"]  # all of one loss, then all of the other
    group = tables.students_by_arm(full.students, "lenet", "mean")["mixup"]
    both = [(run.predictions["test_logits"], run.predictions["test_labels"]) for run in group]
    expected = {
        "ECE": [metrics.expected_calibration_error(metrics.softmax(z), y) for z, y in both],
        "ECE, [lo, hi)": [metrics.expected_calibration_error(metrics.softmax(z), y, edges="left") for z, y in both],
        "ECE, 10 bins": [metrics.expected_calibration_error(metrics.softmax(z), y, bins=10) for z, y in both],
        "ECE, equal mass": [metrics.adaptive_calibration_error(metrics.softmax(z), y) for z, y in both],
        "ECE, scaled": [metrics.temperature_scaling(z, y).ece_after for z, y in both],
        "temperature": [metrics.fit_temperature(z, y) for z, y in both],
    }
    for variant, values in expected.items():
        found = row(frame, arm="mixup", loss="mean", variant=variant)["ours"]
        assert found == pytest.approx(np.mean(values), abs=1e-6), variant
    assert set(tables.calibration_of_teachers(full.teachers)["variant"]) == set(expected)


def test_what_a_students_predictions_have_of_its_teachers(full):
    frame = tables.fidelity(full.students, full.teachers, "lenet", 20.0)
    named = {
        run.spec.seed: run.predictions["test_logits"].argmax(1) for run in full.teachers if not run.spec.augmentations
    }
    alike = [
        (run.predictions["test_logits"].argmax(1) == named[run.spec.seed]).mean()
        for run in tables.controls(full.students, "lenet", "mean")["alone"]
    ]
    assert row(frame, arm="alone", loss="mean", variant="agreement")["ours"] == pytest.approx(np.mean(alike))
    student = tables.students_by_arm(full.students, "lenet", "mean")["cutout"]
    of = {run.spec: run for run in full.teachers}
    same = [
        (run.predictions["test_logits"].argmax(1) == of[run.spec.teacher].predictions["test_logits"].argmax(1)).mean()
        for run in student
    ]
    assert row(frame, arm="cutout", loss="mean", variant="agreement")["ours"] == pytest.approx(np.mean(same))
    twins = [
        SimpleNamespace(**{**vars(run), "predictions": of[run.spec.teacher].predictions})
        for run in full.students if isinstance(run.spec, runs.Distilled) and run.spec.teacher in of
    ]  # fmt: skip
    frame = tables.fidelity(twins, full.teachers, "lenet", 20.0)
    assert (frame[frame["variant"] == "agreement"]["ours"] == 1).all()
    assert frame[frame["variant"] != "agreement"]["ours"].abs().max() < 1e-12
    entropy = row(tables.entropies(full.teachers, 1e6), arm="none", variant="entropy at temperature 1e+06")
    assert entropy["ours"] == pytest.approx(np.log(CLASSES), abs=1e-6)


def test_what_a_teacher_is_worth_is_paired_with_the_controls(full):
    frame = tables.worth(full.students, "lenet")
    by_arm = tables.students_by_arm(full.students, "lenet", "mean")
    alone = tables.controls(full.students, "lenet", "mean")["alone"]
    means = [np.mean([run.metrics["test"]["accuracy"] for run in group]) for group in (by_arm["mixup"], alone)]
    found = row(frame, arm="mixup", loss="mean", variant="less no teacher")
    assert found["ours"] == pytest.approx(means[0] - means[1]) and found["low"] < found["ours"] < found["high"]
    assert len(frame) == 2 * (5 + 1 + 5)  # two losses: arms and the random teacher's against none, arms against random
    text = tables.render(frame, "W.", "w")
    assert "over seeds and images" in text and text.count("| – |") == 2 and "not run" not in text
    words = tables.worth_in_words(frame.assign(low=[0.1] * 11 + [-0.2] * 11, high=[0.2] * 11 + [-0.1] * 11), "lenet")
    assert "5 are clearly above and 0 clearly below the network without a teacher; 5 are" in words.splitlines()[0]
    assert "0 are clearly above and 5 clearly below the student of a random teacher" in words.splitlines()[1]
    with pytest.raises(tables.TableError, match="expected both controls"):
        tables.worth([run for run in full.students if not tables.is_control(run)], "lenet")


def test_how_far_a_network_is_from_the_papers_is_said_where_the_data_are_the_same(full):
    frame = tables.table1_students(full.students, "lenet")
    apart = 100 * frame[(frame["metric"] == "accuracy") & (frame["variant"] == "mean")]["difference"].dropna()
    text = tables.levels(frame)
    assert f"{apart.min():+.1f} to {apart.max():+.1f} points under the released code's loss".replace("-", "−") in text
    assert text.count("LeNet students") == 1 and len(apart) == 5
    digits = chapter("students", dataset="digits", seeds=[0]).students
    assert tables.levels(tables.table1_students(digits, "lenet")) is None


def test_the_teachers_part_is_told_among_students_augmented_alike(moved):
    frame = tables.teachers_effect(moved.students, "lenet")
    places = {p: tables.students_by_arm(moved.students, "lenet", "mean", p) for p in ("teacher", "student", "both")}
    score = {
        (place, arm): np.mean([run.metrics["test"]["accuracy"] for run in runs_of_arm])
        for place, by_arm in places.items()
        for arm, runs_of_arm in by_arm.items()
    }
    for variant, first, second in (
        ("augmented alike", ("both", "mixup"), ("student", "mixup")),
        ("on plain images", ("teacher", "mixup"), ("teacher", "none")),
    ):
        found = row(frame, arm="mixup", loss="mean", variant=variant)
        assert found["ours"] == pytest.approx(score[first] - score[second]) and found["low"] < found["high"]
    assert len(frame) == 2 * 2 * 4 and "none" not in set(frame["arm"])
    below = (frame["variant"] == "augmented alike") & frame["arm"].isin(["mixup", "cutmix"])
    words = tables.teachers_effect_in_words(frame.assign(low=-0.2, high=np.where(below, -0.1, 0.1)), "lenet")
    expected = "on plain images neither clearly better nor worse; augmented alike clearly worse with MixUp and with C"
    assert expected in words
    assert tables.teachers_effect([], "lenet").empty
    few = [run for run in moved.students if run.spec.augmentations != ("mixup",)]
    assert set(tables.teachers_effect(few, "lenet")["arm"]) == {"crop_flip", "cutout", "cutmix"}


def test_what_augmentation_does_is_told_with_a_teacher_and_without(moved):
    frame = tables.augmentations_effect(moved.students, "lenet")
    alone = tables.without_teacher(moved.students, "lenet")
    taught = tables.students_by_arm(moved.students, "lenet", "mean", "student")

    def accuracy(by_arm, arm):
        return np.mean([run.metrics["test"]["accuracy"] for run in by_arm[arm]])

    for variant, expected in (
        ("augmentation, no teacher", accuracy(alone, "cutmix") - accuracy(alone, "none")),
        ("augmentation, taught", accuracy(taught, "cutmix") - accuracy(taught, "none")),
        ("student less no teacher", accuracy(taught, "cutmix") - accuracy(alone, "cutmix")),
    ):
        found = row(frame, arm="cutmix", loss="mean", variant=variant)
        assert found["ours"] == pytest.approx(expected) and found["low"] < found["ours"] < found["high"]
    assert len(frame) == 2 * (3 * 4 + 1)  # of plain images, what the teacher adds alone
    assert set(frame[frame["arm"] == "none"]["variant"]) == {"student less no teacher"}
    no_teacher = frame[frame["variant"] == "augmentation, no teacher"]
    for column in ("ours", "low", "high"):  # one network for both forms of the loss, and one interval
        assert no_teacher.groupby("arm")[column].nunique().max() == 1
    assert list(frame["variant"].unique())[-1] == "student less no teacher"
    few = [run for run in moved.students if run.spec.augmentations != ("mixup",)]
    assert "mixup" not in set(tables.augmentations_effect(few, "lenet")["arm"])
    taught_alone = [run for run in moved.students if isinstance(run.spec, runs.Distilled)]
    assert tables.augmentations_effect(taught_alone, "lenet").empty


def test_a_difference_that_both_forms_of_the_loss_have_is_counted_once(moved, monkeypatch):
    asked = []
    paired = tables.paired_accuracy
    monkeypatch.setattr(tables, "paired_accuracy", lambda *given: asked.append(given) or paired(*given))
    tables.augmentations_effect(moved.students, "lenet")
    ((groups, pairs),) = asked
    assert len(pairs) == 4 + 2 * (4 + 5) and len(groups) == 3 * 5


def test_nothing_is_called_clear_between_networks_of_different_machines(moved):
    alone = {run.key for group in tables.without_teacher(moved.students, "lenet").values() for run in group}
    elsewhere = []
    for run in moved.students:
        told = run.metrics["provenance"] | ({"device": "another CPU"} if run.key in alone else {})
        elsewhere.append(SimpleNamespace(**vars(run) | {"metrics": run.metrics | {"provenance": told}}))
    frame = tables.augmentations_effect(elsewhere, "lenet").assign(low=0.1, high=0.2)
    both = frame["devices"] == "a CPU and another CPU"
    assert set(frame[both]["variant"]) == {"student less no teacher"} and frame["one_device"].equals(~both)
    told = tables.augmentations_effect_in_words(frame, "lenet")
    assert "augmenting LeNet without a teacher makes it clearly better" in told
    assert "the student is" not in told
    assert "(a CPU and another CPU): *student less no teacher* (none (baseline), crop and flip," in told
    assert "*student less no teacher* (none (baseline), crop and flip," in told
    plain = frame.assign(one_device=~both | frame["arm"].eq("none"))
    told = tables.augmentations_effect_in_words(plain, "lenet")
    assert told.count("clearly better without augmentation, which is said of plain images only.") == 2
    same = tables.augmentations_effect(moved.students, "lenet")
    assert set(same["devices"]) == {"a CPU"}
    assert "machines" not in tables.augmentations_effect_in_words(same, "lenet")
    one = tables.augmentations_effect([run for run in moved.students if run.spec.seed == 0], "lenet")
    assert "differences of one seed" in tables.augmentations_effect_in_words(one, "lenet")
    assert "differences of one seed" not in tables.augmentations_effect_in_words(same, "lenet")


def test_two_pairs_are_the_difference_of_their_differences(moved):
    by_arm = tables.students_by_arm(moved.students, "lenet", "mean", "student")
    score = {arm: np.mean([run.metrics["test"]["accuracy"] for run in group]) for arm, group in by_arm.items()}
    pairs = [("cutmix", "none"), ("mixup", "cutout"), ("cutmix", "none", "mixup", "cutout"), ("mixup", "mixup")]
    first, second, both, nothing = tables.paired_accuracy(by_arm, pairs)
    assert first.mean == pytest.approx(score["cutmix"] - score["none"])
    assert second.mean == pytest.approx(score["mixup"] - score["cutout"])
    assert both.mean == pytest.approx(first.mean - second.mean) and both.low < both.mean < both.high
    assert nothing[:3] == (0, 0, 0)


def test_what_augmentation_does_is_told_in_words(moved):
    frame = tables.augmentations_effect(moved.students, "lenet")
    up = frame["variant"].eq("augmentation, no teacher") & frame["arm"].isin(["cutout", "cutmix"])
    down = frame["variant"].eq("student less no teacher") & frame["arm"].eq("none")
    frame = frame.assign(low=np.where(up, 0.1, -0.1), high=np.where(down, -0.05, 0.2))
    said = tables.augmentations_effect_in_words(frame, "lenet").splitlines()
    assert said[1] == (
        "- Under the released code's loss, augmenting LeNet without a teacher makes it clearly better with Cutout and "
        "with CutMix; augmenting a student of the baseline teacher makes it neither clearly better nor worse; beside "
        "the network without a teacher on images alike, the student is clearly worse without augmentation."
    )


def test_networks_without_a_teacher_are_scored_by_their_own_augmentation(moved):
    found = row(tables.untaught(moved.students, "lenet"), arm="cutout", test_set="CIFAR-10")
    group = tables.without_teacher(moved.students, "lenet")["cutout"]
    assert found["runs"] == tables.marks(group) and found["n"] == len(group) == 3
    assert found["ours"] == pytest.approx(np.mean([run.metrics["test"]["accuracy"] for run in group]))
    assert "Paper" not in tables.render(tables.untaught(moved.students, "lenet"), "C.", "c")


def test_a_control_without_a_teacher_is_on_plain_images(moved):
    (control,) = tables.controls(moved.students, "lenet", "mean").values()
    assert {run.spec.augmentations for run in control} == {()}


def test_what_weighting_classes_does_is_said_of_each_test_set(full):
    # Classes of one size weigh the same, whatever the average is called.
    text = tables.what_weights_do(full.teachers)
    assert text.count("less than 0.0001 on") == 2
    uneven = made(full.teachers[0].spec)
    for name in ("test_logits", "test_labels"):
        uneven.predictions[name] = uneven.predictions[name][:195]
    logits, labels = (uneven.predictions[name] for name in ("test_logits", "test_labels"))
    uneven.metrics["test"] = metrics.evaluate_logits(logits, labels)
    probs = metrics.softmax(logits)
    macro, weighted = (metrics.classification_report(probs, labels, average) for average in ("macro", "weighted"))
    moved = max(abs(macro[name] - weighted[name]) for name in ("precision", "f1"))
    (bound,) = re.findall(r"less than ([\d.]+) on CIFAR-10", tables.what_weights_do([uneven]))
    assert moved < float(bound) <= moved + 1e-4
    assert tables.what_weights_do([]) == "No teacher has been run."


def test_networks_are_held_against_what_is_known_of_their_like(full):
    text = tables.sanity(full.teachers, full.students, "S.", "s")
    lines = [line for line in text.splitlines() if line.startswith("| ResNet-18 teacher | crop and flip")]
    accuracies = [run.metrics["test"]["accuracy"] for run in tables.teachers_by_arm(full.teachers)["crop_flip"]]
    assert len(lines) == 1 and "at least 0.945" in lines[0] and f"{accuracies[0]:.4f}" in lines[0]
    assert "| 0 of 3 |" in lines[0]  # made-up predictions are not that good
    told = tables.listing(f"{accuracy:.4f}" for accuracy in accuracies)
    assert "Outside of what is expected: ResNet-18 teacher (none (baseline)) with" in text
    assert f"ResNet-18 teacher (crop and flip) with {told}, expected at least 0.945" in text
    assert text.count("| LeNet, formula |") == 5 and text.count("| LeNet, labels | no teacher |") == 1
    assert "random teacher" not in text
    run = full.teachers[0]
    good = SimpleNamespace(spec=run.spec, key=run.key, metrics={"test": {"accuracy": 0.88}})
    assert "| yes |" in tables.sanity([good], [], "S.", "s")
    assert "All of them are as expected." in tables.sanity([good], [], "S.", "s")
    assert tables.sanity(chapter("students", dataset="digits", seeds=(0,)).teachers, [], "S.", "s") is None


def test_how_far_students_went_is_that_of_their_logits_and_histories(full):
    frame = tables.restraint(full.students, "lenet")
    ours = {one: row(frame, arm="alone", loss="mean", variant=one)["ours"] for one in frame["variant"].unique()}
    alone = [one for one in full.students if isinstance(one.spec, runs.Supervised) and one.spec.model == "lenet"]
    logits = [one.predictions["test_logits"].astype(float) for one in alone]
    centred = [np.sqrt(((z - z.mean(1, keepdims=True)) ** 2).sum(1)).mean() for z in logits]
    assert ours["logits"] == pytest.approx(np.mean(centred))
    sure = [(np.exp(z).max(1) / np.exp(z).sum(1)).mean() for z in logits]
    assert ours["confidence"] == pytest.approx(np.mean(sure))
    epochs = alone[0].spec.recipe.epochs
    assert ours["training accuracy"] == pytest.approx(epochs / (epochs + 1))
    assert ours["test accuracy"] == pytest.approx(np.mean([one.metrics["test"]["accuracy"] for one in alone]))
    assert set(frame["arm"]) == {"none", "crop_flip", "cutout", "mixup", "cutmix", "random", "alone"}


def test_changes_are_told_beside_the_papers(moved):
    frame = tables.table7(moved.students, "lenet")
    frame = frame.assign(ours=frame["arm"].map({"none": 0.5, "crop_flip": 0.53}).fillna(0.49), paper=0.7)
    frame.loc[frame["arm"] == "mixup", "paper"] = 0.65
    first = tables.changes(frame).splitlines()[0]
    for loss in ("the formula's loss", "the released code's loss"):
        assert f"−1.0 to +3.0 points under {loss}" in first
    assert "; in the paper's table −5.0 to +0.0 points" in first and "LeNet students" in first
    assert "of one seed" not in first and "of one seed; in" in tables.changes(frame.assign(n=1)).splitlines()[0]
    assert tables.changes(frame[frame["arm"] == "none"]) == ""


def test_how_near_people_are_to_people_is_said_where_it_is_known(full, monkeypatch):
    monkeypatch.setattr(tables, "human_ceiling", {"cifar10": 0.12345}.get)
    assert "0.123 nats" in tables.people_among_themselves(full.teachers)
    assert tables.people_among_themselves(chapter("students", dataset="digits", seeds=(0,)).teachers) is None
