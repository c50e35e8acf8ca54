"""Every number of the paper's Tables 1-9, as printed (Das et al., 2020, arXiv 2006.03810), and ours beside them.

The numbers lie in paper.csv, one cell a line; `TABLES` says which cells must exist, so that a lost or doubled one is
found on loading. Ids are those of `kdlib.results.names`; `network` is "teacher" or a student's architecture.
"""

import functools
import itertools
from collections.abc import Sequence
from importlib import resources

import numpy as np
import pandas as pd

from kdlib import KdlibError
from kdlib.results import measures
from kdlib.results.measures import Measure
from kdlib.results.names import AUGMENTATIONS, BASELINE, PAPER_TEST_SETS, listing, test_set_name


class PaperError(KdlibError, ValueError):
    """A table or cell that the paper does not have, a damaged paper.csv, or runs that can't stand beside it."""


KEYS = ("table", "augmentation", "network", "test_set", "metric")
# The teacher's augmentation; in Table 7 it is the student's, in Table 8 teacher's and student's.
_ALL, _STUDENTS = tuple(AUGMENTATIONS), ("lenet", "alexnet")
_BOTH_SETS, _REPORT = ("cifar10", "cinic10"), ("accuracy", "precision", "recall", "f1")
TABLES = {  # augmentations, networks, test sets and metrics, in the paper's order
    1: (_ALL, ("teacher", *_STUDENTS), ("cifar10",), ("accuracy", "kl_to_humans", "ece")),
    2: (_ALL, ("teacher", *_STUDENTS), ("cinic10",), ("accuracy",)),
    3: (("none", "mixup", "cutmix"), ("teacher", "lenet"), ("mnist",), ("accuracy", "loss")),
    4: (_ALL, ("teacher", *_STUDENTS), ("cifar10",), ("class_separability",)),
    5: (_ALL, ("teacher",), ("cifar10",), ("cohesion", "adhesion", "discrimination")),
    6: (_ALL, _STUDENTS, _BOTH_SETS, _REPORT),
    7: (_ALL, ("lenet",), _BOTH_SETS, _REPORT),
    8: (_ALL, ("lenet",), _BOTH_SETS, _REPORT),
    9: (_ALL, ("teacher",), _BOTH_SETS, _REPORT),
}
# Which of our test sets stands beside which of the paper's.
SPLITS = {"cifar10": "test", "cinic10": "shifted", "mnist": "test"}
# What stands beside a metric of the paper: where text, tables and code disagree, each convention.
MEASURES = {
    "accuracy": (measures.ACCURACY,), "precision": (measures.PRECISION,), "recall": (measures.RECALL,),
    "f1": (measures.F1,), "loss": (measures.LOSS,), "ece": (measures.ECE,),
    "kl_to_humans": (measures.HUMAN_KL, measures.RELEASED_HUMAN_KL),
    "class_separability": (measures.SEPARABILITY, measures.SEPARABILITY_PREDICTED),
    "cohesion": (measures.COHESION,), "adhesion": (measures.ADHESION,), "discrimination": (measures.DISCRIMINATION,),
}  # fmt: skip


# ---------------------------------------------------------------- the paper's numbers


def _read(source) -> pd.DataFrame:
    """The cells of a CSV file, validated against `TABLES`."""
    remedy = "reinstall kdlib"
    cells = pd.read_csv(source, dtype=str, keep_default_na=False)  # "none" is an augmentation, not a missing value
    if tuple(cells.columns) != (*KEYS, "value"):
        raise PaperError(f"paper.csv has the columns {list(cells)}, not {[*KEYS, 'value']}: {remedy}.")
    found = cells[list(KEYS)].value_counts()
    expected = {(str(n), *cell) for n, of in TABLES.items() for cell in itertools.product(*of)}
    wrong = sorted((set(found.index) ^ expected) | set(found.index[found > 1]))
    if wrong:
        raise PaperError(f"paper.csv lacks, repeats or adds {len(wrong)} cells, such as {wrong[0]}: {remedy}.")
    number = cells["value"].str.fullmatch(r"-?\d+\.\d+")
    if not number.all():
        raise PaperError(f"paper.csv holds {cells['value'][~number].iloc[0]!r} where a number is due: {remedy}.")
    return cells.assign(table=cells["table"].astype(int), printed=cells["value"], value=cells["value"].astype(float))


