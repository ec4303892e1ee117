"""What of a crawl is new: pure, so tested without any Flock."""

from __future__ import annotations

import json
from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.archive.schema import TABLES
from archiver.capture.directory_changes import DirectoryKnown, after, changes, conversation_row
from archiver.capture.directory_seen import (
    USER_METHODS,
    DirectorySeen,
    SeenMembers,
    read_channel,
    read_member,
    read_user,
)

NOW_MS = 1_700_000_000_000
NOTHING = DirectoryKnown()


def user(method="roster.listContacts", by="u:ada", **fields):
    return read_user(json.dumps(fields).encode(), method=method, captured_by=by)[0]


def channel(by="u:ada", **fields):
    return read_channel(json.dumps(fields).encode(), captured_by=by)[0]


def members(channel_id, *users, by="u:ada", complete=True):
    return SeenMembers(channel_id, by, dict.fromkeys(users, "member"), complete)


def seen(*, users=(), channels=(), members=(), asked=("u:ada",), answered=None):
    return DirectorySeen(
        users=tuple(users),
        channels=tuple(channels),
        members=tuple(members),
        asked=frozenset(asked),
        answered=frozenset(asked if answered is None else answered),
    )


def known_after(*crawls):
    known = NOTHING
    for number, crawl in enumerate(crawls):
        known = after(known, changes(known, crawl, seen_at_ms=NOW_MS + number))
    return known


class TestUsers:
    def test_a_new_user_is_one_row_with_everything_that_any_method_said(self):
        info = user("users.getInfo", id="u:bob", firstName="Robert", email="bob@example.org", teamId=17, role="guest")
        contact = user("roster.listContacts", id="u:bob", firstName="Bob", lastName="Stone", profileImage="https://i/1")
        (row,) = changes(NOTHING, seen(users=[contact, info]), seen_at_ms=NOW_MS).users
        assert row | {"raw": "", "state_digest": ""} == {
            "user_id": "u:bob",
            "valid_from": NOW_MS,
            "first_name": "Robert",
            "last_name": "Stone",
            "email": "bob@example.org",
            "team_id": "17",
            "role": "guest",
            "timezone": None,
            "profile_image": "https://i/1",
            "captured_by": "u:ada",
            "raw": "",
            "state_digest": "",
        }
        assert len(row["state_digest"]) == 64

    def test_raw_holds_each_methods_answer_byte_for_byte(self):
        odd = read_user(b'{"id" : "u:bob", "new":{"x":1.0}}', method="users.getInfo", captured_by="u:ada")[0]
        (row,) = changes(NOTHING, seen(users=[odd, user(id="u:bob")]), seen_at_ms=NOW_MS).users
        assert '"users.getInfo":{"id" : "u:bob", "new":{"x":1.0}}' in row["raw"]
        assert set(json.loads(row["raw"])) == {"users.getInfo", "roster.listContacts"}

    def test_a_field_that_an_answer_does_not_carry_stays_as_known(self):
        known = known_after(seen(users=[user("users.getInfo", id="u:bob", firstName="Bob", email="bob@example.org")]))
        assert not changes(known, seen(users=[user(id="u:bob", firstName="Bob")]), seen_at_ms=NOW_MS)
        (row,) = changes(known, seen(users=[user(id="u:bob", firstName="Rob")]), seen_at_ms=NOW_MS).users
        assert (row["first_name"], row["email"]) == ("Rob", "bob@example.org")
        assert set(json.loads(row["raw"])) == {"users.getInfo", "roster.listContacts"}

    def test_null_says_nothing_but_an_empty_text_does(self):
        known = known_after(seen(users=[user(id="u:bob", firstName="Bob", lastName="Stone")]))
        (row,) = changes(known, seen(users=[user(id="u:bob", firstName=None, lastName="")]), seen_at_ms=NOW_MS).users
        assert (row["first_name"], row["last_name"]) == ("Bob", "")

    def test_the_expiring_part_of_a_picture_url_is_no_change(self):
        one = user(id="u:bob", profileImage="https://i.flock.co/1?Expires=1&Signature=a&Key-Pair-Id=k")
        two = user(id="u:bob", profileImage="https://i.flock.co/1?Expires=2&Signature=b&Key-Pair-Id=k")
        assert not changes(known_after(seen(users=[one])), seen(users=[two]), seen_at_ms=NOW_MS)

    def test_a_user_who_is_not_seen_any_more_gives_no_row(self):
        assert not changes(known_after(seen(users=[user(id="u:bob")])), seen(), seen_at_ms=NOW_MS)


