"""The published book: its executed notebooks, its prose and its built pages; and that each gate fails on a fault."""

import copy
import json
from pathlib import Path

import gates
import nbformat
import pandas as pd
import pytest
from gates import ROOT, read_notebook

from kdlib import fetch, models
from kdlib.report import markdown, press

SOURCES = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXECUTED = sorted((ROOT / "book").glob("*.ipynb"))
PROSE = [*sorted((ROOT / "book").glob("**/*.md")), *SOURCES]

# Constants of method that prose may state, each with where it comes from. Whatever we measured is no such constant.
METHOD = {
    "95 % interval": "the level of kdlib.results.contrasts",
    "probability of 0.5 that the paper names": "the paper, Section 4.1",
    "parameters 0.5 and 1": "the same",
    "probability of 0.5 is never drawn": "the same; the released code's train function",
    "SGD, momentum 0.99, no weight decay": "the released code's notebook of students",
    "Nesterov momentum 0.9": "the recipe in kdlib.train",
    "1.3 times as many parameters": "kdlib.models: checked below",
    "Python 3.11": "pyproject.toml, requires-python",
    "archive of 0.7 GB": "kdlib.fetch.CINIC10_ARCHIVE: checked below",
    "All 50,000, in the original order": "CIFAR-10's size; kdlib.data refuses another",
    "All 10,000, in the original order": "the same",
    "The first 1,000 are exact": "how the copy of the test images came about",
    "A sample of 1,531 images": "the runs' provenance: checked below",
    "used the 70,000 ImageNet images of the test fold": "kdlib.fetch.CINIC10_IMAGES: checked below",
    "at most 200 of the 10,000": "how the copy of the test images came about",
}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# ---------------------------------------------------------------- notebooks


def test_there_are_as_many_executed_notebooks_as_sources():
    assert SOURCES and [path.name for path in SOURCES] == [path.name for path in EXECUTED]


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_source_has_no_outputs(path):
    assert gates.outputs_in_source(read_notebook(path)) == []


@pytest.mark.parametrize("path", EXECUTED, ids=name)
def test_an_executed_notebook_ended_well(path):
    assert gates.unfinished_cells(read_notebook(path)) == []


@pytest.mark.parametrize("path", EXECUTED, ids=name)
def test_an_executed_notebook_stays_small(path):
    assert path.stat().st_size < 400_000


@pytest.mark.parametrize("path", EXECUTED, ids=name)
def test_an_executed_notebook_is_of_its_source(path):
    notebook = read_notebook(path)
    assert gates.stale_cells(notebook, read_notebook(ROOT / "notebooks" / path.name)) == []
    assert gates.unlike_its_record(notebook, path.stem) == []


def test_all_chapters_are_of_one_edition():
    parameters = [read_notebook(path).metadata["papermill"]["parameters"] for path in EXECUTED]
    assert len({str(each) for each in parameters if each}) == 1


# ---------------------------------------------------------------- prose


def test_a_comparison_has_one_interval_in_the_whole_book():
    found = [gates.contrasts_of(gates.read_notebook(path)) for path in EXECUTED]
    rows = pd.concat(found, ignore_index=True)
    if rows.empty:
        pytest.skip("the published tables do not name the runs of a comparison")
    assert rows["table"].nunique() > 10 and gates.unequal_intervals(rows) == []


@pytest.mark.parametrize("path", PROSE, ids=name)
def test_numbers_in_prose_are_read_not_typed(path):
    text = path.read_text(encoding="utf-8") if path.suffix == ".md" else gates.texts_of(read_notebook(path))
    assert gates.typed_numbers(text, METHOD) == []


def test_every_allowed_constant_is_in_use():
    texts = [gates.texts_of(read_notebook(path)) for path in SOURCES]
    texts += [path.read_text(encoding="utf-8") for path in PROSE if path.suffix == ".md"]
    prose = " ".join(" ".join(part for text in texts for part in gates.prose_of(text)).split())
    assert [phrase for phrase in METHOD if phrase not in prose] == []


def test_the_data_are_as_large_as_the_text_says():
    assert f"{fetch.CINIC10_ARCHIVE.size / 1e9:.1f}" == "0.7" and fetch.CINIC10_IMAGES == 70_000
    scores = [json.loads(path.read_text()) for path in ROOT.glob("runs/cifar10-*/metrics.json")]
    shifted = [one["provenance"]["shifted"] for one in scores if "shifted" in one]
    assert shifted and all("1,531" in text for text in shifted)


