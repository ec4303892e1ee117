"""What each method answers (flock-api.md 5 and 6; checklist lines 3 to 6 and 11)."""

from __future__ import annotations

import re

import pytest

from archiver.simulator.server import Simulator


def _error(answer) -> tuple[int, str, str | None]:
    body = answer.json()
    return answer.status_code, body["error"], body.get("parameter")


@pytest.fixture
def channel(flock: Simulator):
    """The first channel, in which everybody of the team is."""
    return next(iter(flock.channels.values()))


@pytest.fixture
def members(flock: Simulator, channel) -> list[str]:
    return [user for user in channel.members if user in flock.user_tokens]


class TestFetchMessages:
    @pytest.fixture
    def said(self, flock, channel, members) -> list[str]:
        return [flock.send(members[0], channel.channel_id, text=f"message {n}") for n in range(30)]

    def _fetch(self, flock, call, user, chat, uids):
        return call("chat.fetchMessages", flock.user_tokens[user], chat=chat, uids=uids)

    def test_it_answers_at_most_25_uids(self, flock, call, channel, members, said):
        assert len(self._fetch(flock, call, members[1], channel.channel_id, said[:25]).json()) == 25
        assert _error(self._fetch(flock, call, members[1], channel.channel_id, said[:26])) == (
            400,
            "InvalidParameter",
            "uids",
        )

    def test_unknown_uids_are_skipped_silently(self, flock, call, channel, members, said):
        found = self._fetch(
            flock, call, members[0], channel.channel_id, ["no-such-uid", said[0], said[0], "1-aaa-m201"]
        )
        assert [message["uid"] for message in found.json()] == [said[0]]
        assert self._fetch(flock, call, members[0], channel.channel_id, ["no-such-uid"]).json() == []

    def test_uids_of_another_chat_are_skipped(self, flock, call, channel, members, said):
        assert self._fetch(flock, call, members[0], members[1], said[:3]).json() == []

    def test_a_chat_one_is_not_in_is_as_unknown_as_none(self, flock, call, channel, members, said):
        flock.leave(channel.channel_id, members[1])
        for chat in (channel.channel_id, "g:0000", "u:nobody", "nonsense"):
            answer = self._fetch(flock, call, members[1], chat, said[:1])
            assert _error(answer) == (400, "UnknownChat", None)

    def test_a_direct_chat_is_named_by_the_other_party_and_holds_both_directions(self, flock, call, members):
        one, other, third = members[:3]
        uids = [flock.send(one, other, text="to you"), flock.send(other, one, text="to you too")]
        for user, chat in ((one, other), (other, one)):
            assert [m["text"] for m in self._fetch(flock, call, user, chat, uids).json()] == ["to you", "to you too"]
        assert self._fetch(flock, call, third, one, uids).json() == []

    def test_the_order_can_be_shuffled(self, flock, call, channel, members, said):
        flock.configure(fetch_shuffled=True)
        found = self._fetch(flock, call, members[0], channel.channel_id, said[:25]).json()
        order = [message["uid"] for message in found]
        assert order != said[:25]
        assert sorted(order) == sorted(said[:25])

    def test_the_time_is_a_number_or_iso_text_beside_a_number(self, flock, call, channel, members, said):
        number = self._fetch(flock, call, members[0], channel.channel_id, said[:1]).json()[0]
        flock.configure(fetch_timestamp="iso")
        text = self._fetch(flock, call, members[0], channel.channel_id, said[:1]).json()[0]
        assert isinstance(number["timestamp"], int)
        assert "timestampInMillis" not in number
        assert text["timestampInMillis"] == number["timestamp"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text["timestamp"])
        assert number["uid"].startswith(f"{number['timestamp']}-")

    def test_an_edit_shows_or_not_as_switched(self, flock, call, channel, members, said):
        flock.edit(said[0], text="changed")
        assert self._fetch(flock, call, members[0], channel.channel_id, said[:1]).json()[0]["text"] == "changed"
        flock.configure(fetch_edits=False)
        assert self._fetch(flock, call, members[0], channel.channel_id, said[:1]).json()[0]["text"] == "message 0"

    def test_a_deleted_message_is_skipped_or_not_as_switched(self, flock, call, channel, members, said):
        flock.delete(said[0])
        assert self._fetch(flock, call, members[0], channel.channel_id, said[:1]).json() == []
        flock.configure(fetch_deleted=True)
        assert len(self._fetch(flock, call, members[0], channel.channel_id, said[:1]).json()) == 1

    def test_a_limited_message_is_for_its_sender_and_those_it_names(self, flock, call, channel, members):
        sender, named, other = members[:3]
        uid = flock.send(sender, channel.channel_id, text="psst", visibleTo=[named])
        seen = {user: len(self._fetch(flock, call, user, channel.channel_id, [uid]).json()) for user in members[:3]}
        assert seen == {sender: 1, named: 1, other: 0}
        flock.configure(fetch_limited=True)
        assert len(self._fetch(flock, call, other, channel.channel_id, [uid]).json()) == 1

    def test_the_documented_example_has_four_fields(self, flock, call, channel, members, said):
        flock.configure(fetch_fields="documented")
        (found,) = self._fetch(flock, call, members[0], channel.channel_id, said[:1]).json()
        assert set(found) == {"from", "to", "uid", "text"}

    def test_fields_nobody_has_heard_of_can_be_added(self, flock, call, channel, members, said):
        flock.configure(unknown_fields=True)
        (found,) = self._fetch(flock, call, members[0], channel.channel_id, said[:1]).json()
        assert "futureField" in found

    def test_a_bot_fetches_its_own_chats_only(self, flock, call, channel, members, said):
        (token,) = flock.bot_tokens.values()
        uid = flock.send(members[0], flock.bot_id, text="hello bot")
        assert call("chat.fetchMessages", token, chat=members[0], uids=[uid]).json()[0]["text"] == "hello bot"
        assert _error(call("chat.fetchMessages", token, chat=channel.channel_id, uids=said[:1]))[1] == "UnknownChat"


