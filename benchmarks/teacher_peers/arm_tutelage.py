"""Our teacher with everything on: journal on disk, validation, budget, limits, and the real ChatOpenAI."""

import tutelage.agents.providers.chat  # noqa: F401  (imports are outside the measured time in every arm)
from measured import LABELS, Job, report
from tutelage.agents.endpoints.limits import Limits
from tutelage.agents.providers.models import ModelSpec, make_model
from tutelage.agents.request import Request
from tutelage.agents.schemas import labels_schema
from tutelage.agents.teacher.budget import Budget
from tutelage.agents.teacher.journal import Journal
from tutelage.agents.teacher.settings import TeacherSettings
from tutelage.agents.teacher.teacher import Teacher

SCHEMA = labels_schema(LABELS)


def ask_all(job: Job) -> list[str | None]:
    spec = ModelSpec("openai:bench", base_url=job.url, price_prompt=1.0, price_completion=1.0)
    budget = Budget(calls=10**6, tokens=10**10, money=10.0**6, minutes=60)
    limits = Limits(job.at_once, requests_per_minute=10**6, tokens_per_minute=10**9)
    journal = Journal(job.folder / "journal.sqlite")
    teacher = Teacher({"labeler": spec}, make_model, journal, TeacherSettings(budget, limits))
    requests = [request(texts) for texts in job.questions()]
    replies = teacher.ask(requests)
    teacher.close()
    return [reply.items[0].label if len(reply.items) == job.items else None for reply in replies]


def request(texts: list[str]) -> Request:
    items = [{"id": str(i), "text": text} for i, text in enumerate(texts, 1)]
    payload = {"task": "Sort mail.", "labels": dict.fromkeys(LABELS, ""), "texts": items}
    return Request("labeler", payload, SCHEMA, 0, wanted=[text["id"] for text in items])


if __name__ == "__main__":
    report("tutelage", ask_all)
