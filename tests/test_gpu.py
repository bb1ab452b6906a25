"""What only a GPU can show."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tutelage.student.encoder import Encoder
from tutelage.student.models.load import load_student
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def test_a_student_learns_on_the_gpu_and_answers_alike_on_the_cpu(easy: list[Any], tmp_path: Path) -> None:
    student = train(easy, ["refund", "status"], TrainingConfig(device="cuda"), seed=0, encoder=Encoder())
    student.save(tmp_path)
    texts = [row["text"] for row in easy]
    there = student.probabilities(texts)
    here = load_student(tmp_path, device_name="cpu").probabilities(texts)
    assert np.allclose(there, here, atol=1e-2)
    gold = np.array([row["label"] == "status" for row in easy])
    assert ((there.argmax(1) == 1) == gold).mean() > 0.9


def test_no_memory_is_left_between_rounds(easy: list[Any]) -> None:
    held = []
    for seed in range(3):
        student = train(
            easy, ["refund", "status"], TrainingConfig(device="cuda"), seed=seed, encoder=Encoder()
        )
        del student
        torch.cuda.synchronize()
        held.append(torch.cuda.memory_allocated())
    assert held[2] <= held[0] + 1_000_000
