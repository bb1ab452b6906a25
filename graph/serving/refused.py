"""A request that is answered with an error."""


class Refused(Exception):  # noqa: N818
    """A request cannot be answered; its text is the one sentence that the client is sent.

    Attributes:
        status: the HTTP status.
        retry_after: whole seconds after which the client may try again; None if that would not help.
    """

    def __init__(self, status: int, sentence: str, retry_after: int | None = None):
        super().__init__(sentence)
        self.status, self.retry_after = status, retry_after
