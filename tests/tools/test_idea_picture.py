"""The README's picture shows what the shipped models predict, and says so only of a crystal that was held out."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prediction import load_predictor
from tc_common.crystals import read_crystal
from tc_common.errors import UserError
from tools.idea_picture import CRYSTAL, ELEMENTS, ROOT, draw_crystal, facts_of, read_facts, require_held_out

PICTURE = ROOT / "docs" / "idea.png"
CIF = ROOT / "data" / "sample" / "cifs" / f"{CRYSTAL}.cif"


def test_the_picture_is_of_the_shipped_models() -> None:
    facts = facts_of(load_predictor().predict(CIF))
    assert read_facts(PICTURE) == pytest.approx(facts, abs=0.11), "run: python -m tools.idea_picture"


def test_the_picture_fits_a_page_and_a_clone() -> None:
    with Image.open(PICTURE) as image:
        assert image.mode == "RGBA" and image.width >= 1800
        alpha = np.asarray(image)[..., 3]
    assert alpha[0, 0] == 0 and alpha[alpha.shape[0] // 2, alpha.shape[1] // 2] == 255, "rounded corners on any page"
    assert PICTURE.stat().st_size < 500_000


def test_a_crystal_of_the_training_materials_is_refused() -> None:
    require_held_out(CRYSTAL.split("-")[0])
    with pytest.raises(UserError, match="among the training materials"):
        require_held_out("MgB2")


def test_the_crystal_has_vacancies_and_all_its_elements() -> None:
    structure = read_crystal(CIF)
    image = draw_crystal(structure, 60, 110)
    solid = image[image[..., 3] == 1][:, :3]
    brightest = solid.max(axis=1, keepdims=True)
    for color in ELEMENTS.values():
        hue = np.array(color) / max(color)
        assert (np.abs(solid / brightest - hue).max(axis=1) < 0.12).sum() > 20
    pale = (solid.min(axis=1) / brightest[:, 0] > 0.93) & (brightest[:, 0] > 0.6)
    assert pale.sum() > 20


def test_an_unknown_model_is_refused() -> None:
    prediction = load_predictor(model="alignn").predict(CIF)
    with pytest.raises(UserError, match="the picture needs alignn, dinov3"):
        facts_of(prediction)


def test_a_file_that_is_no_picture_of_this_program_has_no_facts(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    with pytest.raises(UserError, match="python -m tools.idea_picture"):
        read_facts(tmp_path / "x.png")
