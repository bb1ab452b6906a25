"""Test the shipped prices, the price file of a user, and models without a price."""

from importlib.resources import files
from pathlib import Path

import pytest
from tutelage.agents.providers.models import ModelSpec
from tutelage.agents.providers.prices import Price, listed_price, read_prices
from tutelage.student.errors import InputError

SHIPPED = Path(str(files("tutelage.agents.providers") / "prices.yaml"))


def prices(folder: Path, content: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(content)
    return path


def test_every_shipped_price_names_a_provider_and_is_higher_for_completions() -> None:
    found = read_prices(SHIPPED)
    assert len(found) > 10
    for model, price in found.items():
        assert all(model.partition(":")), model
        assert 0 < (price.cached or 0) < price.prompt < price.completion, model


def test_a_price_file_of_the_user_overrides_shipped_prices(tmp_path: Path) -> None:
    mine = prices(
        tmp_path, "openai:gpt-4o-mini: {prompt: 1, completion: 2}\nopenai:new: {prompt: 0, completion: 3.5}\n"
    )
    overlaid, new = listed_price("openai:gpt-4o-mini", mine), listed_price("openai:new", mine)
    assert (overlaid, new) == (Price(1, 2), Price(0, 3.5))
    assert overlaid
    assert overlaid.source == "mine.yaml"
    assert listed_price("openai:gpt-4o-mini") == Price(0.15, 0.60, 0.075)
    other = listed_price("openai:gpt-5", mine)
    assert other
    assert other.source == "shipped prices, US dollars"


@pytest.mark.parametrize(
    "model", ["openai:gpt-9", "gpt-5-mini", "azure:gpt-5-mini", "openai:gpt-5-mini-2025-08-07"]
)
def test_a_model_that_is_not_listed_has_no_price(model: str) -> None:
    assert listed_price(model) is None
    assert ModelSpec(model).cost(1000, 1000) is None


def test_a_custom_base_url_is_not_charged_at_the_price_of_the_provider() -> None:
    assert ModelSpec("openai:gpt-5-mini", base_url="http://localhost:1/v1").price() is None
    assert ModelSpec("openai:gpt-5-mini").cost(1_000_000, 0) == 0.25


def test_cached_prompt_tokens_have_their_own_price() -> None:
    assert Price(2.0, 8.0, 0.5).cost(1_000_000, 500_000, 400_000) == pytest.approx(0.6 * 2 + 0.4 * 0.5 + 4)
    assert Price(2.0, 8.0).cost(1_000_000, 0, 400_000) == 2.0, "unknown: as any other"


BAD = {
    "no mapping": ("- a\n", "got list"),
    "nothing": ("", "got NoneType"),
    "no YAML": ("a: {", "cannot be read"),
    "a missing number": ("a: {prompt: 1}", "a: got {'prompt': 1}"),
    "an unknown field": ("a: {prompt: 1, completion: 1, hour: 2}", "'hour': 2"),
    "a negative one": ("a: {prompt: -1, completion: 1}", "'prompt': -1"),
    "a truth value": ("a: {prompt: true, completion: 1}", "'prompt': True"),
    "words": ("a: {prompt: cheap, completion: 1}", "'cheap'"),
    "not a number": ("a: {prompt: .nan, completion: 1}", "nan"),
    "no end": ("a: {prompt: 1, completion: .inf}", "inf"),
    "a bare number": ("a: 3", "a: got 3"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_invalid_price_file_is_reported_in_one_line(name: str, tmp_path: Path) -> None:
    content, words = BAD[name]
    with pytest.raises(InputError) as error:
        read_prices(prices(tmp_path, content))
    assert words in str(error.value)
    assert "mine.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_or_binary_price_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("none.yaml", "binary.yaml"):
        with pytest.raises(InputError, match=f"{name} cannot be read"):
            read_prices(tmp_path / name)
