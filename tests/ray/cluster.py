"""A local Ray with the service on it, as a process: `python cluster.py PORT`.

Deploys once for each line of its standard input, a JSON object of environment variables, and says `up` or what was
wrong; ends when there are no more.
"""

from __future__ import annotations

import json
import os
import sys

import ray
from ray import serve
from ray.serve.config import HTTPOptions

from service.ray import PROXY_CALLBACK, app
from service.ray_settings import RaySettings


def main(port: int, folder: str) -> None:
    os.environ.setdefault(*PROXY_CALLBACK)
    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=100_000_000,
        _temp_dir=folder,
        log_to_driver=True,
    )
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=port))
    for line in sys.stdin:
        for name in [name for name in os.environ if name.startswith("ONOMA_")]:
            del os.environ[name]
        os.environ.update(json.loads(line))
        serve.run(app(RaySettings()))
        print("up", flush=True)
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
