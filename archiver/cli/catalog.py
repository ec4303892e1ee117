"""`archiver catalog`: the archive as other engines find it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from archiver.cli.options import Invocation, config_options, examples
from archiver.cli.output import Output

if TYPE_CHECKING:
    from archiver.query.iceberg import Published


@click.group(
    epilog=examples(
        "archiver catalog duckdb > archive.sql",
        "archiver catalog athena --register",
        "archiver catalog iceberg --json",
    ),
    short_help="Show the archive to DuckDB, Athena and Iceberg engines.",
)
def command() -> None:
    """Show the archive to engines that know nothing of us: DuckDB, Athena, and whatever reads Iceberg tables.

    Each shows exactly one commit, the newest, and is brought to a later one by the same command.
    """


@command.command(
    epilog=examples(
        "archiver catalog duckdb > archive.sql",
        "archiver catalog duckdb | duckdb archive.duckdb",
    )
)
@config_options
def duckdb(invocation: Invocation) -> int | None:
    """Print a script with which any DuckDB has the archive's tables, views and macros, without us."""
    from archiver import wiring, wiring_query  # noqa: PLC0415 - heavy, and --help needs none of it

    settings = invocation.settings()
    archive = wiring.open_archive(settings)
    head = archive.head()
    lines = wiring_query.script(settings, archive, head)
    _print_statements(invocation.output, head.sequence, lines, separator="\n")
    return None


@command.command(
    epilog=examples(
        "archiver catalog athena",
        "archiver catalog athena --register",
        "archiver catalog athena --manifests > archive.sql",
    )
)
@click.option("--register", "registers", is_flag=True, help="Write the manifests and make the tables and views.")
@click.option(
    "--manifests", "writes", is_flag=True, help="Write the manifests, and print the DDL for somebody else to run."
)
@config_options
def athena(invocation: Invocation, *, registers: bool, writes: bool) -> int | None:
    """Print the DDL of the archive's tables and views for Athena, or register them in Glue.

    The tables lie over manifests, lists of the objects of one commit below catalog/athena/ in the archive, so that Athena sees that
    commit and nothing beside it. Days are computed (partition projection): no crawler runs. Register again after each run.
    """
    from archiver import wiring, wiring_query  # noqa: PLC0415 - heavy, and --help needs none of it
    from archiver.query import athena_ddl, athena_glue  # noqa: PLC0415 - as above

    settings = invocation.settings()
    archive = wiring.open_archive(settings)
    head = archive.head()
    output = invocation.output
    root = athena_glue.root_of(archive)
    if registers:
        done = wiring_query.register_athena(settings, archive, head)
        document = {name: getattr(done, name) for name in done.__dataclass_fields__}
        output.result(document, show=lambda shown: shown.facts(document))
        return None
    if writes:
        output.note(f"{athena_glue.write_manifests(archive, head)} manifests were written.")
    else:
        output.note(
            "The manifests that this DDL points to are written by --manifests, or by --register with all the rest."
        )
    statements = [f"{text};" for text in athena_ddl.ddl(head, root=root, database=settings.athena.database)]
    _print_statements(output, head.sequence, statements, separator="\n\n")
    return None


@command.command(epilog=examples("archiver catalog iceberg", "archiver catalog iceberg --json"))
@config_options
def iceberg(invocation: Invocation) -> int | None:
    """Publish the newest commit as a snapshot of Iceberg tables over the archive's own files; no data is copied.

    The metadata lies below catalog/iceberg/ in the archive, and `iceberg:` in archiver.yaml names the catalog: an SQL database by
    default, Glue or REST. Publish after each run, and after each disposal: then nothing in the catalog names what is gone.
    """
    from archiver import wiring, wiring_query  # noqa: PLC0415 - heavy, and --help needs none of it

    settings = invocation.settings()
    archive = wiring.open_archive(settings)
    head = archive.head()
    done = wiring_query.publish_iceberg(settings, archive, head)
    names = ("table", "added", "removed", "expired", "metadata")
    document = {
        "sequence": head.sequence,
        "digest": head.digest,
        "namespace": settings.iceberg.namespace,
        "tables": [{name: getattr(one, name) for name in names} for one in done],
    }
    invocation.output.result(document, show=lambda output: _show_published(output, head.sequence, done))
    return None


def _show_published(output: Output, sequence: int, done: list[Published]) -> None:
    output.line(f"Commit {sequence} is published.")
    rows = [(one.table, one.added, one.removed, one.expired, one.metadata) for one in done]
    output.table(["table", "objects added", "removed", "snapshots expired", "metadata"], rows)


def _print_statements(output: Output, sequence: int, statements: list[str], *, separator: str) -> None:
    def show(shown: Output) -> None:
        shown.write((separator.join(statements) + "\n").encode())

    output.result({"sequence": sequence, "statements": statements}, show=show)
