"""Crawl, fetch and downloads against a faithful Flock: what they bring home is what is true there."""

from __future__ import annotations

import msgspec
import pytest

from archiver.capture.directory import crawl
from archiver.capture.directory_changes import DirectoryKnown, after, changes
from archiver.capture.fetch import WantedMessages, fetch
from archiver.capture.files import Downloader, FileOptions, WantedFile
from archiver.capture.token_pool import TokenPool
from archiver.clock import SystemClock
from archiver.flock.client import FlockClient, FlockOptions
from archiver.flock.tokens import Secret, UserToken
from archiver.ids import parties_of
from archiver.simulator.server import Simulator
from tests.manual_clock import ManualClock

NOW_MS = 1_700_000_000_000


@pytest.fixture
def flock():
    with Simulator(seed=11, people=10, channels=4, messages=200) as running:
        running.play_all(push=False)
        yield running
        assert running.violations() == []


@pytest.fixture
def client(flock):
    options = FlockOptions(base_url=flock.base_url, requests_per_second=10_000, tries_max=4)
    with FlockClient(options, clock=ManualClock()) as made:
        yield made


def pool(flock, *, without=()):
    return TokenPool(
        [UserToken(user, Secret(token)) for user, token in flock.user_tokens.items() if user not in without]
    )


def known_after(flock, client, known=None, *, night=0):
    known = known or DirectoryKnown()
    found = changes(known, crawl(client, pool(flock), threads=4), seen_at_ms=NOW_MS + night)
    return after(known, found), found


def memberships(flock):
    return {(row["channel_id"], row["user_id"]) for row in flock.truth("membership") if row["until_ms"] is None}


class TestDirectory:
    def test_it_is_what_is_true_in_the_workspace(self, flock, client):
        known, _ = known_after(flock, client)
        truth = {row["user_id"]: row for row in flock.truth("user")}
        installed = set(flock.user_tokens)
        assert set(known.users) == set(truth)
        for user_id, row in known.users.items():
            assert (row["first_name"], row["last_name"]) == (truth[user_id]["first_name"], truth[user_id]["last_name"])
            assert (row["email"] == truth[user_id]["email"]) if user_id in installed else row["email"] is None
        channels = {row["channel_id"]: row["name"] for row in flock.truth("channel")}
        seen = {channel: name for channel, name in channels.items() if any(c == channel for c, _ in memberships(flock))}
        assert {channel: row["name"] for channel, row in known.channels.items()} == seen
        assert set(known.groups) == memberships(flock)

    def test_a_second_night_without_news_has_no_rows(self, flock, client):
        known, _ = known_after(flock, client)
        assert not known_after(flock, client, known, night=1)[1]

    def test_a_second_night_has_exactly_the_news(self, flock, client):
        known, _ = known_after(flock, client)
        channel_id = max(flock.channels, key=lambda key: len(flock.channels[key].members))
        gone, changed = sorted(set(flock.channels[channel_id].members) & set(flock.user_tokens))[:2]
        flock.rename(channel_id, "another name")
        flock.leave(channel_id, gone)
        flock.change_person(changed, first_name="Renamed")
        _, news = known_after(flock, client, known, night=1)
        assert [(row["channel_id"], row["name"]) for row in news.channels] == [(channel_id, "another name")]
        assert [(row["chat_id"], row["name"]) for row in news.conversations] == [(channel_id, "another name")]
        assert [(row["user_id"], row["state"]) for row in news.groups] == [(gone, "left")]
        assert [(row["user_id"], row["first_name"]) for row in news.users] == [(changed, "Renamed")]

    def test_an_app_switched_off_for_one_user_is_reported_and_makes_nothing_disappear(self, flock, client):
        known, _ = known_after(flock, client)
        user_id = min(flock.user_tokens)
        flock.disable(user_id)
        seen = crawl(client, pool(flock), threads=4)
        assert [(refused.user_id, refused.code) for refused in seen.refused] == [(user_id, "AppDisabled")]
        assert not changes(known, seen, seen_at_ms=NOW_MS + 1)

    def test_passing_faults_change_nothing(self, flock, client):
        known, _ = known_after(flock, client)
        for fault in ("internal_error", "truncated", "not_json", "too_many_requests"):
            flock.inject(fault, "api", probability=0.1, seed=3)
        assert not known_after(flock, client, known, night=1)[1]


