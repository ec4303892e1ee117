"""Whether very many tokens keep their own rates: each may ask once a second, and a few threads ask for all of them.

    python benchmarks/tokens.py [--tokens 1000] [--seconds 30] [--threads 2] [--rate 1.0]

A simulated Flock runs in a process of its own. Every token asks ``users.getInfo`` over real HTTP again and again for so many seconds,
as the crawl asks, through `archiver.capture.asking` and the client with its limits. A token's rate is its answers after the first,
divided by the time from its first answer to its last. The target: from the slowest token to the quickest, within 2 % of the limit.

Two threads, because the simulator answers within a millisecond: more of them only take the interpreter from each other, while at a
Flock far away each of them waits for the network.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import structlog

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from archiver.capture.asking import Ask, Dialogue, ask_unordered  # noqa: E402 - the checkout's own package
from archiver.capture.token_pool import TokenPool  # noqa: E402 - as above
from archiver.clock import SystemClock  # noqa: E402 - as above
from archiver.flock.client import FlockClient, FlockOptions  # noqa: E402 - as above
from archiver.flock.tokens import Secret, UserToken  # noqa: E402 - as above
from archiver.simulator.server import Simulator  # noqa: E402 - as above

DEVIATION_MAX = 0.02
# One of a seeded team is a guest without the app, so that there is somebody whose token we do not have.
PEOPLE_WITHOUT_TOKEN = 1
PEOPLE_MIN = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rate", type=float, default=1.0, help="requests a second and token")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.tokens)
        return 0
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    command = [sys.executable, __file__, "--serve", "--tokens", str(given.tokens)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as flock:
        assert flock.stdout is not None
        assert flock.stdin is not None
        where = json.loads(flock.stdout.readline())
        answered = ask_for_a_while(where, given)
        flock.stdin.close()
    return report(answered, given)


def serve(tokens: int) -> None:
    """Run a Flock whose team has so many tokens until standard input ends."""
    people = max(tokens + PEOPLE_WITHOUT_TOKEN, PEOPLE_MIN)
    with Simulator(seed=1, people=people, channels=1, messages=0) as flock:
        print(json.dumps({"base_url": flock.base_url, "tokens": flock.user_tokens}), flush=True)
        sys.stdin.read()


def ask_for_a_while(where: dict[str, object], given: argparse.Namespace) -> dict[str, list[float]]:
    """Ask with every token until the time is over; return the instants of each user's answers."""
    tokens = dict(list(where["tokens"].items())[: given.tokens])  # type: ignore[attr-defined]
    pool = TokenPool([UserToken(user, Secret(text)) for user, text in tokens.items()])
    options = FlockOptions(
        base_url=str(where["base_url"]), requests_per_second=given.rate, connections=given.threads, tries_max=1
    )
    clock = SystemClock()
    answered: dict[str, list[float]] = {user: [] for user in tokens}
    with FlockClient(options, clock=clock) as client:
        until = time.monotonic() + given.seconds
        work = partial(ask_again, client, answered, until)
        for _ in ask_unordered(work, tokens, tokens=pool, clock=clock, threads=given.threads):
            pass
    return answered


def ask_again(client: FlockClient, answered: dict[str, list[float]], until: float, user: str) -> Dialogue[None]:
    while time.monotonic() < until:
        yield Ask(user, client.users_get_info)
        answered[user].append(time.monotonic())


def report(answered: dict[str, list[float]], given: argparse.Namespace) -> int:
    rates = [(len(at) - 1) / (at[-1] - at[0]) for at in answered.values() if len(at) > 1]
    if len(rates) < len(answered):
        print(f"{len(answered) - len(rates)} tokens asked less than twice: take more seconds or fewer tokens")
        return 1
    calls = sum(map(len, answered.values()))
    print(
        f"{len(rates):,} tokens, {given.threads} threads, {given.seconds:g} s: {calls / given.seconds:,.0f} requests/s"
    )
    for name, rate in (("least", min(rates)), ("median", statistics.median(rates)), ("most", max(rates))):
        print(f"{name:<7} {rate:.4f} requests/s a token, {100 * (rate / given.rate - 1):+.2f} % of the limit")
    kept = min(rates) >= given.rate * (1 - DEVIATION_MAX) and max(rates) <= given.rate * (1 + DEVIATION_MAX)
    print(f"target: all within {100 * DEVIATION_MAX:g} %: {'kept' if kept else 'MISSED'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
