"""Test how target texts are parsed and scored."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tutelage.agents.schemas import drafts_schema, labels_schema
from tutelage.student.data.readers import Columns, read_rows
from tutelage.student.data.rows import Row
from tutelage.student.errors import InputError
from tutelage.student.evaluation.evaluate import grade
from tutelage.student.tasks.seq2seq import SEQ2SEQ


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (" \n\t", "is blank; a target is what the student is to write"),
        (20240503, "is int, expected a string"),
        (None, "is NoneType, expected a string"),
        (["2024-05-03"], "is list, expected a string"),
        ("x" * 20_001, "has 20,001 characters"),
        ("2024\0", "a NUL byte"),
    ],
)
def test_an_invalid_target_in_a_file_is_reported_in_one_line(
    tmp_path: Path, value: object, message: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": "3 May 2024", "target": value}) + "\n")
    with pytest.raises(InputError) as raised:
        read_rows(path, [], task_type=SEQ2SEQ)
    assert message in str(raised.value)
    assert str(raised.value).startswith(f"{path} line 1: target ")
    assert "\n" not in str(raised.value)


def test_spaces_around_a_target_are_stripped(tmp_path: Path) -> None:
    assert SEQ2SEQ.parse_label("  a  b\n", "text", []) == SEQ2SEQ.parse_reply("\ta  b ", "text") == "a  b"
    assert SEQ2SEQ.to_text("a  b\nc", "text") == "a b c"
    path = tmp_path / "rows.csv"
    path.write_text("asked,wanted\n3 May 2024, 2024-05-03 \n")
    [row] = read_rows(path, [], task_type=SEQ2SEQ, columns=Columns(("asked",), "wanted"))
    assert (row["text"], row["label"]) == ("3 May 2024", "2024-05-03")


def test_a_blank_target_in_a_reply_is_refused_and_a_number_becomes_text() -> None:
    def given(**parts: Any) -> dict[str, Any]:
        return {"id": "1", "reason": "r", "confidence": 1, **parts}

    labels = [given(target="  "), given(id="2", target=7), given(id="3", target=" a\n"), given(id="4")]
    found, problems = labels_schema([], SEQ2SEQ).read(json.dumps({"labels": labels}))
    assert [one.item.target for one in found] == ["7", "a"]  # type: ignore[attr-defined]
    assert len(problems) == 2
    with pytest.raises(ValueError, match="is blank"):
        SEQ2SEQ.parse_reply(" ", "text")
    reply_schema = drafts_schema([], task_type=SEQ2SEQ, with_labels=True)
    schema = reply_schema.json_schema["properties"]["drafts"]["items"]  # type: ignore[index]
    assert schema["required"] == ["kind", "weakness", "text", "target"]


def test_an_answer_is_an_error_unless_it_equals_the_target() -> None:
    assert SEQ2SEQ.error_pairs("2024-05-03", "2024-05-03") == []
    assert SEQ2SEQ.error_pairs("2024-05-03", "2024-05-3") == [("", "")]
    assert SEQ2SEQ.labels_in("2024-05-03") == [""]


@pytest.mark.parametrize("target", ["x", "2024-05-03", "one two", "a b c d e f", "日本", "line\nline"])
def test_a_corrupted_target_differs_from_the_target(target: str) -> None:
    for share in (0.0, 0.3, 0.7, 0.999):
        wrong = SEQ2SEQ.corrupted(target, [], share)
        assert wrong.strip() == wrong != target
        assert SEQ2SEQ.parse_label(wrong, "text", []) == wrong
    assert SEQ2SEQ.corrupted("a b c", [], 0.5) == "a c"
    assert SEQ2SEQ.corrupted("2024-05-03", [], 0.5) == "2024-05-0"


def graded(answers: list[str], targets: list[str], metric: str = "exact_match") -> dict[str, float]:
    report = grade(SEQ2SEQ, ["text"] * len(answers), targets, answers, [], metric)
    assert report["metric"] == report["figures"][metric]
    assert (report["classes"], report["confusion"]) == ([], [])
    return report["figures"]


def test_exact_match_is_the_share_of_answers_equal_to_their_target() -> None:
    assert graded(["a", "b", "c c", ""], ["a", "B", "c c", "d"])["exact_match"] == 0.5


def test_rouge_l_is_the_f_measure_of_the_longest_common_subsequence_of_words() -> None:
    # "the cat on mat" is common: 4 of the 4 words of the answer, 4 of the 6 of the target.
    assert graded(["The cat on mat"], ["the cat sat on the mat"])["rouge_l"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("answer", "target", "expected"),
    [
        ("кошка на столе", "Кошка сидит на столе", 6 / 7),
        ("猫在垫上", "猫坐在垫上", 8 / 9),
        ("un café", "UN CAFE\u0301 noir", 4 / 5),
        ("नमस्ते दुनिया", "नमस्ते दुनिया", 1),
        ("कि", "की", 0),
        ("ｱｲ", "ｱｲｳ", 4 / 5),
        ("?!", "?!", 1),
        ("?!", "!", 0),
        ("!", "a", 0),
    ],
    ids=[
        *("cyrillic", "no spaces", "accents", "vowel signs", "other vowel sign", "half width"),
        *("signs alone", "other signs", "no word"),
    ],
)
def test_rouge_l_splits_words_of_every_script(answer: str, target: str, expected: float) -> None:
    assert graded([answer], [target])["rouge_l"] == pytest.approx(expected)


def test_chrf_is_the_f_measure_of_character_ngrams_that_favours_recall() -> None:
    # Single characters: 2 of 2 and 2 of 3; pairs: 1 of 1 and 1 of 2. The answer has no longer n-grams.
    precision, recall = 1.0, (2 / 3 + 1 / 2) / 2
    expected = 5 * precision * recall / (4 * precision + recall)
    assert graded(["ab"], ["abc"])["chrf"] == pytest.approx(expected)


def test_metrics_equal_those_of_rouge_score_and_sacrebleu(seq2seq_test_rows: list[Row]) -> None:
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu import sentence_chrf

    targets = [row["text"] for row in seq2seq_test_rows]
    answers = [*targets[1:20], "", "x", "a_b - 3.5%", *targets[22:]]
    targets = targets[: len(answers)]
    scorer = RougeScorer(["rougeL"])
    rouge = [scorer.score(t, a)["rougeL"].fmeasure for t, a in zip(targets, answers, strict=True)]
    chrf = [sentence_chrf(a, [t]).score / 100 for t, a in zip(targets, answers, strict=True)]
    found = graded(answers, targets, "chrf")
    assert found["rouge_l"] == pytest.approx(np.mean(rouge))
    assert found["chrf"] == pytest.approx(np.mean(chrf))


def test_a_user_metric_is_a_function_in_a_file_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_figures.py").write_text(
        "def shared(answer, target, text):\n"
        "    return (answer in text) / 2 + (answer == target) / 2\n"
        "def huge(answer, target, text):\n"
        "    return 1.5\n"
        "def unknown(answer, target, text):\n"
        "    return float('nan')\n"
        "WORDS = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    found = graded(["text", "te", "no"], ["text", "t", "no"], "own_figures:shared")
    assert found["own_figures:shared"] == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert list(found) == ["own_figures:shared", "exact_match", "rouge_l", "chrf"]
    for name, message in (("huge", "returned 1.5 for 'no'"), ("unknown", "returned nan for 'no'")):
        assert SEQ2SEQ.check_metric(f"own_figures:{name}") == ""
        with pytest.raises(InputError) as raised:
            graded(["no"], ["no"], f"own_figures:{name}")
        assert str(raised.value) == f"own_figures:{name} {message}; expected 0 to 1"
    assert "is int, expected a function" in SEQ2SEQ.check_metric("own_figures:WORDS")
