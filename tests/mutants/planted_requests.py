"""Faults in whole requests and replies: HTTP framing, spools, the files of frames."""

from .mutant import fault, planted

HTTP = "tests/test_http_framing.py::"
SPOOLS = "tests/test_spools.py::"
FILES = "tests/test_frame_files.py::"

MUTANTS = [
    *planted(
        "reactor/http_heads.py",
        [
            fault(
                "equal-content-lengths", "frame.http",
                "    if len(lengths) > 1:\n", "    if len(set(lengths)) > 1:\n",
                f"{HTTP}test_what_readers_could_disagree_on_is_refused",
            ),
            fault(
                "content-length-beside-chunked", "frame.http",
                "    if lengths:\n        raise", "    if False:\n        raise",
                f"{HTTP}test_what_readers_could_disagree_on_is_refused",
            ),
            fault(
                "content-length-with-a-sign", "frame.http",
                "    if not digits.isdigit():  #", '    if not digits.lstrip(b"+").isdigit():  #',
                f"{HTTP}test_what_readers_could_disagree_on_is_refused",
            ),
            fault(
                "another-coding-before-chunked", "frame.http",
                'len(codings) > 1 or codings[0].lower() != b"chunked":', 'b"chunked" not in codings[-1].lower():',
                f"{HTTP}test_what_readers_could_disagree_on_is_refused",
            ),
            fault(
                "end-of-a-chunk-not-looked-at", "frame.http",
                '        if end == b"\\r\\n":\n', "        if len(end) == 2:\n",
                f"{HTTP}test_what_readers_could_disagree_on_is_refused",
            ),
            fault(
                "trailers-without-a-limit", "frame.http",
                "        if self._spare < 0:\n", "        if False:\n",
                f"{HTTP}test_extensions_and_trailers_have_a_limit",
            ),
            fault(
                "chunks-without-a-limit", "frame.limit",
                "        if self.at + n > self._ends_by:\n", "        if False:\n",
                f"{HTTP}test_chunks_over_the_limit_of_a_body_are_refused_at_their_size",
            ),
            fault(
                "expectation-left-to-the-handler", "frame.http",
                '_EXPECT_LINE.sub(b"", head)', "head",
                f"{HTTP}test_an_expectation_is_in_no_frame",
            ),
            fault(
                "chunk-line-rescanned", "frame.linear",
                "        self._scanned = len(data) - at\n        if self._scanned >",
                "        self._scanned = 0\n        if len(data) - at >",
                f"{HTTP}test_a_line_of_a_chunked_body_is_searched_once",
            ),
        ],
    ),
    *planted(
        "reactor/http_framing.py",
        [
            fault(
                "body-without-a-limit", "frame.limit",
                "said.body_bytes is not None and said.body_bytes > self.body_bytes:", "False:",
                f"{HTTP}test_a_body_over_its_limit_is_refused_at_its_header",
            ),
            fault(
                "head-limit-off-by-one", "frame.limit",
                "        if end < 0 or end > self.head_bytes:\n", "        if end < 0 or end >= self.head_bytes:\n",
                f"{HTTP}test_the_longest_head_is_no_longer_than_its_limit",
            ),
            fault(
                "refused-request-gone-on-with", "frame.http",
                "        if self._fault is not None:\n            raise self._fault\n", "",
                f"{HTTP}test_what_is_refused_stays_refused",
                f"{HTTP}test_what_was_given_up_half_read_is_not_gone_on_with",
            ),
            fault(
                "half-a-request-is-run", "frame.end",
                "        if eof:\n            raise BadRequest(400, f\"the stream ended inside",
                "        if False:\n            raise BadRequest(400, f\"the stream ended inside",
                f"{HTTP}test_half_a_request_is_never_run",
            ),
            fault(
                "unfinished-file-left-open", "frame.spool",
                "                file.close()\n", "                file.flush()\n",
                f"{HTTP}test_an_unfinished_file_is_closed_when_its_row_ends",
            ),
            fault(
                "state-of-the-last-request", "frame.split",
                "            frame = request.whole(inbox)\n            self._begin()\n",
                "            frame = request.whole(inbox)\n",
                f"{HTTP}test_every_split_gives_the_same_frames",
            ),
            fault(
                "empty-lines-without-end", "frame.http",
                "            if self._empty_lines == _EMPTY_LINES:\n", "            if False:\n",
                f"{HTTP}test_many_empty_lines_are_no_accident",
            ),
            fault(
                "full-disk-leaves-the-framing", "frame.spool",
                "            try:\n                self._write()\n            except OSError as error:\n"
                "                raise self._unwritten(error) from error\n",
                "            self._write()\n",
                f"{HTTP}test_a_full_disk_refuses_the_request",
            ),
        ],
    ),
    *planted(
        "reactor/spools.py",
        [
            fault(
                "written-past-the-spool", "frame.spool",
                "        self.spool.append(data)\n        if not row.outbox:\n",
                "        if row.outbox and row.pending < JOIN_BYTES:\n            row.outbox.append(data)\n"
                "            row.pending += len(data)\n            return\n"
                "        self.spool.append(data)\n        if not row.outbox:\n",
                f"{SPOOLS}test_what_is_queued_while_it_is_sent_comes_last",
                f"{SPOOLS}test_the_outbox_goes_first",
            ),
            fault(
                "short-write-to-disk", "frame.spool",
                "        while rest:\n            rest = rest[self._file.write(rest) :]\n",
                "        self._file.write(rest)\n",
                f"{SPOOLS}test_a_disk_that_takes_and_gives_little_at_a_time",
            ),
            fault(
                "full-disk-is-a-lost-peer", "frame.spool",
                "            raise LimitError(self._limit, self._end, wanted, hint) from error\n", "            raise\n",
                f"{SPOOLS}test_a_full_disk_is_a_limit_and_leaves_what_was_there",
            ),
            fault(
                "spool-stays-open", "frame.spool",
                "        self.spool.close()\n", "        pass\n",
                f"{SPOOLS}test_a_row_that_ends_early_gives_the_disk_back",
            ),
            fault(
                "disk-never-given-back", "frame.spool",
                "            self._file.truncate(0)\n", "            pass\n",
                f"{SPOOLS}test_the_limit_is_of_the_disk",
            ),
            fault(
                "spool-without-a-budget", "engine.fair",
                "            if not self._refill(row) or row.bytes_out >= spent_at:\n",
                "            if not self._refill(row):\n",
                f"{SPOOLS}test_one_fast_reader_does_not_hold_the_turn",
            ),
            fault(
                "unreadable-reply-ends-well", "engine.linger",
                '            row.abort(f"its reply cannot be read back from disk: {describe(error)}")  #',
                "            pass  #",
                f"{SPOOLS}test_a_reply_that_cannot_be_read_back_is_aborted",
            ),
            fault(
                "failed-append-counted", "frame.spool",
                "        try:\n            self._write(data)\n",
                "        self._end = wanted\n        try:\n            self._write(data)\n",
                f"{SPOOLS}test_a_full_disk_is_a_limit_and_leaves_what_was_there",
                f"{SPOOLS}test_first_in_first_out",
            ),
        ],
    ),
    *planted(
        "reactor/frame_files.py",
        [
            fault(
                "last-line-reads-on", "frame.file",
                " and len(line) != size:\n", ":\n",
                f"{FILES}test_what_a_read_returns_and_whether_it_wanted_more",
            ),
            fault(
                "read-of-the-very-rest-reads-on", "frame.file",
                "size < 0 or len(data) < size:", "size < 0 or len(data) <= size:",
                f"{FILES}test_what_a_read_returns_and_whether_it_wanted_more",
            ),
            fault(
                "buffer-of-wide-items", "frame.file",
                "            count = super().readinto(view)\n            if count < view.nbytes:\n",
                "            count = super().readinto(view)\n            if count < len(buffer):\n",
                f"{FILES}test_buffers_of_other_items_are_filled_by_bytes",
            ),
            fault(
                "frame-on-disk-left-open", "frame.spool",
                "        self.file.close()\n        super().close()\n", "        super().close()\n",
                f"{FILES}test_a_frame_that_is_a_file_is_taken_as_such_and_closed",
            ),
        ],
    ),
]
