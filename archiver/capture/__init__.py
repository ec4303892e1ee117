"""Capture: everything by which data comes from Flock, pushed or pulled; what it brings is raw bytes and what they are.

Push: ``listener`` answers webhooks and events once their bytes are durable, ``drain`` turns captures into rows. Pull:
``directory`` crawls who is who as each installed user (``directory_changes`` tells what is new), ``fetch`` asks for
messages by uid, ``files`` downloads what messages point to, past the rules of ``file_hosts``. ``token_pool`` knows whom
a run can still ask as.
"""
