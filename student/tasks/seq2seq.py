"""A target a text: whatever the student is to write."""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator
from tutelage.student.errors import InputError
from tutelage.student.tasks.names import unknown
from tutelage.student.tasks.scoring import Marks, Scores
from tutelage.student.tasks.spans import UNSPACED
from tutelage.student.tasks.user_functions import Judge, is_own, judge, title

EXACT, ROUGE, CHRF = "exact_match", "rouge_l", "chrf"
LONGEST = 20_000  # characters of a target
_UNSPACED = re.compile(f"([{UNSPACED}])")


class Seq2seq:
    """A label is the target itself, without the spaces around it."""

    texts: int = 1
    key: str = "target"
    metrics: tuple[str, ...] = (EXACT, ROUGE, CHRF)
    fewest: int = 0
    modes: tuple[str, ...] = ("full",)
    base: str = "google-t5/t5-small"
    writes: bool = True
    outcomes: tuple[str, ...] = ()
    lists: bool = False
    bare: tuple[str, ...] = ("",)
    shots: bool = True
    verbatim: bool = True
    steps: int = 30

    def unfit(self, metric: str) -> str:
        """A figure that cannot be had: unknown, its library missing, or no function at that path."""
        if is_own(metric):
            try:
                judge(metric)
            except InputError as error:
                return str(error)
            return ""
        if metric in (ROUGE, CHRF) and metric not in _figures():
            return f"{metric} needs another package: pip install 'tutelage[seq2seq]'"
        problem = unknown(metric, self.metrics)
        return f"{problem}; or file.py:function of your own" if problem else ""

    def read(self, value: object, text: str, labels: Sequence[str]) -> str:
        """A string that is not blank."""
        if not isinstance(value, str):
            raise ValueError(f"is {type(value).__name__}, expected a string")
        return self.said(value, text)

    def shown(self, label: str, text: str) -> Any:
        """As it is."""
        return label

    def filed(self, label: str, text: str) -> Any:
        """As it is."""
        return label

    def words(self, label: str, text: str) -> str:
        """In one line."""
        return " ".join(label.split())

    def reply(self, labels: Sequence[str]) -> Any:
        """A string that is not blank."""
        return Annotated[str, AfterValidator(lambda target: self.said(target, ""))]

    def said(self, value: Any, text: str) -> str:
        """Without the spaces around it."""
        target = str(value).strip()
        if not target:
            raise ValueError("is blank; a target is what the student is to write")
        if "\0" in target or any("\ud800" <= sign <= "\udfff" for sign in target):
            raise ValueError("holds a NUL byte or half of a surrogate pair; it is damaged")
        if len(target) > LONGEST:
            raise ValueError(f"has {len(target):,} characters; at most {LONGEST:,} can be learnt")
        return target

    def groups(self, label: str) -> list[str]:
        """What all texts share."""
        return list(self.bare)

    def slips(self, gold: str, answer: str) -> list[tuple[str, str]]:
        """That it is wrong: word for word it has to be the target."""
        return [] if gold == answer else [("", "")]

    def garbled(self, label: str, labels: Sequence[str], chance: float) -> str:
        """One word less, or the last sign, as of somebody who broke off."""
        words = label.split()
        if len(words) < 2:
            return label[:-1] or f"{label}{label}"
        del words[int(chance * len(words))]
        return " ".join(words)

    def fitting(self, label: str, text: str) -> str:
        """All of it."""
        return label

    def choices(self, labels: Sequence[str]) -> int:
        """Right or wrong."""
        return 2

    def marks(
        self,
        texts: Sequence[str],
        gold: Sequence[str],
        answers: Sequence[str],
        labels: Sequence[str],
        metric: str,
    ) -> Marks:
        """Each figure of each answer by itself; that of an exam is their mean."""
        triples = list(zip(answers, gold, texts, strict=True))
        judges = _judges(metric).values()
        return np.array([[of(*one) for of in judges] for one in triples]).reshape(len(triples), len(judges))

    def scores(self, total: Any, size: int, labels: Sequence[str], metric: str) -> Scores:
        """Means."""
        names = [*([title(metric)] if is_own(metric) else []), *_figures()]  # as `_judges` has them
        figures = {name: float(part / max(size, 1)) for name, part in zip(names, total, strict=True)}
        return Scores(figures=figures, classes=[], items=[1.0, 1.0])


SEQ2SEQ = Seq2seq()


class _Words:
    """Words of any script. rouge-score's own are of a to z and 0 to 9, the same as these in such a text; of
    another script it sees none, and every answer has 0.
    """

    def tokenize(self, text: str) -> list[str]:
        """Runs of letters, marks and digits; where a script writes no spaces, each sign."""
        signs = unicodedata.normalize("NFC", text.lower())
        kept = "".join(sign if unicodedata.category(sign)[0] in "LMN" else " " for sign in signs)
        return _UNSPACED.sub(r" \1 ", kept).split()


def _judges(metric: str) -> dict[str, Judge]:
    own = {title(metric): judge(metric)} if is_own(metric) else {}
    return {**own, **_figures()}


@cache
def _figures() -> dict[str, Judge]:
    """The figures that can be had, by their names: word for word the target; the F-measure of the longest
    common subsequence of words (Lin 2004), as rouge-score has it; character n-grams (Popović 2015), of each
    answer by itself, as sacrebleu has them.
    """
    figures: dict[str, Judge] = {EXACT: lambda answer, target, text: float(answer == target)}
    if find_spec("rouge_score"):
        from rouge_score.rouge_scorer import RougeScorer

        words = _Words()
        scorer = RougeScorer(["rougeL"], tokenizer=words)

        def rouge(answer: str, target: str, text: str) -> float:
            if not words.tokenize(target):  # of signs alone
                return float(answer == target)
            return float(scorer.score(target, answer)["rougeL"].fmeasure)

        figures[ROUGE] = rouge
    if find_spec("sacrebleu"):
        from sacrebleu import sentence_chrf

        figures[CHRF] = lambda answer, target, text: float(sentence_chrf(answer, [target]).score / 100)
    return figures
