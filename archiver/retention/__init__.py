"""Retention: policies say what is kept how long, and everything that removes something does so by them.

A policy is a file of *rules* (`policy`, read by `policy_file`). Rules match *items*: a message with all its versions, or one file
of a message. What a rule matches is asked of columns (`conditions`, `answers`), which rule wins is decided by pure functions of
dates (`decide`, `periods`), and `evaluate` does both for millions of rows at once: the only evaluation there is, for plans, for
explanations and for tests of policies alike. `context` reads what rows do not tell, `validate` finds what is wrong or odd in a policy.

Legal *holds* beat every rule. `holds` enters and releases them, `coverage` tells what they cover (by `membership`: who was in which
channel when), `survey` counts it, and `mirror` marks in the store what it lies in.

A *plan* (`plan`, `plan_document`) lists what is due on one head of the archive, and disposing does exactly what a stored plan says, or
refuses. A *certificate* stays and tells what went. What holds cover (`coverage`) is in no plan.

Nothing here reads a clock: dates are arguments. The machine's time zone never matters: a policy names its own.
"""

from __future__ import annotations
