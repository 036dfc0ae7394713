"""Check this machine and what is installed: one line a check, exit status 1 if one fails.

    python check_setup.py

ok: it works. missing: not needed by everything; the line says what for and how to add it. FAIL: something that every
program here needs does not work; the line says how to mend it. Nothing is downloaded or written. base, study, web,
screen and dev are the extras of pyproject.toml; predict.py needs base alone.
"""

import shutil
import sys
from collections.abc import Callable
from importlib import util
from pathlib import Path
from typing import Any

from tc_common.extras import BASE, extra_of, how_to_add, installed, pins, version

# Every library is imported by the check that needs it: one that is missing fails that check alone.
ROOT = Path(__file__).resolve().parent
CRYSTAL = ROOT / "data/sample/cifs/La1.85Sr0.15CuO4-K2NiF4.cif"
BACKBONE = "vit_small_patch16_dinov3"
LEAST_FREE_GB, LEAST_MEMORY_GB = 5.0, 3.0
INSTALL = "install it with: make setup"


class Missing(Exception):
    """Something optional is not there; says what it is for and how to add it."""


def passes(name: str, check: Callable[[], str]) -> bool:
    """Run one check and print its line; False if it failed."""
    try:
        status, text = "ok", check()
    except Missing as missing:
        status, text = "missing", str(missing)
    except ImportError as error:
        extra = extra_of(error)
        is_optional = extra not in (None, BASE)
        status = "missing" if is_optional else "FAIL"
        text = f"{error}; {how_to_add(str(extra)) if is_optional else INSTALL}"
    except (OSError, ValueError, RuntimeError, AttributeError, TypeError) as error:  # a UserError is a ValueError
        status, text = "FAIL", str(error) or type(error).__name__
    print(f"{status:8}{name:13} {' '.join(text.split())}", flush=True)
    return status != "FAIL"


def python() -> str:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < (3, 11):  # noqa: UP036  whoever has an older one reads this line
        raise RuntimeError(f"{version}; use 3.11 or newer: make setup PYTHON=/path/to/python3.12")
    if sys.maxsize < 2**32:
        raise RuntimeError(f"{version} of 32 bits; PyTorch is built for 64 bits only")
    return f"{version} ({sys.platform})"


def check_extra(extra: str, purpose: str) -> str:
    """What is installed of one extra of pyproject.toml."""
    needed = {name: pin.version for name, pin in pins()[extra].items() if pin.fits}
    absent = [name for name in needed if installed(name) is None]
    if absent:
        said = f"not installed, for {purpose}: {', '.join(absent)}; {how_to_add(extra)}"
        raise RuntimeError(said) if extra == BASE else Missing(said)
    others = [f"{name} {there} (pinned: {pin})" for name, pin in needed.items() if (there := installed(name)) != pin]
    as_pinned = f"{len(needed) - len(others)} of {len(needed)} as pinned, for {purpose}"
    return as_pinned + (f"; but {', '.join(others)}: {how_to_add(extra)}" if others else "")


def base() -> str:
    return check_extra(BASE, "predict.py")


def study() -> str:
    return check_extra("study", "training, baselines, search and comparison")


def web() -> str:
    return check_extra("web", "the page")


def screen() -> str:
    return check_extra("screen", "tables of many structures")


def dev() -> str:
    return check_extra("dev", "make check")


def device() -> str:
    import torch

    from tc_common.environment import usable_cores

    if torch.cuda.is_available():
        return f"cuda, {torch.cuda.get_device_name()}"
    kind = "mps" if torch.backends.mps.is_available() else "cpu"
    return f"{kind}, {torch.get_num_threads()} threads (OMP_NUM_THREADS), {usable_cores()} cores"


def memory() -> str:
    from monitor.measuring import available_MB

    if (free_GB := available_MB() / 1000) < LEAST_MEMORY_GB:
        raise Missing(f"{free_GB:.1f} GB available, a training takes {LEAST_MEMORY_GB:g}: lower --batch-size")
    return f"{free_GB:.1f} GB available"


def disk() -> str:
    if (free_GB := shutil.disk_usage(ROOT).free / 1e9) < LEAST_FREE_GB:
        raise Missing(f"{free_GB:.1f} GB free; the images of 3DSC take {LEAST_FREE_GB:g}: free some, or name folders")
    return f"{free_GB:.0f} GB free"


def renderer() -> str:
    from dinov3_pipeline.render.options import RenderOptions
    from dinov3_pipeline.render.rendering import views
    from tc_common.crystals import read_crystal

    return f"{len(views(read_crystal(CRYSTAL), options=RenderOptions(image_size=64)))} views of 64 px"


