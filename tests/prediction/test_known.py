"""Known compounds: looked up by composition, whatever the spelling, and never a guess."""

from pathlib import Path

import pandas as pd
import pytest

from prediction.known import COLUMNS, KnownCompounds, known_table, read_known
from tc_common.errors import UserError
from tc_common.files import write_csv

SPLITS = {
    "train": pd.DataFrame({"formula": ["Cu1La1.85O4Sr0.15", "Mg0.97Al0.03B2"], "tc": [34.7, 37.5]}),
    "val": pd.DataFrame({"formula": ["Nb0.8Ti0.2"], "tc": [7.0]}),
    "test": pd.DataFrame({"formula": ["Zr1"], "tc": [0.5]}),
}
SUPERCON = pd.DataFrame(
    [
        ("La1.85Sr0.15Cu1O4", 36.0, "in splits"),
        ("La1.85Sr0.15Cu1O4", 33.4, "in splits"),
        ("La1.84Sr0.16Cu1O4", 38.0, "near held-out"),
        ("La1.83Sr0.15Zn0.02Cu1O4", 11.0, "included"),
        ("Ta2Ru3", 0.0, "included"),
        ("Ta2Ru3", 2.0, "repeated"),
        ("Ta4Ru6", 4.0, "repeated"),
        ("Y2C2Br0.5!1.5", 11.0, "rejected"),
    ],
    columns=["name", "tc", "status"],
)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> KnownCompounds:
    path = tmp_path_factory.mktemp("known") / "known.csv"
    write_csv(path, known_table(SPLITS, SUPERCON))
    return read_known(path)


def test_the_literature_comes_first_and_all_entries_give_the_range(known: KnownCompounds) -> None:
    found = known.lookup("Sr0.15La1.85CuO4")
    assert found is not None and (found.tc_K, found.source, found.distance) == (37.0, "literature", 0.0)
    # two rows of the same composition in SuperCon, one near it, and the literature's; not the one with zinc
    assert (found.lowest_K, found.highest_K, found.entries) == (33.4, 38.0, 4)


def test_a_composition_of_supercon_has_the_median_of_its_positive_entries(known: KnownCompounds) -> None:
    found = known.lookup("Ru3Ta2")
    assert found is not None and (found.tc_K, found.lowest_K, found.highest_K) == (3.0, 0.0, 4.0)
    assert (found.entries, found.source) == (3, "SuperCon")


def test_the_same_compound_ends_at_half_a_percent_of_the_atoms(known: KnownCompounds) -> None:
    near, far = known.lookup("Nb0.804Ti0.196"), known.lookup("Nb0.807Ti0.193")
    assert near is not None and near.distance == pytest.approx(0.004) and near.tc_K == 7.0
    assert far is None


def test_a_trace_of_another_element_is_told_apart_where_the_pure_compound_is_known(known: KnownCompounds) -> None:
    pure, doped = known.lookup("La1.83Sr0.17CuO4"), known.lookup("La1.83Sr0.15Zn0.02CuO4")
    assert pure is not None and "Zn" not in pure.formula and pure.tc_K > 30
    assert doped is not None and doped.tc_K == 11.0 and doped.entries == 1


def test_the_nearest_three_are_those_with_the_fewest_atoms_to_exchange(known: KnownCompounds) -> None:
    nearest = known.nearest("La1.85Sr0.15CuO4")
    assert [round(each.tc_K) for each in nearest] == [37, 38, 11]
    assert [each.distance for each in nearest] == pytest.approx([0.0, 0.01 / 7, 0.02 / 7], abs=1e-6)
    assert len(known.nearest("MgB2", count=5)) == 5


def test_formulas_are_written_without_lone_ones_and_keys_are_those_of_the_row(known: KnownCompounds) -> None:
    assert not known.table["formula"].str.contains(r"[A-Za-z]1(?![\d.])").any()
    found = known.lookup("Ta2Ru3")
    assert found is not None
    assert list(found.to_dict()) == ["formula", "tc_K", "lowest_K", "highest_K", "entries", "source", "distance"]


def test_without_supercon_the_splits_and_the_literature_are_known() -> None:
    table = known_table(SPLITS)
    assert set(table["source"]) == {"3DSC", "literature"}
    assert table.set_index("formula").loc["Nb0.8Ti0.2", ["tc", "entries"]].tolist() == [7.0, 1]


def test_crystals_under_pressure_are_not_known_at_ambient_pressure(known: KnownCompounds) -> None:
    assert known.lookup("LaH10") is None and known.lookup("H3S") is None


@pytest.mark.parametrize(
    "row",
    ["Nb3Sn,x,1,2,1,3DSC", "Nb3Sn,-1,1,2,1,3DSC", "Nb3Sn,1,3,2,1,3DSC", "Nb3Sn,nan,1,2,1,3DSC", "Xx3,1,1,1,1,3DSC"],
)
def test_a_damaged_table_is_refused(tmp_path: Path, row: str) -> None:
    (tmp_path / "known.csv").write_text(",".join(COLUMNS) + f"\n{row}\n")
    with pytest.raises(UserError) as error:
        read_known(tmp_path / "known.csv")
    assert "\n" not in str(error.value)


def test_what_is_no_formula_is_a_users_mistake(known: KnownCompounds) -> None:
    with pytest.raises(UserError, match="is no chemical formula"):
        known.lookup("Nb3Sn!")