def test_alexnet_has_as_many_times_the_parameters_as_the_text_says():
    alexnet, resnet = (sum(p.numel() for p in models.build(which).parameters()) for which in ("alexnet", "resnet18"))
    assert f"{alexnet / resnet:.1f}" == "1.3"


# ---------------------------------------------------------------- pages


def test_every_page_of_the_contents_has_one_title(site):
    assert gates.wrong_headings(site, press.toc_entries(ROOT / "book" / "_toc.yml")) == []


def test_no_link_within_the_book_is_broken(site):
    assert gates.broken_links(site) == []


def test_no_page_fetches_anything_from_another_host(site):
    assert gates.remote_assets(site) == []


def test_every_image_is_described(site):
    assert gates.poor_alt_texts(site) == []


# ---------------------------------------------------------------- planted faults


@pytest.fixture(scope="module")
def written():
    cells = [
        nbformat.v4.new_markdown_cell("# Title", id="a"),
        nbformat.v4.new_code_cell("x = 1", id="b", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("print(x)", id="c", metadata={"mystnb": {"figure": {"caption": "Old."}}}),
    ]
    return nbformat.v4.new_notebook(cells=cells)


@pytest.fixture(scope="module")
def as_reported(written, tmp_path_factory):
    """It, executed as the report does it: once, as a kernel takes a while to start."""
    folder = tmp_path_factory.mktemp("executed")
    (folder / "notebooks").mkdir()
    nbformat.write(written, folder / "notebooks" / "01_a.ipynb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(press, "ROOT", folder)
        chapter = press.read_chapter(folder / "notebooks" / "01_a.ipynb")
        foot = press.page_foot("demo", press.origin([]), "python -m kdlib report --profile demo")
        press.execute_notebook(chapter, {"x": 2, "profile": "demo"}, folder / "01_a.ipynb", foot)
    return read_notebook(folder / "01_a.ipynb")


@pytest.fixture
def source(written):
    return copy.deepcopy(written)


@pytest.fixture
def executed(as_reported):
    return copy.deepcopy(as_reported)


def test_a_notebook_as_the_report_executes_it_passes(executed, source):
    assert gates.unfinished_cells(executed) == gates.stale_cells(executed, source) == []
    assert gates.unlike_its_record(executed, "01_a") == []


def test_an_error_a_pending_cell_and_a_cell_executed_apart_are_found(executed):
    executed.cells[1].execution_count = None
    executed.cells[2].execution_count = 7
    error = nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])
    executed.cells[3].outputs = [error]
    first, second, third = gates.unfinished_cells(executed)
    assert first == "b: not executed"
    assert second.startswith("given-parameters: executed as number 7")
    assert third == "c: ValueError: no"


def change(cell: int, **fields):
    def plant(notebook):
        notebook.cells[cell].update(fields)

    return plant


STALE = {
    "text": change(0, source="# Another title"),
    "code": change(2, source="print(x + 1)"),
    "type": change(1, cell_type="raw"),
    "caption": change(2, metadata={"mystnb": {"figure": {"caption": "New."}}}),
    "cell added": lambda notebook: notebook.cells.append(nbformat.v4.new_code_cell("1", id="d")),
    "cell removed": lambda notebook: notebook.cells.pop(),
    "cells exchanged": lambda notebook: notebook.cells.reverse(),
}


@pytest.mark.parametrize("fault", STALE)
def test_a_notebook_whose_source_has_changed_is_found(executed, source, fault):
    STALE[fault](source)
    assert gates.stale_cells(executed, source)


@pytest.mark.parametrize("fault", ["parameters", "notebook", "foot", "no record"])
def test_a_notebook_unlike_its_record_is_found(executed, fault):
    if fault == "parameters":
        executed.cells[2].source = "# Parameters\nx = 3\nprofile = 'demo'"
    elif fault == "notebook":
        executed.metadata["papermill"]["input_path"] = "notebooks/02_b.ipynb"
    elif fault == "foot":
        executed.cells[-1].source = "*Edition `cpu`; made by `python -m kdlib report --profile cpu`.*"
    else:
        del executed.metadata["papermill"]
    assert gates.unlike_its_record(executed, "01_a")


