"""Test that the rehearsal teacher looks texts up, with the errors that its settings ask for."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from tutelage.agents.brief import Brief
from tutelage.agents.rehearsal.rehearsal import Behaviour, Rehearsal
from tutelage.agents.schemas import Verdict, diagnosis_schema, drafts_schema, labels_schema
from tutelage.student.data.rows import Row, content_id

COLOURS = [
    Row(id=content_id(text), text=text, label=label)
    for text, label in [
        ("the sky is blue", "sky"),
        ("clouds in the sky", "sky"),
        ("stars at night", "sky"),
        ("grass is green", "ground"),
        ("stones on the ground", "ground"),
        ("earth and sand", "ground"),
    ]
]


@pytest.fixture(scope="module")
def make(shop, encoder):
    """Return a function that makes a rehearsal teacher with the bundled texts."""
    rows = shop("teacher")
    return lambda **options: Rehearsal(rows, encoder.encode, behaviour=Behaviour(**options))


@pytest.fixture
def small(encoder) -> Rehearsal:
    return Rehearsal(COLOURS, encoder.encode, behaviour=Behaviour(label_noise=0.0))


def generation_payload(brief: Brief, *requests: tuple[str, str, int, str], **fields: Any) -> dict[str, Any]:
    """Return a generator's payload for requests of (label, kind, count, weakness)."""
    named = [dict(zip(("label", "kind", "count", "weakness"), request, strict=True)) for request in requests]
    return {**brief, "weaknesses": [], "requests": named, "shots": [], "avoid": [], **fields}


def texts_of(answer: dict[str, Any]) -> list[str]:
    return [draft["text"] for draft in answer["drafts"]]


def labels_of(teacher: Rehearsal, brief: Brief, texts: list[str], seed: int = 0) -> list[str]:
    numbered = [{"id": str(i), "text": text} for i, text in enumerate(texts)]
    return [entry["label"] for entry in teacher.answer({**brief, "texts": numbered}, seed)["labels"]]


def wrong(label: str, predicted: str, *ids: str) -> list[dict[str, str]]:
    return [{"id": i, "text": f"about parcel {i}", "label": label, "predicted": predicted} for i in ids]


def payloads(brief: Brief) -> dict[str, dict[str, Any]]:
    label = next(iter(brief["labels"]))
    return {
        "analyst": {**brief, "right": [], "wrong": wrong("order_status", "return_refund", "1"), "report": {}},
        "generator": generation_payload(brief, (label, "any", 5, "")),
        "labeler": {**brief, "texts": [{"id": "1", "text": "Where is my parcel?"}]},
        "critic": {**brief, "samples": [{"id": "1", "text": "Where is my parcel?", "label": label}]},
    }


@pytest.mark.parametrize("role", ["analyst", "generator", "labeler", "critic"])
def test_the_same_payload_and_seed_give_the_same_reply(make, brief, role: str) -> None:
    payload = payloads(brief)[role]
    assert make().answer(payload, 7) == make().answer(payload, 7)


@pytest.mark.parametrize(
    ("role", "field", "item"),
    [
        ("analyst", "weaknesses", diagnosis_schema(("order_status", "return_refund")).item),
        ("generator", "drafts", None),
        ("labeler", "labels", labels_schema(("order_status", "return_refund")).item),
        ("critic", "verdicts", Verdict),
    ],
)
def test_every_role_gets_a_reply_that_fits_its_schema(make, brief, role: str, field: str, item) -> None:
    reply = make().answer(payloads(brief)[role], 0)
    item = item or drafts_schema(tuple(brief["labels"])).item
    assert list(reply) == [field]
    assert reply[field]
    for entry in reply[field]:
        assert set(item.model_validate(entry).model_dump()) == set(entry)


def test_another_seed_gives_other_texts(make, brief) -> None:
    payload = generation_payload(brief, ("order_status", "any", 10, ""))
    assert texts_of(make().answer(payload, 1)) != texts_of(make().answer(payload, 2))


def test_a_payload_of_no_role_is_refused(make) -> None:
    with pytest.raises(ValueError, match=r"no role has a payload of \['labels', 'task'\]"):
        make().answer({"task": "", "labels": {}}, 0)


def test_without_label_noise_every_text_of_the_corpus_is_labelled_correctly(make, brief, shop) -> None:
    rows = shop("teacher")
    given = labels_of(make(label_noise=0.0), brief, [row["text"].upper() + "!" for row in rows])
    assert given == [row["label"] for row in rows]


