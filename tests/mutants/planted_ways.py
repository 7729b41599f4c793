"""Faults in the ways that run unmodified blocking handlers in one thread: in greenlets, and frame by frame."""

from .mutant import fault, planted

WAYS = "test_ways.py::"
EITHER = f"{WAYS}TestEither::"
GREENLET = f"{WAYS}TestGreenlet::"
FRAMED = f"{WAYS}TestFramed::"
SILENT = f"{EITHER}test_a_silent_client_holds_nobody_up_in_the_one_thread"
SLOW = f"{EITHER}test_large_reply_to_a_slow_reader_holds_nobody_up"
IN_ORDER = f"{EITHER}test_hooks_come_in_order_and_once"
FAILING = f"{EITHER}test_error_is_handled_then_the_request_is_shut_down_once"
REFUSED = f"{EITHER}test_refused_request_is_shut_down_once"
EXIT = f"{EITHER}test_exit_in_a_handler_leaves_the_loop"
NAGLE = f"{EITHER}test_small_replies_are_sent_at_once"

MUTANTS = [
    *planted(
        "reactor/ways.py",
        [
            fault(
                "way-guessed", "way.said",
                "            raise _nobody_says(server, name)", '            said = "thread"',
                "tests/test_hosting.py::test_a_blocking_handler_without_a_way_is_an_error_that_names_the_choices",
            ),
        ],
    ),
    *planted(
        "reactor/ways.py",
        [
            fault(
                "mixin-on-greenlets", "thread.each",
                '        return "thread"\n', '        return "greenlet"\n',
                "test_mixins_threading.py::TestThreads::test_loop_goes_on_while_a_handler_waits",
            ),
        ],
    ),
    *planted(
        "reactor/serving.py",
        [
            fault(
                "framed-one-without-a-loop", "way.one",
                '_ON_A_LOOP = frozenset({"coroutine", "framed"})', '_ON_A_LOOP = frozenset({"coroutine"})',
                f"{FRAMED}test_handle_request_gathers_frames_too",
            ),
        ],
    ),
    *planted(
        "reactor/framed.py",
        [
            fault(
                "framed-kept-though-it-did-not-read-on", "way.frame",
                " or not file.past_end:", ":",
                f"{FRAMED}test_handler_that_does_not_read_on_ends_the_connection",
            ),
            fault(
                "framed-ended-though-it-read-on", "way.frame",
                " or not file.past_end:", " or file.past_end is not None:",
                f"{FRAMED}test_kept_connection_is_answered_frame_by_frame",
            ),
            fault(
                "framed-exit-ends-the-connection-only", "way.hooks",
                "            self.finish(End.ABORTED, describe(error))\n            raise\n",
                "            self.finish(End.ABORTED, describe(error))\n",
                f"{EXIT}[framed-SystemExit]",
            ),
        ],
    ),
    *planted(
        "reactor/frame_files.py",
        [
            fault(
                "framed-read-is-not-reading-on", "way.frame",
                "        if size is None or size < 0 or len(data) < size:\n",
                "        if size is not None and len(data) < size:\n",
                f"{FRAMED}test_handler_finds_its_frame_and_no_more",
            ),
            fault(
                "framed-readline-is-always-reading-on", "way.frame",
                "        if (not line or line[-1] != _NEWLINE) and len(line) != size:\n", "        if True:\n",
                f"{FRAMED}test_handler_that_does_not_read_on_ends_the_connection",
            ),
        ],
    ),
    *planted(
        "reactor/stream_hosts.py",
        [
            fault(
                "framed-error-unhandled", "way.hooks",
                "            self.contain(row, error)\n", "            pass\n",
                FAILING,
            ),
            fault(
                "framed-hooks-of-the-end-skipped", "way.hooks",
                "            self.server.shutdown_request(row)\n", "            pass\n",
                IN_ORDER,
            ),
            fault(
                "framed-refused-left-open", "way.hooks",
                '        request.finish(End.FINISHED, "refused by verify_request")\n', "",
                REFUSED,
            ),
            fault(
                "framed-nagle", "hosted.nagle",
                "        no_delay(request)\n", "        pass\n",
                NAGLE,
            ),
        ],
    ),
    *planted(
        "reactor/green_sockets.py",
        [
            fault(
                "green-receive-blocks", "way.shared",
                "_plain.recv_into(self, buffer, nbytes, flags | DONTWAIT)",
                "_plain.recv_into(self, buffer, nbytes, flags)",
                SILENT,
            ),
            fault(
                "green-send-blocks", "way.shared",
                "_plain.send(self, rest, flags | DONTWAIT)", "_plain.send(self, rest, flags)",
                SLOW,
            ),
            fault(
                "green-send-loses-a-byte", "way.shared",
                "rest = memoryview(rest)[count:]", "rest = memoryview(rest)[count + 1 :]",
                SLOW,
            ),
        ],
    ),
    *planted(
        "reactor/green_common.py",
        [
            fault(
                "green-nonblocking-for-everybody", "way.socket",
                "_plain.settimeout(self, 0.0 if row.timeout_s == 0 else None)", "_plain.settimeout(self, 0.0)",
                f"{GREENLET}test_request_is_the_blocking_socket_that_get_request_returned",
            ),
        ],
    ),
    *planted(
        "reactor/green_rows.py",
        [
            fault(
                "green-timeout-for-ever", "way.talk",
                "return None if timeout_s is None else float(self.loop.clock.now() + timeout_s)", "return None",
                f"{GREENLET}test_timeout_is_the_handlers_own",
            ),
            fault(
                "green-never-resumed", "way.talk",
                "            if green.interest & ready and green.waits_on is self:\n                green.resume()\n",
                "            if green.interest & ready and green.waits_on is self:\n                pass\n",
                f"{GREENLET}test_server_may_speak_first_and_ask_back",
            ),
        ],
    ),
    *planted(
        "reactor/greening.py",
        [
            fault(
                "green-left-green", "way.socket",
                "    sock.__class__ = sock.ungreen\n", "",
                f"{GREENLET}test_socket_that_is_kept_is_an_ordinary_one_afterwards",
            ),
            fault(
                "green-closed-though-kept", "way.socket",
                "                give_back(sock, row.timeout_s)\n", "                sock.close()\n",
                f"{GREENLET}test_socket_that_is_kept_is_an_ordinary_one_afterwards",
            ),
            fault(
                "green-not-at-all", "way.socket",
                "        sock.__class__ = kind\n", "        pass\n",
                SILENT,
            ),
        ],
    ),
    *planted(
        "reactor/greenlet_hosts.py",
        [
            fault(
                "green-nagle", "hosted.nagle",
                "        no_delay(request)\n", "",
                NAGLE,
            ),
            fault(
                "green-unverified", "way.hooks",
                "        self._process(request, client_address)\n",
                "        self._call_process_request(request, client_address)\n",
                REFUSED,
            ),
        ],
    ),
]
