"""The exception for problems that the user can fix."""


class InputError(ValueError):
    """An input cannot be used; the message says what is wrong, what was found and what to do."""
