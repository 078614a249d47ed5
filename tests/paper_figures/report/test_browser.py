"""The page in a browser: at two widths, in light and dark, nothing overflows, is missing or complains; links lead."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, running
from PIL import Image

WIDTHS = {1280: False, 390: True}  # width of the window -> whether it is a phone
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
LOST = "[...document.images].filter(one => !one.complete || !one.naturalWidth).map(one => one.alt)"
# Elements that reach out of the page and out of every box that scrolls
OUTSIDE = """[...document.querySelectorAll("body *")].filter(one => {
  const box = one.getBoundingClientRect();
  return box.width && box.right > document.documentElement.clientWidth + 1 && box.left >= 0 && !one.closest(".scroll");
}).map(one => one.outerHTML.slice(0, 80))"""
FOLLOW = """async link => {
  document.querySelectorAll("main a")[link].click();
  await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
  const box = document.querySelector(":target").getBoundingClientRect();
  const href = document.querySelectorAll("main a")[link].getAttribute("href");
  return [href === location.hash, box.height > 0, box.top < innerHeight && box.bottom > 0];
}"""
SORTED = """async () => {
  const table = document.querySelector("#table-smoothing table"), heading = [...table.tHead.rows[0].cells];
  const column = heading.findIndex(one => one.textContent.trim() === "FD");
  heading[column].querySelector("button").click();
  return [heading[column].getAttribute("aria-sort"),
          [...table.tBodies[0].rows].map(row => parseFloat(row.cells[column].textContent))];
}"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not Path(CHROMIUM).exists():
        (pytest.fail if os.environ.get("FPDM_REQUIRE_CHROMIUM") else pytest.skip)("Chromium is not installed")
    with running(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_overflows_is_missing_or_complains(width, dark, browser, path, tmp_path):
    browser.open(path, width, dark=dark, phone=WIDTHS[width])
    assert browser.run("innerWidth") == width
    assert browser.run(OVERFLOW) == 0
    assert browser.run(OUTSIDE) == []
    assert browser.run("document.images.length") == 1
    assert browser.run(LOST) == []
    picture = tmp_path / "page.png"
    browser.screenshot(picture, height=3000)
    pixels = np.asarray(Image.open(io.BytesIO(picture.read_bytes())).convert("L"))
    assert pixels.shape == (3000, width if WIDTHS[width] else browser.run("document.documentElement.clientWidth"))
    assert (np.median(pixels) < 60) == dark
    assert pixels.std() > 15  # text and figures, no empty page
    assert browser.complaints == []


def test_ten_links_lead_to_what_they_name(browser, path):
    browser.open(path, 1280)
    count = browser.run("document.querySelectorAll('main a').length")
    for link in np.linspace(0, count - 1, 10).astype(int):
        assert browser.run(f"({FOLLOW})({link})") == [True, True, True]
    assert browser.complaints == []


def test_tables_sort_where_scripts_run(browser, path):
    assert "<button" not in path.read_text()  # nothing to press where they do not
    browser.open(path, 1280)
    direction, values = browser.run(f"({SORTED})()")
    assert (direction, values) == ("ascending", sorted(values))
    assert len(values) == 42
    direction, values = browser.run(f"({SORTED})()")
    assert (direction, values) == ("descending", sorted(values, reverse=True))
    assert browser.complaints == []


def test_printed_it_is_whole(browser, path, tmp_path):
    browser.open(path, 703)  # what A4 has between its margins
    browser.call("Emulation.setEmulatedMedia", media="print")
    wide = "[...document.querySelectorAll('table, img')].filter(one => one.getBoundingClientRect().right > innerWidth)"
    assert browser.run(f"{wide}.map(one => one.outerHTML.slice(0, 60))") == []
    browser.call("Emulation.setEmulatedMedia", media="")
    printed = tmp_path / "page.pdf"
    browser.print(printed)
    assert printed.read_bytes().startswith(b"%PDF")
