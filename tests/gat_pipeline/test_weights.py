"""First weights: published layouts load strictly, and what is broken, foreign or hostile is refused with a remedy."""

import dataclasses
import hashlib
import io
import json
import os
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from gat_pipeline import published, weights
from gat_pipeline.dataset import join
from gat_pipeline.graphs import GraphOptions
from gat_pipeline.model import create_alignn_model, model_of
from gat_pipeline.network import Alignn, NetworkShape
from gat_pipeline.published import PUBLISHED, Published
from gat_pipeline.train import GraphTrainConfig, build_model
from gat_pipeline.weights import find_weights, load_strictly, read_weights
from tc_common import download
from tc_common.errors import UserError
from tests.gat_pipeline.crystals import sample_graphs
from tests.gat_pipeline.tables import split_table

SMALL = NetworkShape(hidden=32, embedding=16, alignn_layers=1, gcn_layers=1)
NAME = "jv_supercon_tc_alignn"


def published_state(shape: NetworkShape = SMALL) -> dict[str, Tensor]:
    """A state dict as alignn's own network has it, last layer included."""
    torch.manual_seed(7)
    head = torch.nn.Linear(shape.hidden, 1)
    return {**Alignn(shape).state_dict(), "fc.weight": head.weight.data, "fc.bias": head.bias.data}


def published_zip(content: Any, member: str = "jv_supercon/checkpoint_300.pt") -> bytes:
    stream, checkpoint = io.BytesIO(), io.BytesIO()
    torch.save(content, checkpoint)
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("jv_supercon/config.json", "{}")
        archive.writestr(member, checkpoint.getvalue())
    return stream.getvalue()


