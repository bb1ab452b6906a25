"""Forms: what each role must reply with. The schema is also the output instruction."""

import json
import re
from dataclasses import dataclass
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model

# Unknown fields are refused by the schema and forgiven by the parser: a chatty reply is still a reply.
# Weak models write numbers for ids.
_OPEN = ConfigDict(json_schema_extra={"additionalProperties": False}, coerce_numbers_to_str=True)


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank")
    return text


# Not min_length: strict structured output refuses schemas with `minLength`.
Said = Annotated[str, AfterValidator(_said)]


class FoundWeakness(BaseModel):
    """One pattern of errors; the reason (evidence, hypothesis) stands before the verdict."""

    model_config = _OPEN
    evidence: list[str] = Field(min_length=1)
    hypothesis: Said
    name: Said
    label: str
    confused_with: str


class Draft(BaseModel):
    """One text written for a request."""

    model_config = _OPEN
    label: str
    kind: Literal["hard", "easy", "any"]
    weakness: str
    text: Said


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
        try:
            entries = self._entries(raw)
        except ValueError as error:
            return [], [str(error)]
        good, problems = [], []
        for number, entry in enumerate(entries):
            try:
                json.dumps(entry, ensure_ascii=False).encode()  # half a surrogate pair fits no file
                good.append(self.item.model_validate(entry))
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(map(str, first["loc"]))
                problems.append(f"{self.field}[{number}].{place}: {first['msg']}")
            except (UnicodeEncodeError, RecursionError) as error:
                problems.append(f"{self.field}[{number}]: {type(error).__name__}")
        return good, problems

    def _entries(self, raw: str) -> list[object]:
        """The list in the first JSON object that has it, or the list that is the whole reply."""
        problem = "there is none"
        for place in [match.start() for match in re.finditer(r"[{\[]", raw)][:_STARTS]:
            try:
                found, _ = json.JSONDecoder().raw_decode(raw, place)
            except (ValueError, RecursionError) as error:
                problem = str(error)
                continue
            if isinstance(found, list) and raw.strip(" `json\n").startswith("[{"):
                return found
            if isinstance(found, dict) and isinstance(found.get(self.field), list):
                return list(found[self.field])
        raise ValueError(f"not a JSON object with the list {self.field!r}: {problem}")


_STARTS = 20  # places where the JSON may begin; prose before it may hold a few brackets of its own


def with_labels(title: str, field: str, item: type[Item], labels: tuple[str, ...], *names: str) -> Form[Item]:
    """A form whose fields `names` take one of the task's labels and nothing else."""
    closed = dict.fromkeys(names, (Literal[labels], ...))
    return Form(title, field, create_model(item.__name__, __base__=item, **closed))  # type: ignore[call-overload]
