"""Faults in the mixins and in the drop-in module: threads, children, and which names there are."""

from .mutant import fault, planted

THREADS = "test_mixins_threading.py::"
FORKS = "test_mixins_forking.py::"
MODULE = "test_module.py::"

MUTANTS = [
    *planted(
        "reactor/mixins.py",
        [
            fault(
                "thread-inline", "thread.each",
                "start_thread(self._process_and_return, (request, client_address), daemon=self.daemon_threads)\n",
                "start_thread(int, (), daemon=self.daemon_threads)\n"
                "        self._process_and_return(request, client_address)\n",
                f"{THREADS}TestThreads::test_loop_goes_on_while_a_handler_waits",
            ),
            fault(
                "thread-past-its-hook", "thread.each",
                "            self.process_request_thread(request, client_address)\n",
                "            ThreadingMixIn.process_request_thread(self, request, client_address)\n",
                f"{THREADS}TestThreads::test_thread_runs_process_request_thread",
            ),
            fault(
                "thread-never-daemon", "thread.daemon",
                "daemon=self.daemon_threads)", "daemon=False)",
                f"{THREADS}TestThreads::test_daemon_threads",
            ),
            fault(
                "thread-not-joined", "thread.close",
                "            thread.join()", "            pass",
                f"{THREADS}TestClosing::test_waits_for_the_threads",
            ),
            fault(
                "thread-joined-though-told-not-to", "thread.close",
                "if self.block_on_close and not self.daemon_threads:", "if not self.daemon_threads:",
                f"{THREADS}TestClosing::test_does_not_wait",
            ),
            fault(
                "thread-joined-though-daemon", "thread.close",
                "if self.block_on_close and not self.daemon_threads:", "if self.block_on_close:",
                f"{THREADS}TestClosing::test_does_not_wait",
            ),
            fault(
                "thread-block-of-the-class", "thread.close",
                "if self.block_on_close and not self", "if type(self).block_on_close and not self",
                f"{THREADS}TestClosing::test_block_on_close_may_be_said_of_one_server",
            ),
            fault(
                "thread-joined-before-closing", "thread.close",
                "        super().server_close()  # type: ignore[misc]\n        threads, self._threads = "
                "self._threads or [], []\n        for thread in threads:\n            thread.join()\n",
                "        threads, self._threads = self._threads or [], []\n        for thread in threads:\n"
                "            thread.join()\n        super().server_close()  # type: ignore[misc]\n",
                f"{THREADS}TestClosing::test_takes_no_more_connections_while_it_waits",
            ),
            fault(
                "threads-of-all-servers", "thread.close",
                "            self._threads = [*(old", "            ThreadingMixIn._threads = [*(old",
                f"{THREADS}TestClosing::test_servers_do_not_wait_for_each_others_threads",
            ),
            fault(
                "threads-kept", "thread.reaped",
                " if old.is_alive())", ")",
                f"{THREADS}TestReaping::test_finished_threads_are_forgotten",
            ),
            fault(
                "threads-forgotten", "thread.reaped",
                " if old.is_alive())", " if not old.is_alive())",
                f"{THREADS}TestReaping::test_running_threads_are_not",
            ),
            fault(
                "thread-exit-handled", "thread.exit",
                "        except Exception:\n            self.handle_error(request, client_address)\n"
                "        finally:\n            try:\n                self.shutdown_request(request)\n"
                "            finally:\n                if self._host",
                "        except BaseException:\n            self.handle_error(request, client_address)\n"
                "        finally:\n            try:\n                self.shutdown_request(request)\n"
                "            finally:\n                if self._host",
                f"{THREADS}TestErrors",
            ),
            fault(
                "fork-timeout", "fork.defaults",
                "CHILD_TIMEOUT_S = 300", "CHILD_TIMEOUT_S = 30",
                f"{MODULE}test_default",
            ),
            fault(
                "fork-max-children", "fork.defaults",
                "max_children = 40", "max_children = 4",
                f"{MODULE}test_default",
            ),
            fault(
                "fork-one-too-many", "fork.limit",
                "and len(self.active_children) >= self.max_children:",
                "and len(self.active_children) > self.max_children:",
                f"{FORKS}TestMaxChildren::test_waits_at_the_limit_for_whichever_ends_first",
            ),
            fault(
                "fork-spins-at-the-limit", "fork.limit",
                "            if not any(reaped):\n", "            if False:\n",
                f"{FORKS}TestMaxChildren::test_waits_at_the_limit_for_whichever_ends_first",
            ),
            fault(
                "fork-waits-for-one-of-them", "fork.limit",
                "            return ended.si_pid\n", "            return max(pids)\n",
                f"{FORKS}TestMaxChildren::test_waits_at_the_limit_for_whichever_ends_first",
            ),
            fault(
                "fork-past-the-limit", "fork.limit",
                "        self.collect_children()  # here too, so that max_children holds however the server is driven\n",
                "",
                "tests/test_mixins.py::test_with_max_children_a_new_request_waits_until_one_has_ended",
            ),
            fault(
                "fork-waits-though-hosted", "fork.limit",
                "        if self._host is None:\n            self._wait_for_room()\n", "        self._wait_for_room()\n",
                "tests/test_mixins.py::test_who_is_hosted_waits_for_no_child",
            ),
            fault(
                "fork-limit-untold", "fork.limit",
                "            self._host.forked(request, pid)\n            self._tell_of_room()\n",
                "            self._host.forked(request, pid)\n",
                "tests/test_mixins.py::test_who_is_hosted_waits_for_no_child",
            ),
            fault(
                "fork-parent-keeps-it", "fork.parent",
                "            self._tell_of_room()\n        self.close_request(request)\n",
                "            self._tell_of_room()\n",
                f"{FORKS}TestChildren::test_parent_closes_the_connection_and_does_not_shut_it_down",
            ),
            fault(
                "fork-parent-shuts-it-down", "fork.parent",
                "            self._tell_of_room()\n        self.close_request(request)\n",
                "            self._tell_of_room()\n        self.shutdown_request(request)\n",
                f"{FORKS}TestChildren::test_parent_closes_the_connection_and_does_not_shut_it_down",
            ),
            fault(
                "fork-not-waited-for", "fork.close",
                "self.collect_children(blocking=self.block_on_close)", "self.collect_children()",
                f"{FORKS}TestClosing::test_waits_for_the_children",
            ),
            fault(
                "fork-waited-for-though-told-not-to", "fork.close",
                "self.collect_children(blocking=self.block_on_close)", "self.collect_children(blocking=True)",
                f"{FORKS}TestClosing::test_does_not_wait_without_block_on_close",
            ),
            fault(
                "fork-failure-is-success", "fork.status",
                "        status = 1\n", "        status = 0\n",
                f"{FORKS}TestExitStatus::test_error",
            ),
            fault(
                "fork-success-is-failure", "fork.status",
                "            status = 0\n", "            pass\n",
                f"{FORKS}TestExitStatus::test_success",
            ),
            fault(
                "fork-error-unhandled", "fork.status",
                "            status = 0\n        except Exception:\n"
                "            self.handle_error(request, client_address)\n",
                "            status = 0\n        except Exception:\n            pass\n",
                f"{FORKS}TestExitStatus::test_error",
            ),
            fault(
                "fork-exit-handled", "fork.status",
                "            status = 0\n        except Exception:\n",
                "            status = 0\n        except BaseException:\n",
                f"{FORKS}TestExitStatus::test_exit",
            ),
            fault(
                "fork-child-not-shut-down", "fork.status",
                "            try:\n                self.shutdown_request(request)\n"
                "            finally:\n                os._exit",
                "            try:\n                pass\n            finally:\n                os._exit",
                f"{FORKS}TestExitStatus::test_exit",
            ),
            fault(
                "fork-child-returns", "fork.status",
                "            try:\n                self.shutdown_request(request)\n            finally:\n"
                "                os._exit(status)",
                "            self.shutdown_request(request)\n            os._exit(status)",
                f"{FORKS}TestExitStatus::test_error_in_shutdown_request",
            ),
            fault(
                "fork-not-reaped-in-turns", "fork.reaped",
                '        """Reap in every turn of the loop."""\n        self.collect_children()\n',
                '        """Reap in every turn of the loop."""\n',
                f"{FORKS}TestReaping::test_ended_children_are_reaped",
            ),
            fault(
                "fork-not-reaped-at-timeout", "fork.reaped",
                '        """Reap while nothing else happens."""\n        self.collect_children()\n',
                '        """Reap while nothing else happens."""\n',
                f"{FORKS}TestReaping::test_ended_children_are_reaped",
            ),
            fault(
                "fork-waits-for-running-children", "fork.reaped",
                "self._reap(pid, 0 if blocking else os.WNOHANG)", "self._reap(pid, 0)",
                f"{FORKS}TestReaping::test_running_children_are_not_waited_for",
            ),
            fault(
                "fork-reaps-strangers", "fork.strangers",
                "os.waitpid(pid, flags)[0] == pid", "os.waitpid(-1, flags)[0] > 0",
                f"{FORKS}TestReaping::test_children_it_did_not_start_are_left_alone",
            ),
            fault(
                "fork-reaps-strangers-at-the-limit", "fork.strangers",
                "os.WEXITED | os.WNOWAIT)", "os.WEXITED)",
                f"{FORKS}TestReaping::test_children_it_did_not_start_are_left_alone_at_the_limit_too",
            ),
            fault(
                "fork-lost-child-is-kept", "fork.strangers",
                "            reaped = True  # somebody else", "            reaped = False  # somebody else",
                f"{FORKS}TestReaping::test_child_that_somebody_else_reaped_is_forgotten",
            ),
        ],
    ),
    *planted(
        "reactor/guests.py",
        [
            fault(
                "get-request-of-the-beginning", "hooks.get",
                "accept() if stock.are_stock() else server.get_request()", "accept()",
                "tests/test_guests.py::test_a_get_request_that_is_put_in_its_place_later_is_called",
            ),
            fault(
                "unix-client-waited-for", "udp.unbound",
                "            if error.errno not in NOT_NOW:\n                raise\n", "            raise\n",
                "tests/test_hosting.py::test_a_unix_client_that_reads_no_packets_holds_nobody",
            ),
        ],
    ),
    *planted(
        "reactor/hosting.py",
        [
            fault(
                "thread-hooks-before-the-handshake", "thread.each",
                "            postpone(request, self.limits.handshake_s, row.hang_up)\n", "            pass\n",
                "tests/test_hosting.py::test_a_hook_that_asks_who_is_there_shakes_hands",
            ),
            fault(
                "thread-none-but-a-row", "thread.each",
                "        return bool(request.fileno() >= 0)", "        return True",
                "tests/test_guests.py::test_an_own_process_request_that_starts_nothing_leaves_no_row",
            ),
            fault(
                "thread-row-ends-before-it", "thread.each",
                "            row.taken = True\n", "            pass\n",
                "tests/test_guests.py::test_a_row_lasts_as_long_as_its_thread_whoever_closes_the_socket",
            ),
        ],
    ),
    *planted(
        "reactor/offload.py",
        [
            fault(
                "thread-as-its-starter", "thread.daemon",
                "    thread.daemon = daemon\n", "    thread.daemon |= daemon\n",
                f"{THREADS}TestThreads::test_daemon_threads_hold_whatever_thread_serves",
            ),
            fault(
                "fork-child-keeps-files", "fork.parent",
                "os.close(socket.socket.detach(sock))", "sock.close()",
                "tests/test_hosting.py::test_a_child_that_lives_on_keeps_no_connection_of_a_blocking_handler_open",
            ),
        ],
    ),
    *planted(
        "reactor/socketserver.py",
        [
            fault(
                "name-missing", "module.all",
                '    "ThreadingUDPServer",\n', "",
                f"{MODULE}test_all_is_exactly_the_standard_librarys",
            ),
            fault(
                "name-too-many", "module.all",
                '    "ThreadingUDPServer",\n', '    "ThreadingUDPServer",\n    "annotations",\n',
                f"{MODULE}test_all_is_exactly_the_standard_librarys",
            ),
            fault(
                "forking-unix-in-other-versions", "module.all",
                "_sys.version_info >= (3, 12)", "_sys.version_info < (3, 12)",
                f"{MODULE}test_all_is_exactly_the_standard_librarys",
            ),
            fault(
                "mixin-last", "module.mixed",
                "class ThreadingUDPServer(ThreadingMixIn, UDPServer):",
                "class ThreadingUDPServer(UDPServer, ThreadingMixIn):",
                f"{MODULE}test_mixin_comes_first",
            ),
        ],
    ),
]
