"""The rehearsal teacher: an offline stand-in that answers the real prompts from labelled texts.

It is not a language model and is never presented as one: it looks texts up. It makes it possible to
rehearse a run, its cost and its failures without spending any money.
"""

import hashlib
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tutelage.agents.analyst import weakness_name
from tutelage.agents.brief import fields_of, labels_of
from tutelage.student.data.rows import Row, content_id, normal_form
from tutelage.student.tasks.classification import CLASSIFICATION
from tutelage.student.tasks.fields import join, split
from tutelage.student.tasks.task_type import TaskType

Encode = Callable[[Sequence[str]], NDArray[np.float32]]
Payload = Mapping[str, Any]
_CANDIDATES = 8  # candidate texts for each text returned
_OOD_BIAS = -1.5  # bias away from the centroid in requests for texts of another domain


@dataclass(frozen=True)
class Behaviour:
    """How the rehearsal teacher errs. A share `label_noise` of texts is labelled wrongly, always the same
    texts, because a model's errors are systematic. The same share of drafts has another label than requested,
    so that labels fixed before writing are no better than labels assigned afterwards. The critic notices a
    share `noticed_errors` of the errors. Drafts of plain texts are taken near the centroid of their label,
    more so with a higher `typicality` (0: no preference), as language models do.
    """

    label_noise: float = 0.1
    noticed_errors: float = 0.3
    typicality: float = 1.5


