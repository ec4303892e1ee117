"""What is odd in a policy that can be read: warnings, each with its file, line, rule and stable code.

A warning is given only for what is certain, or, of two rules that can meet, for what cannot be excluded: `archiver.retention.overlap`
says which rules cover each other and which can never meet. Mistakes that make a policy unusable are `archiver.retention.policy_file`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import pyarrow as pa

from archiver.archive import layout
from archiver.archive.reader import Head, files_of, read_rows
from archiver.archive.schema import TABLES
from archiver.retention.evaluate import Evaluator
from archiver.retention.findings import Finding
from archiver.retention.overlap import are_disjoint, covers, explicitness
from archiver.retention.periods import Period
from archiver.retention.policy import Policy, Rule, labels_of
from archiver.retention.policy_file import WrittenPolicy
from archiver.store import Store

# The keys of a rule that a file answers without its message.
_KNOWN_OF_FILES = frozenset({"channel", "kind", "sent", "label", "has_file", "mime", "size"})

# A policy in which everything overlaps everything is told so without saying it thousands of times.
OVERLAPS_SHOWN_MAX = 50


def warnings_of(written: WrittenPolicy, *, earlier: Policy | None = None) -> list[Finding]:
    """Return what the policy itself shows; with an earlier policy also what it takes back of what that one locked."""
    policy = written.policy
    found = list(_never_wins(written))
    idle = {finding.rule for finding in found}
    found += _overlaps(written, [rule for rule in policy.rules if rule.decides and rule.name not in idle])
    found += _files_that_stay(written)
    found += [
        written.warning("unused-label", f"no rule speaks of the label {label!r}", keys=("labels", label))
        for label in policy.labels.keys() - labels_of(policy.rules)
    ]
    if earlier is not None:
        found += _shortened(written, earlier)
    return in_order(found)


def archive_warnings(written: WrittenPolicy, evaluator: Evaluator, store: Store, head: Head) -> list[Finding]:
    """Return which rules match nothing in an archive. It is read until every rule has matched something, or to its end."""
    left = {rule.name for rule in written.policy.rules}
    for messages, files in _days(store, head, evaluator):
        left -= evaluator.rules_of_messages(messages, files)
        if left and files.num_rows:
            left -= evaluator.rules_of_files(files, messages)
        if not left:
            break
    message = f"no message and no file of the archive is matched, as of commit {head.sequence}"
    return in_order(written.warning("matches-nothing", message, rule=name) for name in left)


def in_order(findings: Sequence[Finding] | Iterator[Finding]) -> list[Finding]:
    """Return findings by line."""
    return sorted(findings, key=lambda finding: (finding.line, finding.code, finding.message))


def _days(store: Store, head: Head, evaluator: Evaluator) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Yield the messages and files of each day, the newest first: what a rule is meant for is likelier there."""
    columns = {"messages": evaluator.message_columns, "files": evaluator.file_columns}
    days = {layout.partition_of(record.key)[1] for table in columns for record in files_of(head, table)}
    for day in sorted(days, reverse=True):
        tables = []
        for table, names in columns.items():
            schema = pa.schema([TABLES[table].schema.field(name) for name in names])
            batches = read_rows(store, files_of(head, table, days=frozenset({day})), names)
            tables.append(
                pa.Table.from_batches([batch.select(list(names)).cast(schema) for batch in batches], schema=schema)
            )
        yield tables[0], tables[1]


def _never_wins(written: WrittenPolicy) -> Iterator[Finding]:
    rules = [rule for rule in written.policy.rules if rule.decides]
    is_idle = _is_idle_in_longest if written.policy.mode == "longest" else _is_idle_in_specific
    for rule in rules:
        if rule.tier is not None or rule.locked:
            continue  # It does something else beside deciding.
        # Of two rules that say the same the first by name counts, and so the other is idle.
        others = [
            other
            for other in rules
            if other is not rule
            and other.clock == rule.clock
            and covers(other, rule)
            and not (_says_the_same(other, rule) and rule.name < other.name)
        ]
        names = is_idle(rule, others, rules)
        if names:
            because = sorted({repr(name) for name in names})
            beats = (
                "matches whatever it matches, and wins" if len(because) == 1 else "match whatever it matches, and win"
            )
            message = f"it can never decide: {' and '.join(because)} {beats}"
            yield written.warning("never-wins", message, rule=rule.name)


def _says_the_same(one: Rule, other: Rule) -> bool:
    return covers(one, other) and covers(other, one) and (one.retain, one.delete) == (other.retain, other.delete)


def _is_idle_in_longest(rule: Rule, others: Sequence[Rule], rules: Sequence[Rule]) -> list[str]:
    """Return the rules that always decide in place of this one, none if it may decide."""
    by: list[str] = []
    if rule.retain is not None:
        retaining = [other for other in others if _is_as_long(other.retain, rule.retain)]
        if not retaining:
            return []
        by.append(retaining[0].name)
    if rule.delete is not None:
        deciding = _deleting_sooner(rule, others) or _deferring(rule, others, rules)
        if not deciding:
            return []
        by += deciding
    return by


def _is_as_long(one: Period | None, other: Period) -> bool:
    return one is not None and other.is_never_longer_than(one)


def _deleting_sooner(rule: Rule, others: Sequence[Rule]) -> list[str]:
    """Return a rule at least as explicit that deletes no later."""
    for other in others:
        if (
            rule.delete is not None
            and other.delete is not None
            and explicitness(other) <= explicitness(rule)
            and other.delete.is_never_longer_than(rule.delete)
        ):
            return [other.name]
    return []


