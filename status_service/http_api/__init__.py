"""JSON over HTTP, made from the contract and its rules: no path is written by hand.

``rules`` reads the rules, ``paths`` their templates; ``json_form`` and ``query`` turn what
came into messages; ``conditions`` has ETag and If-Match; ``calls`` and ``event_stream``
call the servicers of gRPC; ``transcoder`` makes the routes.
"""
