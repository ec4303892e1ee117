"""Retention: what must stay, what must go, and why; its law stands in `docs/retention.md`, that of holds in `docs/holds.md`."""
