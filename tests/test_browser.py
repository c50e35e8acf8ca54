"""A headless Chromium without network opens every page of the built book from disk."""

import re
import shutil

import gates
import pytest

sync_api = pytest.importorskip("playwright.sync_api")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium: install Debian's package chromium")

WIDTHS = {"phone": 390, "desktop": 1280}

# What stands to the right of the window and that no part of the page scrolls to.
CUT_OFF = """() => [...document.querySelectorAll('article *')].filter(one => {
    if (one.closest('mjx-assistive-mml, .headerlink, .visually-hidden') || !one.checkVisibility()) return false;
    if (one.getBoundingClientRect().right <= innerWidth + 1) return false;
    for (let at = one.parentElement; at; at = at.parentElement)
        if (['auto', 'scroll'].includes(getComputedStyle(at).overflowX)) return false;
    return true;
}).map(one => `${one.tagName} ${one.className}: ${one.textContent.trim().slice(0, 40)}`).slice(0, 5)"""
# Switches of folded code that lie over the text of a caption.
COVERED = """() => [...document.querySelectorAll('article caption')].filter(caption => {
    const text = document.createRange();
    text.selectNodeContents(caption);
    const lines = [...text.getClientRects()].filter(line => line.width > 1);
    return [...document.querySelectorAll('article details.hide > summary')].some(one => {
        const box = one.getBoundingClientRect();
        return lines.some(line => box.left < line.right && line.left < box.right
            && box.top < line.bottom - 1 && line.top < box.bottom - 1);
    });
}).map(caption => caption.textContent.trim().slice(0, 40))"""
# Text of the page without code, where a backslash is meant.
TEXT = """() => { const copy = document.querySelector('article, main').cloneNode(true);
    copy.querySelectorAll('pre, code, script, mjx-assistive-mml').forEach(one => one.remove());
    return copy.textContent; }"""


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Opens a page without network in a theme and at a width, with a list of what went wrong."""
    contexts = []

    def new(theme: str, device: str):
        context = browser.new_context(color_scheme=theme, viewport=window(device), offline=True)
        contexts.append(context)
        page, faults = context.new_page(), []
        page.on("console", lambda said: faults.append(f"console: {said.text}") if said.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("requestfailed", lambda request: faults.append(f"failed: {request.url} {request.failure}"))
        page.on("request", lambda request: None if is_local(request.url) else faults.append(f"asked: {request.url}"))
        return page, faults

    yield new
    for context in contexts:
        context.close()


def window(device: str) -> dict[str, int]:
    return {"width": WIDTHS[device], "height": 900}


def is_local(url: str) -> bool:
    return url.startswith(("file:", "data:", "blob:"))


def layout_faults(page) -> list[str]:
    """Where the page scrolls sideways, text and figures leave it, or a switch lies over a caption."""
    width, shown = page.evaluate("[document.scrollingElement.scrollWidth, innerWidth]")
    found = [f"scrolls sideways: {width} in a window of {shown} pixels"] if width > shown else []
    found += [f"covered: {one}" for one in page.evaluate(COVERED)]
    return found + [f"cut off: {one}" for one in page.evaluate(CUT_OFF)]


def formula_faults(page) -> list[str]:
    """Formulas that were not typeset."""
    wanted = page.evaluate("document.querySelectorAll('article .math').length")
    if wanted:
        page.evaluate("MathJax.startup.promise.then(() => 0)")
    shown = page.evaluate("document.querySelectorAll('article .math mjx-container').length")
    errors = page.evaluate("document.querySelectorAll('mjx-merror, [data-mjx-error]').length")
    found = [f"{shown} formulas typeset of {wanted}"] if shown < wanted else []
    found += [f"{errors} formulas with an error"] if errors else []
    text = page.evaluate(TEXT)
    raw = re.findall(r"\\[(\[].{0,20}|Math (?:Processing|input) [Ee]rror", text)
    return found + [f"raw formula: {one}" for one in raw]


@pytest.mark.parametrize("theme, first, then", [("light", "desktop", "phone"), ("dark", "phone", "desktop")])
def test_every_page_opens_in_a_window_and_when_that_is_resized(site, open_page, theme, first, then):
    page, faults = open_page(theme, first)
    found = []
    for path, *alike in in_one_frame(gates.pages(site)):
        page.set_viewport_size(window(first))
        page.goto(path.as_uri())
        if onward := gates.soup(path).select_one("meta[http-equiv=Refresh]"):  # index.html leads to the first page
            page.wait_for_url(f"**/{onward['content'].partition('url=')[2]}")
        at_fault = [*formula_faults(page), *layout_faults(page)]
        if page.evaluate("document.documentElement.dataset.theme") != theme:
            at_fault.append(f"not in the {theme} theme")
        page.set_viewport_size(window(then))
        at_fault += layout_faults(page)
        found += [f"{path.name}: {fault}" for fault in [*at_fault, *faults]]
        faults.clear()
        for size in (then, first) if alike else ():
            page.set_viewport_size(window(size))
            for other in alike[theme == "light" :: 2]:  # hundreds: each under one theme is enough
                page.evaluate("html => { document.querySelector('article').innerHTML = html }", article_of(other))
                at_fault = layout_faults(page) + (formula_faults(page) if size == first else [])
                found += [f"{other.name}: {fault}" for fault in at_fault]
        found += [f"{path.name} and alike: {fault}" for fault in faults]
        faults.clear()
    assert found == []


ARTICLE = re.compile(r"<article[^>]*>(.*)</article>", re.DOTALL)


def article_of(path) -> str:
    """What stands in a page's article."""
    return ARTICLE.search(path.read_text(encoding="utf-8"))[1]


