"""Faults in what the engine runs for its rows (coroutines, tasks, timeouts), and in its listeners and the selector."""

from .mutant import fault, planted

CO = "tests/test_coroutines.py::"
STREAM = "tests/test_coroutine_streams.py::"
ENDS = "tests/test_connections.py::"
LOOKS = "tests/test_looks.py::"
ACCEPT = "tests/test_acceptor.py::"
PACKETS = "tests/test_datagrams.py::"
DEMULTIPLEXER = "tests/test_demultiplexer.py::"
MINE = "tests/test_engine_points.py::"
SHORT = "tests/test_handled.py::"

MUTANTS = [
    *planted(
        "reactor/handled.py",
        [
            fault(
                "lines-ahead-share-the-time-to-work", "engine.late",
                "            self.lines_ahead = None  # time may pass", "            pass  # time may pass",
                f"{SHORT}test_each_line_has_its_own_time_to_work",
                f"{SHORT}test_lines_that_are_here_are_not_served_when_the_time_is_up",
            ),
            fault(
                "bad-frame-waits-for-the-collector", "engine.heap",
                "            error.__traceback__ = error.__context__ = None  # as that", "            pass  # as that",
                "tests/test_streams.py::test_a_stream_that_ended_is_gone_without_the_collector",
            ),
            fault(
                "outbox-left-open", "engine.write",
                "            self.outbox = outbox or None\n", "",
                f"{SHORT}test_a_handler_that_does_not_answer_owes_an_answer",
            ),
            fault(
                "outbox-left-open-by-a-failure", "engine.write",
                "            self.outbox = self.outbox or None  # what was written leaves with settle\n", "",
                f"{SHORT}test_a_failure_leaves_no_outbox_open",
            ),
            fault(
                "rest-of-a-reply-forgotten", "engine.write",
                "        consume(outbox, sent)\n        return self.mark()\n",
                "        consume(outbox, sent)\n        return None\n",
                f"{SHORT}test_a_reply_that_the_socket_does_not_take_whole_goes_on_with_settle",
            ),
            fault(
                "unanswered-and-forgotten", "engine.settle",
                "        if want is not self or not self.wrote or not self.short or not outbox or ahead:\n",
                "        if want is not self or not self.short or not outbox or ahead:\n",
                f"{SHORT}test_what_a_handler_offers_to_its_own_peer_answers_nothing",
            ),
            fault(
                "what-came-together-is-forgotten", "frame.switch",
                "            return self.pump() if self.inbox else None\n", "            return None\n",
                f"{SHORT}test_a_handler_may_read_anything_of_what_came_together",
            ),
            fault(
                "lines-ahead-are-no-requests", "engine.settle",
                "            self.requests += len(ahead)\n", "",
                f"{SHORT}test_whole_frames_are_answered_at_once_and_leave_nothing_to_settle",
            ),
            fault(
                "error-of-a-handler-leaves-its-row", "engine.contain",
                "            (self.host or self.loop).contain(self, error)\n        else:",
                "            raise error\n        else:",
                f"{MINE}test_a_handler_that_fails_on_the_row_of_another_costs_its_own_only",
            ),
            fault(
                "second-reader-takes-over", "engine.one",
                "        if self.reader is not None:\n            runner.throw(",
                "        if False:\n            runner.throw(",
                f"{STREAM}test_a_second_reader_gets_an_error_that_says_so",
            ),
            fault(
                "end-of-the-row-untold", "engine.end",
                "            self.requeue()  # user code must not run inside of settle\n", "            pass\n",
                f"{ENDS}test_a_reset_is_told_at_the_await_and_is_a_normal_end",
                f"{ENDS}test_whoever_drains_the_row_of_another_hears_that_it_is_gone",
            ),
            fault(
                "tasks-outlive-their-row", "engine.end",
                "            for task in tuple(self.tasks):\n                task.cancel()\n", "            pass\n",
                f"{CO}test_a_stream_s_tasks_are_cancelled_with_its_row",
            ),
            fault(
                "one-drainer-woken", "engine.marks",
                "            for drainer, drained in drainers:\n", "            for drainer, drained in drainers[:1]:\n",
                f"{MINE}test_all_who_drain_a_row_are_woken",
            ),
            fault(
                "next-request-on-the-old-clock", "engine.late",
                "                self.request_at = self.loop.now\n            else:\n                self.owing = True\n",
                "            else:\n                self.owing = True\n",
                f"{MINE}test_the_next_request_has_all_its_time_however_long_the_last_one_took",
            ),
            fault(
                "reader-that-ends-keeps-the-row", "engine.one",
                "        if self.reader is runner:\n            self.reader = None\n",
                "        if self.reader is None:\n            self.reader = None\n",
                f"{CO}test_the_row_of_a_reader_that_ends_is_free_for_another",
            ),
            fault(
                "bytes-before-the-handler-reads-lost", "engine.read",
                "            self.since = self.request_at = self.loop.now\n"
                "        if self.no_more is not None or self.inbox:\n"
                "            self.requeue()\n",
                "            self.since = self.request_at = self.loop.now\n        if self.no_more is not None:\n"
                "            self.requeue()\n",
                f"{MINE}test_bytes_that_came_while_the_handler_did_something_else_are_read",
            ),
        ],
    ),
    *planted(
        "reactor/coroutines.py",
        [
            fault(
                "woken-by-what-it-left", "engine.one",
                "        if self.parked is suspension:\n            self.proceed(value)\n",
                "        if self.coroutine is not None:\n            self.proceed(value)\n",
                f"{CO}test_a_cancelled_waiter_is_not_resumed_by_the_task_it_waited_for",
            ),
            fault(
                "sleep-leaves-its-timer", "engine.heap",
                "            self._timer.cancel()\n\n\nclass _Myself", "            pass\n\n\nclass _Myself",
                f"{CO}test_sleeps_that_were_cancelled_are_forgotten",
            ),
            fault(
                "timeout-leaves-its-timer", "engine.heap",
                "            self._timer.cancel()\n        if error is not None",
                "            pass\n        if error is not None",
                f"{CO}test_a_block_that_is_quick_enough_leaves_no_timer",
            ),
            fault(
                "timeout-takes-any-cancel", "engine.one",
                "        if error is not None and error is self._expired:\n", "        if isinstance(error, Cancelled):\n",
                f"{CO}test_a_timeout_does_not_take_a_cancel_for_its_own",
            ),
            fault(
                "one-waiter-told", "engine.one",
                "        for waiter, join in waiters:\n", "        for waiter, join in waiters[:1]:\n",
                f"{CO}test_a_task_is_waited_for_by_many_and_afterwards",
            ),
            fault(
                "cancelled-waiter-not-taken-out", "engine.one",
                "            parked.unpark(self)\n", "            pass\n",
                f"{CO}test_sleeps_that_were_cancelled_are_forgotten",
                f"{CO}test_the_row_of_a_reader_that_ends_is_free_for_another",
            ),
            fault(
                "error-of-a-task-swallowed", "engine.contain",
                "            raise error  # KeyboardInterrupt, SystemExit: the loop is left\n"
                "        self.loop.contain(self, error)\n",
                "            raise error  # KeyboardInterrupt, SystemExit: the loop is left\n",
                f"{CO}test_an_error_nobody_waits_for_is_logged_once",
            ),
            fault(
                "tasks-remembered", "engine.heap",
                "        self.loop.tasks.discard(self)\n", "        pass\n",
                f"{CO}test_a_task_is_waited_for_by_many_and_afterwards",
            ),
        ],
    ),
    *planted(
        "reactor/coroutine_streams.py",
        [
            fault(
                "task-takes-lines-ahead", "engine.late",
                "if max_bytes is None and self.reader is self and self.inbox", "if max_bytes is None and self.inbox",
                f"{SHORT}test_lines_that_a_task_takes_have_their_own_time_to_work",
            ),
            fault(
                "refused-reader-switches-the-framing", "frame.switch",
                "            if self.reader is not None and not (self.reader", "            if False and not (self.reader",
                f"{STREAM}test_a_second_reader_that_is_refused_leaves_the_framing_of_the_first",
            ),
            fault(
                "frame-cut-in-two", "frame.switch",
                "            if self.framing.held_bytes and self.no_more is None:", "            if False:",
                f"{STREAM}test_a_frame_that_was_begun_is_not_cut_in_two",
            ),
            fault(
                "offered-to-who-has-shut", "engine.write",
                "or self.half_close or self.transport is SHUT\n", "\n",
                f"{STREAM}test_nothing_is_offered_to_a_row_whose_side_is_shut",
            ),
            fault(
                "line-behind-an-answer-is-answered", "engine.late",
                "                    self.wrote = False\n", "                    pass\n",
                f"{SHORT}test_the_last_line_is_a_request_under_way_until_it_is_answered",
            ),
            fault(
                "line-behind-an-answer-has-its-time", "engine.late",
                "                    self.request_at = self.loop.now\n", "                    pass\n",
                f"{SHORT}test_a_line_behind_one_that_was_answered_has_its_own_time",
            ),
            fault(
                "unfinished-frame-not-given-up", "frame.switch",
                "            self.rejoin()\n            self.framing.abandon()\n", "            self.rejoin()\n",
                f"{MINE}test_a_framing_that_was_switched_is_told",
            ),
            fault(
                "offer-fills-the-outbox", "engine.marks",
                "limit = self.limits.outbox_high_bytes if self.pending else self.limits.outbox_bytes",
                "limit = self.limits.outbox_bytes",
                f"{STREAM}test_offer_is_refused_when_the_peer_is_slow_and_nothing_is_written",
            ),
            fault(
                "offer-answers-the-request", "engine.late",
                "        self.wrote = answered  #", "        pass  #",
                f"{STREAM}test_what_others_offer_answers_no_request",
            ),
            fault(
                "framing-shared-by-rows", "frame.switch",
                "        return Frames(self, framing.fresh())\n", "        return Frames(self, framing)\n",
                f"{STREAM}test_every_row_gets_a_fresh_framing",
            ),
            fault(
                "drain-of-a-lost-row-waits", "engine.end",
                "        if self.phase is Phase.CLOSED or isinstance(self.no_more, ConnectionLost):\n",
                "        if False:\n",
                f"{STREAM}test_drain_after_the_peer_is_gone_raises",
            ),
        ],
    ),
    *planted(
        "reactor/acceptor.py",
        [
            fault(
                "looks-in-vain-for-ever", "engine.accept",
                "            self._in_vain = IN_VAIN\n", "            pass\n",
                f"{LOOKS}test_a_look_in_vain_is_the_last_for_a_while",
                f"{LOOKS}test_an_end_of_stream_is_nothing_either",
            ),
            fault(
                "looks-once-and-never-again", "engine.accept",
                "            self._in_vain -= 1\n", "            pass\n",
                f"{LOOKS}test_a_look_in_vain_is_the_last_for_a_while",
            ),
            fault(
                "looks-at-those-who-do-not-wait", "engine.one",
                "row.reader is not row or row.outbox or row.pause_reasons", "False",
                f"{LOOKS}test_who_speaks_first_or_works_is_not_looked_at",
            ),
            fault(
                "looks-though-memory-is-short", "engine.budget",
                "if speaks_first or is_over or loop.budget.is_short or", "if speaks_first or is_over or",
                f"{LOOKS}test_nor_is_anybody_while_memory_is_short",
            ),
            fault(
                "looks-at-those-who-were-closed", "engine.end",
                "is_over = row.no_more is not None or row.half_close", "is_over = row.half_close",
                f"{LOOKS}test_nor_is_who_was_closed_before_its_first_byte",
                f"{LOOKS}test_nor_is_who_was_closed_by_the_server",
            ),
            fault(
                "looks-at-those-who-have-shut-their-side", "engine.half",
                "is_over = row.no_more is not None or row.half_close", "is_over = row.no_more is not None",
                f"{LOOKS}test_nor_is_who_was_closed_before_its_first_byte",
            ),
            fault(
                "looks-unseen-by-observers", "engine.accept",
                " or loop.observer is not None or loop.strict:", " or loop.strict:",
                f"{LOOKS}test_nor_under_an_observer",
            ),
            fault(
                "handler-ends-the-listener", "engine.contain",
                " or loop.observer is not None or loop.strict:", " or loop.observer is not None:",
                f"{LOOKS}test_with_strict_it_leaves_the_loop_as_ever_and_ends_its_own_row_only",
            ),
            fault(
                "row-that-fails-ends-the-listener", "engine.contain",
                "            loop.row_failed(row, error)\n", "            raise\n",
                f"{LOOKS}test_what_nobody_has_caught_ends_the_row_and_not_the_listener",
            ),
            fault(
                "no-descriptors-is-tried-for-ever", "engine.rest",
                "    errno.EMFILE: Action.PAUSE,\n", "    errno.EMFILE: Action.WAIT,\n",
                f"{ACCEPT}test_without_resources_a_listener_pauses_once_and_costs_nothing",
            ),
            fault(
                "one-bad-connection-ends-the-listener", "engine.accept",
                "ACTIONS.get(error.errno or 0, Action.NEXT)", "ACTIONS.get(error.errno or 0, Action.CLOSE)",
                f"{ACCEPT}test_an_error_of_one_connection_costs_no_other",
            ),
            fault(
                "accepts-without-a-budget", "engine.fair",
                "range(self.limits.accepts_per_turn)", "range(1_000_000)",
                f"{ACCEPT}test_so_many_a_turn_and_the_others_get_theirs",
            ),
            fault(
                "one-connection-too-many", "engine.accept",
                "self.loop.table.connections >= self.loop.max_connections",
                "self.loop.table.connections > self.loop.max_connections",
                f"{ACCEPT}test_a_reactor_full_of_connections_waits_for_a_place",
            ),
            fault(
                "one-too-many-of-a-peer", "engine.accept",
                "self.hosts[_host(sockaddr)] < most", "self.hosts[_host(sockaddr)] <= most",
                f"{ACCEPT}test_one_peer_does_not_take_all_places",
            ),
            fault(
                "refused-connection-left-open", "engine.accept",
                "            self.refused += 1\n            sock.close()\n", "            self.refused += 1\n",
                f"{ACCEPT}test_one_peer_does_not_take_all_places",
            ),
            fault(
                "dropped-connection-left-open", "engine.accept",
                "                sock.close()\n            self.drop(sockaddr, error)",
                "                pass\n            self.drop(sockaddr, error)",
                f"{ACCEPT}test_a_welcome_that_fails_costs_its_own_connection_only",
            ),
            fault(
                "hosts-remembered", "engine.heap",
                "                del self.hosts[host]\n", "                pass\n",
                f"{ACCEPT}test_one_peer_does_not_take_all_places",
            ),
            fault(
                "fed-by-another-reason", "engine.pause",
                '        self.resume("connections")\n        self.resume("descriptors")\n',
                "        for reason in self.paused:\n            self.resume(reason)\n",
                f"{MINE}test_a_place_that_is_free_again_ends_no_other_pause",
            ),
        ],
    ),
    *planted(
        "reactor/datagrams.py",
        [
            fault(
                "network-error-ends-the-reading", "engine.packet",
                "        if error.errno in _FATAL:\n", "        if True:\n",
                f"{PACKETS}test_a_pending_network_error_is_counted_and_the_next_packet_read",
            ),
            fault(
                "empty-packet-is-the-end", "engine.packet",
                "            self.bytes_in += len(packet.data)\n",
                "            if not packet.data:\n                return\n            self.bytes_in += len(packet.data)\n",
                f"{PACKETS}test_an_empty_packet_is_not_the_end",
            ),
            fault(
                "packets-without-a-budget", "engine.fair",
                "range(PACKETS_PER_TURN)", "range(1_000_000)",
                f"{PACKETS}test_packets_a_turn_are_bounded_and_others_get_their_turn",
            ),
            fault(
                "answer-that-fails-raises", "engine.packet",
                "        except (OSError, TypeError) as error:\n", "        except (BlockingIOError, TypeError) as error:\n",
                f"{PACKETS}test_an_answer_that_is_too_long_is_dropped_and_counted",
            ),
            fault(
                "handler-of-a-packet-ends-the-socket", "engine.packet",
                "            except Exception as error:\n                self.loop.contain(self, error)\n",
                "            except Exception as error:\n                self.finish(End.HANDLER_FAILED, str(error))\n"
                "                self.loop.contain(self, error)\n",
                f"{PACKETS}test_a_handler_that_fails_costs_its_own_packet_only",
            ),
        ],
    ),
    *planted(
        "reactor/demultiplexer.py",
        [
            fault(
                "stale-entry-kept", "engine.descriptor",
                "            self._forget(self._rows[row.fd])", "            pass",
                f"{DEMULTIPLEXER}test_a_socket_closed_behind_our_back_is_replaced_by_the_next_with_its_number",
            ),
            fault(
                "owner-of-a-stale-entry-untold", "engine.descriptor",
                '        row.finish(End.ABORTED, f"its descriptor {row.fd} was closed by somebody else")\n',
                "",
                f"{DEMULTIPLEXER}test_a_socket_closed_behind_our_back_is_replaced_by_the_next_with_its_number",
            ),
            fault(
                "no-interest-is-still-watched", "engine.rest",
                "        elif interest:\n", "        elif True:\n",
                f"{DEMULTIPLEXER}test_no_interest_is_no_event_whatever_the_peer_does",
            ),
            fault(
                "hang-up-is-not-readable", "engine.read",
                "(1 if event & _READABLE else 0)", "(1 if event & select.EPOLLIN else 0)",
                f"{DEMULTIPLEXER}test_a_hang_up_or_error_alone_is_readiness",
            ),
            fault(
                "batch-without-a-bound", "engine.fair",
                "self._selector.poll(wait_s, BATCH_ROWS)", "self._selector.poll(wait_s, 100_000)",
                f"{DEMULTIPLEXER}test_a_batch_is_bounded_and_the_next_one_has_the_others",
            ),
            fault(
                "interrupted-wait-raises", "engine.signals",
                "            except InterruptedError:\n                return []\n",
                "            except BlockingIOError:\n                return []\n",
                f"{DEMULTIPLEXER}test_an_interrupted_wait_is_an_empty_batch",
            ),
            fault(
                "for-ever-is-not-at-all", "engine.rest",
                "-1 if timeout_s is None else", "0 if timeout_s is None else",
                "tests/test_loop.py::test_a_loop_at_rest_does_not_wake_at_all",
            ),
            fault(
                "select-one-descriptor-too-many", "engine.descriptor",
                "row.fd >= self._limit:", "row.fd > self._limit:",
                f"{DEMULTIPLEXER}test_select_refuses_what_it_could_not_watch",
            ),
        ],
    ),
    *planted(
        "reactor/streams.py",
        [
            fault(
                "bytes-that-go-on-are-not-counted", "engine.budget",
                "                self.loop.budget.grown(self, len(data))", "                pass",
                f"{SHORT}test_a_line_that_comes_byte_by_byte",
            ),
            fault(
                "written-by-others-and-still-on-the-short-way", "engine.write",
                "            self.short = None  # this must leave first\n", "",
                f"{SHORT}test_what_others_write_meanwhile_keeps_its_place",
            ),
        ],
    ),
    *planted(
        "reactor/settling.py",
        [
            fault(
                "answered-and-still-receiving", "engine.settle",
                "            self.phase is _IDLE and self.interest == READ and self.reader is self",
                "            self.interest == READ and self.reader is self",
                f"{SHORT}test_a_handler_that_does_not_answer_owes_an_answer",
            ),
            fault(
                "marked-and-still-on-the-short-way", "engine.one",
                "        self.short = None\n        if not self.marked:\n", "        if not self.marked:\n",
                f"{SHORT}test_a_row_that_another_one_has_closed_in_the_same_batch_serves_no_more",
            ),
        ],
    ),
    *planted(
        "reactor/coroutine_streams.py",
        [
            fault(
                "another-framing-and-still-on-the-short-way", "frame.switch",
                "            self.framing, self.short = framing, None\n", "            self.framing = framing\n",
                f"{SHORT}test_a_handler_may_change_its_framing_with_each_answer",
            ),
        ],
    ),
    *planted(
        "reactor/buffers.py",
        [
            fault(
                "half-a-line-is-cut", "frame.split",
                "        if size < len(data):\n            return None\n", "",
                f"{SHORT}test_lines_of_a_turn_are_bounded_on_the_short_way_too",
            ),
        ],
    ),
]
