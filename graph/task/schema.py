"""The `Task` model: all fields of task.yaml, and the rules that involve several of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from tutelage.agents.brief import Brief
from tutelage.agents.endpoints.limits import Limits
from tutelage.agents.providers.models import ModelSpec
from tutelage.agents.schemas import Draft
from tutelage.agents.teacher.budget import Budget
from tutelage.graph.strategies import STRATEGIES, Strategy, with_pool
from tutelage.graph.task.data_parts import Data, Part
from tutelage.graph.task.parts import (
    BudgetPart,
    Model,
    StudentPart,
    TeacherPart,
    WhiteBoxPart,
    check_address,
    role_overrides,
)
from tutelage.graph.task.variants import (
    did_you_mean,
    needs_one_label,
    needs_one_process,
    needs_separate_sets,
    selects_samples,
    unused_fields,
    varied,
)
from tutelage.prompts import ROLES
from tutelage.student.errors import InputError
from tutelage.student.pretrained import EMBEDDED
from tutelage.student.tasks.fields import ONE, PAIR, RESERVED, TaskTypeName
from tutelage.student.tasks.registry import TASK_TYPES
from tutelage.student.tasks.task_type import TaskType
from tutelage.student.tasks.user_functions import load_function
from tutelage.student.training.candidates import Training, candidates, configuration
from tutelage.student.training.configuration import TrainingConfig

FIRST_INSTRUCTION = "Say which label fits the text."  # of `tutelage init`, to be replaced


class Task(Part):
    """A complete task.yaml. `load_task` makes its paths absolute."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9._-]+$")
    """The name of the task, in reports and model cards: letters, digits, `.`, `_` and `-`."""
    kind: TaskTypeName = "classification"
    """The task type: what a label is."""
    instruction: str = Field(min_length=1)
    """What the teacher has to do, in a sentence or two. Every prompt contains it."""
    fields: tuple[str, ...] = ONE
    """The names of the two texts of a pair, for `kind: pairs`; otherwise leave it out."""
    labels: dict[str, str] = Field(default_factory=dict)
    """The labels, each with a description that the teacher reads. A list of names is accepted too."""
    data: Data = Data()
    """The texts: labelled ones, unlabelled ones, a test set."""
    student: StudentPart = StudentPart()
    """The small model, and how it is trained."""
    white_box_teacher: WhiteBoxPart | None = None
    """The model whose layers the strategy `ksm` distils; only for this strategy."""
    encoder: str = EMBEDDED
    """The embedding model that finds near-duplicates: `minilm`, a folder or a hub name."""
    teacher: TeacherPart = TeacherPart()
    """The language model, and how it is called."""
    strategy: str | dict[str, Any] = "auto"
    """The name of a strategy, or a mapping of `base` and the fields of the strategy to override."""
    budget: BudgetPart = BudgetPart()
    """The limits at which a run stops."""
    review: Literal["never", "before_label", "before_train"] = "never"
    """When the run waits for a person: before the teacher labels texts, or before students are trained on
    them. `tutelage review` shows the person the texts that are most in doubt (docs/review.md)."""
    review_budget: int = Field(default=50, ge=1)
    """The number of texts that a person judges in the whole run, if `review` is not `never`."""
    metric: str = ""
    """The score by which rounds are accepted; by default the first one of the task type. A function of
    your own is `file.py:function`."""
    filters: list[str] = Field(default_factory=list)
    """Functions of your own, as `file.py:function`. Each returns what is wrong with a sample, or ''."""
    duplicate_above: float = Field(default=0.92, gt=0, le=1)
    """The cosine similarity above which a text counts as a near-duplicate of another one."""
    chroma: str | None = None
    """The address of a Chroma server, such as http://localhost:8000, that stores the samples of the run. By
    default they are stored in the run folder (docs/scaling.md)."""
    prompts: Path | None = None
    """A folder whose files replace the prompts with the same names."""
    seed: int = Field(default=0, ge=0)
    """The seed of every random choice."""

    @model_validator(mode="before")
    @classmethod
    def _type_defaults(cls, raw: Any) -> Any:
        task_type = TASK_TYPES.get(str(raw.get("kind", "classification"))) if isinstance(raw, dict) else None
        if task_type is None:
            return raw
        filled = {"metric": task_type.metrics[0], **raw}
        if isinstance(student := filled.get("student", {}), dict):
            filled["student"] = {"base": task_type.default_base, **student}
        return {"fields": PAIR, **filled} if task_type.texts_per_row == 2 else filled

    @field_validator("fields")
    @classmethod
    def _field_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        reserved = [*RESERVED, *(name for name in dir(Draft) if not name.startswith("_"))]
        if bad := [name for name in value if not name.isidentifier() or name[0] == "_" or name in reserved]:
            raise ValueError(
                f"{bad[0]!r} cannot name a text: use a letter, then letters, digits and _; reserved are"
                f" {', '.join(RESERVED)} and attribute names of the reply schema, such as `copy`"
            )
        return value

    @field_validator("labels", mode="before")
    @classmethod
    def _label_descriptions(cls, value: Any) -> Any:
        if isinstance(value, list):
            value = {str(label): "" for label in value}
        if isinstance(value, dict):
            if any(isinstance(label, bool) for label in value):
                raise ValueError("YAML reads yes, no, on and off as booleans: put such labels in quotes")
            value = {str(label): str(text or "") for label, text in value.items()}
        return value

    @field_validator("chroma")
    @classmethod
    def _server(cls, value: str | None) -> str | None:
        check_address(
            value,
            looks="of a Chroma server looks like http://localhost:8000",
            secret="set CHROMA_CLIENT_AUTH_CREDENTIALS (docs/scaling.md)",
        )
        return value

    @model_validator(mode="after")
    def _labels_fit(self) -> Self:
        if len(self.labels) < self.type.min_labels:
            count = f"{len(self.labels)} label{'' if len(self.labels) == 1 else 's'} given"
            raise ValueError(f"`labels`: {count}, `kind: {self.kind}` needs at least {self.type.min_labels}")
        if self.labels and not self.type.min_labels:
            raise ValueError(f"`labels` are not for `kind: {self.kind}`; leave them out")
        if reserved := [label for label in self.labels if label in ("", *self.type.error_kinds)]:
            raise ValueError(f"{reserved[0]!r} cannot name a label of `kind: {self.kind}`; rename the label")
        if odd := [label for label in self.labels if label != " ".join(label.split())]:
            raise ValueError(f"the label {odd[0]!r} has line breaks or extra spaces; use single spaces")
        if problem := self.type.check_metric(self.metric):
            raise ValueError(f"`metric`: {problem}")
        for name in self.filters:
            try:
                load_function(name)
            except InputError as error:
                raise ValueError(f"`filters`: {error}") from None
        if self.student.mode not in self.type.student_modes:
            raise ValueError(
                f"`student.mode` {self.student.mode} is not for `kind: {self.kind}`; set it to"
                f" {' or '.join(self.type.student_modes)}"
            )
        generation = (self.student.max_target, self.student.beams, self.student.lora)
        if not self.type.generates and any(generation):
            raise ValueError("`max_target`, `beams` and `lora` are for `kind: seq2seq`; leave them out")
        return self

    @model_validator(mode="after")
    def _texts_fit(self) -> Self:
        expected = self.type.texts_per_row
        if len(set(self.fields)) != expected or (expected == 1 and self.fields != ONE):
            raise ValueError(
                "`fields` names the two texts of a pair, such as [premise, hypothesis], and is for"
                " `kind: pairs` only; if just a column has another name, set `text` of that data source"
            )
        for name in type(self.data).model_fields:
            columns = getattr(getattr(self.data, name), "text", None)
            if columns and len(columns) != expected:
                raise ValueError(f"`data.{name}.text` names {len(columns)} columns, expected {expected}")
        if self.data.unlabelled and self.data.unlabelled.drawn:
            raise ValueError("`data.unlabelled` is always used whole; leave `per_label` and `rows` out")
        if not (self.data.labelled or self.data.seed or self.data.unlabelled or self.labels):
            raise ValueError(
                f"`data`: no labelled rows, no unlabelled texts, and `kind: {self.kind}` has no labels to"
                " write texts for; add `data.labelled` or `data.unlabelled`"
            )
        return self

    @model_validator(mode="after")
    def _strategy_fits(self) -> Self:
        strategy = self.resolved_strategy()
        if not self.type.single_label and any(needs_one_label(one) for one in strategy.objectives):
            raise ValueError(
                f"strategy {strategy.name!r} needs the probability of one label for each text: it is not for"
                f" `kind: {self.kind}`; use auto, or entropy or least_confidence to draw from a pool"
            )
        if self.review == "before_label" and strategy.writes and not strategy.blind_labels:
            raise ValueError(
                f"`review: before_label` asks about texts without a label, and strategy {strategy.name!r}"
                " writes texts for a label; use `before_train`, or set the strategy's `blind_labels` to true"
            )
        if strategy.pool_share and self.data.unlabelled is None:
            raise ValueError(
                f"strategy {strategy.name!r} draws from unlabelled texts: set `data.unlabelled` to a file of"
                " them, or use a strategy whose texts are written by the teacher, such as auto"
            )
        if self.data.folded and (problem := needs_separate_sets(strategy)):
            raise ValueError(problem)
        distils = any(one.knowledge for one in strategy.objectives)
        carried = strategy.continue_training and strategy.objective.knowledge
        if distils and (self.student.mode == "head" or carried):
            raise ValueError(
                f"strategy {strategy.name!r} distils a teacher's layers into a student trained anew: set"
                " `student.mode` to full and the strategy's `continue_training` to false"
            )
        if distils and self.student.long == "window":
            raise ValueError(
                f"strategy {strategy.name!r} compares the layers of one sequence for each text: leave"
                " `student.long` out"
            )
        layers = ("frozen_layers", "layer_decay", "recompute")
        if distils and any(getattr(self.student, name) != getattr(StudentPart(), name) for name in layers):
            raise ValueError(
                f"strategy {strategy.name!r} trains all layers alike: leave `frozen_layers`, `layer_decay`"
                " and `recompute` of `student` out"
            )
        selects = any(one.adaptive_selection for one in strategy.objectives)
        if self.student.early_stopping and (distils or selects or strategy.continue_training):
            raise ValueError(
                f"strategy {strategy.name!r} has a training of its own, which holds no rows out: leave"
                " `student.early_stopping` out"
            )
        if self.white_box_teacher and not distils:
            raise ValueError(
                f"`white_box_teacher` is for strategy ksm, and strategy {strategy.name!r} does not use it;"
                " leave it out"
            )
        if self.student.launcher and (problem := needs_one_process(strategy)):
            raise ValueError(problem)
        reasons = any(one.rationale for one in strategy.objectives)
        if reasons and not self.type.generates:
            raise ValueError(
                f"`objective.rationale` is not for `kind: {self.kind}`, whose student generates no text"
            )
        if reasons and strategy.writes and not strategy.blind_labels:
            raise ValueError(
                "`objective.rationale` trains on the labeler's reasons: set `blind_labels: true`"
            )
        for objective in strategy.objectives:
            if problem := unused_fields(objective, strategy):
                raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _teacher_fits(self) -> Self:
        specs = self.model_specs().values()
        if any(spec.model == "rehearsal" and spec.corpus is None for spec in specs):
            raise ValueError(
                "the rehearsal teacher looks labels up in a file of labelled texts: set `teacher.corpus` to"
                " one, or `teacher.model` to a language model such as openai:gpt-5-mini"
            )
        if self.teacher.batch and not any(spec.speaks_openai for spec in specs):
            raise ValueError("`teacher.batch` uses the OpenAI Batch API, but no role has an `openai:` model")
        unpriced = [spec.display_name for spec in specs if spec.price() is None]
        if self.budget.money is not None and unpriced:
            raise ValueError(
                f"`budget.money` needs prices, but the price of {unpriced[0]} is unknown: set `price_prompt`"
                " and `price_completion` (per million tokens), or `prices`, under `teacher`"
            )
        return self

    @property
    def type(self) -> TaskType:
        """The task type object, which defines what a label is."""
        return TASK_TYPES[self.kind]

    def resolved_strategy(self) -> Strategy:
        """Return the strategy with the user's overrides, such as `strategy: {base: evokd, samples: 24}`."""
        changes = {"base": self.strategy} if isinstance(self.strategy, str) else dict(self.strategy)
        base = str(changes.pop("base", "auto"))
        if base not in STRATEGIES:
            raise ValueError(
                f"unknown strategy {base!r}{did_you_mean(base, STRATEGIES)} ({', '.join(STRATEGIES)})"
            )
        start = STRATEGIES[base]
        if base == "auto" and self.data.unlabelled and changes.get("pool_share") != 0:
            start = with_pool(start, whole="pool_share" not in changes)
        return varied(start, changes)

    @property
    def fold_count(self) -> int:
        """The number of cross-validation folds. The default is higher for a head, which trains quickly."""
        return self.data.folds or (5 if self.student.mode == "head" else 3)

    def model_specs(self) -> dict[str, ModelSpec]:
        """Return the model of each role."""
        shared = {name: getattr(self.teacher, name) for name in Model.model_fields}
        roles = self.teacher.roles.model_dump(exclude_none=True)
        specs = {
            role: ModelSpec(**{**shared, **role_overrides(shared, roles.get(role, {}))}) for role in ROLES
        }
        return {role: replace(spec, base_url=spec.base_url or None) for role, spec in specs.items()}

    def training_config(self, training: str | None = None) -> TrainingConfig:
        """Return the training configuration of the student.

        Args:
            training: name of the training configuration; None takes the name from task.yaml. `auto` is the
                default of the task type, except for LLKD and KSM, which get `weighted` (class weights only):
                they choose and weight the samples of every training step, beginning with an untrained
                student, and a probe fitted on all rows would come before that choice.

        Raises:
            InputError: the configuration does not fit the task or other fields of `student`.
        """
        fixed = self.student.fixed()
        base = TrainingConfig(**fixed, kind=self.kind, fields=self.fields)
        name = training or self.student.training
        if name == "auto" and selects_samples(self.resolved_strategy()):
            name = "weighted"
        return configuration(base, name, fixed=fixed)

    def training_candidates(self, rows: int) -> dict[Training, TrainingConfig]:
        """Return the training configurations to compare on this many rows: one if `training` names it."""
        if self.student.training != "auto":
            return {self.student.training: self.training_config()}
        if selects_samples(self.resolved_strategy()):
            return {"weighted": self.training_config()}
        fixed = self.student.fixed()
        base = TrainingConfig(**fixed, kind=self.kind, fields=self.fields)
        return candidates(base, fixed=fixed, rows=rows)

    def white_box_config(self) -> TrainingConfig | None:
        """Return how the white-box teacher is trained, should it need training; None if the task has none."""
        if self.white_box_teacher is None:
            return None
        part, own = self.student, self.white_box_teacher.model_dump()
        return TrainingConfig(**own, max_tokens=part.max_tokens, device=part.device, fields=self.fields)

    def spending(self) -> Budget:
        """Return the budget, beyond which calls to the teacher are refused."""
        return Budget(**self.budget.model_dump(exclude={"rounds"}))

    def limits(self) -> Limits:
        """Return the limits on calls to the teacher's endpoints."""
        return Limits(**{name: getattr(self.teacher, name) for name in Limits.__dataclass_fields__})

    def brief(self) -> Brief:
        """Return the description of the task that every agent gets."""
        brief = Brief(task=self.instruction)
        if self.labels:
            brief["labels"] = dict(self.labels)
        if not self.type.single_label:
            brief["kind"] = self.kind
        return brief if len(self.fields) == 1 else {**brief, "fields": list(self.fields)}
