"""Where a command may put what it makes: one rule for copies, restores and exports. A part of `archiver.wiring`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from archiver.errors import UsageError

if TYPE_CHECKING:
    from archiver.settings import S3Address, Settings


def place_outside(settings: Settings, place: str, *, endpoint_url: str | None = None) -> Path | S3Address:
    """Return the folder or the ``s3://bucket/prefix`` that a command names, a folder as an absolute path.

    ``endpoint_url`` is where a bucket answers, if not where the settings say. Raises `UsageError` for what is no place, and for one inside
    the archive or the state folder, where nothing may be that the archiver did not put there itself. A folder is followed to where its
    links lead.
    """
    from archiver.settings import place_of  # noqa: PLC0415 - heavy, and --help needs none of it

    try:
        found = place_of(place)
    except ValueError as error:
        raise UsageError(f"{place!r} {error}", next_step="name a folder, or s3://bucket/prefix") from None
    if isinstance(found, Path):
        folder = Path(os.path.abspath(found.expanduser()))  # noqa: PTH100 - Path.absolute keeps '..'
        for name, own in _own_folders(settings):
            if folder.resolve().is_relative_to(own):
                raise UsageError(
                    f"{place} lies in the {name} itself, {own}, where nothing else may be",
                    next_step="name a folder of its own",
                )
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{place} is a file", next_step="name a folder")
        return folder
    if _is_in(found, settings.place()) and endpoint_url in (None, settings.s3.endpoint_url):
        raise UsageError(
            f"{place} lies in the archive itself, {settings.archive}, where nothing else may be",
            next_step="name a prefix of its own",
        )
    return found


def place_apart(settings: Settings, place: str, *, endpoint_url: str | None = None) -> Path | S3Address:
    """Return the place of another archive; as `place_outside`, and raises `UsageError` also for one that ours lies in."""
    found = place_outside(settings, place, endpoint_url=endpoint_url)
    if isinstance(found, Path):
        within = [own for _, own in _own_folders(settings) if own.is_relative_to(found.resolve())]
        if within:
            raise UsageError(f"{within[0]} lies in {place}", next_step="name a folder of its own")
        return found
    own = settings.place()
    if not isinstance(own, Path) and _is_in(own, found) and endpoint_url in (None, settings.s3.endpoint_url):
        raise UsageError(f"the archive, {settings.archive}, lies in {place}", next_step="name a prefix of its own")
    return found


def folder_outside(settings: Settings, place: str, *, option: str) -> Path:
    """Return the folder that an option names, as `place_outside`; raises `UsageError` for a bucket too."""
    found = place_outside(settings, place)
    if not isinstance(found, Path):
        raise UsageError(f"{option} takes a folder, and {place} is none", next_step="name a folder of this machine")
    return found


def _own_folders(settings: Settings) -> list[tuple[str, Path]]:
    archive = settings.place()
    own = [("archive", archive.resolve())] if isinstance(archive, Path) else []
    return [*own, ("state folder", settings.state.resolve())]


def _is_in(inner: S3Address, outer: Path | S3Address) -> bool:
    if isinstance(outer, Path) or inner.bucket != outer.bucket:
        return False
    return f"{inner.prefix}/".startswith(f"{outer.prefix}/" if outer.prefix else "")