class TestChannels:
    def test_a_new_channel_is_a_channel_row_and_a_conversation_row(self):
        one = channel(id="g:1", name="General", memberCount=3, purpose="all", extra=1)
        changed = changes(NOTHING, seen(channels=[one]), seen_at_ms=NOW_MS)
        (row,) = changed.channels
        assert (row["state"], row["name"], row["member_count"], row["purpose"]) == ("listed", "General", 3, "all")
        assert row["raw"] == '{"id": "g:1", "name": "General", "memberCount": 3, "purpose": "all", "extra": 1}'
        (conversation,) = changed.conversations
        assert (conversation["chat_id"], conversation["chat_kind"]) == ("g:1", "channel")
        assert (conversation["name"], conversation["participants"]) == ("General", None)

    def test_a_rename_is_a_new_channel_row_and_a_new_conversation_row(self):
        known = known_after(seen(channels=[channel(id="g:1", name="Old")]))
        changed = changes(known, seen(channels=[channel(id="g:1", name="New")]), seen_at_ms=NOW_MS)
        assert [row["name"] for row in (*changed.channels, *changed.conversations)] == ["New", "New"]

    def test_a_changed_member_count_is_no_new_conversation(self):
        known = known_after(seen(channels=[channel(id="g:1", name="A", memberCount=1)]))
        changed = changes(known, seen(channels=[channel(id="g:1", name="A", memberCount=2)]), seen_at_ms=NOW_MS)
        assert (len(changed.channels), len(changed.conversations)) == (1, 0)

    def test_a_channel_that_nobody_lists_any_more_is_unlisted_once(self):
        crawl = seen(channels=[channel(id="g:1", name="A")], members=[members("g:1", "u:ada")])
        known = known_after(crawl)
        (row,) = changes(known, seen(), seen_at_ms=NOW_MS).channels
        assert (row["state"], row["name"]) == ("unlisted", "A")
        assert not changes(known_after(crawl, seen()), seen(), seen_at_ms=NOW_MS)

    def test_a_channel_that_comes_back_is_listed_again(self):
        crawl = seen(channels=[channel(id="g:1", name="A")])
        (row,) = changes(known_after(crawl, seen()), crawl, seen_at_ms=NOW_MS).channels
        assert row["state"] == "listed"

    def test_it_is_not_unlisted_while_somebody_who_had_listed_it_did_not_answer(self):
        both = [channel(id="g:1", by="u:ada"), channel(id="g:1", by="u:bob")]
        everybody = ("u:ada", "u:bob")
        known = known_after(seen(channels=both, members=[members("g:1", *everybody)], asked=everybody))
        assert not changes(known, seen(asked=everybody, answered=["u:ada"]), seen_at_ms=NOW_MS)
        assert not changes(known, seen(asked=everybody, answered=["u:bob"]), seen_at_ms=NOW_MS)
        assert changes(known, seen(asked=everybody), seen_at_ms=NOW_MS).channels

    def test_a_lister_whose_token_is_gone_did_not_answer_either(self):
        infos = [user("users.getInfo", id="u:ada", by="u:ada"), user("users.getInfo", id="u:bob", by="u:bob")]
        listed = [channel(id="g:1", by="u:ada"), channel(id="g:1", by="u:bob")]
        everybody = ("u:ada", "u:bob")
        known = known_after(seen(users=infos, channels=listed, members=[members("g:1", *everybody)], asked=everybody))
        assert not changes(known, seen(asked=["u:ada"]), seen_at_ms=NOW_MS)

    def test_members_who_never_had_a_token_need_not_answer(self):
        known = known_after(seen(channels=[channel(id="g:1")], members=[members("g:1", "u:ada", "u:guest")]))
        assert changes(known, seen(), seen_at_ms=NOW_MS).channels

    def test_who_is_known_to_have_left_need_not_answer(self):
        everybody = ("u:ada", "u:bob")
        first = seen(channels=[channel(id="g:1", by="u:ada")], members=[members("g:1", *everybody)], asked=everybody)
        second = seen(
            channels=[channel(id="g:1", by="u:bob")], members=[members("g:1", "u:bob", by="u:bob")], asked=everybody
        )
        known = known_after(first, second)
        assert changes(known, seen(asked=everybody, answered=["u:bob"]), seen_at_ms=NOW_MS).channels

    def test_nothing_is_unlisted_when_nobody_was_asked(self):
        known = known_after(seen(channels=[channel(id="g:1")]))
        assert not changes(known, seen(asked=()), seen_at_ms=NOW_MS)


