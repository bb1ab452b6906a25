"""Test frozen layers, a learning rate that falls with the depth, and recomputed states."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tutelage.student.data.rows import Row
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.models.base import FullStudent
from tutelage.student.training.adapters.classifier import fresh, full_adapter
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.layers import _depths, parameter_groups
from tutelage.student.training.loop import check, train
from tutelage.student.training.training_set import TrainingSet

LABELS = ["refund", "status"]


@pytest.fixture(params=["cls", "mean"])
def config(request: pytest.FixtureRequest, pooled_base: str) -> TrainingConfig:
    return TrainingConfig(
        base=pooled_base, epochs=1, min_steps=3, batch=8, device="cpu", pooling=request.param
    )


@pytest.fixture
def trained(easy: list[Row]) -> Callable[[TrainingConfig], dict[str, torch.Tensor]]:
    """Return a function that returns the weights of a student after three steps."""

    def weights(config: TrainingConfig) -> dict[str, torch.Tensor]:
        student = train(easy[:24], LABELS, config, seed=0, encoder=Encoder(config.base, device="cpu"))
        assert isinstance(student, FullStudent)
        assert all(weight.requires_grad for weight in student.model.parameters())
        assert not student.model.is_activation_checkpointing
        return dict(student.model.state_dict())

    return weights


def test_frozen_layers_keep_their_weights_and_the_others_learn(config: TrainingConfig, trained: Any) -> None:
    before = fresh(LABELS, config, seed=0).model.state_dict()
    after = trained(replace(config, frozen_layers=1))
    moved = {name for name, weight in after.items() if not torch.equal(weight, before[name])}
    kept = {name for name in set(after) - moved if "pooler" not in name}  # unused with mean pooling
    assert all("embeddings." in name or ".layer.0." in name for name in kept), kept
    assert not any("embeddings." in name or ".layer.0." in name for name in moved), moved
    assert any(".layer.1." in name for name in moved)
    assert any("classifier" in name for name in moved)


def test_the_rate_falls_from_the_head_to_the_embeddings(config: TrainingConfig, easy: list[Row]) -> None:
    student = fresh(LABELS, config, seed=0)
    adapter = full_adapter(TrainingSet.of(easy), student, config)
    groups = parameter_groups(adapter, 0.5)
    rates = {id(weight): group["lr"] for group in groups for weight in group["params"]}
    assert len(rates) == len(adapter.parameters)
    for name, weight in student.model.named_parameters():
        below = 3 if "embeddings." in name else 2 if ".layer.0." in name else 1 if ".layer.1." in name else 0
        assert rates[id(weight)] == pytest.approx(adapter.rate * 0.5**below), name


@pytest.mark.parametrize(
    ("base", "above"),
    [
        ("bert", {"pooler"}),
        ("mpnet", set()),
        ("electra", set()),
        ("deberta-v2", set()),
        ("distilbert", set()),
        ("modernbert", {"final_norm"}),
    ],
)
def test_all_that_lies_below_the_layers_has_depth_0(base: str, above: set[str]) -> None:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 4, "vocab_size": 50}
    special = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id"), 0)
    more = {"relative_attention": True, "conv_kernel_size": 3, "conv_act": "gelu", "embedding_size": 32}
    config = AutoConfig.for_model(base, **sizes, **special, **more)
    config.num_hidden_layers = 2
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
    depths = _depths(model)
    names = {name for name, weight in model.base_model.named_parameters() if id(weight) not in depths}
    assert {name.split(".")[0] for name in names} == above
    assert set(depths.values()) == {0, 1, 2}
    heads = set(map(id, model.parameters())) - set(map(id, model.base_model.parameters()))
    assert heads
    assert not heads & set(depths)


def test_a_lower_rate_moves_a_lower_layer_less(config: TrainingConfig, trained: Any) -> None:
    name = next(name for name in trained(config) if ".layer.0." in name and name.endswith("query.weight"))
    before = fresh(LABELS, config, seed=0).model.state_dict()[name]
    moves = [
        float((trained(replace(config, layer_decay=decay))[name] - before).abs().mean()) for decay in (1, 0.1)
    ]
    assert moves[1] < 0.1 * moves[0]


def test_recomputed_states_give_the_same_student(config: TrainingConfig, trained: Any) -> None:
    kept, again = trained(config), trained(replace(config, recompute=True))
    for name, weight in kept.items():
        torch.testing.assert_close(again[name], weight, rtol=1e-5, atol=1e-6)


def test_layers_that_the_base_does_not_have_are_refused(
    config: TrainingConfig, easy: list[Row], tmp_path: Any
) -> None:
    check(easy, replace(config, frozen_layers=1))
    with pytest.raises(InputError, match="`frozen_layers` is 2; it must be below 2, the layers of the base"):
        check(easy, replace(config, frozen_layers=2))
    from transformers import AlbertConfig

    AlbertConfig(vocab_size=50, num_hidden_layers=3).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"no list of 3 layers \(model type albert\); leave"):
        check(easy, replace(config, base=str(tmp_path), layer_decay=0.9))
    with pytest.raises(InputError, match="`recompute` is not available for bases of type albert"):
        check(easy, replace(config, base=str(tmp_path), recompute=True))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"layer_decay": 0.0}, "`layer_decay` is 0.0; it must be above 0 and at most 1"),
        ({"frozen_layers": -1}, "`frozen_layers` is -1; it must be a number, at least 0"),
        ({"kind": "seq2seq", "recompute": True}, "`recompute` is not for tasks of type seq2seq"),
        ({"mode": "head", "frozen_layers": 1}, "`frozen_layers` is not for a student of mode `head`"),
    ],
)
def test_a_wrong_setting_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        TrainingConfig(**fields)
