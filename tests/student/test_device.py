"""The threads that torch may use."""

import os

import pytest
import torch
from tutelage.student.device import leave_a_core


def test_one_core_is_left_to_other_threads_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(8)
        monkeypatch.setenv("OMP_NUM_THREADS", "8")
        leave_a_core()
        assert torch.get_num_threads() == 8
        monkeypatch.delenv("OMP_NUM_THREADS")
        leave_a_core()
        assert torch.get_num_threads() == max(1, min(8, len(os.sched_getaffinity(0)) - 1))
    finally:
        torch.set_num_threads(before)
