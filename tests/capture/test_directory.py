"""Crawling the directory over real HTTP, as several users, against a server that a test can make odd."""

from __future__ import annotations

import json

import pytest

from archiver.capture.directory import WRONG_USER, crawl
from archiver.capture.directory_changes import DirectoryKnown, after, changes
from archiver.capture.token_pool import TokenPool
from archiver.errors import FlockUnreachableError
from archiver.flock.client import FlockClient, FlockOptions
from archiver.flock.tokens import Secret, UserToken
from tests.manual_clock import ManualClock
from tests.servers.scripted import Answer, ScriptedServer

NOW_MS = 1_700_000_000_000


class Workspace:
    """A small Flock: who is in which channel, and overrides by (method, user) or (method, user, id)."""

    def __init__(self):
        self.contacts = {"u:ada": ["u:bob"], "u:bob": ["u:ada"]}
        self.channels = {"g:all": ["u:ada", "u:bob", "u:cleo"], "g:ada": ["u:ada"], "g:bob": ["u:bob"]}
        self.unprofiled = {"u:cleo"}
        self.odd = {}

    def __call__(self, request):
        form = request.form
        asker = form["token"].removesuffix("-token")
        subject = form.get("channelId") or form.get("userId")
        odd = self.odd.get((request.method, asker, subject)) or self.odd.get((request.method, asker))
        if odd is not None:
            return odd
        return answer(getattr(self, request.method.replace(".", "_"))(asker, subject))

    def users_getInfo(self, asker, _):  # noqa: N802
        return {"id": asker, "firstName": asker[2:].title(), "email": f"{asker[2:]}@example.org"}

    def roster_listContacts(self, asker, _):  # noqa: N802
        return [{"id": user, "firstName": user[2:].title()} for user in self.contacts[asker]]

    def channels_list(self, asker, _):
        return [
            {"id": channel, "name": channel[2:], "memberCount": len(members)}
            for channel, members in self.channels.items()
            if asker in members
        ]

    def channels_listMembers(self, asker, channel):  # noqa: N802
        assert asker in self.channels[channel]
        return [
            {"userId": user, "affiliation": "member"}
            | ({} if user in self.unprofiled else {"publicProfile": {"id": user, "firstName": user[2:].title()}})
            for user in self.channels[channel]
        ]

    def users_getPublicProfile(self, _, user):  # noqa: N802
        return {"id": user, "firstName": user[2:].title()}


def answer(value, status=200):
    return Answer(json.dumps(value).encode(), status=status)


def refusal(status, code, **fields):
    return answer({"error": code, **fields}, status=status)


@pytest.fixture
def workspace():
    return Workspace()


@pytest.fixture
def flock(workspace):
    with ScriptedServer(workspace) as server:
        yield server


@pytest.fixture
def client(flock):
    options = FlockOptions(base_url=flock.origin, auth="body", requests_per_second=1000, tries_max=2)
    with FlockClient(options, clock=ManualClock()) as made:
        yield made


def pool(*users):
    return TokenPool([UserToken(user, Secret(f"{user}-token")) for user in users or ("u:ada", "u:bob")])


def reasons(seen):
    return {(problem.method, problem.subject): problem.reason for problem in seen.problems}


def test_the_directory_is_the_union_of_what_all_tokens_see(client):
    seen = crawl(client, pool(), threads=4)
    assert [channel.channel_id for channel in seen.channels] == ["g:ada", "g:all", "g:bob"]
    assert {user.user_id for user in seen.users} == {"u:ada", "u:bob", "u:cleo"}
    assert seen.readers == {"g:ada": ("u:ada",), "g:all": ("u:ada", "u:bob"), "g:bob": ("u:bob",)}
    assert seen.answered == {"u:ada", "u:bob"}
    assert seen.problems == ()


def test_each_channels_members_are_asked_for_once_and_the_work_is_shared(flock, client):
    crawl(client, pool(), threads=4)
    asked = [(r.form["channelId"], r.form["token"]) for r in flock.requests if r.method == "channels.listMembers"]
    assert sorted(channel for channel, _ in asked) == ["g:ada", "g:all", "g:bob"]
    assert dict(asked)["g:all"] == "u:bob-token"  # ada already has g:ada to ask for


def test_profiles_are_asked_for_only_of_people_whom_no_answer_described(flock, client):
    seen = crawl(client, pool(), threads=4, senders=["u:dan", "u:bob"])
    asked = [r.form["userId"] for r in flock.requests if r.method == "users.getPublicProfile"]
    assert sorted(asked) == ["u:cleo", "u:dan"]
    assert {user.user_id for user in seen.users if user.method == "users.getPublicProfile"} == {"u:cleo", "u:dan"}


def test_a_second_crawl_of_an_unchanged_workspace_changes_nothing(client):
    known = after(DirectoryKnown(), changes(DirectoryKnown(), crawl(client, pool(), threads=4), seen_at_ms=NOW_MS))
    assert len(known.groups) == 5
    assert not changes(known, crawl(client, pool(), threads=1), seen_at_ms=NOW_MS + 1)


def test_a_refused_token_is_reported_and_the_others_go_on(workspace, client):
    workspace.odd["users.getInfo", "u:ada"] = refusal(403, "AppDisabled", disabledBy="user")
    seen = crawl(client, pool(), threads=4)
    (refused,) = seen.refused
    assert (refused.user_id, refused.code) == ("u:ada", "AppDisabled")
    assert [channel.channel_id for channel in seen.channels] == ["g:all", "g:bob"]
    assert seen.answered == {"u:bob"}
    assert seen.asked == {"u:ada", "u:bob"}


