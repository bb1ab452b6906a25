"""The sizes of replies: what earlier replies show of the number of tokens that the next one takes."""

from tutelage.agents.endpoints.entry import Entry
from tutelage.agents.providers.models import ModelSpec
from tutelage.agents.request import Request
from tutelage.agents.schemas import Item
from tutelage.agents.teacher.reply_cap import REASONING, reasons, reply_cap

_ITEM_TOKENS = 60  # assumed completion tokens of an item before the first reply to its role


class ReplySizes:
    """The completion tokens that each role's replies have taken, and the models that write hidden tokens."""

    def __init__(self) -> None:
        self._largest: dict[str, int] = {}  # role -> completion tokens per item in its largest reply
        self._reasoning: set[ModelSpec] = set()

    def measured(self, role: str) -> bool:
        """Return whether a reply to this role has been seen."""
        return role in self._largest

    def add(self, request: Request[Item], spec: ModelSpec, entry: Entry) -> None:
        """Record the size of a reply."""
        per_item = -(-entry.completion_tokens // request.size)
        self._largest[request.role] = max(self._largest.get(request.role, 0), per_item)
        if entry.reasoning_tokens:
            self.add_reasoning(spec)

    def add_reasoning(self, spec: ModelSpec) -> None:
        """Record that a model writes hidden tokens before its reply."""
        self._reasoning.add(spec)

    def cap(self, request: Request[Item], spec: ModelSpec) -> int | None:
        """Return the completion cap to send; None if the client already has the user's own `max_tokens`."""
        if spec.max_tokens:
            return None
        more = spec in self._reasoning and not reasons(spec)
        return reply_cap(request, spec) + REASONING * more

    def expected(self, request: Request[Item], spec: ModelSpec) -> int:
        """Return the completion tokens to expect of a reply, for the budget: those of the largest so far."""
        longest = self._largest.get(request.role, _ITEM_TOKENS) * request.size
        return spec.max_tokens or min(longest, self.cap(request, spec) or longest)
