"""Every capture leaves exactly one event row, and nothing it said is lost: it stands in a message row or in the body kept."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.archive.recover import recover
from archiver.errors import StorageError
from archiver.model.capture import Capture
from archiver.normalise.message import carries_unknown_fields
from archiver.store.memory import MemoryStore
from tests.archive.archive_steps import missing, unnamed
from tests.capture.draining import NOW_MS, SENT_AT_MS, Draining, event, raw_of, webhook
from tests.faulty_store import EFFECTS, Effect, FaultyStore, Stopped

SECRET = "a6b1f0c2-0000-4000-8000-5ec12e7d0a5e"


@pytest.fixture
def archive() -> Draining:
    return Draining()


def received(uid: str = "1700000000123-aBc-m201", **changed: Any) -> dict[str, Any]:
    message = json.loads(raw_of(uid, to="u:Bot"))
    return {"name": "chat.receiveMessage", "userId": "u:ann", "message": message, **changed}


def action(*uids: str, **changed: Any) -> dict[str, Any]:
    return {"name": "client.messageAction", "userId": "u:ann", "chat": "g:1", "messageUids": list(uids), **changed}


def message(uid: str, **changed: Any) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(raw_of(uid, **changed))
    return fields


def outcomes(archive: Draining) -> list[tuple[str, bool]]:
    """Return each event row's outcome and whether it keeps a body, in order."""
    rows = sorted(archive.rows("events", "sequence", "outcome", "body"))
    return [(outcome, body is not None) for _, outcome, body in rows]


class TestOutcomes:
    @pytest.mark.parametrize(
        ("captures", "expected"),
        [
            pytest.param([webhook(raw_of())], [("archived", False)], id="a new message"),
            pytest.param([webhook(raw_of(new="field"))], [("archived", False)], id="with fields we do not know"),
            pytest.param(
                [webhook(raw_of()), webhook(raw_of())], [("archived", False), ("duplicate", False)], id="twice"
            ),
            pytest.param(
                [webhook(raw_of(mentions=["u:1"])), webhook(raw_of())],
                [("archived", False), ("duplicate", False)],
                id="poorer the second time",
            ),
            pytest.param(
                [webhook(raw_of()), webhook(raw_of(mentions=["u:1"]))],
                [("archived", False), ("archived", False)],
                id="richer the second time",
            ),
            pytest.param(
                [webhook(raw_of()), webhook(raw_of(editedOn=7))],
                [("archived", False), ("duplicate", True)],
                id="again with a field we do not know",
            ),
            pytest.param(
                [webhook(raw_of()), webhook(raw_of(type="message")), webhook(raw_of(type="edit"))],
                [("archived", False), ("duplicate", False), ("duplicate", True)],
                id="again as another type",
            ),
            pytest.param(
                [webhook(raw_of()), webhook(raw_of(text="edited"))],
                [("archived", False), ("archived", False)],
                id="an edit",
            ),
            pytest.param([webhook(b"no json")], [("unparsed", True)], id="no JSON"),
            pytest.param([webhook(b"")], [("unparsed", True)], id="no body"),
            pytest.param([webhook(raw_of(text=7))], [("unparsed", True)], id="a wrong type"),
            pytest.param([event(received())], [("archived", False)], id="a message to the bot"),
            pytest.param(
                [event(received()), event(received())],
                [("archived", False), ("duplicate", False)],
                id="twice to the bot",
            ),
            pytest.param(
                [event(received(message=message("m1", editedOn=7)))],
                [("archived", True)],
                id="whose message has fields we do not know",
            ),
            pytest.param([event(received(extra=1))], [("archived", True)], id="an event with fields we do not know"),
            pytest.param([event(action("m1"))], [("wanted", True)], id="uids without messages"),
            pytest.param(
                [event(action("m1", messages=[message("m1")]))], [("archived", True)], id="uids with messages"
            ),
            pytest.param(
                [webhook(raw_of("m1")), event(action("m1", messages=[message("m1")]))],
                [("archived", False), ("duplicate", True)],
                id="an action on what is archived",
            ),
            pytest.param(
                [webhook(raw_of("m1")), event(action("m1", messages=[message("m1"), message("m2")]))],
                [("archived", False), ("archived", True)],
                id="an action that brings one more",
            ),
            pytest.param(
                [event(action("m1", "m2", messages=[message("m1"), message("m2", text=7)]))],
                [("wanted", True)],
                id="an action of which one message cannot be read",
            ),
            pytest.param(
                [event(action(messages=[message("m1"), message("m2", text=7)]))],
                [("archived", True)],
                id="one that cannot be read and cannot be asked for",
            ),
            pytest.param([event(received(message={"text": "x"}))], [("unparsed", True)], id="an unreadable message"),
            pytest.param(
                [event({"name": "app.uninstall", "userId": "u:ann"})], [("noted", True)], id="no message at all"
            ),
            pytest.param([event({"name": "of.the.future"})], [("noted", True)], id="an unknown event"),
            pytest.param([event({"userId": "u:ann"})], [("unparsed", True)], id="an event without a name"),
            pytest.param([event(b"[]")], [("unparsed", True)], id="no event"),
        ],
    )
    def test_each_capture_has_one(self, captures: list[Capture], expected: list[tuple[str, bool]]) -> None:
        at_once, one_by_one, night_by_night = Draining(), Draining(), Draining()
        at_once.night(captures)
        one_by_one.night(captures, per_commit=1)
        for capture in captures:
            night_by_night.night([capture])
        assert outcomes(at_once) == outcomes(one_by_one) == outcomes(night_by_night) == expected


