"""Check this machine and what is installed: one line a check, exit status 1 if one fails.

    python check_setup.py

ok: it works. missing: not needed by everything; the line says what for and how to add it. FAIL: something that every
program here needs does not work; the line says how to mend it. Nothing is downloaded or written.
"""

import json
import re
import shutil
import sys
import time
from collections.abc import Callable
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # every library is imported by the check that needs it: one that is missing fails that check alone
    from pymatgen.core import Structure
    from torch import Tensor

ROOT = Path(__file__).resolve().parent
DOWNLOADS = Path("models/downloads")
SAMPLE = ROOT / "data/sample/cifs/MgB2-AlB2.cif"
BACKBONE = "vit_small_patch16_dinov3"
LEAST_FREE_GB = 5.0
LEAST_MEMORY_GB = 3.0
SAME = 1e-5
INSTALL = "install it with: make setup"


class CheckFailed(Exception):
    """Something needed does not work; says what and how to mend it."""


class Missing(Exception):
    """Something optional is not there; says what it is for and how to add it."""


def main() -> int:
    """Run every check; returns the exit status."""
    checks: tuple[tuple[str, Callable[[], str]], ...] = (
        ("Python", python),
        ("libraries", libraries),
        ("device", device),
        ("memory", memory),
        ("disk", disk),
        ("renderer", renderer),
        ("graph", graph_conversion),
        ("doping", doping),
        ("engine torch", torch_engine),
        ("engine dgl", dgl_engine),
        ("vision", vision),
        ("hub cache", hub_cache),
        ("pretrained", pretrained),
        ("shipped", shipped),
        ("downloads", downloads),
        ("data", data),
    )
    passed = [passes(name, check) for name, check in checks]
    return 0 if all(passed) else 1


def passes(name: str, check: Callable[[], str]) -> bool:
    """Run one check and print its line; False if it failed."""
    try:
        status, text = "ok", check()
    except Missing as missing:
        status, text = "missing", str(missing)
    except ImportError as error:
        status, text = "FAIL", f"{error}; {INSTALL}"
    except (CheckFailed, OSError, ValueError, RuntimeError, AttributeError) as error:  # UserError is a ValueError
        status, text = "FAIL", str(error) or type(error).__name__
    line = f"{status:8}{name:13} {' '.join(text.split())}"
    encoding = sys.stdout.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    return status != "FAIL"


