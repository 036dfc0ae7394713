"""Files: safe names, whole images, workers that change nothing, runs that go on where they were stopped."""

import errno
import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dinov3_pipeline.render import jobs as render_jobs
from dinov3_pipeline.render.jobs import MaterialRow, Rendered, encode_png, is_finished, render_material, run_local
from dinov3_pipeline.render.options import (
    VIEW,
    RenderOptions,
    image_name,
    read_image_index,
    read_render_options,
    record_options,
    write_index,
)
from dinov3_pipeline.render.rendering import views
from tc_common.crystals import read_crystal
from tc_common.errors import UserError

SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "cifs"
IDS = ("Nb3Sn-Cr3Si", "MgB2-AlB2", "La1.85Sr0.15CuO4-K2NiF4", "FeSe-PbO")
FAST = RenderOptions(bonds="covalent")


def rows(folder: Path, ids: tuple[str, ...] = IDS) -> list[MaterialRow]:
    folder.mkdir(parents=True, exist_ok=True)
    return [MaterialRow(material_id=i, split="train", cif=SAMPLE / f"{i}.cif", folder=folder) for i in ids]


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() for path in folder.iterdir()}


def test_files_hold_the_pixels_of_the_library_call_in_rgb(tmp_path: Path) -> None:
    [row] = rows(tmp_path, IDS[2:3])
    render_material(row, RenderOptions())
    drawn = views(read_crystal(row.cif))
    with Image.open(tmp_path / f"{row.material_id}_1x1x1_a.png") as image:
        assert image.mode == "RGB"
        assert (np.asarray(image) == drawn[0]).all()
    last = cv2.imread(str(tmp_path / f"{row.material_id}_2x2x2_r2.png"), cv2.IMREAD_COLOR_RGB)
    assert last is not None and (last == drawn[-1]).all()
    assert len(list(tmp_path.iterdir())) == 18


def test_any_shape_of_image_comes_back(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (5, 301, 3), np.uint8)
    (tmp_path / "x.png").write_bytes(encode_png(noise))
    with Image.open(tmp_path / "x.png") as image:
        image.verify()
    with Image.open(tmp_path / "x.png") as image:
        assert (np.asarray(image) == noise).all()


def test_order_and_number_of_workers_change_no_byte(tmp_path: Path) -> None:
    found = []
    for number, (workers, step) in enumerate([(1, 1), (1, -1), (2, 1), (4, -1)]):
        folder = tmp_path / str(number)
        results = list(run_local(rows(folder)[::step], FAST, workers))
        assert {result.material_id for result in results} == set(IDS)
        found.append(digests(folder))
    assert len(found[0]) == 4 * 18
    assert all(other == found[0] for other in found)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80), st.text(max_size=80))
def test_names_stay_in_their_folder_and_apart(first: str, second: str) -> None:
    for material_id in (first, second):
        name = image_name(material_id, "1x1x1_a")
        assert Path(name).name == name and not name.startswith(".")
        assert name.isascii() and len(name) < 200
    assert (image_name(first, "1x1x1_a") == image_name(second, "1x1x1_a")) == (first == second)


def test_names_of_hostile_ids() -> None:
    names = {image_name(i, "1x1x1_r0") for i in ("../x", "/etc/x", "..", ".", "", "a\0b", "x" * 500, "x" * 501, "%2E")}
    assert len(names) == 9
    assert not any("/" in name or "\0" in name or name.startswith(".") for name in names)
    # A view cannot be mistaken for a part of the id
    assert VIEW.fullmatch("1x1x1_a_1x1x1_b") is None


def test_an_unreadable_crystal_is_reported_and_leaves_no_file(tmp_path: Path) -> None:
    bad = tmp_path / "bad.cif"
    bad.write_text("data_x\n")
    folder = tmp_path / "images"
    folder.mkdir()
    result = render_material(MaterialRow(material_id="bad", split="train", cif=bad, folder=folder), FAST)
    assert str(bad) in result.skipped
    assert list(folder.iterdir()) == []


def test_a_full_disk_is_one_line_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [row] = rows(tmp_path, IDS[:1])

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as stream:
            stream.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left on device; free space"):
        render_material(row, FAST)
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_dies_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render_jobs, "render_material", _die)
    with pytest.raises(UserError, match="fewer --workers"):
        list(run_local(rows(tmp_path), FAST, 2))


