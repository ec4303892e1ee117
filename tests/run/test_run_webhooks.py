"""From channels without a feed to a feed for each: the plan is carried out by hand, and the check sees what delivers."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from archiver.simulator.server import Simulator
from tests.run.installation import Installation, free_port, install

QUIET = {"seed": 11, "people": 6, "channels": 3, "messages": 0, "day": date(2026, 1, 1)}


@pytest.fixture
def new_here(tmp_path: Path) -> Iterator[tuple[Simulator, Installation, str]]:
    """A workspace whose directory is crawled and which has no webhook, an archiver, and where its listener will be."""
    with Simulator(**QUIET) as flock:
        url = f"http://127.0.0.1:{free_port()}"
        archiver = install(flock, tmp_path, listener_url=url)
        tokens = tmp_path / "secrets" / "webhook_tokens.json"
        for token in json.loads(tokens.read_text()).values():
            flock.remove_webhook(token)
        tokens.write_text("{}")
        archiver.change("listen", public_url=url)
        assert archiver.call("run").code == 3
        yield flock, archiver, url


def test_a_plan_that_is_carried_out_gives_every_channel_a_feed(
    new_here: tuple[Simulator, Installation, str], tmp_path: Path
) -> None:
    flock, archiver, url = new_here
    plan = archiver.call("webhooks", "plan", "--write", str(tmp_path / "orders"), "--json")
    assert plan.code == 0, plan.err
    secret = (tmp_path / "secrets" / "path_secret").read_text().strip()
    assert secret not in plan.out + plan.err
    people = plan.document["people"]
    assert plan.document["planned"] == len(flock.channels)
    orders = {order["channel_id"]: (person["user_id"], order) for person in people for order in person["orders"]}
    assert orders.keys() == flock.channels.keys()

    # Everybody follows the letter; the tokens that Flock shows go into the file.
    letters = [path for path in (tmp_path / "orders").iterdir() if path.suffix == ".txt"]
    assert len(letters) == len(people)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "orders").iterdir()} == {0o600}
    text = "\n".join(path.read_text() for path in letters)
    addresses = dict(re.findall(rf"Name +(\S+)\n +Callback URL +({url}/hooks/{secret}/\S+)", text))
    tokens = {
        order["webhook"]: flock.add_webhook(owner, channel, addresses[order["webhook"]], name=order["webhook"])
        for channel, (owner, order) in orders.items()
    }
    assert json.loads((tmp_path / "orders" / "webhook_tokens.json").read_text()) == dict.fromkeys(tokens, "")
    (tmp_path / "secrets" / "webhook_tokens.json").write_text(json.dumps(tokens))

    # Configured is not delivered; and what is made already is planned no more, and counted.
    before = archiver.call("webhooks", "check", "--json")
    assert (before.code, {hook["state"] for hook in before.document["webhooks"]}) == (3, {"nothing yet"})
    assert {hook["channel_id"]: hook["owner_id"] for hook in before.document["webhooks"]} == {
        channel: owner for channel, (owner, _) in orders.items()
    }
    again = archiver.call("webhooks", "plan", "--json")
    assert (again.code, again.document["planned"], again.document["without_known_owner"]) == (0, 0, [])

    with archiver.listening():
        for channel, (owner, _) in orders.items():
            flock.send(owner, channel, text="is anybody there")
    archiver.call("run")
    after = archiver.call("webhooks", "check", "--json")
    assert (after.code, after.document["unheard"]) == (0, [])
    assert {hook["webhook"]: hook["channel_id"] for hook in after.document["webhooks"]} == {
        order["webhook"]: channel for channel, (_, order) in orders.items()
    }
    assert all(hook["first_push_at"] == hook["last_push_at"] is not None for hook in after.document["webhooks"])
    assert archiver.call("gaps", "--kind", "channel-without-feed").code == 0

    # Who leaves a channel leaves a webhook behind of which nobody knows what becomes.
    channel, (owner, order) = next(iter(orders.items()))
    flock.leave(channel, owner)
    archiver.call("run")
    left = [
        hook["webhook"]
        for hook in archiver.call("webhooks", "check", "--json").document["webhooks"]
        if hook["has_owner_left"]
    ]
    assert left == [order["webhook"]]


def test_neither_bots_nor_who_has_left_are_asked(new_here: tuple[Simulator, Installation, str]) -> None:
    flock, archiver, _ = new_here
    alone = {}
    for channel_id, channel in flock.channels.items():
        stays = next(user for user in channel.members if user in flock.user_tokens)
        for user in [user for user in channel.members if user != stays and not flock.people[user].is_bot]:
            flock.leave(channel_id, user)
        alone[channel_id] = stays
    archiver.call("run", "--only", "directory")
    plan = archiver.call("webhooks", "plan", "--json").document
    assert {order["channel_id"]: person["user_id"] for person in plan["people"] for order in person["orders"]} == alone
