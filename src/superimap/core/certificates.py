"""Verification of the certificates of HTTPS servers."""

from __future__ import annotations

import functools
import os
import ssl

import certifi


@functools.cache
def verifying_context() -> ssl.SSLContext:
    """Return the context of all HTTPS clients of this process: reading the authorities takes 20 ms.

    They are those of certifi, or those in SSL_CERT_FILE or SSL_CERT_DIR.
    """
    if file := os.environ.get("SSL_CERT_FILE"):
        return ssl.create_default_context(cafile=file)
    if folder := os.environ.get("SSL_CERT_DIR"):
        return ssl.create_default_context(capath=folder)
    return ssl.create_default_context(cafile=certifi.where())
