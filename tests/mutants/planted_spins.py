"""Faults in what guards a loop against spins: the quarantine, the new epoll set, the reserve, a paused listener."""

from .mutant import fault, planted

SPINS = "tests/test_quarantine.py::"
RESERVE = "tests/test_reserve.py::"
DEMULTIPLEXER = "tests/test_demultiplexer.py::"
LISTENING = "tests/test_listening.py::"

MUTANTS = [
    *planted(
        "reactor/stages.py",
        [
            fault(
                "nobody-looks-for-spins", "engine.spin",
                "        self.until_look -= 1\n", "",
                f"{SPINS}test_a_listener_that_accepts_nothing_rests_and_is_tried_again",
            ),
        ],
    ),
    *planted(
        "reactor/quarantine.py",
        [
            fault(
                "progress-is-a-spin", "engine.spin",
                "for row, standing in now.items() if before.get(row) == standing}",
                "for row, standing in now.items() if row in before}",
                f"{SPINS}test_one_byte_in_a_thousand_turns_is_enough",
            ),
            fault(
                "whoever-joins-late-is-judged-too", "engine.spin",
                "if before.get(row) == standing}", "if before.get(row, standing) == standing}",
                f"{SPINS}test_each_row_is_judged_by_its_own_turns",
            ),
            fault(
                "each-turn-is-a-look", "engine.spin",
                "        self._suspects = None\n        self._loop.until_look = LOOK_TURNS\n",
                "        self._suspects = None\n        self._loop.until_look = 0\n",
                f"{SPINS}test_busy_rows_are_asked_for_two_turns_and_no_more",
            ),
            fault(
                "condemned-by-hearsay", "engine.stray",
                "[row for row in suspects if demultiplexer.is_ready(row)]", "list(suspects)",
                f"{SPINS}test_nor_if_its_number_is_another_rows",
            ),
            fault(
                "slow-is-a-spin", "engine.spin",
                "        if took_s > SPIN_S:\n", "        if False:\n",
                f"{SPINS}test_nor_is_one_that_is_slow_by_the_clock",
            ),
            fault(
                "a-deaf-loop-goes-on", "engine.spin",
                "        if isinstance(row, WakerRow):\n", "        if False:\n",
                f"{SPINS}test_the_waker_is_fatal",
            ),
            fault(
                "rests-for-ever", "engine.spin",
                '        self._loop.call_later(rest_s, row.resume, "spin")\n', "",
                f"{SPINS}test_a_listener_that_accepts_nothing_rests_and_is_tried_again",
            ),
            fault(
                "each-rest-is-told", "engine.spin",
                "        if self._told.get(row) == row.requests:\n", "        if False:\n",
                f"{SPINS}test_a_listener_that_accepts_nothing_rests_and_is_tried_again",
            ),
            fault(
                "a-spin-without-a-deadline-stays", "engine.spin",
                "            row.abort(what)\n", "            pass\n",
                f"{SPINS}test_a_connection_without_a_deadline_ends",
            ),
            fault(
                "strays-go-on", "engine.stray",
                "            if demultiplexer.has_strays():\n", "            if False:\n",
                f"{SPINS}test_a_file_that_is_nobodys_any_more_wakes_nobody",
            ),
        ],
    ),
    *planted(
        "reactor/acceptor.py",
        [
            fault(
                "failed-handshakes-are-a-spin", "engine.spin",
                "elif action is Action.NEXT and _is_of_one_connection(error):", "elif False:",
                f"{SPINS}test_connections_that_fail_in_the_handshake_are_progress",
            ),
            fault(
                "refuses-at-once", "engine.short",
                "self.loop.now - self._short_since >= after_s\n", "True\n",
                f"{RESERVE}test_who_waits_for_a_second_is_closed_and_nobody_before",
            ),
            fault(
                "refuses-without-a-bound", "engine.short",
                "        for _ in range(REFUSALS):\n", "        while True:\n",
                f"{RESERVE}test_so_many_at_a_look",
            ),
            fault(
                "looks-though-nobody-waits", "engine.short",
                "                    self.loop.starved.remove(self)\n                    self.resume(\"descriptors\")\n",
                "                    pass\n",
                f"{RESERVE}test_nobody_is_looked_for_when_nobody_waits",
            ),
            fault(
                "refuses-after-a-handshake", "engine.short",
                '(socket.socket.accept(sock) if hasattr(sock, "do_handshake") else sock.accept())[0]', "sock.accept()[0]",
                f"{RESERVE}test_a_listener_of_tls_closes_without_a_handshake",
            ),
            fault(
                "reserve-never-made-anew", "engine.short",
                "            self.loop.reserve.take()\n", "            pass\n",
                f"{RESERVE}test_who_cannot_have_it_back_goes_on_without",
            ),
        ],
    ),
    *planted(
        "reactor/reserve.py",
        [
            fault(
                "retries-pile-up", "engine.heap",
                "        if self._retry is None:\n", "        if True:\n",
                f"{RESERVE}test_one_timer_for_all_listeners",
            ),
            fault(
                "a-needless-look-stays", "engine.heap",
                "            self._retry.cancel()\n", "            pass\n",
                f"{RESERVE}test_a_row_that_closes_makes_the_look_needless",
            ),
            fault(
                "each-listener-has-a-reserve", "engine.short",
                "if self._sock is None and self._listeners:", "if self._listeners:",
                f"{RESERVE}test_it_is_one_however_many_listeners_and_the_last_gives_it_back",
            ),
            fault(
                "reserve-outlives-its-listeners", "engine.close",
                "        if not self._listeners:\n            self.give_up()\n", "",
                f"{RESERVE}test_it_is_closed_with_the_loop_and_not_inherited",
            ),
            fault(
                "reserve-not-taken-back", "engine.short",
                "        finally:\n            self.take()\n", "        finally:\n            pass\n",
                f"{RESERVE}test_who_waits_for_a_second_is_closed_and_nobody_before",
            ),
            fault(
                "nobody-looks-for-a-descriptor", "engine.short",
                "        if self._is_room():\n", "        if False:\n",
                f"{RESERVE}test_what_somebody_else_gives_back_is_noticed",
            ),
        ],
    ),
    *planted(
        "reactor/loop.py",
        [
            fault(
                "a-child-keeps-the-reserve", "engine.close",
                "        self.reserve.give_up()\n", "",
                f"{RESERVE}test_a_forked_child_gives_it_back",
            ),
        ],
    ),
    *planted(
        "reactor/demultiplexer.py",
        [
            fault(
                "barred-rows-come-back", "engine.spin",
                "if interest == row.interest or (self._barred and row in self._barred):", "if interest == row.interest:",
                f"{DEMULTIPLEXER}test_a_row_that_is_barred_stays_so_until_it_ends",
                f"{SPINS}test_a_reply_that_does_not_leave_has_the_time_of_a_stall",
            ),
            fault(
                "barred-rows-are-kept", "engine.heap",
                "{each for each in self._barred if each.fd >= 0}", "set(self._barred)",
                f"{DEMULTIPLEXER}test_a_row_that_is_barred_stays_so_until_it_ends",
            ),
            fault(
                "a-new-set-only-reads", "engine.stray",
                "fresh.register(row.fd, _mask(row.interest))", "fresh.register(row.fd, 1)",
                f"{DEMULTIPLEXER}test_a_set_has_strays_until_it_is_renewed",
            ),
            fault(
                "a-new-set-is-inherited", "engine.descriptor",
                "os.dup2(fresh, old, inheritable=False)", "os.dup2(fresh, old)",
                f"{DEMULTIPLEXER}test_a_set_has_strays_until_it_is_renewed",
            ),
            fault(
                "the-host-loses-the-new-set", "engine.stray",
                "                self._outer.register(old, select.EPOLLIN)\n", "                pass\n",
                f"{DEMULTIPLEXER}test_a_host_goes_on_hearing_of_a_renewed_set",
            ),
            fault(
                "the-host-keeps-the-old-set", "engine.stray",
                "            self._outer.unregister(old)\n", "            pass\n",
                f"{DEMULTIPLEXER}test_a_host_goes_on_hearing_of_a_renewed_set",
            ),
            fault(
                "a-closed-row-is-not-told", "engine.stray",
                "        for row in closed:\n            self._forget(row)\n", "",
                f"{DEMULTIPLEXER}test_a_renewal_tells_the_rows_that_are_gone",
            ),
        ],
    ),
    *planted(
        "reactor/listening.py",
        [
            fault(
                "no-memory-closes-the-listener", "engine.pause",
                "            if error.errno not in _PASSES:\n                raise\n", "            raise\n",
                f"{LISTENING}test_a_selector_without_memory_keeps_it_paused_and_does_not_close_it",
            ),
            fault(
                "no-memory-is-never-tried-again", "engine.pause",
                '            self.loop.call_later(REFUSED_S, self.resume, "selector")\n', "",
                f"{LISTENING}test_a_selector_without_memory_keeps_it_paused_and_does_not_close_it",
            ),
            fault(
                "a-refusal-for-good-is-tried-for-ever", "engine.pause",
                "            if error.errno not in _PASSES:\n                raise\n", "",
                f"{LISTENING}test_a_selector_that_will_never_take_it_closes_it",
            ),
        ],
    ),
]