class TestSendMessage:
    def test_it_answers_the_uid_and_keeps_every_field(self, flock, call, channel, members):
        sent = {
            "text": "words",
            "flockml": "<flockml>words</flockml>",
            "notification": "news",
            "mentions": [members[1]],
            "sendAs": {"name": "Somebody", "profileImage": "https://example.com/a.png"},
            "attachments": [{"title": "one", "downloads": [{"src": "https://example.com/f"}]}],
            "visibleTo": [members[1]],
        }
        token = flock.user_tokens[members[0]]
        uid = call("chat.sendMessage", token, to=channel.channel_id, **sent).json()["uid"]
        assert re.fullmatch(r"\d+-[0-9A-Za-z]{3}-m20\d", uid)
        (found,) = call("chat.fetchMessages", token, chat=channel.channel_id, uids=[uid]).json()
        assert {name: found[name] for name in sent} == sent
        assert found["from"] == members[0]
        assert found["appId"] == flock.app_id

    def test_it_needs_a_text_markup_or_an_attachment(self, flock, call, token, members):
        assert _error(call("chat.sendMessage", token, to=members[1], text=""))[1] == "MissingTextOrAttachment"
        for content in ({"flockml": "<flockml>a</flockml>"}, {"attachments": [{"title": "a"}]}):
            assert call("chat.sendMessage", token, to=members[1], **content).status_code == 200

    def test_an_unknown_recipient_and_a_foreign_channel_are_refused(self, flock, call, channel, members):
        token = flock.user_tokens[members[1]]
        flock.leave(channel.channel_id, members[1])
        for recipient in ("u:nobody", "g:none", "nonsense", channel.channel_id):
            assert _error(call("chat.sendMessage", token, to=recipient, text="x"))[:2] == (400, "UnknownRecipient")

    @pytest.mark.parametrize(
        ("name", "value"),
        [("sendAs", {"name": "only"}), ("sendAs", "x"), ("attachments", ["x"]), ("mentions", {"a": 1}), ("to", "")],
    )
    def test_a_wrong_parameter_is_named(self, call, token, members, name, value):
        parameters = {"to": members[1], "text": "x", name: value}
        assert _error(call("chat.sendMessage", token, **parameters)) == (400, "InvalidParameter", name)

    def test_a_bot_posts_to_a_channel_for_a_member_who_installed_the_app(self, flock, call, channel, members):
        (token,) = flock.bot_tokens.values()
        post = {"to": channel.channel_id, "text": "beep"}
        assert _error(call("chat.sendMessage", token, **post)) == (400, "InvalidParameter", "onBehalfOf")
        stranger = next(user for user in flock.people if user not in channel.members)
        assert _error(call("chat.sendMessage", token, **post, onBehalfOf=stranger))[2] == "onBehalfOf"
        uid = call("chat.sendMessage", token, **post, onBehalfOf=members[0]).json()["uid"]
        row = next(row for row in flock.truth("message") if row["uid"] == uid)
        assert row["from"] == flock.bot_id
        assert row["versions"][0]["onBehalfOf"] == members[0]
        flock.uninstall(members[0])
        assert _error(call("chat.sendMessage", token, **post, onBehalfOf=members[0]))[2] == "onBehalfOf"

    def test_a_bot_writes_only_to_those_who_installed_the_app(self, flock, call, members):
        (token,) = flock.bot_tokens.values()
        flock.uninstall(members[0])
        assert _error(call("chat.sendMessage", token, to=members[0], text="x"))[1] == "UnknownRecipient"
        assert call("chat.sendMessage", token, to=members[1], text="x").status_code == 200


