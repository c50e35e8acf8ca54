"""A page for each run that the book links to: what it is, what it scored, its history, where it comes from.

A link `[0](run:s0-3fa9c1d2)` names a run by the end of its key and leads to `runs/s0-3fa9c1d2.html`. These pages are
made from the run store by `templates/` at each build, with the run's own files beside them; `runs/index.html` lists
them. Runs are looked for in `KDLIB_RUNS` and then in the project's `runs/`, and their checksums are compared. A link to
a run that is whole in neither is a warning, an error under `-W`.
"""

import functools
import pprint
import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import jinja2
import pandas as pd
from docutils import nodes
from sphinx.util import logging

PROJECT = next(up for up in Path(__file__).resolve().parents if (up / "kdlib").is_dir())
TEMPLATES = Path(__file__).parent / "templates"
FRAME, TITLE, BODY = "runs/frame", "title-of-a-record", "body-of-a-record"  # what stands there in the one page made
FILES = ("spec.json", "metrics.json", "history.csv", "SHA256SUMS")
SPLITS = {
    "test": "Test images", "shifted": "Shifted test images", "human": "KL divergence from and to people's labels",
    "validation": "Training images that were held out",
}  # fmt: skip
SCORES = {  # as they are stored, and as the pages have them
    "accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "F1", "nll": "loss", "loss": "loss",
    "brier": "Brier score", "ece": "ECE", "ece_adaptive": "ECE, equal mass", "mean_confidence": "mean confidence",
    "mean_entropy": "mean entropy, nats", "class_separability_true": "class separability, classes by label",
    "class_separability_predicted": "class separability, classes by prediction", "human_model": "KLD",
    "model_human": "KLD, model to people",
}  # fmt: skip
CURVES = {  # columns of a history that are drawn
    "loss": "Training loss", "accuracy": "Training accuracy", "validation_loss": "Validation loss",
    "validation_accuracy": "Validation accuracy",
}  # fmt: skip
log = logging.getLogger(__name__)


def setup(app):
    sys.path.append(str(PROJECT))  # the package need not be installed for the book to be built
    app.connect("config-inited", lambda app, config: config.templates_path.append(str(TEMPLATES)))
    app.connect("doctree-read", note_links)
    app.connect("html-collect-pages", pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "env_version": 1}  # of what `note_links` keeps


def pages(app) -> Iterator[tuple[str, dict, str]]:
    """What Sphinx writes besides the chapters: name, context and template of each page.

    What the theme puts around the record of a run is the same for all: it is made once, as a page that they fill in.
    """
    known = with_teachers(linked_runs(app.env))
    if not known:
        return
    rows = [(mark, run.key, run.metrics.get("test", {})) for mark, run in known.items()]
    yield "runs/index", {"title": "Runs", "runs": rows}, "run_index.html"
    yield FRAME, {"title": TITLE, "body": BODY}, "page.html"
    made = Path(app.outdir, f"{FRAME}.html")
    frame = made.read_text(encoding="utf-8")
    made.unlink()
    for mark, run in known.items():
        target = Path(app.outdir, "runs", mark)
        target.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            shutil.copyfile(run.folder / name, target / name)
        page = frame.replace(FRAME, f"runs/{mark}").replace(TITLE, run.key).replace(BODY, body(run, known))
        target.with_suffix(".html").write_text(page, encoding="utf-8")


# ---------------------------------------------------------------- which runs
# `runs` is imported within functions: it takes seconds, for the sake of PyTorch.


def note_links(app, doctree: nodes.document) -> None:
    """Keep the marks of the runs that a page links to: looking them up afterwards would read every page once more."""
    links = (Path(link["refuri"]).stem for link in doctree.findall(nodes.reference) if "run" in link["classes"])
    app.env.metadata[app.env.docname]["runs"] = " ".join(dict.fromkeys(links))


def linked_runs(env) -> dict:
    """The runs that pages link to, by the ends of their keys."""
    found = {}
    for page in sorted(env.found_docs):
        for mark in env.metadata[page]["runs"].split():
            if run := found.get(mark) or whole_run(mark):
                found[mark] = run
            else:
                looked = " or ".join(map(str, stores()))
                log.warning("the link run:%s leads nowhere: no whole run in %s has a key with that end: "
                            "set KDLIB_RUNS to the folder that holds it", mark, looked, location=page)  # fmt: skip
    return found


