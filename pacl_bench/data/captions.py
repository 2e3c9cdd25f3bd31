"""Prompts made from captions: each noun of a caption in one of the paper's seven templates."""

import re
from functools import cache, lru_cache
from typing import Any

from pacl_bench.data.vocabulary import load_templates

# nouns that name no thing one could see
EMPTY_NOUNS = frozenset(
    [
        "photo",
        "picture",
        "image",
        "view",
        "background",
        "front",
        "side",
        "top",
        "bottom",
        "middle",
        "group",
        "couple",
        "lot",
    ]
)


@lru_cache(maxsize=100_000)  # each of many loading workers keeps its own
def nouns(caption: str) -> list[str]:
    """The common nouns of a caption, each once, in the singular, in order: "Two dogs on a sofa" -> dog, sofa."""
    words = re.findall(r"[A-Za-z]+(?:'[a-z]+)?", caption)
    # lower case: captions often capitalise what is no name, and a tagger would take it for one
    tagged: Any = _tagger().tag_sent([word.lower() for word in words])
    found = [lemma.lower() for _, lemma, tag in tagged if tag in ("NN0", "NN1", "NN2")]
    return [noun for noun in dict.fromkeys(found) if len(noun) > 2 and noun not in EMPTY_NOUNS]


def noun_prompts(caption: str) -> list[str]:
    """Every noun of the caption in every template of `paper7`."""
    return [template.replace("{}", noun) for noun in nouns(caption) for template in load_templates("paper7")]


@cache
def _tagger():
    # The model is a pickle inside the HanTa package itself: code we install, not data that somebody hands us.
    from HanTa.HanoverTagger import HanoverTagger

    return HanoverTagger("morphmodel_en.pgz")
