"""Bodies that cannot be answered are refused with a sentence that says what was wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.serving.payload import read_request, write_reply
from tutelage.graph.serving.refused import Refused
from tutelage.graph.serving.served_model import ServedModel
from tutelage.student.tasks.fields import ONE, PAIR


@pytest.fixture(scope="module")
def pair_model(head_folder: Callable[..., Path]) -> ServedModel:
    return ServedModel(head_folder(PAIR))


def refusal(body: object, model: ServedModel) -> tuple[int, str]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(Refused) as refused:
        read_request(data, model, 3)
    return refused.value.status, str(refused.value)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "the body cannot be read as JSON (Expecting value"),
        (b'{"texts": ["a"', 400, "the body cannot be read as JSON"),
        (b"\xff\xfe\xff", 400, "the body cannot be read as JSON"),
        (b"[" * 100_000, 400, "the body cannot be read as JSON (it is too deep, or a number too long)"),
        (b"9" * 5_000, 400, "the body cannot be read as JSON (it is too deep, or a number too long)"),
        (["a"], 422, 'the body is a list; send an object like {"texts": [...]}'),
        (None, 422, "the body is null"),
        ({}, 422, "texts is missing; send a list"),
        ({"texts": []}, 422, "texts is an empty list"),
        ({"texts": "a"}, 422, "texts is a string"),
        ({"texts": ["a"] * 4}, 413, "texts has 4 texts, at most 3; send several requests"),
        ({"texts": ["a", 1]}, 422, "texts[1] is a number; send a string"),
        ({"texts": ["a", True]}, 422, "texts[1] is true; send a string"),
        ({"texts": [{"text": "a"}]}, 422, "texts[0] is an object; send a string"),
        ({"texts": ["a", " "]}, 422, "texts[1] is empty; there is nothing to label in it"),
        ({"texts": ["a" * 20_001]}, 422, "texts[0] has 20,001 characters, at most 20,000; shorten it"),
        ({"texts": ["a\0"]}, 422, "texts[0] contains a NUL byte"),
        (b'{"texts": ["\\ud800"]}', 422, "texts[0] contains half of a surrogate pair"),
        ({"texts": ["a"], "text": 1}, 422, 'the field "text" is unknown; the fields are texts, precision'),
        ({"texts": ["a"], "x" * 99: 1}, 422, "x…"),
        ({"texts": ["a"], "precision": 1.5}, 422, "precision is 1.5; send a number from 0 to 1"),
        ({"texts": ["a"], "precision": float("nan")}, 422, "precision is NaN"),
        ({"texts": ["a"], "precision": True}, 422, "precision is true"),
        ({"texts": ["a"], "precision": {}}, 422, "precision is an object"),
        ({"texts": ["a"], "probabilities": 1}, 422, "probabilities is 1; send true or false"),
    ],
)  # fmt: skip
def test_a_bad_body_is_refused(body: Any, status: int, words: str, shop_model: ServedModel) -> None:
    found, sentence = refusal(body, shop_model)
    assert words in sentence
    assert found == status


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a", "texts[0] is a string; send an object with the fields text_a, text_b"),
        ({"text_a": "a"}, "texts[0] lacks the field text_b"),
        ({"text_a": "a", "text_b": "b", "c": ""}, 'texts[0] has the unknown field "c"'),
        ({"text_a": "a", "text_b": ""}, "texts[0].text_b is empty"),
        ({"text_a": "a ␞ b", "text_b": "b"}, "texts[0].text_a contains '␞'"),
    ],
)
def test_a_bad_pair_is_refused(text: Any, words: str, pair_model: ServedModel) -> None:
    status, sentence = refusal({"texts": [text]}, pair_model)
    assert words in sentence
    assert status == 422


def test_a_precision_needs_a_measured_confidence(pair_model: ServedModel) -> None:
    body = {"texts": [{"text_a": "a", "text_b": "b"}], "precision": 0.9}
    status, sentence = refusal(body, pair_model)
    assert status == 422
    assert "was never measured; leave precision out" in sentence


def test_labels_below_the_wanted_precision_are_null(shop_model: ServedModel) -> None:
    sure = "I want to return the shoes and get my money back."
    body = {"texts": [sure, "hm"], "precision": 1}
    wanted = read_request(json.dumps(body).encode(), shop_model, 3)
    assert wanted.least == 0.4
    answers = shop_model.predict(wanted.texts)
    predictions = write_reply(answers, wanted, shop_model.labels)["predictions"]
    assert [one["label"] for one in predictions] == [answers[0].label, None]
    assert [one["confidence"] for one in predictions] == [round(one.confidence, 4) for one in answers]


def test_probabilities_are_given_by_label(shop_model: ServedModel, head_folder: Callable[..., Path]) -> None:
    for model in (shop_model, ServedModel(head_folder(ONE, [0.5, 0.5]))):
        wanted = read_request(b'{"texts": ["a lamp"], "probabilities": true}', model, 3)
        [found] = write_reply(model.predict(wanted.texts), wanted, model.labels)["predictions"]
        assert list(found["probabilities"]) == model.labels
        if model is shop_model:
            assert found["probabilities"][found["label"]] == found["confidence"]
            assert sum(found["probabilities"].values()) == pytest.approx(1, abs=1e-3)
