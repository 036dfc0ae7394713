"""Source tables: both forms of 3DSC, and rows that nobody should trust."""

import random
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.report import audit_log, show_rows
from data.tables import check_rows, jarvis_texts, limit_rows, read_table, rows_3dsc, rows_jarvis
from tc_common.errors import UserError
from tests.data.conftest import row, write_3dsc

GOOD = [row("Nb3Sn1", 18.0, "Nb3Sn1-MP-mp-1326.cif", "mp-1326"), row("Mg1B2", 39.0, "Mg1B2-MP-mp-763.cif", "mp-763")]


def test_the_rebuilt_and_the_upstream_form_give_the_same_rows(tmp_path: Path) -> None:
    """Upstream has a hundred columns, some of them numbers in a text, and no `material_id_2` is needed to find it."""
    upstream = [{"sc_class": "Other", **entry, **{f"col_{n}_2": n for n in range(95)}} for entry in GOOD]
    bare = [{key: entry[key] for key in ("formula_sc", "tc", "cif")} for entry in GOOD]
    forms = [
        rows_3dsc(write_3dsc(tmp_path / name, rows, {}, remark))
        for name, rows, remark in (("a", GOOD, True), ("b", upstream, True), ("c", bare, False))
    ]
    for rows in forms:
        assert list(rows["mp_id"]) == ["mp-763", "mp-1326"]
        assert list(rows["tc"]) == [39.0, 18.0]
        assert [Path(path).name for path in rows["cif"]] == ["Mg1B2-MP-mp-763.cif", "Nb3Sn1-MP-mp-1326.cif"]
    assert list(forms[0]["row"]) == [4, 3]
    assert list(forms[2]["row"]) == [3, 2]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tc": ""}, "no number"),
        ({"tc": "nan"}, "no number"),
        ({"tc": "inf"}, "no number"),
        ({"tc": "high"}, "no number"),
        ({"tc": "-1"}, "below 0"),
        ({"tc": "1000"}, "above 300"),
        ({"formula_sc": ""}, "no chemical formula"),
        ({"formula_sc": "Zz2"}, "no chemical formula"),
        ({"cif": "data/final/MP/cifs/../../../../etc/x.cif"}, "inside the source"),
        ({"cif": "cifs/x.txt"}, "inside the source"),
        ({"cif": ""}, "not a safe name"),
        ({"cif": "cifs/;touch x;#.cif"}, "not a safe name"),
        ({"cif": "cifs/$(id).cif"}, "not a safe name"),
        ({"cif": "cifs/-rf.cif"}, "not a safe name"),
        ({"cif": "cifs/" + "x" * 200 + ".cif"}, "not a safe name"),
    ],
)
def test_rows_that_nothing_can_mend_are_rejected(tmp_path: Path, change: dict[str, str], reason: str) -> None:
    rows = check_rows(rows_3dsc(write_3dsc(tmp_path, [GOOD[0], {**GOOD[1], **change}], {})))
    rejected = rows[rows["status"] == "rejected"]
    assert len(rejected) == 1
    assert reason in rejected["reason"].iloc[0]


def test_repeated_ids_are_used_once_if_they_agree_and_never_if_they_do_not(tmp_path: Path) -> None:
    repeated = check_rows(rows_3dsc(write_3dsc(tmp_path / "a", [*GOOD, GOOD[0]], {})))
    assert sorted(repeated["status"]) == ["", "", "rejected"]
    contradictory = check_rows(rows_3dsc(write_3dsc(tmp_path / "b", [*GOOD, {**GOOD[0], "tc": 17.0}], {})))
    assert sorted(contradictory["status"]) == ["", "rejected", "rejected"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no readable CSV"),
        (b"# only a remark\n", "no readable CSV"),
        (b"formula_sc,tc\nNb,9\n", "no column cif"),
        (b"formula_sc,tc,cif\n", "no rows"),
        (b"formula_sc,tc,cif\nNb,9,x.cif,too,many\nNb,9,x\n", "no readable CSV"),
        ("formula_sc,tc,cif\nNb,9,x.cif\n".encode("utf-16"), "no readable CSV"),
        (b'formula_sc,tc,cif\n"Nb,9,x.cif\n', "no readable CSV|no rows"),
        (b"\x00" * 100, "no readable CSV|no column"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError, match=reason):
        read_table(tmp_path / "t.csv", ("formula_sc", "tc", "cif"))


def test_short_rows_are_kept_and_rejected(tmp_path: Path) -> None:
    (tmp_path / "3DSC_MP.csv").write_text("formula_sc,tc,cif\nNb1,9.2,cifs/a.cif\nNb1\n")
    rows = check_rows(rows_3dsc(tmp_path))
    assert sorted(rows["status"]) == ["", "rejected"]


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="t.csv is missing"):
        read_table(tmp_path / "t.csv", ("tc",))


