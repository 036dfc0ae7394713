"""The routes: files of the page, and the API that the page itself uses."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any

from fastapi import FastAPI, File, Form, HTTPException, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.datastructures import UploadFile as SentFile
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from tc_common.errors import UserError
from tc_common.files import printable
from web import static_files
from web.about import sample, sample_cif
from web.crystal import MOST_SITES
from web.guard import OVERHEAD, Guard
from web.service import Predictor, Service
from web.turns import Turns
from web.uploads import LARGEST_BATCH, MOST_CRYSTALS, TooLargeError, Upload, batch, upload

CRYSTALS_AT_ONCE = 16
FRACTIONS = ",".join(f"{n / 40:g}" for n in range(21))
MOST_FRACTIONS = 101
LONGEST_LABEL = 40
LONGEST_SITES = 6 * MOST_SITES
FORM_OF_FILES = {
    "requestBody": {
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            }
        }
    }
}
PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}}
OneFile = Annotated[UploadFile, File(description="CIF, POSCAR, extended XYZ or pymatgen JSON, perhaps .gz")]


class InMemoryParser(MultiPartParser):
    """A parser of forms that never writes a file to the disk."""

    spool_max_size = LARGEST_BATCH + OVERHEAD + 1


def create_app(predictor: Predictor, facts: dict[str, Any], hosts: tuple[str, ...] = ()) -> FastAPI:
    """The page as an ASGI application.

    Args:
        predictor: of `prediction.load_predictor`.
        facts: of `web.about.about`, what the page says of it.
        hosts: names under which the page is served, besides this machine's own.
    """
    turns, service = Turns(), Service(predictor)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with service:
            service.warm_up(Upload("first.cif", sample_cif(0)))
            yield
            turns.close()

    app = FastAPI(title="SuperVision", docs_url=None, redoc_url=None, lifespan=lifespan, description=__doc__)
    app.add_middleware(Guard, turns=turns, hosts=hosts)
    _add_errors(app, service)
    _add_files(app, facts)
    _add_crystal(app, service, turns)
    _add_batch(app, service, turns)
    return app


def _add_errors(app: FastAPI, service: Service) -> None:
    """Every mistake is one line of JSON under `error`."""

    @app.exception_handler(UserError)
    async def user_error(request: Request, error: UserError) -> JSONResponse:
        failure = service.failure(getattr(request.state, "name", ""), error)
        return JSONResponse(failure, 413 if isinstance(error, TooLargeError) else 422)

    @app.exception_handler(RequestValidationError)
    async def not_valid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = printable(".".join(str(part) for part in first["loc"][1:]))[:60]
        return JSONResponse({"error": f"{where}: {printable(first['msg'])[:200]}"}, 422)

    @app.exception_handler(StarletteHTTPException)
    async def http_error(_: Request, error: StarletteHTTPException) -> JSONResponse:
        return JSONResponse({"error": printable(error.detail)[:200]}, error.status_code, error.headers)


def _add_files(app: FastAPI, facts: dict[str, Any]) -> None:
    files = static_files.names()

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return static_files.respond(request, "index.html")

    @app.get("/static/{name:path}", include_in_schema=False)
    async def static(request: Request, name: str) -> Response:
        if name not in files:
            raise HTTPException(404, "no such file")
        return static_files.respond(request, name)

    @app.get("/api/about")
    async def served() -> dict[str, Any]:
        """The served model, what its errors are, and the limits of this page."""
        return facts

    @app.get("/api/sample")
    async def list_sample() -> list[dict[str, Any]]:
        """The crystals that the project ships."""
        return list(sample())

    @app.get("/api/sample/{number}", response_class=Response)
    async def one_of_sample(number: int) -> Response:
        """The CIF of one of them, by its place in the list from 0."""
        if not 0 <= number < len(sample()):
            raise HTTPException(404, f"the sample has crystals 0 to {len(sample()) - 1}")
        return Response(sample_cif(number), media_type="chemical/x-cif")


async def _upload(request: Request, file: UploadFile) -> Upload:
    """The one crystal of a request, whose name an error then repeats."""
    sent = upload(file.filename, await file.read())
    request.state.name = sent.name
    return sent


def _add_crystal(app: FastAPI, service: Service, turns: Turns) -> None:
    @app.post("/api/predict")
    async def predict(request: Request, file: OneFile) -> dict[str, Any]:
        """Tc with its interval, of every model; the same JSON as a line of `predict.py --json`."""
        return await turns.work(partial(service.predict, await _upload(request, file)))

    @app.post("/api/crystal")
    async def crystal(request: Request, file: OneFile) -> dict[str, Any]:
        """Cell, sites, occupancies and bonds as they were read."""
        return await turns.work(partial(service.describe, await _upload(request, file)))

    @app.post("/api/substitute")
    async def substitute(
        request: Request,
        file: OneFile,
        old: Annotated[
            str, Form(max_length=LONGEST_SITES, description="element to be replaced, or labels of its sites")
        ],
        new: Annotated[str, Form(max_length=LONGEST_LABEL, description="its substitute; empty for a vacancy")] = "",
        fractions: Annotated[str, Form(max_length=2000, description="replaced fractions, 0 to 1")] = FRACTIONS,
    ) -> dict[str, Any]:
        """Tc over the replaced fraction of an element."""
        sent, numbers = await _upload(request, file), _fractions(fractions)
        return await turns.work(partial(service.substitute, sent, old, new, numbers))

    @app.post("/api/pictures", response_class=Response, responses=PNG)
    async def pictures(request: Request, file: OneFile) -> Response:
        """The 18 standard views as one PNG."""
        png = await turns.work(partial(service.pictures, await _upload(request, file)))
        return Response(png, media_type="image/png")

    @app.post("/api/attention", response_class=Response, responses=PNG)
    async def attention(request: Request, file: OneFile) -> Response:
        """The vision model's views under its attention, as one PNG (seconds)."""
        png = await turns.work(partial(service.attention, await _upload(request, file)))
        return Response(png, media_type="image/png")

    @app.post("/api/attribution")
    async def attribution(request: Request, file: OneFile) -> dict[str, Any]:
        """Kelvins that each site adds to the prediction for no atom (seconds)."""
        return await turns.work(partial(service.attribution, await _upload(request, file)))


