"""MoCo v2's ResNet-50: a convolutional baseline of semantic coherence, from the official checkpoint."""

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import resnet50

from pacl_bench.encoders.base import Preprocess, Tokens, VisionEncoder, frozen, resolve_block
from pacl_bench.encoders.request import EncoderRequest
from pacl_bench.encoders.weights_files import find_weights, load_strictly, missing_weights, read_state_dict
from pacl_bench.errors import UsageError

IMAGE_SIZE = 224
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
QUERY_ENCODER = "encoder_q."  # the checkpoint may hold the momentum encoder and the queue beside it


class ResNetEncoder(VisionEncoder):
    """The feature map of one of a ResNet-50's four stages: a token is the vector at one place of the map.

    Stage 3 (the last and the default) has stride 32, which is called its patch size, and width 2048; stage 2 has 16 and
    1024. There is no CLS token, and a convolution's stride cannot be made smaller as a ViT's can.
    """

    blocks_share_a_pass = False
    any_stride = False

    def __init__(self, name: str, resnet: nn.Module, size: int | None = None, block: int | None = None):
        super().__init__()
        self.name = self.spec = name
        self.num_blocks = 4
        self.block = resolve_block(block, self.num_blocks, name)
        self.tap = "pre-norm"
        self.patch_size, self.width = 4 << self.block, 256 << self.block
        layers = dict(resnet.named_children())
        stem = [layers[part] for part in ("conv1", "bn1", "relu", "maxpool")]
        self.stages = frozen(nn.Sequential(*stem, *[layers[f"layer{stage + 1}"] for stage in range(self.block + 1)]))
        self.image_size = size or IMAGE_SIZE
        self.preprocess = Preprocess(self.image_size, self.patch_size, IMAGENET_MEAN, IMAGENET_STD, "bilinear")

    def encode_blocks(
        self, images: Float[Tensor, "image 3 height width_px"], stride: int, grid: tuple[int, int], blocks: list[int]
    ) -> list[Tokens]:
        if set(blocks) != {self.block}:
            raise UsageError(f"{self.name}: each of its stages has a grid of its own. Name one: ?block=0 to ?block=3.")
        return super().encode_blocks(images, stride, grid, blocks)

    def encode(self, images: Float[Tensor, "image 3 height width_px"], stride: int, grid: tuple[int, int]) -> Tokens:
        return None, self.stages(images).flatten(2).mT


def load_mocov2(request: EncoderRequest) -> ResNetEncoder:
    """MoCo v2's ResNet-50 with the weights of a file or of PACL_WEIGHTS: moco_v2_800ep_pretrain.pth.tar, for example.

    Source: He et al., CVPR 2020, and Chen et al., arXiv 2003.04297; facebookresearch/moco.
    """
    name, options = request.weights_name, request.vision_options
    weights = find_weights(name, request.spec.file)
    if weights is None:
        raise missing_weights(name, "the official checkpoint is linked at https://github.com/facebookresearch/moco")
    state = {
        key.removeprefix(QUERY_ENCODER): value
        for key, value in read_state_dict(weights).items()
        if key.startswith(QUERY_ENCODER) and not key.startswith(f"{QUERY_ENCODER}fc.")  # its head served the pretext
    }
    if not state:
        raise UsageError(f"{weights} holds no {QUERY_ENCODER}* weights, so it is no checkpoint of MoCo's own code.")
    resnet = resnet50(weights=None)
    resnet.fc = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    load_strictly(resnet, state, weights)
    return ResNetEncoder(name, resnet, options.size, options.block)
