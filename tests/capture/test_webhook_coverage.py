"""What is known of webhooks: what they deliver, whose they are, and which channels still need one."""

from __future__ import annotations

import pytest

from archiver.capture.feeds import Delivery, Span, after, cursors_of, last_push_by_chat, read_feeds
from archiver.capture.webhook_coverage import (
    Webhook,
    Workspace,
    channels_without_delivery,
    channels_without_webhook,
    plan_missing,
    webhooks_by_owner,
    webhooks_of,
)
from archiver.capture.webhook_plan import WORKING_TOKEN, webhook_name
from archiver.clock import DAY_MS

ANN, BOB, CID = "u:ann", "u:bob", "u:cid"
TODAY_MS = 100 * DAY_MS
SALES, LUNCH = webhook_name("g:1", "sales", owner=ANN), webhook_name("g:2", "lunch", owner=BOB)


def workspace(feeds=None, *, members=None, guests=()) -> Workspace:
    members = members or {"g:1": {ANN, BOB}, "g:2": {BOB, CID}}
    return Workspace(
        channels=dict.fromkeys(members),
        members=members,
        people=dict.fromkeys((ANN, BOB, CID)),
        guests=guests,
        feeds=feeds or {},
    )


def known(feeds=None, *, configured=(SALES, LUNCH), owners=None, **further) -> dict[str, Webhook]:
    found = webhooks_of(workspace(feeds, **further), configured=configured, owners=owners or {}, silent_days_max=14)
    return {webhook.name: webhook for webhook in found}


class TestWhatIsKnownOfAWebhook:
    def test_one_that_delivered_of_its_channel_does(self) -> None:
        webhook = known({"sales": {"g:1": Span(5, TODAY_MS)}}, configured=["sales"])["sales"]
        assert (webhook.state, webhook.channel_id) == ("delivers", "g:1")
        assert (webhook.first_push_at_ms, webhook.last_push_at_ms, webhook.chats) == (5, TODAY_MS, 1)

    def test_one_that_delivered_nothing_is_known_by_its_name_alone(self) -> None:
        found = known(configured=[SALES, "other"])
        assert (found[SALES].state, found[SALES].channel_id) == ("nothing yet", "g:1")
        assert (found["other"].state, found["other"].channel_id) == ("nothing yet", None)

    def test_one_is_silent_if_others_delivered_so_much_later(self) -> None:
        feeds = {SALES: {"g:1": Span(0, TODAY_MS - 15 * DAY_MS)}, LUNCH: {"g:2": Span(0, TODAY_MS)}}
        assert {name: webhook.state for name, webhook in known(feeds).items()} == {SALES: "silent", LUNCH: "delivers"}
        feeds[LUNCH] = {"g:2": Span(0, TODAY_MS - 2 * DAY_MS)}
        assert known(feeds)[SALES].state == "delivers"

    def test_one_whose_pushes_cannot_be_read_is_no_feed(self) -> None:
        assert known({SALES: {"": Span(0, TODAY_MS)}})[SALES].state == "unreadable"
        assert known({SALES: {"": Span(0, TODAY_MS), "g:1": Span(0, 1)}})[SALES].state == "delivers"

    def test_one_whose_token_is_gone_delivers_no_more(self) -> None:
        webhook = known({"sales": {"g:1": Span(0, TODAY_MS)}}, configured=[])["sales"]
        assert (webhook.state, webhook.is_configured) == ("no token", False)

    def test_one_of_a_channel_that_nobody_lists_is_told(self) -> None:
        assert known({"sales": {"g:9": Span(0, TODAY_MS)}}, configured=["sales"])["sales"].state == "channel gone"

    def test_one_that_was_pointed_elsewhere_is_of_what_it_delivered_last(self) -> None:
        webhook = known({SALES: {"g:1": Span(0, 1), "g:2": Span(2, TODAY_MS)}})[SALES]
        assert (webhook.channel_id, webhook.chats) == ("g:2", 2)

    def test_its_owner_is_told_by_its_name_unless_somebody_knows_better(self) -> None:
        assert known()[SALES].owner_id == ANN
        assert known(owners={SALES: CID})[SALES].owner_id == CID

    def test_an_owner_who_has_left_the_channel_is_told(self) -> None:
        assert not known()[SALES].has_owner_left
        assert known(members={"g:1": {BOB}, "g:2": {BOB}})[SALES].has_owner_left


class TestWhatIsMissing:
    def test_a_channel_needs_a_webhook_until_one_is_configured_and_a_feed_until_it_delivers(self) -> None:
        there = workspace({LUNCH: {"g:2": Span(0, TODAY_MS)}})
        webhooks = webhooks_of(there, configured=[SALES, LUNCH], owners={}, silent_days_max=14)
        assert channels_without_webhook(there, webhooks) == []
        assert channels_without_delivery(there, webhooks) == ["g:1"]
        webhooks = webhooks_of(there, configured=[], owners={}, silent_days_max=14)
        assert channels_without_webhook(there, webhooks) == ["g:1", "g:2"]

    def test_what_a_user_has_counts_against_the_limit(self) -> None:
        names = [webhook_name(f"g:1{number}", None, owner=ANN) for number in range(7)]
        there = workspace(members={f"g:{number}": {ANN} for number in range(5)})
        webhooks = webhooks_of(there, configured=[*names, "somebody's"], owners={}, silent_days_max=14)
        assert webhooks_by_owner(webhooks) == {ANN: 7}
        assert len(plan_missing(there, webhooks, ranks={}, others={}).owners) == 3
        assert len(plan_missing(there, webhooks, ranks={}, others={ANN: 2}).owners) == 1

    def test_a_webhook_without_a_token_here_counts_against_nobody(self) -> None:
        found = webhooks_of(workspace({SALES: {"g:1": Span(0, 1)}}), configured=[], owners={}, silent_days_max=14)
        assert webhooks_by_owner(found) == {}

    @pytest.mark.parametrize(("guests", "owner"), [((), ANN), ((ANN,), BOB)])
    def test_guests_come_last(self, guests, owner) -> None:
        there = workspace(members={"g:1": {ANN, BOB}}, guests=guests)
        assert plan_missing(there, [], ranks={ANN: WORKING_TOKEN}, others={}).owners == {"g:1": owner}


class TestFeeds:
    def test_are_remembered_by_their_first_and_newest_push_whatever_comes_first(self) -> None:
        one, other = Delivery("sales", "g:1", 10, 20), Delivery("sales", "g:1", 5, 7)
        for deliveries in ([one, other], [other, one]):
            grown = after(after({}, deliveries[:1]), deliveries[1:])
            assert grown == {"sales": {"g:1": Span(5, 20)}}
        assert last_push_by_chat(grown) == {"g:1": 20}

    def test_are_read_from_the_cursors_that_they_were_written_to(self) -> None:
        feeds = {"sales": {"g:1": Span(5, 20), "": Span(1, 2)}}
        cursors = cursors_of(feeds, known={})
        assert read_feeds(cursors) == feeds
        assert cursors_of(feeds, known=feeds) == {}
        assert read_feeds({"feeds/other": "no JSON", "sweep": "{}"}) == {}