def with_teachers(found: dict) -> dict:
    """The same with the teachers of the students among them, by the ends of their keys."""
    from kdlib import runs

    for teacher in [run.spec.teacher for run in found.values() if hasattr(run.spec, "teacher")]:
        mark = runs.mark(runs.key(teacher))
        if run := found.get(mark) or whole_run(mark):
            found[mark] = run
    return dict(sorted(found.items(), key=lambda pair: pair[1].key))


def stores() -> list[Path]:
    from kdlib import runs

    return list(dict.fromkeys([runs.default_store(), PROJECT / "runs"]))


def whole_run(mark: str):
    """The run whose key has that end; None where there is none that is whole, and a warning of what is damaged."""
    from kdlib import runs

    faults = []
    for store in stores():
        for folder in sorted(store.glob(f"*-{mark}")):
            try:
                run = runs.find(folder.name, store)
                run.check()
                return run
            except runs.RunError as fault:
                faults.append(fault)
    for fault in faults:
        log.warning("%s", fault)
    return None


# ---------------------------------------------------------------- what their pages hold


def body(run, known: dict) -> str:
    """The record of one run in HTML; `known` are the runs that have a page, by the ends of their keys."""
    return template().render(record(run, known))


@functools.cache
def template() -> jinja2.Template:
    return jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES)).get_template("run_record.html")


def record(run, known: dict) -> dict:
    """What `run_record.html` shows of a run."""
    from kdlib import runs
    from kdlib.results.names import test_set_name

    spec, scores, history = run.spec, run.metrics, run.history
    teacher = getattr(spec, "teacher", None)
    page = runs.mark(runs.key(teacher)) if teacher else None
    return {
        "title": run.key,
        "mark": runs.mark(run.key),
        "network": network(spec),
        "data": test_set_name(spec.dataset, "test"),
        "seed": spec.seed,
        "teacher": network(teacher) if teacher else None,
        "teacher_page": page if page in known else None,
        "scores": [(title, numbers(scores[split])) for split, title in SPLITS.items() if split in scores],
        "provenance": list(scores["provenance"].items()),
        "code": code(spec),
        "lacks": lacks(run),
        "curves": [curve(history[name], title) for name, title in CURVES.items() if has(history, name)],
        "columns": list(history),
        "epochs": history.to_numpy().tolist(),
        "files": FILES,
        "judged": "test" in scores,  # else predictions are not kept
        "kept": "Its predicted classes are" if run.is_slim else "Its predictions are",
    }


def network(spec) -> str:
    """A network in words: its size, where it has several, and what was done to its images."""
    from kdlib.results.names import BASELINE, augmentation_name, network_name

    size = "" if spec.model == "lenet" else f" of width {spec.width}"
    images = augmentation_name("+".join(spec.augmentations) or BASELINE)
    made = "never trained" if spec.recipe.epochs == 0 else f"augmentation: {images}"
    part = ", trained on one half of the images" if spec.half else ""
    return f"{network_name(spec.model)}{size} ({made}{part})"


def numbers(scores: dict) -> list[tuple[str, str]]:
    return [
        (SCORES.get(name, name), f"{value:.6g}") for name, value in scores.items() if isinstance(value, int | float)
    ]


def code(spec) -> str:
    """The Python that makes a run."""
    parts = (spec, spec.recipe, getattr(spec, "teacher", spec))
    names = ", ".join(sorted({type(part).__name__ for part in parts}))
    made = textwrap.indent(pprint.pformat(spec, width=88), "    ")
    return f"from kdlib.runs import {names}, ensure\n\nensure([\n{made},\n])"


def lacks(run) -> str:
    """What a student is taught by, where the store does not hold it; else nothing."""
    from kdlib import runs

    file = runs.taught_from(run.spec)
    if file is None or (run.beside(run.spec.teacher).folder / file).is_file():
        return ""
    return {runs.TRAIN_LOGITS: "logits on the training images", runs.WEIGHTS: "weights"}[file]


def has(history: pd.DataFrame, column: str) -> bool:
    return column in history and len(history) > 0 and bool(history[column].notna().all())


def curve(values: pd.Series, title: str) -> dict:
    """A column of the history against the epoch, as the points of a line in a box of 300 x 68."""
    low, high = values.min(), values.max()
    right, up = 300 / max(len(values) - 1, 1), 60 / ((high - low) or 1.0)
    points = (f"{right * i:.1f},{64 - up * (value - low):.1f}" for i, value in enumerate(values))
    return {"title": title, "first": values.iloc[0], "last": values.iloc[-1], "points": " ".join(points)}
