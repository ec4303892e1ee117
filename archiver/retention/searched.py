"""Search expressions in holds: which may be placed, and which rows one covers.

A hold must not let go of what it once covered because something else became true. So an expression that asks for what comes and goes
(whether Flock still returns a message, what a policy labels it) cannot be held by, and one that leaves out what may become true later
(``NOT in:lunch``, and a channel takes that name) is held by as it is said, and its readers are told. Nor can one that takes all versions
of a message together (``is:edited``): who removes something looks at one object at a time, and each row must tell by itself that it is
held.
"""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.ledger import HoldScope
from archiver.errors import UsageError
from archiver.expression import Directory, Expression, Facts, matching_rows, parse_expression
from archiver.expression.nodes import And, Chat, HasFile, Mime, Node, Not, Or, Person, State, Term, terms_of


def read_expression(scope: HoldScope) -> Expression | None:
    """Return the expression of a scope; raises `UsageError` if it cannot be read or cannot be held by."""
    if scope.expression is None:
        return None
    try:
        zone = ZoneInfo(scope.zone or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(
            f"there is no time zone {scope.zone!r}",
            next_step="name one of the IANA database, such as Europe/Berlin or UTC",
        ) from None
    expression = parse_expression(scope.expression, zone=zone)
    asked = [*(f"is:{term.state}" for term in terms_of(expression.root) if isinstance(term, State))]
    asked += ["label:"] * expression.needs_labels
    if asked:
        raise UsageError(
            f"a hold cannot ask for {asked[0]}, for no row of a message tells that by itself and for good",
            next_step="hold by what was said, by whom, where and when",
        )
    return expression


def may_shrink(expression: Expression) -> bool:
    """Tell whether it leaves out what may become true of a message later: by a name that is given or a file that is found."""
    return any(isinstance(term, (Person, Chat, HasFile, Mime)) for term in _denied(expression.root, is_denied=False))


def searched(
    expression: Expression, rows: pa.Table, *, among: pa.BooleanArray, directory: Directory, files: pa.Table | None
) -> pa.BooleanArray:
    """Return which rows of ``messages`` an expression finds, of those that are already ``among`` the covered ones.

    Where it asks for files and none were brought it is taken for true.
    """
    if expression.needs_files and files is None:
        return among
    facts = Facts(directory=directory, files=files)
    return pc.replace_with_mask(among, among, matching_rows(expression, rows.filter(among), facts))


def _denied(node: Node, *, is_denied: bool) -> list[Term]:
    match node:
        case Not(inner):
            return _denied(inner, is_denied=not is_denied)
        case And(nodes) | Or(nodes):
            return [term for inner in nodes for term in _denied(inner, is_denied=is_denied)]
        case _:
            return [node] if is_denied else []
