"""Strategies: a method is a value, and an ablation is a one-field change of it."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field
from tutelage.student.data.rows import LONGEST
from tutelage.student.selection import Selection
from tutelage.student.training.adaptive_selection import Thresholds
from tutelage.student.training.knowledge import Knowledge
from tutelage.student.training.losses import PLAIN, Objective

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class Strategy:
    """How a round gets its texts, which it pays to have labelled, and how the student learns from them.

    Attributes:
        name: what reports call it.
        pool_share: share of a round's samples that is drawn from the user's unlabelled texts; the rest is
            written, and what the pool no longer gives is written too, unless all was to be drawn.
        samples: labelled samples wanted each round.
        feedback: what the teacher learns of the student: `analysis`, weaknesses that the analyst finds
            in right and wrong answers; `errors`, the same pairs of labels without anyone's analysis;
            `band`, texts of the last round in an energy band as further examples; `none`, every label
            ordered alike, as if there were no student.
        probe: whose answers show the weaknesses: of the `diagnose` set, or of the `batch` that the
            last round brought (the seeds before the first), against the teacher's labels.
        test_first: the batch is answered before the student is trained on it, not after.
        shown: right and wrong answers the analyst sees, at most so many of each.
        shows_right: whether it sees right answers at all.
        shows_wrong: `errors`, or `random`: any third of the texts, told as if they were errors; a placebo.
        weaknesses: at most so many are ordered for each round.
        hard_share: share of a round's order that serves weaknesses; the rest is easy texts, more of
            them for classes with low F1.
        ood_share: share of an order without analysis that is to differ from everything before.
        fed_share: share of the rest that is to be like the texts of the band, once there is one.
        score: what ranks texts for the band: the student's `energy`, or the `nll` of the label.
        band: ranks shown, as shares of the batch in ascending order of the score.
        paraphrase_rounds: the first rounds order nothing but paraphrases of the seeds.
        shots: seeds of each label that the generator is shown.
        length: fewest and most characters of a text that is written.
        label_apart: texts are labelled blind, in a context of their own; else they keep the label they
            were written for.
        critic: which samples are judged before they are kept: `all`, those whose label the students
            confidently `disputed`, or `none`. Disputed ones are judged first.
        agree: a text that is labelled apart is kept only where the label is the one it was written for.
        oversample: texts written or drawn for each one labelled; after `cold_rounds` those to be
            labelled are chosen by `selection`, before their labels are paid for.
        selection: how texts are chosen; see student/selection.py.
        first_selection: how the texts of round 1 are chosen, where it differs: `typical`, say, since a first
            student is unsure of everything.
        choose_from: unlabelled texts, drawn at random, among which the students choose those to be labelled;
            0 leaves the choice to `oversample`.
        fill_gaps: texts are written only for labels and weaknesses for which the pool holds next to nothing.
        stall: rounds without a gain beyond noise after which the run stops; 0 never stops for that.
        cold_rounds: rounds that keep texts as they come: a student that knows nothing cannot choose.
        attempts: times more texts are asked for in a round, with the reasons of the refusals.
        enough: share of `samples` at which a round stops asking again.
        carry: the student goes on from round to round, on the new samples; else each round trains a
            fresh one on all of them.
        repeat: passes of a carried student over what is new (eight times as many of a head).
        replay: earlier samples mixed in, drawn anew, for each one that is new; `all` there are.
        objective: the student's loss; see student/training/losses.py.
        final: the objective of a fresh student that is trained at the end on all that promoted rounds
            brought, and is promoted as a round's is; None leaves the one promoted last.
        refit: the student that the run leaves is trained anew at the end, on every labelled row and all
            promoted samples; without it the student promoted last is left, which has not learnt the rows of
            diagnose and gate.
        self_training: whether the refitted student also learns the mean answers of the fold students on
            unlabelled texts: `on`, `off`, or `auto`, where the score out of fold decides.
        soft_texts: unlabelled texts that are learnt so, at most.
        soft_weight: weight of such a text in the loss; a labelled row has 1.
        label_mix: share of the students' own answer, given before they learnt the sample, in the refitted
            student's target of a text that the teacher labelled: a guard against wrong labels (after SLaM,
            Kontonis et al., NeurIPS 2023; ours).
        control: at the end as many texts of the pool, drawn at random, are labelled as were chosen: what the
            choice was worth is measured, and their labels are trained on too. Rounds leave as much of a
            budget as their labels take.
        own_weight: weight of the user's own rows in the loss; a sample has 1.
        confidence_weight: a sample's weight is the teacher's (calibrated) confidence in its label.
        importance: written texts are weighted by how likely a student of the own rows alone finds their label
            (after arXiv 2410.21526; reconstruction).
    """

    name: str
    pool_share: Share = 0.0
    samples: Count = 48
    feedback: Literal["analysis", "errors", "band", "none"] = "analysis"
    probe: Literal["diagnose", "batch"] = "diagnose"
    test_first: bool = True
    shown: Count = 12
    shows_right: bool = True
    shows_wrong: Literal["errors", "random"] = "errors"
    weaknesses: Count = 5
    hard_share: Share = 0.5
    ood_share: Share = 0.0
    fed_share: Share = 0.5
    score: Literal["energy", "nll"] = "energy"
    band: tuple[Share, Share] = (0.5, 0.8)
    paraphrase_rounds: Natural = 0
    shots: Natural = 3
    length: tuple[Count, Count] = (1, LONGEST)
    label_apart: bool = True
    critic: Literal["all", "disputed", "none"] = "all"
    agree: bool = False
    oversample: Count = 1
    selection: Selection = "entropy"
    first_selection: Selection | None = None
    choose_from: Natural = 0
    fill_gaps: bool = False
    stall: Natural = 0
    cold_rounds: Natural = 1
    attempts: Natural = 2
    enough: Share = 0.9
    carry: bool = False
    repeat: Count = 3
    replay: Annotated[float, Field(ge=0)] | Literal["all"] = 1.0
    objective: Objective = PLAIN
    final: Objective | None = None
    refit: bool = True
    self_training: Literal["auto", "on", "off"] = "auto"
    soft_texts: Count = 1500
    soft_weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    label_mix: Share = 0.0
    control: bool = True
    own_weight: Annotated[float, Field(gt=0)] = 1.0
    confidence_weight: bool = False
    importance: bool = False

    @property
    def draws(self) -> bool:
        """Whether texts are drawn from the pool."""
        return self.pool_share > 0

    def from_pool(self, count: int) -> int:
        """How many of so many samples are to come from the pool."""
        return round(self.pool_share * count)

    @property
    def writes(self) -> bool:
        """Whether texts are written."""
        return self.pool_share < 1 or self.fill_gaps

    @property
    def objectives(self) -> list[Objective]:
        """Every loss that a student is trained towards."""
        return [self.objective, *([self.final] if self.final else [])]

    def selection_in(self, round: int) -> Selection:
        """How the texts of a round are chosen."""
        return self.first_selection or self.selection if round == 1 else self.selection

    def candidates(self, round: int) -> int:
        """Texts written or drawn for each one that is labelled in a round."""
        return self.oversample if round > self.cold_rounds else 1


_RANDOM = Strategy("random", feedback="none", selection="random", agree=True, control=False)
_PAPER: dict[str, Any] = {"refit": False, "self_training": "off", "control": False}
_AS_WRITTEN = replace(_RANDOM, label_apart=False, critic="none", agree=False)
_POOL = Strategy("pool", pool_share=1.0, feedback="none", critic="none", cold_rounds=0)

STRATEGIES: dict[str, Strategy] = {
    # Composed by the gate scores of five tasks, not by their tests (benchmarks/README.md). Three times as
    # many texts for the student's doubt to choose from cost half as many tokens again and returned nothing:
    # it does not. That who writes a text and who labels it blind must agree costs an eighth more tokens and
    # left 99 % of the labels right, of a teacher with 10 % errors in each. Analysis and critic cannot be
    # judged by a teacher that looks real texts up: they stay for what it has not, hypotheses and texts
    # that are no good.
    # With unlabelled texts of the user's own (see `with_pool`) texts are written for gaps alone.
    "auto": Strategy("auto", agree=True, samples=200, critic="disputed", stall=2),
    # EvoKD: Liu et al., LREC-COLING 2024, arXiv 2403.06414. Paper (its figure and second-hand): analysis of
    # right and wrong, hard and easy, labelling apart with nothing filtered afterwards, test then train
    # on the batch, which is used more than once, with replay. Ours: eight shown of each, three
    # passes, as many old samples as new ones, rounds of dozens of texts in place of four.
    "evokd": Strategy("evokd", probe="batch", shown=8, critic="none", carry=True, **_PAPER),
    # GOLD: Gholami et al., Findings of NAACL 2024, arXiv 2403.19754. Its code: label fixed before the
    # text is written, a batch of another topic and domain for each plain one, ranks 50-80 % of its energy
    # as further examples in every second batch, 10 to 400 characters, no critic; the student carried on by
    # one pass of plain cross-entropy over all that there is, and at the end a fresh one by the symmetric.
    # Ours: a round is one such refresh; the seeds begin the student.
    "gold": Strategy(
        "gold",
        feedback="band",
        ood_share=0.5,
        label_apart=False,
        critic="none",
        length=(10, 400),
        carry=True,
        repeat=1,
        replay="all",
        final=Objective(loss="sce"),
        **_PAPER,
    ),
    # LLKD: Li et al., Findings of NAACL 2025, arXiv 2411.08028. The teacher labels texts of the user's
    # own; every step trains where it is sure and the student is not (student/training/adaptive_selection.py:
    # reconstruction). `oversample` above 1 asks first and pays later (ours).
    "llkd": replace(_POOL, name="llkd", samples=500, objective=Objective(thresholds=Thresholds()), **_PAPER),
    # KSM: Wang et al., Findings of EMNLP 2022, arXiv 2302.00444. A white-box teacher's four kinds of
    # knowledge, weighed at every step by an actor-critic (student/distillation/policy.py).
    "ksm": replace(_POOL, name="ksm", samples=500, objective=Objective(knowledge=Knowledge()), **_PAPER),
    # The control: the same teacher, order sizes and checks, and no feedback from the student.
    "random": _RANDOM,
    # ZeroGen: Ye et al., EMNLP 2022, arXiv 2202.07922: written for a label from its description alone, unseen
    # by student and critic.
    "zerogen": replace(_AS_WRITTEN, name="zerogen", shots=0),
    # AugGPT: Dai et al., arXiv 2302.13007: paraphrases of the seeds, with their labels.
    "auggpt": replace(_AS_WRITTEN, name="auggpt", paraphrase_rounds=99),
    # Active learning on the user's pool, by what the student is least sure of (Settles 2009).
    "entropy": replace(_POOL, name="entropy", oversample=4),
    "least_confidence": replace(_POOL, name="least_confidence", oversample=4, selection="least_confidence"),
}


def with_pool(strategy: Strategy) -> Strategy:
    """Return `auto` for a task with unlabelled texts: they are drawn, by what the students are unsure of and
    what differs from the rest, and texts are written only for what the pool lacks.
    """
    return replace(
        strategy,
        pool_share=1.0,
        fill_gaps=True,
        choose_from=5000,
        cold_rounds=0,
        selection="uncertain_and_diverse",
    )
