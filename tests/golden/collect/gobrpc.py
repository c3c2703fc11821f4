"""The remote calls that the hybrid pump speaks with MDCB: a server and a client, in Python alone; crates/gorpc describes the bytes.

    with Server(handler) as s: ...          handler(call: Call) returns True/False/str/None, or raises RpcError, Envelope, Drop, Silence
    with Client("127.0.0.1", port) as c:    c.call("Login", "key"); raises RpcError when the function returned an error

It knows exactly the types that these calls need; a value of another type ends the connection.
"""
import contextlib, socket, ssl, struct, threading, time, uuid, zlib

BASIC = {"bool": 1, "int": 2, "uint": 3, "float64": 4, "[]uint8": 5, "string": 6}
REQUEST, RESPONSE = "*gorpc.dispatcherRequest", "*gorpc.dispatcherResponse"


# ---- gob, writing

def uint(n):
    if n < 128:
        return bytes([n])
    b = n.to_bytes((n.bit_length() + 7) // 8, "big")
    return bytes([256 - len(b)]) + b


def sint(i):
    return uint((~i << 1) | 1 if i < 0 else i << 1)


def text(x):
    b = x.encode() if isinstance(x, str) else x
    return uint(len(b)) + b


def message(payload):
    return uint(len(payload)) + payload


def descriptor(type_id, name, fields):
    """What defines a structure: its fields by name and type id."""
    listed = b"".join(b"\x01" + text(n) + b"\x01" + sint(t) + b"\x00" for n, t in fields)
    return sint(-type_id) + b"\x03\x01\x01" + text(name) + b"\x01" + sint(type_id) + b"\x00\x01" + uint(len(fields)) + listed + b"\x00\x00"


def basic(value):
    """An interface holding a basic value: its type's name, id, size and the value."""
    if isinstance(value, bool):
        name, body = "bool", b"\x01" if value else b"\x00"
    elif isinstance(value, int):
        name, body = "int", sint(value)
    elif isinstance(value, float):
        name, body = "float64", uint(int.from_bytes(struct.pack("<d", value), "big"))
    elif isinstance(value, bytes):
        name, body = "[]uint8", text(value)
    else:
        name, body = "string", text(value)
    return text(name) + sint(BASIC[name]) + message(b"\x00" + body)


class Writer:
    """Writes envelopes. `style`: "upfront" = both definitions first, as messages of their own; "go" = as the original library does it:
    the inner type is defined in the middle of the first value and the message is cut there."""

    def __init__(self, outer, inner, inner_name, style="upfront", first_id=64):
        self.style, self.inner_name, self.outer_sent, self.inner_sent = style, inner_name, False, False
        self.o, self.i = first_id, first_id + 1
        self.outer_def, self.inner_def = descriptor(self.o, *outer), descriptor(self.i, *inner)

    def envelope(self, call_id, inner, tail=b""):
        """inner: the encoded fields of the inner structure, or None for none; tail: fields after it."""
        out, head = b"", sint(self.o) + (b"\x01" + uint(call_id) if call_id else b"")
        if not self.outer_sent:
            out, self.outer_sent = message(self.outer_def), True
            if self.style != "go":
                out, self.inner_sent = out + message(self.inner_def), True
        if inner is None:
            body = head + tail + b"\x00"
        else:
            head += (b"\x01" if call_id else b"\x02") + text(self.inner_name)
            if not self.inner_sent:
                out, head, self.inner_sent = out + message(head + self.inner_def), b"", True
            body = head + sint(self.i) + message(inner) + tail + b"\x00"
        return out + message(body)


# ---- gob, reading

class Reader:
    """Reads values; receive(n) must return exactly n bytes or raise EOFError."""

    def __init__(self, receive):
        self.receive, self.types, self.b, self.p = receive, {}, b"", 0

    def left(self):
        return len(self.b) - self.p

    def byte(self):
        self.p += 1
        return self.b[self.p - 1]

    def uint(self):
        v = self.byte()
        if v < 128:
            return v
        n = 256 - v
        if n > 8:
            raise ValueError("a number of more than 8 bytes")
        return int.from_bytes(self.take(n), "big")

    def sint(self):
        u = self.uint()
        return ~(u >> 1) if u & 1 else u >> 1

    def take(self, n):
        if n > self.left():
            raise ValueError("a value that ends after its message")
        self.p += n
        return self.b[self.p - n:self.p]

    def next_message(self):
        v = self.receive(1)[0]
        if v >= 128:
            if 256 - v > 8:
                raise ValueError("a length of more than 8 bytes")
            v = int.from_bytes(self.receive(256 - v), "big")
        if v > 1 << 30:
            raise ValueError("a message of more than 1 GiB")
        self.b, self.p = self.receive(v), 0

    def type_id(self, in_interface):
        while True:
            if self.left() == 0:
                self.next_message()
            t = self.sint()
            if t >= 0:
                return t
            if -t < 64 or -t in self.types:
                raise ValueError(f"definition of type {-t} not allowed")
            self.types[-t] = self.definition()
            if self.left():
                if not in_interface:
                    raise ValueError("bytes after a definition")
                self.uint()

    def fields(self):
        """The field numbers of a structure, up to its end."""
        n = -1
        while d := self.uint():
            n += d
            yield n

    def definition(self):
        out = None
        for kind in self.fields():
            if kind != 2:
                raise ValueError(f"type kind {kind} is not used by these calls")
            name, listed = "", []
            for f in self.fields():
                if f == 0:
                    for c in self.fields():
                        name = self.take(self.uint()).decode() if c == 0 else (self.sint(), name)[1]
                else:
                    for _ in range(self.uint()):
                        fname = ftype = None
                        for c in self.fields():
                            if c == 0:
                                fname = self.take(self.uint()).decode()
                            else:
                                ftype = self.sint()
                        listed.append((fname, ftype))
            out = name, listed
        return out

    def value(self, t):
        if t == 1:
            return self.uint() != 0
        if t == 2:
            return self.sint()
        if t == 3:
            return self.uint()
        if t == 4:
            return struct.unpack("<d", self.uint().to_bytes(8, "big"))[0]
        if t == 5:
            return self.take(self.uint())
        if t == 6:
            return self.take(self.uint()).decode("utf-8", "surrogateescape")
        if t == 8:
            return self.interface()
        _, listed = self.types[t]
        return {listed[f][0]: self.value(listed[f][1]) for f in self.fields()}

    def interface(self):
        n = self.uint()
        if n == 0:
            return None
        name = self.take(n).decode()
        t = self.type_id(True)
        self.uint()
        return name, self.top(t)

    def top(self, t):
        if t < 64 and self.uint() != 0:
            raise ValueError("no zero before a plain value")
        return self.value(t)

    def decode(self):
        if self.left():
            raise ValueError("bytes after a value")
        return self.top(self.type_id(False))


# ---- the stream below: optional DEFLATE over TCP or TLS

class Stream:
    def __init__(self, sock, compressed=None):
        self.sock, self.buffer, self.order = sock, b"", threading.Lock()  # hold `order` to write envelopes
        self.inflate = self.deflate = None
        self.fragment = 0  # write so many bytes at a time
        if compressed:
            self.compress()

    def compress(self):
        self.inflate, self.deflate = zlib.decompressobj(-15), zlib.compressobj(1, zlib.DEFLATED, -15)
        self.buffer = self.inflate.decompress(self.buffer)

    def receive(self, n):
        parts, have = [self.buffer], len(self.buffer)
        while have < n:
            data = self.sock.recv(1 << 16)
            if not data:
                raise EOFError
            if self.inflate:
                data = self.inflate.decompress(data)
            parts.append(data)
            have += len(data)
        whole = b"".join(parts)
        self.buffer = whole[n:]
        return whole[:n]

    def send(self, data):
        if self.deflate:
            data = self.deflate.compress(data) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        for i in range(0, len(data), self.fragment or len(data)):
            self.sock.sendall(data[i:i + self.fragment] if self.fragment else data)

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self.sock.close()


# ---- server

class RpcError(Exception):
    """The function returns an error with this text."""


class Envelope(Exception):
    """An error beside the function's result, as after a crash of the handler."""


class Drop(Exception):
    """Close the connection instead of answering."""


class Silence(Exception):
    """Never answer."""


class Call:
    def __init__(self, connection, call_id, name, argument):
        self.connection, self.id, self.name, self.argument = connection, call_id, name, argument


class Connection:
    def __init__(self, peer):
        self.peer, self.pool, self.compressed, self.calls = peer, None, None, 0
        self.opened, self.closed = time.monotonic(), None


class Server:
    """Each call is handled in a thread of its own (as the original does), so answers may come in another order than the calls."""

    def __init__(self, handler, port=0, host="127.0.0.1", tls=None, style="upfront", fragment=0):
        self.handler, self.host, self.port, self.style, self.fragment = handler, host, port, style, fragment
        self.tls = None
        if tls:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(*tls)
        self.connections, self.open, self.lock, self.listener = [], set(), threading.Lock(), None
        self.listen()

    def listen(self):
        self.listener = socket.create_server((self.host, self.port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def accept(self, listener):
        while True:
            try:
                sock, peer = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock, peer), daemon=True).start()

    def serve(self, sock, peer):
        stream = connection = None
        try:
            sock.settimeout(10)
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            stream = Stream(sock)
            if stream.receive(6) != b"proto2":
                return
            connection = Connection(peer)
            connection.pool = stream.receive(stream.receive(1)[0])
            connection.compressed = stream.receive(1) != b"\x00"
            if connection.compressed:
                stream.compress()
            sock.settimeout(None)
            stream.fragment = self.fragment
            with self.lock:
                if self.listener is None:
                    return
                self.connections.append(connection)
                self.open.add(stream)
            reader = Reader(stream.receive)
            writer = Writer(("wireResponse", [("ID", 3), ("Response", 8), ("Error", 6)]), ("dispatcherResponse", [("Response", 8), ("Error", 6)]), RESPONSE, self.style)
            while True:
                wire = reader.decode()
                name, request = wire["Request"]
                if name != REQUEST:
                    raise ValueError(f"request of type {name}")
                argument = request.get("Request")
                connection.calls += 1
                call = Call(connection, wire.get("ID", 0), request.get("Name", ""), argument[1] if argument else None)
                threading.Thread(target=self.answer, args=(stream, writer, call), daemon=True).start()
        except (EOFError, OSError, ValueError, KeyError, TypeError, zlib.error):
            pass
        finally:
            if connection:
                connection.closed = time.monotonic()
            with self.lock:
                self.open.discard(stream)
            if stream:
                stream.close()
            else:
                sock.close()

    def answer(self, stream, writer, call):
        inner, tail, d = b"\x00", b"", 1
        try:
            value = self.handler(call)
            if value is not None:
                inner = b"\x01" + basic(value) + b"\x00"
        except RpcError as e:
            inner = b"\x02" + text(str(e)) + b"\x00"
        except Envelope as e:
            inner, tail = None, b"\x02" + text(str(e))
        except Drop:
            return stream.close()
        except Silence:
            return
        if not call.id:
            return
        with contextlib.suppress(OSError), stream.order:
            stream.send(writer.envelope(call.id, inner, tail))

    def pause(self):
        """Stop listening and cut all connections; listen() starts again on the same port."""
        with self.lock:
            listener, self.listener = self.listener, None
            streams, self.open = list(self.open), set()
        if listener:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for s in streams:
            s.close()

    def cut(self):
        """Cut all connections, go on listening."""
        with self.lock:
            streams, self.open = list(self.open), set()
        for s in streams:
            s.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pause()


# ---- client

class Client:
    def __init__(self, host, port, tls=None, compressed=True, pool=None, timeout=10, style="upfront"):
        sock = socket.create_connection((host, port), timeout)
        if tls:
            sock = tls.wrap_socket(sock, server_hostname=host)
        pool = (pool or str(uuid.uuid4())).encode()
        sock.sendall(b"proto2" + bytes([len(pool)]) + pool + (b"\x01" if compressed else b"\x00"))
        self.stream = Stream(sock, compressed)
        self.reader = Reader(self.stream.receive)
        self.writer = Writer(("wireRequest", [("ID", 3), ("Request", 8)]), ("dispatcherRequest", [("Request", 8), ("Name", 6)]), REQUEST, style)
        self.last = 0

    def send(self, name, argument=None):
        self.last += 1
        name = name if name.startswith(".") else "." + name
        inner = (b"\x01" + basic(argument) + b"\x01" if argument is not None else b"\x02") + text(name) + b"\x00"
        self.stream.send(self.writer.envelope(self.last, inner))
        return self.last

    def receive(self):
        """(id, value); raises RpcError or Envelope."""
        wire = self.reader.decode()
        if wire.get("Error"):
            raise Envelope(wire["Error"])
        response = wire["Response"][1]
        if response.get("Error"):
            raise RpcError(response["Error"])
        value = response.get("Response")
        return wire.get("ID", 0), value[1] if value else None

    def call(self, name, argument=None):
        sent = self.send(name, argument)
        got, value = self.receive()
        if got != sent:
            raise ValueError(f"answer to call {got} instead of {sent}")
        return value

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()


def self_signed(folder):
    """A certificate for 127.0.0.1 and localhost and its key, made by openssl: (certificate file, key file)."""
    import subprocess, pathlib
    cert, key = pathlib.Path(folder) / "server.pem", pathlib.Path(folder) / "server.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", str(key), "-out", str(cert)], check=True, stderr=subprocess.DEVNULL)
    return str(cert), str(key)
