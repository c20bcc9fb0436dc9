"""The Billing pages in Airflow's UI, for whoever may see plugins there: whoever has signed in."""

from __future__ import annotations

from functools import cache
from typing import Any

from airflow.plugins_manager import AirflowPlugin


@cache
def _application() -> Any:
    from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
    from airflow.api_fastapi.core_api.security import requires_access_view
    from fastapi import Depends, FastAPI

    from metering.pages.application import ROUTES

    # Airflow asks nobody who they are before it hands a request to a plugin, and Starlette's own routes know no
    # dependencies: each page is one of FastAPI's, so that none can be without the question.
    made = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    allowed = [Depends(requires_access_view(AccessView.PLUGINS))]
    for route in ROUTES:
        made.add_api_route(route.path, route.endpoint, dependencies=allowed, response_model=None)
    return made


async def _pages(scope: Any, receive: Any, send: Any) -> None:
    """Made when it is first asked: Airflow loads plugins in all of its programs, and one of them serves pages."""
    await _application()(scope, receive, send)


class BillingPages(AirflowPlugin):
    """Reconciliation, bills and the events under their lines, in the navigation of the UI."""

    name = "billing_pages"
    fastapi_apps = [{"app": _pages, "url_prefix": "/billing", "name": "Billing"}]  # noqa: RUF012  # Airflow reads it so
    external_views = [  # noqa: RUF012
        {
            "name": "Billing",
            "href": "/billing/",
            "url_route": "billing",
            "destination": "nav",
            "nav_top_level": True,
        }
    ]
