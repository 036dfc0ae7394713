"""A torchvision that does not fit this torch must not keep timm from being imported, and one that fits stays alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dinov3_pipeline import torchvision_operators
from dinov3_pipeline.torchvision_operators import declare_missing_operators

REPO = Path(__file__).parents[2]
# What torchvision's Python half does at import.
ATTACH = """
import torch
for name in ("nms", "qnms"):
    torch.library.register_fake("torchvision::" + name)(lambda dets, scores, iou_threshold: dets)
"""
IMPORT_TWICE = """
from dinov3_pipeline.torchvision_operators import declare_missing_operators
try:
    import torchvision
except RuntimeError as error:
    print(error)
assert declare_missing_operators() is declare_missing_operators()
import torchvision
try:
    torchvision.torch.ops.torchvision.nms(*[torchvision.torch.zeros(1)] * 2, 0.5)
except NotImplementedError:
    print("no kernel")
"""


def run(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(REPO)])}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def broken_torchvision(tmp_path: Path) -> Path:
    """A torchvision whose compiled half is no library for this machine."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(ATTACH)
    (package / "_C.so").write_bytes(b"compiled for another torch")
    return tmp_path


def test_import_fails_without_and_succeeds_with_the_declaration(broken_torchvision: Path) -> None:
    answer = run(broken_torchvision, IMPORT_TWICE)
    assert answer.stdout.splitlines() == ["operator torchvision::nms does not exist", "no kernel"], answer.stderr


def test_timm_imports_beside_the_installed_torchvision() -> None:
    declare_missing_operators()
    import timm

    assert timm.is_model("vit_base_patch16_dinov3")


def test_nothing_is_declared_where_the_operators_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "_C.so").touch()
    loaded: list[Path] = []
    monkeypatch.setattr(torch.ops, "load_library", loaded.append)
    monkeypatch.setattr(torch.library, "Library", lambda *_: pytest.fail("declared"))
    spec = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
    monkeypatch.setattr(torchvision_operators.importlib.util, "find_spec", lambda _: spec)
    assert declare_missing_operators.__wrapped__() is None
    assert loaded == [tmp_path / "_C.so"]


def test_nothing_is_declared_without_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_operators.importlib.util, "find_spec", lambda _: None)
    assert declare_missing_operators.__wrapped__() is None