class TestTheEventRow:
    def test_says_when_where_and_how_it_came(self, archive: Draining) -> None:
        raw = raw_of()
        archive.night(
            [Capture("general", "webhook", NOW_MS, "webhook-token", raw, {"content-type": "application/json;"})]
        )
        (row,) = archive.rows("events")
        assert {name: value for name, value in row.items() if value is not None} == {
            "received_at": NOW_MS,
            "spool_id": "spool-of-this-test",
            "sequence": 1,
            "feed": "general",
            "feed_kind": "webhook",
            "verified": "webhook-token",
            "chat_id": "g:1",
            "message_uid": "1700000000123-aBc-m201",
            "outcome": "archived",
            "body_digest": sha256(raw).hexdigest(),
            "attributes": '{"content-type":"application/json;"}',
        }

    def test_of_an_event_names_it_its_user_its_chat_and_what_is_wanted(self, archive: Draining) -> None:
        body = json.dumps(action("m1", "m2", chat="u:zed")).encode()
        archive.night([event(body)])
        (row,) = archive.rows("events")
        assert (row["name"], row["user_id"], row["chat_id"]) == ("client.messageAction", "u:ann", "u:ann,u:zed")
        assert row["wanted_uids"] == ["m1", "m2"]
        assert (row["body"], row["body_digest"]) == (body, sha256(body).hexdigest())

    def test_of_what_cannot_be_read_keeps_the_bytes_and_the_reason(self, archive: Draining) -> None:
        for body in (b"", b"\xff\x00", b"<html>", b"[" * 5_000, raw_of(text=7), raw_of("x" * 600)):
            archive.night([webhook(body)])
        rows = sorted(archive.rows("events", "sequence", "body", "body_digest", "error", "outcome"))
        assert [row[1] for row in rows] == [
            b"",
            b"\xff\x00",
            b"<html>",
            b"[" * 5_000,
            raw_of(text=7),
            raw_of("x" * 600),
        ]
        assert all(row[2] == sha256(row[1]).hexdigest() and row[3] and row[4] == "unparsed" for row in rows)
        assert archive.rows("messages") == []

    def test_of_a_partly_read_event_says_what_is_wrong(self, archive: Draining) -> None:
        archive.night([event(action(messages=[message("m1"), message("m2", text=7)]))])
        (row,) = archive.rows("events")
        assert "`$.text`" in row["error"]
        assert archive.versions("message_uid") == ["m1"]

    def test_unparsed_captures_are_a_gap_of_the_commit_and_counted(self, archive: Draining) -> None:
        result = archive.night([webhook(b"{"), webhook(raw_of()), event(action(messages=[message("m1"), 7]))])
        assert result.counts["unparsed"] == 2
        assert [(gap.kind, gap.count) for gap in result.gaps] == [("unparsed", 2)]
        ((entry, _),) = archive.archive.entries()
        assert [(gap.kind, gap.count) for gap in entry.gaps] == [("unparsed", 2)]

    def test_the_digest_is_that_of_the_body_as_flock_sent_it(self, archive: Draining) -> None:
        body = json.dumps({"name": "app.install", "userId": "u:1", "token": SECRET}).encode()
        redacted = body.replace(SECRET.encode(), b"[redacted]")
        stated = {"body-digest": sha256(body).hexdigest()}
        archive.night([event(body), Capture("events", "event", NOW_MS, "event-token", redacted, stated)])
        rows = archive.rows("events", "body", "body_digest")
        assert rows == [(redacted, sha256(body).hexdigest())] * 2


