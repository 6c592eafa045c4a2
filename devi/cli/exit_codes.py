"""Exit codes of every command."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    ERROR = 1  # a DeviError: one readable message, no traceback
    USAGE = 2
    UNHEALTHY = 3  # done, but estimates are flagged and --strict was given
    WRONG = 4  # checked and found wrong
    BUG = 70
    INTERRUPTED = 130
