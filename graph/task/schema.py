"""A task: the fields of a task.yaml, checked together."""

from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator
from tutelage.agents.analyst import Brief
from tutelage.agents.endpoints.limits import Limits
from tutelage.agents.providers.models import ModelSpec
from tutelage.agents.schemas import Draft
from tutelage.agents.teacher.budget import Budget
from tutelage.graph.strategies import STRATEGIES, Strategy, with_pool
from tutelage.graph.task.parts import BudgetPart, Data, ExpertPart, Model, Part, StudentPart, TeacherPart
from tutelage.graph.task.variants import varied
from tutelage.prompts import ROLES
from tutelage.student.encoder import EMBEDDED
from tutelage.student.errors import InputError
from tutelage.student.tasks import KINDS, Kind
from tutelage.student.tasks.fields import ONE, PAIR, RESERVED, KindName
from tutelage.student.tasks.user_functions import function
from tutelage.student.training.candidates import Training, candidates, configuration
from tutelage.student.training.configuration import Recipe
from tutelage.student.training.losses import PLAIN, Objective


class Task(Part):
    """A whole task.yaml; paths in it are made absolute by `load_task`."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9._-]+$")
    kind: KindName = "classification"
    instruction: str = Field(min_length=1)
    fields: tuple[str, ...] = ONE
    labels: dict[str, str] = Field(default_factory=dict)
    data: Data = Data()
    student: StudentPart = StudentPart()
    expert: ExpertPart | None = None
    encoder: str = EMBEDDED
    teacher: TeacherPart = TeacherPart()
    strategy: str | dict[str, Any] = "auto"
    budget: BudgetPart = BudgetPart()
    metric: str = ""
    filters: list[str] = Field(default_factory=list)
    duplicate_above: float = Field(default=0.92, gt=0, le=1)
    prompts: Path | None = None
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _of_kind(cls, raw: Any) -> Any:
        kind = KINDS.get(str(raw.get("kind", "classification"))) if isinstance(raw, dict) else None
        if kind is None:
            return raw
        given = {"metric": kind.metrics[0], **raw}
        if isinstance(student := given.get("student", {}), dict):
            given["student"] = {"base": kind.base, **student}
        return {"fields": PAIR, **given} if kind.texts == 2 else given

    @field_validator("fields")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        taken = [*RESERVED, *(name for name in dir(Draft) if not name.startswith("_"))]
        if wrong := [name for name in value if not name.isidentifier() or name[0] == "_" or name in taken]:
            raise ValueError(
                f"{wrong[0]!r} cannot name a text: letters, digits and _ after the first letter, none of"
                f" {', '.join(RESERVED)}, and nothing that means something to Python here, as `copy` does"
            )
        return value

    @field_validator("labels", mode="before")
    @classmethod
    def _described(cls, value: Any) -> Any:
        if isinstance(value, list):
            value = {str(label): "" for label in value}
        if isinstance(value, dict):
            if any(isinstance(label, bool) for label in value):
                raise ValueError("YAML reads yes, no, on and off as truth values: put such labels in quotes")
            value = {str(label): str(text or "") for label, text in value.items()}
        return value

    @model_validator(mode="after")
    def _labels_fit(self) -> Self:
        if len(self.labels) < self.form.fewest:
            few = f"{len(self.labels)} label{'' if len(self.labels) == 1 else 's'} given"
            raise ValueError(f"`labels`: {few}, `kind: {self.kind}` needs at least {self.form.fewest}")
        if self.labels and not self.form.fewest:
            raise ValueError(f"`labels` are not for `kind: {self.kind}`; leave them out")
        if taken := [label for label in self.labels if label in ("", *self.form.outcomes)]:
            raise ValueError(f"{taken[0]!r} cannot name a label of `kind: {self.kind}`; call it otherwise")
        if odd := [label for label in self.labels if label != " ".join(label.split())]:
            raise ValueError(f"the label {odd[0]!r} has odd spaces or line breaks; have single spaces in it")
        if problem := self.form.unfit(self.metric):
            raise ValueError(f"`metric`: {problem}")
        for name in self.filters:
            try:
                function(name)
            except InputError as error:
                raise ValueError(f"`filters`: {error}") from None
        if self.student.mode not in self.form.modes:
            raise ValueError(
                f"`student.mode` {self.student.mode} is not for `kind: {self.kind}`; set it to"
                f" {' or '.join(self.form.modes)}"
            )
        writing = (self.student.max_target, self.student.beams, self.student.lora)
        if not self.form.writes and any(writing):
            raise ValueError("`max_target`, `beams` and `lora` are for a student that writes; leave them out")
        return self

    @model_validator(mode="after")
    def _texts_fit(self) -> Self:
        expected = self.form.texts
        if len(set(self.fields)) != expected or (expected == 1 and self.fields != ONE):
            raise ValueError(
                "`fields` names the two texts of a pair, such as [premise, hypothesis], and is for"
                " `kind: pairs` alone; where only a column is called otherwise, set `text` of the source"
            )
        for name in type(self.data).model_fields:
            columns = getattr(getattr(self.data, name), "text", None)
            if columns and len(columns) != expected:
                raise ValueError(f"`data.{name}.text` names {len(columns)} columns, expected {expected}")
        if self.data.unlabelled and self.data.unlabelled.drawn:
            raise ValueError("`data.unlabelled` is taken as it is; leave `per_label` and `rows` out")
        if not (self.data.labelled or self.data.seed or self.data.unlabelled or self.labels):
            raise ValueError(
                f"`data`: no labelled rows, no unlabelled texts, and `kind: {self.kind}` has no labels to"
                " write texts for; give `labelled` or `unlabelled`"
            )
        return self

    @model_validator(mode="after")
    def _strategy_fits(self) -> Self:
        strategy = self.resolved_strategy()
        if self.form.key != "label" and any(_of_one_label(one) for one in strategy.objectives):
            raise ValueError(
                f"strategy {strategy.name!r} goes by the probability of one label a text:"
                f" it is not for `kind: {self.kind}`; take entropy or least_confidence for a pool, or auto"
            )
        if strategy.pool_share and self.data.unlabelled is None:
            raise ValueError(
                f"strategy {strategy.name!r} draws from texts of your own: set `data.unlabelled` to a file of"
                " them (only its text is read), or take a strategy that has texts written, such as auto"
            )
        if self.data.folded and (problem := _needs_separate_sets(strategy)):
            raise ValueError(problem)
        distils = any(one.knowledge for one in strategy.objectives)
        carried = strategy.carry and strategy.objective.knowledge
        if distils and (self.student.mode == "head" or carried):
            raise ValueError(
                f"strategy {strategy.name!r} distils a teacher's layers into a fresh student: set"
                " `student.mode` to full and leave the strategy's `carry` false"
            )
        if self.expert and not distils:
            raise ValueError(
                f"`expert` is for strategy ksm, and strategy {strategy.name!r} has none; leave it out"
            )
        reasons = any(one.rationale for one in strategy.objectives)
        if reasons and not self.form.writes:
            raise ValueError(
                f"`objective.rationale` is not for `kind: {self.kind}`: its student writes nothing"
            )
        if reasons and strategy.writes and not strategy.label_apart:
            raise ValueError("`objective.rationale` is the labeler's reason: set `label_apart: true`")
        for objective in strategy.objectives:
            if problem := _unused(objective, strategy):
                raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _teacher_fits(self) -> Self:
        specs = self.model_specs().values()
        if any(spec.model == "rehearsal" and spec.corpus is None for spec in specs):
            raise ValueError(
                "the rehearsal teacher answers from labelled texts: set `teacher.corpus` to a file of them,"
                " or `teacher.model` to a language model such as openai:gpt-5-mini"
            )
        if self.teacher.batch and not any(spec.speaks_openai for spec in specs):
            raise ValueError("`teacher.batch` is the OpenAI Batch API, and no role asks an `openai:` model")
        unpriced = [spec.place for spec in specs if spec.price() is None]
        if self.budget.money is not None and unpriced:
            raise ValueError(
                f"`budget.money` needs prices, and that of {unpriced[0]} is unknown: set `price_prompt` and"
                " `price_completion` (per million tokens), or `prices`, under `teacher`"
            )
        return self

    @property
    def form(self) -> Kind:
        """What a label of the task is."""
        return KINDS[self.kind]

    def resolved_strategy(self) -> Strategy:
        """The strategy with the user's overrides; `strategy: {base: evokd, samples: 24}` changes fields."""
        given = {"base": self.strategy} if isinstance(self.strategy, str) else dict(self.strategy)
        base = str(given.pop("base", "auto"))
        if base not in STRATEGIES:
            raise ValueError(f"strategy {base!r} is none of {', '.join(STRATEGIES)}{near(base, STRATEGIES)}")
        start = STRATEGIES[base]
        if base == "auto" and self.data.unlabelled and "pool_share" not in given:
            start = with_pool(start)
        return varied(start, given)

    @property
    def fold_count(self) -> int:
        """How many folds labelled rows are divided into; by default more for a head, which is quick."""
        return self.data.folds or (5 if self.student.mode == "head" else 3)

    def model_specs(self) -> dict[str, ModelSpec]:
        """Role -> model."""
        shared = {name: getattr(self.teacher, name) for name in Model.model_fields}
        roles = self.teacher.roles.model_dump(exclude_none=True)
        specs = {role: ModelSpec(**{**shared, **_moved(shared, roles.get(role, {}))}) for role in ROLES}
        return {role: replace(spec, base_url=spec.base_url or None) for role, spec in specs.items()}

    def recipe(self, training: str | None = None) -> Recipe:
        """Return how the student is trained.

        Args:
            training: the configuration's name; None is that of task.yaml. `auto` is the default of the task
                type, but class weights alone (`weighted`) for LLKD and KSM: their steps choose and weigh what
                a student without any training is shown, which a probe on all rows would anticipate.

        Raises:
            InputError: the configuration does not fit the task or other fields of `student`.
        """
        fixed = self.student.fixed()
        given = Recipe(**fixed, kind=self.kind, fields=self.fields)
        name = training or self.student.training
        if name == "auto" and any(
            one.thresholds or one.knowledge for one in self.resolved_strategy().objectives
        ):
            name = "weighted"
        return configuration(given, name, fixed=fixed)

    def training_candidates(self, rows: int) -> dict[Training, Recipe]:
        """Return the training configurations to compare on so many rows; one where `training` names it."""
        if self.student.training != "auto":
            return {self.student.training: self.recipe()}
        if any(one.thresholds or one.knowledge for one in self.resolved_strategy().objectives):
            return {"weighted": self.recipe()}  # no probe precedes their own choice of what is learnt
        fixed = self.student.fixed()
        given = Recipe(**fixed, kind=self.kind, fields=self.fields)
        return candidates(given, fixed=fixed, rows=rows)

    def expert_recipe(self) -> Recipe | None:
        """How the white-box teacher is trained, if it has to be; None without one."""
        if self.expert is None:
            return None
        part = self.student
        own = self.expert.model_dump()
        return Recipe(**own, max_tokens=part.max_tokens, device=part.device, fields=self.fields)

    def spending(self) -> Budget:
        """What the teacher's door refuses beyond."""
        return Budget(**self.budget.model_dump(exclude={"rounds"}))

    def limits(self) -> Limits:
        """How the teacher's endpoints may be asked."""
        return Limits(**{name: getattr(self.teacher, name) for name in Limits.__dataclass_fields__})

    def brief(self) -> Brief:
        """What agents are told of the task."""
        told = Brief(task=self.instruction)
        if self.labels:
            told["labels"] = dict(self.labels)
        if self.form.key != "label":
            told["kind"] = self.kind
        return told if len(self.fields) == 1 else {**told, "fields": list(self.fields)}


