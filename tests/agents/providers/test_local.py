"""Test a causal model in this process as a teacher, with a tiny model that has memorised one reply."""

import asyncio
import gc
import weakref
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tutelage.agents.providers.local import LocalModel
from tutelage.agents.providers.models import ModelSpec, make_model
from tutelage.agents.request import Request
from tutelage.agents.schemas import labels_schema
from tutelage.agents.teacher.journal import Journal
from tutelage.agents.teacher.teacher import Teacher
from tutelage.prompts import render
from tutelage.student.errors import InputError

REPLY = (
    '{"labels": [{"id": "1", "reason": "möchte Geld zurück 💸 返金", "label": "refund", "confidence": 0.9}]}'
)
PAYLOAD = {
    "task": "Sort.",
    "labels": {"refund": "", "status": ""},
    "texts": [{"id": "1", "text": "money back"}],
}
TEMPLATE = (
    "{% for turn in messages %}{{ '<|' + turn['role'] + '|>' }}{{ turn['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]


def byte_level(chat_template: str | None = TEMPLATE):
    """Return a byte-level tokenizer trained on ASCII text: all other characters are bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=SPECIAL, initial_alphabet=alphabet)
    seen = [*render("labeler", PAYLOAD), REPLY.encode("ascii", "ignore").decode()]
    tokenizer.train_from_iterator(seen, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", chat_template=chat_template
    )


def llama(folder: Path, tokenizer, *, positions: int = 2048):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=positions, **sizes, **ends)
    )
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return model


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of a model that answers two prompts with `REPLY`."""
    import torch

    folder, tokenizer = tmp_path_factory.mktemp("taught"), byte_level()
    model = llama(folder, tokenizer)
    reply = tokenizer(f"{REPLY}<|end|>")["input_ids"]
    system, user = render("labeler", PAYLOAD)
    long = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    prompts = [
        tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
        for turns in ([{"role": "user", "content": "Label it."}], long)
    ]
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for step in range(160):
        prompt = prompts[step % 4 == 3]
        ids = torch.tensor([prompt + reply])
        labels = torch.tensor([[-100] * len(prompt) + reply])
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def untaught(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Return a function that makes the folder of an untrained model, which never ends its reply."""

    def make(chat_template: str | None = TEMPLATE, *, positions: int = 2048) -> str:
        folder = tmp_path_factory.mktemp("untaught")
        model = llama(folder, byte_level(chat_template), positions=positions)
        model.lm_head.weight.data[SPECIAL.index("<|end|>")] = 0
        model.save_pretrained(folder)
        return str(folder)

    return make


def generate(model: LocalModel, words: str = "Label it.", **options):
    return asyncio.run(model.ainvoke(words, **options))


def test_a_memorised_reply_is_returned_verbatim_with_its_token_counts(taught) -> None:
    tokenizer = byte_level()
    message = generate(LocalModel(name=taught))
    assert message.text == REPLY
    assert message.response_metadata == {"model_name": taught, "finish_reason": "stop"}
    assert message.usage_metadata == {
        "input_tokens": len(tokenizer("<|user|>Label it.<|end|><|assistant|>")["input_ids"]),
        "output_tokens": len(tokenizer(f"{REPLY}<|end|>")["input_ids"]),
        "total_tokens": len(tokenizer(f"<|user|>Label it.<|end|><|assistant|>{REPLY}<|end|>")["input_ids"]),
    }


def test_concurrent_and_sequential_calls_give_the_same_replies(taught) -> None:
    model = LocalModel(name=taught)

    async def at_once() -> list[str]:
        messages = await asyncio.gather(*(model.ainvoke("Label it.") for _ in range(3)))
        return [message.text for message in messages]

    assert asyncio.run(at_once()) == [REPLY] * 3
    assert model.invoke("Label it.").text == REPLY


def test_token_bytes_add_up_to_the_reply_even_when_characters_are_split(taught) -> None:
    tokens = generate(LocalModel(name=taught), logprobs=True).response_metadata["logprobs"]["content"]
    assert b"".join(bytes(token["bytes"]) for token in tokens) == REPLY.encode()
    assert {bytes(token["bytes"]) for token in tokens} >= {b"\xf0", b"\x9f", b"\x92", b"\xb8", b"\xc3"}
    assert sum(token["logprob"] for token in tokens) > -0.5
    assert all(token["logprob"] <= 0 for token in tokens)


def test_a_local_model_labels_as_a_teacher_with_measured_confidence(taught, tmp_path: Path) -> None:
    spec = ModelSpec(model=f"hf:{taught}")
    with closing(Teacher({"labeler": spec}, make_model, Journal(tmp_path / "journal.sqlite"))) as teacher:
        [reply] = teacher.ask([Request("labeler", PAYLOAD, labels_schema(("refund", "status")), 0, ["1"])])
        spent = teacher.journal.spent()
    assert [item.label for item in reply.items] == ["refund"]
    assert reply.problems == []
    assert 0.9 < reply.parsed[0].probability <= 1
    assert (spent["calls"], spent["cost"]) == (1, 0)


def test_a_model_spec_sets_temperature_and_max_tokens() -> None:
    model = make_model(ModelSpec(model="hf:some/model", temperature=0.7, max_tokens=99))
    assert (model.name, model.temperature, model.max_tokens) == ("some/model", 0.7, 99)


def test_a_seed_decides_the_sampled_reply_and_leaves_the_global_generator_alone(
    untaught,
) -> None:
    import torch

    model = LocalModel(name=untaught(), temperature=1.0, max_tokens=20)
    before = torch.random.get_rng_state()
    first, again, other = (generate(model, seed=seed).text for seed in (1, 1, 2))
    assert first == again != other
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("temperature", [None, 0.0, 1e-6])
def test_without_a_temperature_the_seed_does_not_matter(untaught, temperature: float | None) -> None:
    folder = untaught()
    greedy = generate(LocalModel(name=folder, max_tokens=20)).text
    model = LocalModel(name=folder, temperature=temperature, max_tokens=20)
    assert {generate(model, seed=seed).text for seed in (1, 2)} == {greedy}


def test_a_reply_that_does_not_end_is_cut_with_finish_reason_length(untaught) -> None:
    message = generate(LocalModel(name=untaught(), max_tokens=7), logprobs=True)
    assert message.response_metadata["finish_reason"] == "length"
    assert message.usage_metadata["output_tokens"] == 7
    assert len(message.response_metadata["logprobs"]["content"]) == 7


def test_a_reply_ends_at_the_last_position_of_the_model(untaught) -> None:
    message = generate(LocalModel(name=untaught(positions=40)))
    assert message.usage_metadata["total_tokens"] == 40


def test_a_prompt_that_leaves_no_room_for_a_reply_is_refused_with_both_lengths(untaught) -> None:
    with pytest.raises(
        InputError, match=r"the prompt has 1\d\d tokens, but the context of model .* is 40 tokens"
    ):
        generate(LocalModel(name=untaught(positions=40)), "z" * 100)


def test_the_generation_config_of_the_model_does_not_change_decoding(untaught) -> None:
    from transformers import GenerationConfig

    folder = untaught()
    plain = generate(LocalModel(name=folder, max_tokens=30), logprobs=True)
    with_defaults = untaught()
    defaults = GenerationConfig(do_sample=True, top_k=1, repetition_penalty=3.0, temperature=0.3)
    defaults.save_pretrained(with_defaults)
    message = generate(LocalModel(name=with_defaults, max_tokens=30), logprobs=True)
    assert message.text == plain.text
    assert message.response_metadata["logprobs"] == plain.response_metadata["logprobs"]


def test_special_tokens_inside_a_text_do_not_end_the_turn(taught) -> None:
    inside = generate(LocalModel(name=taught, max_tokens=1), "a<|end|><|system|>b")
    plain = generate(LocalModel(name=taught, max_tokens=1), "ab")
    assert inside.usage_metadata["input_tokens"] > plain.usage_metadata["input_tokens"] + 4


def test_without_a_system_role_the_system_prompt_precedes_the_first_user_message(untaught) -> None:
    refusing = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TEMPLATE
    )
    with_system = LocalModel(name=untaught(refusing), max_tokens=5)
    merged = generate(with_system, [("system", "Be brief."), ("human", "Hello.")])
    assert merged.usage_metadata == generate(with_system, "Be brief.\n\nHello.").usage_metadata


def test_a_chat_template_that_refuses_every_conversation_is_reported(untaught) -> None:
    model = LocalModel(name=untaught("{{ raise_exception('not today') }}"))
    with pytest.raises(
        InputError, match=r"the chat template of model .* refuses the conversation: not today"
    ):
        generate(model)


def test_a_model_without_a_chat_template_is_refused(untaught) -> None:
    with pytest.raises(InputError, match=r"has no chat template.*use its instruct or chat variant"):
        generate(LocalModel(name=untaught(None)))


def test_a_model_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere' cannot be loaded: .* Give a hub name that exists"):
        generate(LocalModel(name=str(tmp_path / "nowhere")))


@pytest.mark.parametrize("options", [{"stop": ["x"]}, {"tools": []}])
def test_unsupported_options_are_refused(taught, options: dict[str, object]) -> None:
    with pytest.raises(
        InputError, match=f"only the options `seed`, `logprobs` and `max_tokens`, got {next(iter(options))}"
    ):
        generate(LocalModel(name=taught), **options)


def test_models_of_one_name_share_weights_that_are_freed_with_the_last_model(untaught) -> None:
    folder = untaught()
    writer = LocalModel(name=folder, temperature=1.0, max_tokens=1)
    labeler = LocalModel(name=folder, max_tokens=1)
    generate(writer)
    generate(labeler)
    assert writer._causal is labeler._causal
    weights = weakref.ref(writer._causal.model)
    del writer
    gc.collect()
    assert weights() is not None
    del labeler
    gc.collect()
    assert weights() is None


def test_generation_does_not_block_the_event_loop_and_stops_when_cancelled(untaught) -> None:
    endless = LocalModel(name=untaught(positions=10**6), max_tokens=10**6 - 100)
    short = LocalModel(name=endless.name, max_tokens=1)
    ticks = 0

    async def main() -> None:
        nonlocal ticks
        await short.ainvoke("Label it.")
        waiting = [asyncio.create_task(endless.ainvoke("Label it.")) for _ in range(3)]
        for _ in range(10):
            await asyncio.sleep(0.01)
            ticks += 1
        for task in waiting:
            task.cancel()
        await asyncio.wait_for(short.ainvoke("Label it."), 5)

    asyncio.run(main())
    assert ticks == 10
