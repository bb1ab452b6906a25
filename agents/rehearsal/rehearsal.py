"""The rehearsal teacher: an offline stand-in that answers the real prompts from labelled texts.

It is not a language model and never pretends to be one: it looks texts up. It lets a run, its cost
and its failures be rehearsed before a cent is spent.
"""

import hashlib
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tutelage.agents.analyst import fields_of, labels_of, named
from tutelage.student.data.rows import Row, content_id, normal
from tutelage.student.tasks import Kind
from tutelage.student.tasks.classification import CLASSIFICATION
from tutelage.student.tasks.fields import join, split

Encode = Callable[[Sequence[str]], NDArray[np.float32]]
Payload = Mapping[str, Any]
_CANDIDATES = 8  # texts looked at for each one written
_ODD = -1.5  # how much it keeps from the middle when asked for texts of another domain


class Rehearsal:
    """Answers each role's payload from `rows`; texts of `known` it can label, and never writes.

    What a label is, its `kind` says. Its believed label of a text is wrong for a share `label_noise` of
    texts, always the same ones, as a model's errors are systematic; as many of the texts it writes are of
    another label than they are written for, so that labels fixed before writing are no better than those
    given after. Its critic sees through `second_thoughts` of the errors. Asked for plain texts it prefers
    those near the middle of their label, the more the higher `typicality` (0: none), as language models do;
    asked for hard ones, for paraphrases or for texts like others it prefers those near the examples; asked
    for texts of another domain, those far from the middle.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        encode: Encode,
        *,
        kind: Kind = CLASSIFICATION,
        known: Sequence[Row] = (),
        label_noise: float = 0.1,
        second_thoughts: float = 0.3,
        typicality: float = 1.5,
    ):
        self.label_noise, self.second_thoughts, self.typicality = label_noise, second_thoughts, typicality
        self._encode, self._kind = encode, kind
        self._label_of = {row["id"]: row["label"] for row in [*rows, *known]}
        self._by_label: dict[str, list[str]] = defaultdict(list)
        for row in {row["id"]: row for row in rows}.values():
            for label in kind.groups(row["label"]):
                self._by_label[label].append(row["text"])
        self._words = [(set(normal(row["text"]).split()), row["label"]) for row in rows]

    def answer(self, payload: Payload, seed: int) -> dict[str, object]:
        """The reply to a payload; the same payload and seed, the same reply.

        Raises:
            ValueError: the payload is none of the four roles'.
        """
        text = json.dumps(payload, sort_keys=True)
        chance = random.Random(f"{seed} {text}")
        for field, role in (
            ("wrong", self._diagnose),
            ("requests", self._write),
            ("texts", self._label),
            ("samples", self._judge),
        ):
            if field in payload:
                return role(payload, chance)
        raise ValueError(f"no role has a payload of {sorted(payload)}")

    def _diagnose(self, payload: Payload, chance: random.Random) -> dict[str, object]:
        kind, groups = self._kind, defaultdict(list)
        for answer in payload["wrong"]:
            gold, given = (self._heard(answer, key, payload) for key in (kind.key, "predicted"))
            for slip in kind.slips(gold, given):
                groups[slip].append(answer)
        ranked = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
        return {
            "weaknesses": [
                {
                    "evidence": list(dict.fromkeys(answer["id"] for answer in answers)),
                    "hypothesis": f"{named(label, predicted)} ({len(answers)} of the shown);"
                    f" frequent words in them: {_shared_words([whole(a, payload) for a in answers])}.",
                    "name": named(label, predicted),
                    "label": label,
                    "confused_with": predicted,
                }
                for (label, predicted), answers in ranked[:8]
            ]
        }

    def _write(self, payload: Payload, chance: random.Random) -> dict[str, object]:
        examples = {w["id"]: [whole(one, payload) for one in w["examples"]] for w in payload["weaknesses"]}
        fields = fields_of(payload)
        shown = [entry for field in ("avoid", "shots") for entry in payload[field]]
        taken = {content_id(join(entry, fields), self._kind) for entry in shown}
        drafts = []
        for request in payload["requests"]:
            near = self._near(request, payload, examples)
            order = {key: request[key] for key in ("label", "kind", "weakness") if key in request}
            for label, count in self._truly(request, labels_of(payload), chance).items():
                texts = self._pick(label, count, near, taken, chance, request["kind"])
                taken |= {content_id(text, self._kind) for text in texts}
                drafts += [
                    {**order, **split(text, fields), **self._answered(text, payload)} for text in texts
                ]
        return {"drafts": drafts}

    def _answered(self, text: str, payload: Payload) -> dict[str, object]:
        """What a text is to be labelled with, where that is asked for with it."""
        if not payload.get("answers"):
            return {}
        label, _ = self._believed(text, labels_of(payload))
        return {self._kind.key: self._kind.shown(label, text)}

    def _truly(self, request: Payload, labels: Sequence[str], chance: random.Random) -> Counter[str]:
        """True label -> how many of the texts written for a label are of it."""
        ordered = request.get("label", "")
        others = [label for label in labels if label != ordered]
        return Counter(
            chance.choice(others) if others and chance.random() < self.label_noise else ordered
            for _ in range(request["count"])
        )

    def _near(self, request: Payload, payload: Payload, examples: Mapping[str, list[str]]) -> list[str]:
        """The texts that an order is to be near to; none for the label's middle."""
        if request["kind"] == "paraphrase":
            return [whole(request["of"], payload)]
        if request["kind"] == "like":
            kind, ordered = self._kind, request.get("label", "")
            rows = payload["feedback"]
            like = [row for row in rows if ordered in kind.groups(self._heard(row, kind.key, payload))]
            return [whole(row, payload) for row in like]
        return examples.get(request["weakness"], []) if request["kind"] == "hard" else []

    def _pick(
        self, label: str, count: int, near: Sequence[str], taken: set[str], chance: random.Random, kind: str
    ) -> list[str]:
        """`count` texts of a label near the given ones, or near the label's middle if none are given; far
        from it if they are to be out of the distribution.
        """
        pool = [text for text in self._by_label.get(label, []) if content_id(text, self._kind) not in taken]
        pool = chance.sample(pool, min(len(pool), _CANDIDATES * count))
        if len(pool) <= count:
            return pool
        vectors = self._encode(pool)
        goal = self._encode(near) if near else vectors.mean(0, keepdims=True)
        closeness = (vectors @ goal.T).max(1)
        scores = (closeness - closeness.mean()) / (closeness.std() + 1e-9)
        bias = 2.0 if near else _ODD if kind == "ood" else self.typicality
        # Gumbel noise on the scores draws without replacement in proportion to exp(bias · score).
        keys = bias * scores + np.array([-np.log(-np.log(chance.random() or 1e-12)) for _ in pool])
        return [pool[i] for i in np.argsort(-keys)[:count]]

    def _label(self, payload: Payload, chance: random.Random) -> dict[str, object]:
        labels = []
        for entry in payload["texts"]:
            text = whole(entry, payload)
            label, wrong = self._believed(text, labels_of(payload))
            spread = random.Random(f"confidence {text}").random()
            labels.append(
                {
                    "id": entry["id"],
                    "reason": "looked up",
                    self._kind.key: self._kind.shown(label, text),
                    "confidence": round(0.35 + 0.5 * spread if wrong else 0.6 + 0.4 * spread, 2),
                }
            )
        return {"labels": labels}

    def _judge(self, payload: Payload, chance: random.Random) -> dict[str, object]:
        verdicts = []
        for entry in payload["samples"]:
            text = whole(entry, payload)
            view, wrong = self._believed(text, labels_of(payload))
            if wrong and _share(f"second thoughts {text}") < self.second_thoughts:
                view = self._true_label(text)
            same = self._kind.shown(view, text) == entry[self._kind.key]
            verdicts.append(
                {
                    "id": entry["id"],
                    "reason": "as looked up" if same else f"looks like {self._kind.words(view, text)}",
                    "verdict": "accept" if same else "relabel",
                }
            )
        return {"verdicts": verdicts}

    def _heard(self, entry: Payload, key: str, payload: Payload) -> str:
        """The label that an entry of a payload has; the true one, if what is shown can be of no place."""
        text = whole(entry, payload)
        try:
            return self._kind.said(entry[key], text)
        except ValueError:
            return self._true_label(text)

    def _believed(self, text: str, labels: Sequence[str]) -> tuple[str, bool]:
        """(the label it gives a text, whether that is a planted error)."""
        true = self._true_label(text)
        if _share(f"noise {text}") >= self.label_noise:
            return true, False
        wrong = self._kind.garbled(true, labels, _share(f"which {text}"))
        return wrong, wrong != true

    def _true_label(self, text: str) -> str:
        if (found := self._label_of.get(content_id(text, self._kind))) is not None:
            return found
        words = set(normal(text).split())
        best = max(self._words, key=lambda row: len(words & row[0]) / (len(words | row[0]) or 1))
        return self._kind.fitting(best[1], text)


def whole(entry: str | Mapping[str, str], payload: Payload) -> str:
    """The text of an entry of a payload, or one that stands by itself; of a pair both as one string."""
    return entry if isinstance(entry, str) else join(entry, fields_of(payload))


def _shared_words(texts: Sequence[str]) -> str:
    counts = Counter(word for text in texts for word in set(normal(text).split()) if len(word) > 3)
    return ", ".join(word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5])


def _share(text: str) -> float:
    """A fixed number in [0, 1) for a text, the same in every process."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64
