"""The kinds of message a seeded team writes: who writes (a person, a bot, one of Flock's own apps) and what it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from random import Random
from typing import Any

from archiver.simulator import phrases
from archiver.simulator.records import FILE_MODES, FileMode, HostedFile, Person
from archiver.simulator.render import Json, display_name
from archiver.simulator.workspace import Workspace

_THUMBNAIL_SUFFIX = "_t"
_THUMBNAIL_BYTES = 300
_REUSE_EVERY = 6
_QUOTE_CHARACTERS = 200
# With the file shared before, one for each way to answer.
_FILES = 3
# Most files can be had; the last mode is a file that is gone.
_MODE_WEIGHTS = (40, 40, 7, 8, 5)


@dataclass(frozen=True, slots=True)
class Said:
    """Something that was said in a chat and can be answered; what was said before the script began has no uid."""

    uid: str
    sender: str
    text: str


@dataclass(slots=True)
class Scene:
    """Where a line is written: the chat's members, what was said there before, and the source of chance."""

    workspace: Workspace
    random: Random
    files_url: str
    bots: tuple[str, ...]
    apps: dict[str, str]
    at_ms: int = 0
    members: list[str] = field(default_factory=list)
    sender: str = ""
    said: list[Said] = field(default_factory=list)
    files_made: int = 0
    last_file: HostedFile | None = None

    def person(self, user_id: str) -> Person:
        """Return a user."""
        return self.workspace.people[user_id]

    def other_member(self) -> str:
        """Return a member of the chat, the sender only where there is no other."""
        others = [user_id for user_id in self.members if user_id != self.sender]
        return self.random.choice(others) if others else self.sender

    def file(self) -> HostedFile:
        """Put a new file on the host; each mode and each name has its turn before chance decides."""
        number, self.files_made = self.files_made, self.files_made + 1
        name, mime = phrases.FILE_NAMES[number % len(phrases.FILE_NAMES)]
        size, key = phrases.FILE_SIZES[number % len(phrases.FILE_SIZES)], f"{self.workspace.team_id}/{number}"
        if self.last_file is not None and number % _REUSE_EVERY == 1:
            # The same bytes under another name and address.
            mime, size, key = self.last_file.mime, self.last_file.size, self.last_file.key
        mode: FileMode = (
            FILE_MODES[number] if number < len(FILE_MODES) else self.random.choices(FILE_MODES, _MODE_WEIGHTS)[0]
        )
        path = self.workspace.mint.file_path(str(self.workspace.team_id), f"file {number}", self.at_ms)
        file = HostedFile(path=path, name=name, mime=mime, size=size, key=key, mode=mode)
        self.workspace.host([file])
        self.last_file = file
        return file


@dataclass(frozen=True, slots=True)
class Line:
    """One message to be: content fields of a `Version`, its writer where that is not the scene's sender, and what it answers."""

    content: dict[str, Any]
    sender: str = ""
    answers: str = ""


def plain(scene: Scene) -> Line:
    """Write an ordinary sentence."""
    return Line({"text": scene.random.choice(phrases.PLAIN)})


def emoji(scene: Scene) -> Line:
    """Write with emoji."""
    return Line({"text": scene.random.choice(phrases.EMOJI)})


def right_to_left(scene: Scene) -> Line:
    """Write Arabic or Hebrew."""
    return Line({"text": scene.random.choice(phrases.RIGHT_TO_LEFT)})


def hostile(scene: Scene) -> Line:
    """Write what breaks careless programs."""
    return Line({"text": scene.random.choice(phrases.HOSTILE)})


