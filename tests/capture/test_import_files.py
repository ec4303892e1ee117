"""Opening what somebody brings: lines and rows as they stood there, whatever is cut, too long, packed or in no encoding."""

from __future__ import annotations

import csv
import gzip
import io
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.capture.imports import opened as files
from archiver.capture.imports.opened import lines_of, opened
from archiver.capture.imports.records import Unreadable
from archiver.capture.imports.tabular import CsvForm, CsvRow, csv_rows
from archiver.capture.imports.uid_lists import Defaults, uid_list
from archiver.errors import RefusedError, UsageError
from tests.brought import bad, items_of


def lines(path: Path) -> list[Any]:
    with opened(path) as source:
        return list(lines_of(source))


def rows(path: Path, **form: Any) -> list[CsvRow | Unreadable]:
    with opened(path) as source:
        return list(csv_rows(source, CsvForm(**form)))


class TestFiles:
    def test_a_file_is_named_by_its_name_size_and_digest(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes(b"one\ntwo")
        with opened(tmp_path / "a.txt") as source:
            assert (source.file.name, source.file.bytes) == ("a.txt", 7)
            assert source.file.sha256 == sha256(b"one\ntwo").hexdigest()

    def test_what_is_no_file_is_refused_and_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path / "pipe", tmp_path, tmp_path / "none", Path("a\0b")):
            with pytest.raises(UsageError), opened(path):
                pass

    def test_a_file_that_grows_while_it_is_read_is_noticed(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"one\n")
        with opened(tmp_path / "a") as source:
            source.check_unchanged()
            with (tmp_path / "a").open("ab") as more:
                more.write(b"two\n")
            with pytest.raises(RefusedError, match="changed while"):
                source.check_unchanged()

    def test_lines_have_numbers_and_no_ends(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"one\r\n\ntwo\n\xfflast")
        assert lines(tmp_path / "a") == [(1, b"one"), (2, b""), (3, b"two"), (4, b"\xfflast")]

    def test_gzip_is_known_by_its_bytes_and_not_by_its_name(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes(gzip.compress(b"one\n") + gzip.compress(b"two\n"))
        assert lines(tmp_path / "a.txt") == [(1, b"one"), (2, b"two")]

    def test_a_gzip_that_is_cut_gives_what_is_there_and_says_that_it_is_cut(self, tmp_path: Path) -> None:
        packed = gzip.compress(b"".join(b"%d %s\n" % (n, os.urandom(30).hex().encode()) for n in range(20_000)))
        (tmp_path / "a.gz").write_bytes(packed[: len(packed) // 2])
        *found, last = lines(tmp_path / "a.gz")
        assert len(found) > 1_000
        assert isinstance(last, Unreadable)
        assert "cut off" in last.error

    def test_a_line_without_end_is_one_that_cannot_be_read(self, tmp_path: Path) -> None:
        bomb = b"a" * (files.LINE_BYTES_MAX + 10_000_000) + b"\nnext\n"
        (tmp_path / "a.gz").write_bytes(gzip.compress(bomb, 1))
        first, second = lines(tmp_path / "a.gz")
        assert (first.place, len(first.raw)) == ("line 1", files.LINE_BYTES_MAX)
        assert second == (2, b"next")


class TestCsv:
    def test_a_row_keeps_the_text_that_it_was_read_from(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_bytes(b'\xef\xbb\xbfid,text\r\n1,"a, ""b""\r\nsecond line"\r\n\r\n2,plain\n')
        assert rows(tmp_path / "a.csv") == [
            CsvRow("line 2", '1,"a, ""b""\nsecond line"', {"id": "1", "text": 'a, "b"\nsecond line'}),
            CsvRow("line 5", "2,plain", {"id": "2", "text": "plain"}),
        ]

    def test_the_names_of_columns_may_be_given(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_bytes("1;'é;'\n".encode("windows-1252"))
        form = {"columns": ("id", "text"), "delimiter": ";", "quote": "'", "encoding": "windows-1252"}
        assert rows(tmp_path / "a.csv", **form) == [CsvRow("line 1", "1;'é;'", {"id": "1", "text": "é;"})]

    def test_a_bad_row_harms_no_other(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_bytes(b'id,text\n1,ok\n2\n3,\xff\n4,"a"b\n5,fine\n6,"no end\n')
        found = rows(tmp_path / "a.csv")
        assert [row.values["id"] for row in found if isinstance(row, CsvRow)] == ["1", "5"]
        assert [(row.place, row.raw) for row in found if isinstance(row, Unreadable)] == [
            ("line 3", b"2"),
            ("line 4", b"3,\xff"),
            ("line 5", b'4,"a"b'),
            ("line 7", b'6,"no end'),
        ]

    @pytest.mark.parametrize("first", [b"a,a\n", b"\xff\n", b'"a"b\n'])
    def test_without_names_that_tell_columns_apart_no_row_is_believed(self, first: bytes, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_bytes(first + b"1,2\n")
        assert {type(row) for row in rows(tmp_path / "a.csv")} == {Unreadable}

    @given(st.lists(st.tuples(st.text(), st.text()), max_size=8))
    def test_what_was_written_is_read(
        self, tmp_path_factory: pytest.TempPathFactory, values: list[tuple[str, str]]
    ) -> None:
        """Whatever Python writes as CSV comes back, value by value, with its own text."""
        wanted = [
            pair for pair in values if not any(set(value) & set("\r\0") or not value.isprintable() for value in pair)
        ]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([("a", "b"), *wanted])
        path = tmp_path_factory.mktemp("csv") / "a.csv"
        path.write_bytes(text.getvalue().encode())
        found = rows(path)
        assert [tuple(row.values.values()) for row in found if isinstance(row, CsvRow)] == wanted
        assert [row.raw for row in found if isinstance(row, CsvRow)] == text.getvalue().split("\n")[1:-1]

    @given(st.binary(max_size=300), st.sampled_from(["utf-8", "windows-1252", "shift_jis", "raw_unicode_escape"]))
    def test_any_bytes_are_rows_or_reasons(
        self, tmp_path_factory: pytest.TempPathFactory, data: bytes, encoding: str
    ) -> None:
        path = tmp_path_factory.mktemp("csv") / "a.csv"
        path.write_bytes(b"a,b\n" + data)
        for row in rows(path, encoding=encoding):
            assert isinstance(row, Unreadable) or row.raw.encode()


class TestUidLists:
    @staticmethod
    def read(path: Path, data: bytes, form: Any, chat: str = "", user_id: str = "") -> list[Any]:
        path.write_bytes(data)
        with opened(path) as source:
            return items_of(uid_list(source, form=form, defaults=Defaults(chat, user_id)))

    def test_lines_are_uids_of_one_chat(self, tmp_path: Path) -> None:
        found = self.read(tmp_path / "a", b" 1-a \n\n2-b\r\n", "lines", "g:1")
        assert [(item.chat_id, item.user_id, item.uid) for item in found] == [("g:1", "", "1-a"), ("g:1", "", "2-b")]

    @pytest.mark.parametrize(
        ("chat", "user_id", "chat_id"),
        [("u:b", "u:a", "u:a,u:b"), ("u:b,u:a", "", "u:a,u:b"), ("u:a,u:b", "u:b", "u:a,u:b"), ("g:1", "u:a", "g:1")],
    )
    def test_a_one_to_one_chat_is_named_by_both_or_by_the_other_side(
        self, chat: str, user_id: str, chat_id: str, tmp_path: Path
    ) -> None:
        [item] = self.read(tmp_path / "a", b"1-a\n", "lines", chat, user_id)
        assert (item.chat_id, item.user_id) == (chat_id, user_id)

    def test_csv_and_json_lines_name_their_own_chats_and_users(self, tmp_path: Path) -> None:
        found = self.read(tmp_path / "a.csv", b"uid,as,chat,note\n1-a,u:a,u:b,x\n2-b,,g:1,y\n", "csv")
        found += self.read(
            tmp_path / "a.jsonl", b'{"uid": "3-c", "chat": "g:2"}\n{"uid": 4, "chat": "g:2", "as": null}', "jsonl"
        )
        assert [(item.chat_id, item.user_id, item.uid) for item in found] == [
            ("u:a,u:b", "u:a", "1-a"),
            ("g:1", "", "2-b"),
            ("g:2", "", "3-c"),
            ("g:2", "", "4"),
        ]

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (b'{"chat": "g:1"}', "no uid"),
            (b'{"uid": "1"}', "names no chat"),
            (b'{"uid": "1", "chat": "u:b"}', "both its users"),
            (b'{"uid": "1", "chat": "u:b,"}', "its two users"),
            (b'{"uid": "1", "chat": "import:x:c"}', "imported from elsewhere"),
            (b'{"uid": "a b", "chat": "g:1"}', "white space"),
            (b'{"uid": true, "chat": "g:1"}', "no text"),
            (b'{"uid": "' + b"1" * 600 + b'", "chat": "g:1"}', "too long"),
            (b'{"uid": ' + b"1" * 5000 + b', "chat": "g:1"}', "no uid"),
            (b"[1]", "list"),
            (b"\xff", "UTF-8"),
            (b"{" * 200, "nested"),
        ],
    )
    def test_what_is_no_uid_says_why(self, line: bytes, reason: str, tmp_path: Path) -> None:
        [(place, error)] = bad(self.read(tmp_path / "a.jsonl", line, "jsonl"))
        assert (place, reason in error) == ("line 1", True), error

    @pytest.mark.parametrize("chat", ["", "u:b", "import:x:c", "u:a,u:b,u:c"])
    def test_a_list_without_a_chat_that_can_be_asked_for_is_refused_at_once(self, chat: str, tmp_path: Path) -> None:
        with pytest.raises(UsageError):
            self.read(tmp_path / "a", b"1\n", "lines", chat)

    @given(st.binary(max_size=200), st.sampled_from(["lines", "csv", "jsonl"]))
    def test_any_bytes_are_uids_or_reasons(
        self, tmp_path_factory: pytest.TempPathFactory, data: bytes, form: Any
    ) -> None:
        self.read(tmp_path_factory.mktemp("uids") / "a", data, form, "g:1")
