"""Drives the cases of Autobahn|Testsuite against an echo server, and says which of them it passes.

The published suite is written for Python 2, which systems no longer ship. Its cases are taken as they are, from the
published package; what is ours is the client under them. In the cases a text is a string of bytes: here it stays a
`str` of code points below 256, and becomes bytes on the wire.
"""

import argparse
import asyncio
import base64
import binascii
import builtins
import importlib.abc
import importlib.util
import json
import os
import pathlib
import re
import sys
import types

STRICT = ("OK", "INFORMATIONAL")
AT_ONCE = 8


class WebSocketProtocol:
    STATE_CLOSED, STATE_CONNECTING, STATE_CLOSING, STATE_OPEN = range(4)
    CLOSE_STATUS_CODE_NORMAL = 1000
    CLOSE_STATUS_CODE_GOING_AWAY = 1001
    CLOSE_STATUS_CODE_PROTOCOL_ERROR = 1002
    CLOSE_STATUS_CODE_UNSUPPORTED_DATA = 1003
    CLOSE_STATUS_CODE_INVALID_PAYLOAD = 1007
    CLOSE_STATUS_CODE_MESSAGE_TOO_BIG = 1009


class Utf8Validator:
    """What the cases ask of the validator: whether a text is valid so far, and complete."""

    def reset(self):
        pass

    def validate(self, text):
        import codecs

        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            decoder.decode(to_bytes(text))
        except UnicodeDecodeError:
            return False, False, 0, 0
        return True, decoder.getstate()[0] == b"", 0, 0


def to_bytes(text):
    return text if isinstance(text, bytes) else text.encode("latin-1")


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the suite's cases, and reads their Python 2 as Python 3."""

    def __init__(self, home):
        self.home = home

    def find_spec(self, name, path, target=None):
        if (self.home / f"{name}.py").is_file() and re.fullmatch(r"case(\d\w*)?", name):
            return importlib.util.spec_from_loader(name, self)
        return None

    def exec_module(self, module):
        # Python 2 reads a literal as the bytes of its file.
        text = (self.home / f"{module.__name__}.py").read_text("latin-1")
        text = re.sub(r"^(\s*)print (.+)$", r"\1print(\2)", text, flags=re.M)
        text = text.replace("(object, Case, )", "(Case, )")
        if module.__name__ == "case10_1_1":
            text = text.replace(" / ", " // ")
        exec(compile(text, module.__name__, "exec"), module.__dict__)


