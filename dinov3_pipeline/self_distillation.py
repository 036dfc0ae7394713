"""Self-distillation without labels: a student learns to describe views of one crystal as its own slow average does.

DINO's loss on class tokens (Caron et al. 2021, arXiv:2104.14294), iBOT's on masked patches (Zhou et al. 2022,
arXiv:2111.07832), the KoLeo regulariser and Sinkhorn centring as DINOv2 put them together (Oquab et al. 2023,
arXiv:2304.07193) and DINOv3 kept them (Siméoni et al. 2025, arXiv:2508.10104).

Legend: B crystals in a batch, G = 2 large views, L small crops, P patches of a view, N tokens that are compared,
D width of the backbone, K prototypes.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dinov3_pipeline.crops import GLOBAL_VIEWS
from dinov3_pipeline.network import RANDOM_NORMALISATION
from dinov3_pipeline.patches import PatchEmbedding, Patches
from tc_common.targets import TargetTransform

SINKHORN_ROUNDS = 3
NEAREST_EPS = 1e-6


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """The losses of self-distillation."""

    prototypes: int = 1024
    """Prototypes that a token is compared with (>= 2)."""
    head_width: int = 256
    """Width of the projection head's hidden layers (>= 1)."""
    bottleneck: int = 64
    """Width in which tokens and prototypes are compared (>= 1)."""
    student_temperature: float = 0.1
    """Temperature of the student's softmax (> 0)."""
    teacher_temperature: tuple[float, float] = (0.04, 0.07)
    """Temperature of the teacher's softmax at the start, and after the first third (> 0)."""
    momentum: float = 0.99
    """Of the teacher's average at the start; it ends at 1, along a cosine (0 to below 1)."""
    ibot_weight: float = 1.0
    """Weight of the loss on masked patches (>= 0)."""
    koleo_weight: float = 0.1
    """Weight of the KoLeo regulariser (>= 0)."""

    def __post_init__(self) -> None:
        if self.prototypes < 2 or min(self.head_width, self.bottleneck) < 1:
            raise ValueError("--prototypes must be at least 2, --head-width and --bottleneck at least 1")
        if min(self.student_temperature, *self.teacher_temperature) <= 0:
            raise ValueError("--student-temperature and --teacher-temperature must be > 0")
        if not 0 <= self.momentum < 1 or min(self.ibot_weight, self.koleo_weight) < 0:
            raise ValueError("--momentum must be from 0 to below 1, --ibot-weight and --koleo-weight >= 0")


class ProjectionHead(nn.Module):
    """Tokens (N, D) to their cosines (N, K) with K prototypes, through an MLP with a narrow last layer."""

    def __init__(self, width: int, settings: Distillation) -> None:
        super().__init__()
        hidden = settings.head_width
        layers = [nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU()]
        self.mlp = nn.Sequential(*layers, nn.Linear(hidden, settings.bottleneck))
        self.prototypes = nn.Parameter(torch.randn(settings.prototypes, settings.bottleneck))

    def forward(self, tokens: Tensor) -> Tensor:
        """The cosines in fp32: divided by a temperature of 0.04, the rounding of bf16 would be a tenth."""
        narrow = self.mlp(tokens)
        with torch.autocast(tokens.device.type, enabled=False):
            return F.normalize(narrow.float(), dim=-1) @ F.normalize(self.prototypes, dim=-1).T


class Side(nn.Module):
    """Student or teacher: a backbone, a head for class tokens, and one for patches."""

    def __init__(self, backbone: nn.Module, settings: Distillation) -> None:
        super().__init__()
        width: int = backbone.num_features  # type: ignore[assignment]
        self.backbone = backbone
        backbone.patch_embed = PatchEmbedding(backbone.patch_embed, width)  # type: ignore[arg-type]
        self.class_head, self.patch_head = (ProjectionHead(width, settings) for _ in range(2))

    def tokens(self, patches: Patches) -> tuple[Tensor, Tensor]:
        """Class tokens (N, D) and patches (N, P, D) of N images."""
        tokens: Tensor = self.backbone.forward_features(patches)  # type: ignore[operator]
        return tokens[:, 0], tokens[:, self.backbone.num_prefix_tokens :]


