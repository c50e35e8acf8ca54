"""What search engines, reference managers and messengers read of a page: description, citation and preview.

The work is described by CITATION.cff, each page by its own title and first paragraph. Addresses are given where
`html_baseurl` says under which one the book is published.
"""

import html
import json
import re
from pathlib import Path

import yaml
from docutils import nodes

CFF = next(file for up in Path(__file__).resolve().parents if (file := up / "CITATION.cff").is_file())
LENGTH = 200  # of a description, in characters


def setup(app):
    app.connect("html-page-context", add_metadata)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def add_metadata(app, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Put the tags of one page into its head."""
    if doctree is None:  # a record of a run, the search: no page of the text
        return
    work = yaml.safe_load(CFF.read_text(encoding="utf-8"))
    title = context["title"] if page != app.config.root_doc else app.config.html_title or app.config.project
    base = app.config.html_baseurl
    address = f"{base.rstrip('/')}/{page}.html" if base else ""
    tags = [meta(name, text) for name, text in described(work, plain(title), description(doctree), address)]
    context["metatags"] = "\n".join([context.get("metatags", ""), *tags, linked_data(work, description(doctree), base)])


def described(work: dict, title: str, text: str, address: str) -> list[tuple[str, str]]:
    """Names and contents of the tags; what is empty is left out."""
    pairs = [("description", text), ("og:type", "article"), ("og:site_name", work["title"]), ("og:title", title),
             ("og:description", text), ("og:url", address), ("citation_title", work["title"])]  # fmt: skip
    pairs += [("citation_author", author) for author in authors(work)]
    pairs += [("citation_publication_date", str(work.get("date-released", "")).replace("-", "/")),
              ("citation_doi", work.get("doi", "")), ("citation_public_url", address)]  # fmt: skip
    return [(name, content) for name, content in pairs if content]


def authors(work: dict) -> list[str]:
    people = work["authors"]
    return [one.get("name") or f"{one['family-names']}, {one['given-names']}" for one in people]


def linked_data(work: dict, text: str, base: str) -> str:
    """The work and what it is a study of, in schema.org's terms."""
    about = {
        "@context": "https://schema.org",
        "@type": "SoftwareSourceCode",
        "name": work["title"],
        "description": text,
        "version": work["version"],
        "license": f"https://spdx.org/licenses/{work['license']}",
        "author": [{"@type": "Organization", "name": name} for name in authors(work)],
        "isBasedOn": [
            {"@type": "ScholarlyArticle", "name": other["title"], "datePublished": str(other["year"])}
            for other in work.get("references", [])
        ],
    }
    about |= {"url": base} if base else {}
    about |= {"datePublished": str(work["date-released"])} if "date-released" in work else {}
    return f'<script type="application/ld+json">{json.dumps(about).replace("<", chr(92) + "u003c")}</script>'


def description(doctree: nodes.document) -> str:
    """The page's first paragraph, to the last word that fits."""
    first = next((one for one in doctree.findall(nodes.paragraph) if isinstance(one.parent, nodes.section)), None)
    text = " ".join(first.astext().split()) if first else ""
    return text if len(text) <= LENGTH else text[:LENGTH].rsplit(" ", 1)[0] + " …"


def plain(title: str) -> str:
    """A title without its markup."""
    return html.unescape(re.sub(r"<[^>]*>", "", title))


def meta(name: str, content: str) -> str:
    kind = "property" if name.startswith("og:") else "name"
    return f'<meta {kind}="{name}" content="{html.escape(content)}" />'
