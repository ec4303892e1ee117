"""An export of very many messages in two halves: what is in which, how each is numbered, and that both together are the whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.archive.reader import Archive, Head
from archiver.discovery.checks.package import check_package
from archiver.discovery.export.given import OfChat
from archiver.discovery.export.halves import all_of, halves_of, may_be_halved
from archiver.discovery.export.record import Slice
from archiver.discovery.export.sink import Written
from archiver.discovery.export.tally import Tally
from archiver.discovery.export.targets import FolderTarget
from archiver.discovery.export.verb import make
from archiver.errors import DamageFoundError
from tests.discovery.export import lived
from tests.discovery.export.lived import SOFTWARE, wanted
from tests.discovery.export.slices import SLICES

BY_HALF = ("html", "rsmf", "eml", "csv", "jsonl", "parquet")

counts = st.dictionaries(
    st.sampled_from([f"g:{name}" for name in "abcdefgh"]),
    st.tuples(st.integers(1, 50), st.integers(1, 50)).map(lambda each: OfChat(max(each), min(each))),
    min_size=1,
)


@given(
    chats=counts,
    unnamed=st.dictionaries(st.tuples(st.sampled_from(["g:a", "g:c"]), st.text(max_size=2)), st.integers(1, 3)),
)
def test_each_chat_is_in_one_half_and_the_second_goes_on_numbering(
    chats: dict[str, OfChat], unnamed: dict[tuple[str, str], int]
) -> None:
    unnamed = {key: count for key, count in unnamed.items() if key[0] in chats}
    halves = halves_of(chats, unnamed, rows_min=1)
    assert [chat for half in halves for chat in half.chats] == sorted(chats)
    assert len(halves) == min(2, len(chats))
    assert all(half.chats for half in halves)
    before = 0
    for number, half in enumerate(halves, 1):
        assert (half.number, half.of, half.numbered_from) == (number, len(halves), before)
        assert half.messages == sum(chats[chat].messages for chat in half.chats)
        before += half.messages
    rows = sum(chat.rows for chat in chats.values())
    assert sum(half.captures for half in halves) == rows + sum(unnamed.values())


@given(chats=counts)
def test_no_other_cut_gives_halves_that_are_more_alike(chats: dict[str, OfChat]) -> None:
    ordered = sorted(chats)
    rows = [chats[chat].rows for chat in ordered]
    halves = halves_of(chats, {}, rows_min=1)
    if len(chats) > 1:
        greater = max(half.captures for half in halves)
        assert greater == min(max(sum(rows[:cut]), sum(rows[cut:])) for cut in range(1, len(rows)))


@pytest.mark.parametrize(("rows_min", "many"), [(None, 1), (10, 1), (9, 2), (1, 2)])
def test_few_rows_stay_together(rows_min: int | None, many: int) -> None:
    chats = {"g:a": OfChat(4, 4), "g:b": OfChat(5, 3)}
    assert len(halves_of(chats, {}, rows_min=rows_min)) == many


@pytest.mark.parametrize("form", BY_HALF)
def test_forms_that_have_no_file_of_all_can_be_halved(form: str) -> None:
    assert may_be_halved(wanted(formats=(form,)))


@pytest.mark.parametrize(
    "wish",
    [
        *({"formats": ("jsonl", form)} for form in ("dat", "edrm", "slack")),
        {"formats": ("jsonl",), "volume_bytes": 10**9},
        {"formats": ("jsonl",), "redaction": Path("redact.yaml")},
    ],
)
def test_others_cannot(wish: dict[str, Any]) -> None:
    assert not may_be_halved(wanted(**wish))


class TestAllOf:
    """What stands between the rows that were chosen and the writers."""

    CHATS: ClassVar = {"g:a": OfChat(7, 5), "g:b": OfChat(1, 1)}

    def slices(self, *, captures: int, messages: int) -> Iterator[Slice]:
        part = SLICES[0]
        yield Slice(part.conversation, part.day, 1, 1, part.messages[:1] * messages, (), captures)

    def test_it_passes_what_adds_up(self) -> None:
        first, _ = halves_of(self.CHATS, {}, rows_min=1)
        assert len(list(all_of(self.slices(captures=7, messages=5), first))) == 1

    @pytest.mark.parametrize("captures", [6, 8])
    def test_rows_that_are_missing_or_too_many_are_found(self, captures: int) -> None:
        first, _ = halves_of(self.CHATS, {}, rows_min=1)
        with pytest.raises(DamageFoundError, match=f"7 rows .* {captures} of them"):
            list(all_of(self.slices(captures=captures, messages=5), first))

    @pytest.mark.parametrize("messages", [4, 6])
    def test_so_is_a_half_after_which_the_next_would_be_numbered_wrongly(self, messages: int) -> None:
        first, _ = halves_of(self.CHATS, {}, rows_min=1)
        with pytest.raises(DamageFoundError, match=f"5 messages .* half 1 .* {messages}"):
            list(all_of(self.slices(captures=7, messages=messages), first))


# Before and behind whole conversations.
@pytest.mark.parametrize("cut", [0, 1, 4, 5])
def test_counts_of_two_halves_are_those_of_the_whole(cut: int) -> None:
    whole, first, second = Tally(), Tally(), Tally()
    for number, part in enumerate(SLICES):
        told = replace(part, captures=number + 1, left_out={"again": number, f"in {number}": 1})
        for tally in (whole, first if number < cut else second):
            tally.add(told)
    assert whole.missing_by_reason
    assert first.joined(second) == whole


def test_what_two_writers_say_is_put_together() -> None:
    one = Written(1, 2, 3, {"a": 1, "b": 2}, ("said",), {"{count} are long": 2, "{count} are none": 0})
    other = Written(10, 20, 30, {"b": 3, "c": 4}, ("said",), {"{count} are long": 1})
    both = one.joined(other)
    assert (both.path_count, both.messages, both.files) == (11, 22, 33)
    assert both.replaced == {"a": 1, "b": 5, "c": 4}
    assert both.all_remarks == ("said", "3 are long")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Archive, Head]:
    return lived.fresh(tmp_path_factory.mktemp("lived"))


@pytest.fixture(scope="module")
def packages(archive: tuple[Archive, Head], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same export as a whole and in halves."""
    found = []
    for name, rows_min in (("whole", 1_000_000), ("halves", 1)):
        folder = tmp_path_factory.mktemp(name)
        (folder / "scratch").mkdir()
        made, _ = make(
            archive[0],
            wanted(formats=BY_HALF),
            FolderTarget(folder / "package"),
            folder=folder / "scratch",
            software=SOFTWARE,
            halved_from_rows=rows_min,
        )
        assert made is not None
        found.append(folder / "package")
    return found[0], found[1]