def _of_one_label(objective: Objective) -> bool:
    """Whether it goes by the probability of one label a text."""
    return bool(objective.thresholds or objective.knowledge or objective.target == "soft")


def _needs_separate_sets(strategy: Strategy) -> str:
    """Why a strategy cannot run on folds; "" if it can. What it shows the teacher, or carries on, would join
    rows of all folds, and no answer would be out of fold any more.
    """
    reasons = {
        "`probe: batch`": strategy.probe == "batch",
        "`feedback: band`": strategy.feedback == "band",
        "`carry: true`": strategy.carry,
        "`objective.knowledge`": any(one.knowledge for one in strategy.objectives),
    }
    if not (found := [name for name, there in reasons.items() if there]):
        return ""
    return (
        f"strategy {strategy.name!r} ({found[0]}) needs separate sets: give `data.seed`, `diagnose` and"
        " `gate` in place of `labelled`, or take strategy auto"
    )


def _unused(objective: Objective, strategy: Strategy) -> str:
    """What of an objective would do nothing, in words; "" if all of it does something."""
    if objective.loss == "ce" and (objective.alpha, objective.beta) != (PLAIN.alpha, PLAIN.beta):
        return "`alpha` and `beta` weigh the parts of `loss: sce`; set that, or leave them out"
    chosen = "`objective.thresholds`" if objective.thresholds else "`objective.target: soft`"
    if objective.thresholds is None and objective.target == "hard":
        return f"{_OWN_LOSSES} `objective.loss`" if objective.knowledge and objective.loss != "ce" else ""
    if objective.knowledge:
        return f"{_OWN_LOSSES} {chosen}"
    if strategy.writes and not strategy.label_apart:
        return (
            f"{chosen} needs the teacher's confidence, and labels that texts are written for have none: set"
            " `label_apart: true`, or leave it out"
        )
    return ""


_OWN_LOSSES = "`objective.knowledge` brings losses of its own; leave out"


def _moved(shared: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A role's fields; where it asks another provider, the shared address and key are not that one's."""
    provider = str(own.get("model", shared["model"])).partition(":")[0]
    if provider == str(shared["model"]).partition(":")[0]:
        return own
    return {"base_url": None, "api_key_env": None, **own}


def near(name: str, known: Iterable[str]) -> str:
    """What a name may have been meant to be, as the end of a sentence; "" where nothing is near."""
    match = get_close_matches(name, list(known), 1, 0.5)
    return f"; did you mean {match[0]!r}?" if match else ""
