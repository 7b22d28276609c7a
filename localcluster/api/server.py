"""The HTTP server: authentication, routing by path, and the one place where errors become answers."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable

from aiohttp import web

from localcluster import errors
from localcluster.accounts import NOBODY, Accounts, User
from localcluster.api import discovery, openapi
from localcluster.api.handlers import Handlers
from localcluster.api.requests import ApiPath, parse_path
from localcluster.api.responses import json_response
from localcluster.authorization import Access, require, verb_of
from localcluster.errors import ApiError
from localcluster.registry import Registry

_PUBLIC = frozenset({"/healthz", "/livez", "/readyz", "/version"})
_MAXIMUM_BODY = 3 * 1024 * 1024
log = logging.getLogger("localcluster.http")


class Server:
    """Serves the handlers on the loopback; `port` is known after `start`."""

    def __init__(self, handlers: Handlers, accounts: Accounts, registry: Registry) -> None:
        self._handlers, self._accounts, self._registry = handlers, accounts, registry
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, context: ssl.SSLContext, wanted_port: int, fallback: bool) -> None:
        """Listen on `wanted_port`; if that is taken and `fallback` is set, on any free one."""
        app = web.Application(client_max_size=_MAXIMUM_BODY, middlewares=[self._errors])
        app.router.add_route("*", "/{path:.*}", self._dispatch)
        # A client that goes away ends its handler: followers of logs and watches must not outlive their readers.
        self._runner = web.AppRunner(
            app, access_log=None, keepalive_timeout=600, shutdown_timeout=1.0, handler_cancellation=True
        )
        await self._runner.setup()
        try:
            site = web.TCPSite(self._runner, "127.0.0.1", wanted_port, ssl_context=context, reuse_address=True)
            await site.start()
        except OSError:
            if not fallback:
                raise
            site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context)
            await site.start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        self._handlers.close()
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _errors(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            return await handler(request)
        except ApiError as error:
            headers = {"Retry-After": "1"} if error.code == 429 else None
            return json_response(error.status(), error.code, headers)
        except web.HTTPRequestEntityTooLarge:
            message = f"Request entity too large: limit is {_MAXIMUM_BODY}"
            return json_response(ApiError(413, "RequestEntityTooLarge", message).status(), 413)
        except (web.HTTPException, asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:
            log.exception("%s %s failed", request.method, request.path)
            return json_response(ApiError(500, "InternalError", f"Internal error occurred: {error}").status(), 500)

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        user = NOBODY
        if path not in _PUBLIC and not path.startswith(("/healthz/", "/livez/", "/readyz/")):
            user = self._accounts.user_of(request.headers.get("Authorization", ""))
        special = discovery.answer(path) or openapi.answer(path)
        if special is not None:
            return special
        api_path = parse_path(path)
        if api_path is None:
            raise errors.no_such_path()
        return await self._call(request, api_path, user)

    async def _call(self, request: web.Request, path: ApiPath, user: User) -> web.StreamResponse:
        if path.subresource and path.subresource not in path.resource.subresources:
            raise errors.no_such_path()
        watching = request.query.get("watch", "").lower() in ("true", "1")
        access = Access(
            verb=verb_of(request.method, named=bool(path.name), watching=watching),
            group=path.resource.group,
            resource=path.resource.plural + (f"/{path.subresource}" if path.subresource else ""),
            namespace=path.namespace or "",
            name=path.name,
        )
        require(self._registry, user, access, path.resource)
        return await self._handlers.handle(request, path, user)
