"""The transcript in a real browser: nothing is fetched, nothing of a message runs, it can be searched, read in the dark, on a phone, on paper."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pypdf
import pytest
from playwright.sync_api import Browser, Page

from tests.browser import CONTRAST, NEEDS_CHROMIUM, chromium, opened
from tests.discovery.export import slices
from tests.discovery.export.packages import package

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package("html", tmp_path_factory.mktemp("html")).folder / "data/html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


def numbers(page: Page) -> list[str]:
    return page.eval_on_selector_all(
        ".m:not([hidden]) .cn", "all => all.map((one) => one.textContent).filter((one) => !one.includes('.'))"
    )


def test_the_transcript_is_read_searched_and_fetches_and_runs_nothing(browser: Browser, data: Path) -> None:
    page, seen = opened(browser, data / "index.html")
    page.click(f"a[href='chats/{slices.GENERAL.path_name}/1.html']")
    assert page.text_content("h1") == "general"
    assert page.eval_on_selector(".picture img", "picture => picture.decode().then(() => picture.naturalWidth)") == 1

    page.keyboard.press("/")
    page.keyboard.type("PRÍCE 12")
    page.wait_for_selector("output:text-is('1 of 7')")
    assert numbers(page) == ["SMITH-m-2"]
    assert page.evaluate("CSS.highlights.get('found').size") > 0
    page.keyboard.press("Escape")
    assert len(numbers(page)) == 7
    page.check("input[value=gone]")
    assert numbers(page) == ["SMITH-m-3"]

    page.goto((data / f"chats/{slices.EVIL.path_name}/1.html").as_uri())
    assert page.eval_on_selector_all("script", "all => all.length") == 1
    assert page.eval_on_selector_all("img", "all => all.length") == 0
    # Even what came into the page in some other way could not run.
    assert (
        page.evaluate(
            '() => { window.ran = 0; document.body.innerHTML += \'<img src="x:" onerror="window.ran = 1">\'; return window.ran; }'
        )
        == 0
    )
    assert [what for what in seen.wrong if "Content Security Policy" not in what and "x:" not in what] == []


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(browser: Browser, data: Path, scheme: str) -> None:
    for name in ("index.html", "chats/general/1.html", f"chats/{slices.EVIL.path_name}/1.html"):
        page, seen = opened(browser, data / name, color_scheme=scheme)
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        least, text = page.evaluate(CONTRAST)
        assert least >= 4.5, f"{name}: {text!r} has a contrast of {least:.2f}"
        assert seen.wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_is_wider_than_a_phone(browser: Browser, data: Path, width: int) -> None:
    for name in ("index.html", "chats/general/1.html", f"chats/{slices.EVIL.path_name}/1.html"):
        page, _ = opened(browser, data / name, viewport={"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name


@pytest.mark.slow
def test_paper_has_every_message_version_and_name_and_nothing_to_click(browser: Browser, data: Path) -> None:
    page, _ = opened(browser, data / "chats/general/1.html")
    # Whatever the reader had closed, paper shows it.
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = false; })")
    text = "\n".join(sheet.extract_text() for sheet in pypdf.PdfReader(io.BytesIO(page.pdf(format="A4"))).pages)
    for said in (
        "Good morning, everybody",
        "the price is 10",
        "No longer in Flock",
        "SMITH-m-1",
        "404 Not Found",
        "listener-down",
        "Asia/Tokyo",
    ):
        assert said in text
    assert "Search this page" not in text
    assert "Captured" not in text, "the record of a capture is for the screen"


@pytest.mark.slow
def test_the_keyboard_reaches_everything_and_landmarks_name_the_parts(browser: Browser, data: Path) -> None:
    page, _ = opened(browser, data / "chats/general/1.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the messages"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#content"
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "document.activeElement.tagName + ' ' + (document.activeElement.textContent || '').slice(0, 20)"
            )
        )
    assert any(one.startswith("SUMMARY SMITH-m-1") for one in reached)
    assert any(one.startswith("A minutes.txt") for one in reached)
    for landmark in ("main", "search", "nav[aria-label]", "footer", "h1", "section[aria-labelledby] > h2"):
        assert page.query_selector(landmark), landmark


@pytest.mark.slow
def test_without_scripts_it_is_whole_and_offers_no_search(browser: Browser, data: Path) -> None:
    page, seen = opened(browser, data / "chats/general/1.html", java_script_enabled=False)
    assert not page.is_visible("#find")
    assert page.is_visible("text=Good morning, everybody")
    assert seen.wrong == []
