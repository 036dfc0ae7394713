"""Files that a command line names, and formulas of what was read."""

from pathlib import Path

import pytest

from prediction.inputs import check_table, cif_files
from tc_common.errors import UserError
from tests.prediction.test_predictor import FAR


def test_folders_are_searched_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b/2.cif", "b/10.CIF", "a.cif", "c/d/e.cif.gz", "b/readme.txt", "z.cif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "c/loop").symlink_to(tmp_path)
    found = [str(path.relative_to(tmp_path)) for path in cif_files([tmp_path, tmp_path / "z.cif"])]
    assert found == ["a.cif", "b/10.CIF", "b/2.cif", "c/d/e.cif.gz", "z.cif", "z.cif"]


def test_a_table_never_takes_the_place_of_a_crystal(tmp_path: Path) -> None:
    folder, kept = tmp_path / "f", tmp_path / "f/kept.txt"
    folder.mkdir()
    for path in (folder / "a.cif", kept):
        path.write_text(FAR)
    (folder / "link.csv").symlink_to("a.cif")
    (folder / "hard.csv").hardlink_to(folder / "a.cif")
    for table, read in (
        ("a.cif", kept),
        ("new.CIF", kept),
        ("link.csv", kept),
        ("hard.csv", folder),
        ("kept.txt", kept),
    ):
        with pytest.raises(UserError, match=r"--csv predictions\.csv"):
            check_table(folder / table, [read])
    for allowed in (folder / "new.csv", kept, Path("/dev/null"), Path("/dev/stdout")):
        check_table(allowed, [folder])
