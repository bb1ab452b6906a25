"""Forms: what each role must reply with. The schema is also the output instruction."""

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
from tutelage.student.tasks import Kind
from tutelage.student.tasks.classification import CLASSIFICATION
from tutelage.student.tasks.fields import MARK, ONE, Fields, join
from tutelage.student.tasks.names import closest, one_of

# Unknown fields are refused by the schema and forgiven by the parser: a chatty reply is still a reply.
# Weak models write numbers for ids.
_OPEN = ConfigDict(json_schema_extra={"additionalProperties": False}, coerce_numbers_to_str=True)


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank")
    return text


# Not min_length: strict structured output refuses schemas with `minLength`.
Said = Annotated[str, AfterValidator(_said)]


def _unmarked(text: str) -> str:
    if MARK in text:
        raise ValueError(f"holds {MARK}, which stands between the texts of a pair here")
    return text


OfPair = Annotated[Said, AfterValidator(_unmarked)]


class FoundWeakness(BaseModel):
    """One pattern of errors; the reason (evidence, hypothesis) stands before the verdict: its `pair`, where
    texts have labels (see `diagnosis_form`).
    """

    model_config = _OPEN
    evidence: list[str] = Field(min_length=1)
    hypothesis: Said
    name: Said

    @property
    def pair(self) -> tuple[str, str]:
        """Label and what it is confused with; ("", "") where texts have none."""
        return getattr(self, "label", ""), getattr(self, "confused_with", "")


Order = Literal["hard", "easy", "any", "like", "ood", "paraphrase"]
_BESIDE = ("kind", "weakness", "label", "labels", "entities", "target")  # what of a draft is no text


class Draft(BaseModel):
    """What was written for a request; label and text stand beside these (see `drafts_form`)."""

    model_config = _OPEN
    if TYPE_CHECKING:  # made in the order in which they are to be written
        kind: Order
        weakness: str

    @property
    def ordered(self) -> str:
        """The label it was written for; "" where a task has none."""
        return getattr(self, "label", "")

    @property
    def written(self) -> str:
        """The text, of a pair both as one string."""
        own = tuple(name for name in type(self).model_fields if name not in _BESIDE)
        return join({name: getattr(self, name) for name in own}, own)


class GivenLabel(BaseModel):
    """One blind label with its stated confidence; the label stands between, under its kind's key (see
    `labels_form`).
    """

    model_config = _OPEN
    id: str
    reason: str
    if TYPE_CHECKING:  # stands last
        confidence: float


Decision = Literal["accept", "relabel", "rewrite", "refuse"]


class Verdict(BaseModel):
    """The critic's word on one sample."""

    model_config = _OPEN
    id: str
    reason: str
    verdict: Annotated[Decision, BeforeValidator(lambda value: closest(value, get_args(Decision)))]


Item = TypeVar("Item", bound=BaseModel)
_JSON = json.JSONDecoder()
_BETWEEN = re.compile(r"[\s,]*")


@dataclass(frozen=True)
class Found(Generic[Item]):
    """A right item of a reply, and where it stands there: characters from `start` to before `end`."""

    item: Item
    start: int
    end: int