class Rehearsal:
    """Answer each role's payload from `rows`; texts in `known` are only labelled, never returned as drafts.

    `task_type` defines the labels. Hard texts, paraphrases and similar texts are taken near the given
    examples, texts of another domain far from the centroid of their label.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        encode: Encode,
        *,
        task_type: TaskType = CLASSIFICATION,
        known: Sequence[Row] = (),
        behaviour: Behaviour = Behaviour(),
    ):
        self._encode, self._task_type, self._behaviour = encode, task_type, behaviour
        self._label_of = {row["id"]: row["label"] for row in [*rows, *known]}
        self._by_label: dict[str, list[str]] = defaultdict(list)
        for row in {row["id"]: row for row in rows}.values():
            for label in task_type.labels_in(row["label"]):
                self._by_label[label].append(row["text"])
        self._words = [(set(normal_form(row["text"]).split()), row["label"]) for row in rows]

    def answer(self, payload: Payload, seed: int) -> dict[str, object]:
        """Return the reply to a payload; it depends only on payload and seed.

        Raises:
            ValueError: the payload belongs to none of the four roles.
        """
        text = json.dumps(payload, sort_keys=True)
        rng = random.Random(f"{seed} {text}")
        for field, role in (
            ("wrong", self._diagnose),
            ("requests", self._write),
            ("texts", self._label),
            ("samples", self._judge),
        ):
            if field in payload:
                return role(payload, rng)
        raise ValueError(f"no role has a payload of {sorted(payload)}")

    def _diagnose(self, payload: Payload, rng: random.Random) -> dict[str, object]:
        groups, keys = defaultdict(list), (self._task_type.label_field, "predicted")
        for answer in payload["wrong"]:
            gold, predicted = (self._label_in(answer, key, payload) for key in keys)
            for pair in self._task_type.error_pairs(gold, predicted):
                groups[pair].append(answer)
        ranked = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
        return {
            "weaknesses": [
                {
                    "evidence": list(dict.fromkeys(answer["id"] for answer in answers)),
                    "hypothesis": f"{weakness_name(label, predicted)} ({len(answers)} of the shown);"
                    f" frequent words in them: {_shared_words([whole(a, payload) for a in answers])}.",
                    "name": weakness_name(label, predicted),
                    "label": label,
                    "confused_with": predicted,
                }
                for (label, predicted), answers in ranked[:8]
            ]
        }

    def _write(self, payload: Payload, rng: random.Random) -> dict[str, object]:
        examples = {w["id"]: [whole(one, payload) for one in w["examples"]] for w in payload["weaknesses"]}
        fields = fields_of(payload)
        shown = [entry for field in ("avoid", "shots") for entry in payload[field]]
        taken = {content_id(join(entry, fields), self._task_type) for entry in shown}
        drafts = []
        for request in payload["requests"]:
            near = self._anchors(request, payload, examples)
            about = {key: request[key] for key in ("label", "kind", "weakness") if key in request}
            for label, count in self._label_counts(request, labels_of(payload), rng).items():
                texts = self._pick(label, count, near, taken, rng, request["kind"])
                taken |= {content_id(text, self._task_type) for text in texts}
                drafts += [
                    {**about, **split(text, fields), **self._draft_label(text, payload)} for text in texts
                ]
        return {"drafts": drafts}

    def _draft_label(self, text: str, payload: Payload) -> dict[str, object]:
        """Return the label field of a draft if the payload requests it, otherwise nothing."""
        if not payload.get("answers"):
            return {}
        label, _ = self._noisy_label(text, labels_of(payload))
        return {self._task_type.label_field: self._task_type.to_payload(label, text)}

    def _label_counts(self, request: Payload, labels: Sequence[str], rng: random.Random) -> Counter[str]:
        """Return the true labels of the drafts for a request, with counts; label noise changes some."""
        requested = request.get("label", "")
        others = [label for label in labels if label != requested]
        return Counter(
            rng.choice(others) if others and rng.random() < self._behaviour.label_noise else requested
            for _ in range(request["count"])
        )

    def _anchors(self, request: Payload, payload: Payload, examples: Mapping[str, list[str]]) -> list[str]:
        """Return the texts that drafts for a request should be near; none means the label's centroid."""
        if request["kind"] == "paraphrase":
            return [whole(request["of"], payload)]
        if request["kind"] == "like":
            requested, field = request.get("label", ""), self._task_type.label_field
            rows = ((row, self._label_in(row, field, payload)) for row in payload["feedback"])
            return [
                whole(row, payload) for row, label in rows if requested in self._task_type.labels_in(label)
            ]
        return examples.get(request["weakness"], []) if request["kind"] == "hard" else []

    def _pick(
        self, label: str, count: int, near: Sequence[str], taken: set[str], rng: random.Random, kind: str
    ) -> list[str]:
        """Return `count` texts of a label: near the given texts, or near the label's centroid if none are
        given, or far from the centroid for out-of-distribution requests.
        """
        pool = [
            text for text in self._by_label.get(label, []) if content_id(text, self._task_type) not in taken
        ]
        pool = rng.sample(pool, min(len(pool), _CANDIDATES * count))
        if len(pool) <= count:
            return pool
        vectors = self._encode(pool)
        goal = self._encode(near) if near else vectors.mean(0, keepdims=True)
        closeness = (vectors @ goal.T).max(1)
        scores = (closeness - closeness.mean()) / (closeness.std() + 1e-9)
        bias = 2.0 if near else _OOD_BIAS if kind == "ood" else self._behaviour.typicality
        # Gumbel noise on the scores samples without replacement in proportion to exp(bias · score).
        keys = bias * scores + np.array([-np.log(-np.log(rng.random() or 1e-12)) for _ in pool])
        return [pool[i] for i in np.argsort(-keys)[:count]]

    def _label(self, payload: Payload, rng: random.Random) -> dict[str, object]:
        labels = []
        for entry in payload["texts"]:
            text = whole(entry, payload)
            label, wrong = self._noisy_label(text, labels_of(payload))
            spread = random.Random(f"confidence {text}").random()
            labels.append(
                {
                    "id": entry["id"],
                    "reason": "looked up",
                    self._task_type.label_field: self._task_type.to_payload(label, text),
                    "confidence": round(0.35 + 0.5 * spread if wrong else 0.6 + 0.4 * spread, 2),
                }
            )
        return {"labels": labels}

    def _judge(self, payload: Payload, rng: random.Random) -> dict[str, object]:
        verdicts = []
        for entry in payload["samples"]:
            text = whole(entry, payload)
            view, wrong = self._noisy_label(text, labels_of(payload))
            # The words "second thoughts" are part of a seed: other words would change the results.
            if wrong and _unit_hash(f"second thoughts {text}") < self._behaviour.noticed_errors:
                view = self._true_label(text)
            same = self._task_type.to_payload(view, text) == entry[self._task_type.label_field]
            verdicts.append(
                {
                    "id": entry["id"],
                    "reason": "as looked up" if same else f"looks like {self._task_type.to_text(view, text)}",
                    "verdict": "accept" if same else "relabel",
                }
            )
        return {"verdicts": verdicts}

    def _label_in(self, entry: Payload, key: str, payload: Payload) -> str:
        """Return the label in a payload's entry; the true label if it does not fit the text."""
        text = whole(entry, payload)
        try:
            return self._task_type.parse_reply(entry[key], text)
        except ValueError:
            return self._true_label(text)

    def _noisy_label(self, text: str, labels: Sequence[str]) -> tuple[str, bool]:
        """Return the label assigned to a text, and whether it is a planted error."""
        true = self._true_label(text)
        if _unit_hash(f"noise {text}") >= self._behaviour.label_noise:
            return true, False
        wrong = self._task_type.corrupted(true, labels, _unit_hash(f"which {text}"))
        return wrong, wrong != true

    def _true_label(self, text: str) -> str:
        if (found := self._label_of.get(content_id(text, self._task_type))) is not None:
            return found
        words = set(normal_form(text).split())
        best = max(self._words, key=lambda row: len(words & row[0]) / (len(words | row[0]) or 1))
        return self._task_type.fit_to_text(best[1], text)


def whole(entry: str | Mapping[str, str], payload: Payload) -> str:
    """Return the text of a payload's entry, or a plain string as it is; a pair is joined to one string."""
    return entry if isinstance(entry, str) else join(entry, fields_of(payload))


def _shared_words(texts: Sequence[str]) -> str:
    counts = Counter(word for text in texts for word in set(normal_form(text).split()) if len(word) > 3)
    return ", ".join(word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5])


def _unit_hash(text: str) -> float:
    """Return a number in [0, 1) that depends only on the text, in every process."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64
