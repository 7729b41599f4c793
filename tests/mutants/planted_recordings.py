"""Faults in what a recorder keeps, in what it shows to whom, and in the replay."""

from .mutant import fault, planted

RECORDED = "tests/test_recording.py::"
REPLAYED = "tests/testing/test_replaying.py::"

MUTANTS = [
    *planted(
        "reactor/taps.py",
        [
            fault(
                "tap-notes-what-was-not-sent", "record.pieces",
                "data if whole else bytes(memoryview(data)[:sent])", "bytes(data)",
                f"{RECORDED}test_a_reply_through_the_spool_is_noted_as_a_whole",
            ),
            fault(
                "tap-hears-no-end", "record.pieces",
                'self._note("in" if data else "eof", data)', 'self._note("in", data)',
                f"{REPLAYED}test_a_recording_of_real_sockets_comes_out_again",
            ),
            fault(
                "tap-hears-no-reset", "record.pieces",
                "        if error.errno not in NOT_NOW:\n", "        if False:\n",
                f"{RECORDED}test_resets_ends_and_our_own_shutdown_are_noted",
            ),
            fault(
                "not-now-is-noted-as-a-loss", "record.pieces",
                "        if error.errno not in NOT_NOW:\n", "        if True:\n",
                f"{RECORDED}test_a_tap_hands_on_what_it_does_not_know",
            ),
            fault(
                "all-open-rows-end-badly-at-the-close", "record.pieces",
                "end is End.ABORTED and self._loop.closed:", "False:",
                f"{RECORDED}test_rows_that_are_open_have_no_end_whether_the_recorder_or_the_reactor_stops_first",
            ),
            fault(
                "recording-time-of-the-machine", "record.pieces",
                "self._loop.now - self._began_at", "self._loop.now",
                f"{RECORDED}test_times_are_those_of_the_loop",
            ),
            fault(
                "content-kept-where-the-hook-fails", "record.private",
                '            return b"?" * len(data)', "            return data",
                f"{RECORDED}test_a_hook_that_fails_costs_the_contents_only",
            ),
            fault(
                "texts-of-errors-are-not-redacted", "record.private",
                "type(error).__name__ if self._redact is not None else describe(error)", "describe(error)",
                f"{RECORDED}test_contents_are_masked_unless_the_program_says_otherwise",
            ),
            fault(
                "full-disk-reaches-the-row", "record.bounds",
                "        except Exception as error:  # the disk is full, say\n", "        except ValueError as error:\n",
                f"{RECORDED}test_a_disk_that_is_full_stops_the_recording_and_nothing_else",
            ),
        ],
    ),
    *planted(
        "reactor/recorder.py",
        [
            fault(
                "anybody-reads-recordings", "record.private",
                "flags, 0o600)", "flags, 0o644)",
                f"{RECORDED}test_the_file_is_for_its_owner_and_an_older_one_goes_aside",
            ),
            fault(
                "contents-kept-unasked", "record.private",
                "redact: Callable[[bytes], bytes] | None = masked,", "redact: Callable[[bytes], bytes] | None = None,",
                f"{RECORDED}test_contents_are_masked_unless_the_program_says_otherwise",
            ),
            fault(
                "ring-keeps-good-rows", "record.bounds",
                "        if row.end not in (self._ends or ()):\n", "        if not row.end:\n",
                f"{RECORDED}test_the_ring_keeps_exactly_the_bad_ones",
            ),
            fault(
                "resets-push-the-failure-out", "record.bounds",
                "for row in self._ring if row.end == commonest)", "for row in self._ring)",
                f"{RECORDED}test_a_ring_that_is_full_keeps_the_rare_end",
            ),
            fault(
                "open-rows-have-no-bound", "record.bounds",
                "        while self._size > self._ring_bytes:\n", "        while False:\n",
                f"{RECORDED}test_nothing_is_kept_of_a_forgotten_row",
            ),
            fault(
                "open-rows-push-the-failures-out", "record.bounds",
                "self._ring and (self._ring_size > self._ring_bytes // 2 or not self._held)", "self._ring",
                f"{RECORDED}test_the_memory_of_10_000_rows_is_bounded",
            ),
            fault(
                "long-row-is-kept-whole", "record.bounds",
                "        elif row.size > self._row_bytes:\n", "        elif False:\n",
                f"{RECORDED}test_a_long_row_loses_its_older_half_and_says_so",
            ),
            fault(
                "older-recording-is-lost", "record.bounds",
                "        os.replace(path, f\"{path}.1\")\n", "        os.unlink(path)\n",
                f"{RECORDED}test_the_file_is_for_its_owner_and_an_older_one_goes_aside",
            ),
            fault(
                "file-of-a-ring-grows", "record.bounds",
                "if self._written > self._file_bytes or self._written > 2 * self._ring_bytes:", "if False:",
                f"{RECORDED}test_the_file_of_a_ring_is_begun_anew_with_what_the_ring_has",
            ),
            fault(
                "packets-that-failed-pile-up", "record.bounds",
                "            row.happenings[1:], row.size = [], 0\n", "            row.size = 0\n",
                f"{RECORDED}test_a_packet_whose_handler_fails_is_a_bad_row_of_its_own",
            ),
        ],
    ),
    *planted(
        "reactor/recording.py",
        [
            fault(
                "cut-last-line-refused", "record.read",
                "number == len(self._lines) and not self._is_whole", "False",
                f"{RECORDED}test_a_last_line_that_is_cut_off_is_left_out_and_said",
            ),
            fault(
                "unknown-version-read", "record.read",
                "        if head[_HEADER] != FORMAT:\n", "        if False:\n",
                f"{RECORDED}test_what_is_no_recording_is_refused",
            ),
        ],
    ),
    *planted(
        "reactor/testing/replaying.py",
        [
            fault(
                "replay-knows-no-time", "record.replay",
                "self._world.advance(max(due_at - clock.now(), 0.0))", "self._world.advance(0)",
                f"{REPLAYED}test_times_are_replayed_so_a_deadline_falls_where_it_fell",
            ),
            fault(
                "replay-joins-pieces", "record.replay",
                "                self._world.advance(max(due_at - clock.now(), 0.0))\n",
                "                if due_at > clock.now():\n                    self._world.advance(due_at - clock.now())\n",
                f"{REPLAYED}test_pieces_that_came_at_one_time_stay_pieces",
            ),
            fault(
                "replay-cuts-large-pieces", "record.replay",
                "        self._world.network.send_bytes = self._world.network.receive_bytes = BUFFER_BYTES\n", "",
                f"{REPLAYED}test_a_piece_of_64_kib_arrives_in_one",
            ),
            fault(
                "replay-closes-in-good-order", "record.replay",
                "            client.reset()\n", "            client.close()\n",
                f"{REPLAYED}test_a_recording_of_real_sockets_comes_out_again",
            ),
            fault(
                "replay-forgets-the-limits", "record.replay",
                "Limits(**dict(origin.limits)).replace(", "Limits().replace(",
                f"{REPLAYED}test_times_are_replayed_so_a_deadline_falls_where_it_fell",
            ),
        ],
    ),
    *planted(
        "reactor/testing/differences.py",
        [
            fault(
                "failure-passes-again", "record.replay",
                "        if now.failed:\n", "        if False:\n",
                f"{REPLAYED}test_same_and_passes",
            ),
            fault(
                "mended-handler-may-say-anything", "record.replay",
                "out=now.out[: len(before.out)]", "out=before.out",
                f"{REPLAYED}test_a_mended_handler_must_still_answer_what_it_had_answered",
            ),
        ],
    ),
]
