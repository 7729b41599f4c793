"""Faults in who may come: the modes of paths, the users at the other end, ports and packets on Windows."""

from .mutant import fault, planted

ENDPOINTS = "tests/faults/test_endpoints.py::"
PACKETS = "tests/faults/test_packets.py::"

MUTANTS = [
    *planted(
        "reactor/permissions.py",
        [
            fault(
                "mode-set-behind-bind", "engine.guard",
                "        os.fchmod(sock.fileno(), mode)  #", "        pass  #",
                f"{ENDPOINTS}test_a_unix_path_has_its_mode_before_anybody_can_connect",
            ),
            fault(
                "umask-cuts-the-mode", "engine.guard",
                "        files.chmod(address, mode)", "        pass",
                f"{ENDPOINTS}test_a_unix_path_has_its_mode_before_anybody_can_connect",
            ),
            fault(
                "umask-not-put-back", "engine.guard",
                "            os.umask(old)", "            pass",
                f"{ENDPOINTS}test_where_a_socket_has_no_mode_the_umask_is_set_and_put_back",
            ),
            fault(
                "umask-of-other-threads", "engine.guard",
                '    elif sys.platform == "linux":', '    elif sys.platform == "none":',
                f"{ENDPOINTS}test_the_umask_of_other_threads_is_left_alone",
            ),
            fault(
                "decimal-mode", "engine.guard",
                "if not 0 <= mode <= PERMISSIONS:", "if mode < 0:",
                f"{ENDPOINTS}test_a_mode_that_could_not_be_is_refused",
            ),
            fault(
                "everybody-is-allowed", "engine.guard",
                "        if uid in users:", "        if True:",
                f"{ENDPOINTS}test_only_users_who_are_allowed_come_by_an_abstract_name",
            ),
            fault(
                "unknown-is-left-open", "engine.guard",
                "            sock.close()\n            raise PermissionError", "            raise PermissionError",
                f"{ENDPOINTS}test_who_cannot_be_identified_is_turned_away",
            ),
        ],
    ),
    *planted(
        "reactor/addresses.py",
        [
            fault(
                "windows-port-reused", "engine.guard",
                "exclusive is not None and _has_port", "False and _has_port",
                f"{ENDPOINTS}test_on_windows_nobody_takes_the_port_of_an_endpoint",
            ),
            fault(
                "windows-multicast-alone", "engine.guard",
                "(reuse and sock.type == socket.SOCK_DGRAM)", "False",
                f"{ENDPOINTS}test_on_windows_nobody_takes_the_port_of_a_server",
            ),
        ],
    ),
    *planted(
        "reactor/servers.py",
        [
            fault(
                "server-without-path-mode", "engine.guard",
                "bind_path(self.socket, self.server_address, self.path_mode)", "self.socket.bind(self.server_address)",
                f"{ENDPOINTS}test_a_server_has_a_mode_for_its_path",
            ),
        ],
    ),
    *planted(
        "reactor/datagrams.py",
        [
            fault(
                "recvmsg-everywhere", "engine.packet",
                "sock.family not in (socket.AF_INET, socket.AF_INET6)", "True",
                f"{PACKETS}test_where_there_is_no_recvmsg_packets_arrive",
            ),
        ],
    ),
]
