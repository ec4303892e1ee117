"""Each thing that may be wrong has its message and its exit code, and nothing that was received is lost."""

from __future__ import annotations

import contextlib
import json
import resource
import secrets
from pathlib import Path
from typing import Any

import pytest

from archiver.archive.ledger import canonical_json
from archiver.errors import (
    DamageFoundError,
    NewerFormatError,
    SpoolError,
    StoreFullError,
    StoreUnreachableError,
)
from archiver.run.session import Limits
from archiver.store import Store
from tests.faulty_store import FaultyStore
from tests.run import truth
from tests.run.conftest import SMALL
from tests.run.installation import Installation, free_port
from tests.run.station import Station, station

SENDER, CHANNEL = "u:ann0123456789abc", "g:0123456789abcdef0123456789abcdef"
SENT_AT_MS = 1_767_225_600_123  # 2026-01-01


def pushed(uid: str | None = None, **fields: Any) -> bytes:
    """Return a webhook's body: a message, with some fields otherwise; None leaves a field out."""
    message = {
        "id": "d_1", "to": CHANNEL, "from": SENDER, "text": "hello", "timestamp": "2026-01-01T00:00:00.123Z",
        "timestampInMillis": SENT_AT_MS, "uid": uid or f"{SENT_AT_MS}-aBc-m201", "onBehalfOf": "", "visibleTo": [],
    }  # fmt: skip
    return json.dumps({name: value for name, value in {**message, **fields}.items() if value is not None}).encode()


class TestATokenThatFlockRefuses:
    def test_is_a_gap_where_others_work(self, home: tuple[Station, Installation]) -> None:
        machine, archiver = home
        tokens = machine.flock.user_tokens
        bad = next(iter(tokens))
        archiver.tokens({**tokens, bad: "no-such-token"})
        run = archiver.call("run", "--json")
        assert run.code == 3
        assert bad in run.gaps["token-refused"]
        assert "InvalidToken" in run.gaps["token-refused"]
        assert run.gaps.keys() & {"directory", "no-token"} == set()
        assert "no-such-token" not in run.out + run.err
        truth.check(machine)

    def test_ends_the_run_with_6_where_none_works_and_the_spool_is_archived_all_the_same(
        self, home: tuple[Station, Installation]
    ) -> None:
        machine, archiver = home
        archiver.tokens(dict.fromkeys(machine.flock.user_tokens, "no-such-token"))
        run = archiver.call("run")
        assert run.code == 6
        assert "none of the " in run.err
        assert "Flock refuses the token of u:" in run.err
        # Said once, though two stages would have asked.
        assert run.err.count("Let the user install the app again") == 1
        assert "fingerprint=" in run.err
        truth.check_messages(machine, truth.told_by(machine.shown))
        truth.check_whole(machine)
        # With the right tokens the next run does what is left.
        archiver.tokens(machine.flock.user_tokens)
        assert archiver.call("run").code == 3
        truth.check(machine)
        truth.check_directory(machine)

    def test_ends_with_6_where_the_app_was_switched_off_for_the_team(self, machine: Station) -> None:
        for user in machine.flock.user_tokens:
            machine.flock.disable(user, by="team")
        result = machine.run()
        assert result.exit_code == 6
        error = result.stages[1].error
        assert error is not None
        assert "the team has disabled the app" in error.what
        assert "admin enable the app" in error.next_step

    def test_is_asked_with_once_a_day_and_named_each_time(self, home: tuple[Station, Installation]) -> None:
        machine, archiver = home
        refused, kept = list(machine.flock.user_tokens)[:2]
        archiver.tokens({user: machine.flock.user_tokens[user] for user in (refused, kept)})
        machine.flock.disable(refused, by="user")
        assert archiver.call("run", "--json").code == 3
        machine.flock.reset_counters()
        again = archiver.call("run", "--json")
        assert again.code == 3
        assert refused in again.gaps["token-refused"]
        assert "the user has disabled the app" in again.gaps["token-refused"]
        assert all("403" not in calls for calls in machine.flock.counters()["methods"].values())
        machine.flock.disable(refused, by=None)
        assert archiver.call("installs", "retry", refused).code == 0
        assert "token-refused" not in archiver.call("run", "--json").gaps

    def test_of_an_installation_is_disabled_until_the_user_installs_again(
        self, home: tuple[Station, Installation]
    ) -> None:
        machine, archiver = home
        archiver.tokens({})
        user = next(iter(machine.flock.user_tokens))
        machine.flock.install(user)
        assert "no-token" not in archiver.call("run", "--json").gaps
        machine.flock.disable(user, by="team")
        assert archiver.call("run").code == 6
        (shown,) = archiver.call("installs", "list", "--json").document["tokens"]
        assert (shown["user_id"], shown["source"]) == (user, "app.install")
        assert "the team has disabled the app" in shown["disabled_reason"]
        # Nobody works tonight either, and it is said with 6 again though Flock was not asked.
        machine.flock.reset_counters()
        assert archiver.call("run").code == 6
        assert machine.flock.counters()["methods"] == {}
        machine.flock.disable(user, by=None)
        machine.flock.install(user)
        assert "token-refused" not in archiver.call("run", "--json").gaps

    def test_in_the_middle_of_a_fetch_is_a_gap_of_that_chat_alone(self, machine: Station) -> None:
        flock = machine.flock
        flock.configure(action_messages=False)
        one, other, third = list(flock.user_tokens)[:3]
        flock.message_action(one, other, [flock.send(one, other, text="between us")])
        tokens = {one: "no-such-token", third: flock.user_tokens[third]}
        result = machine.run(tokens=tokens, only=["drain", "fetch"])
        assert (result.exit_code, [stage.error for stage in result.stages]) == (3, [None] * 3)
        assert {gap.kind for gap in result.gaps} == {"message-failed"}
        machine.run()
        truth.check(machine)

    def test_that_is_somebody_else_s_is_not_used(self, machine: Station) -> None:
        one, other = list(machine.flock.user_tokens)[:2]
        tokens = {**machine.flock.user_tokens, one: machine.flock.user_tokens[other]}
        result = machine.run(tokens=tokens, only=["directory"])
        (gap,) = (gap for gap in result.gaps if gap.kind == "token-refused")
        assert "WrongUser" in gap.evidence
        assert result.exit_code == 3


