"""The book's script in a browser: tables sort by what their cells mean, and figures link to their files."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "book" / "_static" / "book.js"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine")
ROWS = [
    ["accuracy", "none", "0.852", "0.885 ± 0.030"],
    ["", "Cutout", "–", "not run"],
    ["", "MixUp", "0.870", "−0.100 [−0.2, 0.0]"],
    ["ECE", "none", "0.100", "no human labels"],
    ["", "CutMix", "1.500", "+2.5"],
]
PAGE = """<!doctype html><meta charset="utf-8"><article class="bd-article">
<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>
<figure id="fig-x"><img alt="x" src="_images/0a.svg"><figcaption><p>Caption</p></figcaption></figure>
</article><pre id="out"></pre><script>{script}</script><script>
addEventListener("DOMContentLoaded", () => {{
  const read = () => [...document.querySelectorAll("tbody tr")].map((row) => [...row.cells].map((c) => c.textContent));
  const heads = [...document.querySelectorAll("th")];
  const out = {{clicks: []}};
  for (const column of {clicks}) {{
    heads[column].querySelector("button").click();
    out.clicks.push({{rows: read(), sort: heads.map((head) => head.getAttribute("aria-sort"))}});
  }}
  const link = document.querySelector("figcaption a[download]");
  out.link = [link.getAttribute("href"), link.download, link.textContent];
  document.getElementById("out").textContent = JSON.stringify(out);
}});
</script>"""


def clicked(tmp_path: Path, *columns: int) -> dict:
    """The table and the figure's link after clicks on headers."""
    header = "".join(f"<th><p>{name}</p></th>" for name in ("Metric", "Arm", "Paper", "Ours"))
    body = "".join(f"<tr>{''.join(f'<td><p>{cell}</p></td>' for cell in row)}</tr>" for row in ROWS)
    page = tmp_path / "page.html"
    page.write_text(PAGE.format(header=header, body=body, script=SCRIPT.read_text(), clicks=list(columns)))
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run([*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120)
    return json.loads(unescape(re.search(r'<pre id="out">(.*?)</pre>', done.stdout, re.DOTALL)[1]))


def test_columns_sort_up_down_and_back(tmp_path):
    found = clicked(tmp_path, 3, 3, 3)["clicks"]
    up, down, back = ([row[3] for row in state["rows"]] for state in found)
    absent = ["not run", "no human labels"]  # last in either direction
    assert up == ["−0.100 [−0.2, 0.0]", "0.885 ± 0.030", "+2.5", *absent]
    assert down == ["+2.5", "0.885 ± 0.030", "−0.100 [−0.2, 0.0]", *absent]
    assert found[2]["rows"] == ROWS
    assert [state["sort"][3] for state in found] == ["ascending", "descending", None]


def test_labels_that_stand_once_go_with_their_rows(tmp_path):
    by_paper, by_arm = clicked(tmp_path, 2, 1)["clicks"]
    assert [row[:3] for row in by_paper["rows"]] == [
        ["ECE", "none", "0.100"], ["accuracy", "none", "0.852"], ["accuracy", "MixUp", "0.870"],
        ["ECE", "CutMix", "1.500"], ["accuracy", "Cutout", "–"],
    ]  # fmt: skip
    assert [row[1] for row in by_arm["rows"]] == ["CutMix", "Cutout", "MixUp", "none", "none"]
    assert by_arm["sort"] == [None, "ascending", None, None]


def test_a_figure_links_to_its_file(tmp_path):
    assert clicked(tmp_path)["link"] == ["_images/0a.svg", "fig-x.svg", "SVG"]
