"""`tutelage.distilled`: a Runnable; the student answers where it is sure, the teacher elsewhere."""

import json
import threading
import time
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import run_in_executor
from tutelage.graph.distilled.asked_teacher import Labeler, TeacherLabel, asked_teacher
from tutelage.graph.distilled.drift import Drift
from tutelage.graph.run_folder.folder import run_of, student_in, texts_used
from tutelage.student.data.rows import check_text, content_id
from tutelage.student.errors import InputError
from tutelage.student.evaluation.agreement import Agreement, load_agreement, measure_agreement
from tutelage.student.models.base import Predictor, forget_texts
from tutelage.student.models.onnx_student import load_predictor
from tutelage.student.tasks.fields import Fields, join, split
from tutelage.student.tasks.registry import TASK_TYPES

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from tutelage.graph.distilled.asked_teacher import LabelFunction
    from tutelage.graph.runs.interactive import Result

Text = str | Mapping[str, Any]  # a text, or a state with the student's fields
LOG = "escalated.jsonl"


class Statistics(TypedDict):
    """What a distilled model has done: texts so far, the share of the last 500 that went to the teacher, the
    share that was expected (lowest and highest; None if no agreement was measured), and the stability index
    of the labels.
    """

    texts: int
    escalated: float
    expected: tuple[float, float] | None
    stability_index: float


