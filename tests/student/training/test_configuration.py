"""Test the settings of a training configuration."""

from typing import Any

import pytest
from tutelage.student.errors import InputError
from tutelage.student.training.configuration import TrainingConfig


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"smoothing": 1.0}, "`smoothing` is 1.0; it must be a number, at least 0, below 1"),
        ({"average": -0.1}, "`average` is -0.1"),
        ({"contrastive_steps": 5}, "set `probe_first: true` too"),
        ({"mode": "head", "pooling": "mean"}, "`pooling` is not for a student of mode `head`"),
        (
            {"kind": "pairs", "fields": ("a", "b"), "probe_first": True},
            "`probe_first` is not for tasks of type pairs",
        ),
        ({"kind": "ner", "pooling": "mean"}, "`pooling` is not for tasks of type ner"),
        ({"kind": "seq2seq", "smoothing": 0.1}, "`smoothing` is not for tasks of type seq2seq"),
    ],
)
def test_invalid_settings_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainingConfig(**fields)


def test_a_probe_alone_takes_no_steps_whatever_min_steps_is() -> None:
    assert TrainingConfig(probe_first=True, epochs=0, min_steps=200).steps == 0
    assert TrainingConfig(probe_first=True, epochs=0).pooling == "mean"
    assert TrainingConfig(probe_first=True, epochs=1, min_steps=200).steps == 200
