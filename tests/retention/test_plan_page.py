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

from archiver.clock import from_text
from archiver.retention.plan_document import DueLater, Plan, PlanLimits, SavedByHold, breakers_passed
from archiver.retention.plan_page import Limit, PageFacts, day_of, limits_of, plan_page, weight
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


def lines(page: str) -> list[str]:
    """What a page says, line by line; the texts of its picture are left out, which test_plan_timeline has."""
    shown = re.sub(r"<svg role=.*?</svg>", "", page, flags=re.DOTALL).replace("</div>", "</div>\n")
    cells = re.sub(r"(</(?:th|td|dt|dd|caption|title)>|<table)", r" | \1", shown)
    return [" ".join(line.split()).rstrip(" |") for line in Read(cells).text.splitlines() if line.strip(" |")]


def test_the_whole_page_of_a_policy_s_plan_line_by_line() -> None:
    archive = found(MemoryStore())
    old, new = (from_text(f"{day}T12:00:00.000Z") for day in ("2020-01-01", "2020-03-01"))
    items = [
        message_item("m-1", sent_at=old, bytes=1_500),
        message_item("m-2", sent_at=new, bytes=2_500_000),
        message_item("m-3", sent_at=new, rule="for hr", rows=2),
        file_item("m-1", 0, sent_at=old, bytes=20),
    ]
    limits = PlanLimits(rows_max=4, percent_max=0.5)
    totals = {"messages": 1_200, "files": 50}
    plan = plan_of(archive, archive.founding_head(), items, totals=totals, limits=limits)
    header = msgspec.structs.replace(
        plan.header,
        blobs=1,
        blob_bytes=2_345,
        held=7,
        held_bytes=2_000,
        saved=(SavedByHold(hold="smith", items=7, bytes=2_000), SavedByHold(hold="inquiry", items=6, bytes=9)),
        later=(later("2026-12", "old-chat", 5_432), later("2027-01", "for hr", 3)),
    )
    plan = Plan(header, plan.items)
    assert lines(plan_page(plan, PageFacts("acme", "/srv/archive", "2 of 3 objects are locked."))) == [
        "Retention plan of acme as of 2026-11-27",
        "Skip to the numbers",
        "Retention plan · acme",
        "What leaves the archive as of 2026-11-27",
        "By the policy acme, days counted by the calendar of Europe/Berlin.",
        "What is approved",
        plan.digest,
        "This SHA-256 stands for the plan below and nothing else: the same archive, the same policy, the same items give the same digits. "
        "To do exactly this:",
        f"archiver retention apply {plan.digest[:16]} --approved-by NAME",
        "A limit of the policy is passed, so this plan cannot be applied:",
        "5 rows, and the policy's limit is 4 (rows_max)",
        "Not all of it is gone at once. 2 of 3 objects are locked.",
        "In numbers",
        "messages | 3",
        "files | 1",
        "rows | 5 | of 1,250",
        "weight | 2.5 MB",
        "blobs without a reference then | 1 | 2.3 kB",
        "due, but held | 7 | 2.0 kB",
        "Limits of the policy, held against this plan before anything is removed",
        "limit | at most | this plan | outcome",
        "rows (rows_max) | 4 | 5 | passed: refused",
        "share of all rows (percent_max) | 0.5 % | 0.40 % | within",
        "What leaves when: now, and in the next 24 months",
        "old-chat for hr",
        "The two parts have scales of their own. What holds cover today is left out; months are those of Europe/Berlin.",
        "By rule",
        "What is due, by the rule that decided",
        "rule | what | items | weight | sent",
        "old-chat | messages | 2 | 2.5 MB | 2020-01 to 2020-03",
        "for hr | messages | 1 | 10 B | 2020-03",
        "old-chat | files | 1 | 20 B | 2020-01",
        "By rule and month of sending",
        "rule | what | sent in | items | weight",
        "for hr | messages | 2020-03 | 1 | 10 B",
        "old-chat | files | 2020-01 | 1 | 20 B",
        "old-chat | messages | 2020-01 | 1 | 1.5 kB",
        "old-chat | messages | 2020-03 | 1 | 2.5 MB",
        "What holds keep",
        "Due, and not in the plan: several holds may cover one item",
        "hold | items | weight",
        "smith | 7 | 2.0 kB",
        "inquiry | 6 | 9 B",
        "Month by month",
        "Becomes due, if nothing changes",
        "month | rule | what | items | weight",
        "2026-12 | old-chat | messages | 5,432 | 543.2 kB",
        "2027-01 | for hr | messages | 3 | 300 B",
        "What it rests on",
        f"archive | /srv/archive {header.archive_id}",
        f"commit | 0 {header.head_digest}",
        f"policy | acme {'ab' * 32}",
        "as of | 2026-11-27T00:00:00.000Z",
        f"items | {header.items_sha256}",
        f"The digest is the SHA-256 of plans/{plan.digest}.json, which names the items in the file beside it by theirs. "
        "Holds that are placed until the plan is applied only take",
        "items out of it; anything else that changes makes it void. Weights of messages are their part of the objects that they lie in.",
        "No text of any message is on this page, and nothing on it comes from elsewhere.",
    ]


