"""Test that the API key is sent to the server and nowhere else, whatever the server does with it."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from tutelage.agents.endpoints.endpoint import TeacherDownError
from tutelage.agents.providers.redact import redact
from tutelage.agents.rehearsal.server import serve
from tutelage.agents.request import Request
from tutelage.agents.schemas import labels_schema
from tutelage.graph.context import rehearsal_model
from tutelage.graph.task.samples import sample_task

KEY = "sk-proj-7f3kQz_very-secret-0123456789abcdef"


@pytest.fixture
def task(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a task with one small round, whose teacher's server needs a key."""

    def write(url: str, **teacher: Any) -> Path:
        raw = json.loads(sample_task().model_dump_json(exclude_none=True))
        raw |= {"student": {"mode": "head"}, "strategy": {"base": "evokd", "samples": 12}}
        raw["data"] = {name: raw["data"][name] for name in ("seed", "diagnose")}  # the others take time alone
        raw["teacher"] = {"model": "openai:rehearsal", "base_url": url, "api_key_env": "SHOP_KEY", **teacher}
        path = tmp_path / "task.yaml"
        path.write_text(yaml.safe_dump({**raw, "budget": {"rounds": 1}}))
        return path

    return write


@pytest.fixture
def tutelage(command: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Return a function that runs a command with the key in the environment."""
    return partial(command, cwd=tmp_path, env={**os.environ, "SHOP_KEY": KEY})


def written(folder: Path) -> bytes:
    """Return the bytes of all files under a folder."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.mark.slow
def test_a_run_neither_writes_nor_prints_the_key(
    tutelage: Callable[..., Any], encoder, task: Callable[..., Path], tmp_path: Path
) -> None:
    with serve(rehearsal_model(sample_task(), encoder=encoder)) as url:
        done = tutelage("--debug", "run", task(url), "--out", "run", "--json")
    assert done.returncode == 0, done.stderr
    found = written(tmp_path) + done.stdout.encode() + done.stderr.encode()
    assert url.encode() in found
    assert b"SHOP_KEY" in found
    assert b"very-secret" not in found


@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_a_key_repeated_in_server_errors_is_redacted(
    tutelage: Callable[..., Any], scripted, task: Callable[..., Path], tmp_path: Path, status: int
) -> None:
    error = {"message": f"no such key: Bearer {KEY}", "type": "e", "param": KEY, "code": "insufficient_quota"}
    url, log = scripted(*[(status, {"error": error})] * 40)
    done = tutelage("--debug", "run", task(url, patience=0.3), "--out", "run")
    assert done.returncode == 2, done.stderr
    assert {body["key"] for body in log} == {KEY}
    assert "Traceback" in done.stderr
    assert "no such key: Bearer [SHOP_KEY]" in done.stderr
    assert b"very-secret" not in written(tmp_path) + done.stdout.encode() + done.stderr.encode()
    doctor = tutelage("doctor", tmp_path / "task.yaml")
    assert "no such key: Bearer [SHOP_KEY]" in doctor.stdout
    assert "very-secret" not in doctor.stdout + doctor.stderr


def test_a_key_repeated_in_a_reply_is_redacted(scripted, teacher_at, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SHOP_KEY", KEY)
    item = {"id": "1", "reason": f"your key is {KEY}", "label": "a", "confidence": 1}
    events: list[dict[str, Any]] = []
    teacher = teacher_at(
        scripted(json.dumps({"labels": [item]}))[0], api_key_env="SHOP_KEY", on_call=events.append
    )
    [reply] = teacher.ask([Request("labeler", {}, labels_schema(("a", "b")), 0, ["1"])])
    assert reply.items[0].reason == "your key is [SHOP_KEY]"
    assert b"very-secret" not in written(tmp_path) + repr(events).encode()


def test_the_configured_key_variable_is_redacted_whatever_its_name(scripted, teacher_at, monkeypatch) -> None:
    monkeypatch.setenv("SHOP_ROUTER", "hunter2")
    error = {"message": "no such key: hunter2", "type": "e", "param": None, "code": None}
    url, _ = scripted((401, {"error": error}))
    with pytest.raises(TeacherDownError, match=r"no such key: \[SHOP_ROUTER\]"):
        teacher_at(url, api_key_env="SHOP_ROUTER").ask(
            [Request("labeler", {}, labels_schema(("a", "b")), 0, ["1"])]
        )


def test_a_key_given_in_place_of_a_variable_name_is_refused_without_showing_it(
    tutelage: Callable[..., Any], task: Callable[..., Path], tmp_path: Path
) -> None:
    done = tutelage("run", task("http://127.0.0.1:9/v1", api_key_env=KEY), "--out", "run")
    assert done.returncode == 2
    assert "expected the name of an environment variable" in done.stderr
    done_with_field = tutelage("run", task("http://127.0.0.1:9/v1", api_key=KEY), "--out", "run")
    assert "unknown field `teacher.api_key`; did you mean 'api_key_env'?" in done_with_field.stderr
    assert "very-secret" not in done.stderr + done_with_field.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "url", [f"http://me:{KEY}@127.0.0.1:9/v1", f"http://127.0.0.1:9/v1?api_key={KEY}"], ids=["user", "query"]
)
def test_a_url_that_contains_a_key_is_refused_without_showing_it(
    tutelage: Callable[..., Any], task: Callable[..., Path], tmp_path: Path, url: str
) -> None:
    done = tutelage("run", task(url), "--out", "run")
    assert done.returncode == 2
    assert "`teacher.base_url`: an address with a user, a password or a query" in done.stderr
    assert "very-secret" not in done.stderr


def test_the_openai_key_is_not_sent_to_another_server(scripted, teacher_at, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    url, log = scripted('{"labels": [{"id": "1", "reason": "", "label": "a", "confidence": 1}]}')
    teacher_at(url).ask([Request("labeler", {}, labels_schema(("a", "b")), 0)])
    assert [body["key"] for body in log] == ["none"]


def test_only_long_values_of_secret_variables_are_redacted(monkeypatch) -> None:
    monkeypatch.setenv("SHOP_KEY", KEY)
    monkeypatch.setenv("SHOP_TOKEN", "short")
    monkeypatch.setenv("SHOP_NAME", "a long name of a shop")
    assert redact(f"{KEY}, short, a long name of a shop") == "[SHOP_KEY], short, a long name of a shop"
