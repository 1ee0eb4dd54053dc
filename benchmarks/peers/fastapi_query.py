"""A plain query service in FastAPI and cassandra-driver, as their documentation suggests to write one.

It adds up what the same tables have. benchmarks/contenders/query_services.py says what it guarantees less.
"""

import argparse
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import uvicorn
from cassandra.cluster import Cluster
from cassandra.concurrent import execute_concurrent_with_args
from fastapi import FastAPI, Query
from pydantic import BaseModel, Field

SERIES = {
    "hour": (
        "SELECT hour, views FROM views_by_hour WHERE video_id = ? AND kind = ? AND month IN ? AND hour >= ?",
        "hour",
    ),
    "day": ("SELECT day, views FROM views_by_day WHERE video_id = ? AND kind = ? AND day >= ?", "day"),
}


class Batch(BaseModel):
    """Several videos in one question."""

    video_ids: Annotated[list[str], Field(min_length=1, max_length=500)]


def build_app(port: int, keyspace: str) -> FastAPI:
    """The application, with a session of its own."""
    session = Cluster(["127.0.0.1"], port=port).connect(keyspace)
    total = session.prepare("SELECT views, complete_through FROM view_totals WHERE video_id = ? AND kind = ?")
    minutes = session.prepare(
        "SELECT sum(views) FROM views_by_minute WHERE video_id = ? AND kind = ? AND day = ? AND minute >= ?"
    )
    series = {name: session.prepare(text) for name, (text, _) in SERIES.items()}
    app = FastAPI()

    def views_of(video_ids: list[str], kind: str) -> list[int]:
        found = execute_concurrent_with_args(session, total, [(one, kind) for one in video_ids])
        bases = [result.result_or_exc.one() for result in found]
        today = datetime.now(UTC).date()
        since = [datetime(1970, 1, 1) if base is None else base.complete_through for base in bases]
        asked = [
            (one, kind, day, start)
            for one, start in zip(video_ids, since, strict=True)
            for day in (today - timedelta(days=1), today)
        ]
        sums = [result.result_or_exc.one()[0] or 0 for result in execute_concurrent_with_args(session, minutes, asked)]
        return [(base.views if base else 0) + sum(sums[2 * at : 2 * at + 2]) for at, base in enumerate(bases)]

    # None of these is async: they wait for Cassandra, so FastAPI runs them in threads.
    @app.get("/v1/videos/{video_id}/views")
    def get_views(video_id: str, kind: str = "view") -> dict[str, Any]:
        return {"video_id": video_id, "kind": kind, "views": views_of([video_id], kind)[0]}

    @app.post("/v1/videos:batchGet")
    def post_batch(batch: Batch, kind: str = "view") -> dict[str, Any]:
        found = zip(batch.video_ids, views_of(batch.video_ids, kind), strict=True)
        return {"videos": [{"video_id": one, "kinds": [{"kind": kind, "views": views}]} for one, views in found]}

    @app.get("/v1/videos/{video_id}/series")
    def get_series(
        video_id: str,
        granularity: Literal["hour", "day"],
        start: Annotated[datetime, Query(alias="from")],
        kind: str = "view",
    ) -> dict[str, Any]:
        months = sorted({(start + timedelta(days=day)).date().replace(day=1) for day in range(62)})
        values = (video_id, kind, months, start) if granularity == "hour" else (video_id, kind, start.date())
        rows = session.execute(series[granularity], values)
        return {"points": [{"start": str(row[0]), "views": row.views} for row in rows]}

    @app.get("/readyz")
    def readyz() -> str:
        return "ready"

    return app


def main() -> None:
    """Serve until SIGTERM."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--cassandra-port", type=int, required=True)
    arguments.add_argument("--keyspace", required=True)
    given = arguments.parse_args()
    app = build_app(given.cassandra_port, given.keyspace)
    uvicorn.run(app, host="127.0.0.1", port=given.port, access_log=False)


if __name__ == "__main__":
    main()