class Server(ThreadingHTTPServer):
    """A figshare with one file and its listing."""

    content = b""
    md5: str | None = None
    status = 200
    stated_length: int | None = None
    asked: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        md5 = self.server.md5 or hashlib.md5(self.server.content).hexdigest()
        listed = {"id": 42, "name": "x.zip", "size": len(self.server.content), "download_url": "x"}
        body = (
            json.dumps([listed | {"computed_md5": md5}]).encode() if "articles" in self.path else self.server.content
        )
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(self.server.stated_length or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.asked, server.content = [], published_zip({"model": published_state(), "optimizer": {}})
    root = f"http://127.0.0.1:{server.server_address[1]}"
    for name, value in {"FIGSHARE_API": f"{root}/v2", "STALL_S": 5.0, "ATTEMPTS": 2, "PAUSE_S": 0.01}.items():
        monkeypatch.setattr(download, name, value)
    monkeypatch.setitem(PUBLISHED, NAME, dataclasses.replace(PUBLISHED[NAME], url=f"{root}/files/42"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def test_published_weights_are_fetched_once_and_predict(server: Server, tmp_path: Path) -> None:
    first = find_weights(NAME, tmp_path)
    again = find_weights(NAME, tmp_path)
    assert first is not None and again is not None
    digest = hashlib.sha256(server.content).hexdigest()
    assert first.origin == again.origin == f"pretrained:{NAME}@{digest[:12]}"
    assert [path for path in server.asked if "files/42" in path] == ["/files/42"]
    model = model_of(first)
    state = published_state()
    batch = join(sample_graphs()[:3])
    with torch.inference_mode():
        expected = model.backbone(batch) @ state["fc.weight"].T + state["fc.bias"]
        assert torch.allclose(model(batch), expected.squeeze(1))
    assert torch.equal(
        model.backbone.state_dict()["gcn_layers.0.src_gate.weight"], state["gcn_layers.0.src_gate.weight"]
    )


def test_a_file_with_another_checksum_is_not_kept(server: Server, tmp_path: Path) -> None:
    server.md5 = "0" * 32
    with pytest.raises(UserError, match="came with MD5"):
        find_weights(NAME, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("status", "length", "content"), [(404, None, b"no"), (202, None, b""), (200, 10**6, b"cut"), (500, None, b"")]
)
def test_a_download_that_fails_leaves_nothing(
    server: Server, tmp_path: Path, status: int, length: int | None, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PUBLISHED, NAME, dataclasses.replace(PUBLISHED[NAME], article=None))
    server.status, server.stated_length, server.content = status, length, content
    with pytest.raises(UserError, match=r"files/42.*--init PATH"):
        find_weights(NAME, tmp_path)
    assert not (tmp_path / f"{NAME}.zip").exists()


def test_too_large_a_download_is_stopped(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "LARGEST_BYTES", 1000)
    with pytest.raises(UserError, match="more than 1000"):
        find_weights(NAME, tmp_path)
    assert not list(tmp_path.iterdir())


def test_offline_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = Published(url="http://127.0.0.1:9/files/1", property="Tc")
    monkeypatch.setitem(PUBLISHED, NAME, dead)
    with pytest.raises(UserError, match=r"cannot download .*--init PATH.*--init pretrained.*--init random"):
        find_weights(NAME, tmp_path)


def test_a_download_changed_on_the_disk_is_refused(server: Server, tmp_path: Path) -> None:
    find_weights(NAME, tmp_path)
    with (tmp_path / f"{NAME}.zip").open("ab") as stream:
        stream.write(b"!")
    with pytest.raises(UserError, match="is not the file that was downloaded"):
        find_weights(NAME, tmp_path)


@pytest.mark.parametrize("model", PUBLISHED.values(), ids=PUBLISHED)
def test_published_links_are_those_of_alignn(model: Published) -> None:
    pytest.importorskip("alignn.deprecated.pretrained")
    from alignn.deprecated.pretrained import all_models
    from alignn.pretrained import ALIGNN2_MODELS

    name = next(name for name, other in PUBLISHED.items() if other is model)
    if name in ALIGNN2_MODELS:
        theirs = ALIGNN2_MODELS[name]
        assert (model.url, model.article) == (theirs["url"], theirs["figshare_article_id"])
        assert (model.options.rule, model.options.cutoff_A) == (theirs["graph"], theirs["cutoff"])
    else:
        assert model.url == all_models[name][0]
    assert model.url.startswith("https://")


# ---- files -------------------------------------------------------------------------------------------------------


class Hostile:
    """Pickles into a command."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_runs_code_is_refused(tmp_path: Path, zipped: bool) -> None:
    evidence = tmp_path / "ran"
    path = tmp_path / ("evil.zip" if zipped else "evil.pt")
    if zipped:
        path.write_bytes(published_zip({"model": Hostile(evidence)}))
    else:
        torch.save({"model": Hostile(evidence)}, path)
    with pytest.raises(UserError, match="is refused: it holds more than tensors and plain values"):
        find_weights(str(path), tmp_path)
    assert not evidence.exists()


@pytest.mark.parametrize("content", [b"", b"<html>queue</html>", b"PK\x03\x04broken"])
@pytest.mark.parametrize("name", ["a.zip", "a.pt", "a.safetensors"])
def test_what_is_no_weights_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=name):
        find_weights(str(path), tmp_path)


def test_names_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--init nonsense: no such file.*mp_e_form_alignn"):
        find_weights("nonsense", tmp_path)
    assert find_weights("random", tmp_path) is None


def test_shipped_weights_that_are_absent_name_their_maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "SHIPPED", tmp_path / "gone.safetensors")
    with pytest.raises(UserError, match=r"gone\.safetensors is missing.*gat_pipeline\.pretrain"):
        find_weights("pretrained", tmp_path)


def test_missing_surplus_and_misfit_tensors_are_refused() -> None:
    state = Alignn(SMALL).state_dict()
    fewer = {name: value for name, value in state.items() if name != "gcn_layers.0.src_gate.bias"}
    for wrong in (fewer, {**state, "more": torch.zeros(1)}, {**state, "gcn_layers.0.src_gate.bias": torch.zeros(3)}):
        with pytest.raises(UserError, match="file:x does not fit this network"):
            load_strictly(Alignn(SMALL), wrong, "file:x")


def test_safetensors_with_their_card(tmp_path: Path) -> None:
    model = create_alignn_model(shape=SMALL, seed=5)
    tensors = {
        f"{part}.{name}": value
        for part in ("backbone", "head")
        for name, value in getattr(model, part).state_dict().items()
    }
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"w\.json cannot be read"):
        read_weights(tmp_path / "w.safetensors", "file:w")
    card = {
        "graph": GraphOptions(neighbours=9).plain(),
        "target": {"kind": "log1p", "mean": 1.5, "std": 2.0},
        "training": {"n": 1},
    }
    (tmp_path / "w.json").write_text(json.dumps(card), encoding="utf-8")
    found = read_weights(tmp_path / "w.safetensors", "file:w")
    assert found.options == GraphOptions(neighbours=9) and found.shape == SMALL and found.training == {"n": 1}
    rebuilt = model_of(found)
    batch = join(sample_graphs()[:2])
    with torch.inference_mode():
        raw = model.eval().head(model.backbone(batch)).squeeze(1)
        assert torch.allclose(rebuilt(batch), torch.expm1(raw * 2.0 + 1.5))


# ---- a training that starts from weights -------------------------------------------------------------------------


@pytest.fixture
def file_of_weights(tmp_path: Path) -> Path:
    torch.save({"model": published_state()}, tmp_path / "w.pt")
    return tmp_path / "w.pt"


def test_training_starts_from_the_weights_with_a_new_head(file_of_weights: Path) -> None:
    config = GraphTrainConfig(init=str(file_of_weights), hidden=32, alignn_layers=1, gcn_layers=1)
    model = build_model(config, find_weights(config.init, Path()), split_table(4))
    state = published_state()
    assert all(torch.equal(value, state[name]) for name, value in model.backbone.state_dict().items())
    assert len(list(model.head.children())) == 5


def test_flags_that_contradict_the_weights_are_refused(file_of_weights: Path) -> None:
    found = find_weights(str(file_of_weights), Path())
    assert found is not None
    with pytest.raises(UserError, match="has hidden 32; add --hidden 32"):
        build_model(GraphTrainConfig(init="x"), found, split_table(4))
    other_graphs = dataclasses.replace(found, options=GraphOptions(rule="radius", cutoff_A=5.0, angle_cutoff_A=3.5))
    config = GraphTrainConfig(init="x", hidden=32, alignn_layers=1, gcn_layers=1)
    with pytest.raises(UserError, match=r"other graphs; add --graph\.rule radius --graph\.cutoff-A 5"):
        build_model(config, other_graphs, split_table(4))