def _fractions(text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError("fractions are numbers with commas between them, such as 0,0.1,0.2") from error
    if not 0 < len(numbers) <= MOST_FRACTIONS or not all(0 <= number <= 1 for number in numbers):
        raise UserError(f"between 1 and {MOST_FRACTIONS} fractions, each from 0 to 1")
    return numbers


def _add_batch(app: FastAPI, service: Service, turns: Turns) -> None:
    @app.post("/api/batch", response_class=StreamingResponse, openapi_extra=FORM_OF_FILES)
    async def many(request: Request) -> StreamingResponse:
        """Files, or zips of them: a line of JSON for each crystal as it is done; header X-Crystals: how many."""
        crystals = batch(await _files(request))
        headers = {"x-crystals": str(len(crystals)), "cache-control": "no-store"}

        async def lines() -> AsyncIterator[str]:
            for start in range(0, len(crystals), CRYSTALS_AT_ONCE):
                some = crystals[start : start + CRYSTALS_AT_ONCE]
                for row in await turns.work(partial(service.predict_many, some)):
                    yield json.dumps(row) + "\n"

        return StreamingResponse(lines(), headers=headers, media_type="application/x-ndjson")


async def _files(request: Request) -> list[tuple[str | None, bytes]]:
    """Name and content of every file of a form.

    Raises:
        UserError: no form, or more files than a batch may have.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise UserError("send the files as a form (multipart/form-data) in fields named file")
    parser = InMemoryParser(request.headers, request.stream(), max_files=MOST_CRYSTALS, max_fields=10)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise UserError(f"no readable form of at most {MOST_CRYSTALS} files ({error})") from error
    try:
        return [(sent.filename, await sent.read()) for _, sent in form.multi_items() if isinstance(sent, SentFile)]
    finally:
        await form.close()
