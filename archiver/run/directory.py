"""The directory stage: who is who, which channels there are and who is in them, as rows for what changed."""

from __future__ import annotations

from archiver.archive.commit import Draft
from archiver.archive.ledger import Gap
from archiver.archive.reader import Head
from archiver.archive.schema import TABLES
from archiver.archive.tables import rows_to_table
from archiver.capture.directory import crawl
from archiver.capture.directory_changes import DirectoryChanges, DirectoryKnown, changes
from archiver.capture.directory_seen import DirectorySeen
from archiver.capture.gaps import ANSWER_SUSPECT, DIRECTORY, refused_token, without_token
from archiver.errors import TokenRefusedError
from archiver.run.result import StageResult
from archiver.run.session import Session


def crawl_directory(session: Session) -> StageResult:
    """Ask Flock for the directory as every user whose token is known, and commit what changed since the last time.

    A refused token is a gap; where Flock refuses every token, that is the stage's error.
    """
    client = session.ports.client
    if client is None or not session.tokens.usable_users():
        gaps = _token_gaps(session) or (without_token(),)
        return StageResult("directory", gaps=gaps, error=every_token_refused(session), asked=False)
    session.progress.start("directory", total=None)
    seen = crawl(client, session.tokens, threads=session.ports.threads)
    gaps = (*_token_gaps(session), *_gaps(seen))
    found = DirectoryChanges()

    def draft_for(_head: Head) -> Draft:
        nonlocal found
        at_ms = session.ports.clock.now_ms()
        found = changes(_known(session), seen, seen_at_ms=at_ms)
        tables = {
            name: rows_to_table(TABLES[name], rows)
            for name, rows in (
                ("users", found.users),
                ("channels", found.channels),
                ("groups", found.groups),
                ("conversations", found.conversations),
            )
        }
        return Draft(at_ms=at_ms, tables=tables, gaps=gaps)

    session.commit(draft_for)
    counts = {
        "users": len(found.users),
        "channels": len(found.channels),
        "groups": len(found.groups),
        "conversations": len(found.conversations),
    }
    return StageResult("directory", counts=counts, gaps=gaps, error=every_token_refused(session))


def every_token_refused(session: Session) -> TokenRefusedError | None:
    """Return the error of a run that was given tokens of which none works, or none did when last tried, else None."""
    refused = [*session.tokens.refused(), *session.tokens.set_aside]
    if not refused or session.tokens.usable_users():
        return None
    first = refused[0]
    return TokenRefusedError(
        f"none of the {len(refused)} tokens works; the first: {first.reason}"
        if len(refused) > 1
        else f"the only token does not work: {first.reason}",
        code=first.code,
        next_step=first.next_step,
    )


def _known(session: Session) -> DirectoryKnown:
    return DirectoryKnown(
        users={key[0]: row for key, row in session.states_of_flock("users").items()},
        channels={key[0]: row for key, row in session.states_of_flock("channels").items()},
        groups={(key[0], key[1]): row for key, row in session.states_of_flock("groups").items()},
        conversations={key[0]: row for key, row in session.states_of_flock("conversations").items()},
    )


def _token_gaps(session: Session) -> tuple[Gap, ...]:
    """Return a gap for each token that is of no use, be it that Flock refused it now or that it did so before."""
    return tuple(refused_token(token) for token in (*session.tokens.refused(), *session.tokens.set_aside))


def _gaps(seen: DirectorySeen) -> tuple[Gap, ...]:
    gaps = []
    for problem in seen.problems:
        what = f"{' '.join(filter(None, (problem.method, problem.subject)))}: {problem.reason}"
        kind = ANSWER_SUSPECT if problem.is_suspicion else DIRECTORY
        gaps.append(Gap(kind=kind, count=problem.count, evidence=what, subject=what))
    return tuple(gaps)
