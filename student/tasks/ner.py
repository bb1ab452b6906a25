"""Named entities: any number of spans per text, each with one type, without overlap."""

import json
import random
from collections.abc import Sequence
from typing import Any

from pydantic import ConfigDict, create_model
from tutelage.student.tasks.names import one_of
from tutelage.student.tasks.scoring import Item
from tutelage.student.tasks.spans import Mention, aligned, from_entities, from_tags, meet, spans, written
from tutelage.student.tasks.task_type import BOUNDARY, INVENTED, MISSED, TaskType


class Ner(TaskType):
    """The label string is the sorted JSON list of [start, end, type]."""

    label_field = "entities"
    metrics = ("micro_f1", "macro_f1", "accuracy")
    min_labels = 1
    error_kinds = (MISSED, INVENTED, BOUNDARY)
    accepts_tokens = case_sensitive = needs_examples = True

    def parse_label(self, value: object, text: str, labels: Sequence[str]) -> str:
        """Parse entities with `start`, `end` and `type` or with `text` and `type`, or a BIO tag for each
        token, where spaces separate the tokens. A JSON string of either is parsed too.
        """
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{str(value)[:60]!r} is not a JSON list ({error})") from error
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

    def to_payload(self, label: str, text: str) -> Any:
        """Return the entities with their texts; a teacher is not asked for positions."""
        return [{"text": text[one.start : one.end], "type": one.type} for one in spans(label)]

    def to_file(self, label: str, text: str) -> Any:
        """Return the entities with their texts and positions."""
        entities = self.to_payload(label, text)
        return [{**span._asdict(), **entity} for span, entity in zip(spans(label), entities, strict=True)]

    def to_text(self, label: str, text: str) -> str:
        """Return the entities, each as `type: text`, or "none"."""
        return "; ".join(f"{one.type}: {text[one.start : one.end]}" for one in spans(label)) or "none"

    def reply_type(self, labels: Sequence[str]) -> Any:
        """Return the type of a list of mentions."""
        return list[_mention(one_of(labels))]  # type: ignore[misc]

    def parse_reply(self, value: Any, text: str) -> str:
        """Locate the mentions of a reply in the text (see `aligned`)."""
        mentions = [one if isinstance(one, dict) else one.model_dump() for one in value]
        return written(aligned(text, [Mention(text=one["text"], type=one["type"]) for one in mentions]))

    def labels_in(self, label: str) -> list[str]:
        """Return the distinct types of the entities, or `no_label`."""
        return list(dict.fromkeys(one.type for one in spans(label))) or list(self.no_label)

    def error_pairs(self, gold: str, answer: str) -> list[tuple[str, str]]:
        """Pair each gold entity that was not found with BOUNDARY if an overlapping answer has its type, else
        with the type of the first overlapping answer, else with MISSED. Then pair each answer that overlaps
        no gold entity with INVENTED.
        """
        true, answered = set(spans(gold)), set(spans(answer))
        wrong = sorted(answered - true)
        result = []
        for one in sorted(true - answered):
            near = [other for other in wrong if meet(one, other)]
            if any(other.type == one.type for other in near):
                result.append((one.type, BOUNDARY))
            else:
                result.append((one.type, near[0].type if near else MISSED))
        lone = [other for other in wrong if not any(meet(one, other) for one in true)]
        return [*result, *((other.type, INVENTED) for other in lone)]

    def corrupted(self, label: str, labels: Sequence[str], chance: float) -> str:
        """Return the entities with one removed or given another type."""
        rng, entities = random.Random(chance), spans(label)
        if not entities:
            return label
        one = rng.choice(entities)
        rest = [other for other in entities if other != one]
        types = [other for other in labels if other != one.type]
        removes = rng.random() < 0.5
        if removes or not types:
            return written(rest)
        return written([*rest, one._replace(type=rng.choice(types))])

    def fit_to_text(self, label: str, text: str) -> str:
        """Return no entities: positions in another text do not apply to this one."""
        return "[]"

    def items(self, label: str) -> list[Item]:
        """Return the entities, which are right only with exact span and type (CoNLL-2003; seqeval)."""
        return [(one.type, one[:2]) for one in spans(label)]


NER = Ner()


def _mention(types: Any) -> Any:
    config = ConfigDict(json_schema_extra={"additionalProperties": False}, coerce_numbers_to_str=True)
    return create_model("Mention", __config__=config, text=(str, ...), type=(types, ...))
