"""The experiments as lists of runs, for each profile, and the parameters that shape them."""

import dataclasses
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdlib import KdlibError, causes, models, runs, study
from kdlib.runs import Distilled, Supervised

FIVE = ((), ("crop_flip",), ("cutout",), ("mixup",), ("cutmix",))
THREE = ((), ("mixup",), ("cutmix",))
SEEDS = {"demo": (0,), "cpu": (0, 1), "paper": (0, 1)}
# The seeds of a chapter, or of an architecture's students, that has fewer.
FEWER = {(profile, name): (0,) for profile in ("cpu", "paper") for name in ("ablation", "alexnet")}
FEWER["cpu", "mnist"] = (0,)
# Teachers that a chapter lists for each seed, and for each seed of a student's architecture its networks: alone, and
# under both forms of the loss of each arm's teacher and a random one; in the ablation three for each arm, "none" once.
TEACHERS = {"teachers": 5, "students": 0, "ablation": 0, "mnist": 3, "dichotomy": 5, "why": 0}
ALONE = {"teachers": 0, "students": 1, "ablation": 5, "mnist": 1, "dichotomy": 1, "why": 0}
STUDENTS = {"teachers": 0, "students": 2 * 6, "ablation": 2 * (3 * 4 + 1), "mnist": 2 * 4, "dichotomy": 2 * 6, "why": 0}
FEWER_ARMS = {("demo", "ablation"): ((), ("mixup",))}
ARCHITECTURES = {"teachers": (), "ablation": ("lenet",), "mnist": ("lenet",)}
NETWORKS = {"demo": ("lenet",), "cpu": ("lenet", "alexnet"), "paper": ("lenet", "alexnet")}
PLAIN = [(profile, chapter) for profile in study.PROFILES for chapter in study.CHAPTERS if chapter != "why"]
EVERYWHERE = [(profile, chapter) for profile in study.PROFILES for chapter in study.CHAPTERS]


def listed(profile, chapter, **overrides):
    """A chapter's specs under the long budget, unless another is given; what is of the chosen one stands below."""
    overrides = {"budgets": ["long"]} | overrides
    return study.CHAPTERS[chapter](study.settings(chapter, profile, **overrides))


def refusal(*arguments, **overrides):
    """The sentence with which settings refuse."""
    with pytest.raises(KdlibError) as fault:
        study.settings(*arguments, **overrides)
    assert "\n" not in str(fault.value)
    return str(fault.value)


# --- chapters ---


def teachers_seeds(profile, chapter):
    return FEWER.get((profile, chapter), SEEDS[profile])


def seeds_of(profile, chapter, model):
    """Of the students of one architecture."""
    return FEWER.get((profile, model)) or teachers_seeds(profile, chapter)


def test_the_profiles_and_chapters_are_all_there():
    assert set(SEEDS) == set(study.PROFILES) and set(TEACHERS) == set(STUDENTS) == set(study.CHAPTERS)


@pytest.mark.parametrize("profile, chapter", PLAIN)
def test_a_chapter_lists_each_run_once_and_as_many_as_the_study_has(profile, chapter):
    specs = listed(profile, chapter)
    assert len({runs.key(spec) for spec in specs}) == len(specs)
    found = Counter((type(spec), spec.seed) for spec in specs)
    expected = Counter()
    for seed in teachers_seeds(profile, chapter):
        expected[Supervised, seed] += TEACHERS[chapter]
    left_out = len(FIVE) - len(FEWER_ARMS.get((profile, chapter), FIVE))
    for model in ARCHITECTURES.get(chapter, NETWORKS[profile]):
        for seed in seeds_of(profile, chapter, model):
            expected[Supervised, seed] += ALONE[chapter] - left_out
            expected[Distilled, seed] += STUDENTS[chapter] - 2 * 3 * left_out  # losses, whose images are augmented
    assert found == +expected


@pytest.mark.parametrize("profile, chapter", PLAIN)
def test_every_student_has_the_papers_temperature_and_weight_and_its_teachers_seed(profile, chapter):
    for spec in listed(profile, chapter):
        if isinstance(spec, Distilled):
            assert (spec.temperature, spec.kd_weight, spec.direction) == (20, 0.5, "teacher_student")
            assert spec.seed == spec.teacher.seed and spec.dataset == spec.teacher.dataset
            assert spec.recipe.label_smoothing == spec.teacher.recipe.label_smoothing == 0


