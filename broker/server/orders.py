"""What the parent tells a worker: one line of JSON down its channel, which holds every secret it needs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from broker.db.server_checks import ExternalDatabase
from broker.settings import Limits, Settings


@dataclass(frozen=True, slots=True)
class Orders:
    """What the parent hands a worker. Everything secret is in `database` and `root_key`."""

    settings: Settings
    database: ExternalDatabase
    root_key: str = field(repr=False)
    port: int
    metrics_folder: str | None
    base_url: str

    def encode(self) -> bytes:
        """One line of JSON."""
        s = self.settings
        return orjson.dumps(
            {
                "settings": {
                    "data_dir": str(s.data_dir),
                    "host": s.host,
                    "port": s.port,
                    "public_url": s.public_url,
                    "trusted_proxy": s.trusted_proxy,
                    "allow_upstream": [list(pair) for pair in sorted(s.allow_upstream)],
                    "workers": s.workers,
                    "node": s.node,
                    "json_logs": s.json_logs,
                    "sandbox_workers": s.sandbox_workers,
                    "sandbox_isolate": s.sandbox_isolate,
                    "allow_unhardened_sandbox": s.allow_unhardened_sandbox,
                },
                "limits": {name: getattr(s.limits, name) for name in s.limits.__slots__},
                "database": {**asdict(self.database), "root_certificates": _text(self.database.root_certificates)},
                "root_key": self.root_key,
                "port": self.port,
                "metrics_folder": self.metrics_folder,
                "base_url": self.base_url,
            }
        )

    @classmethod
    def decode(cls, line: bytes) -> "Orders":
        """The orders in one line of JSON."""
        given = orjson.loads(line)
        s = given["settings"]
        settings = Settings(
            data_dir=Path(s["data_dir"]),
            host=s["host"],
            port=s["port"],
            public_url=s["public_url"],
            trusted_proxy=s["trusted_proxy"],
            allow_upstream=frozenset((host, port) for host, port in s["allow_upstream"]),
            workers=s["workers"],
            node=s["node"],
            json_logs=s["json_logs"],
            sandbox_workers=s["sandbox_workers"],
            sandbox_isolate=s["sandbox_isolate"],
            allow_unhardened_sandbox=s["allow_unhardened_sandbox"],
            limits=Limits(**given["limits"]),
        )
        return cls(
            settings=settings,
            database=_place(given["database"]),
            root_key=given["root_key"],
            port=given["port"],
            metrics_folder=given["metrics_folder"],
            base_url=given["base_url"],
        )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _place(given: Mapping[str, Any]) -> ExternalDatabase:
    certificates = given["root_certificates"]
    return ExternalDatabase(**{**given, "root_certificates": None if certificates is None else Path(certificates)})
