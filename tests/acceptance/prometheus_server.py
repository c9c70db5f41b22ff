"""The Prometheus of the system, with the rules of deploy/ and short intervals."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from acceptance.processes import PATIENCE_SECONDS, wait_until
from providers.held_port import HeldPort
from providers.prometheus_files import ALERTS, RULES

#: How often it scrapes and evaluates, seconds.
INTERVAL_SECONDS = 0.5


class Prometheus:
    """Scrapes services by the names of their jobs.

    Args:
        folder: for its files.
        targets: HOST:PORT of each job.
    """

    def __init__(self, folder: Path, targets: dict[str, str]) -> None:
        folder.mkdir(parents=True)
        every = f"{round(INTERVAL_SECONDS * 1000)}ms"
        # The rules are those of deploy/, but for the time that an alert must hold.
        rules = (RULES.read_text(), re.sub(r"\bfor: \w+", f"for: {every}", ALERTS.read_text()))
        names = [RULES.name, ALERTS.name]
        for name, text in zip(names, rules, strict=True):
            (folder / name).write_text(text)
        configuration = {
            "global": {
                "scrape_interval": every,
                "scrape_timeout": every,
                "evaluation_interval": every,
            },
            "rule_files": names,
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [address]}]}
                for job, address in targets.items()
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        self._folder = folder
        self._port = HeldPort()
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - a program of the system
                [  # noqa: S607 - found where the system has it
                    "prometheus",
                    "--config.file=prometheus.yml",
                    "--storage.tsdb.path=data",
                    f"--web.listen-address={self._port.address}",
                ],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> Self:
        wait_until(self._is_ready, what="Prometheus is ready")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(PATIENCE_SECONDS)
        self._port.close()

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            return self._get("/-/ready") is not None
        except OSError:
            return False

    def _get(self, path: str, **question: str) -> bytes:
        query = f"?{urllib.parse.urlencode(question)}" if question else ""
        with urllib.request.urlopen(
            f"http://{self._port.address}{path}{query}", timeout=PATIENCE_SECONDS
        ) as answer:
            data: bytes = answer.read()
            return data

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an expression, as they are now."""
        answer = json.loads(self._get("/api/v1/query", query=expression))
        assert answer["status"] == "success", answer
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        alerts = json.loads(self._get("/api/v1/alerts"))["data"]["alerts"]
        return {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}

    def annotations(self, name: str) -> dict[str, str]:
        """Return what an alert says that fires."""
        alerts = json.loads(self._get("/api/v1/alerts"))["data"]["alerts"]
        found: dict[str, str] = next(
            one["annotations"] for one in alerts if one["labels"]["alertname"] == name
        )
        return found

    def ever_fired(self, name: str) -> bool:
        """Return whether an alert has fired since the start."""
        text = f'count_over_time(ALERTS{{alertname="{name}",alertstate="firing"}}[1h])'
        return bool(self.query(text))

    def evaluations_since(self, moment: float) -> int:
        """Return how often the rules were evaluated since a time of this machine's clock."""
        seconds = max(int(time.time() - moment), 1)
        found = self.query(f"count_over_time(closeout:campaigns_stalled:max[{seconds}s])")
        return int(found[0]["value"][1]) if found else 0