@pytest.mark.parametrize("profile", study.PROFILES)
def test_teachers_are_one_architecture_under_each_augmentation(profile):
    specs = listed(profile, "teachers")
    for seed in SEEDS[profile]:
        assert tuple(spec.augmentations for spec in specs if spec.seed == seed) == FIVE
    assert {spec.model for spec in specs} == {"resnet18"}
    assert {spec.dataset for spec in specs} == {"digits" if profile == "demo" else "cifar10"}
    assert len({spec.recipe for spec in specs}) == 1 and specs[0].recipe.epochs > 0


@pytest.mark.parametrize("profile", study.PROFILES)
def test_students_learn_from_the_teachers_chapters_teachers_a_random_one_and_none(profile):
    specs = listed(profile, "students")
    teachers = set(listed(profile, "teachers"))
    for model in NETWORKS[profile]:
        for seed in seeds_of(profile, "students", model):
            mine = [spec for spec in specs if (spec.seed, spec.model) == (seed, model)]
            (alone,) = (spec for spec in mine if isinstance(spec, Supervised))
            students = [spec for spec in mine if isinstance(spec, Distilled)]
            assert all(spec.recipe == alone.recipe and spec.width == alone.width for spec in students)
            assert alone.augmentations == () and all(spec.augmentations == () for spec in students)
            for reduction in ("batchmean", "mean"):
                of = [spec.teacher for spec in students if spec.reduction == reduction]
                assert {one.augmentations for one in of if one in teachers} == set(FIVE)
                (random,) = (one for one in of if one not in teachers)
                assert random.recipe.epochs == 0 and random.model == "resnet18"


@pytest.mark.parametrize("profile", study.PROFILES)
def test_the_ablation_augments_the_teacher_the_student_or_both(profile):
    specs = [spec for spec in listed(profile, "ablation") if isinstance(spec, Distilled)]
    arms = FEWER_ARMS.get((profile, "ablation"), FIVE)
    expected = {(a, ()) for a in arms} | {((), a) for a in arms} | {(a, a) for a in arms}
    for seed in seeds_of(profile, "ablation", "lenet"):
        for reduction in ("batchmean", "mean"):
            mine = [s for s in specs if (s.seed, s.reduction) == (seed, reduction)]
            assert sorted((s.teacher.augmentations, s.augmentations) for s in mine) == sorted(expected)
    assert {spec.model for spec in specs} == {"lenet"}
    shared = set(specs) & set(listed(profile, "students"))
    assert len(shared) == 2 * len(arms) * len(seeds_of(profile, "ablation", "lenet"))  # the first form


def test_the_ablation_without_the_arm_none_still_has_the_baseline_teacher():
    specs = listed("demo", "ablation", augmentations=["cutmix"], seeds=[0])
    specs = [spec for spec in specs if isinstance(spec, Distilled)]
    assert Counter((s.teacher.augmentations, s.augmentations) for s in specs) == {
        (("cutmix",), ()): 2,
        ((), ("cutmix",)): 2,
        (("cutmix",), ("cutmix",)): 2,
    }


@pytest.mark.parametrize("profile", study.PROFILES)
def test_the_ablation_has_the_students_network_under_each_augmentation_without_a_teacher(profile):
    specs = listed(profile, "ablation")
    recipes = {spec.recipe for spec in specs if isinstance(spec, Distilled)}
    for seed in seeds_of(profile, "ablation", "lenet"):
        mine = [spec for spec in specs if isinstance(spec, Supervised) and spec.seed == seed]
        assert [spec.augmentations for spec in mine] == list(FEWER_ARMS.get((profile, "ablation"), FIVE))
        assert {spec.model for spec in mine} == {"lenet"} and {spec.recipe for spec in mine} == recipes
        assert mine[0] in listed(profile, "students")  # the control of that chapter, trained once


