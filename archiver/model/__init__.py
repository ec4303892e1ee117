"""Facts that several floors speak about: a capture, a message version, a directory state. Frozen values, no behaviour.

The two types that exist once a message are `msgspec.Struct`, because building a frozen dataclass of twenty fields
costs more than reading the message itself; everything else is a frozen dataclass.
"""
