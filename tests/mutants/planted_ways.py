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
ROWS = "tests/test_green_rows.py::"
SOCKETS = "tests/test_green_sockets.py::"
OPENED = "tests/test_green_tls.py::test_no_time_of_the_clients_and_no_drain_ends_what_a_handler_opens"
QUICK = "tests/test_quick_handlers.py::"
READS_ON = f"{QUICK}test_who_reads_on_keeps_the_connection_and_who_does_not_ends_it"

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
                "spare-framings-of-others", "way.frame",
                "        if self.framing is not self.lent:", "        if False:",
                "tests/test_framed_http.py::test_a_framing_that_a_handler_gives_to_a_row_is_nobody_elses",
            ),
            fault(
                "framed-kept-though-it-did-not-read-on", "way.frame",
                " or not file.past_end:", ":",
                READS_ON,
            ),
            fault(
                "framed-ended-though-it-read-on", "way.frame",
                " or not file.past_end:", " or file.past_end is not None:",
                READS_ON,
            ),
            fault(
                "framed-rest-of-another-framing-left", "way.frame",
                "        if self.inbox:  # the handler has", "        if False:  # the handler has",
                f"{QUICK}test_a_handler_may_change_what_comes_next",
            ),
            fault(
                "framed-lines-taken-while-paused", "way.frame",
                "        if ready != self.short or not (", "        if not (",
                f"{QUICK}test_lines_that_come_while_the_row_is_paused_wait",
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
                READS_ON,
            ),
        ],
    ),
    *planted(
        "reactor/quick_files.py",
        [
            fault(
                "notes-under-a-file-travel", "way.hooks",
                "    file.__dict__[\"known\"] = True\n", "",
                f"{QUICK}test_notes_under_a_file_are_of_one_handler",
            ),
            fault(
                "quick-line-is-always-reading-on", "way.frame",
                '            self.unread = b""\n        else:\n',
                '            self.unread, self.past_end = b"", True\n        else:\n',
                f"{FRAMED}test_handler_that_does_not_read_on_ends_the_connection",
            ),
            fault(
                "quick-line-never-reads-on", "way.frame",
                "            self.past_end = True\n        return line\n", "            pass\n        return line\n",
                f"{FRAMED}test_kept_connection_is_answered_frame_by_frame",
            ),
            fault(
                "quick-file-forgets-that-it-was-read", "frame.file",
                "            if not self.unread:\n", "            if False:\n",
                "tests/test_frame_files.py::test_a_line_that_nobody_has_touched_is_read_as_any_other_frame",
            ),
            fault(
                "quick-writer-behind-the-end", "way.frame",
                " and row.end is None and not row.half_close", "",
                f"{QUICK}test_who_has_ended_it_can_write_no_more",
            ),
        ],
    ),
    *planted(
        "reactor/quick_handlers.py",
        [
            fault(
                "quick-file-used-again-though-kept", "way.frame",
                "_counts(file) + _counts(writer) != alone or ", "",
                f"{QUICK}test_who_keeps_something_finds_it_closed",
            ),
            fault(
                "quick-note-survives", "way.frame",
                " or on_file or on_writer or", " or",
                f"{QUICK}test_what_is_noted_on_a_file_does_not_survive",
            ),
            fault(
                "quick-closed-file-used-again", "way.frame",
                " or writer.closed:", ":",
                f"{QUICK}test_a_file_that_a_handler_has_closed_is_open_for_the_next",
            ),
            fault(
                "quick-replaced-file-unflushed", "way.hooks",
                "            if has_others:\n", "            if False:\n",
                f"{QUICK}test_a_file_put_in_the_place_of_wfile_is_flushed",
            ),
            fault(
                "quick-files-for-weak-references", "way.hooks",
                "    if not (_weak_counts(file) or _weak_counts(writer)):", "    if True:",
                f"{QUICK}test_a_weak_reference_does_not_outlive_the_connection",
            ),
            fault(
                "quick-failure-unfinished", "way.hooks",
                "                handler.finish()\n                raise\n", "                raise\n",
                f"{QUICK}test_a_failure_is_reported_where_it_was_caught",
            ),
            fault(
                "quick-class-of-another-time", "hooks.callable",
                " or server.RequestHandlerClass is not kind:", ":",
                f"{QUICK}test_a_handler_may_change_what_comes_next",
            ),
        ],
    ),
    *planted(
        "reactor/stock_handlers.py",
        [
            fault(
                "stock-once-and-for-ever", "way.hooks",
                " or self._found[1] != self._facts(self.seen):", ":",
                f"{QUICK}test_what_changes_while_the_program_runs_is_seen",
            ),
            fault(
                "stock-whatever-finish-request-does", "hooks.finish",
                "        if not self._hooks.are_stock():\n", "        if False:\n",
                f"{QUICK}test_what_changes_while_the_program_runs_is_seen",
            ),
            fault(
                "stock-though-it-speaks-of-finish", "way.hooks",
                '        and not any("finish" in _names(function.__code__) for function in _functions(kind))\n', "",
                f"{QUICK}test_a_finish_put_into_a_handler_runs",
            ),
            fault(
                "stock-though-a-decorator-wraps-it", "way.hooks",
                "for cell in value.__closure__ or ():", "for cell in ():",
                f"{QUICK}test_however_a_finish_is_put_into_a_handler_it_runs",
            ),
            fault(
                "stock-though-code-within-speaks-of-it", "way.hooks",
                ".union(*map(_names, inner))", "",
                f"{QUICK}test_however_a_finish_is_put_into_a_handler_it_runs",
            ),
            fault(
                "stock-though-its-timeout-is-the-instances", "way.hooks",
                "            are_stock = are_stock and type(kind.timeout) in _TIMES", "            pass",
                f"{QUICK}test_who_does_something_of_its_own_is_called",
            ),
            fault(
                "stock-looks-and-fails", "way.hooks",
                "        except Exception:  # of the program's own descriptors", "        except ZeroDivisionError:  #",
                f"{QUICK}test_who_does_something_of_its_own_is_called",
            ),
        ],
    ),
    *planted(
        "reactor/hooks.py",
        [
            fault(
                "hook-means-a-module", "way.hooks",
                'function.__globals__.get("__name__")', 'function.__globals__["__name__"]',
                f"{QUICK}test_code_that_is_of_no_module_is_the_programs",
            ),
        ],
    ),
    *planted(
        "reactor/stream_hosts.py",
        [
            fault(
                "later-hooks-unseen", "way.hooks",
                "if self._make is not None and self._makers.are_stock():", "if self._make is not None:",
                "tests/test_framed_http.py::test_a_hook_that_is_put_in_its_place_later_is_called",
            ),
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
                "framed-hooks-of-the-end-looked-at-once", "way.hooks",
                "        if row.end is None or not self._closers.are_stock():\n", "        if row.end is None:\n",
                f"{QUICK}test_a_hook_of_the_end_that_is_put_in_its_place_later_is_called",
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
                "green-urgent-data-waits", "way.shared",
                "AT_ONCE = DONTWAIT | ASIDE\n", "AT_ONCE = DONTWAIT\n",
                f"{SOCKETS}test_urgent_data_and_errors_are_asked_for_at_once",
            ),
            fault(
                "green-loses-an-iterators-rest", "way.socket",
                "        buffers, ancdata = list(buffers), list(ancdata)  #", "        #",
                f"{SOCKETS}test_a_message_of_an_iterator_is_sent_whole",
            ),
            fault(
                "green-forgets-an-error", "way.socket",
                "                    row.late, row.dry = [error.with_traceback(None)], True\n", "",
                f"{SOCKETS}test_an_error_behind_what_came_first_is_raised_by_the_next_receive",
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
                "green-not-pickled", "way.socket",
                " if reduce is None else reduce(self)\n", "\n",
                f"{SOCKETS}test_a_socket_is_pickled_for_another_process_as_ever",
            ),
            fault(
                "green-nonblocking-for-everybody", "way.socket",
                "_plain.settimeout(self, 0.0 if row.timeout_s == 0 else None)", "_plain.settimeout(self, 0.0)",
                f"{GREENLET}test_request_is_the_blocking_socket_that_get_request_returned",
            ),
        ],
    ),
    *planted(
        "reactor/green_handlers.py",
        [
            fault(
                "green-without-context", "way.talk",
                "        self.gr_context = contextvars.copy_context()", "        #",
                "tests/test_greenlet_hosts.py::test_a_handler_has_the_loops_context_and_values_of_its_own",
            ),
        ],
    ),
    *planted(
        "reactor/green_lookup.py",
        [
            fault(
                "green-times-what-a-handler-opens", "way.shared",
                "limits if green.row is None else without_times(limits)", "limits",
                f"{OPENED}[time]",
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
                "green-waits-for-a-closed-descriptor", "way.shared",
                "        if socket.socket.fileno(self.sock) != self.fd:", "        if False:",
                f"{ROWS}test_a_handler_that_polls_hears_of_a_socket_that_a_thread_has_closed",
            ),
            fault(
                "green-cancels-the-innocent", "way.shared",
                " if green is self.green else ConnectionAbortedError(errno.ECONNABORTED, str(error))\n", "\n",
                f"{ROWS}test_who_uses_the_socket_of_a_handler_that_is_out_of_time_is_not_cancelled",
            ),
            fault(
                "green-drains-what-a-handler-opens", "way.shared",
                "        elif self.own and self.phase", "        elif self.phase",
                f"{OPENED}[drain]",
            ),
            fault(
                "green-takes-a-childs-bytes", "way.socket",
                "self.lingers and not self.shared\n", "self.lingers\n",
                f"{SOCKETS}test_bytes_for_whom_a_handler_has_given_its_descriptor_are_not_discarded",
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
