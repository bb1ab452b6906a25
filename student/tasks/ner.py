"""Named entities: any number of spans a text, each of one type, none over another."""

import json
import random
from collections.abc import Sequence
from typing import Any

from pydantic import ConfigDict, create_model
from tutelage.student.tasks.multilabel import INVENTED, MISSED
from tutelage.student.tasks.names import one_of, unknown
from tutelage.student.tasks.scoring import Marks, Scores, item_marks, item_scores
from tutelage.student.tasks.spans import Mention, aligned, from_entities, from_tags, meet, spans, written

BOUNDARY = "boundary"


class Ner:
    """A label is the JSON list of [start, end, type], sorted."""

    texts: int = 1
    key: str = "entities"
    metrics: tuple[str, ...] = ("micro_f1", "macro_f1", "accuracy")
    fewest: int = 1
    modes: tuple[str, ...] = ("full",)
    base: str = "minilm"
    writes: bool = False
    outcomes: tuple[str, ...] = (MISSED, INVENTED, BOUNDARY)
    lists: bool = True
    bare: tuple[str, ...] = ("",)
    shots: bool = True
    verbatim: bool = True
    steps: int = 200

    def unfit(self, metric: str) -> str:
        """Only what scoring knows."""
        return unknown(metric, self.metrics)

    def read(self, value: object, text: str, labels: Sequence[str]) -> str:
        """Entities with `start`, `end` and `type`, or with `text` and `type`; or a BIO tag for each token,
        where spaces part tokens; of either also the JSON.
        """
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{str(value)[:60]!r} is no JSON list ({error})") from error
        if not isinstance(value, list):
            raise ValueError(f"is {type(value).__name__}, expected a list of entities, or of BIO tags")
        if value and all(isinstance(one, str) for one in value):
            return written(from_tags(text, value, labels))
        if not all(isinstance(one, dict) for one in value):
            odd = next(one for one in value if not isinstance(one, dict))
            raise ValueError(
                f"holds {odd!r:.60}; give a BIO tag for each token, or entities, each with `type`, and with"
                " `start` and `end` or `text`"
            )
        return written(from_entities(text, value, labels))

    def shown(self, label: str, text: str) -> Any:
        """The entities with their texts: a teacher is asked for no places."""
        return [{"text": text[one.start : one.end], "type": one.type} for one in spans(label)]

    def filed(self, label: str, text: str) -> Any:
        """The same with their places."""
        found = spans(label)
        return [{**one._asdict(), **told} for one, told in zip(found, self.shown(label, text), strict=True)]

    def words(self, label: str, text: str) -> str:
        """The entities, each as `type: text`."""
        return "; ".join(f"{one.type}: {text[one.start : one.end]}" for one in spans(label)) or "none"

    def reply(self, labels: Sequence[str]) -> Any:
        """A list of mentions."""
        return list[_mention(one_of(labels))]  # type: ignore[misc]

    def said(self, value: Any, text: str) -> str:
        """See `aligned`."""
        mentions = [one if isinstance(one, dict) else one.model_dump() for one in value]
        return written(aligned(text, [Mention(text=one["text"], type=one["type"]) for one in mentions]))

    def groups(self, label: str) -> list[str]:
        """The types that occur."""
        return list(dict.fromkeys(one.type for one in spans(label))) or list(self.bare)

    def slips(self, gold: str, answer: str) -> list[tuple[str, str]]:
        """Of each gold entity that was not found: that its type was found with other borders, as which type
        it was answered, or that it was missed; then what was invented: answered where no gold entity is.
        """
        true, given = set(spans(gold)), set(spans(answer))
        wrong = sorted(given - true)
        result = []
        for one in sorted(true - given):
            near = [other for other in wrong if meet(one, other)]
            if any(other.type == one.type for other in near):
                result.append((one.type, BOUNDARY))
            else:
                result.append((one.type, near[0].type if near else MISSED))
        lone = [other for other in wrong if not any(meet(one, other) for one in true)]
        return [*result, *((other.type, INVENTED) for other in lone)]

    def garbled(self, label: str, labels: Sequence[str], chance: float) -> str:
        """One entity less, or of another type."""
        luck, found = random.Random(chance), spans(label)
        if not found:
            return label
        one = luck.choice(found)
        rest = [other for other in found if other != one]
        types = [other for other in labels if other != one.type]
        way = luck.random()
        if way < 0.5 or not types:
            return written(rest)
        return written([*rest, one._replace(type=luck.choice(types))])

    def fitting(self, label: str, text: str) -> str:
        """None: the places are another text's."""
        return "[]"

    def choices(self, labels: Sequence[str]) -> int:
        """Right or wrong: how the rest is shared cannot be said."""
        return 2

    def marks(
        self,
        texts: Sequence[str],
        gold: Sequence[str],
        answers: Sequence[str],
        labels: Sequence[str],
        metric: str,
    ) -> Marks:
        """An item an entity, right only whole and of the right type (CoNLL-2003; seqeval)."""
        true, given = ([[(s.type, s[:2]) for s in spans(one)] for one in part] for part in (gold, answers))
        return item_marks(true, given, labels)

    def scores(self, total: Any, size: int, labels: Sequence[str], metric: str) -> Scores:
        """See student/tasks/scoring.py."""
        return item_scores(total, size, labels)


NER = Ner()


def _mention(types: Any) -> Any:
    config = ConfigDict(json_schema_extra={"additionalProperties": False}, coerce_numbers_to_str=True)
    return create_model("Mention", __config__=config, text=(str, ...), type=(types, ...))
