"""Who was in which channel when, and whom and what the words of a hold mean, as far as the directory was seen."""

from __future__ import annotations

import pytest

from archiver.archive.schema import TABLES
from archiver.archive.tables import rows_to_table
from archiver.expression import Known
from archiver.scope.membership import ALWAYS_MS, FOREVER_MS, merged, read_membership
from archiver.store.memory import MemoryStore
from tests import small_archive
from tests.retention.hold_steps import knowing, member


class TestStays:
    def test_whom_the_first_look_at_a_channel_found_was_there_from_the_beginning(self) -> None:
        known = knowing([member("g:a", "u:ann", 100), member("g:a", "u:bob", 100)])
        assert known.stays({"u:ann"}) == {"g:a": ((ALWAYS_MS, FOREVER_MS),)}

    def test_who_came_later_may_have_come_right_after_the_look_before(self) -> None:
        known = knowing([member("g:a", "u:bob", 100), member("g:a", "u:cid", 150), member("g:a", "u:ann", 200)])
        assert known.stays({"u:ann"}) == {"g:a": ((150, FOREVER_MS),)}

    def test_a_look_at_another_channel_proves_nothing(self) -> None:
        known = knowing([member("g:b", "u:bob", 100), member("g:a", "u:ann", 200)])
        assert known.stays({"u:ann"}) == {"g:a": ((ALWAYS_MS, FOREVER_MS),)}

    def test_a_list_that_was_not_read_whole_proves_nobody_s_absence(self) -> None:
        rows = [member("g:a", "u:bob", 100), member("g:a", "u:ann", 200)]
        assert knowing(rows, unproven=frozenset({"g:a"})).stays({"u:ann"}) == {"g:a": ((ALWAYS_MS, FOREVER_MS),)}

    def test_who_went_was_there_until_the_look_that_missed_him(self) -> None:
        known = knowing([member("g:a", "u:ann", 100), member("g:a", "u:ann", 300, "left")])
        assert known.stays({"u:ann"}) == {"g:a": ((ALWAYS_MS, 300),)}

    def test_who_is_first_heard_of_as_having_left_was_there_until_then(self) -> None:
        assert knowing([member("g:a", "u:ann", 300, "left")]).stays({"u:ann"}) == {"g:a": ((ALWAYS_MS, 300),)}

    def test_who_came_back_was_away_between(self) -> None:
        known = knowing(
            [
                member("g:a", "u:ann", 100),
                member("g:a", "u:ann", 300, "left"),
                member("g:a", "u:bob", 500),
                member("g:a", "u:ann", 700),
            ]
        )
        assert known.stays({"u:ann"}) == {"g:a": ((ALWAYS_MS, 300), (500, FOREVER_MS))}

    def test_another_role_in_a_channel_is_no_other_stay(self) -> None:
        known = knowing([member("g:a", "u:ann", 100), member("g:a", "u:ann", 200), member("g:a", "u:ann", 300, "left")])
        assert known.stays({"u:ann"}) == {"g:a": ((ALWAYS_MS, 300),)}

    def test_of_two_answers_from_one_instant_being_there_counts(self) -> None:
        for states in (("left", "member"), ("member", "left")):
            rows = [member("g:a", "u:ann", 100), *(member("g:a", "u:ann", 200, state) for state in states)]
            assert knowing(rows).stays({"u:ann"}) == {"g:a": ((ALWAYS_MS, FOREVER_MS),)}

    def test_several_users_together_were_there_while_any_was(self) -> None:
        known = knowing(
            [
                member("g:a", "u:ann", 100),
                member("g:a", "u:ann", 300, "left"),
                member("g:a", "u:bob", 250),
                member("g:a", "u:bob", 900, "left"),
            ]
        )
        assert known.stays({"u:ann", "u:bob"}) == {"g:a": ((ALWAYS_MS, 900),)}

    def test_whom_no_list_ever_showed_was_nowhere(self) -> None:
        known = knowing([member("g:a", "u:bob", 100)])
        assert known.stays({"u:ann"}) == known.stays(frozenset()) == {}


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([], ()),
        ([(5, 9), (1, 3)], ((1, 3), (5, 9))),
        ([(1, 5), (5, 9)], ((1, 9),)),
        ([(1, 9), (2, 3)], ((1, 9),)),
        ([(4, 4)], ()),
    ],
)
def test_spans_that_overlap_or_touch_are_one(
    spans: list[tuple[int, int]], expected: tuple[tuple[int, int], ...]
) -> None:
    assert merged(spans) == expected


