"""Fetching messages by uid over real HTTP: everything asked for comes out again, with what became of it."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from archiver.capture.fetch import WantedMessages, fetch
from archiver.capture.token_pool import TokenPool
from archiver.flock.client import FlockClient, FlockOptions
from archiver.flock.tokens import Secret, UserToken
from tests.manual_clock import ManualClock
from tests.servers.scripted import Answer, ScriptedServer


class Chats:
    """Chats by the names that Flock uses for each user: (user, chat) → messages by uid; all else is UnknownChat."""

    def __init__(self):
        self.messages = {}
        self.odd = None
        self.shuffle = random.Random(1)

    def add(self, users, chat, *uids):
        for user in users:
            self.messages.setdefault((user, chat), {}).update(
                {uid: {"uid": uid, "text": f"text {uid}"} for uid in uids}
            )

    def __call__(self, request):
        form = request.form
        asker, uids = form["token"].removesuffix("-token"), json.loads(form["uids"])
        if self.odd is not None and (odd := self.odd(asker, form["chat"], uids)) is not None:
            return odd
        if (asker, form["chat"]) not in self.messages:
            return refusal(400, "UnknownChat")
        found = [self.messages[asker, form["chat"]][uid] for uid in uids if uid in self.messages[asker, form["chat"]]]
        self.shuffle.shuffle(found)
        return answer(found)


def answer(value, status=200):
    return Answer(json.dumps(value).encode(), status=status)


def refusal(status, code, **fields):
    return answer({"error": code, **fields}, status=status)


@pytest.fixture
def chats():
    return Chats()


@pytest.fixture
def flock(chats):
    with ScriptedServer(chats) as server:
        yield server


@pytest.fixture
def ask(flock):
    """Fetch and return the outcomes by uid, and all batches."""
    options = FlockOptions(base_url=flock.origin, auth="body", requests_per_second=1000, tries_max=2)
    with FlockClient(options, clock=ManualClock()) as client:

        def run(*wanted, tokens=("u:ada", "u:bob"), readers=None, threads=1):
            pool = tokens
            if not isinstance(pool, TokenPool):
                pool = TokenPool([UserToken(user, Secret(f"{user}-token")) for user in tokens])
            batches = list(fetch(client, pool, wanted, readers=readers or {}, threads=threads))
            return {outcome.uid: outcome for batch in batches for outcome in batch.outcomes}, batches

        yield run


def wanted(chat, *uids, by="u:ada"):
    return WantedMessages(chat, by, tuple(uids))


def askers(flock):
    return [request.form["token"].removesuffix("-token") for request in flock.requests]


def test_every_uid_comes_back_with_its_message_as_received(chats, ask):
    chats.add(["u:ada"], "g:1", *map(str, range(60)))
    outcomes, batches = ask(wanted("g:1", *map(str, range(60))), threads=4)
    assert {uid: json.loads(outcome.raw)["text"] for uid, outcome in outcomes.items()} == {
        str(n): f"text {n}" for n in range(60)
    }
    assert {outcome.asked_as for outcome in outcomes.values()} == {"u:ada"}
    assert [(batch.chat_id, batch.chat_kind) for batch in batches] == [("g:1", "channel")] * 3


def test_a_call_asks_for_25_at_most_and_for_each_uid_once(chats, flock, ask):
    chats.add(["u:ada"], "g:1", *map(str, range(60)))
    uids = [str(n) for n in range(60)]
    ask(wanted("g:1", *uids), wanted("g:1", *reversed(uids)), wanted("g:1", "0", "0"))
    asked = [json.loads(request.form["uids"]) for request in flock.requests]
    assert [len(batch) for batch in asked] == [25, 25, 10]
    assert Counter(uid for batch in asked for uid in batch) == Counter(uids)


def test_what_others_are_not_shown_is_asked_for_as_the_user_who_named_it(chats, flock, ask):
    """A message may be visible to few (visibleTo): whoever selected it has seen it, wherever they stand in the order of readers."""
    everybody = [f"u:{name}" for name in ("ada", "bob", "cleo", "dan", "eve")]
    chats.add(everybody, "g:1", *"12345")
    chats.add(["u:eve"], "g:1", "for eve")
    chats.add(["u:dan"], "g:1", "for dan")
    tellers = [wanted("g:1", str(n), by=user) for n, user in enumerate(everybody, 1)]
    outcomes, _ = ask(
        *tellers, wanted("g:1", "for eve", by="u:eve"), wanted("g:1", "for dan", by="u:dan"), tokens=everybody
    )
    assert {uid: outcome.outcome for uid, outcome in outcomes.items()} == dict.fromkeys(
        [*"12345", "for eve", "for dan"], "returned"
    )
    assert (outcomes["for eve"].asked_as, outcomes["for dan"].asked_as) == ("u:eve", "u:dan")
    # As the one who named it only for what they named, and never twice for the same.
    asked = [(request.form["token"], uid) for request in flock.requests for uid in json.loads(request.form["uids"])]
    assert len(asked) == len(set(asked))
    assert len(flock.requests) == 4


def test_what_is_not_there_costs_one_call_more_at_most_for_each_who_named_it(chats, flock, ask):
    everybody = [f"u:{n}" for n in range(9)]
    chats.add(everybody, "g:1", "there")
    outcomes, _ = ask(*(wanted("g:1", "gone", by=user) for user in everybody), tokens=everybody)
    assert outcomes["gone"].outcome == "not_returned"
    assert len(flock.requests) <= 3


def test_the_users_of_the_events_are_asked_as_first_then_known_members_then_anybody(chats, flock, ask):
    chats.add(["u:eve"], "g:1", "1")
    everybody = ("u:ada", "u:bob", "u:cleo", "u:eve")
    outcomes, _ = ask(wanted("g:1", "1", by="u:cleo"), tokens=everybody, readers={"g:1": ["u:bob", "u:zoe"]})
    assert askers(flock) == ["u:cleo", "u:bob", "u:ada", "u:eve"]
    assert outcomes["1"].asked_as == "u:eve"


def test_an_event_of_a_user_without_token_is_served_by_a_member(chats, ask):
    chats.add(["u:bob"], "g:1", "1")
    outcomes, _ = ask(wanted("g:1", "1", by="u:nobody"), readers={"g:1": ["u:bob"]})
    assert (outcomes["1"].outcome, outcomes["1"].asked_as) == ("returned", "u:bob")


def test_a_one_to_one_chat_is_named_by_the_other_party_from_either_side(chats, flock, ask):
    chats.add(["u:ada"], "u:zoe", "1")
    chats.add(["u:bob"], "u:cleo", "2")
    outcomes, batches = ask(wanted("u:zoe", "1", by="u:ada"), wanted("u:bob", "2", by="u:cleo"))
    assert sorted((r.form["token"], r.form["chat"]) for r in flock.requests) == [
        ("u:ada-token", "u:zoe"),
        ("u:bob-token", "u:cleo"),
    ]
    assert {outcome.outcome for outcome in outcomes.values()} == {"returned"}
    assert sorted((batch.chat_id, batch.chat_kind) for batch in batches) == [
        ("u:ada,u:zoe", "direct"),
        ("u:bob,u:cleo", "direct"),
    ]


def test_both_sides_of_a_one_to_one_chat_are_one_conversation(chats, flock, ask):
    chats.add(["u:ada"], "u:bob", "1", "2")
    chats.add(["u:bob"], "u:ada", "1", "2")
    outcomes, batches = ask(wanted("u:bob", "1", by="u:ada"), wanted("u:ada", "2", by="u:bob"))
    assert (len(batches), len(flock.requests)) == (1, 1)
    assert set(outcomes) == {"1", "2"}


def test_a_chat_may_also_be_named_as_in_the_archive(chats, ask):
    chats.add(["u:bob"], "u:zoe", "1")
    outcomes, _ = ask(wanted("u:bob,u:zoe", "1", by=""))
    assert (outcomes["1"].outcome, outcomes["1"].asked_as) == ("returned", "u:bob")


def test_strangers_are_never_asked_about_a_one_to_one_chat(flock, ask):
    outcomes, _ = ask(wanted("u:yan", "1", by="u:zoe"))
    assert flock.requests == []
    assert (outcomes["1"].outcome, outcomes["1"].asked_as) == ("unknown_chat", "")


def test_what_flock_skips_is_not_returned(chats, ask):
    chats.add(["u:ada"], "g:1", "1", "3")
    outcomes, _ = ask(wanted("g:1", "1", "2", "3"))
    assert [outcomes[uid].outcome for uid in "123"] == ["returned", "not_returned", "returned"]
    assert outcomes["2"].asked_as == "u:ada"
    assert outcomes["2"].raw is None


def test_what_one_member_is_not_shown_one_other_member_is_asked_for(chats, flock, ask):
    chats.add(["u:ada"], "g:1", "1")
    chats.add(["u:bob", "u:cleo"], "g:1", "1", "2")
    members = ["u:ada", "u:bob", "u:cleo"]
    outcomes, _ = ask(wanted("g:1", "1", "2", "3"), tokens=members, readers={"g:1": members})
    assert (outcomes["2"].outcome, outcomes["2"].asked_as) == ("returned", "u:bob")
    assert (outcomes["3"].outcome, outcomes["3"].asked_as) == ("not_returned", "u:bob")
    assert [(r.form["token"], json.loads(r.form["uids"])) for r in flock.requests] == [
        ("u:ada-token", ["1", "2", "3"]),
        ("u:bob-token", ["2", "3"]),
    ]


def test_a_chat_that_no_token_may_read_is_unknown_and_is_asked_for_once_as_each(flock, ask):
    outcomes, _ = ask(wanted("g:1", *map(str, range(60))))
    assert {outcome.outcome for outcome in outcomes.values()} == {"unknown_chat"}
    assert {outcome.reason for outcome in outcomes.values()} == {"UnknownChat"}
    assert sorted(askers(flock)) == ["u:ada", "u:bob"]


def test_batches_of_a_long_list_are_spread_over_the_known_members(chats, flock, ask):
    members = ["u:ada", "u:bob", "u:cleo"]
    chats.add(members, "g:1", *map(str, range(150)))
    ask(wanted("g:1", *map(str, range(150))), tokens=members, readers={"g:1": members})
    assert Counter(askers(flock)) == dict.fromkeys(members, 2)


def test_messages_are_matched_by_uid_and_what_nobody_asked_for_is_dropped_and_counted(chats, ask):
    chats.add(["u:ada"], "g:1", "1")
    chats.odd = lambda *_: Answer(
        b'[{"uid":"9"},{"uid":"2","n":1},{"uid":"1"},{"uid":"1"},{"text":"none"},{"uid":7},5,{"uid":"2","n":2}]'
    )
    outcomes, (batch,) = ask(wanted("g:1", "1", "2"))
    assert (batch.unasked, batch.unreadable, batch.repeated) == (1, 3, 1)
    assert outcomes["1"].raw == b'{"uid":"1"}'
    assert [o.raw for o in batch.outcomes if o.uid == "2"] == [b'{"uid":"2","n":1}', b'{"uid":"2","n":2}']


def test_half_an_emoji_costs_neither_its_message_nor_the_others(chats, ask):
    chats.odd = lambda *_: Answer(b'[{"uid":"1","text":"\\ud83d"}, {"uid":"2"}]')
    outcomes, _ = ask(wanted("g:1", "1", "2"))
    assert outcomes["1"].raw == b'{"uid":"1","text":"\\ud83d"}'
    assert outcomes["2"].outcome == "returned"


def test_a_refused_token_gives_way_to_the_next(chats, ask):
    chats.add(["u:bob"], "g:1", "1")
    chats.odd = lambda asker, *_: refusal(403, "InvalidToken") if asker == "u:ada" else None
    pool = TokenPool([UserToken(user, Secret(f"{user}-token")) for user in ("u:ada", "u:bob")])
    outcomes, _ = ask(wanted("g:1", "1"), tokens=pool)
    assert outcomes["1"].asked_as == "u:bob"
    assert [refused.user_id for refused in pool.refused()] == ["u:ada"]


def test_when_every_token_is_refused_the_uids_stay_wanted(chats, ask):
    chats.odd = lambda *_: refusal(403, "InvalidToken")
    outcomes, _ = ask(wanted("g:1", "1"))
    assert (outcomes["1"].outcome, outcomes["1"].reason) == ("failed", "every token that could ask was refused")


def test_when_flock_gives_no_usable_answer_the_uids_stay_wanted(chats, ask):
    chats.odd = lambda *_: Answer(status=500)
    outcomes, _ = ask(wanted("g:1", "1", "2"))
    assert {(o.outcome, o.reason) for o in outcomes.values()} == {("failed", "no usable answer")}


def test_one_odd_uid_does_not_cost_the_others_of_its_call(chats, flock, ask):
    uids = [str(n) for n in range(24)]
    chats.add(["u:ada"], "g:1", *uids)
    chats.odd = lambda _a, _c, asked: refusal(400, "InvalidParameter", parameter="uids") if "odd" in asked else None
    outcomes, _ = ask(wanted("g:1", *uids[:7], "odd", *uids[7:]), tokens=["u:ada"])
    assert (outcomes.pop("odd").outcome, len(outcomes)) == ("failed", 24)
    assert {outcome.outcome for outcome in outcomes.values()} == {"returned"}
    assert len(flock.requests) < 12


def test_a_refusal_that_is_not_about_uids_is_not_halved(chats, flock, ask):
    chats.odd = lambda *_: refusal(400, "InvalidParameter", parameter="chat")
    outcomes, _ = ask(wanted("g:1", *map(str, range(25))), tokens=["u:ada"])
    assert {(o.outcome, o.reason) for o in outcomes.values()} == {("failed", "InvalidParameter")}
    assert len(flock.requests) == 1


@pytest.mark.parametrize("uid", ["", "x" * 600, "half \ud83d emoji"])
def test_a_uid_that_cannot_be_sent_is_not_sent(chats, flock, ask, uid):
    chats.add(["u:ada"], "g:1", "1")
    outcomes, _ = ask(wanted("g:1", uid, "1"), tokens=["u:ada"])
    assert (outcomes[uid].outcome, outcomes["1"].outcome) == ("failed", "returned")
    assert json.loads(flock.requests[0].form["uids"]) == ["1"]


@pytest.mark.parametrize("chat", ["g:" + "x" * 600, "g:\ud83d", ""])
def test_a_chat_that_cannot_be_sent_is_not_asked_for(flock, ask, chat):
    outcomes, _ = ask(wanted(chat, "1"))
    assert outcomes["1"].outcome == "failed"
    assert flock.requests == []


def test_nothing_wanted_asks_for_nothing(flock, ask):
    assert ask() == ({}, [])
    assert ask(wanted("g:1")) == ({}, [])
    assert flock.requests == []


def test_the_reader_may_stop_early_and_nothing_more_is_asked(chats, flock):
    chats.add(["u:ada"], "g:1", *map(str, range(5000)))
    options = FlockOptions(base_url=flock.origin, requests_per_second=1000)
    with FlockClient(options, clock=ManualClock()) as client:
        pool = TokenPool([UserToken("u:ada", Secret("u:ada-token"))])
        batches = fetch(client, pool, [wanted("g:1", *map(str, range(5000)))], readers={}, threads=2)
        next(batches)
        batches.close()
    assert len(flock.requests) < 20


def test_many_chats_are_shared_among_those_who_may_read_them(chats, flock, ask):
    """All events are Ada's, and the other parties' rate limits would lie idle."""
    others = [f"u:{number}" for number in range(10)]
    for number, other in enumerate(others):
        chats.add(["u:ada"], other, f"m{number}")
        chats.add([other], "u:ada", f"m{number}")
    named = [wanted(other, f"m{number}") for number, other in enumerate(others)]
    outcomes, _ = ask(*named, tokens=("u:ada", *others))
    assert {outcome.outcome for outcome in outcomes.values()} == {"returned"}
    assert Counter(askers(flock)) == {"u:ada": 1, **dict.fromkeys(others[1:], 1)}


def test_a_long_chat_does_not_keep_the_others_waiting(chats, flock, ask):
    chats.add(["u:ada"], "g:1", *map(str, range(250)))
    chats.add(["u:bob"], "g:2", "x")
    ask(wanted("g:1", *map(str, range(250))), wanted("g:2", "x", by="u:bob"))
    assert "u:bob" in askers(flock)[:3]
