"""The exceptions that end a command with one line."""


class InputError(ValueError):
    """An input cannot be used; the message says what is wrong, what was found and what to do."""


class Interrupted(Exception):  # noqa: N818
    """The user asked to stop; what was done is stored, and the message says how to continue."""
