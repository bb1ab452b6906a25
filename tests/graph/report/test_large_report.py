"""The report of a run with 5,000 samples: its size, and what it still holds."""

import asyncio
import json
import random
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tutelage.agents.analyst import LabelledPrediction
from tutelage.agents.critic import verdict_requests
from tutelage.agents.endpoints.entry import Entry
from tutelage.agents.generator import Evidence, GenerationRequest, draft_requests
from tutelage.agents.labeler import label_requests
from tutelage.agents.providers.models import ModelSpec
from tutelage.agents.request import Request
from tutelage.agents.teacher.journal import Journal, canonical_call
from tutelage.graph.report.build import write_report
from tutelage.graph.report.embedding_map import MOST_ROWS, embedding_map
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.prompts import render
from tutelage.student.corpus import Sample
from tutelage.student.encoder import GivenEncoder
from tutelage.student.tasks.classification import CLASSIFICATION

Make = Callable[..., Any]
SAMPLES = 5_000
WORDS = [
    "the",
    "parcel",
    "was",
    "late",
    "and",
    "my",
    "refund",
    "has",
    "not",
    "arrived",
    "although",
    "you",
    "promised",
    "it",
    "would",
    "be",
    "here",
    "&",
    "soon",
    "<3",
]


class RandomVectors:
    """An encoder of the user's, fast and without meaning."""

    def encode(self, texts: list[str]) -> NDArray[np.float32]:
        return np.random.default_rng(0).normal(size=(len(texts), 32)).astype(np.float32)


def _text(number: int) -> str:
    chance = random.Random(number)
    return f"{' '.join(chance.choices(WORDS, k=chance.randrange(5, 45)))} {number}"


@pytest.fixture(scope="module")
def large(finished_in: Make, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Return the folder of a run of 5,000 samples, each written in one call and labelled in another; every
    second one was judged. Its report is written.
    """
    folder: RunFolder = finished_in(tmp_path_factory.mktemp("large") / "run")
    brief = {
        name: folder.about()["task"][key] for name, key in (("task", "instruction"), ("labels", "labels"))
    }
    samples = [_sample(number) for number in range(SAMPLES)]
    calls = []
    wanted = [GenerationRequest(label="bill", kind="hard", count=SAMPLES, weakness="w01-1")]
    rows = [{"id": f"{i:016x}", "text": _text(i), "label": "bill"} for i in range(12)]
    for number, request in enumerate(draft_requests(brief, wanted, Evidence(shots=rows), 0)):  # type: ignore[arg-type]
        part = samples[12 * number : 12 * number + 12]
        drafts = [{"label": "bill", "kind": "hard", "weakness": "w01-1", "text": s["text"]} for s in part]
        calls.append((request, {"drafts": drafts}, part, "written_by"))
    for batch, request in label_requests(brief, samples, 0):  # type: ignore[arg-type]
        labels = [
            {"id": str(i), "reason": "it asks to be paid", "label": s["label"], "confidence": 0.75}
            for i, s in enumerate(batch, 1)
        ]
        calls.append((request, {"labels": labels}, batch, "labelled_by"))
    for batch, request in verdict_requests(brief, samples[::2], 0):  # type: ignore[arg-type]
        verdicts = [
            {"id": str(i), "reason": "a plausible text", "verdict": "accept"} for i, _ in enumerate(batch, 1)
        ]
        calls.append((request, {"verdicts": verdicts}, batch, "judged_by"))
    _answer(folder.journal, calls)
    folder.write_lines(folder.samples, samples)
    drawn = embedding_map(CLASSIFICATION, GivenEncoder(RandomVectors()), [], samples)
    folder.write_json(folder.map, drawn)
    write_report(folder)
    return folder


def _sample(number: int) -> Sample:
    status = ("kept", "kept", "kept", "refused", "duplicate")[number % 5]
    fields = {"id": f"{number:016x}", "text": _text(number), "round": 1 + number % 2, "attempt": 1}
    fields |= {"place": number, "kind": "hard", "requested": "bill", "weakness": "w01-1", "status": status}
    fields |= {"label": ("bill", "praise")[number % 7 == 0], "confidence": 0.75, "confidence_raw": 0.7}
    fields |= {"answered": "praise", "energy": -1.5, "nll": 0.5, "confidence_source": "stated"}
    return Sample(**fields)  # type: ignore[typeddict-item]


def _answer(path: Path, calls: list[tuple[Request[Any], dict[str, Any], Any, str]]) -> None:
    """Write the replies to a journal, and the ids of their calls to the samples."""
    journal, spec = Journal(path), ModelSpec("openai:gpt-5-mini")

    async def write() -> None:
        waiting = []
        for request, reply, samples, field in calls:
            system, user = render(request.role, request.payload)
            canonical = canonical_call(request, spec, [("system", system), ("human", user)])
            key = journal.key(canonical)
            for sample in samples:
                sample[field] = key[:12]
            entry = Entry(request.role, json.dumps(reply), "stop", 900, 300, 0.001, 1.5, node=request.role)
            waiting.append(journal.put_soon(key, canonical, entry))
        await asyncio.gather(*waiting)

    asyncio.run(write())
    journal.close()


def test_a_report_of_5000_samples_is_smaller_than_5_mb(large: RunFolder) -> None:
    source = large.report.read_text(encoding="utf-8")
    assert len(source.encode()) < 5_000_000
    assert source.count('<details class="s"') == SAMPLES
    assert source.count("<circle") == SAMPLES
    assert source.count('<details class="c"') == 2 * 417 + 209
    texts = [line["text"] for line in large.read_lines(large.samples)]
    assert [unescape(text) for text in re.findall(r"<span>([^<]*)</span></summary><div>", source)] == texts


def test_of_many_rows_the_map_shows_the_wrong_ones_first() -> None:
    rows = [
        LabelledPrediction(id=str(i), text=f"row {i}", label="a", predicted="b" if i % 700 == 699 else "a")
        for i in range(MOST_ROWS + 1500)
    ]
    drawn = embedding_map(CLASSIFICATION, GivenEncoder(RandomVectors()), rows, [])
    assert len(drawn["rows"]) == MOST_ROWS
    assert [row["id"] for row in drawn["rows"] if row["wrong"]] == ["699", "1399", "2099", "2799", "3499"]
