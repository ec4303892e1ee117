"""Transcripts that somebody broke or made to do harm, each in one way, and what the checker says."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.discovery.export.packages import Package, package

PAGE = "chats/general/1.html"
Break = Callable[[Path], object]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return package("html", tmp_path_factory.mktemp("html"))


def on(name: str, old: str, new: str) -> Break:
    def change(data: Path) -> None:
        path = data / name
        text = path.read_bytes().decode()
        assert old in text, old
        path.write_bytes(text.replace(old, new, 1).encode())

    return change


def page(old: str, new: str) -> Break:
    return on(PAGE, old, new)


def added(markup: str) -> Break:
    return page('<main id="content" tabindex="-1">', f'<main id="content" tabindex="-1">{markup}')


def without(pattern: str, name: str = PAGE) -> Break:
    def change(data: Path) -> None:
        text = (data / name).read_bytes().decode()
        shorter = re.sub(pattern, "", text, count=1, flags=re.DOTALL)
        assert shorter != text
        (data / name).write_bytes(shorter.encode())

    return change


ARTICLE = r'<article class="[^"]*" id="m-SMITH-m-1".*?</article>\n'
BREAKS: dict[str, tuple[str, Break]] = {
    "no index": ("missing", lambda data: (data / "index.html").unlink()),
    "a page is gone": ("link", lambda data: (data / PAGE).unlink()),
    "a page nobody knows": ("stray", lambda data: (data / "chats/more.html").write_text("<p>more</p>")),
    "a link to outside of the folder": (
        "stray",
        lambda data: (data / "chats/general/2.html").symlink_to("/etc/hostname"),
    ),
    "no UTF-8": ("encoding", lambda data: (data / PAGE).write_bytes((data / PAGE).read_bytes() + b"\xff")),
    "an element that does not end": ("markup", added("<div>")),
    "an element that nobody began": ("markup", added("</div>")),
    "an attribute twice": ("markup", added('<p class="a" class="b"></p>')),
    "one id twice": ("duplicate", added('<p id="content"></p>')),
    "a script": ("policy", added("<script>alert(1)</script>")),
    "a script from elsewhere": ("external", added('<script src="https://evil.example/x.js"></script>')),
    "a style": ("policy", added("<style>*{display:none}</style>")),
    "a handler": ("active", added('<p onclick="x()">x</p>')),
    "a style of one element": ("active", added('<p style="display:none">x</p>')),
    "a frame": ("active", added('<iframe src="1.html"></iframe>')),
    "another base of links": ("active", added('<base href="https://evil.example/">')),
    "a page that turns itself": ("active", added('<meta http-equiv="refresh" content="0;url=1.html">')),
    "a link that runs": ("external", added('<a href="javascript:alert(1)">x</a>')),
    "a link out": ("external", added('<a href="//evil.example/x">x</a>')),
    "a link out of the package": ("external", added('<a href="../../../../../etc/passwd">x</a>')),
    "a picture from elsewhere": ("external", added('<img src="http://evil.example/p.png" alt="">')),
    "a link to nothing": ("link", added('<a href="9.html">x</a>')),
    "a link to no place of the page": ("link", added('<a href="#m-nobody">x</a>')),
    "a link to no place of another page": ("link", added('<a href="../../index.html#nothing">x</a>')),
    "no policy": ("policy", without(r'<meta http-equiv="Content-Security-Policy"[^>]*>')),
    "a policy that lets scripts in": ("policy", page("script-src 'sha256-", "script-src 'unsafe-inline' 'sha256-")),
    "a policy that fetches": ("policy", page("img-src 'self' file:", "img-src *")),
    "a policy that allows the rest": ("policy", page("default-src 'none'", "default-src 'self'")),
    "a policy with more in it": ("policy", page("form-action 'none'", "form-action 'none'; frame-src https:")),
    "a policy that is said twice": ("policy", page("form-action 'none'", "form-action 'none'; img-src *;;")),
    "a direction that turns": ("direction", page("Good morning", "\u202eGood morning")),
    "a message is gone": ("count", without(ARTICLE)),
    "a version is gone": ("count", without(r'<li value="2">.*?</li>\n')),
    "a file is gone": ("count", without(r'<li class="file missing">.*?</li>\n')),
    "a time without offset": (
        "time",
        page('datetime="2026-11-20T21:00:00.000+09:00"', 'datetime="2026-11-20T21:00:00"'),
    ),
    "a time in another zone": (
        "time",
        page('datetime="2026-11-20T21:00:00.000+09:00"', 'datetime="2026-11-20T12:00:00.000+00:00"'),
    ),
    "another digest of a file": ("digest", page('data-sha256="3d17', 'data-sha256="0017')),
    "another file": (
        "native",
        page('class="fname" href="../../../natives/3d', 'class="fname" href="../../../natives/c4'),
    ),
    "another count in the index": ("count", on("index.html", 'data-messages="7"', 'data-messages="8"')),
    "another conversation in the index": (
        "reference",
        on("index.html", 'data-chat="g:general"', 'data-chat="g:other"'),
    ),
    "an index that leads nowhere": ("stray", on("index.html", 'href="chats/general/1.html"', 'href="#content"')),
}


@pytest.mark.parametrize("what", BREAKS)
def test_what_is_broken_is_found(what: str, good: Package, tmp_path: Path) -> None:
    code, change = BREAKS[what]
    shutil.copytree(good.folder, tmp_path / "package")
    copy = Package("html", tmp_path / "package", good.written, good.facts)
    change(copy.data)
    findings = copy.findings()
    assert code in {finding.code for finding in findings}, findings
    assert all(finding.path.startswith("data/html/") for finding in findings)


def test_pages_that_lead_to_each_other_are_read_once(good: Package, tmp_path: Path) -> None:
    shutil.copytree(good.folder, tmp_path / "package")
    copy = Package("html", tmp_path / "package", good.written, good.facts)
    page("</main>", '</main><a rel="next" href="1.html">again</a>')(copy.data)
    assert copy.findings() == []


def test_every_count_of_the_report_is_held_against_what_is_there(good: Package) -> None:
    for field in ("messages", "message_versions", "files", "missing_files"):
        assert good.codes(**{field: 99}) == {"count"}
    assert good.codes(natives={}) == {"native", "link"}