class TestWords:
    def test_a_person_is_an_id_or_an_address_that_they_ever_had(self) -> None:
        known = knowing(users=frozenset({"u:ann", "u:old"}), addresses={"ann@acme.com": frozenset({"u:ann", "u:old"})})
        assert known.people("u:ann") == {"u:ann"}
        assert known.people(" Ann@Acme.com ") == {"u:ann", "u:old"}
        assert known.people("bob@acme.com") == frozenset()

    def test_a_chat_is_an_id_a_name_or_a_pattern(self) -> None:
        known = knowing(
            chats=frozenset({"g:1", "g:2", "g:3"}),
            names={"deal-north": frozenset({"g:1"}), "deal-south": frozenset({"g:2"}), "[x]": frozenset({"g:3"})},
        )
        assert known.chats_called("g:1") == {"g:1"}
        assert known.chats_called("#Deal-North") == {"g:1"}
        assert known.chats_called("deal-*") == known.chats_called("#Deal-*") == {"g:1", "g:2"}
        assert known.chats_called("g:?") == {"g:1", "g:2", "g:3"}
        assert known.chats_called("[x]*") == {"g:3"}
        assert known.chats_called("deal") == frozenset()

    def test_a_name_may_look_like_something_else(self) -> None:
        """Like a name that is said with its sign, and like the two of a one-to-one chat."""
        known = knowing(names={"#1 fans": frozenset({"g:1"}), "u:ann,u:bob": frozenset({"g:2"})})
        assert known.chats_called("#1 Fans") == {"g:1"}
        assert known.chats_called("u:ann,u:bob") == {"g:2", "u:ann,u:bob"}

    def test_a_name_that_two_chats_had_means_both(self) -> None:
        known = knowing(names={"sales": frozenset({"g:1", "g:2"})})
        assert known.chats_called("sales") == {"g:1", "g:2"}

    def test_a_one_to_one_chat_is_the_two_in_any_order_as_ids_or_addresses(self) -> None:
        known = knowing(users=frozenset({"u:ann"}), addresses={"ann@acme.com": frozenset({"u:ann"})})
        for said in ("u:ann,u:bob", "u:bob,u:ann", "u:bob, ann@acme.com"):
            assert known.chats_called(said) == {"u:ann,u:bob"}
        assert known.chats_called("ann@acme.com,nobody@acme.com") == frozenset()


def test_what_an_archive_s_directory_ever_said_is_read() -> None:
    """A former address, a former name, a list that was cut: each is one row among many, in whatever commit it came."""
    archive = small_archive.found(MemoryStore())
    told = {"captured_by": "u:admin", "state_digest": "00"}
    head = archive.founding_head()
    for number, (address, name) in enumerate([("ann@old.example", "deal"), ("ann@acme.com", "deal-closed")]):
        at_ms = small_archive.at_ms(20 + number)
        head = small_archive.add(
            archive,
            head,
            {
                "users": [{"user_id": "u:ann", "valid_from": at_ms, "email": address, "raw": "{}", **told}],
                "channels": [{"channel_id": "g:1", "valid_from": at_ms, "state": "listed", "name": name, "raw": "{}", **told}],
                "conversations": [
                    {"chat_id": "u:ann,u:bob", "valid_from": at_ms, "chat_kind": "direct", "participants": ["u:ann", "u:bob"], **told}
                ],
                "groups": [member("g:1", "u:ann", at_ms)],
                "gaps": [
                    {
                        "gap_id": "00",
                        "valid_from": at_ms,
                        "state": "closed",
                        "kind": "directory",
                        "subject": "channels.listMembers g:1: Flock counts 200 members and listed: 100",
                        "count": 1,
                        "evidence": "counted",
                        "state_digest": "00",
                    }
                ],
            },
            attempt=f"{number:08d}",
        )  # fmt: skip
    known = read_membership(archive.store, head)
    assert known.people("ANN@old.example") == known.people("ann@acme.com") == {"u:ann"}
    assert known.chats_called("deal") == known.chats_called("deal-closed") == {"g:1"}
    assert known.users == {"u:ann", "u:bob"}
    assert known.talks["u:bob"] == {"u:ann,u:bob"}
    assert known.unproven == {"g:1"}
    assert known.groups.num_rows == 2
    assert known.stays({"u:ann"}) == {"g:1": ((ALWAYS_MS, FOREVER_MS),)}


