"""What README.md says was found: the answer and the figure of the published front page.

Written whenever the front page is published, or by `python -m kdlib.report.readme`.
"""

import re
from pathlib import Path

import nbformat

from kdlib import ROOT, KdlibError, written_aside

FIGURE = "book/found.svg"
MARKS = re.compile(r"(<!-- found -->\n).*?(<!-- /found -->)", re.DOTALL)


class ReadmeError(KdlibError, ValueError):
    """A front page without an answer, or a README without a place for it."""


def found(front: Path) -> tuple[str, str, str]:
    """First text, first figure (SVG) and its description, of the outputs of an executed front page."""
    texts, figures = [], []
    for cell in nbformat.read(front, as_version=4).cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            texts += [data["text/markdown"]] if "text/markdown" in data else []
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            figures += [(data["image/svg+xml"], alt)] if "image/svg+xml" in data else []
    if not texts or not figures:
        raise ReadmeError(f"{front} shows no text or no figure: it is not the executed front page")
    return (without_marks(texts[0]), *figures[0])


def without_marks(text: str) -> str:
    """Without roles and classes, which GitHub doesn't know."""
    text = re.sub(r"\{\w+\}`([^`<]*?)(?: <[^`]*>)?`", r"\1", text)
    return re.sub(r"\[([^\]]*)\]\{[^}]*\}", r"\1", text).strip()


def pages(root: Path) -> dict[Path, str]:
    """README.md and its figure, as they should be."""
    text, figure, alt = found(root / "book" / "00_intro.ipynb")
    readme = (root / "README.md").read_text(encoding="utf-8")
    if not MARKS.search(readme):
        raise ReadmeError("README.md has no <!-- found --> and <!-- /found -->")
    block = f"{text}\n\n![{alt}]({FIGURE})\n"
    on_white = re.sub(r"<svg ", '<svg style="background: #fff" ', figure, count=1)  # GitHub may be dark
    readme = MARKS.sub(lambda marks: marks[1] + block + marks[2], readme)
    return {root / "README.md": readme, root / FIGURE: on_white.rstrip() + "\n"}


def write(root: Path) -> None:
    """Write both, each appearing by a rename."""
    for path, content in pages(root).items():
        with written_aside(path) as aside:
            aside.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    write(ROOT)
