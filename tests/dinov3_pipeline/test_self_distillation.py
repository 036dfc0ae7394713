"""The losses against loops and hand computations; who gets a gradient; what the mask hides."""

import math

import pytest
import torch
from torch import Tensor, nn

from dinov3_pipeline.backbones import create_backbone
from dinov3_pipeline.network import RANDOM_NORMALISATION
from dinov3_pipeline.patches import PatchEmbedding, Patches
from dinov3_pipeline.self_distillation import (
    Distillation,
    SelfDistillation,
    dino_loss,
    feature_spread,
    ibot_loss,
    koleo_loss,
    sinkhorn,
)
from tests.dinov3_pipeline.networks import DINO, SIZE, SMALL_DINO, noise

CRYSTALS, CROPS = 3, 2
SETTINGS = Distillation(prototypes=6, head_width=8, bottleneck=4)
MASK = torch.arange(2 * CRYSTALS * 16).reshape(2 * CRYSTALS, 16) % 3 == 0


def network(settings: Distillation = SETTINGS) -> SelfDistillation:
    torch.manual_seed(0)
    return SelfDistillation(create_backbone(DINO, SIZE, "random", SMALL_DINO)[0], settings)


def crops() -> dict[str, Tensor]:
    small = noise(CROPS * CRYSTALS, SIZE // 2, seed=1)
    return {"large": noise(2 * CRYSTALS), "small": small, "mask": MASK, "tc": torch.zeros(CRYSTALS)}


def probabilities(rows: int, columns: int, seed: int) -> Tensor:
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)).softmax(-1)


def test_the_teacher_is_the_moving_average_of_the_student() -> None:
    model = network()
    with torch.no_grad():
        for parameter in model.student.parameters():
            parameter.fill_(1.0)
        for parameter in model.teacher.parameters():
            parameter.fill_(3.0)
    model.update_teacher(0.9)
    model.update_teacher(0.5)
    for parameter in model.teacher.parameters():  # 0.5 (0.9 x 3 + 0.1 x 1) + 0.5 x 1
        assert torch.allclose(parameter, torch.full_like(parameter, 1.9))
    assert all((parameter == 1).all() for parameter in model.student.parameters())


def test_centring_is_that_of_the_hand_computation() -> None:
    """Weights [[2, 1], [1, 1]]: columns sum to 3 and 2, then rows [2/3, 1/2] and [1/3, 1/2] to 7/6 and 5/6."""
    cosines = 0.07 * torch.tensor([[2.0, 1.0], [1.0, 1.0]]).log()
    expected = torch.tensor([[4 / 7, 3 / 7], [2 / 5, 3 / 5]])
    assert torch.allclose(sinkhorn(cosines, 0.07, rounds=1), expected)


def test_centring_makes_all_prototypes_alike_although_one_is_near_to_all() -> None:
    cosines = torch.rand(64, 8, generator=torch.Generator().manual_seed(0)) * 0.2
    cosines[:, 3] += 0.5
    plain, centred = (cosines / 0.04).softmax(-1), sinkhorn(cosines, 0.04, rounds=50)
    assert torch.allclose(centred.sum(1), torch.ones(64))
    assert torch.allclose(centred.mean(0), torch.full((8,), 1 / 8), atol=1e-3)
    assert plain.mean(0)[3] > 0.99


def test_a_colder_teacher_is_surer() -> None:
    cosines = torch.rand(32, 8, generator=torch.Generator().manual_seed(0))
    assert sinkhorn(cosines, 0.04).max(1).values.mean() > 1.3 * sinkhorn(cosines, 0.4).max(1).values.mean()
    assert sinkhorn(torch.empty(0, 8), 0.04).shape == (0, 8)


def test_the_class_token_loss_is_the_mean_over_pairs_of_different_views() -> None:
    views, prototypes = 2 + CROPS, 5
    logits = torch.randn(views * CRYSTALS, prototypes, generator=torch.Generator().manual_seed(3))
    targets = probabilities(2 * CRYSTALS, prototypes, seed=4)
    entropies = []
    for teacher in range(2):
        for student in range(views):
            for crystal in range(CRYSTALS):
                if teacher != student:
                    said = logits[student * CRYSTALS + crystal].log_softmax(-1)
                    entropies.append(-(targets[teacher * CRYSTALS + crystal] @ said).item())
    assert dino_loss(logits, targets, CRYSTALS).item() == pytest.approx(sum(entropies) / len(entropies), rel=1e-5)


def test_the_patch_loss_counts_every_view_alike() -> None:
    mask = torch.tensor([[True, True, True, False], [False] * 4, [False, True, False, False]])
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(5))
    targets = probabilities(4, 5, seed=6)
    entropies = [-(target @ logit.log_softmax(-1)).item() for target, logit in zip(targets, logits, strict=True)]
    expected = (sum(entropies[:3]) / 3 + entropies[3]) / 2
    assert ibot_loss(logits, targets, mask).item() == pytest.approx(expected, rel=1e-5)


