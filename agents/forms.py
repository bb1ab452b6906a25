"""Forms: what each role must reply with. The schema is also the output instruction."""

import json
import re
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

# Unknown fields are refused by the schema and forgiven by the parser: a chatty reply is still a reply.
_OPEN = ConfigDict(json_schema_extra={"additionalProperties": False})


class FoundWeakness(BaseModel):
    """One pattern of errors; the reason (evidence, hypothesis) stands before the verdict."""

    model_config = _OPEN
    evidence: list[str] = Field(min_length=1)
    hypothesis: str = Field(min_length=1)
    name: str = Field(min_length=1)
    label: str
    confused_with: str


class Draft(BaseModel):
    """One text written for a request."""

    model_config = _OPEN
    label: str
    kind: Literal["hard", "easy", "any"]
    weakness: str
    text: str = Field(min_length=1)


class GivenLabel(BaseModel):
    """One blind label with its stated confidence."""

    model_config = _OPEN
    id: str
    reason: str
    label: str
    confidence: float = Field(ge=0, le=1)


class Verdict(BaseModel):
    """The critic's word on one sample."""

    model_config = _OPEN
    id: str
    reason: str
    verdict: Literal["accept", "relabel", "rewrite", "refuse"]


Item = TypeVar("Item", bound=BaseModel)


@dataclass(frozen=True)
class Form(Generic[Item]):
    """A reply is an object with one list, `field`, of items."""

    title: str
    field: str
    item: type[Item]

    def schema(self) -> dict[str, object]:
        """JSON schema of the whole reply, fit for strict structured output."""
        items = self.item.model_json_schema()
        return {
            "title": self.title,
            "type": "object",
            "properties": {self.field: {"type": "array", "items": items}},
            "required": [self.field],
            "additionalProperties": False,
        }

    def read(self, raw: str) -> tuple[list[Item], list[str]]:
        """The items that are right, and what is wrong with the others or with the whole."""
        match = re.search(r"\{.*\}", raw, re.DOTALL)
        try:
            found = json.loads(match.group() if match else raw)
            entries = found[self.field]
            if not isinstance(entries, list):
                raise TypeError(f"{self.field!r} is not a list")
        except (ValueError, KeyError, TypeError) as error:
            return [], [f"not a JSON object with the list {self.field!r}: {error}"]
        good, problems = [], []
        for number, entry in enumerate(entries):
            try:
                good.append(self.item.model_validate(entry))
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(map(str, first["loc"]))
                problems.append(f"{self.field}[{number}].{place}: {first['msg']}")
        return good, problems


def with_labels(title: str, field: str, item: type[Item], labels: tuple[str, ...], *names: str) -> Form[Item]:
    """A form whose fields `names` take one of the task's labels and nothing else."""
    closed = dict.fromkeys(names, (Literal[labels], ...))
    return Form(title, field, create_model(item.__name__, __base__=item, **closed))  # type: ignore[call-overload]
