"""Two editions side by side: what they agree on is counted, and nothing of one stands under the other's name."""

import re
from dataclasses import replace

import pytest
import test_claims
from test_claims import LEVEL, chapter, student_arm

from kdlib import claims, editions, runs, study
from kdlib.editions import Edition

few_resamples = test_claims.few_resamples  # of the bootstrap, here too


def edition(profile, accuracy, chapters=("students",)):
    """An edition whose students are as accurate as `accuracy` says by their spec."""
    judgements = claims.judge({name: chapter(name, accuracy) for name in chapters})
    return Edition(study.settings("students", profile), judgements)


@pytest.fixture(scope="module")
def harmed():
    return edition("paper", student_arm(mixup=0.4, cutmix=0.4, crop_flip=0.5, cutout=0.5))


@pytest.fixture(scope="module")
def helped():
    return edition("cpu", student_arm(mixup=0.9, cutmix=0.9, crop_flip=0.9, cutout=0.9))


def counted(text):
    return [int(number) for number in re.findall(r"\b\d+\b", re.sub(r"claim \d+", "", text))]


def test_an_edition_agrees_with_itself_in_everything(harmed):
    verdicts, same, effects, speaking, alike, apart = counted(editions.agreement(harmed, harmed))
    assert verdicts == same > 0 and 0 < speaking == alike <= effects and apart == 0
    assert "none is the opposite" in editions.agreement(harmed, harmed)


def test_opposite_verdicts_are_named_with_their_loss(harmed, helped):
    text = editions.agreement(harmed, helped)
    for loss in ("formula", "released code"):
        assert f"claim 2 ({loss}) holds in `paper` and does not hold in `cpu`" in text
    turned = editions.agreement(helped, harmed)
    assert "claim 2 (formula) does not hold in `cpu` and holds in `paper`" in turned
    assert counted(text) == counted(turned) and counted(text)[-1] > 0


def test_a_verdict_that_one_edition_lacks_is_not_counted(harmed):
    """Only claims of MNIST are judged in one, none of them in the other."""
    mnist = edition("cpu", lambda spec: LEVEL, chapters=("mnist",))
    assert "no verdict in common" in editions.agreement(harmed, mnist)
    both = edition("cpu", lambda spec: LEVEL, chapters=("students", "mnist"))
    judged = sum(case.verdict != claims.NOT_RUN for case in harmed.judgements)
    assert counted(editions.agreement(harmed, both))[0] == judged


def test_each_verdict_stands_under_its_own_edition(harmed, helped):
    text = editions.table(harmed, helped)
    header, _, *rows = [line[2:-2].split(" | ") for line in text.splitlines() if line.startswith("|")]
    assert header[2:] == ["`paper`: formula", "`paper`: released code", "`cpu`: formula", "`cpu`: released code"]
    assert len(rows) == len(claims.CLAIMS) and {len(row) for row in rows} == {6}
    second = next(row for row in rows if "tab-claim-2>" in row[0])
    assert [cell.split("**")[1] for cell in second[2:]] == ["holds", "holds", "does not hold", "does not hold"]
    first = next(row for row in rows if "tab-claim-1>" in row[0])
    assert first[3] == first[5] == "no student"


def test_the_caption_tells_how_the_networks_differ(harmed, helped):
    for profile, one in (("paper", harmed), ("cpu", helped)):
        s = study.settings("students", profile)
        told = editions.networks(one)
        assert told in editions.table(harmed, helped) and told.startswith(f"`{profile}`: ResNet-18 of width ")
        assert f"width {s.width('resnet18')}, {s.teacher_epochs} epochs" in told
        assert f"LeNet of width 64, {s.student_epochs} epochs" in told


@pytest.fixture
def stored(monkeypatch):
    """The runs of the profile `cpu`, made up, are all that is stored; returns what was asked for."""
    made = {}
    for name in claims.CHAPTERS:
        specs = study.CHAPTERS[name](study.settings(name, "cpu"))
        made |= {runs.key(spec): spec for spec in specs}

    def found(specs):
        return [test_claims.made_up(spec, LEVEL) for spec in specs if runs.key(spec) in made]

    monkeypatch.setattr(runs, "stored", found)
    monkeypatch.setattr(runs, "ensure", None)  # nothing is trained


def test_the_other_edition_is_read_from_the_store(stored, harmed):
    other = editions.find_other(harmed.settings)
    assert other.settings.profile == "cpu"
    assert {case.verdict for case in other.judgements} >= {claims.UNDECIDED}
    assert "`cpu`: formula" in editions.beside_another(harmed)


@pytest.mark.parametrize("profile", ["cpu", "demo"])
def test_an_edition_is_not_beside_itself_or_other_data(stored, harmed, profile):
    own = replace(harmed, settings=study.settings("students", profile))
    assert editions.find_other(own.settings) is None
    assert "not stored" in editions.beside_another(own)