def test_without_any_token_the_spool_is_archived_and_the_gap_says_what_to_do(
    home: tuple[Station, Installation],
) -> None:
    machine, archiver = home
    archiver.tokens({})
    run = archiver.call("run", "--json")
    assert run.code == 3
    assert "set flock.tokens_file, or let users install the app" in run.gaps["no-token"]
    truth.check_messages(machine, truth.told_by(machine.shown))
    truth.check_whole(machine)


def test_a_tokens_file_that_is_not_there_is_a_mistake_of_the_configuration(home: tuple[Station, Installation]) -> None:
    _, archiver = home
    (archiver.folder / "secrets" / "flock_tokens.json").unlink()
    run = archiver.call("run")
    assert run.code == 2
    assert "flock_tokens.json" in run.err


class TestAFlockThatCannotBeReached:
    def test_ends_the_run_with_6_and_the_spool_is_archived_all_the_same(
        self, home: tuple[Station, Installation]
    ) -> None:
        machine, archiver = home
        archiver.change("flock", base_url=f"http://127.0.0.1:{free_port()}/v1", tries_max=1)
        run = archiver.call("run", "--json")
        assert run.code == 6
        stages = {stage["stage"]: stage for stage in run.document["stages"]}
        assert stages["directory"]["error"]["kind"] == "FlockUnreachableError"
        assert "See that flock.base_url is right" in stages["directory"]["error"]["next_step"]
        assert stages["drain"]["counts"]["captures"] == len(machine.shown)
        truth.check_messages(machine, truth.told_by(machine.shown))
        # What was to be fetched stays wanted.
        archiver.change("flock", base_url=machine.flock.base_url)
        assert archiver.call("run").code == 3
        truth.check(machine)
        truth.check_directory(machine)

    def test_for_one_method_alone_is_a_gap_and_what_is_known_stays(self, tmp_path: Path) -> None:
        with station(tmp_path, tries_max=1, **SMALL) as machine:
            machine.run()
            machine.flock.inject("unavailable", "api:channels.listMembers", probability=1.0)
            before = machine.rows("groups")
            result = machine.run()
            assert {gap.kind for gap in result.gaps} == {"directory"}
            assert result.exit_code == 3
            assert machine.rows("groups") == before
            # Having said so once is enough, until it is over.
            known = machine.objects()
            machine.run()
            assert machine.objects() == known

    def test_while_wanted_messages_are_fetched_ends_with_6_and_they_stay_wanted(self, tmp_path: Path) -> None:
        with station(tmp_path, tries_max=1, **SMALL) as machine:
            flock = machine.flock
            flock.configure(action_messages=False)
            flock.play_all(connections=1)
            flock.inject("bad_gateway", "api:chat.fetchMessages", probability=1.0)
            result = machine.run()
            assert result.exit_code == 6
            (error,) = (stage.error for stage in result.stages if stage.error)
            assert "run again later" in error.next_step
            flock.clear_faults()
            machine.run()
            truth.check(machine)


