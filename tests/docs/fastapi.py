"""What the page on ASGI uses of FastAPI, over Starlette: the pinned packages have no FastAPI."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response


class FastAPI(Starlette):
    """An application whose endpoints take query parameters as arguments."""

    def exception_handler(self, error: type[Exception]) -> Callable[[Any], Any]:
        def add(function: Any) -> Any:
            self.add_exception_handler(error, function)
            return function

        return add

    def get(self, path: str) -> Callable[[Any], Any]:
        def add(function: Callable[..., Awaitable[Response]]) -> Any:
            async def endpoint(request: Request) -> Response:
                names = inspect.signature(function).parameters.keys() - {"request"}
                return await function(request, **{name: request.query_params[name] for name in names})

            self.router.add_route(path, endpoint)
            return function

        return add