def example() -> Any:
    """The graph of La1.85Sr0.15CuO4, which has a mixed site."""
    from gat_pipeline.graphs import GraphOptions, build_graph
    from tc_common.crystals import read_crystal

    return build_graph(read_crystal(CRYSTAL), GraphOptions())


def graph() -> str:
    from gat_pipeline.graphs import cgcnn_table

    made, mixture = example(), 0.925 * cgcnn_table()[57] + 0.075 * cgcnn_table()[38]
    if abs(made.atom_features - mixture).max(axis=1).min() > 1e-6:
        raise RuntimeError("no site has the features of 0.925 La + 0.075 Sr")
    return f"{len(made.atom_features)} atoms, {len(made.source)} bonds, {made.angles} angles; mixed sites are mixtures"


def features(engine: Any) -> Any:
    """One forward pass of the published architecture with fixed random weights."""
    import torch

    from gat_pipeline.dataset import join
    from gat_pipeline.model import create_alignn_model

    with torch.inference_mode():
        return create_alignn_model(engine=engine, seed=0).eval().backbone(join([example()]))


def torch_engine() -> str:
    if not (made := features("torch")).isfinite().all():
        raise RuntimeError("the forward pass is not finite")
    return f"forward pass of {made.shape[1]} features"


def dgl_engine() -> str:
    if util.find_spec("dgl") is None or util.find_spec("alignn") is None:
        raise Missing("dgl or alignn, which only --engine dgl needs: make setup PYTHON=/path/to/python3.11")
    if (difference := float((features("dgl") - features("torch")).abs().max())) > 1e-5:
        raise RuntimeError(f"differs from engine torch by {difference:.1e}, more than rounding")
    return f"differs from engine torch by {difference:.1e}"


def vision() -> str:
    from dinov3_pipeline.backbones import build

    build(BACKBONE, image_size=64)
    return f"{BACKBONE} of timm {installed('timm')}"


def pretrained() -> str:
    from gat_pipeline.model import model_of
    from gat_pipeline.weights import SHIPPED, read_weights
    from tc_common.model_files import read_card

    weights = read_weights(SHIPPED, f"pretrained:{SHIPPED.stem}")
    if read_card(SHIPPED).get("sha256", "")[:12] != weights.origin.rpartition("@")[2]:
        raise RuntimeError(f"{SHIPPED} is not the file that its card describes; fetch it again: git checkout models")
    return f"{weights.origin}, {sum(parameter.numel() for parameter in model_of(weights).parameters()):,} parameters"


def shipped() -> str:
    from prediction.load import checked_card

    folder = ROOT / "models/3dsc"
    names = [name for name in ("alignn", "dinov3", "ensemble") if (folder / f"{name}.json").is_file()]
    if not names:
        raise Missing(f"no models in {folder}, for predict.py: git checkout models, or python -m prediction.ship")
    for name in names:
        checked_card(folder, name)
    return f"{', '.join(names)}, all files with the sha256 of their cards"


def found(paths: list[Path], remedy: str) -> str:
    """Files that are made or fetched when they are needed."""
    if absent := [str(path) for path in paths if not path.is_file()]:
        raise Missing(f"no {', '.join(absent)}: {remedy}")
    return ", ".join(map(str, paths))


def hub_cache() -> str:
    from huggingface_hub import constants, try_to_load_from_cache

    cached = try_to_load_from_cache(f"timm/{BACKBONE}.lvd1689m", "model.safetensors")
    path = Path(cached if isinstance(cached, str) else constants.HF_HUB_CACHE)
    return found(
        [path], "DINOv3's weights, fetched by the first --init pretrained; offline, copy a filled cache there"
    )


def downloads() -> str:
    from gat_pipeline.published import PUBLISHED

    paths = [Path("models/downloads", f"{name}.zip") for name in PUBLISHED]
    return found(paths, "published ALIGNN weights, each fetched by the first --init that names it")


def data() -> str:
    needed = [ROOT / "data/processed/train.csv", ROOT / "data/images/image_metadata.csv"]
    return found(needed, "python -m data.prepare --source sample (or 3dsc), then python render_images.py for vision")


CHECKS = (
    python, base, study, web, screen, dev, device, memory, disk, renderer, graph, torch_engine, dgl_engine, vision,
    pretrained, shipped,
    hub_cache, downloads, data,
)  # fmt: skip


def main(arguments: list[str]) -> int:
    """Run every check; returns the exit status. There is nothing to choose."""
    if {"-h", "--help"} & {*arguments}:
        print((__doc__ or "").strip())
        return 0
    if arguments == ["--version"]:
        print(f"SuperVision {version()}")
        return 0
    if arguments:
        print(f"error: check_setup.py takes no flags, got {' '.join(arguments)}", file=sys.stderr)
        return 2
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # names in ASCII terminals
    passed = [passes(check.__name__.replace("_", " "), check) for check in CHECKS]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
