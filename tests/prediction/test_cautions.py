"""Cautions: each fires beyond its limit, is silent within it, and says why."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure

from prediction.cautions import (
    Caution,
    Limits,
    additive_volumes,
    cautions_of,
    disagreement,
    fit_limits,
    plain_limits,
    read_limits,
)
from prediction.known import Known
from prediction.novelty import Distance
from prediction.quality import caution_metadata, cautions_for, pressure_metadata, pressure_sample
from tc_common.composition import element_fractions
from tc_common.crystals import read_crystal
from tc_common.errors import UserError

ROOT = Path(__file__).parents[2]
CIFS = ROOT / "data/sample/cifs"
LIMITS = Limits({"Mg": 20.0, "B": 5.0, "H": 5.0, "La": 35.0}, 0.85, 0.7, 0.8)


@pytest.fixture(scope="module")
def mgb2() -> Structure:
    return read_crystal(CIFS / "MgB2-AlB2.cif")


def compressed(structure: Structure, ratio: float) -> Structure:
    """The same crystal in a fraction of its volume."""
    changed = structure.copy()
    changed.scale_lattice(ratio * structure.volume)
    return changed


def kinds(found: tuple[Caution, ...]) -> list[str]:
    return [caution.kind for caution in found]


def test_a_crystal_at_ambient_pressure_has_no_caution(mgb2: Structure) -> None:
    assert cautions_of(LIMITS, mgb2, members_K={"a": 30, "b": 35}) == ()


def test_a_compressed_crystal_is_flagged_from_the_limit_on(mgb2: Structure) -> None:
    ratio = LIMITS.volume_ratio(mgb2)
    assert ratio is not None and ratio == pytest.approx(mgb2.volume / (20 + 2 * 5), rel=1e-6)
    at_limit = LIMITS.least_volume / ratio
    assert kinds(cautions_of(LIMITS, compressed(mgb2, 1.01 * at_limit), members_K={})) == []
    (caution,) = cautions_of(LIMITS, compressed(mgb2, 0.99 * at_limit), members_K={})
    assert caution.kind == "pressure" and "ambient pressure" in caution.text and "0.84" in caution.text


def test_partly_occupied_sites_count_by_their_occupancy() -> None:
    half = Structure(Lattice.cubic(3.0), [{"Mg": 0.5}], [[0, 0, 0]])
    assert LIMITS.volume_ratio(half) == pytest.approx(27 / 0.5 / 20)


def test_an_element_without_a_volume_gives_no_ratio() -> None:
    assert LIMITS.volume_ratio(Structure(Lattice.cubic(2.0), ["Pu"], [[0, 0, 0]])) is None


def test_a_compound_known_only_under_pressure_is_flagged_whatever_its_volume(mgb2: Structure) -> None:
    known = Known("MgB2", 39.0, 38.0, 39.5, 3, "3DSC; literature at 20 GPa", 0.0)
    (caution,) = cautions_of(LIMITS, mgb2, members_K={}, known=known)
    assert caution == Caution("pressure", "Tc of MgB2 was measured under pressure (3DSC; literature at 20 GPa)")


def test_more_hydrogen_than_in_training_is_flagged() -> None:
    def hydride(hydrogens: int) -> Structure:
        places = np.random.default_rng(0).random((hydrogens + 1, 3))
        return Structure(Lattice.cubic(8.0), ["La"] + ["H"] * hydrogens, places)

    assert kinds(cautions_of(LIMITS, hydride(2), members_K={})) == []
    (caution,) = cautions_of(LIMITS, hydride(3), members_K={})
    assert caution == Caution("hydrogen", "75% of its atoms are hydrogen; no training material has more than 70%")


def test_models_that_disagree_are_named(mgb2: Structure) -> None:
    assert disagreement(np.array([[1.0, 35.0], [35.0, 36.0], [0.0, 0.0], [-4.0, 0.0]])) == pytest.approx(
        [34 / 40, 1 / 41, 0, 0]
    )
    (caution,) = cautions_of(LIMITS, mgb2, members_K={"alignn": 1.0, "dinov3": 29.0, "pair": 35.0})
    assert caution.kind == "disagreement" and "alignn 1 K, dinov3 29 K, pair 35 K" in caution.text
    assert cautions_of(LIMITS, mgb2, members_K={"alignn": 1.0}) == ()


def test_a_measured_value_outside_the_interval_is_flagged(mgb2: Structure) -> None:
    known = Known("MgB2", 39.0, 38.0, 39.5, 3, "literature", 0.0)
    for upper_K, expected in ((39.0, []), (38.9, ["known"])):
        found = cautions_of(LIMITS, mgb2, members_K={}, lower_K=1.0, upper_K=upper_K, known=known)
        assert kinds(found) == expected
    (caution,) = cautions_of(LIMITS, mgb2, members_K={}, lower_K=0.0, upper_K=10.0, known=known)
    assert "39 K (literature), outside the interval 0 to 10 K" in caution.text


def test_distances_are_flagged_from_the_99th_percentile_on_and_name_the_nearest(mgb2: Structure) -> None:
    training = pd.DataFrame({"formula": ["Nb3Sn", "AlB2"], "tc": [18.0, 0.0]})
    near, far = Distance(0.1, 0.989, 1), Distance(0.9, 0.991, 1)
    assert cautions_of(LIMITS, mgb2, members_K={}, composition=near, graph=near) == ()
    found = cautions_of(LIMITS, mgb2, members_K={}, composition=far, graph=far, training=training)
    assert kinds(found) == ["composition", "structure"] and all("AlB2" in caution.text for caution in found)


def test_a_prediction_above_99_percent_of_the_training_set_is_flagged(mgb2: Structure) -> None:
    training = pd.DataFrame({"formula": ["Nb"] * 1001, "tc": np.linspace(0, 100, 1001)})
    assert cautions_of(LIMITS, mgb2, members_K={}, tc_K=98.9, training=training) == ()
    (caution,) = cautions_of(LIMITS, mgb2, members_K={}, tc_K=99.25, training=training)
    assert caution.kind == "range"
    assert "only 8 of 1001 training materials have a higher Tc (at most 100 K)" in caution.text


def test_volumes_are_those_that_the_structures_were_made_of() -> None:
    random, names = np.random.default_rng(1), ["Mg", "B", "Nb", "Sn"]
    fractions = element_fractions(["".join(f"{e}{random.uniform(0.1, 1):.3f}" for e in names) for _ in range(80)])
    own = element_fractions(names).T @ np.array([18.0, 5.5, 17.9, 25.5])
    volumes = fractions @ own
    volumes[:8] *= 1.7  # some cells with large voids
    assert additive_volumes(fractions, volumes) == pytest.approx(own, abs=0.1)


def test_limits_are_quantiles_of_what_they_were_fitted_on_and_survive_their_file(tmp_path: Path) -> None:
    sample = pd.read_csv(ROOT / "data/sample/sample.csv").query("pressure_GPa == 0").iloc[::3]
    structures = [read_crystal(ROOT / cif) for cif in sample["cif"]]
    pred_K = np.column_stack([np.full(1000, 10.0), np.linspace(10, 0, 1000)])
    limits = fit_limits(structures, pred_K)
    ratios = [limits.volume_ratio(structure) for structure in structures]
    assert sum(np.array(ratios, float) < limits.least_volume) == 1, "the densest of 94"
    assert limits.most_hydrogen == max(structure.composition.get_atomic_fraction("H") for structure in structures)
    assert np.mean(disagreement(pred_K) > limits.most_disagreement) == pytest.approx(0.03, abs=0.002)
    (tmp_path / "cautions.json").write_text(json.dumps(plain_limits(limits)))
    assert read_limits(tmp_path / "cautions.json") == limits


@pytest.mark.parametrize(
    "edit", [{"least_volume": None}, {"volumes_A3": [1]}, {"volumes_A3": {"Xx": 3}}, {"most_hydrogen": -1}]
)
def test_edited_limits_are_refused(tmp_path: Path, edit: dict[str, object]) -> None:
    (tmp_path / "cautions.json").write_text(json.dumps(plain_limits(LIMITS) | edit))
    with pytest.raises(UserError, match=r"cautions\.json holds .* make it again with"):
        read_limits(tmp_path / "cautions.json")


def test_the_measured_quality_is_counted_by_hand() -> None:
    one, none = (Caution("pressure", ""),), ()
    both = (Caution("pressure", ""), Caution("hydrogen", ""))
    test = pd.DataFrame({"tc": [10.0, 10.0, 10.0, 10.0], "tc_pred": [14.0, 12.0, 11.0, 11.0]})
    said = caution_metadata(test, [one, both, none, none])
    assert said["flagged"] == 0.5 and said["by_kind"] == {"hydrogen": 0.25, "pressure": 0.5}
    assert (said["flagged_mae_K"], said["other_mae_K"], said["ratio"]) == (3.0, 1.0, 3.0)
    sample = pressure_sample()
    assert len(sample) == 11 and pressure_metadata(sample, [one] * 10 + [none])["not_flagged"] == [
        sample["material_id"].iloc[-1]
    ]


def test_the_sample_s_hydrides_under_pressure_are_flagged_by_their_volume() -> None:
    ambient = pd.read_csv(ROOT / "data/sample/sample.csv").query("pressure_GPa == 0")
    limits = fit_limits([read_crystal(ROOT / cif) for cif in ambient["cif"]], np.ones((50, 2)))
    hydrides = pressure_sample().query("family == 'hydride'")
    assert len(hydrides) == 8
    for cif in hydrides["cif"]:
        assert "pressure" in kinds(cautions_of(limits, read_crystal(Path(cif)), members_K={})), cif
    assert cautions_for is not None