class TestPackage:
    def test_our_own_check_finds_nothing(self, packages: tuple[Path, Path]) -> None:
        for package in packages:
            assert check_package(package).findings == ()

    def test_the_tables_of_the_second_half_stand_behind_those_of_the_first(self, packages: tuple[Path, Path]) -> None:
        names = sorted(path.name for path in (packages[1] / "data/jsonl").iterdir())
        assert names == [f"{table}-{number}.jsonl" for table in TABLES for number in ("00001", "2-00001")]

    @pytest.mark.parametrize("table", ["messages", "conversations", "gaps"])
    def test_together_they_are_those_of_the_whole(self, packages: tuple[Path, Path], table: str) -> None:
        whole, halves = (
            b"".join(path.read_bytes() for path in sorted((package / "data/jsonl").glob(f"{table}-*")))
            for package in packages
        )
        assert halves == whole
        first = (packages[1] / f"data/jsonl/{table}-00001.jsonl").read_bytes()
        assert len(first) < len(whole)

    def test_what_has_a_file_for_each_day_is_the_same(self, packages: tuple[Path, Path]) -> None:
        for form in ("html", "rsmf", "eml", "natives"):
            whole, halves = (
                {
                    path.relative_to(package): path.read_bytes()
                    for path in (package / "data" / form).rglob("*")
                    if path.is_file()
                }
                for package in packages
            )
            assert halves == whole != {}

    def test_the_report_tells_the_same(self, packages: tuple[Path, Path]) -> None:
        whole, halves = (json.loads((package / "report.json").read_bytes()) for package in packages)
        for form in ("csv", "jsonl", "parquet"):
            assert halves["formats"][form].pop("paths") == 2 * whole["formats"][form].pop("paths")
        assert halves == whole

    def test_a_half_that_is_taken_away_is_missed(self, packages: tuple[Path, Path], tmp_path: Path) -> None:
        shutil.copytree(packages[1], tmp_path / "package")
        for path in (tmp_path / "package/data").rglob("*-2-00001.*"):
            path.unlink()
        assert {"missing", "count"} & {finding.code for finding in check_package(tmp_path / "package").findings}


TABLES = ("conversations", "gaps", "messages")
