"""Data Designer with one structured column over a seed table, and without its health check.

It resumes from the last whole row group on disk, of 1,000 rows by default.
"""

import data_designer.config as dd
import pandas as pd
from data_designer.interface import DataDesigner
from measured import Job, report
from pydantic import BaseModel


class Item(BaseModel):
    id: str
    reason: str
    label: str
    confidence: float


class Labels(BaseModel):
    labels: list[Item]


def ask_all(job: Job) -> list[str | None]:
    provider = dd.ModelProvider(name="bench", endpoint=job.url, provider_type="openai", api_key="none")
    params = dd.ChatCompletionInferenceParams(max_parallel_requests=job.at_once)
    model = dd.ModelConfig(
        alias="bench", model="bench", provider="bench", inference_parameters=params, skip_health_check=True
    )
    config = dd.DataDesignerConfigBuilder(model_configs=[model])
    table = pd.DataFrame({"number": range(job.calls), "text": [" ".join(t) for t in job.questions()]})
    config.with_seed_dataset(dd.DataFrameSeedSource(df=table))
    config.add_column(
        dd.LLMStructuredColumnConfig(
            name="reply", prompt="Label: {{ text }}", model_alias="bench", output_format=Labels
        )
    )
    designer = DataDesigner(artifact_path=job.folder, model_providers=[provider])
    resume = dd.ResumeMode.IF_POSSIBLE
    found = designer.create(config, num_records=job.calls, resume=resume).load_dataset()
    labels = {row.number: row.reply["labels"][0]["label"] for row in found.itertuples()}
    return [labels.get(n) for n in range(job.calls)]


if __name__ == "__main__":
    report("data-designer", ask_all)