def test_the_error_rate_is_about_the_set_label_noise(make, brief, shop) -> None:
    rows = shop("teacher")
    given = labels_of(make(label_noise=0.2), brief, [row["text"] for row in rows])
    errors = np.mean([label != row["label"] for label, row in zip(given, rows, strict=True)])
    assert errors == pytest.approx(0.2, abs=0.06)  # three standard errors of 468 texts
    assert set(given) == set(brief["labels"])


def test_wrong_labels_depend_on_neither_the_seed_nor_the_order(make, brief, shop) -> None:
    texts = [row["text"] for row in shop("teacher")]
    together = labels_of(make(label_noise=0.2), brief, texts, seed=1)
    backwards = labels_of(make(label_noise=0.2), brief, texts[::-1], seed=2)[::-1]
    assert together == backwards
    assert together != labels_of(make(label_noise=0.0), brief, texts)


def test_wrong_labels_have_lower_confidence(make, brief, shop) -> None:
    rows = shop("teacher")
    numbered = [{"id": row["id"], "text": row["text"]} for row in rows]
    given = make(label_noise=0.3).answer({**brief, "texts": numbered}, 0)["labels"]
    sure = {True: [], False: []}
    for entry, row in zip(given, rows, strict=True):
        sure[entry["label"] == row["label"]].append(entry["confidence"])
    assert np.mean(sure[True]) > np.mean(sure[False]) + 0.1
    assert 0 <= min(sure[False]) < max(sure[True]) <= 1


def test_an_unknown_text_gets_the_label_of_the_nearest_text(small) -> None:
    brief = Brief(task="", labels={"sky": "", "ground": ""})
    assert labels_of(small, brief, ["a blue sky", "green grass and stones", ""])[:2] == ["sky", "ground"]


def test_the_critic_accepts_its_own_label_and_asks_to_relabel_others(small) -> None:
    samples = [
        {"id": "1", "text": "the sky is blue", "label": "sky"},
        {"id": "2", "text": "the sky is blue", "label": "ground"},
    ]
    verdicts = small.answer({"task": "", "labels": {"sky": "", "ground": ""}, "samples": samples}, 0)[
        "verdicts"
    ]
    assert [(entry["id"], entry["verdict"]) for entry in verdicts] == [("1", "accept"), ("2", "relabel")]
    assert verdicts[1]["reason"] == "looks like sky"


def detected_share(teacher: Rehearsal, brief: Brief, rows: list[Row]) -> float:
    """Return the share of the labeler's errors that the critic of the same teacher asks to relabel."""
    given = labels_of(teacher, brief, [row["text"] for row in rows])
    errors = [(row, label) for row, label in zip(rows, given, strict=True) if label != row["label"]]
    samples = [{"id": row["id"], "text": row["text"], "label": label} for row, label in errors]
    verdicts = teacher.answer({**brief, "samples": samples}, 0)["verdicts"]
    return float(np.mean([entry["verdict"] == "relabel" for entry in verdicts]))


def test_the_critic_detects_about_the_set_share_of_errors(make, brief, shop) -> None:
    rows = shop("teacher")
    shares = [
        detected_share(make(label_noise=0.5, noticed_errors=share), brief, rows) for share in (0.0, 0.3, 1.0)
    ]
    assert shares == [0.0, pytest.approx(0.3, abs=0.1), 1.0]


def test_drafts_are_texts_of_the_requested_label(make, brief, shop) -> None:
    label_of = {row["text"]: row["label"] for row in shop("teacher")}
    payload = generation_payload(brief, ("order_status", "any", 4, ""), ("return_refund", "easy", 3, ""))
    drafts = make(label_noise=0.0).answer(payload, 0)["drafts"]
    assert Counter((d["label"], d["kind"]) for d in drafts) == {
        ("order_status", "any"): 4,
        ("return_refund", "easy"): 3,
    }
    assert all(label_of[d["text"]] == d["label"] for d in drafts)
    assert len({d["text"] for d in drafts}) == 7


def test_drafts_miss_their_requested_label_at_the_rate_of_label_noise(make, brief, shop) -> None:
    label_of = {row["text"]: row["label"] for row in shop("teacher")}
    payload = generation_payload(brief, *((label, "any", 12, "") for label in brief["labels"]))
    for noise in (0.0, 0.25):
        teacher = make(label_noise=noise)
        drafts = [draft for seed in range(5) for draft in teacher.answer(payload, seed)["drafts"]]
        wrong = sum(label_of[draft["text"]] != draft["label"] for draft in drafts) / len(drafts)
        assert wrong == pytest.approx(noise, abs=0.06)