@pytest.mark.parametrize("profile", study.PROFILES)
def test_mnist_has_alexnet_teachers_and_lenet_students(profile):
    specs = listed(profile, "mnist")
    of = [spec.teacher for spec in specs if isinstance(spec, Distilled)]
    trained = {one for one in of if one.recipe.epochs}
    assert {one.model for one in of} == {"alexnet"} and {one.augmentations for one in trained} == set(THREE)
    assert trained <= set(specs)
    assert {spec.model for spec in specs if spec not in trained} == {"lenet"}
    assert {spec.dataset for spec in specs} == {"digits" if profile == "demo" else "mnist"}


@pytest.mark.parametrize("profile", study.PROFILES)
def test_the_dichotomy_looks_at_the_first_two_chapters_runs(profile):
    assert set(listed(profile, "dichotomy")) == {*listed(profile, "teachers"), *listed(profile, "students")}


@pytest.mark.parametrize("profile", study.PROFILES)
def test_why_changes_one_thing_at_a_time_of_the_same_students(profile):
    s = study.settings("why", profile)
    before = study.changed_students(s, "")
    assert {spec.teacher.augmentations for spec in before} == set(THREE)
    assert len(before) == 3 * len(s.seeds) * s.students_per_teacher
    for change in s.changes:
        after = study.changed_students(s, change)
        fewer = causes.FEWER if causes.PROTOCOL in change else s.students_per_teacher
        for one, other in zip([spec for spec in before if spec.seed < fewer], after, strict=True):
            assert (one.teacher, one.seed, one.model) == (other.teacher, other.seed, other.model)
            assert runs.key(one) != runs.key(other)
    of_changes = [spec for change in ("", *s.changes) for spec in study.changed_students(s, change)]
    assert study.why(s) == [*of_changes, *study.untaught(s)]


def test_beside_short_training_stand_networks_that_differ_in_what_they_learn_from_alone():
    s = study.settings("why", "paper", seeds=[1, 2])
    of_baseline = [spec for spec in study.changed_students(s, causes.SHORT) if spec.teacher == study.teacher(s, (), 1)]
    short = {spec.seed: spec for spec in of_baseline}
    untaught = study.untaught(s)
    assert len(untaught) == 4 * s.students_per_teacher == len(set(untaught))
    for spec in untaught:
        taught = short[spec.seed]
        smoothed = dataclasses.replace(taught.recipe, label_smoothing=0.1)
        assert (spec.model, spec.width, spec.augmentations) == (taught.model, taught.width, taught.augmentations)
        if isinstance(spec, Distilled):
            assert dataclasses.replace(spec, teacher=taught.teacher) == taught
            assert spec.teacher in (study.uniform_teacher(s), study.random_teacher(s, 1))
        else:
            assert spec.recipe in (taught.recipe, smoothed)
    assert study.untaught(study.settings("why", "paper", changes=["epochs=6"])) == []


def test_beside_students_of_the_images_seen_stand_the_same_on_the_others_and_who_has_no_teacher_on_either_half():
    s = study.settings("why", "cpu", seeds=[0, 1, 2], students_per_teacher=2)
    found = study.unseen(s)
    trained = [spec for spec in found if runs.is_taught(spec)]
    assert len(trained) == 3 * 3 * 2 * 2 and len(found) == len(set(found)) == 36 + 2 * 2 * 2
    assert {spec.teacher for spec in trained} == {
        dataclasses.replace(study.teacher(s, a, seed), half=1) for a in s.augmentations for seed in s.seeds
    }
    for seen, unseen in zip(trained[:18], trained[18:], strict=True):
        assert seen.recipe.epochs == 20 and seen.half == 1 and dataclasses.replace(seen, half=2) == unseen
    for control in set(found) - set(trained):
        assert control.recipe == trained[0].recipe and (control.model, control.width) == ("lenet", 64)
    assert sorted((one.half, hasattr(one, "teacher"), one.seed) for one in set(found) - set(trained)) == [
        (half, taught, seed) for half in (1, 2) for taught in (False, True) for seed in (0, 1)
    ]


