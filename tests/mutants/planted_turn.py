"""Faults in the turn of the engine: stages, posted calls, wake-ups, signals, how a loop is left."""

from .mutant import fault, planted

LOOP = "tests/test_loop.py::"
REACTOR = "tests/test_reactor.py::"
DRAIN = "tests/test_drain.py::"
SIGNALS = "tests/test_signals.py::"
WAKER = "tests/test_waker.py::"
MINE = "tests/test_engine_points.py::"

MUTANTS = [
    *planted(
        "reactor/stages.py",
        [
            fault(
                "flag-up-before-the-wait", "engine.wake",
                "        self.until_look -= 1\n        batch =",
                "        self._awake = True\n        self.until_look -= 1\n        batch =",
                f"{LOOP}test_a_posted_call_wakes_an_idle_loop",
            ),
            fault(
                "posted-meanwhile-lost", "engine.wake",
                "        count = len(self._posted)\n        for _ in range(count):\n"
                "            function, args, kwargs = self._posted.popleft()\n"
                "            self._call(function, args, kwargs)\n        return count\n",
                "        calls = tuple(self._posted)\n        for function, args, kwargs in calls:\n"
                "            self._call(function, args, kwargs)\n        self._posted.clear()\n        return len(calls)\n",
                f"{LOOP}test_a_call_posted_by_a_posted_call_waits_for_the_next_turn",
            ),
            fault(
                "posted-calls-hold-the-turn", "engine.fair",
                "        for _ in range(count):\n            function", "        while self._posted:\n            function",
                f"{LOOP}test_a_call_posted_by_a_posted_call_waits_for_the_next_turn",
            ),
            fault(
                "buffered-work-holds-the-turn", "engine.fair",
                "        for _ in range(len(again)) if again else ():\n", "        while again:\n",
                f"{LOOP}test_rows_in_again_neither_starve_nor_are_starved",
            ),
            fault(
                "all-that-is-due-in-one-turn", "engine.fair",
                "islice(self.deadlines.due(self.now), min(DUE_PER_TURN + DUE_PER_ROW * came, DUE_MOST))",
                "self.deadlines.due(self.now)",
                f"{LOOP}test_a_crowd_whose_time_is_up_does_not_hold_the_others",
            ),
            fault(
                "crowd-that-comes-again-holds-the-turn", "engine.fair",
                "DUE_PER_ROW * came, DUE_MOST)", "DUE_PER_ROW * came, 10**6)",
                f"{LOOP}test_a_crowd_that_comes_again_as_it_expires_does_not_hold_the_turn",
            ),
            fault(
                "silent-clients-come-faster-than-they-go", "engine.fair",
                "DUE_PER_TURN + DUE_PER_ROW * came, DUE_MOST)", "DUE_PER_TURN, DUE_MOST)",
                f"{LOOP}test_clients_that_say_nothing_do_not_come_faster_than_they_go",
            ),
            fault(
                "timer-of-the-past-comes-first", "engine.fair",
                "        delay_s = 0.0 if delay_s < 0 else delay_s", "        delay_s = delay_s",
                f"{LOOP}test_a_timer_in_the_past_comes_after_those_who_wait",
            ),
            fault(
                "all-timers-in-one-turn", "engine.fair",
                "islice(calls, DUE_PER_TURN)", "calls",
                f"{LOOP}test_timers_of_a_turn_are_bounded",
            ),
            fault(
                "buffered-work-waits-for-the-selector", "engine.read",
                "        if self.again or self._posted or self.dirty", "        if self._posted or self.dirty",
                f"{MINE}test_a_loop_with_work_at_hand_does_not_wait_for_the_selector",
            ),
            fault(
                "error-ends-the-batch", "engine.contain",
                "        for row, ready in batch:\n            try:\n                row.on_ready(ready)\n"
                "            except Exception as error:\n                self.row_failed(row, error)\n",
                "        try:\n            for row, ready in batch:\n                row.on_ready(ready)\n"
                "        except Exception as error:\n            self.row_failed(row, error)\n",
                f"{MINE}test_a_row_that_fails_holds_up_no_other_of_its_batch",
            ),
            fault(
                "failed-row-left-open", "engine.contain",
                "        row.finish(End.HANDLER_FAILED, describe(error))\n        self.contain", "        self.contain",
                "tests/test_connections.py::test_a_framing_that_raises_costs_its_row_only",
            ),
            fault(
                "posted-call-that-fails-leaves-the-loop", "engine.contain",
                "            if self.strict:\n                raise\n            log.error(\"%r, called",
                "            if True:\n                raise\n            log.error(\"%r, called",
                f"{LOOP}test_an_error_costs_its_own_place_only_and_is_logged_once",
            ),
            fault(
                "strict-forgotten", "engine.contain",
                "        if self.strict and leaves:\n", "        if False:\n",
                f"{LOOP}test_a_strict_loop_lets_errors_out_and_goes_on_when_it_is_run_again",
            ),
            fault(
                "settles-a-copy", "engine.settle",
                "        for row in self.dirty:\n", "        for row in tuple(self.dirty):\n",
                f"{LOOP}test_what_a_row_marks_while_others_settle_is_settled_in_the_same_turn",
            ),
            fault(
                "settle-that-fails-left-in-the-table", "engine.settle",
                "                row.expel(describe(error))  #", "                pass  #",
                f"{LOOP}test_a_row_whose_settle_fails_ends_and_the_others_settle",
            ),
            fault(
                "waits-by-the-old-clock", "engine.clock",
                "wait_s = at - self.clock.now()", "wait_s = at - self.now",
                f"{LOOP}test_the_next_turn_is_not_late_by_the_length_of_the_last_one",
            ),
            fault(
                "timer-counts-from-the-turn", "engine.clock",
                "self.timers.add(self.clock.now() + delay_s", "self.timers.add(self.now + delay_s",
                f"{LOOP}test_a_timer_counts_from_when_it_is_armed_not_from_the_start_of_the_turn",
            ),
            fault(
                "wait-overflows", "engine.clock",
                "wait_s = 0.0 if wait_s < 0 else MAX_WAIT_S", "wait_s = max(wait_s, 0.0)",
                f"{REACTOR}test_a_time_that_is_too_far_for_the_selector_is_waited_for_in_parts",
            ),
            fault(
                "timer-hides-a-deadline", "engine.clock",
                "        if timer is not None and (at is None or timer < at):\n", "        if timer is not None:\n",
                f"{MINE}test_a_later_timer_does_not_hide_an_earlier_deadline",
            ),
            fault(
                "one-starved-listener-fed", "engine.accept",
                "        while self.starved:\n", "        if self.starved:\n",
                "tests/test_acceptor.py::test_two_listeners_that_starve_both_go_on",
            ),
        ],
    ),
    *planted(
        "reactor/loop.py",
        [
            fault(
                "stop-before-the-start-lost", "engine.stop",
                "            self._begin()\n            wakeup_fd",
                "            self._stop_s = None\n            self._begin()\n            wakeup_fd",
                f"{REACTOR}test_a_stop_before_the_start_is_kept_for_one_run",
            ),
            fault(
                "stop-wakes-nobody", "engine.stop",
                "            self.call_soon(draining.abort_rest)\n        self._wake()\n",
                "            self.call_soon(draining.abort_rest)\n",
                f"{REACTOR}test_stop_is_legal_anywhere_and_prompt",
                f"{REACTOR}test_ten_threads_stop_at_once",
            ),
            fault(
                "stop-never-forgotten", "engine.stop",
                "            self.draining = self._stop_s = None\n", "            self.draining = None\n",
                f"{DRAIN}test_a_drained_loop_can_be_run_again",
            ),
            fault(
                "second-stop-without-time-waits", "engine.drain",
                "        if draining is not None and drain_s == 0:\n", "        if False:\n",
                f"{DRAIN}test_a_second_stop_without_time_aborts_a_drain_under_way",
            ),
            fault(
                "second-signal-drains", "engine.signals",
                "            self.stop(drain_s=0)\n", "            self.stop()\n",
                f"{SIGNALS}test_a_second_signal_aborts_at_once",
            ),
            fault(
                "signals-taken-unasked", "engine.signals",
                "self._signalled if handle_signals else None", "self._signalled",
                f"{SIGNALS}test_handle_signals_false_leaves_them_alone",
            ),
            fault(
                "waker-leaks", "engine.close",
                "                stack.callback(self._waker.close)\n", "                pass\n",
                f"{LOOP}test_with_gives_every_descriptor_back",
                "tests/test_connections.py::test_closing_the_reactor_gives_every_descriptor_back",
            ),
            fault(
                "close-amid-a-turn", "engine.close",
                "        if self._in_turn:\n            raise RuntimeError(\"close() inside",
                "        if False:\n            raise RuntimeError(\"close() inside",
                f"{LOOP}test_a_handler_that_closes_its_own_loop_leaves_no_riddle",
            ),
            fault(
                "close-tells-no-handler", "engine.close",
                "(self._settle, self._tell_all, self._settle, self._abort_all)", "(self._settle, self._abort_all)",
                "tests/test_coroutines.py::test_closing_the_reactor_cancels_what_runs_and_leaves_no_coroutine_behind",
            ),
        ],
    ),
    *planted(
        "reactor/signals.py",
        [
            fault(
                "wake-up-descriptor-not-put-back", "engine.signals",
                "            signal.set_wakeup_fd(self._old_fd)\n", "            signal.set_wakeup_fd(-1)\n",
                f"{SIGNALS}test_handlers_and_wakeup_descriptor_are_put_back",
            ),
            fault(
                "signal-handlers-not-put-back", "engine.signals",
                "handler if handler is not None else signal.SIG_DFL", "signal.SIG_DFL",
                f"{SIGNALS}test_handlers_and_wakeup_descriptor_are_put_back",
            ),
            fault(
                "signal-handed-back-to-nobody", "engine.signals",
                "        self.restore()\n        signal.raise_signal(number)\n", "        self.restore()\n",
                f"{SIGNALS}test_a_third_signal_is_the_programs_own_if_nothing_heeds_the_second",
            ),
            fault(
                "signal-wakes-nobody", "engine.signals",
                "signal.set_wakeup_fd(self._wakeup_fd, warn_on_full_buffer=False)", "signal.set_wakeup_fd(-1)",
                f"{SIGNALS}test_the_wakeup_descriptor_is_set_whoever_handles_the_signals",
            ),
        ],
    ),
    *planted(
        "reactor/waker.py",
        [
            fault(
                "waker-blocks-when-full", "engine.wake",
                "        self.sender.setblocking(False)\n", "        self.sender.setblocking(True)\n",
                f"{WAKER}test_a_full_pair_neither_blocks_nor_loses_the_wake_up",
            ),
            fault(
                "waker-spins-at-its-end", "engine.rest",
                "        if not data:\n", "        if False:\n",
                f"{WAKER}test_an_end_of_its_stream_is_fatal_not_a_spin",
            ),
            fault(
                "waking-a-closed-loop-raises", "engine.wake",
                "        except OSError:\n            # EAGAIN", "        except BlockingIOError:\n            # EAGAIN",
                f"{WAKER}test_to_wake_a_closed_loop_is_legal",
            ),
            fault(
                "waker-not-emptied", "engine.rest",
                "            data = self.sock.recv(DRAIN_BYTES)\n", "            data = self.sock.recv(1)\n",
                f"{MINE}test_the_waker_is_emptied_at_once",
            ),
        ],
    ),
]
