"""Hashes that stand for plain data: keys of jobs, ids of points and plans, environments."""

from __future__ import annotations

import hashlib
import json
from typing import Any

canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
"""Plain data in canonical JSON."""


def digest(*parts: Any) -> str:
    """16 hexadecimal digits of the SHA-256 over the parts in canonical JSON."""
    return digest_of(*map(canonical, parts))


def digest_of(*texts: str) -> str:
    """The digest of parts that are in canonical JSON already: a million of them take seconds, not a minute."""
    return hashlib.sha256(listed(*texts).encode()).hexdigest()[:16]


def listed(*texts: str) -> str:
    """The list of values that are in canonical JSON, in canonical JSON."""
    return f"[{','.join(texts)}]"
