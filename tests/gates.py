"""What may not be in the notebooks, the prose and the built pages. A gate takes them and returns its findings.

Gates on pages take the folder of the built HTML, so that they hold for any page that is ever added. They say nothing
of what a page looks like or does: that is for the browser, in test_browser.py.
"""

import copy
import html
import io
import posixpath
import re
import warnings
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import nbformat
import pandas as pd
import yaml
from bs4 import BeautifulSoup, XMLParsedAsHTMLWarning
from markdown_it.renderer import RendererHTML
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser
from nbformat import NotebookNode
from nbstripout import strip_output

ROOT = Path(__file__).parents[1]

# ---------------------------------------------------------------- executed notebooks

# What `kdlib.report.press.execute_notebook` adds to the source: the cell of parameters, and the edition's name.
ADDED = {"given-parameters", "edition"}


def unfinished_cells(notebook: NotebookNode) -> list[str]:
    """Code that ended with an exception, that was not executed, or not in one go from top to bottom."""
    found = []
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    for place, cell in enumerate(cells, 1):
        found += [f"{cell.id}: {out.ename}: {out.evalue}" for out in cell.outputs if out.output_type == "error"]
        if cell.execution_count is None:
            found.append(f"{cell.id}: not executed")
        elif cell.execution_count != place:
            found.append(f"{cell.id}: executed as number {cell.execution_count}, but it is code cell {place}")
    return found


def stale_cells(notebook: NotebookNode, source: NotebookNode) -> list[str]:
    """Cells that are not what the committed source has: the notebook was executed from another one."""
    executed = [as_written(cell) for cell in notebook.cells if cell.id not in ADDED]
    written = [as_written(cell) for cell in source.cells]
    if [cell["id"] for cell in executed] != [cell["id"] for cell in written]:
        odd = {cell["id"] for cell in executed} ^ {cell["id"] for cell in written}
        return [f"its cells are not those of the source, or in another order: {', '.join(sorted(odd)) or 'order'}"]
    pairs = zip(executed, written, strict=True)
    parts = ((cell["id"], part) for cell, old in pairs for part in cell if cell[part] != old[part])
    return [f"{one}: its {part} is not the source's" for one, part in parts]


def as_written(cell: NotebookNode) -> dict:
    """What of a cell is its author's; the rest comes from its execution. An empty list of tags is papermill's."""
    metadata = {name: value for name, value in cell.metadata.items() if (name, value) != ("tags", [])}
    return {"id": cell.id, "type": cell.cell_type, "text": cell.source, "metadata": metadata}


def unlike_its_record(notebook: NotebookNode, name: str) -> list[str]:
    """Where the injected parameters and the foot are not what the notebook's record of its execution says."""
    record = notebook.metadata.get("papermill", {})
    cells = {cell.id: cell.source for cell in notebook.cells}
    found = []
    if record.get("input_path") != f"notebooks/{name}.ipynb":
        found.append(f"executed from {record.get('input_path')}, not from notebooks/{name}.ipynb")
    parameters = record.get("parameters", {})
    injected: dict = {}
    exec(cells.get("given-parameters", ""), {}, injected)  # assignments of literals, written by papermill
    if injected != parameters:
        found.append(f"the injected parameters are {injected}, the record says {parameters}")
    if "edition" not in cells:
        found.append("no foot that names the edition")
    elif (profile := parameters.get("profile")) and f"--profile {profile}" not in cells["edition"]:
        found.append(f"its foot names another profile than {profile}")
    return found


