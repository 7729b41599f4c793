"""Faults in the request handlers: the order of their hooks, their files, and what protocols do with them."""

from .mutant import fault, planted

HANDLERS = "test_request_handlers.py::"
BASE = f"{HANDLERS}TestBaseRequestHandler::"
STREAM = f"{HANDLERS}TestStreamRequestHandler::"
EACH = f"{HANDLERS}TestInEachWay::"

MUTANTS = [
    *planted(
        "reactor/request_handlers.py",
        [
            fault(
                "finish-after-a-failed-setup", "handler.order",
                "        self.setup()\n        try:\n", "        try:\n            self.setup()\n",
                f"{BASE}test_failing_hook",
            ),
            fault(
                "no-finish-after-a-failed-handle", "handler.order",
                "        finally:\n            self.finish()\n",
                "            self.finish()\n        finally:\n            pass\n",
                f"{BASE}test_failing_hook",
            ),
            fault(
                "no-finish-after-an-exit", "handler.order",
                "        finally:\n            self.finish()\n",
                "        except Exception:\n            self.finish()\n"
                "            raise\n        else:\n            self.finish()\n",
                f"{BASE}test_finish_runs_for_exits_too",
            ),
            fault(
                "server-known-too-late", "handler.order",
                "        self.server = server\n        self.setup()\n",
                "        self.setup()\n        self.server = server\n",
                f"{BASE}test_attributes_are_there_from_setup_on",
            ),
            fault(
                "connection-is-a-copy", "handler.request",
                "self.connection = self.request", "self.connection = self.request.dup()",
                f"{EACH}test_handler_gets_a_real_blocking_socket",
            ),
            fault(
                "rfile-over-a-copy", "handler.request",
                'connection.makefile("rb", self.rbufsize)', 'connection.dup().makefile("rb", self.rbufsize)',
                f"{STREAM}test_rfile_is_a_file_over_the_socket",
            ),
            fault(
                "rbufsize-zero-is-default", "handler.rbufsize",
                'makefile("rb", self.rbufsize)', 'makefile("rb", self.rbufsize or -1)',
                f"{STREAM}test_unbuffered_rfile_leaves_the_rest_in_the_socket",
            ),
            fault(
                "rbufsize-ignored", "handler.rbufsize",
                'makefile("rb", self.rbufsize)', 'makefile("rb", -1 if self.rbufsize else 0)',
                f"{STREAM}test_rbufsize_is_the_size_of_the_buffer",
            ),
            fault(
                "wfile-never-buffered", "handler.wbufsize",
                "        if self.wbufsize == 0:", "        if self.wbufsize <= 0:",
                f"{STREAM}test_buffered_wfile_is_a_buffered_writer",
            ),
            fault(
                "wfile-always-buffered", "handler.wbufsize",
                "        if self.wbufsize == 0:\n            self.wfile = _writer(connection)\n",
                '        if self.wbufsize == 0:\n            self.wfile = self.connection.makefile("wb")\n',
                f"{STREAM}test_default_wfile_sends_at_once",
            ),
            fault(
                "wbufsize-ignored", "handler.wbufsize",
                'makefile("wb", self.wbufsize)', 'makefile("wb", -1)',
                f"{STREAM}test_wbufsize_is_the_size_of_the_buffer",
            ),
            fault(
                "wfile-not-flushed", "handler.wbufsize",
                "                wfile.flush()\n", "                pass\n",
                f"{STREAM}test_handler_may_put_another_file_in_the_place_of_wfile",
            ),
            fault(
                "closed-wfile-flushed", "handler.wbufsize",
                "            if not wfile.closed:\n", "            if True:\n",
                f"{STREAM}test_handler_may_close_wfile_itself",
            ),
            fault(
                "timeout-zero-is-none", "handler.timeout",
                "if self.timeout is not None:", "if self.timeout:",
                f"{STREAM}test_timeout_zero_is_a_timeout",
            ),
            fault(
                "timeout-ignored", "handler.timeout",
                "            connection.settimeout(self.timeout)\n", "            pass\n",
                f"{STREAM}test_timeout_is_applied_to_the_connection",
            ),
            fault(
                "timeout-none-is-put-on-too", "handler.timeout",
                "if self.timeout is not None:", "if True:",
                f"{STREAM}test_no_timeout_leaves_that_of_the_connection",
            ),
            fault(
                "write-is-short", "handler.write",
                "        self._sock.sendall(data)\n", "        self._sock.send(data)\n",
                f"{STREAM}test_huge_write_is_never_short_even_under_signals",
            ),
            fault(
                "write-counts-items", "handler.write",
                "return view.nbytes", "return len(view)",
                f"{STREAM}test_write_returns_the_length_in_bytes",
            ),
            fault(
                "write-returns-nothing", "handler.write",
                "return view.nbytes", "return None",
                f"{STREAM}test_write_returns_the_length_in_bytes",
            ),
            fault(
                "writer-is-raw", "handler.write",
                "class _SocketWriter(io.BufferedIOBase):", "class _SocketWriter(io.RawIOBase):",
                f"{STREAM}test_default_wfile_is_not_readable_but_writable",
            ),
            fault(
                "writer-is-not-writable", "handler.write",
                'written to."""\n        return True', 'written to."""\n        return False',
                f"{STREAM}test_default_wfile_is_not_readable_but_writable",
            ),
            fault(
                "wfile-left-open", "handler.closed",
                "                wfile.close()\n            self.rfile.close()\n",
                "                pass\n            self.rfile.close()\n",
                f"{STREAM}test_closing_the_socket_after_the_handler_really_closes_it",
                f"{STREAM}test_wfile_and_rfile_are_closed_at_the_end_and_the_connection_is_not",
            ),
            fault(
                "rfile-left-open", "handler.closed",
                "                wfile.close()\n            self.rfile.close()\n",
                "                wfile.close()\n",
                f"{STREAM}test_closing_the_socket_after_the_handler_really_closes_it",
            ),
            fault(
                "connection-closed-by-the-handler", "handler.closed",
                "            wfile.closed = True\n            self.rfile.close()\n",
                "            wfile.closed = True\n            self.rfile.close()\n            self.connection.close()\n",
                f"{STREAM}test_wfile_and_rfile_are_closed_at_the_end_and_the_connection_is_not",
            ),
            fault(
                "last-flush-fails", "handler.closed",
                "        except OSError:\n            # The buffer",
                "        except InterruptedError:\n            # The buffer",
                f"{STREAM}test_socket_error_of_the_last_flush_is_dropped",
            ),
            fault(
                "last-flush-tried-twice", "handler.closed",
                "                raw.close()\n", "                pass\n",
                f"{STREAM}test_last_flush_is_tried_once",
            ),
            fault(
                "last-flush-hides-all", "handler.closed",
                "        except OSError:\n            # The buffer", "        except Exception:\n            # The buffer",
                f"{STREAM}test_other_errors_of_the_last_flush_are_raised",
            ),
            fault(
                "nagle-always", "handler.nagle",
                "        if self.disable_nagle_algorithm:\n", "        if not self.disable_nagle_algorithm:\n",
                f"{STREAM}test_disable_nagle_algorithm",
            ),
            fault(
                "writer-without-fileno", "http.cgi",
                "return cast(int, self._sock.fileno())", "raise OSError",
                f"{EACH}test_child_process_may_take_over_the_connection",
            ),
            fault(
                "handle-twice", "http.lines",
                "            outcome: object = self.handle()",
                "            self.handle()\n            outcome: object = self.handle()",
                "test_http.py::TestOneConnection::test_handler_finishes_once",
                "test_http.py::test_xmlrpc_counts_on_one_handle_for_each_connection",
            ),
            fault(
                "reply-kept-back", "http.lines",
                'makefile("wb", self.wbufsize)',
                'makefile("wb", self.wbufsize)\n            self.wfile.flush = lambda: None',
                "test_http.py::TestOneConnection::test_each_reply_is_sent_before_the_next_request_is_read",
            ),
            fault(
                "continue-kept-back", "http.continue",
                "self.wfile = _writer(connection)",
                'self.wfile = io.BufferedWriter(socket.SocketIO(self.connection, "w"))',
                "test_http.py::TestContinue",
            ),
            fault(
                "rest-in-a-buffer", "http.drain",
                'makefile("rb", self.rbufsize)', 'makefile("rb", self.rbufsize or 1 << 16)',
                f"{EACH}test_handler_may_select_on_its_connection_and_drain_it",
            ),
            fault(
                "request-is-a-file", "http.drain",
                "        self.request = request\n",
                '        self.request = request.makefile("rwb") if hasattr(request, "makefile") else request\n',
                f"{EACH}test_handler_may_select_on_its_connection_beside_others",
            ),
            fault(
                "rest-read-ahead", "http.cgi",
                'makefile("rb", self.rbufsize)', 'makefile("rb", self.rbufsize or 8192)',
                f"{EACH}test_child_process_may_take_over_the_connection",
            ),
        ],
    ),
    *planted(
        "reactor/hosting.py",
        [
            fault(
                "loop-requests-nonblocking", "handler.request",
                "            request.setblocking(True)", "            request.setblocking(False)",
                f"{EACH}test_handler_gets_a_real_blocking_socket",
            ),
        ],
    ),
]
