"""`archiver retention explain` and `erase`: why one message is still here, and what of one person can go."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from archiver.cli.options import Invocation, config_options, examples
from archiver.cli.output import Output
from archiver.cli.retention_plan import (
    AS_OF_OPTION,
    HTML_OPTION,
    POLICY_OPTION,
    STORE_OPTION,
    finish,
    opened,
    working,
)

if TYPE_CHECKING:
    from archiver.retention.erase import ErasurePlan
    from archiver.retention.evaluate import RuleExplained
    from archiver.retention.explain import Answer, Explained

_CLOCKS: Final = {
    "sent": "its sending",
    "last_activity": "the last activity in its conversation",
    "departure": "its sender's departure",
}


@click.command(
    "explain",
    epilog=examples(
        "archiver retention explain 1795000000000-abc-m201",
        "archiver retention explain 1795000000000-abc-m201 --chat g:0123456789abcdef --json",
        "archiver retention explain 5f0c2a9e7b1d4e68:1207",
    ),
)
@click.argument("uid")
@click.option("--chat", metavar="CHAT", help="The chat's id, if messages of several chats have this uid.")
@AS_OF_OPTION
@POLICY_OPTION
@config_options
def explain(
    invocation: Invocation, *, uid: str, chat: str | None, as_of: str | None, policy_path: Path | None
) -> int | None:
    """Say why the message with this UID is still here, and when it goes: every rule, which decided and why, and the holds.

    A push that could not be read, or that names no message, is named by its spool and its place there (SPOOL:SEQUENCE).
    Also for a message that was disposed of: by which plan, who approved it, and its certificate.
    """
    from archiver.retention.explain import explain as explained  # noqa: PLC0415 - heavy, and --help needs none of it
    from archiver.retention.plan import start_of  # noqa: PLC0415 - as above

    _, archive, policy, day, _ = opened(invocation, policy_path=policy_path, as_of=as_of)
    answer = explained(archive, archive.head(), policy, uid, chat_id=chat, as_of_ms=start_of(day, zone=policy.zone))
    document = {**asdict(answer), "state": answer.state, "sentences": _sentences(answer, policy.zone)}
    invocation.output.result(document, show=lambda out: _show(out, answer, policy.zone))
    return None


@click.command(
    "erase",
    epilog=examples(
        'archiver retention erase --subject ann@acme.com --reason "request of 2026-11-20"',
        'archiver retention erase --subject u:aaaabbbbccccdddd --reason "request 17" --html erasure.html',
    ),
)
@click.option(
    "--subject", required=True, metavar="USER|EMAIL", help="Whom it is for: a user id, or an address they had."
)
@click.option("--reason", required=True, metavar="TEXT", help="Why; stands in the plan and the certificate.")
@AS_OF_OPTION
@POLICY_OPTION
@HTML_OPTION
@STORE_OPTION
@config_options
def erase(
    invocation: Invocation,
    *,
    subject: str,
    reason: str,
    as_of: str | None,
    policy_path: Path | None,
    html_path: Path | None,
    is_stored: bool,
) -> int | None:
    """Plan the erasure of everything that one person sent, its files, and their rows in the directory (GDPR, Article 17).

    What a bot posted on their behalf is theirs too.
    Nothing is removed before `archiver retention apply` is given the plan's digest. What a hold covers stays, and so does what a retain
    period of the policy still keeps (Article 17(3)): it is told how much that is and until when. So is what remains that names them.
    """
    from archiver.retention.erase import find_subject, plan_erasure  # noqa: PLC0415 - as above

    settings, archive, policy, day, _ = opened(invocation, policy_path=policy_path, as_of=as_of)
    head = archive.head()
    whom = find_subject(archive, head, subject, reason=reason)
    with working(invocation.output, "looking at days") as (executor, progress):
        found = plan_erasure(archive, head, policy, whom, as_of=day, executor=executor, progress=progress)
    finish(
        invocation,
        settings,
        archive,
        found.plan,
        policy_path=policy_path,
        html_path=html_path,
        is_stored=is_stored,
        further={
            "user_ids": sorted(whom.user_ids),
            "remains": asdict(found.remains),
            "directory_held_by": found.directory_held_by,
        },
        show_further=lambda out: _show_erasure(out, found),
    )
    return None


def _show_erasure(output: Output, found: ErasurePlan) -> None:
    header, remains = found.plan.header, found.remains
    output.line(f"\nFor {found.subject.named} ({', '.join(sorted(found.subject.user_ids))}): {found.subject.reason}")
    if header.held:
        output.line(f"A hold keeps {header.held:,} items that they sent, until it is released.")
    kept = sum(due.items for due in header.later)
    if kept:
        rules = ", ".join(sorted({due.rule for due in header.later if due.rule}))
        output.line(
            f"Retain periods keep {kept:,} items that they sent, the last until {max(due.month for due in header.later)} "
            f"(Article 17(3) of the GDPR); rules: {rules or 'none'}."
        )
    if found.directory_held_by:
        output.line(
            f"Their entry in the directory stays: {', '.join(found.directory_held_by)} holds what concerns them."
        )
    output.line("What remains that names them, because others wrote it or it is about a chat:")
    output.facts(
        {
            "  messages of others that mention them": f"{remains.mentions:,}",
            "  messages of others in one-to-one chats with them": f"{remains.direct:,}",
            "  rows of memberships": f"{remains.memberships:,}",
            "  rows of conversations": f"{remains.conversations:,}",
        }
    )


def _show(output: Output, answer: Answer, zone: str) -> None:
    for sentence in _sentences(answer, zone):
        output.line(sentence)
    for item in answer.items:
        name = {"message": "the message", "file": f"file {item.ordinal}", "event": "the push"}[item.kind]
        output.table(
            ["rule", "matches", "because", "periods begin on", "retains until", "deletes at"],
            [_rule_row(rule, zone) for rule in item.explanation.rules],
            title=f"What every rule says of {name}",
        )


def _rule_row(rule: RuleExplained, zone: str) -> tuple[object, ...]:
    why = ", ".join(rule.holds) if rule.is_matching else f"not {', '.join(rule.fails)}"
    begins = "not known" if rule.begins_on is None else f"{rule.begins_on} ({_CLOCKS[rule.clock]})"
    told = (why or "it is for everything", begins if rule.is_matching else "")
    if not rule.is_matching:
        return (rule.rule, "no", *told, "", "")
    return (rule.rule, "yes", *told, _end_of(rule.retain_until_ms, zone), _end_of(rule.delete_at_ms, zone))


def _sentences(answer: Answer, zone: str) -> list[str]:
    """Return what a records manager is told."""
    told = []
    if answer.state == "unknown":
        told.append(
            f"No message with the uid {answer.message_uid} is in this archive, and no certificate's plan lists one."
        )
        told.append("  It was never captured, or the uid is misspelt; `archiver gaps` lists what may be missing.")
    for item in answer.items:
        told += _about(item, answer, zone)
    for gone in answer.disposed:
        what = {"message": "The message", "file": "A file of it", "event": "The push"}.get(gone.kind, "It")
        if any(item.kind == gone.kind != "file" for item in answer.items):
            told.append(
                f"Plan {gone.plan} listed it, but it stayed: a hold kept it when the plan was applied at {gone.at}."
            )
            continue
        told.append(
            f"{what} was disposed of at {gone.at} by the rule {gone.rule or '-'} ({_principle(gone.principle)}); "
            f"plan {gone.plan}, approved by {gone.approved_by}. Certificate: {gone.certificate}"
        )
    return told


def _about(item: Explained, answer: Answer, zone: str) -> list[str]:
    said = item.explanation
    name = {
        "message": f"The message {answer.message_uid} in {answer.chat_id}, sent",
        "file": f"Its file {item.ordinal}, sent",
        "event": f"The push {item.push}, which names no message or could not be read, received",
    }[item.kind]
    begins = f"{name} at {item.sent_at}, "
    held = [
        f"  The hold {hold.hold} covers it: {hold.reason} (placed by {hold.placed_by} at {hold.placed_at})."
        for hold in item.holds
    ]
    by = f" by the rule {said.rule}" if said.rule else ""
    why = f"  {_principle(said.principle).capitalize()}{f' (the rule {said.rule})' if said.rule else ''}."
    if item.state == "held":
        after = (
            "nothing would let it go"
            if said.delete_at_ms is None
            else f"it would go on {_day_of(said.delete_at_ms, zone)}{by}"
        )
        return [f"{begins}stays while a hold covers it. Without the hold {after}.", *held, why]
    if item.state == "kept":
        return [f"{begins}is kept; nothing says when it goes.", why]
    if item.state == "due":
        return [
            f"{begins}is due since {_day_of(said.delete_at_ms, zone)}: it goes with the next plan that is applied.",
            why,
        ]
    return [f"{begins}stays until the end of {_last_day(said.delete_at_ms, zone)} and goes after that.", why]


def _principle(code: str | None) -> str:
    from archiver.retention.decide import PRINCIPLES  # noqa: PLC0415 - as above
    from archiver.retention.judging import ERASURE_PRINCIPLES  # noqa: PLC0415 - as above

    known = [*PRINCIPLES.items(), *ERASURE_PRINCIPLES.items()]
    return next((sentence for one, sentence in known if one == code), code or "no reason is written down")


def _end_of(at_ms: int | None, zone: str) -> str:
    return "" if at_ms is None else f"end of {_last_day(at_ms, zone)}"


def _last_day(at_ms: int | None, zone: str) -> str:
    """Return the last day of a period that ends at an instant."""
    return _day_of(None if at_ms is None else at_ms - 1, zone)


def _day_of(at_ms: int | None, zone: str) -> str:
    from archiver.retention.periods import OPEN_END_MS  # noqa: PLC0415 - as above
    from archiver.retention.plan import today  # noqa: PLC0415 - as above

    if at_ms is None or at_ms >= OPEN_END_MS - 1:
        return "a day that is not known yet"
    return f"{today(at_ms, zone=zone)}"
