"""`archiver init`: a commented configuration and a folder for secrets, so that the next step is to fill in what only the user knows."""

from __future__ import annotations

import base64
import json
import os
import secrets
import tempfile
from pathlib import Path
from string import Template

import click

from archiver.cli.options import CONFIG_FILE, examples, output_options
from archiver.cli.output import Output
from archiver.errors import ConfigError, RefusedError, StorageError

SECRETS_FOLDER = "secrets"
SCHEMA_FILE = "archiver.schema.json"
TEMPLATE_FILE = Path(__file__).with_name("init_template.yaml")

# 43 characters of URL-safe text.
PATH_SECRET_BYTES = 32
FERNET_KEY_BYTES = 32

_FOLDER_MODE = 0o700
_SECRET_MODE = 0o600
_FILE_MODE = 0o644


@click.command(
    epilog=examples(
        "archiver init --workspace acme",
        "archiver init /etc/archiver --workspace acme --archive s3://acme-archive/flock",
    )
)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=".")
@click.option("--workspace", default="my-workspace", show_default=True, help="Name of the Flock team.")
@click.option(
    "--archive",
    default="./archive",
    show_default=True,
    help="Where the archive will lie: a folder or s3://bucket/prefix.",
)
@output_options
def command(output: Output, *, folder: Path, workspace: str, archive: str) -> int | None:
    """Write a commented archiver.yaml and a folder for secrets into FOLDER.

    The secret path of the webhooks and the key that encrypts tokens at rest are made at random. Nothing that exists is
    written over.
    """
    config = folder / CONFIG_FILE
    written = _files(workspace=workspace, archive=archive)
    present = [name for name in written if os.path.lexists(folder / name)]
    if present:
        raise RefusedError(
            f"{folder} already holds {', '.join(present)}",
            next_step="choose another folder, or move what stands there; init writes over nothing",
        )
    _check(written[CONFIG_FILE])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SECRETS_FOLDER).mkdir(mode=_FOLDER_MODE, exist_ok=True)
        for name, text in written.items():
            mode = _SECRET_MODE if name.startswith(SECRETS_FOLDER) else _FILE_MODE
            _create(folder / name, text, mode=mode)
    except OSError as error:
        raise StorageError(f"{error.filename or folder} cannot be written: {error.strerror}") from None
    document = {"config": config.absolute(), "written": [str((folder / name).absolute()) for name in written]}
    output.result(document, show=lambda out: _show(out, config=config, written=list(written)))
    return None


def _files(*, workspace: str, archive: str) -> dict[str, str]:
    from archiver.settings import schema_text  # noqa: PLC0415 - pydantic is heavy, and --help needs none of it

    # JSON text is YAML text, whatever the name holds.
    values = {"workspace": json.dumps(workspace), "archive": json.dumps(archive), "schema": SCHEMA_FILE}
    return {
        CONFIG_FILE: Template(TEMPLATE_FILE.read_text("utf-8")).substitute(values),
        SCHEMA_FILE: schema_text(),
        f"{SECRETS_FOLDER}/path_secret": secrets.token_urlsafe(PATH_SECRET_BYTES) + "\n",
        f"{SECRETS_FOLDER}/token_key": base64.urlsafe_b64encode(secrets.token_bytes(FERNET_KEY_BYTES)).decode() + "\n",
        f"{SECRETS_FOLDER}/flock_tokens.json": "{}\n",
        f"{SECRETS_FOLDER}/webhook_tokens.json": "{}\n",
    }


def _create(path: Path, text: str, *, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _check(text: str) -> None:
    """Read the configuration before it is written, so that a name or place that cannot be used leaves nothing behind."""
    from archiver.settings import load  # noqa: PLC0415 - as above

    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, CONFIG_FILE)
        config.write_text(text, "utf-8")
        try:
            load(config)
        except ConfigError as error:
            raise ConfigError(
                error.what.replace(str(config), CONFIG_FILE), next_step="correct the option of that name"
            ) from None


def _show(output: Output, *, config: Path, written: list[str]) -> None:
    output.line(f"Written to {config.parent}:")
    for name in written:
        output.line(f"  {name}")
    output.line()
    output.line("Next:")
    output.line(
        f"  1. put the Flock tokens into {SECRETS_FOLDER}/flock_tokens.json, and the webhooks' into webhook_tokens.json"
    )
    output.line(f"  2. archiver listen --config {config}")
    output.line(f"  3. archiver run --config {config}, nightly from cron")
