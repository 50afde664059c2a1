#!/usr/bin/env python3
"""A device on a foreign QUIC stack (aioquic) speaks to `pollux serve`, and what the twin then says is compared.

usage: scripts/foreign/device.py POLLUX [KEY=VALUE]...

POLLUX is the binary, KEY=VALUE a setting of the twin. Each case is one session, or a few, of a device that follows wire/PROTOCOL.md with nothing but that page: this
file shares no code with Pollux. What the twin counted is read from /metrics after each case. Exit codes: 0 all cases hold,
1 a case does not, 2 wrong usage.
"""

import asyncio
import contextlib
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived, StreamReset
from aioquic.tls import CipherSuite

ALPN = "pollux/1"
RECORD = struct.Struct("<16sHdQIB")
HELLO = struct.Struct("<8sHHII16sHH")
MAGIC = b"pollux\x01\n"
TEMPERATURE, READ = 1, 0
STATUS_OK, STATUS_UNKNOWN = 0, 1
CODE_DONE, CODE_BAD_RECORD, CODE_RAGGED, CODE_NO_HANDLER = 0, 1, 2, 3
CODE_UNAUTHORIZED, CODE_FORBIDDEN, CODE_REVOKED = 9, 10, 11
# What aioquic reports for a CRYPTO_ERROR is 0x100 and the alert (RFC 9001, section 4.8).
ALERT_REVOKED = 0x100 + 44
TLS_FILES = {"cert": "server.pem", "key": "server.key", "ca": "ca.pem", "crl": "crl.pem", "tokens": "tokens"}
TIMEOUT_S = 10
TOKEN_DEVICE = bytes([9] * 16)
assert RECORD.size == 39 and HELLO.size == 40, "the sizes that the page draws"