def test_koleo_is_the_log_of_the_nearest_distance_on_the_sphere() -> None:
    angles = torch.tensor([0.0, 0.2, 2.0])
    tokens = torch.stack([angles.cos(), angles.sin()], 1) * torch.tensor([[1.0], [7.0], [0.1]])
    nearest = [2 * math.sin(0.1), 2 * math.sin(0.1), 2 * math.sin(0.9)]
    assert koleo_loss(tokens).item() == pytest.approx(-sum(map(math.log, nearest)) / 3, abs=1e-4)


def test_the_teacher_gets_no_gradient_and_the_student_one_everywhere() -> None:
    model = network()
    model(crops(), 0.05).backward()
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.teacher.parameters())
    assert all(parameter.grad is not None for parameter in model.student.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.student.class_head.parameters())


def test_the_student_starts_as_the_teacher_and_each_loss_has_its_weight() -> None:
    pairs = zip(network().student.parameters(), network().teacher.parameters(), strict=True)
    assert all(torch.equal(student, teacher) for student, teacher in pairs)
    batch = crops()
    weights = [(0.0, 0.0), (1.0, 0.0), (2.0, 0.0), (0.0, 1.0), (0.0, 2.0)]
    none, patches, twice, koleo, koleo_twice = (
        network(Distillation(**vars(SETTINGS) | {"ibot_weight": ibot, "koleo_weight": spread}))(batch, 0.05).item()
        for ibot, spread in weights
    )
    assert twice - none == pytest.approx(2 * (patches - none), rel=1e-4) and patches > none
    assert koleo_twice - none == pytest.approx(2 * (koleo - none), rel=1e-4) and koleo != none


def test_patches_are_masked_where_the_mask_says_and_nowhere_else() -> None:
    embedding = network().student.backbone.get_submodule("patch_embed")
    assert isinstance(embedding, PatchEmbedding)
    values, mask = torch.randn(2, 4, 4, 3 * 8 * 8 + 4 * 8 * 8), MASK[:2].view(2, 4, 4)
    plain, masked = embedding(Patches(values)), embedding(Patches(values, MASK[:2]))
    assert torch.equal(masked[~mask], plain[~mask])
    assert torch.equal(masked[mask], embedding.mask_token.expand(int(mask.sum()), -1))


def test_the_student_does_not_see_what_is_masked() -> None:
    model, images = network().eval(), noise(1)
    changed = images.clone()
    changed[:, :, :8, :8] = 255 - changed[:, :, :8, :8]
    hidden = torch.arange(16).view(1, 16) == 0
    with torch.inference_mode():
        seen = [model.student.tokens(Patches(model.cut(x)))[0] for x in (images, changed)]
        unseen = [model.student.tokens(Patches(model.cut(x), hidden))[0] for x in (images, changed)]
    assert not torch.allclose(seen[0], seen[1], atol=1e-3)
    assert torch.equal(unseen[0], unseen[1])


def test_patches_by_colour_are_the_convolution_of_the_pixels() -> None:
    backbone, _ = create_backbone(DINO, SIZE, "random", SMALL_DINO)
    images, (mean, std) = noise(3) // 64 * 64, (255 * torch.tensor(v).view(1, 3, 1, 1) for v in RANDOM_NORMALISATION)
    embed: nn.Module = backbone.get_submodule("patch_embed")
    with torch.inference_mode():
        by_pixel = embed((images.float() - mean) / std)
        fast = PatchEmbedding(embed, SMALL_DINO.width or 0)
        by_color = fast(Patches(fast.cut(images, mean, std)))
    assert torch.allclose(by_pixel, by_color, atol=1e-5)
    assert by_pixel.std() > 0.01


def test_spread_is_one_of_random_directions_and_nothing_of_equal_ones() -> None:
    random = torch.randn(2000, 64, generator=torch.Generator().manual_seed(0))
    assert feature_spread(random) == pytest.approx(1, abs=0.02)
    assert feature_spread(torch.ones(10, 4) * torch.arange(1, 11)[:, None]) == pytest.approx(0, abs=1e-6)
    assert feature_spread(random + 100) < 0.05


@pytest.mark.parametrize(
    "wrong",
    [{"prototypes": 1}, {"head_width": 0}, {"momentum": 1.0}, {"ibot_weight": -1.0}, {"teacher_temperature": (0, 1)}],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"--{next(iter(wrong)).replace('_', '-')}"):
        Distillation(**wrong)  # type: ignore[arg-type]
