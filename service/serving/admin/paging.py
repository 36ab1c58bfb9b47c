"""Split lists into pages with `limit`, `after`, and a `Link` header to the next page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Query
from starlette.datastructures import URL
from starlette.requests import Request
from starlette.responses import Response

from service.serving.admin.dependencies import MAX_JSON_INTEGER
from service.serving.admin.schemas import Body, JsonObject

Item = TypeVar("Item")
Row = TypeVar("Row")
Limit = Annotated[int, Query(ge=1, le=200, description="At most so many.")]
After = Annotated[int | None, Query(ge=0, le=MAX_JSON_INTEGER, description="The `next` of the page before.")]
AfterName = Annotated[str | None, Query(pattern=r"^[a-z0-9_.-]{1,63}$", description="The `next` of the page before.")]


class Page(Body, Generic[Item]):
    """A page of a list; `next` is the `after` of the following page, or null at the end."""

    items: list[Item]
    next: int | str | None


@dataclass(frozen=True, slots=True)
class Paging:
    """The page that a request asks for."""

    request: Request
    response: Response
    limit: int
    after: int | str | None

    @property
    def before(self) -> int | None:
        """Return `after` as an integer, for lists that have the newest first, or None for the first page."""
        return int(self.after) if self.after is not None else None

    def page(
        self, rows: Sequence[Row], *, key: Callable[[Row], int | str], show: Callable[[Row], JsonObject]
    ) -> JsonObject:
        """Return the first `limit` rows as a page; more rows than that mean that there is a next page."""
        page_rows = rows[: self.limit]
        following = key(page_rows[-1]) if len(rows) > self.limit else None
        if following is not None:
            url = URL(scope=self.request.scope).include_query_params(after=following)
            self.response.headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
        return {"items": [show(row) for row in page_rows], "next": following}

    def page_after(
        self, rows: Sequence[Row], *, key: Callable[[Row], int], show: Callable[[Row], JsonObject]
    ) -> JsonObject:
        """Return the page of the rows whose keys exceed `after`; `rows` must be in ascending order of keys."""
        after = -1 if self.after is None else int(self.after)
        return self.page([row for row in rows if key(row) > after], key=key, show=show)


async def _paging(request: Request, response: Response, limit: Limit = 50, after: After = None) -> Paging:
    return Paging(request, response, limit, after)


async def _paging_by_name(request: Request, response: Response, limit: Limit = 50, after: AfterName = None) -> Paging:
    return Paging(request, response, limit, after)


Paged = Annotated[Paging, Depends(_paging)]
PagedByName = Annotated[Paging, Depends(_paging_by_name)]
