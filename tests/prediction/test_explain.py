"""Attributions add up, symmetry-equivalent sites get the same, and a game with known Shapley values is solved."""

from pathlib import Path

import numpy as np
import pytest

from prediction import Predictor, load_predictor
from prediction.explain import coalitions, of_trees, shapley
from prediction.models import Output, TreeModel
from tc_common.crystals import read_crystal
from tc_common.errors import UserError
from tests.prediction.conftest import ShippedStudy

CIFS = Path(__file__).parents[2] / "data/sample/cifs"


@pytest.fixture(scope="module")
def predictor(shipped: ShippedStudy) -> Predictor:
    return load_predictor(shipped.models)


class Additive(TreeModel):
    """Tc is 10 K times the fraction of magnesium plus 40 K times that of boron."""

    def __init__(self) -> None:
        self.name = "additive"

    def predict(self, prepared: object) -> Output:
        from tc_common.composition import element_fractions

        fractions = element_fractions(list(prepared))  # type: ignore[call-overload]
        return Output(10 * fractions[:, 11] + 40 * fractions[:, 4])


def test_reference_sites_and_gap_are_the_prediction(predictor: Predictor) -> None:
    for name in ("MgB2-AlB2", "YBa2Cu3O6.93-YBa2Cu3O7"):
        found = predictor.explain(CIFS / f"{name}.cif", name)
        assert len(found.site_K) == len(found.sites) == len(found.structure)
        assert max(found.reference_K + found.site_K.sum() + found.gap_K, 0) == pytest.approx(
            predictor.predict(CIFS / f"{name}.cif").tc_K, abs=1e-3
        )
        for member in found.members:
            moved_K = abs(member.tc_K - member.reference_K)
            assert abs(member.gap_K) <= 0.05 * moved_K + 1e-6, "the integral has converged"
        plain = found.to_dict()
        assert plain["sites"] == list(found.sites) and plain["site_K"] == found.site_K.tolist()


def test_equivalent_sites_add_the_same(predictor: Predictor) -> None:
    found = predictor.explain(CIFS / "MgB2-AlB2.cif")
    assert found.sites == ("Mg1", "B1", "B2")
    assert found.site_K[1] == pytest.approx(found.site_K[2], abs=1e-3) and found.site_K[0] != pytest.approx(
        found.site_K[1], abs=1e-3
    )


def test_explaining_changes_no_prediction(predictor: Predictor) -> None:
    before = predictor.predict(CIFS / "Nb3Sn-Cr3Si.cif").tc_K
    predictor.explain(CIFS / "Nb3Sn-Cr3Si.cif")
    assert predictor.predict(CIFS / "Nb3Sn-Cr3Si.cif").tc_K == before


def test_shapley_values_of_a_game_known_by_hand() -> None:
    # the glove game: a left glove (a) and one of two right ones (b, c) are worth 1; values 2/3, 1/6, 1/6
    worth = {
        frozenset(owned): float("a" in owned and bool({"b", "c"} & set(owned)))
        for owned in ("", "a", "b", "c", "ab", "ac", "bc", "abc")
    }
    assert [shapley(player, "abc", worth) for player in "abc"] == pytest.approx([2 / 3, 1 / 6, 1 / 6])


def test_elements_of_trees_are_divided_among_their_sites() -> None:
    structure = read_crystal(CIFS / "MgB2-AlB2.cif")
    values = coalitions(Additive(), {"Mg": 1.0, "B": 2.0}, 5.0)
    assert values == {
        frozenset(): 5.0,
        frozenset({"Mg"}): pytest.approx(10, abs=1e-4),
        frozenset({"B"}): pytest.approx(40, abs=1e-4),
        frozenset({"Mg", "B"}): pytest.approx(30, abs=1e-4),
    }
    tc_K, reference_K, site_K = of_trees(Additive(), structure, 5.0)
    # Mg: (10 - 5 + 30 - 40) / 2 = -2.5; B: (40 - 5 + 30 - 10) / 2 = 27.5, on two sites
    assert (tc_K, reference_K) == (pytest.approx(30, abs=1e-4), 5.0)
    assert site_K == pytest.approx(np.array([-2.5, 13.75, 13.75]), abs=1e-4)


def test_views_need_a_vision_network(predictor: Predictor) -> None:
    with pytest.raises(UserError, match="no vision network is shipped"):
        predictor.explain_views(CIFS / "MgB2-AlB2.cif")
