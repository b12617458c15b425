"""One authenticated HTTP connection to a controller's REST interface, its errors mapped back to the one tree."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muster.settings import no_controller
from muster_protos.errors import (
    ConflictError,
    InfeasibleError,
    InvalidInputError,
    MissingExtraError,
    MusterError,
    NotAuthorisedError,
    NotFoundError,
    PermanentError,
    TemporaryError,
    UnreachableError,
    UsageError,
)

if TYPE_CHECKING:
    import httpx

Json = Mapping[str, Any]
"""A JSON object as the controller sent it."""

OnBytes = Callable[[int, int], None]
"""(bytes done, bytes in all)"""

_ERRORS: Mapping[str, type[MusterError]] = {
    "unreachable": UnreachableError,
    "temporary": TemporaryError,
    "not_found": NotFoundError,
    "conflict": ConflictError,
    "not_authorised": NotAuthorisedError,
    "infeasible": InfeasibleError,
    "missing_extra": MissingExtraError,
    "invalid_input": UsageError,
}
_CHUNK_BYTES = 256 * 1024


class Connection:
    """Synchronous; one per thread is fine, one for all threads too."""

    def __init__(
        self,
        url: str,
        token: str,
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        ca: str = "",
    ) -> None:
        """``ca``: the file of the fleet's CA, for https; ``transport``: for tests."""
        try:
            import httpx
        except ImportError:
            raise MissingExtraError("muster.connect() needs: pip install 'muster-edge[controller]'") from None
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"expected a controller URL like http://127.0.0.1:8470, found {url[:80]!r}")
        self.url = url.rstrip("/")
        self._httpx = httpx
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(
            base_url=self.url,
            headers=headers,
            timeout=timeout_s,
            transport=transport,
            trust_env=False,
            verify=_trust(ca) if ca else True,
        )

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Json:
        return self._call("GET", path, params=_clean(query))

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Json:
        return self._call("POST", path, **_json(body or {}))

    def patch(self, path: str, body: Mapping[str, Any]) -> Json:
        return self._call("PATCH", path, **_json(body))

    def delete(self, path: str) -> Json:
        return self._call("DELETE", path)

    def items(self, path: str, most: int | None = None, **query: Any) -> Iterator[Json]:
        """Every item of a paged list, or the first ``most``."""
        given, cursor = 0, ""
        while True:
            page = self.get(path, **query, **({"cursor": cursor} if cursor else {}))
            for item in page["items"]:
                yield item
                given += 1
                if most is not None and given >= most:
                    return
            cursor = page["next_cursor"]
            if not cursor:
                return

    def upload(self, path: Path, on_bytes: OnBytes | None = None) -> str:
        """Stream a file up; its upload id."""
        try:
            size = path.stat().st_size
            file = path.open("rb")
        except OSError as error:
            raise NotFoundError(f"expected a file at {path}, found: {error.strerror}") from None

        def chunks() -> Iterator[bytes]:
            done = 0
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
                done += len(chunk)
                if on_bytes is not None:
                    on_bytes(done, size)

        try:
            with file:
                found = self._call("POST", "/v1/uploads", content=chunks(), timeout=None)
        except UsageError as error:  # not what was typed, but what is in the file
            raise InvalidInputError(f"{path}: {error}") from None
        return str(found["upload_id"])

    def download(self, path: str, target: Path) -> int:
        """Stream a file down to ``target``; its size. Nothing is left when it breaks."""
        partial = target.with_name(target.name + ".part")
        size = 0
        try:
            with self._http.stream("GET", path) as answer, partial.open("wb") as file:
                if answer.status_code >= 400:
                    answer.read()
                    raise _error(answer.status_code, answer.content)
                for chunk in answer.iter_bytes(_CHUNK_BYTES):
                    size += file.write(chunk)
            partial.replace(target)
        except self._httpx.TransportError as error:
            raise no_controller(self.url, _why(error)) from None
        except OSError as error:
            raise PermanentError(f"expected to write {target}, found: {error.strerror}") from error
        finally:
            partial.unlink(missing_ok=True)
        return size

    def stream(self, path: str, **query: Any) -> Iterator[tuple[str, Json]]:
        """(event name, data) of a server-sent event stream, until the other side ends it."""
        name, lines = "message", list[str]()
        try:
            with self._http.stream("GET", path, params=_clean(query), timeout=None) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    raise _error(answer.status_code, answer.content)
                for line in answer.iter_lines():
                    if not line and lines:
                        yield name, json.loads("\n".join(lines))
                        name, lines = "message", []
                    elif line.startswith("event:"):
                        name = line[6:].strip()
                    elif line.startswith("data:"):
                        lines.append(line[5:].removeprefix(" "))
        except self._httpx.TransportError as error:
            raise no_controller(self.url, _why(error)) from None

    def _call(self, method: str, path: str, **options: Any) -> Json:
        try:
            answer = self._http.request(method, path, **options)
        except self._httpx.TimeoutException:
            raise TemporaryError(f"the controller at {self.url} did not answer in time") from None
        except self._httpx.TransportError as error:
            raise no_controller(self.url, _why(error)) from None  # the line says it all
        if answer.status_code >= 400:
            raise _error(answer.status_code, answer.content)
        if answer.status_code == 204 or not answer.content:
            return {}
        try:
            found = answer.json()
        except ValueError:
            raise no_controller(self.url, "something else answers there") from None
        if not isinstance(found, dict):
            raise no_controller(self.url, "something else answers there")
        return found


def _trust(ca: str) -> ssl.SSLContext:
    """Trust this CA alone."""
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"expected the fleet's CA certificate in {ca}, found: {error}") from error


def _json(body: Mapping[str, Any]) -> dict[str, Any]:
    try:
        content = json.dumps(dict(body), allow_nan=False)
    except ValueError:
        raise UsageError("expected finite numbers, found NaN or infinity among them") from None
    return {"content": content, "headers": {"Content-Type": "application/json"}}


def _clean(query: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in query.items() if value not in (None, "", [], ())}


def _why(error: Exception) -> str:
    return str(error).strip() or type(error).__name__


def _error(status_code: int, content: bytes) -> MusterError:
    try:
        found = json.loads(content)["error"]
        kind, message = str(found["kind"]), str(found["message"])
    except (ValueError, KeyError, TypeError):
        return UnreachableError(f"expected a Muster controller, found another answer ({status_code}); check --url")
    return _ERRORS.get(kind, PermanentError)(message)
