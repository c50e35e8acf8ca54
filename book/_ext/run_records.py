"""A page for each run that the book links to: what it is, what it scored, its history, where it comes from.

A link `[0](run:s0-3fa9c1d2)` names a run by the end of its key and leads to `runs/s0-3fa9c1d2.html`. These pages are
written from the run store at each build, with the run's own files beside them, and `runs/index.html` lists them. Runs
are looked for in `KDLIB_RUNS` and then in the project's `runs/`. A link to a run that is in neither is a warning, an
error under `-W`.
"""

import html
import json
import os
import pprint
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd
from docutils import nodes
from sphinx.util import logging

PROJECT = next(up for up in Path(__file__).resolve().parents if (up / "kdlib").is_dir())
FILES = ("spec.json", "metrics.json", "history.csv")
PARTS = {"test": "Test images", "shifted": "Shifted test images", "human": "KL divergence from and to people's labels"}
log = logging.getLogger(__name__)


def setup(app):
    sys.path.append(str(PROJECT))  # the package need not be installed for the book to be built
    app.connect("html-collect-pages", pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def pages(app) -> Iterator[tuple[str, dict, str]]:
    """What Sphinx writes besides the chapters: name, context and template of each page."""
    folders = with_teachers(linked_runs(app.env))
    for mark, folder in folders.items():
        target = Path(app.outdir, "runs", mark)
        target.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            shutil.copyfile(folder / name, target / name)
        yield f"runs/{mark}", {"title": folder.name, "body": record(folder, folders)}, "page.html"
    if folders:
        yield "runs/index", {"title": "Runs", "body": index(folders)}, "page.html"


# ---------------------------------------------------------------- which runs


def linked_runs(env) -> dict[str, Path]:
    """The folders of the runs that pages link to, by the ends of their keys."""
    found: dict[str, Path] = {}
    for page in sorted(env.found_docs):
        for link in env.get_doctree(page).findall(nodes.reference):
            if "run" not in link["classes"]:
                continue
            mark = Path(link["refuri"]).stem
            folder = found.get(mark) or folder_of(mark)
            if folder:
                found[mark] = folder
            else:
                looked = " or ".join(map(str, stores()))
                log.warning("the link run:%s leads nowhere: no whole run in %s has a key with that end: "
                            "set KDLIB_RUNS to the folder that holds it", mark, looked, location=page)  # fmt: skip
    return found


def with_teachers(found: dict[str, Path]) -> dict[str, Path]:
    """The same with the teachers of the students among them, by key."""
    from kdlib import runs  # takes seconds, for the sake of PyTorch

    for folder in list(found.values()):
        teacher = read(folder, "spec.json").get("teacher")
        if teacher:
            mark = runs.mark(runs.key(runs.from_canonical(teacher)))
            at = folder_of(mark)
            found |= {mark: at} if at else {}
    return dict(sorted(found.items(), key=lambda pair: pair[1].name))


def stores() -> list[Path]:
    named = [Path(os.environ["KDLIB_RUNS"])] if os.environ.get("KDLIB_RUNS") else []
    return [*named, PROJECT / "runs"]


def folder_of(mark: str) -> Path | None:
    """The folder of a whole run, or None."""
    folders = (folder for store in stores() for folder in sorted(store.glob(f"*-{mark}")))
    return next((folder for folder in folders if all((folder / name).is_file() for name in FILES)), None)


def read(folder: Path, name: str) -> dict:
    return json.loads((folder / name).read_text())


# ---------------------------------------------------------------- what their pages hold


def record(folder: Path, known: dict[str, Path]) -> str:
    """One run as HTML."""
    from kdlib import runs

    spec, scores = runs.from_canonical(read(folder, "spec.json")), read(folder, "metrics.json")
    mark, history = runs.mark(folder.name), pd.read_csv(folder / "history.csv")
    parts = [f"<h1>{escaped(folder.name)}</h1>", f"<p>{what(spec, known)}</p>"]
    parts += ["<h2>Scores</h2>"]
    for part, title in PARTS.items():
        if part in scores:
            found = scores[part].items()
            numbers = {name: f"{value:.6g}" for name, value in found if isinstance(value, int | float)}
            parts.append(table(numbers.items(), title))
    parts += ["<h2>Provenance</h2>", table(scores["provenance"].items(), "Where, when and with what it was made")]
    parts += ["<h2>Settings</h2>", "<p>This makes the run where the store does not hold it yet:</p>", code(spec)]
    command = f"<code>python -m kdlib again {escaped(folder.name)}</code>"
    parts.append(f"<p>Train it again beside the store, and compare: {command}{needs(spec, folder.parent)}.</p>")
    if len(history):
        parts += ["<h2>History</h2>", *(curve(history, column) for column in ("loss", "accuracy")), epochs(history)]
    files = ", ".join(f'<a href="{mark}/{name}">{name}</a>' for name in FILES)
    parts += ["<h2>Files</h2>", f"<p>{files}. Its predictions are in the folder <code>{escaped(folder.name)}</code> of "
              'the run store. <a href="index.html">All runs of this book</a>.</p>']  # fmt: skip
    return "\n".join(parts)


def what(spec, known: dict[str, Path]) -> str:
    """A run in a sentence."""
    from kdlib import augment, runs, tables

    def network(one) -> str:
        images = tables.arm_name(augment.label(one.augmentations))
        made = "never trained" if one.recipe.epochs == 0 else f"augmentation: {images}"
        return escaped(f"{tables.sized_name(one)} ({made})")

    data = escaped(tables.name_of_test_set(spec.dataset, "test"))
    if isinstance(spec, runs.Supervised):
        return f"{network(spec)} trained on the labels of {data}, with seed {spec.seed}."
    mark = runs.mark(runs.key(spec.teacher))
    teacher = f'<a href="{mark}.html">{network(spec.teacher)}</a>' if mark in known else network(spec.teacher)
    return f"{network(spec)} distilled on {data} from {teacher}, with seed {spec.seed}."


def needs(spec, store: Path) -> str:
    """Words on what a student is taught by, where the store does not hold it."""
    from kdlib import runs

    file = runs.taught_from(spec) if isinstance(spec, runs.Distilled) else None
    if file is None or (store / runs.key(spec.teacher) / file).is_file():
        return ""
    what = {runs.TRAIN_LOGITS: "logits on the training images", runs.WEIGHTS: "weights"}[file]
    return f". This needs its teacher's {what}, which are not kept with these runs"


def code(spec) -> str:
    """The Python that makes a run."""
    text = (
        "from kdlib.runs import Recipe, Distilled, Supervised, ensure\n\n"
        f"ensure([\n{textwrap.indent(pprint.pformat(spec, width=88), '    ')},\n])"
    )
    return f"<pre>{escaped(text)}</pre>"


def table(rows: Iterable[tuple[str, object]], caption: str) -> str:
    body = "".join(f"<tr><th scope='row'>{escaped(name)}</th><td>{escaped(value)}</td></tr>" for name, value in rows)
    return framed(body, caption)


def framed(body: str, caption: str) -> str:
    """Rows as a table that scrolls within itself where it is wider than the page."""
    return (
        "<div class='pst-scrollable-table-container'><table class='table record'>"
        f"<caption>{escaped(caption)}</caption><tbody>{body}</tbody></table></div>"
    )


def curve(history: pd.DataFrame, column: str) -> str:
    """A column of the history against the epoch, as a small line drawing in the colour of the text."""
    values = history[column].to_numpy()
    low, high = values.min(), values.max()
    height = (high - low) or 1.0
    step = 300 / max(len(values) - 1, 1)
    points = " ".join(f"{step * i:.1f},{64 - 60 * (value - low) / height:.1f}" for i, value in enumerate(values))
    said = f"Training {column} from {values[0]:.4g} in the first epoch to {values[-1]:.4g} in the last"
    return (
        f"<figure class='curve'><figcaption>{said}</figcaption>"
        f"<svg viewBox='0 0 300 68' role='img' aria-label='{said}'>"
        f"<polyline points='{points}' fill='none' stroke='currentColor' stroke-width='1.5'/></svg></figure>"
    )


def epochs(history: pd.DataFrame) -> str:
    text = history.to_html(index=False, border=0, float_format="{:.5g}".format)
    return f"<details><summary>Every epoch</summary>{text}</details>"


def index(folders: dict[str, Path]) -> str:
    """The list of all runs as HTML."""
    rows = "".join(
        f"<tr><th scope='row'><a href='{mark}.html'>{escaped(folder.name)}</a></th>"
        f"<td>{read(folder, 'metrics.json')['test']['accuracy']:.4f}</td></tr>"
        for mark, folder in folders.items()
    )
    said = f"<h1>Runs</h1><p>The {len(folders)} runs that this book's tables link to, and their teachers.</p>"
    return said + framed(rows, "Accuracy on the test images")


def escaped(value: object) -> str:
    return html.escape(str(value))
