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
    made = {name: chapter(name, accuracy) for name in chapters}
    return Edition(settings_of(profile), made, claims.judge(made))


def settings_of(profile, **overrides):
    return {name: study.settings(name, profile, **overrides) for name in claims.CHAPTERS}


@pytest.fixture(scope="module")
def harmed():
    return edition("paper", student_arm(mixup=0.4, cutmix=0.4, crop_flip=0.5, cutout=0.5))


@pytest.fixture(scope="module")
def helped():
    return edition("cpu", student_arm(mixup=0.9, cutmix=0.9, crop_flip=0.9, cutout=0.9))


def counted(text):
    return [int(number) for number in re.findall(r"\b\d+\b", re.sub(r"claim \d+", "", text))]


def test_an_edition_agrees_with_itself_in_everything(harmed):
    text = editions.agreement(harmed, harmed)
    effects, clear, alike, apart, in_one, in_neither, verdicts, same, *of_each, opposite = counted(text)
    assert verdicts == same == sum(of_each) > 0 and 0 < clear == alike <= effects
    assert apart == in_one == opposite == 0 and clear + in_neither == effects
    assert "*holds*: " in text and "\n" not in text


def test_opposite_verdicts_are_named_with_their_loss(harmed, helped):
    text = editions.agreement(harmed, helped)
    for loss in ("formula", "released code"):
        assert f"- claim 2 ({loss}): *holds* in `paper`, *does not hold* in `cpu`" in text
    turned = editions.agreement(helped, harmed)
    assert "- claim 2 (formula): *does not hold* in `cpu`, *holds* in `paper`" in turned
    assert counted(text) == counted(turned)
    effects, clear, alike, apart, in_one, in_neither, verdicts, same, *_, opposite = counted(text)
    assert apart > 0 and opposite > 0 and clear + in_one + in_neither == effects
    assert text.count("\n- claim") == verdicts - same >= opposite


def test_a_verdict_that_is_decided_in_one_edition_alone_is_named_and_not_opposite(harmed):
    level = edition("cpu", lambda spec: LEVEL)
    text = editions.agreement(harmed, level)
    assert "- claim 2 (formula): *holds* in `paper`, *undecided* in `cpu`" in text
    assert counted(text)[4] > 0 and counted(text)[-1] == 0


def test_a_verdict_that_one_edition_lacks_is_not_counted(harmed):
    """Only claims of MNIST are judged in one, none of them in the other."""
    mnist = edition("cpu", lambda spec: LEVEL, chapters=("mnist",))
    assert "no verdict in common" in editions.agreement(harmed, mnist)
    both = edition("cpu", lambda spec: LEVEL, chapters=("students", "mnist"))
    judged = sum(case.verdict != claims.NOT_RUN for case in harmed.judgements)
    assert counted(editions.agreement(harmed, both))[6] == judged


def test_each_verdict_stands_under_its_own_edition(harmed, helped):
    text = editions.table(harmed, helped)
    header, _, *rows = [line[2:-2].split(" | ") for line in text.splitlines() if line.startswith("|")]
    assert header[2:] == ["`paper`: formula", "`paper`: released code", "`cpu`: formula", "`cpu`: released code"]
    assert len(rows) == len(claims.CLAIMS) and {len(row) for row in rows} == {6}
    second = next(row for row in rows if "tab-claim-2>" in row[0])
    assert [cell.split("**")[1] for cell in second[2:]] == ["holds", "holds", "does not hold", "does not hold"]
    first = next(row for row in rows if "tab-claim-1>" in row[0])
    assert first[3] == first[5] == "no student"


def test_the_caption_tells_the_networks_of_each(harmed, helped):
    text = editions.table(harmed, helped)
    for one in (harmed, helped):
        assert editions.networks(one) in text and editions.networks(one).startswith(f"{one.code} on CIFAR-10: LeNet (")
        assert ";" not in editions.networks(one)  # neither has an ablation or MNIST
    whole = edition("cpu", lambda spec: LEVEL, chapters=("students", "ablation", "mnist"))
    told = editions.networks(whole)
    assert "; in the ablation LeNet (" in told and "; on MNIST AlexNet of" in told


@pytest.fixture
def stored(monkeypatch):
    """All runs of the profile `cpu` are stored, made up, and no others; nothing can be trained."""
    specs = {spec for name in claims.CHAPTERS for spec in study.CHAPTERS[name](study.settings(name, "cpu"))}
    made = {spec: test_claims.made_up(spec, LEVEL) for spec in specs}
    monkeypatch.setattr(runs, "stored", lambda asked: [made[spec] for spec in asked if spec in made])
    monkeypatch.setattr(runs, "ensure", None)
    return made


def test_the_edition_of_another_size_is_read_from_the_store(stored, harmed):
    text = editions.beside_another(harmed)
    assert "verdicts that both editions come to" in text and "| `cpu`: formula |" in text
    assert "`cpu` on CIFAR-10: ResNet-18 of width 16 (" in text


@pytest.mark.parametrize(
    ("profile", "overrides", "says"),
    [
        ("cpu", {}, "runs of `paper` not all are stored here"),
        ("demo", {}, "there is no other size"),
        ("paper", {"temperature": 4}, "not the settings of `paper` alone"),
        ("paper", {"dataset": "cifar10"}, "not the settings of `paper` alone"),
    ],
    ids=["not stored", "other data", "another temperature", "one data set for all"],
)
def test_an_edition_without_a_counterpart_says_why(stored, harmed, profile, overrides, says):
    text = editions.beside_another(replace(harmed, settings=settings_of(profile, **overrides)))
    assert says in text and "|" not in text


def test_the_device_makes_no_other_edition(stored, harmed):
    own = replace(harmed, settings=settings_of("paper", device="cpu"))
    assert "| `cpu`: formula |" in editions.beside_another(own)


def test_an_edition_that_is_not_whole_is_not_compared(stored, harmed):
    del stored[next(iter(stored))]
    assert f"Of the {len(stored) + 1} runs of `cpu` not all are stored" in editions.beside_another(harmed)
