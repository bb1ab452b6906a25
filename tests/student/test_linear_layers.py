"""Test that fast linear layers compute what torch's own do, and leave the model as it was."""

import threading

import pytest
import torch
from tutelage.student import linear_layers
from tutelage.student.linear_layers import fast_linear_layers


class Layers(torch.nn.Sequential):
    device = torch.device("cpu")


def gradients(model: torch.nn.Module, inputs: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad()
    inputs = inputs.clone().requires_grad_()
    output = model(inputs)
    (output**2).mean().backward()
    assert inputs.grad is not None
    return [output.detach(), inputs.grad, *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


@pytest.fixture
def layers() -> Layers:
    torch.manual_seed(0)
    frozen = torch.nn.Linear(96, 64, bias=False)
    frozen.weight.requires_grad_(False)
    return Layers(torch.nn.Linear(48, 96), torch.nn.GELU(), frozen, torch.nn.Linear(64, 5))


def test_outputs_and_gradients_are_those_of_torch(layers: Layers) -> None:
    inputs = torch.randn(3, 7, 48)
    expected = gradients(layers, inputs)
    with fast_linear_layers(layers):
        found = gradients(layers, inputs)
    assert len(found) == len(expected) == 6
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_the_product_is_exact_where_the_cpu_offers_it() -> None:
    """The function is checked on every CPU, also where `fast_linear_layers` leaves it out."""
    layer, inputs = torch.nn.Linear(256, 128), torch.randn(40, 256)
    exact = inputs.double() @ layer.weight.double().t() + layer.bias.double()
    found = linear_layers._forward(layer, inputs).detach()
    if linear_layers._onednn_is_better():
        assert float((found.double() - exact.detach()).abs().max()) < 1e-5
    assert found.shape == (40, 128)


def test_a_model_and_torch_settings_are_left_as_they_were_even_after_an_error(layers: Layers) -> None:
    before = torch.backends.mkldnn.matmul.fp32_precision
    with pytest.raises(RuntimeError, match="shapes"), fast_linear_layers(layers):
        layers(torch.randn(2, 47))
    assert not any("forward" in vars(module) for module in layers.modules())
    assert torch.backends.mkldnn.matmul.fp32_precision == before
    assert torch.get_float32_matmul_precision() == "highest"


def test_the_setting_is_taken_back_by_the_last_of_several_threads() -> None:
    before = torch.backends.mkldnn.matmul.fp32_precision
    entered, left = threading.Event(), threading.Event()

    def other() -> None:
        with linear_layers._onednn:
            entered.set()
            left.wait(10)

    thread = threading.Thread(target=other)
    with linear_layers._onednn:
        thread.start()
        assert entered.wait(10)
    assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"  # the other thread is still inside
    left.set()
    thread.join()
    assert torch.backends.mkldnn.matmul.fp32_precision == before


def test_a_head_without_a_network_is_left_alone() -> None:
    with fast_linear_layers(None):
        pass
