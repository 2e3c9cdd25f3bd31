"""Makes the two tiny encoders from scratch in the built-in world: a plain CLIP and a plain DINO, both at image level.

No patch is ever labelled and no loss looks at a patch: what the studies find in the patch tokens is found, not put in.
"""

import copy
import io
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from open_clip.model import CLIP
from torch import Tensor, nn
from torch.nn import functional

from pacl_bench.errors import RunError
from pacl_bench.files import append_lines, write_bytes, write_text
from pacl_bench.world import (
    PRETRAINING_STREAM,
    WORLD_CLASSIFICATION,
    CaptionSpec,
    Image,
    Scene,
    WorldClassification,
    WorldSpec,
    render_scene,
)
from pacl_bench.world.encoders import (
    PIXEL_MEAN,
    PIXEL_STD,
    TINY_CLIP,
    TINY_DINO,
    WIDTH,
    WorldTokenizer,
    build_tiny_clip,
    build_tiny_dino,
    save_weights,
)

# Half of what tiny-clip sees has one or two things, large and near, as most photographs do; half is crowded.
NEAR = WorldSpec(things=(1, 2), radius=(14, 26), captions=CaptionSpec(colour=50))
CROWDED = WorldSpec()
ALONE = WorldSpec(things=(1, 1), radius=(18, 30))  # self-distillation needs crops that show the same, as ImageNet's do
CHECKPOINT_EVERY = 250  # steps
LOG_EVERY = 50  # steps

Pixels = Float[Tensor, "image 3 height width_px"]


@dataclass(frozen=True)
class ClipRecipe:
    """What makes tiny-clip."""

    steps: int = 3000
    batch_size: int = 128
    lr: float = 3e-3
    patch_dropout: float = 0.5  # of the patches, left out of a step (FLIP): twice the steps in the same time ...
    whole_share: float = 0.15  # ... but none in this last part of the steps
    largest_scale: float = 100.0  # of the logits, as CLIP


@dataclass(frozen=True)
class DinoRecipe:
    """What makes tiny-dino. Crops are cut and not resized: textures have a scale."""

    steps: int = 1500
    batch_size: int = 64
    lr: float = 2e-3
    prototypes: int = 128
    large_crop: int = 40  # pixels, two of them
    small_crop: int = 24  # pixels
    small_crops: int = 2
    teacher_temperature: float = 0.03
    student_temperature: float = 0.1
    teacher_momentum: tuple[float, float] = (0.95, 0.995)  # at the beginning, at the end


def pretrain_tiny_clip(
    out: Path, weights: Path = TINY_CLIP, recipe: ClipRecipe | None = None, seed: int = 0, resume: bool = False
) -> dict[str, float]:
    """Image-caption InfoNCE on the CLS token. Writes `weights`, and log and checkpoints to `out`; returns figures.

    Args:
        resume: go on from the last checkpoint in `out`; the weights become those of an uninterrupted run.
    """
    recipe = recipe or ClipRecipe()
    torch.manual_seed(seed)
    clip = build_tiny_clip(recipe.patch_dropout)
    widen_start(clip.visual)
    tokenize = WorldTokenizer()
    run = Run(out / "tiny-clip", {"encoder": "tiny-clip", "seed": seed, **asdict(recipe)})
    optimizers = make_optimizers(clip, recipe.lr)
    started = run.restore(resume, clip, *optimizers)

    for step in range(started, recipe.steps):
        torch.manual_seed(seed * 1_000_003 + step)  # a resumed run draws what the uninterrupted one drew
        set_rate(optimizers, step, recipe.steps)
        if step >= recipe.steps * (1 - recipe.whole_share):
            clip.visual.patch_dropout = nn.Identity()
        scenes = draw_scenes(step, recipe.batch_size, seed, (CROWDED, NEAR))
        captions = [scene.captions[0] for scene in scenes]
        image_embeddings, text_embeddings, scale = clip(
            to_pixels([scene.image for scene in scenes]), tokenize(captions)
        )
        logits = scale * image_embeddings @ text_embeddings.T
        pair = torch.arange(len(scenes))
        loss = (functional.cross_entropy(logits, pair) + functional.cross_entropy(logits.T, pair)) / 2
        take_step(loss, clip, optimizers)
        clip.logit_scale.data.clamp_(0, np.log(recipe.largest_scale))
        run.after_step(step, loss.item(), clip, *optimizers)

    clip.visual.patch_dropout = nn.Identity()
    save_weights(clip, weights)
    figures = {name: zero_shot_top1(clip, world_set) for name, world_set in WORLD_CLASSIFICATION.items()}
    run.finish(figures)
    return figures


