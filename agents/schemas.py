"""Reply schemas: the JSON that each role must return. A schema also serves as the output instruction."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
)
from tutelage.student.tasks.classification import CLASSIFICATION
from tutelage.student.tasks.fields import MARK, ONE, Fields, join
from tutelage.student.tasks.names import closest, one_of
from tutelage.student.tasks.task_type import TaskType

# The JSON schema forbids unknown fields, but the parser ignores them, so that a chatty reply can be used.
# Weak models write ids as numbers.
_OPEN = ConfigDict(json_schema_extra={"additionalProperties": False}, coerce_numbers_to_str=True)


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank")
    return text


# Not `min_length`: strict structured output rejects schemas with `minLength`.
NonBlank = Annotated[str, AfterValidator(_not_blank)]


def _without_mark(text: str) -> str:
    if MARK in text:
        raise ValueError(f"contains {MARK}, which is reserved as the separator between the texts of a pair")
    return text


PairText = Annotated[NonBlank, AfterValidator(_without_mark)]


class FoundWeakness(BaseModel):
    """One pattern of errors. The reason (evidence, hypothesis) comes before the verdict, the pair of labels,
    which `diagnosis_schema` adds if the task has labels.
    """

    model_config = _OPEN
    evidence: list[str] = Field(min_length=1)
    hypothesis: NonBlank
    name: NonBlank

    @property
    def pair(self) -> tuple[str, str]:
        """Return the label and what it is confused with; ("", "") if the task has no labels."""
        return getattr(self, "label", ""), getattr(self, "confused_with", "")


RequestKind = Literal["hard", "easy", "any", "like", "ood", "paraphrase"]
_NOT_TEXT = ("kind", "weakness", "label", "labels", "entities", "target")  # draft fields that are no text


class Draft(BaseModel):
    """One text written for a request; `drafts_schema` adds the label and the text fields."""

    model_config = _OPEN
    if TYPE_CHECKING:  # `drafts_schema` adds them, in the order in which the model is to write them
        kind: RequestKind
        weakness: str

    @property
    def requested(self) -> str:
        """Return the label that the text was written for; "" if the task has none."""
        return getattr(self, "label", "")

    @property
    def written(self) -> str:
        """Return the text; the two texts of a pair as one string."""
        fields = tuple(name for name in type(self).model_fields if name not in _NOT_TEXT)
        return join({name: getattr(self, name) for name in fields}, fields)


class GivenLabel(BaseModel):
    """One label with its reason and stated confidence. `labels_schema` adds the label between the two, under
    the key of the task type.
    """

    model_config = _OPEN
    id: str
    reason: str
    if TYPE_CHECKING:  # `labels_schema` adds it as the last field
        confidence: float


Decision = Literal["accept", "relabel", "rewrite", "refuse"]


class Verdict(BaseModel):
    """The critic's word on one sample."""  # sent to the model as the schema's description

    model_config = _OPEN
    id: str
    reason: str
    verdict: Annotated[Decision, BeforeValidator(lambda value: closest(value, get_args(Decision)))]


Item = TypeVar("Item", bound=BaseModel)
_JSON = json.JSONDecoder()
_BETWEEN = re.compile(r"[\s,]*")


@dataclass(frozen=True)
class LocatedItem(Generic[Item]):
    """A valid item and its position in the reply: characters `start` (inclusive) to `end` (exclusive)."""

    item: Item
    start: int
    end: int


