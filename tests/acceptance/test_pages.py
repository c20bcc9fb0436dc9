"""The Billing pages in the running UI: nobody sees any of them without having signed in."""

from __future__ import annotations

import httpx
import pytest

from metering.pages.application import ROUTES
from metering.processes.airflow import airflow_url, password

ASKED = {
    "/": "/",
    "/periods/{team}/{period}": "/periods/nobody/2026-09",
    "/events": "/events?line=nobody/2026-09/line",
    "/events.csv": "/events.csv?line=nobody/2026-09/line",
    "/style.css": "/style.css",
}


@pytest.mark.parametrize("route", [route.path for route in ROUTES])
def test_a_page_asks_who_it_is(running_system, route):
    settings = running_system.settings
    url = airflow_url(settings)
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        assert client.get(f"/billing{ASKED[route]}").status_code == 401
        strange = client.get(f"/billing{ASKED[route]}", headers={"authorization": "Bearer none"})
        assert strange.status_code in (401, 403)
        said = {"username": "viewer", "password": password(settings, "viewer")}
        token = client.post("/auth/token", json=said).raise_for_status().json()["access_token"]
        answer = client.get(f"/billing{ASKED[route]}", headers={"authorization": f"Bearer {token}"})
        assert answer.status_code in (200, 404)
        assert "style" in answer.text or "--line" in answer.text


def test_the_navigation_of_the_ui_leads_to_them(running_system):
    settings = running_system.settings
    with httpx.Client(base_url=airflow_url(settings), trust_env=False, timeout=30) as client:
        said = {"username": "viewer", "password": password(settings, "viewer")}
        token = client.post("/auth/token", json=said).raise_for_status().json()["access_token"]
        found = client.get("/api/v2/plugins", headers={"authorization": f"Bearer {token}"}).raise_for_status().json()
    views = [view for plugin in found["plugins"] for view in plugin["external_views"]]
    assert [(view["name"], view["destination"]) for view in views] == [("Billing", "nav")]
