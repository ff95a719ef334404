"""What LViT is told: the sentence about a picture, by rule, and the vectors that it becomes.

The released code of LViT takes its vectors from BERT (Devlin et al., NAACL 2019); so does `bert`, from pinned weights
that are downloaded at first use. `words` needs no download: each word has a fixed, seeded vector of unit variance. The
sentences come from ten, so what is lost is small: BERT's notion that "left" and "upper left" are alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

from study.rivals.beside_cpu_torch import ensure_torchvision

TOKENS, EMBEDDING = 10, 768
CONTRAST = 1.25  # a region is "denser" from this many times the picture's density
ROWS, COLUMNS = ("upper ", "", "lower "), ("left", "", "right")
EVEN, NONE = "nuclei evenly distributed in the picture", "there are no nuclei in the picture"
BERT, REVISION = "google-bert/bert-base-uncased", "86b5e0934494bd15c9632b12f734a8a67f723594"
Encoder = Literal["words", "bert"]


def sentence(mask: np.ndarray) -> str:
    """The rule. mask: (H, W) bool, nucleus pixels. The densest of 3 × 3 equal regions is named if it stands out.

    It stands out when its share of nucleus pixels is at least `CONTRAST` times that of the whole picture.
    """
    if not mask.any():
        return NONE
    bands = [np.array_split(np.arange(n), 3) for n in mask.shape]
    density = np.array([[mask[np.ix_(rows, columns)].mean() for columns in bands[1]] for rows in bands[0]])
    if density.max() < CONTRAST * mask.mean():
        return EVEN
    row, column = divmod(int(density.argmax()), 3)
    return f"nuclei denser in the {(ROWS[row] + COLUMNS[column]).strip() or 'central'} part of the picture"


def embed(text: str, encoder: Encoder = "words") -> torch.Tensor:
    """(10, 768) float32: a vector per word, zeros after the last.

    Raises ValueError for an empty text and for one of more than ten words, ImportError and OSError where BERT's package
    or weights are missing.
    """
    found = text.lower().split()
    if not found:
        raise ValueError("text is empty, expected a sentence about the picture's nuclei; `sentence` makes one")
    if len(found) > TOKENS:
        raise ValueError(f"text {text!r} has {len(found)} tokens, expected at most {TOKENS}; shorten it")
    return F.pad(ENCODERS[encoder](tuple(found)), (0, 0, 0, TOKENS - len(found)))


def seeded(words: tuple[str, ...]) -> torch.Tensor:
    """(words, 768): a fixed normal vector per word, drawn from the word's sha256."""
    seeds = [int.from_bytes(hashlib.sha256(word.encode()).digest()[:8]) for word in words]
    return torch.from_numpy(np.stack([np.random.default_rng(s).standard_normal(EMBEDDING, np.float32) for s in seeds]))


@cache
def contextual(words: tuple[str, ...]) -> torch.Tensor:
    """(words, 768): BERT's last layer, a word in several pieces by their mean, without the marks of start and end."""
    tokenizer, model = pretrained()
    pieces = tokenizer(list(words), is_split_into_words=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**pieces).last_hidden_state[0]
    owner = pieces.word_ids()
    return torch.stack([hidden[[o == index for o in owner]].mean(0) for index in range(len(words))])


@cache
def pretrained() -> tuple[Any, Any]:
    """BERT's tokenizer and network at `REVISION`, from the local cache or, at first use, from Hugging Face."""
    ensure_torchvision()
    try:
        from transformers import AutoModel, AutoTokenizer
    except ImportError as error:
        raise ImportError(
            "text encoder 'bert' of LViT needs the package transformers: pip install -c constraints.txt -e '.[bert]'; "
            "or set the model's encoder to 'words'"
        ) from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(BERT, revision=REVISION)
        model = AutoModel.from_pretrained(BERT, revision=REVISION, use_safetensors=True)
    except OSError as error:
        raise OSError(
            f"{BERT} at revision {REVISION}: neither in the local cache nor to be downloaded. Where there is a "
            f"network, `hf download {BERT} --revision {REVISION}` fetches it; without one, set the model's encoder to "
            "'words'"
        ) from error
    return tokenizer, model.eval()


ENCODERS: dict[Encoder, Callable[[tuple[str, ...]], torch.Tensor]] = {"words": seeded, "bert": contextual}