def _deferring(rule: Rule, others: Sequence[Rule], rules: Sequence[Rule]) -> list[str]:
    """Return a rule that retains beyond this one's deletion and one that deletes then anyway, if no other can come between."""
    for retaining in others:
        if rule.delete is None or not _is_as_long(retaining.retain, rule.delete):
            continue
        for deleting in others:
            between = [
                other
                for other in rules
                if other is not rule and other.delete is not None and explicitness(other) < explicitness(deleting)
            ]
            if (
                deleting.delete is not None
                and _is_as_long(retaining.retain, deleting.delete)
                and all(are_disjoint(other, rule) for other in between)
            ):
                return [retaining.name, deleting.name]
    return []


def _is_idle_in_specific(rule: Rule, others: Sequence[Rule], rules: Sequence[Rule]) -> list[str]:
    del rules
    own = [period for period in (rule.retain, rule.delete) if period is not None]
    for other in others:
        of_other = [period for period in (other.retain, other.delete) if period is not None]
        if (
            (other.level == "all") == (rule.level == "all")
            and (rule.delete is None or other.delete is not None)
            and (rule.retain is None or _is_as_long(other.retain, rule.retain))
            and all(any(period.is_never_longer_than(longer) for longer in of_other) for period in own)
        ):
            return [other.name]
    return []


def _overlaps(written: WrittenPolicy, rules: Sequence[Rule]) -> Iterator[Finding]:
    meeting = [
        (one, other)
        for one, other in combinations(rules, 2)
        if one.level == other.level != "all"
        and (one.retain, one.delete, one.clock) != (other.retain, other.delete, other.clock)
        and not are_disjoint(one, other)
    ]
    for one, other in meeting[:OVERLAPS_SHOWN_MAX]:
        decides = _longest_of_two(one, other) if written.policy.mode == "longest" else _latest_of_two(one, other)
        message = f"an item can match {other.name!r} too, which says something else; {decides}"
        yield written.warning("overlap", message, rule=one.name)
    if len(meeting) > OVERLAPS_SHOWN_MAX:
        one, _ = meeting[OVERLAPS_SHOWN_MAX]
        message = f"{len(meeting) - OVERLAPS_SHOWN_MAX} more pairs of rules can match one item"
        yield written.warning("overlap", message, rule=one.name)


def _files_that_stay(written: WrittenPolicy) -> Iterator[Finding]:
    """Find rules by which messages go and leave files behind, where a rule about files then has nobody to ask."""
    rules = [rule for rule in written.policy.rules if rule.decides]
    asking = [rule for rule in rules if rule.on != "messages" and _asks_message(rule)]
    for rule in rules:
        leaves_files = (rule.on == "messages" and rule.delete is not None) or (
            rule.on == "files"
            and rule.retain is not None
            and any(other.delete for other in rules if other.on != "files")
        )
        if asking and leaves_files:
            message = (
                f"a message can go before its files, and {asking[0].name!r} asks the message of a file; "
                "a file whose message is gone is then kept for good"
            )
            yield written.warning("files-stay", message, rule=rule.name)


def _asks_message(rule: Rule) -> bool:
    """Tell whether a rule about files asks what only their messages tell."""
    asked = {*rule.match.given(), *rule.exclude.given()}
    return rule.clock == "departure" or not asked <= _KNOWN_OF_FILES


def _longest_of_two(one: Rule, other: Rule) -> str:
    said = [
        _of_two(one, other, key, both=both, alone=alone)
        for key, both, alone in (
            ("retain", "the longer retention wins", "retains"),
            ("delete", "the earlier deletion wins", "deletes"),
        )
    ]
    told = " and ".join(filter(None, said))
    return f"{told}, but never while anything retains it" if said[1] else told


def _of_two(one: Rule, other: Rule, key: str, *, both: str, alone: str) -> str:
    periods = [
        f"{rule.name}: {period}" + ("" if rule.clock == "sent" else f" from {rule.clock}")
        for rule in (one, other)
        if (period := getattr(rule, key)) is not None
    ]
    if len(periods) == 1:
        return f"one {alone} ({periods[0]})"
    return f"{both} ({', '.join(periods)})" if periods else ""


def _latest_of_two(one: Rule, other: Rule) -> str:
    named = [
        f"{rule.name}: {'/'.join(str(period) for period in (rule.retain, rule.delete) if period)}"
        for rule in (one, other)
    ]
    return f"the later expiry wins ({', '.join(named)})"


def _shortened(written: WrittenPolicy, earlier: Policy) -> Iterator[Finding]:
    """Find what an earlier policy locked and this one does not keep to; what lies locked in the storage stays so."""
    rules = {rule.name: rule for rule in written.policy.rules}
    for locked in (rule for rule in earlier.rules if rule.locked and rule.retain is not None):
        now = rules.get(locked.name)
        if now is None:
            message = f"the rule {locked.name!r}, which locked {locked.retain}, is gone; what it locked stays locked"
            yield written.warning("shortens-locked", message, keys=("rules",))
        elif now.retain is None or locked.retain is None or not locked.retain.is_never_longer_than(now.retain):
            message = f"retain was {locked.retain} and locked; what is locked stays so for {locked.retain}, whatever stands here now"
            yield written.warning("shortens-locked", message, rule=now.name, keys=("retain",))
        elif not now.locked:
            message = "its retain period was locked and is not now; what is locked stays so"
            yield written.warning("shortens-locked", message, rule=now.name)
