"""The API: the predictor's own JSON for good crystals, one sentence and 4xx for whatever else comes."""

import io
import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymatgen.core import Structure
from starlette.testclient import TestClient

from tc_common.crystals import read_crystal
from tests.web.made import LSCO, MGB2, ROOT, StandIn
from web.uploads import LARGEST_CRYSTAL, MOST_CRYSTALS

CASES = sorted(path for path in (ROOT / "tests/cases/cif").rglob("*") if path.is_file())
PATHS = ("/api/crystal", "/api/predict")


def send(client: TestClient, path: str, content: bytes, name: str = "a.cif", **fields: str) -> Any:
    return client.post(path, files={"file": (name, content)}, data=fields)


def refusal(answer: Any, status: int = 422) -> str:
    """The one sentence of a refused request."""
    assert answer.status_code == status, answer.text
    sentence = answer.json()["error"]
    assert sentence and "\n" not in sentence and "Traceback" not in sentence
    return str(sentence)


def mutants() -> Iterator[bytes]:
    """A good file cut short, with bytes exchanged, repeated or lost: each kind of damage, at places drawn once."""
    draw = random.Random(0)
    for _ in range(20):
        at = draw.randrange(len(LSCO))
        yield LSCO[:at]
        yield LSCO[:at] + bytes([draw.randrange(256)]) + LSCO[at + 1 :]
        yield LSCO[:at] + LSCO[at + draw.randrange(1, 60) :]
        yield LSCO[:at] + LSCO[max(0, at - 80) :]
        yield LSCO.replace(b" ", draw.choice([b"\t", b"\0", b"\xff", b"  \n", b"?"]), draw.randrange(1, 40))


def test_a_prediction_is_the_predictors_own_json(client: TestClient) -> None:
    answer = send(client, "/api/predict", MGB2, "MgB2.cif")
    structure: Structure = read_crystal(ROOT / "data/sample/cifs/MgB2-AlB2.cif")
    assert answer.json() == next(StandIn().predict_many([structure], ["MgB2.cif"], lambda x: x)).to_dict()


def test_a_doping_series_has_21_steps_from_0_to_half_unless_asked_otherwise(client: TestClient) -> None:
    series = send(client, "/api/substitute", LSCO, old="La", new="Sr").json()
    assert series["fractions"] == pytest.approx([n / 40 for n in range(21)]) and len(series["predictions"]) == 21
    assert send(client, "/api/substitute", LSCO, old="La", fractions="0,0.3").json()["fractions"] == [0, 0.3]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"old": "Fe", "new": "Co"}, "no Fe in this crystal"),
        ({"old": "La", "new": "Xx"}, "Xx is no element"),
        ({"old": "La", "fractions": "0,x"}, "numbers with commas"),
        ({"old": "La", "fractions": "0,nan"}, "from 0 to 1"),
        ({"old": "La", "fractions": "1.5"}, "from 0 to 1"),
        ({"old": "La", "fractions": ",".join(["0"] * 102)}, "between 1 and 101"),
        ({"old": "L" * 1801}, "old: "),
        ({}, "old: "),
    ],
)
def test_a_question_that_makes_no_sense_is_one_sentence(
    client: TestClient, fields: dict[str, str], reason: str
) -> None:
    assert reason in refusal(send(client, "/api/substitute", LSCO, **fields))


@pytest.mark.parametrize("path", PATHS)
def test_no_file_of_the_cases_is_an_error_of_the_server(client: TestClient, path: str) -> None:
    answers = [send(client, path, case.read_bytes()[:LARGEST_CRYSTAL], case.name) for case in CASES]
    assert len(answers) > 150 and {answer.status_code for answer in answers} == {200, 422}
    assert all(refusal(answer) for answer in answers if answer.status_code == 422)


def test_damaged_files_are_refused_or_read(client: TestClient) -> None:
    answers = [send(client, "/api/predict", content) for content in mutants()]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(refused) > 40 and all(refusal(answer) for answer in refused)


def test_what_is_too_large_by_one_byte_is_refused(client: TestClient) -> None:
    filled = MGB2 + b"\n#" + b" " * (LARGEST_CRYSTAL - len(MGB2) - 2)
    assert send(client, "/api/predict", filled).status_code == 200
    assert "larger than 500 kB" in refusal(send(client, "/api/predict", filled + b" "), 413)
    assert "more than 0.5 MB" in refusal(send(client, "/api/predict", filled + b" " * 200_000), 413)


