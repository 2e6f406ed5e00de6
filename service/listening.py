"""Listening: the server's address, bound before anything else is done, so that an occupied port fails at once."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from onoma.errors import OnomaError

_LACKING = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}  # a machine without IPv6 may still have names with such addresses


class CannotListen(OnomaError):
    """The port is taken, or the address is not this machine's."""


@contextmanager
def bound(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Sockets at every address of a host, closed at the end. They are bound, but whoever serves them begins to listen.

    :param host: empty for all addresses.
    :param port: 0 for a free one.
    :raises CannotListen: says which address, and why.
    """
    with ExitStack() as stack:
        try:
            infos = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except socket.gaierror as error:
            raise CannotListen(f"cannot listen on host {host}: {error.strerror}") from error
        found: list[socket.socket] = []
        lacking: OSError | None = None
        for family, kind, protocol, _, address in dict.fromkeys(infos):
            at = port or (found[0].getsockname()[1] if found else 0)
            try:
                found.append(stack.enter_context(_bound(family, kind, protocol, (address[0], at, *address[2:]))))
            except OSError as error:
                if error.errno not in _LACKING:
                    raise _cannot(host, at, error) from error
                lacking = error
        if not found:
            assert lacking is not None
            raise _cannot(host, port, lacking) from lacking
        yield found


def _bound(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def _cannot(host: str, port: int, error: OSError) -> CannotListen:
    return CannotListen(f"cannot listen on host {host or 'any'}, port {port}: {error.strerror}")


def urls(listeners: Sequence[socket.socket]) -> list[str]:
    """The addresses of sockets as a client writes them."""
    names = [listener.getsockname()[:2] for listener in listeners]
    return [f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}" for host, port in names]