class TestGroups:
    def test_members_come_and_go(self):
        known = known_after(seen(members=[members("g:1", "u:ada", "u:bob")]))
        changed = changes(known, seen(members=[members("g:1", "u:ada", "u:cleo")]), seen_at_ms=NOW_MS)
        assert [(row["user_id"], row["state"]) for row in changed.groups] == [("u:bob", "left"), ("u:cleo", "member")]

    def test_who_left_and_is_still_gone_gives_no_second_row(self):
        crawl = seen(members=[members("g:1", "u:ada")])
        known = known_after(seen(members=[members("g:1", "u:ada", "u:bob")]), crawl)
        assert not changes(known, crawl, seen_at_ms=NOW_MS)

    def test_an_incomplete_list_lets_nobody_leave(self):
        known = known_after(seen(members=[members("g:1", "u:ada", "u:bob")]))
        assert not changes(known, seen(members=[members("g:1", "u:ada", complete=False)]), seen_at_ms=NOW_MS)

    def test_a_channel_whose_members_were_not_had_lets_nobody_leave(self):
        known = known_after(seen(members=[members("g:1", "u:ada"), members("g:2", "u:ada")]))
        assert not changes(known, seen(members=[members("g:2", "u:ada")]), seen_at_ms=NOW_MS)

    def test_an_affiliation_that_changes_is_a_row_and_one_that_is_not_said_is_not(self):
        known = known_after(seen(members=[SeenMembers("g:1", "u:ada", {"u:ada": "moderator"}, complete=True)]))
        silent = SeenMembers("g:1", "u:ada", {"u:ada": None}, complete=True)
        assert not changes(known, seen(members=[silent]), seen_at_ms=NOW_MS)
        (row,) = changes(known, seen(members=[members("g:1", "u:ada")]), seen_at_ms=NOW_MS).groups
        assert row["affiliation"] == "member"


def test_one_to_one_chats_get_their_row_in_the_same_form():
    row = conversation_row(
        chat_id="u:a,u:b",
        chat_kind="direct",
        name=None,
        participants=("u:a", "u:b"),
        captured_by="events",
        seen_at_ms=1,
    )
    assert row["participants"] == ["u:a", "u:b"]
    assert row["state_digest"] != conversation_row(**{**_arguments(row), "chat_id": "u:a,u:c"})["state_digest"]


def _arguments(row):
    return {key: row[key] for key in ("chat_id", "chat_kind", "name", "participants", "captured_by")} | {
        "seen_at_ms": 1
    }


