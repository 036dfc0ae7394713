"""Where weights come from is known, and what does not fit is refused; no test touches the network."""

import pickle
import socket
import time
from pathlib import Path

import huggingface_hub
import pytest
import safetensors.torch
import torch
from huggingface_hub import constants
from torch import Tensor, nn

from dinov3_pipeline.backbones import build, create_backbone, download, read_weights
from tc_common.errors import UserError
from tc_common.files import sha256
from tests.dinov3_pipeline.networks import SIZE, TINY

DINO = "vit_small_patch16_dinov3"


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def output(network: nn.Module, size: int = SIZE) -> Tensor:
    images = torch.linspace(-1, 1, 3 * size * size).reshape(1, 3, size, size)
    with torch.inference_mode():
        return network.eval()(images)


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    safetensors.torch.save_file(weights_of(build(TINY, SIZE)), path)
    return path


def test_weights_come_back_from_safetensors_and_pth(tmp_path: Path) -> None:
    original = build(TINY, SIZE)
    safetensors.torch.save_file(weights_of(original), tmp_path / "w.safetensors")
    torch.save(original.state_dict(), tmp_path / "w.pth")
    for name in ("w.safetensors", "w.pth"):
        again, origin = create_backbone(TINY, SIZE, str(tmp_path / name))
        assert torch.equal(output(again), output(original))
        assert origin == f"file:{name}@{sha256(tmp_path / name)[:12]}"


def test_a_classifier_in_the_file_is_dropped(tmp_path: Path) -> None:
    original = build(TINY, SIZE, num_classes=10)
    torch.save(original.state_dict(), tmp_path / "w.pth")
    again, _ = create_backbone(TINY, SIZE, str(tmp_path / "w.pth"))
    assert output(again).shape == (1, again.num_features)


def test_position_embeddings_fit_another_image_size(tiny_file: Path) -> None:
    larger, _ = create_backbone(TINY, 2 * SIZE, str(tiny_file))
    assert larger.state_dict()["pos_embed"].shape[1] == 4 * (SIZE // 16) ** 2 + 1
    assert output(larger, 2 * SIZE).isfinite().all()


@pytest.mark.parametrize("change", ["missing", "unexpected", "shape"])
def test_keys_and_shapes_are_strict(change: str, tmp_path: Path) -> None:
    weights = weights_of(build(TINY, SIZE))
    key = "blocks.0.attn.qkv.weight"
    taken = weights.pop(key)
    if change != "missing":
        weights["surplus" if change == "unexpected" else key] = taken[:5]
    if change == "unexpected":
        weights[key] = taken
    torch.save(weights, tmp_path / "w.pth")
    named = "surplus" if change == "unexpected" else key
    with pytest.raises(UserError, match=f"w.pth does not fit --backbone {TINY}.*{named}"):
        create_backbone(TINY, SIZE, str(tmp_path / "w.pth"))


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("bomb-went-off"),)  # type: ignore[return-value]


def test_files_that_are_no_weights_are_refused_and_run_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bomb.pth").write_bytes(pickle.dumps(Bomb()))
    (tmp_path / "cut.safetensors").write_bytes(b"\x00" * 20)
    torch.save({"epoch": 3}, tmp_path / "other.pth")
    for name in ("bomb.pth", "cut.safetensors", "other.pth"):
        with pytest.raises(UserError, match=name):
            read_weights(tmp_path / name)
    assert not (tmp_path / "bomb-went-off").exists()


def test_pretrained_comes_from_a_filled_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = build(DINO, SIZE)
    repo = tmp_path / f"models--timm--{DINO}.lvd1689m"
    snapshot = repo / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("0" * 40)
    safetensors.torch.save_file(weights_of(original), snapshot / "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again, origin = create_backbone(DINO, SIZE, "pretrained")
    assert torch.equal(output(again), output(original))
    assert origin == f"pretrained:{DINO}.lvd1689m@{sha256(snapshot / 'model.safetensors')[:12]}"


def test_offline_with_an_empty_cache_names_every_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError) as refused:
        download(DINO)
    for part in (f"timm/{DINO}.lvd1689m", str(tmp_path / "cache"), "HF_HUB_OFFLINE", "--init PATH", "--init random"):
        assert part in str(refused.value)


def test_a_refusing_hub_is_an_error_and_no_random_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise ConnectionError("403 Forbidden")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(UserError, match="cannot be downloaded"):
        create_backbone(DINO, SIZE, "pretrained")


@pytest.mark.parametrize("answer", ["nobody listens", "silence"])
def test_an_unreachable_hub_is_named_within_5_s(answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed port refuses at once; a socket that accepts and never answers is met by the time limit."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if answer == "silence":
            server.listen()
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", constants.ENDPOINT + "/{repo_id}/resolve/{revision}/{filename}"
        )
        begin = time.monotonic()
        with pytest.raises(UserError, match="cannot be downloaded .*Connect|cannot be downloaded .*Timeout"):
            download(DINO)
        assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    ("name", "size", "init", "message"),
    [
        ("vit_nonsense", 32, "random", "vit_nonsense is unknown to timm; for example .*vit_base_patch16_dinov3"),
        ("test_resnet", 32, "random", "no vision transformer"),
        (TINY, 40, "random", "--image-size 40 is no multiple of the patch of test_vit, 16 pixels"),
        (TINY, 32, "no-such-file", "--init no-such-file is none of pretrained, crystals and random, and no file"),
        ("vit_base_patch16_dinov3.nonsense", 32, "pretrained", "Invalid pretrained tag"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_named(name: str, size: int, init: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        create_backbone(name, size, init)


def test_a_random_start_uses_its_blocks_fully() -> None:
    backbone, origin = create_backbone(DINO, SIZE, "random")
    scales = [value for name, value in backbone.named_parameters() if "gamma" in name]
    assert origin == "random"
    assert len(scales) == 24
    assert all((scale == 1).all() for scale in scales)
