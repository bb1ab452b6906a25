"""A student beside its teacher: what a mini-batch shows of both, and its losses.

KSM: Wang et al., Findings of EMNLP 2022, arXiv 2302.00444; marks as in student/distillation/knowledge.py.
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
from tutelage.student.training.adapters.classifier import FullLearner
from tutelage.student.training.class_weights import class_weights
from tutelage.student.training.knowledge import Kind, Knowledge

if TYPE_CHECKING:
    from torch import Tensor


class Situation(NamedTuple):
    """What an action depends on: logits (n, C), mean [CLS] of student and of teacher; no gradients.

    One action weighs a whole mini-batch, so the state is its mean [I] (arXiv 2302.00444).
    """

    logits: "Tensor"
    student: "Tensor"
    teacher: "Tensor"


class Pair:
    """A student in training on the rows at `places`, beside its teacher's views of all (arXiv 2302.00444).

    Where FeaK and RelK compare them, the student's states pass a learnt linear projection to the teacher's
    width, which starts as the identity as far as the widths go [O].
    """

    def __init__(
        self,
        learner: FullLearner,
        numbers: list[int],
        places: list[int],
        labels: int,
        views: Views,
        knowledge: Knowledge,
    ):
        import torch

        self.learner, self.views, self.knowledge = learner, views, knowledge
        narrow, wide = learner.student.model.config.hidden_size, views.features.shape[-1]
        eyes = [torch.eye(narrow, wide, device=learner.device, requires_grad=True) for _ in range(2)]
        self.feature, self.relation = eyes
        self.parameters = [*learner.parameters, *eyes]
        self.numbers = torch.tensor(numbers)
        own = np.eye(labels)[[numbers[i] for i in places]]
        self.balance = torch.from_numpy(class_weights(own, np.ones(len(own)), "inverse")).float()

    def __call__(self, batch: list[int]) -> tuple[Situation, "Tensor"]:
        """The situation, and the losses in the order of `kinds`, with gradient."""
        import torch

        knowledge, views, here = self.knowledge, self.views, self.learner.device
        logits, states, mask = self._forward(batch)
        features = views.features[batch].to(here)

        def loss(kind: Kind) -> "Tensor":
            if kind == "fin":
                goal = self.numbers[batch]
                return final_loss(logits, goal.to(here), self.balance[goal].to(here))
            if kind == "res":
                return response_loss(logits, views.logits[batch].to(here), knowledge.temperature)
            if kind == "fea":
                return feature_loss(class_states(states, knowledge) @ self.feature, features)
            return relation_loss(self._relations(states, mask), views.relations(batch).to(here))

        own = states[-1][:, 0].detach().mean(0).cpu()
        situation = Situation(logits.detach(), own, features[:, -1].mean(0).cpu())
        return situation, torch.stack([loss(kind) for kind in knowledge.kinds])

    def _relations(self, states: list["Tensor"], mask: "Tensor") -> "Tensor":
        if self.views.form == "cosines":
            return cosines(states[-1][:, 0])
        first, second = related_states(states, self.knowledge)
        return fsp(first @ self.relation, second @ self.relation, mask)

    def _forward(self, batch: list[int]) -> tuple["Tensor", list["Tensor"], "Tensor"]:
        """Logits, the states of embeddings and all layers, and the mask."""
        import torch

        inputs, cuda = self.learner.inputs(batch), self.learner.device.type == "cuda"
        with torch.autocast("cuda", torch.bfloat16) if cuda else nullcontext():
            out = self.learner.student.model(**inputs, output_hidden_states=True)
        return out.logits.float(), [state.float() for state in out.hidden_states], inputs["attention_mask"]