def test_the_picture_is_described_in_words_and_has_the_items_due_now_by_rule() -> None:
    read = Read(plan_page(made(later=(later("2026-12", "old-chat", 1_200),)), FACTS))
    assert "3 items are due now, 1,200 in the months that follow." in read.text
    assert re.findall(r"due now, .*: [0-9]+ items", read.text) == [
        "due now, old-chat: 2 items",
        "due now, for hr: 1 items",
    ]


def test_the_months_of_a_plan_follow_its_day_and_those_of_an_erasure_the_first_retain_period_that_ends() -> None:
    """A month in which nothing leaves is drawn too, as its number under an empty place; years stand under their first month."""
    facts: dict[str, Any] = {"subject": "ann", "reason": "request 17", "later": (later("2031-05", "tax", 5),)}
    years = {
        kind: re.findall(r'class="year"[^>]*>([0-9]+)<', plan_page(made(kind=kind, **facts), FACTS))
        for kind in ("policy", "erase")
    }
    assert years == {"policy": ["2026", "2027", "2028"], "erase": ["2031", "2032", "2033"]}
    nothing_later = re.findall(
        r'class="year"[^>]*>([0-9]+)<', plan_page(made(kind="erase", **facts | {"later": ()}), FACTS)
    )
    assert nothing_later == years["policy"]


def test_the_day_is_that_of_the_policy_s_zone() -> None:
    """Midnight in Auckland is the day before in UTC."""
    header = made(zone="Pacific/Auckland", as_of="2026-11-26T11:00:00.000Z").header
    assert day_of(header) == "2026-11-27"


@pytest.mark.parametrize(
    ("limits", "facts", "rows", "share"),
    [
        (PlanLimits(), {}, ("none", "3", "no limit"), ("none", "30.00 %", "no limit")),
        (PlanLimits(rows_max=3, percent_max=30.0), {}, ("3", "3", "within"), ("30 %", "30.00 %", "within")),
        (
            PlanLimits(rows_max=1_000, percent_max=29.9),
            {"rows": 2_990, "totals": {"messages": 9_000, "files": 1_000}},
            ("1,000", "2,990", "passed: refused"),
            ("29.9 %", "29.90 %", "within"),
        ),
        (PlanLimits(percent_max=18.4), {"rows": 70, "totals": {"files": 375}}, ("none", "70", "no limit"), ("18.4 %", "18.67 %", "passed: refused")),
        (PlanLimits(percent_max=99.0), {"totals": {}}, ("none", "3", "no limit"), ("99 %", "100.00 %", "passed: refused")),
        (PlanLimits(percent_max=0.0), {"rows": 0, "totals": {}}, ("none", "0", "no limit"), ("0 %", "0.00 %", "within")),
    ],
)  # fmt: skip
def test_limits_are_held_against_the_plan_as_the_plan_is_refused(
    limits: PlanLimits, facts: dict[str, Any], rows: tuple[str, ...], share: tuple[str, ...]
) -> None:
    header = made(limits=limits, **facts).header
    told = limits_of(header)
    assert told == [Limit("rows (rows_max)", *rows), Limit("share of all rows (percent_max)", *share)]
    refused = [limit.name for limit in told if limit.outcome == "passed: refused"]
    breaches = breakers_passed(limits, rows=header.rows, totals=header.totals)
    assert len(breaches) == len(refused)


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
        plan = made(
            kind="erase",
            policy=None,
            policy_digest=None,
            subject="ann@acme.com",
            reason="request 17",
            counts={"user": 2},
        )
        said = lines(plan_page(plan, FACTS))
        assert said[0] == "Plan of an erasure of acme as of 2026-11-27"
        assert said[2:5] == [
            "Plan of an erasure · acme",
            "What leaves the archive as of 2026-11-27",
            "Everything that ann@acme.com sent, because: request 17.",
        ]
        assert {"messages | 0", "files | 0", "directory entries | 2", "policy | none"} <= set(said)
        assert "What goes now, and until when the rest is retained" in said

    def test_no_text_of_a_message_is_on_it(self) -> None:
        archive, head = lived([{"messages": [sent("m-1", date(2020, 1, 1), text="zebra-crossing")]}])
        assert "zebra" not in plan_page(planned(archive, head, policy({"delete": "1y"}), date(2026, 11, 27)), FACTS)

    def test_nothing_due_is_said_plainly(self) -> None:
        archive, head = lived([])
        page = plan_page(planned(archive, head, policy({"delete": "1y"}), date(2026, 11, 27)), FACTS)
        assert "Nothing is due as of 2026-11-27" in page
        assert "Nothing leaves, now or in the months that follow." in page

    @pytest.mark.parametrize(
        ("count", "said"),
        [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (31_378_228, "31.4 MB"),
            (2_000_000_000, "2.0 GB"),
            (7_000_000_000_000, "7.0 TB"),
            (10**15, "1.0 PB"),
            (12_345 * 10**15, "12345.0 PB"),
        ],
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
