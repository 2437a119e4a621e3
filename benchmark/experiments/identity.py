"""Digests of what a job depends on; what was written to JSON and read again has the same."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def identity_of(content: Mapping[str, Any]) -> str:
    """Return the digest of all that a job depends on."""
    return _digest(content)[:16]


def comparison_of(shared: Mapping[str, Any]) -> str:
    """Return the digest of what all jobs of a comparison depend on."""
    return _digest(shared)[:12]


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