class TestSecrets:
    @pytest.mark.parametrize(
        "body",
        [
            json.dumps({"name": "app.install", "userId": "u:1", "token": SECRET}),
            json.dumps({"name": "app.install", "userId": "u:1", "userToken": SECRET, "message": "\ud800"}),
            json.dumps({"name": "app.install", "userId": "u:1", "token": SECRET})[:-1],
            json.dumps({"userId": "u:1", "token": [SECRET]}),
            json.dumps([{"token": SECRET}]),
            json.dumps({"name": "app.install", "messages": 7, "token": SECRET}),
            f'{{"name":"app.install","tok\\u0065n":"{SECRET}","big":1e999}}',
        ],
    )
    @pytest.mark.parametrize("feed", [webhook, event])
    def test_no_token_reaches_the_archive(self, archive: Draining, feed: Any, body: str) -> None:
        archive.night([feed(body.encode())])
        (row,) = archive.rows("events")
        assert SECRET not in repr(row)
        assert b"[redacted]" in row["body"]

    def test_nor_with_a_repetition_that_is_kept_for_what_we_do_not_know(self, archive: Draining) -> None:
        archive.night([webhook(raw_of()), webhook(raw_of(token=SECRET))])
        assert SECRET not in repr(archive.rows("events"))
        assert SECRET not in repr(archive.rows("messages"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
said = st.fixed_dictionaries(
    {"uid": st.sampled_from(["m1", "m2", "1700000000123-aBc-m201", 7, None])},
    optional={
        "text": st.sampled_from(["x", "y", "", None, 7]),
        "mentions": st.sampled_from([[], ["u:1"], None]),
        "appId": st.just("app"),
        "editedOn": st.integers(0, 2),
        "to": st.sampled_from(["g:1", "u:Bot", ""]),
        "timestampInMillis": st.sampled_from([SENT_AT_MS, SENT_AT_MS - 1, None, 1e400]),
    },
).map(lambda fields: raw_of(**fields))
pushes = st.one_of(
    said.map(webhook),
    st.binary(max_size=20).map(webhook),
    st.builds(
        lambda raws, extra: event(
            b'{"name":"client.messageAction","userId":"u:ann","chat":"g:1","messageUids":["m1","m9"],"messages":[%b]%b}'
            % (b",".join(raws), extra)
        ),
        st.lists(said | st.just(b"7"), max_size=3),
        st.sampled_from([b"", b',"more":1', b","]),
    ),
    said.map(lambda raw: event(b'{"name":"chat.receiveMessage","userId":"u:ann","message":%b}' % raw)),
    st.dictionaries(st.sampled_from(["name", "userId", "chat", "message"]), json_values).map(event),
)


@settings(max_examples=25, deadline=None)
@given(nights=st.lists(st.lists(pushes, max_size=5), max_size=3), per_commit=st.sampled_from([1, 2, 50]))
def test_every_capture_leaves_one_event_row_and_nothing_it_said_is_lost(
    nights: list[list[Capture]], per_commit: int
) -> None:
    archive = Draining()
    for captures in nights:
        archive.night(captures, per_commit=per_commit)
    captures = [capture for night in nights for capture in night]
    rows = sorted(archive.rows("events"), key=lambda row: row["sequence"])
    assert [row["sequence"] for row in rows] == list(range(1, len(captures) + 1))
    kept = archive.rows("messages", "message_uid", "raw")
    for capture, row in zip(captures, rows, strict=True):
        assert row["body_digest"] == sha256(capture.body).hexdigest()
        assert (row["error"] is not None) >= (row["outcome"] == "unparsed")
        if row["body"] is not None:
            assert row["body"] == capture.body
            continue
        carried = capture.body if capture.feed_kind == "webhook" else json.loads(capture.body)["message"]
        fields = json.loads(carried) if isinstance(carried, bytes) else carried
        raws = [raw for uid, raw in kept if uid == row["message_uid"]]
        if row["outcome"] == "archived":
            assert any(json.loads(raw) == fields for raw in raws)
        else:
            assert row["outcome"] == "duplicate"
            assert not carries_unknown_fields(json.dumps(fields).encode())
            assert any(says(json.loads(raw)).items() >= says(fields).items() for raw in raws)


def says(fields: dict[str, Any]) -> dict[str, str]:
    """Return what a message says by field, for the few fields that these tests use."""
    return {name: repr(fields[name]) for name in ("text", "mentions", "appId") if fields.get(name)}


class TestANightThatStops:
    """Whatever call of the store is the last: the next night archives each push once."""

    PUSHES = (
        webhook(raw_of("m1")),
        webhook(raw_of("m2"), NOW_MS + 1),
        webhook(b"{", NOW_MS + 2),
        webhook(raw_of("m1", "edited"), NOW_MS + 3),
        event(received(), NOW_MS + 4),
    )

    def expected(self) -> list[Any]:
        whole = Draining()
        whole.night(self.PUSHES, per_commit=2)
        return [*whole.versions("message_uid", "version", "text", "supersedes"), *outcomes(whole)]

    @pytest.mark.parametrize("effect", EFFECTS)
    @pytest.mark.parametrize("crash", [True, False], ids=["power", "answer"])
    def test_nothing_is_lost_and_nothing_comes_twice(self, effect: Effect, crash: bool) -> None:
        expected = self.expected()
        counting = FaultyStore(MemoryStore())
        Draining(counting).night(self.PUSHES, per_commit=2)
        for number in range(3, counting.operations + 1):
            store = MemoryStore()
            faulty = FaultyStore(
                store, stop_at=number if crash else None, fail_at=() if crash else (number,), effect=effect
            )
            archive = Draining(faulty)
            try:
                archive.night(self.PUSHES, per_commit=2)
            except (Stopped, StorageError):
                archive.reopen(store)
                recover(archive.archive, writer="here", now_ms=NOW_MS)
                archive.night(per_commit=2)
            archive.reopen(store)
            recover(archive.archive, writer="here", now_ms=NOW_MS)
            found = [*archive.versions("message_uid", "version", "text", "supersedes"), *outcomes(archive)]
            assert found == expected, faulty
            assert archive.spool.waiting == []
            assert missing(store) == unnamed(store) == set(), faulty
