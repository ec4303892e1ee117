"""The slices that writers are tested with are such as an export makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from archiver.discovery.checks import CHECKERS, checker
from archiver.discovery.export.formats import FORMATS, writer_class
from archiver.errors import UsageError
from tests.discovery.export.slices import SLICES, FolderSink


def test_the_slices_come_in_the_order_that_writers_may_rely_on() -> None:
    assert [(part.conversation.chat_id, part.day, part.part) for part in SLICES] == sorted(
        (part.conversation.chat_id, part.day, part.part) for part in SLICES
    )
    for part in SLICES:
        keys = [(each.sent_at_ms, each.message_uid) for each in part.messages]
        assert keys == sorted(keys)


def test_every_format_has_a_checker_of_the_same_name() -> None:
    assert list(FORMATS) == list(CHECKERS)


def test_a_format_that_nobody_knows_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="no format 'docx'") as caught:
        writer_class("docx")
    assert "rsmf" in caught.value.next_step
    assert checker("docx") is None


def test_a_sink_refuses_paths_that_leave_the_package(tmp_path: Path) -> None:
    with pytest.raises(AssertionError), FolderSink(tmp_path).open("../x"):
        pass
