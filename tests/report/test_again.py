"""The command that measures a record again."""

from report_samples import classify, coherence, head, of_block, segment

from pacl_bench.records import Record
from pacl_bench.report.again import measure_again
from pacl_bench.report.runs import Run


def again(made: Record) -> str:
    return measure_again(Run(made)).removesuffix(" --rerun always")


def test_a_head_is_named_by_its_folder_and_settings_by_their_options():
    made = segment("pacl", 0.2, head=head(), variant="stride=4,thresholds=0.1+0.3", study="mine")
    made.config["settings"] |= {"stride": 4, "thresholds": [0.1, 0.3]}
    assert again(made) == (
        "pacl-bench segment --heads heads/pacl --stride 4 --thresholds 0.1,0.3 --study mine --datasets voc20"
    )


def test_a_switch_stands_without_a_value():
    made = coherence("clip-b16", 0.7, encoder="clip-b16", variant="keep_background=True")
    made.config["settings"]["keep_background"] = True
    assert again(made) == "pacl-bench coherence --encoders clip-b16 --keep-background --datasets voc20"


def test_an_encoder_without_a_short_name_says_its_library():
    made = classify("mine", 0.4, encoder="mine")
    made.config["model"]["encoder"] |= {"architecture": "timm:vit_small", "block": 10}
    assert again(made) == "pacl-bench classify --encoders 'mine=timm:vit_small@FILE?block=10' --datasets cifar10"


def test_a_block_is_measured_with_all_of_its_encoder():
    made = of_block("clip-b16", 3, 0.6)
    assert again(made) == "pacl-bench coherence --encoders 'clip-b16?block=all' --datasets voc20"


def test_predictions_made_elsewhere_are_scored_again():
    made = segment("LSeg", 0.5, encoder=None, text=None)
    made.config["model"] = {"encoder": None, "predictions": {"name": "LSeg"}}
    assert again(made) == "pacl-bench segment --predictions FOLDER --name LSeg --datasets voc20"


def test_names_are_quoted_for_the_shell():
    assert again(segment("m", 0.2, head=head(), dataset="my photos")).endswith("--datasets 'my photos'")
