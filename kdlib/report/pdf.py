"""The whole book as one PDF: what `make pdf` does.

jupyter-book writes all pages into one, and a Chromium that is there already prints it. What only a screen has a use for
goes (folded code, links to files beside the page); a title page and a list of contents are put before the rest.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from kdlib import ROOT, KdlibError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTH = 680  # of the text on A4, in CSS pixels of 1/96 inch
MARGINS = {"top": "16mm", "bottom": "18mm", "left": "15mm", "right": "15mm"}
FOOT = "<div style='width: 100%; text-align: center; font-size: 8px'><span class='pageNumber'></span></div>"
STYLE = """
html { --pst-font-size-base: 13.5px; }
.bd-main, .bd-content, .bd-article-container, .bd-article { max-width: none !important; padding: 0 !important; }
#jb-print-docs-body { display: none !important; }
.bd-header-announcement, .bd-footer, footer, #pst-back-to-top, .contents.local { display: none !important; }
article { line-height: 1.45 !important; }
article h2.chapter { break-before: page; font-size: 2rem; margin-top: 0; }
article pre { white-space: pre-wrap !important; overflow-wrap: anywhere; }
article pre, article div.highlight { overflow: visible !important; }  /* what scrolls is not parted by a page's end */
article div.cell_input, article div.highlight { break-inside: avoid; }  /* a box goes where its code goes */
article section, article section > p:last-child { margin-bottom: 0 !important; }  /* else it takes a page of its own */
article dl.py { font-size: 0.8em; line-height: 1.3; }
article dl.py dl.py { font-size: 1em; }
article .title-page { break-after: page; }
article .title-page h1 { display: block !important; margin-top: 5rem; font-size: 2.4rem; }
article .title-page ul { list-style: none; padding-left: 0; margin: 0 0 0.5rem; }
article .title-page > ul { columns: 2; }
article .title-page > ul > li { break-inside: avoid; }
article .title-page ul ul { padding-left: 1.2rem; font-size: 0.85em; }
article img { max-height: 21cm; object-fit: contain; }  /* its caption goes on the same page */
"""

# Makes a document of the page; returns the links within it that lead nowhere.
PREPARE = """async ({title, author, root}) => {
    document.documentElement.dataset.theme = 'light';
    document.querySelectorAll('img[loading]').forEach(one => one.loading = 'eager');
    await Promise.all([...document.images].map(one => one.decode().catch(() => {})));
    if (window.MathJax) await MathJax.startup.promise;
    const article = document.querySelector('article');
    article.querySelectorAll('details.hide, .headerlink, p.data, .copybtn').forEach(one => one.remove());
    article.querySelectorAll('details').forEach(one => one.open = true);
    for (const cell of article.querySelectorAll('div.cell')) {
        if (cell.textContent.trim() || cell.querySelector('img, svg')) continue;
        const before = cell.previousElementSibling, after = cell.nextElementSibling;
        cell.remove();
        const last = !after || (!after.nextElementSibling && after.textContent.startsWith('Edition '));
        if (last && /^H[2-4]$/.test(before?.tagName)) before.remove();  // of nothing but a foot
    }
    for (const link of article.querySelectorAll('a[href]'))
        if (!/^(#|https?:|mailto:)/.test(link.getAttribute('href'))) link.removeAttribute('href');

    const front = document.createElement('section'), list = document.createElement('ul');
    front.className = 'title-page';
    front.id = 'document-' + root;  // the first page of all is the only one that is not marked so
    front.innerHTML = '<h1></h1><p></p><h2>Contents</h2>';
    front.children[0].textContent = title;
    front.children[1].textContent = author;
    front.append(list);
    // Written into one page, a chapter's title is a heading of the second level behind a span that names its file.
    const files = [...article.querySelectorAll('span[id^="document-"] + section')];
    const chapters = files.map(one => one.querySelector('h2'));
    chapters.forEach(one => one.classList.add('chapter'));
    let last = list;
    for (const heading of article.querySelectorAll('h1, h2, h3')) {
        const item = document.createElement('li'), link = document.createElement('a');
        const title = heading.tagName === 'H1' || chapters.includes(heading);
        link.textContent = heading.textContent.trim();
        link.href = '#' + heading.closest('[id]').id;
        item.append(link);
        (title ? list : last).append(item);
        if (title) item.append(last = document.createElement('ul'));
    }
    article.querySelector('h1').remove();  // it stands on the title page
    article.prepend(front);
    return [...article.querySelectorAll('a[href^="#"]')].map(one => decodeURIComponent(one.getAttribute('href')))
        .filter(href => href.length > 1 && !document.getElementById(href.slice(1)));
}"""

# Makes what is wider than the page as small as it has to be; returns what is still too wide, in words.
FIT = """() => {
    const room = document.querySelector('article').clientWidth, wide = [];
    for (const one of document.querySelectorAll('article table, article mjx-container[display="true"]')) {
        const share = room / Math.max(one.scrollWidth, one.getBoundingClientRect().width);
        if (share < 1) one.style.zoom = 0.99 * share;
        if (share < 0.5) wide.push(one.textContent.trim().slice(0, 60));
    }
    return wide;
}"""


class PdfError(KdlibError, RuntimeError):
    """A book that can't be printed."""


def print_book(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m kdlib.report.pdf", description=__doc__)
    parser.add_argument(
        "--book", type=Path, default=ROOT / "book", help="a folder as that of a report; book/ if not given"
    )
    parser.add_argument("--to", type=Path, default=ROOT / "_build" / "book.pdf")
    arguments = parser.parse_args(argv)
    try:
        browser = find_browser()
        print_page(one_page(arguments.book.resolve()), arguments.to, browser)
    except KdlibError as error:
        print(f"kdlib: {error}", file=sys.stderr)
        return 2
    print(f"The document: {arguments.to}")
    return 0


def find_browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise PdfError(f"none of {', '.join(BROWSERS)} is on the PATH: a PDF is printed by one of them")
    return found


def one_page(book: Path) -> Path:
    """Build a book as a single page; returns its file."""
    out = ROOT / "_build" / "pdf"
    start = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(book)]
    log = out / "build.log"
    out.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        command = [*start, "--path-output", str(out), "--builder", "custom", "--custom-builder", "singlehtml"]
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT)
    if done.returncode:
        raise PdfError(f"the book could not be built: see {log}")
    return out / "_build" / "singlehtml" / "00_intro.html"


def print_page(page: Path, target: Path, browser: str) -> None:
    """Print a book of one page, without network."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser)
        tab = chromium.new_context(offline=True, viewport={"width": WIDTH, "height": 1000}).new_page()
        tab.set_default_timeout(180_000)
        tab.goto(page.as_uri())
        tab.emulate_media(media="print", color_scheme="light")
        tab.add_style_tag(content=STYLE)
        title, author = tab.evaluate("document.title"), "The kdlib authors"
        dead = tab.evaluate(PREPARE, {"title": title, "author": author, "root": page.stem})
        too_wide = tab.evaluate(FIT)
        if dead or too_wide:
            raise PdfError(f"links that lead nowhere: {dead[:5]}; tables that do not fit: {too_wide[:5]}")
        target.parent.mkdir(parents=True, exist_ok=True)
        tab.pdf(path=target, format="A4", margin=MARGINS, display_header_footer=True, header_template="<span></span>",
                footer_template=FOOT, print_background=True, outline=True, tagged=True)  # fmt: skip
        chromium.close()


if __name__ == "__main__":
    sys.exit(print_book())
