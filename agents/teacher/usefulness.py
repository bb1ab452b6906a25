"""Whether a teacher is of any use: its first replies to a role must hold at least one usable item."""

from collections import Counter
from collections.abc import Sequence

from tutelage.agents.endpoints.entry import Entry
from tutelage.agents.request import was_cut

_FEWEST = 3  # replies of a role, the first ones, after which a teacher without a usable item is given up
_QUOTED = 120  # characters of a useless reply that a message quotes


class Usefulness:
    """Counts the replies of each role until the first usable one."""

    def __init__(self) -> None:
        self._useful: set[str] = set()
        self._useless: Counter[str] = Counter()

    def note(self, entry: Entry, problems: Sequence[str], *, usable: bool, replayed: bool) -> str:
        """Note a reply.

        Args:
            entry: the reply.
            problems: what was wrong with it.
            usable: whether it answers the request, in part at least.
            replayed: whether it came from the journal. Such a reply can show that a role is useful, but never
                that it is not: it costs nothing.

        Returns:
            Why the teacher is to be given up, and what to do, in one line; "" while it is not.
        """
        if usable:
            self._useful.add(entry.role)
        if replayed or entry.role in self._useful:
            return ""
        self._useless[entry.role] += 1
        if self._useless[entry.role] < _FEWEST:
            return ""
        self._useless[entry.role] = 0
        return _why(entry, problems)


def _why(entry: Entry, problems: Sequence[str]) -> str:
    begins = " ".join(entry.content.split())[:_QUOTED]
    cut = f", cut off after {entry.completion_tokens:,} tokens," if was_cut(entry.finish) else ""
    return (
        f"none of its first {_FEWEST} replies holds a usable item; the last{cut} begins {begins!r}"
        f" ({'; '.join(problems[:1])}); take a stronger model, or an endpoint that supports JSON schemas"
        " (`tutelage doctor` shows it), or correct your own prompt"
    )
