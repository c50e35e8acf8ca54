"""What a page's runs are, and what has to be known of them; the other size, and arms crossed with crop and flip."""

import pytest
from fakes import FakeRun, chapter

from kdlib import runs, study
from kdlib.report import editions
from kdlib.results import claims
from kdlib.results.frame import frame
from kdlib.results.measures import ACCURACY


def settings_of(profile, **overrides):
    return {name: study.settings(name, profile, **overrides) for name in claims.CHAPTERS}


@pytest.fixture(scope="module")
def made_up():
    specs = {spec for name, own in settings_of("cpu").items() for spec in study.CHAPTERS[name](own)}
    return {spec: FakeRun(spec) for spec in specs}


@pytest.fixture
def store(made_up, monkeypatch):
    """All runs of the profile `cpu` are stored, made up, and nothing can be trained."""
    made = dict(made_up)
    monkeypatch.setattr(runs, "stored", lambda asked: [made[spec] for spec in asked if spec in made])
    monkeypatch.setattr(runs, "ensure", None)
    return made


def test_the_edition_of_another_size_is_read_from_the_store(store):
    own = editions.Edition(settings_of("paper"), {}, [])
    other = editions.another(own)
    assert other.profile == "cpu" and set(other.frames) == set(claims.CHAPTERS)
    assert {case.verdict for case in other.judgements} != {claims.NOT_RUN}
    assert editions.another(editions.Edition(settings_of("paper", device="cpu"), {}, [])) is not None


@pytest.mark.parametrize(
    ("profile", "overrides"),
    [("cpu", {}), ("demo", {}), ("paper", {"temperature": 4}), ("paper", {"dataset": "cifar10"})],
    ids=["not stored", "other data", "another temperature", "one data set for all"],
)
def test_an_edition_without_a_counterpart_stands_alone(store, profile, overrides):
    assert editions.another(editions.Edition(settings_of(profile, **overrides), {}, [])) is None


def test_an_edition_that_is_not_whole_is_not_compared(store):
    del store[next(iter(store))]
    assert editions.another(editions.Edition(settings_of("paper"), {}, [])) is None


def test_students_are_told_apart_by_their_budget():
    asked = []

    def source(specs):
        asked.extend(specs)
        return [FakeRun(spec) for spec in specs]

    settings = study.settings("students", "paper", budgets=["chosen", "long"], students=["lenet"])
    found = editions.student_rows(settings, source)
    assert set(found["budget"]) >= {"long"} and len(asked) == len(found) == len(study.students(settings))
    for budget, of in study.OF_BUDGET.items():
        assert set(found.loc[found["budget"] == budget, "mark"]) == {runs.mark(runs.key(spec)) for spec in of(settings)}


def crossing(monkeypatch, accuracy):
    made = {}

    def stored(specs):
        return [made.setdefault(spec, FakeRun(spec, accuracy(spec))) for spec in specs]

    monkeypatch.setattr(runs, "stored", stored)
    monkeypatch.setattr(runs, "ensure", None)
    own = study.settings("ablation", "paper", seeds=[0, 1])
    return editions.crossed_rows(own, "ablation")


def test_augmentations_stand_alone_and_on_top_of_crop_and_flip(monkeypatch):
    """Crop and flip raise all by 0.2, and halve what MixUp does."""

    def accuracy(spec):
        of = getattr(spec, "teacher", spec).augmentations
        level = 0.5 + 0.2 * ("crop_flip" in of) + 0.1 * ("mixup" in of)
        return level - 0.05 * ({"crop_flip", "mixup"} <= set(of))

    rows = crossing(monkeypatch, accuracy)
    assert not rows["control"].any() and {"teacher", "student"} == {
        "student" if loss else "teacher" for loss in rows["loss"]
    }
    found = editions.on_top(rows, ACCURACY)
    assert set(found["who"]) == {"cutout", "mixup", "cutmix"} and len(found) == 3 * 3 * 3  # teachers, two losses
    mixup = found[found["who"] == "mixup"].groupby("contrast", sort=False)["estimate"].mean()
    assert list(mixup) == pytest.approx([0.1, 0.05, -0.05], abs=0.04)
    assert "LeNet" in editions.about_crossed(rows)


def test_crossed_runs_that_are_not_stored_are_not_trained(monkeypatch):
    monkeypatch.setattr(runs, "stored", lambda specs: [])
    rows = editions.crossed_rows(study.settings("ablation", "paper"), "ablation")
    assert rows.empty and "no such runs" in editions.about_crossed(rows) and editions.on_top(rows, ACCURACY).empty


def test_a_page_says_what_it_was_made_with():
    made = frame(chapter("students", seeds=(0, 1)), "long")
    text = editions.about(study.settings("students", "paper"), made)
    assert "LeNet (60 epochs, seeds 0 and 1)" in text and "reduced models" not in text and f"{len(made)} runs" in text
    assert "classes alone" not in text
    kept = frame(chapter("students", seeds=(0, 1), options=lambda spec: {"slim": spec.seed == 1}), "long")
    text = editions.about(study.settings("students", "paper"), kept)
    assert f"Of {(kept['seed'] == 1).sum()} of these the predicted classes alone are kept" in text
    narrow = frame([FakeRun(spec) for spec in study.teachers(study.settings("teachers", "cpu"))])
    text = editions.about(study.settings("teachers", "cpu"), narrow)
    assert "**These are reduced models**: ResNet-18 of width 16" in text
    demo = study.settings("teachers", "demo")
    assert "says nothing of the claims" in editions.about(demo, frame([FakeRun(s) for s in study.teachers(demo)]))


def test_people_are_compared_with_people_where_they_were_asked(monkeypatch):
    asked = frame(chapter("teachers", seeds=[0]))
    monkeypatch.setattr(runs, "people_apart", lambda dataset: 0.1234)
    assert "0.123 nats" in editions.people(asked)
    monkeypatch.setattr(runs, "people_apart", lambda dataset: None)
    assert editions.people(asked) is editions.unasked(asked) is None
    digits = frame(chapter("teachers", seeds=[0], dataset="digits"))
    assert "is not known" in editions.people(digits) and editions.people(digits) == editions.unasked(digits)


def test_a_change_is_told_of_where_all_its_students_are_stored(monkeypatch):
    changes = ["epochs=1", "epochs=2"]
    settings = study.settings("why", "demo", changes=changes)
    all_of = {change: study.changed_students(settings, change) for change in ("", *changes)}
    lacking = set()
    monkeypatch.setattr(
        editions.runs, "stored", lambda specs: [FakeRun(spec, people=False) for spec in specs if spec not in lacking]
    )
    assert list(editions.stored_changes(settings)["budget"].unique()) == ["", *changes]
    lacking.add(all_of["epochs=2"][0])
    rows = editions.stored_changes(settings)
    assert list(rows["budget"].unique()) == ["", "epochs=1"] and len(rows) == 2 * len(all_of[""])
    lacking.add(all_of[""][0])
    assert editions.stored_changes(settings).empty
    lacking.update(*all_of.values())
    assert editions.stored_changes(settings).empty
