"""Damaged files of torch's are refused: ours by their digest, those of before and of others by their CRCs."""

import io
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tc_common.checkpoints import load_checkpoint, load_torch
from tc_common.errors import UserError
from tc_common.runs import run_training
from tests.tc_common.runs import differences
from tests.tc_common.toy import toy_config, toy_task

FLIPS = 200


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The checkpoint of a whole training."""
    config = toy_config(tmp_path_factory.mktemp("trained"))
    run_training(toy_task(config), config)
    return (config.models_dir / "toy_last.pth").read_bytes()


def refused(whole: bytes, path: Path, flips: int = FLIPS) -> int:
    """In how many of `flips` tries a file with one flipped bit is refused with one line."""
    draw, count = np.random.default_rng(0), 0
    for bit in draw.integers(8 * len(whole), size=flips).tolist():
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            load_checkpoint(path)
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            count += 1
    return count


def test_any_flipped_bit_of_a_checkpoint_is_refused(sealed: bytes, tmp_path: Path) -> None:
    assert refused(sealed, tmp_path / "x.pth") == FLIPS


def test_every_bit_of_the_end_where_the_digest_is_counts(sealed: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    for bit in range(8 * (len(sealed) - 22 - 64), 8 * len(sealed), 3):
        damaged = bytearray(sealed)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"x\.pth is damaged"):
            load_checkpoint(path)


def unsealed(sealed: bytes) -> bytes:
    """As earlier versions wrote it."""
    return sealed[:-66] + b"\0\0"


def test_a_checkpoint_of_before_still_loads_and_its_tensors_are_checked_by_crc(sealed: bytes, tmp_path: Path) -> None:
    ours, before = tmp_path / "x.pth", tmp_path / "before.pth"
    ours.write_bytes(sealed)
    before.write_bytes(unsealed(sealed))
    assert differences(load_checkpoint(ours), load_checkpoint(before)) == []
    assert refused(unsealed(sealed), before) > 0.75 * FLIPS  # the rest are headers


def test_weights_of_others_are_checked_too(tmp_path: Path) -> None:
    path = tmp_path / "vit.pth"
    torch.save({"weight": torch.arange(100_000.0)}, path)
    whole = path.read_bytes()
    assert load_torch(path, path)["weight"][-1] == 99_999
    path.write_bytes(whole[:200_000] + bytes([whole[200_000] ^ 4]) + whole[200_001:])
    with pytest.raises(UserError, match=r"vit\.pth is damaged: the CRC of '.*data/0' in it does not match"):
        load_torch(path, path)
    with pytest.raises(UserError, match="is damaged: the CRC"):
        load_torch(io.BytesIO(path.read_bytes()), path)


def test_the_format_of_torch_before_zip_still_loads(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save({"weight": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    assert load_torch(path, path)["weight"].tolist() == [1, 1, 1]


def test_an_archive_that_would_grow_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"0" * 10_000_000)
    with pytest.raises(UserError, match=r"bomb\.pth is refused: its archive grows"):
        load_torch(path, path)
