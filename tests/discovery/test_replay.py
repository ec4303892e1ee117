"""Archived messages go back into a channel exactly once, whatever Flock, the network or the machine does meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from archiver.archive.reader import Archive, Head
from archiver.cli import main
from archiver.discovery.replay import Replayed, replay, standing
from archiver.discovery.replay_journal import journal_path, open_journal
from archiver.discovery.replay_message import TEXT_CHARACTERS_MAX, AttachedFile, Post, Source, marks_in, posts_of
from archiver.errors import (
    AnswerLostError,
    ArchiveBusyError,
    FlockMethodError,
    FlockUnreachableError,
    RefusedError,
    SpoolError,
)
from archiver.flock.client import FlockOptions
from archiver.flock.sender import FlockSender
from archiver.flock.tokens import Secret, UserToken
from archiver.simulator.server import Simulator
from archiver.store.local import LocalStore
from tests import small_archive
from tests.manual_clock import ManualClock

TEXTS = ["good evening", "naïve 日本 😀 'quoted'", "the minutes", "a reminder", "bleep"]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=7, people=6, channels=2, messages=10) as running:
        running.play_all(push=False)
        yield running


@pytest.fixture
def flock(simulator: Simulator) -> Iterator[Simulator]:
    yield simulator
    simulator.clear_faults()


@pytest.fixture
def poster(simulator: Simulator) -> tuple[str, str, str]:
    """A channel that nobody wrote to yet but earlier tests, a member who installed the app, and the token."""
    for channel_id, channel in simulator.channels.items():
        for user_id, token in simulator.user_tokens.items():
            if user_id in channel.members:
                return channel_id, user_id, token
    raise AssertionError("nobody may write")


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return small_archive.build(LocalStore(tmp_path / "archive"), tmp_path)[0]


class Station:
    """A machine with an archive, a journal and a Flock, on which a replay is called as a person calls it."""

    def __init__(
        self, archive: Archive, folder: Path, flock: Simulator, poster: tuple[str, str, str], capsys: Any
    ) -> None:
        self.archive, self.folder, self.flock, self.capsys = archive, folder, flock, capsys
        self.channel, self.user_id, self.token = poster
        self.before = {row["uid"] for row in self._rows()}

    def replay(self, *words: str, code: int = 0, of: tuple[str, ...] = ("--channel", "general")) -> Any:
        assert main(["replay", "--to", self.channel, *of, *words, "--json"]) == code, self.capsys.readouterr().err
        return json.loads(self.capsys.readouterr().out)

    def posted(self) -> list[dict[str, Any]]:
        """What was posted into the channel in this test, oldest first, by the truth."""
        rows = [row for row in self._rows() if row["uid"] not in self.before]
        return [{**row["versions"][-1], "uid": row["uid"], "sender": row["from"]} for row in rows]

    def texts(self) -> list[str]:
        return [version["text"] for version in self.posted()]

    def _rows(self) -> list[dict[str, Any]]:
        return [row for row in self.flock.truth("message") if row["chat_id"] == self.channel]

    def capture(self) -> Head:
        """Archive what is in the channel now, as a webhook would bring it."""
        rows = [
            small_archive.message(
                version["uid"],
                22,
                version["text"],
                chat_id=self.channel,
                sender_id=version["sender"],
                raw_digest="0" * 64,
            )
            for version in self.posted()
        ]
        return small_archive.add(self.archive, self.archive.head(), {"messages": rows}, attempt="dddddddd")


@pytest.fixture
def station(
    archive: Archive,
    flock: Simulator,
    poster: tuple[str, str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Station:
    tmp_path = Path(archive.store.url).parent
    (tmp_path / "archiver.yaml").write_text(
        f"workspace: acme\nflock: {{base_url: '{flock.base_url}', requests_per_second: 1000, tries_max: 2, timeout_seconds: 5}}\n"
    )
    monkeypatch.setenv("ARCHIVER_CONFIG", str(tmp_path / "archiver.yaml"))
    monkeypatch.setenv("ARCHIVER_FLOCK__TOKENS", json.dumps({poster[1]: poster[2]}))
    return Station(archive, tmp_path, flock, poster, capsys)


class TestAReplay:
    def test_posts_nothing_unless_told_to(self, station: Station) -> None:
        told = station.replay()
        assert (told["messages"], told["to_post"], told["posted_now"]) == (5, 5, 0)
        assert station.texts() == []

    def test_posts_in_order_of_time_with_sender_time_and_mark(self, station: Station) -> None:
        told = station.replay("--go")
        assert told["posted_now"] == 5
        texts = station.texts()
        assert [text.split(": ", 1)[1].split("\n")[0] for text in texts] == TEXTS
        assert texts[0].startswith("u:ann: good evening\n[sent 2026-11-20 12:00:00 UTC · replayed from the archive · ")
        assert len({mark for text in texts for mark in marks_in(text)}) == 5
        assert {version["sender"] for version in station.posted()} == {station.user_id}

    def test_twice_posts_once(self, station: Station) -> None:
        station.replay("--go")
        told = station.replay("--go")
        assert (told["posted_now"], told["posted_before"]) == (0, 5)
        assert len(station.texts()) == 5

    def test_whose_journal_is_lost_finds_what_the_archive_captured(self, station: Station) -> None:
        station.replay("--go")
        station.capture()
        journal_path(station.folder / "state", station.channel).unlink()
        told = station.replay("--go")
        assert (told["posted_now"], told["posted_before"]) == (0, 5)
        assert len(station.texts()) == 5

    def test_is_not_replayed_itself_and_that_is_said(self, station: Station) -> None:
        station.replay("--go")
        station.capture()
        told = station.replay(of=("--channel", station.channel))
        assert (told["messages"], told["left_out"]) == (0, {"replayed already, or says so": 5})

    def test_of_a_choice(self, station: Station) -> None:
        assert station.replay("--day", "2026-11-21")["messages"] == 2
        assert station.replay("--search", "reminder")["messages"] == 1
        assert station.replay("--search", "has:file")["messages"] == 1
        assert station.replay(of=("--conversation", "u:ann,u:bob"))["messages"] == 1
        assert "caret" not in json.dumps(station.replay("--search", '"open', code=2))
        assert (
            station.replay(of=("--channel", "generally"), code=2)["error"]["next_step"]
            == "did you mean 'general' or 'g:general'?"
        )
        assert station.replay(of=(), code=2)["error"]

    def test_names_files_and_links_them(self, station: Station) -> None:
        station.replay("--go", "--day", "2026-11-21")
        with_file = station.posted()[0]
        assert f"[file: minutes.txt · 27 bytes · SHA-256 {small_archive.FILE_DIGEST}]" in with_file["text"]
        [attachment] = with_file["attachments"]
        assert attachment["downloads"][0]["src"] == "https://f.flockusercontent.com/minutes.txt"

    def test_shows_the_name_and_the_picture_where_one_is_known(self, station: Station) -> None:
        person = {
            "user_id": "u:ann", "valid_from": 0, "first_name": "Ann", "profile_image": "https://i.flock.com/ann.png", "captured_by": "x",
            "raw": "{}", "state_digest": "00",
        }  # fmt: skip
        small_archive.add(station.archive, station.archive.head(), {"users": [person]}, attempt="ffffffff")
        station.replay("--go", "--day", "2026-11-20")
        first = station.posted()[0]
        assert first["sendAs"] == {"name": "u:ann", "profileImage": "https://i.flock.com/ann.png"}
        assert first["text"].startswith("good evening\n")

    def test_is_entered_before_it_begins(self, station: Station) -> None:
        station.flock.inject("invalid_token", "api:chat.sendMessage", count=1)
        assert main(["replay", "--to", station.channel, "--channel", "general", "--go", "--matter", "Smith"]) == 6
        entry, _ = list(station.archive.entries())[-1]
        assert entry.kind == "replay"
        assert entry.matter is not None
        assert (entry.matter.matter, entry.matter.counts["to_post"]) == ("Smith", 5)

    def test_of_what_only_some_could_see_shows_it_to_nobody(self, station: Station) -> None:
        secret = small_archive.message("m-9", 20, "for bob alone", visible_to=["u:bob"])
        small_archive.add(station.archive, station.archive.head(), {"messages": [secret]}, attempt="abababab")
        assert station.replay("--go")["left_out"] == {"only some people could see it": 1}
        assert not any("for bob alone" in text for text in station.texts())


class TestTrouble:
    def test_of_the_limit_is_waited_for(self, station: Station) -> None:
        station.flock.inject("too_many_requests", "api:chat.sendMessage", count=1)
        assert station.replay("--go", "--day", "2026-11-20")["posted_now"] == 2
        assert len(station.texts()) == 2

    @pytest.mark.parametrize("fault", ["invalid_token"])
    def test_of_the_token_ends_it_and_nothing_is_uncertain(self, station: Station, fault: str) -> None:
        station.flock.inject(fault, "api:chat.sendMessage", count=1)
        station.replay("--go", code=6)
        told = station.replay()
        assert (told["to_post"], told["uncertain"]) == (5, [])

    @pytest.mark.parametrize("fault", ["bad_gateway_after", "truncated", "not_json", "disconnect"])
    def test_of_an_answer_that_is_lost_is_asked_about_and_never_guessed(self, station: Station, fault: str) -> None:
        """Flock posted it; we cannot know."""
        station.flock.inject(fault, "api:chat.sendMessage", count=1)
        error = station.replay("--go", code=6)["error"]
        assert "may be posted or not" in error["what"]
        assert len(station.texts()) == 1
        assert station.replay("--go", code=5)["error"]["next_step"]
        assert len(station.texts()) == 1
        assert [item["message_uid"] for item in station.replay()["uncertain"]] == ["m-1"]

        station.capture()
        told = station.replay("--go")
        assert (told["found_now"], told["posted_now"]) == (1, 4)
        assert [text.split(": ", 1)[1].split("\n")[0] for text in station.texts()] == TEXTS

    @pytest.mark.parametrize("fault", ["internal_error", "bad_gateway"])
    def test_of_a_call_that_came_to_nothing_is_asked_about_too(self, station: Station, fault: str) -> None:
        """Flock did not post it, and says the same as if it had."""
        station.flock.inject(fault, "api:chat.sendMessage", count=1)
        station.replay("--go", code=6)
        assert station.texts() == []
        station.replay("--go", code=5)
        told = station.replay("--go", "--resend-uncertain")
        assert told["posted_now"] == 5
        assert len(station.texts()) == 5

    def test_whom_somebody_looked_for_and_found_is_not_sent_again(self, station: Station) -> None:
        station.flock.inject("bad_gateway_after", "api:chat.sendMessage", count=1)
        station.replay("--go", code=6)
        told = station.replay("--go", "--uncertain", "arrived")
        assert (told["found_now"], told["posted_now"]) == (1, 4)
        assert len(station.texts()) == 5

    def test_of_a_mark_that_somebody_else_wrote_is_none_of_ours(self, station: Station) -> None:
        """Anybody can copy a mark into a message of theirs."""
        station.flock.inject("bad_gateway", "api:chat.sendMessage", count=1)
        station.replay("--go", code=6)
        [uncertain] = station.replay()["uncertain"]
        forged = small_archive.message(
            "x-1", 22, f"flock-archiver:replay:{uncertain['mark']}", chat_id=station.channel, sender_id="u:mallory"
        )
        small_archive.add(station.archive, station.archive.head(), {"messages": [forged]}, attempt="acacacac")
        assert len(station.replay()["uncertain"]) == 1

    def test_of_an_unknown_channel_says_so_and_posts_nothing(self, station: Station) -> None:
        station.channel = "g:nowhere"
        assert "UnknownRecipient" in station.replay("--go", code=6)["error"]["what"]
        assert station.replay()["to_post"] == 5

    def test_of_whose_token_is_asked(self, station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ARCHIVER_FLOCK__TOKENS", json.dumps({station.user_id: station.token, "u:other": "x"}))
        assert "--as" in station.replay(code=2)["error"]["what"]
        assert station.replay("--as", station.user_id)["to_post"] == 5
        assert "u:nobody" in station.replay("--as", "u:nobody", code=2)["error"]["what"]


class Killed(BaseException):
    """The process is gone."""


def posts(count: int = 3, text: str = "hello") -> list[Post]:
    made: list[Post] = []
    for number in range(count):
        source = Source("g:1", f"m-{number}", number * 1_000, "Ann", None, text, ())
        made += posts_of(source, archive_id="0f0f", channel="g:2")
    return made


class Channel:
    """What arrived; ``at`` is the call at which the process ends, before or after the post."""

    def __init__(self, *, at: int = 0, after: bool = False) -> None:
        self.arrived: list[str] = []
        self.calls = 0
        self._at, self._after = at, after

    def __call__(self, parameters: Mapping[str, str]) -> str:
        self.calls += 1
        if self.calls == self._at and not self._after:
            raise Killed
        [mark] = marks_in(parameters["text"])
        self.arrived.append(mark)
        if self.calls == self._at:
            raise Killed
        return f"uid-{len(self.arrived)}"


def go(
    state: Path,
    channel: Callable[[Mapping[str, str]], str],
    captured: Mapping[str, str] | None = None,
    uncertain: Any = "ask",
) -> Replayed:
    with open_journal(state, "g:2") as journal:
        return replay(
            posts(), journal, captured or {}, channel, uncertain=uncertain, channel="g:2", clock=ManualClock(),
            progress=lambda done, total: None,
        )  # fmt: skip


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_killed_at_any_post_it_goes_on_and_posts_each_once(tmp_path: Path, at: int, after: bool) -> None:
    channel = Channel(at=at, after=after)
    with pytest.raises(Killed):
        go(tmp_path, channel)
    with pytest.raises(RefusedError, match=f"m-{at - 1} of g:1"):
        go(tmp_path, channel)
    captured = {mark: f"captured-{mark}" for mark in channel.arrived}
    outcome = go(tmp_path, channel, captured, uncertain="ask" if after else "resend")
    assert channel.arrived == [post.mark for post in posts()]
    assert outcome.posted == 3 - at + (not after)


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_line_that_was_cut_off_never_stood_there(tmp_path: Path, cut: int) -> None:
    """The power went while a line was written: what it announced was not done."""
    channel = Channel(at=2)
    with pytest.raises(Killed):
        go(tmp_path, channel)
    path = journal_path(tmp_path, "g:2")
    path.write_bytes(path.read_bytes()[:-cut])
    assert go(tmp_path, channel).posted == 2
    assert channel.arrived == [post.mark for post in posts()]


def test_a_journal_that_cannot_be_read_stops_everything(tmp_path: Path) -> None:
    go(tmp_path, Channel())
    path = journal_path(tmp_path, "g:2")
    path.write_bytes(b"{}\n" + path.read_bytes())
    with pytest.raises(SpoolError, match="what was posted is not known"):
        go(tmp_path, Channel())


def test_two_replays_into_one_channel_do_not_run_at_once(tmp_path: Path) -> None:
    with open_journal(tmp_path, "g:2"), pytest.raises(ArchiveBusyError, match="another replay"):
        go(tmp_path, Channel())


def test_what_flock_refuses_of_one_message_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    arrived: list[str] = []

    def send(parameters: Mapping[str, str]) -> str:
        if len(arrived) == 1:
            arrived.append("refused")
            raise FlockMethodError("too long", status=400, code="InvalidParameter", parameter="text")
        arrived.append("posted")
        return "uid"

    outcome = go(tmp_path, send)
    assert (outcome.posted, outcome.refused) == (2, [("m-1", "too long")])
    with open_journal(tmp_path, "g:2") as journal:
        lines = {post.mark: line for post in posts() if (line := journal.of(post.mark))}
    assert standing(posts(), lines, {}).refused == 1


class TestAPost:
    def of(self, **facts: Any) -> list[Post]:
        given = {
            "chat_id": "g:1",
            "message_uid": "m",
            "sent_at_ms": 0,
            "sender": "Ann",
            "image": None,
            "text": "hi",
            "files": (),
        }
        return list(posts_of(Source(**{**given, **facts}), archive_id="0f0f", channel="g:2"))

    def test_is_split_where_the_text_is_too_long_and_loses_nothing(self) -> None:
        text = "line\n" * TEXT_CHARACTERS_MAX
        made = self.of(text=text, image="https://i/x.png")
        assert len(made) > 1
        assert len({post.mark for post in made}) == len(made)
        assert all(len(post.fields["text"]) <= TEXT_CHARACTERS_MAX + 200 for post in made)
        bodies = [post.fields["text"].rpartition("\n")[0] for post in made]
        assert "\n".join(bodies).rstrip("\n") == text.rstrip("\n")
        assert "part 1 of" in made[0].fields["text"]

    def test_has_marks_of_its_own_for_each_archive_channel_and_message(self) -> None:
        source = Source("g:1", "m", 0, "Ann", None, "hi", ())
        marks = {
            next(posts_of(source, archive_id=archive, channel=channel)).mark
            for archive in ("a", "b")
            for channel in ("g:1", "g:2")
        }
        assert len(marks) == 4

    def test_of_a_hostile_sender_and_file_is_one_line_each(self) -> None:
        file = AttachedFile("x\n\u202eexe.png" * 50, "javascript:alert(1)", "text/html", None, None)
        [post] = self.of(sender="A\x1b[2J\u202en\n", files=(file,))
        assert "\x1b" not in post.fields["text"]
        assert "\u202e" not in post.fields["text"]
        assert "attachments" not in post.fields
        assert "never captured" in post.fields["text"]


class TestSending:
    def client(self, flock: Simulator, **changes: Any) -> FlockSender:
        options = {"requests_per_second": 10_000, "timeout_seconds": 2, "tries_max": 3, "base_url": flock.base_url}
        return FlockSender(FlockOptions(**{**options, **changes}), clock=ManualClock())

    def test_is_tried_again_only_where_nothing_was_sent(self, flock: Simulator, poster: tuple[str, str, str]) -> None:
        channel, user_id, token = poster
        user = UserToken(user_id, Secret(token))
        flock.inject("too_many_requests", "api:chat.sendMessage", count=2)
        with self.client(flock) as client:
            assert client.send_message(user, {"to": channel, "text": "once"})
        flock.inject("unavailable", "api:chat.sendMessage", count=1)
        with self.client(flock) as client, pytest.raises(AnswerLostError):
            client.send_message(user, {"to": channel, "text": "perhaps"})
        with self.client(flock, base_url="http://127.0.0.1:9/v1") as client:
            with pytest.raises(FlockUnreachableError) as caught:
                client.send_message(user, {"to": channel, "text": "never"})
            assert not isinstance(caught.value, AnswerLostError)
            assert client.stats()["chat.sendMessage"].retries == 2
