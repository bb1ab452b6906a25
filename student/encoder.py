"""Sentence embeddings: the encoder, its fingerprint and its cache."""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tutelage.student.device import device
from tutelage.student.errors import InputError
from tutelage.student.pretrained import EMBEDDED, load_model, load_pretrained, locate, longer, longest
from tutelage.student.tasks.fields import Fields, columns


class Vectors(Protocol):
    """The interface of an encoder of texts."""

    @property
    def fingerprint(self) -> str:
        """Return an identifier that changes whenever the vectors would."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return vectors of shape (len(texts), d), float32, each of length 1."""
        ...


class Encoder:
    """Encode texts as L2-normalised vectors; each text is encoded once and cached.

    With `cache`, a file for this encoder only, the cache persists over restarts. A new file starts with the
    vectors of the files `earlier`, those that an encoder with the same fingerprint wrote.

    Plain mean-pooled models (most sentence-transformers) run with transformers alone: the same vectors
    (cosine > 0.999999, tested) without the 10 seconds that importing sentence-transformers takes. All other
    models run with sentence-transformers.
    """

    def __init__(
        self,
        name: str = EMBEDDED,
        *,
        device: str = "auto",
        max_tokens: int = 128,
        cache: Path | None = None,
        earlier: Sequence[Path] = (),
    ):
        self.name, self.max_tokens, self._device = name, max_tokens, device
        self._file, self._earlier = cache, earlier

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return vectors of shape (len(texts), dimensions), float32, each of length 1."""
        # The longest first: with the shortest first, no batch fits into the memory that the last one freed.
        new = sorted({text for text in texts if text not in self._cache}, key=lambda t: (-len(t), t))
        for start in range(0, len(new), 64):
            batch = new[start : start + 64]
            self._store(dict(zip(batch, self._forward(batch), strict=True)))
        if not texts:
            return np.zeros((0, self.dimensions), np.float32)
        return np.stack([self._cache[text] for text in texts])

    def longer(self, texts: Sequence[str]) -> list[bool]:
        """Return for each text whether it has more tokens than the encoder reads; needs mean pooling."""
        assert self._mean_pooled
        tokenizer, model = self._mean_pooled
        return longer(tokenizer, longest(tokenizer, model.config, self.max_tokens), texts)

    @cached_property
    def dimensions(self) -> int:
        """Return the length of a vector."""
        return int(self._forward(["x"]).shape[1])

    @cached_property
    def fingerprint(self) -> str:
        """Return an identifier of the weights; stores of vectors keep it, so that two encoders never mix."""
        import hashlib

        # It hashes weights, not vectors, which can differ between devices.
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

    def _store(self, vectors: dict[str, NDArray[np.float32]]) -> None:
        self._cache.update(vectors)
        if self._db:
            with self._db:
                self._db.execute("INSERT OR IGNORE INTO encoders VALUES (?)", [self.fingerprint])
                rows = ((text, vector.tobytes()) for text, vector in vectors.items())
                self._db.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)

    def forget(self) -> None:
        """Drop the vectors that are in memory; those in the file of the cache are read again when needed."""
        self.__dict__.pop("_cache", None)

    def close(self) -> None:
        """Close the file of the cache; it is opened again when it is needed."""
        if db := self.__dict__.pop("_db", None):
            db.close()

    @cached_property
    def _db(self) -> sqlite3.Connection | None:
        if not self._file:
            return None
        db = sqlite3.connect(self._file, check_same_thread=False)
        db.execute("PRAGMA journal_mode=WAL")
        with db:
            db.execute("CREATE TABLE IF NOT EXISTS encoders (fingerprint TEXT PRIMARY KEY)")
            db.execute("CREATE TABLE IF NOT EXISTS vectors (text TEXT PRIMARY KEY, vector BLOB)")
        for file in self._earlier:
            self._take_over(db, file)
        return db

    def _take_over(self, db: sqlite3.Connection, file: Path) -> None:
        """Copy the vectors of another cache, if this encoder alone has written it."""
        if not file.exists():
            return
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as other:
            if not other.execute("SELECT 1 FROM sqlite_master WHERE name = 'encoders'").fetchone():
                return  # an earlier version wrote it, without a fingerprint
            if other.execute("SELECT fingerprint FROM encoders").fetchall() != [(self.fingerprint,)]:
                return
            with db:
                db.execute("INSERT OR IGNORE INTO encoders VALUES (?)", [self.fingerprint])
                rows = other.execute("SELECT text, vector FROM vectors")
                db.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)

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
        """Check that the encoder pools by the mean, as saved head students do.

        Raises:
            InputError: the encoder pools in another way.
        """
        if self._mean_pooled is None:
            raise InputError(
                "student mode `head` needs a mean-pooled sentence-transformers model as its base,"
                f" and {self.name!r} is not one; use `minilm` or another such model, or mode `full`"
            )

    @cached_property
    def _mean_pooled(self) -> tuple[Any, Any] | None:
        from transformers import AutoModel, AutoTokenizer

        if not _is_mean_pooled(locate(self.name)):
            return None
        model = load_model(AutoModel, self.name).eval().to(device(self._device))
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


class GivenEncoder:
    """Encode texts by an object of the user, whose `encode(list of str)` returns one vector per text. The
    vectors are scaled to length 1, and each text is encoded once.
    """

    def __init__(self, model: Any):
        self.model, self._cache = model, dict[str, NDArray[np.float32]]()

    @cached_property
    def fingerprint(self) -> str:
        """Return an identifier made of the class and of the vectors of two short texts."""
        import hashlib

        probe = self.encode(["a", "two words"]).round(2) + 0.0  # no -0.0
        return f"{type(self.model).__name__}-{hashlib.sha256(probe.tobytes()).hexdigest()[:8]}"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return vectors of shape (len(texts), dimensions), float32, each of length 1.

        Raises:
            InputError: the object returns something else than one finite vector per text.
        """
        new = list(dict.fromkeys(text for text in texts if text not in self._cache))
        if new:
            self._cache.update(zip(new, self._encoded(new), strict=True))
        if not texts:
            return self._encoded(["a"])[:0]
        return np.stack([self._cache[text] for text in texts])

    def close(self) -> None:
        """Do nothing: the object is the user's."""

    def _encoded(self, texts: list[str]) -> NDArray[np.float32]:
        vectors = np.asarray(self.model.encode(texts), np.float32)
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            raise InputError(
                f"the encoder {type(self.model).__name__} returned an array of shape {vectors.shape} for"
                f" {len(texts)} texts; expected one vector of finite numbers per text"
            )
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12), np.float32)


class PairEncoder:
    """Encode pairs, each joined into one string, as the concatenated vectors of their two texts.

    The cosine of two pairs is the mean of the cosines of their texts. If a pair were encoded as one text, two
    hypotheses on the same long premise would look like near-duplicates (ours).
    """

    def __init__(self, encoder: Vectors, fields: Fields):
        self.encoder, self.fields = encoder, fields

    @property
    def fingerprint(self) -> str:
        """Return the fingerprint of the text encoder, marked as that of pairs."""
        return f"pairs of {self.encoder.fingerprint}"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return vectors of shape (len(texts), 2 · dimensions), float32, each of length 1."""
        sides = [self.encoder.encode(column) for column in columns(texts, self.fields)]
        return np.concatenate(sides, axis=1) * np.float32(2**-0.5)


def _is_mean_pooled(name: str) -> bool:
    """Return whether a sentence-transformers model is Transformer + mean pooling (+ normalisation)."""
    import json

    from transformers.utils import cached_file

    def read(file: str) -> Any:
        quiet = {f"_raise_exceptions_for_{what}": False for what in _ABSENT}
        try:
            path = cached_file(name, file, **quiet)
        except OSError:  # neither a folder nor a hub name: loading the model raises the error
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
