"""Where a web server points to, followed only to places that it could have named itself.

A server of the internet may not point into the network, nor at the machine, of who asks.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from dof_arrow.errors import CoreError, SourceError
from dof_arrow.storage.addresses import bare
from dof_arrow.storage.transfer import Redirects, opener

_SECONDS = 20.0
_INTERNET = 3
_INTRANET = 2
_MACHINE = 1
_NOWHERE = 0  # link-local: services of the machine's host, such as those with its credentials


def final_address(url: str, authorization: str | None = None) -> str:
    """The address that a server points to, in the end; `url` itself where it points nowhere.

    Raises SourceError where that is no address, without encryption behind one that has it, or
    nearer to this machine than the server is.
    """
    request = urllib.request.Request(url)
    request.add_header("User-Agent", "dof-arrow")
    request.add_header("Range", "bytes=0-0")
    if authorization:
        request.add_unredirected_header("Authorization", authorization)
    try:
        with opener(_Careful()).open(request, timeout=_SECONDS) as answer:
            return str(answer.geturl())
    except CoreError as error:  # of `Redirects`, which was made for models
        raise SourceError(error.what, error.where, error.expected, error.found) from None
    except urllib.error.HTTPError as error:
        error.close()
        return url  # what it refuses is told when it is asked for the file
    except (OSError, http.client.HTTPException, ValueError):
        return url


class _Careful(Redirects):
    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        """The request to the new address; SourceError where nobody should be sent."""
        if _nearness(newurl) < _nearness(req.full_url):
            raise SourceError(
                "the server points into a private network",
                bare(req.full_url),
                "a place as public as itself",
                urlsplit(newurl).hostname or "none",
                "Ask whoever runs it.",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _nearness(url: str) -> int:
    """How public the nearest of a host's addresses is."""
    parts = urlsplit(url)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_STREAM)
    except (OSError, ValueError):  # only a proxy may know it
        return _INTERNET
    return min(_public(ipaddress.ip_address(each[4][0])) for each in found)


def _public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> int:
    if address.is_link_local:
        return _NOWHERE
    if address.is_loopback or address.is_unspecified:
        return _MACHINE
    return _INTERNET if address.is_global else _INTRANET