messy_rows = st.lists(
    st.fixed_dictionaries(
        {
            "formula_sc": st.sampled_from(["Nb3Sn1", "Mg1B2", "", "Zz", "NaN", "1e5", "H" * 300, "Nb;ls"]),
            "tc": st.one_of(st.floats(), st.sampled_from(["", "nan", "18 K", 1000, -3, "0x10", "1e999"])),
            "cif": st.sampled_from(["cifs/a.cif", "cifs/b.cif", "../x.cif", "", "cifs/;touch x;#.cif", "/etc/passwd"]),
        }
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(rows=messy_rows, seed=st.integers(0, 99))
def test_every_row_is_listed_once_with_a_fate_whatever_its_order(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("messy")
    shuffled = random.Random(seed).sample(rows, len(rows))
    first, second = (check_rows(rows_3dsc(write_3dsc(folder, table, {}))) for table in (rows, shuffled))
    assert sorted(first["row"]) == list(range(3, 3 + len(rows)))
    assert ((first["status"] == "") == (first["reason"] == "")).all()
    columns = ["material_id", "formula", "tc", "status", "reason"]
    as_text = [table[columns].astype(str).sort_values(columns).to_numpy().tolist() for table in (first, second)]
    assert as_text[0] == as_text[1]
    used = first[first["status"] == ""]
    assert used["tc"].between(0, 300).all()
    assert not used["material_id"].duplicated().any()


def test_a_limit_takes_even_steps_through_tc_whatever_the_order(tmp_path: Path) -> None:
    rows = [row(f"Nb{n}Sn", float(n), f"f{n:03d}.cif") for n in range(1, 101)]
    for table in (rows, rows[::-1]):
        limited = limit_rows(check_rows(rows_3dsc(write_3dsc(tmp_path, table, {}))), 12)
        kept = sorted(limited["tc"][limited["status"] == ""])
        assert len(kept) == 12
        assert (kept[0], kept[-1]) == (1, 100)
        assert max(pd.Series(kept).diff().dropna()) - min(pd.Series(kept).diff().dropna()) <= 1
    assert (limit_rows(check_rows(rows_3dsc(tmp_path)), 500)["status"] == "").all()


def test_jarvis_tables_hold_their_crystals_as_text(tmp_path: Path) -> None:
    table = pd.DataFrame({"material_id": ["JVASP-1", "../x"], "tc": [5.5, 1.0], "cif": ["data_a\n1", "data_b"]})
    table.to_csv(tmp_path / "t.csv", index=False)
    assert jarvis_texts([tmp_path / "t.csv"]) == {"JVASP-1": "data_a\n1"}
    rows = check_rows(rows_jarvis([tmp_path / "t.csv"], tmp_path / "cifs"))
    assert dict(zip(rows["material_id"], rows["status"], strict=True)) == {"JVASP-1": "", "../x": "rejected"}


def test_the_ledger_is_no_spreadsheet_program_and_nothing_acts_on_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = {"row": 2, "material_id": "=cmd|'/c calc'!A1", "formula": "@Nb\x1b[2J", "tc": -9.0, "reason": "-1 K\n"}
    table = audit_log(pd.DataFrame([{**bad, "status": "rejected"}]))
    assert table.iloc[0][["material_id", "formula", "reason"]].tolist() == [
        "'=cmd|'/c calc'!A1",
        "'@Nb\\x1b[2J",
        "'-1 K\\n",
    ]
    assert table["tc"].tolist() == [-9.0]
    entry = {**bad, "material_id": "a\x1b[2Jb"}
    show_rows({"rows": {}, "rejected": [entry], "altered": [], "retracted": [], "multiple_tc": []}, tmp_path)
    assert "\x1b" not in capsys.readouterr().out
