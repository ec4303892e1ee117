"""Retention: what must stay, what may go and when, and removing exactly that.

A *policy* says it, the evaluation gives every item a verdict with its reason, a *plan* lists what is due on one head of the archive, and
``dispose`` does exactly what a stored plan says, or refuses. A *certificate* stays and tells what went. `docs/retention.md` has the law.
"""
