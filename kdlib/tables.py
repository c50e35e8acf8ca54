"""The paper's tables with our numbers beside them: lists of runs -> data frames -> MyST Markdown.

A comparison is a tidy data frame, one number of ours a row. Its first columns say what is compared (`LABELS`), the
others (`VALUES`) hold the paper's number, ours with its interval, their difference and the number of seeds. `render`
turns any such frame into a table of the book. Runs are told apart by their specs alone: who pupil and teacher are,
what was done to whose images, and under which form of the loss.

Each number names the runs that it is of, by the ends of their keys: a row links to their records (`run:` addresses,
which the book's configuration resolves), and under each table stands the same as CSV, to ten digits.
"""

import html
import re
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from kdlib import KdlibError, augment, metrics, paper, stats
from kdlib.models import FULL_WIDTH
from kdlib.runs import Distilled as Student, Run, Spec, Supervised as Teacher, human_ceiling, is_taught, mark
from kdlib.study import Settings

LABELS = ("test_set", "network", "loss", "by", "metric", "arm", "variant")
VALUES = (
    "paper", "printed", "paper_set", "ours", "low", "high", "n", "over", "difference", "absent", "digits",
    "runs",
)  # fmt: skip

BASELINE = "none"
ARM_NAMES = {
    "none": "none (baseline)",
    "crop_flip": "crop and flip",
    "cutout": "Cutout",
    "mixup": "MixUp",
    "cutmix": "CutMix",
    "alone": "no teacher",
    "random": "random teacher",
}
CONTROLS = ("alone", "random")
NETWORK_NAMES = {"resnet18": "ResNet-18", "lenet": "LeNet", "alexnet": "AlexNet"}
SHORT_LOSSES = {"batchmean": "formula", "mean": "released code"}
VARIANT_NAMES = {
    "": "ours",
    **SHORT_LOSSES,
    "table": "as in the table",
    "pairs": "means over pairs",
    "printed": "as printed",
    "teacher": "teacher augmented",
    "student": "student augmented",
    "both": "both augmented",
}
TEST_SETS = {
    ("cifar10", "test"): "CIFAR-10",
    ("cifar10", "shifted"): "CINIC-10",
    ("mnist", "test"): "MNIST",
    ("digits", "test"): "digits",
    ("digits", "shifted"): "corrupted digits",
}
PAPER_SETS = {"cifar10": "CIFAR-10", "cinic10": "CINIC-10", "mnist": "MNIST"}
# Which of our test sets stands beside which of the paper's.
COUNTERPARTS = {"cifar10": "test", "cinic10": "shifted", "mnist": "test"}
COLUMN_NAMES = {
    "test_set": "Test set", "network": "Network", "loss": "Loss", "by": "Classes", "metric": "Metric",
    "arm": "Augmentation",
}  # fmt: skip
NOT_RUN = "not run"
POOLED = "seeds, pooled"
MISSING = "–"
NO_BREAK = "\N{NO-BREAK SPACE}"


class TableError(KdlibError, ValueError):
    """Runs that cannot stand in one table."""


class Markdown(str):
    """MyST Markdown that a notebook renders when a cell ends with it, and keeps once."""

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return {"text/markdown": str(self)}

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """The plain text beside it. IPython's own printer of texts would write the whole once more."""
        printer.text("<Markdown>")


# ---------------------------------------------------------------- names


def arm_name(arm: str) -> str:
    """How an arm or a control is called on the page.

    >>> arm_name("crop_flip+cutmix")
    'crop and flip + CutMix'
    """
    return ARM_NAMES[arm] if arm in ARM_NAMES else " + ".join(ARM_NAMES.get(one, one) for one in arm.split("+"))


def network_name(model: str) -> str:
    return NETWORK_NAMES.get(model, model)


def loss_name(reduction: str) -> str:
    """How a form of the loss is called in a sentence."""
    return f"the {SHORT_LOSSES[reduction]}'s loss" if reduction in SHORT_LOSSES else f"the loss {reduction}"


def name_of_test_set(dataset: str, part: str) -> str:
    """How a test set is called: `part` is `test` or `shifted`."""
    return TEST_SETS.get((dataset, part), f"{dataset}, {part} set")


def listing(items: Iterable) -> str:
    """Items as a sentence lists them.

    >>> listing([0, 1, 2])
    '0, 1 and 2'
    """
    *first, last = map(str, items)
    return f"{', '.join(first)} and {last}" if first else last


# ---------------------------------------------------------------- runs by arm