class TestAStore:
    def test_that_cannot_be_reached_ends_the_run_with_7_and_the_spool_keeps_everything(
        self, home: tuple[Station, Installation]
    ) -> None:
        machine, archiver = home
        archiver.change("", archive="s3://archive/prefix")
        archiver.change("s3", endpoint_url=f"http://127.0.0.1:{free_port()}", region="us-east-1")
        run = archiver.call("run", AWS_ACCESS_KEY_ID="nobody", AWS_SECRET_ACCESS_KEY="a-secret-of-s3")
        assert run.code == 7
        assert "s3://archive/prefix" in run.err
        assert "Next:" in run.err
        assert "a-secret-of-s3" not in run.err
        assert machine.waiting() == len(machine.shown)

    def test_that_is_full_ends_the_run_with_7_and_the_spool_keeps_everything(
        self, home: tuple[Station, Installation]
    ) -> None:
        """A limit on the size of files is to a writer the same as a full disk."""
        machine, archiver = home
        channel = next(iter(machine.flock.channels.values()))
        machine.flock.send(next(iter(channel.members)), channel.channel_id, text=secrets.token_hex(200_000))
        machine.take_pushes()
        run = archiver.call("run", before=_no_large_files)
        assert run.code == 7
        assert "make space for" in run.err
        assert str(archiver.folder / "archive") in run.err
        assert machine.waiting() == len(machine.shown)
        assert machine.verify().damages == ()
        assert archiver.call("run").code == 3
        truth.check(machine)
        truth.check_directory(machine)

    def test_that_is_full_in_the_middle_keeps_what_was_committed(self, machine: Station) -> None:
        machine.flock.play_all(connections=1)
        small = _SmallStore(machine.store, bytes_max=120_000)
        with pytest.raises(StoreFullError):
            machine.run(store=small, limits=Limits(messages_per_commit=5))
        assert 0 < machine.waiting() < len(machine.shown)
        assert machine.verify().damages == ()
        assert machine.head().sequence > 1
        machine.run()
        truth.check(machine)
        truth.check_directory(machine)

    @pytest.mark.parametrize(
        "seed", [*range(2), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 12))]
    )
    def test_that_answers_only_sometimes_loses_nothing(self, machine: Station, seed: int) -> None:
        """Each failed operation may have taken effect or not; run after run goes on from what is there."""
        machine.flock.play_all(connections=1)
        for attempt in range(40):
            store = FaultyStore(machine.store, fail_rate=0.05, seed=1_000 * seed + attempt)
            with contextlib.suppress(StoreUnreachableError):
                machine.run(store=store, limits=Limits(messages_per_commit=10))  # type: ignore[arg-type]
                break
        machine.run()
        truth.check(machine)
        truth.check_directory(machine)

    def test_that_lost_an_object_which_the_ledger_names_ends_the_run_with_4(
        self, home: tuple[Station, Installation]
    ) -> None:
        machine, archiver = home
        machine.run()
        lost = next(key for key in machine.head().files if key.startswith("messages/"))
        machine.store.delete(lost)
        machine.push(*(shown.body for shown in machine.shown if shown.kind == "webhook"))
        run = archiver.call("run")
        assert run.code == 4
        assert lost in run.err
        assert "archiver verify" in run.err
        assert machine.waiting() > 0


