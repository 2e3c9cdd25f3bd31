"""The two ways a command ends badly. Both carry one line that names the file or option and the way out."""


class UsageError(Exception):
    """What was asked for cannot be done as asked: a wrong name, a missing file. Exit code 2."""


class RunError(Exception):
    """The work was well asked for and failed on the way: a NaN loss, an interrupted run. Exit code 1."""


class NoTextSpace(UsageError):
    """An encoder without a projection into a text space was asked what it thinks of a text."""
