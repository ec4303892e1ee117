"""What Flock says when it does not answer: error bodies (flock-api.md 3) as errors, in words fit for a log and without a token."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from archiver.errors import FlockError, FlockMethodError, TokenRefusedError
from archiver.flock.answers import read_object
from archiver.flock.tokens import REDACTED, UserToken

_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
# 403 answers carry one of these (flock-api.md 3); without any token Flock says 400 MissingUserToken.
_TOKEN_CODES: Final = frozenset({"InvalidToken", "InvalidUserToken", "AppDisabled", "MissingUserToken"})
_INVALID_CODE: Final = "InvalidToken"
_APP_DISABLED: Final = "AppDisabled"
# By the value of ``disabledBy`` (flock-api.md 3).
_WHO_DISABLED: Final = {"team": "the team has disabled the app", "user": "the user has disabled the app"}
_WHO_ENABLES: Final = {
    "team": "Let the team's admin enable the app again.",
    "user": "Let the user enable the app again.",
}
_SHOWN_CHARACTERS_MAX: Final = 200
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def error_fields(body: bytes) -> Mapping[str, Any]:
    """Return the fields of an error body; a proxy's HTML page or nothing at all has none."""
    try:
        return read_object(body)
    except ValueError:
        return {}


def refusal(
    method: str, token: UserToken, status: int, fields: Mapping[str, Any], *, is_flocks: bool = True
) -> FlockError:
    """Return the error of a call that Flock refuses: of this token, or of this call alone.

    A customer's gateway knows Flock's codes or does not; from it only 401 speaks of the token, and 403 of this call.
    """
    code = _text_field(fields, "error", token)
    said = describe(status, fields, token)
    if status == _UNAUTHORIZED or code in _TOKEN_CODES or (status == _FORBIDDEN and not code and is_flocks):
        by = _text_field(fields, "disabledBy", token)
        if code == _APP_DISABLED:
            said = f"{_WHO_DISABLED.get(by, 'the app is disabled for this user')} ({said})"
        return TokenRefusedError(
            f"Flock refuses the token of {token.user_id} (fingerprint {token.fingerprint}): {said}",
            # Flock's table has no 401; one client in the field meets it and takes it for InvalidToken (flock-api.md 3).
            code=code or (_INVALID_CODE if status == _UNAUTHORIZED else ""),
            next_step=_next_step_for_token(code, by),
        )
    return FlockMethodError(
        f"Flock refuses {method} for {token.user_id}: {said}",
        status=status,
        code=code,
        parameter=_text_field(fields, "parameter", token),
        next_step=""
        if code or not is_flocks
        else "An answer without Flock's error code hints at a wrong flock.base_url or a proxy.",
    )


def _next_step_for_token(code: str, disabled_by: str) -> str:
    if code == _APP_DISABLED:
        return _WHO_ENABLES.get(disabled_by, "Let the user, or the team's admin, enable the app again.")
    if code == "MissingUserToken":
        return "Set flock.auth to both or body: this Flock does not read the token from the header."
    return "Let the user install the app again, or correct the token in the tokens file."


def describe(status: int, fields: Mapping[str, Any], token: UserToken) -> str:
    """Return what Flock said in one line that is fit for a log."""
    said = [f"HTTP {status}"]
    said += [text for name in ("error", "description") if (text := _text_field(fields, name, token))]
    if by := _text_field(fields, "disabledBy", token):
        said.append(f"disabled by {by}")
    return ", ".join(said)


def _text_field(fields: Mapping[str, Any], name: str, token: UserToken) -> str:
    value = fields.get(name)
    return redact(value, token) if isinstance(value, str) else ""


def redact(text: str, token: UserToken) -> str:
    """Return a foreign text in one short line, without the token should it quote it."""
    shown = text.replace(token.secret.reveal(), REDACTED)
    return _UNPRINTABLE.sub(" ", shown)[:_SHOWN_CHARACTERS_MAX].strip()