class TestASpool:
    def test_in_a_place_that_cannot_be_written_ends_with_7(self, home: tuple[Station, Installation]) -> None:
        machine, archiver = home
        (archiver.folder / "file").write_text("")
        archiver.change("", state="./file/state")
        for command in ("run", "listen"):
            ended = archiver.call(command)
            assert ended.code == 7, ended.err
            assert "state" in ended.err
        assert machine.store.list("") is not None

    @pytest.mark.parametrize("command", ["run", "listen"])
    def test_that_is_none_ends_with_7_and_is_left_alone(
        self, home: tuple[Station, Installation], command: str, tmp_path: Path
    ) -> None:
        _, archiver = home
        archiver.change("", state="./other")
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "spool.sqlite").write_bytes(b"somebody's letters, not ours\n" * 100)
        ended = archiver.call(command)
        assert ended.code == 7
        assert "spool.sqlite" in ended.err
        assert (tmp_path / "other" / "spool.sqlite").read_bytes() == b"somebody's letters, not ours\n" * 100

    def test_whose_bytes_changed_on_the_disk_stops_the_run_before_anything_of_it_is_lost(
        self, machine: Station
    ) -> None:
        """Whoever asks gets an error that names the place; what was committed before stays."""
        machine.push(*(pushed(f"{SENT_AT_MS + number}-aBc-m201") for number in range(5)))
        spool = _Forgetful(3)
        with pytest.raises(SpoolError):
            machine.run(wrap_spool=spool.around, skip=["directory"], limits=Limits(messages_per_commit=1))
        assert machine.verify().damages == ()
        machine.run(skip=["directory"])
        truth.check_messages(machine, truth.told_by(machine.shown))


UNREADABLE = {
    "no JSON": b"{",
    "nothing": b"",
    "not UTF-8": b'{"uid":"1-a-m201","from":"u:a","to":"g:b","text":"\xff\xfe"}',
    "an array": b"[]",
    "a number": b"17",
    "null": b"null",
    "text": b'"hello"',
    "nested without end": b'{"a":' * 50_000,
    "a closed nest": b'{"uid":"1","from":"u:a","to":"g:b","x":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "no sender": pushed(**{"from": None}),
    "an empty recipient": pushed(to=""),
    "a sender that is a list": pushed(**{"from": ["u:a"]}),
    "a text that is a number": pushed(text=17),
    "attachments that are text": pushed(attachments="none"),
    "an identifier of a megabyte": pushed(uid="x" * 1_000_000),
    "NaN": b'{"uid":"1-a-m201","from":"u:a","to":"g:b","text":"x","n":NaN}',
    "two documents": pushed() + pushed(),
    "HTML": b"<html><body>502 Bad Gateway</body></html>",
}


class TestAPushThatCannotBeRead:
    def test_is_kept_with_its_reason_counted_and_harms_no_other(self, machine: Station) -> None:
        good = [f"{SENT_AT_MS + number}-aBc-m201" for number in range(len(UNREADABLE) + 1)]
        for uid, body in zip(good, UNREADABLE.values(), strict=False):
            machine.push(pushed(uid), body)
        machine.push(pushed(good[-1]))
        result = machine.run(skip=["directory"])
        assert result.exit_code == 3
        assert {gap.kind: gap.count for gap in result.gaps} == {"unparsed": len(UNREADABLE)}
        events = machine.rows("events")
        for what, row in zip(UNREADABLE, events[1::2], strict=True):
            assert (row["outcome"], row["body"]) == ("unparsed", UNREADABLE[what]), what
            assert row["error"], what
        assert {row["outcome"] for row in events[::2]} == {"archived"}
        assert [row["message_uid"] for row in machine.rows("messages")] == good
        truth.check_whole(machine)
        assert machine.run(skip=["directory"]).commits == 0

    def test_as_an_event_leaves_its_readable_messages(self, machine: Station) -> None:
        flock = machine.flock
        user, other = list(flock.user_tokens)[:2]
        good = json.loads(pushed(f"{SENT_AT_MS}-goo-m201", to=other, **{"from": user}))
        flock.send_event(
            "client.messageAction",
            user,
            {"chat": other, "messageUids": [good["uid"]], "messages": [good, {"uid": "no"}]},
        )
        result = machine.run()
        assert [(gap.kind, gap.count) for gap in result.gaps if gap.kind == "unparsed"] == [("unparsed", 1)]
        assert [row["message_uid"] for row in machine.rows("messages")] == [good["uid"]]
        (event,) = machine.rows("events")
        assert event["error"]
        assert b'"no"' in event["body"]


