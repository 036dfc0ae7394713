"""The graph cache: same graphs, new key for a new content, no trust in a damaged file."""

from pathlib import Path

import numpy as np
import pytest

from gat_pipeline import cache
from gat_pipeline.cache import graphs_of
from gat_pipeline.graphs import CrystalGraph, GraphOptions
from tc_common.errors import UserError
from tests.gat_pipeline.crystals import OPTIONS, ROOT, sample_rows


def cifs(number: int) -> list[Path]:
    return [ROOT / row["cif"] for row in sample_rows()[:number]]


def same(one: list[CrystalGraph], other: list[CrystalGraph]) -> bool:
    names = ("atom_features", "source", "target", "bond_A", "lattice", "composition")
    return len(one) == len(other) and all(
        np.array_equal(getattr(a, name), getattr(b, name)) and getattr(a, name).dtype == getattr(b, name).dtype
        for a, b in zip(one, other, strict=True)
        for name in names
    )


def test_the_cache_gives_back_what_was_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = graphs_of(cifs(5), OPTIONS, tmp_path)
    monkeypatch.setattr(cache, "build_graph", lambda *_: pytest.fail("built again"))
    assert same(graphs_of(cifs(5), OPTIONS, tmp_path), built)


def test_processes_give_what_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = graphs_of(cifs(8), OPTIONS, None)
    monkeypatch.setattr(cache, "WORTH_PROCESSES", 2)
    monkeypatch.setattr(cache, "CHUNK", 2)
    assert same(graphs_of(cifs(8), OPTIONS, None), alone)


def test_content_options_and_order_make_the_key(tmp_path: Path) -> None:
    folder, cif = tmp_path / "cache", tmp_path / "a.cif"
    text = next(path for path in cifs(287) if "La1.9Sr0.1CuO4" in path.name).read_text(encoding="utf-8")
    cif.write_text(text, encoding="utf-8")
    before = graphs_of([cif], OPTIONS, folder)
    cif.write_text(
        text.replace("0.95", "0.9").replace("0.05", "0.1").replace("La1.9 Sr0.1", "La1.8 Sr0.2"), encoding="utf-8"
    )
    after = graphs_of([cif], OPTIONS, folder)
    assert not np.array_equal(before[0].atom_features, after[0].atom_features), "an old graph for a new doping"
    graphs_of([cif], GraphOptions(neighbours=8), folder)
    graphs_of(cifs(2), OPTIONS, folder)
    graphs_of(cifs(2)[::-1], OPTIONS, folder)
    assert len(list(folder.glob("*.npz"))) == 5


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_a_damaged_cache_is_built_again(tmp_path: Path, damage: str) -> None:
    built = graphs_of(cifs(3), OPTIONS, tmp_path)
    (file,) = tmp_path.glob("*.npz")
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0xFF
    damaged: dict[str, bytes | bytearray] = {
        "cut": content[: len(content) // 2],
        "flipped": content,
        "empty": b"",
        "other": b"not a zip",
    }
    file.write_bytes(damaged[damage])
    assert same(graphs_of(cifs(3), OPTIONS, tmp_path), built)
    assert same(graphs_of(cifs(3), OPTIONS, tmp_path), built)


def test_a_pickle_in_the_cache_is_not_run(tmp_path: Path) -> None:
    built = graphs_of(cifs(1), OPTIONS, tmp_path)
    (file,) = tmp_path.glob("*.npz")
    with file.open("wb") as stream:
        np.savez(stream, atom_features=np.array([{"a": 1}], dtype=object))
    assert same(graphs_of(cifs(1), OPTIONS, tmp_path), built)


def test_crystals_without_a_graph_are_all_named(tmp_path: Path) -> None:
    bad = [tmp_path / f"bad{number}.cif" for number in range(7)]
    for path in bad:
        path.write_text("data_x\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"7 crystals have no graph: .*bad0\.cif.*bad4\.cif.*and 2 more"):
        graphs_of([*cifs(2), *bad], OPTIONS, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*")) if (tmp_path / "cache").exists() else True
    with pytest.raises(UserError, match=r"gone\.cif: cannot be read"):
        graphs_of([tmp_path / "gone.cif"], OPTIONS, tmp_path / "cache")
