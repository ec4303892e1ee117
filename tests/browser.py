"""A real browser to look at pages with: what they fetch, run and complain of is written down."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
NEEDS_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: pages are not looked at in a browser")
# Of every text that is seen, the contrast with what stands behind it, as WCAG 2 has it; the least, and of which text.
CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  let least = [99, ""];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const on = node.parentElement;
    if (!node.data.trim() || !on.getClientRects().length || ["SCRIPT", "STYLE"].includes(on.tagName)) continue;
    const pair = [light(parse(getComputedStyle(on).color)), light(behind(on))].sort((a, b) => b - a);
    const contrast = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (contrast < least[0]) least = [contrast, node.data.trim()];
  }
  return least;
}"""


@dataclass
class Seen:
    """What a page did that it should not do."""

    wrong: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("request", lambda request: self._unless(request.url.startswith("file:"), f"fetched {request.url}"))
        page.on("requestfailed", lambda request: self.wrong.append(f"did not find {request.url}"))
        page.on(
            "console", lambda message: self._unless(message.type not in ("error", "warning"), f"said {message.text}")
        )
        page.on("pageerror", lambda error: self.wrong.append(f"failed: {error}"))
        page.on("dialog", lambda dialog: (self.wrong.append(f"asked {dialog.message}"), dialog.dismiss()))

    def _unless(self, right: bool, what: str) -> None:
        if not right:
            self.wrong.append(what)


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


def opened(browser: Browser, path: Path, **how: Any) -> tuple[Page, Seen]:
    page = browser.new_context(**how).new_page()
    seen = Seen()
    seen.watch(page)
    page.goto(path.as_uri())
    return page, seen