class Distilled(Runnable[Any, dict[str, Any]]):
    """Answer by the student where its confidence reaches `threshold`, and by the teacher elsewhere.

    `invoke` takes a text, or a mapping with the student's fields such as a LangGraph state, and returns the
    label under its usual name (`label`, `labels`, …), `confidence` of the student, and `answered_by`:
    `student` or `teacher`. Where the teacher gives no label, the student's stands, and `problem` says why.
    `batch` predicts all texts at once and asks the teacher about up to twelve in a call.
    """

    def __init__(
        self, student: Predictor, teacher: Labeler, threshold: float, agreement: Agreement | None, log: Path
    ):
        self.student, self.threshold, self.log = student, threshold, log
        self._teacher, self._lock = teacher, threading.Lock()
        self._task_type = TASK_TYPES[student.kind]
        self._drift, self._texts = Drift(agreement, threshold), 0

    def invoke(self, input: Text, config: RunnableConfig | None = None, **kwargs: Any) -> dict[str, Any]:
        """Answer one text."""
        return self._call_with_config(
            lambda one: self._answer([as_text(one, self.student.fields)])[0], input, config
        )

    def batch(
        self,
        inputs: Sequence[Text],
        config: Any = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Answer many texts, in their order. With `return_exceptions`, an unusable text has its error as
        answer, and the others are answered.
        """
        return self._batch_with_config(
            self._answers, list(inputs), config, return_exceptions=return_exceptions
        )

    async def abatch(
        self,
        inputs: Sequence[Text],
        config: Any = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Answer many texts, in their order, without blocking the event loop."""

        def call() -> list[Any]:
            return self.batch(inputs, config, return_exceptions=return_exceptions)

        return await run_in_executor(None, call)

    def statistics(self) -> Statistics:
        """Return what was done so far, and whether the texts still look as expected."""
        with self._lock:
            return Statistics(
                texts=self._texts,
                escalated=self._drift.share(),
                expected=self._drift.expected,
                stability_index=self._drift.stability_index(),
            )

    def close(self) -> None:
        """Close the connections to the teacher and the file of its replies."""
        if close := getattr(self._teacher, "close", None):
            close()

    def _answers(self, inputs: list[Text]) -> list[dict[str, Any] | Exception]:
        """Return the answer to each input, or the error of an unusable one."""
        texts: list[str | InputError] = []
        for one in inputs:
            try:
                texts.append(as_text(one, self.student.fields))
            except InputError as error:
                texts.append(error)
        found = iter(self._answer([text for text in texts if isinstance(text, str)]))
        return [next(found) if isinstance(text, str) else text for text in texts]

    def _answer(self, texts: list[str]) -> list[dict[str, Any]]:
        if not texts:
            return []
        with self._lock:  # a tokenizer is not safe between threads
            found = self.student.predict(texts, best=True)
            forget_texts(self.student)
        unsure = [i for i, confidence in enumerate(found.confidence) if confidence < self.threshold]
        replies = self._teacher([texts[i] for i in unsure]) if unsure else []
        by_teacher = dict(zip(unsure, replies, strict=True))
        answers = [
            self._shown(text, label, confidence, by_teacher.get(i))
            for i, (text, label, confidence) in enumerate(
                zip(texts, found.answers, found.confidence, strict=True)
            )
        ]
        self._record(texts, found.answers, answers, set(unsure))
        return answers

    def _shown(self, text: str, label: str, confidence: float, reply: TeacherLabel | None) -> dict[str, Any]:
        """Return the answer to one text; `reply` is the teacher's, if it was asked."""
        given, problem = reply or (None, "")
        shown = {
            self._task_type.label_field: self._task_type.to_file(label if given is None else given, text),
            "confidence": round(float(confidence), 4),
            "answered_by": "student" if given is None else "teacher",
        }
        return {**shown, "problem": problem} if problem else shown

    def _record(
        self,
        texts: Sequence[str],
        predicted: Sequence[str],
        answers: Sequence[Mapping[str, Any]],
        escalated: set[int],
    ) -> None:
        """Append the escalated texts to the log, and compare the texts with those that were expected."""
        fields, now = self.student.fields, round(time.time())
        lines = [
            {
                **split(texts[i], fields),
                **answers[i],
                "predicted": self._task_type.to_file(predicted[i], texts[i]),
                "time": now,
            }
            for i in sorted(escalated)
        ]
        with self._lock:
            self._texts += len(texts)
            with self.log.open("a", encoding="utf-8") as file:
                file.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
            for i, answer in enumerate(predicted):
                self._drift.add(i in escalated, self._task_type.labels_in(answer))
            self._drift.check()


def as_text(given: Text, fields: Fields) -> str:
    """Return a text in the form that students read.

    Raises:
        InputError: a field is missing, or a text is unusable.
    """
    parts = {fields[0]: given} if isinstance(given, str) and len(fields) == 1 else given
    if not isinstance(parts, Mapping) or any(not isinstance(parts.get(name), str) for name in fields):
        expected = f"a mapping with {', '.join(map(repr, fields))}"
        expected = expected if len(fields) > 1 else f"a text, or {expected}"
        raise InputError(f"expected {expected}, got {given!r:.80}")
    for name in fields:
        check_text(parts[name], f"the text {parts[name][:60]!r}", of_pair=len(fields) > 1)
    return join({name: parts[name] for name in fields}, fields)


def distilled(
    student: "Path | str | Result",
    teacher: "BaseChatModel | LabelFunction | None" = None,
    *,
    agreement: float | None = None,
    threshold: float | None = None,
    calibration: Sequence[Text] | None = None,
    log: Path | str | None = None,
) -> Distilled:
    """Return a LangChain Runnable, also a LangGraph node, in which the student answers where it is sure.

    The student answers the texts in which its confidence is so high that it gives the label of the teacher in
    a share `agreement` of them. This is measured on texts that the student was not trained on: those that a
    run labelled at random for its comparison, or `calibration`.

    Args:
        student: the result of a run, a run folder, or a folder that `tutelage export` wrote.
        teacher: a LangChain chat model, asked with the prompts of the run; or a function from a list of texts
            to a list of labels. By default the run's own labeler.
        agreement: the wanted share, among the texts that the student answers; 0.95 by default.
        threshold: the lowest confidence of the student, in place of `agreement`.
        calibration: texts that the teacher labels now, to choose the threshold by. They should be some
            hundreds of new texts, drawn at random from those that will come.
        log: a file to which the texts that the teacher labelled are appended, as the unlabelled texts of the
            next run; by default `escalated.jsonl` in the given folder. The replies of a chat model are stored
            beside it.

    Raises:
        InputError: the agreement is not reached or cannot be measured, or the teacher cannot be asked.
    """
    _check_arguments(agreement, threshold, calibration)
    path = Path(student if isinstance(student, str | Path) else student.folder)
    folder = student_in(path)
    model = load_predictor(folder)
    log = Path(log) if log else run_of(path) / LOG
    try:
        log.touch()
    except OSError as error:
        raise InputError(f"{log} cannot be written: {error}; name another file as `log`") from error
    asked = asked_teacher(path, teacher, model, log.with_suffix(".sqlite"))
    found = _calibrated(model, asked, calibration, folder) if calibration else load_agreement(folder)
    if threshold is None:
        threshold = _required(found, folder).threshold(0.95 if agreement is None else agreement)
    return Distilled(model, asked, threshold, found, log)


def _check_arguments(agreement: object, threshold: object, calibration: object) -> None:
    if agreement is not None and threshold is not None:
        raise InputError("`agreement` and `threshold` both say when the student answers; give one of them")
    for name, value, most in (("agreement", agreement, 1.0), ("threshold", threshold, inf)):
        if value is not None and not (isinstance(value, int | float) and 0 <= value <= most):
            limit = "from 0 to 1" if most == 1 else "from 0 (above 1 the teacher answers everything)"
            raise InputError(f"`{name}` is {value!r}, expected a number {limit}")
    if isinstance(calibration, str):
        raise InputError("`calibration` is one text, expected a list of hundreds of texts")


def _required(found: Agreement | None, folder: Path) -> Agreement:
    if found is None:
        raise InputError(
            f"{folder} has no agreement.json, which a run with unlabelled and test texts writes; give"
            " hundred texts as `calibration`, or a `threshold`"
        )
    return found


def _calibrated(model: Predictor, asked: Labeler, given: Sequence[Text], folder: Path) -> Agreement:
    """Return the agreement on texts that the teacher labels now."""
    texts, used = [as_text(one, model.fields) for one in given], texts_used(folder)
    if known := sum(content_id(text, TASK_TYPES[model.kind]) in used for text in texts):
        raise InputError(f"{known} of {len(texts)} texts of `calibration` were used in the run; give others")
    answers = zip(texts, asked(texts), strict=True)
    labelled = [(text, label) for text, (label, _) in answers if label is not None]
    if not labelled:
        raise InputError(f"the teacher labelled none of the {len(texts)} texts of `calibration`")
    return measure_agreement(model, *map(list, zip(*labelled, strict=True)))