ABSURD_TIMES = {
    "text": {"timestamp": "yesterday", "timestampInMillis": "noon"},
    "a day that is none": {"timestamp": "9999999-99-99T99:99:99Z", "timestampInMillis": 2**63},
    "before Flock": {"timestamp": "1970-01-01T00:00:00Z", "timestampInMillis": 0},
    "negative": {"timestamp": None, "timestampInMillis": -SENT_AT_MS},
    "seconds for milliseconds": {"timestamp": None, "timestampInMillis": SENT_AT_MS // 1000},
    "microseconds for milliseconds": {"timestamp": None, "timestampInMillis": SENT_AT_MS * 1000},
    "the year 9999": {"timestamp": "9999-12-31T23:59:59.999Z", "timestampInMillis": 253402300799999},
    "a number without end": {"timestamp": None, "timestampInMillis": 10**400},
    "an object": {"timestamp": {"at": 1}, "timestampInMillis": [1]},
    "true": {"timestamp": True, "timestampInMillis": False},
    "nothing": {"timestamp": None, "timestampInMillis": None},
}


class TestAnAbsurdTime:
    def test_gives_way_to_the_time_in_the_uid(self, machine: Station) -> None:
        for number, times in enumerate(ABSURD_TIMES.values()):
            machine.push(pushed(f"{SENT_AT_MS + number}-aBc-m201", **times))
        machine.run(skip=["directory"])
        for number, (what, row) in enumerate(zip(ABSURD_TIMES, machine.rows("messages"), strict=True)):
            assert (row["sent_at"], row["sent_at_basis"], row["text"]) == (SENT_AT_MS + number, "uid", "hello"), what

    def test_in_an_opaque_uid_too_gives_way_to_the_arrival(self, machine: Station) -> None:
        machine.push(pushed("c0ffee", timestamp="soon", timestampInMillis=1e300))
        machine.run(skip=["directory"])
        (row,) = machine.rows("messages")
        assert row["sent_at_basis"] == "observed"
        assert row["sent_at"] == row["observed_at"]

    @pytest.mark.parametrize("first", ["known", "unknown"])
    def test_does_not_make_two_messages_of_one(self, machine: Station, first: str) -> None:
        """The same message, once with its time and once without, lies under two days and is one all the same."""
        known, unknown = pushed("c0ffee"), pushed("c0ffee", timestamp=None, timestampInMillis=None)
        for body in (known, unknown) if first == "known" else (unknown, known):
            machine.push(body)
            machine.run(skip=["directory"])
        (row,) = machine.rows("messages")
        assert row["message_uid"] == "c0ffee"
        assert [event["outcome"] for event in machine.rows("events")] == ["archived", "duplicate"]


def test_a_message_without_a_uid_is_kept_under_a_provisional_one(machine: Station) -> None:
    for missing in ({"uid": None}, {"uid": ""}):
        body = json.dumps({**json.loads(pushed()), **missing, "text": str(missing)}).encode()
        machine.push(body)
    machine.run(skip=["directory"])
    rows = machine.rows("messages")
    assert len(rows) == 2
    assert all(row["message_uid"].startswith("provisional:") for row in rows)


def test_fields_that_nobody_knows_survive_in_the_bytes(machine: Station) -> None:
    body = pushed(futureField={"nested": [1, None, {"ü": "☃"}]}, threadId="t-1", reactions=[])
    machine.push(body)
    assert machine.run(skip=["directory"]).exit_code == 0
    (row,) = machine.rows("messages")
    assert row["raw"].encode() == body


def test_half_an_emoji_and_numbers_beyond_all_bounds_are_no_reason_to_lose_a_message(machine: Station) -> None:
    body = b'{"uid":"%d-aBc-m201","from":"u:a","to":"g:b","text":"cut \\ud83d","n":%s}' % (SENT_AT_MS, b"9" * 400)
    machine.push(body)
    machine.run(skip=["directory"])
    (row,) = machine.rows("messages")
    assert (row["text"], row["raw"].encode()) == ("cut �", body)


class TestTheConfiguration:
    @pytest.mark.parametrize("command", ["run", "listen"])
    def test_with_an_unknown_key_ends_with_2_and_names_the_line(
        self, home: tuple[Station, Installation], command: str
    ) -> None:
        _, archiver = home
        lines = archiver.config.read_text().splitlines()
        line = next(number for number, text in enumerate(lines, 1) if text.startswith("flock:"))
        lines.insert(line, "  requests_per_minute: 5")
        archiver.config.write_text("\n".join(lines))
        ended = archiver.call(command)
        assert ended.code == 2
        assert f"archiver.yaml:{line + 1}" in ended.err
        assert "requests_per_minute" in ended.err

    def test_with_a_wrong_type_ends_with_2_and_names_the_line(self, home: tuple[Station, Installation]) -> None:
        _, archiver = home
        archiver.change("run", messages_per_commit="many")
        lines = archiver.config.read_text().splitlines()
        line = next(number for number, text in enumerate(lines, 1) if "messages_per_commit" in text)
        ended = archiver.call("run")
        assert ended.code == 2
        assert f"archiver.yaml:{line}" in ended.err
        assert "messages_per_commit" in ended.err

    def test_with_the_name_of_another_team_does_not_write_into_this_one_s_archive(
        self, home: tuple[Station, Installation]
    ) -> None:
        machine, archiver = home
        machine.run(only=["directory"])
        before = machine.objects()
        archiver.change("", workspace="another team")
        ended = archiver.call("run")
        assert ended.code == 2
        assert "'simulated'" in ended.err
        assert "'another team'" in ended.err
        assert machine.objects() == before
        assert machine.waiting() == len(machine.shown)

    def test_that_lets_nobody_in_does_not_listen(self, home: tuple[Station, Installation]) -> None:
        _, archiver = home
        archiver.change("listen", webhook_tokens_file=None, app_id=None, app_secret_file=None)
        ended = archiver.call("listen")
        assert ended.code == 2
        assert "nobody to listen to" in ended.err

    def test_with_a_port_that_is_taken_ends_with_2(self, home: tuple[Station, Installation]) -> None:
        _, archiver = home  # whose own listener has the port
        (archiver.folder / "secrets" / "webhook_tokens.json").write_text('{"general": "token-0123456789"}')
        ended = archiver.call("listen")
        assert ended.code == 2
        assert "cannot listen on 127.0.0.1 port" in ended.err


class TestAnArchiveOfANewerFormat:
    def test_is_refused_with_5_and_nothing_is_changed(self, home: tuple[Station, Installation]) -> None:
        machine, archiver = home
        machine.run()
        facts = json.loads(machine.store.read("archive.json"))
        machine.store.replace("archive.json", canonical_json({**facts, "format": 2}))
        before = machine.objects()
        for command in ("run", "status", "verify"):
            ended = archiver.call(command)
            assert ended.code == 5, ended.err
            assert "archive format 2; this version reads up to 1" in ended.err
            assert "upgrade flock-archiver" in ended.err
        assert machine.objects() == before

    def test_in_its_newest_entry_alone_is_refused_too(self, machine: Station) -> None:
        machine.flock.play_all(connections=1)
        machine.run(skip=["drain"])
        sequence = machine.head().sequence + 1
        machine.store.create(f"ledger/{sequence:012d}.json", b'{"format":2,"what":"nobody here knows"}')
        with pytest.raises(NewerFormatError):
            machine.run()
        assert machine.waiting() == len(machine.shown)

    def test_as_a_damaged_one_ends_with_4(self, machine: Station) -> None:
        machine.run()
        machine.store.replace("archive.json", b"{")
        with pytest.raises(DamageFoundError, match=r"archive\.json"):
            machine.run()


class _SmallStore:
    """A store with so many bytes of room."""

    def __init__(self, store: Store, *, bytes_max: int) -> None:
        self._store = store
        self._left = bytes_max

    def create(self, key: str, data: bytes | Path) -> None:
        self._left -= len(data) if isinstance(data, bytes) else data.stat().st_size
        if self._left < 0:
            raise StoreFullError(f"no space left for {key}")
        self._store.create(key, data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class _Forgetful:
    """A spool that fails at its n-th read, once."""

    def __init__(self, at: int) -> None:
        self._left = at
        self._spool: Any = None

    def around(self, spool: Any) -> Any:
        self._spool = spool
        return self

    def read(self, **how: int) -> Any:
        self._left -= 1
        if self._left == 0:
            raise SpoolError("the spool is damaged at sequence 3", next_step="keep a copy")
        return self._spool.read(**how)

    def read_blocks(self, **how: int) -> Any:
        self._left -= 1
        if self._left == 0:
            raise SpoolError("the spool is damaged at sequence 3", next_step="keep a copy")
        return self._spool.read_blocks(**how)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._spool, name)


def _no_large_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
