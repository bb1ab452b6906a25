"""distilabel with one text generation task in a pipeline and its cache; the JSON is parsed here.

Version 1.5.3 cannot be imported after `pip install "distilabel[openai]"` alone: `requests` is missing.
"""

import json

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration
from measured import Job, report


def ask_all(job: Job) -> list[str | None]:
    rows = [{"number": n, "instruction": " ".join(t)} for n, t in enumerate(job.questions())]
    with Pipeline(name="bench", cache_dir=job.folder) as pipeline:
        load = LoadDataFromDicts(data=rows, batch_size=job.at_once)
        model = OpenAILLM(model="bench", base_url=job.url, api_key="none")
        load >> TextGeneration(llm=model, input_batch_size=job.at_once)
    found = pipeline.run(use_cache=True)["default"]["train"]
    labels = {row["number"]: _label(row["generation"]) for row in found}
    return [labels.get(n) for n in range(job.calls)]


def _label(text: str | None) -> str | None:
    return json.loads(text)["labels"][0]["label"] if text else None


if __name__ == "__main__":
    report("distilabel", ask_all)
