"""Free ports for servers that take theirs a moment later."""
import contextlib, random, socket, threading

_given = set()
_lock = threading.Lock()


def free_port(kind=socket.SOCK_STREAM):
    """A free port, below those that the kernel gives to connections and never given out before: nobody takes it before its server does."""
    while True:
        port = random.randrange(10000, 32000)
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, kind) as s:
            s.bind(("127.0.0.1", port))
            with _lock:
                if port not in _given:
                    _given.add(port)
                    return port