def test_paraphrases_and_similar_texts_are_near_their_source_and_other_domain_texts_far(
    make, brief, shop
) -> None:
    near = shop("teacher")[0]
    teacher = make(label_noise=0.0)

    def closeness(kind: str, **more: object) -> float:
        payload = generation_payload(brief, (near["label"], kind, 3, ""))
        payload["requests"][0].update(more.pop("request", {}))  # type: ignore[call-overload]
        texts = [d["text"] for s in range(10) for d in teacher.answer({**payload, **more}, s)["drafts"]]
        vectors, [goal] = teacher._encode(texts), teacher._encode([near["text"]])
        return float((vectors @ goal).mean())

    plain, apart = closeness("any"), closeness("ood")
    assert closeness("paraphrase", request={"of": near["text"]}) > plain + 0.05
    fed = [{"text": near["text"], "label": near["label"]}]
    assert closeness("like", feedback=fed) > plain + 0.05
    assert apart < plain


def test_no_more_texts_are_written_than_the_corpus_holds(small) -> None:
    brief = Brief(task="", labels={"sky": "", "ground": ""})
    answer = small.answer(
        generation_payload(brief, ("sky", "any", 2, ""), ("sky", "easy", 9, ""), ("sea", "any", 3, "")), 0
    )
    assert sorted(texts_of(answer)) == ["clouds in the sky", "stars at night", "the sky is blue"]


def test_shown_texts_are_never_copied(small) -> None:
    brief = Brief(task="", labels={"sky": "", "ground": ""})
    shown = {
        "avoid": [{"text": "the sky is blue", "reason": "near"}],
        "shots": [{"text": "stars at night", "label": "sky"}],
    }
    for seed in range(10):
        assert texts_of(small.answer(generation_payload(brief, ("sky", "any", 3, ""), **shown), seed)) == [
            "clouds in the sky"
        ]


def nearness(teacher, brief, encoder, examples: list[str], kind: str, typicality_of: list[str]) -> float:
    """Return the mean similarity of written texts to their nearest example."""
    weakness = {"id": "w01-1", "name": "", "hypothesis": "", "examples": examples}
    shown = {**weakness, "label": "order_status", "confused_with": "return_refund"}
    found: list[str] = []
    for seed in range(12):
        payload = generation_payload(brief, ("order_status", kind, 5, "w01-1"), weaknesses=[shown])
        found += texts_of(teacher.answer(payload, seed))
    return float((encoder.encode(found) @ encoder.encode(typicality_of).T).max(1).mean())


def test_hard_texts_are_nearer_to_the_examples_than_easy_ones(make, brief, shop, encoder) -> None:
    examples = [row["text"] for row in shop("diagnose") if row["label"] == "order_status"][:3]
    hard, easy = (nearness(make(), brief, encoder, examples, kind, examples) for kind in ("hard", "easy"))
    assert hard > easy + 0.03


def test_a_higher_typicality_gives_more_typical_texts(make, brief, shop, encoder) -> None:
    own = [row["text"] for row in shop("teacher") if row["label"] == "order_status"]
    middle = encoder.encode(own).mean(0)

    def typical(amount: float) -> float:
        payload = generation_payload(brief, ("order_status", "any", 5, ""))
        teacher = make(typicality=amount)
        texts = [text for seed in range(12) for text in texts_of(teacher.answer(payload, seed))]
        return float((encoder.encode(texts) @ middle).mean())

    assert typical(0.0) < typical(1.5) < typical(5.0)


def test_weaknesses_are_the_most_frequent_confusions_with_their_texts_as_evidence(make, brief) -> None:
    errors = [
        *wrong("order_status", "return_refund", "1"),
        *wrong("return_refund", "order_status", "2", "3"),
    ]
    found = make().answer({**brief, "right": [], "wrong": errors, "report": {}}, 0)["weaknesses"]
    assert [(w["label"], w["confused_with"], w["evidence"]) for w in found] == [
        ("return_refund", "order_status", ["2", "3"]),
        ("order_status", "return_refund", ["1"]),
    ]
    assert "return_refund taken for order_status (2 of the shown)" in found[0]["hypothesis"]
    assert "about, parcel" in found[0]["hypothesis"]
