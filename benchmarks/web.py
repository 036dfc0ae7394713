"""Measure the page as it is served: first answer, doping curve, memory, fifty uploads at once, weight, accessibility.

    OMP_NUM_THREADS=1 python -m benchmarks.web
    OMP_NUM_THREADS=1 python -m benchmarks.web --models-dir models/3dsc --requests 1000

starts `python -m web` and writes `benchmarks/results/web.json`. Times are processor time of the server and its reader
together, memory is their resident memory, shared pages counted in both.
"""

import asyncio
import gzip
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Literal

import httpx
import psutil

from benchmarks._machine import machine
from tc_common.cli import parse, run
from tc_common.files import write_json
from web.static_files import load, names

ROOT = Path(__file__).parents[1]
OUT = Path(__file__).parent / "results" / "web.json"
CIFS = sorted((ROOT / "data/sample/cifs").glob("*.cif"))
MGB2, LA2CUO4 = (ROOT / f"data/sample/cifs/{name}.cif" for name in ("MgB2-AlB2", "La2CuO4-La2CuO4"))
CHROMIUM = "/usr/bin/chromium"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
PATIENCE_S = 600.0
WARM_UP = 50  # requests after which memory is first read: caches of libraries have their size by then


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """What is measured."""

    models_dir: Path = ROOT / "models/3dsc"
    """Folder of the shipped models."""
    requests: int = 1000
    """Predictions over which memory is watched (more than 50)."""

    def __post_init__(self) -> None:
        if self.requests <= WARM_UP:
            raise ValueError(f"--requests: more than {WARM_UP}")


class Server:
    """A running page, and what it costs."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.url, self._root = url, psutil.Process(process.pid)

    def _processes(self) -> list[psutil.Process]:
        return [self._root, *self._root.children(recursive=True)]

    def cpu_s(self) -> float:
        """Processor time so far, of server and reader."""
        return sum(sum(each.cpu_times()[:2]) for each in self._processes())

    def rss_MB(self) -> float:
        """Resident memory of server and reader."""
        return sum(each.memory_info().rss for each in self._processes()) / 1e6

    def post(self, path: str, cif: Path, **fields: str) -> tuple[float, httpx.Response]:
        """Processor time of an answer, and the answer."""
        before_s = self.cpu_s()
        answer = httpx.post(
            self.url + path, files={"file": (cif.name, cif.read_bytes())}, data=fields, timeout=PATIENCE_S
        )
        return self.cpu_s() - before_s, answer


@contextmanager
def served(models_dir: Path) -> Iterator[Server]:
    """The page on a free port."""
    command = [sys.executable, "-m", "web", "--port", "0", "--models-dir", str(models_dir)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        found = re.search(r"http://\S+", process.stdout.readline())
        if found is None:
            raise SystemExit("the page did not start")
        try:
            httpx.get(f"{found[0]}/api/about", timeout=PATIENCE_S)
            yield Server(process, found[0])
        finally:
            process.terminate()


def benchmark() -> None:
    """Run everything once and write the numbers."""
    config = parse(BenchmarkConfig, prog="python -m benchmarks.web", description=__doc__ or "")
    report: dict[str, Any] = {"machine": machine()}
    with served(config.models_dir) as server:
        cost_s, answer = server.post("/api/predict", MGB2)
        report["models"] = [member["name"] for member in answer.json()["members"]]
        report["first_answer_cpu_s"] = round(cost_s, 3)
        report["substitution"] = substitution(server)
        report["fifty_at_once"] = fifty_at_once(server)
        report["accessibility"] = accessibility(server.url)
        report["memory"] = memory(server, config.requests)
    report["page_gzip_bytes"] = {"whole": sum(len(load(name).packed) for name in names())} | {
        name: len(gzip.compress(load(name).content, 9)) for name in sorted(names()) if name.endswith(".js")
    }
    write_json(OUT, report)
    print(f"written to {OUT}")


def substitution(server: Server) -> dict[str, Any]:
    """Processor time of a 21-point doping curve, the first and the second one."""
    costs_s = []
    for _ in range(2):
        cost_s, answer = server.post("/api/substitute", LA2CUO4, old="La", new="Sr")
        costs_s.append(round(cost_s, 3))
    return {"points": len(answer.json()["predictions"]), "first_cpu_s": costs_s[0], "second_cpu_s": costs_s[1]}


def memory(server: Server, requests: int) -> dict[str, Any]:
    """Resident memory over many predictions of the sample's crystals in turn, and their mean processor time."""
    seen_MB, statuses = [], Counter[int]()
    for number, cif in enumerate(islice(cycle(CIFS), requests)):
        if number == WARM_UP:
            begin_s = server.cpu_s()
        statuses[server.post("/api/predict", cif)[1].status_code] += 1
        if number >= WARM_UP and number % 10 == 0:
            seen_MB.append(server.rss_MB())
    later = seen_MB[len(seen_MB) // 2 :]
    return {
        "requests": requests,
        "statuses": {str(status): count for status, count in statuses.items()},
        "mean_cpu_s": round((server.cpu_s() - begin_s) / (requests - WARM_UP), 4),
        "rss_MB": {"after_50": round(seen_MB[0]), "largest": round(max(seen_MB)), "last": round(seen_MB[-1])},
        "second_half_MB": {"least": round(min(later)), "most": round(max(later))},
    }


def fifty_at_once(server: Server) -> dict[str, Any]:
    """Statuses of fifty uploads sent together."""

    async def ask() -> list[int]:
        async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE_S, limits=httpx.Limits()) as client:
            files = {"file": ("MgB2.cif", MGB2.read_bytes())}
            answers = await asyncio.gather(*(client.post("/api/predict", files=files) for _ in range(50)))
            return [answer.status_code for answer in answers]

    statuses = Counter(asyncio.run(ask()))
    return {str(status): count for status, count in sorted(statuses.items())}


def accessibility(url: str) -> dict[str, Any]:
    """Violations that axe-core finds on the page with an answer, in light and dark."""
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    found: dict[str, Any] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--enable-unsafe-swiftshader"]
        )
        for scheme in SCHEMES:
            page = browser.new_page(color_scheme=scheme)
            page.set_default_timeout(1000 * PATIENCE_S)
            page.goto(url)
            page.set_input_files("#files", LA2CUO4)
            page.wait_for_selector("#tc .axis")
            page.click("#doping-form button")
            page.wait_for_selector("#chart .curve")
            result = Axe().run(page).response
            found[scheme] = {"violations": len(result["violations"]), "rules_passed": len(result["passes"])}
        browser.close()
    return found


if __name__ == "__main__":
    run(benchmark)
