"""The arguments of the tools: the only things that an agent's model decides. It reads the descriptions."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MOST_TEXTS = 200  # in a call: more would not fit into a conversation
LONGEST_WAIT = 300  # seconds
Column = Annotated[str, Field(min_length=1)]
RunId = Annotated[str, Field(description="The `run_id` that distill_start returned.")]


class Arguments(BaseModel):
    """Base of the arguments: a misspelt one is an error, which the model can correct."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Label(Arguments):
    """One label of the classifier."""

    name: str = Field(description="The label, exactly as in the label column if there is one.")
    description: str = Field(description="One sentence: which texts get this label.")


class StartArguments(Arguments):
    """The arguments of `distill_start`."""

    name: str = Field(description="A short name of the classifier, such as ticket-queue.")
    instruction: str = Field(description="One sentence: what the label says about a text.")
    labels: list[Label] = Field(min_length=2, description="All labels, each with a description.")
    labelled_file: str | None = Field(
        default=None, description="A file of texts with labels, if there is one."
    )
    unlabelled_file: str | None = Field(
        default=None, description="A file of texts without labels, if there is one."
    )
    text_column: Column = Field(default="text", description="The column of the text in these files.")
    label_column: Column = Field(default="label", description="The column of the label in `labelled_file`.")
    unlabelled_text_column: Column | None = Field(
        default=None, description="The column of the text in `unlabelled_file`, if it is not `text_column`."
    )
    max_calls: int | None = Field(
        default=None,
        ge=1,
        description="A limit on calls to the teacher, if the user wants a lower one than usual.",
    )


class StatusArguments(Arguments):
    """The arguments of `distill_status`."""

    run_id: RunId
    wait_seconds: int = Field(
        default=0,
        ge=0,
        le=LONGEST_WAIT,
        description="Answer after this time, or as soon as the run ends. Use 60 rather than ask often.",
    )


class PredictArguments(Arguments):
    """The arguments of `distill_predict`."""

    run_id: RunId
    texts: list[str] = Field(min_length=1, max_length=MOST_TEXTS, description="The texts to classify.")


def invalid(error: Exception) -> str:
    """Return what is wrong with the arguments of a call, in one line for the model."""
    assert isinstance(error, ValidationError)
    problems = [f"`{'.'.join(map(str, one['loc']))}`: {one['msg']}" for one in error.errors()]
    return f"invalid arguments: {'; '.join(problems)}; correct them and call again"