@dataclass(frozen=True)
class ReplySchema(Generic[Item]):
    """The schema of a reply: an object whose field `field` holds a list of items.

    Items with the same value of the field `key` count as one. `measured` names the field whose token
    probability is the model's confidence in an item; it is "" if there is none.
    """

    title: str
    field: str
    item: type[Item]
    key: str
    measured: str = ""

    @cached_property
    def json_schema(self) -> dict[str, object]:
        """Return the JSON schema of the whole reply, suitable for strict structured output."""
        items = self.item.model_json_schema()
        parts = {"$defs": items.pop("$defs")} if "$defs" in items else {}  # references start at the root
        return {
            **parts,
            "title": self.title,
            "type": "object",
            "properties": {self.field: {"type": "array", "items": items}},
            "required": [self.field],
            "additionalProperties": False,
        }

    def read(self, raw: str) -> tuple[list[LocatedItem[Item]], list[str]]:
        """Return the valid items, and the problems of the others and of the reply as a whole.

        If a reply breaks off, the items before that point are kept.
        """
        entries, broken = self._entries(raw)
        valid: list[LocatedItem[Item]] = []
        problems: list[str] = []
        for number, (entry, start, end) in enumerate(entries):
            try:
                json.dumps(entry, ensure_ascii=False).encode()  # fails on half a surrogate pair
                valid.append(LocatedItem(self.item.model_validate(entry), start, end))
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(map(str, first["loc"]))
                problems.append(f"{self.field}[{number}].{place}: {first['msg']}")
            except (UnicodeEncodeError, RecursionError) as error:
                problems.append(f"{self.field}[{number}]: {type(error).__name__}")
        if broken:
            problems.append(f"not a JSON object with the list {self.field!r}: {broken}")
        return valid, problems

    def _entries(self, raw: str) -> tuple[list["_Entry"], str]:
        """Return the entries of the last complete list named `field`, and "".
        If no list is complete, return the entries of the last one and why it breaks off. It is the last one
        that counts because models that reason in their reply write drafts of their answer first.
        """
        opening = re.compile(rf'"{re.escape(self.field)}"\s*:\s*\[')
        if raw.strip(" `json\n").startswith("[{"):
            entries, broken, _ = _read_list(raw, raw.index("[") + 1)
            return entries, broken
        best: tuple[list[_Entry], str] = [], "there is none"
        place = 0
        while match := opening.search(raw, place):
            entries, broken, place = _read_list(raw, match.end())
            if not broken or best[1]:
                best = entries, broken
        return best


_Entry = tuple[object, int, int]  # a JSON value, its first character, the one after its last


def _read_list(raw: str, place: int) -> tuple[list[_Entry], str, int]:
    """Return the entries of the list at `place`, why it breaks off or "", and where reading ended."""
    entries: list[_Entry] = []
    while True:
        place = _BETWEEN.match(raw, place).end()  # type: ignore[union-attr]
        if raw.startswith("]", place):
            return entries, "", place
        try:
            entry, end = _JSON.raw_decode(raw, place)
        except (ValueError, RecursionError) as error:
            return entries, f"it breaks off ({error})", place
        entries.append((entry, place, end))
        place = end


def labels_schema(labels: Sequence[str], task_type: TaskType = CLASSIFICATION) -> ReplySchema[GivenLabel]:
    """Return the labeler's reply schema: for every id a reason, then a label of the task type."""
    parts: dict[str, Any] = {task_type.label_field: (task_type.reply_type(labels), ...)}
    parts["confidence"] = (float, Field(ge=0, le=1))
    item = create_model("GivenLabel", __base__=GivenLabel, **parts)
    return ReplySchema("Labels", "labels", item, key="id", measured=task_type.label_field)


def drafts_schema(
    labels: Sequence[str],
    fields: Fields = ONE,
    *,
    task_type: TaskType = CLASSIFICATION,
    with_labels: bool = False,
) -> ReplySchema[Draft]:
    """Return the generator's reply schema: a text or a pair, and the label it is for, if the task has labels.
    If `with_labels`, each draft also holds its full annotation, for instance the entities of the text.
    """
    requested = (*labels, *task_type.no_label)  # "" is a label to request, never one to answer with
    parts: dict[str, Any] = {"label": (one_of(requested), ...)} if any(requested) else {}
    parts |= {"kind": (one_of(get_args(RequestKind)), ...), "weakness": (str, ...)}
    parts |= dict.fromkeys(fields, (NonBlank if len(fields) == 1 else PairText, ...))
    if with_labels and not task_type.single_label:
        parts[task_type.label_field] = (task_type.reply_type(labels), ...)
    return ReplySchema("Drafts", "drafts", create_model("Draft", __base__=Draft, **parts), key="written")


def diagnosis_schema(labels: Sequence[str], error_kinds: Sequence[str] = ()) -> ReplySchema[FoundWeakness]:
    """Return the analyst's reply schema; the pair of labels is left out if the task has no labels."""
    pair: dict[str, Any] = {}
    if labels:
        pair["label"] = (one_of(labels), ...)
        pair["confused_with"] = (one_of((*labels, *error_kinds)), ...)
    item = create_model("FoundWeakness", __base__=FoundWeakness, **pair)
    return ReplySchema("Diagnosis", "weaknesses", item, key="hypothesis")


def verdicts_schema() -> ReplySchema[Verdict]:
    """Return the critic's reply schema."""
    return ReplySchema("Verdicts", "verdicts", Verdict, key="id")
