"""The usefulness of a teacher: its first replies to a role must hold at least one usable item."""

from collections import Counter
from collections.abc import Sequence

from tutelage.agents.endpoints.entry import Entry
from tutelage.agents.request import was_cut

_FEWEST = 3  # the run stops if this many first replies to a role hold no usable item
_QUOTED = 120  # characters of the last reply that the message quotes


class Usefulness:
    """Count the replies of each role until the first usable one."""

    def __init__(self) -> None:
        self._useful: set[str] = set()
        self._useless: Counter[str] = Counter()

    def note(self, entry: Entry, problems: Sequence[str], *, usable: bool, replayed: bool) -> str:
        """Record a reply.

        Args:
            entry: the reply.
            problems: the problems of the reply.
            usable: whether it answers the request, at least in part.
            replayed: whether it came from the journal. Such a reply can show that the teacher is useful for a
                role, but never that it is not, because it costs nothing.

        Returns:
            Why the teacher is of no use, and what to do, in one line; "" as long as it may be useful.
        """
        if usable:
            self._useful.add(entry.role)
        if replayed or entry.role in self._useful:
            return ""
        self._useless[entry.role] += 1
        if self._useless[entry.role] < _FEWEST:
            return ""
        self._useless[entry.role] = 0
        return _explanation(entry, problems)


def _explanation(entry: Entry, problems: Sequence[str]) -> str:
    begins = " ".join(entry.content.split())[:_QUOTED]
    cut = f", cut off after {entry.completion_tokens:,} tokens," if was_cut(entry.finish) else ""
    return (
        f"none of its first {_FEWEST} replies contains a usable item; the last{cut} begins {begins!r}"
        f" ({'; '.join(problems[:1])}); use a stronger model or an endpoint that supports JSON schemas"
        " (`tutelage doctor` shows this), or correct your own prompt"
    )
