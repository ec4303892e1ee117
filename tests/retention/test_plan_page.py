"""The page of a plan: what a person reads before approving, safe whatever stands in names, and complete without anything from elsewhere."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from datetime import date
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from playwright.sync_api import Browser

from archiver.retention.plan_document import DueLater, Plan, PlanLimits, SavedByHold
from archiver.retention.plan_page import PageFacts, plan_page, weight
from archiver.retention.plan_timeline import HEIGHT, OTHERS, RULES_DRAWN_MAX, WIDTH, months_after, timeline
from archiver.store.memory import MemoryStore
from tests.archive.archive_steps import found
from tests.browser import CONTRAST, NEEDS_CHROMIUM, chromium, opened
from tests.retention.lived import lived, planned, sent
from tests.retention.plans import file_item, message_item, plan_of
from tests.retention.policies import policy

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202eevil\x1b[2J"
FACTS = PageFacts("acme", "/srv/archive")
VOID = {"meta", "br", "img", "link"}


class Read(HTMLParser):
    """What a browser would make of a page: elements with attributes, and the text; an element that is not closed fails."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def made(**header: Any) -> Plan:
    archive = found(MemoryStore())
    items = [message_item("m-1"), message_item("m-2", rule="for hr"), file_item("m-1", 0)]
    plan = plan_of(archive, archive.founding_head(), items, totals={"messages": 10})
    return Plan(msgspec.structs.replace(plan.header, **header), plan.items)


def later(month: str, rule: str, items: int) -> DueLater:
    return DueLater(month=month, rule=rule, kind="message", items=items, bytes=items * 100)


class TestWhatItSays:
    def test_the_digest_stands_there_whole_with_what_to_do(self) -> None:
        plan = made()
        read = Read(plan_page(plan, FACTS))
        assert plan.digest in re.sub(r"\s", "", read.text)
        assert f"archiver retention apply {plan.digest[:16]} --approved-by NAME" in read.text

    def test_items_by_rule_and_what_holds_keep(self) -> None:
        plan = made(saved=(SavedByHold(hold="smith", items=7, bytes=2_000),), held=7, held_bytes=2_000)
        text = Read(plan_page(plan, FACTS)).text
        for said in ("old-chat", "for hr", "smith", "2.0 kB", "Europe/Berlin"):
            assert said in text

    def test_a_limit_that_is_passed_is_said_before_anything_else_is_read(self) -> None:
        page = plan_page(made(limits=PlanLimits(rows_max=2)), FACTS)
        assert "cannot be applied" in page
        assert page.index("cannot be applied") < page.index("In numbers")
        assert "cannot be applied" not in plan_page(made(), FACTS)

    def test_what_the_store_has_locked_is_said_where_it_is_approved(self) -> None:
        page = plan_page(made(), PageFacts("acme", "/srv/archive", "2 of 3 objects are locked <for now>"))
        assert page.index("2 of 3 objects are locked &lt;for now&gt;") < page.index("In numbers")
        assert "gone at once" not in plan_page(made(), FACTS)

    def test_an_erasure_says_for_whom_and_why(self) -> None:
        page = plan_page(made(kind="erase", subject="ann@acme.com", reason="request 17"), FACTS)
        assert "ann@acme.com" in page
        assert "request 17" in page

    def test_no_text_of_a_message_is_on_it(self) -> None:
        archive, head = lived([{"messages": [sent("m-1", date(2020, 1, 1), text="zebra-crossing")]}])
        assert "zebra" not in plan_page(planned(archive, head, policy({"delete": "1y"}), date(2026, 11, 27)), FACTS)

    def test_nothing_due_is_said_plainly(self) -> None:
        archive, head = lived([])
        page = plan_page(planned(archive, head, policy({"delete": "1y"}), date(2026, 11, 27)), FACTS)
        assert "Nothing is due as of 2026-11-27" in page
        assert "Nothing leaves, now or in the months that follow." in page

    @pytest.mark.parametrize(
        ("count", "said"), [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (31_378_228, "31.4 MB")]
    )
    def test_weights_are_said_in_powers_of_ten(self, count: int, said: str) -> None:
        assert weight(count) == said


class TestSafe:
    def test_hostile_names_are_shown_and_do_nothing(self) -> None:
        plan = made(
            policy=HOSTILE,
            kind="erase",
            subject=HOSTILE,
            reason=HOSTILE,
            saved=(SavedByHold(hold=HOSTILE, items=1, bytes=1),),
            later=(later("2026-12", HOSTILE, 5),),
        )
        rules = pa.array([HOSTILE] * plan.items.num_rows)
        items = plan.items.set_column(plan.items.column_names.index("rule"), "rule", rules)
        plain, attacked = (
            Read(plan_page(made(later=(later("2026-12", "x", 5),)), FACTS)),
            Read(plan_page(Plan(plan.header, items), PageFacts(HOSTILE, HOSTILE))),
        )
        assert {tag for tag, _ in attacked.elements} <= {tag for tag, _ in plain.elements} | {"strong", "ul", "li"}
        assert not [name for _, attributes in attacked.elements for name in attributes if name.startswith("on")]
        assert "<script>alert(1)</script>" in attacked.text
        assert "\u202e" not in attacked.text
        assert "\x1b" not in attacked.text
        assert r"\u202eevil\x1b[2J" in attacked.text

    def test_nothing_comes_from_elsewhere_and_nothing_runs(self) -> None:
        page = plan_page(made(later=(later("2026-12", "old-chat", 5),)), FACTS)
        read = Read(page)
        assert not re.search(r"https?:|//|url\(|@import", page.replace("<!doctype html>", ""))
        assert not {"script", "link", "iframe", "img", "object", "form"} & {tag for tag, _ in read.elements}
        assert not [attributes for _, attributes in read.elements if "style" in attributes or "src" in attributes]

    def test_its_policy_allows_only_its_own_style(self) -> None:
        page = plan_page(made(), FACTS)
        (policy_,) = [
            one["content"] for one in Read(page).all("meta") if one.get("http-equiv") == "Content-Security-Policy"
        ]
        style = page[page.index("<style>") + len("<style>") : page.index("</style>")]
        digest = b64encode(sha256(style.encode()).digest()).decode()
        assert policy_ == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


