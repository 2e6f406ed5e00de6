"""/docs: Swagger UI, every file of it from this server.

FastAPI's own page loads scripts from a content delivery network, unpinned, into a page where people type API keys.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from service.security import page

_FILES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_KEPT = {"cache-control": "max-age=3600"}
# Addresses are relative, so that the page works behind any prefix.
_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>onoma: the API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({
  url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis], layout: "BaseLayout",
});
</script>
</body>
</html>
"""

router = APIRouter(include_in_schema=False)


@cache
def _content(name: str) -> bytes:
    return files("fastapi_swagger.resources").joinpath(name).read_bytes()


@router.get("/docs")
async def docs() -> HTMLResponse:
    """The API described, to be tried out."""
    return page(_PAGE, inline_styles=True)


@router.get("/docs/swagger-ui-bundle.js")
async def script() -> Response:
    """Swagger UI."""
    return _file("swagger-ui-bundle.js")


@router.get("/docs/swagger-ui.css")
async def styles() -> Response:
    """Its looks."""
    return _file("swagger-ui.css")


def _file(name: str) -> Response:
    return Response(_content(name), media_type=_FILES[name], headers=_KEPT)
