"""One run at a time on one machine, by a lock that is never stale; and a name for each machine that no other has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from archiver.errors import EXIT_REFUSED, EXIT_STORAGE, ArchiveBusyError, SpoolError
from archiver.run.lock import hold, writer_id
from tests.conftest import ROOT

HOLDING = """
import sys, pathlib
from archiver.run.lock import hold
with hold(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


class TestTheLock:
    def test_keeps_a_second_run_of_this_process_out(self, tmp_path: Path) -> None:
        with hold(tmp_path), pytest.raises(ArchiveBusyError), hold(tmp_path):
            pass

    def test_names_the_process_that_has_it_and_is_free_when_that_is_killed(self, tmp_path: Path) -> None:
        command = [sys.executable, "-c", HOLDING, str(tmp_path)]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            with pytest.raises(ArchiveBusyError, match=rf"process {process.pid}\b") as refused, hold(tmp_path):
                pass
            assert refused.value.exit_code == EXIT_REFUSED
            process.kill()
        with hold(tmp_path):
            assert (tmp_path / "run.lock").read_text() == f"{os.getpid()}\n"

    def test_is_free_after_a_run_that_failed(self, tmp_path: Path) -> None:
        with pytest.raises(ZeroDivisionError), hold(tmp_path):
            raise ZeroDivisionError
        with hold(tmp_path):
            pass

    def test_is_not_taken_over_by_a_process_that_the_holder_starts(self, tmp_path: Path) -> None:
        with hold(tmp_path):
            child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
        with child, hold(tmp_path):
            child.communicate()

    def test_makes_its_folder_for_this_user_alone(self, tmp_path: Path) -> None:
        with hold(tmp_path / "new" / "state"):
            assert (tmp_path / "new" / "state").stat().st_mode & 0o777 == 0o700
            assert (tmp_path / "new" / "state" / "run.lock").stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize("place", ["a file", "below a file", "a lock that is a folder", "a lock that is a link"])
    def test_in_a_place_that_cannot_be_used_says_what_to_change(self, tmp_path: Path, place: str) -> None:
        letter = tmp_path / "letter"
        letter.write_text("dear reader")
        state = tmp_path / "state"
        match place:
            case "a file":
                state = letter
            case "below a file":
                state = letter / "state"
            case "a lock that is a folder":
                (state / "run.lock").mkdir(parents=True)
            case _:
                state.mkdir()
                (state / "run.lock").symlink_to(letter)
        with pytest.raises(SpoolError) as refused, hold(state):
            pass
        assert "state:" in refused.value.next_step
        assert refused.value.exit_code == EXIT_STORAGE
        assert letter.read_text() == "dear reader"


class TestTheWritersName:
    def test_stays_once_it_was_given(self, tmp_path: Path) -> None:
        assert writer_id(tmp_path, fresh="0a1b") == "0a1b"
        assert writer_id(tmp_path, fresh="2c3d") == "0a1b"

    @pytest.mark.parametrize("content", [b"", b"\n", b"\0" * 32, b"\xff\xfe", b"two words", b"x" * 65])
    def test_is_given_anew_where_the_file_holds_none(self, tmp_path: Path, content: bytes) -> None:
        """A machine that loses power may find the file empty, and an empty name is one that others could have too."""
        (tmp_path / "writer-id").write_bytes(content)
        assert writer_id(tmp_path, fresh="0a1b") == "0a1b"
        assert writer_id(tmp_path, fresh="2c3d") == "0a1b"

    def test_that_cannot_be_kept_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "writer-id").mkdir()
        with pytest.raises(SpoolError):
            writer_id(tmp_path, fresh="0a1b")