def test_why_starts_from_the_length_that_held_out_images_favour():
    s = study.settings("why", "paper")
    assert set(study.changed_students(s, "")) <= set(study.chosen_students(study.settings("students", "paper")))
    long = study.changed_students(study.settings("why", "demo"), "")
    assert set(long) <= set(study.long_students(study.settings("students", "demo")))


@pytest.mark.parametrize("change", [change for of in causes.QUESTIONS.values() for change in of])
def test_a_declared_change_can_be_made_and_stands_beside_one_that_is_declared(change):
    s = study.settings("why", "paper", changes=[change])
    (spec, *_) = study.changed_students(s, change)
    changed = {**dataclasses.asdict(spec), **dataclasses.asdict(spec.recipe)}
    for name, value in study.settings_of_change(change).items():
        assert changed[name] == (tuple(value) if isinstance(value, list) else value)
    assert causes.reference_of(change, causes.QUESTIONS["length"]) in ("", "epochs=12")


def test_of_the_whole_released_protocol_each_teacher_has_two_students_at_most():
    def own_seeds(change, **overrides):
        s = study.settings("why", "paper", changes=[change], **overrides)
        return {spec.seed for spec in study.changed_students(s, change)}

    for change in (causes.PROTOCOL, f"{causes.PROTOCOL}+reduction=mean"):
        assert own_seeds(change) == own_seeds(change, students_per_teacher=3) == {0, 1}
        assert own_seeds(change, students_per_teacher=1) == {0}
    assert own_seeds("epochs=90", students_per_teacher=3) == {0, 1, 2}


@pytest.mark.parametrize(
    "change, said",
    [
        ("epoch=12", "'epoch=12' changes nothing: expected NAME=VALUE, of temperature, kd_weight"),
        ("epochs", "'epochs' changes nothing"),
        ("seed=3", "'seed=3' changes nothing"),
        (12, "an item of changes is 12: expected a text such as epochs=12"),
    ],
)
def test_a_change_that_says_nothing_is_refused(change, said):
    assert said in refusal("why", changes=[change])


@pytest.mark.parametrize(
    "change, said",
    [
        ("targets=labels", "it must be one of logits, class_means"),
        ("temperature=hot", "hot"),
        ("epochs=-1", "epochs is -1"),
        ("epochs=12.0", "a whole number"),
        ("momentum=-1", "momentum is -1"),
        ("momentum=fast", "fast"),
        ("weight_decay=-1", "weight_decay is -1"),
        ("teacher_half=3", "half is 3"),
        ("drops=[9, 3]", "ascending"),
        ("drops=3", "drops"),
    ],
)
def test_a_value_that_a_student_cannot_have_is_refused(change, said):
    with pytest.raises(study.ParameterError, match="can't be done") as fault:
        study.why(study.settings("why", changes=[change]))
    assert said in str(fault.value) and "\n" not in str(fault.value)


@pytest.mark.parametrize("profile, chapter", EVERYWHERE)
def test_every_run_of_a_profile_can_be_built(profile, chapter):
    for spec in listed(profile, chapter):
        with torch.device("meta"):
            models.ARCHITECTURES[spec.model](spec.width, 10)
        assert spec.recipe.precision == "float32" or profile != "demo"


def test_the_paper_profile_is_full_size():
    for spec in listed("paper", "dichotomy"):
        assert spec.width == 64
    for spec in listed("cpu", "dichotomy"):
        assert spec.width == {"resnet18": 16, "lenet": 64, "alexnet": 8}[spec.model]


def test_a_readers_seeds_are_every_networks():
    plain = listed("paper", "students")
    assert {s.seed for s in plain if s.model == "lenet"} == {0, 1}
    assert {s.seed for s in plain if s.model == "alexnet"} == {0}
    for chapter, model in (("students", "lenet"), ("students", "alexnet"), ("ablation", "lenet")):
        assert {s.seed for s in listed("paper", chapter, seeds=[3, 4]) if s.model == model} == {3, 4}


