"""The nightly run: recover, directory, drain, fetch, files, each a stage with its own result, committing as it goes.

``nightly`` orders the stages, ``session`` holds what they share and commits for them, ``lock`` keeps a second run of
this machine out, ``status`` says how things stand. A stage that cannot reach Flock does not keep what was already
received from being archived: its error is part of the result and decides the exit code.
"""