def with_table(name: str, **columns):
    """A notebook whose only cell shows a table with this data."""
    data = pd.DataFrame({"runs": ["s0-0000000a s1-0000000b", "s0-0000000c"], **columns})
    link = markdown.csv_link(data, name)
    output = nbformat.v4.new_output("display_data", data={"text/markdown": link})
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=[output])])


def test_a_comparison_with_two_intervals_is_found():
    one = with_table("one", estimate=[0.1, 0.2], low=[0.0, 0.1], high=[0.2, 0.3], measure=["accuracy", "accuracy"])
    same = with_table("same", estimate=[0.1, 0.2], low=[0.0, 0.1], high=[0.2, 0.3])
    wider = with_table("wider", estimate=[0.1, 0.2], low=[0.0, 0.0], high=[0.2, 0.4])
    recall = with_table("recall", estimate=[0.1, 0.2], low=[0.0, 0.0], high=[0.2, 0.4], measure=["recall", "recall"])

    def gate(*notebooks):
        return gates.unequal_intervals(pd.concat([gates.contrasts_of(notebook) for notebook in notebooks]))

    assert gate(one, same) == gate(one, recall) == []
    (found,) = gate(one, wider)
    assert "s0-0000000c" in found and "[0.1, 0.3] in one but [0.0, 0.4] in wider" in found


def test_a_table_of_levels_has_no_comparison():
    assert gates.contrasts_of(with_table("levels", ours=[0.5, 0.6], low=[0.4, 0.5], high=[0.6, 0.7])).empty


def test_an_output_in_a_source_is_found(source):
    source.cells[1].execution_count = 3
    source.cells[2].outputs = [nbformat.v4.new_output("stream", text="1")]
    assert [finding[0] for finding in gates.outputs_in_source(source)] == ["b", "c"]


@pytest.fixture
def page(tmp_path):
    """Writes a page beside another one, a style sheet and an image, and returns the folder of both."""

    def write(body: str, style: str = "") -> Path:
        site = tmp_path / "site"
        (site / "_images").mkdir(parents=True)
        (site / "_images" / "a.png").touch()
        (site / "other.html").write_text("<article><h1>Other</h1><p id='there'></p></article>")
        (site / "book.css").write_text(style)
        (site / "index.html").write_text(f"<html><body><article><h1>Title</h1>{body}</article></body></html>")
        return site

    return write


def test_a_sound_page_passes(page):
    body = """<a href="other.html#there">x</a> <a href="#here">y</a> <p id="here"></p> <a href="https://arxiv.org">z</a>
        <img src="_images/a.png" alt="Bars of test accuracy."> <link rel="canonical" href="https://example.org/a">
        <script>const address = "https://example.org"; // fetch it?</script>"""
    site = page(body, "/* url(https://example.org/a.png) */ p { background: url('_images/a.png') }")
    assert gates.broken_links(site) == gates.remote_assets(site) == gates.poor_alt_texts(site) == []
    assert gates.wrong_headings(site, ["index", "other"]) == []


DEAD = {
    "page": '<a href="gone.html">x</a>',
    "anchor here": '<a href="#gone">x</a>',
    "anchor there": '<a href="other.html#gone">x</a>',
    "image": '<img src="_images/gone.png" alt="Bars of test accuracy.">',
    "one of two sizes": '<img srcset="_images/a.png 1x, _images/gone.png 2x" alt="Bars of test accuracy.">',
    "script": '<script src="gone.js"></script>',
    "style": '<p style="background: url(gone.png)"></p>',
    "root of the host": '<a href="/other.html">x</a>',
    "outside": '<a href="../outside.html">x</a>',
    "folder": '<a href="_images">x</a>',
}


@pytest.mark.parametrize("fault", DEAD)
def test_a_dead_link_is_found(page, tmp_path, fault):
    (tmp_path / "outside.html").touch()
    assert len(gates.broken_links(page(DEAD[fault]))) == 1


