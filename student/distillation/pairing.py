"""The losses between a student and its teacher on a mini-batch, and the input of the policy.

KSM: Wang et al., Findings of EMNLP 2022, arXiv 2302.00444; marks are explained in distillation/knowledge.py.
"""

from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from tutelage.student.distillation.knowledge import (
    class_states,
    cosines,
    feature_loss,
    final_loss,
    fsp,
    related_states,
    relation_loss,
    response_loss,
)
from tutelage.student.distillation.white_box_teacher import Views
from tutelage.student.training.adapters.classifier import FullAdapter
from tutelage.student.training.class_weights import class_weights
from tutelage.student.training.knowledge import Knowledge, KnowledgeKind

if TYPE_CHECKING:
    from torch import Tensor


class Observation(NamedTuple):
    """The input of the policy: logits (n, C), and mean [CLS] of student and teacher; without gradients.

    One action weights a whole mini-batch, so [CLS] is averaged over it [I] (arXiv 2302.00444).
    """

    logits: "Tensor"
    student: "Tensor"
    teacher: "Tensor"


class Pair:
    """A student in training on the rows at `indices`, and its teacher's views of all rows (arXiv 2302.00444).

    FeaK and RelK compare the student's states after a trained linear projection to the teacher's width. The
    projection starts as the identity matrix, cut or zero-padded to the two widths [O].
    """

    def __init__(
        self,
        adapter: FullAdapter,
        numbers: list[int],
        indices: list[int],
        labels: int,
        views: Views,
        knowledge: Knowledge,
    ):
        import torch

        self.adapter, self.views, self.knowledge = adapter, views, knowledge
        widths = adapter.student.model.config.hidden_size, views.features.shape[-1]
        projections = [torch.eye(*widths, device=adapter.device, requires_grad=True) for _ in range(2)]
        self.feature, self.relation = projections
        self.parameters = [*adapter.parameters, *projections]
        self.numbers = torch.tensor(numbers)
        targets = np.eye(labels)[[numbers[i] for i in indices]]
        self.balance = torch.from_numpy(class_weights(targets, np.ones(len(targets)), "inverse")).float()

    def __call__(self, batch: list[int]) -> tuple[Observation, "Tensor"]:
        """Return the policy's input, and the losses in the order of `kinds`, with gradient."""
        import torch

        knowledge, views, device = self.knowledge, self.views, self.adapter.device
        logits, states, mask = self._forward(batch)
        features = views.features[batch].to(device)

        def loss(kind: KnowledgeKind) -> "Tensor":
            if kind == "fin":
                goal = self.numbers[batch]
                return final_loss(logits, goal.to(device), self.balance[goal].to(device))
            if kind == "res":
                return response_loss(logits, views.logits[batch].to(device), knowledge.temperature)
            if kind == "fea":
                return feature_loss(class_states(states, knowledge) @ self.feature, features)
            return relation_loss(self._relations(states, mask), views.relations(batch).to(device))

        student = states[-1][:, 0].detach().mean(0).cpu()
        observation = Observation(logits.detach(), student, features[:, -1].mean(0).cpu())
        return observation, torch.stack([loss(kind) for kind in knowledge.kinds])

    def _relations(self, states: list["Tensor"], mask: "Tensor") -> "Tensor":
        if self.views.relation_type == "cosines":
            return cosines(states[-1][:, 0])
        first, second = related_states(states, self.knowledge)
        return fsp(first @ self.relation, second @ self.relation, mask)

    def _forward(self, batch: list[int]) -> tuple["Tensor", list["Tensor"], "Tensor"]:
        """Return the logits, the states of embeddings and all layers, and the attention mask."""
        import torch

        inputs, cuda = self.adapter.inputs(batch), self.adapter.device.type == "cuda"
        with torch.autocast("cuda", torch.bfloat16) if cuda else nullcontext():
            out = self.adapter.student.model(**inputs, output_hidden_states=True)
        return out.logits.float(), [state.float() for state in out.hidden_states], inputs["attention_mask"]