class TestChannels:
    def test_list_shows_those_one_is_in(self, flock, call):
        for user, token in flock.user_tokens.items():
            listed = call("channels.list", token).json()
            assert {found["id"] for found in listed} == {
                channel.channel_id for channel in flock.channels.values() if user in channel.members
            }
        assert all(found["memberCount"] == len(flock.channels[found["id"]].members) for found in listed)

    def test_info_answers_for_ones_own_channels_only(self, flock, call, channel, members):
        token = flock.user_tokens[members[1]]
        assert call("channels.getInfo", token, channelId=channel.channel_id).json()["name"] == channel.name
        flock.leave(channel.channel_id, members[1])
        for method in ("channels.getInfo", "channels.listMembers", "channels.addMembers"):
            answer = call(method, token, channelId=channel.channel_id, members=["u:x"])
            assert _error(answer) == (400, "InvalidParameter", "channelId")

    def test_the_member_list_tells_the_moderator_and_shows_profiles_when_asked(self, flock, call, channel, members):
        token = flock.user_tokens[members[0]]
        plain = call("channels.listMembers", token, channelId=channel.channel_id).json()
        assert {found["userId"]: found["affiliation"] for found in plain} == {
            user: stay.affiliation for user, stay in channel.members.items()
        }
        assert sum(found["affiliation"] == "moderator" for found in plain) == 1
        assert all("publicProfile" not in found for found in plain)
        shown = call("channels.listMembers", token, channelId=channel.channel_id, showPublicProfile="true").json()
        assert all(found["publicProfile"]["id"] == found["userId"] for found in shown)

    def test_create_adds_the_caller_and_tells_of_each_member(self, flock, call, members):
        outsider = next(person.user_id for person in flock.people.values() if person.outsider)
        made = call(
            "channels.create",
            flock.user_tokens[members[0]],
            name="new ☕",
            members=[members[1], "u:nobody", outsider, flock.bot_id],
        ).json()
        assert made["members"] == {
            members[1]: {"status": "added"},
            "u:nobody": {"status": "failed", "error": "UserNotFound"},
            outsider: {"status": "failed", "error": "UserNotFromSameTeam"},
            flock.bot_id: {"status": "failed", "error": "UserRestricted"},
        }
        created = flock.channels[made["id"]]
        assert set(created.members) == {members[0], members[1]}
        assert created.private

    @pytest.mark.parametrize(
        ("parameters", "wrong"),
        [
            ({"members": ["u:x"]}, "name"),
            ({"name": "x" * 256, "members": ["u:x"]}, "name"),
            ({"name": "x"}, "members"),
            ({"name": "x", "members": ["u:x"], "type": "secret"}, "type"),
        ],
    )
    def test_create_names_what_is_wrong(self, call, token, parameters, wrong):
        assert _error(call("channels.create", token, **parameters)) == (400, "InvalidParameter", wrong)

    def test_members_are_changed_by_a_moderator_only(self, flock, call, channel, members):
        moderator, member, third = members[:3]
        change = {"channelId": channel.channel_id, "members": [third, "u:nobody"]}
        refused = call("channels.removeMembers", flock.user_tokens[member], **change).json()["members"]
        assert {outcome["error"] for outcome in refused.values()} == {"UserRestricted"}
        removed = call("channels.removeMembers", flock.user_tokens[moderator], **change).json()["members"]
        assert removed == {third: {"status": "removed"}, "u:nobody": {"status": "failed", "error": "UserNotFound"}}
        assert third not in flock.channels[channel.channel_id].members
        added = call("channels.addMembers", flock.user_tokens[moderator], **change).json()["members"]
        assert added[third] == {"status": "added"}

    def test_bots_cannot_join(self, flock, channel):
        with pytest.raises(Exception, match="bots cannot join"):
            flock.join(channel.channel_id, flock.bot_id)