def _die(row: MaterialRow, options: RenderOptions) -> Rendered:
    os._exit(9)


def test_the_journal_survives_a_torn_line(tmp_path: Path) -> None:
    first, second = (
        Rendered(material_id=i, split="train", key="k", files=((7, 9),), bond_failures=("site 0",)) for i in "ab"
    )
    render_jobs.append_journal(tmp_path, first)
    journal = tmp_path / "render_journal.jsonl"
    with journal.open("a") as stream:
        stream.write('\n{"material_id": "torn", "spl')
    render_jobs.append_journal(tmp_path, second)
    assert render_jobs.read_journal(tmp_path) == {("train", "a"): first, ("train", "b"): second}


def test_finished_means_same_options_same_crystal_and_all_files(tmp_path: Path) -> None:
    cif = tmp_path / "x.cif"
    cif.write_bytes((SAMPLE / "MgB2-AlB2.cif").read_bytes())
    folder = tmp_path / "images"
    folder.mkdir()
    row = MaterialRow(material_id="x", split="train", cif=cif, folder=folder)
    done = render_material(row, FAST)
    assert is_finished(row, FAST, done)
    assert not is_finished(row, FAST, None)
    assert not is_finished(row, RenderOptions(bonds="covalent", seed=1), done)
    (folder / "x_2x2x2_r1.png").rename(tmp_path / "away.png")
    assert not is_finished(row, FAST, done)
    (tmp_path / "away.png").rename(folder / "x_2x2x2_r1.png")
    assert is_finished(row, FAST, done)
    cif.write_bytes(cif.read_bytes() + b"\n")
    assert not is_finished(row, FAST, done)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def another_image(path: Path) -> None:
    path.write_bytes(encode_png(np.zeros((8, 8, 3), np.uint8)))


@pytest.mark.parametrize("damage", [flip_a_bit, cut, another_image])
def test_a_damaged_image_is_not_finished(damage: Callable[[Path], None], tmp_path: Path) -> None:
    [row] = rows(tmp_path, IDS[1:2])
    done = render_material(row, FAST)
    assert is_finished(row, FAST, done)
    damage(tmp_path / "MgB2-AlB2_2x2x2_b.png")
    assert not is_finished(row, FAST, done)


def test_a_copy_of_a_cif_under_another_name_has_the_same_images(tmp_path: Path) -> None:
    (tmp_path / "other.cif").write_bytes((SAMPLE / "MgB2-AlB2.cif").read_bytes())
    folder = tmp_path / "images"
    [row] = rows(folder, IDS[1:2])
    render_material(row, FAST)
    render_material(replace(row, material_id="a", cif=tmp_path / "other.cif"), FAST)
    found = digests(folder)
    assert len(found) == 36
    assert all(found[name] == found[name.replace("MgB2-AlB2", "a")] for name in found)


def test_the_index_knows_the_options_it_was_drawn_with(tmp_path: Path) -> None:
    splits = {"train": pd.DataFrame({"material_id": ["007", "1e5"], "tc": [1.5, 0.0]})}
    record_options(tmp_path, FAST)
    write_index(tmp_path, splits, {("train", "1e5")}, FAST)
    index = read_image_index(tmp_path)
    assert list(index.columns) == ["image_path", "material_id", "split", "tc", "view", "supercell"]
    assert len(index) == 18
    assert set(index["material_id"]) == {"1e5"}
    assert read_render_options(tmp_path) == FAST
    record_options(tmp_path, FAST)
    assert (tmp_path / "image_metadata.csv").exists()
    record_options(tmp_path, RenderOptions())
    assert not (tmp_path / "image_metadata.csv").exists()


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"options": {}}', '{"fingerprint": "0", "options": {"image_size": "big", "supercells": []}}'],
)
def test_a_damaged_record_of_options_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "render_config.json").write_text(content)
    with pytest.raises(UserError, match=r"render_images\.py"):
        read_render_options(tmp_path)


def test_images_of_another_renderer_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record_options(tmp_path, FAST)
    monkeypatch.setattr("dinov3_pipeline.render.options.RENDERER_VERSION", 10**6)
    with pytest.raises(UserError, match="another version"):
        read_render_options(tmp_path)
