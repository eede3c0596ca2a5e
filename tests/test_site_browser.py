"""The site as a reader meets it: in a real browser, with every other host out of reach."""

import contextlib
import functools
import json
import re
import subprocess
import sys
import tarfile
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from npm_packages import AXE, npm_package  # noqa: E402
from serve_site import server  # noqa: E402

PAGES = sorted(path.stem for path in (ROOT / "nbs").glob("*.ipynb"))
PHONE = {"width": 390, "height": 844}

# Elements of the text that reach past the window and cannot be scrolled to.
CUT_OFF = """() => {
  const scrolls = (e) => e && e.tagName !== "MAIN" &&
    (/auto|scroll|hidden/.test(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
  return [...document.querySelectorAll("main *")]
    .filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !scrolls(e))
    .map((e) => e.tagName + " " + e.textContent.trim().slice(0, 40));
}"""

# Text whose contrast with what is behind it is under WCAG's AA: 4.5, or 3 where the text is large.
PALE = """() => {
  const pen = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const over = (ground, color) => {
    pen.fillStyle = ground;
    pen.fillRect(0, 0, 1, 1);
    pen.fillStyle = color;
    pen.fillRect(0, 0, 1, 1);
    const [r, g, b] = pen.getImageData(0, 0, 1, 1).data;
    return `rgb(${r}, ${g}, ${b})`;
  };
  const grounds = new Map([[null, "rgb(255, 255, 255)"]]);
  const ground = (e) => {
    if (!grounds.has(e)) {
      const behind = ground(e.parentElement), own = getComputedStyle(e).backgroundColor;
      grounds.set(e, own === "rgba(0, 0, 0, 0)" ? behind : over(behind, own));
    }
    return grounds.get(e);
  };
  const light = (color) => {
    const [r, g, b] = color.match(/\\d+/g).map((c) => c / 255)
      .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const pale = new Set();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const e = node.parentElement, style = getComputedStyle(e);
    if (!node.data.trim() || !e.checkVisibility({opacityProperty: true})) continue;
    if (e.closest("svg, script, style, .katex")) continue;
    const behind = ground(e), both = [light(behind), light(style.color)];
    const ratio = (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) pale.add(
      `${e.tagName}.${e.className} "${node.data.trim().slice(0, 20)}" ${ratio.toFixed(2)}`);
  }
  return [...pale];
}"""


# What axe finds wrong. Contrast is left to PALE, which is quicker; KaTeX is not ours.
REFUSED = """async () => (await axe.run({exclude: [[".katex"]]}, {
  resultTypes: ["violations"], preload: false, rules: {"color-contrast": {enabled: false}},
})).violations.map((v) => `${v.id}: ${v.nodes.length}, first ${v.nodes[0].html.slice(0, 100)}`)"""

# Blocks of code or output that are to be seen, and those of them that are wider than their box.
BLOCKS = """() => {
  const seen = [...document.querySelectorAll("main pre")].filter((e) => e.checkVisibility());
  return [seen.length, seen.filter((e) => e.scrollWidth > e.clientWidth + 1).length];
}"""

# The fonts that a page has loaded, and a formula in its source.
FONTS = "[...document.fonts].filter((f) => f.status === 'loaded').map((f) => f.family)"
FORMULA = re.compile(r'class="math (?:inline|display)"')


@pytest.fixture(scope="session")
def site():
    """The folder of the site, built strictly."""
    command = [sys.executable, "tools/build_site.py", "--strict"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"the site does not build:\n{done.stdout}{done.stderr}", pytrace=False)
    return ROOT / "_docs"


@pytest.fixture(scope="session")
def address(site):
    """The site's address on this computer."""
    with server(site, port=0) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()