def pretrain_tiny_dino(
    out: Path, weights: Path = TINY_DINO, recipe: DinoRecipe | None = None, seed: int = 0, resume: bool = False
) -> dict[str, float]:
    """Self-distillation without labels: the student's view of a crop must match the teacher's of another crop.

    Args: as `pretrain_tiny_clip`.
    """
    recipe = recipe or DinoRecipe()
    torch.manual_seed(seed)
    student = Distilled(recipe.prototypes)
    teacher = copy.deepcopy(student).requires_grad_(False)
    run = Run(out / "tiny-dino", {"encoder": "tiny-dino", "seed": seed, **asdict(recipe)})
    optimizers = make_optimizers(student, recipe.lr)
    started = run.restore(resume, student, teacher, *optimizers)

    for step in range(started, recipe.steps):
        torch.manual_seed(seed * 1_000_003 + step)
        set_rate(optimizers, step, recipe.steps)
        images = to_pixels([scene.image for scene in draw_scenes(step, recipe.batch_size, seed, (ALONE,))])
        large = [recolour(random_crop(images, recipe.large_crop)) for _ in range(2)]
        small = [recolour(random_crop(images, recipe.small_crop)) for _ in range(recipe.small_crops)]
        with torch.no_grad():
            targets = balanced(teacher(torch.cat(large)) / recipe.teacher_temperature).chunk(2)
        answers = [*student(torch.cat(large)).chunk(2), *student(torch.cat(small)).chunk(recipe.small_crops)]
        loss = distillation_loss(targets, [answer / recipe.student_temperature for answer in answers])
        take_step(loss, student, optimizers)
        follow(teacher, student, float(np.interp(step, [0, recipe.steps], recipe.teacher_momentum)))
        run.after_step(step, loss.item(), student, teacher, *optimizers)

    save_weights(teacher.encoder, weights)
    figures = {"last_loss": run.last_loss, "loss_of_chance": float(np.log(recipe.prototypes))}
    run.finish(figures)
    return figures


# --- what is seen ---------------------------------------------------------------------------------------------------


def draw_scenes(step: int, count: int, seed: int, specs: Sequence[WorldSpec]) -> list[Scene]:
    """The scenes of one step, never seen before or after: in turn of each kind."""
    first = step * count
    return [
        render_scene((PRETRAINING_STREAM, seed, index), specs[index % len(specs)])
        for index in range(first, first + count)
    ]


def to_pixels(images: Sequence[Image]) -> Pixels:
    """As the encoders take them: scaled to the mean and spread they are shipped with."""
    mean, std = torch.tensor(PIXEL_MEAN)[:, None, None], torch.tensor(PIXEL_STD)[:, None, None]
    return (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255 - mean) / std


