"""Substitutions, what is rejected, series by their highest Tc, and ordered approximants of doped cells."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pymatgen.core import Composition, Lattice, Structure
from pymatgen.io.vasp import Poscar

from prediction.screening.approximants import approximant, export
from prediction.screening.campaign import can_balance, expanded, read_substitutions, write_series
from prediction.screening.columns import flat, schema_of, table_of, write_table
from prediction.screening.inputs import open_inputs
from prediction.screening.items import read_item
from prediction.screening.plan import Plan
from prediction.screening.shard import shard_path
from tc_common.errors import UserError


def parents(tmp_path: Path, structure: Structure) -> Plan:
    """A plan of one parent."""
    structure.to(filename=str(tmp_path / "parent.json"))
    return Plan(tuple(open_inputs([tmp_path / "parent.json"], tmp_path / "index")[0]))


def perovskite(a: str = "Sr", b: str = "Ti") -> Structure:
    sites: list[list[float]] = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Structure(Lattice.cubic(3.9), [a, b, "O", "O", "O"], sites)


def test_a_table_expands_parents_and_rejects_impossible_charges(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("old,new,fractions\nSr,La,0 0.1 0.2\nO,F,1\nO,,0.1\nNa,K,0.5\n")
    plan = expanded(parents(tmp_path, perovskite()), tmp_path / "table.csv", tmp_path / "s.parquet")
    items = {item.name.split("|", 1)[1]: item for shard in range(plan.shards) for item in plan.items(shard)}
    assert [*items] == ["Sr>La|0", "Sr>La|0.1", "Sr>La|0.2", "O>F|1", "O>vacancy|0.1"]
    doped = read_item(items["Sr>La|0.1"]).composition
    assert doped["La"] == pytest.approx(0.1) and doped["Sr"] == pytest.approx(0.9) and doped["O"] == 3
    assert read_item(items["O>vacancy|0.1"]).composition["O"] == pytest.approx(2.7)
    # SrTiF3: Sr 2+ and Ti 2+ at least against three F-: no balance; SrTiO3 has one
    assert "no usual oxidation states" in items["O>F|1"].error


@pytest.mark.parametrize(
    ("formula", "balanced"),
    [("La1.85Sr0.15CuO4", True), ("NaCl", True), ("Na0.5Ca0.5Cl", False), ("NaK", False), ("YBa2Cu3O6.5", True)],
)
def test_charges_balance_with_mixed_states_or_not(formula: str, balanced: bool) -> None:
    assert can_balance(Composition(formula)) is balanced


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("La,Xx,0.1", "line 2: "),
        ("La,Sr,2", "from 0 to 1"),
        ("La,La,0.1", "differ"),
        ("La,Sr,a", "line 2: "),
        ("", "no rows"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(tmp_path: Path, row: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(f"old,new,fractions\n{row}\n")
    with pytest.raises(UserError, match=message):
        read_substitutions(tmp_path / "t.csv")


def test_series_are_ranked_by_their_highest_tc(tmp_path: Path) -> None:
    domes = {"a|La>Sr": [10.0, 30.0, 20.0], "b|La>Sr": [25.0, 26.0, 5.0], "b|La>Ba": [1.0, 40.0, 2.0]}
    names = [(f"{series}|{n / 10:g}", tc_K) for series, dome in domes.items() for n, tc_K in enumerate(dome)]
    rows = [
        flat(n, {"name": name, "formula": "X", "error": None, "model": "m", "tc_K": tc_K})
        for n, (name, tc_K) in enumerate(names)
    ]
    for shard in range(2):  # a series may cross the end of a shard
        write_table(shard_path(tmp_path, shard), table_of(rows[shard * 5 : shard * 5 + 5], schema_of([])))
    write_series(tmp_path / "series.parquet", tmp_path, 2, 2)
    found = pq.read_table(tmp_path / "series.parquet").to_pylist()
    assert [(row["parent"], row["substitution"]) for row in found] == [("b", "La>Ba"), ("a", "La>Sr")]
    assert found[1]["highest_tc_K"] == 30.0 and found[1]["at_fraction"] == 0.1 and found[1]["gain_K"] == 20.0


def test_an_approximant_has_whole_atoms_of_the_nearest_composition() -> None:
    doped = perovskite()
    doped[0] = {"Sr": 0.75, "La": 0.25}
    made = approximant(doped, 40)
    assert made.structure.is_ordered and made.missed == pytest.approx(0.0)
    assert made.structure.composition.reduced_composition == Composition("Sr3LaTi4O12")
    assert np.prod(made.repeats) == 4 and len(made.structure) == 20


def test_vacancies_and_cells_too_small_for_a_composition() -> None:
    empty = perovskite()
    for site in (2, 3, 4):
        empty[site] = {"O": 0.9}
    assert approximant(empty, 5).structure.composition == Composition("SrTiO3")
    assert approximant(empty, 5).missed == pytest.approx(abs(3 / 5 - 2.7 / 4.7))
    large = approximant(empty, 60)
    assert large.missed < 0.01 and large.structure.composition["O"] < 3 * large.structure.composition["Sr"]


def test_the_rarer_atoms_lie_apart() -> None:
    doped = perovskite()
    doped[0] = {"Sr": 0.75, "La": 0.25}
    large = approximant(doped.copy().make_supercell((2, 1, 1)), 40).structure
    lanthanum = [number for number, site in enumerate(large) if site.specie.symbol == "La"]
    strontium = [number for number, site in enumerate(large) if site.specie.symbol == "Sr"]
    assert len(lanthanum) == 1 or min(large.get_distance(a, b) for a in lanthanum for b in lanthanum if a != b) > 3.9
    assert len(strontium) == 3 * len(lanthanum)


def test_the_export_is_poscars_with_a_readme(tmp_path: Path) -> None:
    doped = perovskite()
    doped[0] = {"Sr": 0.5, "La": 0.5}
    plan = parents(tmp_path, doped)
    good = {
        "name": "parent.json",
        "formula": "La0.5Sr0.5TiO3",
        "error": None,
        "model": "m",
        "tc_K": 3.0,
        "lower_K": 1.0,
    }
    top = table_of([flat(0, good)], schema_of([]))
    top = top.add_column(0, "rank", [[1]]).add_column(0, "criterion", [["lower_K"]])
    write_table(tmp_path / "top.parquet", top)
    export(tmp_path / "poscars", tmp_path / "top.parquet", plan, 5, 20)
    (path,) = (tmp_path / "poscars").glob("*.vasp")
    structure = Poscar.from_file(path).structure
    assert structure.composition.reduced_composition == Composition("SrLaTi2O6")
    readme = (tmp_path / "poscars/README.md").read_text()
    assert path.name in readme and "neither enumerated" in readme
    with pytest.raises(UserError, match="is not empty"):
        export(tmp_path / "poscars", tmp_path / "top.parquet", plan, 5, 20)