class SelfDistillation(nn.Module):
    """Student and teacher; a batch of `dinov3_pipeline.crops` to the student's loss.

    The teacher is the student's exponential moving average and gets no gradient.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, settings: Distillation) -> None:
        super().__init__()
        self.settings = settings
        self.student = Side(backbone, settings)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.target = TargetTransform("kelvin")  # in which the loop compares Tc
        for name, values in zip(("mean", "std"), RANDOM_NORMALISATION, strict=True):
            self.register_buffer(name, 255 * torch.tensor(values).view(1, 3, 1, 1))

    def forward(self, batch: dict[str, Any], temperature: float) -> Tensor:
        """Loss of a batch; `temperature` is that of the teacher's softmax now."""
        settings, mask = self.settings, batch["mask"]
        large = self.cut(batch["large"])
        targets, patch_targets = self.targets(large, mask, temperature)
        class_tokens, patches = self.student.tokens(Patches(large, mask))
        small = [self.student.tokens(Patches(self.cut(batch["small"])))[0]] if len(batch["small"]) else []
        logits = self.student.class_head(torch.cat([class_tokens, *small])) / settings.student_temperature
        loss = dino_loss(logits, targets, len(batch["tc"]))
        if settings.ibot_weight and mask.any():
            masked = self.student.patch_head(patches[mask]) / settings.student_temperature
            loss = loss + settings.ibot_weight * ibot_loss(masked, patch_targets, mask)
        if settings.koleo_weight and len(batch["tc"]) > 1:
            loss = loss + settings.koleo_weight * sum(map(koleo_loss, class_tokens.float().chunk(GLOBAL_VIEWS)))
        return loss

    @torch.no_grad()
    def targets(self, large: Tensor, mask: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """The teacher's probabilities for class tokens (G B, K) and for the masked patches (masked, K)."""
        class_tokens, patches = self.teacher.tokens(Patches(large))
        of_classes = sinkhorn(self.teacher.class_head(class_tokens), temperature)
        return of_classes, sinkhorn(self.teacher.patch_head(patches[mask]), temperature)

    def cut(self, images: Tensor) -> Tensor:
        """uint8 (N, 3, S, S) as patches; student and teacher have the same Fourier features."""
        embedding: PatchEmbedding = self.teacher.backbone.patch_embed  # type: ignore[assignment]
        return embedding.cut(images, self.mean, self.std)

    def features(self, images: Tensor) -> Tensor:
        """What the teacher's backbone passes to a head, (N, D) of uint8 images (N, 3, S, S)."""
        return self.teacher.backbone(Patches(self.cut(images)))

    @torch.no_grad()
    def update_teacher(self, momentum: float) -> None:
        """The teacher becomes `momentum` x itself + (1 - momentum) x the student."""
        pairs = zip(self.teacher.parameters(), self.student.parameters(), strict=True)
        for teacher, student in pairs:
            teacher.lerp_(student, 1 - momentum)


def sinkhorn(cosines: Tensor, temperature: float, rounds: int = SINKHORN_ROUNDS) -> Tensor:
    """Probabilities (N, K), centred so that all prototypes are about as likely over the N tokens.

    Sinkhorn & Knopp 1967, as in SwAV (Caron et al. 2020, arXiv:2006.09882): columns, then rows are scaled to equal
    sums, `rounds` times; every row sums to 1.
    """
    if not len(cosines):
        return cosines
    scaled = cosines.double() / temperature
    weights = (scaled - scaled.max()).exp()
    for _ in range(rounds):
        weights = weights / weights.sum(0, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
        weights = weights / weights.sum(1, keepdim=True)
    return weights.float()


def dino_loss(logits: Tensor, targets: Tensor, crystals: int) -> Tensor:
    """Cross-entropy of class tokens over all pairs of a student's view and another view of the teacher's.

    Args:
        logits: of the student ((G + L) B, K), large views first.
        targets: of the teacher (G B, K).
    """
    student = logits.log_softmax(-1).view(-1, crystals, logits.shape[1])
    teacher = targets.view(GLOBAL_VIEWS, crystals, -1)
    terms = torch.einsum("tbk,sbk->ts", teacher, student) / -crystals
    same_view = torch.eye(*terms.shape, dtype=torch.bool, device=terms.device)
    return terms[~same_view].mean()


def ibot_loss(logits: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of masked patches (N, K); each view that has some counts alike.

    Args:
        mask: (G B, P), of which the N patches are the True ones.
    """
    per_view = mask.sum(1, keepdim=True).expand_as(mask)[mask]
    entropy = -(targets * logits.log_softmax(-1)).sum(-1)
    return (entropy / per_view).sum() / mask.any(1).sum()


def koleo_loss(tokens: Tensor) -> Tensor:
    """Mean of -log of the distance to the nearest other token on the unit sphere, (N, D) with N > 1.

    Sablayrolles et al. 2019, arXiv:1806.03198: it spreads the descriptions of different crystals.
    """
    with torch.autocast(tokens.device.type, enabled=False):
        unit = F.normalize(tokens, dim=-1)
        with torch.no_grad():
            cosines = (unit @ unit.T).fill_diagonal_(-1)
        distances = (unit - unit[cosines.argmax(1)] + NEAREST_EPS).norm(dim=-1)
        return -(distances + NEAREST_EPS).log().mean()


def feature_spread(features: Tensor) -> float:
    """Mean SD over crystals of the unit features (M, D), times sqrt(D): about 1 where they spread, 0 if collapsed."""
    unit = F.normalize(features.float(), dim=-1)
    return float(unit.std(0).mean() * features.shape[1] ** 0.5)