def python() -> str:
    """The interpreter, of a version that the pinned libraries are built for."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] not in ((3, 10), (3, 11)):
        raise CheckFailed(f"{version}; use 3.10 or 3.11: make setup PYTHON=/path/to/python3.11")
    return f"{version} ({sys.platform})"


def libraries() -> str:
    """Every pinned library is installed; versions other than the pinned ones are listed."""
    pins: dict[str, list[str]] = {}
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if pin := re.match(r"([\w.-]+)==([\w.]+)", line):
            pins.setdefault(pin[1], []).append(pin[2])
    installed = {entry.metadata["Name"].lower(): entry.version for entry in metadata.distributions()}
    absent = [name for name in pins if name not in installed and name != "dgl"]
    if absent:
        raise CheckFailed(f"not installed: {', '.join(absent)}; {INSTALL}")
    others = [
        f"{name} {installed[name]} (pinned: {' or '.join(versions)})"
        for name, versions in pins.items()
        if name in installed and installed[name].partition("+")[0] not in versions
    ]
    return f"{len(pins)} as pinned in requirements.txt" + (f", but {', '.join(others)}" if others else "")


def device() -> str:
    """Where a training would run, and on how many threads."""
    import torch

    from tc_common.environment import usable_cores

    if torch.cuda.is_available():
        return f"cuda, {torch.cuda.get_device_name()}"
    kind = "mps" if torch.backends.mps.is_available() else "cpu"
    return f"{kind}, {torch.get_num_threads()} threads (OMP_NUM_THREADS), {usable_cores()} cores"


def memory() -> str:
    """Available memory of the computer, or of its container."""
    from monitor.measuring import available_MB

    free_GB = available_MB() / 1000
    if free_GB < LEAST_MEMORY_GB:
        raise Missing(f"{free_GB:.1f} GB available, a training takes {LEAST_MEMORY_GB:g}: lower --batch-size")
    return f"{free_GB:.1f} GB available"


def disk() -> str:
    """Free space for data, images and checkpoints, in the folder of the code."""
    free_GB = shutil.disk_usage(ROOT).free / 1e9
    if free_GB < LEAST_FREE_GB:
        raise Missing(f"{free_GB:.1f} GB free; the images of 3DSC take {LEAST_FREE_GB:g}: free some, or name folders")
    return f"{free_GB:.0f} GB free"


def renderer() -> str:
    """A CIF is read and drawn."""
    from dinov3_pipeline.render.options import RenderOptions
    from dinov3_pipeline.render.rendering import views
    from tc_common.crystals import read_crystal

    started = time.perf_counter()
    images = views(read_crystal(SAMPLE), options=RenderOptions(image_size=64))
    return f"{len(images)} views of 64 px in {1000 * (time.perf_counter() - started):.0f} ms"


def example() -> "Structure":
    """La(1.85)Sr(0.15)CuO4-like perovskite with a mixed site: enough to try every step."""
    from pymatgen.core import Lattice, Structure

    species: list[Any] = [{"La": 0.925, "Sr": 0.075}, "Cu", "O", "O", "O"]
    coordinates: list[list[float]] = [[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]
    return Structure(Lattice.cubic(3.8), species, coordinates)


def graph_conversion() -> str:
    """A crystal becomes a graph."""
    from gat_pipeline.graphs import GraphOptions, build_graph

    started = time.perf_counter()
    graph = build_graph(example(), GraphOptions())
    spent_ms = 1000 * (time.perf_counter() - started)
    return f"{len(graph.atom_features)} atoms, {len(graph.source)} bonds, {graph.angles} angles in {spent_ms:.1f} ms"


def doping() -> str:
    """A mixed site has the mixture's features."""
    from pymatgen.core import Lattice, Structure

    from gat_pipeline.graphs import atom_features, cgcnn_table, occupancies

    site = Structure(Lattice.cubic(3.8), [{"O": 0.9, "F": 0.1}], [[0, 0, 0]])
    expected = 0.9 * cgcnn_table()[8] + 0.1 * cgcnn_table()[9]
    if abs(atom_features(occupancies(site))[0] - expected).max() > 1e-6:
        raise CheckFailed("a site O 0.9 F 0.1 does not have the features of 0.9 O + 0.1 F")
    return "a site O 0.9 F 0.1 has the features of 0.9 O + 0.1 F"


def features_of(engine: Any) -> "Tensor":
    """One forward pass of the published architecture with fixed random weights."""
    import torch

    from gat_pipeline.dataset import join
    from gat_pipeline.graphs import GraphOptions, build_graph
    from gat_pipeline.model import create_alignn_model

    model = create_alignn_model(engine=engine, seed=0).eval()
    with torch.inference_mode():
        return model.backbone(join([build_graph(example(), GraphOptions())]))


def torch_engine() -> str:
    """A forward pass of ALIGNN in plain PyTorch."""
    started = time.perf_counter()
    features = features_of("torch")
    if not features.isfinite().all():
        raise CheckFailed("the forward pass is not finite")
    return f"forward pass of {features.shape[1]} features in {1000 * (time.perf_counter() - started):.0f} ms"


def dgl_engine() -> str:
    """The original on DGL gives the same; it is optional."""
    if util.find_spec("dgl") is None or util.find_spec("alignn") is None:
        raise Missing(f"dgl or alignn, which only --engine dgl needs (Python 3.10 or 3.11); {INSTALL}")
    difference = float((features_of("dgl") - features_of("torch")).abs().max())
    if difference > SAME:
        raise CheckFailed(f"differs from engine torch by {difference:.1e}; at most {SAME:.0e} is rounding")
    return f"differs from engine torch by {difference:.1e}"