def test_parameters_reach_the_runs():
    specs = listed(
        "demo", "students", seeds=[7], students=["alexnet"], augmentations=["crop_flip+cutmix"], teacher_epochs=3,
        student_epochs=2, batch_size=32, temperature=4, kd_weight=0.9, reductions=["mean"], teacher="lenet",
    )  # fmt: skip
    taught, by_random, alone = specs
    assert taught.teacher == Supervised("digits", "lenet", 64, taught.teacher.recipe, ("crop_flip", "cutmix"), 7)
    assert (taught.model, taught.temperature, taught.kd_weight, taught.reduction) == ("alexnet", 4.0, 0.9, "mean")
    assert by_random.teacher.recipe.epochs == 0 and by_random.teacher.augmentations == ()
    assert (taught.recipe.epochs, taught.teacher.recipe.epochs, alone.recipe) == (2, 3, taught.recipe)
    assert {s.recipe.batch_size for s in (taught, alone, taught.teacher)} == {32}


# --- parameters ---

BAD = [
    ("dataset", "cifar100"), ("dataset", 3), ("dataset", ["digits"]),
    ("seeds", []), ("seeds", ()), ("seeds", 0), ("seeds", False), ("seeds", "false"), ("seeds", "0"), ("seeds", ""),
    ("seeds", [-1]), ("seeds", [0.5]), ("seeds", [True]), ("seeds", ["0"]), ("seeds", [0, 0]), ("seeds", [[0]]),
    ("seeds", "[0, 1"), ("seeds", {"a": 1}),
    ("augmentations", []), ("augmentations", "none"), ("augmentations", [None]), ("augmentations", [["cutmix"]]),
    ("augmentations", ["none", "none"]),
    ("teacher", "vgg"), ("teacher", 18),
    ("students", "lenet"), ("students", ["lenet", "vgg"]), ("students", []), ("students", ["lenet", "lenet"]),
    ("reductions", ["sum"]), ("reductions", "mean"),
    ("teacher_epochs", 0), ("teacher_epochs", -3), ("teacher_epochs", 2.0), ("teacher_epochs", "2"),
    ("teacher_epochs", True), ("teacher_epochs", "false"), ("teacher_epochs", [2]),
    ("student_epochs", -3), ("student_epochs", 0), ("student_epochs", float("nan")),
    ("batch_size", 0), ("batch_size", "1e3"), ("batch_size", 1e3),
    ("temperature", 0), ("temperature", -1), ("temperature", "1e-3"), ("temperature", True), ("temperature", [20]),
    ("temperature", float("nan")), ("temperature", float("inf")),
    ("kd_weight", -0.1), ("kd_weight", 1.1), ("kd_weight", "0.5"), ("kd_weight", False), ("kd_weight", float("nan")),
    ("device", 0), ("device", True), ("device", ["cpu"]),
]  # fmt: skip


@pytest.mark.parametrize("name, value", BAD, ids=[f"{name}-{value!r}" for name, value in BAD])
def test_a_bad_value_is_one_sentence_that_names_the_parameter(name, value):
    message = refusal("students", **{name: value})
    assert name in message and ("expected" in message or "twice" in message)


@pytest.mark.parametrize("arms", [["cutmx"], ["mixup+cutmix"], ["cutout+crop_flip"], ["none", ""], ["cutout+cutout"]])
def test_an_arm_that_does_not_exist_is_refused(arms):
    assert any(word in refusal("students", augmentations=arms) for word in ("augmentation", "mixes", "pixels"))


@pytest.mark.parametrize("profile", ["huge", None, 3, "", ["demo"]])
def test_an_unknown_profile_lists_the_known_ones(profile):
    assert "expected one of demo, cpu, paper" in refusal("students", profile)


def test_an_unknown_chapter_lists_the_known_ones():
    assert "there are teachers, students, ablation, mnist, dichotomy" in refusal("student")


def test_an_unknown_parameter_suggests_a_near_one():
    assert "did you mean student_epochs?" in refusal("students", studnet_epochs=2)
    assert "there are profile, dataset, seeds" in refusal("students", colour=2)
    assert "networks" in refusal("students", networks={})  # of the profile alone


