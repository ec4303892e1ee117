"""The formats of an export, by the name that ``--format`` takes; a writer's module is imported only where its format is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Final, Protocol, cast

from archiver.discovery.export.record import Terms
from archiver.discovery.export.sink import Sink, Writer
from archiver.errors import UsageError

# By name: the module of the writer and its class, and what the format is in a few words.
FORMATS: Final[dict[str, tuple[str, str]]] = {
    "html": ("archiver.discovery.export.formats.html:HtmlWriter", "pages that any browser shows, offline"),
    "rsmf": ("archiver.discovery.export.formats.rsmf:RsmfWriter", "RSMF 2.0, for Relativity and its like"),
    "eml": ("archiver.discovery.export.formats.eml:EmlWriter", "mails, one for each conversation and day"),
    "dat": (
        "archiver.discovery.export.formats.concordance:DatWriter",
        "a Concordance load file with texts and natives",
    ),
    "edrm": ("archiver.discovery.export.formats.edrm:EdrmWriter", "EDRM XML 1.2"),
    "csv": ("archiver.discovery.export.formats.csv:CsvWriter", "tables for a spreadsheet"),
    "jsonl": ("archiver.discovery.export.formats.jsonl:JsonlWriter", "one JSON object a line"),
    "parquet": ("archiver.discovery.export.formats.parquet:ParquetWriter", "tables for DuckDB and its like"),
    "slack": ("archiver.discovery.export.formats.slack:SlackWriter", "a zip as Slack exports it"),
}


class WriterClass(Protocol):
    """A class of writers."""

    by_half: bool
    """Whether two of them may write the halves of an export (`archiver.discovery.export.sink.Writer`)."""

    def __call__(self, terms: Terms, sink: Sink) -> Writer:
        """Return a writer."""


def writer_class(name: str) -> WriterClass:
    """Return the class that writes a format; raises `UsageError` for a format that nobody knows."""
    known = FORMATS.get(name)
    if known is None:
        raise UsageError(f"there is no format {name!r}", next_step=f"choose among {', '.join(FORMATS)}")
    module, _, attribute = known[0].partition(":")
    try:
        return cast("WriterClass", getattr(import_module(module), attribute))
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise UsageError(f"this version cannot write {name}", next_step=f"choose among {', '.join(FORMATS)}") from None
