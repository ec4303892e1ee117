"""Who has the app installed before anything happens."""

from __future__ import annotations

from archiver.simulator.workspace import Workspace


def install_from_start(workspace: Workspace, *, count: int | None, cover_only: bool) -> None:
    """Give tokens to the app's bot and to users: the first ``count``, or everybody, or with ``cover_only`` as few as see every channel.

    No event tells of these: they installed the app before the listener was set up.
    """
    if workspace.bot_id is not None:
        workspace.grant(workspace.bot_id, "bot")
    eligible = [person.user_id for person in workspace.people.values() if not person.is_bot and not person.outsider]
    if count is not None:
        chosen = eligible[:count]
    elif cover_only:
        chosen = _cover(workspace)
    else:
        chosen = eligible
    for user_id in chosen:
        workspace.grant(user_id, "user")


def _cover(workspace: Workspace) -> list[str]:
    """Return users such that each channel has one of them, taking those in most of the channels left, again and again."""
    left = {channel.channel_id: set(channel.members) for channel in workspace.channels.values() if channel.members}
    chosen: list[str] = []
    while left:
        counts: dict[str, int] = {}
        for members in left.values():
            for user_id in members:
                counts[user_id] = counts.get(user_id, 0) + 1
        best = max(counts, key=lambda user_id: (counts[user_id], user_id))
        chosen.append(best)
        left = {channel_id: members for channel_id, members in left.items() if best not in members}
    return chosen