@pytest.mark.parametrize(
    "name, text, value",
    [
        ("seeds", "[0, 1]", (0, 1)),
        ("seeds", "[3]", (3,)),
        ("seeds", "- 4\n- 5", (4, 5)),
        ("augmentations", "[none, crop_flip+cutmix]", ((), ("crop_flip", "cutmix"))),
        ("augmentations", "['mixup']", (("mixup",),)),
        ("students", '["lenet"]', ("lenet",)),
        ("reductions", "[mean]", ("mean",)),
    ],
)
def test_papermill_hands_lists_over_as_text(name, text, value):
    assert getattr(study.settings("students", **{name: text}), name) == value


def test_what_is_not_set_comes_from_the_profile_and_none_is_not_set():
    plain = study.settings("students", "cpu")
    assert plain == study.settings("students", "cpu", seeds=None, temperature=None, device=None)
    assert plain.seeds == (0, 1) and plain.teacher_epochs == 15 and plain.temperature == 20.0
    assert study.settings("mnist", "cpu").teacher == "alexnet"  # the chapter's own
    assert study.settings("mnist", "cpu", teacher="resnet18").teacher == "resnet18"  # and what is given goes first


def test_auto_is_a_device_that_is_there():
    assert study.settings("students").device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert study.settings("students", device="cuda:0").device == "cuda:0"


def test_every_parameter_has_a_meaning():
    assert set(study.PARAMETERS) == {
        "profile", "dataset", "seeds", "augmentations", "teacher", "students", "reductions", "teacher_epochs",
        "student_epochs", "budgets", "students_per_teacher", "changes", "batch_size", "temperature", "kd_weight",
        "device",
    }  # fmt: skip
    assert all(meta["meaning"] for meta in study.PARAMETERS.values())


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=1, unique=True))
def test_any_list_of_seeds_is_taken_as_text_or_as_a_list(seeds):
    assert study.settings("students", seeds=seeds).seeds == study.settings("students", seeds=str(seeds)).seeds


# --- notebooks ---


def test_a_notebooks_plain_values_are_its_parameters():
    namespace = {"__name__": "__main__", "_": 1, "_i1": "text", "study": study, "profile": "cpu", "seeds": [5]}
    namespace |= {"temperature": None, "exit": object()}
    assert study.from_notebook(namespace, "students") == study.settings("students", "cpu", seeds=[5])
    assert study.from_notebook({}, "mnist") == study.settings("mnist")


def in_kernel(before: dict, cells: list[str]) -> dict:
    """The namespace of a kernel whose start-up files have left `before`, after some cells."""
    shell = SimpleNamespace(user_ns_hidden={})
    namespace = {"In": ["", *cells], "Out": {}, "get_ipython": lambda: shell, **before}
    shell.user_ns_hidden |= namespace
    for cell in cells:
        exec(cell, namespace)
    return namespace


def test_what_start_up_files_of_a_kernel_name_is_no_parameter():
    before = {"colour": 3, "seeds": [7], "profile": "cpu", "batch_size": 64}
    asked = study.from_notebook(in_kernel(before, ["profile: str = 'demo'"]), "students")
    assert asked == study.settings("students", "demo")
    same = study.from_notebook(in_kernel(before, ["profile = 'cpu'\nbatch_size: int = 64\nseeds = [7]"]), "students")
    assert same == study.settings("students", "cpu", batch_size=64, seeds=[7])
    assert study.from_notebook(in_kernel(before, ["exec('seeds = [8]')"]), "students").seeds == (8,)  # as %%time does
    with pytest.raises(study.ParameterError, match="'nonsense'"):
        study.from_notebook(in_kernel(before, ["profile = 'demo'", "nonsense = 1"]), "students")


def test_a_chapter_without_parameters_refuses_all_of_them():
    namespace = in_kernel({"colour": 3}, [])
    study.without_parameters(namespace)
    namespace["CLASSES"] = 10
    study.without_parameters(namespace)  # its cells are run again
    with pytest.raises(study.ParameterError, match="^this chapter takes no parameters, and was given nonsense, seeds$"):
        study.without_parameters(in_kernel({"colour": 3}, ["nonsense = 1\nseeds = [0]"]))


@pytest.mark.parametrize("value", [2, "2", 2.0, True, None, [2], {"a": 2}])
def test_a_misspelt_parameter_in_a_notebook_is_refused(value):
    with pytest.raises(study.ParameterError, match="no parameter is called 'studnet_epochs': did you mean"):
        study.from_notebook({"profile": "demo", "studnet_epochs": value}, "students")