class TestPeople:
    def test_info_is_the_tokens_owner_with_an_email(self, flock, call):
        for user, token in flock.user_tokens.items():
            found = call("users.getInfo", token).json()
            assert found["id"] == user
            assert "@" in found["email"]
            assert found["role"] in ("user", "admin", "guest")
            assert re.fullmatch(r"[+-]\d\d:\d\d", found["timezone"])
            assert isinstance(found["teamId"], int)
        flock.configure(team_id_text=True)
        assert isinstance(call("users.getInfo", token).json()["teamId"], str)

    def test_a_profile_has_no_email(self, flock, call, token, members):
        found = call("users.getPublicProfile", token, userId=members[1]).json()
        assert found["id"] == members[1]
        assert "email" not in found
        assert _error(call("users.getPublicProfile", token, userId="u:nobody")) == (400, "InvalidParameter", "userId")

    def test_the_roster_is_everybody_else(self, flock, call):
        user, token = next(iter(flock.user_tokens.items()))
        listed = {found["id"] for found in call("roster.listContacts", token).json()}
        assert listed == set(flock.people) - {user}
        flock.configure(roster_bots=False)
        listed = {found["id"] for found in call("roster.listContacts", token).json()}
        assert listed == {person.user_id for person in flock.people.values() if not person.is_bot} - {user}


class TestTheOlderGroupsMethods:
    def test_they_answer_as_the_published_sdk_expects(self, flock, call, channel, members):
        token = flock.user_tokens[members[0]]
        listed = call("groups.list", token).json()
        assert {found["id"] for found in listed} == {found["id"] for found in call("channels.list", token).json()}
        assert all("purpose" not in found for found in listed)
        for name in ("groupId", "group_id"):
            assert call("groups.getInfo", token, **{name: channel.channel_id}).json()["name"] == channel.name
        profiles = call("groups.getMembers", token, groupId=channel.channel_id).json()
        assert [found["id"] for found in profiles] == list(channel.members)
        assert _error(call("groups.getInfo", token)) == (400, "InvalidParameter", "groupId")

    def test_they_can_be_switched_off(self, flock, call, token):
        flock.configure(groups_aliases=False)
        assert _error(call("groups.list", token))[:2] == (404, "NoSuchMethod")
