"""DSPy with typed output by its JSON adapter, its cache on disk, and 64 threads."""

import dspy
from measured import Job, report
from pydantic import BaseModel


class Item(BaseModel):
    id: str
    reason: str
    label: str
    confidence: float


class Label(dspy.Signature):
    """Label the texts."""

    text: str = dspy.InputField()
    labels: list[Item] = dspy.OutputField()


def ask_all(job: Job) -> list[str | None]:
    dspy.configure_cache(enable_disk_cache=True, enable_memory_cache=True, disk_cache_dir=str(job.folder))
    model = dspy.LM("openai/bench", api_base=job.url, api_key="none", model_type="chat")
    dspy.configure(lm=model, adapter=dspy.JSONAdapter())
    labeler = dspy.Predict(Label)
    pairs = [(labeler, dspy.Example(text=" ".join(t)).with_inputs("text")) for t in job.questions()]
    parallel = dspy.Parallel(num_threads=job.at_once, disable_progress_bar=True, provide_traceback=False)
    found = parallel(pairs)
    return [answer["labels"][0].label if answer else None for answer in found]


if __name__ == "__main__":
    report("dspy", ask_all)
