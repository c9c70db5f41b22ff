"""Reading what both services say over HTTP, for tests."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx
from prometheus_client.parser import text_string_to_metric_families

from providers.plain_http import NO_TLS


@dataclass(slots=True)
class Scrape:
    """What one scrape says.

    Attributes:
        families: the kind of each metric, by its name without ``_total`` and the like.
        samples: the value of each series, by its name and labels.
    """

    families: dict[str, str] = field(default_factory=dict)
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = field(default_factory=dict)

    def value(self, name: str, **labels: str) -> float:
        """Return the value of one series; a label that is not given does not matter."""
        found = [
            value
            for (known, theirs), value in self.samples.items()
            if known == name and set(labels.items()) <= theirs
        ]
        assert len(found) == 1, f"{len(found)} series {name} {labels}"
        return found[0]

    def sum(self, name: str, **labels: str) -> float:
        """Return the sum of all series with this name and these labels."""
        return sum(
            value
            for (known, theirs), value in self.samples.items()
            if known == name and set(labels.items()) <= theirs
        )

    def labels_of(self, name: str) -> set[str]:
        """Return the names of labels of a series; of a family without samples none."""
        return {label for known, labels in self.samples if known == name for label, _ in labels}


def parsed(text: str) -> Scrape:
    """Return what a text in the format of Prometheus says."""
    scrape = Scrape()
    for family in text_string_to_metric_families(text):
        scrape.families[family.name] = family.type
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in scrape.samples, f"twice: {key}"
            scrape.samples[key] = sample.value
    return scrape


async def get(http_address: str, path: str, **headers: str) -> httpx.Response:
    """Return the answer of a service to a request."""
    async with httpx.AsyncClient(
        verify=NO_TLS, base_url=f"http://{http_address}", timeout=30
    ) as client:
        return await client.get(path, headers=headers)


async def scrape(http_address: str) -> Scrape:
    """Scrape a service."""
    answer = await get(http_address, "/metrics")
    assert answer.status_code == 200, answer.text
    return parsed(answer.text)
