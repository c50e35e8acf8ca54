"""Every number of the paper's Tables 1-9, as printed (Das et al., 2020, arXiv 2006.03810).

The numbers lie in paper.csv, one cell a line; a layout per table says how the paper prints them.
The layouts also define which cells must exist, so a lost or doubled cell is found on loading.
"""

import functools
import itertools
import textwrap
from dataclasses import dataclass
from importlib import resources

import pandas as pd

from kdlib import KdlibError


class PaperError(KdlibError):
    """A table or cell that the paper does not have, or a damaged paper.csv."""


KEYS = ("table", "model", "role", "test_set", "metric")
# The teacher's arm; in Table 7 the augmentation is the student's, in Table 8 teacher's and student's.
MODELS = ("none", "crop_flip", "cutout", "mixup", "cutmix")

TITLES = {
    1: "Performance of the different Teacher and Student Models on CIFAR-10 Test Set. The KLD Metric is "
    "the distance between Human labeled confidence scores and Model prediction probabilities. Expected "
    "Calibration Error(ECE) measures prediction quality",
    2: "Performance on CINIC-Imagenet Test Set.",
    3: "Performance of the different Teacher and Student Models on MNIST Test Set.",
    4: "Class Separability Score S_f",
    5: "Class Discrimination Evaluation for Teacher Models",
    6: "Appendix Table: All Student Metrics trained from ResNet18 CIFAR Teachers",
    7: "Appendix Table: All Baseline Teacher with Augmented Student Test Metrics trained from CIFAR-10",
    8: "Appendix Table: All ResNet Teacher - Student with same Augmentation Test Metrics trained from CIFAR-10",
    9: "Appendix Table: All Teacher Test Metrics trained from CIFAR-10",
}


@dataclass(frozen=True)
class _Layout:
    """How a table is printed.

    `rows` maps each printed row label to its values of `row_keys`, `columns` likewise; a constant of
    the whole table stands in `fixed`. Together the three name every key of a cell but the table.
    """

    row_names: tuple[str, ...]
    row_keys: tuple[str, ...]
    rows: dict[tuple[str, ...], tuple[str, ...]]
    column_keys: tuple[str, ...]
    columns: dict[tuple[str, ...], tuple[str, ...]]
    fixed: dict[str, str]

    def cell(self, row: tuple[str, ...], column: tuple[str, ...]) -> tuple[str, str, str, str]:
        """(model, role, test_set, metric) of the cell under two printed labels."""
        keys = (
            self.fixed
            | dict(zip(self.row_keys, self.rows[row], strict=True))
            | dict(zip(self.column_keys, self.columns[column], strict=True))
        )
        return tuple(keys[k] for k in KEYS[1:])

    def cells(self) -> list[tuple[str, str, str, str]]:
        return [self.cell(r, c) for r, c in itertools.product(self.rows, self.columns)]


def _by_model(columns, column_keys, baseline="BASELINE", models=MODELS, corner="MODELS", **fixed) -> _Layout:
    """Tables 1-5: one row per augmentation."""
    printed = (baseline, "AUGMENT", "CUTOUT", "MIXUP", "CUTMIX")
    rows = {(label,): (m,) for label, m in zip(printed, MODELS, strict=True) if m in models}
    return _Layout((corner,), ("model",), rows, column_keys, columns, fixed)


def _appendix(roles: dict[str, str]) -> _Layout:
    """Tables 6-9: one row per augmentation, network and test set."""
    arms = dict(zip(("Baseline", "Augmentation", "Cut Out", "Mix Up", "Cut Mix"), MODELS, strict=True))
    tests = {"CIFAR-10": "cifar10", "CINIC": "cinic10"}
    rows = {
        (a, r, t): (arms[a], roles[r], tests[t]) for a, r, t in itertools.product(arms, roles, tests)
    }
    columns = {("Accuracy",): ("accuracy",), ("Precision",): ("precision",), ("Recall",): ("recall",),
               ("F1-Score",): ("f1",)}  # fmt: skip
    return _Layout(("", "Model", "Test Set"), ("model", "role", "test_set"), rows, ("metric",), columns, {})


def _grouped(groups: dict[str, str], metrics: dict[str, str]) -> dict[tuple[str, str], tuple[str, str]]:
    return {(g, m): (groups[g], metrics[m]) for g, m in itertools.product(groups, metrics)}


