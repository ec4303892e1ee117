"""A faithful Flock over real HTTP, for demos and tests: nobody can try a compliance tool on a live team.

Start at `server.Simulator`: it opens four doors on loopback (the API, the file host, the host of signed file URLs, and the
control interface) and holds a `workspace.Workspace`: people, bots, channels, chats, and every version of every message.
What happens in the workspace is a *script*, a list of actions in order of time, made from a seed (`seed`) or from a data set
(`dataset`); the `player` makes them happen and the `webhooks` and `events` push what Flock would push. `truth` tells
everything that ever happened, to compare an archive with.

The simulator is an oracle, so it shares no code with what it judges: it imports the lowest floor only (errors, clock, ids) and
writes the facts of ``flock-api.md`` a second time, on its own. Where Flock's behaviour is not documented, a switch (`switches`)
chooses, and the default is the likelier one.

Pushes leave through `pusher`, a client of its own on asyncio and httptools, and not through httpx: Flock delivers at most
once, with headers no client library writes by itself, and a data set of 250,000 messages must play in a minute or two.

Everything runs on one event loop in one thread, so that state needs no locks; `Simulator`'s methods may be called from
any other thread.
"""
