"""Curator with its cache, structured replies by pydantic, and rate limits that these calls do not reach."""

import os
from importlib.util import find_spec
from pathlib import Path

# Curator estimates tokens with tiktoken, which loads its tables from the network; LiteLLM includes them.
tables = Path(find_spec("litellm").origin).parent / "litellm_core_utils" / "tokenizers"
os.environ["TIKTOKEN_CACHE_DIR"] = str(tables)
os.environ |= {"CURATOR_DISABLE_RICH_DISPLAY": "1", "TELEMETRY_ENABLED": "0", "CURATOR_VIEWER": "0"}

from bespokelabs import curator
from measured import Job, report
from pydantic import BaseModel


class Item(BaseModel):
    id: str
    reason: str
    label: str
    confidence: float


class Labels(BaseModel):
    labels: list[Item]


class Labeler(curator.LLM):
    response_format = Labels

    def prompt(self, row: dict) -> str:
        return row["text"]

    def parse(self, row: dict, reply: Labels) -> dict:
        return {"number": row["number"], "label": reply.labels[0].label}


def ask_all(job: Job) -> list[str | None]:
    limits = {"max_requests_per_minute": 10**6, "max_tokens_per_minute": 10**9}
    params = {"base_url": job.url, "api_key": "none", "max_concurrent_requests": job.at_once, **limits}
    labeler = Labeler("bench", response_format=Labels, backend="openai", backend_params=params)
    rows = [{"number": n, "text": " ".join(texts)} for n, texts in enumerate(job.questions())]
    found = labeler(rows, working_dir=str(job.folder)).dataset
    labels = {row["number"]: row["label"] for row in found}
    return [labels.get(n) for n in range(job.calls)]


if __name__ == "__main__":
    report("bespokelabs-curator", ask_all)