def long(scene: Scene) -> Line:
    """Write more than any client shows at once."""
    sentence = scene.random.choice(phrases.PLAIN) + " "
    return Line(
        {"text": (sentence * (phrases.LONG_TEXT_CHARACTERS // len(sentence) + 1))[: phrases.LONG_TEXT_CHARACTERS]}
    )


def mention(scene: Scene) -> Line:
    """Name somebody."""
    mentioned = scene.other_member()
    name = display_name(scene.person(mentioned))
    return Line({"text": f"@{name} {scene.random.choice(phrases.PLAIN)}", "mentions": (mentioned,)})


def flockml(scene: Scene) -> Line:
    """Write markup with a mention, a link and an action (flock-api.md 8)."""
    mentioned = scene.other_member()
    name = escape(display_name(scene.person(mentioned)).translate(_NO_CONTROLS))
    markup = (
        f"<flockml><b>Done</b> &amp; <i>dusted</i>, <user userId='{mentioned}'>{name}</user><br/>"
        '<a href="https://example.com/?a=1&amp;b=2">the report</a> '
        '<action id="open" type="sendEvent">open it</action></flockml>'
    )
    return Line(
        {"flockml": markup, "notification": "Done & dusted", "app_id": scene.apps["notes"], "mentions": (mentioned,)}
    )


def broken_flockml(scene: Scene) -> Line:
    """Write markup that is no XML."""
    return Line(
        {"text": "see the markup", "flockml": "<flockml><b>never closed &nbsp; <user>", "app_id": scene.apps["notes"]}
    )


def file(scene: Scene) -> Line:
    """Share a file."""
    return Line({"text": "", "attachments": (attachment_of(scene, scene.file()),)})


def files(scene: Scene) -> Line:
    """Share several files at once, with a text."""
    return Line(
        {"text": "all of them", "attachments": tuple(attachment_of(scene, scene.file()) for _ in range(_FILES))}
    )


def trap(scene: Scene) -> Line:
    """Point at places that are no file host, in an order that chance decides."""
    urls = scene.random.sample(phrases.TRAP_URLS, len(phrases.TRAP_URLS))
    downloads = [{"src": url, "filename": "trap.bin", "mime": "application/octet-stream"} for url in urls]
    return Line({"text": "have a look", "attachments": ({"title": "trap", "downloads": downloads, "views": {}},)})


def link_preview(scene: Scene) -> Line:
    """Post a link that a preview was added to; nothing to download."""
    url = f"https://example.com/{scene.random.randrange(1000)}"
    preview = {"title": "Example", "description": "A page", "url": url, "color": "#0ABE51", "forward": True}
    return Line({"text": url, "attachments": (preview,)})


def reply(scene: Scene) -> Line:
    """Answer somebody the way clients did in 2018: by an app, with a quotation and no uid (flock-api.md 9, point 2)."""
    if scene.said:
        original = scene.random.choice(scene.said)
    else:
        original = Said("", scene.other_member(), f"said before anybody listened, {scene.random.randrange(1_000)}")
    quote = original.text[:_QUOTE_CHARACTERS]
    quoted = {
        "title": f"in reply to {scene.person(original.sender).first_name}",
        "description": quote,
        "color": "#0ABE51",
        "views": {"flockml": f"<flockml>{escape(quote.translate(_NO_CONTROLS))}</flockml>"},
    }
    content = {
        "text": scene.random.choice(phrases.PLAIN),
        "app_id": scene.apps["replies"],
        "attachments": (quoted,),
    }
    return Line(content, answers=original.uid)


def poll(scene: Scene) -> Line:
    """Start a poll: one of Flock's own apps, an empty text, a widget (flock-api.md 9, point 3)."""
    widget: Json = {
        "title": "Where do we eat?",
        "views": {"widget": {"src": "https://polls.invalid/poll/1", "width": 0, "height": 240}},
        "buttons": [{"name": "Vote", "id": "vote", "action": {"type": "sendEvent"}}],
    }
    return Line(
        {
            "text": "",
            "flockml": "<flockml><b>Poll</b>: where do we eat?</flockml>",
            "notification": "Poll: where do we eat?",
            "app_id": scene.apps["polls"],
            "send_as": {"name": "Polls", "profileImage": "https://i.flock.invalid/polls.png"},
            "attachments": (widget,),
        }
    )


def note(scene: Scene) -> Line:
    """Share a note, by Flock's own app."""
    html = {"inline": "<p>Buy <b>milk</b> &amp; tea</p>", "width": 400, "height": 120}
    return Line(
        {
            "text": "",
            "notification": "shared a note",
            "app_id": scene.apps["notes"],
            "attachments": ({"title": "Note", "views": {"html": html}},),
        }
    )


def bot_post(scene: Scene) -> Line:
    """Post as a bot on somebody's behalf, under another name (flock-api.md 5.1)."""
    return Line(
        {
            "text": f"Build {scene.random.randrange(10_000)} passed",
            "app_id": scene.apps["builds"],
            "send_as": {"name": "Builds", "profileImage": "https://i.flock.invalid/builds.png"},
            "on_behalf_of": scene.sender,
        },
        sender=scene.random.choice(scene.bots),
    )


def limited(scene: Scene) -> Line:
    """Say something that only one member sees."""
    return Line({"text": "only for you", "visible_to": (scene.other_member(),)})


def empty(scene: Scene) -> Line:
    """Say nothing at all, as some clients do."""
    del scene
    return Line({"text": ""})


def attachment_of(scene: Scene, file: HostedFile) -> Json:
    """Return an attachment that offers a file, with a picture and its thumbnail where it is one (flock-api.md 6.2)."""
    src = scene.files_url + file.path
    download: Json = {"src": src, "mime": file.mime, "filename": file.name, "size": file.size}
    views: Json = {}
    if file.mime == "image/png":
        thumbnail = HostedFile(
            path=file.path + _THUMBNAIL_SUFFIX,
            name=file.name,
            mime=file.mime,
            size=min(file.size, _THUMBNAIL_BYTES),
            key=file.key,
            mode=file.mode,
        )
        scene.workspace.host([thumbnail])
        views["image"] = {
            "original": {"src": src, "width": 8, "height": 8},
            "thumbnail": {"src": src + _THUMBNAIL_SUFFIX, "width": 8, "height": 8},
            "filename": file.name,
        }
    return {"id": file.path.rpartition("/")[2], "title": file.name, "views": views, "downloads": [download]}


# XML has no place for control characters, even escaped.
_NO_CONTROLS = dict.fromkeys([*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF])

# Each kind has its turn once; then chance decides by weight.
CHANNEL_LINES: tuple[tuple[Callable[[Scene], Line], int], ...] = (
    (plain, 500),
    (mention, 90),
    (file, 40),
    (bot_post, 40),
    (flockml, 30),
    (emoji, 60),
    (right_to_left, 25),
    (hostile, 15),
    (files, 10),
    (reply, 50),
    (poll, 8),
    (limited, 10),
    (note, 10),
    (link_preview, 25),
    (empty, 5),
    (long, 1),
    (broken_flockml, 3),
    (trap, 3),
)
DIRECT_LINES: tuple[tuple[Callable[[Scene], Line], int], ...] = (
    (plain, 60),
    (file, 6),
    (emoji, 10),
    (right_to_left, 5),
    (hostile, 3),
    (empty, 1),
)
