"""Ready-made protocols, one module each; every one imports only the public `reactor`.

    from reactor.handlers import echo

    loop.listen("tcp://127.0.0.1:7007", echo.echo)
    loop.listen("udp://127.0.0.1:7007", echo.echo_datagram)

Each module has two handlers: one named like itself, for streams (TCP, Unix), and one with `_datagram` behind the name
(UDP, Unix datagrams). What datagram services must not answer is written once, in `reflection`.

    loop.listen("tcp://127.0.0.1:8000", static_http.static_http("public"))

The last one below is for streams only, and is called with a directory.

    echo     RFC 862: what comes goes back
    discard  RFC 863: what comes is thrown away
    chargen  RFC 864: characters without end
    daytime  RFC 867: the time, for people
    time     RFC 868: the time, in 32 bits
    upper    what comes goes back in upper case

    static_http  HTTP/1.1: the files of a directory
"""