def random_crop(images: Pixels, size: int) -> Float[Tensor, "image 3 size size"]:
    """A square of each image, each at its own place, half of them mirrored."""
    count, side = len(images), images.shape[-1]
    rows = torch.randint(side - size + 1, (count, 1)) + torch.arange(size)
    columns = torch.randint(side - size + 1, (count, 1)) + torch.arange(size)
    columns = torch.where(torch.rand(count, 1) < 0.5, columns.flip(1), columns)
    image, channel = torch.arange(count)[:, None, None, None], torch.arange(3)[None, :, None, None]
    return images[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


def recolour(images: Pixels) -> Pixels:
    """Other colours for each image: half lose them and stand out all alike, half exchange, invert and tint them."""
    count = len(images)
    grey = images.mean(dim=1, keepdim=True)
    alike = 0.6 * (grey - grey.mean(dim=(2, 3), keepdim=True)) / (grey.std(dim=(2, 3), keepdim=True) + 0.05)
    order = torch.rand(count, 3).argsort(dim=1)[:, :, None, None]
    tinted = images.gather(1, order.expand_as(images))
    tinted = torch.where(torch.rand(count, 1, 1, 1) < 0.3, -tinted, tinted)
    tinted = tinted * (0.6 + 0.8 * torch.rand(count, 1, 1, 1)) + 0.8 * (torch.rand(count, 3, 1, 1) - 0.5)
    return torch.where(torch.rand(count, 1, 1, 1) < 0.5, alike, tinted)


# --- self-distillation ----------------------------------------------------------------------------------------------


class Distilled(nn.Module):
    """An encoder and the head in whose prototypes teacher and student compare what they see.

    The head reads the CLS token beside the mean of the patch tokens: at this size the CLS token alone had learned
    nothing after 250 steps. Its batch norms keep untrained tokens, which are all alike, from collapsing at once.
    """

    def __init__(self, prototypes: int) -> None:
        super().__init__()
        self.encoder = build_tiny_dino()
        widen_start(self.encoder)
        self.head = nn.Sequential(
            nn.Linear(2 * WIDTH, 256),
            nn.BatchNorm1d(256),
            nn.GELU(),
            nn.Linear(256, 64),
            nn.BatchNorm1d(64, affine=False),
        )
        self.prototypes = nn.Parameter(torch.randn(prototypes, 64))

    def forward(self, images: Pixels) -> Float[Tensor, "image prototype"]:
        tokens = self.encoder.forward_features(images)
        seen = self.head(torch.cat([tokens[:, 0], tokens[:, 1:].mean(dim=1)], dim=-1))
        return functional.normalize(seen, dim=-1) @ functional.normalize(self.prototypes, dim=-1).T


def balanced(scores: Float[Tensor, "image prototype"]) -> Float[Tensor, "image prototype"]:
    """Softmax whose prototypes are all used alike over the batch: Sinkhorn and Knopp's centring, as in DINOv2."""
    shares = (scores - scores.max()).exp()
    for _ in range(3):
        shares = shares / shares.sum(dim=0, keepdim=True).clamp_min(1e-12)
        shares = shares / shares.sum(dim=1, keepdim=True).clamp_min(1e-12)
    return shares


def distillation_loss(
    targets: Iterable[Float[Tensor, "image prototype"]], answers: list[Float[Tensor, "image prototype"]]
) -> Float[Tensor, ""]:
    """Mean cross entropy over all pairs of a teacher's crop and another crop of the student's."""
    terms = [
        -(target * answer.log_softmax(dim=-1)).sum(dim=-1).mean()
        for crop, target in enumerate(targets)
        for other, answer in enumerate(answers)
        if crop != other
    ]
    return torch.stack(terms).mean()


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
        slow.lerp_(fast, 1 - momentum)


# --- the optimisation both share ------------------------------------------------------------------------------------


def widen_start(vision: nn.Module) -> None:
    """Larger random weights in the blocks than PyTorch's: from the start, tokens differ by more than colour."""
    for name, weight in vision.named_parameters():
        if weight.ndim == 2 and any(part in name for part in (".mlp.", ".attn.out_proj.", ".attn.proj.")):
            nn.init.normal_(weight, std=weight.shape[1] ** -0.5)


def make_optimizers(model: nn.Module, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices, AdamW for all else.

    After 300 steps tiny-clip told 0.34 of the things so, and 0.18 with AdamW alone.
    """
    matrices, others = [], []
    for name, weight in model.named_parameters():
        (matrices if "blocks." in name and weight.ndim == 2 else others).append(weight)
    return [
        torch.optim.Muon(matrices, lr=lr, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=lr / 2, betas=(0.9, 0.98), weight_decay=0.05),
    ]


def set_rate(optimizers: Iterable[torch.optim.Optimizer], step: int, steps: int) -> None:
    """Up over 50 steps, level, then straight down to zero over the last 40 %."""
    share = min(1.0, (step + 1) / 50, (1 - step / steps) / 0.4)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group.setdefault("full_lr", group["lr"])
            group["lr"] = group["full_lr"] * share


def take_step(loss: Tensor, model: nn.Module, optimizers: Iterable[torch.optim.Optimizer]) -> None:
    if not torch.isfinite(loss):
        raise RunError("The loss of pre-training became NaN. Lower the learning rate, or resume from the checkpoint.")
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 3.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()


class Run:
    """The folder of one run: log.jsonl (first line the recipe, last line the figures) and checkpoint.pt."""

    def __init__(self, folder: Path, recipe: dict[str, object]) -> None:
        self.log = folder / "log.jsonl"
        self.checkpoint = folder / "checkpoint.pt"
        self._recipe = recipe
        self._losses: list[float] = []
        self.last_loss = float("nan")  # the mean over the last steps
        self._seconds = 0.0  # of the parts before a resumption
        self._since = time.monotonic()

    def restore(self, resume: bool, *parts: nn.Module | torch.optim.Optimizer) -> int:
        """The step to begin with; loads the parts from the checkpoint if there is one to go on from."""
        if not (resume and self.checkpoint.exists()):
            write_text(self.log, json.dumps(self._recipe) + "\n")
            return 0
        saved = torch.load(self.checkpoint)
        for part, state in zip(parts, saved["parts"], strict=True):
            part.load_state_dict(state)
        self._seconds = saved["seconds"]
        return saved["step"]

    def after_step(self, step: int, loss: float, *parts: nn.Module | torch.optim.Optimizer) -> None:
        self._losses.append(loss)
        if (step + 1) % LOG_EVERY == 0:
            self.last_loss = round(float(np.mean(self._losses)), 4)
            self._write({"step": step + 1, "loss": self.last_loss, "seconds": self.seconds})
            self._losses.clear()
        if (step + 1) % CHECKPOINT_EVERY == 0:
            saved = {"step": step + 1, "seconds": self.seconds, "parts": [part.state_dict() for part in parts]}
            in_memory = io.BytesIO()
            torch.save(saved, in_memory)
            write_bytes(self.checkpoint, in_memory.getvalue())

    def finish(self, figures: dict[str, float]) -> None:
        self._write({"figures": figures, "seconds": self.seconds, "torch": torch.__version__})

    @property
    def seconds(self) -> float:
        return round(self._seconds + time.monotonic() - self._since, 1)

    def _write(self, entry: dict[str, object]) -> None:
        append_lines(self.log, [json.dumps(entry)])


@torch.no_grad()
def zero_shot_top1(clip: CLIP, world_set: WorldClassification) -> float:
    """The share of images whose CLS embedding is nearest to its class's."""
    clip.eval()
    tokenize = WorldTokenizer()
    prompts = [[template.format(name) for template in world_set.templates] for name in world_set.classnames]
    classes = [functional.normalize(clip.encode_text(tokenize(texts)), dim=-1).mean(dim=0) for texts in prompts]
    class_embeddings = functional.normalize(torch.stack(classes), dim=-1)
    images, labels = zip(*(world_set[index] for index in range(len(world_set))), strict=True)
    image_embeddings = clip.encode_image(to_pixels(images))  # their length does not change the order of the classes
    predicted = (image_embeddings @ class_embeddings.T).argmax(dim=-1)
    return float((predicted == torch.tensor(labels)).float().mean())
