"""The section about training: the student's predictions on new samples, and what training used of them."""

import json
from collections.abc import Callable
from typing import Any

from tutelage.graph.run_folder.trace import Trace

Make = Callable[..., Any]


def test_the_training_section_shows_predictions_on_new_samples_and_which_were_used(
    finished: Make, sample: Make, read_report: Make
) -> None:
    folder = finished()
    confidences = (0.9, 0.7, 0.4)
    predictions = [("bill", -1.0, 0.1), ("bill", -2.0, 0.2), ("praise", -4.0, 2.0)]
    samples = [
        sample(i, label="bill", confidence=confidence, answered=label, energy=energy, nll=loss)
        for i, (confidence, (label, energy, loss)) in enumerate(zip(confidences, predictions, strict=True))
    ]
    folder.write(folder.samples, "".join(json.dumps(s) + "\n" for s in samples))
    trace = Trace(folder.trace)
    with trace.node("train", 1):
        used = [samples[0]["id"], samples[1]["id"]]
        trace.log(unique=2 / 3, kept_share=0.5, backpropagated=0.25, used=used)
    training = read_report(folder)["training"]
    assert "1 3 67% -2.000 0.200" in training  # medians of -1, -2, -4 and of 0.1, 0.2, 2.0
    assert "1 67% 50% 25% 0.800 0.400" in training
    assert "KSM" not in training


def test_the_training_section_shows_the_actions_of_white_box_distillation(
    finished: Make, read_report: Make
) -> None:
    folder = finished()
    trace = Trace(folder.trace)
    with trace.node("train", 0):
        trace.log(distilled={"mean_action": {"fin": 0.5, "rel": 0.25}, "seconds": (4.5, 2.0)})
    training = read_report(folder)["training"]
    assert "0 0.500 0.250 4.500 2.000" in training
    assert "thresholds" not in training