def imported_timm() -> Any:
    """timm, also where torchvision is built for another torch."""
    from dinov3_pipeline.backbones import declare_missing_operators

    declare_missing_operators()
    import timm

    return timm


def vision() -> str:
    """timm knows DINOv3's backbones; peft is there for LoRA."""
    timm = imported_timm()
    if util.find_spec("peft") is None:
        raise CheckFailed(f"no peft, which --tune lora needs; {INSTALL}")
    if not timm.is_model(BACKBONE):
        raise CheckFailed(f"timm {timm.__version__} has no {BACKBONE}; {INSTALL}")
    return f"timm {timm.__version__}, peft {metadata.version('peft')}"


def hub_cache() -> str:
    """DINOv3's weights, if they were fetched before."""
    from huggingface_hub import constants, try_to_load_from_cache

    source = imported_timm().get_pretrained_cfg(BACKBONE).hf_hub_id
    cached = try_to_load_from_cache(source, "model.safetensors")
    if not isinstance(cached, str):
        raise Missing(
            f"DINOv3's weights, for --init pretrained: fetched by the first training that is online, or copy a filled "
            f"cache to {constants.HF_HUB_CACHE}"
        )
    return f"{BACKBONE} in {constants.HF_HUB_CACHE}"


def pretrained() -> str:
    """The ALIGNN weights behind --init pretrained."""
    from gat_pipeline.model import model_of
    from gat_pipeline.weights import SHIPPED, read_weights

    weights = read_weights(SHIPPED, f"pretrained:{SHIPPED.stem}")
    stated = json.loads(SHIPPED.with_suffix(".json").read_text(encoding="utf-8")).get("sha256", "")
    if stated and stated[:12] != weights.origin.rpartition("@")[2]:
        raise CheckFailed(f"{SHIPPED} is not the file that its card describes; fetch it again: git checkout models")
    parameters = sum(parameter.numel() for parameter in model_of(weights).parameters())
    return f"{weights.origin}, {parameters:,} parameters"


def shipped() -> str:
    """The models of predict.py, each file with the sha256 that its card states."""
    from tc_common.files import sha256

    folder = ROOT / "models/3dsc"
    cards = [path for name in ("alignn", "dinov3", "ensemble") if (path := folder / f"{name}.json").is_file()]
    if not cards:
        raise Missing(f"no models in {folder}, for predict.py: git checkout models, or python -m prediction.ship")
    for path in cards:
        for name, digest in json.loads(path.read_text(encoding="utf-8")).get("files", {}).items():
            if not (folder / name).is_file() or sha256(folder / name) != digest:
                raise CheckFailed(f"{folder / name} is not the file that {path.name} describes: git checkout models")
    return f"{', '.join(path.stem for path in cards)}, all files with the sha256 of their cards"


def downloads() -> str:
    """Published ALIGNN weights that were downloaded before; the others are fetched when asked for."""
    from gat_pipeline.published import PUBLISHED

    absent = [name for name in PUBLISHED if not (DOWNLOADS / f"{name}.zip").exists()]
    if absent:
        raise Missing(f"{', '.join(absent)} in {DOWNLOADS}: each is fetched by the first --init that names it")
    return f"{', '.join(PUBLISHED)} in {DOWNLOADS}"


def data() -> str:
    """Split files and images that a training reads by default."""
    needed = {
        "data/processed/train.csv": "python -m data.prepare --source sample (or 3dsc)",
        "data/images/image_metadata.csv": "python render_images.py (only the vision pipeline needs it)",
    }
    absent = [f"{name}: make it with {command}" for name, command in needed.items() if not (ROOT / name).is_file()]
    if absent:
        raise Missing("; ".join(absent))
    return ", ".join(needed)


def command(arguments: list[str]) -> int:
    """The command line: there is nothing to choose."""
    if {"-h", "--help"} & {*arguments}:
        print((__doc__ or "").strip())
        return 0
    if arguments:
        print(f"error: check_setup.py takes no flags, got {' '.join(arguments)}", file=sys.stderr)
        return 2
    return main()


if __name__ == "__main__":
    raise SystemExit(command(sys.argv[1:]))
