"""An erasure lists what one person sent and their entry in the directory, leaves what is held or still retained, and counts what names them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from archiver.archive.reader import Archive, Head, files_of
from archiver.clock import from_text
from archiver.errors import UsageError
from archiver.retention.erase import ErasurePlan, Remains, find_subject, plan_erasure
from archiver.retention.judging import ERASED_ON_REQUEST, ERASURE
from archiver.retention.plan import Subject
from archiver.retention.plan_document import DueLater, PlanLimits, SavedByHold
from archiver.retention.policy import Policy
from tests.archive.archive_steps import InlineExecutor
from tests.retention.lived import Row, at_ms, attached, held, lived, sent
from tests.retention.policies import policy

FIRST, SECOND, THIRD = date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 3)
AS_OF = date(2026, 6, 1)
KEEPS = policy({"name": "all", "delete": "30y"}, zone="Europe/Berlin", limits={"rows_max": 9})
ANN = Subject("ann@example.com", frozenset({"u:ann", "u:ann2"}), "request 17")


def user(user_id: str, email: str | None, valid_from: int) -> Row:
    return {
        "user_id": user_id,
        "valid_from": valid_from,
        "state": "listed",
        "email": email,
        "first_name": user_id,
        "captured_by": "u:admin",
        "raw": "{}",
        "state_digest": f"{user_id} {valid_from}",
    }


@pytest.fixture(scope="module")
def built() -> tuple[Archive, Head]:
    """Ann has two ids, was renamed once, wrote in a channel, in a chat and by a bot; others wrote to her and of her."""
    return lived(
        [
            {
                "users": [user("u:ann", "Ann@Example.com", at_ms(FIRST)), user("u:bob", None, at_ms(FIRST))],
                "messages": [
                    sent("m-1", FIRST),
                    sent("m-2", FIRST, chat_id="u:ann,u:bob", chat_kind="direct"),
                    sent("m-3", FIRST, chat_id="u:ann,u:bob", chat_kind="direct", sender_id="u:bob"),
                    sent("m-4", FIRST, sender_id="u:bot", on_behalf_of="u:ann"),
                    sent("m-5", FIRST, sender_id="u:bob", mentions=["u:zoe", "u:ann", "u:ann"]),
                    sent("m-6", FIRST, sender_id="u:bob", mentions=["u:zoe"]),
                    sent("m-7", FIRST, sender_id="u:silent"),
                    sent("m-10", FIRST, sender_id="import:mail:eve@example.com"),
                ],
                "files": [
                    attached("m-1", FIRST, 0, status="stored", blob_digest="ab" * 32, blob_bytes=7),
                    attached("m-5", FIRST, 0, status="stored", blob_digest="cd" * 32, blob_bytes=9),
                ],
                "groups": [
                    {"channel_id": "g:general", "user_id": user_id, "valid_from": at_ms(FIRST), "state": "member",
                     "captured_by": "u:admin", "state_digest": user_id}
                    for user_id in ("u:ann", "u:ann2", "u:bob")
                ],
                "conversations": [
                    {"chat_id": chat_id, "valid_from": at_ms(FIRST), "state": "listed", "chat_kind": "direct", "captured_by": "u:admin",
                     "raw": "{}", "state_digest": chat_id}
                    for chat_id in ("u:ann,u:bob", "u:bob,u:zoe")
                ],
            },
            {
                "users": [
                    user("u:ann", "ann@example.org", at_ms(SECOND)),
                    user("u:ann2", "ANN@example.com", at_ms(SECOND)),
                    user("u:zoe", None, at_ms(SECOND)),
                ],
                "messages": [
                    sent("m-1", FIRST, version=2, mentions=["u:ann"]),
                    sent("m-8", SECOND, sender_id="u:ann2"),
                    sent("m-9", SECOND, chat_id="u:ann2,u:bob", chat_kind="direct", sender_id="u:bob", mentions=["u:ann2"]),
                ],
            },
        ]
    )  # fmt: skip


class TestWhoIsMeant:
    @pytest.mark.parametrize(
        ("named", "user_ids"),
        [
            ("ANN@example.COM", {"u:ann", "u:ann2"}),
            ("ann@example.org", {"u:ann"}),
            ("  u:bob ", {"u:bob"}),
            ("u:ann2", {"u:ann2"}),
            ("u:silent", {"u:silent"}),
            ("u:bot", {"u:bot"}),
            ("import:mail:eve@example.com", {"import:mail:eve@example.com"}),
        ],
    )
    def test_whoever_ever_had_the_address_or_has_the_id_or_sent_by_it(
        self, named: str, user_ids: set[str], built: tuple[Archive, Head]
    ) -> None:
        found = find_subject(*built, named, reason=" request 17 ")
        assert found == Subject(named.strip(), frozenset(user_ids), "request 17")

    @pytest.mark.parametrize("named", ["u:nobody", "U:ANN", "nobody@example.com", "example.com"])
    def test_nobody_is_a_wrong_question(self, named: str, built: tuple[Archive, Head]) -> None:
        with pytest.raises(UsageError) as caught:
            find_subject(*built, named, reason="request 17")
        assert (caught.value.what, caught.value.next_step) == (
            f"the archive knows nobody called {named!r}",
            "name the user by id: Flock tells addresses only of users who installed the app; "
            '`archiver query "SELECT user_id, first_name, last_name, email FROM users"` lists who is known',
        )

    @pytest.mark.parametrize(
        ("named", "reason", "said"),
        [
            ("", "why", "--subject must be 1 to 320 printable characters"),
            ("   ", "why", "--subject must be 1 to 320 printable characters"),
            ("u" * 321, "why", "--subject must be 1 to 320 printable characters"),
            ("u:\x1bann", "why", "--subject must be 1 to 320 printable characters"),
            ("u:ann", "", "--reason must be 1 to 2000 printable characters"),
            ("u:ann", "r" * 2_001, "--reason must be 1 to 2000 printable characters"),
            ("u:ann", "two\nlines", "--reason must be 1 to 2000 printable characters"),
        ],
    )
    def test_what_can_be_no_name_and_no_reason_is_refused(
        self, named: str, reason: str, said: str, built: tuple[Archive, Head]
    ) -> None:
        with pytest.raises(UsageError) as caught:
            find_subject(*built, named, reason=reason)
        assert (caught.value.what, caught.value.next_step) == (
            said,
            "say whom it is for and why; both stand in the plan and in the certificate",
        )

    def test_the_longest_are_taken(self, built: tuple[Archive, Head]) -> None:
        assert find_subject(*built, "u:ann", reason="r" * 2_000).reason == "r" * 2_000
        with pytest.raises(UsageError, match="the archive knows nobody"):
            find_subject(*built, "u" * 320, reason="why")


def erasure(archive: Archive, head: Head, rules: Policy = KEEPS, subject: Subject = ANN, **further: Any) -> ErasurePlan:
    return plan_erasure(archive, head, rules, subject, as_of=AS_OF, executor=InlineExecutor(), **further)


def shown(found: ErasurePlan) -> list[tuple[Any, ...]]:
    names = ("kind", "day", "chat_id", "message_uid", "ordinal", "user_id", "sent_at", "rule", "principle", "rows")
    return list(zip(*(found.plan.items.column(name).to_pylist() for name in names), strict=True))


def instant(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


class TestThePlan:
    def test_lists_what_they_sent_its_files_and_their_entry(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        told: list[tuple[int, int]] = []
        found = erasure(archive, head, progress=lambda *step: told.append(step))
        why = (ERASURE, ERASED_ON_REQUEST)
        assert shown(found) == [
            ("file", FIRST, "g:general", "m-1", 0, None, instant(FIRST), *why, 1),
            ("message", FIRST, "g:general", "m-1", None, None, instant(FIRST), *why, 2),
            ("message", FIRST, "g:general", "m-4", None, None, instant(FIRST), *why, 1),
            ("message", FIRST, "u:ann,u:bob", "m-2", None, None, instant(FIRST), *why, 1),
            ("message", SECOND, "g:general", "m-8", None, None, instant(SECOND), *why, 1),
            ("user", SECOND, None, None, None, "u:ann", instant(SECOND), *why, 2),
            ("user", SECOND, None, None, None, "u:ann2", instant(SECOND), *why, 1),
        ]
        due = from_text("2026-05-31T22:00:00.000Z")
        assert {int(at.timestamp() * 1000) for at in found.plan.items.column("due_at").to_pylist()} == {due}
        assert told == [(1, 1)]
        weights = dict(
            zip(
                found.plan.items.column("user_id").to_pylist(),
                found.plan.items.column("bytes").to_pylist(),
                strict=True,
            )
        )
        first, second = (
            record.bytes // record.rows
            for record in sorted(
                (record for record in head.files.values() if record.table == "users"), key=lambda record: record.key
            )
        )
        assert (weights["u:ann"], weights["u:ann2"]) == (first + second, second)
        assert (found.subject, found.directory_held_by) == (ANN, ())

    def test_says_for_whom_it_is_and_why_and_of_how_many_rows(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        header = erasure(archive, head).plan.header
        assert (header.kind, header.subject, header.reason) == ("erase", "ann@example.com", "request 17")
        assert (header.policy, header.policy_digest, header.zone) == ("test", KEEPS.digest, "Europe/Berlin")
        assert (header.as_of, header.limits) == ("2026-05-31T22:00:00.000Z", PlanLimits(rows_max=9))
        assert (header.counts, header.rows) == ({"file": 1, "message": 4, "user": 2}, 9)
        assert header.totals == {"messages": 11, "files": 2, "users": 5}
        assert (header.blobs, header.blob_bytes) == (1, 7)

    def test_counts_what_names_them_and_stays(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        assert erasure(archive, head).remains == Remains(mentions=2, direct=2, memberships=2, conversations=1)
        bob = Subject("u:bob", frozenset({"u:bob"}), "why")
        assert erasure(archive, head, subject=bob).remains == Remains(
            mentions=0, direct=1, memberships=1, conversations=2
        )
        nobody = Subject("u:eve", frozenset({"u:eve"}), "why")
        none = erasure(archive, head, subject=nobody)
        assert (shown(none), none.remains) == ([], Remains(mentions=0, direct=0, memberships=0, conversations=0))

    def test_leaves_what_is_held_and_the_entry_of_a_custodian(self, built: tuple[Archive, Head]) -> None:
        archive, head = lived_again()
        head = held(archive, head, "general", chats=("g:general",))
        head = held(archive, head, "theirs", custodians=("u:ann",), chats=("g:nowhere",))
        head = held(archive, head, "others", custodians=("u:bob",), chats=("g:nowhere",))
        found = erasure(archive, head)
        assert [(kind, uid) for kind, _, _, uid, *_ in shown(found)] == [("message", "m-2")]
        assert found.directory_held_by == ("theirs",)
        header = found.plan.header
        assert [(one.hold, one.items) for one in header.saved] == [("general", 1)]
        assert isinstance(header.saved[0], SavedByHold)
        assert header.held == 1

    def test_leaves_what_a_period_retains_and_says_until_when(self) -> None:
        archive, head = lived_again()
        rules = policy({"name": "keep", "retain": "1y", "match": {"channel": "g:general"}}, zone="Europe/Berlin")
        found = erasure(archive, head, rules)
        assert [(kind, uid) for kind, _, _, uid, *_ in shown(found)] == [("message", "m-2"), ("user", None)]
        (record,) = files_of(head, "users")
        assert found.plan.items.column("bytes")[-1].as_py() == record.bytes
        (later,) = found.plan.header.later
        assert (later.month, later.rule, later.kind, later.items) == ("2027-03", "keep", "message", 1)
        assert isinstance(later, DueLater)


def lived_again() -> tuple[Archive, Head]:
    return lived(
        [
            {
                "users": [user("u:ann", "ann@example.com", at_ms(FIRST))],
                "messages": [
                    sent("m-1", FIRST),
                    sent("m-2", FIRST, chat_id="g:random"),
                    sent("m-3", FIRST, sender_id="u:bob"),
                ],
            }
        ]
    )
