"""MyST Markdown as cells show it: numbered tables with a link to their data, and links to the records of runs."""

import html
import re
import urllib.parse
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

NO_BREAK = "\N{NO-BREAK SPACE}"
MISSING = "–"
LEFT, RIGHT = ":---", "---:"
SPREAD = ":---:"  # a number and what is told of its spread: from the left, as the style sheet has this one
MANY = 8  # runs in a row, that are too many to be linked in it


class Markdown(str):
    """MyST Markdown that a notebook renders when a cell ends with it, and keeps once."""

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return {"text/markdown": str(self)}

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """The plain text beside it. IPython's own printer of texts would write the whole once more."""
        printer.text("<Markdown>")


def numbered(
    lines: Sequence[Sequence[str]], caption: str, name: str, data: pd.DataFrame | None = None, below: str = ""
) -> Markdown:
    """A captioned, numbered table with a link to its data; the second line holds the alignment of the columns.

    `data` is what the link gives as CSV, to ten digits; where there is none, the text of the cells. `below` stands
    under the table.
    """
    if data is None:
        header, _, *rows = [[unmarked(cell) for cell in line] for line in lines]
        data = pd.DataFrame(rows, columns=header)
    if any(line[-1].endswith(" runs") for line in lines):
        below = f"{below} [The runs of a row are named in the CSV.]{{.screen}}".strip()
    foot = csv_link(data, name) + (f"\n\n{below}" if below else "")
    return Markdown(f":::{{table}} {caption}\n:name: {name}\n\n{pipes(lines)}\n:::\n\n{foot}\n")


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


def unmarked(cell: str) -> str:
    """A cell without its Markdown.

    >>> unmarked("[does not hold]{.red}<br>**of** `a`, [Table 1](01_teachers.ipynb)")
    'does not hold; of a, Table 1'
    """
    text = re.sub(r"\[([^]]*)\](?:\([^)]*\)|\{[^}]*\})", r"\1", re.sub(r"\{ref\}`([^<`]*) <[^`]*`", r"\1", cell))
    return text.replace("`", "").replace("**", "").replace("<br>", "; ").replace(NO_BREAK, " ")


def run_links(marks: str) -> str:
    """Links to the records of runs, each called by its seed; `marks` are the ends of their keys.

    >>> run_links("s0-3fa9c1d2 s12-0123abcd").replace(NO_BREAK, " ")
    '[0](run:s0-3fa9c1d2), [12](run:s12-0123abcd)'
    """
    return f",{NO_BREAK}".join(f"[{one.partition('-')[0][1:]}](run:{one})" for one in marks.split()) or MISSING


def links_once(of_columns: Iterable[str]) -> str:
    """The links of a row, column by column, each run where it is met first; of many runs their number.

    >>> links_once(["s0-3fa9c1d2", "s0-3fa9c1d2"])
    '[0](run:s0-3fa9c1d2)'
    """
    columns = [marks.split() for marks in of_columns]
    every = dict.fromkeys(mark for marks in columns for mark in marks)
    if len(every) > MANY:
        return f"{len(every)} runs"
    parts = []
    for marks in columns:
        if new := [mark for mark in marks if mark in every]:
            parts.append(run_links(" ".join(new)))
            every = {mark: None for mark in every if mark not in new}
    return f"{NO_BREAK}/{NO_BREAK}".join(parts) or MISSING


def number(value: float | None, digits: int = 3, sign: str = "") -> str:
    """A number as text, with a minus that is as wide as a plus; `sign` is "+" where both signs are shown.

    What is rounded to nothing has none.

    >>> number(-0.0314, 2), number(0.5, 1, "+"), number(-0.04, 1, "+"), number(None)
    ('−0.03', '+0.5', '0.0', '–')
    """
    if pd.isna(value):
        return MISSING
    text = f"{value:{sign}.{digits}f}".replace("-", "−")
    return text if re.search("[1-9]", text) else text.lstrip("+−")


def interval(low: float, high: float, digits: int = 3) -> str:
    """From where to where.

    >>> interval(-0.02, 0.1)
    '−0.020 to 0.100'
    """
    return f"{number(low, digits)} to {number(high, digits)}"


def aside(text: str) -> str:
    """What is told of a number's spread, in small type after it, or under it where a column is narrow."""
    return f" [{text}]{{.seeds}}" if text else ""
