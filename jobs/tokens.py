"""The token that a training process carries: good for its own job and nothing else, made from the key, kept nowhere.

``mlpjob.<job id>.<HMAC-SHA256>``; it verifies under ``SECRET_KEY`` or one of ``SECRET_KEY_FALLBACKS``, so rotating the key does
not cut off running jobs.
"""

from uuid import UUID

from django.core import signing

PREFIX = "mlpjob."


def make(job_id: UUID) -> str:
    return PREFIX + _signer().sign(job_id.hex)


def job_id_of(token: str) -> UUID | None:
    """The job that a genuine token names; ``None`` for any other text."""
    if not token.startswith(PREFIX):
        return None
    try:
        return UUID(_signer().unsign(token.removeprefix(PREFIX)))
    except (signing.BadSignature, ValueError):
        return None


def _signer() -> signing.Signer:
    return signing.Signer(sep=".", salt="jobs.tokens")
