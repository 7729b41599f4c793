"""Faults in how the engine keeps time and leaves: deadlines, timers, drain."""

from .mutant import fault, planted

LOOP = "tests/test_loop.py::"
DRAIN = "tests/test_drain.py::"
DEADLINES = "tests/test_deadlines.py::"
TIMERS = "tests/test_timers.py::"
MINE = "tests/test_engine_points.py::"

MUTANTS = [
    *planted(
        "reactor/deadlines.py",
        [
            fault(
                "earlier-deadline-ignored", "engine.clock",
                "(row.guarded_at is None or at < row.guarded_at)", "row.guarded_at is None",
                f"{DEADLINES}test_an_earlier_deadline_holds_at_once",
            ),
            fault(
                "progress-forgotten", "engine.late",
                "            if deadline is not None and deadline <= now:\n", "            if True:\n",
                f"{DEADLINES}test_a_row_that_progressed_is_asked_again_later",
            ),
            fault(
                "moved-deadline-not-armed-again", "engine.late",
                "            else:\n                self.guard(row)\n", "",
                f"{DEADLINES}test_a_row_that_progressed_is_asked_again_later",
            ),
            fault(
                "each-byte-costs-the-heap", "engine.heap",
                "at < row.guarded_at)", "at != row.guarded_at)",
                f"{DEADLINES}test_progress_does_no_heap_work",
            ),
            fault(
                "ended-rows-remembered", "engine.heap",
                "                del self._young[row]\n", "                self._young[row]\n",
                f"{DEADLINES}test_rows_that_lived_shortly_are_not_remembered",
            ),
            fault(
                "old-ended-rows-remembered", "engine.heap",
                "            except KeyError:\n                self._outdate()\n",
                "            except KeyError:\n                pass\n",
                f"{DEADLINES}test_rows_of_any_age_are_not_remembered",
            ),
            fault(
                "young-rows-not-asked", "engine.clock",
                "        if self._young_at <= now:\n            self._grow_up()\n", "",
                f"{DEADLINES}test_rows_are_due_in_order_and_once",
            ),
            fault(
                "young-for-ever", "engine.heap",
                "            if len(self._young) >= YOUNG_MOST:\n                self._grow_up()\n", "",
                f"{DEADLINES}test_many_young_ones_get_entries_before_the_first_is_due",
            ),
            fault(
                "asked-twice-once-young", "engine.clock",
                "            if row.guarded_at is not None:  #", "            if True:  #",
                f"{DEADLINES}test_one_that_was_asked_by_an_older_entry_of_the_same_time_gets_none",
            ),
            fault(
                "no-heap-after-a-purge", "engine.clock",
                "            heapq.heapify(self._heap)\n", "            self._heap.reverse()\n",
                f"{DEADLINES}test_the_order_survives_the_dropping_of_stale_ones",
            ),
            fault(
                "guarded-now-holds-the-stage", "engine.fair",
                "        for _ in range(min(len(self._heap), ASKED_AT_ONCE)):\n",
                "        while True:\n            self._grow_up()\n",
                f"{DEADLINES}test_a_row_that_is_guarded_at_once_does_not_hold_the_stage",
            ),
            fault(
                "all-rows-asked-at-once", "engine.fair",
                "min(len(self._heap), ASKED_AT_ONCE)", "len(self._heap)",
                f"{DEADLINES}test_no_more_than_so_many_are_asked_at_once",
            ),
        ],
    ),
    *planted(
        "reactor/timers.py",
        [
            fault(
                "cancelled-timers-pile-up", "engine.heap",
                "        self._cancelled += 1\n", "        pass\n",
                f"{TIMERS}test_cancelled_ones_are_not_remembered",
            ),
            fault(
                "timers-armed-meanwhile-lost", "engine.contain",
                "            for entry in fresh:\n", "            for entry in ():\n",
                f"{TIMERS}test_what_is_armed_meanwhile_waits_and_can_be_cancelled",
            ),
            fault(
                "cancelled-timer-wakes-the-loop", "engine.rest",
                "        while self._heap and self._heap[0][2].function is None:\n", "        while False:\n",
                f"{LOOP}test_a_cancelled_timer_does_not_run_and_does_not_wake",
            ),
            fault(
                "timer-holds-the-turn", "engine.fair",
                "                if entry[1] > newest:\n", "                if False:\n",
                f"{TIMERS}test_one_that_rearms_at_once_starves_nobody",
            ),
        ],
    ),
    *planted(
        "reactor/drain.py",
        [
            fault(
                "drain-forgets-packet-sockets", "engine.drain",
                '            elif row.kind != "waker":\n', '            elif row.kind == "listener":\n',
                f"{DRAIN}test_new_connections_and_packets_are_refused",
            ),
            fault(
                "drain-has-no-deadline", "engine.drain",
                "loop.call_later(drain_s, self.abort_rest)", "loop.call_later(drain_s, bool)",
                f"{DRAIN}test_the_deadline_aborts_the_rest_with_the_reason",
            ),
            fault(
                "drain-resets-what-lingers", "engine.linger",
                "            if row.phase is Phase.LINGERING:\n", "            if False:\n",
                f"{MINE}test_who_lingers_because_the_peer_still_sends_is_not_aborted_at_the_deadline",
            ),
            fault(
                "drain-waits-for-no-answer", "engine.drain",
                "self._loop.table.connections == 0 and not self._loop.replies", "self._loop.table.connections == 0",
                f"{DRAIN}test_an_answer_to_a_packet_that_is_under_way_is_sent",
            ),
            fault(
                "aborted-counted-twice", "engine.drain",
                'row.kind == "stream" and row.id not in self._aborting:\n            self._ended["idle"',
                'row.kind == "stream":\n            self._ended["idle"',
                f"{DRAIN}test_the_report_counts_each_connection_once",
            ),
            fault(
                "drain-tells-no-idle-row", "engine.drain",
                "                row.stop_requested()\n", "                pass\n",
                f"{DRAIN}test_idle_rows_and_rows_that_never_spoke_close_at_once",
            ),
            fault(
                "drain-timer-left", "engine.drain",
                "        self._timer.cancel()\n", "        pass\n",
                f"{MINE}test_a_drain_that_is_over_leaves_no_timer",
            ),
        ],
    ),
]
