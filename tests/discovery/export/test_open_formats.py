"""What every readable and open format owes: the same bytes each time, everything counted, nothing half written, and a checker that is content."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.discovery.export.formats import writer_class
from archiver.discovery.export.formats.parts import GapPlaces, PartFiles
from archiver.discovery.export.record import GapNote, Message, Slice
from tests.discovery.export import slices
from tests.discovery.export.packages import package, tree
from tests.discovery.export.slices import GENERAL, OUTAGE, SLICES, TERMS, FolderSink, at_ms, message, version

OPEN = ("html", "csv", "jsonl", "parquet", "slack")


@pytest.mark.parametrize("name", OPEN)
class TestEveryFormat:
    def test_the_same_slices_give_the_same_bytes(self, name: str, tmp_path: Path) -> None:
        once, again = package(name, tmp_path / "a"), package(name, tmp_path / "b")
        assert once.written == again.written
        assert tree(once.folder) == tree(again.folder)

    def test_it_counts_all_messages_and_files_and_its_checker_finds_nothing(self, name: str, tmp_path: Path) -> None:
        made = package(name, tmp_path)
        assert (made.written.messages, made.written.files) == (slices.MESSAGES, slices.FILES)
        assert made.written.path_count == len(slices.paths_of(name, tmp_path))
        assert made.findings() == []

    def test_what_is_redacted_is_nowhere(self, name: str, tmp_path: Path) -> None:
        terms, parts = slices.redacted()
        made = package(name, tmp_path, terms=terms, slices=parts)
        assert made.findings() == []
        assert not [path for path, data in tree(tmp_path).items() if b"price" in data]

    def test_an_export_of_nothing_is_a_package_too(self, name: str, tmp_path: Path) -> None:
        made = package(name, tmp_path, slices=())
        assert made.written.messages == 0
        assert made.written.path_count
        assert made.findings() == []

    def test_a_day_of_nothing_but_a_gap_tells_of_the_gap(self, name: str, tmp_path: Path) -> None:
        quiet = Slice(GENERAL, "2026-11-20", 1, 1, (), (OUTAGE,))
        made = package(name, tmp_path, slices=(quiet,))
        assert made.findings() == []
        assert any(b"listener-down" in data for data in tree(tmp_path).values())

    def test_nothing_that_is_left_before_its_end_counts(self, name: str, tmp_path: Path) -> None:
        sink = FolderSink(tmp_path)
        writer = writer_class(name)(TERMS, sink)
        writer.add(SLICES[0])
        writer.close()
        whole = set(sink.written)
        writer.close()
        del writer
        assert set(sink.written) == whole
        assert not whole or name == "html", "only whole pages are files by now"

    def test_hidden_fields_of_the_sender_are_told(self, name: str, tmp_path: Path) -> None:
        package(name, tmp_path)
        everything = b"".join(tree(tmp_path / "data" / name).values())
        if name == "parquet":
            everything = repr(slices_in_parquet(tmp_path)).encode()
        for said in (b"Stand-up", b"u:Bot00000000000", b"SMITH-m-5.001", b"404 Not Found", b"listener-down"):
            assert said in everything


def slices_in_parquet(folder: Path) -> list[object]:
    return [pq.read_table(path).to_pylist() for path in sorted((folder / "data/parquet").iterdir())]


class TestGapPlaces:
    PART = Slice(GENERAL, "2026-11-20", 1, 1, ())

    def told(self, *parts: Slice) -> list[str]:
        places = GapPlaces()
        return [
            item.message_uid if isinstance(item, Message) else f"gap {item.gap_id}"
            for part in parts
            for item in places.in_place(part)
        ]

    def note(self, name: str, from_at_ms: int | None) -> GapNote:
        return GapNote(name, "listener-down", "…", 1, from_at_ms, None)

    def said(self, uid: str, hour: int) -> Message:
        return message(uid, 20, slices.ANN, version("…"), sent_at_ms=at_ms(20, hour))

    def test_a_gap_stands_before_the_first_message_after_its_beginning(self) -> None:
        part = replace(
            self.PART,
            messages=(self.said("a", 1), self.said("b", 3)),
            gaps=(self.note("x", at_ms(20, 2)), self.note("y", at_ms(20, 9))),
        )
        assert self.told(part) == ["a", "gap x", "b", "gap y"]

    def test_one_that_began_before_the_day_or_at_no_known_time_opens_it(self) -> None:
        part = replace(self.PART, messages=(self.said("a", 1),), gaps=(self.note("x", None), self.note("y", at_ms(19))))
        assert self.told(part) == ["gap x", "gap y", "a"]

    def test_a_day_in_parts_tells_each_gap_once_and_where_it_belongs(self) -> None:
        gaps = (self.note("x", at_ms(20, 5)),)
        first = replace(self.PART, parts=2, messages=(self.said("a", 1),), gaps=gaps)
        second = replace(self.PART, part=2, parts=2, messages=(self.said("b", 6),), gaps=gaps)
        assert self.told(first, second) == ["a", "gap x", "b"]

    def test_the_next_day_tells_it_again(self) -> None:
        gaps = (self.note("x", at_ms(20, 5)),)
        assert self.told(replace(self.PART, gaps=gaps), replace(self.PART, day="2026-11-21", gaps=gaps)) == [
            "gap x",
            "gap x",
        ]


class TestPartFiles:
    def test_a_table_is_cut_after_the_block_that_reaches_the_size(self, tmp_path: Path) -> None:
        files = PartFiles(FolderSink(tmp_path), "t/rows", "txt", opening=b"head\n", bytes_max=10)
        for block in (b"12345\n", b"a\n", b"b\n"):
            files.write(block)
        files.finish()
        assert tree(tmp_path / "data/t") == {"rows-00001.txt": b"head\n12345\n", "rows-00002.txt": b"head\na\nb\n"}
        assert files.paths == ["t/rows-00001.txt", "t/rows-00002.txt"]

    @given(blocks=st.lists(st.integers(0, 9), max_size=12), cuts=st.sets(st.integers(1, 60)))
    def test_blocks_that_are_written_together_are_cut_as_if_they_came_one_by_one(
        self, blocks: list[int], cuts: set[int]
    ) -> None:
        data = bytes(number for number, size in enumerate(blocks) for _ in range(size))
        starts = [sum(blocks[:number]) for number in range(len(blocks))]
        with tempfile.TemporaryDirectory() as folder:
            each, together = (
                PartFiles(FolderSink(Path(folder) / name), "t/rows", "txt", opening=b"head", bytes_max=15)
                for name in ("each", "together")
            )
            for start, size in zip(starts, blocks, strict=True):
                each.write(data[start : start + size])
            edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
            for first, end in pairwise(edges):
                middle = (first + end) // 2
                pieces = [memoryview(data)[first:middle], memoryview(data)[middle:end]]
                begins = [at - first for at in starts if first <= at < end]
                together.write_on(pieces, lambda begins=begins: begins)  # type: ignore[misc]
            each.finish()
            together.finish()
            assert tree(Path(folder) / "together") == tree(Path(folder) / "each")
