"""Faults in the budget of bytes that all connections share, and in the least rate of a request."""

from .mutant import fault, planted

BUDGET = "tests/test_budget.py::"
ENDS = "tests/test_connections.py::"

MUTANTS = [
    *planted(
        "reactor/budget.py",
        [
            fault(
                "relief-unnoticed", "engine.budget",
                "        if self._has_room():\n            self._relax()\n            return\n", "",
                f"{BUDGET}test_who_has_given_back_unnoticed_relieves_all_by_the_next_look",
            ),
            fault(
                "holder-read-on", "engine.budget",
                '            row.pause("budget")\n', "            pass\n",
                f"{BUDGET}test_above_two_thirds_who_holds_something_is_not_read",
            ),
            fault(
                "all-are-paused", "engine.budget",
                "        waits = row in self.rows and row.reader", "        waits = row.reader",
                f"{BUDGET}test_a_reply_that_waits_pauses_its_row_until_it_is_sent",
            ),
            fault(
                "frames-that-are-here-wait-too", "engine.budget",
                " and row.no_more is None and not row.queued\n", " and row.no_more is None\n",
                f"{BUDGET}test_a_handler_that_asks_for_something_else_gets_what_is_here",
            ),
            fault(
                "paused-for-two-reasons-for-ever", "engine.budget",
                '        if not waits or reasons - {"budget"}:\n', "        if not waits:\n",
                f"{BUDGET}test_a_row_that_is_paused_for_two_reasons_goes_on_when_neither_is_left",
            ),
            fault(
                "nobody-is-read-again", "engine.budget",
                '            row.resume("budget")\n\n', "\n",
                f"{BUDGET}test_one_row_that_is_too_large_for_the_rest_stops_nobody",
            ),
            fault(
                "a-busy-one-is-not-read-again", "engine.budget",
                "            row.mark()  # one whose handler works was read up to a lower mark\n", "",
                f"{BUDGET}test_a_handler_that_works_is_read_up_to_nothing_and_again_later",
            ),
            fault(
                "smallest-first", "engine.budget",
                "-self.rows[row], row.request_at", "self.rows[row], row.request_at",
                f"{BUDGET}test_above_the_budget_the_largest_go_at_once",
            ),
            fault(
                "a-byte-is-progress", "engine.budget",
                "        return sent * PROGRESS < pending\n", "        return not sent and bool(pending)\n",
                f"{BUDGET}test_who_reads_next_to_nothing_reads_nothing",
            ),
            fault(
                "only-one-look", "engine.budget",
                "if self._is_stalled(row)])\n        self._watch()\n", "if self._is_stalled(row)])\n",
                f"{BUDGET}test_a_look_at_progress_is_not_the_last",
            ),
            fault(
                "a-line-for-each-row", "engine.budget",
                "            self._told = True\n", "            pass\n",
                f"{BUDGET}test_one_line_a_burst",
            ),
        ],
    ),
    *planted(
        "reactor/connections.py",
        [
            fault(
                "ended-rows-hold-on", "engine.budget",
                "            self.loop.budget.forget(self)\n", "            pass\n",
                f"{BUDGET}test_a_row_that_has_ended_counts_no_more",
            ),
            fault(
                "chunk-half-sent-is-half-free", "engine.budget",
                "            held += memoryview(outbox[0].obj).nbytes - len(outbox[0])\n", "            pass\n",
                f"{BUDGET}test_a_reply_counts_until_it_is_sent",
            ),
            fault(
                "rate-counts-what-is-unread-only", "engine.late",
                "        return self.bytes_in - self.rated[1]\n", "        return self.inbox_bytes\n",
                f"{ENDS}test_what_the_handler_has_taken_counts_for_the_rate",
            ),
            fault(
                "rate-goes-on-in-a-pause", "engine.late",
                "is not None and not self.pause_reasons:", "is not None:",
                f"{ENDS}test_what_is_not_read_is_not_slow",
            ),
        ],
    ),
    *planted(
        "reactor/streams.py",
        [
            fault(
                "slow-bytes-are-not-counted", "engine.budget",
                "                    self.loop.budget.note(self)\n", "",
                "tests/test_streams.py::test_nor_is_one_of_a_framing_that_has_to_be_asked",
            ),
            fault(
                "bytes-of-a-frame-that-goes-on-are-not-counted", "engine.budget",
                "self.loop.budget.grown(self, len(data))", "pass",
                f"{BUDGET}test_an_unfinished_request_counts_until_it_is_answered",
            ),
            fault(
                "each-byte-of-a-frame-that-goes-on-is-settled", "engine.rest",
                "self.loop.budget.grown(self, len(data))", "self.mark()",
                "tests/test_streams.py::test_a_slow_frame_is_not_settled_for_each_byte",
            ),
        ],
    ),
    *planted(
        "reactor/settling.py",
        [
            fault(
                "additions-to-a-rest-uncounted", "engine.budget",
                "        self.room = 0 if self.outbox else", "        self.room =",
                f"{BUDGET}test_what_its_own_handler_adds_counts",
                f"{BUDGET}test_what_others_add_counts",
            ),
            fault(
                "room-for-ever-small", "engine.budget",
                "0 if self.outbox else self.limits.outbox_high_bytes", "0 if self.outbox else self.room",
                f"{BUDGET}test_once_the_socket_takes_all_again_nothing_is_looked_at",
            ),
            fault(
                "busy-inboxes-as-full-as-ever", "engine.budget",
                "        most = 1 if self.loop.budget.is_short else self.limits", "        most = self.limits",
                f"{BUDGET}test_a_handler_that_works_is_read_up_to_nothing_and_again_later",
            ),
        ],
    ),
    *planted(
        "reactor/http_framing.py",
        [
            fault(
                "spare-framings-that-count", "way.frame",
                " and not self._empty_lines and type(self) is HttpRequests", " and not self._empty_lines",
                "tests/test_framed_http.py::test_what_a_framing_of_the_program_knows_is_of_one_connection",
            ),
            fault(
                "disk-counts-as-memory", "engine.budget",
                "        return sum(map(len, self._parts))\n", "        return self.taken\n",
                f"{BUDGET}test_what_a_framing_holds_counts_unless_it_is_in_a_file",
            ),
        ],
    ),
    *planted(
        "reactor/limits.py",
        [
            fault(
                "rate-without-a-grace", "engine.late",
                "max(self.request_grace_s, math", "max(0, math",
                f"{ENDS}test_a_request_that_comes_too_slowly_ends_before_its_time",
            ),
        ],
    ),
    *planted(
        "reactor/demultiplexer.py",
        [
            fault(
                "the-first-rows-only", "engine.fair",
                "        self._next = (self._next + self._most) % len(batch)", "        self._next = 0",
                "tests/test_demultiplexer.py::test_a_few_at_a_time_in_a_round_robin",
            ),
        ],
    ),
]