@pytest.mark.parametrize("name", ["chapter", "overrides", "networks"])
def test_a_value_that_is_called_like_an_argument_is_refused_like_any_other(name):
    with pytest.raises(study.ParameterError, match=f"no parameter is called '{name}'"):
        study.from_notebook({"profile": "demo", name: "students"}, "students")


def test_a_notebook_can_be_run_again_in_the_same_kernel():
    """Its later cells leave names behind, and a reader changes a parameter and runs all cells once more."""
    namespace = {"profile": "demo", "seeds": [0]}
    namespace["settings"] = study.from_notebook(namespace, "students")
    namespace["made"] = [runs.Run(spec) for spec in study.students(namespace["settings"])]
    namespace["seeds"] = [1]
    assert study.from_notebook(namespace, "students").seeds == (1,)


# --- budgets ---


def chosen_settings(**overrides):
    """The paper's, with lengths chosen for LeNet under one form of the loss and for some controls."""
    settings = study.settings("students", "paper", **overrides)
    own = {"peak_lr": 0.01, "clip_norm": 9.0, "epochs": {"taught": {"mean": 7}, "uniform": {"mean": 3}, "alone": 5}}
    networks = settings.networks | {"lenet": settings.networks["lenet"] | {"chosen": own}}
    return dataclasses.replace(settings, networks=networks)


def test_under_the_chosen_budget_each_teacher_has_several_students_with_seeds_of_their_own():
    settings = chosen_settings(budgets=["chosen"], seeds=[0, 1])
    specs = study.students(settings)
    taught = [spec for spec in specs if isinstance(spec, Distilled) and spec.teacher.model == "resnet18"]
    assert {(s.teacher.augmentations, s.teacher.seed, s.seed) for s in taught} == {
        (a, teacher, own) for a in settings.augmentations for teacher in (0, 1) for own in range(4)
    }
    assert len(taught) == 5 * 2 * 4 and {spec.model for spec in specs} == {"lenet"}  # nothing is chosen for AlexNet
    assert {(s.reduction, s.recipe.epochs, s.recipe.peak_lr, s.recipe.clip_norm) for s in taught} == {
        ("mean", 7, 0.01, 9)
    }
    uniform = [s for s in specs if isinstance(s, Distilled) and s.teacher.model == "uniform"]
    assert [(s.seed, s.recipe.epochs) for s in uniform] == [(seed, 3) for seed in range(4)]
    assert [(s.seed, s.recipe.epochs) for s in specs if isinstance(s, Supervised)] == [(seed, 5) for seed in range(4)]
    assert len(specs) == 40 + 4 + 4  # for students of a random teacher, too, nothing is chosen


def test_a_loss_has_more_students_where_the_profile_says_so_and_a_reader_does_not():
    def seeds_by_loss(**overrides):
        specs = study.students(study.settings("students", "paper", budgets=["chosen"], students=["lenet"], **overrides))
        taught = [s for s in specs if isinstance(s, Distilled) and s.teacher == study.teacher(settings, ("mixup",), 1)]
        return {loss: [s.seed for s in taught if s.reduction == loss] for loss in ("batchmean", "mean")}

    settings = study.settings("students", "paper")
    assert seeds_by_loss() == {"batchmean": [*range(8)], "mean": [*range(4)]}
    assert seeds_by_loss(students_per_teacher=2) == {"batchmean": [0, 1], "mean": [0, 1]}


def test_the_long_budget_is_what_was_published():
    both, long = (study.students(chosen_settings(budgets=b)) for b in (["chosen", "long"], ["long"]))
    assert both[-len(long) :] == long and len(both) > len(long)
    assert all(isinstance(s, Supervised) or s.seed == s.teacher.seed for s in long)


def test_a_readers_epochs_are_the_long_budget_alone():
    assert study.settings("students", "paper", student_epochs=2).budgets == ("long",)
    assert study.settings("students", "paper", student_epochs=2, budgets=["chosen"]).budgets == ("chosen",)
