"""Every page in Chromium, as a reader sees it."""

import re
from html.parser import HTMLParser
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

from companion.teaching.figures import COLORS

on_both = pytest.mark.parametrize(
    "tab", [(1280, "light"), (390, "dark")], ids=["wide, light", "phone, dark"], indirect=True
)

# Run in the page: what a reader would stumble over.
INSPECT = """async () => {
  const found = [];
  document.documentElement.dataset.whole = "";  // lay out what is far from the window, too
  for (const img of document.images) {
    img.loading = "eager";
    try { await img.decode(); } catch { found.push(`broken image ${img.src.slice(0, 80)}`); }
    if (!img.alt.trim()) found.push(`no alt text: ${img.src.slice(0, 80)}`);
  }
  for (const icon of document.querySelectorAll(".fa-solid, .fas, .fa-regular, .fab"))
    if (getComputedStyle(icon, "::before").content === "none")
      found.push(`no such icon: ${icon.className}`);
  for (const box of document.querySelectorAll(".toggle-hidden"))
    box.classList.remove("toggle-hidden");
  for (const formula of document.querySelectorAll(".katex-display"))
    if (formula.scrollWidth > formula.clientWidth + 2)
      found.push(`cut off: ${formula.querySelector("annotation").textContent}`);
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth)
    found.push(`${root.scrollWidth} px wide on ${root.clientWidth} px`);
  const article = document.querySelector("article");
  for (const node of article?.querySelectorAll("pre, code, script, .katex, textarea") ?? [])
    node.remove();
  const raw = article?.textContent.match(/\\$\\$?[^$\\n]{1,60}\\$|\\\\\\(.{1,40}/);
  if (raw) found.push(`a formula as text: ${raw[0]}`);
  return found;
}"""


WIDE = "block => block.scrollWidth > block.clientWidth"


def pages(built):
    names = (p.relative_to(built).as_posix() for p in built.rglob("*.html"))
    return sorted(name for name in names if not name.startswith("_static/"))


@on_both
def test_every_page_opens_clean(tab, built, address):
    problems = []
    for name in pages(built):
        if name == "index.html":
            continue  # leads to the front page
        tab.problems.clear()
        tab.goto(f"{address}/{name}", wait_until="load")
        theme = tab.evaluate("document.documentElement.dataset.theme")
        found = tab.evaluate(INSPECT) + tab.problems
        if theme not in ("light", "dark"):
            found.append(f"theme {theme!r}")
        problems += [f"{name}: {problem}" for problem in found]
    assert not problems, "\n".join(problems)


@on_both
def test_interactive_figures_move(tab, built, address):
    seen = 0
    for name in pages(built):
        if 'class="chart"' not in (built / name).read_text("utf-8"):
            continue
        tab.goto(f"{address}/{name}")
        for chart in tab.locator(".chart").all():
            chart.scroll_into_view_if_needed()
            tab.wait_for_function("c => c.classList.contains('drawn')", arg=chart.element_handle())
            before = chart.locator("svg").first.inner_html()
            if tab.evaluate("document.documentElement.dataset.theme") == "dark":
                assert not any(color in before for color in COLORS), f"{name}: colours of the day"
            for control in chart.locator("input, select").all():
                assert control.evaluate("c => c.labels.length || c.ariaLabel"), f"{name}: no label"
            control = chart.locator("input, select").first
            if control.evaluate("c => c.tagName") == "SELECT":
                control.select_option(index=0 if control.evaluate("c => c.selectedIndex") else 1)
            elif control.get_attribute("type") == "radio":
                radios = chart.locator("input[type=radio]")
                (radios.last if radios.first.is_checked() else radios.first).check()
            else:
                control.focus()
                for _ in range(3):
                    tab.keyboard.press("ArrowRight")
                if chart.locator("svg").first.inner_html() == before:  # it stood at its end
                    tab.keyboard.press("Home")
            tab.wait_for_function(
                "([c, old]) => c.querySelector('svg').innerHTML !== old",
                arg=[chart.element_handle(), before],
            )
            seen += 1
    assert seen >= 4, f"{seen} interactive figures"
    assert not tab.problems, tab.problems


def test_search_finds_a_word(tab, address):
    tab.goto(f"{address}/search.html?q=sigmoid")
    tab.locator("#search-results li").first.wait_for()
    assert not tab.problems, tab.problems


def test_dark_mode_is_a_click_away(tab, address):
    tab.goto(f"{address}/book/intro.html")
    light = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    for _ in range(3):
        tab.locator(".theme-switch-button").first.click()
    shades = {light}
    for _ in range(3):
        tab.locator(".theme-switch-button").first.click()
        shades.add(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(shades) == 2


@on_both
def test_a_jump_ends_at_its_anchor(tab, address):
    """Also when what lies between was not laid out before, on arrival and within the page."""
    page = f"{address}/book/activations/04-smooth.html"
    place = "id => document.getElementById(id).getBoundingClientRect().top"
    tab.goto(f"{page}#exercises")
    assert abs(tab.evaluate(place, "exercises")) < 150
    tab.goto(page)
    tab.evaluate("document.querySelector(\"a[href='#exercises']\").click()")
    tab.wait_for_timeout(1000)  # the scrolling is smooth
    assert abs(tab.evaluate(place, "exercises")) < 150


def test_wide_code_scrolls_with_the_keyboard(tab, address):
    tab.set_viewport_size({"width": 390, "height": 800})
    tab.goto(f"{address}/book/activations/04-smooth.html")
    wide = [p for p in tab.locator("pre:visible").all() if p.evaluate(WIDE)]
    for block in wide:
        block.scroll_into_view_if_needed()
        tab.wait_for_function("b => b.tabIndex === 0", arg=block.element_handle())
    assert wide


class Links(HTMLParser):
    """Targets and anchors of one page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.assets, self.ids = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if "id" in attrs:
            self.ids.add(attrs["id"])
        if tag == "a" and "name" in attrs:
            self.ids.add(attrs["name"])
        if tag == "a" and attrs.get("href"):
            self.links.append(attrs["href"])
        if tag in ("script", "img", "iframe", "source") and attrs.get("src"):
            self.assets.append(attrs["src"])
        if tag == "link" and attrs.get("href") and attrs.get("rel") != "canonical":
            self.assets.append(attrs["href"])


def test_no_link_is_broken(built):
    parsed = {name: Links((built / name).read_text("utf-8")) for name in pages(built)}
    broken = []
    for name, page in parsed.items():
        for target in [*page.links, *page.assets]:
            url, anchor = urldefrag(target)
            if urlsplit(url).scheme or url.startswith("//"):
                if target in page.assets and not url.startswith("data:"):
                    broken.append(f"{name}: {url} is outside")
                continue
            path = (
                (built / name).parent / unquote(re.sub(r"\?.*", "", url)) if url else built / name
            )
            path = path.resolve()
            if path.is_dir():
                path /= "index.html"
            if not path.is_file():
                broken.append(f"{name}: {target}")
            elif anchor and path.suffix == ".html":
                ids = parsed[path.relative_to(built.resolve()).as_posix()].ids
                if unquote(anchor) not in ids:
                    broken.append(f"{name}: {target} has no such anchor")
    assert not broken, "\n".join(broken)