# The labels are the paper's own, its misspelt BASILINE and BASLINE included.
_LAYOUTS = {
    1: _by_model(
        _grouped({"TEACHER": "teacher", "LENET STUDENT": "lenet", "ALEXNET STUDENT": "alexnet"},
                 {"ACCURACY": "accuracy", "KLD": "kl_to_humans", "ECE": "ece"}),
        ("role", "metric"), test_set="cifar10",
    ),
    2: _by_model(
        {("TEACHER",): ("teacher",), ("LENET-ACCURACY",): ("lenet",), ("ALEXNET-ACCURACY",): ("alexnet",)},
        ("role",), test_set="cinic10", metric="accuracy",
    ),
    3: _by_model(
        _grouped({"ALEXNET TEACHER": "teacher", "LENET STUDENT": "lenet"},
                 {"ACCURACY": "accuracy", "LOSS": "loss"}),
        ("role", "metric"), baseline="BASILINE", models=("none", "mixup", "cutmix"), test_set="mnist",
    ),
    4: _by_model(
        {("TEACHER",): ("teacher",), ("LENET",): ("lenet",), ("ALEXNET",): ("alexnet",)},
        ("role",), baseline="BASLINE", test_set="cifar10", metric="class_separability",
    ),
    5: _by_model(
        {("COHESION",): ("cohesion",), ("ADHESION",): ("adhesion",), ("DISCRIMINATION",): ("discrimination",)},
        ("metric",), corner="METRICS", role="teacher", test_set="cifar10",
    ),
    6: _appendix({"LeNet": "lenet", "AlexNet": "alexnet"}),
    7: _appendix({"LeNet": "lenet"}),
    8: _appendix({"LeNet": "lenet"}),
    9: _appendix({"ResNet": "teacher"}),
}  # fmt: skip


def _layout(n: int) -> _Layout:
    if n not in _LAYOUTS:
        raise PaperError(f"The paper has no Table {n}: choose one of Tables 1 to {max(_LAYOUTS)}.")
    return _LAYOUTS[n]


def _read(source) -> pd.DataFrame:
    """The cells of a CSV file, validated against the layouts."""
    remedy = "reinstall kdlib"
    cells = pd.read_csv(source, dtype=str, keep_default_na=False)  # "none" is an arm, not a missing value
    if tuple(cells.columns) != (*KEYS, "value"):
        raise PaperError(f"paper.csv has the columns {list(cells)}, not {[*KEYS, 'value']}: {remedy}.")
    found = cells[list(KEYS)].value_counts()
    expected = {(str(n), *cell) for n, layout in _LAYOUTS.items() for cell in layout.cells()}
    wrong = sorted((set(found.index) ^ expected) | set(found.index[found > 1]))
    if wrong:
        raise PaperError(f"paper.csv lacks, repeats or adds {len(wrong)} cells, such as {wrong[0]}: {remedy}.")
    number = cells["value"].str.fullmatch(r"-?\d+\.\d+")
    if not number.all():
        raise PaperError(f"paper.csv holds {cells['value'][~number].iloc[0]!r} where a number is due: {remedy}.")
    return cells.assign(table=cells["table"].astype(int), printed=cells["value"], value=cells["value"].astype(float))


@functools.cache
def _cells() -> pd.DataFrame:
    with resources.files("kdlib").joinpath("paper.csv").open(encoding="utf-8") as source:
        return _read(source)


@functools.cache
def _printed() -> dict[tuple, str]:
    cells = _cells()
    return dict(zip(cells[list(KEYS)].itertuples(index=False, name=None), cells["printed"], strict=True))


def load() -> pd.DataFrame:
    """Every cell of Tables 1-9, one a row: table (int), model, role, test_set, metric,
    value (float) and printed (the paper's digits as text, such as "0.070")."""
    return _cells().copy()


def value(table: int, model: str, role: str, test_set: str, metric: str) -> float:
    """One cell; PaperError if the paper prints no such number.

    >>> value(5, "mixup", "teacher", "cifar10", "cohesion")
    0.793
    """
    cells = _layout(table).cells()
    wanted = (model, role, test_set, metric)
    if wanted not in cells:
        known = "; ".join(
            f"{key} {', '.join(dict.fromkeys(options))}"
            for key, options in zip(KEYS[1:], zip(*cells, strict=True), strict=True)
        )
        raise PaperError(f"Table {table} has no cell {', '.join(map(str, wanted))}: it has {known}.")
    return float(_printed()[table, *wanted])


def table(n: int) -> pd.DataFrame:
    """Table n with the paper's labels and order; its cells are text, digit for digit as printed."""
    layout = _layout(n)
    printed = _printed()
    rows, columns = list(layout.rows), list(layout.columns)
    if len(columns[0]) == 1:
        column_index = pd.Index([c for (c,) in columns])
    else:
        column_index = pd.MultiIndex.from_tuples(columns)
    if len(rows[0]) == 1:
        row_index = pd.Index([r for (r,) in rows], name=layout.row_names[0])
    else:
        row_index = pd.MultiIndex.from_tuples(rows, names=layout.row_names)
    body = [[printed[n, *layout.cell(r, c)] for c in columns] for r in rows]
    return pd.DataFrame(body, index=row_index, columns=column_index)


def as_text(n: int) -> str:
    """Table n with its caption, for a terminal of at least 100 columns."""
    body = table(n).to_string().splitlines()
    caption = textwrap.wrap(f"Table {n}. {TITLES[n]}", 100)
    return "\n".join([*caption, "", *(line.rstrip() for line in body)])
