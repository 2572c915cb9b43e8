"""A browser for the tests of pages, and the checks that every page must pass."""

import re
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

CHROMIUM = Path("/usr/bin/chromium")
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

needs_chromium = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no {CHROMIUM}: apt-get install chromium")

DIM_TEXT = r"""
// Every text whose contrast with its background is too low, by the formula of WCAG 2.
least => {
  const parts = colour => (colour.match(/[\d.]+/g) || []).map(Number);
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map(c => c / 255).map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const background_of = element => {
    for (let one = element; one; one = one.parentElement) {
      const colour = parts(getComputedStyle(one).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const dim = [];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own || element.localName === "title") continue;
    const style = getComputedStyle(element);
    const colour = parts(element instanceof SVGElement ? style.fill : style.color);
    const [low, high] = [luminance(colour), luminance(background_of(element))].sort((a, b) => a - b);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < least) dim.push(`${contrast.toFixed(2)} ${element.outerHTML.slice(0, 80)}`);
  }
  return [...new Set(dim)];
}
"""


@pytest.fixture(scope="module")
def chromium():
    # Module scope: its event loop would disturb the tests that run their own.
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only these tests need it

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def browse(chromium):
    """Open pages; each records its errors and its requests."""
    contexts = []

    def browse(path, *, width=1280, scheme="light"):
        contexts.append(chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.errors, page.requests = [], []
        page.on("console", lambda message: page.errors.append(message.text))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("requestfailed", lambda request: page.errors.append(request.url))
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto(path.as_uri(), wait_until="load")
        return page

    yield browse
    for context in contexts:
        context.close()


def assert_self_contained(page, path):
    """It opens without an error, and loads no other resource."""
    assert page.errors == []
    assert [url for url in page.requests if not url.startswith("data:")] == [path.as_uri()]
    assert page.locator("script, link[rel=stylesheet], img, iframe").count() == 0
    assert page.locator("h1").count() == 1


def unfold(page):
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")


def assert_fits(page, width):
    """It does not scroll sideways, and no text or picture sticks out."""
    unfold(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width, page.url
    too_wide = page.locator("main :is(p, h1, h2, h3, li, summary, figure, figcaption, svg[role])").evaluate_all(
        "(all, width) => all.filter(one => one.getBoundingClientRect().right > width).map(one => one.textContent)",
        width,
    )
    assert too_wide == []


def assert_readable(page, scheme):
    """Every text contrasts with its background, and the page follows the colour scheme."""
    unfold(page)
    assert page.evaluate(DIM_TEXT, 4.5) == [], page.url
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background))) < 200) == (scheme == "dark")


def assert_links_resolve(pages):
    """Every link of these pages leads to one of them, and to an id on it; return the linked pages."""
    ids, links = {}, []
    for page in pages:
        found = page.eval_on_selector_all("[id]", "all => all.map(one => one.id)")
        assert len(found) == len(set(found)), f"duplicate id in {page.url}"
        ids[page.url] = set(found)
        links += page.eval_on_selector_all("a", "all => all.map(one => one.href)")
    for link in links:
        target, fragment = urldefrag(link)
        assert target in ids, link
        assert not fragment or unquote(fragment) in ids[target], link
    return {urldefrag(link)[0] for link in links}
