"""Faults in the bytes of the engine: system calls, buffers, framings."""

from .mutant import fault, planted

BUFFERS = "tests/test_buffers.py::"
TRANSPORTS = "tests/test_transports.py::"
FRAMING = "tests/test_framing.py::"
MINE = "tests/test_engine_points.py::"

MUTANTS = [
    *planted(
        "reactor/transports.py",
        [
            fault(
                "not-now-is-a-loss", "engine.read",
                "            self.failed(row, error)\n            return None\n",
                "            row.lose(error)\n            return None\n",
                f"{TRANSPORTS}test_what_each_error_of_a_receive_means",
            ),
            fault(
                "full-socket-is-a-loss", "engine.write",
                "        if error.errno not in NOT_NOW:\n            row.lose(error)\n\n    def shut",
                "        row.lose(error)\n\n    def shut",
                f"{TRANSPORTS}test_what_each_error_of_a_send_means",
            ),
            fault(
                "rest-of-a-small-send-lost", "engine.write",
                "        if sent == row.pending:\n", "        if sent:\n",
                f"{TRANSPORTS}test_sends_of_few_bytes_with_many_refusals_lose_nothing",
            ),
            fault(
                "sent-bytes-still-pending", "engine.marks",
                "            row.pending -= sent\n            budget", "            budget",
                f"{TRANSPORTS}test_whatever_the_sizes_each_flush_sends_at_most_its_budget",
                f"{TRANSPORTS}test_a_real_pair_gets_everything_and_a_real_reset_is_a_loss",
            ),
            fault(
                "flush-without-a-budget", "engine.fair",
                "            budget -= sent\n", "            pass\n",
                f"{TRANSPORTS}test_one_fast_reader_does_not_hold_the_turn",
            ),
            fault(
                "full-socket-tried-again", "engine.rest",
                "            if sent < len(chunk):\n                return\n", "",
                f"{TRANSPORTS}test_a_full_socket_is_not_tried_again_in_the_same_turn",
            ),
            fault(
                "both-sides-shut", "engine.half",
                "            row.sock.shutdown(socket.SHUT_WR)\n", "            row.sock.shutdown(socket.SHUT_RDWR)\n",
                f"{TRANSPORTS}test_shut_ends_our_side_only",
            ),
        ],
    ),
    *planted(
        "reactor/buffers.py",
        [
            fault(
                "joined-chunks-sent-again", "engine.write",
                '            outbox[:count] = [b"".join(outbox[:count])]\n',
                '            outbox[0] = b"".join(outbox[:count])\n',
                f"{BUFFERS}test_random_partial_sends_lose_nothing",
            ),
            fault(
                "half-a-delimiter-overlooked", "frame.split",
                "        self._scanned = max(0, self.size - len(delimiter) + 1)\n        return -1\n",
                "        self._scanned = self.size\n        return -1\n",
                f"{FRAMING}test_every_split_gives_the_same_frames",
            ),
            fault(
                "half-a-delimiter-overlooked-by-split", "frame.split",
                "            self._scanned = max(0, len(window) - len(delimiter) + 1)\n",
                "            self._scanned = len(window)\n",
                f"{BUFFERS}test_no_delimiter_hides_at_the_edge_of_what_one_split_looks_at",
            ),
            fault(
                "searched-from-the-start-each-time", "frame.linear",
                "        self._scanned = max(0, self.size - len(delimiter) + 1)\n        return -1\n", "        return -1\n",
                f"{BUFFERS}test_a_search_resumes_where_the_last_one_stopped",
            ),
            fault(
                "another-delimiter-overlooked", "frame.switch",
                "        if delimiter != self._delimiter:\n            self._delimiter, self._scanned = delimiter, 0\n",
                "        self._delimiter = delimiter\n",
                f"{BUFFERS}test_another_delimiter_is_searched_from_the_start",
            ),
            fault(
                "frames-lost-at-a-switch", "frame.switch",
                "        self.rejoin()\n        data, at = self._data, self._at\n",
                "        data, at = self._data, self._at\n",
                f"{BUFFERS}test_whoever_asks_for_anything_else_gets_what_was_cut_ahead",
                "tests/test_coroutine_streams.py::test_framings_may_change_after_lines_were_cut_ahead",
            ),
            fault(
                "line-of-the-very-limit-refused", "frame.limit",
                "        if found > max_bytes or (", "        if found >= max_bytes or (",
                f"{BUFFERS}test_the_maximum_of_a_search",
            ),
            fault(
                "line-over-the-limit-waited-for", "frame.limit",
                "(found < 0 and size >= max_bytes + len(delimiter)):", "False:",
                f"{FRAMING}test_the_maximum_is_enforced_before_the_frame_is_complete",
            ),
            fault(
                "consumed-memory-kept", "frame.linear",
                "        if self._at * 2 > len(self._data):\n", "        if False:\n",
                f"{BUFFERS}test_consumed_memory_is_given_back",
            ),
            fault(
                "rest-copied-at-each-frame", "frame.linear",
                "        if self._at * 2 > len(self._data):\n", "        if self._at:\n",
                f"{BUFFERS}test_cutting_many_lines_copies_a_bounded_number_of_bytes_for_each",
                f"{BUFFERS}test_feeding_and_taking_small_pieces_copies_each_byte_a_bounded_number_of_times",
            ),
            fault(
                "rest-of-a-send-copied", "frame.linear",
                "        outbox[0] = memoryview(first)[sent:]\n", "        outbox[0] = bytes(first)[sent:]\n",
                f"{BUFFERS}test_what_a_partial_send_leaves_is_not_copied_again",
            ),
            fault(
                "lines-go-back-in-disorder", "frame.switch",
                "[*reversed(self.ahead), memoryview", "[*self.ahead, memoryview",
                f"{BUFFERS}test_whoever_asks_for_anything_else_gets_what_was_cut_ahead",
            ),
            fault(
                "smaller-limit-outwitted", "frame.limit",
                "            if delimiter == self._delimiter and max_bytes >= self._ahead_max:\n",
                "            if delimiter == self._delimiter:\n",
                f"{BUFFERS}test_a_smaller_maximum_is_not_outwitted_by_what_was_cut_ahead",
            ),
        ],
    ),
    *planted(
        "reactor/framing.py",
        [
            fault(
                "half-a-frame-ends-well", "frame.end",
                "        if held:\n            raise FramingError(f\"the stream ended inside",
                "        if held < 0:\n            raise FramingError(f\"the stream ended inside",
                f"{FRAMING}test_the_stream_ends_at_every_offset",
            ),
            fault(
                "decoder-that-raises-costs-more", "frame.end",
                "        except Exception as error:\n            raise FramingError(f\"{self._decode!r}",
                "        except LookupError as error:\n            raise FramingError(f\"{self._decode!r}",
                f"{FRAMING}test_what_a_decoder_raises_says_which_frame_it_refused",
            ),
            fault(
                "mapped-framing-shared", "frame.switch",
                "        return self if inner is self._inner else type(self)(inner, self._decode, self._encode)\n",
                "        return self\n",
                f"{FRAMING}test_a_fresh_framing_has_no_state_of_another_row",
            ),
        ],
    ),
    *planted(
        "reactor/framings.py",
        [
            fault(
                "announced-length-believed", "frame.limit",
                "        _check_length(body_bytes, inbox.max_bytes if self.max_bytes is None else self.max_bytes)\n", "",
                f"{FRAMING}test_an_announced_length_allocates_nothing",
                f"{FRAMING}test_the_maximum_is_enforced_before_the_frame_is_complete",
            ),
            fault(
                "announced-length-off-by-one", "frame.limit",
                "    if announced_bytes > limit:\n", "    if announced_bytes >= limit:\n",
                f"{MINE}test_a_frame_of_the_very_limit_is_taken",
            ),
            fault(
                "length-of-leading-zeros", "frame.limit",
                '(digits.isdigit() and (digits == b"0" or digits[:1] != b"0"))', "digits.isdigit()",
                f"{FRAMING}test_what_is_no_netstring",
            ),
            fault(
                "netstring-without-its-comma", "frame.split",
                '        if inbox.peek(total_bytes)[-1:] != b",":\n', "        if False:\n",
                f"{FRAMING}test_what_is_no_netstring",
            ),
            fault(
                "delimiter-smuggled-in", "frame.split",
                "        if ends_at + len(self.delimiter) < len(whole):\n", "        if False:\n",
                f"{FRAMING}test_what_would_be_read_as_something_else_is_not_encoded",
            ),
        ],
    ),
]