@contextlib.contextmanager
def opened(browser, address):
    """A page of a new browser profile, and the list of what goes wrong in it."""
    # Without motion, a color is never caught half way.
    context = browser.new_context(base_url=address, color_scheme="light", reduced_motion="reduce")
    context.set_default_timeout(15_000)
    wrong = []

    def only_here(route):
        if urlsplit(route.request.url).hostname == "127.0.0.1":
            return route.continue_()
        wrong.append(f"request to {route.request.url}")
        return route.abort()

    context.route("**/*", only_here)
    page = context.new_page()
    page.on("console", lambda m: m.type in ("error", "warning") and wrong.append(m.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("response", lambda r: r.status >= 400 and wrong.append(f"{r.status} {r.url}"))
    yield page, wrong
    context.close()


@pytest.fixture
def page(browser, address):
    """A page of a new browser profile; at the end, nothing may have gone wrong in it."""
    with opened(browser, address) as (page, wrong):
        yield page
    assert wrong == []


@pytest.fixture(scope="session")
def axe():
    """The program of axe-core, which finds what keeps readers with a disability from a page."""
    with tarfile.open(npm_package(AXE)) as package:
        return package.extractfile("package/axe.min.js").read().decode()


LIGHTS = {"light": "html:not(.quarto-dark)", "dark": "html.quarto-dark"}
DESKS = (1280, 1440)


def look_at(page, name, axe):
    """What a reader of the page `name` meets: in both lights, on two desks, on a phone."""
    page.goto(f"{name}.html")
    seen = {"title": page.locator("h1.title").inner_text().strip(),
            "language": page.locator("html").get_attribute("lang"),
            "formulas": page.locator(".math").count(),
            "not typeset": page.locator(".math:not(:has(.katex-mathml))").count()}  # fmt: skip
    page.evaluate("document.fonts.ready")
    seen["fonts"] = page.evaluate(FONTS)
    page.evaluate(axe)
    for light, mark in LIGHTS.items():
        page.emulate_media(color_scheme=light)
        page.wait_for_selector(mark)
        seen[light] = page.evaluate(PALE) + page.evaluate(REFUSED)
    for width in DESKS:
        page.set_viewport_size({"width": width, "height": 900})
        seen[width] = page.evaluate(BLOCKS)
    page.set_viewport_size(PHONE)
    page.reload()
    seen["phone"] = page.evaluate(CUT_OFF), page.evaluate(BLOCKS)[1]
    seen["phone width"] = page.evaluate("document.documentElement.scrollWidth")
    return seen


@pytest.fixture(scope="session")
def seen(browser, address, axe):
    """What a reader of a page, by its name, meets; each is looked at once."""

    @functools.cache
    def answer(name):
        with opened(browser, address) as (page, wrong):
            return look_at(page, name, axe) | {"wrong": wrong}

    return answer


@pytest.mark.parametrize("name", PAGES)
def test_a_page_renders_and_can_be_read_and_used_in_both_lights(seen, name):
    assert seen(name)["title"] and seen(name)["language"] == "en"
    assert seen(name)["light"] == [] and seen(name)["dark"] == []
    assert seen(name)["wrong"] == []


@pytest.mark.parametrize("name", PAGES)
def test_a_phone_shows_a_page_without_sideways_scroll(seen, name):
    assert seen(name)["phone width"] == PHONE["width"]
    assert seen(name)["phone"] == ([], 0)


@pytest.mark.parametrize("width", DESKS)
def test_hardly_any_code_is_cut_off_on_a_desk(seen, width):
    blocks, cut = map(sum, zip(*(seen(name)[width] for name in PAGES), strict=True))
    assert cut <= 0.03 * blocks > 0


def test_code_has_the_width_that_notebooks_are_written_for(page):
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto("02-losses.html")
    block = page.locator("main pre.sourceCode > code").first
    fits = block.evaluate("""(e) => {
      e.textContent = "x".repeat(88);
      return e.parentElement.scrollWidth <= e.parentElement.clientWidth;
    }""")
    assert fits


def test_paper_shows_all_code_dark_on_white_in_dark_mode_too(page):
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size({"width": 700, "height": 1000})
    for name in ("03-gradient-descent", "07-baselines"):
        page.goto(f"{name}.html")
        assert page.evaluate(BLOCKS)[1] == 0
        style = "(e) => getComputedStyle(e).color"
        dark = "rgb(35, 39, 46)"
        assert page.locator("main p").first.evaluate(style) == dark
        assert page.locator("pre.sourceCode span.kw").first.evaluate(style) == "rgb(0, 0, 0)"
        assert not page.locator("#quarto-header, #quarto-sidebar, .page-actions").first.is_visible()


def test_a_phone_has_one_header_with_chapters_search_and_contents(page):
    page.set_viewport_size(PHONE)
    page.goto("02-losses.html")
    assert page.locator("#quarto-header").bounding_box()["height"] < 64
    assert page.get_by_role("searchbox").is_visible()
    contents = page.locator(".page-contents")
    contents.locator("summary").click()
    contents.get_by_role("link", name="Exercises", exact=True).click()
    assert page.url.endswith("#exercises")
    chapters = page.get_by_role("button", name="Chapters")
    chapters.click()
    page.get_by_role("link", name="Gradient descent").first.click()
    page.wait_for_url("**/03-gradient-descent.html")


@pytest.mark.parametrize("name", PAGES)
def test_every_formula_is_typeset_in_its_fonts(seen, site, name):
    written = FORMULA.search((site / f"{name}.html").read_text("utf-8"))
    assert seen(name)["not typeset"] == 0
    assert bool(written) == bool(seen(name)["formulas"])
    assert not written or any("KaTeX" in family for family in seen(name)["fonts"])


def test_search_finds_a_title_and_its_hit_opens(page, site):
    entries = json.loads((site / "search.json").read_text("utf-8"))
    wanted = entries[-1]
    page.goto("index.html")
    page.get_by_role("searchbox").fill(wanted["title"])
    file = wanted["href"].split("#")[0]
    page.locator(f'.search-result[href*="{file}"]').first.click()
    page.wait_for_url(f"**/{file}*")
    assert page.locator("h1.title").inner_text() == wanted["title"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("激活函数", "b2-glossary.html#activation-function"),
        ("梯度", "b2-glossary.html#gradient"),
        ("交叉熵", "b2-glossary.html#cross-entropy"),
        ("softmax derivative", "04-activations.html#softmax_jacobian"),
    ],
)
def test_search_puts_what_is_asked_for_first(page, asked, found):
    page.goto("index.html")
    page.get_by_role("searchbox").fill(asked)
    hits = page.locator(".search-result")
    hits.first.wait_for()
    assert hits.first.get_attribute("href") == found


def test_the_dark_mode_is_chosen_once(page):
    paper = "getComputedStyle(document.body).backgroundColor"
    page.goto("index.html")
    light = page.evaluate(paper)
    page.locator(".quarto-color-scheme-toggle").click()
    page.wait_for_selector("html.quarto-dark")
    dark = page.evaluate(paper)
    assert dark != light
    page.reload()
    assert page.evaluate(paper) == dark


def test_hints_and_solutions_open(page, site):
    name = next(p.name for p in sorted(site.glob("*.html")) if "<details>" in p.read_text("utf-8"))
    page.goto(name)
    for box in page.locator("main details:not(.code-fold, .page-contents)").all():
        inside = box.locator(":scope > :not(summary)").first
        assert not inside.is_visible()
        box.locator("summary").click()
        assert inside.is_visible()


def test_the_keyboard_skips_to_the_text(page):
    page.goto("index.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip-link"
    page.keyboard.press("Enter")
    assert page.url.endswith("#quarto-document-content")


def slide(page, kind, value):
    """Move a slider, and what it then says."""
    slider = page.locator(f".live-{kind} input")
    slider.evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }", value)
    return page.locator(f".live-{kind} output").inner_text()


def test_the_learning_rate_can_be_moved_by_keys_and_past_its_border(page):
    page.goto("03-gradient-descent.html")
    page.locator(".live-descent input").focus()
    before = page.locator(".live-descent circle").nth(2).get_attribute("cy")
    page.keyboard.press("ArrowLeft")
    assert (
        "α = 1.75 / h: each step leaves −0.75" in page.locator(".live-descent output").inner_text()
    )
    assert page.locator(".live-descent circle").nth(2).get_attribute("cy") != before
    assert "border" in slide(page, "descent", "2") and "climb" in slide(page, "descent", "2.1")
    assert "lands at the bottom" in slide(page, "descent", "1")


def test_the_temperature_moves_confidence_and_no_answer(page):
    page.goto("16-evaluation.html")
    said = [slide(page, "temperature", value) for value in ("0.5", "1", "4")]
    number = r"mean confidence ([\d.]+) %, right ([\d.]+) %"
    sure, right = zip(*(map(float, re.search(number, s).groups()) for s in said), strict=True)
    assert sure[0] > sure[1] > sure[2] and len({*right}) == 1
    assert "too sure" in said[0] and "not sure enough" in said[2]


def test_the_front_page_answers_a_review_and_stays_light(page, site):
    page.goto("index.html")
    page.locator(".live-review").scroll_into_view_if_needed()
    page.locator(".live-review textarea").fill("A dull, tiresome mess.")
    page.wait_for_function(
        "() => /negative/.test(document.querySelector('.live-answer strong').textContent)"
    )
    assert (site / "live/words.json").stat().st_size < 300_000