def in_one_frame(pages) -> list[list]:
    """Pages that differ in title and article alone, together, as hundreds of runs' do: a browser need load only one of
    them, and the others' articles can be shown in it."""
    together = {}
    for path in pages:
        text = path.read_text(encoding="utf-8")
        frame = re.sub(r"<title>.*?</title>", "", ARTICLE.sub("", text)).replace(path.stem, "")
        loads = re.search(r'<(script|img|iframe)\b|class="math', "".join(ARTICLE.findall(text)))
        together.setdefault((path.parent, path if loads else frame), []).append(path)
    return list(together.values())


def test_pages_of_one_frame_are_few(site):
    """Else the browser has to load hundreds of pages of one template."""
    runs = [path for path in gates.pages(site) if path.parent.name == "runs"]
    assert sum(map(len, in_one_frame(runs))) == len(runs) and len(in_one_frame(runs)) <= 12


def test_the_search_finds_a_word_from_disk(site, open_page):
    page, faults = open_page("light", "desktop")
    page.goto(f"{(site / 'search.html').as_uri()}?q=CutMix")
    page.wait_for_selector("#search-results li a")
    hits = page.eval_on_selector_all("#search-results li a", "all => all.map(one => one.href)")
    assert any("background.html" in hit for hit in hits) and all(map(is_local, hits))
    assert faults == []


@pytest.mark.parametrize("device", WIDTHS)
def test_the_theme_switch_works_and_the_choice_stays(site, open_page, device):
    page, faults = open_page("light", device)
    page.goto((site / "00_intro.html").as_uri())
    seen = []
    for _ in range(3):
        page.locator("button.theme-switch-button:visible").first.click()
        seen.append(page.evaluate("document.documentElement.dataset.theme"))
    assert set(seen) == {"light", "dark"}
    while page.evaluate("document.documentElement.dataset.mode") != "dark":
        page.locator("button.theme-switch-button:visible").first.click()
    page.goto((site / "background.html").as_uri())
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert faults == []


@pytest.mark.parametrize("width", [1200, 1280, 1439, 1440])
def test_the_text_stays_in_the_window_when_the_list_of_pages_is_hidden(site, browser, width):
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
    page = context.new_page()
    page.goto((site / "background.html").as_uri())
    shown, hidden = [], []
    for found in (shown, hidden):
        found += page.evaluate("['.bd-sidebar-primary', '.bd-main'].map("
                               "one => document.querySelector(one).getBoundingClientRect().left)")  # fmt: skip
        page.locator("button.primary-toggle:visible").click()
        page.wait_for_timeout(600)  # the theme moves it in a quarter of a second
    context.close()
    edge = max(0, (width - 1408) / 2)  # the theme's pages are no wider
    assert shown[0] == pytest.approx(edge, abs=1) and shown[1] > 200
    assert hidden[0] < -150 and hidden[1] == pytest.approx(edge, abs=1)


FAULTS = {
    "wide": ("<p style='width: 2000px'>wide</p>", layout_faults, "scrolls sideways"),
    "cut off": ("<div style='overflow: hidden'><p style='width: 2000px'>wide</p></div>", layout_faults, "cut off"),
    "covered": (
        "<details class='hide' style='position: absolute; top: 0; left: 0'><summary>Show the code</summary></details>"
        "<table style='position: absolute; top: 0; left: 0'><caption>A table of numbers</caption></table>",
        layout_faults,
        "covered: A table",
    ),
    "formula not typeset": ("<span class='math'>\\(x\\)</span>", formula_faults, "raw formula"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_on_a_page_is_found(open_page, tmp_path, fault):
    body, gate, finding = FAULTS[fault]
    ready = "<script>MathJax = {startup: {promise: Promise.resolve()}}</script>"
    (tmp_path / "a.html").write_text(f"{ready}<article>{body}</article>")
    page, _ = open_page("light", "phone")
    page.goto((tmp_path / "a.html").as_uri())
    assert any(finding in found for found in gate(page))


FAULTY = {
    "console": "<script>console.error('no')</script>",
    "error": "<script>throw Error('no')</script>",
    "failed": "<img src='gone.png'>",
    "asked": "<script src='https://example.org/a.js'></script>",
}


@pytest.mark.parametrize("fault", FAULTY)
def test_an_error_and_a_request_are_noticed(open_page, tmp_path, fault):
    (tmp_path / "a.html").write_text(FAULTY[fault])
    page, faults = open_page("light", "desktop")
    page.goto((tmp_path / "a.html").as_uri())
    assert any(found.startswith(fault) for found in faults)
