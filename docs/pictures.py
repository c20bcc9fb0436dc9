"""Takes the pictures of the documents from the system that runs, into docs/images.

    ./billing demo
    PYTHONPATH=include .venv/bin/python docs/pictures.py [NAME ...]

It needs Chromium (`apt-get install chromium`, or CHROMIUM names it). It signs in to Airflow as the admin of this
installation and changes nothing. Pictures of a terminal are the output of the commands they show, drawn by Rich.
Look at each of them before it is committed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from metering import settings as settings_module
from metering.processes.airflow import airflow_url, passwords
from metering.processes.airflow_api import AirflowApi
from metering.settings import PROJECT_ROOT, Settings

FOLDER = PROJECT_ROOT / "docs" / "images"
WIDTH = 1400
DAG = "aggregate_usage"
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)

BILL = """
select price_name, trim_scale(charge_quantity) as quantity, charge_unit, split_part(line_key, '@', 2) as priced_from,
       round(amount, 2) as amount
from marts.fct_bill_lines where team_key = 'acme' and period_label = '{month}' order by line_key"""
BILLS = """
select team_key, period_label, time_zone, currency, total, line_count as lines, status
from marts.fct_bills where team_key in ('acme', 'delhi-express', 'fuji-cloud', 'chatham') order by 1, 2"""
MONTH = "select max(period_label) from marts.fct_bills where team_key = 'acme' and status = 'finalized'"


class Airflow:
    """A signed-in page of the Airflow UI."""

    def __init__(self, browser: Browser, settings: Settings) -> None:
        self.url = airflow_url(settings)
        self.api = AirflowApi(settings)
        context = browser.new_context(locale="en-US", timezone_id="UTC", color_scheme="light")
        self.page: Page = context.new_page()
        self.page.set_default_timeout(90_000)
        self.open("/")
        self.page.fill("input[name=username]", "admin")
        self.page.fill("input[name=password]", passwords(settings)["admin"])
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("link", name="Dags").first.wait_for()

    def open(self, path: str, height: int = 800) -> None:
        """Go to a page and wait until it stands still."""
        self.page.set_viewport_size({"width": WIDTH, "height": height})
        self.page.goto(f"{self.url}{path}", wait_until="networkidle")
        self.page.wait_for_timeout(1500)

    def take(self, name: str) -> None:
        """Take the picture, after whatever moves has come to rest."""
        self.page.wait_for_timeout(2500)
        self.page.screenshot(path=FOLDER / f"{name}.png")

    def dags(self) -> None:
        """The list of DAGs."""
        self.open("/dags", height=725)
        self.page.get_by_label("Show table view").click()
        self.take("dags")

    def run(self) -> None:
        """The graph of the latest run that succeeded."""
        found = self.api.client.get(
            f"/dags/{DAG}/dagRuns", params={"state": "success", "order_by": "-run_after", "limit": 1}
        )
        run_id = found.raise_for_status().json()["dag_runs"][0]["dag_run_id"]
        self.open(f"/dags/{DAG}/runs/{run_id}", height=560)
        self.page.get_by_label("Show Graph").click()
        self.page.get_by_text("close_run").first.wait_for()
        self.take("run")

    def dag_docs(self) -> None:
        """What a DAG says about itself."""
        self.open(f"/dags/{DAG}", height=560)
        self.page.get_by_label("Dag Docs").click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_text("Safe to run again?").wait_for()
        self.page.wait_for_timeout(1000)
        box = dialog.bounding_box() or {"x": 0, "y": 0, "width": 0, "height": 0}
        corner = (box["x"] + box["width"] - 4, box["y"] + box["height"] - 4)
        self.page.mouse.move(*corner)  # the dialog is made larger as a person would
        self.page.mouse.down()
        self.page.mouse.move(corner[0] + 150, corner[1] + 60, steps=8)
        self.page.mouse.up()
        self.take("dag_docs")

    def trigger(self) -> None:
        """The form of a single run."""
        self._form("Run Parameters", 860)
        self.take("trigger")

    def backfill(self) -> None:
        """The form of a backfill."""
        self._form("Backfill", 860)
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_text("Backfill", exact=True).first.click()
        dialog.get_by_text("All Runs", exact=True).click()
        self.take("backfill")

    def reconciliation(self) -> None:
        """The Billing page of the UI."""
        self.open("/plugin/billing", height=620)
        self.page.frame_locator("iframe").get_by_role("heading", name="Reconciliation").wait_for()
        self.take("reconciliation")

    def events(self) -> None:
        """The events under a line of a bill."""
        self.open("/plugin/billing", height=620)
        pages = self.page.frame_locator("iframe")
        pages.get_by_role("link", name="acme").first.click()
        pages.locator("tr", has_text="finalized").get_by_role("link").nth(1).click()
        pages.locator("a[href*='events']").first.click()
        pages.get_by_role("heading", name="Events").wait_for()
        self.take("events")

    def _form(self, wanted: str, height: int) -> None:
        self.open(f"/dags/{DAG}", height=height)
        self.page.get_by_label("Trigger Dag").click()
        self.page.get_by_role("dialog").get_by_text(wanted, exact=True).first.wait_for()
        self.page.wait_for_timeout(1500)


class Terminal:
    """Pictures of what commands print."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser

    def status(self) -> None:
        """`./billing status`."""
        self.take("status", [["status"]])

    def bill(self) -> None:
        """Some bills, and the lines of one."""
        month = _billing("psql", "-AtX", "-c", MONTH).strip()
        queries = (BILLS.strip(), BILL.strip().format(month=month))
        self.take("bill", [["psql", "-P", "pager=off", "-c", query] for query in queries])

    def take(self, name: str, commands: list[list[str]]) -> None:
        """Run commands and draw them with what they print."""
        shown = []
        for arguments in commands:
            quoted = " ".join(f'"{part}"' if " " in part else part for part in arguments if part not in _UNSHOWN)
            shown.append((f"$ ./billing {quoted}", _billing(*arguments).rstrip()))
        width = max(len(line) for block in shown for part in block for line in part.splitlines()) + 2
        console = Console(record=True, width=width, file=Path(os.devnull).open("w"))  # noqa: SIM115 - ends with us
        for number, (command, output) in enumerate(shown):
            console.print(Text(("\n" if number else "") + command, style="bold green"), highlight=False)
            console.print(Text(output), highlight=False)
        with tempfile.TemporaryDirectory() as folder:
            drawing = Path(folder) / "terminal.svg"
            console.save_svg(str(drawing), title="billing", theme=MONOKAI)
            page = self.browser.new_page(viewport={"width": WIDTH, "height": 800}, device_scale_factor=1)
            page.set_content(f"<style>body {{margin: 0}} svg {{width: 100%}}</style>{drawing.read_text()}")
            page.locator("svg").screenshot(path=FOLDER / f"{name}.png")
            page.close()


_UNSHOWN = ("-P", "pager=off")


def _billing(*arguments: str) -> str:
    done = subprocess.run([str(PROJECT_ROOT / "billing"), *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def main() -> None:
    """Take all pictures, or those that are named."""
    settings = settings_module.load()
    FOLDER.mkdir(exist_ok=True)
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*QUIET])
        terminal = Terminal(browser)
        pictures: dict[str, Callable[[], None]] = {"status": terminal.status, "bill": terminal.bill}
        names = sys.argv[1:]
        if not names or set(names) - set(pictures):
            ui = Airflow(browser, settings)
            pictures |= {
                picture.__name__: picture
                for picture in (ui.dags, ui.run, ui.dag_docs, ui.trigger, ui.backfill, ui.reconciliation, ui.events)
            }
        for name in names or pictures:
            pictures[name]()
            print(f"docs/images/{name}.png: {(FOLDER / f'{name}.png').stat().st_size // 1000} kB")
        browser.close()


if __name__ == "__main__":
    main()
