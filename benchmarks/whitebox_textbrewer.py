"""Distil with TextBrewer and equal weights, with corrected settings.

By default its loss on outputs lacks the factor T², the hard label has weight 0 and gradients are not clipped.
"""

import random
import tempfile
from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any

from tutelage.student.data.rows import Row
from tutelage.student.models.base import FullStudent
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.schedule import bucketed, warm_and_down

TEMPERATURE = 2.0  # as in student/training/knowledge.py


class _Batches:
    """Yield in each epoch the mini-batches that our own loop would make."""

    def __init__(self, student: FullStudent, rows: Sequence[Row], size: int, seed: int):
        texts = [row["text"] for row in rows]
        encoded = student.tokens(texts, return_attention_mask=False)
        tokens = [{name: ids[i] for name, ids in encoded.items()} for i in range(len(texts))]
        self.student, self.tokens, self.size, self.order = student, tokens, size, random.Random(seed)
        self.numbers = [student.labels.index(row["label"]) for row in rows]

    def __len__(self) -> int:
        return ceil(len(self.tokens) / self.size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        import torch

        for places in bucketed([len(one["input_ids"]) for one in self.tokens], self.size, self.order):
            batch = self.student.tokenizer.pad([self.tokens[i] for i in places], return_tensors="pt")
            yield {**batch, "labels": torch.tensor([self.numbers[i] for i in places])}


def distil_equally(
    student: FullStudent,
    teacher: FullStudent,
    rows: Sequence[Row],
    training_config: TrainingConfig,
    seed: int,
) -> None:
    """Train the student in place. The losses of TextBrewer are scaled differently from ours, and its loss on
    hidden states uses all tokens, not only [CLS]. Its equal weights are therefore not our equal weights.
    """
    import torch
    from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig

    batches = _Batches(student, rows, training_config.batch, seed)
    epochs = max(training_config.epochs, ceil(training_config.steps / len(batches)))
    depths = [len(list(model.model.base_model.encoder.layer)) for model in (teacher, student)]
    matches = [
        {"layer_T": depths[0], "layer_S": depths[1], "feature": "hidden", "loss": "hidden_mse", "weight": 1},
        {
            "layer_T": [0, depths[0]],
            "layer_S": [0, depths[1]],
            "feature": "hidden",
            "loss": "fsp",
            "weight": 1,
        },
    ]
    config = DistillationConfig(
        temperature=TEMPERATURE,
        hard_label_weight=1,
        kd_loss_weight=TEMPERATURE**2,
        intermediate_matches=matches,
    )
    rate = training_config.learning_rate or 3e-4 * min(1.0, 384 / student.model.config.hidden_size) ** 2
    optimizer = torch.optim.AdamW(student.model.parameters(), lr=rate, weight_decay=0.01)
    student.model.train()
    teacher.model.eval()
    with tempfile.TemporaryDirectory() as folder:
        setup = TrainingConfig(output_dir=folder, device=student.model.device)
        distiller = GeneralDistiller(setup, config, teacher.model, student.model, _adapted, _adapted)
        with distiller:
            distiller.train(
                optimizer,
                batches,
                num_epochs=epochs,
                scheduler_class=torch.optim.lr_scheduler.LambdaLR,
                scheduler_args={"lr_lambda": warm_and_down(epochs * len(batches))},
                max_grad_norm=1.0,
                output_hidden_states=True,
            )


def _adapted(batch: dict[str, Any], outputs: Any) -> dict[str, Any]:
    return {
        "logits": outputs.logits,
        "hidden": outputs.hidden_states,
        "losses": outputs.loss,
        "inputs_mask": batch["attention_mask"],
    }
