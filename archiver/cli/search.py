"""`archiver search`: find messages by what was said, by whom, where and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import click

from archiver.cli.options import Invocation, config_options, examples
from archiver.cli.scope_options import matter_option, zone_option
from archiver.errors import EXIT_GAPS

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from archiver.archive.reader import Archive, Head
    from archiver.cli.search_shown import Shown
    from archiver.discovery.index import Index, OpenIndex
    from archiver.discovery.search_answer import Answer, Question
    from archiver.discovery.search_facts import Knowledge
    from archiver.settings import Settings

# As in `archiver.discovery.search` and `search_around`, spelt out so that --help imports nothing; a test holds them together.
LIMIT_DEFAULT = 20
LIMIT_MAX = 1_000
CONTEXT_MAX = 50


@click.command(
    epilog=examples(
        "archiver search 'merger agreement'",
        "archiver search '\"price list\" from:ann@acme.com after:2026-01 NOT in:lunch' --zone Europe/Berlin",
        "archiver search '\"merger price\"~5 has:file' --context 3 --threads",
        "archiver search 'merg*' --order oldest --limit 100 --json",
        "archiver search 'from:ann merger' --matter smith-v-acme --count",
    )
)
@click.argument("text", metavar="EXPR")
@zone_option
@click.option(
    "--order", type=click.Choice(["newest", "oldest"]), default="newest", show_default=True, help="What comes first."
)
@click.option(
    "--limit",
    type=click.IntRange(1, LIMIT_MAX),
    default=LIMIT_DEFAULT,
    show_default=True,
    help="How many messages a page has at most.",
)
@click.option("--after", "token", metavar="TOKEN", help="The next page: the token that the one before ended with.")
@click.option("--count", "is_counted", is_flag=True, help="Count all messages exactly, whatever it costs.")
@click.option(
    "--context",
    "context",
    type=click.IntRange(0, CONTEXT_MAX),
    default=0,
    metavar="N",
    help="Show N messages before and after each in its conversation.",
)
@click.option(
    "--threads",
    "has_threads",
    is_flag=True,
    help="Show what each replies to and the replies to it, as far as one can tell.",
)
@matter_option
@click.option("--no-index", "no_index", is_flag=True, help="Read the messages themselves; slower, and finds the same.")
@click.option("--rebuild-index", "rebuilds", is_flag=True, help="Throw the index away and make it anew first.")
@config_options
def command(
    invocation: Invocation,
    *,
    text: str,
    zone: str,
    order: Literal["newest", "oldest"],
    limit: int,
    token: str | None,
    is_counted: bool,
    context: int,
    has_threads: bool,
    matter: str | None,
    no_index: bool,
    rebuilds: bool,
) -> int | None:
    """Find the messages that a search expression means: words, "phrases", prefix*, "near words"~5, AND OR NOT ( ), and the filters
    from: to: in: before: after: on: has:file mime: is:edited is:missing type: label:.

    Every version that was ever archived is looked at, so that what was edited away is found, too, and said to be. What Flock no longer
    returns is found as well, with the day since when. Nothing is left out: a page ends with the token of the next one.

    The first search makes an index in the state folder, which holds the words of all messages; later ones bring it up to date. A search
    changes nothing in the archive, unless --matter enters it in the ledger; then all
    that it finds is counted. Names that the archive does not know are told, with exit code 3.
    """  # noqa: D205 - the grammar is one sentence
    from archiver import wiring  # noqa: PLC0415 - the parts are heavy, and --help needs none of them
    from archiver.archive.copies import refuse_copy  # noqa: PLC0415 - as above
    from archiver.cli.search_shown import document, position_of, show, warn_of_unknown  # noqa: PLC0415 - as above
    from archiver.discovery.search_answer import Question  # noqa: PLC0415 - as above
    from archiver.expression import parse_expression  # noqa: PLC0415 - as above
    from archiver.scope.days import zone_called  # noqa: PLC0415 - as above

    question = Question(
        expression=parse_expression(text, zone=zone_called(zone)),
        order=order,
        limit=limit,
        after=None if token is None else position_of(token),
        context=context,
        counts=is_counted or matter is not None,
    )
    settings = invocation.settings()
    archive = wiring.open_seen_archive(settings) if matter is not None else wiring.open_archive(settings)
    if matter is not None:
        refuse_copy(archive.store)
    call = _Call(invocation, settings, archive, archive.head(), question)
    shown = call.shown(uses_index=not no_index, rebuilds=rebuilds, has_threads=has_threads)
    entry = None if matter is None else call.record(matter, shown)
    invocation.output.result(
        document(shown, matter=matter, entry=entry), show=lambda out: show(out, shown, matter=matter, entry=entry)
    )
    warn_of_unknown(invocation.output, shown)
    return EXIT_GAPS if shown.answer.unknown else None


@dataclass(frozen=True, slots=True)
class _Call:
    """One search of one head."""

    invocation: Invocation
    settings: Settings
    archive: Archive
    head: Head
    question: Question

    def shown(self, *, uses_index: bool, rebuilds: bool, has_threads: bool) -> Shown:
        """Return what is found; an index that turns out to be unusable is thrown away and made anew once."""
        from archiver import wiring_search  # noqa: PLC0415 - as above
        from archiver.cli.search_shown import Shown  # noqa: PLC0415 - as above
        from archiver.discovery.index import without_index  # noqa: PLC0415 - as above
        from archiver.discovery.search_facts import read_knowledge  # noqa: PLC0415 - as above
        from archiver.scope.membership import read_membership  # noqa: PLC0415 - as above

        expression, store = self.question.expression, self.archive.store
        index = wiring_search.index_of(self.settings, self.archive) if uses_index else None
        with wiring_search.reading() as executor:
            knowledge = read_knowledge(
                store,
                self.head,
                expression,
                directory=read_membership(store, self.head).directory,
                labels=wiring_search.labels(self.settings) if expression.needs_labels else None,
            )
            opened = without_index(self.head) if index is None else self._refreshed(index, rebuilds=rebuilds)
            answered, is_indexed = self._answered(index, opened, knowledge, executor)
        keys = [(hit.position.chat_id, hit.position.message_uid) for hit in answered.page.hits]
        replies = wiring_search.replies(self.settings, self.archive, self.head, keys) if has_threads and keys else []
        return Shown(
            question=self.question,
            answer=answered,
            directory=knowledge.directory,
            head=self.head,
            replies=replies if has_threads else None,
            index=index.state(self.head) if index is not None and is_indexed else None,
        )

    def _answered(
        self, index: Index | None, opened: OpenIndex, knowledge: Knowledge, executor: Executor
    ) -> tuple[Answer, bool]:
        """Return the answer, and whether the index had a part in it."""
        from archiver.discovery.index import without_index  # noqa: PLC0415 - as above
        from archiver.discovery.index_shard import ShardBrokenError  # noqa: PLC0415 - as above
        from archiver.discovery.search_answer import answer  # noqa: PLC0415 - as above
        from archiver.discovery.search_places import Places  # noqa: PLC0415 - as above

        store = self.archive.store
        if index is not None:
            try:
                return answer(Places(store, self.head, opened, knowledge, executor), self.question), bool(opened.shards)
            except ShardBrokenError as error:
                self.invocation.output.warn(f"archiver: warning: {error}; the index is made anew")
                opened = self._refreshed(index, rebuilds=True)
            try:
                return answer(Places(store, self.head, opened, knowledge, executor), self.question), bool(opened.shards)
            except ShardBrokenError as error:
                self.invocation.output.warn(f"archiver: warning: {error}; the messages themselves are read")
        return answer(Places(store, self.head, without_index(self.head), knowledge, executor), self.question), False

    def _refreshed(self, index: Index, *, rebuilds: bool) -> OpenIndex:
        """Bring the index up to date and open it; where it cannot be written, what there is of it is used."""
        from archiver import wiring_search  # noqa: PLC0415 - as above

        output = self.invocation.output
        try:
            if rebuilds:
                index.drop()
            if index.state(self.head).objects_behind or index.is_stale(self.head):
                with output.progress() as bars:
                    task = bars.add_task("indexing", total=None)
                    is_ours = wiring_search.refresh(
                        self.settings,
                        index,
                        self.head,
                        progress=lambda done, total: bars.update(task, completed=done, total=total),
                    )
                if not is_ours:
                    output.note("Another process brings the index up to date; what it lacks is read from the archive.")
        except OSError as error:
            output.warn(
                f"archiver: warning: the index in {index.folder} cannot be written ({error.strerror or error}); "
                "what it lacks is read from the archive, which takes longer"
            )
        return index.open(self.head)

    def record(self, matter: str, shown: Shown) -> int:
        """Enter the search in the ledger and return the sequence of the entry."""
        from archiver import wiring  # noqa: PLC0415 - as above
        from archiver.archive.ledger import HoldScope, MatterAct  # noqa: PLC0415 - as above
        from archiver.archive.matters import record_act  # noqa: PLC0415 - as above
        from archiver.clock import SystemClock  # noqa: PLC0415 - as above

        expression, page = self.question.expression, shown.answer.page
        act = MatterAct(
            matter=matter,
            head_sequence=self.head.sequence,
            head_digest=self.head.digest,
            counts={"messages": shown.answer.total or 0, "shown": len(page.hits)},
            scope=HoldScope(expression=expression.canonical, zone=expression.zone.key),
            detail={"written": expression.written, "order": self.question.order, "limit": str(self.question.limit)},
        )
        clock = SystemClock()
        author = wiring.author_beside_runs(clock=clock)
        return record_act(self.archive, self.head, "search", act, author=author, now_ms=clock.now_ms).sequence
