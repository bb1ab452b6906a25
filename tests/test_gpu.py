"""Training on a GPU."""

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


def test_a_student_trained_on_the_gpu_predicts_the_same_on_the_cpu(easy: list[Any], tmp_path: Path) -> None:
    student = train(easy, ["refund", "status"], TrainingConfig(device="cuda"), seed=0, encoder=Encoder())
    student.save(tmp_path)
    texts = [row["text"] for row in easy]
    on_gpu = student.predict_proba(texts)
    on_cpu = load_student(tmp_path, device_name="cpu").predict_proba(texts)
    assert np.allclose(on_gpu, on_cpu, atol=1e-2)
    gold = np.array([row["label"] == "status" for row in easy])
    assert ((on_gpu.argmax(1) == 1) == gold).mean() > 0.9


def test_training_leaves_no_gpu_memory_allocated(easy: list[Any]) -> None:
    allocated = []
    for seed in range(3):
        student = train(
            easy, ["refund", "status"], TrainingConfig(device="cuda"), seed=seed, encoder=Encoder()
        )
        del student
        torch.cuda.synchronize()
        allocated.append(torch.cuda.memory_allocated())
    assert allocated[2] <= allocated[0] + 1_000_000