def test_whom_and_what_a_single_table_tells_of_is_known() -> None:
    """No list is complete: of some people only a profile was seen, of others only that they are in a channel or in a chat."""
    archive = small_archive.found(MemoryStore())
    at_ms = small_archive.at_ms(20)
    told = {"captured_by": "u:admin", "state_digest": "00", "valid_from": at_ms}
    head = small_archive.add(
        archive,
        archive.founding_head(),
        {
            "users": [{"user_id": "u:profile", "email": "p@acme.com", "raw": "{}", **told}],
            "channels": [{"channel_id": "g:listed", "state": "listed", "name": "listed", "raw": "{}", **told}],
            "conversations": [
                {"chat_id": "u:one,u:two", "chat_kind": "direct", "participants": ["u:one", "u:two"], **told}
            ],
            "groups": [member("g:members", "u:member", at_ms)],
        },
        attempt="00000001",
    )
    known = read_membership(archive.store, head)
    assert known.users == {"u:profile", "u:member", "u:one", "u:two"}
    assert known.chats == {"g:listed", "g:members", "u:one,u:two"}
    assert known.directory.people_like("p@acme.com") == {"u:profile"}
    assert known.directory.chats_like("listed") == {"g:listed"}


def test_people_are_found_by_every_name_and_address_that_they_ever_had() -> None:
    """Of most people Flock tells no address, and of some no name."""
    archive = small_archive.found(MemoryStore())
    told = {"captured_by": "u:admin", "state_digest": "00", "raw": "{}"}
    users = [
        {"user_id": "u:ann", "first_name": "Ann", "last_name": "Old", "email": "ann@acme.com", "valid_from": 1, **told},
        {"user_id": "u:ann", "first_name": "Ann", "last_name": "New", "email": "ann@acme.com", "valid_from": 2, **told},
        {"user_id": "u:bob", "first_name": "Bob", "valid_from": 1, **told},
        {"user_id": "u:cat", "email": "cat@acme.com", "valid_from": 1, **told},
        {"user_id": "u:dot", "valid_from": 1, **told},
    ]
    head = small_archive.add(archive, archive.founding_head(), {"users": users}, attempt="00000001")
    directory = read_membership(archive.store, head).directory
    found = {
        pattern: directory.people_like(pattern)
        for pattern in ("ann old", "ann new", "Ann*", "bob", "Bob", "cat@*", "ann@acme.com", "*")
    }
    ann, bob, cat = {"u:ann"}, {"u:bob"}, {"u:cat"}
    everybody = {"u:ann", "u:bob", "u:cat", "u:dot"}
    assert found == {
        "ann old": ann, "ann new": ann, "Ann*": ann, "bob": bob, "Bob": bob, "cat@*": cat, "ann@acme.com": ann, "*": everybody,
    }  # fmt: skip
    assert directory.people == {
        "u:ann": Known(names=("Ann New", "Ann Old"), emails=("ann@acme.com",)),
        "u:bob": Known(names=("Bob",)),
        "u:cat": Known(emails=("cat@acme.com",)),
        "u:dot": Known(),
    }


def test_an_archive_without_a_directory_knows_nobody() -> None:
    archive = small_archive.found(MemoryStore())
    known = read_membership(archive.store, archive.founding_head())
    assert (known.users, known.chats, known.groups.num_rows) == (frozenset(), frozenset(), 0)
    assert known.groups.schema.names == [
        name for name in TABLES["groups"].schema.names if name in known.groups.schema.names
    ]
    assert rows_to_table(TABLES["groups"], []).num_rows == known.groups.num_rows