class TestFetch:
    def wanted(self, flock, rows):
        """Ask for each chat as a party, by the name that Flock uses for it."""
        items = []
        for row in rows:
            parties = parties_of(row["chat_id"])
            named_by = row["from"] if parties else next(iter(flock.user_tokens))
            chat = row["chat_id"] if parties is None else next((p for p in parties if p != named_by), named_by)
            items.append(WantedMessages(chat, named_by, (row["uid"],)))
        return items

    def outcomes(self, flock, client, items, tokens=None):
        readers = crawl(client, pool(flock), threads=4).readers
        batches = list(fetch(client, tokens or pool(flock), items, readers=readers, threads=4))
        assert sum(batch.unasked + batch.unreadable for batch in batches) == 0
        return {outcome.uid: outcome for batch in batches for outcome in batch.outcomes}

    @pytest.mark.parametrize("shuffled", [False, True])
    def test_every_message_comes_back_as_it_is(self, flock, client, shuffled):
        flock.configure(fetch_shuffled=shuffled)
        rows = {row["uid"]: row for row in flock.truth("message") if row["from"] in flock.user_tokens}
        outcomes = self.outcomes(flock, client, self.wanted(flock, rows.values()))
        assert set(outcomes) == set(rows)
        missing = {uid for uid, outcome in outcomes.items() if outcome.outcome != "returned"}
        deleted = {uid for uid, row in rows.items() if row["deleted_at_ms"] is not None}
        limited = {uid for uid, row in rows.items() if any(version.get("visibleTo") for version in row["versions"])}
        assert deleted <= missing <= deleted | limited
        assert len(outcomes) - len(missing) > 100
        for uid in set(outcomes) - missing:
            message = msgspec.json.decode(outcomes[uid].raw)
            assert message["uid"] == uid
            assert message.get("text", "") == rows[uid]["versions"][-1].get("text", "")

    def test_deleted_messages_are_not_returned(self, flock, client):
        row = next(
            row for row in flock.truth("message") if row["chat_id"] in flock.channels and row["deleted_at_ms"] is None
        )
        flock.delete(row["uid"])
        assert self.outcomes(flock, client, self.wanted(flock, [row]))[row["uid"]].outcome == "not_returned"

    def test_fields_that_nobody_has_heard_of_survive(self, flock, client):
        row = next(row for row in flock.truth("message") if row["chat_id"] in flock.channels)
        (known,) = self.outcomes(flock, client, self.wanted(flock, [row])).values()
        flock.configure(unknown_fields=True)
        (odd,) = self.outcomes(flock, client, self.wanted(flock, [row])).values()
        assert set(msgspec.json.decode(odd.raw)) > set(msgspec.json.decode(known.raw))

    def test_a_chat_of_others_is_unknown(self, flock, client):
        channel_id, channel = min(flock.channels.items(), key=lambda item: len(item[1].members))
        outsiders = pool(flock, without=channel.members)
        outcomes = self.outcomes(flock, client, [WantedMessages(channel_id, "u:nobody", ("1",))], outsiders)
        assert outcomes["1"].outcome == "unknown_chat"


class TestFiles:
    @pytest.fixture
    def download(self, flock, tmp_path):
        options = FileOptions(hosts_allowed=(), trusted_origins=(flock.files_url, flock.signed_url))

        def fetch_all(rows):
            wanted = [WantedFile(row["url"], row["name"], row["mime"], row["size"]) for row in rows]
            with Downloader(options, folder=tmp_path / "downloads", clock=ManualClock()) as downloader:
                return {file.url: result for file, result in downloader.download_all(wanted)}

        return fetch_all

    def test_every_file_is_what_the_host_holds_or_says_why_not(self, flock, download):
        rows = list(flock.truth("file"))
        assert rows
        results = download(rows)
        for row in rows:
            result = results[row["url"]]
            if row["mode"] in ("direct", "redirect"):
                assert (result.status, result.sha256, result.size) == ("stored", row["sha256"], row["size"])
                assert "Signature" not in result.final_url
            else:
                assert result.status == "failed"

    @pytest.mark.parametrize(
        ("mode", "reason", "status"),
        [("forbidden", "http_status", 403), ("login_page", "login_page", 200), ("missing", "http_status", 404)],
    )
    def test_a_file_that_is_not_given_out_says_why(self, flock, download, mode, reason, status):
        row = next(row for row in flock.truth("file") if not row["mime"].startswith("text/html"))
        flock.set_file_mode(row["path"], mode)
        (result,) = download([row]).values()
        assert (result.status, result.reason, result.http_status) == ("failed", reason, status)

    def test_a_signature_that_has_expired_on_the_way_is_renewed_or_tried_another_night(self, flock, download):
        row = next(iter(flock.truth("file")))
        flock.set_file_mode(row["path"], "redirect")
        flock.configure(file_url_seconds=-10)
        (result,) = download([row]).values()
        assert (result.status, result.http_status) == ("failed", 403)
        flock.configure(file_url_seconds=60)
        (result,) = download([row]).values()
        assert result.sha256 == row["sha256"]

    @pytest.mark.parametrize("fault", ["internal_error", "bad_gateway", "truncated", "disconnect", "slow"])
    def test_passing_faults_of_the_host_are_overcome(self, flock, download, fault):
        row = next(row for row in flock.truth("file") if row["mode"] == "direct")
        flock.inject(fault, "files", count=1, seconds=0.05)
        (result,) = download([row]).values()
        assert result.sha256 == row["sha256"]


def test_the_whole_pull_runs_on_the_machines_clock_too(flock):
    options = FlockOptions(base_url=flock.base_url, requests_per_second=1000)
    with FlockClient(options, clock=SystemClock()) as client:
        assert crawl(client, pool(flock), threads=8).problems == ()


def test_a_channel_of_a_hundred_users_with_tokens_is_asked_for_its_members_once():
    with Simulator(seed=3, people=101, channels=1, messages=0) as flock:
        (channel_id,) = flock.channels
        users = list(flock.user_tokens)
        assert len(users) == 100
        for user in users:
            flock.join(channel_id, user)
        options = FlockOptions(base_url=flock.base_url, requests_per_second=10_000)
        with FlockClient(options, clock=ManualClock()) as client:
            seen = crawl(client, pool(flock), threads=4)
        calls = {method: sum(statuses.values()) for method, statuses in flock.counters()["methods"].items()}
    assert calls == {"users.getInfo": 100, "roster.listContacts": 100, "channels.list": 100, "channels.listMembers": 1}
    assert [channel.channel_id for channel in seen.channels] == [channel_id]
    (members,) = seen.members
    assert members.members.keys() >= set(users)
    assert set(seen.readers[channel_id]) == set(users)
