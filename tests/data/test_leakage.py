"""The audit against a brute-force oracle, and against cases whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from data.leakage import audit, neighbourhood
from tc_common.composition import formula_distance, fractions, parse_formula


def materials(*entries: tuple[str, float]) -> pd.DataFrame:
    rows = pd.DataFrame(list(entries), columns=["formula", "tc"])
    systems = ["-".join(fractions(parse_formula(formula))) for formula in rows["formula"]]
    return rows.assign(key=rows["formula"], chemical_system=systems, material_id=rows["formula"])


TRAIN = materials(("La2CuO4", 0.0), ("YBa2Cu3O7", 92.0), ("Nb3Sn", 18.0), ("MgB2", 39.0))
TEST = materials(
    ("La1.85Sr0.15CuO4", 38.0), ("YBa2Cu3O6.9", 91.0), ("Nb3Ge", 23.0), ("Pb", 7.2), ("La1.6Sr0.4CuO4", 20.0)
)


def test_against_brute_force() -> None:
    result = audit({"train": TRAIN, "test": TEST}, {})
    distances = np.array(
        [
            [formula_distance(*(fractions(parse_formula(f)) for f in (a, b))) for b in TRAIN["formula"]]
            for a in TEST["formula"]
        ]
    )
    for limit in (0.01, 0.05, 0.10):
        assert result["nearest_within"][f"{limit:.0%}"] == np.mean(distances.min(axis=1) < limit)
    copied_K = np.array([0.0, 92.0, 18.0, TRAIN["tc"].mean(), 0.0])  # lead shares no element with any
    probe = result["nearest_composition_probe"]["all"]
    assert probe["mae_K"] == pytest.approx(np.abs(copied_K - TEST["tc"]).mean())
    assert result["shared_systems"] == 0.2


def test_a_copied_test_set_is_found_out() -> None:
    result = audit({"train": TRAIN, "test": TRAIN}, {key: {"p"} for key in TRAIN["key"]})
    assert set(result["nearest_within"].values()) == {1.0}
    assert result["nearest_composition_probe"]["all"]["mae_K"] == 0
    assert result["shared_parents"] == result["shared_systems"] == 1


def test_parents_count_through_any_structure() -> None:
    parents = {"La2CuO4": {"p1", "p2"}, "La1.85Sr0.15CuO4": {"p2", "p3"}, "Nb3Ge": {"p9"}}
    assert audit({"train": TRAIN, "test": TEST}, parents)["shared_parents"] == 0.2


def test_superconductors_are_scored_apart() -> None:
    test = materials(("Nb3Sn0.9", 17.0), ("Cu", 0.0))
    probe = audit({"train": TRAIN, "test": test}, {})["nearest_composition_probe"]
    assert (probe["all"]["n"], probe["tc_above_zero"]["n"]) == (2, 1)


def test_neighbourhood_counts_who_has_company() -> None:
    table = pd.DataFrame({"chemical_system": ["a", "a", "b", "c"], "parent_group": ["p", "p", "p", "q"]})
    assert neighbourhood(table) == {"chemical_system": 0.5, "parent_group": 0.75}