def test_a_channel_seen_only_by_a_refused_token_stays_listed(workspace, client):
    known = after(DirectoryKnown(), changes(DirectoryKnown(), crawl(client, pool(), threads=4), seen_at_ms=NOW_MS))
    workspace.odd["users.getInfo", "u:ada"] = refusal(403, "InvalidToken")
    assert not changes(known, crawl(client, pool(), threads=4), seen_at_ms=NOW_MS + 1)


def test_a_token_that_is_somebody_elses_is_refused_by_us(workspace, flock, client):
    workspace.odd["users.getInfo", "u:ada"] = answer({"id": "u:eve"})
    seen = crawl(client, pool(), threads=4)
    assert [(refused.user_id, refused.code) for refused in seen.refused] == [("u:ada", WRONG_USER)]
    assert {r.method for r in flock.requests if r.form["token"] == "u:ada-token"} == {"users.getInfo"}


def test_when_all_tokens_are_refused_the_result_says_so(workspace, client):
    for user in ("u:ada", "u:bob"):
        workspace.odd["users.getInfo", user] = refusal(403, "InvalidToken")
    seen = crawl(client, pool(), threads=4)
    assert len(seen.refused) == 2
    assert seen.users == ()


def test_without_tokens_nothing_is_seen(client):
    seen = crawl(client, TokenPool([]), threads=4, senders=["u:dan"])
    assert (seen.users, seen.channels, seen.problems) == ((), (), ())


def test_a_flock_that_answers_nobody_is_unreachable(flock, client):
    flock.script = lambda _: Answer(status=503)
    with pytest.raises(FlockUnreachableError):
        crawl(client, pool(), threads=4)


def test_one_method_that_fails_costs_only_itself(workspace, client):
    workspace.odd["channels.list", "u:ada"] = Answer(status=500)
    seen = crawl(client, pool(), threads=4)
    assert reasons(seen) == {("channels.list", "u:ada"): "no usable answer"}
    assert seen.answered == {"u:bob"}
    assert {user.user_id for user in seen.users} == {"u:ada", "u:bob", "u:cleo"}


def test_members_that_one_reader_may_not_list_are_asked_for_as_the_next(workspace, client):
    workspace.odd["channels.listMembers", "u:bob", "g:all"] = refusal(400, "UnknownChat")
    seen = crawl(client, pool(), threads=4)
    (listed,) = [members for members in seen.members if members.channel_id == "g:all"]
    assert listed.captured_by == "u:ada"


def test_members_that_nobody_may_list_are_a_problem(workspace, client):
    for user in ("u:ada", "u:bob"):
        workspace.odd["channels.listMembers", user, "g:all"] = refusal(400, "UnknownChat")
    seen = crawl(client, pool(), threads=4)
    assert reasons(seen)["channels.listMembers", "g:all"] == "nobody who lists the channel may read its members"
    assert [members.channel_id for members in seen.members] == ["g:ada", "g:bob"]


def test_bad_elements_are_skipped_and_counted_and_the_others_go_on(workspace, client):
    workspace.odd["roster.listContacts", "u:ada"] = Answer(
        b'[7, {"id":"u:zoe","firstName":5}, {"firstName":"nobody"}, {"id":3}, {"id":"u:yan","firstName":"\\ud83d"}]'
    )
    workspace.odd["channels.list", "u:ada"] = answer([{"id": "g:ada", "memberCount": "many"}, None])
    seen = crawl(client, pool(), threads=4)
    assert {"u:zoe", "u:yan"} <= {user.user_id for user in seen.users}
    counts = {(problem.method, problem.reason): problem.count for problem in seen.problems}
    assert counts == {
        ("roster.listContacts", "skipped: it is not a JSON object"): 1,
        ("roster.listContacts", "skipped: id is missing or no text"): 2,
        ("roster.listContacts", "field ignored: firstName is no text"): 1,
        ("channels.list", "field ignored: memberCount is no usable number"): 1,
        ("channels.list", "skipped: it is not a JSON object"): 1,
    }
    assert seen.answered == {"u:bob"}  # what could not be read may have been any channel


@pytest.mark.parametrize(
    ("listed", "complete"),
    [
        ([], False),
        ([{"userId": "u:ada"}], True),
        ([{"userId": "u:ada"}, {"userId": 7}], False),
        ([{"userId": f"u:{n}"} for n in range(50)], False),
        ([{"userId": f"u:{n}"} for n in range(51)], True),
    ],
)
def test_a_member_list_counts_as_complete_only_if_it_does_not_look_cut(workspace, client, listed, complete):
    workspace.odd["channels.list", "u:ada"] = answer([{"id": "g:ada", "memberCount": 60}])
    workspace.odd["channels.listMembers", "u:ada"] = answer(listed)
    (members,) = crawl(client, pool("u:ada"), threads=2).members
    assert members.complete is complete


def test_a_member_listed_twice_counts_as_moderator_if_either_says_so(workspace, client):
    twice = [{"userId": "u:ada", "affiliation": "moderator"}, {"userId": "u:ada", "affiliation": "member"}]
    workspace.odd["channels.listMembers", "u:ada"] = answer(twice)
    (members,) = [m for m in crawl(client, pool("u:ada"), threads=2).members if m.channel_id == "g:ada"]
    assert members.members == {"u:ada": "moderator"}


def test_somebody_elses_profile_is_not_taken_for_the_one_asked_for(workspace, client):
    workspace.unprofiled = {"u:cleo"}
    for user in ("u:ada", "u:bob"):
        workspace.odd["users.getPublicProfile", user, "u:cleo"] = answer({"id": "u:eve"})
    seen = crawl(client, pool(), threads=4)
    assert "u:eve" not in {user.user_id for user in seen.users}
    assert reasons(seen)["users.getPublicProfile", "u:cleo"].startswith("skipped")
