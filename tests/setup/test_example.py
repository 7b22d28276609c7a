"""The digits example: alone, with a portal that listens, with one that is away; and that the first start submits it once."""

import asyncio
import http.server
import json
import os
import subprocess
import sys
import threading
from urllib.error import HTTPError, URLError

import joblib
import pytest

from platform_portal import example_job
from tests.setup.running import ROOT

URL = "http://127.0.0.1:1"


def train(tmp_path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HYPERPARAM_EPOCHS": "2", **variables}
    program = ROOT / "examples" / "digits" / "train.py"
    return subprocess.run(
        [sys.executable, str(program)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def portal():
    """Takes metrics and remembers them."""
    taken: list[tuple[str, str, dict]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            taken.append((self.path, self.headers["Authorization"], body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", taken
    server.shutdown()
    server.server_close()


def test_it_runs_alone_and_leaves_a_model_and_its_metrics(tmp_path):
    done = train(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("epoch 1/2  loss ")
    assert joblib.load(tmp_path / "output" / "model.joblib").classes_.tolist() == list(range(10))
    assert json.loads((tmp_path / "output" / "metrics.json").read_text())["accuracy"] > 0.8


def test_it_reports_metrics_per_epoch_with_the_jobs_token(tmp_path, portal):
    url, taken = portal
    output = (tmp_path / "a folder").as_uri()
    access = {"ML_PLATFORM_URL": url, "ML_PLATFORM_JOB_ID": "some-id", "ML_PLATFORM_JOB_TOKEN": "secret"}
    assert train(tmp_path, MODEL_OUTPUT_PATH=output, **access).returncode == 0
    assert {(path, token) for path, token, _ in taken} == {("/v1/jobs/training/some-id/metrics", "Bearer secret")}
    assert [body["step"] for _, _, body in taken] == [1, 2]
    assert taken[0][2]["values"].keys() == {"loss", "accuracy"}
    assert (tmp_path / "a folder" / "model.joblib").exists()


def test_it_trains_on_when_the_portal_is_away(tmp_path):
    access = {"ML_PLATFORM_URL": URL, "ML_PLATFORM_JOB_ID": "some-id", "ML_PLATFORM_JOB_TOKEN": "secret"}
    done = train(tmp_path, **access)
    assert done.returncode == 0
    assert "metrics of step 2 were not taken" in done.stdout


class Api:
    """Stands for the portal: answers in order, an exception by raising it, and remembers what was asked."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.keys: list[str] = []
        self.calls = 0

    def __call__(self, method, url, body=None, headers=None):
        self.calls += 1
        self.keys += [headers["Idempotency-Key"]] if headers else []
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


SOURCE = {"id": "source"}
JOB = {"id": "job", "url": f"{URL}/job", "status": "pending", "metrics": {}, "error_message": ""}
SUCCEEDED = JOB | {"status": "succeeded", "metrics": {"accuracy": 0.9667}}


def first_start(file, monkeypatch, *answers: object) -> tuple[Api, list[str]]:
    api = Api(*answers)
    said: list[str] = []
    monkeypatch.setattr(example_job, "_send", api)
    monkeypatch.setattr(example_job, "POLL_SECONDS", 0)
    asyncio.run(example_job.train_once(URL, file, said.append))
    return api, said


def test_the_first_start_submits_it_waits_and_says_how_it_ended(tmp_path, monkeypatch):
    _, said = first_start(tmp_path / "example", monkeypatch, SOURCE, JOB, JOB, SUCCEEDED)
    assert said == [
        "training the example: http://127.0.0.1:1/job",
        "the example succeeded, accuracy 0.967 – http://127.0.0.1:1/job",
    ]
    again, said = first_start(tmp_path / "example", monkeypatch)
    assert (again.calls, said) == (0, [])


def test_a_submission_that_was_interrupted_is_repeated_under_the_same_keys(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        first_start(tmp_path / "example", monkeypatch, SOURCE, _Interrupt())
    key = json.loads((tmp_path / "example").read_text())["key"]
    api, _ = first_start(tmp_path / "example", monkeypatch, SOURCE, JOB, SUCCEEDED)
    assert api.keys == [f"{key}-source", f"{key}-job"]


def test_a_portal_that_is_away_for_a_moment_is_waited_for(tmp_path, monkeypatch):
    away = URLError("connection refused")
    failing = HTTPError(URL, 503, "not ready", None, None)  # type: ignore[arg-type]
    api, said = first_start(tmp_path / "example", monkeypatch, away, SOURCE, failing, SOURCE, JOB, away, SUCCEEDED)
    assert said[-1].startswith("the example succeeded")
    assert len(set(api.keys)) == 2


def test_a_refusal_is_a_message(tmp_path, monkeypatch):
    refused = HTTPError(URL, 403, "Forbidden", None, None)  # type: ignore[arg-type]
    _, said = first_start(tmp_path / "example", monkeypatch, refused)
    assert said == ["the example was not trained: HTTP Error 403: Forbidden "]


class _Interrupt(dict):
    """An answer that never arrives because somebody pressed Ctrl-C."""

    def __getitem__(self, name):
        raise KeyboardInterrupt