class TestForEverybody:
    def test_a_reader_of_the_screen_finds_its_way(self) -> None:
        read = Read(plan_page(made(later=(later("2026-12", "old-chat", 5),)), FACTS))
        assert read.all("html")[0]["lang"] == "en"
        assert len(read.all("h1")) == 1
        ids = {attributes["id"] for _, attributes in read.elements if "id" in attributes}
        named = [word for _, attributes in read.elements for word in (attributes.get("aria-labelledby") or "").split()]
        assert set(named) <= ids
        (picture,) = [svg for svg in read.all("svg") if svg.get("role") == "img"]
        assert picture["aria-labelledby"] == "picture-title picture-text"
        assert all(header.get("scope") in ("col", "row") for header in read.all("th"))

    def test_it_is_made_for_small_screens_dark_ones_and_paper(self) -> None:
        page = plan_page(made(), FACTS)
        assert 'name="viewport" content="width=device-width, initial-scale=1"' in page
        for media in ("prefers-color-scheme:dark", "@media print", "max-width"):
            assert media in page

    @NEEDS_CHROMIUM
    def test_a_browser_shows_all_of_it_on_a_phone_in_the_dark_and_fetches_nothing(
        self, browser: Browser, tmp_path: Path
    ) -> None:
        path = tmp_path / "plan.html"
        path.write_text(plan_page(made(later=(later("2026-12", HOSTILE, 5), later("2027-03", "b", 3))), FACTS), "utf-8")
        for how in ({"viewport": {"width": 390, "height": 800}, "color_scheme": "dark"}, {}):
            page, seen = opened(browser, path, **how)
            assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]
            contrast, text = page.evaluate(CONTRAST)
            assert contrast >= 4.5, text  # WCAG 2.1, 1.4.3
            assert seen.wrong == []

    def test_the_picture_s_numbers_stand_in_a_table_too(self) -> None:
        text = Read(plan_page(made(later=(later("2026-12", "old-chat", 5_432),)), FACTS)).text
        assert "2026-12, old-chat: 5,432 items" in text
        assert re.search(r"2026-12\s*old-chat\s*messages\s*5,432", text)


class TestTimeline:
    def test_bars_are_as_high_as_what_they_stand_for_and_stay_in_the_picture(self) -> None:
        header = made(later=(later("2026-12", "a", 100), later("2026-12", "b", 300), later("2027-01", "a", 200))).header
        picture = timeline(header, {"a": 50}, months_after("2026-11", 24))
        heights = {(box.label, box.rule): box.height for box in picture.boxes}
        assert heights["2026-12", "b"] == pytest.approx(3 * heights["2026-12", "a"], abs=0.02)
        assert heights["2027-01", "a"] == pytest.approx(2 * heights["2026-12", "a"], abs=0.02)
        for box in picture.boxes:
            assert 0 <= box.x <= box.x + box.width <= WIDTH
            assert 0 <= box.y <= box.y + box.height <= HEIGHT
        assert sum(box.items for box in picture.boxes) == 650

    def test_more_rules_than_one_can_tell_apart_are_drawn_as_others(self) -> None:
        now = {f"rule {number:02d}": 100 - number for number in range(12)}
        picture = timeline(made().header, now, months_after("2026-11", 24))
        assert len(picture.rules) == RULES_DRAWN_MAX
        assert picture.rules[-1] == OTHERS
        assert sum(box.items for box in picture.boxes) == sum(now.values())

    def test_each_rule_has_one_shade_everywhere(self) -> None:
        header = made(later=tuple(later(f"2026-{month}", rule, 5) for month in ("11", "12") for rule in "ab")).header
        picture = timeline(header, {"b": 3}, months_after("2026-11", 24))
        assert len({(box.rule, box.shade) for box in picture.boxes}) == 2

    def test_ticks_are_round_and_none_lies_above_the_picture(self) -> None:
        for count in (1, 3, 7, 11, 99, 101, 123_456, 10**9):
            picture = timeline(made().header, {"a": count}, months_after("2026-11", 24))
            assert all(0 < tick.y <= HEIGHT for tick in picture.ticks)
            assert max(box.height for box in picture.boxes) > HEIGHT / 3

    def test_months_follow_each_other_over_years(self) -> None:
        assert months_after("2026-11", 4) == ["2026-11", "2026-12", "2027-01", "2027-02"]