def load(home, skipped):
    """All cases, in the suite's order: `[(id, class)]`."""
    protocol, validator = types.ModuleType("autobahn.websocket.protocol"), types.ModuleType("autobahn.websocket.utf8validator")
    protocol.WebSocketProtocol, validator.Utf8Validator = WebSocketProtocol, Utf8Validator
    for name in ("autobahn", "autobahn.websocket"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules[protocol.__name__], sys.modules[validator.__name__] = protocol, validator
    builtins.xrange, builtins.unichr = range, chr
    hexed = binascii.b2a_hex
    binascii.b2a_hex = lambda text: hexed(to_bytes(text)).decode()
    sys.meta_path.insert(0, Finder(home))
    text = (home / "__init__.py").read_text("utf-8")
    lines = [line for line in text.splitlines() if not re.search(skipped, line)]
    room = {"__name__": "cases"}
    exec("\n".join(lines), room)
    sys.modules["case"].Case.compare = lambda self, one, other: one == other
    return [(".".join(case.__name__[4:].split("_")), case) for case in room["Cases"]]


class Client(WebSocketProtocol):
    """One connection, as one case sees it. A mask of its own for every frame; no extensions."""

    def __init__(self, case):
        self.factory = types.SimpleNamespace(isServer=False)
        self.state = self.STATE_CONNECTING
        self.connectionWasOpen = self.closedByMe = self.failedByMe = self.droppedByMe = self.wasClean = False
        self.localCloseCode = self.localCloseReason = self.remoteCloseCode = self.remoteCloseReason = None
        self.createWirelog, self.txFrameStats, self.autoFragmentSize = True, {}, 0
        self.pieces, self.kind, self.timers = [], None, []
        self.case = case(self)

    def enableWirelog(self, on):
        self.createWirelog = on

    async def run(self, host, port):
        self.reader, self.writer = await asyncio.open_connection(host, port, limit=1 << 26)
        key = base64.b64encode(os.urandom(16)).decode()
        self.writer.write(
            f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = await self.reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 101"):
            self.state, self.connectionWasOpen = self.STATE_OPEN, True
            self.case.onOpen()
            try:
                while True:
                    await self.hear()
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
        self.state = self.STATE_CLOSED
        for timer in self.timers:
            timer.cancel()
        self.writer.close()
        self.case.onConnectionLost(self.failedByMe)

    async def hear(self):
        first, second = await self.reader.readexactly(2)
        length = second & 0x7F
        if length > 125:
            length = int.from_bytes(await self.reader.readexactly(2 if length == 126 else 8), "big")
        payload = (await self.reader.readexactly(length)).decode("latin-1")
        fin, opcode = first & 0x80, first & 0x0F
        if first & 0x70 or second & 0x80 or opcode in (3, 4, 5, 6, 7) or opcode > 10 or (opcode > 7 and not fin):
            return self.fail(self.CLOSE_STATUS_CODE_PROTOCOL_ERROR)
        if opcode == 8:
            return self.hear_close(payload)
        if self.state != self.STATE_OPEN:
            return
        if opcode == 9:
            self.case.onPing(payload)
            self.sendFrame(10, payload)
        elif opcode == 10:
            self.case.onPong(payload)
        else:
            if (opcode == 0) != (self.kind is not None):
                return self.fail(self.CLOSE_STATUS_CODE_PROTOCOL_ERROR)
            self.kind = self.kind if opcode == 0 else opcode
            self.pieces.append(payload)
            if fin:
                message, kind, self.pieces, self.kind = "".join(self.pieces), self.kind, [], None
                if kind == 1 and not Utf8Validator().validate(message)[1]:
                    return self.fail(self.CLOSE_STATUS_CODE_INVALID_PAYLOAD)
                self.case.onMessage(message, kind == 2)

    def hear_close(self, payload):
        if len(payload) >= 2:
            self.remoteCloseCode = int.from_bytes(to_bytes(payload[:2]), "big")
            self.remoteCloseReason = payload[2:]
        if self.state == self.STATE_CLOSING:
            self.wasClean = True
        elif self.state == self.STATE_OPEN:
            self.wasClean = True
            self.sendCloseFrame(self.remoteCloseCode, isReply=True)
        # It is the server who hangs up; if it doesn't, that is noted.
        self.later(1, self.drop)
        self.case.onClose(self.wasClean, self.remoteCloseCode, self.remoteCloseReason)

    # What cases do.

    def sendFrame(self, opcode, payload="", fin=True, rsv=0, mask=None, payload_len=None, chopsize=None, sync=False):
        payload = to_bytes(payload)
        if payload_len is not None:
            payload = (payload * (payload_len // max(len(payload), 1) + 1))[:payload_len]
        self.txFrameStats[opcode] = self.txFrameStats.get(opcode, 0) + 1
        self.write(self.head(opcode, len(payload), fin, rsv), payload, chopsize)

    def head(self, opcode, length, fin=True, rsv=0):
        head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
        if length < 126:
            return head + bytes([0x80 | length])
        return head + (b"\xfe" + length.to_bytes(2, "big") if length < 1 << 16 else b"\xff" + length.to_bytes(8, "big"))

    def write(self, head, payload, chopsize=None):
        self.mask, self.masked = os.urandom(4), 0
        bytes_ = head + self.mask + self.masking(payload)
        for start in range(0, len(bytes_), chopsize or len(bytes_)):
            self.writer.write(bytes_[start : start + (chopsize or len(bytes_))])

    def masking(self, payload):
        payload = to_bytes(payload)
        mask = (self.mask * (len(payload) // 4 + 2))[self.masked % 4 :][: len(payload)]
        self.masked += len(payload)
        return (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(len(payload), "big")

    def sendMessage(self, payload, isBinary=False, fragmentSize=None, sync=False, doNotCompress=False):
        size = fragmentSize or self.autoFragmentSize or max(len(payload), 1)
        parts = [payload[start : start + size] for start in range(0, len(payload), size)] or [""]
        for at, part in enumerate(parts):
            self.sendFrame(0 if at else 2 if isBinary else 1, part, fin=at == len(parts) - 1)

    def beginMessage(self, isBinary=False):
        self.streamed = 2 if isBinary else 1

    def beginMessageFrame(self, length):
        self.write(self.head(self.streamed, length, fin=False), "")
        self.streamed = 0

    def sendMessageFrameData(self, payload, sync=False):
        self.writer.write(self.masking(payload))

    def endMessage(self):
        self.sendFrame(0, "")

    def sendClose(self, code=None, reason=None):
        # Reasons are cut to what a control frame holds, between characters.
        cut = (reason or "").encode("utf-8")[:123].decode("utf-8", "ignore").encode("utf-8")
        self.sendCloseFrame(code, cut.decode("latin-1") if reason is not None else None)

    def sendCloseFrame(self, code=None, reasonUtf8=None, isReply=False):
        if self.state != self.STATE_OPEN:
            return
        payload = b"" if code is None else code.to_bytes(2, "big") + to_bytes(reasonUtf8 or "")
        self.sendFrame(8, payload)
        self.state, self.closedByMe = self.STATE_CLOSING, not isReply
        self.localCloseCode, self.localCloseReason = code, reasonUtf8
        if self.closedByMe:
            self.later(1, self.drop)

    def fail(self, code):
        if self.state == self.STATE_CLOSING:
            self.drop()
        elif self.state == self.STATE_OPEN:
            self.failedByMe = True
            self.sendCloseFrame(code)

    def drop(self):
        if self.state != self.STATE_CLOSED:
            self.droppedByMe = True
            self.writer.transport.abort()

    def later(self, delay, act, *arguments):
        loop = asyncio.get_running_loop()
        self.timers.append(loop.call_later(delay, lambda: self.state != self.STATE_CLOSED and act(*arguments)))

    def continueLater(self, delay, act, tag=None):
        self.later(delay, act)

    def killAfter(self, delay):
        self.later(delay, self.fail, self.CLOSE_STATUS_CODE_GOING_AWAY)

    def closeAfter(self, delay):
        self.later(delay, self.sendClose)


async def verdict(case, host, port):
    client = Client(case)
    try:
        await asyncio.wait_for(client.run(host, port), 90)
    except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
        return "FAILED", "FAILED", f"{type(error).__name__}: {error}"
    run = client.case
    return run.behavior, run.behaviorClose, f"{run.result} {run.resultClose}; {client.remoteCloseCode=}"


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=pathlib.Path, required=True, help="the directory of the suite's cases")
    parser.add_argument("--server", required=True, help="host:port of the echo server")
    parser.add_argument("--report", type=pathlib.Path, help="where the verdicts are written as JSON")
    parser.add_argument("--performance", action="store_true", help="run section 9 too")
    asked = parser.parse_args()
    host, port = asked.server.rsplit(":", 1)
    cases = load(asked.cases.resolve(), r"[Cc]ase1[23]|[Cc]ase9_(9|10)" if asked.performance else r"[Cc]ase1[23]|[Cc]ase9")
    turn, verdicts = asyncio.Semaphore(AT_ONCE), {}

    async def take(name, case):
        async with turn:
            verdicts[name] = await verdict(case, host, int(port))

    await asyncio.gather(*(take(name, case) for name, case in cases))
    bad, sections = [], {}
    for name, _ in cases:
        behaviour, close, why = verdicts[name]
        section = sections.setdefault(name.split(".")[0], {})
        section[behaviour] = section.get(behaviour, 0) + 1
        if behaviour not in STRICT or close not in STRICT:
            bad.append(f"{name}: {behaviour}, close {close}: {why}")
    for section, counts in sections.items():
        print(f"section {section}: " + ", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    if asked.report:
        rows = {name: verdicts[name][:2] for name, _ in cases}
        asked.report.write_text(json.dumps(rows, indent=1))
    print(f"{len(cases) - len(bad)} of {len(cases)} cases pass")
    for line in bad:
        print(line)
    sys.exit(1 if bad or len(cases) < 240 else 0)


asyncio.run(main())
