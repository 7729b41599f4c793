"""Faults in how a server serves and stops: `serve_forever`, `shutdown`, `handle_request`, and the gate between threads."""

from .mutant import fault, planted

SHUTDOWN = "test_shutdown.py::"
HOOKS = "test_hooks.py::"
SERVERS = "test_servers.py::"
ONE = "test_handle_request.py::"

MUTANTS = [
    *planted(
        "reactor/serving.py",
        [
            fault(
                "poll-interval-default", "loop.thread",
                "poll_interval: float = 0.5) -> None:", "poll_interval: float = 5.0) -> None:",
                "test_module.py::test_hook_can_be_called_as_in_the_standard_library",
            ),
            fault(
                "poll-interval-ignored", "loop.actions",
                "poll_interval_s=poll_interval_s,", "poll_interval_s=0.5,",
                f"{HOOKS}TestServiceActions::test_run_every_turn_though_nothing_happens",
            ),
            fault(
                "plain-server-in-threads", "loop.thread",
                'choice = Choice("inline")', 'choice = Choice("thread")',
                f"{HOOKS}TestServeForever::test_handlers_run_in_the_calling_thread",
            ),
            fault(
                "one-gate-for-all", "loop.many",
                'self.__dict__.setdefault("_gate_of_this_server", Gate())', 'globals().setdefault("_gate", Gate())',
                f"{SHUTDOWN}TestFromAnotherThread::test_stops_only_its_own_server",
            ),
            fault(
                "stop-before-start-forgotten", "loop.early",
                "if self._gate.stop_requested:", "if False:",
                f"{SHUTDOWN}TestBeforeTheStart",
            ),
            fault(
                "timeout-while-serving", "loop.timeout",
                "            loop.run(handle_signals=False)",
                "            loop.hooks.append((self.handle_timeout, lambda: self.timeout))\n"
                "            loop.run(handle_signals=False)",
                f"{HOOKS}TestServeForever::test_timeout_is_for_handle_request",
            ),
            fault(
                "errors-contained", "loop.raise",
                "with Loop(strict=True) as loop, self._gate", "with Loop() as loop, self._gate",
                f"{HOOKS}TestErrors::test_handle_error_may_raise",
            ),
            fault(
                "calls-itself-by-name", "loop.override",
                "        choice = self._choose_alone()\n        if choice is None:\n",
                "        choice = self._choose_alone()\n        assert type(self).serve_forever is Serving.serve_forever\n"
                "        if choice is None:\n",
                f"{HOOKS}TestServeForever::test_may_be_overridden",
                f"{HOOKS}TestServeForever::test_may_be_aliased_when_the_class_is_made",
            ),
            fault(
                "signals-taken", "loop.signals",
                "loop.run(handle_signals=False)", "loop.run(handle_signals=True)",
                f"{SHUTDOWN}TestInterrupt",
            ),
            fault(
                "close-while-serving", "loop.close",
                "if self._host is not None:\n            self._host.server_closes()",
                "if self._host is not None:\n            raise RuntimeError",
                f"{SERVERS}TestClosing::test_in_the_loops_own_thread",
                f"{HOOKS}TestErrors::test_handle_error_may_close_the_server_and_raise",
            ),
            fault(
                "one-largest-timeout", "one.timeout",
                "return min(timeouts)", "return max(timeouts)",
                f"{ONE}test_timeout_is_the_smaller_of_socket_and_server",
            ),
            fault(
                "one-ignores-the-sockets-timeout", "one.timeout",
                "(self.socket.gettimeout(), self.timeout)", "(None, self.timeout)",
                f"{ONE}test_timeout_is_the_smaller_of_socket_and_server",
            ),
            fault(
                "one-ignores-its-own-timeout", "one.timeout",
                "(self.socket.gettimeout(), self.timeout)", "(self.socket.gettimeout(), None)",
                f"{ONE}test_timeout_is_the_smaller_of_socket_and_server",
            ),
            fault(
                "one-timeout-zero-is-none", "one.timeout",
                "if each is not None]", "if each]",
                f"{ONE}test_timeout_is_the_smaller_of_socket_and_server",
            ),
            fault(
                "one-does-not-wait", "one.timeout",
                "return min(timeouts)", "return 0",
                f"{ONE}test_timeout_is_waited_for",
            ),
        ],
    ),
    *planted(
        "reactor/base_server.py",
        [
            fault(
                "one-request-too-many", "one.exactly",
                "return self._handle_request_noblock()", "return self._handle_request_noblock(), self.handle_request()",
                f"{ONE}test_handles_exactly_one_request",
            ),
            fault(
                "one-in-a-thread", "one.here",
                "return self._handle_request_noblock()",
                'return __import__("threading").Thread(target=self._handle_request_noblock).start()',
                f"{ONE}test_runs_in_the_calling_thread",
            ),
            fault(
                "one-value-lost", "one.value",
                "                if wait_s < 0:\n                    return self.handle_timeout()",
                "                if wait_s < 0:\n                    return bool(self.handle_timeout())",
                f"{ONE}test_timeout_is_the_smaller_of_socket_and_server",
            ),
            fault(
                "one-waits-on-the-socket", "one.select",
                "wait_readable(self, wait_s)", "wait_readable(self.socket, wait_s)",
                f"{ONE}test_what_is_waited_for_is_the_servers_fileno",
            ),
            fault(
                "one-oserror-raised", "one.oserror",
                "        except OSError:\n            return\n", "        except OSError:\n            raise\n",
                f"{ONE}test_os_error_of_get_request_is_swallowed",
            ),
            fault(
                "one-few-oserrors-swallowed", "one.oserror",
                "        except OSError:\n            return\n", "        except ConnectionError:\n            return\n",
                f"{ONE}test_os_error_of_get_request_is_swallowed",
            ),
            fault(
                "one-everything-swallowed", "one.oserror",
                "        except OSError:\n            return\n", "        except Exception:\n            return\n",
                f"{ONE}test_other_errors_of_get_request_are_raised",
            ),
            fault(
                "one-exit-leaves-request-open", "loop.exit",
                "then leave\n            self.shutdown_request(request)\n", "then leave\n",
                f"{ONE}test_exit_in_a_handler_leaves_with_the_request_shut_down_once",
            ),
            fault(
                "one-exit-is-an-error", "loop.exit",
                "        except Exception:\n            self.handle_error(request, client_address)\n",
                "        except BaseException:\n            self.handle_error(request, client_address)\n",
                f"{ONE}test_exit_in_a_handler_leaves_with_the_request_shut_down_once",
            ),
        ],
    ),
    *planted(
        "reactor/offload.py",
        [
            fault(
                "shutdown-does-not-wait", "loop.shutdown",
                "            self._left.wait()", "            pass",
                f"{SHUTDOWN}TestFromAnotherThread::test_waits_for_the_running_handler",
            ),
            fault(
                "shutdown-waits-once-only", "loop.shutdown",
                "            self._left.clear()\n", "",
                f"{SHUTDOWN}TestFromAnotherThread::test_waits_for_the_running_handler",
            ),
            fault(
                "shutdown-is-never-told", "loop.shutdown",
                "                self.stop_requested = False\n                self._left.set()",
                "                self.stop_requested = False",
                f"{SHUTDOWN}TestFromAnotherThread::test_ends_the_loop",
            ),
            fault(
                "shutdown-in-the-loop-waits-for-itself", "loop.shutdown",
                "        if not inside:", "        if True:",
                f"{SHUTDOWN}TestFromAHandler::test_from_service_actions",
            ),
            fault(
                "stop-is-remembered", "loop.again",
                "                self.stop_requested = False\n", "",
                f"{SHUTDOWN}TestFromAnotherThread::test_server_serves_again",
            ),
        ],
    ),
    *planted(
        "reactor/guests.py",
        [
            fault(
                "actions-of-the-class-only", "loop.actions",
                'return origin(server, "service_actions") != "BaseServer.service_actions"',
                'return type(server).service_actions.__qualname__ != "BaseServer.service_actions"',
                f"{HOOKS}TestServiceActions::test_given_to_the_instance",
            ),
            fault(
                "oserror-of-a-hook-ends-the-listener", "loop.oserror",
                "return Action.NEXT if action is Action.CLOSE and self.sock.fileno() == self.fd else action",
                "return action",
                f"{HOOKS}TestServeForever::test_os_error_of_get_request_does_not_end_it",
            ),
            fault(
                "other-error-of-a-hook-is-no-error", "loop.oserror",
                'as in socketserver."""\n        self.loop.contain(self, error)\n',
                'as in socketserver."""\n        super().drop(sockaddr, error)\n',
                f"{HOOKS}TestErrors::test_handle_error_may_raise_whatever_it_is",
            ),
            fault(
                "packet-oserror-ends-the-loop", "loop.oserror",
                "            return  # as socketserver: a pending network error", "            raise  #",
                f"{SERVERS}TestDatagrams::test_os_error_of_get_request_is_swallowed",
            ),
        ],
    ),
    *planted(
        "reactor/hosting.py",
        [
            fault(
                "actions-only-for-requests", "loop.actions",
                "            return poll_interval_s if overridden else None\n", "            return None\n",
                f"{HOOKS}TestServiceActions::test_run_every_turn_though_nothing_happens",
            ),
            fault(
                "actions-after-many-requests", "loop.actions",
                "accepts_per_turn: int | None = 1 ", "accepts_per_turn: int | None = None ",
                f"{HOOKS}TestServiceActions::test_run_after_each_request",
            ),
            fault(
                "exit-leaves-request-open", "loop.exit",
                "            self._shut(request)\n            raise\n", "            raise\n",
                f"{HOOKS}TestErrors::test_exit_in_a_handler_leaves_with_the_request_shut_down_once",
            ),
            fault(
                "exit-does-not-leave", "loop.exit",
                "            self._shut(request)\n            raise\n        self._shut(request)\n",
                "            pass\n        self._shut(request)\n",
                f"{HOOKS}TestErrors::test_exit_in_a_handler_leaves_with_the_request_shut_down_once",
            ),
            fault(
                "listener-left-nonblocking", "one.here",
                "self._socket.settimeout(self._timeout_s)", "pass",
                f"{HOOKS}TestServeForever::test_listener_is_afterwards_as_it_was",
            ),
        ],
    ),
    *planted(
        "reactor/stream_hosts.py",
        [
            fault(
                "hosted-nagle", "hosted.nagle",
                "        no_delay(request)\n", "",
                "tests/test_hosting.py::test_a_hosted_coroutine_sends_small_replies_at_once",
            ),
        ],
    ),
]
