import torch

from pacl_bench import VisionEmbedder


def test_parameter_count_is_the_papers() -> None:
    assert sum(weight.numel() for weight in VisionEmbedder(768, 512).parameters()) == 1_050_112


def test_it_is_two_layers_beside_a_skip() -> None:
    embedder = VisionEmbedder(6, 4)
    tokens = torch.randn(2, 5, 6)
    hidden = torch.relu(tokens @ embedder.hidden.weight.T + embedder.hidden.bias)
    expected = hidden @ embedder.out.weight.T + embedder.out.bias + tokens @ embedder.skip.weight.T + embedder.skip.bias
    torch.testing.assert_close(embedder(tokens), expected)
