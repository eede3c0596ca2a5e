"""The site as a reader meets it: in a real browser, with every other host out of reach."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from serve_site import server  # noqa: E402

PAGES = sorted(path.stem for path in (ROOT / "nbs").glob("*.ipynb"))
PHONE = {"width": 390, "height": 844}
APT = "apt-get install -y --no-install-recommends chromium"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

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


def chromium():
    """The path of Chromium, installed by apt if this machine lacks it and we may."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    may_install = shutil.which("apt-get") and os.geteuid() == 0
    if not any(map(shutil.which, names)) and may_install:
        for command in ("apt-get update", APT):
            subprocess.run(command.split(), stdout=subprocess.DEVNULL, check=False)
    found = next(filter(None, map(shutil.which, names)), None)
    return found or pytest.fail(f"Chromium is missing: run `sudo {APT}`", pytrace=False)


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


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def page(browser, address):
    """A page of a new browser profile; at the end, nothing may have gone wrong in it."""
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
    opened = context.new_page()
    opened.on("console", lambda m: m.type in ("error", "warning") and wrong.append(m.text))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("response", lambda r: r.status >= 400 and wrong.append(f"{r.status} {r.url}"))
    yield opened
    context.close()
    assert wrong == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_renders_and_can_be_read_in_both_lights(page, name):
    page.goto(f"{name}.html")
    assert page.locator("h1.title").inner_text().strip()
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.evaluate(PALE) == []
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector("html.quarto-dark")
    assert page.evaluate(PALE) == []


@pytest.mark.parametrize("name", PAGES)
def test_a_phone_shows_a_page_without_sideways_scroll(page, name):
    page.set_viewport_size(PHONE)
    page.goto(f"{name}.html")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert page.evaluate(CUT_OFF) == []


def test_every_formula_is_typeset_in_its_fonts(page, site):
    formula = re.compile(r'class="math (?:inline|display)"')
    names = [p.name for p in sorted(site.glob("*.html")) if formula.search(p.read_text("utf-8"))]
    assert names
    for name in names:
        page.goto(name)
        assert page.locator(".math:not(:has(.katex-mathml))").count() == 0
    page.evaluate("document.fonts.ready")
    fonts = "[...document.fonts].filter((f) => f.status === 'loaded').map((f) => f.family)"
    assert any("KaTeX" in family for family in page.evaluate(fonts))


def test_search_finds_a_title_and_its_hit_opens(page, site):
    entries = json.loads((site / "search.json").read_text("utf-8"))
    wanted = entries[-1]
    page.goto("index.html")
    page.get_by_role("searchbox").fill(wanted["title"])
    file = wanted["href"].split("#")[0]
    page.locator(f'.search-result[href*="{file}"]').first.click()
    page.wait_for_url(f"**/{file}*")
    assert page.locator("h1.title").inner_text() == wanted["title"]


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
    for box in page.locator("main details:not(.code-fold)").all():
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
