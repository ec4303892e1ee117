"""From raw bytes to facts: pure functions, no I/O, no clock.

``message`` reads one message object, ``push`` reads what a webhook or an event carried, ``content`` says when two
captures are the same version, ``flockml`` turns markup into the text a reader sees, ``redact`` takes tokens out of
bodies that are kept. What cannot be read raises `archiver.errors.UnparseableError` with a reason; the caller keeps
the bytes.

Everything here takes hostile input: fields may be missing, of the wrong type, absurdly large or nested without end.
"""
