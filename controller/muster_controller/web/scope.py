"""What every route is given: the service, and queries that several routes share."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request

from muster_controller.service.service import Service
from muster_protos.errors import InvalidInputError


def service_of(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


def parse_labels(pairs: list[str]) -> dict[str, str]:
    """``["room=kitchen"]`` as a mapping. InvalidInputError on anything but key=value."""
    labels = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise InvalidInputError(f'expected a label as "key=value", found "{pair[:80]}"')
        labels[key] = value
    return labels


def labels_of(label: Annotated[list[str] | None, Query(description="key=value, repeatable")] = None) -> dict[str, str]:
    return parse_labels(label or [])


ServiceOf = Annotated[Service, Depends(service_of)]
LabelsOf = Annotated[dict[str, str], Depends(labels_of)]
Cursor = Annotated[str, Query(max_length=200, description="next_cursor of the page before")]
Limit = Annotated[int, Query(ge=1, le=1000, description="items in a page")]