class TestHostileElements:
    @pytest.mark.parametrize(
        "raw",
        [b"7", b"null", b"[]", b"{}", b'{"id":7}', b'{"id":""}', b'{"id":null}', b'{"id":"%s"}' % (b"x" * 9999), b"{"],
    )
    def test_an_element_without_a_usable_id_is_refused(self, raw):
        with pytest.raises(ValueError):
            read_user(raw, method="users.getInfo", captured_by="u:ada")
        with pytest.raises(ValueError):
            read_channel(raw, captured_by="u:ada")
        with pytest.raises(ValueError):
            read_member(raw.replace(b"id", b"userId"), captured_by="u:ada")

    def test_an_enormous_element_is_refused(self):
        with pytest.raises(ValueError, match="larger than"):
            user(id="u:bob", junk="x" * 2_000_000)

    def test_fields_of_a_wrong_type_count_as_not_carried_and_are_named(self):
        raw = b'{"id":"u:bob","firstName":7,"lastName":["x"],"email":"e","teamId":true,"role":"%s"}' % (b"r" * 70_000)
        found, wrong = read_user(raw, method="users.getInfo", captured_by="u:ada")
        assert found.state == {"email": "e"}
        assert [problem.split()[0] for problem in wrong] == ["firstName", "lastName", "teamId", "role"]

    @pytest.mark.parametrize("count", ["3", -1, 2**31, True, 1.5, [1]])
    def test_a_member_count_that_is_none_is_ignored(self, count):
        found, wrong = read_channel(json.dumps({"id": "g:1", "memberCount": count}).encode(), captured_by="u:ada")
        assert "member_count" not in found.state
        assert wrong

    @pytest.mark.parametrize("profile", [7, "x", [], {"id": "u:eve", "firstName": "Eve"}])
    def test_a_profile_that_is_not_the_members_is_left_out(self, profile):
        raw = json.dumps({"userId": "u:bob", "affiliation": "member", "publicProfile": profile}).encode()
        member, wrong = read_member(raw, captured_by="u:ada")
        assert (member.user_id, member.affiliation, member.person) == ("u:bob", "member", None)
        assert wrong

    def test_half_an_emoji_in_a_name_can_be_stored(self):
        odd = read_user(b'{"id":"u:bob","firstName":"B\\ud83d"}', method="users.getInfo", captured_by="u:ada")[0]
        (row,) = changes(NOTHING, seen(users=[odd]), seen_at_ms=NOW_MS).users
        assert row["first_name"] == "B\N{REPLACEMENT CHARACTER}"
        assert "B\\ud83d" in row["raw"]
        again = known_after(seen(users=[odd]), seen(users=[replace(odd, state={"first_name": "B"})]))
        assert again.users["u:bob"]["first_name"] == "B"


ids = st.sampled_from(["u:ada", "u:bob", "u:cleo", "u:дан"])
channel_ids = st.sampled_from(["g:1", "g:2", "g:3"])
texts = st.none() | st.text(max_size=5)
people = st.builds(
    user,
    method=st.sampled_from(USER_METHODS),
    by=ids,
    id=ids,
    firstName=texts,
    lastName=texts,
    teamId=st.none() | st.integers(),
)
seen_channels = st.builds(channel, by=ids, id=channel_ids, name=texts, memberCount=st.none() | st.integers(0, 9))
affiliations = st.sampled_from([None, "member", "moderator"])
seen_members = st.builds(SeenMembers, channel_ids, ids, st.dictionaries(ids, affiliations, max_size=4), st.booleans())
crawls = st.builds(
    seen,
    users=st.lists(people, max_size=6),
    channels=st.lists(seen_channels, max_size=5),
    members=st.lists(seen_members, max_size=4),
    asked=st.sets(ids),
    answered=st.sets(ids),
)


class TestProperties:
    @given(st.lists(crawls, min_size=1, max_size=4))
    def test_the_same_answers_again_give_no_rows(self, nights):
        known = known_after(*nights)
        assert not changes(known, nights[-1], seen_at_ms=NOW_MS + 99)

    @given(crawls, crawls, st.randoms(use_true_random=False))
    def test_the_order_of_what_was_seen_does_not_matter(self, before, now, random):
        def shuffled(items):
            return tuple(random.sample(items, len(items)))

        other = replace(now, users=shuffled(now.users), channels=shuffled(now.channels), members=shuffled(now.members))
        known = known_after(before)
        assert changes(known, other, seen_at_ms=NOW_MS) == changes(known, now, seen_at_ms=NOW_MS)

    @given(crawls, crawls)
    def test_every_row_has_exactly_its_tables_columns_and_fits_them(self, before, now):
        known = known_after(before)
        changed = changes(known, now, seen_at_ms=NOW_MS)
        for name in ("users", "channels", "groups", "conversations"):
            schema = TABLES[name].schema
            for row in getattr(changed, name):
                assert set(row) == set(schema.names)
                assert all(row[field.name] is not None for field in schema if not field.nullable)
                pa.table([pa.array([row[field.name]], type=field.type) for field in schema], schema=schema)

    @given(st.lists(crawls, max_size=4))
    def test_a_key_has_at_most_one_row_a_night(self, nights):
        known = NOTHING
        for crawl in nights:
            changed = changes(known, crawl, seen_at_ms=NOW_MS)
            keys = [("u", row["user_id"]) for row in changed.users]
            keys += [("c", row["channel_id"]) for row in changed.channels]
            keys += [("g", row["channel_id"], row["user_id"]) for row in changed.groups]
            assert len(keys) == len(set(keys))
            known = after(known, changed)
