"""Text encoders of the transformers library, from a folder saved by the library itself."""

import json
from pathlib import Path
from shutil import copytree

import pytest
import torch

from pacl_bench import load_text_encoder
from pacl_bench.encoders.transformers import mean_over_tokens
from pacl_bench.errors import UsageError

transformers = pytest.importorskip("transformers")

SIZE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of width 16 with a word-piece vocabulary of its own."""
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "photo", "of", "cat", "dog", "##s", "."]
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=len(words), max_position_embeddings=12, **SIZE)
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def test_padding_does_not_count(folder: Path) -> None:
    encoder = load_text_encoder(f"transformers:{folder}")
    texts = ["a cat", "a photo of a dog .", "dogs"]
    together, alone = encoder(texts), torch.cat([encoder([text]) for text in texts])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(together.norm(dim=-1), torch.ones(3))
    assert encoder.dim == 16


def test_pooling_is_chosen_by_name(folder: Path) -> None:
    mean, cls = (load_text_encoder(f"transformers:{folder}?pool={pool}")(["a cat"]) for pool in ("mean", "cls"))
    assert not torch.allclose(mean, cls)


def test_a_text_longer_than_the_model_is_cut(folder: Path) -> None:
    encoder = load_text_encoder(f"transformers:{folder}")
    assert bool(encoder(["a photo of a cat " * 20]).isfinite().all())


@pytest.mark.parametrize("kind", ["Roberta", "MPNet"])
def test_models_that_count_positions_behind_the_padding_are_cut_earlier(
    kind: str, folder: Path, tmp_path: Path
) -> None:
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=20, max_position_embeddings=14, pad_token_id=1, bos_token_id=0, eos_token_id=2, **SIZE
    )
    getattr(transformers, f"{kind}Model")(config).save_pretrained(tmp_path)
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(tmp_path)
    encoder = load_text_encoder(f"transformers:{tmp_path}")
    assert encoder.settings["max_length"] == 12
    assert bool(encoder(["a photo of a cat " * 20]).isfinite().all())


def test_code_of_a_folder_is_neither_run_nor_asked_for(folder: Path, tmp_path: Path, capsys) -> None:
    model = copytree(folder, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    config |= {"model_type": "theirs", "auto_map": {"AutoConfig": "theirs.C", "AutoModel": "theirs.M"}}
    (model / "config.json").write_text(json.dumps(config))
    (model / "theirs.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(UsageError, match=r"needs code of its own|holds no tokenizer") as refused:
        load_text_encoder(f"transformers:{model}")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "ran").exists()
    assert "[y/N]" not in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "MPNet"])
def test_a_tokenizer_without_its_words_is_refused(kind: str, tmp_path: Path) -> None:
    config = getattr(transformers, f"{kind}Config")(vocab_size=20, **SIZE)
    getattr(transformers, f"{kind}Model")(config).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=r"its tokenizer has no words|holds no tokenizer that"):
        load_text_encoder(f"transformers:{tmp_path}")


def test_mean_over_tokens() -> None:
    states = torch.tensor([[[1.0], [3.0], [99.0]]])
    assert mean_over_tokens(states, torch.tensor([[1, 1, 0]])).item() == 2.0


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no tokenizer"):
        load_text_encoder(f"transformers:{tmp_path}")
