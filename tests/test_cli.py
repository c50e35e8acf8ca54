"""The command line: what it refuses, in one sentence and without a trace, and how it reads what it is given."""

import subprocess
import sys

import pytest

from kdlib import __main__ as cli
from kdlib import runs, study
from kdlib.report import press

RUN = ["run", "--profile", "demo", "--chapter", "students"]
SET = [*RUN, "--set"]

REFUSED = {
    "profile": (["run", "--profile", "huge"], "'huge'"),
    "chapter": (["run", "--chapter", "sutdents"], "'sutdents'"),
    "parameter": ([*SET, "studnet_epochs=2"], "did you mean student_epochs"),
    "far parameter": ([*SET, "colour=2"], "'colour'"),
    "augmentation": ([*SET, "augmentations=[cutmixx]"], "'cutmixx'"),
    "data set": ([*SET, "dataset=imagenet"], "'imagenet'"),
    "student": ([*SET, "students=[resnet99]"], "'resnet99'"),
    "false for a list": ([*SET, "seeds=false"], "seeds is False"),
    "text for a list": ([*SET, "seeds='no list'"], "seeds is 'no list'"),
    "text for a number": ([*SET, "temperature=1e-3"], "1.0e-3"),
    "truth for a number": ([*SET, "kd_weight=true"], "kd_weight is True"),
    "text for a whole number": ([*SET, "student_epochs='2'"], "student_epochs is '2'"),
    "fraction for a whole number": ([*SET, "batch_size=1.5"], "batch_size is 1.5"),
    "empty list": ([*SET, "seeds=[]"], "seeds is []"),
    "item of a list": ([*SET, "seeds=[0, -1]"], "-1"),
    "twice in a list": ([*SET, "seeds=[0, 0]"], "twice"),
    "negative epochs": ([*SET, "student_epochs=-3"], "student_epochs is -3"),
    "no temperature": ([*SET, "temperature=0"], "temperature is 0"),
    "not a number": ([*SET, "temperature=.nan"], "temperature is nan"),
    "weight above 1": ([*SET, "kd_weight=1.5"], "kd_weight is 1.5"),
    "no equals sign": ([*SET, "seeds"], "expected NAME=VALUE"),
    "no value": ([*SET, "seeds="], "there is no value"),
    "not YAML": ([*SET, "seeds=[0"], "not YAML"),
    "profile by --set": ([*SET, "profile=cpu"], "--profile"),
    "device": ([*SET, "device=cuda:99"], "cuda:99"),
    "second of two chapters": (["run", "--chapter", "teachers", "--chapter", "x"], "'x'"),
    "table": (["paper", "--table", "99"], "99"),
}


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """A store and a project folder that do not exist yet: what appears there was written."""
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "runs"))
    return tmp_path


@pytest.mark.parametrize(("arguments", "names"), REFUSED.values(), ids=REFUSED)
def test_a_fault_is_one_sentence_and_leaves_nothing(arguments, names, nowhere, capsys):
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("kdlib: ") and err.count("\n") == 1
    assert names in err
    assert list(nowhere.iterdir()) == []


def test_the_exit_status_reaches_the_shell(nowhere):
    command = [sys.executable, "-m", "kdlib", *SET, "seeds=[]"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=press.ROOT)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("kdlib: seeds is []") and done.stderr.count("\n") == 1


def test_set_reads_yaml():
    texts = ["seeds=[0, 1]", "temperature=4", " device = cpu ", "augmentations=[none, crop_flip+cutmix]"]
    assert cli.assignments(texts) == {
        "seeds": [0, 1],
        "temperature": 4,
        "device": "cpu",
        "augmentations": ["none", "crop_flip+cutmix"],
    }


def test_set_splits_at_the_first_equals_sign():
    assert cli.assignments(["device=a=b"]) == {"device": "a=b"}


def test_run_makes_the_runs_of_the_chapters_asked_for(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(runs, "ensure", lambda specs, device: asked.extend(specs) or list(specs))
    settings = ["--set", "seeds=[3]", "--set", "augmentations=[none]", "--set", "device=cpu"]
    assert cli.main(["run", "--chapter", "teachers", *settings]) == 0
    assert asked == study.teachers(study.settings("teachers", seeds=[3], augmentations=["none"]))
    assert capsys.readouterr().out.startswith("teachers: 1 runs")


def test_paper_prints_a_table(capsys):
    assert cli.main(["paper", "--table", "1"]) == 0
    assert "teacher" in capsys.readouterr().out


def test_report_hands_over_what_is_given(monkeypatch, capsys):
    handed = {}

    def build(profile, chapters, overrides, *, publish):
        handed.update(profile=profile, chapters=chapters, overrides=overrides, publish=publish)
        return "page.html"

    monkeypatch.setattr(press, "build_report", build)
    command = ["report", "--profile", "cpu", "--chapter", "students", "--set", "seeds=[1]", "--publish"]
    assert cli.main(command) == 0
    assert handed == {"profile": "cpu", "chapters": ["students"], "overrides": {"seeds": [1]}, "publish": True}
    assert "page.html" in capsys.readouterr().out
