"""Parse the replies to a request into items with probabilities, and collect the problems."""

from tutelage.agents.endpoints.entry import Entry
from tutelage.agents.request import ParsedItem, Request
from tutelage.agents.schemas import Item
from tutelage.agents.teacher.confidence import field_probability


def read_reply(
    request: Request[Item], call: str, entry: Entry, before: list[ParsedItem[Item]]
) -> tuple[list[ParsedItem[Item]], list[str]]:
    """Parse a reply, and combine it with the items of earlier replies to the same request.

    Args:
        request: the request.
        call: the id of the call.
        entry: the reply.
        before: the items of the earlier replies.

    Returns:
        The items of this reply if it is complete, else all items so far; and the problems of this reply, the
        last of which states what is still missing.
    """
    valid, problems = request.schema.read(entry.content)
    now = [ParsedItem(found.item, call, field_probability(request.schema, found, entry)) for found in valid]
    parsed = now if not request.lacks(now, entry.finish) else joined(request, before, now)
    lacking = request.lacks(parsed, entry.finish)
    return parsed, [*problems, f"{lacking} (it ended with {entry.finish!r})"] if lacking else problems


def joined(
    request: Request[Item], before: list[ParsedItem[Item]], now: list[ParsedItem[Item]]
) -> list[ParsedItem[Item]]:
    """Return the items of both lists; of two items with the same key, keep the earlier one."""
    known = {request.key(parsed) for parsed in before}
    return before + [parsed for parsed in now if request.key(parsed) not in known]