def teachers_by_arm(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Teachers by the text of their arm, in the order in which the arms appear."""
    return _grouped((augment.label(run.spec.augmentations), run) for run in runs if isinstance(run.spec, Teacher))


def students_by_arm(
    runs: Iterable[Run], model: str, reduction: str, augmented: str = "teacher"
) -> dict[str, list[Run]]:
    """Students of one architecture under one form of the loss, by arm.

    `augmented` says whose images are: the `teacher`'s alone (Tables 1, 2, 4 and 6), the `student`'s alone (Table 7),
    or `both`, in the same way (Table 8). Students of a random teacher are a control, not an arm.
    """
    if augmented not in ("teacher", "student", "both"):
        raise TableError(f"augmented is {augmented!r}: expected teacher, student or both")
    found = []
    for run in runs:
        spec = run.spec
        if not is_taught(spec) or spec.model != model or spec.reduction != reduction:
            continue
        of, own = spec.teacher.augmentations, spec.augmentations
        if own == {"teacher": (), "student": own if of == () else None, "both": of}[augmented]:
            found.append((augment.label(own if augmented == "student" else of), run))
    return _grouped(found)


def controls(runs: Iterable[Run], model: str, reduction: str) -> dict[str, list[Run]]:
    """What a student is worth without a teacher (`alone`), and of a teacher that was never trained (`random`)."""
    found = []
    for run in runs:
        spec = run.spec
        if isinstance(spec, Student) and (spec.model, spec.reduction) == (model, reduction) and not is_taught(spec):
            found.append(("random", run))
    found += [("alone", run) for run in without_teacher(runs, model).get(BASELINE, [])]
    return _grouped(found)


def without_teacher(runs: Iterable[Run], model: str) -> dict[str, list[Run]]:
    """Networks of one architecture trained on labels alone, by the arm of their own images."""
    return teachers_by_arm(run for run in runs if run.spec.model == model)


def reductions(runs: Iterable[Run]) -> list[str]:
    """The forms of the loss among the runs, in order of appearance."""
    return list(dict.fromkeys(run.spec.reduction for run in runs if isinstance(run.spec, Student)))


def networks(n: int, runs: Iterable[Run]) -> list[str]:
    """The student architectures of the paper's Table `n`, then any other among the runs."""
    roles = [role for role in dict.fromkeys(paper.load().query("table == @n")["role"]) if role != "teacher"]
    return list(dict.fromkeys([*roles, *(run.spec.model for run in runs if isinstance(run.spec, Student))]))


def is_control(run: Run) -> bool:
    """Whether a run is a network without a teacher, or the student of a random one."""
    return not is_taught(run.spec)


def _grouped(pairs: Iterable[tuple[str, Run]]) -> dict[str, list[Run]]:
    groups: dict[str, dict[int, Run]] = {}
    for name, run in pairs:
        by_seed = groups.setdefault(name, {})
        if by_seed.setdefault(run.spec.seed, run).key != run.key:
            raise TableError(
                f"two runs of {name} have seed {run.spec.seed} ({by_seed[run.spec.seed].key}, {run.key}): "
                f"pass the runs of one setting"
            )
    return {name: list(by_seed.values()) for name, by_seed in groups.items()}


# ---------------------------------------------------------------- measures


@dataclass(frozen=True)
class Measure:
    """A number of a run on one of its test sets, None where the data set has no such part."""

    label: str
    of_run: Callable[[Run, str], float | None]
    of_images: Callable[[Run, str], np.ndarray] | None = None  # one value an image, where the number is their mean
    paper: str = ""  # its name in paper.csv
    absent: str = "no such test set"
    bounded: bool = False  # to 0..1, beyond which its interval has no meaning
    own_spread: bool = False  # over seeds: arms are not taken to spread alike, though it is bounded

    @property
    def pooled(self) -> bool:
        """Losses and divergences spread the more the larger they are, and are left to each arm."""
        return self.bounded and not self.own_spread


def _scored(name: str) -> Callable[[Run, str], float | None]:
    return lambda run, part: run.metrics.get(part, {}).get(name)


def _correct(run: Run, part: str) -> np.ndarray:
    return run.predictions[f"{part}_logits"].argmax(axis=1) == run.predictions[f"{part}_labels"]


def _losses(run: Run, part: str) -> np.ndarray:
    logits = run.predictions[f"{part}_logits"].astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    of_label = np.take_along_axis(logits, run.predictions[f"{part}_labels"][:, None].astype(int), axis=1)[:, 0]
    return np.log(np.exp(logits).sum(axis=1)) - of_label


def _human_kl(run: Run, part: str) -> float | None:
    return run.metrics["human"]["human_model"] if "human" in run.metrics else None


def _released_human_kl(run: Run, part: str) -> float | None:
    if "human" not in run.metrics:
        return None
    matrix = metrics.class_kl_matrix(
        metrics.softmax(run.predictions["test_logits"]),
        np.array(run.metrics["human"]["class_means"]),
        run.predictions["test_labels"],
        form="released",
    )
    return float(np.diag(matrix).mean())


def _on_probs(value: Callable[[np.ndarray, np.ndarray], float]) -> Callable[[Run, str], float | None]:
    """`value` of the probabilities (N, K) and labels (N,) of a test set."""
    return lambda run, part: (
        value(metrics.softmax(run.predictions[f"{part}_logits"]), run.predictions[f"{part}_labels"])
        if f"{part}_logits" in run.predictions
        else None
    )


def _weighted(name: str) -> Callable[[Run, str], float | None]:
    return _on_probs(lambda probs, labels: metrics.classification_report(probs, labels, "weighted")[name])


def _scaled(name: str) -> Callable[[Run, str], float | None]:
    """A field of `metrics.temperature_scaling`."""
    return lambda run, part: getattr(
        metrics.temperature_scaling(run.predictions[f"{part}_logits"], run.predictions[f"{part}_labels"]), name
    )


def class_gram(run: Run) -> metrics.ClassGram:
    """What cohesion and adhesion need of a run's embeddings of the test images."""
    kept = run.predictions
    return metrics.ClassGram(
        kept["class_gram"], np.bincount(kept["test_labels"], minlength=len(kept["class_gram"])),
        int(kept["embedding_dim"]),
    )  # fmt: skip


def _in_class_space(name: str, convention: str) -> Callable[[Run, str], float]:
    return lambda run, part: getattr(metrics, name)(class_gram(run), convention=convention)


ACCURACY = Measure("accuracy", _scored("accuracy"), _correct, "accuracy", bounded=True)
PRECISION = Measure("precision", _scored("precision"), None, "precision", bounded=True)
RECALL = Measure("recall", _scored("recall"), None, "recall", bounded=True)
F1 = Measure("F1", _scored("f1"), None, "f1", bounded=True)
LOSS = Measure("loss", _scored("nll"), _losses, "loss")
ECE = Measure("ECE", _scored("ece"), None, "ece", bounded=True)
HUMAN_KL = Measure(
    "KLD", _human_kl, lambda run, part: run.predictions["human_kl"], "kl_to_humans", "no human labels"
)
RELEASED_HUMAN_KL = Measure("KLD, by class", _released_human_kl, None, "kl_to_humans", "no human labels")
# What the text, the tables and the released code leave open, by name, beside the defaults above.
WEIGHTED_PRECISION = Measure("precision, weighted", _weighted("precision"), bounded=True)
WEIGHTED_F1 = Measure("F1, weighted", _weighted("f1"), bounded=True)
MODEL_HUMAN_KL = Measure(
    "KLD, model to people", lambda run, part: run.metrics.get("human", {}).get("model_human"), absent="no human labels"
)
CALIBRATIONS = (
    ECE,
    Measure("ECE, [lo, hi)", _on_probs(partial(metrics.expected_calibration_error, edges="left")), bounded=True),
    Measure("ECE, 10 bins", _on_probs(partial(metrics.expected_calibration_error, bins=10)), bounded=True),
    Measure("ECE, equal mass", _scored("ece_adaptive"), bounded=True),
    Measure("ECE, scaled", _scaled("ece_after"), bounded=True),
    Measure("temperature", _scaled("temperature")),
)
SEPARABILITY = {
    by: Measure("S_f", _scored(f"class_separability_{by}"), None, "class_separability") for by in ("true", "predicted")
}


# ---------------------------------------------------------------- comparisons


Groups = Mapping[str, Sequence[Run]]  # runs of one arm each, over seeds


def compare(
    n: int,
    role: str,
    groups: Mapping[str, Groups],
    measures: Sequence[Measure],
    test_sets: Sequence[str],
    *,
    digits: int = 3,
    beside_paper: bool = True,
    **labels: str,
) -> pd.DataFrame:
    """One row for each test set of the paper's Table `n`, measure, arm and variant.

    `groups` maps a variant (a form of the loss, a convention) to its arms. Arms that the paper has and `groups` lacks
    are rows too, not run. `labels` are further label columns, constant in this frame.
    """
    dataset = _dataset(run for arms in groups.values() for one in arms.values() for run in one)
    published = paper.load().query("table == @n and role == @role").set_index(["test_set", "metric", "model"])
    ours = [name for arms in groups.values() for name in arms]
    of_paper = list(dict.fromkeys(published.index.get_level_values("model")))
    arms = dict.fromkeys([*of_paper, *(a for a in ours if a not in CONTROLS), *(a for a in ours if a in CONTROLS)])
    rows = []
    for paper_set in test_sets:
        part = COUNTERPARTS[paper_set]
        for measure in measures:
            measured = {variant: measure_arms(by_arm, measure, part) for variant, by_arm in groups.items()}
            for arm in arms:
                cell = published["printed"].get((paper_set, measure.paper, arm)) if beside_paper else None
                for variant in groups:
                    same = TEST_SETS.get((dataset, part)) == PAPER_SETS[paper_set]
                    value = float(cell) if cell else np.nan
                    found = measured[variant].get(arm) or NOTHING | {"absent": NOT_RUN}
                    rows.append(
                        {"test_set": name_of_test_set(dataset, part) if dataset else PAPER_SETS[paper_set]}
                        | labels
                        | {"metric": measure.label, "arm": arm, "variant": variant}
                        | {"paper": value, "printed": cell or "", "paper_set": PAPER_SETS[paper_set]}
                        | found
                        | {"difference": found["ours"] - value if same else np.nan, "digits": digits}
                    )
    return pd.DataFrame(rows)


NOTHING = {"ours": np.nan, "low": np.nan, "high": np.nan, "n": 0, "over": "", "absent": "", "runs": ""}


def measure_arms(by_arm: Groups, measure: Measure, part: str) -> dict[str, dict]:
    """Ours of each arm that has runs: the mean over seeds with its interval; of one seed, that over images, if any.

    Controls are no arms: the spread of these tells nothing of theirs.
    """
    values = {
        arm: {run.spec.seed: measure.of_run(run, part) for run in group} for arm, group in by_arm.items() if group
    }
    known = {arm: by_seed for arm, by_seed in values.items() if None not in by_seed.values()}
    pooled = [arm for arm in known if measure.pooled and arm not in CONTROLS]
    intervals = {arm: stats.over_seeds(by_seed.values()) for arm, by_seed in known.items()}
    intervals |= stats.over_seeds_of_arms({arm: known[arm] for arm in pooled})
    found = {
        arm: _measured(by_arm[arm], intervals[arm], measure, part, POOLED if arm in pooled else "seeds")
        for arm in known
    }
    return {arm: found.get(arm, NOTHING | {"absent": measure.absent}) for arm in values}


def _measured(runs: Sequence[Run], found: stats.Interval, measure: Measure, part: str, over: str) -> dict:
    out = NOTHING | {"ours": found.mean, "n": found.n, "runs": marks(runs)}
    if found.n > 1:
        low, high = (max(found.low, 0.0), min(found.high, 1.0)) if measure.bounded else (found.low, found.high)
        return out | {"low": low, "high": high, "over": over}
    if measure.of_images is None:
        return out
    band = stats.over_images(measure.of_images(runs[0], part))
    return out | {"low": band.low, "high": band.high, "over": "images"}


def _dataset(runs: Iterable[Run]) -> str:
    names = {run.spec.dataset for run in runs}
    if len(names) > 1:
        raise TableError(f"the runs are of {listing(sorted(names))}: a table is of one data set")
    return names.pop() if names else ""


def _of_students(
    runs: Sequence[Run], model: str, augmented: str = "teacher", control: bool = True
) -> dict[str, Groups]:
    return {
        form: students_by_arm(runs, model, form, augmented) | (controls(runs, model, form) if control else {})
        for form in reductions(runs)
    }


def table1_teachers(runs: Sequence[Run]) -> pd.DataFrame:
    """Table 1, the teachers: accuracy, KL from people's labels, calibration error."""
    return compare(1, "teacher", {"": teachers_by_arm(runs)}, _of_table1(runs), ["cifar10"])


def table1_students(runs: Sequence[Run], model: str) -> pd.DataFrame:
    """Table 1, the students of one architecture, and the controls."""
    return compare(1, model, _of_students(runs, model), _of_table1(runs), ["cifar10"], network=model)


def _of_table1(runs: Sequence[Run]) -> list[Measure]:
    labelled = any("human" in run.metrics for run in runs)
    return [ACCURACY, HUMAN_KL, *([RELEASED_HUMAN_KL] if labelled else []), ECE]


def table2_teachers(runs: Sequence[Run]) -> pd.DataFrame:
    """Table 2, the teachers: accuracy under a shift."""
    return compare(2, "teacher", {"": teachers_by_arm(runs)}, [ACCURACY], ["cinic10"])


def table2_students(runs: Sequence[Run]) -> pd.DataFrame:
    """Table 2, the students: accuracy under a shift."""
    return pd.concat(
        [
            compare(2, model, _of_students(runs, model), [ACCURACY], ["cinic10"], network=model)
            for model in networks(2, runs)
        ],
        ignore_index=True,
    )


def table3_teachers(runs: Sequence[Run]) -> pd.DataFrame:
    """Table 3, the teachers: accuracy and test loss on MNIST."""
    return compare(3, "teacher", {"": teachers_by_arm(runs)}, [ACCURACY, LOSS], ["mnist"], digits=4)


def table3_students(runs: Sequence[Run], model: str) -> pd.DataFrame:
    """Table 3, the students of one architecture, and the controls."""
    return compare(3, model, _of_students(runs, model), [ACCURACY, LOSS], ["mnist"], digits=4, network=model)


def table4_teachers(runs: Sequence[Run]) -> pd.DataFrame:
    """Table 4, the teachers: class separability, classes by label and by prediction."""
    groups = {"": teachers_by_arm(runs)}
    frames = [compare(4, "teacher", groups, [s], ["cifar10"], digits=2, by=by) for by, s in SEPARABILITY.items()]
    return pd.concat(frames, ignore_index=True)


def table4_students(runs: Sequence[Run]) -> pd.DataFrame:
    """Table 4, the students: class separability, classes by label and by prediction."""
    frames = [
        compare(4, model, _of_students(runs, model), [s], ["cifar10"], digits=2, network=model, by=by)
        for model in networks(4, runs)
        for by, s in SEPARABILITY.items()
    ]
    return pd.concat(frames, ignore_index=True)


def table5(runs: Sequence[Run], *conventions: str) -> pd.DataFrame:
    """Table 5, cohesion, adhesion and discrimination of the teachers, under `conventions` side by side.

    The paper's numbers are those of the convention `table`, the default, and stand beside no other.
    """
    frames = []
    for convention in conventions or ("table",):
        measures = [
            Measure(name, _in_class_space(name, convention), None, name)
            for name in ("cohesion", "adhesion", "discrimination")
        ]
        groups = {convention: teachers_by_arm(runs)}
        beside = convention == "table"
        frames.append(compare(5, "teacher", groups, measures, ["cifar10"], beside_paper=beside))
    return pd.concat(frames, ignore_index=True)


def human_kl(runs: Sequence[Run]) -> pd.DataFrame:
    """The divergence between people and the teachers in each form: the text's, its reverse, and the released code's."""
    measures = [HUMAN_KL, MODEL_HUMAN_KL, RELEASED_HUMAN_KL]
    return _metrics_side_by_side(1, "teacher", {"": teachers_by_arm(runs)}, measures)


def calibration_of_teachers(runs: Sequence[Run]) -> pd.DataFrame:
    """The calibration error of the teachers by bins and edges, and after temperature scaling."""
    return _metrics_side_by_side(1, "teacher", {"": teachers_by_arm(runs)}, CALIBRATIONS)


def calibration_of_students(runs: Sequence[Run], model: str) -> pd.DataFrame:
    """The calibration error of the students of one architecture by bins and edges, and after temperature scaling."""
    return _metrics_side_by_side(1, model, _of_students(runs, model), CALIBRATIONS, network=model)


def entropies(runs: Sequence[Run], temperature: float) -> pd.DataFrame:
    """Mean entropy of the teachers' predictions, as they are and softened: what a student can learn besides labels."""
    measures = [_entropy(1.0, "entropy"), _entropy(temperature, f"entropy at temperature {temperature:g}")]
    return _metrics_side_by_side(1, "teacher", {"": teachers_by_arm(runs)}, measures)


def _metrics_side_by_side(
    n: int, role: str, groups: Mapping[str, Groups], measures: Sequence[Measure], **options
) -> pd.DataFrame:
    """Our own numbers on the test set: a column for each measure, and the form of the loss, if any, in the rows."""
    frame = compare(n, role, groups, measures, ["cifar10"], beside_paper=False, **options)
    if set(groups) != {""}:
        order = pd.Categorical(frame["variant"], list(groups))
        frame = frame.assign(loss=frame["variant"]).iloc[np.argsort(order.codes, kind="stable")]
    return frame.assign(variant=frame["metric"], metric="")


def _entropy(temperature: float, label: str) -> Measure:
    def of_images(run: Run, part: str) -> np.ndarray:
        return metrics.per_image_entropy(run.predictions[f"{part}_logits"], temperature)

    return Measure(label, lambda run, part: float(of_images(run, part).mean()), of_images)


def fidelity(runs: Sequence[Run], teachers: Sequence[Run], model: str, temperature: float) -> pd.DataFrame:
    """How much like the teachers the students of one architecture predict: each like its own.

    `teachers` are those of the students of every arm. The controls, which none of them taught, are held against the
    baseline's teacher of their seed: so much alike are two networks that learned from the same labels.
    """
    logits = {run.spec: run.predictions["test_logits"] for run in teachers}
    baselines = {run.spec.seed: run.spec for run in teachers if not run.spec.augmentations}

    def of_teacher(run: Run) -> np.ndarray:
        return logits[baselines[run.spec.seed] if is_control(run) else run.spec.teacher]

    def agreeing(run: Run, part: str) -> np.ndarray:
        return run.predictions["test_logits"].argmax(axis=1) == of_teacher(run).argmax(axis=1)

    def divergence(softened: float) -> Callable[[Run, str], np.ndarray]:
        return lambda run, part: metrics.per_image_student_teacher_kl(
            run.predictions["test_logits"], of_teacher(run), softened
        )

    measures = [
        Measure("agreement", lambda run, part: float(agreeing(run, part).mean()), agreeing, bounded=True),
        *(
            Measure(label, lambda run, part, of=divergence(softened): float(of(run, part).mean()), divergence(softened))
            for label, softened in (("KL", 1.0), (f"KL at temperature {temperature:g}", temperature))
        ),
    ]
    groups = _of_students(runs, model, control=bool(baselines))
    return _metrics_side_by_side(1, model, groups, measures, digits=4, network=model)


def restraint(runs: Sequence[Run], model: str) -> pd.DataFrame:
    """How far the students of one architecture, and the controls, went in fitting the labels.

    Accuracy on the last epoch's training batches and on the test images; on the latter the mean confidence, and the
    mean size of the logits: the norm of a prediction's logits less their mean.
    """

    def confidence(run: Run, part: str) -> np.ndarray:
        return metrics.softmax(run.predictions[f"{part}_logits"]).max(axis=1)

    def size(run: Run, part: str) -> np.ndarray:
        logits = run.predictions[f"{part}_logits"].astype(np.float64)
        return np.linalg.norm(logits - logits.mean(axis=1, keepdims=True), axis=1)

    measures = [
        trained("accuracy", "training accuracy"),
        replace(ACCURACY, label="test accuracy"),
        Measure("confidence", lambda run, part: float(confidence(run, part).mean()), confidence, bounded=True),
        Measure("logits", lambda run, part: float(size(run, part).mean()), size),
    ]
    return _metrics_side_by_side(1, model, _of_students(runs, model), measures, network=model)


def worth(runs: Sequence[Run], model: str) -> pd.DataFrame:
    """What a teacher is worth: accuracy of each student less that of the controls of its architecture and loss.

    Intervals are widened after Bonferroni for the number of differences under one form of the loss. Raises `TableError`
    where a control, or a seed that all have in common, is missing.
    """
    frames = []
    for form, by_arm in _of_students(runs, model).items():
        if not set(CONTROLS) <= set(by_arm):
            raise TableError(f"{model} under {form}: there are {listing(by_arm)}, expected both controls")
        pairs = {
            (form, arm, f"less {arm_name(control)}"): (arm, control)
            for control in CONTROLS
            for arm in by_arm
            if arm not in (control, "alone")
        }
        frames.append(differences(by_arm, pairs))
    return pd.concat(frames, ignore_index=True)


def teachers_effect(runs: Sequence[Run], model: str) -> pd.DataFrame:
    """What the teacher's augmentation does to students augmented alike: their accuracy less the baseline teacher's.

    Once for students on plain images (Table 6 less the baseline's row), once for students whose images are augmented
    as the teacher's were (Table 8 less Table 7). Widened for the number of differences under one form of the loss.
    """
    frames = []
    for form in reductions(runs):
        found = {place: students_by_arm(runs, model, form, place) for place in ("teacher", "student", "both")}
        if BASELINE not in found["teacher"]:
            continue
        arms = [arm for arm in found["both"] if arm != BASELINE and all(arm in by_arm for by_arm in found.values())]
        pairs = {}
        for arm in arms:
            pairs[form, arm, "on plain images"] = ("teacher", arm), ("teacher", BASELINE)
            pairs[form, arm, "augmented alike"] = ("both", arm), ("student", arm)
        if pairs:
            frames.append(differences(_among(found, pairs), pairs))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def augmentations_effect(runs: Sequence[Run], model: str) -> pd.DataFrame:
    """What augmentation does to a network, taught or not, and what a teacher does to a network augmented alike.

    Differences of accuracy: of a network augmented and the same on plain images, without a teacher and as the student
    of the baseline's (Table 7 less its first row); and, on images augmented alike, of that student and the network
    without a teacher. All forms of the loss are compared at once, as they share the networks without a teacher, and
    widened for the number of differences among them all.
    """
    alone = without_teacher(runs, model)
    found = {form: students_by_arm(runs, model, form, "student") for form in reductions(runs)}
    pairs = {}
    for form, taught in found.items():
        arms = [arm for arm in taught if arm in alone]
        if BASELINE not in arms:
            continue
        others = [arm for arm in arms if arm != BASELINE]
        pairs |= {(form, arm, "augmentation, no teacher"): (("alone", arm), ("alone", BASELINE)) for arm in others}
        pairs |= {(form, arm, "augmentation, taught"): ((form, arm), (form, BASELINE)) for arm in others}
        pairs |= {(form, arm, "student less no teacher"): ((form, arm), ("alone", arm)) for arm in arms}
    return differences(_among(found | {"alone": alone}, pairs), pairs) if pairs else pd.DataFrame()


def _among(found: Mapping[str, Groups], pairs: Mapping[Any, tuple[Any, Any]]) -> dict[tuple[str, str], Sequence[Run]]:
    """The groups that `pairs` compares, by place and arm."""
    compared = dict.fromkeys(at for pair in pairs.values() for at in pair)
    return {(place, arm): found[place][arm] for place, arm in compared}


def differences(
    groups: Mapping[Any, Sequence[Run]], pairs: Mapping[tuple[str, str, str], tuple[Any, ...]]
) -> pd.DataFrame:
    """A row for each form of the loss, arm and variant: the difference of its groups, as `paired_accuracy` takes them.

    Intervals are widened for the number of differences; one that several rows have is one. `devices` says on what the
    networks of a row were trained, `one_device` whether it was the same kind.
    """
    seeds = common_seeds(groups)
    test_set = name_of_test_set(_dataset(run for group in groups.values() for run in group), "test")
    each = list(dict.fromkeys(pairs.values()))
    intervals = dict(zip(each, paired_accuracy(groups, each), strict=True))
    rows = []
    for (form, arm, variant), pair in pairs.items():
        found = intervals[pair]
        compared = [run for key in pair for run in groups[key] if run.spec.seed in seeds]
        devices = sorted({run.metrics["provenance"]["device"] for run in compared})
        rows.append(
            {"test_set": test_set, "loss": form, "metric": "", "arm": arm, "variant": variant}
            | {"paper": np.nan, "printed": "", "paper_set": ""}
            | {"ours": found.mean, "low": found.low, "high": found.high, "n": found.n, "difference": np.nan}
            | {"over": "seeds and images" if found.n > 1 else "images", "absent": "", "digits": 3}
            | {"runs": marks(compared), "devices": listing(devices), "one_device": len(devices) == 1}
        )  # fmt: skip
    return pd.DataFrame(rows)


def paired_accuracy(by_arm: Mapping[Any, Sequence[Run]], pairs: Sequence[tuple[Any, ...]]) -> list[stats.Interval]:
    """Accuracy of the first arm of each pair less that of the second, within a seed and on the same images.

    Four arms are two pairs: the difference of the first less that of the second.

    The intervals are from the hierarchical bootstrap of `kdlib.stats`, with the spread over seeds pooled over all
    arms, and widened for the number of pairs. Raises `TableError` where no seed has every arm.
    """
    seeds = common_seeds(by_arm)
    correct = [
        stats.Quantity(_correct(run, "test")[:, None].astype(float))
        for group in by_arm.values()
        for run in sorted(group, key=lambda run: run.spec.seed)
        if run.spec.seed in seeds
    ]
    values, drawn = stats.resample_images(correct)
    shape = (len(by_arm), len(seeds), 1)
    arms = stats.arms(values.reshape(shape), drawn.reshape(len(drawn), *shape))
    weights = [
        np.array([[sum(sign for sign, one in zip((1.0, -1.0, -1.0, 1.0), pair) if one == arm)] for arm in by_arm])
        for pair in pairs
    ]
    return [arms.contrast(one, comparisons=len(pairs)) for one in weights]


def common_seeds(by_arm: Mapping[Any, Sequence[Run]]) -> set[int]:
    """The seeds that every arm has; raises `TableError` where there is none."""
    seeds = set.intersection(*({run.spec.seed for run in group} for group in by_arm.values()))
    if not seeds:
        raise TableError(f"no seed has all of {listing(by_arm)}")
    return seeds


def table6(runs: Sequence[Run], model: str) -> pd.DataFrame:
    """Table 6: students of augmented teachers, on both test sets."""
    return _appendix(6, model, _of_students(runs, model, "teacher", control=False))


def table7(runs: Sequence[Run], model: str) -> pd.DataFrame:
    """Table 7: augmented students of the baseline teacher."""
    return _appendix(7, model, _of_students(runs, model, "student", control=False))


def table8(runs: Sequence[Run], model: str) -> pd.DataFrame:
    """Table 8: teacher and student augmented in the same way."""
    return _appendix(8, model, _of_students(runs, model, "both", control=False))


def ablation(runs: Sequence[Run], model: str) -> pd.DataFrame:
    """Accuracy by whose images are augmented: Tables 6, 7 and 8 in one view, without the paper's numbers."""
    frames = []
    for form in reductions(runs):
        places = {place: students_by_arm(runs, model, form, place) for place in ("teacher", "student", "both")}
        frames.append(
            compare(6, model, places, [ACCURACY], ["cifar10", "cinic10"], beside_paper=False, network=model, loss=form)
        )
    return pd.concat(frames, ignore_index=True)


def untaught(runs: Sequence[Run], model: str) -> pd.DataFrame:
    """Accuracy of a network trained on labels alone, by the augmentation of its images."""
    groups = {"": without_teacher(runs, model)}
    return compare(7, model, groups, [ACCURACY], ["cifar10", "cinic10"], beside_paper=False, network=model)


def table9(runs: Sequence[Run]) -> pd.DataFrame:
    """Table 9: the teachers on both test sets."""
    return _appendix(9, "teacher", {"": teachers_by_arm(runs)})


def _appendix(n: int, role: str, groups: Mapping[str, Groups]) -> pd.DataFrame:
    labels = {} if role == "teacher" else {"network": role}
    return compare(n, role, groups, [ACCURACY, PRECISION, RECALL, F1], ["cifar10", "cinic10"], **labels)


# ---------------------------------------------------------------- rendering


def render(frame: pd.DataFrame, caption: str, name: str) -> Markdown:
    """A comparison as a numbered table of the book; what its numbers are is added to the caption.

    Label columns that hold one value only are left out, repeated labels are left blank, and the variants of a row
    (the forms of the loss) stand side by side.
    """
    labels = [
        c for c in LABELS if c in frame and c != "variant" and (c == "arm" or frame[c].nunique() > 1)
    ]
    keys = [c for c in LABELS if c in frame and c != "variant"]
    variants = list(dict.fromkeys(frame["variant"]))
    beside_paper = (frame["printed"] != "").any()
    header = [COLUMN_NAMES[c] for c in labels]
    if beside_paper:
        header.append(_paper_header(frame))
    for variant in variants:
        header.append(_variant_header(variant, beside_paper))
        if beside_paper:
            header.append("Difference" if len(variants) == 1 else "Diff.")
    header += ["n", "Runs"]
    body, before = [], [""] * len(labels)
    for _, rows in frame.groupby(keys, sort=False):
        first = rows.iloc[0]
        shown = [_shown(c, first[c]) for c in labels]
        new = [i for i, (old, now) in enumerate(zip(before, shown, strict=True)) if old != now]
        cells = [text if i >= new[0] else "" for i, text in enumerate(shown)]
        before = shown
        if beside_paper:
            cells.append(minus(first["printed"]) or MISSING)
        by_variant = rows.set_index("variant")
        for variant in variants:
            row = by_variant.loc[variant] if variant in by_variant.index else None
            cells.append(ours(row))
            if beside_paper:
                cells.append(difference(row))
        cells.append(" / ".join(dict.fromkeys(str(count) for count in rows["n"])))
        cells.append(_links_once(rows["runs"]))
        body.append(cells)
    align = [":---"] * len(labels) + ["---:"] * (len(header) - len(labels))
    # What repeats another column, what rounds, and what says nothing of any row.
    data = frame.drop(columns=[c for c in frame if c in ("printed", "digits") or (frame[c] == "").all()])
    return directive([header, align, *body], f"{caption} {note(frame)}".strip(), name, data)


def directive(
    lines: Sequence[Sequence[str]], caption: str, name: str, data: pd.DataFrame | None = None
) -> Markdown:
    """A captioned, numbered MyST table with a link to its data; the second line holds the alignment of the columns.

    `data` is what the link gives as CSV, to ten digits; where there is none, the text of the cells.
    """
    if data is None:
        header, _, *rows = [[unmarked(cell) for cell in line] for line in lines]
        data = pd.DataFrame(rows, columns=header)
    return Markdown(f":::{{table}} {caption}\n:name: {name}\n\n{pipes(lines)}\n:::\n\n{csv_link(data, name)}\n")


def unmarked(cell: str) -> str:
    """A cell without its Markdown.

    >>> unmarked("[does not hold]{.red}<br>of `a`, [Table 1](01_teachers.ipynb)")
    'does not hold; of a, Table 1'
    """
    text = re.sub(r"\[([^]]*)\](?:\([^)]*\)|\{[^}]*\})", r"\1", re.sub(r"\{ref\}`([^<`]*) <[^`]*`", r"\1", cell))
    return text.replace("`", "").replace("<br>", "; ").replace(NO_BREAK, " ")


def pipes(lines: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def csv_link(data: pd.DataFrame, name: str) -> str:
    """A link to `data` as the file `<name>.csv`, in HTML.

    The file is within the page, since pages are read from disk too; it is encoded where an address needs it only, so
    that an executed notebook stays small.
    """
    text = data.to_csv(index=False, float_format="%.10g")
    address = f"data:text/csv;charset=utf-8,{urllib.parse.quote(text, safe=' ,.:;+=()[]/-_')}"
    return f'<p class="data"><a download="{name}.csv" href="{html.escape(address)}">CSV</a></p>'


def marks(runs: Iterable[Run]) -> str:
    """The ends of the keys of runs, for a frame's column `runs`."""
    return " ".join(mark(run.key) for run in runs)


def links(marks: str) -> str:
    """Links to the records of runs, each called by its seed; `marks` are the ends of their keys.

    >>> links("s0-3fa9c1d2 s12-0123abcd").replace(NO_BREAK, " ")
    '[0](run:s0-3fa9c1d2), [12](run:s12-0123abcd)'
    """
    return f",{NO_BREAK}".join(f"[{one.partition('-')[0][1:]}](run:{one})" for one in marks.split()) or MISSING


def _links_once(of_variants: Iterable[str]) -> str:
    """The links of a row, variant by variant, each run where it is met first."""
    shown, parts = set(), []
    for found in of_variants:
        if new := [one for one in found.split() if one not in shown]:
            parts.append(links(" ".join(new)))
            shown.update(new)
    return f"{NO_BREAK}/{NO_BREAK}".join(parts) or MISSING


def ours(row: pd.Series | None) -> str:
    """Ours as text: a mean with half its interval, or why there is none.

    >>> ours(pd.Series({"ours": 0.9, "low": 0.88, "high": 0.92, "digits": 3, "absent": ""})).replace(NO_BREAK, " ")
    '0.900 ± 0.020'
    """
    if row is None:  # of a pair that has no meaning, such as a control beside itself
        return MISSING
    if row["absent"]:
        return row["absent"]
    d = int(row["digits"])
    mean = minus(f"{row['ours']:.{d}f}")
    if np.isnan(row["low"]):
        return mean
    below, above = (round(abs(row[end] - row["ours"]), d) for end in ("low", "high"))
    if abs(above - below) < 1.5 * 10**-d:  # but for rounding
        return f"{mean}{NO_BREAK}±{NO_BREAK}{max(below, above):.{d}f}"
    low, high = (minus(f"{row[end]:.{d}f}") for end in ("low", "high"))
    return f"{mean} [{low},{NO_BREAK}{high}]"


def difference(row: pd.Series | None) -> str:
    """Ours less the paper's, with its sign."""
    if row is None or np.isnan(row["difference"]):
        return MISSING
    return minus(f"{row['difference']:+.{int(row['digits'])}f}")


def note(frame: pd.DataFrame) -> str:
    """What the intervals of a comparison are, and what the paper's numbers beside it are of."""
    found = frame[frame["absent"] == ""]
    said = [interval_note(set(found["over"]), any("[" in ours(row) for _, row in found.iterrows()))]
    with_paper = frame[frame["printed"] != ""]
    ours_on = list(dict.fromkeys(frame["test_set"]))
    others = list(dict.fromkeys(with_paper["paper_set"][with_paper["paper_set"] != with_paper["test_set"]]))
    if others:
        said.append(
            f"Ours are of {listing(ours_on)}, the paper's of {listing(others)}: other data, so no difference is formed."
        )
    lacking = set(frame["absent"]) - {"", NOT_RUN}
    if lacking:
        said.append(f"The data set of this page has {listing(sorted(lacking))}.")
    return " ".join(filter(None, said))


def interval_note(over: set[str], uneven: bool) -> str:
    """What "±" means where intervals are `over` seeds, images or nothing; `uneven`: some have two different halves."""
    whole = ", or [the whole of it] where the halves differ" if uneven else ""
    if "seeds and images" in over:
        return f"The mean over n seeds ± half its 95 % interval over seeds and images{whole}."
    if over & {"seeds", POOLED}:
        said = [f"Ours: the mean over n seeds ± half its 95 % interval{whole}."]
        if POOLED in over:
            what, rest = ("", "") if "seeds" not in over else (
                " of test scores between 0 and 1", "; that of other numbers, and of the controls, is each one's own"
            )
            said.append(f"The spread over seeds{what} is pooled over arms with the same seeds{rest}.")
        if "images" in over:
            said.append("Of one seed, the interval is over test images.")
        if "" in over:
            said.append("A number of one seed that is not kept image by image has none.")
        return " ".join(said)
    if "images" in over:
        return (
            f"Ours: one seed ± half a 95 % interval over test images{whole}; "
            f"a number that is not kept image by image has none."
        )
    return "Ours: one seed, for which these numbers have no interval." if over else ""


def _paper_header(frame: pd.DataFrame) -> str:
    other = frame[(frame["printed"] != "") & (frame["paper_set"] != frame["test_set"])]
    sets = dict.fromkeys(other["paper_set"])
    return f"Paper ({', '.join(sets)})" if sets else "Paper"


def _variant_header(variant: str, beside_paper: bool) -> str:
    if not variant:
        return "Ours"
    name = VARIANT_NAMES.get(variant, variant)
    return f"Ours, {name}" if beside_paper else name[0].upper() + name[1:]


def _shown(column: str, value: str) -> str:
    """A label as the page has it."""
    if column == "arm":
        return arm_name(value)
    if column == "network":
        return network_name(value)
    if column == "loss":
        return VARIANT_NAMES.get(value, value) if value else MISSING  # teachers learn under none of its forms
    return {"true": "by label", "predicted": "by prediction"}[value] if column == "by" else value


def minus(text: str) -> str:
    """A number as text, with the sign that is as wide as a plus."""
    return text.replace("-", "−")


# ---------------------------------------------------------------- sentences


def extremes(frame: pd.DataFrame, metric: str = "accuracy") -> Markdown:
    """Where a number is highest and lowest among the arms, in words: a sentence for each test set and network."""
    chosen = frame[(frame["metric"] == metric) & ~frame["arm"].isin(CONTROLS) & (frame["absent"] == "")]
    if chosen.empty:
        return Markdown(f"The {metric} of no arm is known here.")
    groups = [c for c in ("test_set", "network", "by") if c in chosen]
    said = []
    for key, rows in chosen.groupby(groups, sort=False):
        where = dict(zip(groups, key, strict=True))
        who = f"{network_name(where['network'])} students" if "network" in where else "the teachers"
        by = f", classes {_shown('by', where['by'])}," if "by" in where else ""
        clauses = [_extremes_of(one, variant) for variant, one in rows.groupby("variant", sort=False)]
        what = "$S_f$" if metric == "S_f" else metric
        said.append(f"On {where['test_set']}, the {what} of {who}{by} is {'; '.join(clauses)}.")
    return Markdown(said[0] if len(said) == 1 else "\n".join(f"- {sentence}" for sentence in said))


def changes(frame: pd.DataFrame) -> Markdown:
    """How far the accuracy of each arm is from the baseline's, here and in the paper, in words."""
    said = []
    chosen = frame[(frame["metric"] == "accuracy") & ~frame["arm"].isin(CONTROLS) & (frame["absent"] == "")]
    for (test_set, network), rows in chosen.groupby(["test_set", "network"], sort=False):
        ours_by_loss = rows.pivot(index="arm", columns="variant", values="ours")
        theirs = rows.groupby("arm", sort=False)["paper"].first()
        if BASELINE not in ours_by_loss.index or len(ours_by_loss) < 2:
            continue
        found = [f"{_span(ours_by_loss[form])} under {loss_name(form)}" for form in dict.fromkeys(rows["variant"])]
        who = f"{network_name(network)} students"
        one_seed = ", of one seed" if rows["n"].max() == 1 else ""
        text = f"On {test_set}, the accuracy of {who} with augmentation less that without is {listing(found)}{one_seed}"
        said.append(text + (f"; in the paper's table {_span(theirs)}." if theirs.notna().all() else "."))
    return Markdown(said[0] if len(said) == 1 else "\n".join(f"- {sentence}" for sentence in said))


def levels(frame: pd.DataFrame) -> Markdown | None:
    """How far the accuracies of a network are from the paper's, in words; None where the data are not the paper's."""
    chosen = frame[(frame["metric"] == "accuracy") & frame["difference"].notna()]
    said = []
    for (test_set, network), rows in chosen.groupby(["test_set", "network"], sort=False):
        found = [
            f"{_points(of_form['difference'])} under {loss_name(form)}"
            for form, of_form in rows.groupby("variant", sort=False)
        ]
        who = f"the {network_name(network)} students"
        said.append(f"On {test_set}, {who} are {listing(found)} above (+) or below (−) the paper's.")
    return Markdown(" ".join(said)) if said else None


def _points(differences: pd.Series) -> str:
    """The least and the largest of some differences in accuracy."""
    return minus(f"{100 * differences.min():+.1f} to {100 * differences.max():+.1f} points")


def _span(by_arm: pd.Series) -> str:
    """From the least to the largest difference from the baseline, in points."""
    return _points(by_arm.drop(BASELINE) - by_arm[BASELINE])


def _extremes_of(rows: pd.DataFrame, variant: str) -> str:
    top, bottom = rows.loc[rows["ours"].idxmax()], rows.loc[rows["ours"].idxmin()]
    overlap = "; the two intervals overlap" if top["arm"] != bottom["arm"] and top["low"] <= bottom["high"] else ""
    text = (
        f"highest {_with_arm(top['arm'])} ({ours(top)}) and lowest {_with_arm(bottom['arm'])} ({ours(bottom)}{overlap})"
    )
    baseline = rows[rows["arm"] == BASELINE]
    if len(baseline) and BASELINE not in (top["arm"], bottom["arm"]):
        text += f", {ours(baseline.iloc[0])} without augmentation,"
    return (text + (f" under {loss_name(variant)}" if variant in SHORT_LOSSES else "")).removesuffix(",")


def worth_in_words(frame: pd.DataFrame, model: str) -> Markdown:
    """How many arms are clearly above or below each control, by intervals: a sentence for each form of the loss."""
    said = []
    for form, rows in frame.groupby("loss", sort=False):
        clauses = []
        for control in CONTROLS:
            of_arms = rows[(rows["variant"] == f"less {arm_name(control)}") & ~rows["arm"].isin(CONTROLS)]
            above, below = int((of_arms["low"] > 0).sum()), int((of_arms["high"] < 0).sum())
            than = {"alone": "the network without a teacher", "random": "the student of a random teacher"}[control]
            clauses.append(f"{above} are clearly above and {below} clearly below {than}")
        said.append(
            f"Under {loss_name(form)}, of the {network_name(model)} students of {len(of_arms)} trained teachers "
            f"{'; '.join(clauses)}."
        )
    return Markdown("\n".join(f"- {sentence}" for sentence in said))


def teachers_effect_in_words(frame: pd.DataFrame, model: str) -> Markdown:
    """Which augmented teachers make clearly better or worse students than the baseline's, by intervals."""
    said = []
    for form, by_form in frame.groupby("loss", sort=False):
        clauses = [f"{variant} {clearly(rows)}" for variant, rows in by_form.groupby("variant", sort=False)]
        said.append(
            f"Under {loss_name(form)}, {network_name(model)} students of augmented teachers are, beside the baseline "
            f"teacher's, {'; '.join(clauses)}."
        )
    return Markdown("\n".join(f"- {sentence}" for sentence in [*said, *cautions(frame)]))


def augmentations_effect_in_words(frame: pd.DataFrame, model: str) -> Markdown:
    """Whether augmentation needs a teacher to do what it does, and what distillation adds, by intervals."""
    said = []
    for form, by_form in frame[frame["one_device"]].groupby("loss", sort=False):
        found = {variant: clearly(rows) for variant, rows in by_form.groupby("variant", sort=False)}
        if set(by_form[by_form["variant"] == "student less no teacher"]["arm"]) == {BASELINE}:
            found["student less no teacher"] += ", which is said of plain images only"
        clauses = [
            f"{start} {found[variant]}"
            for variant, start in (
                ("augmentation, no teacher", f"augmenting {network_name(model)} without a teacher makes it"),
                ("augmentation, taught", "augmenting a student of the baseline teacher makes it"),
                ("student less no teacher", "beside the network without a teacher on images alike, the student is"),
            )
            if variant in found
        ]
        said.append(f"Under {loss_name(form)}, {'; '.join(clauses)}.")
    return Markdown("\n".join(f"- {sentence}" for sentence in [*said, *cautions(frame)]))


def _which(frame: pd.DataFrame) -> list[str]:
    """The arms of each variant: "*student less no teacher* (Cutout and MixUp)"."""
    by_variant = frame.groupby("variant", sort=False)["arm"]
    return [f"*{variant}* ({listing(dict.fromkeys(map(arm_name, arms)))})" for variant, arms in by_variant]


def cautions(frame: pd.DataFrame) -> list[str]:
    """What has to be known of the intervals of differences where there is one seed, or more than one kind of device."""
    said = []
    if frame.empty:  # it has no columns then
        return said
    if frame["n"].max() == 1:
        said.append(
            "These are differences of one seed: their intervals cover other test images, not another training, which "
            "can turn them round."
        )
    if len(mixed := frame[~frame["one_device"]]):
        said.append(
            f"Some of these networks were trained on other machines than those that they are compared with "
            f"({'; '.join(dict.fromkeys(mixed['devices']))}): {'; '.join(_which(mixed))}. From one seed such machines "
            f"have the same first weights and order of images, but other draws of the augmentation and other rounding. "
            f"Such a difference is nearly as uncertain as one between two seeds, and nothing is said of it above."
        )
    return said


def clearly(rows: pd.DataFrame, more: str = "better", less: str = "worse") -> str:
    """With which arms a difference is clear of zero, by its interval; of one seed, that is said of that training alone.

    Between networks from different kinds of devices none is: intervals over images know nothing of what these do
    otherwise with one seed.
    """
    rows = rows[rows["one_device"]]
    one_seed = len(rows) and rows["n"].max() == 1
    found = [
        f"{f'{word} in this one training' if one_seed else f'clearly {word}'} "
        f"{listing(_with_arm(arm) for arm in some['arm'])}"
        for word, some in ((less, rows[rows["high"] < 0]), (more, rows[rows["low"] > 0]))
        if len(some)
    ]
    return ", ".join(found) or f"neither clearly {more} nor {less}"


def _with_arm(arm: str) -> str:
    return "without augmentation" if arm == BASELINE else f"with {arm_name(arm)}"


def about(settings: Settings, runs: Sequence[Run]) -> Markdown:
    """What this edition of a chapter was made with, in words."""
    text = (
        f"This page was made with the profile `{settings.profile}`: {_networks_and_seeds(runs)}, on "
        f"{name_of_test_set(settings.dataset, 'test')}, teachers under "
        f"{listing(arm_name(augment.label(a)) for a in settings.augmentations)}; "
        f"{len(runs)} runs."
    )
    shifted = next((run.metrics["provenance"].get("shifted") for run in runs if "shifted" in run.metrics), None)
    if shifted:
        text += f" The shifted test set is {shifted}."
    text += reduced(runs)
    if settings.profile == "demo":
        text += " This edition's data are small: it shows the study at work and says nothing of the claims."
    return Markdown(text)


def reduced(runs: Iterable[Run]) -> str:
    """A sentence on those of the paper's networks that are narrower here, empty where none is."""
    narrow = [run for run in runs if run.spec.model in NETWORK_NAMES and run.spec.width < FULL_WIDTH]
    return f" **These are reduced models**: {sizes(narrow)}. The paper's have width {FULL_WIDTH}." if narrow else ""


def sizes(runs: Iterable[Run]) -> str:
    """The trained networks among runs: how wide they are, for how many epochs they are trained, with which seeds."""
    seeds: dict[tuple[str, int], set[int]] = {}
    for run in runs:
        if epochs := run.spec.recipe.epochs:
            seeds.setdefault((sized_name(run.spec), epochs), set()).add(run.spec.seed)
    return listing(f"{name} ({epochs} epochs, {_seeds(found)})" for (name, epochs), found in seeds.items())


def sized_name(spec: Spec) -> str:
    """A network and its width; LeNet has one size."""
    return network_name(spec.model) + ("" if spec.model == "lenet" else f" of width {spec.width}")


def _seeds(found: Iterable[int]) -> str:
    found = sorted(found)
    return f"seed{'s' if len(found) > 1 else ''} {listing(found)}"


def _networks_and_seeds(runs: Iterable[Run]) -> str:
    """The architectures among runs with the seeds of each, told once where they are the same."""
    seeds: dict[str, set[int]] = {}
    for run in runs:
        seeds.setdefault(run.spec.model, set()).add(run.spec.seed)
    told = {model: _seeds(found) for model, found in seeds.items()}
    if len(set(told.values())) == 1:
        return f"{listing(map(network_name, told))}, {next(iter(told.values()))}"
    return listing(f"{network_name(model)} ({text})" for model, text in told.items())


def lacks(runs: Sequence[Run], part: str) -> Markdown | None:
    """A sentence where a data set has no human labels (`human`, the one part that is asked for), else None."""
    if part != "human":
        raise TableError(f"part is {part!r}: expected human")
    if not runs or any(part in run.metrics for run in runs):
        return None
    name = name_of_test_set(_dataset(runs), "test")
    return Markdown(
        f"*How people label the images of {name} is not known: what compares with people is left out below, or "
        "has the hard labels in their place.*"
    )


def people_among_themselves(runs: Sequence[Run]) -> Markdown | None:
    """A sentence on how near people are to people; None where nobody was asked, or where it is not known here."""
    ceiling = human_ceiling(_dataset(runs))
    if ceiling is None:
        return None
    return Markdown(
        f"People themselves diverge from each other by {ceiling:.3f} nats: the mean over images of the divergence "
        f"between random halves of those who judged it, one of them smoothed like the votes above (by "
        f"{metrics.HUMAN_SMOOTHING:g}; less smoothing gives more). A half has fewer votes than all, so that a model "
        "may be nearer."
    )


def what_weights_do(runs: Sequence[Run]) -> Markdown:
    """How far weighting classes by their images, as the released code does, moves precision and F1, in words."""
    groups = {"": teachers_by_arm(runs)}
    pairs = {PRECISION: WEIGHTED_PRECISION, F1: WEIGHTED_F1}
    frame = compare(9, "teacher", groups, [*pairs, *pairs.values()], ["cifar10", "cinic10"], beside_paper=False)
    said = []
    for test_set, rows in frame[frame["absent"] == ""].groupby("test_set", sort=False):
        by_metric = rows.pivot(index="arm", columns="metric", values="ours")
        moved = max((by_metric[a.label] - by_metric[b.label]).abs().max() for a, b in pairs.items())
        said.append(f"less than {np.floor(moved * 1e4 + 1) / 1e4:.4f} on {test_set}")
    if not said:
        return Markdown("No teacher has been run.")
    return Markdown(
        f"Weighted by the images of each class, as in the released code, precision and F1 of the teachers differ by "
        f"{listing(said)}."
    )


# ---------------------------------------------------------------- sanity


@dataclass(frozen=True)
class Expectation:
    """The accuracy that a network at full size, trained long enough with a sound recipe, is known to reach."""

    dataset: str
    model: str
    epochs: int  # at least
    arm: str | None  # None: every arm
    low: float
    high: float = 1.0

    def applies(self, run: Run, arm: str) -> bool:
        spec = run.spec
        same = (spec.dataset, spec.model, spec.width) == (self.dataset, self.model, FULL_WIDTH)
        return same and spec.recipe.epochs >= self.epochs and self.arm in (None, arm)

    def told(self) -> str:
        return f"at least {self.low:.3f}" if self.high == 1 else f"{self.low:.2f} to {self.high:.2f}"


# Of ResNet-18: airbench's baselines, and DeVries & Taylor (2017) with a margin for the shorter training. Of LeNet and
# MNIST: what such networks usually reach, with or without a teacher.
EXPECTATIONS = (
    Expectation("cifar10", "resnet18", 80, "crop_flip", 0.945),
    Expectation("cifar10", "resnet18", 80, "none", 0.86, 0.90),
    Expectation("mnist", "alexnet", 10, None, 0.99),
    Expectation("mnist", "lenet", 10, None, 0.99),
    Expectation("cifar10", "lenet", 30, None, 0.60, 0.75),
)


def sanity(teachers: Sequence[Run], students: Sequence[Run], caption: str, name: str) -> Markdown | None:
    """Test accuracy of each network, seed by seed, beside what is expected of its like, and what is outside of it.

    Students of a random teacher are left out: nobody knows what to expect of them. None where nothing is known
    beforehand of networks of that size on that data.
    """
    groups = {f"{network_name(run.spec.model)} teacher": teachers_by_arm(teachers) for run in teachers[:1]}
    for model in dict.fromkeys(run.spec.model for run in students):
        for form in reductions(students):
            groups[f"{network_name(model)}, {VARIANT_NAMES.get(form, form)}"] = students_by_arm(students, model, form)
        groups[f"{network_name(model)}, labels"] = {"alone": without_teacher(students, model).get(BASELINE, [])}
    lines, outside = [], []
    for who, by_arm in groups.items():
        for arm, runs in by_arm.items():
            for expected in (one for one in EXPECTATIONS if runs and one.applies(runs[0], arm)):
                found = [run.metrics["test"]["accuracy"] for run in runs]
                missed = [f"{accuracy:.4f}" for accuracy in found if not expected.low <= accuracy <= expected.high]
                if missed:
                    outside.append(f"{who} ({arm_name(arm)}) with {listing(missed)}, expected {expected.told()}")
                lines.append([
                    who,
                    arm_name(arm),
                    expected.told(),
                    ", ".join(f"{accuracy:.4f}" for accuracy in found),
                    f"{len(found) - len(missed)} of {len(found)}" if missed else "yes",
                    links(marks(runs)),
                ])  # fmt: skip
    if not lines:
        return None
    header = ["Network", "Augmentation", "Expected", "Found, by seed", "Inside", "Runs"]
    table = directive([header, [":---", ":---", "---:", "---:", ":---", "---:"], *lines], caption, name)
    said = f"Outside of what is expected: {'; '.join(outside)}." if outside else "All of them are as expected."
    return Markdown(f"{table}\n{said}\n")


# ---------------------------------------------------------------- further tables


def recipes(runs: Sequence[Run], caption: str, name: str) -> Markdown:
    """How the networks were trained, a line for each architecture and length of training."""
    lines = {}
    for run in runs:
        spec, recipe = run.spec, run.spec.recipe
        if recipe.epochs == 0:
            continue
        role = "labels and teacher" if isinstance(spec, Student) else "labels"
        width = MISSING if spec.model == "lenet" else f"{spec.width}"  # LeNet has one size
        lines[role, spec.model, recipe] = [
            network_name(spec.model).replace("-", "\N{NON-BREAKING HYPHEN}"), role, width, f"{recipe.epochs}",
            f"{recipe.batch_size}",
            f"{recipe.peak_lr:g}", f"{recipe.weight_decay:g}", f"{recipe.clip_norm:g}" if recipe.clip_norm else MISSING,
        ]  # fmt: skip
    header = [
        "Network", "Learns from", "Width", "Epochs", "Batch", "Peak rate", "Weight decay", "Clipped at",
    ]  # fmt: skip
    align = [":---", ":---", *["---:"] * 6]
    return directive([header, align, *lines.values()], caption, name)


def training_accuracy(runs: Sequence[Run], caption: str, name: str) -> Markdown:
    """Accuracy and loss of each teacher arm on its training batches and on the test images, after the last epoch."""
    header = ["Augmentation", "Training batches", "Training loss", "Test images", "Test loss", "n", "Runs"]
    by_arm = teachers_by_arm(runs)
    measures = [("training batches", trained("accuracy")), ("training batches", trained("loss"))]
    measures += [("test", ACCURACY), ("test", LOSS)]
    columns = [(of, measure.label, measure_arms(by_arm, measure, "test")) for of, measure in measures]
    lines, data = [], []
    for arm, group in by_arm.items():
        cells = [ours(pd.Series(found[arm] | {"digits": 3})) for _, _, found in columns]
        lines.append([arm_name(arm), *cells, str(len(group)), links(marks(group))])
        data += [{"arm": arm, "metric": label, "of": of} | found[arm] for of, label, found in columns]
    said = interval_note({row["over"] for row in data}, any("[" in cell for line in lines for cell in line[1:5]))
    return directive([header, [":---", *["---:"] * 6], *lines], f"{caption} {said}".strip(), name, pd.DataFrame(data))


def trained(column: str, label: str = "") -> Measure:
    """A column of the learning curve, in the last epoch: how far it spreads depends on what the images went through."""
    return Measure(
        label or column,
        lambda run, part: float(run.history[column].iloc[-1]),
        bounded=column == "accuracy",
        own_spread=True,
    )


def all_runs(runs: Sequence[Run]) -> Markdown:
    """Every run of a chapter, with a link to its record: what it scored, what it took, and what it was made with."""
    rows = []
    for run in runs:
        spec, made = run.spec, run.metrics["provenance"]
        of = spec.teacher if isinstance(spec, Student) else None
        rows.append(
            {
                "run": run.key,
                "teacher's images": (augment.label(of.augmentations) if is_taught(spec) else "random") if of else "",
                "own images": augment.label(spec.augmentations),
                "loss": spec.reduction if of else "",
                "seed": spec.seed,
                "accuracy": run.metrics["test"]["accuracy"],
                "test loss": run.metrics["test"]["nll"],
                "ECE": run.metrics["test"]["ece"],
                "shifted accuracy": run.metrics["shifted"]["accuracy"] if "shifted" in run.metrics else "",
                "seconds": made["seconds"],
                "device": made["device"],
                "commit": made["commit"],
            }
        )
    data = pd.DataFrame(rows)
    scores = ("accuracy", "test loss", "ECE", "shifted accuracy")
    align = ["---:" if column in (*scores, "seed", "seconds") else ":---" for column in data]
    lines = [
        [f"[{key}](run:{mark(key)})", *(minus(f"{x:.4f}") if isinstance(x, float) and c in scores else str(x)
         for c, x in zip(data.columns[1:], others))]
        for key, *others in data.itertuples(index=False)
    ]  # fmt: skip
    return Markdown(f"{pipes([list(data), align, *lines])}\n\n{csv_link(data, 'runs')}\n")
