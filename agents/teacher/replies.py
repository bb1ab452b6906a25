"""What the replies to a request bring: items with their probabilities, and what is wrong or missing."""

from tutelage.agents.endpoints.entry import Entry
from tutelage.agents.request import Ask, Told
from tutelage.agents.schemas import Item
from tutelage.agents.teacher.confidence import field_probability


def read_reply(
    ask: Ask[Item], call: str, entry: Entry, before: list[Told[Item]]
) -> tuple[list[Told[Item]], list[str]]:
    """Read a reply, beside the items that earlier replies to the same request brought.

    Args:
        ask: the request.
        call: the id of the call.
        entry: the reply.
        before: the items of earlier replies.

    Returns:
        All items so far, or those of this reply alone if it lacks nothing; and what is wrong with this reply,
        with what is still missing as the last.
    """
    found, problems = ask.form.read(entry.content)
    now = [Told(one.item, call, field_probability(ask.form, one, entry)) for one in found]
    told = now if not ask.lacks(now, entry.finish) else joined(ask, before, now)
    lacking = ask.lacks(told, entry.finish)
    return told, [*problems, f"{lacking} (it ended with {entry.finish!r})"] if lacking else problems


def joined(ask: Ask[Item], before: list[Told[Item]], now: list[Told[Item]]) -> list[Told[Item]]:
    """The items of both, of two with the same key the earlier one."""
    known = {ask.key(told) for told in before}
    return before + [told for told in now if ask.key(told) not in known]
