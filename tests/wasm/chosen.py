"""Which tests run on WebAssembly: every file of which most tests make no real socket.

What it is: the files, and by name the tests in them that cannot run there, with the reason. What it is not: a way to get
rid of a failure. A name that is not there any more fails the run, and so do fewer tests than FLOOR.
"""

FILES = [
    "tests/injection",
    "tests/testing/test_command.py", "tests/testing/test_contract_descriptors.py", "tests/testing/test_contract_engine.py",
    "tests/testing/test_contract_packets.py", "tests/testing/test_contract_streams.py", "tests/testing/test_fixtures.py",
    "tests/testing/test_framings.py", "tests/testing/test_network.py", "tests/testing/test_simulation.py",
    "tests/testing/test_soak.py", "tests/testing/test_splits.py",
    "tests/test_addresses.py", "tests/test_buffers.py", "tests/test_clock.py", "tests/test_deadlines.py",
    "tests/test_errors.py", "tests/test_frame_files.py", "tests/test_framing.py", "tests/test_http_framing.py",
    "tests/test_layers.py", "tests/test_limits.py", "tests/test_needs.py", "tests/test_observers.py",
    "tests/test_phases.py", "tests/test_snapshots.py", "tests/test_spools.py", "tests/test_table.py",
    "tests/test_timers.py", "tests/test_transports.py",
]  # fmt: skip

_PROCESS, _SOCKET = "starts a process", "makes a real socket"
LEFT_OUT = {
    "tests/testing/test_command.py::test_as_a_program": _PROCESS,
    "tests/testing/test_fixtures.py::test_a_failure_shows_seed_and_trace": _PROCESS,
    "tests/testing/test_fixtures.py::test_it_gives_a_simulation": _PROCESS,
    "tests/testing/test_simulation.py::test_every_kind_of_stream[tcp://[::1]:0]": "no resolver knows IPv6 there",
    "tests/injection/test_sites.py::test_every_site_is_reached_or_explained": "no SO_REUSEADDR: that site is not there",
    "tests/test_addresses.py::test_a_platform_without_unix_sockets_says_so": _SOCKET,
    "tests/test_addresses.py::test_a_restarted_server_gets_its_port_back": _SOCKET,
    "tests/test_addresses.py::test_an_address_that_cannot_be_had_is_named": _SOCKET,
    "tests/test_addresses.py::test_port_0_is_a_free_port": _SOCKET,
    "tests/test_spools.py::test_a_real_pair_gets_all_of_a_large_reply": _SOCKET,
    "tests/test_transports.py::test_a_real_pair_gets_everything_and_a_real_reset_is_a_loss": _SOCKET,
}
# What passed when this was written, less a few that others may change.
FLOOR = 2300