@dataclass(frozen=True)
class Form(Generic[Item]):
    """A reply is an object with one list, `field`, of items.

    Two items with the same value of the field `key` are one. `measured` names the field whose tokens'
    probability is the model's confidence in an item; "" where there is none.
    """

    title: str
    field: str
    item: type[Item]
    key: str
    measured: str = ""

    @cached_property
    def schema(self) -> dict[str, object]:
        """JSON schema of the whole reply, fit for strict structured output."""
        items = self.item.model_json_schema()
        parts = {"$defs": items.pop("$defs")} if "$defs" in items else {}  # references count from the root
        return {
            **parts,
            "title": self.title,
            "type": "object",
            "properties": {self.field: {"type": "array", "items": items}},
            "required": [self.field],
            "additionalProperties": False,
        }

    def read(self, raw: str) -> tuple[list[Found[Item]], list[str]]:
        """The items that are right, and what is wrong with the others or with the whole.

        Of a reply that breaks off, the items before the break are kept.
        """
        entries, broken = self._entries(raw)
        good: list[Found[Item]] = []
        problems: list[str] = []
        for number, (entry, start, end) in enumerate(entries):
            try:
                json.dumps(entry, ensure_ascii=False).encode()  # half a surrogate pair fits no file
                good.append(Found(self.item.model_validate(entry), start, end))
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(map(str, first["loc"]))
                problems.append(f"{self.field}[{number}].{place}: {first['msg']}")
            except (UnicodeEncodeError, RecursionError) as error:
                problems.append(f"{self.field}[{number}]: {type(error).__name__}")
        if broken:
            problems.append(f"not a JSON object with the list {self.field!r}: {broken}")
        return good, problems

    def _entries(self, raw: str) -> tuple[list["_Entry"], str]:
        """The entries of the last whole list of that name, or of one that breaks off, and why it does.

        The last: models that think aloud write drafts of their answer first.
        """
        opening = re.compile(rf'"{re.escape(self.field)}"\s*:\s*\[')
        if raw.strip(" `json\n").startswith("[{"):
            entries, broken, _ = _read_list(raw, raw.index("[") + 1)
            return entries, broken
        best: tuple[list[_Entry], str] = [], "there is none"
        place = 0
        while found := opening.search(raw, place):
            entries, broken, place = _read_list(raw, found.end())
            if not broken or best[1]:
                best = entries, broken
        return best


_Entry = tuple[object, int, int]  # what stands there, from which character, to before which


def _read_list(raw: str, place: int) -> tuple[list[_Entry], str, int]:
    """The entries of a list from its first on, why it breaks off or "", and where reading ended."""
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


def labels_form(labels: Sequence[str], kind: Kind = CLASSIFICATION) -> Form[GivenLabel]:
    """What the labeler replies with: a label of the kind for every id, the reason before it."""
    parts: dict[str, Any] = {kind.key: (kind.reply(labels), ...)}
    parts["confidence"] = (float, Field(ge=0, le=1))
    item = create_model("GivenLabel", __base__=GivenLabel, **parts)
    return Form("Labels", "labels", item, key="id", measured=kind.key)


def drafts_form(
    labels: Sequence[str], fields: Fields = ONE, *, kind: Kind = CLASSIFICATION, answered: bool = False
) -> Form[Draft]:
    """What the generator replies with: a text, or the two of a pair, for a label of the task, if it has any;
    `answered` ones bring all that the text is to be labelled with.
    """
    orders = (*labels, *kind.bare)  # an empty one is for an order alone, never for an answer
    parts: dict[str, Any] = {"label": (one_of(orders), ...)} if any(orders) else {}
    parts |= {"kind": (one_of(get_args(Order)), ...), "weakness": (str, ...)}
    parts |= dict.fromkeys(fields, (Said if len(fields) == 1 else OfPair, ...))
    if answered and kind.key != "label":
        parts[kind.key] = (kind.reply(labels), ...)
    return Form("Drafts", "drafts", create_model("Draft", __base__=Draft, **parts), key="written")


def diagnosis_form(labels: Sequence[str], outcomes: Sequence[str] = ()) -> Form[FoundWeakness]:
    """What the analyst replies with; where texts have no labels, the pattern alone."""
    pair: dict[str, Any] = {}
    if labels:
        pair["label"] = (one_of(labels), ...)
        pair["confused_with"] = (one_of((*labels, *outcomes)), ...)
    item = create_model("FoundWeakness", __base__=FoundWeakness, **pair)
    return Form("Diagnosis", "weaknesses", item, key="hypothesis")


def verdicts_form() -> Form[Verdict]:
    """What the critic replies with."""
    return Form("Verdicts", "verdicts", Verdict, key="id")
