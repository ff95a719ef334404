"""The sentence that LViT is told, and its vectors; BERT's with an untrained one of its own architecture."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from study.rivals import lvit_text
from study.rivals.lvit_text import CONTRAST, EVEN, NONE, embed, sentence

MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def picture(*pixels: tuple[int, int], side: int = 9) -> np.ndarray:
    mask = np.zeros((side, side), bool)
    for row, column in pixels:
        mask[row, column] = True
    return mask


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (picture((1, 7)), "nuclei denser in the upper right part of the picture"),
        (picture((7, 4)), "nuclei denser in the lower part of the picture"),
        (picture((4, 4)), "nuclei denser in the central part of the picture"),
        (picture((4, 0), (4, 1), (1, 7)), "nuclei denser in the left part of the picture"),
        (picture(*((r, c) for r in (1, 4, 7) for c in (1, 4, 7))), EVEN),
        (picture(), NONE),
    ],
)
def test_the_sentence_names_the_densest_ninth(mask: np.ndarray, expected: str) -> None:
    assert sentence(mask) == expected
    assert len(expected.split()) <= 10


def test_a_region_stands_out_from_the_contrast_on() -> None:
    """Eight ninths with 49 pixels and one with k: it stands out from 9k / (392 + k) = 1.25, k = 63.2, on."""
    mask = np.zeros((30, 30), bool)
    for row in range(3):
        for column in range(3):
            mask[10 * row : 10 * row + 7, 10 * column : 10 * column + 7] = True
    mask[20:28, 0:8] = True  # 64 / ((8 · 49 + 64) / 9) = 1.263
    assert CONTRAST == 1.25
    assert sentence(mask) == "nuclei denser in the lower left part of the picture"
    mask[27, 0:8] = False  # 56: 1.125
    assert sentence(mask) == EVEN


def test_the_text_is_embedded_by_token_and_place() -> None:
    text = embed("Nuclei denser nuclei")
    assert text.shape == (10, 768)
    assert torch.equal(text[0], text[2])
    assert not torch.equal(text[0], text[1])
    assert torch.equal(text[:2], embed("nuclei denser")[:2])
    assert not text[3:].any()
    assert abs(float(text[:2].std()) - 1) < 0.1
    np.testing.assert_allclose(text[0, :2].numpy(), (-0.178211, 0.904279), atol=1e-6)  # pinned: the same for every run


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_text_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="text is empty, expected a sentence"):
        embed(text)


def test_a_text_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="11 tokens, expected at most 10"):
        embed("a " * 11)


@pytest.fixture
def bert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One layer with random weights and a vocabulary in which "denser" has two pieces, where BERT would be."""
    lvit_text.ensure_torchvision()
    transformers = pytest.importorskip("transformers")
    vocabulary = [*MARKS, "nuclei", "dens", "##er", "in", "the", "upper", "left", "part", "of", "picture"]
    tokenizer = transformers.BertTokenizer(vocab={piece: number for number, piece in enumerate(vocabulary)})
    tokenizer.save_pretrained(tmp_path)
    size = {"hidden_size": 768, "num_hidden_layers": 1, "num_attention_heads": 12, "intermediate_size": 8}
    network = transformers.BertModel(transformers.BertConfig(vocab_size=len(vocabulary), **size))
    network.save_pretrained(tmp_path)
    monkeypatch.setattr(lvit_text, "BERT", str(tmp_path))
    forget()
    yield
    forget()


def forget() -> None:
    lvit_text.pretrained.cache_clear()
    lvit_text.contextual.cache_clear()


@pytest.mark.usefixtures("bert")
def test_bert_gives_a_word_the_mean_of_its_pieces_in_context() -> None:
    text = embed("Nuclei denser in", "bert")
    assert text.shape == (10, 768)
    assert not text[3:].any()
    tokenizer, network = lvit_text.pretrained()
    pieces = tokenizer.convert_tokens_to_ids(["[CLS]", "nuclei", "dens", "##er", "in", "[SEP]"])
    with torch.no_grad():
        hidden = network(torch.tensor([pieces])).last_hidden_state[0]
    torch.testing.assert_close(text[:3], torch.stack([hidden[1], hidden[2:4].mean(0), hidden[4]]))
    assert not torch.equal(text[0], embed("nuclei in", "bert")[0])  # another context


def test_without_its_package_bert_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    forget()
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"needs the package transformers: pip install .* encoder to 'words'"):
        embed("nuclei", "bert")


def test_without_its_weights_bert_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    forget()
    monkeypatch.setattr(lvit_text, "BERT", str(tmp_path / "absent"))
    with pytest.raises(OSError, match=r"neither in the local cache nor .*hf download .*encoder to 'words'"):
        embed("nuclei", "bert")
