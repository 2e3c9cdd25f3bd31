"""Names, files and options that are wrong get one line that says the way out."""

from pathlib import Path

import pytest

from pacl_bench import load_encoder, load_text_encoder
from pacl_bench.encoders import load_every_block
from pacl_bench.encoders.spec import parse_spec
from pacl_bench.encoders.table import ENCODERS
from pacl_bench.errors import UsageError


@pytest.mark.parametrize(
    ("text", "name", "library", "model", "file", "options"),
    [
        ("clip-b16", "clip-b16", "", "clip-b16", None, {}),
        ("clip-b16@w.pt?tap=post-norm", "clip-b16@w.pt?tap=post-norm", "", "clip-b16", "w.pt", {"tap": "post-norm"}),
        ("mine=timm:vit@a/b=c.pt?block=3&size=64", "mine", "timm", "vit", "a/b=c.pt", {"block": "3", "size": "64"}),
        ("open_clip:ViT-B-16/laion2b", "open_clip:ViT-B-16/laion2b", "open_clip", "ViT-B-16/laion2b", None, {}),
        ("transformers:/a/b", "transformers:/a/b", "transformers", "/a/b", None, {}),
    ],
)
def test_specs(text: str, name: str, library: str, model: str, file: str | None, options: dict) -> None:
    spec = parse_spec(text)
    assert (spec.name, spec.library, spec.model, spec.options) == (name, library, model, options)
    assert spec.file == (Path(file) if file else None)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("clip-b61", "Unknown encoder 'clip-b61'. Did you mean 'clip-b16'?"),
        ("CLIP-B16", "Did you mean 'clip-b16'?"),
        ("nonsense-of-a-name", "Unknown encoder 'nonsense-of-a-name'. Known: clip-b32"),
        ("timn:vit_base_patch16_224", "Unknown encoder library 'timn'. Did you mean 'timm'?"),
        ("timm:vit_bas_patch16_224", "Unknown timm model 'vit_bas_patch16_224'. Did you mean 'vit_base_patch16_224'?"),
        ("timm:resnet18", "no vision transformer"),
        ("open_clip:ViT-B-61/openai", "Unknown open_clip architecture 'ViT-B-61'. Did you mean 'ViT-B-16'?"),
        ("open_clip:ViT-B-16/opnai", "Unknown pretrained tag of ViT-B-16 'opnai'. Did you mean 'openai'?"),
        ("open_clip:ViT-B-16", "Give open_clip:ViT-B-16/TAG or open_clip:ViT-B-16@FILE"),
        ("open_clip:hf-hub:laion/CLIP-B", "name the architecture in place of hf-hub:laion: open_clip:ARCH/TAG or"),
        ("clip-b16@/nowhere/w.pt", "the weights file /nowhere/w.pt does not exist"),
        ("clip-b16?blok=3", "Unknown option 'blok'. Did you mean 'block'?"),
        ("clip-b16?block=three", "block=three must be a whole number"),
        ("tiny-clip?size=0", "tiny-clip?size=0: size=0 must be 1 to 10000 pixels"),
        ("clip-b16?size=-32", "size=-32 must be 1 to 10000 pixels"),
        ("clip-b16?size=100000", "size=100000 must be 1 to 10000 pixels"),
        ("tiny-clip?", "'tiny-clip?': options are written ?name=value&name=value."),
        ("tiny-clip?size=", "'tiny-clip?size=': options are written ?name=value&name=value."),
        ("tiny-clip?block=1&", "options are written ?name=value&name=value."),
        ("tiny-clip?block=1&block=2", "'tiny-clip?block=1&block=2': block is given twice."),
        ("tiny-clip@", "'tiny-clip@': a file is wanted behind @."),
        ("tiny-clip@?block=1", "a file is wanted behind @."),
        ("clip-b16?tap=postnorm", "tap=postnorm must be one of pre-norm, post-norm"),
        ("transformers:bert-base-uncased", "Name a local folder: transformers:FOLDER"),
        ("dino.txt", "Did you mean 'dinotxt-l16'?"),
        ("", "names no encoder"),
    ],
)
def test_wrong_vision_encoders(name: str, line: str) -> None:
    with pytest.raises(UsageError) as error:
        load_encoder(name)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("dino-b16", "has no text encoder"),
        ("transformers:/nowhere/at/all", "the folder /nowhere/at/all does not exist"),
        ("transformers:some/model?pool=max", "pool=max must be one of mean, cls"),
    ],
)
def test_wrong_text_encoders(name: str, line: str) -> None:
    with pytest.raises(UsageError) as error:
        load_text_encoder(name)
    assert line in str(error.value)


@pytest.mark.parametrize("name", ["clip-b16", "dino-b16"])
def test_missing_weights_say_where_they_were_looked_for(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("PACL_WEIGHTS", str(tmp_path))
    with pytest.raises(UsageError) as error:
        load_encoder(name)
    assert f"{tmp_path}/{name}{{.safetensors,.pt,.pth,.bin,.pth.tar}}" in str(error.value)
    assert f"{name}@FILE" in str(error.value)


def test_every_entry_names_a_real_model() -> None:
    import open_clip
    import timm

    for name, entry in ENCODERS.items():
        if entry.library == "timm":
            assert timm.is_model_pretrained(entry.model), name
        elif entry.library == "open_clip":
            assert entry.tag in open_clip.list_pretrained_tags_by_model(entry.model), name


def test_what_has_no_blocks_stands_for_itself_in_a_sweep() -> None:
    assert [encoder.name for encoder in load_every_block("pixels?block=all")] == ["pixels"]


def test_a_changed_attention_has_no_other_blocks() -> None:
    with pytest.raises(UsageError, match="attention=sclip changes the last block alone; leave out block=all"):
        load_every_block("tiny-clip?attention=sclip&block=all")
