"""Faults in the hooks of a request: their order, their number, what they are given, and what happens when one fails.

The order is written down twice, in `base_server` for `handle_request` and in `hosting` for a loop, so both are broken.
"""

from .mutant import fault, planted

HOOKS = "test_hooks.py::"
ERRORS = f"{HOOKS}TestErrors::"
REFUSED = f"{HOOKS}TestRefusedRequest::test_is_shut_down_once_and_not_processed"
ORDER = f"{HOOKS}TestOrder"
WRAPPING = f"{HOOKS}TestWrapping::test_get_request_may_wrap_the_socket_and_name_any_address"

MUTANTS = [
    *planted(
        "reactor/base_server.py",
        [
            fault(
                "unverified", "hooks.order",
                "            if self.verify_request(request, client_address):\n                self.process_request",
                "            if True:\n                self.process_request",
                f"{ORDER}::test_inline",
            ),
            fault(
                "process-skipped", "hooks.order",
                "                self.process_request(request, client_address)\n",
                "                self.finish_request(request, client_address)\n",
                f"{ORDER}::test_inline",
            ),
            fault(
                "finish-skipped", "hooks.finish",
                "        self.finish_request(request, client_address)\n        self.shut",
                "        self.RequestHandlerClass(request, client_address, self)\n        self.shut",
                f"{HOOKS}TestWrapping::test_finish_request_may_wrap_it_and_the_server_shuts_down_what_it_had",
            ),
            fault(
                "shutdown-skipped", "hooks.order",
                "client_address)\n        self.shutdown_request(request)\n",
                "client_address)\n        self.close_request(request)\n",
                f"{ORDER}::test_inline",
            ),
            fault(
                "not-shut-down", "hooks.order",
                "client_address)\n        self.shutdown_request(request)\n", "client_address)\n",
                f"{ORDER}::test_inline",
            ),
            fault(
                "one-refused-left-open", "hooks.refused",
                "            else:\n                self.shutdown_request(request)\n", "",
                REFUSED,
            ),
            fault(
                "one-refused-closed-only", "hooks.refused",
                "            else:\n                self.shutdown_request(request)\n",
                "            else:\n                self.close_request(request)\n",
                REFUSED,
            ),
            fault(
                "one-refused-by-false-only", "hooks.refused",
                "            if self.verify_request(request, client_address):\n",
                "            if self.verify_request(request, client_address) is not False:\n",
                REFUSED,
            ),
            fault(
                "one-verified-by-true-only", "hooks.refused",
                "            if self.verify_request(request, client_address):\n",
                "            if self.verify_request(request, client_address) is True:\n",
                f"{HOOKS}TestRefusedRequest::test_any_true_answer_will_do",
            ),
            fault(
                "one-error-not-shut-down", "hooks.error",
                "            self.handle_error(request, client_address)\n            self.shutdown_request(request)\n",
                "            self.handle_error(request, client_address)\n",
                f"{ERRORS}test_error_in_the_handler",
            ),
            fault(
                "one-error-after-shutdown", "hooks.error",
                "            self.handle_error(request, client_address)\n            self.shutdown_request(request)\n",
                "            self.shutdown_request(request)\n            self.handle_error(request, client_address)\n",
                f"{ERRORS}test_error_in_the_handler",
            ),
            fault(
                "shut-down-twice", "hooks.error",
                "        self.finish_request(request, client_address)\n        self.shut",
                "        try:\n            self.finish_request(request, client_address)\n        except Exception:\n"
                "            self.shutdown_request(request)\n            raise\n        self.shut",
                f"{ERRORS}test_error_in_the_handler",
            ),
            fault(
                "one-kept-request-closed", "hooks.keep",
                "                self.process_request(request, client_address)\n",
                "                self.process_request(request, client_address)\n"
                "                self.close_request(request)\n",
                f"{HOOKS}TestKeptSocket",
            ),
            fault(
                "report-39-dashes", "hooks.report",
                'rule = "-" * 40', 'rule = "-" * 39',
                f"{ERRORS}test_handle_error_prints_address_and_traceback",
            ),
            fault(
                "report-without-traceback", "hooks.report",
                "traceback.format_exc()", 'f"{sys.exc_info()[1]!r}\\n"',
                f"{ERRORS}test_handle_error_prints_address_and_traceback",
            ),
            fault(
                "report-without-address", "hooks.report",
                "request from {client_address}", "request from {request}",
                f"{ERRORS}test_handle_error_prints_address_and_traceback",
            ),
            fault(
                "report-to-stdout", "hooks.report",
                "sys.stderr.write(", "sys.stdout.write(",
                f"{ERRORS}test_handle_error_prints_address_and_traceback",
            ),
            fault(
                "report-to-nobody", "hooks.report",
                "        if sys.stderr is None:\n            return  #", "        if False:\n            return  #",
                f"{ERRORS}test_handle_error_has_nothing_to_print_to",
            ),
            fault(
                "handler-must-be-a-class", "hooks.callable",
                "        _check_handler(RequestHandlerClass)\n",
                "        _check_handler(RequestHandlerClass)\n        assert isinstance(RequestHandlerClass, type)\n",
                f"{HOOKS}TestRequestHandlerClass::test_is_any_callable",
            ),
            fault(
                "handler-becomes-a-method", "hooks.callable",
                "self.RequestHandlerClass = RequestHandlerClass", "type(self).RequestHandlerClass = RequestHandlerClass",
                f"{HOOKS}TestRequestHandlerClass::test_is_any_callable",
            ),
            fault(
                "handler-read-once", "hooks.callable",
                "self.RequestHandlerClass = RequestHandlerClass",
                "self.RequestHandlerClass = RequestHandlerClass\n"
                "        self.finish_request = lambda *args: RequestHandlerClass(*args, self)",
                f"{HOOKS}TestRequestHandlerClass::test_is_read_at_each_request",
            ),
            fault(
                "handler-given-no-server", "hooks.callable",
                "self.RequestHandlerClass(request, client_address, self)",
                "self.RequestHandlerClass(request, client_address, None)",
                f"{HOOKS}TestRequestHandlerClass::test_is_given_request_address_and_server",
            ),
        ],
    ),
    *planted(
        "reactor/hosting.py",
        [
            fault(
                "loop-unverified", "hooks.order",
                "            if self.server.verify_request(request, client_address):\n", "            if True:\n",
                f"{ORDER}::test_inline",
            ),
            fault(
                "loop-process-skipped", "hooks.order",
                "            self.server.process_request(request, client_address)\n",
                "            self.server.finish_request(request, client_address)\n",
                f"{ORDER}::test_inline",
            ),
            fault(
                "loop-refused-left-open", "hooks.refused",
                "            raise\n        self._shut(request)\n        return False\n",
                "            raise\n        return False\n",
                REFUSED,
            ),
            fault(
                "loop-refused-by-false-only", "hooks.refused",
                "            if self.server.verify_request(request, client_address):\n",
                "            if self.server.verify_request(request, client_address) is not False:\n",
                REFUSED,
            ),
            fault(
                "loop-error-not-shut-down", "hooks.error",
                "            finally:\n                self._shut(request)\n            return False\n",
                "            finally:\n                pass\n            return False\n",
                f"{ERRORS}test_error_in_the_handler",
            ),
            fault(
                "loop-error-after-shutdown", "hooks.error",
                "                    self.server.handle_error(request, client_address)\n"
                "            finally:\n                self._shut(request)\n",
                "                    pass\n            finally:\n                self._shut(request)\n"
                "            self.server.handle_error(request, client_address)\n",
                f"{ERRORS}test_error_in_the_handler",
            ),
            fault(
                "loop-timeout-of-request-undone", "hooks.get",
                "        if request.gettimeout() is None:\n            request.setblocking(True)",
                "        if True:\n            request.setblocking(True)",
                WRAPPING,
            ),
            fault(
                "loop-address-asked-of-the-socket", "hooks.get",
                "            outlives = self._process(request, client_address)",
                "            outlives = self._process(request, request.getpeername())",
                WRAPPING,
            ),
            fault(
                "loop-kept-request-closed", "hooks.keep",
                "            if not outlives:\n", "            if not outlives:\n                request.close()\n",
                f"{HOOKS}TestKeptSocket",
            ),
            fault(
                "loop-socket-remembered", "hooks.socket",
                "        self._socket = getattr(self.server, \"socket\", self.server)\n",
                "        self._socket = self.server.__dict__.setdefault(\"_served\", self.server.socket)\n",
                "test_servers.py::TestReplacedSocket::test_between_two_times_of_serving",
            ),
        ],
    ),
    *planted(
        "reactor/mixins.py",
        [
            fault(
                "thread-error-not-shut-down", "hooks.error",
                "                self.shutdown_request(request)\n            finally:\n                if self._host",
                "                pass\n            finally:\n                if self._host",
                f"{ERRORS}test_error_in_the_handler_in_a_thread",
            ),
            fault(
                "pool-needs-a-host", "hooks.keep",
                "            finally:\n                if self._host is not None:",
                "            finally:\n                if True:",
                "test_mixins_threading.py::TestThreads::test_process_request_thread_may_be_called_by_hand",
            ),
        ],
    ),
    *planted(
        "reactor/servers.py",
        [
            fault(
                "fileno-remembered", "hooks.socket",
                "self.socket.listen(self.request_queue_size)",
                "self.socket.listen(self.request_queue_size)\n        self.fileno = self.socket.fileno",
                "test_servers.py::TestReplacedSocket",
            ),
            fault(
                "accept-remembered", "hooks.socket",
                "self.socket.listen(self.request_queue_size)",
                "self.socket.listen(self.request_queue_size)\n        self.get_request = self.socket.accept",
                "test_servers.py::TestReplacedSocket",
            ),
            fault(
                "request-inherits-the-timeout", "hooks.get",
                "        return connection, client_address\n",
                "        connection.settimeout(self.socket.gettimeout())\n        return connection, client_address\n",
                "test_handle_request.py::test_request_is_blocking_whatever_the_listener_is",
            ),
        ],
    ),
]
