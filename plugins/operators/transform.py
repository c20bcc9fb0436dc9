"""dbt as one task: the models and tests of a selection, in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import BaseOperator
from house import Pool


class TransformOperator(BaseOperator):
    """Build and test the dbt models of a selection such as `tag:usage`.

    The log has a line for each model and test. The task fails with the names of the models that failed, what the
    database said, and the file of the SQL that was run. Returns the number of models and tests, rows and seconds.
    """

    template_fields: Sequence[str] = ("select",)
    ui_color = "#ffe5d9"

    def __init__(self, *, select: str, **kwargs: Any) -> None:
        super().__init__(pool=kwargs.pop("pool", Pool.MARTS.value), **kwargs)
        self.select = select

    def execute(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Called by Airflow."""
        from metering import transform

        results = transform.build(self.select).results
        return {
            "models": sum(result["kind"] == "model" for result in results),
            "tests": sum(result["kind"] != "model" for result in results),
            "rows": sum(max(int(result["rows"] or 0), 0) for result in results if result["kind"] == "model"),
            "seconds": round(sum(result["seconds"] for result in results), 3),
        }
