"""Faults in the servers' sockets: how they are made, bound, described and closed, and what a packet's request is."""

from .mutant import fault, planted

SERVERS = "test_servers.py::"
BINDING = f"{SERVERS}TestBinding::"
FAILED = f"{SERVERS}TestFailedConstruction::"
CLOSING = f"{SERVERS}TestClosing::"
END = f"{SERVERS}TestEndOfAConnection::"
PACKETS = f"{SERVERS}TestDatagrams::"
DEFAULT = "test_module.py::test_default"

MUTANTS = [
    *planted(
        "reactor/servers.py",
        [
            fault(
                "failed-bind-leaks", "socket.failed",
                "                self.server_close()\n                raise\n", "                raise\n",
                f"{FAILED}test_bind_to_an_impossible_port_1024_times",
            ),
            fault(
                "failed-bind-leaks-unless-oserror", "socket.failed",
                "            except BaseException:  # whatever", "            except OSError:  # whatever",
                f"{FAILED}test_bind_to_an_impossible_port_1024_times",
            ),
            fault(
                "interrupted-bind-leaks", "socket.failed",
                "            except BaseException:  # whatever", "            except Exception:  # whatever",
                f"{FAILED}test_any_error_closes_through_server_close",
            ),
            fault(
                "failed-bind-closes-the-socket-only", "socket.failed",
                "                self.server_close()\n                raise\n",
                "                self.socket.close()\n                raise\n",
                f"{FAILED}test_any_error_closes_through_server_close",
            ),
            fault(
                "failed-bind-is-silent", "socket.failed",
                "                self.server_close()\n                raise\n", "                self.server_close()\n",
                f"{FAILED}test_bind_in_use",
            ),
            fault(
                "address-as-asked", "socket.address",
                "        self.server_address = self.socket.getsockname()\n", "",
                f"{BINDING}test_address_is_the_one_bound_to",
            ),
            fault(
                "close-does-not-close", "socket.closed",
                "        super().server_close()\n        self.socket.close()\n", "        super().server_close()\n",
                f"{CLOSING}test_with_closes",
            ),
            fault(
                "fileno-never-minus-one", "socket.closed",
                "return int(self.socket.fileno())", "return max(0, self.socket.fileno())",
                f"{CLOSING}test_with_closes",
            ),
            fault(
                "reuse-address-never", "socket.options",
                "reuse=bool(self.allow_reuse_address)", "reuse=False",
                f"{BINDING}test_reuse",
            ),
            fault(
                "reuse-address-always", "socket.options",
                "reuse=bool(self.allow_reuse_address)", "reuse=True",
                f"{BINDING}test_reuse",
            ),
            fault(
                "reuse-address-of-the-class", "socket.options",
                "reuse=bool(self.allow_reuse_address)", "reuse=bool(type(self).allow_reuse_address)",
                f"{BINDING}test_reuse_may_be_said_of_one_server",
            ),
            fault(
                "reuse-port-never", "socket.options",
                "            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\n", "            pass\n",
                f"{BINDING}test_two_servers_on_one_port",
            ),
            fault(
                "reuse-port-always", "socket.options",
                "            self.allow_reuse_port\n            and", "            True\n            and",
                f"{BINDING}test_reuse",
            ),
            fault(
                "reuse-port-not-on-ipv6", "socket.options",
                "in (socket.AF_INET, socket.AF_INET6)", "in (socket.AF_INET,)",
                f"{BINDING}test_reuse_port_on_ipv6",
            ),
            fault(
                "reuse-port-on-unix-sockets", "socket.options",
                "in (socket.AF_INET, socket.AF_INET6)", "in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)",
                f"{BINDING}test_reuse_port_is_for_ip",
            ),
            fault(
                "backlog-1", "socket.backlog",
                "request_queue_size = 5", "request_queue_size = 1",
                DEFAULT,
            ),
            fault(
                "backlog-fixed", "socket.backlog",
                "self.socket.listen(self.request_queue_size)", "self.socket.listen(5)",
                f"{BINDING}test_backlog",
            ),
            fault(
                "always-bound", "socket.later",
                "        if bind_and_activate:\n", "        if True:\n",
                f"{BINDING}test_bind_and_activate_later",
            ),
            fault(
                "bound-only", "socket.later",
                "                self.server_activate()\n            except", "            except",
                f"{BINDING}test_socket_is_of_the_family_and_type_of_the_class",
            ),
            fault(
                "ipv4-only", "socket.family",
                "socket.socket(self.address_family, self.socket_type)", "socket.socket(socket.AF_INET, self.socket_type)",
                f"{BINDING}test_ipv6",
            ),
            fault(
                "family-of-the-class", "socket.family",
                "socket.socket(self.address_family, self.socket_type)",
                "socket.socket(type(self).address_family, self.socket_type)",
                f"{BINDING}test_family_may_be_said_of_one_server",
            ),
            fault(
                "streams-only", "socket.family",
                "    socket_type: int = socket.SOCK_DGRAM\n", "    socket_type: int = socket.SOCK_STREAM\n",
                DEFAULT,
            ),
            fault(
                "end-without-shutdown", "socket.end",
                "            request.shutdown(socket.SHUT_WR)\n", "            pass\n",
                f"{END}test_shutdown_request_ends_the_stream_though_a_copy_is_open",
            ),
            fault(
                "end-of-both-directions", "socket.end",
                "request.shutdown(socket.SHUT_WR)", "request.shutdown(socket.SHUT_RDWR)",
                f"{END}test_shutdown_request_leaves_the_other_direction_to_a_copy",
            ),
            fault(
                "end-of-the-wrong-direction", "socket.end",
                "request.shutdown(socket.SHUT_WR)", "request.shutdown(socket.SHUT_RD)",
                f"{END}test_shutdown_request_ends_the_stream_though_a_copy_is_open",
            ),
            fault(
                "end-fails-when-not-connected", "socket.end",
                "with contextlib.suppress(OSError):", "with contextlib.suppress(ConnectionError):",
                f"{END}test_request_that_is_no_longer_connected",
            ),
            fault(
                "end-hides-errors", "socket.end",
                "with contextlib.suppress(OSError):", "with contextlib.suppress(Exception):",
                f"{END}test_other_errors_are_not_hidden",
            ),
            fault(
                "end-past-close-request", "hooks.order",
                "gone already\n            request.shutdown(socket.SHUT_WR)\n        self.close_request(request)\n",
                "gone already\n            request.shutdown(socket.SHUT_WR)\n        request.close()\n",
                f"{END}test_shutdown_request_closes_through_close_request",
            ),
            fault(
                "request-never-closed", "socket.end",
                "        request.close()\n", "        pass\n",
                f"{END}test_shutdown_request_ends_the_stream_though_a_copy_is_open",
            ),
            fault(
                "packet-of-another-socket", "udp.request",
                "return (data, self.socket), client_address", "return (data, self.socket.dup()), client_address",
                f"{PACKETS}test_request_is_the_packet_and_the_servers_socket",
            ),
            fault(
                "packet-size-of-the-class", "udp.request",
                "self.socket.recvfrom(self.max_packet_size)", "self.socket.recvfrom(type(self).max_packet_size)",
                f"{PACKETS}test_packet_size",
            ),
            fault(
                "packet-size-default", "udp.request",
                "max_packet_size = 8192", "max_packet_size = 65536",
                f"{PACKETS}test_packet_size",
            ),
            fault(
                "packet-end-closes", "udp.open",
                '        """Nothing: the socket is the server\'s."""\n', "        request[1].close()\n",
                f"{PACKETS}test_ending_a_request_never_closes_the_servers_socket",
            ),
            fault(
                "packet-end-past-close-request", "udp.open",
                'is called."""\n        self.close_request(request)\n', 'is called."""\n',
                f"{PACKETS}test_shutdown_request_goes_through_close_request",
            ),
        ],
    ),
    *planted(
        "reactor/base_server.py",
        [
            fault(
                "with-does-not-close", "socket.closed",
                "        self.server_close()\n\n\ndef _check_handler", "        pass\n\n\ndef _check_handler",
                f"{CLOSING}test_with_closes",
            ),
        ],
    ),
    *planted(
        "reactor/hosting.py",
        [
            fault(
                "packets-nonblocking", "udp.request",
                "            self.row = ServedRequests(self, self._socket)\n",
                "            self._socket.setblocking(False)\n            self.row = ServedRequests(self, self._socket)\n",
                f"{PACKETS}test_socket_is_blocking_for_the_handler",
            ),
        ],
    ),
    *planted(
        "reactor/request_handlers.py",
        [
            fault(
                "empty-packet-kept-back", "udp.empty",
                "        self.socket.sendto(self.wfile.getvalue(), self.client_address)",
                "        self.wfile.getvalue() and self.socket.sendto(self.wfile.getvalue(), self.client_address)",
                f"{PACKETS}test_empty_packet_is_a_request_and_an_empty_reply_is_sent",
            ),
            fault(
                "unbound-client-is-silent", "udp.unbound",
                "        self.socket.sendto(self.wfile.getvalue(), self.client_address)",
                "        self.client_address and self.socket.sendto(self.wfile.getvalue(), self.client_address)",
                f"{PACKETS}test_unix_client_that_is_not_bound_gets_no_reply_and_harms_nobody",
            ),
        ],
    ),
]
