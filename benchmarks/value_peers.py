"""The nearest rivals of the product as arms of the value benchmark, each as its documentation begins.

They are no dependencies; install them beside the checkout: pip install --no-deps setfit small-text accelerate
evaluate dill tqdm (and name the folder in PYTHONPATH if it is another one).
"""

from typing import Any

import numpy as np
from common.regime import Data
from tutelage.student.pretrained import EMBEDDED, locate

PEERS = ("setfit", "small-text")


def peer_answers(peer: str, data: Data, labels: int, batches: int, seed: int) -> list[str]:
    """Return the labels that a rival's student gives to the test texts."""
    codes = {label: code for code, label in enumerate(data.labels)}
    answers = (
        _setfit(data, codes, seed) if peer == "setfit" else _small_text(data, codes, labels, batches, seed)
    )
    return [data.labels[int(code)] for code in answers]


def _setfit(data: Data, codes: dict[str, int], seed: int) -> Any:
    """SetFit (Tunstall et al. 2022, arXiv 2209.11055) on the user's own rows, with its paper's 20 pairs of
    each kind per row.
    """
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    rows = [{"text": row["text"], "label": codes[row["label"]]} for row in data.own]
    arguments = TrainingArguments(num_iterations=20, seed=seed, report_to="none", save_strategy="no")
    model = SetFitModel.from_pretrained(locate(EMBEDDED))
    trainer = Trainer(model=model, args=arguments, train_dataset=Dataset.from_list(rows))
    trainer.train()
    return model.predict([row["text"] for row in data.test], as_numpy=True)


def _small_text(data: Data, codes: dict[str, int], labels: int, batches: int, seed: int) -> Any:
    """small-text (Schröder et al. 2023, arXiv 2107.10314): an active learner that starts from the user's rows
    and asks the teacher for the texts with the smallest margin (breaking ties), with its default training.
    """
    import torch
    from small_text import (
        BreakingTies,
        PoolBasedActiveLearner,
        TransformerBasedClassificationFactory,
        TransformerModelArguments,
        TransformersDataset,
    )
    from transformers import AutoTokenizer, PreTrainedTokenizerBase

    # small-text 1.4.1 calls a method that transformers 5 has renamed.
    PreTrainedTokenizerBase.encode_plus = PreTrainedTokenizerBase.__call__
    torch.manual_seed(seed)
    np.random.seed(seed)
    base = locate(EMBEDDED)
    tokenizer, targets = AutoTokenizer.from_pretrained(base), np.arange(len(codes))

    def data_set(rows: Any) -> Any:
        texts, y = [row["text"] for row in rows], np.array([codes[row["label"]] for row in rows])
        return TransformersDataset.from_arrays(texts, y, tokenizer, target_labels=targets, max_length=128)

    answered = data.labelled(data.pool)
    known = data_set([*data.own, *answered])
    factory = TransformerBasedClassificationFactory(
        TransformerModelArguments(base), len(codes), kwargs={"device": "cpu"}
    )
    learner = PoolBasedActiveLearner(factory, BreakingTies(), known)
    first = np.arange(len(data.own))
    learner.initialize_data(first, known.y[first])
    bought = 0
    for batch in range(batches):
        size = labels * (batch + 1) // batches - bought
        chosen = learner.query(num_samples=size)
        learner.update(known.y[chosen])
        bought += size
    return learner.classifier.predict(data_set(data.test))