def tables_of(notebook: NotebookNode) -> Iterator[tuple[str, pd.DataFrame]]:
    """The data behind the tables of an executed notebook: the name of each file, and what is in it."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            text = output.get("data", {}).get("text/markdown", "")
            link = r'download="([^"]+)\.csv" href="data:text/csv;charset=utf-8,([^"]*)"'
            for name, address in re.findall(link, text):
                yield name, pd.read_csv(io.StringIO(unquote(html.unescape(address))), keep_default_na=False)


def contrasts_of(notebook: NotebookNode) -> pd.DataFrame:
    """Every comparison of an executed notebook that has an interval, with the `table` that it stands in."""
    found = [of.assign(table=name) for name, of in tables_of(notebook) if {"estimate", "low", "high", "runs"} <= {*of}]
    if not found:
        return pd.DataFrame()
    rows = pd.concat(found, ignore_index=True).astype(object).fillna("")
    for column in ("estimate", "low", "high"):
        rows[column] = pd.to_numeric(rows[column], errors="coerce").round(8)
    return rows.dropna(subset=["estimate", "low"])


def unequal_intervals(rows: pd.DataFrame) -> list[str]:
    """Comparisons that the book prints with several intervals: the same networks in the same sense, at the same size.

    Networks and their seeds are named by their runs; the sense is that of the estimate, since what is compared of whom
    makes its value. Measures are told apart where a table names them.
    """
    found = []
    if rows.empty:
        return found
    compared = rows["runs"].map(lambda marks: " ".join(sorted(set(re.findall(r"s\d+-[0-9a-f]{8}", marks)))))
    measure = rows["measure"] if "measure" in rows else pd.Series("", rows.index)
    for (marks, estimate), group in rows.assign(measure=measure.fillna("")).groupby([compared, "estimate"], sort=False):
        for one in sorted({*group["measure"]} - {""}) or [""]:
            intervals = group[group["measure"].isin([one, ""])].drop_duplicates(["low", "high"])
            if len(intervals) > 1:
                said = [f"[{row.low}, {row.high}] in {row.table}" for row in intervals.itertuples()]
                found.append(f"{one} {estimate} of {marks}: {' but '.join(said)}")
    return found


def outputs_in_source(notebook: NotebookNode) -> list[str]:
    """Cells of a source notebook out of which nbstripout would take something; their ids stay."""
    stripped = strip_output(copy.deepcopy(notebook), keep_output=False, keep_count=False, keep_id=True)
    pairs = zip(notebook.cells, stripped.cells, strict=True)
    return [f"{cell.id}: has outputs or a number" for cell, bare in pairs if cell != bare]


# ---------------------------------------------------------------- built pages


class Reference(NamedTuple):
    """What an element or a style sheet points to."""

    file: Path  # where it stands
    element: str  # of HTML or SVG; "style" or "script" within those
    attribute: str
    target: str


# Attributes whose target a browser follows or fetches.
POINTING = ("href", "src", "srcset", "data", "poster", "action", "formaction", "xlink:href", "background")
# What a link element names without fetching it.
NOT_FETCHED = {"alternate", "author", "canonical", "help", "index", "license", "me", "next", "prev", "search"}
IN_STYLE = re.compile(r"@import\s+[\"']([^\"']+)[\"']|url\(\s*[\"']?([^\"')]+?)[\"']?\s*\)")
# Calls with a literal address. One that is put together at run time is met by the browser, which is without network.
IN_SCRIPT = re.compile(
    r"(?:\bfetch\(|\bimport\(|\bimportScripts\(|\bnew (?:WebSocket|EventSource|Worker)\(|\bsendBeacon\(|"
    r"\.open\(\s*[\"'`]\w+[\"'`]\s*,|\bsrc\s*=|\bfrom\b|\bimport\b)\s*[\"'`]((?:https?:|wss?:)?//[^\"'`]+)"
)


def pages(site: Path) -> list[Path]:
    """Every page of a built book; `_static` holds parts of pages that the theme left there."""
    return sorted(path for path in site.rglob("*.html") if "_static" not in path.relative_to(site).parts)


@cache  # of a whole book: several gates read every page
def parsed(path: Path, changed: int) -> BeautifulSoup:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)  # of vector images: their links are found all the same
        return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def soup(path: Path) -> BeautifulSoup:
    return parsed(path, path.stat().st_mtime_ns)


def broken_links(site: Path) -> list[str]:
    """Links within the book to a file that is not there, or to an anchor that its page does not have."""
    found = []
    anchors_of = cache(anchors)  # a page of reference is pointed to thousands of times
    for reference in references(site):
        target = urlsplit(reference.target)
        if target.scheme or target.netloc:
            continue
        inside = posixpath.join(reference.file.parent.relative_to(site).as_posix(), unquote(target.path))
        path = site / inside.lstrip("/") if target.path else reference.file
        where = f"{reference.file.relative_to(site)}: {reference.element} {reference.attribute}={reference.target!r}"
        if target.path.startswith("/") or not path.resolve().is_relative_to(site.resolve()):
            found.append(f"{where} leads out of the book")
        elif not path.is_file():
            found.append(f"{where} has no file")
        elif target.fragment and path.suffix == ".html" and unquote(target.fragment) not in anchors_of(path):
            found.append(f"{where} has no anchor")
    return found


def remote_assets(site: Path) -> list[str]:
    """What a browser would fetch from another host; plain links, which a reader has to click, are none of it."""
    return [
        f"{one.file.relative_to(site)}: {one.element} {one.attribute}={one.target!r}"
        for one in references(site)
        if one.element not in ("a", "area") and is_remote(one.target)
    ]


def is_remote(target: str) -> bool:
    parts = urlsplit(target.strip())
    return bool(parts.netloc) or parts.scheme in ("http", "https", "ws", "wss", "ftp")


def anchors(path: Path) -> set[str]:
    elements = soup(path).find_all(True)
    return {value for element in elements for value in (element.get("id"), element.get("name")) if value}


def references(site: Path) -> Iterator[Reference]:
    """Of all pages, style sheets, scripts and vector images of a built book."""
    for path in pages(site):
        yield from in_markup(path, soup(path))
    for path in sorted(site.rglob("*.svg")):
        yield from in_markup(path, soup(path))
    for path in sorted(site.rglob("*.css")):
        yield from in_style(path, path.read_text(encoding="utf-8"))
    for path in sorted(site.rglob("*.js")):
        yield from in_script(path, path.read_text(encoding="utf-8"))


def in_markup(path: Path, tree: BeautifulSoup) -> Iterator[Reference]:
    for element in tree.find_all(True):
        if element.name == "link" and set(element.get("rel", [])) <= NOT_FETCHED:
            continue
        for attribute in POINTING:
            value = element.get(attribute)
            if value is None or (attribute == "data" and element.name != "object"):
                continue
            targets = [part.split()[0] for part in value.split(",")] if attribute == "srcset" else [value]
            yield from (Reference(path, element.name, attribute, target.strip()) for target in targets)
        if element.name == "meta" and str(element.get("http-equiv")).lower() == "refresh":
            yield Reference(path, "meta", "content", element["content"].partition("url=")[2])
        if style := element.get("style"):
            yield from in_style(path, style)
        if element.name == "style":
            yield from in_style(path, element.get_text())
        if element.name == "script":
            yield from in_script(path, element.get_text())


def in_style(path: Path, text: str) -> Iterator[Reference]:
    targets = (plain or url for plain, url in IN_STYLE.findall(re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)))
    return (Reference(path, "style", "url", target.strip()) for target in targets)


def in_script(path: Path, text: str) -> Iterator[Reference]:
    return (Reference(path, "script", "call", target) for target in IN_SCRIPT.findall(text))


def poor_alt_texts(site: Path) -> list[str]:
    """Images whose alternative text is missing, or a name or a path, or too short to say what is to be seen."""
    found = []
    for path in pages(site):
        for image in soup(path).find_all("img"):
            text = " ".join((image.get("alt") or "").split())
            if not text:
                fault = "no alt text"
            elif len(text.split()) < 3 or re.search(r"\.(png|svg|jpe?g|gif|webp)\b|_images?/|_build", text):
                fault = f"alt text {text!r} does not describe it"
            else:
                continue
            found.append(f"{path.relative_to(site)}: image {image.get('src')}: {fault}")
    return found


def wrong_headings(site: Path, names: Iterable[str]) -> list[str]:
    """Pages of the table of contents that are not there, or have no title, or more than one."""
    found = []
    for name in names:
        path = site / f"{name}.html"
        headings = soup(path).select("article h1") if path.is_file() else []
        if len(headings) != 1:
            found.append(f"{name}: {len(headings)} titles" if path.is_file() else f"{name}: no page")
    return found


# ---------------------------------------------------------------- numbers in prose

# What looks measured: a decimal, a share, or an amount of time or memory.
UNIT = r"(?:%|per ?cent|percentage points?|points?|s|sec|seconds?|min|minutes?|h|hours?|ms|[kMG]i?B)\b|%"
MEASURED = re.compile(rf"(?<![\w.])[−-]?\d+(?:[.,]\d+)+(?:\s?(?:{UNIT}))?|(?<![\w.])[−-]?\d+\s?(?:{UNIT})")
# Directives whose content is not prose; that of the others, such as a table, a figure or a note, is.
NOT_PROSE = re.compile(r"\{(?:math|bibliography|code(?:-block|-cell)?|literalinclude|toctree|raw|eval-rst|auto\w+)\}")
# Names of parts of the paper, and addresses.
NOT_NUMBERS = re.compile(
    r"\b(?:Sections?|Tables?|Figures?|Equations?|Appendix) \d+(?:\.\d+)*(?:(?:,| and| to) \d+(?:\.\d+)*)*|https?://\S+"
)
MYST_EXTENSIONS = set(yaml.safe_load((ROOT / "_config.yml").read_text())["parse"]["myst_enable_extensions"])
MARKDOWN = create_md_parser(MdParserConfig(enable_extensions=MYST_EXTENSIONS), RendererHTML)


def typed_numbers(text: str, allowed: Iterable[str] = ()) -> list[str]:
    """Numbers of Markdown prose that look like results and stand in none of the `allowed` phrases."""
    prose = " ".join(NOT_NUMBERS.sub(" ", " ".join(prose_of(text))).split())
    spans = [match.span() for phrase in allowed for match in re.finditer(re.escape(phrase), prose)]
    found = (match for match in MEASURED.finditer(prose))
    return [
        f"{match[0]} in “…{prose[max(0, match.start() - 30) : match.end() + 20]}…”"
        for match in found
        if not any(start <= match.start() and match.end() <= end for start, end in spans)
    ]


def prose_of(text: str) -> Iterator[str]:
    """What a reader reads as sentences in MyST Markdown: without code, formulas and roles."""
    for token in MARKDOWN.parse(text):
        if token.type == "inline":
            yield "".join(child.content if child.type == "text" else " … " for child in token.children)
        elif token.type == "colon_fence" or (token.type == "fence" and token.info.startswith("{")):
            if not NOT_PROSE.match(token.info):
                yield token.info.partition("}")[2]  # its title or caption
                yield from prose_of(token.content)
        elif token.type == "html_block":
            yield BeautifulSoup(token.content, "html.parser").get_text(" ")


def texts_of(notebook: NotebookNode) -> str:
    """What a notebook's author wrote to be read: text cells, captions and alternative texts."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    for cell in notebook.cells:
        figure = cell.metadata.get("mystnb", {})
        texts += [figure.get("figure", {}).get("caption", ""), figure.get("image", {}).get("alt", "")]
    return "\n\n".join(texts)


def read_notebook(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)
