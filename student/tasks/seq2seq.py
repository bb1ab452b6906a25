"""Sequence to sequence: one target per text, which the student learns to write."""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator
from tutelage.student.errors import InputError
from tutelage.student.tasks.scoring import ExampleStatistics, Scores
from tutelage.student.tasks.task_type import TaskType
from tutelage.student.tasks.user_functions import Metric, is_user_function, load_metric, title
from tutelage.student.tasks.words import UNSPACED

EXACT, ROUGE, CHRF = "exact_match", "rouge_l", "chrf"
LONGEST = 20_000  # characters of a target
_UNSPACED = re.compile(f"([{UNSPACED}])")


class Seq2seq(TaskType):
    """The label string is the target without surrounding whitespace."""

    label_field = "target"
    metrics = (EXACT, ROUGE, CHRF)
    min_labels = 0
    default_base = "google-t5/t5-small"
    generates = case_sensitive = needs_examples = True
    min_steps = 30

    def check_metric(self, metric: str) -> str:
        """Return why this metric cannot be used (unknown, package missing, user function fails), or ""."""
        if is_user_function(metric):
            try:
                load_metric(metric)
            except InputError as error:
                return str(error)
            return ""
        if metric in (ROUGE, CHRF) and metric not in _built_in():
            return f"{metric} needs another package: pip install 'tutelage[seq2seq]'"
        problem = super().check_metric(metric)
        return f"{problem}; or a user function, file.py:function" if problem else ""

    def parse_label(self, value: object, text: str, labels: Sequence[str]) -> str:
        """Return a string that is not blank, without surrounding whitespace."""
        if not isinstance(value, str):
            raise ValueError(f"is {type(value).__name__}, expected a string")
        return self.parse_reply(value, text)

    def to_text(self, label: str, text: str) -> str:
        """Return the target in one line."""
        return " ".join(label.split())

    def reply_type(self, labels: Sequence[str]) -> Any:
        """Return the type of a string that is not blank."""
        return Annotated[str, AfterValidator(lambda target: self.parse_reply(target, ""))]

    def parse_reply(self, value: Any, text: str) -> str:
        """Return the target without surrounding whitespace."""
        target = str(value).strip()
        if not target:
            raise ValueError("is blank; a target is what the student is to write")
        if "\0" in target or any("\ud800" <= sign <= "\udfff" for sign in target):
            raise ValueError("holds a NUL byte or half of a surrogate pair; it is damaged")
        if len(target) > LONGEST:
            raise ValueError(f"has {len(target):,} characters; at most {LONGEST:,} can be learnt")
        return target

    def labels_in(self, label: str) -> list[str]:
        """Return `no_label`: a target has no labels to balance by."""
        return list(self.no_label)

    def error_pairs(self, gold: str, answer: str) -> list[tuple[str, str]]:
        """Return one pair without names if the answer is not exactly the target."""
        return [] if gold == answer else [("", "")]

    def corrupted(self, label: str, labels: Sequence[str], chance: float) -> str:
        """Return the target without one word; one word loses its last character; one character is doubled."""
        words = label.split()
        if len(words) < 2:
            return label[:-1] or f"{label}{label}"
        del words[int(chance * len(words))]
        return " ".join(words)

    def example_statistics(
        self,
        texts: Sequence[str],
        gold: Sequence[str],
        answers: Sequence[str],
        labels: Sequence[str],
        metric: str,
    ) -> ExampleStatistics:
        """Return every metric of every answer; the score of an evaluation is their mean."""
        triples = list(zip(answers, gold, texts, strict=True))
        scorers = _metrics(metric).values()
        values = [[score(*one) for score in scorers] for one in triples]
        return np.array(values).reshape(len(triples), len(scorers))

    def figures(self, totals: ExampleStatistics, size: int, metric: str) -> dict[str, NDArray[np.float64]]:
        """Return the mean of each metric."""
        own = [title(metric)] if is_user_function(metric) else []
        names = [*own, *_built_in()]  # in the order of `_metrics`
        return dict(zip(names, np.moveaxis(totals, -1, 0) / max(size, 1), strict=True))

    def aggregate(self, total: Any, size: int, labels: Sequence[str], metric: str) -> Scores:
        """Return the mean of each metric."""
        figures = {name: float(figure) for name, figure in self.figures(total, size, metric).items()}
        return Scores(figures=figures, classes=[], items=[1.0, 1.0])


SEQ2SEQ = Seq2seq()


class _Words:
    """A tokenizer for any script. The one of rouge-score keeps only a to z and 0 to 9, so every answer in
    another script scores 0; on texts of these characters both give the same words.
    """

    def tokenize(self, text: str) -> list[str]:
        """Return runs of letters, marks and digits; in scripts without spaces, every character."""
        lowered = unicodedata.normalize("NFC", text.lower())
        kept = "".join(char if unicodedata.category(char)[0] in "LMN" else " " for char in lowered)
        return _UNSPACED.sub(r" \1 ", kept).split()


def _metrics(metric: str) -> dict[str, Metric]:
    own = {title(metric): load_metric(metric)} if is_user_function(metric) else {}
    return {**own, **_built_in()}


@cache
def _built_in() -> dict[str, Metric]:
    """Return the built-in metrics whose packages are installed, by name: exact match; the F-measure of the
    longest common subsequence of words (Lin 2004), from rouge-score; and the F-score of character n-grams of
    each single answer (Popović 2015), from sacrebleu.
    """
    metrics: dict[str, Metric] = {EXACT: lambda answer, target, text: float(answer == target)}
    if find_spec("rouge_score"):
        from rouge_score.rouge_scorer import RougeScorer

        words = _Words()
        scorer = RougeScorer(["rougeL"], tokenizer=words)

        def rouge(answer: str, target: str, text: str) -> float:
            if not words.tokenize(target):  # the target has no words, only punctuation or symbols
                return float(answer == target)
            return float(scorer.score(target, answer)["rougeL"].fmeasure)

        metrics[ROUGE] = rouge
    if find_spec("sacrebleu"):
        from sacrebleu import sentence_chrf

        metrics[CHRF] = lambda answer, target, text: float(sentence_chrf(answer, [target]).score / 100)
    return metrics