def record(device, sensor, seq, value, kind=TEMPERATURE):
    """The 39 bytes of a record that is sent now."""
    return RECORD.pack(device, sensor, value, time.time_ns() // 1000, seq, kind)


class Twin:
    """A `pollux serve` on free ports, and what it counts."""

    def __init__(self, binary, folder, settings):
        subprocess.run([binary, "certs", "init", "--dir", folder, "--gateway", "foreign"], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        self.binary, self.folder = binary, folder
        self.token = self.certs("token", "--device", uuid.UUID(bytes=TOKEN_DEVICE), "--tokens", f"{folder}/tokens")
        settings = ["net.addr=127.0.0.1:0", "http.addr=127.0.0.1:0", *settings]
        settings += [f"tls.{key}={folder}/{name}" for key, name in TLS_FILES.items()]
        self.workers = next((int(one[12:]) for one in settings if one.startswith("net.workers=")), 1)
        arguments = [part for setting in settings for part in ("--set", setting)]
        self.authority = f"{folder}/ca.pem"
        self.process = subprocess.Popen(
            [binary, "serve", *arguments], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        self.ports = {}
        for line in self.process.stderr:
            if line.startswith("listening "):
                _, what, address = line.split()
                self.ports[what] = int(address.rpartition(":")[2])
            if line.startswith("ready"):
                return
        raise SystemExit("foreign device: the twin did not start")

    def certs(self, command, *arguments):
        """Runs `pollux certs`, and gives what it prints."""
        run = [self.binary, "certs", command, *map(str, arguments)]
        return subprocess.run(run, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.strip()

    def metric(self, series):
        """The value of one series of /metrics; 0 when it has none yet."""
        url = f"http://127.0.0.1:{self.ports['http']}/metrics"
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            for line in answer.read().decode().splitlines():
                name, _, value = line.rpartition(" ")
                if name == series:
                    return float(value)
        return 0.0

    def applied(self, tier):
        """Records of a tier that reached the world."""
        return self.metric(f'pollux_records_total{{tier="{tier}",result="applied"}}')

    async def await_metric(self, series, wanted):
        """Waits until a series has the value; fails with what it has instead."""
        deadline = time.monotonic() + TIMEOUT_S
        while (value := await asyncio.to_thread(self.metric, series)) != wanted:
            assert time.monotonic() < deadline, f"{series} is {value}, not {wanted}"
            await asyncio.sleep(0.05)

    async def await_applied(self, tier, wanted):
        """Waits until so many records of a tier reached the world."""
        await self.await_metric(f'pollux_records_total{{tier="{tier}",result="applied"}}', wanted)

    def end(self):
        """Ends the twin in order."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(TIMEOUT_S) == 0, "the twin did not end in order"


class Session(QuicConnectionProtocol):
    """One session of the device: what arrives is kept by stream."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.streams = {}
        self.resets = {}
        self.terminated = None
        self.arrived = asyncio.Event()
        # Ids of the next unidirectional and bidirectional stream of a client (RFC 9000, section 2.1).
        self.next_ids = {False: 2, True: 0}

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived):
            data, _ = self.streams.get(event.stream_id, (b"", False))
            self.streams[event.stream_id] = (data + event.data, event.end_stream)
        elif isinstance(event, StreamReset):
            self.resets[event.stream_id] = event.error_code
        elif isinstance(event, ConnectionTerminated):
            self.terminated = event
        self.arrived.set()

    async def until(self, holds):
        """Waits for events until a condition holds."""
        async with asyncio.timeout(TIMEOUT_S):
            while not holds():
                self.arrived.clear()
                await self.arrived.wait()

    def send_datagram(self, payload):
        """One DATAGRAM frame."""
        self._quic.send_datagram_frame(payload)
        self.transmit()

    def send(self, stream, payload, fin=True):
        """Bytes of a stream."""
        self._quic.send_stream_data(stream, payload, end_stream=fin)
        self.transmit()

    def open(self, bidirectional=False):
        """The id of a new stream."""
        stream = self.next_ids[bidirectional]
        self.next_ids[bidirectional] += 4
        return stream

    def hello(self, device, epoch=7, token=b""):
        """Opens the control stream, which has to be the first."""
        control = self.open()
        assert control == 2, "the control stream is stream 2"
        self.send(control, HELLO.pack(MAGIC, 1, 40 + len(token), 2, epoch, device, len(token), 0) + token, fin=False)
        return control

    async def command(self, request):
        """Sends a T3 request and gives the ack, or the code of the reset."""
        stream = self.open(bidirectional=True)
        self.send(stream, request)
        ended = lambda: stream in self.resets or self.streams.get(stream, (b"", False))[1]
        await self.until(ended)
        return self.resets.get(stream, self.streams.get(stream, (b"",))[0])


@contextlib.asynccontextmanager
async def session(twin, alpn=ALPN, **options):
    """A session that is closed with `done`."""
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=[alpn], server_name="localhost", max_datagram_frame_size=65_535
    )
    configuration.load_verify_locations(cafile=twin.authority)
    holder = options.pop("holder", "gateway-foreign")
    if holder is not None:
        configuration.load_cert_chain(f"{twin.folder}/{holder}.pem", f"{twin.folder}/{holder}.key")
    ticket_handler = options.pop("session_ticket_handler", None)
    wait = options.pop("wait_connected", True)
    for name, value in options.items():
        setattr(configuration, name, value)
    async with connect(
        "127.0.0.1", twin.ports["quic"], configuration=configuration, create_protocol=Session,
        session_ticket_handler=ticket_handler, wait_connected=wait,
    ) as open_session:
        yield open_session
        open_session.close(error_code=CODE_DONE)


async def t1_batches_are_applied(twin):
    device, before = bytes([1] * 16), twin.applied("t1")
    async with session(twin) as one:
        one.hello(device)
        for batch in range(10):
            one.send_datagram(b"".join(record(device, n, batch, 20.0 + n) for n in range(5)))
        await twin.await_applied("t1", before + 50)
        errors = twin.metric('pollux_decode_errors_total{tier="t1"}')
        one.send_datagram(record(device, 0, 10, 1.0)[:-1])
        await twin.await_metric('pollux_decode_errors_total{tier="t1"}', errors + 1)


async def t2_streams_are_applied_whole(twin):
    device, before = bytes([2] * 16), twin.applied("t2")
    async with session(twin) as one:
        one.hello(device)
        streams = [one.open() for _ in range(4)]
        for seq in range(250):
            for sensor, stream in enumerate(streams):
                # The pieces end anywhere: records are not aligned to frames or packets.
                payload = record(device, sensor, seq, float(seq))
                one.send(stream, payload[:17], fin=False)
                one.send(stream, payload[17:], fin=seq == 249)
        await twin.await_applied("t2", before + 1000)
        errors = twin.metric('pollux_decode_errors_total{tier="t2"}')
        one.send(one.open(), record(device, 0, 250, 1.0)[:20])
        await twin.await_metric('pollux_decode_errors_total{tier="t2"}', errors + 1)


async def t3_commands_are_answered(twin):
    device = bytes([3] * 16)
    async with session(twin) as one:
        one.hello(device)
        before = twin.applied("t1")
        one.send_datagram(record(device, 9, 0, 36.5))
        await twin.await_applied("t1", before + 1)
        request = RECORD.pack(device, 9, 0.0, 1_234_567, 77, READ << 5 | TEMPERATURE)
        name, sensor, value, ts_us, seq, kind = RECORD.unpack(await one.command(request))
        assert (name, sensor, ts_us, seq) == (device, 9, 1_234_567, 77), "the ack repeats its request"
        assert (value, kind >> 5, kind & 31) == (36.5, STATUS_OK, TEMPERATURE)
        stranger = RECORD.pack(device, 10, 0.0, 1, 1, READ << 5 | TEMPERATURE)
        assert (await one.command(stranger))[-1] >> 5 == STATUS_UNKNOWN
        reserved = RECORD.pack(device, 9, 0.0, 1, 1, 5 << 5 | TEMPERATURE)
        assert await one.command(reserved) == CODE_NO_HANDLER
        assert await one.command(request + b"x") == CODE_RAGGED
        assert await one.command(RECORD.pack(device, 9, float("nan"), 1, 1, TEMPERATURE)) == CODE_BAD_RECORD


async def totals_make_a_loss_exact(twin):
    device, before = bytes([4] * 16), twin.metric('pollux_lost_total{tier="t1"}')
    async with session(twin) as one:
        control = one.hello(device)
        one.send_datagram(record(device, 1, 0, 1.0))
        # Three records were offered, says the device; two of them never left it.
        one.send(control, struct.pack("<HHQQQ", 1, 24, 3, 0, 0))
        await asyncio.wait_for(one.ping(), TIMEOUT_S)
    await twin.await_metric('pollux_lost_total{tier="t1"}', before + 2)


async def another_alpn_is_refused(twin):
    try:
        async with session(twin, alpn="h3"):
            raise AssertionError("the twin spoke h3")
    except ConnectionError:
        pass


async def keys_are_updated_under_way(twin):
    device, before = bytes([5] * 16), twin.applied("t1")
    async with session(twin) as one:
        one.hello(device)
        for seq in range(6):
            one.send_datagram(record(device, 1, seq, 1.0))
            await asyncio.wait_for(one.ping(), TIMEOUT_S)
            if seq % 2 == 1:
                one._quic.request_key_update()
        await twin.await_applied("t1", before + 6)


async def each_cipher_is_spoken(twin):
    device = bytes([6] * 16)
    suites = [CipherSuite.AES_128_GCM_SHA256, CipherSuite.AES_256_GCM_SHA384, CipherSuite.CHACHA20_POLY1305_SHA256]
    for seq, suite in enumerate(suites):
        before = twin.applied("t1")
        async with session(twin, cipher_suites=[suite]) as one:
            one.hello(device)
            one.send_datagram(record(device, 1, seq, 1.0))
            await twin.await_applied("t1", before + 1)


async def device_changes_its_address(twin):
    device, before = bytes([7] * 16), twin.applied("t1")
    sessions = twin.metric("pollux_sessions")
    async with session(twin) as one:
        one.hello(device)
        one.send_datagram(record(device, 1, 0, 1.0))
        await twin.await_applied("t1", before + 1)
        await twin.await_metric("pollux_sessions", sessions + 1)
        for seq in range(1, 9):
            await move(one)
            one.send_datagram(record(device, 1, seq, 1.0))
            await asyncio.wait_for(one.ping(), TIMEOUT_S)
        await twin.await_applied("t1", before + 9)
        assert twin.metric("pollux_sessions") == sessions + 1, "it is the same session"
        passed = twin.metric('pollux_datagrams_passed_total{result="passed"}')
        # Of eight addresses, some are spread to a worker that does not have the session, if there are several.
        assert (passed > 0) == (twin.workers > 1), f"{twin.workers} workers passed {passed} on"


async def move(one):
    """Lets the session leave from another address from now on."""
    old = one._transport
    moved = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    moved.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    moved.bind(("::", 0))
    # The protocol takes the new transport over; the old one only goes.
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: one, sock=moved)
    assert one._transport is not old, "the session left its old socket"
    one._quic.change_connection_id()
    old.abort()


async def resumed_session_sends_in_0rtt(twin):
    device, tickets, before = bytes([8] * 16), [], twin.applied("t2")
    async with session(twin, session_ticket_handler=tickets.append) as one:
        one.hello(device)
        await one.until(lambda: True)
        await asyncio.wait_for(one.ping(), TIMEOUT_S)
    assert tickets, "the twin issues session tickets"
    async with session(twin, session_ticket=tickets[0], wait_connected=False) as one:
        one.hello(device, epoch=8)
        one.send(one.open(), record(device, 1, 0, 1.0) + record(device, 1, 1, 2.0))
        await one.wait_connected()
        assert one._quic.tls.session_resumed and one._quic.tls.early_data_accepted
        await twin.await_applied("t2", before + 2)


class Dark:
    """A path that takes everything and carries nothing."""

    def sendto(self, data, addr):
        pass

    def close(self):
        pass


async def either_of_two_sessions_may_go(twin):
    device, before, count = bytes([14] * 16), twin.applied("t2"), 300
    duplicates = 'pollux_records_total{tier="t2",result="duplicate"}'
    copies = twin.metric(duplicates)
    async with session(twin) as one, session(twin) as two:
        paths = [one, two]
        for path in paths:
            path.hello(device)
        streams = [path.open() for path in paths]
        await twin.await_metric("pollux_sessions_redundant", 2)
        for seq in range(count):
            if seq == count // 3:
                # Its path is cut: nothing comes or goes any more, and nobody is told.
                one._transport = Dark()
                one.datagram_received = lambda *_: None
            for path, stream in zip(paths, streams):
                if path is two or seq < count // 3:
                    path.send(stream, record(device, 1, seq, float(seq)), fin=False)
            if seq % 10 == 0:
                await asyncio.wait_for(two.ping(), TIMEOUT_S)
        await twin.await_applied("t2", before + count)
        assert 0 < twin.metric(duplicates) - copies <= count // 3, "both carried the first third"
        read = RECORD.pack(device, 1, 0.0, 1, 1, READ << 5 | TEMPERATURE)
        assert RECORD.unpack(await two.command(read))[2] == count - 1


async def device_writes_for_itself_alone(twin):
    device, stranger = bytes([10] * 16), bytes([11] * 16)
    twin.certs("enroll", "--dir", twin.folder, "--device", uuid.UUID(bytes=device))
    before, rejected = twin.applied("t1"), 'pollux_records_rejected_total{tier="t1",reason="forbidden"}'
    forbidden = twin.metric(rejected)
    async with session(twin, holder=f"device-{uuid.UUID(bytes=device)}") as one:
        one.hello(device)
        one.send_datagram(record(device, 1, 0, 1.0) + record(stranger, 1, 0, 1.0) + record(device, 2, 0, 1.0))
        await twin.await_applied("t1", before + 2)
        await twin.await_metric(rejected, forbidden + 1)
        request = RECORD.pack(stranger, 1, 0.0, 1, 1, READ << 5 | TEMPERATURE)
        assert await one.command(request) == CODE_FORBIDDEN


async def token_stands_for_a_certificate(twin):
    before = twin.applied("t1")
    async with session(twin, holder=None) as one:
        one.hello(TOKEN_DEVICE, token=twin.token)
        await asyncio.wait_for(one.ping(), TIMEOUT_S)
        one.send_datagram(record(TOKEN_DEVICE, 1, 0, 1.0) + record(bytes([12] * 16), 1, 0, 1.0))
        await twin.await_applied("t1", before + 1)
    for device, token in ((TOKEN_DEVICE, twin.token[::-1]), (TOKEN_DEVICE, b""), (bytes([12] * 16), twin.token)):
        async with session(twin, holder=None) as one:
            one.hello(device, token=token)
            await one.until(lambda: one.terminated is not None)
            assert one.terminated.error_code == CODE_UNAUTHORIZED, one.terminated


async def revoked_device_is_out_and_stays_out(twin):
    name = uuid.UUID(bytes=bytes([13] * 16))
    twin.certs("enroll", "--dir", twin.folder, "--device", name)
    async with session(twin) as other, session(twin, holder=f"device-{name}") as one:
        one.hello(name.bytes)
        await asyncio.wait_for(one.ping(), TIMEOUT_S)
        revoked = time.monotonic()
        twin.certs("revoke", "--dir", twin.folder, "--device", name)
        await one.until(lambda: one.terminated is not None)
        print(f"        out {time.monotonic() - revoked:.3f} s after its revocation began", flush=True)
        assert one.terminated.error_code == CODE_REVOKED, one.terminated
        await asyncio.wait_for(other.ping(), TIMEOUT_S)
        assert other.terminated is None, "sessions that hold stay"
    async with session(twin, holder=f"device-{name}") as again:
        await again.until(lambda: again.terminated is not None)
        assert again.terminated.error_code == ALERT_REVOKED, again.terminated


CASES = (
    t1_batches_are_applied,
    t2_streams_are_applied_whole,
    t3_commands_are_answered,
    totals_make_a_loss_exact,
    another_alpn_is_refused,
    keys_are_updated_under_way,
    each_cipher_is_spoken,
    device_changes_its_address,
    resumed_session_sends_in_0rtt,
    either_of_two_sessions_may_go,
    device_writes_for_itself_alone,
    token_stands_for_a_certificate,
    revoked_device_is_out_and_stays_out,
)


async def run(twin):
    """All cases, one after the other; the names of those that do not hold."""
    failed = []
    for case in CASES:
        name = case.__name__.replace("_", " ")
        try:
            await case(twin)
            print(f"ok      {name}", flush=True)
        except (AssertionError, ConnectionError, TimeoutError, OSError) as error:
            failed.append(name)
            print(f"FAILED  {name}: {type(error).__name__} {error}", flush=True)
    residual = [twin.metric(f'pollux_accounting_residual{{tier="{tier}"}}') for tier in ("t1", "t2", "t3")]
    if any(residual):
        failed.append(f"the residual is {residual}")
    return failed


def main(arguments):
    """Runs all cases against one twin."""
    if not arguments or not all("=" in setting for setting in arguments[1:]):
        print(__doc__.strip().splitlines()[2], file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        twin = Twin(pathlib.Path(arguments[0]).resolve(), folder, arguments[1:])
        try:
            failed = asyncio.run(run(twin))
        finally:
            twin.end()
    for line in failed:
        print(f"foreign device: {line}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
