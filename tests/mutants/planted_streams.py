"""Faults in the connections of the engine: their bytes, phases, marks and ends."""

from .mutant import fault, planted

STREAMS = "tests/test_streams.py::"
ENDS = "tests/test_connections.py::"
COROUTINE = "tests/test_coroutine_streams.py::"
TABLE = "tests/test_table.py::"
MINE = "tests/test_engine_points.py::"

MUTANTS = [
    *planted(
        "reactor/streams.py",
        [
            fault(
                "half-close-is-a-loss", "engine.half",
                '            self.end_input(EndOfStream("peer"))\n',
                '            self.lose(ConnectionResetError("the peer has closed"))\n',
                f"{COROUTINE}test_a_client_that_half_closes_reads_a_reply_of_12_mb",
            ),
            fault(
                "not-now-is-the-end", "engine.read",
                "        elif data is not None:\n            self.end_input", "        else:\n            self.end_input",
                f"{MINE}test_readiness_without_bytes_is_neither_an_end_nor_a_loss",
            ),
            fault(
                "frames-without-a-budget", "engine.fair",
                "            budget -= fresh\n", "            pass\n",
                f"{STREAMS}test_a_pipeliner_gets_frames_per_turn_and_the_others_their_turn",
            ),
            fault(
                "frames-over-budget-lost", "engine.read",
                "                self.requeue()  # the selector will not announce what is already here\n"
                "                break\n",
                "                break\n",
                f"{STREAMS}test_10_000_pipelined_lines_are_answered_in_order_at_one_depth",
            ),
            fault(
                "cap-of-the-outbox-off-by-one", "engine.marks",
                "        if self.pending + size > self.limits.outbox_bytes:\n",
                "        if self.pending + size >= self.limits.outbox_bytes:\n",
                f"{MINE}test_an_outbox_may_be_filled_to_its_very_cap",
            ),
            fault(
                "paused-row-served", "engine.pause",
                "        while self.reader is not None and not self.pause_reasons:\n",
                "        while self.reader is not None:\n",
                f"{STREAMS}test_a_row_paused_in_the_batch_is_not_served_in_it",
            ),
            fault(
                "resumed-without-what-is-here", "engine.pause",
                "        if self.inbox or self.no_more is not None:\n            self.requeue()\n        elif",
                "        if self.inbox is None:\n            self.requeue()\n        elif",
                f"{STREAMS}test_what_arrived_before_a_pause_and_the_end_behind_it_are_read_after_it",
            ),
            fault(
                "each-byte-is-settled", "engine.rest",
                "                    self.loop.budget.note(self)\n                    return",
                "                    self.loop.budget.note(self)\n                    self.mark()\n"
                "                    return",
                f"{STREAMS}test_nor_is_one_of_a_framing_that_has_to_be_asked",
            ),
            fault(
                "early-reply-answers-the-request", "engine.late",
                "        self.write(reply)\n        self.wrote = answered\n", "        self.write(reply)\n",
                f"{MINE}test_what_a_framing_says_by_itself_answers_no_request",
            ),
            fault(
                "second-write-first", "engine.write",
                "            outbox.append(data)\n            return\n",
                "            outbox.insert(0, data)\n            return\n",
                f"{STREAMS}test_what_several_handlers_write_to_one_row_goes_in_one_send",
                f"{STREAMS}test_a_large_and_many_small_writes_keep_their_order",
            ),
            fault(
                "buffer-is-not-copied", "engine.write",
                "        if type(data) is not bytes:\n            data = bytes(memoryview(data))\n", "",
                f"{COROUTINE}test_a_buffer_is_copied_when_it_is_written",
            ),
        ],
    ),
    *planted(
        "reactor/settling.py",
        [
            fault(
                "drain-cuts-what-is-on-its-way", "engine.linger",
                "            if not self.outbox and not self._is_on_its_way():\n", "            if not self.outbox:\n",
                "tests/test_drain.py::test_a_reply_on_its_way_arrives_though_the_next_request_crosses_the_end",
            ),
            fault(
                "drain-cuts-what-lingers-on-its-way", "engine.linger",
                "self.bytes_in == self.linger_from and not self._is_on_its_way():", "self.bytes_in == self.linger_from:",
                "tests/test_drain.py::test_a_reply_on_its_way_arrives_though_the_next_request_crosses_the_end",
            ),
            fault(
                "unsent-is-nothing", "engine.linger",
                "return bool(self.loop.now - self.since < self.limits.linger_s)", "return False",
                "tests/test_drain.py::test_if_nobody_can_say_a_reply_has_the_time_that_it_always_has",
            ),
            fault(
                "rest-of-a-write-never-sent", "engine.write",
                "        wanted = WRITE if self.outbox else 0\n", "        wanted = 0\n",
                f"{STREAMS}test_partial_writes_lose_nothing",
            ),
            fault(
                "room-to-write-always-asked-for", "engine.rest",
                "        wanted = WRITE if self.outbox else 0\n", "        wanted = WRITE\n",
                f"{STREAMS}test_an_idle_loop_does_not_turn",
            ),
            fault(
                "slow-reader-never-read-again", "engine.marks",
                "self.pending <= self.limits.outbox_low_bytes:\n            self.resume",
                "self.pending < 0:\n            self.resume",
                f"{STREAMS}test_above_the_high_mark_the_row_is_not_read_and_its_handler_not_resumed",
            ),
            fault(
                "slow-reader-read-on", "engine.marks",
                '                self.pause("outbox")\n', "                pass\n",
                f"{STREAMS}test_above_the_high_mark_the_row_is_not_read_and_its_handler_not_resumed",
            ),
            fault(
                "read-on-at-the-high-mark", "engine.marks",
                "self.pending <= self.limits.outbox_low_bytes:\n            self.resume",
                "self.pending <= self.limits.outbox_high_bytes:\n            self.resume",
                f"{STREAMS}test_above_the_high_mark_the_row_is_not_read_and_its_handler_not_resumed",
            ),
            fault(
                "stall-counts-through-progress", "engine.late",
                "        elif self.stall is None or self.bytes_out != self.stall[1]:\n",
                "        elif self.stall is None:\n",
                f"{ENDS}test_a_stall_is_30_s_without_any_progress",
            ),
            fault(
                "no-lingering", "engine.linger",
                "        if self.linger_from is None or (", "        if True or (",
                f"{MINE}test_a_reply_is_not_destroyed_by_more_unread_input_than_one_read_takes",
            ),
            fault(
                "lingers-though-the-peer-has-closed", "engine.linger",
                '(isinstance(self.no_more, EndOfStream) and self.no_more.cause == "peer"):', "False:",
                f"{STREAMS}test_after_the_peer_s_end_of_stream_there_is_no_lingering",
            ),
            fault(
                "end-of-stream-read-for-ever", "engine.rest",
                "        if self.phase not in LIVE or self.no_more is not None or self.pause_reasons:\n",
                "        if self.phase not in LIVE or self.pause_reasons:\n",
                f"{ENDS}test_an_end_of_stream_never_makes_the_loop_spin",
            ),
            fault(
                "inbox-without-a-mark", "engine.marks",
                "            return wanted if len(self.inbox) >= most else wanted | READ\n",
                "            return wanted | READ\n",
                f"{STREAMS}test_the_inbox_of_a_working_handler_is_bounded",
            ),
            fault(
                "paused-row-watched", "engine.pause",
                "self.no_more is not None or self.pause_reasons:\n            return",
                "self.no_more is not None:\n            return",
                f"{STREAMS}test_pause_and_resume_by_reasons",
            ),
            fault(
                "side-shut-before-it-is-sent", "engine.half",
                "        if self.half_close and not self.outbox and self.end is None:\n",
                "        if self.half_close and self.end is None:\n",
                f"{COROUTINE}test_write_eof_waits_for_what_was_written_before",
            ),
            fault(
                "late-write-is-sent", "engine.linger",
                "            self.transport = SHUT\n", "            pass\n",
                f"{STREAMS}test_a_late_write_does_not_destroy_a_reply_on_its_way",
            ),
            fault(
                "flush-forgotten-at-settle", "engine.write",
                "        if self.outbox:\n            self.transport.flush(self)\n        if self.outbox or self.marked",
                "        if self.outbox or self.marked",
                f"{STREAMS}test_what_several_handlers_write_to_one_row_goes_in_one_send",
            ),
        ],
    ),
    *planted(
        "reactor/connections.py",
        [
            fault(
                "each-line-moves-on", "engine.late",
                " or (deadline is not None and deadline <= self.since):", ":",
                "tests/test_handled.py::test_who_has_always_another_line_has_no_more_time",
            ),
            fault(
                "moves-on-without-a-note", "engine.late",
                "            return False\n        self.since = self.loop.now\n", "            return False\n",
                "tests/test_handled.py::test_who_has_always_another_line_has_no_more_time",
            ),
            fault(
                "work-dies-of-an-older-deadline", "engine.late",
                "        if not self.marked or self.live_phase() is self.phase or", "        if True or",
                f"{ENDS}test_work_that_begins_in_the_turn_of_an_older_deadline_has_its_own_time",
                f"{ENDS}test_a_request_that_begins_in_the_turn_of_the_idle_deadline_is_received",
            ),
            fault(
                "refusal-is-not-sent", "engine.end",
                "                self.write(refusal)\n", "                pass\n",
                f"{ENDS}test_a_framing_error_is_refused_with_the_words_of_the_framing",
            ),
            fault(
                "deadline-reset-by-a-byte", "engine.late",
                "deadline = None if limit_s is None else self.request_at + limit_s",
                "deadline = None if limit_s is None else self.loop.now + limit_s",
                f"{ENDS}test_slowloris_a_request_has_30_s_whatever_trickles_in",
            ),
            fault(
                "half-a-reply-ends-well", "engine.linger",
                "        if self.end is End.ABORTED or self.outbox:\n", "        if False:\n",
                f"{ENDS}test_abort_cuts_at_once_and_the_peer_sees_a_reset",
            ),
            fault(
                "stalled-reply-ends-well", "engine.linger",
                "        if self.end is End.ABORTED or self.outbox:\n", "        if self.end is End.ABORTED:\n",
                f"{ENDS}test_a_peer_that_takes_nothing_is_given_up_after_30_s",
            ),
            fault(
                "always-a-reset", "engine.linger",
                "        if self.end is End.ABORTED or self.outbox:\n", "        if True:\n",
                f"{COROUTINE}test_a_client_that_half_closes_reads_a_reply_of_12_mb",
                f"{ENDS}test_a_reply_of_3_mb_with_50_kb_unread_input_arrives_whole",
            ),
            fault(
                "places-never-given-back", "engine.accept",
                "            self.acceptor.left(self)\n", "            pass\n",
                "tests/test_acceptor.py::test_a_listener_has_a_limit_of_its_own_and_does_not_share_it",
            ),
            fault(
                "loss-of-output-untold", "engine.end",
                "        if self.end is None or self.outbox:\n"
                "            self.end, self.detail = End.PEER_RESET",
                "        if self.end is None:\n            self.end, self.detail = End.PEER_RESET",
                f"{ENDS}test_a_reset_while_flushing_or_lingering",
            ),
            fault(
                "abort-resets-what-lingers", "engine.linger",
                "        if self.phase is Phase.LINGERING:  # all was sent", "        if False:  # all was sent",
                f"{MINE}test_an_abort_does_not_destroy_a_reply_that_only_lingers",
            ),
            fault(
                "lingers-without-end", "engine.linger",
                "            if self.bytes_in - (self.linger_from or 0) > self.limits.linger_bytes:\n",
                "            if False:\n",
                f"{ENDS}test_lingering_is_bounded_in_bytes",
            ),
            fault(
                "no-word-of-the-limit", "engine.end",
                "        super().finish(End.LIMIT, str(error))\n        self.fail(error)\n",
                "        super().finish(End.LIMIT, str(error))\n",
                f"{ENDS}test_a_goodbye_arrives_and_the_first_end_code_stands",
            ),
            fault(
                "stall-without-a-deadline", "engine.late",
                "            return stall  # who", "            return deadline  # who",
                f"{ENDS}test_a_peer_that_takes_nothing_is_given_up_after_30_s",
            ),
            fault(
                "closing-row-serves-on", "engine.end",
                "        if self.no_more is None:\n            self.no_more = ConnectionLost(",
                "        if False:\n            self.no_more = ConnectionLost(",
                f"{ENDS}test_once_closing_no_further_request_is_served",
            ),
        ],
    ),
    *planted(
        "reactor/table.py",
        [
            fault(
                "closed-before-unregistered", "engine.descriptor",
                "        loop.demultiplexer.set(self, 0)  # before close: a closed descriptor can be somebody "
                "else's already\n"
                "        self._release()\n",
                "        self._release()\n        loop.demultiplexer.set(self, 0)\n",
                f"{TABLE}test_it_leaves_in_order_and_once",
            ),
            fault(
                "closed-without-unregistering", "engine.descriptor",
                "        loop.demultiplexer.set(self, 0)  #", "        self.interest = 0  #",
                f"{TABLE}test_it_leaves_in_order_and_once",
            ),
            fault(
                "deadline-of-an-ended-row-kept", "engine.heap",
                "        loop.deadlines.forget(self)\n", "        pass\n",
                "tests/test_loop.py::test_a_loop_that_runs_keeps_nothing_of_rows_that_are_gone",
                f"{TABLE}test_it_leaves_in_order_and_once",
            ),
            fault(
                "descriptor-number-kept", "engine.descriptor",
                "        self._release()\n        self.fd = -1\n", "        self._release()\n",
                f"{TABLE}test_it_leaves_in_order_and_once",
                f"{ENDS}test_every_row_of_a_batch_ends_exactly_once_whoever_ends_whom",
            ),
            fault(
                "other-reasons-to-pause-dropped", "engine.pause",
                "            self.pause_reasons.remove(reason)\n", "            self.pause_reasons.clear()\n",
                f"{TABLE}test_it_is_resumed_when_no_reason_is_left",
            ),
            fault(
                "ids-reused", "engine.descriptor",
                "        self.last_id += 1\n", "        self.last_id = max(self._rows, default=0) + 1\n",
                f"{TABLE}test_ids_are_never_reused",
            ),
            fault(
                "last-end-stands", "engine.end",
                "        if self.end is None:\n            self.end, self.detail = end, detail\n",
                "        self.end, self.detail = end, detail\n",
                f"{TABLE}test_the_first_end_stands",
            ),
            fault(
                "settled-twice-a-batch", "engine.settle",
                "        if not self.marked:\n            self.marked = True\n            self.loop.dirty.append(self)\n",
                "        self.marked = True\n        self.loop.dirty.append(self)\n",
                f"{TABLE}test_a_row_is_marked_once_a_batch",
            ),
            fault(
                "called-again-twice", "engine.fair",
                "        if not self.queued:\n            self.queued = True\n",
                "        if True:\n            self.queued = True\n",
                f"{MINE}test_a_row_is_queued_once_whoever_asks",
            ),
            fault(
                "connections-not-counted-out", "engine.accept",
                "            self.connections -= 1\n", "            pass\n",
                f"{TABLE}test_connections_are_counted",
            ),
        ],
    ),
]