REMOTE = {
    "script": '<script src="https://example.org/a.js"></script>',
    "script of the page's own scheme": '<script src="//example.org/a.js"></script>',
    "style sheet": '<link rel="stylesheet" href="https://example.org/a.css">',
    "host that is greeted": '<link rel="preconnect" href="https://example.org">',
    "image": '<img src="https://example.org/a.png" alt="Bars of test accuracy.">',
    "image of a second size": '<img srcset="_images/a.png 1x, https://example.org/a.png 2x" alt="Bars of accuracy.">',
    "frame": '<iframe src="https://example.org"></iframe>',
    "object": '<object data="https://example.org/a.svg"></object>',
    "form": '<form action="https://example.org/search"></form>',
    "vector image": '<svg><image xlink:href="https://example.org/a.png"/></svg>',
    "refresh": '<meta http-equiv="refresh" content="0; url=https://example.org">',
    "style": "<style>@import 'https://example.org/a.css';</style>",
    "style of an element": '<p style="background: url(https://example.org/a.png)"></p>',
    "fetch": "<script>fetch('https://example.org/a.json')</script>",
    "import": '<script type="module">import mermaid from "https://example.org/a.mjs"</script>',
    "request": '<script>request.open("GET", "https://example.org/a")</script>',
    "script added by a script": '<script>element.src = "https://example.org/a.js"</script>',
}


@pytest.mark.parametrize("fault", REMOTE)
def test_a_remote_asset_is_found(page, fault):
    assert len(gates.remote_assets(page(REMOTE[fault]))) == 1


STYLES = ["@import url(https://example.org/a.css);", "@font-face { src: url('//example.org/a') }"]


@pytest.mark.parametrize("style", STYLES)
def test_a_remote_asset_of_a_style_sheet_is_found(page, style):
    assert len(gates.remote_assets(page("", style))) == 1


ALT = ["", 'alt=""', 'alt="  "', 'alt="_images/a.png"', 'alt="../_build/jupyter_execute/a.png"', 'alt="figure"']


@pytest.mark.parametrize("alt", [*ALT, 'alt="the file a.png"', 'alt="Figure 1"'])
def test_an_image_without_a_description_is_found(page, alt):
    assert len(gates.poor_alt_texts(page(f'<img src="_images/a.png" {alt}>'))) == 1


@pytest.mark.parametrize(("body", "names"), [("<h1>Second</h1>", ["index"]), ("", ["index", "gone"])])
def test_a_page_with_two_titles_and_a_missing_page_are_found(page, body, names):
    assert len(gates.wrong_headings(page(body), names)) == 1


TYPED = {
    "Accuracy rose to 93.1 %.": "93.1 %",
    "a gap of −0.012 in accuracy": "−0.012",
    "two thirds, or 67%, of the arms": "67%",
    "It takes 42 minutes.": "42 minutes",
    "with 3 percentage points": "3 percentage points",
    "- and 1.7 GB of memory": "1.7 GB",
    "| a | b |\n|---|---|\n| x | 0.941 |": "0.941",
    "```{note}\nA mean of 0.3.\n```": "0.3",
    ":::{table} Mean: 0.25\n| a |\n|---|\n| b |\n:::": "0.25",
    "```{figure} a.svg\n:alt: A bar at 0.77\n\nBars.\n```": "0.77",
    "<p>plain 0.5</p>": "0.5",
    "# A title with 9.5": "9.5",
}


@pytest.mark.parametrize("text", TYPED)
def test_a_typed_number_is_found(text):
    (found,) = gates.typed_numbers(text, METHOD)
    assert found.startswith(TYPED[text])


READ = [
    "With $\\tau = 0.5$ and\n\n$$p = 0.25$$\n",
    "`weight = 0.5` and\n\n```bash\nrun --rate 0.1\n```\n",
    "```{math}\n:label: x\n0.5\n```",
    "Section 3.4, Sections 4.1 and 4.2, Table 1 and Figure 2",
    "16 × 16 pixels, 10 classes, ResNet-18, 4 pixels, seeds 0 and 1, CIFAR-10",
    "a [link](https://example.org/v1.25) in 2020",
]


@pytest.mark.parametrize("text", READ)
def test_what_is_read_or_no_result_may_stand_in_prose(text):
    assert gates.typed_numbers(text) == []


def test_an_allowed_constant_is_allowed_in_its_phrase_only():
    text = "with a 95 % interval; 95 % of the students"
    (found,) = gates.typed_numbers(text, METHOD)
    assert "of the students" in found


def test_captions_and_descriptions_of_figures_are_prose(source):
    source.cells[2].metadata["mystnb"] = {"figure": {"caption": "Mean: 0.3."}, "image": {"alt": "A bar of 0.4"}}
    assert len(gates.typed_numbers(gates.texts_of(source))) == 2