def test_too_many_sites_are_refused(client: TestClient) -> None:
    rows = "".join(f"Si{n} Si {n % 7 / 7 + 0.01} {n // 7 % 7 / 7} {n // 49 / 7}\n" for n in range(343))
    cell = "".join(f"_cell_length_{axis} 21\n" for axis in "abc")
    cell += "".join(f"_cell_angle_{angle} 90\n" for angle in ("alpha", "beta", "gamma"))
    columns = "loop_\n" + "".join(f"_atom_site_{name}\n" for name in ("label", "type_symbol"))
    columns += "".join(f"_atom_site_fract_{axis}\n" for axis in "xyz")
    text = f"data_large\n_symmetry_space_group_name_H-M 'P 1'\n{cell}{columns}{rows}"
    assert "343 sites in the cell; this page takes 300" in refusal(send(client, "/api/predict", text.encode()))


def test_markup_in_a_name_or_a_formula_comes_back_as_json_text(client: TestClient) -> None:
    name = '<img src=x onerror="alert(1)">.cif'
    answer = send(client, "/api/predict", b"<script>alert(1)</script>", name)
    assert "no CIF" in refusal(answer) and answer.headers["content-type"] == "application/json"
    assert answer.json()["name"].endswith(".cif") and answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/api/predict", "/api/crystal", "/api/batch", "/api/pictures", "/api/attention"])
def test_a_request_without_a_file_is_one_sentence(client: TestClient, path: str) -> None:
    assert refusal(client.post(path))
    broken = client.post(path, content=b"not a form", headers={"content-type": "multipart/form-data; boundary=x"})
    assert refusal(broken, 400 if broken.status_code == 400 else 422)


def test_unknown_paths_and_methods_answer_in_json(client: TestClient) -> None:
    assert refusal(client.get("/api/nothing"), 404)
    assert refusal(client.get("/api/predict"), 405)
    assert refusal(client.get("/api/sample/100000"), 404)
    assert refusal(client.get("/static/../app.py"), 404)
    assert refusal(client.get("/static/%2e%2e/app.py"), 404)


def test_a_batch_answers_a_line_for_each_crystal_in_order(client: TestClient) -> None:
    files = [("file", ("one.cif", MGB2)), ("file", ("bad.cif", b"data_x")), ("file", ("two.cif", LSCO))]
    answer = client.post("/api/batch", files=files)
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert answer.headers["x-crystals"] == "3" and answer.headers["content-type"] == "application/x-ndjson"
    assert [row["name"] for row in rows] == ["one.cif", "bad.cif", "two.cif"]
    assert [row["error"] is None for row in rows] == [True, False, True]
    assert rows[0] == send(client, "/api/predict", MGB2, "one.cif").json()


def test_a_batch_of_too_many_files_is_refused(client: TestClient) -> None:
    files = [("file", (f"{n}.cif", b"data_")) for n in range(MOST_CRYSTALS + 1)]
    assert "200 files" in refusal(client.post("/api/batch", files=files))


def test_nothing_of_a_large_batch_is_written_to_disk(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", lambda _: pytest.fail("a file was written"))
    files = [("file", (f"{n}.cif", MGB2 + b"#" * 400_000)) for n in range(10)]
    assert len(client.post("/api/batch", files=files).text.splitlines()) == 10


def test_pictures_are_png_of_six_by_three_views(client: TestClient) -> None:
    import cv2
    import numpy as np

    for path in ("/api/pictures", "/api/attention"):
        answer = send(client, path, MGB2)
        image = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
        assert (
            answer.headers["content-type"] == "image/png"
            and image is not None
            and image.shape == (3 * 224, 6 * 224, 3)
        )
        assert image.std() > 10


def test_attribution_has_a_number_for_every_site(client: TestClient) -> None:
    sites = send(client, "/api/crystal", LSCO).json()["sites"]
    assert len(send(client, "/api/attribution", LSCO).json()["site_K"]) == len(sites)


def test_the_sample_can_be_listed_and_each_crystal_predicted(client: TestClient) -> None:
    crystals = client.get("/api/sample").json()
    number = next(n for n, each in enumerate(crystals) if each["id"] == "MgB2-AlB2")
    assert len(crystals) > 200 and crystals[number]["formula"] == "MgB2"
    content = client.get(f"/api/sample/{number}").content
    assert content == MGB2 and send(client, "/api/predict", content).status_code == 200


def test_the_openapi_document_lists_the_paths_and_no_page_loads_scripts_from_elsewhere(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/api/predict", "/api/substitute", "/api/batch"} <= set(paths)
    assert client.get("/docs").status_code == 404


def test_poscar_and_gzip_are_read_by_their_names(client: TestClient, tmp_path: Path) -> None:
    import gzip

    structure = read_crystal(ROOT / "data/sample/cifs/MgB2-AlB2.cif")
    text = structure.to(fmt="poscar").encode()
    assert send(client, "/api/crystal", text, "POSCAR").json()["formula"] == "MgB2"
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as stream:
        stream.write(MGB2)
    assert send(client, "/api/crystal", packed.getvalue(), "a.cif.gz").json()["formula"] == "MgB2"
