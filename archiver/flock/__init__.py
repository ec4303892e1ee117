"""Flock as seen from outside: the tokens it gives us, the methods it answers, the limits it sets.

Start at `tokens` (whose eyes we read with), then `client` (one call) and `limits` (how often). Nothing here knows of
the archive.
"""
