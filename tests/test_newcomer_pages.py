"""Pages for those who are no readers of the book: search engines, reference managers, GitHub, and a printer."""

import json
import shutil
import sys

import nbformat
import pytest
from bs4 import BeautifulSoup
from gates import ROOT

from kdlib.report import pdf, readme

sys.path.append(str(ROOT / "book" / "_ext"))
import page_metadata  # noqa: E402

WORK = {
    "title": "A work", "version": "1.2", "license": "MIT", "date-released": "2026-03-04", "doi": "10.1/2",
    "authors": [{"family-names": "Noether", "given-names": "Emmy"}, {"name": "A group"}],
    "references": [{"title": "Its paper", "year": 2020}],
}  # fmt: skip


def test_a_page_names_authors_and_day_as_reference_managers_read_them():
    tags = page_metadata.described(WORK, "A page", "What it says.", "https://example.org/page.html")
    assert [content for name, content in tags if name == "citation_author"] == ["Noether, Emmy", "A group"]
    assert dict(tags)["citation_publication_date"] == "2026/03/04" and dict(tags)["og:title"] == "A page"


def test_a_page_without_an_address_names_none():
    assert not {"og:url", "citation_public_url"} & dict(page_metadata.described(WORK, "A page", "Says.", "")).keys()


def test_linked_data_can_not_end_its_script():
    tag = page_metadata.linked_data(WORK | {"title": "</script><b>"}, "text", "")
    assert tag.count("</script>") == 1
    assert json.loads(BeautifulSoup(tag, "html.parser").script.string)["name"] == "</script><b>"


def test_every_chapter_of_the_book_describes_itself(site):
    for page in sorted(site.glob("0*_*.html")):
        head = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").head
        assert len(head.find("meta", {"name": "description"})["content"]) > 40, page.name
        assert head.find("meta", {"property": "og:title"}) and head.find("script", type="application/ld+json"), (
            page.name
        )


def test_the_readme_says_what_the_front_page_says():
    stale = [path.name for path, text in readme.pages(ROOT).items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "python -m kdlib.report.readme writes them"


def test_a_front_page_that_was_not_executed_is_refused(tmp_path):
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]), tmp_path / "front.ipynb")
    with pytest.raises(readme.ReadmeError, match="not the executed front page"):
        readme.found(tmp_path / "front.ipynb")


# ---------------------------------------------------------------- on paper

PAGE = """<html><head><title>Book</title></head><body><article>
<section id="top"><h1>Book</h1><section id="one"><h2>One</h2><details class="hide">folded</details>
<p><a href="{link}">there</a> <a href="runs/x.html">a file</a></p></section></section>
<span id="document-02"></span><section id="two"><h2>Chapter</h2><section id="in"><h3>Within</h3>
<table><tr>{cells}</tr></table></section></section></article></body></html>"""

needs_browser = pytest.mark.skipif(not any(map(shutil.which, pdf.BROWSERS)), reason="no Chromium")


def printed(tmp_path, **parts):
    (tmp_path / "page.html").write_text(
        PAGE.format(**{"link": "#two", "cells": "<td>1</td>"} | parts), encoding="utf-8"
    )
    pdf.print_page(tmp_path / "page.html", tmp_path / "out.pdf", pdf.find_browser())
    return (tmp_path / "out.pdf").read_bytes()


@needs_browser
def test_a_printed_book_has_an_outline_and_its_chapters_on_new_pages(tmp_path):
    content = printed(tmp_path)
    assert content.startswith(b"%PDF") and b"/Outlines" in content
    assert content.count(b"/Type /Page\n") == 3  # title and contents, the root, a chapter


@needs_browser
def test_a_link_to_the_front_page_leads_to_the_title(tmp_path):
    assert printed(tmp_path, link="#document-page").startswith(b"%PDF")


HIDDEN = '<div class="cell"><details class="hide">a table</details></div>'


@needs_browser
def test_a_heading_with_nothing_but_a_foot_goes_and_one_with_text_stays(tmp_path):
    text = "<p>A text.</p>"
    under = {"foot": "<p><em>Edition x</em></p>", "bare": "", "text": text, "more": HIDDEN + text}
    sections = "".join(f'<section id="{name}"><h2>{name}</h2>{HIDDEN}{rest}</section>' for name, rest in under.items())
    (tmp_path / "page.html").write_text(f'<article><section id="top"><h1>Book</h1>{sections}</section></article>')
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=pdf.find_browser()).new_page()
        page.goto((tmp_path / "page.html").as_uri())
        assert page.evaluate(pdf.PREPARE, {"title": "Book", "author": "", "root": "page"}) == []
        headings = "article section:not(.title-page) h2"
        shown = page.eval_on_selector_all(headings, "all => all.map(one => one.textContent)")
    assert shown == ["text", "more"]


@needs_browser
def test_a_link_that_leads_nowhere_is_refused(tmp_path):
    with pytest.raises(pdf.PdfError, match="#nowhere"):
        printed(tmp_path, link="#nowhere")


@needs_browser
def test_a_table_that_could_not_be_read_is_refused(tmp_path):
    with pytest.raises(pdf.PdfError, match="do not fit"):
        printed(tmp_path, cells="<td><pre>wide text</pre><div style='width: 2000px'></div></td>")


def test_without_a_browser_one_sentence_says_so(monkeypatch, capsys):
    monkeypatch.setattr(pdf.shutil, "which", lambda name: None)
    assert pdf.print_book([]) == 2 and "on the PATH" in capsys.readouterr().err