@functools.cache
def _cells() -> pd.DataFrame:
    with resources.files("kdlib.results").joinpath("paper.csv").open(encoding="utf-8") as source:
        return _read(source)


@functools.cache
def _printed() -> dict[tuple, str]:
    cells = _cells()
    return dict(zip(cells[list(KEYS)].itertuples(index=False, name=None), cells["printed"], strict=True))


def published() -> pd.DataFrame:
    """Every cell of Tables 1-9, one a row: table (int), augmentation, network, test_set, metric, value (float) and
    printed (the paper's digits as text, such as "0.070")."""
    return _cells().copy()


def value(table: int, augmentation: str, network: str, test_set: str, metric: str) -> float:
    """One cell; PaperError if the paper prints no such number.

    >>> value(5, "mixup", "teacher", "cifar10", "cohesion")
    0.793
    """
    wanted = (augmentation, network, test_set, metric)
    for name, options, asked in zip(KEYS[1:], _table(table), wanted, strict=True):
        if asked not in options:
            raise PaperError(f"Table {table} has no {name} {asked!r}: it has {', '.join(options)}.")
    return float(_printed()[table, *wanted])


def column(table: int, metric: str, test_set: str = "cifar10") -> pd.Series:
    """A column of a table, of its teachers, by augmentation."""
    return pd.Series({one: value(table, one, "teacher", test_set, metric) for one in _table(table)[0]})


@functools.cache
def half_a_digit(table: int) -> float:
    """By how much the numbers of a table may be rounded.

    >>> half_a_digit(1)
    0.0005
    """
    _table(table)
    decimals = max(len(text.partition(".")[2]) for (n, *_), text in _printed().items() if n == table)
    return 10.0**-decimals / 2


def printed_table(n: int) -> pd.DataFrame:
    """Table n in the paper's order, a row an augmentation; its cells are text, digit for digit as printed."""
    augmentations, networks, test_sets, metrics = _table(n)
    columns = list(itertools.product(networks, test_sets, metrics))
    body = [[_printed()[n, augmentation, *column] for column in columns] for augmentation in augmentations]
    return pd.DataFrame(body, list(augmentations), pd.MultiIndex.from_tuples(columns, names=KEYS[2:]))


def _table(n: int) -> tuple:
    if n not in TABLES:
        raise PaperError(f"The paper has no Table {n}: choose one of Tables 1 to {max(TABLES)}.")
    return TABLES[n]


# ---------------------------------------------------------------- ours

LEVEL = ("measure", "title", "digits", "split", "ours", "seeds", "n", "runs")
APART = ("dataset", "network", "width", "epochs", "budget", "loss", "teacher_augmentation", "augmentation", "control")


def levels(
    rows: pd.DataFrame, chosen: Sequence[Measure], split: str | None = None, by: Sequence[str] = APART
) -> pd.DataFrame:
    """What was measured over the seeds of each kind of network, told apart `by` columns: a row a kind and measure.

    To these columns come those of `LEVEL`: the measure, `ours` (the mean over runs), `seeds` (the number of each run in
    the order of teachers' seeds, then their own), `n` (teachers' seeds) and `runs` (marks), all of the runs that have
    such a number: slim ones may lack it. Where none has, `n` is 0.
    """
    found = []
    for labels, group in rows.groupby(list(by), sort=False):
        group = group.sort_values(["teacher_seed", "seed"])
        if len(doubled := group[group.duplicated(["teacher_seed", "seed"], keep=False)]):
            raise PaperError(f"runs {listing(doubled['mark'])} have the same seeds: pass those of one setting.")
        for one in chosen:
            at = split or one.split
            values = pd.Series([one.value(run, at) for run in group["run"]], group.index, dtype=float).dropna()
            known = group.loc[values.index]
            found.append(
                dict(zip(by, labels, strict=True))
                | one.named
                | {"split": at, "ours": float(np.mean([*values])) if len(values) else np.nan}
                | {"seeds": tuple(values), "n": known["teacher_seed"].nunique(), "runs": " ".join(known["mark"])}
            )
    return pd.DataFrame(found, columns=[*by, *LEVEL])


