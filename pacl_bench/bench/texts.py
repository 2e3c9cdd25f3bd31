"""What embedding texts costs: each batch at the length of its longest text, beside all of the tower's 77 tokens."""

import copy
import time
from dataclasses import dataclass

import open_clip

from pacl_bench.data.captions import noun_prompts
from pacl_bench.data.pair_readers import Pairs
from pacl_bench.data.pairs import load_pairs
from pacl_bench.data.vocabulary import load_templates, shipped_folder_names
from pacl_bench.encoders.open_clip_text import OpenClipTextEncoder
from pacl_bench.encoders.open_clip_weights import untrained_clip
from pacl_bench.errors import UsageError
from pacl_bench.progress import track

ARCHITECTURE = "ViT-B-16"
CAPTIONS = 795  # as many as the training set that was measured first


@dataclass(frozen=True)
class TextCost:
    """What the texts of a case take, from a sample of them."""

    case: str
    texts: int
    tokens: float  # of a text, the mean
    seconds: float  # for all texts of the case
    seconds_at_full_length: float
    share: float  # of the time at full length


def text_costs(pairs: str, sample: int, architecture: str = ARCHITECTURE) -> list[TextCost]:
    """For the text tower of a CLIP with random weights, both ways in one run.

    Args:
        pairs: training pairs whose first captions, and the noun prompts made of them, are the first case. The second
            is ImageNet's classes in OpenAI's 80 templates.
        sample: texts of each case that are embedded, evenly spread over it. The times are multiplied up.
        architecture: of the CLIP, as open_clip names it.
    """
    encoder = OpenClipTextEncoder(architecture, untrained_clip(architecture), open_clip.get_tokenizer(architecture))
    cases = {
        f"{CAPTIONS} captions of {pairs} and their noun prompts": _captions_and_prompts(pairs),
        "ImageNet's 1,000 classes in 80 templates": _class_prompts(),
    }
    return [_cost(case, texts, encoder, sample) for case, texts in track(cases.items(), "measuring")]


def _cost(case: str, texts: list[str], encoder: OpenClipTextEncoder, sample: int) -> TextCost:
    chosen = texts[:: max(1, len(texts) // sample)]
    whole = copy.copy(encoder)
    whole.causal = None  # as for a tower that sees its padding
    seconds, at_full_length = (len(texts) / len(chosen) * _seconds(one, chosen) for one in (encoder, whole))
    tokens = sum(encoder.lengths(chosen)) / len(chosen)
    return TextCost(case, len(texts), tokens, seconds, at_full_length, seconds / at_full_length)


def _seconds(encoder: OpenClipTextEncoder, texts: list[str]) -> float:
    encoder(texts[: encoder.BATCH], show_progress=False)  # a first time that does not count
    started = time.perf_counter()
    encoder(texts, show_progress=False)
    return time.perf_counter() - started


def _captions_and_prompts(name: str) -> list[str]:
    sets = load_pairs(name)
    captions = [
        caption for pairs in sets if isinstance(pairs, Pairs) for of_image in pairs.captions for caption in of_image
    ]
    if len(captions) < 2:
        raise UsageError(f"--pairs {name}: captions that are in memory are wanted, so no shards.")
    first = captions[:CAPTIONS]
    return list(dict.fromkeys([*first, *(prompt for caption in first for prompt in noun_prompts(caption))]))


def _class_prompts() -> list[str]:
    templates = load_templates("openai80")
    names = shipped_folder_names("imagenet").values()
    return [template.replace("{}", name) for name in names for template in templates]
