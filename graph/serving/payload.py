"""The bodies of `POST /predict`: reading a request, and writing its reply."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tutelage.graph.serving.refused import Refused
from tutelage.graph.serving.served_model import Answer, ServedModel
from tutelage.student.data.rows import check_text
from tutelage.student.errors import InputError
from tutelage.student.tasks.fields import Fields, join

_KNOWN = ("texts", "precision", "probabilities")


@dataclass(frozen=True)
class Wanted:
    """What a request asks.

    Attributes:
        texts: one string each, as students read them.
        least: the confidence below which no label is given; 0 gives all.
        probabilities: whether the probability of each label is given too.
    """

    texts: list[str]
    least: float
    probabilities: bool


def read_request(body: bytes, model: ServedModel, max_texts: int) -> Wanted:
    """Return what the body of a request asks.

    Raises:
        Refused: it is not JSON (status 400), has too many texts (413), or cannot be answered by this model
            (422).
    """
    try:
        given = json.loads(body)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Refused(400, f"the body cannot be read as JSON ({error}); send an object with texts") from error
    except (ValueError, RecursionError) as error:
        why = "it is too deep, or a number too long"
        raise Refused(400, f"the body cannot be read as JSON ({why}); send an object with texts") from error
    if not isinstance(given, dict):
        raise Refused(422, f'the body is {_named(given)}; send an object like {{"texts": [...]}}')
    if unknown := [name for name in given if name not in _KNOWN]:
        raise Refused(422, f"the field {_short(unknown[0])} is unknown; the fields are {', '.join(_KNOWN)}")
    return Wanted(
        texts=_texts(given.get("texts"), model.fields, max_texts),
        least=_least(given.get("precision"), model),
        probabilities=_probabilities(given.get("probabilities", False), model),
    )


def write_reply(answers: Sequence[Answer], wanted: Wanted, labels: Sequence[str]) -> dict[str, Any]:
    """Return the body of the reply: a prediction for each text, in the order of the request."""
    return {"predictions": [_prediction(one, wanted, labels) for one in answers]}


def _prediction(answer: Answer, wanted: Wanted, labels: Sequence[str]) -> dict[str, Any]:
    label = None if answer.confidence < wanted.least else answer.label
    found: dict[str, Any] = {"label": label, "confidence": round(answer.confidence, 4)}
    if wanted.probabilities and answer.probabilities is not None:
        pairs = zip(labels, answer.probabilities, strict=True)
        found["probabilities"] = {name: round(float(p), 4) for name, p in pairs}
    return found


def _texts(given: object, fields: Fields, max_texts: int) -> list[str]:
    """Return the texts of a request, the texts of each pair joined."""
    if not isinstance(given, list) or not given:
        found = "an empty list" if given == [] else "missing" if given is None else _named(given)
        raise Refused(422, f"texts is {found}; send a list of at least one text")
    if len(given) > max_texts:
        raise Refused(413, f"texts has {len(given):,} texts, at most {max_texts:,}; send several requests")
    if len(fields) == 1:
        return [_usable(text, f"texts[{i}]") for i, text in enumerate(given)]
    return [join(_pair(text, i, fields), fields) for i, text in enumerate(given)]


def _pair(given: object, place: int, fields: Fields) -> Mapping[str, str]:
    """Return the checked fields of a pair."""
    names = ", ".join(fields)
    if not isinstance(given, dict):
        raise Refused(422, f"texts[{place}] is {_named(given)}; send an object with the fields {names}")
    if unknown := [name for name in given if name not in fields]:
        raise Refused(
            422, f"texts[{place}] has the unknown field {_short(unknown[0])}; the fields are {names}"
        )
    if missing := [name for name in fields if name not in given]:
        raise Refused(422, f"texts[{place}] lacks the field {missing[0]}; the fields are {names}")
    return {name: _usable(given[name], f"texts[{place}].{name}", of_pair=True) for name in fields}


def _usable(given: object, which: str, *, of_pair: bool = False) -> str:
    if not isinstance(given, str):
        raise Refused(422, f"{which} is {_named(given)}; send a string")
    try:
        check_text(given, which, of_pair=of_pair)
    except InputError as error:
        raise Refused(422, str(error)) from error
    return given


def _least(given: object, model: ServedModel) -> float:
    """Return the confidence from which on the wanted share of labels is right; 0 if none is wanted."""
    if given is None:
        return 0.0
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= 1:
        raise Refused(422, f"precision is {_short(given)}; send a number from 0 to 1, e.g. 0.95")
    if model.reliability is None:
        raise Refused(
            422,
            "the confidence of this model was never measured; leave precision out, or serve a student that a"
            " run with folds made for a task with one label per text",
        )
    try:
        return model.reliability.threshold(given)
    except InputError as error:
        raise Refused(422, f"{error}; ask for less, or leave precision out") from error


def _probabilities(given: object, model: ServedModel) -> bool:
    if not isinstance(given, bool):
        raise Refused(422, f"probabilities is {_short(given)}; send true or false")
    if given and not model.gives_probabilities:
        raise Refused(
            422, f"a student of kind {model.kind} has no probability of each label; leave probabilities out"
        )
    return given


def _named(given: object) -> str:
    """Return what kind of JSON value this is."""
    names = {dict: "an object", list: "a list", str: "a string", int: "a number", float: "a number"}
    return names.get(type(given), json.dumps(given))


def _short(given: object) -> str:
    """Return a JSON value as it was sent, if it is short."""
    if isinstance(given, dict | list):
        return _named(given)
    text = json.dumps(given)
    return text if len(text) <= 60 else f"{text[:60]}…"