def rows_of(rows: pd.DataFrame, table: int) -> pd.DataFrame:
    """The rows that a table of the paper is about, with two columns more: `as_network`, what paper.csv calls the
    network, and `row`, the augmentation or control that the table's line is about.

    Tables 1 to 6 have students on plain images, 7 those of the baseline's teacher, 8 those that are augmented as their
    teachers were; controls stand beside Tables 1 to 4, and a network without a teacher under each form of the loss.
    """
    taught = rows[(rows["loss"] != "") & ~rows["control"]]
    plain = {7: taught["teacher_augmentation"] == BASELINE, 8: taught["teacher_augmentation"] == taught["augmentation"]}
    students = taught[plain.get(table, taught["augmentation"] == BASELINE)]
    students = students.assign(row=students["augmentation" if table == 7 else "teacher_augmentation"])
    controls = rows[rows["control"] & (rows["augmentation"] == BASELINE) & (table <= 4)]
    controls = controls.assign(row=controls["teacher_augmentation"])
    forms = pd.concat([taught, controls[controls["loss"] != ""]])[["network", "budget", "loss"]].drop_duplicates()
    alone = controls[controls["loss"] == ""].drop(columns="loss").merge(forms, on=["network", "budget"])
    students = pd.concat([students, controls[controls["loss"] != ""], alone])
    teachers = rows[(rows["loss"] == "") & ~rows["control"]]
    teachers = teachers.assign(row=teachers["augmentation"], as_network="teacher")
    return pd.concat([teachers, students.assign(as_network=students["network"])], ignore_index=True)


def beside_paper(rows: pd.DataFrame, table: int, chosen: Sequence[Measure] | None = None) -> pd.DataFrame:
    """The numbers of one of the paper's tables with ours beside them: a row a number, of theirs, of ours or of both.

    Columns: `network` (as in paper.csv), `test_set` (ours, as it is called), `paper_set` (theirs), `measure`, `title`,
    `digits`, `augmentation` (or a control), `loss`, `budget`, `paper` and `printed`; `ours`, `seeds`, `n`, `runs` as in
    `levels`, `difference` (ours less theirs, where the data are the same), `absent` ("not run", "no such number" or
    ""). The order is that of the paper; other networks, other augmentations and controls follow. `chosen` are the
    measures, by default those of `MEASURES`; beside what the paper does not print stands nothing.
    """
    augmentations, networks, test_sets, metrics = _table(table)
    chosen = list(chosen or (one for metric in metrics for one in MEASURES[metric]))
    ours = rows_of(rows, table)
    datasets = list(dict.fromkeys(ours["dataset"]))
    if len(datasets) > 1:
        raise PaperError(f"the runs are of {listing(datasets)}: a table is of one data set.")
    by = ("as_network", "row", "loss", "budget")
    found = {
        tuple(at): cell
        for split in dict.fromkeys(SPLITS[test_set] for test_set in test_sets)
        for *at, cell in ((*(row[c] for c in (*by, "measure", "split")), row)
                          for row in levels(ours, chosen, split, by).to_dict("records"))
    }  # fmt: skip
    sides = set(ours["as_network"] == "teacher")  # whether there are teachers, and whether there are students
    theirs = [one for one in networks if not sides or (one == "teacher") in sides]
    out = []
    for network in dict.fromkeys([*theirs, *ours["as_network"]]):
        here = ours[(ours["as_network"] == "teacher") == (network == "teacher")]
        forms = list(here[["loss", "budget"]].drop_duplicates().itertuples(index=False, name=None)) or [("", "")]
        own = here[here["as_network"] == network]
        lines = dict.fromkeys([*augmentations, *own["row"][~own["control"]], *own["row"][own["control"]]])
        for test_set, one, line, form in itertools.product(test_sets, chosen, lines, forms):
            printed = _printed().get((table, line, network, test_set, one.printed), "")
            cell = found.get((network, line, *form, one.name, SPLITS[test_set]), {})
            name = test_set_name(datasets[0], SPLITS[test_set]) if datasets else PAPER_TEST_SETS[test_set]
            both = [cell.get("ours", np.nan), float(printed) if printed else np.nan]
            out.append(
                {"network": network, "test_set": name, "paper_set": PAPER_TEST_SETS[test_set]}
                | one.named
                | {"augmentation": line, "loss": form[0], "budget": form[1], "paper": both[1], "printed": printed}
                | {"ours": both[0], "seeds": cell.get("seeds", ()), "n": cell.get("n", 0)}
                | {"difference": both[0] - both[1] if name == PAPER_TEST_SETS[test_set] else np.nan}
                | {"runs": cell.get("runs", "")}
                | {"absent": "not run" if not cell else "" if cell["n"] else "no such number"}
            )
    return pd.DataFrame(out)
