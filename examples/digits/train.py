"""Train a small neural network to read handwritten digits.

It uses what the platform gives a training job and also runs alone: `python train.py`.
"""

import json
import os
import tempfile
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

# Each hyperparameter of the job is a variable of its own.
EPOCHS = int(os.environ.get("HYPERPARAM_EPOCHS", "15"))
LEARNING_RATE = float(os.environ.get("HYPERPARAM_LEARNING_RATE", "0.002"))
HIDDEN_UNITS = int(os.environ.get("HYPERPARAM_HIDDEN_UNITS", "64"))
BATCH_SIZE = int(os.environ.get("HYPERPARAM_BATCH_SIZE", "32"))
SEED = int(os.environ.get("HYPERPARAM_SEED", "7"))
OUTPUT = os.environ.get("MODEL_OUTPUT_PATH", "output")


def main() -> None:
    images, digits = load_digits(return_X_y=True)  # 1,797 images of 8 × 8 pixels, part of scikit-learn
    train_x, test_x, train_y, test_y = train_test_split(
        images / 16, digits, test_size=0.25, random_state=SEED, stratify=digits
    )
    model = MLPClassifier((HIDDEN_UNITS,), learning_rate_init=LEARNING_RATE, batch_size=BATCH_SIZE, random_state=SEED)
    metrics: dict[str, float] = {}
    for epoch in range(1, EPOCHS + 1):
        model.partial_fit(train_x, train_y, classes=np.unique(digits))
        metrics = {
            "loss": float(log_loss(test_y, model.predict_proba(test_x))),
            "accuracy": float(model.score(test_x, test_y)),
        }
        print(f"epoch {epoch}/{EPOCHS}  loss {metrics['loss']:.4f}  accuracy {metrics['accuracy']:.4f}", flush=True)
        report(epoch, metrics)
    save(model, metrics)
    print(f"The model is in {OUTPUT}", flush=True)


def report(step: int, values: dict[str, float]) -> None:
    """Send metrics to the job's page. Training goes on when the portal cannot be reached."""
    if "ML_PLATFORM_JOB_TOKEN" not in os.environ:
        return
    request = urllib.request.Request(
        f"{os.environ['ML_PLATFORM_URL']}/v1/jobs/training/{os.environ['ML_PLATFORM_JOB_ID']}/metrics",
        data=json.dumps({"step": step, "values": values}).encode(),
        headers={"Authorization": f"Bearer {os.environ['ML_PLATFORM_JOB_TOKEN']}", "Content-Type": "application/json"},
    )
    try:
        urllib.request.urlopen(request, timeout=5).close()
    except OSError as problem:
        print(f"metrics of step {step} were not taken: {problem}", flush=True)


def save(model: MLPClassifier, metrics: dict[str, float]) -> None:
    """Write model.joblib and metrics.json to a folder, a file:// address, or through fsspec to s3:// and others."""
    target = urlsplit(OUTPUT)
    if target.scheme in {"", "file"}:
        write(Path(url2pathname(target.path)), model, metrics)
        return
    import fsspec  # only needed for object storage: pip install fsspec s3fs

    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), model, metrics)
        files = fsspec.core.url_to_fs(OUTPUT)[0]
        files.put(f"{folder}/", OUTPUT.rstrip("/") + "/", recursive=True)


def write(folder: Path, model: MLPClassifier, metrics: dict[str, float]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, folder / "model.joblib")
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")


if __name__ == "__main__":
    main()
