"""The one error a user can mend."""


class InputError(ValueError):
    """What was given cannot be used; the message says what was wrong, what was got and what to do."""
